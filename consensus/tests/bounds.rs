//! What others may leave with a replica or a member is bounded, and what they say of a block is not yet the block.

use crate::stand::{H as FIRST, Stand, bodies_said, public, said};
use crate::table::{Table, X, votes};
use crate::traps::{H, leave, table};
use consensus::member::{Action, Alarm, Event, PEER_VERSION, PeerMessage};
use consensus::{Effect, Message, SignedVote, TimerKind, VoteKind};
use ledger::block::Block;
use ledger::bounded::{List, Text};
use ledger::id::BlockHash;
use ledger::key::{PublicKey, SecretKey, Signature};
use ledger::limits;
use ledger::merkle;
use ledger::transaction::{Payload, VerifiedTransaction};
use tests::Scenario;

/// Large transactions of so many bytes altogether. Nobody admits them; a body may name them.
pub(crate) fn transactions_of(bytes: usize) -> Vec<VerifiedTransaction> {
    let scenario = Scenario::new(5);
    let publish = |number: u64, notes: usize| {
        let mut manifest = scenario.manifest(number);
        manifest.notes = Text::cut(&"a".repeat(notes));
        let key = SecretKey::from_seed(&[u8::try_from(number).unwrap(); 32]);
        scenario.transaction(&key, number, 1, Payload::Publish { manifest })
    };
    let notes = 15 * 1024;
    let size = |number: u64| publish(number, notes).bytes().len();
    let (mut count, mut rest) = (0, bytes);
    while rest >= size(count + 1) {
        count += 1;
        rest -= size(count);
    }
    // What is left over is spread evenly: notes are bounded.
    let extra = |number: u64| rest as u64 / count + u64::from(number <= rest as u64 % count);
    let notes = |number: u64| notes + usize::try_from(extra(number)).unwrap();
    let transactions: Vec<_> = (1..=count).map(|number| publish(number, notes(number))).collect();
    assert_eq!(bytes_of(&transactions), bytes);
    transactions
}

fn bytes_of(transactions: &[VerifiedTransaction]) -> usize {
    transactions.iter().map(|transaction| transaction.bytes().len()).sum()
}

fn block(n: u32) -> BlockHash {
    let mut hash = [7; 32];
    hash[..4].copy_from_slice(&n.to_le_bytes());
    BlockHash(hash)
}

/// A key may sign the same vote with as many signatures as it likes. Once it is known, no other is looked at.
#[test]
fn a_vote_that_is_known_is_not_looked_at_again_whatever_its_signature() {
    let mut table = table();
    let vote = table.prevote(2, H, 0, Some(X));
    table.hear_vote(vote);
    for n in 0..100 {
        let again = SignedVote { signature: Signature([n; 64]), ..vote };
        assert_eq!(table.hear_vote(again), vec![], "neither heard nor refused");
    }
}

#[test]
fn verdicts_that_nobody_asked_for_are_bounded() {
    let mut table = table();
    for n in 0..64 {
        table.judged(H, block(n), true);
    }
    table.judged(H, X, true);
    let effects = table.hear_proposal(table.proposal(H, 0, None, X));
    assert!(effects.iter().any(|e| matches!(e, Effect::Judge { block: X, .. })), "it was not kept: {effects:?}");
    assert_eq!(votes(&effects), vec![]);
    table.judged(H, X, true);
    let again = table.hear_proposal(table.proposal(H, 0, None, block(5)));
    assert!(!again.iter().any(|e| matches!(e, Effect::Judge { .. })), "one that came in time was: {again:?}");
}

/// A height that does not end takes no more and no more memory: proposals of rounds long past are gone.
#[test]
fn rounds_long_past_are_forgotten() {
    let mut table = table();
    let proposal = table.proposal(H, 0, None, X);
    table.hear_proposal(proposal);
    let is_known = |table: &mut crate::table::Table| {
        let answer = table.hear(3, Message::WantProposal { height: H, round: 0 });
        answer.iter().any(|e| matches!(e, Effect::SendTo { message: Message::Proposal(sent), .. } if *sent == proposal))
    };
    for round in 0..257 {
        assert!(is_known(&mut table) || round > 60, "round {round}");
        leave(&mut table, round);
    }
    // Another asks: this one has had as many answers as it gets.
    let answer = table.hear(2, Message::WantProposal { height: H, round: 0 });
    assert_eq!(answer, vec![]);
}

