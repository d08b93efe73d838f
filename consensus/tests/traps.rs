//! The traps of the core, each with a test that fails when we fall into it. (The tenth has a room of its own: `earlier_rounds.rs`.)

use crate::table::{Table, X, Y, decisions, guarded, logged, proposals, said, votes};
use consensus::{
    Alarm, Effect, GuardRecord, LogEntry, Message, Refusal, SignedKind, SkipReason, Timer, TimerKind, VoteKind,
};
use ledger::id::BlockHash;
use ledger::key::Signature;
use ledger::limits::VALIDATORS_MAX;

pub(crate) const H: u64 = 8;

/// A table of four where somebody else proposes in round 0 of height 8 (places go by height + round).
pub(crate) fn table() -> Table {
    let mut table = Table::of(4, 1);
    table.start(H);
    table
}

/// A table of four where it is the replica's turn in round 0 of height 8.
pub(crate) fn table_in_turn() -> Table {
    Table::of(4, 0)
}

#[test]
fn trap_1_no_block_is_voted_for_before_the_node_has_judged_it() {
    let mut table = table();
    let proposal = table.proposal(H, 0, None, X);
    let effects = table.hear_proposal(proposal);
    assert_eq!(said(&effects), vec![], "the proposal alone is no reason to vote");
    let asked = Effect::Judge { height: H, round: 0, block: X, proposer: proposal.proposer };
    assert!(effects.contains(&asked), "{effects:?}");
    let effects = table.judged(H, X, true);
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 0, Some(X))]);
}

#[test]
fn trap_1_a_block_the_node_calls_bad_is_voted_down() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, X));
    assert_eq!(said(&table.judged(H, X, false)), vec![(VoteKind::Prevote, 0, None)]);
}

#[test]
fn trap_1_a_verdict_that_comes_before_the_proposal_counts() {
    let mut table = table();
    assert_eq!(table.judged(H, X, true), vec![]);
    let effects = table.hear_proposal(table.proposal(H, 0, None, X));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 0, Some(X))]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Judge { .. })), "{effects:?}");
}

#[test]
fn trap_2_a_timer_of_another_height_means_nothing() {
    let mut table = table();
    table.decide(H, X);
    assert_eq!(table.ring(H, 0, TimerKind::Propose), vec![], "decided already");
    table.start(H + 1);
    for kind in [TimerKind::Propose, TimerKind::Prevote, TimerKind::Precommit, TimerKind::Rebroadcast] {
        assert_eq!(table.ring(H, 0, kind), vec![], "{kind:?} of the height before");
        assert_eq!(table.ring(H + 2, 0, kind), vec![], "{kind:?} of a height to come");
        assert_eq!(table.ring(H + 1, 1, kind), vec![], "{kind:?} of a round to come");
    }
    assert_eq!(said(&table.ring(H + 1, 0, TimerKind::Propose)), vec![(VoteKind::Prevote, 0, None)]);
}

#[test]
fn trap_3_a_decision_waits_for_no_clock() {
    let mut table = table();
    let mut effects = table.hear_proposal(table.proposal(H, 0, None, X));
    effects.extend(table.judged(H, X, true));
    for kind in [VoteKind::Prevote, VoteKind::Precommit] {
        for n in [0, 2] {
            effects = table.hear_vote(table.vote(n, kind, H, 0, Some(X)));
        }
    }
    let [certificate] = decisions(&effects).try_into().expect("decided with the very vote that makes the quorum");
    let after: Vec<&Effect> =
        effects.iter().skip_while(|effect| !matches!(effect, Effect::Decide(_))).skip(1).collect();
    assert!(after.is_empty(), "and nothing is left to wait for: {after:?}");
    assert_eq!(table.replica.decided(), Some(&certificate));
}

#[test]
fn trap_3_the_same_inputs_give_the_same_effects() {
    let play = || {
        let mut table = table_in_turn();
        let mut effects = table.start(H);
        effects.extend(table.propose(H, 0, X));
        for n in [1, 2, 3] {
            effects.extend(table.hear_vote(table.prevote(n, H, 0, (n != 1).then_some(X))));
            effects.extend(table.hear_vote(table.precommit(n, H, 0, None)));
        }
        effects.extend(table.ring(H, 0, TimerKind::Precommit));
        effects
    };
    assert_eq!(play(), play());
}

