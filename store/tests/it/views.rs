//! A view stays what it was, and commits go on.

use crate::support::{Kept, Oracle};
use ledger::execution;
use ledger::state::{RecordKey, tree};
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Store, StoreError};
use tests::Chain;

#[test]
fn a_view_does_not_move() {
    let mut kept = Kept::new(1, 20);
    let store = kept.open();
    let view = store.view();
    let tip = view.tip().unwrap();
    let patches = view.patches(None, 100).unwrap();
    kept.oracle.block(40);
    kept.oracle.commit_to(&store);

    assert_eq!(store.tip(), kept.oracle.tip(40));
    assert_eq!(view.tip().unwrap(), tip);
    assert_eq!(tip, kept.oracle.tip(20));
    assert_eq!(view.patches(None, 100).unwrap(), patches);
    assert_eq!(view.header(21).unwrap(), None);
    let key = RecordKey::Validators.state_key();
    tree::prove(&view, tip.tree, &key).unwrap().verify(&tip.header.state_root, &key).unwrap().unwrap();
}

#[test]
fn readers_see_whole_blocks_while_one_thread_commits() {
    let mut kept = Kept::new(2, 5);
    let store = kept.open();
    kept.oracle.block(150);
    let done = AtomicBool::new(false);
    let views = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut views, mut last) = (0_u64, 0);
                    while !done.load(Ordering::Acquire) || views == 0 {
                        let view = store.view();
                        let tip = view.tip().unwrap();
                        assert!(tip.header.height >= last, "a later view is not of an earlier block");
                        last = tip.header.height;
                        assert_eq!(view.header(last).unwrap().unwrap(), tip.header);
                        assert_eq!(view.header(last + 1).unwrap(), None);
                        let key = RecordKey::Halts.state_key();
                        let proof = tree::prove(&view, tip.tree, &key).unwrap();
                        proof.verify(&tip.header.state_root, &key).unwrap().unwrap();
                        views += 1;
                    }
                    views
                })
            })
            .collect();
        kept.oracle.commit_to(&store);
        done.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>()
    });
    assert!(views >= 2);
    assert_eq!(store.tip(), kept.oracle.tip(150));
}

#[test]
fn blocks_executed_over_the_store_are_those_executed_over_memory() {
    let directory = tempfile::tempdir().unwrap();
    let mut oracle = Oracle::new(3);
    let store = Store::create(directory.path().join("store"), oracle.chain.scenario().genesis()).unwrap();
    for height in 1..=80 {
        let block = oracle.block(height).unwrap();
        let (header, transactions) = (&block.executed.block.header, block.executed.transactions.clone());
        let proposed = execution::propose(&store, &store.tip(), transactions.clone(), header.time_ms, header.proposer);
        let (proposed, dropped) = proposed.unwrap();
        assert!(dropped.is_empty());
        assert_eq!(proposed, block.executed);
        let executed = execution::execute(&store, &store.tip(), proposed.block, transactions).unwrap();
        assert_eq!(executed, block.executed);
        store.commit(&executed, &block.certificate).unwrap();
    }
}

#[test]
fn only_the_next_block_with_its_own_certificate_is_taken() {
    let mut kept = Kept::new(4, 3);
    let store = kept.open();
    let before = store.tip();
    let [second, third] = [2, 3].map(|height| kept.oracle.block(height).unwrap().clone());
    let [fourth, fifth] = [4, 5].map(|height| kept.oracle.block(height).unwrap().clone());
    let not_next = |result| matches!(result, Err(StoreError::NotNext { tip_height: 3, .. }));
    assert!(not_next(store.commit(&fifth.executed, &fifth.certificate)));
    assert!(not_next(store.commit(&third.executed, &third.certificate)));
    assert!(not_next(store.commit(&second.executed, &second.certificate)));

    // Height 4 of another ledger.
    let mut other = Chain::new(99);
    let stranger = (0..4).map(|_| other.finalise_seeded(5)).last().unwrap();
    assert!(not_next(store.commit(&stranger.executed, &stranger.certificate)));

    let strange = store.commit(&fourth.executed, &fifth.certificate);
    assert!(matches!(strange, Err(StoreError::OtherCertificate { height: 4, certified_height: 5, .. })));
    assert_eq!(store.tip(), before);
    store.commit(&fourth.executed, &fourth.certificate).unwrap();
    assert_eq!(store.tip().header.height, 4);
}
