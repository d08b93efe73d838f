//! Single steps of a whole member: what comes in at the door, and what goes out.

use crate::bounds::transactions_of;
use crate::ledger_sim::cast::{Cast, secret};
use crate::stand::{Disk, H, Stand, asked_for_blocks, caught, parting, public, said, votes};
use crate::table::{X, Y};
use consensus::member::{Action, Alarm, Event, PEER_VERSION, Parting, PeerMessage, To};
use consensus::{LogEntry, Message, Polka, Signed, SignedVote, VoteKind};
use ledger::block::Block;
use ledger::bounded::List;
use ledger::certificate::VoteBody;
use ledger::id::ChainId;
use ledger::limits;
use ledger::merkle;
use ledger::state::record::Role;
use ledger::transaction::VerifiedTransaction;
use std::collections::BTreeSet;
use tests::{APPROVERS, Scenario};

#[test]
fn a_node_speaks_for_the_validator_of_its_own_organisation_and_for_no_other() {
    let cast = Cast::of(4);
    let peer = &cast.validators[1];
    let people = Scenario::with_validators(1, 4);
    for (what, claims, believed) in [
        ("its own", Some(public(peer)), true),
        ("none", None, false),
        ("another organisation's", Some(public(&cast.validators[2])), false),
        ("this node's", Some(public(&cast.validators[0])), false),
        ("a node's", Some(peer.node.public()), false),
        ("a person's of its organisation", Some(people.key(APPROVERS[0], Role::Operator).public()), false),
        ("nobody's", Some(secret("nobody").public()), false),
    ] {
        let mut stand = Stand::of(&cast.validators[0], BTreeSet::new());
        stand.greet(peer, claims);
        assert_eq!(stand.member.is_validator_node(&peer.node.public()), believed, "{what}");
    }
}

#[test]
fn only_nodes_of_members_are_met_and_those_a_person_told_of() {
    let cast = Cast::of(4);
    let person = Scenario::with_validators(1, 4).key(APPROVERS[0], Role::Operator);
    let stranger = secret("stranger");
    let told = BTreeSet::from([stranger.public()]);
    let good = cast.jobs[0].transaction.clone();
    for (what, key, told, met) in [
        ("a member's node", &cast.validators[1].node, BTreeSet::new(), true),
        ("a stranger", &stranger, BTreeSet::new(), false),
        ("a stranger that a person told of", &stranger, told.clone(), true),
        ("a member's person", &person, BTreeSet::new(), false),
        ("a member's person, told of by mistake", &person, BTreeSet::from([person.public()]), false),
        ("a validating key", cast.validators[1].validator.as_ref().unwrap(), BTreeSet::new(), false),
    ] {
        let mut stand = Stand::of(&cast.validators[0], told);
        let peer = key.public();
        let actions = stand.step(Event::Connected { peer });
        let greeted = actions.iter().any(|a| matches!(a, Action::Send { message: PeerMessage::Hello { .. }, .. }));
        assert_eq!((greeted, parting(&actions) == Some(&Parting::Stranger)), (met, !met), "{what}");
        stand.step(Event::Gossiped { peer, transactions: vec![good.clone()] });
        assert_eq!(stand.member.mempool().contains(&good.id()), met, "{what}");
    }
}

#[test]
fn who_is_of_another_ledger_or_speaks_another_language_is_sent_away() {
    let cast = Cast::of(4);
    let peer = &cast.validators[1];
    let hello = |version, chain| PeerMessage::Hello { version, chain, height: 0, validator: Some(public(peer)) };
    for (message, good) in [
        (hello(PEER_VERSION, cast.chain_id()), true),
        (hello(PEER_VERSION + 1, cast.chain_id()), false),
        (hello(PEER_VERSION, ChainId([9; 32])), false),
    ] {
        let mut stand = Stand::of(&cast.validators[0], BTreeSet::new());
        stand.step(Event::Connected { peer: peer.node.public() });
        let actions = stand.say(peer, message);
        assert_eq!(parting(&actions).is_some_and(Parting::is_fault), !good, "{actions:?}");
        assert_eq!(stand.member.is_validator_node(&peer.node.public()), good);
    }
}