/// Proposes, prevotes, and goes down. What is in the log and in the guard file then.
fn proposed_and_prevoted() -> Vec<Effect> {
    let mut table = table_in_turn();
    let mut effects = table.start(H);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Build { round: 0, .. })), "{effects:?}");
    effects.extend(table.propose(H, 0, X));
    assert_eq!(proposals(&effects).len(), 1);
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 0, Some(X))]);
    effects
}

#[test]
fn trap_4_the_log_is_read_to_its_end_before_anything_new_is_said() {
    let before = proposed_and_prevoted();
    let mut table = table_in_turn();
    let effects = table.restart(H, logged(&before));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Build { .. })), "proposed already: {effects:?}");
    assert_eq!(logged(&effects), vec![], "nothing is written while the log is read");
    assert_eq!(votes(&effects), votes(&before), "the same votes, down to the signature");
    assert_eq!(proposals(&effects), proposals(&before), "the same proposal, down to the signature");
}

#[test]
fn trap_4_a_replica_that_had_only_begun_its_turn_builds_once_the_log_is_read() {
    let mut table = table_in_turn();
    let log = vec![LogEntry::Vote(table.prevote(2, H, 0, None))];
    let effects = table.restart(H, log);
    let builds = effects.iter().filter(|effect| matches!(effect, Effect::Build { height: H, round: 0, .. }));
    assert_eq!(builds.count(), 1, "{effects:?}");
}

#[test]
fn trap_4_without_the_log_the_guard_file_is_enough_to_say_the_same_again() {
    let before = proposed_and_prevoted();
    let mut table = Table::with_guard(4, 0, guarded(&before));
    let effects = table.start(H);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Build { .. })), "{effects:?}");
    assert_eq!(proposals(&effects), proposals(&before));
    assert_eq!(votes(&effects), votes(&before));
    // The core, which has forgotten, wants to vote for no block; the guard says what was said.
    let effects = table.ring(H, 0, TimerKind::Propose);
    assert_eq!(votes(&effects), votes(&before));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Alarm(Alarm::ConflictRefused { .. }))), "{effects:?}");
}

#[test]
fn trap_5_a_round_entered_on_the_word_of_others_is_entered_again_after_a_crash() {
    let mut table = table();
    let skip = table.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 4);
    let mut effects = table.hear(2, Message::Skip(skip));
    assert_eq!(table.replica.round(), Some(4));
    effects.extend(table.ring(H, 4, TimerKind::Precommit));
    assert_eq!(table.replica.round(), Some(5));

    let mut again = Table::of(4, 1);
    again.restart(H, logged(&effects));
    assert_eq!(again.replica.round(), Some(5));
}

#[test]
fn trap_5_a_certificate_shown_by_another_is_still_there_after_a_crash() {
    let mut table = table();
    let certificate = table.certificate(&[0, 2, 3], H, 3, X);
    let effects = table.hear(2, Message::Decided(certificate.clone()));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Judge { block: X, .. })), "{effects:?}");
    assert_eq!(decisions(&effects), vec![], "not before the node has judged it");

    let mut again = Table::of(4, 1);
    let effects = again.restart(H, logged(&effects));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Judge { block: X, .. })), "{effects:?}");
    assert_eq!(decisions(&again.judged(H, X, true)), vec![certificate]);
}

