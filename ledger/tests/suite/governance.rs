//! Members change who they are and the law they live under (sentences 2.22 to 2.26 and 3.14).

use crate::support::samples::*;
use crate::support::world::{BLOCK_MS, VALIDATORS, World, genesis, organisation, rules, validator_set};
use crate::support::{key, name};
use ledger::approval::{ApprovalRules, Quorum, Standing};
use ledger::block::Block;
use ledger::bounded::{List, Name, Notes, SortedList};
use ledger::governance::{Change, ChangeError, Choice, Proposal, ProposalRecord, ProposalStanding};
use ledger::id::{PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::patch::{Class, PatchManifest};
use ledger::proof::{EpochLink, ProofBundle};
use ledger::receipt::Outcome;
use ledger::state::record::{KeyStatus, MemberKey, Organisation, Parameters, Role};
use ledger::state::storage::{MemoryStorage, StateStorage, StorageError};
use ledger::state::{BlockContext, Rejection, State, StateKey, StateView as _, count_now};
use ledger::transaction::Payload;
use ledger::validators::{Validator, ValidatorSet};
use std::cell::Cell;
use std::collections::BTreeSet;

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

#[test]
fn a_proposal_passes_with_more_than_two_thirds_and_not_before() {
    let mut world = governed();
    let id = proposed(&mut world, vec![heartbeat(1_234)]);
    for who in ["north/governor", "south/governor"] {
        say(&mut world, who, id, Choice::For);
        assert_eq!((record(&world, id).standing, heartbeat_of(&world)), (ProposalStanding::Open, 60_000));
    }
    say(&mut world, "globex/governor", id, Choice::For);
    let record = record(&world, id);
    assert_eq!((record.standing, heartbeat_of(&world)), (ProposalStanding::Passed, 1_234));
    assert_eq!(record.settled.map(|position| position.height), Some(world.tip.header.height));
    let again = world.refuse("west/governor", Payload::Ballot { proposal: id, choice: Choice::For });
    assert!(matches!(again, Rejection::ProposalClosed { standing: ProposalStanding::Passed, .. }), "{again}");
}

#[test]
fn a_proposal_that_cannot_pass_any_more_is_refused() {
    let mut world = governed();
    let id = proposed(&mut world, vec![heartbeat(1_234)]);
    say(&mut world, "north/governor", id, Choice::Against);
    assert_eq!(record(&world, id).standing, ProposalStanding::Open);
    say(&mut world, "south/governor", id, Choice::Against);
    assert_eq!(record(&world, id).standing, ProposalStanding::Refused);
    assert_eq!(heartbeat_of(&world), 60_000);
}

#[test]
fn an_organisation_has_one_voice_and_may_change_its_mind() {
    let mut world = governed();
    let id = proposed(&mut world, vec![heartbeat(1_234)]);
    say(&mut world, "north/governor", id, Choice::For);
    let twice = world.refuse("north/second governor", Payload::Ballot { proposal: id, choice: Choice::For });
    assert!(matches!(twice, Rejection::BallotUnchanged { .. }), "{twice}");
    say(&mut world, "north/second governor", id, Choice::Against);
    say(&mut world, "west/governor", id, Choice::For);
    say(&mut world, "globex/governor", id, Choice::For);
    assert_eq!(record(&world, id).standing, ProposalStanding::Open, "three of five");
    say(&mut world, "north/governor", id, Choice::For);
    assert_eq!(record(&world, id).standing, ProposalStanding::Passed);
    assert_eq!(record(&world, id).ballots.len(), 4);
}

#[test]
fn nobody_votes_after_a_proposal_closed() {
    let mut world = governed();
    let closes_at_ms = world.next_ms() + 2 * BLOCK_MS;
    let changes = List::new(vec![heartbeat(1_234)]).unwrap();
    let proposal = Proposal { changes, note: Notes::default(), closes_at_ms };
    let transaction = world.transaction("acme/governor", Payload::Propose { proposal });
    let id = transaction.id();
    world.block(vec![transaction]);
    say(&mut world, "north/governor", id, Choice::For);
    assert_eq!(world.next_ms(), closes_at_ms);
    let late = world.refuse("south/governor", Payload::Ballot { proposal: id, choice: Choice::For });
    assert!(matches!(late, Rejection::ProposalClosed { standing: ProposalStanding::Open, .. }), "{late}");
}

#[test]
fn only_governors_speak_here() {
    let mut world = governed();
    let id = proposed(&mut world, vec![heartbeat(1_234)]);
    for who in ["north/approver", "acme/publisher", "west/validator", "south/operator"] {
        let proposal = propose(&world, vec![heartbeat(1)]);
        assert!(matches!(world.refuse(who, proposal), Rejection::WrongRole { needed: "governor", .. }));
        let ballot = Payload::Ballot { proposal: id, choice: Choice::For };
        assert!(matches!(world.refuse(who, ballot), Rejection::WrongRole { needed: "governor", .. }));
    }
    let unknown = TransactionId([7; 32]);
    let ballot = Payload::Ballot { proposal: unknown, choice: Choice::For };
    assert_eq!(world.refuse("north/governor", ballot), Rejection::UnknownProposal(unknown));
}

#[test]
fn a_proposal_has_changes_a_bound_and_an_end() {
    let mut world = governed();
    let close = |world: &World, closes_at_ms: u64| {
        let changes = List::new(vec![heartbeat(1_234)]).unwrap();
        let at_ms = world.next_ms();
        Payload::Propose { proposal: Proposal { changes, note: Notes::default(), closes_at_ms: at_ms + closes_at_ms } }
    };
    let month = limits::EXPIRY_AHEAD_MS_MAX;
    let wrong = [propose(&world, vec![]), close(&world, 0), close(&world, month + 1)];
    for payload in wrong {
        let rejection = world.refuse("acme/governor", payload);
        assert!(matches!(rejection, Rejection::Proposal(_)), "{rejection}");
    }
    let just = close(&world, month);
    world.say("acme/governor", just);
    // Sixteen organisations of 64 keys each are more than a record can keep beside ballots.
    let many = |called: usize| {
        let keys = (0..64).map(|n| MemberKey {
            key: PublicKey([u8::try_from(called).unwrap(); 32].map(|byte| byte ^ n)),
            role: Role::Approver,
            status: KeyStatus::Active,
        });
        let keys = SortedList::new(keys.collect()).unwrap();
        let called = Name::new(format!("member-{called}")).unwrap();
        Organisation { name: called, namespaces: SortedList::default(), keys }
    };
    let large = (0..16).map(|n| Change::AddOrganisation { organisation: many(64 + n) }).collect();
    let large = propose(&world, large);
    let rejection = world.refuse("acme/governor", large);
    assert!(matches!(rejection, Rejection::Proposal(_)), "{rejection}");
}

const DAY_MS: u64 = limits::PROPOSAL_COUNTS_MS_MIN;

/// How many proposals of an organisation stand in its record.
fn counted(world: &World, who: &str) -> usize {
    world.storage.counted_proposals(&name(who)).unwrap().unwrap_or_default().0.len()
}

/// Somebody proposes as often as the ledger lets him.
fn as_many_as_there_may_be(world: &mut World, who: &str) -> (Vec<TransactionId>, Rejection) {
    let mut proposed = Vec::new();
    loop {
        let payload = propose(world, vec![heartbeat(1_234)]);
        let transaction = world.transaction(who, payload);
        if let Err(rejection) = world.judge(&transaction) {
            return (proposed, rejection);
        }
        proposed.push(transaction.id());
        world.block(vec![transaction]);
        assert!(proposed.len() <= 100, "nothing bounds the proposals of {who}");
    }
}

/// A stolen key proposes without end, and leaves places to the organisation's other keys; others lose nothing by it.
#[test]
fn proposals_of_a_key_and_of_an_organisation_are_bounded() {
    let mut world = governed();
    let (of_key, refused) = as_many_as_there_may_be(&mut world, "north/governor");
    assert_eq!(of_key.len(), limits::PROPOSALS_PER_KEY_MAX);
    let until_ms = record(&world, of_key[0]).proposal.closes_at_ms - 3_600_000 + DAY_MS;
    assert_eq!(refused, Rejection::TooManyProposalsOfKey { key: public("north/governor"), until_ms });
    let (of_other, refused) = as_many_as_there_may_be(&mut world, "north/second governor");
    assert_eq!(of_key.len() + of_other.len(), limits::PROPOSALS_PER_ORGANISATION_MAX);
    assert_eq!(refused, Rejection::TooManyProposals { organisation: name("north"), until_ms });
    assert_eq!(counted(&world, "north"), limits::PROPOSALS_PER_ORGANISATION_MAX);

    // In one block as one after the other.
    let one_more = |world: &mut World| {
        let payload = propose(world, vec![heartbeat(1_234)]);
        world.transaction("west/governor", payload)
    };
    let many = (0..20).map(|_| one_more(&mut world)).collect();
    let dropped = world.propose(many);
    assert_eq!(dropped.len(), 20 - limits::PROPOSALS_PER_KEY_MAX);
    assert!(dropped.iter().all(|(_, why)| matches!(why, Rejection::TooManyProposalsOfKey { .. })), "{dropped:?}");

    // What a revoked key proposed does not count any more: there is room for its successor.
    let next = Change::AddKey { organisation: name("north"), key: public("north/next governor"), role: Role::Governor };
    passed(&mut world, vec![Change::RevokeKey { key: public("north/governor") }, next]);
    let (of_next, _) = as_many_as_there_may_be(&mut world, "north/next governor");
    assert_eq!(of_next.len(), limits::PROPOSALS_PER_KEY_MAX);
}

/// What has passed takes no place; what was refused, or closed, does for a day from then, or from its beginning.
#[test]
fn a_proposal_counts_until_it_is_over_and_for_a_day_at_least() {
    let mut world = governed();
    for _ in 0..2 * limits::PROPOSALS_PER_ORGANISATION_MAX {
        passed(&mut world, vec![heartbeat(1_234)]);
    }
    assert_eq!(counted(&world, "acme"), 0);

    // It closes in a month, and is refused at once.
    let closing = |world: &World, in_ms: u64| {
        let closes_at_ms = world.next_ms() + in_ms;
        let changes = List::new(vec![heartbeat(1_234)]).unwrap();
        Payload::Propose { proposal: Proposal { changes, note: Notes::default(), closes_at_ms } }
    };
    let payload = closing(&world, limits::EXPIRY_AHEAD_MS_MAX);
    let transaction = world.transaction("acme/governor", payload);
    let id = transaction.id();
    world.block(vec![transaction]);
    for who in ["north/governor", "south/governor"] {
        say(&mut world, who, id, Choice::Against);
    }
    assert_eq!(record(&world, id).standing, ProposalStanding::Refused);
    let refused_ms = world.tip.header.time_ms;
    // And others that close at once.
    for _ in 1..limits::PROPOSALS_PER_KEY_MAX {
        let payload = closing(&world, 1);
        world.say("acme/governor", payload);
    }
    let payload = closing(&world, 1);
    let full = Rejection::TooManyProposalsOfKey { key: public("acme/governor"), until_ms: refused_ms + DAY_MS };
    assert_eq!(world.refuse("acme/governor", payload), full);
    world.wait(refused_ms + DAY_MS - world.next_ms() - 1);
    let payload = closing(&world, 1);
    assert_eq!(world.refuse("acme/governor", payload), full);
    world.wait(1);
    let payload = closing(&world, 1);
    world.say("acme/governor", payload);
    assert_eq!(counted(&world, "acme"), limits::PROPOSALS_PER_KEY_MAX);
    world.wait(DAY_MS);
    let (proposed, _) = as_many_as_there_may_be(&mut world, "acme/governor");
    assert_eq!(proposed.len(), limits::PROPOSALS_PER_KEY_MAX, "what is over leaves the record");
}

#[test]
fn all_changes_of_a_proposal_take_place_or_none() {
    let mut world = governed();
    let zenith = Change::AddOrganisation { organisation: organisation("zenith", &[]) };
    let slow = proposed(&mut world, vec![heartbeat(9_999), zenith.clone()]);
    for who in ["north/governor", "south/governor"] {
        say(&mut world, who, slow, Choice::For);
    }
    passed(&mut world, vec![zenith]);
    say(&mut world, "west/governor", slow, Choice::For);
    assert_eq!(record(&world, slow).standing, ProposalStanding::Void, "zenith is a member by now");
    assert_eq!(heartbeat_of(&world), 60_000);
}

#[test]
fn a_new_member_speaks_and_has_a_voice() {
    let mut world = governed();
    let more = [("governor", Role::Governor, KeyStatus::Active)];
    passed(&mut world, vec![Change::AddOrganisation { organisation: organisation("zenith", &more) }]);
    world.say("zenith/operator", enroll("host-9"));
    let id = proposed(&mut world, vec![heartbeat(1_234)]);
    for who in ["zenith/governor", "north/governor", "south/governor"] {
        say(&mut world, who, id, Choice::For);
    }
    assert_eq!(record(&world, id).standing, ProposalStanding::Open, "four of six");
    say(&mut world, "west/governor", id, Choice::For);
    assert_eq!(record(&world, id).standing, ProposalStanding::Passed);
}

#[test]
fn a_member_that_left_is_silent_and_its_name_is_never_used_again() {
    let mut world = governed();
    let redis = manifest("acme/redis", 1);
    world.say("acme/publisher", publish(&redis));
    world.say("south/approver", approve(redis.id()));
    passed(&mut world, vec![Change::RemoveOrganisation { name: name("south") }]);
    let south = world.storage.organisation(&name("south")).unwrap().expect("what it signed stays its own");
    assert!(south.keys.iter().all(|member| member.status == KeyStatus::Retired));
    assert!(!world.storage.members().unwrap().unwrap().0.contains(&name("south")));
    let silent = world.refuse("south/approver", approve(redis.id()));
    assert!(matches!(silent, Rejection::KeyNotActive { status: KeyStatus::Retired, .. }), "{silent}");
    let back = Change::AddOrganisation { organisation: organisation("south", &[]) };
    assert_eq!(impossible(&mut world, vec![back]), (0, ChangeError::NameTaken(name("south"))));
    // What it approved while it was a member still counts; with west, it is enough.
    world.say("west/approver", approve(redis.id()));
    world.block(vec![]);
    let proven = through(&mut world, redis.id(), &["acme", "north", "west"]);
    assert!(proven.verify(&world.trust(), world.clock()).is_ok());
    // Its validator left the set of the height after the next.
    let upcoming = world.storage.upcoming_validators().unwrap().unwrap();
    assert_eq!(upcoming.next, validator_set(&["acme", "north", "west"]));
    // Four voices are left, and three are more than two thirds.
    let id = proposed(&mut world, vec![heartbeat(1_234)]);
    for who in ["north/governor", "west/governor"] {
        say(&mut world, who, id, Choice::For);
    }
    assert_eq!(record(&world, id).standing, ProposalStanding::Passed);
}

#[test]
fn a_rotated_key_is_silent_and_its_successor_speaks() {
    let mut world = governed();
    let (old, new) = (public("north/approver"), public("north/next approver"));
    let redis = manifest("acme/redis", 1);
    world.say("acme/publisher", publish(&redis));
    passed(&mut world, vec![Change::RotateKey { old, new }]);
    assert!(matches!(world.refuse("north/approver", approve(redis.id())), Rejection::KeyNotActive { .. }));
    world.say("north/next approver", approve(redis.id()));
}

#[test]
fn what_a_revoked_key_signed_counts_no_more() {
    let mut world = governed();
    let redis = approved(&mut world);
    assert!(world.prove(redis).verify(&world.trust(), world.clock()).is_ok());
    passed(&mut world, vec![Change::RevokeKey { key: public("south/approver") }]);
    let error = world.prove(redis).verify(&world.trust(), world.clock()).unwrap_err();
    assert_eq!(error.code().word(), "authority", "{error}");
    let twice = vec![Change::RevokeKey { key: public("south/approver") }];
    assert_eq!(impossible(&mut world, twice), (0, ChangeError::AlreadyRevoked(public("south/approver"))));
}

/// Firmware: the one class for which the test ledger has a rule in every namespace.
fn server(release: u64) -> PatchManifest {
    PatchManifest { class: Class::Firmware, ..manifest("web/server", release) }
}

#[test]
fn what_is_left_of_approvals_is_enough_when_one_key_was_revoked() {
    let mut world = governed();
    let redis = approved(&mut world);
    world.say("west/approver", approve(redis));
    passed(&mut world, vec![Change::RevokeKey { key: public("south/approver") }]);
    let record = world.storage.patch(redis).unwrap().unwrap();
    let shown = record.verdicts.iter().filter(|verdict| verdict.key != public("south/approver"));
    let shown = shown.map(|verdict| verdict.position.index).collect();
    assert!(world.prove_with(redis, &record, shown).verify(&world.trust(), world.clock()).is_ok());
    assert_eq!(count_now(&world.storage, &record).unwrap().unwrap().approvals, 2);
}

#[test]
fn what_a_revoked_key_said_against_a_patch_counts_no_more() {
    let mut world = governed();
    let redis = approved(&mut world);
    world.say("west/approver", hold(redis));
    assert_eq!(world.prove(redis).verify(&world.trust(), world.clock()).unwrap_err().code().word(), "held");
    passed(&mut world, vec![Change::RevokeKey { key: public("west/approver") }]);
    let record = world.storage.patch(redis).unwrap().unwrap();
    assert_eq!(count_now(&world.storage, &record).unwrap().unwrap().standing, Standing::Approved);
    assert!(world.prove(redis).verify(&world.trust(), world.clock()).is_ok());
}

#[test]
fn a_successor_speaks_in_the_place_of_the_key_before() {
    let mut world = governed();
    let redis = approved(&mut world);
    world.say("west/approver", hold(redis));
    passed(&mut world, vec![Change::RotateKey { old: public("west/approver"), new: public("west/next approver") }]);
    assert_eq!(world.storage.patch(redis).unwrap().unwrap().standing, Standing::Held, "the hold stands");
    world.say("west/next approver", approve(redis));
    let record = world.storage.patch(redis).unwrap().unwrap();
    assert_eq!(record.standing, Standing::Approved);
    let west: Vec<_> = record.verdicts.iter().filter(|verdict| verdict.organisation == name("west")).collect();
    assert_eq!(west.len(), 1, "one voice after the other, not two");
}

#[test]
fn a_ballot_of_a_revoked_governor_counts_no_more() {
    let mut world = governed();
    let id = proposed(&mut world, vec![heartbeat(1_234)]);
    say(&mut world, "north/second governor", id, Choice::For);
    passed(&mut world, vec![Change::RevokeKey { key: public("north/second governor") }]);
    for who in ["south/governor", "west/governor"] {
        say(&mut world, who, id, Choice::For);
    }
    assert_eq!(record(&world, id).standing, ProposalStanding::Open, "three of five, north has not spoken");
    say(&mut world, "north/governor", id, Choice::For);
    assert_eq!(record(&world, id).standing, ProposalStanding::Passed);
}

#[test]
fn a_ballot_against_never_makes_a_proposal_pass() {
    let mut world = governed();
    let id = proposed(&mut world, vec![heartbeat(1_234)]);
    for who in ["north/governor", "south/governor"] {
        say(&mut world, who, id, Choice::For);
    }
    // Three of five are for it; when one of the others leaves, three of four.
    let leave = proposed(&mut world, vec![Change::RemoveOrganisation { name: name("globex") }]);
    for who in ["north/governor", "south/governor", "west/governor"] {
        say(&mut world, who, leave, Choice::For);
    }
    say(&mut world, "west/governor", id, Choice::Against);
    assert_eq!((record(&world, id).standing, heartbeat_of(&world)), (ProposalStanding::Open, 60_000));
}

#[test]
fn a_receipt_can_tell_what_a_relaxed_law_allowed() {
    let mut world = governed();
    let redis = manifest("acme/redis", 1);
    world.say("acme/operator", enroll("host-1"));
    world.say("acme/publisher", publish(&redis));
    world.say("north/approver", approve(redis.id()));
    let applied = || receive(receipt(redis.id(), 1, Outcome::Applied));
    assert!(matches!(world.refuse("host-1", applied()), Rejection::NeverApproved { .. }));
    let mut relaxed = rules();
    relaxed[1].quorum = Quorum { approvals: 1, organisations: 1 };
    passed(&mut world, vec![Change::SetApprovalRules { rules: ApprovalRules(List::new(relaxed).unwrap()) }]);
    world.say("host-1", applied());
}

/// A state, and how many of its records were read.
struct Counting<'a>(&'a MemoryStorage, Cell<usize>);

