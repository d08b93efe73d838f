//! Scripts from outside: everything they need is in one file, and everything they do is a program.

use crate::support::ledger::{Ledger, NODES};
use crate::support::wait_for;
use devnet::layout::Devnet;
use devnet::processes::{self, output, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The fields the help of `countersign-devnet` lists for one kind of thing.
fn documented(help: &str, from: &str, to: &str) -> BTreeSet<String> {
    let (_, rest) = help.split_once(from).unwrap_or_else(|| panic!("nothing is said of {from}"));
    let part = rest.split_once(to).map_or(rest, |(part, _)| part);
    // What stands in brackets explains, and is no field.
    let (mut plain, mut depth) = (String::new(), 0);
    for letter in part.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            letter if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    plain.split([',', '\n', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_a_script_needs_is_in_devnet_json_as_the_help_says() {
    let mut ledger = Ledger::raise().await;
    ledger.add_agent("agent-1", "\n[[subscriptions]]\nproduct = \"vendor-a/app\"\nchannel = \"stable\"\n");
    let dir = ledger.devnet.dir.clone();
    let file = dir.join("devnet.json");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let help = run("countersign-devnet", &["--help"]).unwrap();

    let kinds = [("nodes[]", "agents[]", "nodes"), ("agents[]", "keys[]", "agents"), ("keys[]", "Vendors own", "keys")];
    for (from, to, field) in kinds {
        for entry in json[field].as_array().unwrap() {
            let wanted = documented(&help, from, to);
            let there: BTreeSet<String> = keys(entry).into_iter().map(str::to_owned).collect();
            assert_eq!(there, wanted, "{field}");
        }
    }
    for field in ["dir", "chain_id", "genesis", "ca"] {
        assert!(json[field].is_string() && help.contains(field), "{field}");
    }
    assert_eq!(json["version"], 1);
    let names: Vec<_> = json["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, NODES);
    for node in json["nodes"].as_array().unwrap() {
        assert!(node["grpc"].as_str().unwrap().starts_with("https://127.0.0.1:"));
        assert!(processes::is_running(
            node["pid"].as_u64().map(|pid| u32::try_from(pid).unwrap()),
            Path::new(node["config"].as_str().unwrap())
        ));
    }
    for path in ["genesis", "ca"].map(|field| &json[field]) {
        assert!(Path::new(path.as_str().unwrap()).is_file(), "{path}");
    }
    for key in json["keys"].as_array().unwrap() {
        assert!(["publisher", "approver", "operator", "governor"].contains(&key["role"].as_str().unwrap()), "{key}");
        assert!(Path::new(key["file"].as_str().unwrap()).is_file(), "{key}");
    }

    // And with it alone a script can ask, stop, start and end.
    let place = dir.display().to_string();
    let url = json["nodes"][0]["grpc"].as_str().unwrap();
    let status = run("countersign", &["status", "--node", url, "--ca", json["ca"].as_str().unwrap(), "-o", "json"]);
    let status: Value = serde_json::from_str(&status.unwrap()).unwrap();
    assert_eq!(status["chain_id"], json["chain_id"]);
    run("countersign-devnet", &["stop", "vendor-a", "--kill", "--dir", &place]).unwrap();
    let shown = run("countersign-devnet", &["status", "--dir", &place]).unwrap();
    assert!(shown.lines().any(|line| line.starts_with("vendor-a") && line.contains("down")), "{shown}");
    assert!(shown.lines().filter(|line| line.contains("height")).count() == 4, "{shown}");
    assert_eq!(Devnet::load(&dir).unwrap().node("vendor-a").unwrap().pid, None);
    run("countersign-devnet", &["start", "vendor-a", "--dir", &place]).unwrap();
    wait_for("everybody", async || {
        let shown = run("countersign-devnet", &["status", "--dir", &place]).unwrap();
        (shown.lines().filter(|line| line.contains("height")).count() == 5).then_some(())
    })
    .await;
    ledger.devnet = Devnet::load(&dir).unwrap();
    let unknown = output("countersign-devnet", &["stop", "nobody", "--dir", &place]).unwrap();
    assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("nobody"));
    let again = output("countersign-devnet", &["up", "--dir", &place]).unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("is not empty"));

    run("countersign-devnet", &["down", "--dir", &place]).unwrap();
    let down = Devnet::load(&dir).unwrap();
    for (before, after) in ledger.devnet.nodes.iter().zip(&down.nodes) {
        assert!(after.pid.is_none() && !processes::is_running(before.pid, &before.config), "{} runs", before.name);
    }
    for (before, after) in ledger.devnet.agents.iter().zip(&down.agents) {
        assert!(after.pid.is_none() && !processes::is_running(before.pid, &before.config), "{} runs", before.name);
    }
}