#[test]
fn bodies_of_another_height_or_of_anybody_but_their_proposer_take_no_room() {
    let (mut stand, others) = Stand::in_a_circle();
    let header = stand.block(others[0], stand.now.wall_ms).block.header;
    for height in [0, FIRST + 1, u64::MAX] {
        let mut of_another = header.clone();
        of_another.height = height;
        stand.hear_body(others[0], &of_another, &[]);
        assert_eq!(stand.member.work_in_progress(), (0, 0), "height {height}");
    }
    stand.hear_body(others[1], &header, &[]);
    assert_eq!(stand.member.work_in_progress(), (0, 0), "unasked, and not its own");
    stand.hear_body(others[0], &header, &[]);
    assert_eq!(stand.member.work_in_progress(), (1, 1));
}

/// Each organisation here has two nodes, and each of them as many good blocks as it likes.
#[test]
fn of_blocks_that_no_proposal_names_few_are_taken_of_each_and_few_are_executed() {
    let (mut stand, others) = Stand::in_a_circle();
    let twin = |n: usize| stand.cast.twins.iter().find(|twin| public(twin) == public(others[n])).unwrap();
    let twins = [0, 1, 2].map(twin);
    for (n, person) in others.iter().copied().chain(twins).enumerate() {
        stand.greet(person, Some(public(person)));
        for time_ms in 0..5 {
            let header = stand.block(person, stand.now.wall_ms - 10 * n as u64 - time_ms).block.header;
            stand.hear_body(person, &header, &[]);
        }
        assert_eq!(stand.member.work_in_progress(), (2 * (n + 1), 8.min(2 * (n + 1))));
    }
}

/// A header's hash does not cover the ids that are sent with it, and whoever is a member may send them.
#[test]
fn a_body_that_is_not_what_its_header_says_is_none() {
    let (mut stand, others) = Stand::in_a_circle();
    let transactions: Vec<_> = stand.cast.jobs[..2].iter().map(|job| job.transaction.clone()).collect();
    let [one, two] = [0, 1].map(|n| transactions[n].clone());
    let (peer, good) = (others[0].node.public(), transactions.clone());
    stand.step(Event::Gossiped { peer, transactions: good });
    let executed = stand.block_of(others[0], stand.now.wall_ms, transactions.clone());
    let block = executed.block.header.hash();
    stand.hear_proposal(others[0], 0, block);
    for wrong in [vec![], vec![one.clone()], vec![one.clone(), one.clone()], vec![one.clone(), two, one]] {
        let actions = stand.hear_body(others[0], &executed.block.header, &wrong);
        assert_eq!((said(&actions), stand.member.work_in_progress()), (vec![], (0, 0)), "{} ids", wrong.len());
    }
    let actions = stand.hear_body(others[0], &executed.block.header, &transactions);
    assert_eq!(said(&actions), vec![(VoteKind::Prevote, Some(block))]);
}

/// Ids of others' transactions, as many as the header says, and together too large for a block: that says something of
/// who sent them, and nothing of the block.
#[test]
fn ids_that_make_no_block_are_no_verdict_on_the_block_they_were_sent_with() {
    let (mut stand, others) = Stand::in_a_circle();
    let wrong = transactions_of(limits::BLOCK_BYTES_MAX - 8);
    let mut header = stand.block(others[0], stand.now.wall_ms).block.header;
    header.tx_count = u32::try_from(wrong.len()).unwrap();
    stand.hear_proposal(others[0], 0, header.hash());
    stand.hear_vote(others[1], VoteKind::Prevote, header.hash());
    stand.hear_body(others[1], &header, &wrong);
    assert_eq!(stand.member.work_in_progress(), (1, 0));
    let peer = others[1].node.public();
    assert_eq!(said(&stand.step(Event::Gossiped { peer, transactions: wrong })), vec![]);
}

