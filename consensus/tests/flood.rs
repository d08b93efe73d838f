//! A member that says far more than anybody has to is sent away, and the others do not notice.

use crate::ledger_sim::cast::{Cast, Person, secret};
use crate::stand::{Stand, asked_for_blocks, parting, public};
use consensus::member::{Action, Alarm, BLOCKS_PER_REQUEST_MAX, Event, PEER_VERSION, Parting, PeerMessage, WORDS_MAX};
use consensus::{Evidence, SignedVote, VoteKind};
use ledger::block::{Block, Header};
use ledger::bounded::Name;
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::decode;
use ledger::evidence::{CertifiedHeader, TwoCertificates};
use ledger::governance::Change;
use ledger::id::BlockHash;
use ledger::key::SecretKey;
use ledger::limits;
use ledger::state::record::Role;
use ledger::transaction::{Payload, VerifiedTransaction};
use ledger::validators::{Validator, ValidatorSet};
use std::collections::BTreeSet;
use tests::{APPROVERS, Scenario};

fn flooder() -> &'static Person {
    &Cast::of(4).validators[2]
}

fn met() -> Stand {
    let mut stand = Stand::of(&Cast::of(4).validators[0], BTreeSet::new());
    stand.greet(flooder(), Some(public(flooder())));
    stand
}

fn is_sent_away(actions: &[Action]) -> bool {
    matches!(parting(actions), Some(Parting::Fault(why)) if why.contains("more than"))
}

/// How often it can do this before it is sent away.
fn times(stand: &mut Stand, mut act: impl FnMut(&mut Stand) -> Vec<Action>) -> u32 {
    (0..=WORDS_MAX).find(|_| is_sent_away(&act(stand))).expect("it is sent away")
}

fn hello() -> PeerMessage {
    let chain = Cast::of(4).chain_id();
    PeerMessage::Hello { version: PEER_VERSION, chain, height: 0, validator: Some(public(flooder())) }
}

fn connected(stand: &mut Stand) -> Vec<Action> {
    stand.step(Event::Connected { peer: flooder().node.public() })
}

#[test]
fn who_says_more_than_anybody_has_to_is_sent_away_whatever_it_says() {
    let messages = [
        hello(),
        PeerMessage::Status { height: 0 },
        PeerMessage::WantBody { block: BlockHash([7; 32]) },
        PeerMessage::WantBlocks { from: 1, count: 64 },
    ];
    for message in messages {
        let mut stand = met();
        // Words for its coming, and one for its greeting.
        let said = times(&mut stand, |stand| stand.say(flooder(), message.clone()));
        assert_eq!(said, WORDS_MAX - 257, "{}", message.kind());
        // It speaks for no validator any more; another one is heard as before.
        assert!(!stand.member.is_validator_node(&flooder().node.public()));
        let other = &Cast::of(4).validators[1];
        assert_eq!(parting(&stand.greet(other, Some(public(other)))), None);
        stand.finalise(Vec::new());
    }
}

#[test]
fn it_may_come_back_after_a_while_and_not_before() {
    let mut stand = met();
    times(&mut stand, |stand| stand.say(flooder(), hello()));
    for _ in 0..8 {
        assert_eq!(parting(&connected(&mut stand)), Some(&Parting::TooSoon));
        stand.wait(1_000);
    }
    stand.wait(191);
    assert_eq!(parting(&connected(&mut stand)), Some(&Parting::TooSoon));
    stand.wait(1);
    assert_eq!(parting(&stand.greet(flooder(), Some(public(flooder())))), None);
    assert!(stand.member.is_validator_node(&flooder().node.public()));
    // Half of what it had at first.
    assert_eq!(times(&mut stand, |stand| stand.say(flooder(), hello())), WORDS_MAX / 2 - 257);
}

/// However long it takes: what comes back in the time in which something honest is said is more than that.
#[test]
fn who_says_much_for_ever_and_no_more_than_comes_back_stays() {
    let mut stand = met();
    for _ in 0..200 {
        for _ in 0..1_000 {
            assert_eq!(parting(&stand.say(flooder(), PeerMessage::Status { height: 0 })), None);
        }
        stand.wait(1_000);
    }
}

/// A block is much to talk about, however fast blocks are.
#[test]
fn words_come_back_with_every_block() {
    let mut stand = met();
    for _ in 257..WORDS_MAX {
        assert_eq!(parting(&stand.say(flooder(), hello())), None);
    }
    // It takes a second, in which 1,000 come back.
    stand.finalise(Vec::new());
    assert_eq!(times(&mut stand, |stand| stand.say(flooder(), hello())), 1_000 + 64);
}

