//! Headers and blocks: the one header a block can have, and the limits of blocks (sentences 3.1
//! to 3.6).

use crate::support::samples::*;
use crate::support::world::{BLOCK_MS, GENESIS_MS, World};
use crate::support::{digest, key};
use ledger::block::{Block, BlockError, Header, check_clock};
use ledger::bounded::{List, Notes};
use ledger::encoding::{DecodeError, encode};
use ledger::execution::{self, ExecutionError};
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, SecretKey};
use ledger::limits;
use ledger::patch::PatchManifest;
use ledger::state::Rejection;
use ledger::transaction::{SignedTransaction, VerifiedTransaction};

/// A world, the next block somebody else made for it, and the block's verified transactions.
fn next_block() -> (World, Block, Vec<VerifiedTransaction>) {
    let mut world = World::new();
    world.say("acme/publisher", publish(&manifest("acme/redis", 1)));
    let transactions = vec![
        world.transaction("acme/operator", enroll("host-1")),
        world.transaction("acme/publisher", publish(&manifest("acme/redis", 2))),
    ];
    let mut ahead = world.clone();
    ahead.block(transactions.clone());
    (world, ahead.blocks.pop().unwrap(), transactions)
}

fn execute(world: &World, block: &Block, transactions: &[VerifiedTransaction]) -> Result<(), ExecutionError> {
    execution::execute(&world.storage, &world.tip, block.clone(), transactions.to_vec()).map(|_| ())
}

