//! What is on a host: its own people see it, and when it became another thing; nobody else does.

use crate::support::ledger::Ledger;
use crate::support::wait_for;
use devnet::layout::Agent;
use devnet::processes;
use devnet::raise::agent_subscriptions;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What this needs of a machine.
const NEEDS: [&str; 1] = ["dpkg"];

/// Why there can be no package database for a test here, if there cannot.
fn lacking() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may change packages".to_owned());
    }
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    ["dpkg", "dpkg-deb"].into_iter().find(|tool| !has(tool)).map(|tool| format!("there is no {tool} here"))
}

/// An empty root with a package database.
fn bare_root(root: &Path) {
    for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n").unwrap();
}

/// Packs a package and has dpkg install it.
fn install(root: &Path, room: &Path, name: &str, version: &str) {
    let tree = room.join(format!("{name}-{version}"));
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Tests <tests@example.com>\nDescription: made for a test\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let package = room.join(format!("{name}-{version}.deb"));
    let built =
        Command::new("dpkg-deb").args(["--build", "--root-owner-group"]).arg(&tree).arg(&package).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut dpkg = Command::new("dpkg");
    dpkg.env("PATH", path).arg("--root").arg(root).arg("--install").arg(&package);
    let installed = dpkg.output().unwrap();
    assert!(installed.status.success(), "{installed:?}");
}

