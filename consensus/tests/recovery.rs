//! What a crash leaves of a replica: a log that is lost, torn or another height's, and the guard file. Whatever is
//! left, it says nothing that contradicts what it said, and goes on from where it was.

use crate::table::{Table, X, Y, decisions, guarded, logged, proposals, said, votes};
use crate::traps::{H, amnesiac, leave, table, table_in_turn};
use consensus::{
    Alarm, Effect, GuardRecord, LogEntry, Message, Signed, SignedKind, SignedVote, SkipReason, Timer, TimerKind,
    VoteKind,
};
use ledger::id::BlockHash;
use ledger::key::Signature;

/// A guard file that does not know why it is bound, and a log that ends before our word on another block: the core says it
/// anew while the log is read, and has no lock of its own that would keep it from that.
#[test]
fn what_binds_us_binds_while_the_log_is_read() {
    let precommit = table().precommit(1, H, 0, Some(X));
    let guard = vec![GuardRecord { slot: 0, signed: Signed::Vote(precommit), binding: None }];
    let mut bound = Table::with_guard(4, 1, guard.clone());
    let mut effects = bound.start(H);
    for round in [0, 1] {
        let skip = bound.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, round);
        effects.extend(bound.hear(2, Message::Skip(skip)));
        effects.extend(bound.ring(H, round, TimerKind::Precommit));
    }
    effects.extend(bound.hear_proposal(bound.proposal(H, 2, None, Y)));
    effects.extend(bound.judged(H, Y, true));
    let nil = (VoteKind::Prevote, 2, None);
    assert_eq!(said(&effects).last(), Some(&nil), "not Y, while bound to X");
    let mut log = logged(&effects);
    let own =
        |entry: &LogEntry| matches!(entry, LogEntry::Vote(vote) if vote.voter == bound.key(1) && vote.body.round == 2);
    log.truncate(log.iter().position(own).expect("it is logged"));

    let mut again = Table::with_guard(4, 1, guard);
    assert_eq!(said(&again.restart(H, log)), vec![nil], "nor after the crash");
}

/// A log torn in an early round knows the lock of that round; the guard file knows the later one, and that one is it.
#[test]
fn the_lock_of_the_guard_file_outlives_an_earlier_one_in_a_torn_log() {
    let mut table = table();
    let mut early = table.hear_proposal(table.proposal(H, 0, None, X));
    early.extend(table.judged(H, X, true));
    for n in [0, 2] {
        early.extend(table.hear_vote(table.prevote(n, H, 0, Some(X))));
    }
    assert_eq!(said(&early).last(), Some(&(VoteKind::Precommit, 0, Some(X))));
    leave(&mut table, 0);
    leave(&mut table, 1);
    let mut late = table.hear_proposal(table.proposal(H, 2, None, Y));
    late.extend(table.judged(H, Y, true));
    for n in [0, 2, 3] {
        late.extend(table.hear_vote(table.prevote(n, H, 2, Some(Y))));
    }
    assert_eq!(said(&late).last(), Some(&(VoteKind::Precommit, 2, Some(Y))));

    let guard = guarded(&early).into_iter().chain(guarded(&late)).collect();
    let mut again = Table::with_guard(4, 1, guard);
    again.restart(H, logged(&early));
    for round in 2..5 {
        let skip = again.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, round);
        again.hear(2, Message::Skip(skip));
        let effects = again.ring(H, round, TimerKind::Precommit);
        if round == 4 {
            let [proposal] = proposals(&effects).try_into().expect("round 5 is our turn, and nothing is built");
            assert_eq!((proposal.body.block, proposal.body.pol_round), (Y, Some(2)));
        }
    }
}