#[test]
fn with_a_vote_goes_to_disk_whatever_it_depends_on() {
    let (mut stand, others) = Stand::in_a_circle();
    let executed = stand.block(others[0], stand.now.wall_ms);
    let block = executed.block.header.hash();
    let mut actions = stand.hear_block(others[0], &executed.block.header, &[]);
    assert_eq!(said(&actions), vec![(VoteKind::Prevote, Some(block))]);
    assert!(actions.iter().any(|a| matches!(a, Action::KeepBody(kept) if kept.block.header.hash() == block)));
    for person in &others[..2] {
        actions.extend(stand.hear_vote(person, VoteKind::Prevote, block));
    }
    assert_eq!(said(&actions).last(), Some(&(VoteKind::Precommit, Some(block))));
    for vote in votes(&actions) {
        let guarded = |a: &Action| matches!(a, Action::WriteGuard(record) if record.signed == Signed::Vote(vote));
        let logged = |a: &Action| matches!(a, Action::AppendLog(LogEntry::Vote(known)) if *known == vote);
        let sent = |a: &Action| matches!(a, Action::Send { message: PeerMessage::Consensus(Message::Vote(it)), .. } if *it == vote);
        let [guarded, logged, sent] =
            [&guarded as &dyn Fn(&Action) -> bool, &logged, &sent].map(|it| actions.iter().position(it));
        assert!(guarded.max(logged) < sent && guarded.min(logged).is_some(), "before it is sent: {vote:?}");
    }
}

/// What was kept for the next height is looked at when that begins; whoever ends the one before has not sent it.
#[test]
fn who_decides_a_height_is_not_to_blame_for_what_another_sent_for_the_next() {
    let (mut stand, others) = Stand::in_a_circle();
    let executed = stand.block(others[0], stand.now.wall_ms);
    let block = executed.block.header.hash();
    stand.hear_block(others[0], &executed.block.header, &[]);
    let body = VoteBody { height: H + 1, round: 0, block: None };
    let key = others[0].validator.as_ref().unwrap();
    let vote = SignedVote::sign(VoteKind::Prevote, body, key, &stand.cast.chain_id());
    let forged = SignedVote { signature: ledger::key::Signature([7; 64]), ..vote };
    stand.say(others[0], PeerMessage::Consensus(Message::Vote(forged)));
    stand.step(Event::Gossiped {
        peer: others[0].node.public(),
        transactions: vec![stand.cast.jobs[0].transaction.clone()],
    });
    stand.wait(1_000);
    let mut actions = Vec::new();
    for kind in [VoteKind::Prevote, VoteKind::Precommit] {
        for person in others.iter().rev() {
            actions.extend(stand.hear_vote(person, kind, block));
            // So the decision waits for nothing, and is carried out while whoever completes it is heard.
            actions.extend(stand.step(Event::Written));
        }
    }
    let begins =
        |a: &&Action| matches!(a, Action::Schedule { alarm: Alarm::Consensus(timer), .. } if timer.height == H + 1);
    assert!(actions.iter().filter(begins).count() > 0, "the next height has begun: {actions:?}");
    assert_eq!(parting(&actions), None);
}

/// The others vote for it because this node has its body: after a crash it must have it still.
#[test]
fn with_a_proposal_goes_to_disk_the_block_it_is_of() {
    let mut stand = Stand::of(Stand::in_turn_of_all(0), BTreeSet::new());
    for other in (1..4).map(Stand::in_turn_of_all) {
        stand.greet(other, Some(public(other)));
    }
    let actions = stand.step(Event::Due(Alarm::NextHeight { height: H }));
    let place = |wanted: &dyn Fn(&Action) -> bool| actions.iter().position(wanted);
    let block = |action: &Action| match action {
        Action::Send { message: PeerMessage::Consensus(Message::Proposal(proposal)), .. } => Some(proposal.body.block),
        _ => None,
    };
    let sent = place(&|a| block(a).is_some()).expect("it is its turn");
    let kept =
        place(&|a| matches!(a, Action::KeepBody(kept) if Some(kept.block.header.hash()) == block(&actions[sent])));
    assert!(kept.is_some_and(|kept| kept < sent), "{actions:?}");
}

/// A verdict must depend on nothing but the block and its chain: other clocks may see this block in time.
#[test]
fn a_block_ahead_of_the_clock_is_neither_good_nor_bad_until_the_clock_is_there() {
    let (mut stand, others) = Stand::in_a_circle();
    let executed = stand.block(others[0], stand.now.wall_ms + limits::CLOCK_AHEAD_MS_MAX + 1);
    let block = executed.block.header.hash();
    let actions = stand.hear_block(others[0], &executed.block.header, &[]);
    assert_eq!(said(&actions), vec![]);
    let looks_again =
        |a: &Action| matches!(a, Action::Schedule { alarm: Alarm::Missing(again), .. } if *again == block);
    assert!(actions.iter().any(looks_again), "{actions:?}");
    assert_eq!(said(&stand.step(Event::Due(Alarm::Missing(block)))), vec![]);
    stand.now.wall_ms += 1;
    assert_eq!(said(&stand.step(Event::Due(Alarm::Missing(block)))), vec![(VoteKind::Prevote, Some(block))]);
}

