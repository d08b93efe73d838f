//! Validators that are lost, and come back.

use crate::support::clients::{Operator, finalise};
use crate::support::invariants::{all_chains_are_equal, nobody_panicked, place_of, the_chain_is_sound};
use crate::support::ledger::{Ledger, NODES};
use proto::v1::{SubmitRequest, TransactionState};

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
