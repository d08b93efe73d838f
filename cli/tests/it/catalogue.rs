//! Lists, blocks and the status of a node.

use crate::double::{Lie, Node};
use crate::hands::Hands;
use ledger::bounded::{Name, SortedList, Text};
use ledger::id::{Digest, PatchId};
use ledger::receipt::{Health, Outcome, Reason, ReasonCode, Receipt};
use ledger::state::record::Role;
use ledger::transaction::Payload;
use tests::Scenario;

fn enroll(node: &Node, number: u64) {
    let endpoint = Scenario::new(7).endpoint(number).public();
    let name = Name::new(format!("host{number}")).unwrap();
    let group = Name::new("web").unwrap();
    node.record("bank", Role::Operator, Payload::Enroll { endpoint, name, group, labels: SortedList::default() });
}

fn receipt(patch: PatchId, outcome: Outcome) -> Receipt {
    let reason = Reason { code: ReasonCode::Target, detail: Text::cut("for another host") };
    Receipt {
        patch,
        rollout: None,
        attempt: 1,
        from_version: Text::cut("1.0.0"),
        to_version: Text::cut("1.0.1"),
        outcome,
        reason: (outcome != Outcome::Applied).then_some(reason),
        health: Health::Passed,
        log_digest: Digest::ZERO,
        ended_at_ms: 1_767_225_600_000,
    }
}

fn count(hands: &Hands, list: &[&str], field: &str) -> (usize, bool) {
    let view = hands.run(&[list, &["-o", "json"]].concat()).done().json();
    (view[field].as_array().unwrap().len(), view["more"].as_bool().unwrap())
}

#[test]
fn pages_are_followed_up_to_the_limit() {
    let node = Node::start();
    let hands = node.hands();
    let patches = node.publish(1..=7);
    for number in 0..5 {
        enroll(&node, number);
        node.receipt(number, receipt(patches[0], Outcome::NotApplicable));
    }
    assert_eq!(count(&hands, &["get", "patches"], "patches"), (7, false));
    assert_eq!(count(&hands, &["get", "patches", "--limit", "7"], "patches"), (7, false));
    assert_eq!(count(&hands, &["patch", "list", "--limit", "5"], "patches"), (5, true));
    assert_eq!(count(&hands, &["get", "patches", "--limit", "1"], "patches"), (1, true));
    assert_eq!(count(&hands, &["get", "patches", "--product", "acme/other"], "patches"), (0, false));
    assert_eq!(count(&hands, &["get", "patches", "--standing", "approved"], "patches"), (0, false));
    assert_eq!(count(&hands, &["get", "endpoints"], "endpoints"), (5, false));
    assert_eq!(count(&hands, &["get", "endpoints", "--organisation", "clinic"], "endpoints"), (0, false));
    assert_eq!(count(&hands, &["get", "receipts"], "receipts"), (5, false));
    assert_eq!(count(&hands, &["get", "receipts", "--limit", "3"], "receipts"), (3, true));
    let one = Scenario::new(7).endpoint(2).public().to_string();
    assert_eq!(count(&hands, &["get", "receipts", "--endpoint", &one[..6]], "receipts"), (1, false));
    assert_eq!(count(&hands, &["get", "receipts", "--endpoint", "host2"], "receipts"), (1, false));
    let nobody = hands.run(&["get", "receipts", "--endpoint", "host9"]);
    nobody.is(1, "", "error: no endpoint is called host9\nhint: `countersign get` lists what there is; a node that is behind may not have it yet\n");
    assert_eq!(count(&hands, &["get", "receipts", "--patch", &patches[1].to_string()[..8]], "receipts"), (0, false));
    assert_eq!(count(&hands, &["get", "blocks"], "blocks"), (34, false));
    assert_eq!(count(&hands, &["get", "blocks", "--from", "9", "--limit", "20"], "blocks"), (9, false));
    assert_eq!(count(&hands, &["get", "blocks", "--limit", "33"], "blocks"), (33, true));
    // What the limit was and how to see on stands at the end, where people look.
    for (list, shown, on) in [
        (&["get", "patches", "--limit", "2"][..], 2, "--limit 20"),
        (&["get", "endpoints", "--limit", "4"], 4, "--limit 40"),
        (&["get", "blocks", "--limit", "3"], 3, "--from 31"),
    ] {
        let told = hands.run(list).done();
        let end = format!("\n\nThese are {shown}, and there are more: {on} shows them.\n");
        assert!(told.stdout.ends_with(&end) && told.stderr.is_empty(), "{}", told.stdout);
        assert_eq!(told.stdout.lines().count(), 1 + shown + 2);
    }
}