#[test]
fn trap_6_a_vote_that_does_not_verify_is_left_out_and_nothing_panics() {
    let mut table = table();
    let mut effects = table.hear_proposal(table.proposal(H, 0, None, X));
    effects.extend(table.judged(H, X, true));
    for n in [0, 2] {
        effects.extend(table.hear_vote(table.prevote(n, H, 0, Some(X))));
    }
    // The core panics when a certificate it made itself is refused. So nothing that could make it bad
    // gets in: neither from a peer nor from a log that was tampered with.
    let mut forged = table.precommit(3, H, 0, Some(X));
    forged.signature = Signature([3; 64]);
    let answer = table.hear_vote(forged);
    assert!(
        matches!(answer.as_slice(), [Effect::Refused { why: Refusal::Signature(_), .. }]),
        "refused, and nothing else: {answer:?}"
    );
    let mut log = logged(&effects);
    log.push(LogEntry::Vote(table.precommit(0, H, 0, Some(X))));
    log.push(LogEntry::Vote(forged));
    let mut again = Table::of(4, 1);
    let effects = again.restart(H, log);
    assert!(effects.iter().any(|e| matches!(e, Effect::Alarm(Alarm::LogEntryRefused { .. }))), "{effects:?}");
    assert_eq!(decisions(&effects), vec![], "two good precommits are no quorum");
    let effects = again.hear_vote(again.precommit(2, H, 0, Some(X)));
    let [certificate] = decisions(&effects).try_into().expect("three are");
    assert_eq!(certificate.check(&crate::sim::block::CHAIN, &again.set), Ok(()));
}

#[test]
fn trap_7_a_lost_proposal_is_asked_for_at_once_of_whoever_voted_for_it() {
    let mut table = table();
    let vote = table.prevote(2, H, 0, Some(X));
    let asked = Effect::SendTo { to: vote.voter, message: Message::WantProposal { height: H, round: 0 } };
    let effects = table.hear_vote(vote);
    assert!(effects.contains(&asked), "{effects:?}");
    assert!(!table.hear_vote(vote).contains(&asked), "and of nobody twice");
    assert!(table.ring(H, 0, TimerKind::Rebroadcast).contains(&asked), "until time has passed");
}

#[test]
fn trap_7_whoever_holds_a_proposal_sends_it() {
    let mut table = table();
    let proposal = table.proposal(H, 0, None, X);
    table.hear_proposal(proposal);
    let effects = table.hear(3, Message::WantProposal { height: H, round: 0 });
    assert_eq!(effects, vec![Effect::SendTo { to: table.key(3), message: Message::Proposal(proposal) }]);
    assert_eq!(table.hear(3, Message::WantProposal { height: H, round: 1 }), vec![]);
}

#[test]
fn trap_7_answers_to_one_peer_are_bounded() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, X));
    let answers =
        (0..1_000).filter(|_| !table.hear(3, Message::WantProposal { height: H, round: 0 }).is_empty()).count();
    assert_eq!(answers, 64);
}

#[test]
fn trap_7_a_lost_body_is_asked_for_at_once_of_whoever_voted_for_it() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, X));
    let vote = table.prevote(2, H, 0, Some(X));
    let asked = Effect::Fetch { height: H, block: X, from: vec![vote.voter] };
    assert!(table.hear_vote(vote).contains(&asked));
    let effects = table.ring(H, 0, TimerKind::Rebroadcast);
    let again = |effect: &Effect| matches!(effect, Effect::Fetch { block: X, from, .. } if from.contains(&vote.voter));
    assert!(effects.iter().any(again), "{effects:?}");
    table.judged(H, X, true);
    let effects = table.ring(H, 0, TimerKind::Rebroadcast);
    assert!(!effects.iter().any(again), "judged, so not missing: {effects:?}");
}

#[test]
fn trap_7_a_peer_that_still_votes_in_a_decided_height_is_shown_the_decision() {
    let mut table = table();
    let late = table.prevote(3, H, 0, Some(X));
    let certificate = table.decide(H, X);
    let shown = vec![Effect::SendTo { to: late.voter, message: Message::Decided(certificate.clone()) }];
    assert_eq!(table.hear_vote(late), shown, "it repeats a vote we had before we decided");
    table.start(H + 1);
    assert_eq!(table.hear_vote(late), shown, "and in the next height too");
    let answers = (0..1_000).filter(|_| !table.hear_vote(late).is_empty()).count();
    assert_eq!(answers, 14, "sixteen in all");
}

#[test]
fn trap_7_a_vote_that_is_only_late_is_not_answered() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, X));
    table.judged(H, X, true);
    for kind in [VoteKind::Prevote, VoteKind::Precommit] {
        for n in [0, 2] {
            table.hear_vote(table.vote(n, kind, H, 0, Some(X)));
        }
    }
    assert!(table.replica.decided().is_some());
    assert_eq!(table.hear_vote(table.precommit(3, H, 0, Some(X))), vec![]);
}

