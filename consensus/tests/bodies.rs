//! A header does not cover the ids that are sent with it. Whoever tells false ones keeps nobody from hearing the true.

use crate::bounds::transactions_of;
use crate::ledger_sim::cast::Person;
use crate::stand::{H, Stand, public, said};
use consensus::member::{Action, Alarm, Event, PeerMessage, To};
use consensus::{Message, RoundVote, SignedVote, Skip, SkipReason, Timer, TimerKind, VoteKind};
use ledger::block::Header;
use ledger::bounded::List;
use ledger::certificate::VoteBody;
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use ledger::transaction::VerifiedTransaction;

/// A block of two transactions that the first of the others proposes.
struct Scene {
    stand: Stand,
    others: Vec<&'static Person>,
    header: Header,
    transactions: Vec<VerifiedTransaction>,
}

impl Scene {
    fn new() -> Self {
        let (stand, others) = Stand::in_a_circle();
        let transactions: Vec<_> = stand.cast.jobs[..2].iter().map(|job| job.transaction.clone()).collect();
        let header = stand.block_of(others[0], stand.now.wall_ms, transactions.clone()).block.header;
        Self { stand, others, header, transactions }
    }

    fn block(&self) -> BlockHash {
        self.header.hash()
    }

    fn named(&mut self) -> Vec<Action> {
        self.stand.hear_proposal(self.others[0], 0, self.header.hash())
    }

    fn prevoted_by(&mut self, n: usize) -> Vec<Action> {
        self.stand.hear_vote(self.others[n], VoteKind::Prevote, self.header.hash())
    }

    fn body(&mut self, n: usize, transactions: &[VerifiedTransaction]) -> Vec<Action> {
        self.stand.hear_body(self.others[n], &self.header, transactions)
    }

    fn transactions(&mut self, n: usize, transactions: &[VerifiedTransaction]) -> Vec<Action> {
        let (peer, transactions) = (self.others[n].node.public(), transactions.to_vec());
        self.stand.step(Event::Gossiped { peer, transactions })
    }

    /// Whom it asks for transactions, and for which, when it has waited for them.
    fn asks(&mut self) -> Option<(PublicKey, Vec<u32>)> {
        let block = self.block();
        let actions = self.stand.step(Event::Due(Alarm::Missing(block)));
        let asked: Vec<_> = actions.iter().filter_map(wanted).collect();
        assert!(asked.len() < 2, "one at a time: {asked:?}");
        asked.into_iter().next()
    }

    fn node(&self, n: usize) -> PublicKey {
        self.others[n].node.public()
    }

    fn for_it(&self) -> Vec<(VoteKind, Option<BlockHash>)> {
        vec![(VoteKind::Prevote, Some(self.block()))]
    }

    /// The others vote for it.
    fn ends(&mut self) -> bool {
        let block = self.block();
        let mut actions = Vec::new();
        for kind in [VoteKind::Prevote, VoteKind::Precommit] {
            for n in [0, 2] {
                actions.extend(self.stand.hear_vote(self.others[n], kind, block));
            }
        }
        actions.iter().any(|action| matches!(action, Action::Finalised(_)))
    }
}

fn wanted(action: &Action) -> Option<(PublicKey, Vec<u32>)> {
    match action {
        Action::Send { to: To::Peer(peer), message: PeerMessage::WantTransactions { places, .. } } => {
            Some((*peer, places.to_vec()))
        }
        _ => None,
    }
}

/// Who is asked for a body.
fn asked(actions: &[Action]) -> Vec<PublicKey> {
    let asked = |action: &Action| match action {
        Action::Send { to: To::Peer(peer), message: PeerMessage::WantBody { .. } } => Some(*peer),
        _ => None,
    };
    actions.iter().filter_map(asked).collect()
}

/// As many transactions as the block has, and nobody has them.
fn nobodys() -> Vec<VerifiedTransaction> {
    let transactions = transactions_of(32 * 1024);
    assert_eq!(transactions.len(), 2);
    transactions
}

#[test]
fn a_false_body_of_a_voter_does_not_keep_the_proposers_out() {
    for pooled in [true, false] {
        let mut scene = Scene::new();
        let transactions = scene.transactions.clone();
        if pooled {
            scene.transactions(0, &transactions);
        }
        assert_eq!(asked(&scene.named()), vec![scene.node(0)]);
        assert_eq!(asked(&scene.prevoted_by(1)), vec![scene.node(1)]);
        assert_eq!(said(&scene.body(1, &nobodys())), vec![]);
        let mut actions = scene.body(0, &transactions);
        if !pooled {
            let asked: Vec<_> = (0..2).filter_map(|_| scene.asks()).collect();
            assert!(asked.contains(&(scene.node(0), vec![0, 1])), "{asked:?}");
            actions = scene.transactions(0, &transactions);
        }
        assert_eq!(said(&actions), scene.for_it(), "pooled: {pooled}");
        assert!(scene.ends());
    }
}