/// A block that was proposed again, on the strength of an earlier quorum: of that quorum nothing is left when the log is
/// lost, and the block binds as one that was proposed for the first time, and is proposed again by us.
#[test]
fn the_lock_on_a_block_that_was_proposed_again_outlives_the_log() {
    let mut table = table();
    leave(&mut table, 0);
    table.hear(2, Message::Polka(table.polka(&[0, 2, 3], H, 1, X)));
    leave(&mut table, 1);
    let mut effects = table.hear_proposal(table.proposal(H, 2, Some(1), X));
    effects.extend(table.judged(H, X, true));
    for n in [0, 2] {
        effects.extend(table.hear_vote(table.prevote(n, H, 2, Some(X))));
    }
    assert_eq!(said(&effects).last(), Some(&(VoteKind::Precommit, 2, Some(X))));
    let mut again = Table::with_guard(4, 1, guarded(&effects));
    again.start(H);
    (2..4).for_each(|round| leave(&mut again, round));
    let skip = again.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 4);
    again.hear(2, Message::Skip(skip));
    let [proposal] = proposals(&again.ring(H, 4, TimerKind::Precommit)).try_into().expect("round 5 is our turn");
    assert_eq!((proposal.body.block, proposal.body.pol_round), (X, Some(2)));
}

/// The guard file of another key, which signed in this height, in a later round, and in a later height.
#[test]
fn what_another_key_has_signed_binds_nobody() {
    let table = table();
    let later = [table.precommit(0, H, 0, Some(Y)), table.prevote(0, H, 3, None), table.prevote(0, H + 9, 0, None)];
    for foreign in later {
        let record = GuardRecord { slot: 0, signed: Signed::Vote(foreign), binding: None };
        let mut table = Table::with_guard(4, 1, vec![record]);
        assert_eq!(table.start(H), Table::of(4, 1).start(H), "as if there were no guard file");
        let mut effects = table.hear_proposal(table.proposal(H, 0, None, X));
        effects.extend(table.judged(H, X, true));
        for n in [0, 2] {
            effects.extend(table.hear_vote(table.prevote(n, H, 0, Some(X))));
        }
        let expected = [(VoteKind::Prevote, 0, Some(X)), (VoteKind::Precommit, 0, Some(X))];
        assert_eq!(said(&effects), expected, "after {foreign:?}");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Alarm(_))), "{effects:?}");
    }
}

#[test]
fn what_the_log_of_another_height_says_is_not_done_in_this_one() {
    let timer = LogEntry::Timer(Timer { height: H - 1, round: 0, kind: TimerKind::Propose });
    let mut table = Table::of(4, 1);
    let vote = LogEntry::Vote(table.prevote(1, H - 1, 0, None));
    assert_eq!(table.restart(H, vec![timer, vote]), Table::of(4, 1).start(H), "as if there were no log");
}

/// A quorum that somebody showed us, and that we precommitted on, is known after a crash without the guard file's help.
#[test]
fn a_quorum_shown_by_another_is_still_known_after_a_crash() {
    let mut table = table();
    let mut effects = table.hear_proposal(table.proposal(H, 0, None, X));
    effects.extend(table.judged(H, X, true));
    effects.extend(table.hear(2, Message::Polka(table.polka(&[0, 2, 3], H, 0, X))));
    assert_eq!(said(&effects).last(), Some(&(VoteKind::Precommit, 0, Some(X))));
    let mut again = Table::of(4, 1);
    again.restart(H, logged(&effects));
    let skip = again.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 0);
    again.hear(2, Message::Skip(skip));
    let effects = again.ring(H, 0, TimerKind::Precommit);
    let [proposal] = proposals(&effects).try_into().expect("round 1 is our turn, and nothing is built");
    assert_eq!((proposal.body.block, proposal.body.pol_round), (X, Some(0)));
}

/// The log is lost; the guard file says that we were in a later round. There is nothing left to say in the one we
/// wake in, and what we said in the later one is said again: the others may be waiting for it there.
#[test]
fn nothing_is_signed_for_a_round_that_was_left_and_the_later_word_is_said_again() {
    let mut later = table_in_turn();
    later.start(H);
    leave(&mut later, 0);
    let effects = later.ring(H, 1, TimerKind::Propose);
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 1, None)]);
    let mut table = Table::with_guard(4, 0, guarded(&effects));
    let mut all = table.start(H);
    assert_eq!(votes(&all), votes(&effects));
    // A block that nobody asked for, and the end of the wait for one.
    all.extend(table.propose(H, 0, X));
    all.extend(table.ring(H, 0, TimerKind::Propose));
    all.extend(table.ring(H, 0, TimerKind::Rebroadcast));
    assert_eq!(proposals(&all), vec![]);
    assert!(said(&all).iter().all(|(_, round, _)| *round == 1), "{:?}", said(&all));
    assert_eq!(guarded(&all), vec![]);
    let refused = |kind: SignedKind| Effect::Alarm(Alarm::BackwardsRefused { height: H, round: 0, kind });
    assert!(all.contains(&refused(SignedKind::Proposal)) && all.contains(&refused(SignedKind::Prevote)), "{all:?}");
}

