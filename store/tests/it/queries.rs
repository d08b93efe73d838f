//! Every answer of the store is what the chain in memory says.

use crate::support::Kept;
use ledger::encoding::{decode, encode};
use ledger::governance::ProposalStanding;
use ledger::history;
use ledger::id::{Digest, PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::receipt::Outcome;
use ledger::state::record::RecordKey;
use ledger::state::{Record, StateView as _, read, tree};
use ledger::transaction::{Payload, VerifiedTransaction};
use std::collections::BTreeMap;
use store::{Cursor, Page, ReceiptFilter, StoreError};

/// All transactions of the chain with height, index and block time.
fn transactions(kept: &Kept) -> Vec<(u64, u64, u64, VerifiedTransaction)> {
    let blocks = kept.oracle.blocks.iter().flat_map(|block| {
        let header = &block.executed.block.header;
        let at = move |(index, transaction): (u64, &VerifiedTransaction)| {
            (header.height, index, header.time_ms, transaction.clone())
        };
        (header.history_size..).zip(&block.executed.transactions).map(at)
    });
    blocks.collect()
}

/// All rows of a list, in pages of `limit`.
fn all<T>(limit: usize, page: impl Fn(Option<Cursor>, usize) -> Result<Page<T>, StoreError>) -> Vec<T> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = page(after, limit).unwrap();
        assert!(page.rows.len() <= limit);
        rows.extend(page.rows);
        // As it travels: as text.
        match page.next.map(|cursor| cursor.to_string().parse().unwrap()) {
            Some(next) => after = Some(next),
            None => return rows,
        }
    }
}

#[test]
fn blocks_come_back_as_they_were_committed() {
    let kept = Kept::new(1, 40);
    let store = kept.open();
    for block in &kept.oracle.blocks {
        let header = &block.executed.block.header;
        let (bytes, certificate) = store.block(header.height).unwrap().unwrap();
        assert_eq!(bytes, encode(&block.executed.block));
        assert_eq!(certificate.as_ref(), Some(&block.certificate));
        assert_eq!(store.header(header.height).unwrap().as_ref(), Some(header));
        assert_eq!(store.certificate(header.height).unwrap().as_ref(), Some(&block.certificate));
    }
    let genesis = kept.oracle.chain.scenario().genesis();
    let (bytes, certificate) = store.block(0).unwrap().unwrap();
    assert_eq!(decode::<ledger::block::Block>(&bytes).unwrap().header, genesis.header);
    assert_eq!(certificate, None);
    assert_eq!(store.genesis_bytes(), genesis.genesis.bytes());
    assert_eq!(store.chain_id(), genesis.chain_id);
    assert_eq!(store.block(41).unwrap(), None);
}

#[test]
fn transactions_are_found_by_id_and_by_index() {
    let kept = Kept::new(2, 40);
    let store = kept.open();
    let transactions = transactions(&kept);
    assert!(transactions.len() > 100);
    for (height, index, time_ms, transaction) in &transactions {
        let located = store.transaction(&transaction.id()).unwrap().unwrap();
        assert_eq!((located.height, located.index, located.time_ms), (*height, *index, *time_ms));
        assert_eq!(located.bytes, transaction.bytes());
        assert_eq!(store.transaction_at(*index).unwrap(), Some(located));
    }
    assert_eq!(store.transaction(&TransactionId([7; 32])).unwrap(), None);
    assert_eq!(store.transaction_at(transactions.len() as u64).unwrap(), None);
    assert_eq!(store.transaction_at(u64::MAX).unwrap(), None);
}