/// Who is a step behind asks for what it lacks of a block that all others have decided on meanwhile.
#[test]
fn of_the_block_decided_last_body_and_transactions_are_given_still() {
    let mut scene = Scene::new();
    let (transactions, block) = (scene.transactions.clone(), scene.block());
    scene.transactions(0, &transactions);
    scene.named();
    scene.body(0, &transactions);
    assert!(scene.ends());
    let late = scene.others[1];
    let actions = scene.stand.say(late, PeerMessage::WantBody { block });
    let is_body = |action: &Action| matches!(action, Action::Send { message: PeerMessage::Body { header, .. }, .. } if header.hash() == block);
    assert!(actions.iter().any(is_body), "{actions:?}");
    let places = List::new(vec![0, 1]).unwrap();
    let actions = scene.stand.say(late, PeerMessage::WantTransactions { block, places });
    let given = |action: &Action| match action {
        Action::Send { message: PeerMessage::Given(given), .. } => given.len(),
        _ => 0,
    };
    assert_eq!(actions.iter().map(given).sum::<usize>(), 2, "{actions:?}");
}

/// A question costs who answers it the bytes of all that is missing.
#[test]
fn who_was_asked_for_what_a_body_misses_has_time_to_answer() {
    let mut scene = Scene::new();
    let transactions = scene.transactions.clone();
    let mut actions = scene.body(0, &transactions);
    actions.extend(scene.named());
    actions.extend(scene.prevoted_by(1));
    actions.extend(scene.prevoted_by(2));
    let questions: Vec<_> = actions.iter().filter_map(wanted).collect();
    assert_eq!(questions, vec![(scene.node(0), vec![0, 1])]);
    assert_eq!(scene.asks(), Some((scene.node(0), vec![0, 1])), "and is asked again when it has not");
}

/// Its proposer tells one node this and the others that. Whoever has voted for it is asked then.
#[test]
fn a_false_body_of_the_proposer_does_not_keep_a_voters_out() {
    let mut scene = Scene::new();
    let transactions = scene.transactions.clone();
    scene.transactions(0, &transactions);
    assert_eq!(said(&scene.body(0, &nobodys())), vec![]);
    scene.named();
    assert_eq!(asked(&scene.prevoted_by(2)), vec![scene.node(2)]);
    assert_eq!(said(&scene.body(2, &transactions)), scene.for_it());
    assert!(scene.ends());
}

/// Ids that are in the pool, of another block than the header's.
#[test]
fn a_false_body_that_is_whole_is_no_verdict() {
    let mut scene = Scene::new();
    let mut transactions = scene.transactions.clone();
    scene.transactions(0, &transactions);
    scene.named();
    scene.prevoted_by(1);
    transactions.reverse();
    assert_eq!(said(&scene.body(1, &transactions)), vec![]);
    transactions.reverse();
    assert_eq!(said(&scene.body(0, &transactions)), scene.for_it());
}

#[test]
fn a_body_is_taken_of_its_proposer_and_of_who_was_asked_for_it_and_one_of_each() {
    let mut scene = Scene::new();
    let observer = &scene.stand.cast.observers[0];
    scene.stand.greet(observer, None);
    let (one, other) = (nobodys(), transactions_of(32 * 1024 + 512));
    scene.named();
    scene.stand.hear_body(observer, &scene.header.clone(), &one);
    scene.body(1, &one);
    assert_eq!(scene.stand.member.work_in_progress(), (0, 0), "nobody asked them");
    for n in [1, 2] {
        scene.prevoted_by(n);
        scene.body(n, &one);
        scene.body(n, &other);
        assert_eq!(scene.stand.member.work_in_progress(), (n, 0));
    }
    scene.body(0, &one);
    scene.body(0, &other);
    assert_eq!(scene.stand.member.work_in_progress(), (3, 0));
    let transactions = scene.transactions.clone();
    scene.transactions(0, &transactions);
    assert_eq!(said(&scene.body(0, &transactions)), vec![], "its first word counts");
}