/// Its transactions just fit into a block, and the block that they make with its header does not: there is no such
/// block, so it is bad, and not only late.
#[test]
fn a_body_that_makes_no_block_is_voted_down() {
    let (mut stand, others) = Stand::in_a_circle();
    let transactions = transactions_of(limits::BLOCK_BYTES_MAX - 8);
    let mut header = stand.block(others[0], stand.now.wall_ms).block.header;
    header.tx_count = u32::try_from(transactions.len()).unwrap();
    header.tx_root = merkle::root(transactions.iter().map(VerifiedTransaction::bytes));
    assert!(Block::propose(header.clone(), &transactions).is_err());
    assert_eq!(said(&stand.hear_block(others[0], &header, &transactions)), vec![]);
    let peer = others[0].node.public();
    let actions = stand.step(Event::Gossiped { peer, transactions });
    assert_eq!(said(&actions), vec![(VoteKind::Prevote, None)]);
}

#[test]
fn who_signs_two_things_is_caught_in_time_and_late_and_by_what_others_finalised() {
    // In time.
    let (mut stand, others) = Stand::in_a_circle();
    assert_eq!(caught(&stand.hear_vote(others[1], VoteKind::Prevote, X)), vec![]);
    assert_eq!(caught(&stand.hear_vote(others[1], VoteKind::Prevote, Y)), vec![public(others[1])]);

    // When the height is decided.
    let (mut stand, others) = Stand::in_a_circle();
    let executed = stand.block(others[0], stand.now.wall_ms);
    let block = executed.block.header.hash();
    let mut actions = stand.hear_block(others[0], &executed.block.header, &[]);
    for kind in [VoteKind::Prevote, VoteKind::Precommit] {
        for person in &others[..2] {
            actions.extend(stand.hear_vote(person, kind, block));
        }
    }
    assert!(actions.iter().any(|action| matches!(action, Action::Finalised(_))), "{actions:?}");
    assert!(actions.iter().any(|action| matches!(action, Action::BeginLog { height } if *height == H + 1)));
    let late = stand.hear_vote(others[1], VoteKind::Precommit, Y);
    assert_eq!(caught(&late), vec![public(others[1])]);
    let told = |a: &Action| matches!(a, Action::Send { message: PeerMessage::Status { height: H }, .. });
    assert!(late.iter().any(told), "whoever votes late is behind: {late:?}");
    // A vote that contradicts another, and that nobody cast: whoever passes it on has not looked.
    let mut forged = stand.vote(others[0], VoteKind::Precommit, Y);
    forged.signature.0[0] ^= 1;
    let prevotes = vec![(forged.voter, forged.signature); 128];
    let polka = Polka { height: H, round: 0, block: Y, prevotes: List::new(prevotes).unwrap() };
    for message in [Message::Vote(forged), Message::Polka(polka)] {
        let actions = stand.say(others[2], PeerMessage::Consensus(message));
        assert_eq!(caught(&actions), vec![]);
        assert!(parting(&actions).is_some_and(Parting::is_fault), "{actions:?}");
        stand.greet(others[2], Some(public(others[2])));
    }

    // By a certificate that came with its block.
    let (mut stand, others) = Stand::in_a_circle();
    stand.hear_vote(others[1], VoteKind::Precommit, Y);
    let (peer, block) = (others[2].node.public(), executed.block.clone());
    let certificate = stand.certificate(&others, block.header.hash());
    let actions = stand.step(Event::Synced { peer, block, transactions: Vec::new(), certificate });
    assert!(actions.iter().any(|action| matches!(action, Action::Finalised(_))), "{actions:?}");
    assert_eq!(caught(&actions), vec![public(others[1])]);
}

