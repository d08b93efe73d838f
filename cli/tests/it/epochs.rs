//! How the set of validators changed, proven from the trust root.

use crate::double::{Lie, Node};
use tests::Scenario;

#[test]
fn a_set_that_never_changed_is_the_trust_roots() {
    let node = Node::start();
    let hands = node.hands();
    let view = hands.run(&["chain", "epochs", "-o", "json"]).done().json();
    assert_eq!((view["epochs"].as_array().unwrap().len(), &view["head"]["height"]), (1, &0.into()));
    node.publish([1]);
    let text = hands.run(&["chain", "epochs"]).done().stdout;
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("HEIGHT  TIME                      SIGNED BY   VALIDATORS  QUORUM  CHANGES"));
    let genesis = lines.next().unwrap();
    assert!(genesis.starts_with("0       2026-01-01T00:00:00.000Z  trust root  4           3       +"), "{genesis}");
    assert_eq!(genesis.matches('+').count(), 4);
    let end = lines.next_back().unwrap();
    assert!(end.starts_with("Changed 0 times, verified here up to the node's head: height 2, "), "{end}");
}

#[test]
fn every_change_is_shown_with_who_joined_and_who_left() {
    let node = Node::start();
    let hands = node.hands();
    node.rotate(2);
    let view = hands.run(&["chain", "epochs", "--genesis", "genesis", "-o", "json"]).done().json();
    let epochs = view["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 3);
    let keys = Scenario::new(7).validating_keys(2);
    for (place, epoch) in epochs[1..].iter().enumerate() {
        let (left, joined) = (keys[place].public().to_string(), keys[4 + place].public().to_string());
        assert_eq!((&epoch["left"][0]["key"], &epoch["joined"][0]["key"]), (&left.into(), &joined.into()));
        assert_eq!((&epoch["signers"], &epoch["quorum"]), (&3.into(), &3.into()));
        assert_eq!(epoch["validators"].as_array().unwrap().len(), 4);
    }
    // A block with the change, and the next, which names the new set.
    assert_eq!((&epochs[1]["height"], &epochs[2]["height"]), (&2.into(), &5.into()));
    assert_eq!(view["head"]["height"], 6);
    let text = hands.run(&["chain", "epochs"]).done().stdout;
    assert!(text.contains("\nChanged 2 times, verified here up to the node's head: height 6, "), "{text}");
    assert!(text.contains(&format!("+acme {}, -acme ", &keys[4].public().to_string()[..12])), "{text}");
}

#[test]
fn more_changes_than_one_answer_has_are_asked_for_page_after_page() {
    let node = Node::start();
    let hands = node.hands();
    for (more, changes) in [(32, 32), (1, 33)] {
        node.rotate(more);
        let view = hands.run(&["chain", "epochs", "-o", "json"]).done().json();
        assert_eq!(view["epochs"].as_array().unwrap().len(), changes + 1);
    }
}

#[test]
fn a_block_is_checked_under_the_validators_of_its_height() {
    let node = Node::start();
    let hands = node.hands();
    node.rotate(2);
    for height in ["1", "2", "3", "5", "6"] {
        let view = hands.run(&["chain", "show", height, "-o", "json"]).done().json();
        assert_eq!((&view["certificate"], &view["signers"]), (&"verified".into(), &3.into()), "{height}");
    }
    node.lie(Lie::NewestEpochMissing);
    hands.run(&["chain", "show", "5"]).done();
    hands.run(&["chain", "show", "6"]).fails(1, "block 6: header names another validator set");
}

#[test]
fn a_chain_of_sets_that_does_not_hold_is_refused_by_name() {
    for (lie, says) in [
        (Lie::EpochMissing, "header names another validator set"),
        (Lie::NewestEpochMissing, "header names another validator set"),
        (Lie::EpochForged, "certificate is for block"),
    ] {
        let node = Node::start();
        let hands = node.hands();
        node.rotate(2);
        node.lie(lie);
        let ran = hands.run(&["chain", "epochs"]);
        ran.fails(1, "refused by check epoch-chain: ");
        ran.fails(1, says);
    }
}

#[test]
fn the_changes_are_proven_from_a_trust_root_or_not_at_all() {
    let node = Node::start();
    let hands = crate::hands::Hands::new();
    let address = node.address().to_owned();
    hands.run(&["chain", "epochs", "--node", &address]).fails(2, "error: no trust root given\nhint: say which ledger");
    hands.write("genesis", crate::fixture::LedgerInMemory::new(Scenario::new(8)).trust_root());
    let ran = hands.run(&["chain", "epochs", "--node", &address, "--genesis", "genesis"]);
    ran.fails(1, "refused by check chain-id");
}
