//! What must be true of a ledger whatever happened to it.

use super::clients::Noted;
use super::ledger::Ledger;
use super::{LOOK, PATIENCE};
use devnet::processes;
use proto::v1::{GetBlockRequest, GetTransactionRequest, ListConvictionsRequest, Position, TransactionState};
use std::time::Instant;

/// Every transaction that somebody was told is finalised is finalised, there and nowhere else, on these
/// nodes.
pub(crate) async fn nothing_finalised_is_lost(ledger: &Ledger, nodes: &[&str], noted: &Noted) {
    for name in nodes {
        let mut client = ledger.connect(name).await;
        for (id, place) in noted {
            let request = GetTransactionRequest { id: id.0.to_vec() };
            let found = client.get_transaction(request).await.unwrap().into_inner();
            assert_eq!(
                (found.state(), found.position),
                (TransactionState::Finalised, Some(*place)),
                "{id} was finalised at {place:?}, {name} says otherwise"
            );
        }
    }
}

/// No two transactions have one place.
pub(crate) fn no_place_is_given_twice(noted: &Noted) {
    let mut indices: Vec<u64> = noted.iter().map(|(_, place)| place.index).collect();
    indices.sort_unstable();
    let places = indices.len();
    indices.dedup();
    assert_eq!(indices.len(), places, "a place was given twice");
}

/// All nodes have the same block at every height that all of them have; how many that are.
pub(crate) async fn all_chains_are_equal(ledger: &Ledger, nodes: &[&str]) -> u64 {
    let mut common = u64::MAX;
    for name in nodes {
        common = common.min(ledger.height(name).await);
    }
    let mut clients = Vec::new();
    for name in nodes {
        clients.push((name, ledger.connect(name).await));
    }
    for height in 0..=common {
        let mut first = None;
        for (name, client) in &mut clients {
            let block = client.get_block(GetBlockRequest { height }).await.unwrap().into_inner().block;
            let expected = first.get_or_insert_with(|| block.clone());
            assert!(*expected == block, "{name} has another block {height} than {}", nodes[0]);
        }
    }
    common
}

/// The chain of a stopped node is what it must be, byte by byte.
pub(crate) fn the_chain_is_sound(ledger: &Ledger, name: &str) {
    let config = ledger.node(name).config.display().to_string();
    let began = Instant::now();
    let output = loop {
        let output = processes::output("countersign-node", &["fsck", "--config", &config]).unwrap();
        // The kernel may have more to do before the lock of who was killed is free.
        let is_locked = String::from_utf8_lossy(&output.stderr).contains("in use by another process");
        if !is_locked || began.elapsed() > PATIENCE {
            break output;
        }
        println!("{name}: its store was in use {} ms after it had ended", began.elapsed().as_millis());
        std::thread::sleep(LOOK);
    };
    assert!(output.status.success(), "{name}: {output:?}");
}

/// Nobody crashed.
pub(crate) fn nobody_panicked(ledger: &Ledger, nodes: &[&str]) {
    for name in nodes {
        let log = ledger.log(name);
        let line = log.lines().find(|line| line.contains("panicked"));
        assert_eq!(line, None, "{name}");
    }
}

/// The ledger knows of no validator that signed two things.
pub(crate) async fn nobody_is_convicted(ledger: &Ledger, name: &str) {
    let request = ListConvictionsRequest::default();
    let convicted = ledger.connect(name).await.list_convictions(request).await.unwrap().into_inner();
    assert_eq!(convicted.convictions, vec![], "by {name}");
}

/// Where a transaction is, if this node says that it is finalised.
pub(crate) async fn place_of(ledger: &Ledger, name: &str, id: ledger::id::TransactionId) -> Option<Position> {
    let request = GetTransactionRequest { id: id.0.to_vec() };
    ledger.connect(name).await.get_transaction(request).await.unwrap().into_inner().position
}
