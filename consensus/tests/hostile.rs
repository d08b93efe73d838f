//! What comes from outside may be anything. It is ignored or refused, and nothing panics.

use crate::adversaries::forger::Forger;
use crate::sim::block::{CHAIN, secret};
use crate::sim::rng::Rng;
use crate::stand::{self, H as FIRST, Stand, parting, public};
use crate::table::{Table, X, Y, decisions, said};
use consensus::member::{Action, Event, Parting, PeerMessage, Ticket};
use consensus::{
    Effect, Evidence, EvidenceError, GuardRecord, Input, LogEntry, Message, ProposalBody, Refusal, SignedProposal,
    SignedVote, SkipReason, TimerKind, VoteKind, proposer,
};
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::{decode, encode};
use ledger::evidence::OffenceKind;
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, Signature};

const H: u64 = 8;

fn table() -> Table {
    let mut table = Table::of(4, 1);
    table.start(H);
    table
}

/// Feeds one message and gives the reason why it was refused, if it was.
fn refusal(table: &mut Table, message: Message) -> Option<Refusal> {
    table.hear(2, message).into_iter().find_map(|effect| match effect {
        Effect::Refused { why, .. } => Some(why),
        _ => None,
    })
}

#[test]
fn bytes_of_any_kind_never_panic() {
    let mut rng = Rng::new(1);
    let table = table();
    let good = [
        encode(&Message::Vote(table.prevote(2, H, 0, Some(X)))),
        encode(&Message::Proposal(table.proposal(H, 0, Some(3), X))),
        encode(&Message::Polka(table.polka(&[0, 2, 3], H, 0, X))),
        encode(&Message::Skip(table.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 0))),
        encode(&Message::Decided(table.certificate(&[0, 2, 3], H, 0, X))),
    ];
    for _ in 0..20_000 {
        let length = rng.index(200);
        drop(decode::<Message>(&rng.bytes(length)));
        let mut bytes = rng.pick(&good).clone();
        for _ in 0..rng.between(1, 4) {
            let place = rng.index(bytes.len());
            bytes[place] = rng.next() as u8;
        }
        bytes.truncate(rng.index(bytes.len() + 1));
        drop(decode::<Message>(&bytes));
        drop(decode::<LogEntry>(&bytes));
        drop(decode::<GuardRecord>(&bytes));
        drop(decode::<Evidence>(&bytes));
    }
}

#[test]
fn every_message_decodes_to_what_was_encoded() {
    let table = table();
    for message in [
        Message::Vote(table.prevote(2, H, 0, None)),
        Message::Proposal(table.proposal(H, 1, Some(0), X)),
        Message::Polka(table.polka(&[0, 2, 3], H, 0, X)),
        Message::Skip(table.skip(&[0, 2], VoteKind::Prevote, SkipReason::Ahead, H, 7)),
        Message::WantProposal { height: H, round: 9 },
        Message::Decided(table.certificate(&[0, 2, 3], H, 0, X)),
    ] {
        assert_eq!(decode::<Message>(&encode(&message)), Ok(message.clone()));
        assert!(message.height() == H);
    }
}