#[test]
fn what_was_proposed_in_a_later_round_is_said_again_when_its_turn_comes_back() {
    let propose_in_round_four = |table: &mut Table| {
        (0..3).for_each(|round| leave(table, round));
        let skip = table.skip(&[1, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 3);
        table.hear(2, Message::Skip(skip));
        table.ring(H, 3, TimerKind::Precommit)
    };
    let builds = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Build { round: 4, .. }));
    let mut table = table_in_turn();
    table.start(H);
    assert!(builds(&propose_in_round_four(&mut table)));
    let before = table.propose(H, 4, X);
    assert_eq!(proposals(&before).len(), 1);
    let mut again = Table::with_guard(4, 0, guarded(&before));
    again.start(H);
    let effects = propose_in_round_four(&mut again);
    assert!(!builds(&effects), "{effects:?}");
    assert_eq!(proposals(&effects), proposals(&before));
}

/// Two of four prevoted for it: less than the quorum that would prove that our block was not decided.
#[test]
fn less_than_a_quorum_for_another_block_does_not_set_us_free() {
    let mut table = amnesiac(|record| {
        record.binding = None;
        true
    });
    leave(&mut table, 0);
    for n in [0, 2] {
        table.hear_vote(table.prevote(n, H, 1, Some(Y)));
    }
    leave(&mut table, 1);
    let mut effects = table.hear_proposal(table.proposal(H, 2, None, Y));
    effects.extend(table.judged(H, Y, true));
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 2, None)], "not Y, while bound to X");
}

/// A quorum for the block that binds us, or for a third one, says nothing of the one that is proposed now.
#[test]
fn a_quorum_for_any_other_block_does_not_set_us_free() {
    for (round, block) in [(0, X), (1, X), (1, BlockHash([3; 32]))] {
        let mut table = amnesiac(|record| {
            record.binding = None;
            true
        });
        (0..round).for_each(|round| leave(&mut table, round));
        table.hear(2, Message::Polka(table.polka(&[0, 2, 3], H, round, block)));
        (round..2).for_each(|round| leave(&mut table, round));
        let mut effects = table.hear_proposal(table.proposal(H, 2, None, Y));
        effects.extend(table.judged(H, Y, true));
        assert_eq!(said(&effects), vec![(VoteKind::Prevote, 2, None)], "after {block} in round {round}");
    }
}

/// A record whose signature does not hold: that is this machine's own fault, and nobody's who speaks to it.
#[test]
fn what_is_wrong_in_the_guard_file_is_held_against_no_peer() {
    let vote = SignedVote { signature: Signature([7; 64]), ..table().prevote(1, H, 0, None) };
    let guard = vec![GuardRecord { slot: 0, signed: Signed::Vote(vote), binding: None }];
    let mut table = Table::with_guard(4, 1, guard);
    let begun = table.start(H);
    let heard = table.hear_vote(table.prevote(2, H, 0, None));
    assert!(!heard.iter().any(|effect| matches!(effect, Effect::Refused { .. })), "{heard:?}");
    assert!(begun.iter().any(|e| matches!(e, Effect::Alarm(Alarm::LogEntryRefused { .. }))), "{begun:?}");
}

