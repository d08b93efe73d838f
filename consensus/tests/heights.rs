//! The end of one height and the beginning of the next: what belongs to the one does nothing in the other.

use crate::ledger_sim::cast::Cast;
use crate::stand::{H as FIRST, Stand, asked_for_blocks, bodies_said, parting, public};
use crate::table::{X, said};
use crate::traps::{H, table};
use consensus::member::{Action, Alarm, Event, Parting, PeerMessage};
use consensus::{Effect, Message, SkipReason, Timer, TimerKind, VoteKind};
use ledger::governance::Change;
use std::collections::{BTreeMap, BTreeSet};

/// A verdict is on a block of its height. Who proposes that block in another height proposes a bad one.
#[test]
fn a_verdict_that_came_early_counts_in_its_own_height_and_in_no_other() {
    let mut table = table();
    table.judged(H + 1, X, true);
    table.start(H + 2);
    let effects = table.hear_proposal(table.proposal(H + 2, 0, None, X));
    assert_eq!(said(&effects), vec![]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Judge { block: X, .. })), "{effects:?}");
}

/// The timers that run, as a node keeps them.
#[derive(Default)]
struct Clock(BTreeMap<Timer, u64>);

impl Clock {
    /// Which run after these effects, by round and kind.
    fn after(&mut self, effects: &[Effect]) -> Vec<(u32, TimerKind)> {
        for effect in effects {
            match effect {
                Effect::Schedule { timer, after_ms } => drop(self.0.insert(*timer, *after_ms)),
                Effect::Cancel(timer) => drop(self.0.remove(timer)),
                Effect::CancelAll => self.0.clear(),
                _ => {}
            }
        }
        self.0.keys().map(|timer| (timer.round, timer.kind)).collect()
    }
}

#[test]
fn a_timer_runs_as_long_as_what_it_is_for() {
    use TimerKind::{Precommit, Prevote, Propose, Rebroadcast};
    let (mut table, mut clock) = (crate::table::Table::of(4, 1), Clock::default());
    assert_eq!(clock.after(&table.start(H)), vec![(0, Propose), (0, Rebroadcast)]);
    let mut effects = table.hear_proposal(table.proposal(H, 0, None, X));
    effects.extend(table.judged(H, X, true));
    assert_eq!(clock.after(&effects), vec![(0, Rebroadcast)], "the proposal is here");
    effects = table.hear_vote(table.prevote(0, H, 0, Some(X)));
    effects.extend(table.hear_vote(table.prevote(2, H, 0, None)));
    assert_eq!(clock.after(&effects), vec![(0, Prevote), (0, Rebroadcast)], "they differ");
    effects = table.hear_vote(table.prevote(3, H, 0, Some(X)));
    effects.extend(table.hear_vote(table.precommit(0, H, 0, None)));
    effects.extend(table.hear_vote(table.precommit(2, H, 0, None)));
    assert_eq!(clock.after(&effects), vec![(0, Prevote), (0, Precommit), (0, Rebroadcast)], "these too");
    effects = table.ring(H, 0, Precommit);
    assert_eq!(clock.after(&effects), vec![(1, Rebroadcast)], "of the round that was left, none");
    let skip = table.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 1);
    effects = table.hear(2, consensus::Message::Skip(skip));
    effects.extend(table.ring(H, 1, Precommit));
    effects.extend(table.hear_vote(table.precommit(3, H, 0, Some(X))));
    assert!(!clock.after(&effects).is_empty());
    effects = Vec::new();
    for n in [0, 2, 3] {
        effects.extend(table.hear_vote(table.prevote(n, H, 2, Some(X))));
    }
    effects.extend(table.hear_proposal(table.proposal(H, 2, None, X)));
    for n in [0, 2, 3] {
        effects.extend(table.hear_vote(table.precommit(n, H, 2, Some(X))));
    }
    assert!(table.replica.decided().is_some());
    assert_eq!(clock.after(&effects), vec![], "nothing is left to wait for");
}

/// An alarm was on its way when the block came. Its replica is in a height that the chain has left.
fn late(timer: TimerKind) -> Event {
    Event::Due(Alarm::Consensus(Timer { height: FIRST, round: 0, kind: timer }))
}