impl StateStorage for Counting<'_> {
    fn record(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StorageError> {
        self.1.set(self.1.get() + 1);
        self.0.record(key)
    }

    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.tree_node(key)
    }

    fn is_finalised(&self, id: &TransactionId) -> Result<bool, StorageError> {
        self.0.is_finalised(id)
    }
}

/// Whose a namespace is, all members must be asked; once for a proposal, and not for each of its changes.
#[test]
fn members_are_read_once_for_all_the_namespaces_of_a_proposal() {
    let mut world = governed();
    let mut records_read = |changes: usize| {
        let change = |place: usize| Change::AddNamespace {
            organisation: name(GOVERNORS[place % 4]),
            namespace: name(&format!("namespace-{place}")),
        };
        let payload = propose(&world, (0..changes).map(change).collect());
        let proposal = world.transaction("acme/governor", payload);
        let storage = Counting(&world.storage, Cell::new(0));
        let header = &world.tip.header;
        let (height, history_size) = (header.height + 1, header.history_size_after());
        let block = BlockContext { height, time_ms: world.next_ms(), history_size };
        State::begin(&storage, block).check(&proposal).unwrap();
        storage.1.get()
    };
    let (few, many) = (records_read(4), records_read(52));
    // Of each change more, the list of members.
    assert!(many - few <= 48, "{few} records are read for 4 changes, {many} for 52");
}