#[test]
fn transactions_and_blocks_that_nobody_needs_cost_more() {
    let cast = Cast::of(4);
    let peer = flooder().node.public();
    let mut stand = met();
    let known: Vec<VerifiedTransaction> = vec![cast.jobs[0].transaction.clone(); 800];
    stand.step(Event::Gossiped { peer, transactions: known[..1].to_vec() });
    let batches = times(&mut stand, |stand| stand.step(Event::Gossiped { peer, transactions: known.clone() }));
    // The greeting, and the one that was new.
    assert_eq!(batches, (WORDS_MAX - 258) / 101);

    let mut stand = met();
    stand.finalise(Vec::new());
    let (block, certificate): (Block, Certificate) = {
        let vault = stand.vault.look();
        let (block, certificate) = &vault.blocks[0];
        (decode(block).unwrap(), certificate.clone())
    };
    let event =
        || Event::Synced { peer, block: block.clone(), transactions: Vec::new(), certificate: certificate.clone() };
    assert_eq!(times(&mut stand, |stand| stand.step(event())), WORDS_MAX / 128);
    // Verified for nothing: a word more for four transactions.
    let mut stand = met();
    let full = || vec![cast.jobs[0].transaction.clone(); 5_000];
    let far = || Event::Synced { peer, block: block.clone(), transactions: full(), certificate: certificate.clone() };
    stand.finalise(Vec::new());
    assert_eq!(times(&mut stand, |stand| stand.step(far())), WORDS_MAX / (128 + 1_250));
    // What it was asked for may come late, again and again.
    let mut stand = met();
    stand.finalise(Vec::new());
    stand.say(flooder(), PeerMessage::Status { height: 1_000 });
    let asked = (0..4).map(|_| stand.step(Event::Due(Alarm::Sync)));
    let asked: usize = asked.map(|actions| asked_for_blocks(&actions).len()).sum();
    let late = times(&mut stand, |stand| stand.step(event()));
    // Of four requests at a time, and not of five.
    let free = 4 * BLOCKS_PER_REQUEST_MAX;
    assert_eq!((asked, late), (4, free + (WORDS_MAX - 1) / 128));
}

/// Evidence of a made-up set: all of it holds, and it convicts nobody here.
fn heavy_accusation(stand: &mut Stand, accuser: &SecretKey) -> VerifiedTransaction {
    let chain = Cast::of(4).chain_id();
    let keys: Vec<_> = (0..limits::VALIDATORS_MAX).map(|number| secret(&format!("sybil {number}"))).collect();
    let organisation = Name::new("sybils").unwrap();
    let validator = |key: &SecretKey| Validator { key: key.public(), organisation: organisation.clone() };
    let validators = ValidatorSet::new(keys.iter().map(validator).collect()).unwrap();
    let certified = |time_ms| {
        let header = Header { height: 9, time_ms, validators_hash: validators.hash(), ..Cast::of(4).genesis.header };
        let body = VoteBody { height: 9, round: 0, block: Some(header.hash()) };
        let votes = keys.iter().map(|key| SignedVote::sign(VoteKind::Precommit, body, key, &chain));
        let signed: Vec<_> = votes.map(|vote| (vote.voter, vote.signature)).collect();
        CertifiedHeader { certificate: Certificate::assemble(9, 0, header.hash(), &signed, &validators), header }
    };
    let (one, other) = (certified(1), certified(2));
    let evidence = Evidence::Certificates(Box::new(TwoCertificates { validators, one, other }));
    stand.sign(accuser, Payload::Accuse { evidence })
}

/// One accusation may take as long to verify as 257 other transactions, and it is counted as so many.
#[test]
fn accusations_that_nobody_needs_cost_what_their_signatures_do() {
    let peer = flooder().node.public();
    let mut stand = met();
    let accusation = heavy_accusation(&mut stand, &secret("stranger"));
    let weight = 1 + 2 * u32::try_from(limits::VALIDATORS_MAX).unwrap();
    assert_eq!(accusation.payload().weight(), weight as usize);
    let passed_on = || Event::Gossiped { peer, transactions: vec![accusation.clone(); 8] };
    assert_eq!(times(&mut stand, |stand| stand.step(passed_on())), (WORDS_MAX - 257) / (1 + weight));
    let mut stand = met();
    let given = || Event::Given { peer, transactions: vec![accusation.clone(); 8] };
    assert_eq!(times(&mut stand, |stand| stand.step(given())), (WORDS_MAX - 257) / (1 + weight));

    // In finalised blocks, too: the last of those that it was asked for, and of others.
    let mut stand = met();
    stand.finalise(Vec::new());
    let (block, certificate) = stand.vault.look().block(1).unwrap();
    let full = || vec![accusation.clone(); 46];
    let far = || Event::Synced { peer, block: block.clone(), transactions: full(), certificate: certificate.clone() };
    assert_eq!(times(&mut stand, |stand| stand.step(far())), WORDS_MAX / (128 + 46 * weight / 4));
    let mut stand = met();
    stand.finalise(Vec::new());
    stand.say(flooder(), PeerMessage::Status { height: 1_000 });
    assert_eq!(times(&mut stand, |stand| stand.step(far())), (WORDS_MAX - 1) / (46 * (weight - 1) / 4));
}