#[test]
fn nothing_is_built_for_a_height_that_is_over() {
    for over in [false, true] {
        let (circle, _) = Stand::in_a_circle();
        let mut stand = Stand::of(circle.in_turn(1), BTreeSet::new());
        for round in [0, 2, 3] {
            let person = stand.in_turn(round);
            stand.greet(person, Some(public(person)));
            stand.hear_vote(person, VoteKind::Precommit, None);
        }
        if over {
            stand.finalise(Vec::new());
        }
        let actions = stand.step(late(TimerKind::Precommit));
        let builds = |action: &Action| matches!(action, Action::KeepBody(_) | Action::WriteGuard(_));
        assert_eq!(actions.iter().any(builds), !over, "{actions:?}");
        assert_eq!(bodies_said(&actions).is_empty(), over, "{actions:?}");
    }
}

#[test]
fn no_body_of_a_height_that_is_over_is_asked_for() {
    for over in [false, true] {
        let (mut stand, others) = Stand::in_a_circle();
        stand.hear_proposal(others[0], 0, X);
        if over {
            stand.finalise(Vec::new());
        }
        let actions = stand.step(late(TimerKind::Propose));
        let again = stand.step(late(TimerKind::Rebroadcast));
        let asks = |a: &Action| matches!(a, Action::Send { message: PeerMessage::WantBody { .. }, .. });
        assert_eq!(actions.iter().chain(&again).any(asks), !over, "{again:?}");
    }
}

#[test]
fn what_a_height_leaves_behind_goes_with_it() {
    let (mut stand, others) = Stand::in_a_circle();
    let transaction = stand.cast.jobs[0].transaction.clone();
    stand.step(Event::Gossiped { peer: others[0].node.public(), transactions: vec![transaction.clone()] });
    for person in &others {
        let executed = stand.block(person, stand.now.wall_ms);
        stand.hear_body(person, &executed.block.header, &[]);
    }
    assert_eq!((stand.member.work_in_progress(), stand.member.mempool().len()), ((3, 3), 1));
    let actions = stand.finalise(vec![transaction]);
    assert_eq!((stand.member.work_in_progress(), stand.member.mempool().len()), ((0, 0), 0));
    let place = |wanted: &dyn Fn(&Action) -> bool| actions.iter().position(wanted);
    let cancelled = place(&|action| matches!(action, Action::CancelConsensus)).expect("its timers run no more");
    let began = place(&|action| matches!(action, Action::Schedule { .. }));
    assert!(began.is_none_or(|began| cancelled < began), "{actions:?}");
}

/// What is in a block can be proven once another follows: that one is not waited for as long as for a heartbeat.
#[test]
fn a_block_with_transactions_is_sealed_soon_and_an_empty_one_is_not() {
    let (mut stand, _) = Stand::in_a_circle();
    let parameters = stand.cast.genesis.genesis.parameters.clone();
    let next = |actions: &[Action]| {
        let after = |a: &Action| match a {
            Action::Schedule { alarm: Alarm::NextHeight { .. }, after_ms } => Some(*after_ms),
            _ => None,
        };
        actions.iter().filter_map(after).collect::<Vec<_>>()
    };
    let transaction = stand.cast.jobs[0].transaction.clone();
    assert!(parameters.seal_ms < parameters.heartbeat_ms);
    assert_eq!(next(&stand.finalise(vec![transaction])), [parameters.seal_ms]);
    assert_eq!(next(&stand.finalise(Vec::new())), [parameters.heartbeat_ms]);
}

/// Who has no vote begins no height: for its next block it depends on others, and asks for it without waiting for a
/// decision of its own.
#[test]
fn who_does_not_validate_begins_no_height_and_asks_at_once() {
    let cast = Cast::of(4);
    let mut stand = Stand::of(&cast.observers[0], BTreeSet::new());
    stand.greet(&cast.validators[0], Some(public(&cast.validators[0])));
    let actions = stand.step(Event::Due(Alarm::NextHeight { height: FIRST }));
    assert!(actions.is_empty(), "{actions:?}");
    let actions = stand.say(&cast.validators[0], PeerMessage::Status { height: 1 });
    assert_eq!(asked_for_blocks(&actions), vec![cast.validators[0].node.public()]);
}