/// Who is ahead precommits first; what is kept as our reason are prevotes all the same.
#[test]
fn the_reason_kept_with_a_precommit_is_a_quorum_of_prevotes() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, X));
    table.judged(H, X, true);
    table.hear_vote(table.precommit(3, H, 0, Some(X)));
    table.hear_vote(table.prevote(0, H, 0, Some(X)));
    let effects = table.hear_vote(table.prevote(2, H, 0, Some(X)));
    let [record] = guarded(&effects).try_into().expect("our precommit");
    let binding = record.binding.expect("with its reason");
    let voters: Vec<_> = binding.polka.votes().map(|vote| vote.voter).collect();
    assert_eq!(voters, [0, 1, 2].map(|n| table.key(n)));
    assert!(binding.polka.votes().all(|vote| vote.verify(&crate::sim::block::CHAIN).is_ok()));
}

/// Whoever proposes two blocks in a round leaves no doubt about which of them we precommitted: after the loss of the log,
/// the one that is proposed in our reason passes for judged.
#[test]
fn the_reason_kept_with_a_precommit_has_the_proposal_of_its_block() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, Y));
    table.hear_proposal(table.proposal(H, 0, None, X));
    let mut effects = table.judged(H, X, true);
    for n in [0, 2, 3] {
        effects.extend(table.hear_vote(table.prevote(n, H, 0, Some(X))));
    }
    assert_eq!(said(&effects).last(), Some(&(VoteKind::Precommit, 0, Some(X))));
    let binding = guarded(&effects).pop().and_then(|record| record.binding).expect("its reason");
    assert_eq!((binding.proposal.body.block, binding.polka.block), (X, X));
}

/// In one list of effects, what was signed is written to the guard file and to the log before it is sent.
#[test]
fn whatever_is_said_is_written_before() {
    let mut table = table_in_turn();
    let mut lists = vec![table.start(H), table.propose(H, 0, X)];
    for n in [1, 2] {
        lists.push(table.hear_vote(table.prevote(n, H, 0, Some(X))));
    }
    lists.push(table.hear_vote(table.precommit(1, H, 0, None)));
    lists.push(table.ring(H, 0, TimerKind::Rebroadcast));
    let mut said = 0;
    for effects in lists {
        let place = |wanted: &dyn Fn(&Effect) -> bool| effects.iter().position(wanted);
        for (sent, effect) in effects.iter().enumerate() {
            let (signed, entry) = match effect {
                Effect::Send(Message::Vote(vote)) => (Signed::Vote(*vote), LogEntry::Vote(*vote)),
                Effect::Send(Message::Proposal(proposal)) => {
                    (Signed::Proposal(*proposal), LogEntry::Proposal(*proposal))
                }
                _ => continue,
            };
            let guarded = place(&|e| matches!(e, Effect::Guard(record) if record.signed == signed));
            let logged = place(&|e| matches!(e, Effect::Append(known) if *known == entry));
            assert!(guarded.is_none_or(|guarded| guarded < sent), "{effects:?}");
            assert!(logged.is_none_or(|logged| logged < sent), "{effects:?}");
            said += usize::from(guarded.is_some() && logged.is_some());
        }
    }
    assert_eq!(said, 3, "a proposal, a prevote and a precommit");
}

/// However far ahead: what was proven once is in the log, and the log is no stranger.
#[test]
fn a_round_far_ahead_is_entered_again_after_a_crash() {
    let mut table = table();
    let skip = table.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 4_000);
    let mut effects = table.hear(2, Message::Skip(skip));
    effects.extend(table.ring(H, 4_000, TimerKind::Precommit));
    assert_eq!(table.replica.round(), Some(4_001));
    let mut again = Table::of(4, 1);
    again.restart(H, logged(&effects));
    assert_eq!(again.replica.round(), Some(4_001));
}