#[test]
fn what_a_member_left_on_disk_is_there_when_it_starts_again() {
    let (stand, others) = Stand::in_a_circle();
    let me = stand.in_turn(3);
    let executed = stand.block(others[0], stand.now.wall_ms);
    let block = executed.block.header.hash();
    let nil = VoteBody { height: H, round: 0, block: None };
    let nil = SignedVote::sign(VoteKind::Prevote, nil, me.validator.as_ref().unwrap(), &stand.cast.chain_id());
    // The body it judged: whoever asks for it gets it.
    let mut again = Stand::again(me, Disk { bodies: vec![executed.block.clone()], ..Disk::default() });
    let keeps = |a: &&Action| matches!(a, Action::KeepBody(_));
    assert_eq!(again.began.iter().filter(keeps).count(), 0, "it lies there, and does not double with every start");
    again.greet(others[0], Some(public(others[0])));
    let actions = again.say(others[0], PeerMessage::WantBody { block });
    let is_body = |a: &Action| matches!(a, Action::Send { message: PeerMessage::Body { header, .. }, .. } if header.hash() == block);
    assert!(actions.iter().any(is_body), "{actions:?}");
    // The vote in its log: it is said again, and no other, even though the guard file is gone.
    let mut again = Stand::again(me, Disk { log: vec![LogEntry::Vote(nil)], ..Disk::default() });
    assert_eq!(votes(&again.began), vec![], "it listens before it speaks");
    assert_eq!(votes(&again.greet(others[0], Some(public(others[0])))), vec![]);
    assert_eq!(votes(&again.greet(others[1], Some(public(others[1])))), vec![nil], "now a quorum is here");
    let said = votes(&again.hear_block(others[0], &executed.block.header, &[]));
    assert!(said.iter().all(|vote| *vote == nil), "{said:?}");
}

/// An alarm may ring after what it was set for has happened, or when it is about another height.
#[test]
fn an_alarm_that_comes_too_late_begins_nothing() {
    let (mut stand, others) = Stand::in_a_circle();
    for height in [0, 2, 7] {
        let actions = stand.step(Event::Due(Alarm::NextHeight { height }));
        assert!(actions.is_empty(), "{height}: {actions:?}");
    }
    let executed = stand.block(others[0], stand.now.wall_ms);
    stand.hear_block(others[0], &executed.block.header, &[]);
    let actions = stand.step(Event::Due(Alarm::NextHeight { height: H }));
    assert!(actions.is_empty(), "begun already: {actions:?}");
}

/// Others may decide on it with this node's vote, and ask this node for it, however many blocks come after it.
#[test]
fn the_body_of_the_block_it_precommitted_stays_whatever_else_is_named() {
    let (mut stand, others) = Stand::in_a_circle();
    let me = stand.in_turn(3);
    let executed = stand.block(others[0], stand.now.wall_ms);
    let block = executed.block.header.hash();
    let mut actions = stand.hear_block(others[0], &executed.block.header, &[]);
    for person in &others[..2] {
        actions.extend(stand.hear_vote(person, VoteKind::Prevote, block));
    }
    assert_eq!(said(&actions).last(), Some(&(VoteKind::Precommit, Some(block))));
    // As a liar may make them: two of each round, of the same proposer.
    let mut later = Vec::new();
    for (round, time_ms) in [1, 2, 4, 5, 6, 8, 9, 10].into_iter().flat_map(|round| [(round, 1), (round, 2)]) {
        let person = stand.in_turn(round);
        let time_ms = stand.now.wall_ms - u64::from(round) * 10 - time_ms;
        let executed = stand.block(person, time_ms);
        actions.extend(stand.hear_proposal(person, round, executed.block.header.hash()));
        actions.extend(stand.hear_body(person, &executed.block.header, &[]));
        later.push(executed.block);
    }
    assert_eq!(stand.member.work_in_progress().1, 16, "some had to go");
    let has_body = |stand: &mut Stand| {
        let actions = stand.say(others[0], PeerMessage::WantBody { block });
        let header = |a: &Action| match a {
            Action::Send { message: PeerMessage::Body { header, .. }, .. } => Some(header.hash()),
            _ => None,
        };
        actions.iter().find_map(header) == Some(block)
    };
    assert!(has_body(&mut stand));
    // And after a restart.
    let guard = actions.iter().filter_map(|a| if let Action::WriteGuard(it) = a { Some(it.clone()) } else { None });
    let bodies = std::iter::once(executed.block.clone()).chain(later).collect();
    let mut again = Stand::again(me, Disk { guard: guard.collect(), bodies, ..Disk::default() });
    again.greet(others[0], Some(public(others[0])));
    assert!(has_body(&mut again));
}

#[test]
fn of_one_key_few_offences_are_kept_and_of_each_one_accusation_waits() {
    let (mut stand, others) = Stand::in_a_circle();
    for round in 0..4 {
        for block in [X, Y] {
            let body = VoteBody { height: H, round, block: Some(block) };
            let key = others[1].validator.as_ref().unwrap();
            let vote = SignedVote::sign(VoteKind::Prevote, body, key, &stand.cast.chain_id());
            stand.say(others[1], PeerMessage::Consensus(Message::Vote(vote)));
            stand.now.wall_ms += 10;
        }
    }
    assert_eq!((stand.member.evidence_kept(), stand.member.mempool().len()), (2, 2));
}