#[test]
fn patches_and_endpoints_are_listed_in_pages() {
    let kept = Kept::new(3, 60);
    let store = kept.open();
    let mut expected: Vec<PatchId> = kept.oracle.chain.patches().collect();
    expected.reverse();
    assert!(expected.len() > 10);
    for limit in [1, 3, expected.len(), 1_000] {
        let listed = all(limit, |after, limit| store.patches(after, limit));
        assert_eq!(listed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
        assert!(listed.iter().all(|(id, record)| store.patch(*id).unwrap().as_ref() == Some(record)));
    }
    let scenario = kept.oracle.chain.scenario();
    let endpoints = kept.oracle.chain.endpoints();
    let expected: Vec<PublicKey> = (0..endpoints).map(|number| scenario.endpoint(number).public()).collect();
    for limit in [1, 7, 1_000] {
        let listed = all(limit, |after, limit| store.endpoints(after, limit));
        assert_eq!(listed.iter().map(|(key, _)| *key).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn receipts_are_listed_newest_first_under_every_filter() {
    let kept = Kept::new(4, 60);
    let store = kept.open();
    let mut receipts: Vec<_> = transactions(&kept)
        .into_iter()
        .filter_map(|(height, index, time_ms, transaction)| match transaction.payload() {
            Payload::Receipt { receipt } => Some((height, index, time_ms, transaction.clone(), receipt.clone())),
            _ => None,
        })
        .collect();
    receipts.reverse();
    assert!(receipts.len() > 50);

    let (_, _, _, some, receipt) = &receipts[receipts.len() / 2];
    let (patch, endpoint) = (Some(receipt.patch), Some(some.signer()));
    let filters = [
        ReceiptFilter::default(),
        ReceiptFilter { patch, endpoint: None },
        ReceiptFilter { patch: None, endpoint },
        ReceiptFilter { patch, endpoint },
    ];
    for filter in filters {
        let expected: Vec<_> = receipts
            .iter()
            .filter(|(.., receipt)| filter.patch.is_none_or(|patch| receipt.patch == patch))
            .filter(|(.., transaction, _)| filter.endpoint.is_none_or(|endpoint| transaction.signer() == endpoint))
            .map(|(height, index, time_ms, transaction, receipt)| {
                (transaction.signer(), receipt.clone(), (*height, *index, *time_ms), transaction.id())
            })
            .collect();
        assert!(!expected.is_empty());
        for limit in [1, 4, 1_000] {
            let listed = all(limit, |after, limit| store.receipts(filter, after, limit));
            let listed = listed.into_iter().map(|entry| {
                let place = (entry.position.height, entry.position.index, entry.time_ms);
                (entry.endpoint, entry.receipt, place, entry.transaction)
            });
            assert_eq!(listed.collect::<Vec<_>>(), expected, "{filter:?} in pages of {limit}");
        }
    }
    let nobody = ReceiptFilter { patch: None, endpoint: Some(PublicKey([9; 32])) };
    assert_eq!(store.receipts(nobody, None, 10).unwrap(), Page { rows: Vec::new(), next: None });
}

#[test]
fn outcomes_are_counted_per_patch() {
    let kept = Kept::new(5, 60);
    let store = kept.open();
    let mut counted: BTreeMap<PatchId, BTreeMap<Outcome, u64>> = BTreeMap::new();
    for (.., transaction) in transactions(&kept) {
        if let Payload::Receipt { receipt } = transaction.payload() {
            *counted.entry(receipt.patch).or_default().entry(receipt.outcome).or_default() += 1;
        }
    }
    assert!(counted.len() > 3);
    for patch in kept.oracle.chain.patches() {
        assert_eq!(store.outcome_counts(patch).unwrap(), counted.remove(&patch).unwrap_or_default());
    }
}

#[test]
fn every_transaction_and_record_is_provable() {
    let kept = Kept::new(6, 60);
    let store = kept.open();
    let view = store.view();
    let tip = view.tip().unwrap();
    let header = &tip.header;
    for (_, index, _, transaction) in transactions(&kept).iter().filter(|(_, index, ..)| *index < header.history_size) {
        let path = history::prove(&view, header.history_size, *index).unwrap();
        history::verify(&header.history_root, header.history_size, *index, transaction.bytes(), &path).unwrap();
    }
    for patch in kept.oracle.chain.patches() {
        for key in [RecordKey::Patch(patch), RecordKey::Halts, RecordKey::Key(PublicKey([1; 32]))] {
            let proof = tree::prove(&view, tip.tree, &key.state_key()).unwrap();
            let proven = proof.verify(&header.state_root, &key.state_key()).unwrap();
            let record = proven.map(|bytes| decode::<Record>(bytes).unwrap());
            assert_eq!(record, read(kept.oracle.chain.storage(), &key).unwrap());
        }
    }
}

#[test]
fn the_history_reaches_over_many_pages() {
    // 256 stored hashes a page: two pages and a half.
    let kept = Kept::new(7, 60);
    let store = kept.open();
    let tip = store.tip();
    let size = tip.header.history_size_after();
    assert!(size > 256, "{size} transactions");
    let root = history::append(&store, size, std::iter::empty()).unwrap().root;
    assert_eq!(root, tip.history_root);
    use ledger::history::HistoryStorage as _;
    let stored = 2 * size;
    for index in 0..stored {
        assert_eq!(store.history_hash(index).unwrap(), kept.oracle.chain.storage().history_hash(index).unwrap());
    }
    assert_eq!(store.history_hash(u64::MAX).unwrap(), None::<Digest>);
}

#[test]
fn page_tokens_that_were_not_given_out_are_refused() {
    for text in ["", "1", "+000000000000001", "000000000000000G", "00000000000000000001", "000000000000000A"] {
        assert!(text.parse::<Cursor>().is_err(), "{text:?}");
    }
    let kept = Kept::new(8, 10);
    let store = kept.open();
    // Any well-formed token is some place in the list, also one at its ends.
    for token in ["0000000000000000", "ffffffffffffffff"] {
        let after = Some(token.parse().unwrap());
        store.patches(after, 5).unwrap();
        store.endpoints(after, 5).unwrap();
        store.receipts(ReceiptFilter::default(), after, 5).unwrap();
    }
    assert!(store.patches(Some("0000000000000000".parse().unwrap()), 5).unwrap().rows.is_empty());
    assert!(store.endpoints(Some("ffffffffffffffff".parse().unwrap()), 5).unwrap().rows.is_empty());
}

#[test]
fn proposals_are_listed_newest_first() {
    let kept = Kept::new(5, 80);
    let store = kept.open();
    let mut expected: Vec<TransactionId> = transactions(&kept)
        .iter()
        .filter(|(.., transaction)| matches!(transaction.payload(), Payload::Propose { .. }))
        .map(|(.., transaction)| transaction.id())
        .collect();
    expected.reverse();
    assert!(expected.len() > 3, "validators changed {} times", expected.len());
    for limit in [1, 2, 1_000] {
        let listed = all(limit, |after, limit| store.proposals(after, limit));
        assert_eq!(listed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
        assert!(listed.iter().all(|(id, record)| store.proposal(*id).unwrap().as_ref() == Some(record)));
        assert!(listed.iter().all(|(_, record)| record.standing == ProposalStanding::Passed));
    }
}

#[test]
fn accusations_are_listed_newest_first() {
    let kept = Kept::new(5, 10);
    let store = kept.open();
    let mut chain = kept.oracle.chain.clone();
    let mut expected = Vec::new();
    for (place, height) in [(0, 1), (1, 1), (0, 2)] {
        let accused = chain.accuse(place, height);
        chain.publish();
        let finalised = chain.finalise();
        store.commit(&finalised.executed, &finalised.certificate).unwrap();
        let position = finalised.executed.block.header.history_size;
        expected.insert(0, (accused.id(), finalised.executed.block.header.height, position));
    }
    for limit in [1, 2, 1_000] {
        let listed = all(limit, |after, limit| store.accusations(after, limit));
        let places: Vec<_> = listed.iter().map(|(id, located)| (*id, located.height, located.index)).collect();
        assert_eq!(places, expected);
        let found = |id: &TransactionId| store.transaction(id).unwrap().unwrap().bytes;
        assert!(listed.iter().all(|(id, located)| found(id) == located.bytes));
    }
}

/// Sentence 3.15: from the genesis file to the newest set, each link certified by the set before.
#[test]
fn the_validators_of_today_follow_from_those_of_genesis() {
    let kept = Kept::new(6, 80);
    let store = kept.open();
    let (mut set, mut before) = (kept.oracle.chain.scenario().genesis().genesis.validators.clone(), 0);
    let links = store.epochs(0, 1_000).unwrap();
    assert!(links.len() > 3);
    for link in &links {
        link.check(&store.chain_id(), &set, before).unwrap();
        (set, before) = (link.validators.clone(), link.header.height);
    }
    assert_eq!(set.hash(), store.tip().header.next_validators_hash);
    assert_eq!(store.epochs(links[1].header.height, 2).unwrap(), links[1..3]);
    assert_eq!(store.epochs(before + 1, 1_000).unwrap(), []);
}