#[test]
fn trap_8_the_largest_set_of_validators_counts_without_overflow() {
    let mut table = Table::of(VALIDATORS_MAX, 1);
    let proposer = usize::try_from(H).unwrap() % VALIDATORS_MAX;
    assert_ne!(proposer, table.me);
    table.start(H);
    let certificate = table.decide(H, X);
    let signers = certificate.signers(&table.set).unwrap().len();
    assert_eq!(signers, table.set.quorum(), "one validator, one vote: decided with the first quorum");
}

#[test]
fn trap_9_the_core_is_pinned_exactly() {
    let pins = [include_str!("../Cargo.toml"), include_str!("../../Cargo.toml")];
    let lines: Vec<&str> =
        pins.iter().flat_map(|pin| pin.lines()).filter(|line| line.contains("arc-malachitebft")).collect();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(
            line.contains("version = \"=0.8.2\""),
            "a new release of the core means playing every seed again: {line}"
        );
    }
}

/// Precommits X, loses the log, and keeps of the guard file what `keep` keeps.
pub(crate) fn amnesiac(keep: impl Fn(&mut GuardRecord) -> bool) -> Table {
    let mut table = table();
    let mut effects = table.hear_proposal(table.proposal(H, 0, None, X));
    effects.extend(table.judged(H, X, true));
    for n in [0, 2] {
        effects.extend(table.hear_vote(table.prevote(n, H, 0, Some(X))));
    }
    assert_eq!(said(&effects).last(), Some(&(VoteKind::Precommit, 0, Some(X))));
    let mut guard = guarded(&effects);
    guard.retain_mut(keep);
    let mut amnesiac = Table::with_guard(4, 1, guard);
    amnesiac.start(H);
    amnesiac
}

/// Leaves a round because the others say it is over.
pub(crate) fn leave(table: &mut Table, round: u32) {
    let skip = table.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, round);
    table.hear(2, Message::Skip(skip));
    table.ring(H, round, TimerKind::Precommit);
    assert_eq!(table.replica.round(), Some(round + 1));
}

#[test]
fn a_precommitted_block_binds_even_when_the_log_is_lost() {
    let mut table = amnesiac(|_| true);
    let skip = table.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 0);
    table.hear(2, Message::Skip(skip));
    let effects = table.ring(H, 0, TimerKind::Precommit);
    let [proposal] = proposals(&effects).try_into().expect("round 1 is our turn");
    assert_eq!((proposal.body.block, proposal.body.pol_round), (X, Some(0)), "what binds us is what we propose");
    leave(&mut table, 1);
    let mut effects = table.hear_proposal(table.proposal(H, 2, None, Y));
    effects.extend(table.judged(H, Y, true));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 2, None)], "not Y, while bound to X");
}

#[test]
fn the_guard_keeps_us_bound_even_when_it_does_not_know_why() {
    let mut table = amnesiac(|record| {
        record.binding = None;
        true
    });
    leave(&mut table, 0);
    leave(&mut table, 1);
    let mut effects = table.hear_proposal(table.proposal(H, 2, None, Y));
    effects.extend(table.judged(H, Y, true));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 2, None)], "not Y, while bound to X");
    assert!(effects.iter().any(|e| matches!(e, Effect::Alarm(Alarm::BoundElsewhere { .. }))), "{effects:?}");
}

/// One of a quorum had said three other things in that round before: they are no reason not to count what it said in it.
#[test]
fn a_later_quorum_sets_us_free_whatever_one_of_it_said_before() {
    let mut table = amnesiac(|_| true);
    for block in [7, 8, 9].map(|n| BlockHash([n; 32])) {
        table.hear_vote(table.prevote(3, H, 1, Some(block)));
    }
    leave(&mut table, 0);
    table.hear(2, Message::Polka(table.polka(&[0, 2, 3], H, 1, Y)));
    leave(&mut table, 1);
    let mut effects = table.hear_proposal(table.proposal(H, 2, Some(1), Y));
    effects.extend(table.judged(H, Y, true));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 2, Some(Y))], "{effects:?}");
}