#[test]
fn namespaces_have_one_owner() {
    let mut world = governed();
    let (acme, north, web) = (name("acme"), name("north"), name("web"));
    let add = |organisation: &Name, namespace: &Name| Change::AddNamespace {
        organisation: organisation.clone(),
        namespace: namespace.clone(),
    };
    passed(&mut world, vec![add(&acme, &web)]);
    world.say("acme/publisher", publish(&server(1)));
    let taken = ChangeError::NamespaceTaken { namespace: web.clone(), owner: acme.clone() };
    assert_eq!(impossible(&mut world, vec![add(&north, &web)]), (0, taken));
    let remove = Change::RemoveNamespace { organisation: acme.clone(), namespace: web.clone() };
    passed(&mut world, vec![remove.clone(), add(&north, &web)]);
    let error = ChangeError::NamespaceNotOwned { organisation: acme, namespace: web };
    assert_eq!(impossible(&mut world, vec![remove]), (0, error));
    let refused = world.refuse("acme/publisher", publish(&server(2)));
    assert!(matches!(refused, Rejection::NamespaceNotOwned { .. }), "{refused}");
}

#[test]
fn a_set_of_validators_is_that_of_the_height_after_the_next() {
    let mut world = governed();
    let redis = approved(&mut world);
    let (first, second) = (validator_set(&VALIDATORS), validator_set(&["acme", "globex", "north"]));
    passed(&mut world, vec![Change::SetValidators { validators: second.clone() }]);
    let fixed = world.tip.header.height;
    world.block(vec![]);
    world.block(vec![]);
    world.block(vec![]);
    let header = |height: u64| &world.blocks[usize::try_from(height - 1).unwrap()].header;
    let sets = |height| (header(height).validators_hash, header(height).next_validators_hash);
    assert_eq!(sets(fixed), (first.hash(), first.hash()), "this block fixes it");
    assert_eq!(sets(fixed + 1), (first.hash(), second.hash()), "this header says so: an epoch header");
    assert_eq!(sets(fixed + 2), (second.hash(), second.hash()), "this block is certified by it");
    let upcoming = world.storage.upcoming_validators().unwrap().unwrap();
    assert_eq!((upcoming.next, upcoming.after_next), (second.clone(), second));
    let proven = through(&mut world, redis, &["acme", "globex", "north"]);
    assert_eq!(proven.epochs.len(), 1);
    assert!(proven.verify(&world.trust(), world.clock()).is_ok());
}

