//! Members change who they are and the law they live under (sentences 2.22 to 2.26 and 3.14).

mod law;
mod members;
mod proposals;

use crate::support::key;
use crate::support::samples::*;
use crate::support::world::{VALIDATORS, World, genesis, organisation, validator_set};
use ledger::block::Block;
use ledger::bounded::{List, Notes, SortedList};
use ledger::governance::{Change, ChangeError, Choice, Proposal, ProposalRecord, ProposalStanding};
use ledger::id::{PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::proof::{EpochLink, ProofBundle};
use ledger::state::record::{KeyStatus, MemberKey, Parameters, Role};
use ledger::state::{Rejection, StateView as _};
use ledger::transaction::Payload;

const GOVERNORS: [&str; 5] = ["acme", "globex", "north", "south", "west"];

/// The test ledger, in which every one of the five organisations has a governor: four are more than
/// two thirds.
pub fn governed() -> World {
    let mut genesis = genesis();
    let governor = |who: &str| (who.to_owned(), [("governor", Role::Governor, KeyStatus::Active)]);
    let organisations = GOVERNORS.iter().map(|who| governor(who)).map(|(who, more)| {
        let mut organisation = organisation(&who, &more);
        if who == "north" {
            let mut keys = organisation.keys.into_vec();
            keys.push(MemberKey {
                key: key("north/second governor").public(),
                role: Role::Governor,
                status: KeyStatus::Active,
            });
            organisation.keys = SortedList::new(keys).unwrap();
        }
        organisation
    });
    genesis.organisations = SortedList::new(organisations.collect()).unwrap();
    World::from(genesis)
}

fn public(called: &str) -> PublicKey {
    key(called).public()
}

fn propose(world: &World, changes: Vec<Change>) -> Payload {
    let closes_at_ms = world.next_ms() + 3_600_000;
    let proposal = Proposal { changes: List::new(changes).unwrap(), note: Notes::default(), closes_at_ms };
    Payload::Propose { proposal }
}

/// Acme proposes; gives the name of the proposal.
pub fn proposed(world: &mut World, changes: Vec<Change>) -> TransactionId {
    let payload = propose(world, changes);
    let transaction = world.transaction("acme/governor", payload);
    let id = transaction.id();
    world.block(vec![transaction]);
    id
}

fn say(world: &mut World, who: &str, proposal: TransactionId, choice: Choice) {
    world.say(who, Payload::Ballot { proposal, choice });
}

/// Acme proposes and three others are for it.
pub fn passed(world: &mut World, changes: Vec<Change>) {
    let id = proposed(world, changes);
    for who in ["north/governor", "south/governor", "west/governor"] {
        assert_eq!(record(world, id).standing, ProposalStanding::Open);
        say(world, who, id, Choice::For);
    }
    assert_eq!(record(world, id).standing, ProposalStanding::Passed);
}

fn record(world: &World, id: TransactionId) -> ProposalRecord {
    world.storage.proposal(id).unwrap().expect("it was proposed")
}

fn heartbeat(heartbeat_ms: u64) -> Change {
    Change::SetParameters { parameters: Parameters { heartbeat_ms, seal_ms: 200 } }
}

fn heartbeat_of(world: &World) -> u64 {
    world.storage.parameters().unwrap().unwrap().heartbeat_ms
}

/// A patch of acme's that stands approved.
fn approved(world: &mut World) -> PatchId {
    let redis = manifest("acme/redis", 1);
    world.say("acme/publisher", publish(&redis));
    world.say("north/approver", approve(redis.id()));
    world.say("south/approver", approve(redis.id()));
    world.block(vec![]);
    redis.id()
}

/// The proof file at the tip of a ledger whose set of validators changed once, to these.
fn through(world: &mut World, patch: PatchId, now: &[&'static str]) -> ProofBundle {
    let changes = |block: &&Block| block.header.validators_hash != block.header.next_validators_hash;
    let epoch = world.blocks.iter().find(changes).expect("the set changed").header.clone();
    let link = EpochLink {
        certificate: world.certify(&epoch, &VALIDATORS, &validator_set(&VALIDATORS)),
        header: epoch,
        validators: validator_set(now),
    };
    (world.validators, world.signers) = (now.to_vec(), now.to_vec());
    let mut proven = world.prove(patch);
    proven.epochs = List::new(vec![link]).unwrap();
    proven
}

/// Why a proposal of these changes is refused at once.
fn impossible(world: &mut World, changes: Vec<Change>) -> (usize, ChangeError) {
    let payload = propose(world, changes);
    match world.refuse("acme/governor", payload) {
        Rejection::Change(error) => (error.place, error.error),
        other => panic!("refused for another reason: {other}"),
    }
}