/// Votes of rounds long past are forgotten, and that a quorum was seen there is not.
#[test]
fn a_later_quorum_sets_us_free_however_long_ago_it_was() {
    let mut table = amnesiac(|_| true);
    leave(&mut table, 0);
    table.hear(2, Message::Polka(table.polka(&[0, 2, 3], H, 1, Y)));
    (1..300).for_each(|round| leave(&mut table, round));
    // A turn of somebody else.
    let mut effects = table.hear_proposal(table.proposal(H, 300, Some(1), Y));
    effects.extend(table.judged(H, Y, true));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 300, Some(Y))], "{effects:?}");
}

/// The last quorum is known for ever, and not the one that was seen last.
#[test]
fn a_later_quorum_sets_us_free_though_an_earlier_one_is_shown_after_it() {
    let mut table = amnesiac(|_| true);
    leave(&mut table, 0);
    leave(&mut table, 1);
    table.hear(2, Message::Polka(table.polka(&[0, 2, 3], H, 2, Y)));
    table.hear(2, Message::Polka(table.polka(&[0, 2, 3], H, 1, BlockHash([9; 32]))));
    (2..300).for_each(|round| leave(&mut table, round));
    let mut effects = table.hear_proposal(table.proposal(H, 300, Some(2), Y));
    effects.extend(table.judged(H, Y, true));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 300, Some(Y))], "{effects:?}");
}

#[test]
fn a_later_quorum_for_another_block_sets_us_free() {
    let mut table = amnesiac(|record| {
        record.binding = None;
        true
    });
    leave(&mut table, 0);
    let polka = table.polka(&[0, 2, 3], H, 1, Y);
    table.hear(2, Message::Polka(polka));
    leave(&mut table, 1);
    let mut effects = table.hear_proposal(table.proposal(H, 2, Some(1), Y));
    effects.extend(table.judged(H, Y, true));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 2, Some(Y))]);
}

/// A quorum that prevoted another block *before* we precommitted ours was no reason then, and is none now.
#[test]
fn an_earlier_quorum_for_another_block_does_not_set_us_free() {
    let mut table = table();
    leave(&mut table, 0);
    leave(&mut table, 1);
    let mut effects = table.hear_proposal(table.proposal(H, 2, None, X));
    effects.extend(table.judged(H, X, true));
    for n in [0, 2] {
        effects.extend(table.hear_vote(table.prevote(n, H, 2, Some(X))));
    }
    assert_eq!(said(&effects).last(), Some(&(VoteKind::Precommit, 2, Some(X))));
    let mut guard = guarded(&effects);
    guard.iter_mut().for_each(|record| record.binding = None);

    let mut amnesiac = Table::with_guard(4, 1, guard);
    amnesiac.start(H);
    let earlier = amnesiac.polka(&[0, 2, 3], H, 1, Y);
    amnesiac.hear(2, Message::Polka(earlier));
    for round in 0..3 {
        leave(&mut amnesiac, round);
    }
    let mut effects = amnesiac.hear_proposal(amnesiac.proposal(H, 3, Some(1), Y));
    effects.extend(amnesiac.judged(H, Y, true));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 3, None)], "not Y, while bound to X");
}

#[test]
fn a_precommit_of_ours_still_counts_when_the_log_is_lost() {
    let mut table = amnesiac(|record| {
        record.binding = None;
        true
    });
    table.hear_proposal(table.proposal(H, 0, None, X));
    table.judged(H, X, true);
    table.hear_vote(table.precommit(0, H, 0, Some(X)));
    let effects = table.hear_vote(table.precommit(2, H, 0, Some(X)));
    assert_eq!(decisions(&effects).len(), 1, "two of others and ours: {effects:?}");
}