#[test]
fn each_refusal_gives_its_reason() {
    let mut table = table();
    let stranger = secret(77);
    let body = VoteBody { height: H, round: 0, block: Some(X) };
    let of_stranger = SignedVote::sign(VoteKind::Prevote, body, &stranger, &CHAIN);
    assert_eq!(refusal(&mut table, Message::Vote(of_stranger)), Some(Refusal::NotAValidator(stranger.public())));

    let on_another_chain = SignedVote::sign(VoteKind::Prevote, body, &table.keys[2], &ChainId([8; 32]));
    assert!(matches!(refusal(&mut table, Message::Vote(on_another_chain)), Some(Refusal::Signature(_))));

    let stolen = SignedVote { voter: table.key(3), ..table.prevote(2, H, 0, Some(X)) };
    assert!(matches!(refusal(&mut table, Message::Vote(stolen)), Some(Refusal::Signature(_))));

    let of_another_kind = SignedVote { kind: VoteKind::Precommit, ..table.prevote(2, H, 0, Some(X)) };
    assert!(matches!(refusal(&mut table, Message::Vote(of_another_kind)), Some(Refusal::Signature(_))));

    let out_of_turn = ProposalBody { height: H, round: 0, pol_round: None, block: X };
    let out_of_turn = SignedProposal::sign(out_of_turn, &table.keys[3], &CHAIN);
    assert!(matches!(refusal(&mut table, Message::Proposal(out_of_turn)), Some(Refusal::OutOfTurn { round: 0, .. })));

    let forged = SignedProposal { signature: out_of_turn.signature, ..table.proposal(H, 0, None, X) };
    assert!(matches!(refusal(&mut table, Message::Proposal(forged)), Some(Refusal::Signature(_))));

    let early_polka = table.proposal(H, 2, Some(2), X);
    let expected = Refusal::PolRoundNotEarlier { round: 2, pol_round: 2 };
    assert_eq!(refusal(&mut table, Message::Proposal(early_polka)), Some(expected));

    let small_polka = table.polka(&[0, 2], H, 0, X);
    let expected = Refusal::TooFewVotes { votes: 2, needed: 3 };
    assert_eq!(refusal(&mut table, Message::Polka(small_polka)), Some(expected));

    let padded_polka = table.polka(&[0, 2, 2], H, 0, X);
    assert_eq!(refusal(&mut table, Message::Polka(padded_polka)), Some(Refusal::CountedTwice(table.key(2))));

    let small_skip = table.skip(&[2], VoteKind::Prevote, SkipReason::Ahead, H, 9);
    let expected = Refusal::TooFewVotes { votes: 1, needed: 2 };
    assert_eq!(refusal(&mut table, Message::Skip(small_skip)), Some(expected));

    let small_end = table.skip(&[0, 2], VoteKind::Precommit, SkipReason::Over, H, 0);
    let expected = Refusal::TooFewVotes { votes: 2, needed: 3 };
    assert_eq!(refusal(&mut table, Message::Skip(small_end)), Some(expected));

    let wrong_skip = table.skip(&[0, 2, 3], VoteKind::Prevote, SkipReason::Over, H, 0);
    assert!(matches!(refusal(&mut table, Message::Skip(wrong_skip)), Some(Refusal::WrongKind(_))));

    let small_certificate = table.certificate(&[0, 2], H, 0, X);
    assert!(matches!(refusal(&mut table, Message::Decided(small_certificate)), Some(Refusal::Certificate(_))));

    let other = Table::of(40, 0);
    let foreign_certificate = other.certificate(&(0..40).collect::<Vec<_>>(), H, 0, X);
    assert!(matches!(refusal(&mut table, Message::Decided(foreign_certificate)), Some(Refusal::Certificate(_))));
    assert_eq!((table.replica.height(), table.replica.round()), (H, Some(0)), "and none of it moved anything");
}

#[test]
fn heights_and_rounds_out_of_reach_are_ignored() {
    let mut table = table();
    for height in [0, H - 1, H + 2, u64::MAX] {
        assert_eq!(table.hear_vote(table.prevote(2, height, 0, Some(X))), vec![], "height {height}");
        assert_eq!(table.hear(2, Message::WantProposal { height, round: 0 }), vec![]);
        assert_eq!(table.judged(height, X, true), vec![]);
        assert_eq!(table.propose(height, 0, X), vec![]);
    }
    for round in [11, 1_000, u32::MAX] {
        assert_eq!(table.hear_vote(table.prevote(2, H, round, Some(X))), vec![], "round {round}");
        assert_eq!(table.hear_proposal(table.proposal(H, round, None, X)), vec![], "round {round}");
    }
}

#[test]
fn a_round_far_ahead_is_entered_when_more_than_a_third_prove_to_be_there() {
    let mut table = table();
    let skip = table.skip(&[0, 2], VoteKind::Prevote, SkipReason::Ahead, H, 1_000_000);
    table.hear(2, Message::Skip(skip));
    assert_eq!(table.replica.round(), Some(1_000_000));
}

/// A third of a set may be liars where it is not quite a third in whole numbers: who says that he is ahead is
/// believed when one more says so than may lie.
#[test]
fn exactly_a_third_of_any_set_moves_nobody() {
    for (count, liars) in [(3, 1), (4, 1), (5, 1), (6, 2), (7, 2), (9, 3), (10, 3)] {
        let mut table = Table::of(count, 0);
        table.start(H);
        let who: Vec<_> = (1..=liars).collect();
        let skip = table.skip(&who, VoteKind::Prevote, SkipReason::Ahead, H, 5);
        let expected = Refusal::TooFewVotes { votes: liars, needed: liars + 1 };
        assert_eq!(refusal(&mut table, Message::Skip(skip)), Some(expected), "{liars} of {count}");
        let who: Vec<_> = (1..=liars + 1).collect();
        let skip = table.skip(&who, VoteKind::Prevote, SkipReason::Ahead, H, 5);
        assert_eq!(refusal(&mut table, Message::Skip(skip)), None);
        assert_eq!(table.replica.round(), Some(5), "{} of {count}", liars + 1);
    }
}