#[test]
fn when_what_was_asked_for_is_here_the_rest_is_asked_for() {
    let (mut stand, others) = Stand::in_a_circle();
    let peer = others[0].node.public();
    let mut actions = stand.say(others[0], PeerMessage::Status { height: 2 });
    assert_eq!(asked_for_blocks(&actions), vec![peer]);
    actions = stand.say(others[0], PeerMessage::Status { height: 5 });
    assert_eq!(asked_for_blocks(&actions), vec![], "two blocks are on their way");
    stand.finalise(Vec::new());
    let actions = stand.finalise(Vec::new());
    assert_eq!(asked_for_blocks(&actions), vec![peer]);
}

/// A block now and then is an answer that never ends: after a while the rest is asked of another.
#[test]
fn who_takes_long_for_all_that_was_asked_is_not_waited_for() {
    let mut stand = Stand::of(&Cast::of(4).observers[0], BTreeSet::new());
    let [slow, other] = [0, 1].map(|place| &Cast::of(4).validators[place]);
    let mut actions = stand.greet_from(slow, Some(public(slow)), 60);
    actions.extend(stand.greet_from(other, Some(public(other)), 50));
    assert_eq!(asked_for_blocks(&actions), vec![slow.node.public()]);
    // One in each second.
    let asked: Vec<_> = (0..12).flat_map(|_| asked_for_blocks(&stand.finalise(Vec::new()))).collect();
    assert_eq!(asked, vec![other.node.public()]);
}

/// The shell closes the connection, and says so later. Meanwhile nobody asks the liar again.
#[test]
fn who_sent_a_false_block_is_not_asked_for_another() {
    let (mut stand, others) = Stand::in_a_circle();
    let liar = others[0].node.public();
    stand.say(others[0], PeerMessage::Status { height: 9 });
    stand.say(others[1], PeerMessage::Status { height: 5 });
    let block = stand.block(others[0], stand.now.wall_ms).block;
    let certificate = stand.certificate(&others[..1], block.header.hash());
    let actions = stand.step(Event::Synced { peer: liar, block, transactions: Vec::new(), certificate });
    assert!(parting(&actions).is_some_and(Parting::is_fault), "{actions:?}");
    assert_eq!(asked_for_blocks(&actions), vec![others[1].node.public()]);
}

/// One that is late is asked for again, or else a connection on which nothing comes any more would be waited on for ever.
#[test]
fn the_next_block_is_waited_for_from_when_the_last_one_came() {
    let mut stand = Stand::of(&Cast::of(4).observers[0], BTreeSet::new());
    let person = &Cast::of(4).validators[0];
    stand.greet_from(person, Some(public(person)), 3);
    let rings = |a: &&Action| matches!(a, Action::Schedule { alarm: Alarm::Sync, after_ms: 3_000 });
    for more in [1, 1, 0] {
        let actions = stand.finalise(Vec::new());
        assert_eq!(actions.iter().filter(rings).count(), more, "{actions:?}");
    }
}

/// Whoever speaks of a height has the blocks before it; and whoever shows a decision has the block.
#[test]
fn who_speaks_of_what_is_not_here_is_asked_for_it() {
    let person = &Cast::of(4).validators[0];
    let (circle, others) = Stand::in_a_circle();
    let decided = Message::Decided(circle.certificate(&others, X));
    for (message, count) in [(Message::WantProposal { height: 5, round: 0 }, 4), (decided, 1)] {
        let mut stand = Stand::of(&Cast::of(4).observers[0], BTreeSet::new());
        stand.greet(person, Some(public(person)));
        let actions = stand.say(person, PeerMessage::Consensus(message));
        let wanted = PeerMessage::WantBlocks { from: 1, count };
        let asks = |a: &Action| matches!(a, Action::Send { message, .. } if *message == wanted);
        assert_eq!(asked_for_blocks(&actions), [person.node.public()]);
        assert!(actions.iter().any(asks), "{actions:?}");
    }
}

/// Blocks that were expected of who is gone come of another, and at once.
#[test]
fn when_who_was_asked_is_gone_another_is_asked() {
    let mut stand = Stand::of(&Cast::of(4).observers[0], BTreeSet::new());
    let [first, other, idle] = [0, 1, 2].map(|place| &Cast::of(4).validators[place]);
    for (person, height) in [(first, 9), (other, 5), (idle, 3)] {
        stand.greet_from(person, Some(public(person)), height);
    }
    let gone = stand.step(Event::Disconnected { peer: idle.node.public() });
    assert_eq!(asked_for_blocks(&gone), vec![], "nothing was expected of it");
    let gone = stand.step(Event::Disconnected { peer: first.node.public() });
    assert_eq!(asked_for_blocks(&gone), [other.node.public()]);
}