/// Its proposer made three blocks of one round. Two are all that is looked at, but a quorum chose the third.
#[test]
fn a_block_that_a_certificate_names_is_decided_whatever_else_was_proposed() {
    const Z: BlockHash = BlockHash([3; 32]);
    let mut table = table();
    let mut effects = table.hear_proposal(table.proposal(H, 0, None, X));
    effects.extend(table.hear_proposal(table.proposal(H, 0, None, Y)));
    for block in [X, Y] {
        effects.extend(table.judged(H, block, true));
    }
    let certificate = table.certificate(&[0, 2, 3], H, 0, Z);
    effects.extend(table.hear(2, Message::Decided(certificate.clone())));
    effects.extend(table.judged(H, Z, true));
    assert_eq!(decisions(&effects), vec![certificate.clone()]);
    // The block was not durable yet: it is decided again, from the log alone.
    let mut again = Table::of(4, 1);
    let effects = again.restart(H, logged(&effects));
    assert_eq!((decisions(&effects), logged(&effects)), (vec![certificate], vec![]), "and nothing is written twice");
}

/// With the decision the log of the next height begins: an entry of this one behind it would be taken for the first of
/// that log, and hide the others.
#[test]
fn what_the_log_lacks_is_written_before_its_height_is_decided() {
    let mut table = table();
    let mut before = table.hear_proposal(table.proposal(H, 0, None, X));
    before.extend(table.judged(H, X, true));
    for kind in [VoteKind::Prevote, VoteKind::Precommit] {
        for n in [0, 2, 3] {
            before.extend(table.hear_vote(table.vote(n, kind, H, 0, Some(X))));
        }
    }
    let others = |entry: &LogEntry| !matches!(entry, LogEntry::Vote(vote) if vote.voter == table.key(table.me));
    let log = logged(&before).into_iter().filter(others).collect();
    let effects = Table::with_guard(4, 1, guarded(&before)).restart(H, log);
    assert_eq!((logged(&effects).len(), decisions(&effects).len()), (2, 1), "{effects:?}");
    let decided = effects.iter().position(|effect| matches!(effect, Effect::Decide(_)));
    assert!(effects.iter().rposition(|effect| matches!(effect, Effect::Append(_))) < decided, "{effects:?}");
}

/// The log was begun anew and lost what we said before; what is left of our vote stands in a quorum that was shown to
/// us later. It is known before anything of the log is done over again.
#[test]
fn our_vote_inside_a_quorum_of_the_log_is_ours_from_the_beginning() {
    let mut table = table();
    let timer = LogEntry::Timer(Timer { height: H, round: 0, kind: TimerKind::Propose });
    let polka = LogEntry::Polka(table.polka(&[0, 1, 2], H, 0, X));
    let effects = Table::of(4, 1).restart(H, vec![timer.clone(), polka]);
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 0, Some(X))], "and nobody else's nothing");
    assert!(guarded(&effects).iter().all(|record| record.signed.block() == Some(X)), "{effects:?}");
    let effects = table.restart(H, vec![timer]);
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 0, None)], "as it would be without the quorum");
}

/// The guard file lost the proposal, and has it as a reason of the precommit; the log is an older one, and would have
/// us propose another block in that round.
#[test]
fn our_proposal_inside_a_reason_is_ours_from_the_beginning() {
    let mut first = table_in_turn();
    first.start(H);
    (0..3).for_each(|round| leave(&mut first, round));
    let skip = first.skip(&[1, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 3);
    first.hear(2, Message::Skip(skip));
    first.ring(H, 3, TimerKind::Precommit);
    let mut effects = first.propose(H, 4, X);
    for n in [1, 2] {
        effects.extend(first.hear_vote(first.prevote(n, H, 4, Some(X))));
    }
    let guard: Vec<_> = guarded(&effects).into_iter().filter(|record| record.binding.is_some()).collect();
    assert_eq!(guard.len(), 1);

    let mut again = Table::with_guard(4, 0, guard);
    let mut log = vec![
        LogEntry::Vote(again.prevote(1, H, 1, None)),
        LogEntry::Vote(again.prevote(2, H, 1, None)),
        LogEntry::Proposal(again.proposal(H, 1, None, Y)),
        LogEntry::Verdict { height: H, round: 1, block: Y, valid: true, certified: false },
        LogEntry::Polka(again.polka(&[1, 2, 3], H, 1, Y)),
    ];
    log.extend([1, 2].map(|n| LogEntry::Vote(again.prevote(n, H, 4, None))));
    let effects = again.restart(H, log);
    assert_eq!(again.replica.round(), Some(4));
    assert!(proposals(&effects).iter().all(|proposal| proposal.body.block == X), "{:?}", proposals(&effects));
    assert!(
        guarded(&effects)
            .iter()
            .all(|record| record.signed.kind() != SignedKind::Proposal || record.signed.block() == Some(X))
    );
}

/// A log may have them in any order, and the guard takes nothing for rounds it has left.
#[test]
fn what_we_signed_is_learnt_in_the_order_in_which_we_signed_it() {
    let mut table = Table::of(4, 1);
    let later = table.prevote(1, H, 1, None);
    let polka = table.polka(&[0, 1, 2], H, 0, X);
    let effects = table.restart(H, vec![LogEntry::Vote(later), LogEntry::Polka(polka)]);
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 0, Some(X)), (VoteKind::Prevote, 1, None)]);
}