/// Two liars of four, more than the protocol bears, try to send it to the last round there is.
#[test]
fn a_round_that_nobody_gets_to_is_not_entered_whoever_claims_it() {
    let mut table = table();
    for round in [(1 << 24) + 1, u32::MAX - 1, u32::MAX] {
        let skip = table.skip(&[0, 2], VoteKind::Prevote, SkipReason::Ahead, H, round);
        assert_eq!(refusal(&mut table, Message::Skip(skip)), Some(Refusal::RoundOutOfReach(round)));
        let polka = table.polka(&[0, 2, 3], H, round, X);
        assert_eq!(refusal(&mut table, Message::Polka(polka)), Some(Refusal::RoundOutOfReach(round)));
        let certificate = table.certificate(&[0, 2, 3], H, round, X);
        assert_eq!(refusal(&mut table, Message::Decided(certificate)), Some(Refusal::RoundOutOfReach(round)));
    }
    assert_eq!(table.replica.round(), Some(0));
}

/// A height without a decision, for as long as it takes: every round is judged and voted like the first.
#[test]
fn five_hundred_rounds_later_everything_still_works() {
    let mut table = table();
    for round in 0..500u32 {
        let mut block = [9; 32];
        block[..4].copy_from_slice(&round.to_le_bytes());
        let block = BlockHash(block);
        let proposal = table.proposal(H, round, None, block);
        if proposal.proposer != table.key(table.me) {
            let effects = table.hear_proposal(proposal);
            assert!(effects.iter().any(|effect| matches!(effect, Effect::Judge { .. })), "round {round}: {effects:?}");
            let effects = table.judged(H, block, true);
            assert_eq!(said(&effects), vec![(VoteKind::Prevote, round, Some(block))]);
        }
        let skip = table.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, round);
        table.hear(2, Message::Skip(skip));
        table.ring(H, round, TimerKind::Rebroadcast);
        table.ring(H, round, TimerKind::Precommit);
        assert_eq!(table.replica.round(), Some(round + 1));
    }
}

#[test]
fn before_the_first_height_nothing_happens() {
    let mut table = Table::of(4, 1);
    assert_eq!((table.replica.height(), table.replica.round(), table.replica.is_validator()), (0, None, false));
    assert_eq!(table.hear_vote(table.prevote(2, H, 0, Some(X))), vec![]);
    assert_eq!(table.judged(H, X, true), vec![]);
    assert_eq!(table.propose(H, 0, X), vec![]);
    assert_eq!(table.ring(H, 0, TimerKind::Propose), vec![]);
}

#[test]
fn a_lower_height_is_not_started() {
    let mut table = table();
    let effects = table.start(H - 1);
    assert!(matches!(effects.as_slice(), [Effect::Alarm(_)]), "{effects:?}");
    assert_eq!(table.replica.height(), H);
}

#[test]
fn any_higher_height_is_started_at_any_time() {
    let mut table = table();
    table.hear_proposal(table.proposal(H, 0, None, X));
    table.judged(H, X, true);
    for height in [H + 1, H + 7, u64::MAX] {
        table.start(height);
        assert_eq!((table.replica.height(), table.replica.round()), (height, Some(0)));
    }
}

#[test]
fn messages_for_the_next_height_are_used_when_it_starts() {
    let mut table = table();
    let proposal = table.proposal(H + 1, 0, None, X);
    assert_eq!(table.hear_proposal(proposal), vec![]);
    assert_eq!(table.judged(H + 1, X, true), vec![]);
    assert_eq!(table.hear_vote(table.prevote(2, H + 1, 0, Some(X))), vec![]);
    let mut effects = table.start(H + 1);
    effects.extend(table.hear_vote(table.prevote(3, H + 1, 0, Some(X))));
    let expected = [VoteKind::Prevote, VoteKind::Precommit].map(|kind| (kind, 0, Some(X)));
    assert_eq!(said(&effects), expected);
}