/// A block that a quorum signed, of another history than this node's: it is not taken, and people hear of it.
#[test]
fn a_fork_is_named() {
    let (mut stand, others) = Stand::in_a_circle();
    let mut block = stand.block(others[0], stand.now.wall_ms).block;
    block.header.parent = X;
    let certificate = stand.certificate(&others, block.header.hash());
    let peer = others[2].node.public();
    let actions = stand.step(Event::Synced { peer, block, transactions: Vec::new(), certificate });
    assert!(actions.iter().any(|a| matches!(a, Action::Alarm(what) if what.contains("forked"))), "{actions:?}");
    assert!(parting(&actions).is_some_and(Parting::is_fault));
    assert_eq!(stand.vault.look().height(), 0);
}

#[test]
fn one_question_has_one_answer() {
    let (mut stand, others) = Stand::in_a_circle();
    let block = stand.block(others[0], stand.now.wall_ms).block.header.hash();
    for (places, fair) in [(vec![0, 1], true), (vec![0, 0], false), (vec![1, 0], false)] {
        let places = List::new(places).unwrap();
        let actions = stand.say(others[0], PeerMessage::WantTransactions { block, places });
        assert_eq!(parting(&actions).is_none(), fair, "{actions:?}");
    }
}

/// A moment that began anew with every word would never end, and who is one block behind never ask for it.
#[test]
fn who_is_one_block_behind_gives_its_own_decision_one_moment_however_often_it_is_told() {
    let (mut stand, others) = Stand::in_a_circle();
    let begun = stand.step(Event::Due(Alarm::NextHeight { height: H }));
    assert!(begun.iter().any(|action| matches!(action, Action::Schedule { alarm: Alarm::Consensus(_), .. })));
    let mut moments = 0;
    for other in others.iter().cycle().take(30) {
        stand.wait(50);
        let actions = stand.say(other, PeerMessage::Status { height: H });
        assert_eq!(asked_for_blocks(&actions), []);
        moments += actions.iter().filter(|a| matches!(a, Action::Schedule { alarm: Alarm::Sync, .. })).count();
    }
    assert_eq!(moments, 1);
    assert_eq!(asked_for_blocks(&stand.step(Event::Due(Alarm::Sync))).len(), 1);
}

/// Whoever waits for the clock waits for nobody who would remind it.
#[test]
fn a_block_ahead_of_the_clock_is_looked_at_again_until_the_clock_is_there() {
    let (mut stand, others) = Stand::in_a_circle();
    let executed = stand.block(others[0], stand.now.wall_ms + 2 * limits::CLOCK_AHEAD_MS_MAX + 1);
    let block = executed.block.header.hash();
    stand.hear_block(others[0], &executed.block.header, &[]);
    for _ in 0..2 {
        let actions = stand.step(Event::Due(Alarm::Missing(block)));
        let after_ms = limits::CLOCK_AHEAD_MS_MAX;
        let alarm = Alarm::Missing(block);
        let rings = |a: &Action| matches!(a, Action::Schedule { alarm: again, after_ms: ms } if (*again, *ms) == (alarm, after_ms));
        assert!(said(&actions).is_empty() && actions.iter().any(rings), "{actions:?}");
    }
}

/// A validator will have it in a block of its own. Who is none can only tell those who are.
#[test]
fn what_a_peer_passed_on_is_said_again_by_whoever_makes_no_blocks() {
    for validates in [false, true] {
        let cast = Cast::of(4);
        let (me, other) = if validates { (&cast.validators[1], 0) } else { (&cast.observers[1], 0) };
        let other = &cast.validators[other];
        let mut stand = Stand::of(me, BTreeSet::new());
        stand.greet(other, Some(public(other)));
        let transactions = vec![cast.jobs[0].transaction.clone()];
        stand.step(Event::Gossiped { peer: other.node.public(), transactions });
        let says = |actions: &[Action]| {
            actions
                .iter()
                .any(|a| matches!(a, Action::Send { to: To::Validators, message: PeerMessage::Transactions(_) }))
        };
        let said: Vec<_> = (0..8).map(|_| says(&stand.finalise_without(public(other), Vec::new()))).collect();
        assert_eq!(said.iter().filter(|said| **said).count(), if validates { 0 } else { 2 }, "{said:?}");
    }
}