#[test]
fn who_sent_what_does_not_fit_is_not_asked_again() {
    let mut scene = Scene::new();
    let wrong = nobodys();
    scene.named();
    assert_eq!(asked(&scene.prevoted_by(1)), vec![scene.node(1)]);
    scene.body(1, &wrong);
    for _ in 0..2 {
        assert_eq!(scene.asks(), Some((scene.node(1), vec![0, 1])));
        assert_eq!(said(&scene.transactions(1, &wrong)), vec![]);
    }
    assert_eq!(scene.asks(), None);
    scene.prevoted_by(2);
    let timer = Timer { height: H, round: 0, kind: TimerKind::Rebroadcast };
    let again = asked(&scene.stand.step(Event::Due(Alarm::Consensus(timer))));
    assert!(again.contains(&scene.node(2)) && !again.contains(&scene.node(1)), "{again:?}");
}

/// Whoever signs may sign the same twice, and send everybody the other signature again and again.
#[test]
fn what_a_body_misses_is_taken_of_who_sent_it() {
    let mut scene = Scene::new();
    let (one, other) = scene.stand.cast.signed_twice[0].clone();
    scene.header = scene.stand.block_of(scene.others[0], scene.stand.now.wall_ms, vec![one.clone()]).block.header;
    scene.transactions(1, std::slice::from_ref(&other));
    assert!(scene.stand.member.mempool().contains(&one.id()));
    scene.named();
    assert_eq!(said(&scene.body(0, std::slice::from_ref(&one))), vec![]);
    for _ in 0..2 {
        assert_eq!(scene.asks(), Some((scene.node(0), vec![0])));
        scene.transactions(1, std::slice::from_ref(&other));
    }
    assert_eq!(said(&scene.transactions(0, &[one])), scene.for_it());
}

#[test]
fn all_who_sent_a_body_are_asked_in_turn() {
    let mut scene = Scene::new();
    let transactions = scene.transactions.clone();
    scene.named();
    scene.prevoted_by(1);
    scene.prevoted_by(2);
    for n in 0..3 {
        scene.body(n, &transactions);
    }
    let mut turns: Vec<_> = (0..6).map(|_| scene.asks().unwrap().0).collect();
    turns[..3].sort();
    turns[3..].sort();
    let mut all = [0, 1, 2].map(|n| scene.node(n));
    all.sort();
    assert_eq!((&turns[..3], &turns[3..]), (&all[..], &all[..]));
}

impl Scene {
    /// Two nodes of each validator send false bodies of as many blocks as they can name. How many are kept at most.
    fn flood(&mut self, wrong: &[VerifiedTransaction]) -> usize {
        let mut most = 0;
        let turns = [1, 2, 4, 5, 6, 8, 9, 10].into_iter().flat_map(|round| [(round, 1), (round, 2), (round, 3)]);
        for (round, time_ms) in turns {
            let person = self.stand.in_turn(round);
            let twin = self.stand.cast.twins.iter().find(|twin| public(twin) == public(person)).unwrap();
            self.stand.greet(twin, Some(public(twin)));
            let time_ms = self.stand.now.wall_ms - u64::from(round) * 10 - time_ms;
            let mut header = self.stand.block(person, time_ms).block.header;
            header.tx_count = u32::try_from(wrong.len()).unwrap();
            self.stand.hear_proposal(person, round, header.hash());
            for node in [person, twin] {
                self.stand.hear_body(node, &header, wrong);
                most = most.max(self.stand.member.work_in_progress().0);
            }
        }
        most
    }
}

#[test]
fn however_many_bodies_there_are_they_are_few_and_a_named_block_finds_a_place() {
    let mut scene = Scene::new();
    let transactions = scene.transactions.clone();
    scene.named();
    assert_eq!(scene.flood(&nobodys()), 32);
    scene.body(0, &transactions);
    assert_eq!(scene.stand.member.work_in_progress(), (32, 0));
    assert_eq!(scene.asks(), Some((scene.node(0), vec![0, 1])));
    assert_eq!(said(&scene.transactions(0, &transactions)), scene.for_it());
}

/// One had to go, of the block with most of them whose senders were asked in vain. It is not said again unasked; and
/// the last of a block makes room for another of the same.
#[test]
fn where_there_is_no_place_left_the_true_body_takes_that_of_a_false_one() {
    let mut scene = Scene::new();
    let (wrong, transactions) = (nobodys(), scene.transactions.clone());
    scene.named();
    for n in [1, 2] {
        scene.prevoted_by(n);
        scene.body(n, &wrong);
        scene.asks();
    }
    assert_eq!(scene.flood(&wrong), 32);
    let stays = scene.asks().unwrap().0;
    assert_eq!(scene.asks().unwrap().0, stays, "the other had to go");
    scene.body(if stays == scene.node(1) { 2 } else { 1 }, &wrong);
    assert_eq!(scene.asks().unwrap().0, stays, "nobody asked for it again");
    scene.body(0, &transactions);
    assert_eq!(scene.stand.member.work_in_progress(), (32, 0));
    assert_eq!(scene.asks(), Some((scene.node(0), vec![0, 1])));
    let said = said(&scene.transactions(0, &transactions));
    assert!(said.contains(&scene.for_it()[0]), "{said:?}");
}

