//! Changes take place: members, their keys, and what revoked keys had said.

use super::*;
use crate::support::name;
use crate::support::samples::*;
use crate::support::world::{organisation, validator_set};
use ledger::approval::Standing;
use ledger::governance::{Change, ChangeError, Choice, ProposalStanding};
use ledger::patch::{Class, PatchManifest};
use ledger::state::record::{KeyStatus, Role};
use ledger::state::{Rejection, StateView as _, count_now};

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

/// What was signed with a stolen key would count again.
#[test]
fn only_a_key_that_speaks_is_retired_or_rotated() {
    let mut world = governed();
    let redis = approved(&mut world);
    let (south, west, north) = (public("south/approver"), public("west/approver"), public("north/approver"));
    passed(&mut world, vec![Change::RevokeKey { key: south }, Change::RetireKey { key: north }]);
    let unknown = |place, key| (place, ChangeError::UnknownKey(key));
    for key in [south, north] {
        let rotate = Change::RotateKey { old: key, new: public("another") };
        assert_eq!(impossible(&mut world, vec![Change::RetireKey { key }]), unknown(0, key));
        assert_eq!(impossible(&mut world, vec![rotate]), unknown(0, key));
    }
    let both = vec![Change::RevokeKey { key: west }, Change::RetireKey { key: west }];
    assert_eq!(impossible(&mut world, both), unknown(1, west));
    let error = world.prove(redis).verify(&world.trust(), world.clock()).unwrap_err();
    assert_eq!(error.code().word(), "authority", "{error}");
}

#[test]
fn a_key_that_was_revoked_stays_so_when_its_organisation_leaves() {
    let mut world = governed();
    let redis = approved(&mut world);
    let revoked = public("south/approver");
    passed(&mut world, vec![Change::RevokeKey { key: revoked }]);
    passed(&mut world, vec![Change::RemoveOrganisation { name: name("south") }]);
    let south = world.storage.organisation(&name("south")).unwrap().expect("what it signed stays its own");
    for member in south.keys.iter() {
        let status = if member.key == revoked { KeyStatus::Revoked } else { KeyStatus::Retired };
        assert_eq!(member.status, status, "{}", member.role.name());
        assert_eq!(world.storage.key_owner(member.key).unwrap().expect("it was its key").status, status);
    }
    world.block(vec![]);
    world.block(vec![]);
    let proven = through(&mut world, redis, &["acme", "north", "west"]);
    let error = proven.verify(&world.trust(), world.clock()).unwrap_err();
    assert_eq!(error.code().word(), "authority", "{error}");
}

/// Its record would say of a key that it is silent, while the key speaks.
#[test]
fn every_key_of_a_new_member_is_active() {
    let mut world = governed();
    for status in [KeyStatus::Retired, KeyStatus::Revoked] {
        let more = [("old approver", Role::Approver, status)];
        let zenith = Change::AddOrganisation { organisation: organisation("zenith", &more) };
        let expected = (0, ChangeError::NotActive(public("zenith/old approver")));
        assert_eq!(impossible(&mut world, vec![zenith]), expected);
    }
}

/// Firmware: the one class for which the test ledger has a rule in every namespace.
pub(super) fn server(release: u64) -> PatchManifest {
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
