//! How much room one liar can take in a replica: each way to ask for more, tried until it gives no more.
//!
//! The numbers are written out here: whoever changes a bound changes it twice.

use crate::sim::block::CHAIN;
use crate::table::{Table, X, Y, said};
use crate::traps::{H, leave, table};
use consensus::{
    Effect, Kept, Message, Polka, ProposalBody, Refusal, RoundVote, SignedProposal, SignedVote, Skip, SkipReason,
    VoteKind, proposer,
};
use ledger::bounded::List;
use ledger::certificate::VoteBody;
use ledger::id::BlockHash;
use ledger::key::Signature;

fn kept(table: &Table, what: &str) -> usize {
    let all = table.replica.kept();
    let kept = all.iter().find(|kept: &&Kept| kept.what == what).unwrap_or_else(|| panic!("{what}"));
    assert!(kept.is_bounded(), "{kept:?}");
    kept.count
}

fn block(n: u32) -> BlockHash {
    let mut hash = [7; 32];
    hash[..4].copy_from_slice(&n.to_le_bytes());
    BlockHash(hash)
}

/// Votes of no use to anybody: nobody looks at their signatures.
fn unsigned(table: &Table, n: usize, kind: VoteKind, round: u32, block: Option<BlockHash>) -> SignedVote {
    SignedVote {
        kind,
        body: VoteBody { height: H, round, block },
        voter: table.key(n),
        signature: Signature([n as u8; 64]),
    }
}

fn is_refused(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Refused { why: Refusal::TooFewVotes { .. }, .. }))
}

fn asks_to_judge(effects: &[Effect], block: BlockHash) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Judge { block: asked, .. } if *asked == block))
}

/// A round is over when a quorum precommitted in it, for whatever: two honest ones nothing, and the liar each time
/// something else.
#[test]
fn of_one_validator_three_votes_of_a_place_are_kept_whatever_they_come_in() {
    let mut table = table();
    let nothing = [2, 3].map(|n| table.precommit(n, H, 0, None));
    for n in 0..50 {
        let votes = nothing.into_iter().chain([table.precommit(0, H, 0, Some(block(n)))]);
        let votes = votes.map(|vote| {
            let SignedVote { kind, body, voter, signature } = vote;
            RoundVote { kind, block: body.block, voter, signature }
        });
        let votes = List::new(votes.collect()).unwrap();
        let effects = table.hear(0, Message::Skip(Skip { height: H, round: 0, reason: SkipReason::Over, votes }));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Refused { .. })), "they hold: {effects:?}");
    }
    assert_eq!(kept(&table, "votes"), 2 + 3);
}

/// A proof of too few votes is refused; until then each of them was remembered, of any round up to sixteen millions, and
/// one validator could fill the others' memories in a height that takes long.
#[test]
fn proofs_that_do_not_hold_leave_nothing_behind() {
    let mut table = table();
    let mut bad = table.prevote(2, H, 0, Some(X));
    bad.signature = Signature([9; 64]);
    for round in [1, 7, 100, 1_000_000] {
        let alone = table.polka(&[0], H, round, X);
        assert!(is_refused(&table.hear(0, Message::Polka(alone))));
        for (kind, reason) in [(VoteKind::Precommit, SkipReason::Over), (VoteKind::Prevote, SkipReason::Ahead)] {
            let alone = table.skip(&[0], kind, reason, H, round);
            assert!(is_refused(&table.hear(0, Message::Skip(alone))));
        }
        // As many as are needed, and all but its own are made up.
        let own = table.prevote(0, H, round, Some(X));
        let prevotes = [(own.voter, own.signature), (table.key(2), bad.signature), (table.key(3), bad.signature)];
        let prevotes = List::new(prevotes.to_vec()).unwrap();
        let effects = table.hear(0, Message::Polka(Polka { height: H, round, block: X, prevotes }));
        let refused = |effect: &Effect| matches!(effect, Effect::Refused { why: Refusal::Signature(_), .. });
        assert!(effects.iter().any(refused), "{effects:?}");
    }
    assert_eq!(kept(&table, "votes"), 0);
    let good = table.polka(&[0, 2, 3], H, 1, X);
    table.hear(0, Message::Polka(good));
    assert_eq!(kept(&table, "votes"), 3);
}

/// The author of a round may sign as many blocks as it likes, and vote for each of three itself.
#[test]
fn a_third_block_of_a_round_is_looked_at_once_a_quorum_prevoted_for_it_and_not_before() {
    let mut table = table();
    let third = table.proposal(H, 0, None, block(3));
    for n in [1, 2] {
        assert!(asks_to_judge(&table.hear_proposal(table.proposal(H, 0, None, block(n))), block(n)));
    }
    for n in [0, 2] {
        assert!(!asks_to_judge(&table.hear_proposal(third), block(3)), "{n} have prevoted for it");
        assert_eq!(kept(&table, "proposals"), 2);
        table.hear_vote(table.prevote(n, H, 0, Some(block(3))));
    }
    table.hear_vote(table.prevote(3, H, 0, Some(block(3))));
    assert!(asks_to_judge(&table.hear_proposal(third), block(3)), "a quorum has it, and this replica must not be left");
    assert_eq!(kept(&table, "proposals"), 3);
    let effects = table.judged(H, block(3), true);
    assert!(said(&effects).contains(&(VoteKind::Prevote, 0, Some(block(3)))), "{effects:?}");
}

