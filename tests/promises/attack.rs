//! The drills that users are given: they run whole, they are refused by name, and one that got through would be told.

use crate::support::ledger::Ledger;
use crate::support::wait_for;
use devnet::attack::judge::{Outcome, Promise, Verdict, judge};
use devnet::attack::report::{DrillReport, Played, Report};
use devnet::attack::{DRILLS, Kind, LEDGER, Stage};
use devnet::layout::Devnet;
use devnet::processes::{is_running, output, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

const PRODUCT: &str = "vendor-a/app";

fn nothing_runs(ledger: &Path) -> bool {
    let devnet = Devnet::load(ledger).unwrap();
    devnet.nodes.iter().all(|node| !is_running(node.pid, &node.config))
        && devnet.agents.iter().all(|agent| !is_running(agent.pid, &agent.config))
}

/// Whether a process of this machine has this directory among its arguments.
fn somebody_works_in(directory: &Path) -> bool {
    let directory = directory.display().to_string();
    let command = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    std::fs::read_dir("/proc").unwrap().flatten().any(|it| String::from_utf8_lossy(&command(it)).contains(&directory))
}

#[tokio::test]
async fn every_attack_is_refused_by_the_check_that_its_drill_promises() {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("drills");
    let drills = output("countersign", &["attack", "--dir", dir.to_str().unwrap(), "-o", "json"]).unwrap();
    let said = String::from_utf8_lossy(&drills.stderr).into_owned();
    assert_eq!(drills.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&drills.stdout).unwrap();
    assert_eq!((&report["version"], &report["as_promised"]), (&1.into(), &true.into()), "{said}");
    let played = report["drills"].as_array().unwrap();
    let names: Vec<&str> = played.iter().map(|drill| drill["name"].as_str().unwrap()).collect();
    assert_eq!(names, DRILLS.map(|drill| drill.name));
    for drill in played {
        assert_eq!(drill["outcome"], "as-promised", "{drill}");
        let (trials, controls) = (drill["trials"].as_array().unwrap(), drill["controls"].as_array().unwrap());
        assert!(!controls.is_empty(), "{drill}");
        // Something of every drill is refused, and by a word.
        let checks = trials.iter().flat_map(|trial| trial["checks"].as_array().unwrap());
        assert!(checks.filter_map(Value::as_str).any(|check| !check.is_empty()), "{drill}");
    }
    assert!(nothing_runs(&dir.join(LEDGER)) && !somebody_works_in(around.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gets_through_is_said_to_have_got_through() {
    let ledger = Ledger::raise().await;
    let mut stage = Stage::over(ledger.devnet.clone(), &ledger.beside("work")).unwrap();
    // The defence is absent, as it should be: the patch has every approval, and the host is one it is for.
    let patch = stage.release(PRODUCT, 1, &[]).await.unwrap();
    let host = stage.host(Kind { products: &[PRODUCT], ..Kind::default() }).unwrap();
    let ending = host.apply(&patch).await.unwrap();
    let promise = Promise::RefusedBy(&["approval-rule"]);
    assert_eq!(judge(promise, &ending), Verdict::GotThrough, "{ending:?}");

    let mut played = Played::default();
    played.tried("an approved patch, as if it were not", promise, ending);
    // Installed already: what would be the control does nothing, and that says so, too.
    played.control("the same again", host.apply(&patch).await.unwrap());
    let report = Report::of(vec![DrillReport::played("unarmed", "Nothing stands in the way.", played, 0)], 0);
    assert_eq!(report.drills[0].outcome, Outcome::GotThrough);
    assert!(!report.as_promised && !report.is_incomplete());
    let found = report.drills[0].found();
    assert!(found.contains("1.1 was installed") && found.contains("the same again: installed already"), "{found}");
}

#[tokio::test]
async fn whoever_interrupts_the_drills_leaves_nobody_behind() {
    let around = tempfile::tempdir().unwrap();
    let dir = around.path().join("drills");
    let mut command = Command::new(program("countersign-attack"));
    command.args(["--drill", "freeze", "--dir"]).arg(&dir).stdout(Stdio::null()).stderr(Stdio::null());
    let mut drills = command.spawn().unwrap();
    // In the middle of a drill: an agent runs.
    let ledger = dir.join(LEDGER);
    wait_for("an agent", async || Devnet::load(&ledger).ok().filter(|devnet| !devnet.agents.is_empty()).map(drop))
        .await;
    let before = Devnet::load(&ledger).unwrap();
    kill_process(Pid::from_child(&drills), Signal::INT).unwrap();
    let ended = wait_for("its end", async || drills.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(130));
    let running = before.nodes.iter().filter(|node| is_running(node.pid, &node.config)).count();
    assert_eq!(running, 0);
    assert!(nothing_runs(&ledger) && !somebody_works_in(around.path()));
}

#[test]
fn drills_are_chosen_by_their_names() {
    let list = output("countersign", &["attack", "--list"]).unwrap();
    assert_eq!(list.status.code(), Some(0));
    let listed = String::from_utf8(list.stdout).unwrap();
    let names: BTreeSet<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, DRILLS.iter().map(|drill| drill.name).collect());
    let unknown = output("countersign-attack", &["--drill", "earthquake"]).unwrap();
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(2) && said.contains("hostile-archives"), "{said}");
    let around = tempfile::tempdir().unwrap();
    std::fs::write(around.path().join("mine"), "").unwrap();
    let full = output("countersign-attack", &["--dir", around.path().to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(full.status.code() == Some(2) && said.contains("is not empty") && said.contains("hint: "), "{said}");
}