#[test]
fn one_who_does_not_vote_follows_and_says_nothing() {
    let mut table = Table::of(4, 1);
    let config = consensus::ReplicaConfig { chain: CHAIN, key: secret(55), timeouts: consensus::Timeouts::default() };
    table.replica = consensus::Replica::new(config, Vec::new());
    table.me = usize::MAX;
    table.start(H);
    assert!(!table.replica.is_validator());
    let certificate = table.decide(H, X);
    assert_eq!(certificate.block, X);
}

#[test]
fn evidence_convicts_whoever_said_two_things_and_nobody_else() {
    let mut table = table();
    table.hear_vote(table.prevote(2, H, 0, Some(X)));
    let effects = table.hear_vote(table.prevote(2, H, 0, Some(Y)));
    let accusations = |effects: &[Effect]| {
        effects
            .iter()
            .filter_map(|e| if let Effect::Evidence(e) = e { Some(e.clone()) } else { None })
            .collect::<Vec<_>>()
    };
    let [evidence] = accusations(&effects).try_into().expect("two votes, one accusation");
    assert_eq!(evidence.check(&CHAIN).map(|charge| charge.keys), Ok(vec![table.key(2)]));
    assert_eq!(decode::<Evidence>(&encode(&evidence)), Ok(evidence.clone()));
    assert!(evidence.check(&ChainId([9; 32])).is_err(), "on this chain only");
    let again = table.hear_vote(table.prevote(2, H, 0, Some(Y)));
    assert_eq!(accusations(&again), vec![], "once");

    let proposal = table.proposal(H, 0, None, X);
    table.hear_proposal(proposal);
    let effects = table.hear_proposal(table.proposal(H, 0, None, Y));
    let [evidence] = accusations(&effects).try_into().expect("two proposals, one accusation");
    assert_eq!(evidence.check(&CHAIN).map(|charge| charge.keys), Ok(vec![proposal.proposer]));
    let third = table.proposal(H, 0, None, BlockHash([3; 32]));
    assert_eq!(table.hear_proposal(third), vec![], "a third teaches nothing, and takes no room");
}

/// Which earlier quorum a block is proposed on the strength of is a part of what is proposed.
#[test]
fn who_proposes_one_block_beside_two_earlier_rounds_is_convicted() {
    for (one, other) in [(None, Some(0)), (Some(1), None), (Some(0), Some(1))] {
        let mut table = table();
        let [first, second] = [one, other].map(|pol_round| table.proposal(H, 2, pol_round, X));
        assert_eq!(accused(&table.hear_proposal(first)), vec![]);
        assert_eq!(accused(&table.hear_proposal(first)), vec![], "the same again is none");
        assert_eq!(accused(&table.hear_proposal(second)), vec![(first.proposer, OffenceKind::Proposal)]);
    }
}

pub(crate) fn accused(effects: &[Effect]) -> Vec<(PublicKey, OffenceKind)> {
    let evidence = effects.iter().filter_map(|effect| if let Effect::Evidence(e) = effect { Some(e) } else { None });
    let charge = |evidence: &Evidence| {
        let charge = evidence.check(&CHAIN).expect("evidence that a replica tells of convicts");
        (charge.keys[0], charge.offence.kind)
    };
    evidence.map(charge).collect()
}

/// A quorum that a validator is part of says something else than it said by itself.
#[test]
fn proofs_of_others_convict_whoever_said_something_else_to_us() {
    // A polka, while the round goes on.
    let mut stage = table();
    stage.hear_vote(stage.prevote(2, H, 0, Some(X)));
    let polka = Message::Polka(stage.polka(&[0, 2, 3], H, 0, Y));
    assert_eq!(accused(&stage.hear(3, polka.clone())), vec![(stage.key(2), OffenceKind::Prevote)]);
    assert_eq!(accused(&stage.hear(0, polka)), vec![], "once");
    // Not yet a quorum: it proves nothing but this.
    let mut stage = table();
    stage.hear_vote(stage.prevote(2, H, 0, Some(X)));
    let small = Message::Polka(stage.polka(&[2, 3], H, 0, Y));
    assert_eq!(accused(&stage.hear(3, small)), vec![(stage.key(2), OffenceKind::Prevote)]);
    // A proof that the round is over.
    let mut stage = table();
    stage.hear_vote(stage.precommit(2, H, 0, Some(X)));
    let over = Message::Skip(stage.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 0));
    assert_eq!(accused(&stage.hear(3, over)), vec![(stage.key(2), OffenceKind::Precommit)]);
    // A certificate of who has decided.
    let mut stage = table();
    stage.hear_vote(stage.precommit(3, H, 0, Some(X)));
    let decided = Message::Decided(stage.certificate(&[0, 2, 3], H, 0, Y));
    assert_eq!(accused(&stage.hear(2, decided)), vec![(stage.key(3), OffenceKind::Precommit)]);
    // A certificate that came by another way is compared, and decides nothing.
    let mut stage = table();
    stage.hear_vote(stage.precommit(3, H, 0, Some(X)));
    let message = Message::Decided(stage.certificate(&[0, 2, 3], H, 0, Y));
    let effects = stage.replica.step(Input::Compare { from: None, message });
    assert_eq!((accused(&effects), effects.len()), (vec![(stage.key(3), OffenceKind::Precommit)], 1));
    assert!(stage.replica.decided().is_none());
}