/// What is kept for a body is no more than a block has; what is more is asked for again, and never there.
#[test]
fn transactions_kept_for_a_body_are_no_more_than_a_block() {
    let (mut stand, others) = Stand::in_a_circle();
    let mut transactions = transactions_of(limits::BLOCK_BYTES_MAX - 8);
    let last = transactions_of(16 * 1024).remove(0);
    assert!(transactions.iter().all(|transaction| transaction.id() != last.id()));
    transactions.push(last);
    let mut header = stand.block(others[0], stand.now.wall_ms).block.header;
    header.tx_count = u32::try_from(transactions.len()).unwrap();
    header.tx_root = merkle::root(transactions.iter().map(VerifiedTransaction::bytes));
    let (block, missing) = (header.hash(), u32::try_from(transactions.len() - 1).unwrap());
    stand.hear_block(others[0], &header, &transactions);
    let peer = others[0].node.public();
    assert_eq!(said(&stand.step(Event::Gossiped { peer, transactions })), vec![]);
    let actions = stand.step(Event::Due(Alarm::Missing(block)));
    let asks = |action: &Action| match action {
        Action::Send { message: PeerMessage::WantTransactions { places, .. }, .. } => Some(places.to_vec()),
        _ => None,
    };
    assert_eq!(actions.iter().find_map(asks), Some(vec![missing]), "{actions:?}");
}

/// The same with some of them in the pool: they are never put together, let alone executed.
#[test]
fn a_body_of_more_than_a_block_is_not_put_together() {
    let (mut stand, others) = Stand::in_a_circle();
    let pooled = stand.cast.jobs[0].transaction.clone();
    let peer = others[0].node.public();
    stand.step(Event::Gossiped { peer, transactions: vec![pooled.clone()] });
    let extra = transactions_of(limits::BLOCK_BYTES_MAX - pooled.bytes().len() + 1);
    let transactions: Vec<_> = std::iter::once(pooled).chain(extra.clone()).collect();
    let mut header = stand.block(others[0], stand.now.wall_ms).block.header;
    header.tx_count = u32::try_from(transactions.len()).unwrap();
    header.tx_root = merkle::root(transactions.iter().map(VerifiedTransaction::bytes));
    assert!(Block::propose(header.clone(), &transactions).is_err());
    stand.hear_block(others[0], &header, &transactions);
    let actions = stand.step(Event::Gossiped { peer, transactions: extra });
    assert_eq!(said(&actions), vec![], "not even a verdict");
}

/// A question costs little, and its answer may be a whole block.
#[test]
fn answers_about_bodies_to_one_peer_are_bounded() {
    let (mut stand, others) = Stand::in_a_circle();
    let executed = stand.block(others[0], stand.now.wall_ms);
    let block = executed.block.header.hash();
    stand.hear_block(others[0], &executed.block.header, &[]);
    let answers = |stand: &mut Stand, n: usize| {
        (0..1_000).filter(|_| bodies_said(&stand.say(others[n], PeerMessage::WantBody { block })) == [block]).count()
    };
    assert_eq!((answers(&mut stand, 0), answers(&mut stand, 1)), (64, 64));
    stand.now.steady_ms += 150;
    assert_eq!(answers(&mut stand, 0), 1, "and then one after each pause");
}

/// The same of their transactions: no question of another kind is beside that bound.
#[test]
fn answers_about_transactions_are_counted_with_those_about_bodies() {
    let (mut stand, others) = Stand::in_a_circle();
    let transaction = stand.cast.jobs[0].transaction.clone();
    let peer = others[0].node.public();
    stand.step(Event::Gossiped { peer, transactions: vec![transaction.clone()] });
    let executed = stand.block_of(others[0], stand.now.wall_ms, vec![transaction]);
    let block = executed.block.header.hash();
    stand.hear_block(others[0], &executed.block.header, &executed.transactions);
    let answers = |stand: &mut Stand, n: usize, times: usize| {
        let question = || PeerMessage::WantTransactions { block, places: List::new(vec![0]).unwrap() };
        let is_given = |action: &Action| matches!(action, Action::Send { message: PeerMessage::Given(_), .. });
        (0..times).filter(|_| stand.say(others[n], question()).iter().any(is_given)).count()
    };
    assert_eq!((answers(&mut stand, 0, 1_000), answers(&mut stand, 1, 60)), (64, 60));
    let bodies =
        (0..10).filter(|_| !bodies_said(&stand.say(others[1], PeerMessage::WantBody { block })).is_empty()).count();
    assert_eq!((bodies, answers(&mut stand, 1, 10)), (4, 0));
    stand.now.steady_ms += 150;
    assert_eq!(answers(&mut stand, 0, 10), 1, "and then one after each pause");
}