#[test]
fn what_log_and_guard_file_both_know_is_written_once() {
    let mut table = table();
    let mut before = table.start(H);
    before.extend(table.hear_proposal(table.proposal(H, 0, None, X)));
    before.extend(table.judged(H, X, true));
    for n in [0, 2] {
        before.extend(table.hear_vote(table.prevote(n, H, 0, Some(X))));
    }
    assert_eq!(said(&before).last(), Some(&(VoteKind::Precommit, 0, Some(X))));
    let effects = Table::with_guard(4, 1, guarded(&before)).restart(H, logged(&before));
    assert_eq!((logged(&effects), guarded(&effects)), (vec![], vec![]));
    assert_eq!(votes(&effects), votes(&before));
}

/// The limits on how far ahead others may be are not for what is our own.
#[test]
fn a_vote_of_ours_far_ahead_still_counts_when_the_log_is_lost() {
    let mut first = table();
    let ahead = |table: &mut Table| {
        let skip = table.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 40);
        table.hear(2, Message::Skip(skip));
        table.ring(H, 40, TimerKind::Precommit);
        table.hear_proposal(table.proposal(H, 41, None, X));
        table.judged(H, X, true)
    };
    let mut effects = ahead(&mut first);
    for n in [0, 2] {
        effects.extend(first.hear_vote(first.prevote(n, H, 41, Some(X))));
    }
    let mut guard = guarded(&effects);
    guard.retain_mut(|record| {
        record.binding = None;
        record.signed.kind() == SignedKind::Precommit
    });
    assert_eq!(guard.len(), 1);
    let mut again = Table::with_guard(4, 1, guard);
    again.start(H);
    ahead(&mut again);
    again.hear_vote(again.precommit(0, H, 41, Some(X)));
    let effects = again.hear_vote(again.precommit(2, H, 41, Some(X)));
    assert_eq!(decisions(&effects).len(), 1, "two of others and ours: {effects:?}");
}

#[test]
fn nothing_is_built_after_a_crash_when_the_time_for_it_is_over() {
    let timer = LogEntry::Timer(Timer { height: H, round: 0, kind: TimerKind::Propose });
    let effects = table_in_turn().restart(H, vec![timer]);
    assert_eq!(said(&effects), vec![(VoteKind::Prevote, 0, None)]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Build { .. })), "{effects:?}");
}

/// A quorum of the round itself comes too late to be a reason in it: whoever is bound votes for nothing, as the core
/// would (line 28 of Tendermint's algorithm), and only rounds after it may follow that quorum.
#[test]
fn a_quorum_of_the_same_round_does_not_set_us_free_in_it() {
    for later in [0, 1] {
        let mut table = amnesiac(|record| {
            record.binding = None;
            true
        });
        leave(&mut table, 0);
        leave(&mut table, 1);
        for n in [0, 2, 3] {
            table.hear_vote(table.prevote(n, H, 2 + later, Some(Y)));
        }
        let mut effects = table.hear_proposal(table.proposal(H, 2, None, Y));
        effects.extend(table.judged(H, Y, true));
        assert!(
            !said(&effects).iter().any(|(kind, _, block)| (*kind, *block) == (VoteKind::Prevote, Some(Y))),
            "{effects:?}"
        );
    }
}