#[test]
fn votes_that_come_when_the_height_is_decided_still_convict() {
    let mut stage = table();
    stage.decide(H, X);
    let (liar, other) = (stage.others()[0], stage.others()[1]);
    // Against what was heard before the decision.
    let late = stage.prevote(liar, H, 0, Some(Y));
    assert_eq!(accused(&stage.hear_vote(late)), vec![(stage.key(liar), OffenceKind::Prevote)]);
    assert_eq!(accused(&stage.hear_vote(late)), vec![], "once");
    // Both too late; also when the next height has begun.
    stage.start(H + 1);
    for (block, found) in [(X, 0), (Y, 1), (X, 0)] {
        let vote = stage.prevote(other, H, 1, Some(block));
        assert_eq!(accused(&stage.hear_vote(vote)).len(), found);
    }
    // A certificate for another block names all who are in it and voted otherwise here.
    let certificate = Message::Decided(stage.certificate(&[0, 2, 3], H, 0, Y));
    let from = stage.key(0);
    let effects = stage.replica.step(Input::Compare { from: Some(from), message: certificate });
    let mut named: Vec<_> = accused(&effects).into_iter().map(|(key, _)| key).collect();
    named.sort();
    let mut all = vec![stage.key(0), stage.key(2), stage.key(3)];
    all.sort();
    assert_eq!(named, all);
}

/// Nobody can put words into another's mouth, early, in time or late.
#[test]
fn what_is_not_signed_convicts_nobody_at_any_time() {
    let forged = |vote: SignedVote| SignedVote { signature: Signature([7; 64]), ..vote };
    let mut stage = table();
    stage.hear_vote(stage.prevote(2, H, 0, Some(X)));
    let lie = forged(stage.prevote(2, H, 0, Some(Y)));
    for step in 0..3 {
        let from = stage.key(0);
        let said = stage.replica.step(Input::Message { from, message: Message::Vote(lie) });
        let compared = stage.replica.step(Input::Compare { from: Some(from), message: Message::Vote(lie) });
        let own = stage.replica.step(Input::Compare { from: Some(stage.key(2)), message: Message::Vote(lie) });
        assert_eq!((accused(&said), accused(&compared), accused(&own)), (vec![], vec![], vec![]), "step {step}");
        match step {
            0 => drop(stage.decide(H, X)),
            _ => drop(stage.start(H + step)),
        }
    }
}

#[test]
fn what_two_keys_say_or_what_one_says_in_two_rounds_is_no_evidence() {
    let table = table();
    let vote = table.prevote(2, H, 0, Some(X));
    for other in [
        vote,
        table.prevote(3, H, 0, Some(Y)),
        table.prevote(2, H, 1, Some(Y)),
        table.prevote(2, H + 1, 0, Some(Y)),
        table.precommit(2, H, 0, Some(Y)),
    ] {
        assert_eq!(Evidence::Votes(vote, other).check(&CHAIN), Err(EvidenceError::NoConflict), "{other:?}");
    }
    let forged = SignedVote { voter: PublicKey([5; 32]), ..vote };
    let other = SignedVote { voter: PublicKey([5; 32]), ..table.prevote(2, H, 0, Some(Y)) };
    assert!(matches!(Evidence::Votes(forged, other).check(&CHAIN), Err(EvidenceError::Signature(_))));
}