#[test]
fn each_altered_field_of_a_header_is_named() {
    let (world, block, transactions) = next_block();
    assert_eq!(execute(&world, &block, &transactions), Ok(()));
    let fields: &[(&str, fn(&mut Header))] = &[
        ("version", |header| header.version = 2),
        ("chain_id", |header| header.chain_id = ChainId([1; 32])),
        ("height", |header| header.height += 1),
        ("parent", |header| header.parent = BlockHash([1; 32])),
        ("tx_root", |header| header.tx_root = digest("another")),
        ("tx_count", |header| header.tx_count += 1),
        ("history_root", |header| header.history_root = digest("another")),
        ("history_size", |header| header.history_size += 1),
        ("state_root", |header| header.state_root = digest("another")),
        ("validators_hash", |header| header.validators_hash = digest("another")),
        ("next_validators_hash", |header| header.next_validators_hash = digest("another")),
    ];
    for (name, alter) in fields {
        let mut altered = block.clone();
        alter(&mut altered.header);
        match execute(&world, &altered, &transactions) {
            Err(ExecutionError::Block(BlockError::Header { field, .. })) => assert_eq!(field, *name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn the_first_difference_is_named_with_both_values() {
    let (world, mut block, transactions) = next_block();
    block.header.height = 9;
    block.header.state_root = digest("another");
    let error = execute(&world, &block, &transactions).unwrap_err();
    assert_eq!(error.to_string(), "header field height is 9, must be 2");
}

#[test]
fn time_grows_from_block_to_block_and_stays_near_the_clock() {
    let (world, _, _) = next_block();
    let mut ahead = world.clone();
    ahead.block(Vec::new());
    let (block, transactions) = (ahead.blocks.pop().unwrap(), Vec::new());
    for time_ms in [0, GENESIS_MS, GENESIS_MS + BLOCK_MS] {
        let mut altered = block.clone();
        altered.header.time_ms = time_ms;
        let expected = BlockError::TimeNotIncreasing { time_ms, parent_ms: GENESIS_MS + BLOCK_MS };
        assert_eq!(execute(&world, &altered, &transactions), Err(ExecutionError::Block(expected)));
    }
    let time_ms = block.header.time_ms;
    assert_eq!(check_clock(&block.header, time_ms), Ok(()));
    assert_eq!(check_clock(&block.header, time_ms - limits::CLOCK_AHEAD_MS_MAX), Ok(()));
    assert_eq!(check_clock(&block.header, u64::MAX), Ok(()), "a block from long ago");
    let now_ms = time_ms - limits::CLOCK_AHEAD_MS_MAX - 1;
    assert_eq!(check_clock(&block.header, now_ms), Err(BlockError::TimeAhead { time_ms, now_ms }));
}

#[test]
fn proposer_and_time_are_the_proposers_to_choose() {
    let (world, block, transactions) = next_block();
    let mut altered = block.clone();
    altered.header.proposer = PublicKey([3; 32]);
    altered.header.time_ms += 1;
    assert_eq!(execute(&world, &altered, &transactions), Ok(()));
    assert_ne!(altered.header.hash(), block.header.hash());
}

#[test]
fn transactions_are_those_of_the_header_in_its_order() {
    let (world, block, transactions) = next_block();
    let with = |transactions: &[VerifiedTransaction]| {
        let signed = transactions.iter().map(|transaction| transaction.signed().clone()).collect();
        let block = Block { header: block.header.clone(), transactions: List::new(signed).unwrap() };
        execute(&world, &block, transactions)
    };
    assert_eq!(with(&transactions), Ok(()));
    let reversed: Vec<_> = transactions.iter().rev().cloned().collect();
    for altered in [&reversed[..], &transactions[..1], &[]] {
        assert!(matches!(
            with(altered),
            Err(ExecutionError::Block(BlockError::Header { field: "tx_root" | "tx_count", .. }))
        ));
    }
    let twice = [transactions.clone(), transactions[..1].to_vec()].concat();
    let rejection = Rejection::AlreadyFinalised(transactions[0].id());
    assert_eq!(with(&twice), Err(ExecutionError::Transaction { index: 2, rejection }));
}

/// A transaction's id does not cover its signature. A node that has verified transactions at hand by
/// id must not be led to store a block whose own copies carry other signatures.
#[test]
fn a_block_carries_the_very_transactions_that_were_verified() {
    let (world, block, transactions) = next_block();
    let mut signed: Vec<SignedTransaction> = block.transactions.to_vec();
    signed[1].signature = signed[0].signature;
    let altered = Block { header: block.header.clone(), transactions: List::new(signed.clone()).unwrap() };
    assert_eq!(
        execute(&world, &altered, &transactions),
        Err(ExecutionError::Block(BlockError::OtherTransactions { index: 1 }))
    );
    signed.truncate(1);
    let shorter = Block { header: block.header, transactions: List::new(signed).unwrap() };
    assert_eq!(
        execute(&world, &shorter, &transactions),
        Err(ExecutionError::Block(BlockError::OtherTransactions { index: 1 }))
    );
}

/// Transactions of about this size each, all acceptable one after the other.
fn large(world: &mut World, count: usize, bytes: usize) -> Vec<VerifiedTransaction> {
    let manifest =
        |release| PatchManifest { notes: Notes::new("n".repeat(bytes)).unwrap(), ..manifest("acme/redis", release) };
    (1..=count as u64).map(|release| world.transaction("acme/publisher", publish(&manifest(release)))).collect()
}

#[test]
fn a_proposer_stops_before_the_limit_of_bytes() {
    let mut world = World::new();
    let candidates = large(&mut world, 80, limits::NOTES_BYTES_MAX);
    let total: usize = candidates.iter().map(|transaction| transaction.bytes().len()).sum();
    assert!(total > limits::BLOCK_BYTES_MAX);
    world.block(candidates.clone());
    let block = world.blocks.pop().unwrap();
    let bytes = encode(&block);
    assert!(bytes.len() <= limits::BLOCK_BYTES_MAX);
    assert!(bytes.len() + candidates[0].bytes().len() + 1024 > limits::BLOCK_BYTES_MAX, "it is full");
    assert_eq!(Block::parse(&bytes), Ok(block));
}

#[test]
fn a_block_over_the_limits_is_neither_made_nor_read() {
    let mut world = World::new();
    let transactions = large(&mut world, 80, limits::NOTES_BYTES_MAX);
    let header = world.tip.header.clone();
    let Err(BlockError::TooLarge { actual }) = Block::propose(header.clone(), &transactions) else {
        panic!("over the limit of bytes")
    };
    assert!(actual > limits::BLOCK_BYTES_MAX);
    let signed = transactions.iter().map(|transaction| transaction.signed().clone()).collect();
    let bytes = encode(&Block { header, transactions: List::new(signed).unwrap() });
    let limit = limits::BLOCK_BYTES_MAX;
    let refused = DecodeError::TooLarge { name: "block", actual: bytes.len(), limit };
    assert_eq!(Block::parse(&bytes), Err(BlockError::Decode(refused)));
}

#[test]
fn a_block_has_at_most_five_thousand_transactions() {
    let mut world = World::new();
    let retire = world.transaction("acme/operator", retire("host-1"));
    let many = vec![retire.clone(); limits::BLOCK_TRANSACTIONS_MAX + 1];
    assert!(Block::propose(world.tip.header.clone(), &many[1..]).is_ok());
    let error = Block::propose(world.tip.header.clone(), &many).unwrap_err();
    assert_eq!(error, BlockError::TooLarge { actual: usize::MAX });
    // Claimed by length and really there: both are refused at the door.
    let mut bytes = encode(&Block::propose(world.tip.header.clone(), &many[1..]).unwrap());
    bytes.extend_from_slice(retire.bytes());
    let count_at = encode(&world.tip.header).len();
    bytes[count_at..count_at + 8].copy_from_slice(&5_001u64.to_le_bytes());
    let error = Block::parse(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "block: malformed: 5001 elements, at most 5000 allowed");
}

#[test]
fn a_proposer_takes_at_most_five_thousand_transactions() {
    // Everybody's receipts are small; five thousand of them fit into a block.
    let mut world = World::new();
    let one = world.transaction("acme/operator", retire("host-1"));
    assert!(one.bytes().len() * limits::BLOCK_TRANSACTIONS_MAX < limits::BLOCK_BYTES_MAX);
    let candidates: Vec<_> = (0..limits::BLOCK_TRANSACTIONS_MAX + 10)
        .map(|host| {
            let endpoint = SecretKey::from_seed(&ledger::id::Digest::blake3(&host.to_le_bytes()).0).public();
            let name = ledger::bounded::Name::new("h").unwrap();
            let labels = ledger::bounded::SortedList::default();
            let enroll = ledger::transaction::Payload::Enroll { endpoint, name: name.clone(), group: name, labels };
            world.body(enroll)
        })
        .collect();
    // Signed by one key in a tight loop: the work of this test.
    let operator = key("acme/operator");
    let chain = world.chain();
    let candidates = candidates.into_iter().map(|body| body.sign(&operator).verify(&chain).unwrap()).collect();
    world.block(candidates);
    let expected = limits::BLOCK_TRANSACTIONS_MAX.min(limits::BLOCK_BYTES_MAX / 250);
    let taken = world.blocks[0].transactions.len();
    assert!(taken <= limits::BLOCK_TRANSACTIONS_MAX && taken >= expected - expected / 5, "{taken}");
}

#[test]
fn the_genesis_header_is_what_the_document_says() {
    let world = World::new();
    let header = &world.genesis.header;
    assert_eq!((header.version, header.height, header.tx_count, header.history_size), (1, 0, 0, 0));
    assert_eq!((header.parent, header.proposer), (BlockHash::ZERO, PublicKey([0; 32])));
    assert_eq!(header.time_ms, GENESIS_MS);
    assert_eq!(header.tx_root.0, blake3::derive_key("countersign/v1/block-empty", b""));
    assert_eq!(header.history_root, ledger::history::empty_root());
    assert_eq!(header.validators_hash, header.next_validators_hash);
    let bytes = world.genesis.genesis.bytes();
    assert_eq!(header.chain_id.0, blake3::derive_key("countersign/v1/chain-id", &bytes));
}

#[test]
fn a_header_from_outside_cannot_overflow_the_history() {
    let mut header = World::new().genesis.header;
    (header.history_size, header.tx_count) = (u64::MAX, 1);
    assert_eq!(header.history_size_after(), u64::MAX);
}