fn agent_says(agent: &Agent, words: &[&str]) -> Value {
    let config = agent.config.display().to_string();
    let output =
        processes::output("countersign-agent", &[words, &["--config", &config, "-o", "json"]].concat()).unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Runs a command of the site's operator; what it printed, if it could be done.
fn operator_sees(ledger: &Ledger, words: &[&str]) -> Option<Value> {
    let who = ledger.as_client("site", Some(("site", "operator")));
    let output = ledger.countersign(&[words, &["-o", "json"]].concat(), &who);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installed_package_is_another_inventory_after_one_interval() {
    if let Some(why) = lacking() {
        tests::left_out(&NEEDS, &why);
        return;
    }
    let mut ledger = Ledger::raise().await;
    let (root, room): (PathBuf, PathBuf) = (ledger.beside("root"), ledger.beside("room"));
    bare_root(&root);
    fs::create_dir(&room).unwrap();
    install(&root, &room, "libgreeter", "1.0-1");
    // Both nodes that it follows are to be told, and one of them is a vendor's.
    let nodes = ["site", "vendor-a"].map(|name| ledger.node(name).grpc.clone());
    let more = format!(
        "\n[inventory]\nroot = {:?}\nnodes = {nodes:?}\nevery = \"1s\"\ngather = [\"packages\"]\n",
        root.display().to_string()
    );
    let agent = ledger.add_agent("agent-1", &more);

    // The host's own people see it.
    let listed = wait_for("the host's inventory", async || {
        let listed = operator_sees(&ledger, &["inventory", "list"])?;
        let [host] = &listed["hosts"].as_array()?[..] else { panic!("{listed}") };
        (!host["inventory"].is_null()).then(|| host.clone())
    })
    .await;
    assert_eq!((&listed["name"], &listed["organisation"]), (&"agent-1".into(), &"site".into()), "{listed}");
    assert_eq!((&listed["os_name"], &listed["packages"]), (&"Debian GNU/Linux 12".into(), &1.into()), "{listed}");
    assert!(listed["seen_ms"].as_u64().is_some_and(|seen_ms| seen_ms > 0), "{listed}");
    let before = agent_says(&agent, &["inventory"]);
    assert_eq!(before["digest"], listed["inventory"]);

    // Somebody installs a package.
    install(&root, &room, "greeter", "2.0-1");
    let diff = wait_for("another inventory", async || operator_sees(&ledger, &["inventory", "diff", "agent-1"])).await;
    let now = agent_says(&agent, &["inventory"]);
    assert_eq!((&diff["before"], &diff["after"]), (&before["digest"], &now["digest"]), "{diff}");
    let [change] = &diff["changes"].as_array().unwrap()[..] else { panic!("{diff}") };
    assert_eq!((&change["what"], &change["after"]), (&"package dpkg greeter all".into(), &"2.0-1".into()), "{diff}");
    let shown = operator_sees(&ledger, &["inventory", "show", "agent-1"]).unwrap();
    assert_eq!((&shown["inventory"], &shown["content"]["packages"][0]["name"]), (&now["digest"], &"greeter".into()));
    let history = operator_sees(&ledger, &["inventory", "history", "agent-1"]).unwrap();
    let entries = history["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]["changes"], &entries[1]["changes"]), (2, &diff["changes"], &Value::Null));

    // The host knows it, too, and goes on knowing it when no agent runs.
    ledger.kill_agent("agent-1");
    let kept = agent_says(&agent, &["inventory", "--history"]);
    assert_eq!(kept["changes"][0]["changes"], diff["changes"], "{kept}");
    assert_eq!(agent_says(&agent, &["inventory"])["digest"], now["digest"]);
    let said = agent_says(&agent, &["doctor"]);
    let findings = said["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["about"] == "inventory").unwrap();
    assert_eq!(finding["mark"], "ok", "{finding}");

    // Nobody else does. The agent follows a node of a vendor, which was told nothing that it kept.
    let theirs = ledger.node("vendor-a").config.parent().unwrap().join("data/inventories");
    assert_eq!(fs::read_dir(&theirs).map_or(0, Iterator::count), 0, "{} has something", theirs.display());
    let vendor = ledger.as_client("site", Some(("approver-a", "approver")));
    let refused = ledger.countersign(&["inventory", "list", "-o", "json"], &vendor);
    assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
}

/// Hosts that somebody should see to, each with its health; the exit code says whether there are any.
pub(crate) fn alarms(ledger: &Ledger) -> Vec<(Value, Value)> {
    let who = ledger.as_client("site", Some(("site", "operator")));
    let output = ledger.countersign(&["inventory", "alarm", "-o", "json"], &who);
    let alarm: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let hosts = alarm["hosts"].as_array().unwrap_or_else(|| panic!("{alarm}"));
    assert_eq!(output.status.code(), Some(i32::from(!hosts.is_empty())), "{alarm}");
    hosts.iter().map(|host| (host["health"].clone(), host["readings"]["unhealthy"].clone())).collect()
}

async fn await_alarm(ledger: &Ledger, health: Option<&str>) -> Value {
    wait_for(&format!("an alarm: {health:?}"), async || match (&alarms(ledger)[..], health) {
        ([], None) => Some(Value::Null),
        ([(is, why)], Some(health)) if is == health => Some(why.clone()),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_unhealthy_or_silent_alarms_its_own_people() {
    let mut ledger = Ledger::raise().await;
    let (tree, flag) = (ledger.beside("tree"), ledger.beside("flag"));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("version"), "1").unwrap();
    fs::write(&flag, "").unwrap();
    let more = format!(
        "\n[inventory]\nevery = \"1s\"\ngather = []\n[health]\nwatch = \"100ms\"\n[[health.checks]]\nname = \"flag\"\n\
         command = [\"/usr/bin/env\", \"test\", \"-e\", {:?}]\nattempts = 1\n",
        flag.display().to_string()
    );
    let more = format!("{}{more}", agent_subscriptions(&["vendor-a/app".to_owned()]));
    let agent = ledger.add_agent("agent-1", &more);
    await_alarm(&ledger, None).await;
    ledger.kill_agent("agent-1");
    let [config, tree] = [&agent.config, &tree].map(|path| path.display().to_string());
    let adopt =
        ["adopt", "--product", "vendor-a/app", "--channel", "stable", "--version", "1", "--config", &config, &tree];
    let adopted = processes::output("countersign-agent", &adopt).unwrap();
    assert!(adopted.status.success(), "{adopted:?}");

    // Nobody hears of it any more.
    await_alarm(&ledger, Some("offline")).await;
    ledger.start_agent("agent-1");
    await_alarm(&ledger, None).await;

    // What is installed stops working, and works again.
    fs::remove_file(&flag).unwrap();
    let why = await_alarm(&ledger, Some("unhealthy")).await;
    assert_eq!((&why[0]["product"], &why[0]["channel"]), (&"vendor-a/app".into(), &"stable".into()), "{why}");
    assert!(why[0]["why"].as_str().is_some_and(|why| why.contains("flag") && why.contains("exit status 1")), "{why}");
    fs::write(&flag, "").unwrap();
    await_alarm(&ledger, None).await;
}