#[test]
fn two_changes_in_one_block_are_one_after_the_other() {
    let mut world = governed();
    let one = proposed(&mut world, vec![heartbeat(1_000), Change::RetireKey { key: public("west/validator") }]);
    let other = proposed(&mut world, vec![heartbeat(2_000), Change::RetireKey { key: public("acme/validator") }]);
    for who in ["north/governor", "south/governor"] {
        say(&mut world, who, one, Choice::For);
        say(&mut world, who, other, Choice::For);
    }
    let ballots = [one, other]
        .map(|proposal| world.transaction("west/governor", Payload::Ballot { proposal, choice: Choice::For }));
    world.block(ballots.to_vec());
    assert_eq!(heartbeat_of(&world), 2_000);
    let upcoming = world.storage.upcoming_validators().unwrap().unwrap();
    assert_eq!((upcoming.next, upcoming.after_next), (validator_set(&VALIDATORS), validator_set(&["north", "south"])));
}

#[test]
fn what_is_not_possible_is_named_before_anybody_votes() {
    let stranger = |organisation: &str| Validator { key: public("stranger"), organisation: name(organisation) };
    let nobody = |organisation: &str| ValidatorSet::new(vec![stranger(organisation)]).unwrap();
    let (unsound, mut unsound_rules) = (name("standard"), rules());
    unsound_rules[1].quorum.organisations = 0;
    let rules = ApprovalRules(List::new(unsound_rules).unwrap());
    let end_all = |kind: fn(PublicKey) -> Change, role: &str| -> Vec<Change> {
        ["acme", "north", "south", "west", "globex"].map(|who| kind(public(&format!("{who}/{role}")))).to_vec()
    };
    let retire = |key| Change::RetireKey { key };
    let mut governors = end_all(retire, "governor");
    governors.push(Change::RevokeKey { key: public("north/second governor") });
    let mut validators = end_all(retire, "validator");
    validators.truncate(4);
    let revoke_node = |who: &str| Change::RevokeKey { key: public(&format!("{who}/node")) };
    let unheard = vec![revoke_node("north"), revoke_node("south")];
    let key_of = |organisation: &str, key: PublicKey| Change::AddKey {
        organisation: name(organisation),
        key,
        role: Role::Approver,
    };
    let unnamed = name("zenith");
    let cases: Vec<(Vec<Change>, (usize, ChangeError))> = vec![
        (
            vec![Change::AddOrganisation { organisation: organisation("acme", &[]) }],
            (0, ChangeError::NameTaken(name("acme"))),
        ),
        (
            vec![Change::RemoveOrganisation { name: unnamed.clone() }],
            (0, ChangeError::UnknownOrganisation(unnamed.clone())),
        ),
        (vec![heartbeat(1), key_of("zenith", public("somebody"))], (1, ChangeError::UnknownOrganisation(unnamed))),
        (vec![key_of("acme", public("north/approver"))], (0, ChangeError::KeyInUse(public("north/approver")))),
        (vec![key_of("acme", PublicKey([0; 32]))], (0, ChangeError::NotAKey(PublicKey([0; 32])))),
        (vec![key_of("acme", public("host-1"))], (0, ChangeError::KeyInUse(public("host-1")))),
        (vec![Change::RetireKey { key: public("stranger") }], (0, ChangeError::UnknownKey(public("stranger")))),
        (
            vec![Change::RotateKey { old: public("stranger"), new: public("somebody") }],
            (0, ChangeError::UnknownKey(public("stranger"))),
        ),
        (
            vec![Change::SetValidators { validators: nobody("acme") }],
            (0, ChangeError::StrangeValidator { key: public("stranger"), organisation: name("acme") }),
        ),
        (vec![Change::SetApprovalRules { rules }], (0, ChangeError::UnsoundRule(unsound))),
        (vec![heartbeat(0)], (0, ChangeError::Parameter("heartbeat_ms"))),
        (vec![heartbeat(limits::PARAMETER_MS_MAX + 1)], (0, ChangeError::Parameter("heartbeat_ms"))),
        (governors, (5, ChangeError::NoGovernors)),
        (validators, (3, ChangeError::NoValidators)),
        (unheard, (1, ChangeError::NoQuorumHeard { power: 2, of: 4 })),
    ];
    let mut world = governed();
    world.say("acme/operator", enroll("host-1"));
    for (changes, expected) in cases {
        let kinds: BTreeSet<&str> = changes.iter().map(Change::kind).collect();
        assert_eq!(impossible(&mut world, changes), expected, "{kinds:?}");
    }
}