/// One sync for several records, torn in the middle: the prevote is lost, and what is left of it stands
/// in the quorum that the precommit was cast on.
#[test]
fn a_vote_left_only_inside_a_quorum_is_ours_all_the_same() {
    let is_prevote = |record: &GuardRecord| record.signed.kind() == SignedKind::Prevote;
    let mut table = amnesiac(|record| !is_prevote(record));
    let effects = table.ring(H, 0, TimerKind::Propose);
    let others =
        |(kind, _, block): &(VoteKind, u32, Option<BlockHash>)| *kind == VoteKind::Prevote && *block != Some(X);
    assert!(!said(&effects).iter().any(others), "{effects:?}");
    let mut again = amnesiac(|record| !is_prevote(record));
    let effects = again.ring(H, 0, TimerKind::Rebroadcast);
    assert!(said(&effects).contains(&(VoteKind::Prevote, 0, Some(X))), "and is said again: {effects:?}");
}

#[test]
fn a_proposal_that_the_guard_withholds_does_not_stop_the_clock() {
    let before = proposed_and_prevoted();
    let only_proposal = guarded(&before).into_iter().filter(|record| record.signed.kind() == SignedKind::Proposal);
    let mut table = Table::with_guard(4, 0, only_proposal.collect());
    table.start(H);
    // Nobody asked for it, and the core believes that it has proposed now, and waits no longer.
    let effects = table.propose(H, 0, Y);
    let timer = Timer { height: H, round: 0, kind: TimerKind::Propose };
    let last = effects.iter().rev().find_map(|effect| match effect {
        Effect::Cancel(cancelled) if *cancelled == timer => Some(false),
        Effect::Schedule { timer: scheduled, .. } if *scheduled == timer => Some(true),
        _ => None,
    });
    assert_ne!(last, Some(false), "{effects:?}");
    assert!(proposals(&effects).iter().all(|proposal| proposal.body.block == X), "{effects:?}");
}

#[test]
fn the_first_good_verdict_stands() {
    let mut table = table();
    table.judged(H, X, true);
    let effects = table.judged(H, X, false);
    assert_eq!(effects, vec![Effect::Alarm(Alarm::VerdictChanged { height: H, block: X })]);
    let effects = table.hear_proposal(table.proposal(H, 0, None, X));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 0, Some(X))]);
}

#[test]
fn a_certified_block_that_the_node_calls_bad_raises_an_alarm_and_decides_nothing() {
    let mut table = table();
    table.hear(2, Message::Decided(table.certificate(&[0, 2, 3], H, 0, X)));
    let effects = table.judged(H, X, false);
    let alarm = Effect::Alarm(Alarm::CertifiedButInvalid { height: H, block: X });
    assert_eq!(effects.iter().filter(|effect| **effect == alarm).count(), 1, "{effects:?}");
    assert_eq!(table.replica.decided(), None);
    assert_eq!(decisions(&table.judged(H, X, true)).len(), 1, "until it thinks better of it");
}

#[test]
fn what_the_log_says_we_signed_is_not_contradicted_when_the_guard_file_is_lost() {
    let table = table();
    let ours = table.prevote(1, H, 0, None);
    let log = vec![
        LogEntry::Proposal(table.proposal(H, 0, None, X)),
        LogEntry::Verdict { height: H, round: 0, block: X, valid: true, certified: false },
        LogEntry::Vote(ours),
    ];
    let mut again = Table::of(4, 1);
    let effects = again.restart(H, log);
    assert_eq!(votes(&effects), vec![ours], "the core would have found X good");
    assert_eq!(guarded(&effects).len(), 1, "and the guard file knows it again");
}

#[test]
fn nothing_is_built_for_a_turn_in_which_nothing_could_be_signed() {
    let mut later = table_in_turn();
    later.start(H);
    leave(&mut later, 0);
    let effects = later.ring(H, 1, TimerKind::Propose);
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 1, None)]);
    let mut table = Table::with_guard(4, 0, guarded(&effects));
    let effects = table.start(H);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Build { .. })), "{effects:?}");
    let [timer] = effects
        .iter()
        .filter(|e| matches!(e, Effect::Schedule { timer, .. } if timer.kind == TimerKind::Propose))
        .collect::<Vec<_>>()
        .try_into()
        .expect("the turn passes when its time is over");
    assert!(matches!(timer, Effect::Schedule { after_ms: 500, .. }));
}
