//! Trap 10: with a precommit for a block the core forgets the votes of all rounds before, and the replica, which knows them all,
//! would not tell it of them again. What they decide is decided all the same, and what they call for is done.

use crate::table::{Table, X, Y, decisions, guarded, logged, said};
use consensus::{Effect, LogEntry, Message, TimerKind, VoteKind};
use ledger::id::BlockHash;

const H: u64 = 8;
const Z: BlockHash = BlockHash([3; 32]);

/// One of four who has the turn in none of the rounds 0 to 2.
fn table() -> Table {
    let mut table = Table::of(4, 3);
    table.start(H);
    table
}

/// Others say this in a round.
fn hear(table: &mut Table, who: &[usize], kind: VoteKind, round: u32, block: Option<BlockHash>) -> Vec<Effect> {
    who.iter().flat_map(|n| table.hear_vote(table.vote(*n, kind, H, round, block))).collect()
}

/// The replica has seen that a quorum prevoted for Y in round 0, too late to precommit it.
fn late_for_round_0(table: &mut Table, precommits: &[(usize, Option<BlockHash>)]) {
    table.hear_proposal(table.proposal(H, 0, None, Y));
    table.ring(H, 0, TimerKind::Propose);
    hear(table, &[0, 1, 2], VoteKind::Prevote, 0, Some(Y));
    table.ring(H, 0, TimerKind::Prevote);
    for (n, block) in precommits {
        hear(table, &[*n], VoteKind::Precommit, 0, *block);
    }
    table.ring(H, 0, TimerKind::Precommit);
    assert_eq!(table.replica.round(), Some(1), "its own precommit is for nothing");
    table.judged(H, Y, true);
}

/// It prevotes Y and precommits it in this round, where it is proposed again.
fn precommit(table: &mut Table, round: u32) {
    let mut effects = table.hear_proposal(table.proposal(H, round, Some(round - 1), Y));
    effects.extend(hear(table, &[0, 2], VoteKind::Prevote, round, Some(Y)));
    assert_eq!(said(&effects).last(), Some(&(VoteKind::Precommit, round, Some(Y))), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Forgotten { .. })), "it said all of that itself");
}

#[test]
fn a_quorum_of_an_earlier_round_decides_whatever_was_precommitted_since() {
    let mut table = table();
    late_for_round_0(&mut table, &[(0, Some(Y)), (1, Some(Y))]);
    precommit(&mut table, 1);
    let effects = hear(&mut table, &[2], VoteKind::Precommit, 0, Some(Y));
    let decided = table.certificate(&[0, 1, 2], H, 0, Y);
    assert_eq!(decisions(&effects), std::slice::from_ref(&decided), "{effects:?}");
    assert_eq!(logged(&effects).last(), Some(&LogEntry::Decided(decided)), "{effects:?}");
}

/// Nor does it wait for a vote where the quorum was complete, and only the proposal was lost.
#[test]
fn a_lost_proposal_of_an_earlier_round_decides_when_it_comes() {
    let mut table = table();
    hear(&mut table, &[0, 1, 2], VoteKind::Precommit, 0, Some(Y));
    table.ring(H, 0, TimerKind::Precommit);
    table.hear(2, Message::Polka(table.polka(&[0, 1, 2], H, 0, Y)));
    table.judged(H, Y, true);
    precommit(&mut table, 1);
    let effects = table.hear_proposal(table.proposal(H, 0, None, Y));
    assert_eq!(decisions(&effects).len(), 1, "{effects:?}");
}

/// The proposal of the first never comes.
#[test]
fn an_earlier_quorum_without_its_proposal_hides_no_later_one() {
    let mut table = table();
    hear(&mut table, &[0, 1, 2], VoteKind::Precommit, 0, Some(Y));
    table.ring(H, 0, TimerKind::Precommit);
    table.hear(1, Message::Polka(table.polka(&[0, 1, 2], H, 0, Y)));
    table.judged(H, Y, true);
    precommit(&mut table, 1);
    hear(&mut table, &[0], VoteKind::Precommit, 1, Some(Y));
    hear(&mut table, &[1], VoteKind::Precommit, 1, None);
    table.ring(H, 1, TimerKind::Precommit);
    precommit(&mut table, 2);
    let effects = hear(&mut table, &[2], VoteKind::Precommit, 1, Some(Y));
    assert_eq!(decisions(&effects).len(), 1, "{effects:?}");
}

/// One of the quorum had precommitted nothing before, for which the core does not count it.
#[test]
fn its_own_vote_completes_a_quorum_with_one_who_said_something_else_before() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, Y));
    table.judged(H, Y, true);
    hear(&mut table, &[0], VoteKind::Precommit, 0, None);
    hear(&mut table, &[0, 1], VoteKind::Precommit, 0, Some(Y));
    let effects = hear(&mut table, &[1, 2], VoteKind::Prevote, 0, Some(Y));
    assert_eq!(said(&effects).last(), Some(&(VoteKind::Precommit, 0, Some(Y))), "{effects:?}");
    let effects = table.ring(H, 0, TimerKind::Precommit);
    assert_eq!(decisions(&effects).len(), 1, "{effects:?}");
}

/// The proposer names two other blocks first, and one prevotes one of these first: then the core takes neither the third
/// proposal nor the verdict on it.
#[test]
fn a_block_that_the_core_never_heard_of_decides_in_the_next_round() {
    let mut table = table();
    for block in [X, Z] {
        table.hear_proposal(table.proposal(H, 0, None, block));
    }
    table.judged(H, X, true);
    hear(&mut table, &[0], VoteKind::Prevote, 0, Some(X));
    hear(&mut table, &[0, 1, 2], VoteKind::Prevote, 0, Some(Y));
    let mut effects = table.hear_proposal(table.proposal(H, 0, None, Y));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Judge { block: Y, .. })), "{effects:?}");
    effects.extend(table.judged(H, Y, true));
    effects.extend(hear(&mut table, &[0, 1, 2], VoteKind::Precommit, 0, Some(Y)));
    effects.extend(table.ring(H, 0, TimerKind::Precommit));
    assert_eq!(decisions(&effects).len(), 1, "{effects:?}");
}

