//! Changes of the law: rules, namespaces, the set of validators, and what is not possible.

use super::members::server;
use super::*;
use crate::support::name;
use crate::support::samples::*;
use crate::support::world::{VALIDATORS, organisation, rules, validator_set};
use ledger::approval::{ApprovalRules, Quorum};
use ledger::bounded::{List, Name, SortedList};
use ledger::governance::{Change, ChangeError, Choice};
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::receipt::Outcome;
use ledger::state::record::{Organisation, Parameters, Role};
use ledger::state::storage::{MemoryStorage, StateStorage, StorageError};
use ledger::state::{BlockContext, Rejection, State, StateKey, StateView as _};
use ledger::transaction::Payload;
use ledger::validators::{Validator, ValidatorSet};
use std::cell::Cell;
use std::collections::BTreeSet;

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

/// A change sees what those before it did.
#[test]
fn namespaces_have_one_owner_within_a_proposal_too() {
    let mut world = governed();
    let (acme, north, web) = (name("acme"), name("north"), name("web"));
    let add = |organisation: &Name, namespace: &Name| Change::AddNamespace {
        organisation: organisation.clone(),
        namespace: namespace.clone(),
    };
    let taken = |namespace: &Name| {
        let (namespace, owner) = (namespace.clone(), acme.clone());
        (1, ChangeError::NamespaceTaken { namespace, owner })
    };
    let zenith = || {
        let namespaces = SortedList::new(vec![web.clone()]).unwrap();
        Change::AddOrganisation { organisation: Organisation { namespaces, ..organisation("zenith", &[]) } }
    };
    assert_eq!(impossible(&mut world, vec![add(&acme, &web), add(&north, &web)]), taken(&web));
    assert_eq!(impossible(&mut world, vec![add(&acme, &web), zenith()]), taken(&web));
    // What it had before is its own still.
    assert_eq!(impossible(&mut world, vec![add(&acme, &web), add(&north, &acme)]), taken(&acme));
    // Once given up, it is free.
    let remove = Change::RemoveNamespace { organisation: acme.clone(), namespace: web.clone() };
    passed(&mut world, vec![add(&acme, &web), remove, add(&north, &web)]);
    let owned = |who: &Name| world.storage.organisation(who).unwrap().unwrap().namespaces.contains(&web);
    assert!(owned(&north) && !owned(&acme));
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
fn a_set_of_validators_has_active_validating_keys_under_the_names_of_their_owners() {
    let mut world = governed();
    let (revoked, retired) = (public("south/validator"), public("west/validator"));
    passed(&mut world, vec![Change::RevokeKey { key: revoked }, Change::RetireKey { key: retired }]);
    for (key, who) in [
        (revoked, "south"),
        (retired, "west"),
        (public("north/approver"), "north"),
        (public("globex/validator"), "west"),
        (public("globex/validator"), "nobody"),
    ] {
        let organisation = name(who);
        let mut validators = validator_set(&["acme", "north"]).validators().to_vec();
        validators.push(Validator { key, organisation: organisation.clone() });
        let validators = ValidatorSet::new(validators).unwrap();
        let expected = (0, ChangeError::StrangeValidator { key, organisation });
        assert_eq!(impossible(&mut world, vec![Change::SetValidators { validators }]), expected);
    }
    passed(&mut world, vec![Change::SetValidators { validators: validator_set(&["acme", "globex", "north"]) }]);
}

/// A change sees what those before it did.
#[test]
fn a_key_that_is_revoked_first_is_put_into_no_set_after_it() {
    let mut world = governed();
    let (key, organisation) = (public("globex/validator"), name("globex"));
    let validators = validator_set(&["acme", "globex", "north"]);
    let changes = vec![Change::RevokeKey { key }, Change::SetValidators { validators }];
    assert_eq!(impossible(&mut world, changes), (1, ChangeError::StrangeValidator { key, organisation }));
}

#[test]
fn each_time_of_the_law_is_from_one_millisecond_to_an_hour() {
    let mut world = governed();
    let hour = 3_600_000;
    let set = |heartbeat_ms, seal_ms| Change::SetParameters { parameters: Parameters { heartbeat_ms, seal_ms } };
    for wrong in [0, hour + 1, u64::MAX] {
        assert_eq!(impossible(&mut world, vec![set(wrong, 200)]), (0, ChangeError::Parameter("heartbeat_ms")));
        assert_eq!(impossible(&mut world, vec![set(60_000, wrong)]), (0, ChangeError::Parameter("seal_ms")));
    }
    for (heartbeat_ms, seal_ms) in [(1, hour), (hour, 1)] {
        passed(&mut world, vec![set(heartbeat_ms, seal_ms)]);
        let expected = Parameters { heartbeat_ms, seal_ms };
        assert_eq!(world.storage.parameters().unwrap().unwrap(), expected);
    }
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

/// All that an organisation finalises with.
fn revoke_all(who: &str) -> Vec<Change> {
    ["validator", "node"].map(|role| Change::RevokeKey { key: public(&format!("{who}/{role}")) }).to_vec()
}

/// The set of the next height is fixed already, and nobody hears a key that is revoked.
#[test]
fn no_more_are_revoked_at_once_than_the_next_height_can_do_without() {
    let mut world = governed();
    let two = [revoke_all("west"), revoke_all("south")].concat();
    let stops = |power, of| ChangeError::NoQuorumNext { power, of };
    assert_eq!(impossible(&mut world, two.clone()), (3, stops(2, 4)));
    // A key that was retired long ago does not stand for one that is revoked now.
    passed(&mut world, vec![Change::RotateKey { old: public("south/node"), new: public("south/new node") }]);
    let mut of_today = two.clone();
    of_today[3] = Change::RevokeKey { key: public("south/new node") };
    assert_eq!(impossible(&mut world, of_today), (3, stops(2, 4)));
    // Who leaves is heard until it is needed no more.
    let leave = ["west", "south"].map(|who| Change::RemoveOrganisation { name: name(who) });
    passed(&mut world, leave.to_vec());
}

#[test]
fn what_two_blocks_could_each_do_they_cannot_do_one_after_the_other() {
    let mut world = governed();
    let one = proposed(&mut world, revoke_all("west"));
    let other = proposed(&mut world, revoke_all("south"));
    for who in ["north/governor", "globex/governor"] {
        say(&mut world, who, one, Choice::For);
        say(&mut world, who, other, Choice::For);
    }
    say(&mut world, "south/governor", one, Choice::For);
    // In the next height three of three are needed now.
    say(&mut world, "west/governor", other, Choice::For);
    assert_eq!(
        (record(&world, one).standing, record(&world, other).standing),
        (ProposalStanding::Passed, ProposalStanding::Void)
    );
    // Two are a quorum of two: what was impossible one block after the other is possible two blocks later.
    assert_eq!(impossible(&mut world, revoke_all("south")), (1, ChangeError::NoQuorumNext { power: 2, of: 3 }));
    passed(&mut world, vec![Change::SetValidators { validators: validator_set(&["acme", "north"]) }]);
    world.block(vec![]);
    passed(&mut world, revoke_all("south"));
}

/// What a block does counts together, however many proposals do it.
#[test]
fn no_order_of_proposals_in_one_block_takes_the_quorum_from_the_next_height() {
    let mut world = governed();
    let leave = ["west", "south"].map(|who| Change::RemoveOrganisation { name: name(who) });
    let all = [leave.to_vec(), revoke_all("west"), revoke_all("south")];
    let [first, second, third] = all.map(|changes| proposed(&mut world, changes));
    for proposal in [first, second, third] {
        say(&mut world, "north/governor", proposal, Choice::For);
    }
    say(&mut world, "globex/governor", first, Choice::For);
    // The first one takes two voices away, and three of three are enough then.
    let last = [("south/governor", first), ("globex/governor", second), ("globex/governor", third)];
    let ballots = last.map(|(who, proposal)| world.transaction(who, Payload::Ballot { proposal, choice: Choice::For }));
    world.block(ballots.to_vec());
    let proposals = [first, second, third];
    let standing = proposals.map(|proposal| record(&world, proposal).standing);
    assert_eq!(standing, [ProposalStanding::Passed, ProposalStanding::Passed, ProposalStanding::Void]);
}

/// A machine that comes has the validating key that takes the old one's place; the next height needs the old one.
#[test]
fn a_new_node_does_not_stand_for_one_that_is_revoked_with_its_validator() {
    let mut world = governed();
    let replaced = |who: &str| {
        let key = |role: &str| public(&format!("{who}/{role}"));
        let node = Change::AddKey { organisation: name(who), key: key("new node"), role: Role::Node };
        let rotated = Change::RotateKey { old: key("validator"), new: key("new validator") };
        vec![node, Change::RevokeKey { key: key("node") }, rotated]
    };
    let two = [replaced("west"), replaced("south")].concat();
    assert_eq!(impossible(&mut world, two.clone()), (5, ChangeError::NoQuorumNext { power: 2, of: 4 }));
    // Where the validator stays, its key goes into the new machine.
    let stays: Vec<_> = two.into_iter().filter(|change| !matches!(change, Change::RotateKey { .. })).collect();
    passed(&mut world, stays);
    passed(&mut world, replaced("acme"));
}

/// Nothing is held against changes that was so before them.
#[test]
fn whoever_is_not_heard_already_stops_no_other_change() {
    let mut world = governed();
    passed(&mut world, vec![Change::RevokeKey { key: public("west/node") }]);
    passed(&mut world, vec![heartbeat(3_000)]);
    assert_eq!(impossible(&mut world, revoke_all("south")), (1, ChangeError::NoQuorumHeard { power: 2, of: 3 }));
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
