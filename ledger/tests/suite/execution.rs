//! Execution: what one node proposes, another executes to the same roots (sentences 2.12 and 3.5).

use crate::support::samples::*;
use crate::support::world::{World, validator_set};
use crate::support::{Chance, key, name};
use ledger::encoding::{decode, encode};
use ledger::execution::{self, ExecutionError};
use ledger::receipt::Outcome;
use ledger::state::record::{Record, RecordKey, UpcomingValidators};
use ledger::state::{Rejection, StateView as _};
use ledger::transaction::SignedTransaction;

/// Plays the world's blocks again into a second ledger that only knows genesis, from their bytes.
fn replay(world: &World) -> World {
    let mut second = World::from(world.genesis.genesis.clone());
    for block in &world.blocks {
        let block = ledger::block::Block::parse(&encode(block)).unwrap();
        let chain = second.chain();
        let transactions: Vec<_> = block
            .transactions
            .iter()
            .map(|signed| SignedTransaction::verify_bytes(&encode(signed), &chain).unwrap())
            .collect();
        let executed = execution::execute(&second.storage, &second.tip, block, transactions).unwrap();
        second.storage.write_state(&executed.state);
        second.storage.write_history(&executed.history);
        second.storage.write_finalised(executed.transactions.iter().map(|transaction| transaction.id()));
        second.tip = executed.tip();
    }
    second
}

/// A ledger in which everything that can be said was said, in blocks of different sizes.
pub fn eventful(seed: u64, blocks: usize) -> World {
    let mut world = World::new();
    let mut chance = Chance(seed);
    let (mut patches, mut hosts) = (Vec::new(), 0);
    for _ in 0..blocks {
        let mut candidates = Vec::new();
        for _ in 0..chance.below(8) {
            let (who, what) = match chance.below(9) {
                0 | 1 => {
                    let manifest = manifest("acme/redis", patches.len() as u64 + 1);
                    patches.push(manifest.id());
                    ("acme/publisher", publish(&manifest))
                }
                2 => {
                    hosts += 1;
                    ("acme/operator", enroll(&format!("host-{hosts}")))
                }
                3 => ("acme/operator", retire(&format!("host-{}", chance.below(hosts + 1)))),
                _ if patches.is_empty() => continue,
                4 => ("north/approver", approve(chance.of(&patches))),
                5 => ("south/approver", approve_urgently(chance.of(&patches))),
                6 => ("west/approver", chance.of(&[hold, reject, recall])(chance.of(&patches))),
                7 => ("acme/publisher", recall(chance.of(&patches))),
                _ => {
                    let outcome = chance.of(&[Outcome::Applied, Outcome::Refused, Outcome::RolledBack]);
                    let attempt = 1 + chance.below(2) as u32;
                    ("host-1", receive(receipt(chance.of(&patches), attempt, outcome)))
                }
            };
            candidates.push(world.transaction(who, what));
        }
        world.propose(candidates);
    }
    world
}

#[test]
fn what_one_node_proposes_another_executes_to_the_same_roots() {
    for seed in 0..6 {
        let world = eventful(seed, 40);
        let second = replay(&world);
        assert_eq!(second.tip, world.tip, "seed {seed}");
        assert!(world.log.len() > 40, "seed {seed}: {} transactions", world.log.len());
    }
}

#[test]
fn candidates_that_the_rules_forbid_are_dropped_with_their_reason() {
    let mut world = World::new();
    let one = manifest("acme/redis", 1);
    let good = world.transaction("acme/publisher", publish(&one));
    let again = world.transaction("acme/publisher", publish(&one));
    let stranger = world.transaction("stranger", publish(&manifest("acme/redis", 2)));
    let approval = world.transaction("north/approver", approve(one.id()));
    let dropped = world.propose(vec![good.clone(), good.clone(), again.clone(), stranger.clone(), approval]);
    let rejections: Vec<_> = dropped.into_iter().map(|(_, rejection)| rejection).collect();
    assert_eq!(
        rejections,
        [
            Rejection::AlreadyFinalised(good.id()),
            Rejection::AlreadyPublished(one.id()),
            Rejection::UnknownKey(stranger.signer()),
        ]
    );
    assert_eq!(world.blocks[0].transactions.len(), 2, "the publish and, in the same block, its approval");
}

#[test]
fn a_proposer_that_includes_a_forbidden_transaction_is_voted_down() {
    let mut world = World::new();
    let forbidden = world.transaction("north/approver", publish(&manifest("acme/redis", 1)));
    let mut block = world.clone();
    block.block(Vec::new());
    let header = block.tip.header.clone();
    let block = ledger::block::Block::propose(header, std::slice::from_ref(&forbidden)).unwrap();
    let verdict = execution::execute(&world.storage, &world.tip, block, vec![forbidden]).unwrap_err();
    assert!(matches!(
        verdict,
        ExecutionError::Transaction { index: 0, rejection: Rejection::WrongRole { kind: "publish", .. } }
    ));
}

#[test]
fn empty_blocks_change_time_and_nothing_else() {
    let mut world = World::new();
    world.say("acme/publisher", publish(&manifest("acme/redis", 1)));
    world.block(Vec::new());
    let before = world.tip.clone();
    world.block(Vec::new());
    assert_eq!(world.tip.header.state_root, before.header.state_root);
    assert_eq!(world.tip.header.history_root, before.header.history_root);
    assert_eq!(world.tip.header.history_size, before.header.history_size);
    assert_eq!(world.tip.tree, before.tree);
    assert_eq!(world.tip.header.parent, before.header.hash());
}

#[test]
fn a_proposer_whose_clock_stands_still_still_moves_time() {
    let world = World::new();
    let proposer = key("acme/validator").public();
    for time_ms in [0, world.tip.header.time_ms] {
        let (executed, _) = execution::propose(&world.storage, &world.tip, [], time_ms, proposer).unwrap();
        assert_eq!(executed.block.header.time_ms, world.tip.header.time_ms + 1);
    }
}

/// Sentence 3.14: block h fixes the set of height h + 2.
#[test]
fn a_change_of_the_validator_set_takes_effect_two_heights_later() {
    let mut world = World::new();
    let (old, new) =
        (validator_set(&["acme", "north", "south", "west"]), validator_set(&["globex", "north", "south", "west"]));
    let upcoming = UpcomingValidators { next: old.clone(), after_next: new.clone() };
    world.put(&RecordKey::Validators, &Record::Validators(upcoming));
    world.block(Vec::new());
    let header = &world.tip.header;
    assert_eq!((header.validators_hash, header.next_validators_hash), (old.hash(), new.hash()));
    world.block(Vec::new());
    let header = &world.tip.header;
    assert_eq!((header.validators_hash, header.next_validators_hash), (new.hash(), new.hash()));
}

#[test]
fn every_record_of_an_eventful_ledger_reads_back_as_it_was_written() {
    let world = eventful(3, 30);
    let patch = world.storage.product(&crate::support::product("acme/redis"), &name("stable")).unwrap().unwrap().patch;
    let record = world.storage.patch(patch).unwrap().unwrap();
    let bytes = encode(&Record::Patch(record));
    assert_eq!(encode(&decode::<Record>(&bytes).unwrap()), bytes);
}