#[test]
fn pages_that_never_end_are_left() {
    let node = Node::start();
    let hands = node.hands();
    node.publish([1]);
    node.lie(Lie::Endless);
    for list in [["get", "patches"], ["get", "endpoints"], ["get", "receipts"]] {
        hands.run(&list).fails(1, "1000 pages with nothing on them and another after them");
    }
    hands.run(&["get", "blocks", "--from", "2"]).fails(1, "blocks before 2 begin at 3");
}

#[test]
fn tables_have_a_line_per_element_and_their_ids_can_be_typed() {
    let node = Node::start();
    let hands = node.hands();
    let patch = node.publish([1])[0];
    enroll(&node, 1);
    node.receipt(1, receipt(patch, Outcome::NotApplicable));
    let patches = hands.run(&["get", "patches"]).done().stdout;
    let short = &patch.to_string()[..12];
    let line = format!(
        "{short}  acme/widget  stable   1.0.1    1        security  important  pending   bank, clinic, depot  widget 1.0.1"
    );
    assert_eq!(patches.lines().nth(1), Some(line.as_str()));
    hands.run(&["patch", "show", short]).done();

    let receipts = hands.run(&["get", "receipts"]).done().stdout;
    let line = receipts.lines().nth(1).unwrap();
    assert!(line.starts_with("2026-01-01T00:00:00.000Z  host1"), "{line}");
    assert!(line.contains("not-applicable  target") && line.ends_with("for another host"), "{line}");

    let endpoints = hands.run(&["get", "endpoints"]).done().stdout;
    let line = endpoints.lines().nth(1).unwrap();
    assert!(line.contains("host1  web    bank") && line.contains("active  not-applicable  1.0.1"), "{line}");
}

#[test]
fn the_status_tells_where_the_node_stands() {
    let node = Node::start();
    let hands = node.hands();
    node.publish([1]);
    let view = hands.run(&["status", "-o", "json"]).done().json();
    assert_eq!((&view["height"], &view["transactions"], &view["validator"]), (&2.into(), &1.into(), &true.into()));
    assert_eq!(view["chain_id"], Scenario::new(7).chain_id().to_string());
    assert_eq!(view["peers"][1]["organisation"], "clinic");
    let text = hands.run(&["status"]).done().stdout;
    assert!(text.contains("validator of bank, version 0.1.0") && text.contains("p50 42 ms, p99 120 ms"), "{text}");
}

#[test]
fn a_block_is_shown_with_what_could_be_checked() {
    let node = Node::start();
    let hands = node.hands();
    let patch = node.publish([1])[0].to_string();
    let view = hands.run(&["chain", "show", "1", "-o", "json"]).done().json();
    assert_eq!((&view["certificate"], &view["signers"]), (&"verified".into(), &3.into()));
    assert_eq!(
        (&view["transactions"][0]["kind"], &view["transactions"][0]["patch"]),
        (&"publish".into(), &patch.into())
    );
    assert_eq!(view["header"]["height"], 1);
    assert_eq!(hands.run(&["chain", "show", "-o", "json"]).done().json()["header"]["height"], 2);
    let genesis = hands.run(&["chain", "show", "0"]).done().stdout;
    assert!(genesis.contains("none: this is the trust root"), "{genesis}");
    hands.run(&["chain", "show", "99"]).fails(1, "refused by check not-found: no such block");
    node.lie(Lie::Altered);
    hands.run(&["chain", "show", "1"]).fails(1, "block 1: certificate is for block");
}

#[test]
fn of_nothing_there_is_no_table_and_that_is_told_beside_the_answer() {
    let node = Node::start();
    let hands = node.hands();
    for what in ["patches", "endpoints", "receipts", "proposals", "convictions"] {
        hands.run(&["get", what]).is(0, "", &format!("no {what}\n"));
        assert_eq!(count(&hands, &["get", what], what), (0, false));
    }
}

#[test]
fn checks_that_were_not_run_are_spelt_in_one_way() {
    let node = Node::start();
    let hands = node.hands();
    let patch = node.publish([1])[0];
    enroll(&node, 1);
    node.receipt(1, Receipt { health: Health::NotRun, ..receipt(patch, Outcome::NotApplicable) });
    let view = hands.run(&["get", "receipts", "-o", "json"]).done().json();
    assert_eq!(view["receipts"][0]["health"], "not-run");
    assert!(hands.run(&["get", "receipts"]).done().stdout.contains("  not-run  "));
}
