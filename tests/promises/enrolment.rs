//! Hosts that enrol themselves: one line for a host, and nothing left behind where it does not do.

use crate::support::ledger::Ledger;
use devnet::processes::program;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// The line that an operator prints, as words.
fn invited(ledger: &Ledger, more: &[&str]) -> Vec<String> {
    let who = ledger.as_client("site", Some(("site", "operator")));
    let output = ledger.countersign(&[&["endpoint", "invite", "--group", "edge"], more].concat(), &who);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = String::from_utf8(output.stdout).unwrap();
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let [program, enroll, node, option, token] = &words[..] else { panic!("{line}") };
    assert_eq!((program.as_str(), enroll.as_str(), option.as_str()), ("countersign-agent", "enroll", "--token"));
    assert_eq!(node, &ledger.node("site").grpc);
    assert!(token.starts_with("countersign1-"), "{token}");
    words
}

/// Runs such a line for a host.
fn enrols(words: &[String], name: &str, dir: &Path) -> Output {
    let mut command = Command::new(program("countersign-agent"));
    command.args(&words[1..]).args(["--name", name, "-o", "json", "--dir"]).arg(dir).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_needs_one_line_and_no_more_come_than_are_invited() {
    let ledger = Ledger::raise().await;
    let words = invited(&ledger, &["--label", "site=hamburg"]);
    let dir = ledger.beside("edge-1");
    let output = enrols(&words, "edge-1", &dir);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = json(&output);
    assert!(answer["height"].as_u64().is_some_and(|height| height > 0), "{answer}");

    // Nothing more is needed: the agent knows its ledger, and the ledger knows it.
    let status = Command::new(program("countersign-agent"))
        .args(["doctor", "--config"])
        .arg(dir.join("agent.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("this host's key is enrolled in the ledger"), "{said}");
    let who = ledger.as_client("site", None);
    let endpoints = ledger.countersign(&["get", "endpoints", "-o", "json"], &who);
    let endpoints = json(&endpoints);
    let [endpoint] = &endpoints["endpoints"].as_array().unwrap()[..] else { panic!("{endpoints}") };
    assert_eq!((&endpoint["name"], &endpoint["group"]), (&"edge-1".into(), &"edge".into()), "{endpoint}");
    assert_eq!(endpoint["key"], answer["public_key"], "{endpoint}");

    // One was invited.
    let second = ledger.beside("edge-2");
    let output = enrols(&words, "edge-2", &second);
    assert_eq!((output.status.code(), &json(&output)["error"]["code"]), (Some(1), &"invitation-used".into()));
    assert!(!second.exists(), "nothing is left of a host that was not let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_do_is_named_and_leaves_nothing_behind() {
    let ledger = Ledger::raise().await;
    let words = invited(&ledger, &["--name", "edge-1", "--hosts", "5"]);
    let with = |place: usize, word: String| {
        let mut words = words.clone();
        words[place] = word;
        words
    };
    let mut altered = words[4].clone().into_bytes();
    let last = altered.len() - 10;
    altered[last] = if altered[last] == b'A' { b'B' } else { b'A' };
    let vendor = ledger.node("vendor-a").grpc.clone();
    for (words, name, exit, code) in [
        (with(4, String::from_utf8(altered).unwrap()), "edge-1", 1, "signature"),
        (with(4, words[4][..words[4].len() - 7].to_owned()), "edge-1", 2, "invitation"),
        (with(4, "a password".to_owned()), "edge-1", 2, "invitation"),
        // Not the name that was invited, not a node that lets anybody in, nobody at all.
        (words.clone(), "edge-2", 1, "name"),
        (with(2, vendor), "edge-1", 1, "no-enrolment"),
        (with(2, "https://127.0.0.1:1".to_owned()), "edge-1", 3, "no-verdict"),
        (with(2, "ftp://127.0.0.1".to_owned()), "edge-1", 2, "usage"),
    ] {
        let dir = ledger.beside("edge");
        let output = enrols(&words, name, &dir);
        let answer = json(&output);
        assert_eq!((output.status.code(), &answer["error"]["code"]), (Some(exit), &code.into()), "{answer}");
        assert!(answer["error"]["hint"].is_string(), "{answer}");
        assert!(!dir.exists(), "{code}: something is left behind");
    }
    // A host that is one already stays what it is.
    let dir = ledger.beside("edge");
    assert!(enrols(&words, "edge-1", &dir).status.success());
    let before = std::fs::read(dir.join("endpoint.key")).unwrap();
    assert_eq!(enrols(&words, "edge-1", &dir).status.code(), Some(2));
    assert_eq!(std::fs::read(dir.join("endpoint.key")).unwrap(), before);
    // One that is called the same is let in, and told.
    let output = enrols(&words, "edge-1", &ledger.beside("other"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("another host is called edge-1 already"), "{said}");
}
