//! Validators that are lost, and come back.

use crate::support::clients::{Operator, finalise};
use crate::support::invariants::{
    all_chains_are_equal, nobody_is_convicted, nobody_panicked, place_of, the_chain_is_sound,
};
use crate::support::ledger::{Ledger, NODES};
use crate::support::wait_for;
use ledger::certificate::Certificate;
use ledger::encoding::decode;
use ledger::genesis::Genesis;
use ledger::key::PublicKey;
use proto::v1::{GetBlockRequest, SubmitRequest, TransactionState};
use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;

#[tokio::test]
async fn the_ledger_survives_the_loss_of_one_of_four_and_stops_rather_than_lie_without_two() {
    let mut ledger = Ledger::raise().await;
    let operator = Operator::of(&ledger);

    // One down: finality goes on at every other node.
    ledger.kill("vendor-b");
    let mut last = 0;
    for name in ["vendor-a", "approver-a", "approver-b", "site"] {
        last = finalise(&ledger, name, &operator.sign()).await.height;
    }
    ledger.start("vendor-b");
    ledger.await_height("vendor-b", last).await;

    // Two down: nothing is finalised, and nobody says that something was.
    ledger.kill("vendor-b");
    ledger.kill("approver-b");
    let transaction = operator.sign();
    let mut height = 0;
    for name in ["vendor-a", "approver-a", "site"] {
        height = height.max(ledger.height(name).await);
        let request = SubmitRequest { transaction: transaction.bytes().to_vec(), wait_ms: 3_000 };
        let answer = ledger.connect(name).await.submit(request).await.unwrap().into_inner();
        assert_eq!((answer.state(), answer.position), (TransactionState::Pending, None), "{name}");
        assert_eq!(place_of(&ledger, name, transaction.id()).await, None, "{name}");
    }
    for name in ["vendor-a", "approver-a", "site"] {
        // What had been agreed on when the second went may still arrive, but nothing after it.
        let now = ledger.height(name).await;
        assert!(now <= height + 1, "{name} went from {height} to {now} without a quorum");
    }

    // One is back: it goes on, with the very transaction that waited.
    ledger.start("approver-b");
    let place = finalise(&ledger, "approver-a", &transaction).await;
    for name in ["vendor-a", "approver-b", "site"] {
        ledger.await_height(name, place.height).await;
        assert_eq!(place_of(&ledger, name, transaction.id()).await, Some(place), "{name}");
    }
    ledger.start("vendor-b");
    ledger.await_height("vendor-b", place.height).await;
    assert!(all_chains_are_equal(&ledger, &NODES).await >= place.height);
    nobody_panicked(&ledger, &NODES);
    for name in NODES {
        ledger.stop(name);
        the_chain_is_sound(&ledger, name);
    }
}

/// Its keys are left, and nothing else: it comes back by block sync, keeps silent until it cannot contradict what it
/// said before, and then has its vote again.
#[tokio::test]
async fn a_validator_whose_disk_is_lost_comes_back_and_never_contradicts_itself() {
    let mut ledger = Ledger::raise().await;
    let operator = Operator::of(&ledger);
    let validators = genesis(&ledger).validators;
    let key = validators.validators().iter().find(|one| one.organisation.as_str() == "vendor-b").unwrap().key;
    let mut last = a_vote_of(&ledger, &operator, key, 0).await;
    ledger.kill("vendor-b");
    fs::remove_dir_all(&ledger.node("vendor-b").data_dir).unwrap();
    ledger.start("vendor-b");
    ledger.await_height("vendor-b", last).await;
    wait_for("the node to see what it forgot", async || {
        ledger.log("vendor-b").contains("does not know of it").then_some(())
    })
    .await;
    last = a_vote_of(&ledger, &operator, key, last).await;
    nobody_is_convicted(&ledger, "site").await;
    assert!(all_chains_are_equal(&ledger, &NODES).await >= last);
}

/// Has blocks made until one after `height` is signed by this key; its height, or that of one after it.
async fn a_vote_of(ledger: &Ledger, operator: &Operator, key: PublicKey, height: u64) -> u64 {
    // Each keeps the certificate that it decided by, and any of them may be asked for blocks.
    let mut shown_by = BTreeSet::new();
    let mut seen = height;
    wait_for("a vote", async || {
        let newest = finalise(ledger, "vendor-a", &operator.sign()).await.height;
        for name in NODES.into_iter().filter(|name| *name != "vendor-b") {
            ledger.await_height(name, newest).await;
            if signers(ledger, name, seen + 1..=newest).await.contains(&key) {
                shown_by.insert(name);
            }
        }
        seen = newest;
        (shown_by.len() == NODES.len() - 1).then_some(newest)
    })
    .await
}

/// Who signed the certificates of these heights.
async fn signers(ledger: &Ledger, name: &str, heights: RangeInclusive<u64>) -> BTreeSet<PublicKey> {
    let validators = genesis(ledger).validators;
    let mut client = ledger.connect(name).await;
    let mut signers = BTreeSet::new();
    for height in heights {
        let block = client.get_block(GetBlockRequest { height }).await.unwrap().into_inner();
        let certificate: Certificate = decode(&block.certificate).unwrap();
        signers.extend(certificate.signers(&validators).unwrap().into_iter().map(|(key, _)| key));
    }
    signers
}

fn genesis(ledger: &Ledger) -> Genesis {
    Genesis::parse(&fs::read(&ledger.devnet.genesis).unwrap()).unwrap().genesis
}