/// A hello is one word, and what waits may be four mebibytes.
#[test]
fn a_validator_is_told_what_waits_once_however_often_it_says_hello() {
    let (mut stand, others) = Stand::in_a_circle();
    let (peer, transactions) = (others[0].node.public(), vec![stand.cast.jobs[0].transaction.clone()]);
    stand.step(Event::Gossiped { peer, transactions });
    let told = |actions: Vec<Action>| {
        let is_told = |a: &&Action| matches!(a, Action::Send { message: PeerMessage::Transactions(_), .. });
        actions.iter().filter(is_told).count()
    };
    let other = others[1];
    let (chain, validator) = (stand.cast.chain_id(), Some(public(other)));
    stand.step(Event::Disconnected { peer: other.node.public() });
    assert_eq!(told(stand.greet(other, validator)), 1);
    for _ in 0..5 {
        let hello = PeerMessage::Hello { version: PEER_VERSION, chain, height: 0, validator };
        assert_eq!(told(stand.say(other, hello)), 0);
    }
    stand.step(Event::Disconnected { peer: other.node.public() });
    assert_eq!(told(stand.greet(other, validator)), 1, "it may have lost what it had");
}

/// Whose body is asked for, of whom.
fn fetched(effects: &[Effect]) -> Vec<(BlockHash, Vec<PublicKey>)> {
    let fetched = |effect: &Effect| match effect {
        Effect::Fetch { block, from, .. } => Some((*block, from.clone())),
        _ => None,
    };
    effects.iter().filter_map(fetched).collect()
}

/// All of them may lie.
#[test]
fn votes_of_exactly_a_third_of_any_set_for_a_block_that_nobody_proposed_fetch_nothing() {
    for (count, liars) in [(3, 1), (4, 1), (5, 1), (6, 2), (7, 2), (9, 3), (10, 3)] {
        let mut table = Table::of(count, 0);
        table.start(H);
        for n in 1..=liars {
            assert_eq!(fetched(&table.hear_vote(table.prevote(n, H, 0, Some(X)))), vec![], "{n} of {count}");
        }
        let effects = table.hear_vote(table.prevote(liars + 1, H, 0, Some(X)));
        let voters = (1..=liars + 1).map(|n| table.key(n)).collect();
        assert_eq!(fetched(&effects), vec![(X, voters)], "{} of {count}", liars + 1);
    }
}

/// However often it votes for that block, and however it does.
#[test]
fn one_of_four_who_votes_twice_for_a_block_that_nobody_proposed_fetches_nothing() {
    let mut table = table();
    for round in 0..3 {
        for kind in [VoteKind::Prevote, VoteKind::Precommit] {
            assert_eq!(fetched(&table.hear_vote(table.vote(2, kind, H, round, Some(X)))), vec![], "{kind:?}, {round}");
        }
    }
    assert_eq!(fetched(&table.ring(H, 0, TimerKind::Rebroadcast)), vec![]);
    let effects = table.hear_vote(table.precommit(3, H, 0, Some(X)));
    assert_eq!(fetched(&effects), vec![(X, vec![table.key(2), table.key(3)])], "one of two is honest");
}

/// Whoever is slow, or far away, may need all of it again for the next block.
#[test]
fn with_every_height_answers_begin_anew() {
    let (mut stand, others) = Stand::in_a_circle();
    let mut answered = Vec::new();
    for _ in 0..2 {
        let asks = |stand: &mut Stand| {
            let block = stand.vault.look().tip.header.hash();
            bodies_said(&stand.say(others[0], PeerMessage::WantBody { block })).len()
        };
        stand.wait(1_000);
        stand.finalise_by(Vec::new(), |key| key != public(Stand::in_turn_of_all(3)));
        answered.push((0..100).map(|_| asks(&mut stand)).sum::<usize>());
    }
    assert_eq!(answered, [64, 64]);
}