/// Nonsense from every side, in every state, through several heights.
#[test]
fn a_replica_under_fire_stays_upright() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut table = Table::of(4, rng.index(4));
        table.start(1);
        let forgers: Vec<Forger> = (0..4).map(|n| Forger::new(table.keys[n].clone(), CHAIN)).collect();
        for _ in 0..800 {
            let (height, round) = (table.replica.height(), table.replica.round().unwrap_or(0));
            let from = rng.index(4);
            let input = match rng.between(0, 9) {
                0 => Input::Judged { height, block: *rng.pick(&[X, Y]), valid: rng.once_in(2) },
                1 => Input::Propose { height, round, block: *rng.pick(&[X, Y]) },
                2 => {
                    let kinds = [TimerKind::Propose, TimerKind::Prevote, TimerKind::Precommit, TimerKind::Rebroadcast];
                    Input::Timer(consensus::Timer { height, round, kind: *rng.pick(&kinds) })
                }
                _ => match decode(&forgers[from].bytes(height, round, &table.set, &mut rng)) {
                    Ok(message) => Input::Message { from: table.key(from), message },
                    Err(_) => continue,
                },
            };
            let effects = table.replica.step(input);
            for certificate in decisions(&effects) {
                assert_eq!(certificate.check(&CHAIN, &table.set), Ok(()));
                table.start(height + 1);
            }
            assert!(effects.len() < 200, "{} effects of one input", effects.len());
        }
    }
}

/// A certificate names whomever its author likes. One that does not hold says nothing about this node's own words: or
/// else whoever is a member could silence all validators, one after the other.
#[test]
fn a_false_certificate_silences_nobody() {
    let (mut stand, others) = Stand::in_a_circle();
    let me = public(stand.in_turn(3));
    let block = stand.block(others[0], stand.now.wall_ms).block;
    let signed: Vec<_> = others[..2].iter().map(|person| public(person)).chain([me]).collect();
    let signed: Vec<_> = signed.into_iter().map(|key| (key, Signature([1; 64]))).collect();
    let certificate = Certificate::assemble(stand::H, 0, block.header.hash(), &signed, stand.cast.set());
    let (peer, header) = (others[2].node.public(), block.header.clone());
    let actions = stand.step(Event::Synced { peer, block, transactions: Vec::new(), certificate });
    assert!(parting(&actions).is_some_and(Parting::is_fault), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Alarm(_) | Action::CancelConsensus)), "{actions:?}");
    let actions = stand.hear_block(others[0], &header, &[]);
    assert_eq!(stand::said(&actions), vec![(VoteKind::Prevote, Some(header.hash()))], "it still has its voice");
}

/// The node of another who says that it speaks for the same validator leaves a proposal out of turn for the next height; the
/// validator's own node says what ends this one, and the next begins at once.
#[test]
fn who_says_the_last_word_of_a_height_is_not_blamed_for_what_others_left_for_the_next() {
    let (mut stand, others) = Stand::in_a_circle();
    let honest = others[0];
    let impostor = stand.cast.twins.iter().find(|twin| public(twin) == public(honest)).unwrap();
    stand.greet(impostor, Some(public(honest)));
    let header = stand.block(honest, stand.now.wall_ms).block.header;
    stand.hear_block(honest, &header, &[]);
    let turn = proposer(stand.cast.set(), FIRST + 1, 0);
    let out_of_turn = others.iter().find(|person| public(person) != turn).unwrap();
    let body = ProposalBody { height: FIRST + 1, round: 0, pol_round: None, block: X };
    let key = out_of_turn.validator.as_ref().unwrap();
    let proposal = SignedProposal::sign(body, key, &stand.cast.chain_id());
    let actions = stand.say(impostor, PeerMessage::Consensus(Message::Proposal(proposal)));
    assert_eq!(parting(&actions), None, "it is kept until then");
    // There is something for the next block to have, for long.
    let transaction = stand.cast.jobs[0].transaction.clone();
    stand.step(Event::Offered(vec![(transaction, Ticket(0))]));
    stand.wait(1_000);
    for kind in [VoteKind::Prevote, VoteKind::Precommit] {
        for person in [others[1], honest, others[2]] {
            let actions = stand.hear_vote(person, kind, header.hash());
            assert_eq!(parting(&actions), None, "{actions:?}");
        }
        stand.step(Event::Written);
    }
    assert_eq!(stand.vault.look().height(), FIRST);
}
