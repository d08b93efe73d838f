use super::*;
use ledger::bounded::Name;
use ledger::validators::{Validator, ValidatorSet};

const CHAIN: ChainId = ChainId([7; 32]);
const X: BlockHash = BlockHash([1; 32]);

fn keys() -> Vec<SecretKey> {
    (1..=4).map(|n| SecretKey::from_seed(&[n; 32])).collect()
}

fn desk() -> Desk {
    let keys = keys();
    let validator = |(n, key): (usize, &SecretKey)| Validator {
        key: key.public(),
        organisation: Name::new(format!("org-{n}")).unwrap(),
    };
    let validators = ValidatorSet::new(keys.iter().enumerate().map(validator).collect()).unwrap();
    Desk::new(CHAIN, keys[0].clone(), Timeouts::default(), SigningGuard::default(), Height::new(1, validators))
}

fn precommit(key: &SecretKey, block: BlockHash) -> SignedVote {
    SignedVote::sign(VoteKind::Precommit, VoteBody { height: 1, round: 0, block: Some(block) }, key, &CHAIN)
}

/// The core's word that `block` is decided, with the precommits of these validators.
fn certificate(desk: &Desk, signers: &[SecretKey], block: BlockHash, signed: BlockHash) -> Certificate {
    let votes: Vec<_> = signers.iter().map(|key| (key.public(), precommit(key, signed).signature)).collect();
    Certificate::assemble(1, 0, block, &votes, &desk.now.validators)
}

#[test]
fn the_core_is_not_believed_when_it_says_that_something_is_decided() {
    let keys = keys();
    for (signers, signed, decided) in [
        (&keys[..3], X, true),
        // No quorum.
        (&keys[..2], X, false),
        // A quorum for something else.
        (&keys[..3], BlockHash([2; 32]), false),
    ] {
        let mut desk = desk();
        let certificate = certificate(&desk, signers, X, signed);
        desk.decide(certificate.clone());
        assert_eq!(desk.now.decided.is_some(), decided, "{} signers of {signed:?}", signers.len());
        assert_eq!(desk.effects.contains(&Effect::Decide(certificate)), decided);
        let alarmed = desk.effects.iter().any(|effect| matches!(effect, Effect::Alarm(Alarm::Undecidable { .. })));
        assert_eq!(alarmed, !decided, "{:?}", desk.effects);
    }
}

#[test]
fn what_comes_up_while_the_log_is_read_is_written_once_and_only_when_it_is_not_there() {
    let keys = keys();
    let [known, new] = [&keys[1], &keys[2]].map(|key| LogEntry::Vote(precommit(key, X)));
    let mut desk = desk();
    desk.begin_replay(std::slice::from_ref(&known));
    for entry in [&known, &new] {
        desk.append(entry.clone());
    }
    assert_eq!(desk.effects, [], "nothing is written before the log is read to its end");
    desk.end_replay();
    assert_eq!(desk.effects, [Effect::Append(new)]);
}

#[test]
fn nothing_is_said_while_the_log_is_read() {
    let mut desk = desk();
    desk.begin_replay(&[]);
    let vote = desk.sign_vote(VoteKind::Prevote, VoteBody { height: 1, round: 0, block: None });
    desk.say(Message::Vote(vote));
    desk.build(0);
    desk.end_replay();
    let said = |effect: &Effect| matches!(effect, Effect::Send(_) | Effect::Build { .. });
    assert!(!desk.effects.iter().any(said), "{:?}", desk.effects);
    desk.say(Message::Vote(vote));
    assert_eq!(desk.effects.last(), Some(&Effect::Send(Message::Vote(vote))));
}
