//! Words and bodies that were lost, and who is asked for them: as soon as it is known that they are missed, of whoever
//! must have them, and again until they are here.

use crate::table::{Table, X, Y};
use crate::traps::{H, leave, table};
use consensus::{Effect, Message, SkipReason, Timer, TimerKind, VoteKind};

#[test]
fn who_asks_for_a_proposal_of_a_decided_height_is_shown_the_decision() {
    let mut table = table();
    let certificate = table.decide(H, X);
    let shown = vec![Effect::SendTo { to: table.key(3), message: Message::Decided(certificate) }];
    assert_eq!(table.hear(3, Message::WantProposal { height: H, round: 0 }), shown);
}

/// Without it the proposal is of no use: it calls on a quorum that its receiver may have missed.
#[test]
fn a_proposal_is_sent_with_the_quorum_it_calls_on() {
    let mut table = Table::of(4, 2);
    table.start(H);
    table.hear_proposal(table.proposal(H, 0, None, X));
    table.judged(H, X, true);
    for n in [0, 1] {
        table.hear_vote(table.prevote(n, H, 0, Some(X)));
    }
    let skip = table.skip(&[0, 1, 3], VoteKind::Precommit, SkipReason::Over, H, 0);
    table.hear(1, Message::Skip(skip));
    table.ring(H, 0, TimerKind::Precommit);
    let proposal = table.proposal(H, 1, Some(0), X);
    table.hear_proposal(proposal);
    let answer = table.hear(3, Message::WantProposal { height: H, round: 1 });
    let [Effect::SendTo { message: Message::Polka(polka), .. }, Effect::SendTo { message, .. }] = answer.as_slice()
    else {
        panic!("{answer:?}");
    };
    assert_eq!((polka.round, polka.block, polka.prevotes.len()), (0, X, 3));
    assert_eq!(*message, Message::Proposal(proposal));
}

#[test]
fn a_body_is_asked_for_as_soon_as_an_honest_one_must_have_it() {
    let mut table = table();
    let fetches = |effects: &[Effect]| {
        let from =
            effects.iter().find_map(|e| if let Effect::Fetch { from, .. } = e { Some(from.clone()) } else { None });
        from.unwrap_or_default()
    };
    // One who votes for a block that nobody has seen proposed may lie; of two, one does not.
    assert_eq!(fetches(&table.hear_vote(table.prevote(0, H, 0, Some(X)))), vec![]);
    let asked = fetches(&table.hear_vote(table.prevote(2, H, 0, Some(X))));
    assert_eq!(asked, vec![table.key(0), table.key(2)]);
    // Of who has decided, at once: the proposer may be gone.
    let effects = table.hear(3, Message::Decided(table.certificate(&[0, 2, 3], H, 0, Y)));
    assert_eq!(fetches(&effects), vec![table.key(0), table.key(2), table.key(3)]);
}

/// Rounds later it is still the block that is decided as soon as its proposal is here.
#[test]
fn a_lost_proposal_that_a_quorum_precommitted_is_asked_for_in_later_rounds_too() {
    let mut table = table();
    for n in [0, 2, 3] {
        table.hear_vote(table.precommit(n, H, 0, Some(X)));
    }
    leave(&mut table, 3);
    let effects = table.ring(H, 4, TimerKind::Rebroadcast);
    let asks = |effect: &Effect| {
        matches!(effect, Effect::SendTo { message: Message::WantProposal { height: H, round: 0 }, .. })
    };
    assert!(effects.iter().any(asks), "{effects:?}");
    let again = Timer { height: H, round: 4, kind: TimerKind::Rebroadcast };
    let rings_again = |effect: &Effect| matches!(effect, Effect::Schedule { timer, .. } if *timer == again);
    assert!(effects.iter().any(rings_again), "and once more after that: {effects:?}");
}

/// The others may have missed what made us lock, and what ended the round.
#[test]
fn who_enters_a_round_shows_why_and_who_proposes_again_shows_the_quorum_first() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, X));
    table.judged(H, X, true);
    for n in [0, 2] {
        table.hear_vote(table.prevote(n, H, 0, Some(X)));
    }
    for n in [0, 2, 3] {
        table.hear_vote(table.precommit(n, H, 0, None));
    }
    let effects = table.ring(H, 0, TimerKind::Precommit);
    assert_eq!(table.replica.round(), Some(1));
    let place = |wanted: &dyn Fn(&Message) -> bool| {
        effects.iter().position(|effect| matches!(effect, Effect::Send(message) if wanted(message)))
    };
    let skip =
        place(&|message| matches!(message, Message::Skip(skip) if (skip.round, skip.reason) == (0, SkipReason::Over)));
    let polka = place(&|message| matches!(message, Message::Polka(polka) if (polka.round, polka.block) == (0, X)));
    let proposal = place(&|message| matches!(message, Message::Proposal(proposal) if proposal.body.block == X));
    assert!(skip.is_some() && polka.is_some() && polka < proposal, "{effects:?}");
}

/// Those who were asked first may be the ones who lie: whoever votes for a block that nobody has proposed is asked, two at a
/// time, until everybody was.
#[test]
fn everybody_who_voted_is_asked_for_a_lost_proposal_in_turn() {
    let mut table = Table::of(7, 1);
    table.start(H);
    let others = table.others();
    let asked_of = |effects: &[Effect]| {
        let asked = |effect: &Effect| match effect {
            Effect::SendTo { to, message: Message::WantProposal { height: H, round: 0 } } => Some(*to),
            _ => None,
        };
        effects.iter().filter_map(asked).collect::<Vec<_>>()
    };
    let mut asked = Vec::new();
    for n in &others {
        asked.extend(asked_of(&table.hear_vote(table.prevote(*n, H, 0, Some(X)))));
    }
    assert_eq!(asked.len(), 2);
    for times in 1..3 {
        asked.extend(asked_of(&table.ring(H, 0, TimerKind::Rebroadcast)));
        assert_eq!(asked.len(), 2 + 2 * times);
    }
    asked.sort_unstable();
    assert_eq!(asked, others.iter().map(|n| table.key(*n)).collect::<Vec<_>>());
}

/// Who was away when a round ended hears of it however late it comes back.
#[test]
fn what_ended_the_round_before_is_shown_again_for_as_long_as_nothing_else_happens() {
    let mut table = table();
    leave(&mut table, 0);
    for _ in 0..3 {
        let effects = table.ring(H, 1, TimerKind::Rebroadcast);
        let shows = |effect: &Effect| matches!(effect, Effect::Send(Message::Skip(skip)) if (skip.round, skip.votes.len()) == (0, 3));
        assert!(effects.iter().any(shows), "{effects:?}");
    }
}
