//! What `countersign-devnet` and `countersign attack` say, without a ledger that runs: to people, to programs, and to
//! nobody.

#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use devnet::layout::{Agent, Devnet, Key, Node, VERSION};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const DEVNET: &str = env!("CARGO_BIN_EXE_countersign-devnet");
const ATTACK: &str = env!("CARGO_BIN_EXE_countersign-attack");

/// A ledger of a node and an agent that were never started, in a directory with a space in its name.
fn ledger(around: &Path) -> String {
    let dir = around.join("a ledger");
    std::fs::create_dir(&dir).unwrap();
    let node = Node {
        name: "vendor-a".to_owned(),
        organisation: "vendor-a".to_owned(),
        validator: true,
        grpc: "https://127.0.0.1:1".to_owned(),
        peer_address: "/ip4/127.0.0.1/tcp/1".to_owned(),
        node_key: "0".repeat(64),
        node_key_file: dir.join("node.key"),
        validator_key_file: Some(dir.join("validator.key")),
        config: dir.join("node.toml"),
        data_dir: dir.join("data"),
        log: dir.join("log"),
        pid: None,
    };
    let agent = Agent {
        name: "agent-1".to_owned(),
        key: "0".repeat(64),
        key_file: dir.join("endpoint.key"),
        config: dir.join("agent.toml"),
        data_dir: dir.join("agent"),
        log: dir.join("agent.log"),
        pid: None,
    };
    let devnet = Devnet {
        version: VERSION,
        dir: dir.clone(),
        chain_id: "0".repeat(64),
        genesis: dir.join("genesis"),
        ca: dir.join("ca.pem"),
        nodes: vec![node],
        agents: vec![agent],
        keys: Vec::<Key>::new(),
    };
    devnet.save().unwrap();
    dir.display().to_string()
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn every_answer_can_be_had_as_json() {
    let around = tempfile::tempdir().unwrap();
    let dir = ledger(around.path());
    for (arguments, expected) in [
        (&["stop", "vendor-a"][..], json!({ "ended": [] })),
        (&["down"], json!({ "ended": [] })),
        (
            &["env"],
            json!({
                "COUNTERSIGN_NODE": "https://127.0.0.1:1", "COUNTERSIGN_CA": format!("{dir}/ca.pem"),
                "COUNTERSIGN_GENESIS": format!("{dir}/genesis"),
            }),
        ),
    ] {
        let output = run(DEVNET, &[arguments, &["--dir", &dir, "-o", "json"]].concat());
        assert_eq!((output.status.code(), json_of(&output)), (Some(0), expected), "{arguments:?}");
    }
    let status = run(DEVNET, &["status", "--dir", &dir, "-o", "json"]);
    let node = &json_of(&status)["nodes"][0];
    assert_eq!((&node["name"], &node["up"]), (&"vendor-a".into(), &false.into()), "{node}");
    assert!(node["error"].is_string(), "{node}");
    let drills = run(ATTACK, &["--list", "-o", "json"]);
    assert!(json_of(&drills)["drills"][0]["name"].is_string());
}

#[test]
fn what_ended_is_said_and_what_did_not_run_too() {
    let around = tempfile::tempdir().unwrap();
    let dir = ledger(around.path());
    for (arguments, says) in
        [(&["stop", "agent-1"][..], "agent-1 was not running\n"), (&["down"], "nothing was running\n")]
    {
        let output = run(DEVNET, &[arguments, &["--dir", &dir]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice(), said.as_str()), (Some(0), &b""[..], says));
    }
    let lines = String::from_utf8(run(DEVNET, &["env", "--dir", &dir]).stdout).unwrap();
    assert!(lines.contains(&format!("export COUNTERSIGN_CA='{dir}/ca.pem'\n")), "{lines}");
}

#[test]
fn errors_end_with_two_and_say_what_to_do_to_programs_as_well() {
    let around = tempfile::tempdir().unwrap();
    let dir = ledger(around.path());
    let absent = around.path().join("absent").display().to_string();
    for (program, arguments, code, hint) in [
        (DEVNET, &["status", "--dir", &absent][..], "not-found", "countersign-devnet up --dir DIR"),
        (DEVNET, &["stop", "nobody", "--dir", &dir], "not-found", "here are vendor-a, agent-1"),
        (DEVNET, &["up", "--dir", &dir], "raise", "choose another directory"),
        (DEVNET, &["up", "--validators", "99", "--dir", &absent], "raise", "countersign-devnet up --help"),
        (DEVNET, &["fnord"], "usage", "--help"),
        (DEVNET, &[], "usage", "--help"),
        (ATTACK, &["--dir", &dir], "not-empty", "temporary directory"),
        (ATTACK, &["--fnord"], "usage", "--help"),
    ] {
        let output = run(program, &[arguments, &["-o", "json"]].concat());
        let error = &json_of(&output)["error"];
        assert_eq!((output.status.code(), error["code"].as_str()), (Some(2), Some(code)), "{arguments:?}: {error}");
        assert!(error["hint"].as_str().unwrap().contains(hint), "{arguments:?}: {error}");
        // People are told as ever, and programs that want no JSON get none.
        let plain = run(program, arguments);
        assert_eq!((plain.status.code(), plain.stdout.as_slice()), (Some(2), &b""[..]), "{arguments:?}");
        assert!(!plain.stderr.is_empty());
    }
}

/// `| head`, and `2>&-` with it.
#[test]
fn a_reader_that_went_away_is_no_crash() {
    let around = tempfile::tempdir().unwrap();
    let dir = ledger(around.path());
    for (program, arguments) in
        [(DEVNET, &["env", "--dir", &dir][..]), (DEVNET, &["down", "--dir", &dir]), (ATTACK, &["--list"])]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = writer.try_clone().unwrap();
        let ended = Command::new(program).args(arguments).stdout(writer).stderr(closed).status().unwrap();
        assert_eq!(ended.code(), Some(0), "{arguments:?}");
    }
}
