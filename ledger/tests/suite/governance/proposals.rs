//! Proposals and ballots: who speaks, what passes, and how many may be open.

use super::*;
use crate::support::name;
use crate::support::world::{BLOCK_MS, World};
use ledger::bounded::{List, Name, Notes, SortedList};
use ledger::governance::{Change, Choice, Proposal, ProposalStanding, Tally};
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::state::record::{KeyStatus, MemberKey, Organisation, Role};
use ledger::state::{Rejection, StateView as _};
use ledger::transaction::Payload;
use std::collections::BTreeSet;

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

/// Two thirds are not more than two thirds: what the others can do together is not enough.
#[test]
fn a_proposal_is_refused_as_soon_as_all_the_others_could_not_pass_it() {
    let mut world = governed();
    let more = [("governor", Role::Governor, KeyStatus::Active)];
    passed(&mut world, vec![Change::AddOrganisation { organisation: organisation("zenith", &more) }]);
    let id = proposed(&mut world, vec![heartbeat(1_234)]);
    say(&mut world, "north/governor", id, Choice::Against);
    assert_eq!(record(&world, id).standing, ProposalStanding::Open, "one of six against it");
    say(&mut world, "south/governor", id, Choice::Against);
    assert_eq!(record(&world, id).standing, ProposalStanding::Refused, "two of six against it");

    let voices = |count: usize| (0..count).map(|n| name(&format!("member-{n}"))).collect::<BTreeSet<Name>>();
    for voters in 1..=24 {
        for against in 0..=voters {
            let tally = |for_it, against_it| Tally { voters, for_it: voices(for_it), against_it: voices(against_it) };
            let all_others = tally(voters - against, 0);
            assert_eq!(tally(0, against).cannot_pass(), !all_others.passes(), "{against} of {voters} against it");
        }
    }
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