/// More than a third say that they are in a later round, and this node goes there.
fn moves_on_to(stand: &mut Stand, others: &[&Person], round: u32) {
    let vote = |person: &&Person| {
        let body = VoteBody { height: H, round, block: None };
        let vote =
            SignedVote::sign(VoteKind::Prevote, body, person.validator.as_ref().unwrap(), &stand.cast.chain_id());
        RoundVote { kind: vote.kind, block: None, voter: vote.voter, signature: vote.signature }
    };
    let votes = List::new(others[..2].iter().map(vote).collect()).unwrap();
    let skip = Message::Skip(Skip { height: H, round, reason: SkipReason::Ahead, votes });
    stand.say(others[0], PeerMessage::Consensus(skip));
}

/// There are as many places as names: where a block is named for every one of them, the oldest is no name any more as soon
/// as another comes, and makes room.
#[test]
fn however_many_blocks_are_named_the_one_named_last_finds_a_place() {
    let mut scene = Scene::new();
    let (wrong, transactions) = (nobodys(), scene.transactions.clone());
    let me = public(scene.stand.in_turn(3));
    let mut names = 0;
    for begins_at in [0, 10, 20] {
        moves_on_to(&mut scene.stand, &scene.others, begins_at);
        for (round, n) in (begins_at + 1..begins_at + 10).flat_map(|round| [(round, 1), (round, 2)]) {
            let person = scene.stand.in_turn(round);
            if public(person) == me {
                continue;
            }
            let time_ms = scene.stand.now.wall_ms - u64::from(round) * 10 - n;
            let mut header = scene.stand.block(person, time_ms).block.header;
            header.tx_count = u32::try_from(wrong.len()).unwrap();
            scene.stand.hear_proposal(person, round, header.hash());
            scene.stand.hear_body(person, &header, &wrong);
            names += 1;
            assert_eq!(scene.stand.member.work_in_progress(), (names.min(32), 0), "{names}");
        }
    }
    assert_eq!(names, 40);
    let person = scene.stand.in_turn(30);
    scene.header = scene.stand.block_of(person, scene.stand.now.wall_ms, transactions.clone()).block.header;
    scene.stand.hear_proposal(person, 30, scene.header.hash());
    scene.stand.hear_body(person, &scene.header, &transactions);
    assert_eq!(scene.asks(), Some((person.node.public(), vec![0, 1])));
}

/// What was passed on may come a moment later, and an answer may be lost: nobody else asks again.
#[test]
fn what_a_body_misses_is_looked_for_after_a_moment_and_again_after_another() {
    let mut scene = Scene::new();
    let (block, transactions) = (scene.block(), scene.transactions.clone());
    let rings = |actions: &[Action]| {
        let after = |action: &Action| match action {
            Action::Schedule { alarm: Alarm::Missing(missed), after_ms } if *missed == block => Some(*after_ms),
            _ => None,
        };
        actions.iter().filter_map(after).collect::<Vec<_>>()
    };
    assert_eq!(rings(&scene.body(0, &transactions)), [20]);
    for _ in 0..3 {
        let actions = scene.stand.step(Event::Due(Alarm::Missing(block)));
        assert_eq!((actions.iter().filter_map(wanted).count(), rings(&actions)), (1, vec![150]));
    }
}

/// In the pool is the same with another signature. What its sender has is another thing, and was not asked for yet.
#[test]
fn who_was_asked_for_what_came_of_another_with_another_signature_is_asked_at_once() {
    let mut scene = Scene::new();
    let (one, other) = scene.stand.cast.signed_twice[0].clone();
    scene.header = scene.stand.block_of(scene.others[0], scene.stand.now.wall_ms, vec![one.clone()]).block.header;
    let mut questions: Vec<_> = scene.body(0, std::slice::from_ref(&one)).iter().filter_map(wanted).collect();
    questions.extend(scene.named().iter().filter_map(wanted));
    assert_eq!(questions, [(scene.node(0), vec![0])]);
    assert_eq!(said(&scene.transactions(1, &[other])), vec![]);
    let actions = scene.prevoted_by(2);
    assert_eq!(actions.iter().filter_map(wanted).collect::<Vec<_>>(), [(scene.node(0), vec![0])]);
    assert_eq!(said(&scene.transactions(0, &[one])), scene.for_it());
}