/// Sixty-three changes that are possible, and one that is not.
fn impossible() -> Vec<Change> {
    let parameters = Cast::of(4).genesis.genesis.parameters.clone();
    let mut changes = vec![Change::SetParameters { parameters }; limits::CHANGES_MAX - 1];
    changes.push(Change::RetireKey { key: secret("stranger").public() });
    changes
}

/// No count of open proposals has them: they leave no trace.
#[test]
fn proposals_that_are_not_possible_cost_by_their_changes_and_ballots_that_nobody_needs_a_word() {
    let peer = flooder().node.public();
    let mut stand = met();
    let proposed = stand.decision_of(impossible());
    let changes = u32::try_from(limits::CHANGES_MAX).unwrap();
    for (transaction, words) in [(&proposed[0], 1 + (1 + changes) / 8 + 32 + changes), (&proposed[1], 2)] {
        let mut stand = met();
        let event = || Event::Gossiped { peer, transactions: vec![transaction.clone()] };
        let heard = times(&mut stand, |stand| stand.step(event()));
        assert_eq!(heard, (WORDS_MAX - 257) / words, "{}", transaction.payload().kind());
    }
}

/// What is given is heard all at once, before anything that is passed on.
#[test]
fn of_proposals_that_are_given_one_is_looked_at_and_of_those_passed_on_all() {
    let peer = flooder().node.public();
    let mut stand = met();
    let parameters = Cast::of(4).genesis.genesis.parameters.clone();
    let mut proposed = || stand.decision(Change::SetParameters { parameters: parameters.clone() }).swap_remove(0);
    let given = [proposed(), proposed(), proposed(), Cast::of(4).jobs[0].transaction.clone()];
    let mut stand = met();
    stand.step(Event::Given { peer, transactions: given.to_vec() });
    let pool = |stand: &Stand| given.each_ref().map(|transaction| stand.member.mempool().contains(&transaction.id()));
    assert_eq!(pool(&stand), [true, false, false, true]);
    stand.step(Event::Gossiped { peer, transactions: given.to_vec() });
    assert_eq!(pool(&stand), [true; 4]);
}

/// Each takes as long as many others: together they would hold up the next block.
#[test]
fn after_a_block_one_proposal_is_looked_at_again_and_all_of_them_in_their_turn() {
    let mut stand = met();
    let web = |whose: &str| Change::AddNamespace {
        organisation: Name::new(whose).unwrap(),
        namespace: Name::new("web").unwrap(),
    };
    let waiting = (0..3).map(|_| stand.decision(web(APPROVERS[0])).swap_remove(0)).collect();
    stand.step(Event::Gossiped { peer: flooder().node.public(), transactions: waiting });
    let taken = stand.decision(web(APPROVERS[1]));
    stand.finalise(taken);
    let dropped = |actions: Vec<Action>| actions.iter().filter(|it| matches!(it, Action::Dropped { .. })).count();
    let after_each: Vec<_> = (0..6).map(|_| dropped(stand.finalise(Vec::new()))).collect();
    assert!(after_each.iter().all(|count| *count <= 1), "{after_each:?}");
    assert_eq!(after_each.iter().sum::<usize>(), 3, "{after_each:?}");
}

/// Few of an organisation's may wait that take long: those of a stolen key would keep out the one that revokes the next.
#[test]
fn what_a_revoked_key_proposed_is_dropped_with_it_all_at_once() {
    let people = Scenario::with_validators(1, 4);
    let stolen = people.key(APPROVERS[2], Role::Governor);
    let mut stand = met();
    let waiting = (0..5).map(|place| {
        let key = Cast::of(4).twins[place % 4].node.public();
        stand.propose(&stolen, vec![Change::RetireKey { key }])
    });
    let waiting: Vec<_> = waiting.collect();
    stand.step(Event::Gossiped { peer: flooder().node.public(), transactions: waiting });
    assert_eq!(stand.member.mempool().len(), 5);
    let revokes = stand.decision(Change::RevokeKey { key: stolen.public() });
    let actions = stand.finalise(revokes);
    assert_eq!(actions.iter().filter(|it| matches!(it, Action::Dropped { .. })).count(), 5);
    assert!(stand.member.mempool().is_empty());
}