/// The proposal of the certificate's own round is lost, and that of an earlier one is here.
#[test]
fn a_certificate_decides_when_the_body_comes_in_whatever_round_it_was_proposed() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, Y));
    table.hear(2, Message::Decided(table.certificate(&[0, 1, 2], H, 1, Y)));
    let effects = table.judged(H, Y, true);
    assert_eq!(decisions(&effects).len(), 1, "{effects:?}");
}

/// Line 28: the proposal of round 2 calls on the quorum of round 0, for its author has not seen that of round 1. All of it came
/// before the replica precommitted in round 1, and is not news when it is said again.
#[test]
fn a_proposal_that_calls_on_a_quorum_of_long_ago_is_prevoted() {
    let mut table = table();
    late_for_round_0(&mut table, &[(0, None), (1, None), (2, None)]);
    let effects = table.hear_proposal(table.proposal(H, 1, Some(0), Y));
    assert_eq!(said(&effects), [(VoteKind::Prevote, 1, Some(Y))]);
    table.hear(2, Message::Polka(table.polka(&[0, 1, 2], H, 0, Y)));
    table.hear_proposal(table.proposal(H, 2, Some(0), Y));
    let effects = hear(&mut table, &[0, 1], VoteKind::Prevote, 1, Some(Y));
    assert_eq!(said(&effects).last(), Some(&(VoteKind::Precommit, 1, Some(Y))), "{effects:?}");
    hear(&mut table, &[0, 1], VoteKind::Precommit, 1, None);
    let effects = table.ring(H, 1, TimerKind::Precommit);
    assert_eq!(table.replica.round(), Some(2));
    assert_eq!(said(&effects), [(VoteKind::Prevote, 2, Some(Y))], "at once");
    let log = logged(&effects);
    let shown = |log: &[LogEntry]| log.iter().filter(|entry| matches!(entry, LogEntry::Polka(_))).count();
    assert_eq!(shown(&log), 1, "{log:?}");
    assert_eq!(shown(&logged(&table.ring(H, 2, TimerKind::Rebroadcast))), 0, "and no second time");
}

/// The log has what the core was shown, where it was shown it: read again, it says the same.
#[test]
fn what_was_shown_to_the_core_is_read_again_after_a_crash() {
    let mut table = table();
    let mut log = Vec::new();
    let mut guard = Vec::new();
    let mut note = |effects: Vec<Effect>| {
        log.extend(logged(&effects));
        guard.extend(guarded(&effects));
    };
    note(table.hear_proposal(table.proposal(H, 0, None, Y)));
    note(table.ring(H, 0, TimerKind::Propose));
    note(hear(&mut table, &[0, 1, 2], VoteKind::Prevote, 0, Some(Y)));
    note(table.ring(H, 0, TimerKind::Prevote));
    note(hear(&mut table, &[0, 1, 2], VoteKind::Precommit, 0, None));
    note(table.ring(H, 0, TimerKind::Precommit));
    note(table.judged(H, Y, true));
    note(table.hear_proposal(table.proposal(H, 1, Some(0), Y)));
    note(table.hear_proposal(table.proposal(H, 2, Some(0), Y)));
    note(hear(&mut table, &[0, 1], VoteKind::Prevote, 1, Some(Y)));
    note(hear(&mut table, &[0, 1], VoteKind::Precommit, 1, None));
    note(table.ring(H, 1, TimerKind::Precommit));
    assert!(log.iter().any(|entry| matches!(entry, LogEntry::Polka(polka) if polka.round == 0)), "{log:?}");
    let mut again = Table::with_guard(4, 3, guard);
    let effects = again.restart(H, log);
    assert_eq!(again.replica.round(), Some(2));
    assert_eq!(said(&effects), [(VoteKind::Prevote, 2, Some(Y))], "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Guard(_) | Effect::Alarm(_))), "{effects:?}");
}

/// The proposal of the last quorum never comes, and that of an earlier one does.
#[test]
fn a_later_quorum_without_its_proposal_hides_no_earlier_one() {
    let mut table = table();
    for round in [0, 1] {
        hear(&mut table, &[0, 1, 2], VoteKind::Precommit, round, Some(Y));
        table.ring(H, round, TimerKind::Precommit);
    }
    table.hear(1, Message::Polka(table.polka(&[0, 1, 2], H, 1, Y)));
    table.judged(H, Y, true);
    precommit(&mut table, 2);
    let effects = table.hear_proposal(table.proposal(H, 0, None, Y));
    assert_eq!(decisions(&effects), [table.certificate(&[0, 1, 2], H, 0, Y)], "{effects:?}");
}

/// Whoever lacks a proposal is sent the quorum that it calls on, too.
#[test]
fn a_proposal_is_sent_with_the_quorum_of_long_ago_that_it_calls_on() {
    let mut table = table();
    late_for_round_0(&mut table, &[(0, None), (1, None), (2, None)]);
    precommit(&mut table, 1);
    let answer = table.hear(2, Message::WantProposal { height: H, round: 1 });
    let is_polka =
        |effect: &Effect| matches!(effect, Effect::SendTo { message: Message::Polka(polka), .. } if polka.round == 0);
    assert!(answer.len() == 2 && is_polka(&answer[0]), "{answer:?}");
}