/// What a quorum prevoted for is taken beyond the two of a round; and not again beside each earlier round.
#[test]
fn a_block_a_quorum_prevoted_for_is_proposed_once() {
    let mut table = table();
    (0..9).for_each(|round| leave(&mut table, round));
    let turn = proposer(&table.set, H, 9);
    let key = table.keys.iter().find(|key| key.public() == turn).unwrap().clone();
    let others: Vec<usize> = (0..4).filter(|n| table.key(*n) != turn).collect();
    for n in others {
        table.hear_vote(table.prevote(n, H, 9, Some(X)));
    }
    for pol_round in 0..9 {
        let body = ProposalBody { height: H, round: 9, pol_round: Some(pol_round), block: X };
        table.hear_proposal(SignedProposal::sign(body, &key, &CHAIN));
    }
    assert_eq!(kept(&table, "proposals"), 2);
}

/// Three hundred rounds in which nothing is decided, and in each a liar that votes as much as it can.
fn long_height(mut look: impl FnMut(&Table, u32)) -> Table {
    let mut table = table();
    for round in 0..300 {
        for n in 0..3 {
            table.hear_vote(table.prevote(0, H, round, Some(block(10 * round + n))));
        }
        leave(&mut table, round);
        look(&table, round);
    }
    table
}

#[test]
fn a_height_that_does_not_end_keeps_the_votes_of_so_many_rounds() {
    let mut counts = Vec::new();
    long_height(|table, _| counts.push(kept(table, "votes")));
    assert!(counts[200] > counts[100], "{counts:?}");
    assert_eq!(counts[270], counts[299], "what goes is as much as what comes");
}

#[test]
fn a_height_that_does_not_end_asks_for_what_so_many_rounds_lack() {
    long_height(|table, round| {
        assert!(kept(table, "rounds whose proposals are asked for") <= 257, "round {round}");
        assert!(kept(table, "blocks whose bodies are asked for") <= 64, "round {round}");
    });
}

/// A vote of a round that was forgotten is not looked at again, and asks for nothing.
#[test]
fn a_vote_of_a_round_long_past_is_too_old() {
    let mut table = long_height(|_, _| {});
    assert_eq!(table.hear_vote(table.prevote(2, H, 3, Some(X))), vec![]);
}

#[test]
fn few_verdicts_are_kept_for_the_next_height() {
    let mut table = table();
    (0..100).for_each(|n| drop(table.judged(H + 1, block(n), true)));
    assert_eq!(kept(&table, "verdicts that came early"), 16);
}

#[test]
fn of_each_sender_little_is_kept_for_the_next_height() {
    let mut table = table();
    for round in 0..100 {
        let vote = table.prevote(2, H + 1, round, None);
        table.hear(2, Message::Vote(vote));
        table.hear(3, Message::Vote(vote));
    }
    assert_eq!(kept(&table, "messages that came early"), 2 * 24);
}

/// A height that is decided is voted in no more; who goes on voting in it is remembered up to a bound.
#[test]
fn of_a_decided_height_so_much_is_remembered() {
    let mut table = table();
    table.decide(H, X);
    let before = kept(&table, "voters of the last height");
    let late = kept(&table, "votes of the last height that came late");
    for round in 1..5_000 {
        let vote = unsigned(&table, 2, VoteKind::Prevote, round, Some(Y));
        table.hear_vote(vote);
    }
    let all = table.replica.kept();
    let held = |what: &str| all.iter().find(|kept| kept.what == what).unwrap().count;
    assert!(before < 10, "{before}");
    let heard = (held("voters of the last height"), held("votes of the last height that came late"));
    assert_eq!(heard, (4_096, late + 64), "who was heard, and what came late of one of them");
    assert_eq!(held("peers answered about the last height"), 0, "each of them was new");
}

/// Votes travel inside of others' messages, and by many hands: only a voter that repeats itself is stuck.
#[test]
fn who_passes_on_a_late_vote_of_another_is_not_shown_the_decision() {
    let mut table = table();
    let vote = table.prevote(3, H, 0, Some(X));
    table.decide(H, X);
    for _ in 0..3 {
        assert_eq!(table.hear(2, Message::Vote(vote)), vec![]);
    }
    assert_eq!(table.hear(3, Message::Vote(vote)).len(), 1, "the voter itself is");
}

/// The core asks once more whether a proposal holds: what comes out of the log has been looked at by nobody else.
#[test]
fn a_forged_proposal_in_the_log_is_no_reason_to_vote() {
    use consensus::{Alarm, LogEntry};
    let mut forged = table().proposal(H, 0, None, X);
    forged.signature = Signature([5; 64]);
    let verdict = LogEntry::Verdict { height: H, round: 0, block: X, valid: true, certified: false };
    let mut table = Table::of(4, 1);
    let effects = table.restart(H, vec![LogEntry::Proposal(forged), verdict]);
    assert!(effects.iter().any(|e| matches!(e, Effect::Alarm(Alarm::LogEntryRefused { .. }))), "{effects:?}");
    assert_eq!(said(&effects), vec![]);
}

/// Whoever asks about a decided height is shown the decision, as long as these are no more than could be validators twice.
#[test]
fn so_many_peers_are_shown_a_decision() {
    let mut table = table();
    table.decide(H, X);
    let mut ask = |n: u32| {
        let from = ledger::key::PublicKey(block(n).0);
        let message = Message::WantProposal { height: H, round: 0 };
        !table.replica.step(consensus::Input::Message { from, message }).is_empty()
    };
    assert_eq!((0..1_000).filter(|n| ask(*n)).count(), 256);
    assert!(ask(7), "one it knows");
    assert_eq!(kept(&table, "peers answered about the last height"), 256);
}