/// It kept its promise: what it failed to do before is forgotten, and whoever failed and has not kept one comes after it.
#[test]
fn who_sends_all_that_it_was_asked_for_is_as_good_as_ever() {
    let mut stand = Stand::of(&Cast::of(4).observers[0], BTreeSet::new());
    let [one, other] = [0, 1].map(|place| &Cast::of(4).validators[place]);
    let [key, other_key] = [one, other].map(|person| person.node.public());
    let mut asked = asked_for_blocks(&stand.greet_from(one, Some(public(one)), 4));
    asked.extend(asked_for_blocks(&stand.greet_from(other, Some(public(other)), 3)));
    for _ in 0..2 {
        stand.wait(3_000);
        asked.extend(asked_for_blocks(&stand.step(Event::Due(Alarm::Sync))));
    }
    assert_eq!(asked, [key, other_key, key], "both have failed once");
    for _ in 0..4 {
        assert_eq!(asked_for_blocks(&stand.finalise(Vec::new())), vec![]);
    }
    assert_eq!(asked_for_blocks(&stand.say(other, PeerMessage::Status { height: 9 })), [other_key]);
    assert_eq!(asked_for_blocks(&stand.say(one, PeerMessage::Status { height: 8 })), [key], "rather than that one");
}

/// The block was decided here while it was on its way: who was asked for it has failed nobody.
#[test]
fn a_block_that_came_by_another_way_is_not_missed() {
    let (mut stand, others) = Stand::in_a_circle();
    assert_eq!(asked_for_blocks(&stand.say(others[1], PeerMessage::Status { height: 1 })), [others[1].node.public()]);
    let header = stand.block(others[0], stand.now.wall_ms).block.header;
    stand.hear_block(others[0], &header, &[]);
    for kind in [VoteKind::Prevote, VoteKind::Precommit] {
        for other in &others {
            stand.hear_vote(other, kind, header.hash());
        }
    }
    assert_eq!(stand.vault.look().height(), 1);
    stand.wait(3_000);
    assert_eq!(asked_for_blocks(&stand.step(Event::Due(Alarm::Sync))), vec![]);
    // All of them go further, and the one that is asked goes away: of the two that are left, the one that is further is asked.
    for (n, height) in [(0, 3), (1, 5), (2, 4)] {
        stand.say(others[n], PeerMessage::Status { height });
    }
    let gone = stand.step(Event::Disconnected { peer: others[0].node.public() });
    assert_eq!(asked_for_blocks(&gone), [others[1].node.public()]);
}

/// Perhaps nobody has the block any more; then no waiting helps.
#[test]
fn people_are_told_of_who_says_that_it_has_a_block_and_never_sends_it() {
    let mut stand = Stand::of(&Cast::of(4).observers[0], BTreeSet::new());
    let person = &Cast::of(4).validators[0];
    stand.greet_from(person, Some(public(person)), 4);
    let mut told = Vec::new();
    for _ in 0..8 {
        stand.wait(3_000);
        let actions = stand.step(Event::Due(Alarm::Sync));
        told.push(actions.iter().any(|a| matches!(a, Action::Alarm(what) if what.contains("does not send it"))));
    }
    assert_eq!(told, [false, false, false, false, true, false, false, false]);
}

/// The numbers that all agree on are those of the newest block.
#[test]
fn what_was_decided_about_waiting_holds_from_the_next_block_on() {
    let (mut stand, _) = Stand::in_a_circle();
    let mut parameters = stand.cast.genesis.genesis.parameters.clone();
    parameters.heartbeat_ms += 777;
    let heartbeat_ms = parameters.heartbeat_ms;
    let decision = stand.decision(Change::SetParameters { parameters });
    stand.finalise(decision);
    let actions = stand.finalise(Vec::new());
    let waits = |a: &Action| matches!(a, Action::Schedule { alarm: Alarm::NextHeight { .. }, after_ms } if *after_ms == heartbeat_ms);
    assert!(actions.iter().any(waits), "{actions:?}");
}
