//! Two of four validators live twice: started again from a copy of their disks, with other company. They fork the
//! ledger, and exactly they are named for it.

use crate::support::clients::{Operator, finalise};
use crate::support::invariants::nobody_panicked;
use crate::support::ledger::{Ledger, NODES};
use crate::support::wait_for;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Those who live twice, and whose signatures are under both histories.
const TWICE: [&str; 2] = ["approver-a", "vendor-b"];
/// Heads taken away from the first life: of each four in a row, some are of the round the second life has.
const HEADS: u64 = 4;

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// The organisations an audit names.
fn named(view: &Value) -> BTreeSet<String> {
    let named = view["equivocators"].as_array().unwrap().iter();
    named.map(|named| named["organisation"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_fork_by_two_of_four_names_exactly_the_two_who_signed_both() {
    let mut ledger = Ledger::raise().await;
    let operator = Operator::of(&ledger);
    finalise(&ledger, "vendor-a", &operator.sign()).await;
    for name in NODES {
        ledger.stop(name);
    }
    for name in TWICE {
        copy(&ledger.node(name).data_dir, &ledger.beside(name));
    }

    // The first life, with the vendor.
    let company = |of: &'static str| [of, TWICE[0], TWICE[1]];
    for name in company("vendor-a") {
        ledger.start(name);
    }
    let first = finalise(&ledger, "vendor-a", &operator.sign()).await.height;
    ledger.await_height("vendor-a", first + HEADS).await;
    let as_client = ledger.as_client("vendor-a", None);
    let heads: Vec<String> = (first..first + HEADS)
        .map(|height| {
            let file = ledger.beside(&format!("{height}.head")).display().to_string();
            ledger.must(&["chain", "show", &height.to_string(), "--out", &file], &as_client);
            file
        })
        .collect();
    for name in company("vendor-a") {
        ledger.stop(name);
    }

    // The second life, from before the first, with the other approver.
    for name in TWICE {
        let data = ledger.node(name).data_dir.clone();
        std::fs::rename(&data, ledger.beside(&format!("{name} before"))).unwrap();
        std::fs::rename(ledger.beside(name), data).unwrap();
    }
    for name in company("approver-b") {
        ledger.start(name);
    }
    finalise(&ledger, "approver-b", &operator.sign()).await;
    ledger.await_height("approver-b", first + HEADS).await;

    // Each head against the living node: exactly these two, or nobody where the rounds differ.
    let (who, other) = (ledger.as_client("approver-b", None), ledger.node("approver-b").grpc.clone());
    let twice: BTreeSet<String> = TWICE.map(str::to_owned).into();
    let mut told = 0;
    for (place, head) in heads.iter().enumerate() {
        let evidence = ledger.beside(&format!("head-{place}.evidence")).display().to_string();
        let output = ledger.countersign(&["audit", "fork", head, &other, "--out", &evidence, "-o", "json"], &who);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let view: Value = serde_json::from_slice(&output.stdout).unwrap();
        if view["sides"][0]["round"] == view["sides"][1]["round"] {
            assert_eq!(named(&view), twice, "{view}");
            told += 1;
        } else {
            assert_eq!((named(&view), view["why_nobody"].is_string()), (BTreeSet::new(), true), "{view}");
        }
        let checked = ledger.must(&["audit", "check", &evidence, "-o", "json"], &who);
        let checked: Value = serde_json::from_str(&checked).unwrap();
        assert_eq!(named(&checked["fork"]), named(&view));
    }
    assert!(told > 0, "of {HEADS} heights none was decided in one round on both sides");

    // The vendor comes back with the first history: two nodes tell the same, at the first height they differ.
    ledger.start("vendor-a");
    let vendor = ledger.node("vendor-a").grpc.clone();
    ledger.height("vendor-a").await;
    let evidence = ledger.beside("fork.evidence").display().to_string();
    let audit = ["audit", "fork", &vendor, &other, "--out", &evidence, "-o", "json"];
    let output = ledger.countersign(&audit, &who);
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), named(&view)), (Some(1), twice.clone()), "{view}");
    assert!(view["height"].as_u64().unwrap() <= first);

    // The nodes of the two histories meet, and one looks back in the other's: it is on the ledger, by nobody's hand.
    let convictions = wait_for("a conviction", async || {
        let convictions: Value =
            serde_json::from_str(&ledger.must(&["get", "convictions", "-o", "json"], &who)).unwrap();
        convictions["convictions"].as_array().is_some_and(|found| !found.is_empty()).then_some(convictions)
    })
    .await;
    // What people found, too, goes onto the ledger once, by any member's node key.
    let key = ledger.node("approver-b").config.with_file_name("node.key").display().to_string();
    ledger.must(&["audit", "accuse", &evidence, "--key", &key], &who);
    let again = ledger.must(&["audit", "accuse", &evidence, "--key", &key, "-o", "json"], &who);
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["known"], 1);
    let culprits = convictions["convictions"].as_array().unwrap().iter().flat_map(|conviction| {
        let culprits = conviction["culprits"].as_array().unwrap().iter();
        culprits.map(|culprit| culprit["organisation"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(culprits.collect::<BTreeSet<_>>(), twice, "{convictions}");
    nobody_panicked(&ledger, &NODES);
}
