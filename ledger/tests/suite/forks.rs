//! Forks: two final blocks of one height, proven from the genesis file, and exactly who signed both (sentences
//! 9.6 to 9.8); and the golden files of them.

use crate::support::key;
use crate::support::offences::*;
use crate::support::world::{World, certify, validator_set};
use ledger::bounded::List;
use ledger::certificate::CertificateError;
use ledger::encoding::decode;
use ledger::evidence::{CertifiedHeader, Evidence};
use ledger::fork::{Branch, EvidenceFile, Exhibit, Fork, ForkError, HeadFile};
use ledger::id::ChainId;
use ledger::key::{PublicKey, SecretKey};
use ledger::light::LightClient;
use ledger::proof::{EpochError, EpochLink};
use ledger::vote::{SignedProposal, SignedVote, VoteKind};

const ACME: &str = "acme/validator";

fn chain() -> ChainId {
    World::new().chain()
}

fn validators_of(organisations: &[&str]) -> Vec<PublicKey> {
    let mut keys: Vec<_> = organisations.iter().map(|who| key(&format!("{who}/validator")).public()).collect();
    keys.sort_unstable();
    keys
}

const FIRST: [&str; 4] = ["acme", "north", "south", "west"];
const SECOND: [&str; 4] = ["globex", "north", "south", "west"];
const THREE: [&str; 3] = ["acme", "north", "south"];

/// A header of this height and time under a set, certified by some of its organisations in a round.
fn head(height: u64, time_ms: u64, round: u32, set: &[&str], signers: &[&str]) -> CertifiedHeader {
    let mut head = certified(height, time_ms, round, &[]);
    let validators = validator_set(set);
    head.header.validators_hash = validators.hash();
    head.header.next_validators_hash = validators.hash();
    let keys: Vec<SecretKey> = signers.iter().map(|who| key(&format!("{who}/validator"))).collect();
    head.certificate = certify(&head.header, round, &keys, &validators);
    head
}

/// The change from the first set to another, at this height, as three of the first certified it.
fn link(height: u64, to: &[&str], signers: &[&str]) -> EpochLink {
    let (from, to) = (validator_set(&FIRST), validator_set(to));
    let mut head = certified(height, height, 0, &[]);
    head.header.next_validators_hash = to.hash();
    let keys: Vec<SecretKey> = signers.iter().map(|who| key(&format!("{who}/validator"))).collect();
    EpochLink { certificate: certify(&head.header, 0, &keys, &from), header: head.header, validators: to }
}

fn culprits(fork: &Fork) -> Result<Vec<PublicKey>, ForkError> {
    let proven = fork.verify(&World::new().trust())?;
    let mut keys: Vec<PublicKey> = proven.culprits().iter().map(|culprit| culprit.key).collect();
    keys.sort_unstable();
    // What convicts them is what the ledger takes, and it names the same.
    let mut named: Vec<PublicKey> =
        proven.evidence().iter().flat_map(|evidence| evidence.check(&chain()).unwrap().keys).collect();
    named.sort_unstable();
    assert_eq!(keys, named);
    Ok(keys)
}

#[test]
fn a_fork_of_one_round_names_exactly_those_who_signed_both() {
    let one = head(9, 1, 2, &FIRST, &["acme", "north", "south"]);
    let other = head(9, 2, 2, &FIRST, &["acme", "south", "west"]);
    let fork = Fork::of((vec![], one), (vec![], other)).unwrap();
    assert_eq!(culprits(&fork), Ok(validators_of(&["acme", "south"])));
    let proven = fork.verify(&World::new().trust()).unwrap();
    let organisations: Vec<&str> = proven.culprits().iter().map(|culprit| culprit.organisation.as_str()).collect();
    assert!(organisations.contains(&"acme") && organisations.contains(&"south"));
    assert_eq!((proven.signers().0.len(), proven.signers().1.len()), (3, 3));
}

#[test]
fn a_fork_of_two_rounds_is_proven_and_names_nobody() {
    let fork = Fork::of((vec![], head(9, 1, 0, &FIRST, &THREE)), (vec![], head(9, 2, 1, &FIRST, &THREE))).unwrap();
    assert_eq!(culprits(&fork), Ok(vec![]));
}

#[test]
fn a_fork_after_changes_of_the_validators_is_checked_through_them() {
    // Both through the same change: it is written once, also when other quorums certified it.
    let (same, again) = (link(5, &SECOND, &THREE), link(5, &SECOND, &["north", "south", "west"]));
    let under = |time_ms, signers: &[&str]| head(9, time_ms, 0, &SECOND, signers);
    let one = under(1, &["globex", "north", "south"]);
    let other = under(2, &["north", "south", "west"]);
    let fork = Fork::of((vec![same.clone()], one.clone()), (vec![again], other)).unwrap();
    assert_eq!((fork.epochs.len(), fork.one.epochs.len(), fork.other.epochs.len()), (1, 0, 0));
    assert_eq!(culprits(&fork), Ok(validators_of(&["north", "south"])));
    // The change itself is on one side only: other sets, and each key's two votes tell.
    let other = head(9, 2, 0, &FIRST, &["acme", "south", "west"]);
    let fork = Fork::of((vec![same], one), (vec![], other)).unwrap();
    assert_eq!((fork.epochs.len(), fork.one.epochs.len(), fork.other.epochs.len()), (0, 1, 0));
    assert_eq!(culprits(&fork), Ok(validators_of(&["south"])));
    assert!(matches!(fork.verify(&World::new().trust()).unwrap().evidence(), [Evidence::Votes(..)]));
}

#[test]
fn a_fork_that_is_none_or_does_not_check_is_refused_by_name() {
    let one = || head(9, 1, 0, &FIRST, &THREE);
    let of = |one, other| Fork::of((vec![], one), (vec![], other)).unwrap();
    assert_eq!(culprits(&of(one(), one())), Err(ForkError::Same(9)));
    let later = of(one(), head(10, 2, 0, &FIRST, &THREE));
    assert_eq!(culprits(&later), Err(ForkError::OtherHeights { one: 9, other: 10 }));
    let weak = of(one(), head(9, 2, 0, &FIRST, &["acme", "north"]));
    assert!(matches!(culprits(&weak), Err(ForkError::Certificate { height: 9, .. })));
    let strange = of(one(), head(9, 2, 0, &SECOND, &["globex", "north", "south"]));
    assert!(matches!(culprits(&strange), Err(ForkError::Certificate { .. })), "a set nobody was led to");
    let mut foreign = one();
    foreign.header.chain_id = ChainId([7; 32]);
    assert!(matches!(culprits(&of(one(), foreign)), Err(ForkError::WrongChain { .. })));
    let weak_link = Fork::of(
        (vec![link(5, &SECOND, &["acme"])], head(9, 1, 0, &SECOND, &["globex", "north", "south"])),
        (vec![], head(9, 2, 0, &FIRST, &THREE)),
    );
    assert!(matches!(culprits(&weak_link.unwrap()), Err(ForkError::EpochChain { link: 0, .. })));
    // A set that was not in force yet certifies nothing.
    let early = Fork::of(
        (vec![link(9, &SECOND, &THREE)], head(9, 1, 0, &SECOND, &["globex", "north", "south"])),
        (vec![], head(9, 2, 0, &FIRST, &THREE)),
    );
    assert!(matches!(culprits(&early.unwrap()), Err(ForkError::Certificate { .. })));
}

#[test]
fn files_of_heads_and_of_evidence_go_in_and_out() {
    let world = World::new();
    let file = head_file();
    assert_eq!(decode::<HeadFile>(&file.bytes()), Ok(file.clone()));
    assert_eq!(file.verify(&world.trust()).unwrap().header().height, 9);
    let refused = |file: HeadFile| file.verify(&world.trust()).unwrap_err();
    assert_eq!(refused(HeadFile { version: 2, ..file.clone() }), ForkError::Version(2));
    let strange = refused(HeadFile { chain_id: ChainId([7; 32]), ..file.clone() });
    assert!(matches!(strange, ForkError::WrongChain { .. }));
    let short = refused(HeadFile { epochs: List::default(), ..file });
    assert!(matches!(short, ForkError::Certificate { .. }));

    let fork = Fork::of((vec![], head(9, 1, 0, &FIRST, &THREE)), (vec![], head(9, 2, 0, &FIRST, &THREE))).unwrap();
    let bytes = EvidenceFile::fork(world.chain(), fork.clone()).bytes();
    assert_eq!(EvidenceFile::parse(&bytes, &world.trust()), Ok(Exhibit::Fork(fork.clone())));
    let votes = EvidenceFile::evidence(world.chain(), two_votes(ACME, 7)).bytes();
    assert_eq!(EvidenceFile::parse(&votes, &world.trust()), Ok(Exhibit::Evidence(two_votes(ACME, 7))));
    for at in 0..bytes.len() {
        assert!(EvidenceFile::parse(&bytes[..at], &world.trust()).is_err(), "cut at {at}");
    }
    // No flipped bit of a proven fork names anybody else.
    let named = culprits(&fork).unwrap();
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let Ok(Exhibit::Fork(fork)) = EvidenceFile::parse(&flipped, &world.trust()) else { continue };
        if let Ok(proven) = fork.verify(&world.trust()) {
            panic!("bit {at} says {:?}, not {named:?}", proven.culprits());
        }
    }
}

/// Whoever is in force later could otherwise make a second block of any height before.
#[test]
fn a_set_certifies_nothing_below_its_own_beginning() {
    let trust = World::new().trust();
    let under = |height, time_ms| head(height, time_ms, 0, &SECOND, &["globex", "north", "south"]);
    let common = List::new(vec![link(5, &SECOND, &THREE)]).unwrap();
    let fork = |height, epochs: Vec<EpochLink>| Fork {
        epochs: common.clone(),
        one: Branch { epochs: List::new(epochs).unwrap(), head: under(height, 1) },
        other: branch(under(height, 2)),
    };
    assert!(culprits(&fork(6, vec![])).is_ok());
    for height in [1, 4, 5] {
        let early = CertificateError::WrongValidators { height };
        assert_eq!(culprits(&fork(height, vec![])), Err(ForkError::Certificate { height, error: early.clone() }));
        let file = HeadFile { version: 1, chain_id: chain(), epochs: common.clone(), head: under(height, 1) };
        assert_eq!(file.verify(&trust), Err(ForkError::Certificate { height, error: early }));
        // Nor a change of its own.
        let mut back = under(height, 3);
        back.header.next_validators_hash = validator_set(&FIRST).hash();
        let keys: Vec<SecretKey> = SECOND.iter().map(|who| key(&format!("{who}/validator"))).collect();
        back.certificate = certify(&back.header, 0, &keys, &validator_set(&SECOND));
        let back = EpochLink { header: back.header, certificate: back.certificate, validators: validator_set(&FIRST) };
        let problem = EpochError::NotAscending { height, before: 5 };
        assert_eq!(culprits(&fork(9, vec![back])), Err(ForkError::EpochChain { link: 1, problem }));
    }
}

/// What the fields of a later header mean is not known.
#[test]
fn headers_of_a_later_version_prove_nothing() {
    let trust = World::new().trust();
    let keys = || THREE.map(|who| key(&format!("{who}/validator")));
    let later = |mut head: CertifiedHeader| {
        head.header.version = 2;
        head.certificate = certify(&head.header, 0, &keys(), &validator_set(&FIRST));
        head
    };
    let head = || head(9, 1, 0, &FIRST, &THREE);
    let file = |head| HeadFile { version: 1, chain_id: chain(), epochs: List::default(), head };
    assert!(file(head()).verify(&trust).is_ok());
    assert_eq!(file(later(head())).verify(&trust), Err(ForkError::Version(2)));
    let (one, other) = (branch(head()), branch(later(head())));
    for (one, other) in [(one.clone(), other.clone()), (other, one)] {
        assert_eq!(culprits(&Fork { epochs: List::default(), one, other }), Err(ForkError::Version(2)));
    }
    let change = link(5, &SECOND, &THREE);
    let CertifiedHeader { header, certificate } =
        later(CertifiedHeader { header: change.header, certificate: change.certificate });
    let epochs = List::new(vec![EpochLink { header, certificate, ..change }]).unwrap();
    assert_eq!(HeadFile { epochs, ..head_file() }.verify(&trust), Err(ForkError::Version(2)));
}

/// The header of a change is certified by those before it.
#[test]
fn what_a_light_client_knows_proves_the_header_of_a_change_as_well_as_those_after() {
    let trust = World::new().trust();
    let change = link(5, &SECOND, &THREE);
    let mut light = LightClient::new(&World::new().genesis, None);
    assert_eq!(light.learn(std::slice::from_ref(&change)), Ok(1));
    let change_itself = CertifiedHeader { header: change.header.clone(), certificate: change.certificate.clone() };
    let after = |height| head(height, 1, 0, &SECOND, &["globex", "north", "south"]);
    for (head, epochs) in [(head(4, 1, 0, &FIRST, &THREE), 0), (change_itself.clone(), 0), (after(6), 1), (after(9), 1)]
    {
        let height = head.header.height;
        assert!(light.verify_parsed(&head.header, &head.certificate).is_ok(), "height {height}");
        let known = List::new(light.epochs_before(height)).unwrap();
        assert_eq!(known.len(), epochs, "height {height}");
        let file = HeadFile { version: 1, chain_id: chain(), epochs: known, head };
        assert_eq!(file.verify(&trust).map(|head| head.header().height), Ok(height));
    }
    let side = |head: CertifiedHeader| (light.epochs_before(head.header.height), head);
    let other = head(5, 6, 0, &FIRST, &["acme", "north", "west"]);
    let fork = Fork::of(side(change_itself), side(other)).unwrap();
    assert_eq!(culprits(&fork), Ok(validators_of(&["acme", "north"])));
}

/// A branch by itself says nothing about who made it.
#[test]
fn certificates_of_a_fork_may_be_any_quorums() {
    let one = head(9, 1, 0, &FIRST, &FIRST);
    for left_out in 0..4 {
        let signers: Vec<&str> =
            FIRST.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, who)| *who).collect();
        let other = head(9, 2, 0, &FIRST, &signers);
        let fork = Fork { epochs: List::default(), one: branch(one.clone()), other: branch(other) };
        assert_eq!(culprits(&fork), Ok(validators_of(&signers)));
    }
}

fn branch(head: CertifiedHeader) -> Branch {
    Branch { epochs: List::default(), head }
}

// For the golden files.

/// Forks, each with a file's name and what it is about.
pub fn forks() -> Vec<(&'static str, &'static str, Fork)> {
    let one = || head(9, 1, 2, &FIRST, &["acme", "north", "south"]);
    let other = || head(9, 2, 2, &FIRST, &["acme", "south", "west"]);
    let later = head(9, 2, 3, &FIRST, &["acme", "south", "west"]);
    let of = |one, other| Fork::of(one, other).unwrap();
    let (change, under) = (link(5, &SECOND, &THREE), |time_ms, who| head(9, time_ms, 0, &SECOND, who));
    let after = of(
        (vec![change.clone()], under(1, &["globex", "north", "south"])),
        (vec![change.clone()], under(2, &["north", "south", "west"])),
    );
    let apart = of((vec![change], under(1, &["globex", "north", "south"])), (vec![], head(9, 2, 0, &FIRST, &THREE)));
    vec![
        ("one-round", "two blocks of one height and round", of((vec![], one()), (vec![], other()))),
        (
            "two-rounds",
            "two blocks of one height and two rounds: nobody is named",
            of((vec![], one()), (vec![], later)),
        ),
        ("after-a-change", "the validators changed before", after),
        ("on-one-side", "the validators changed on one side only", apart),
    ]
}

/// A final header after a change of the validators.
pub fn head_file() -> HeadFile {
    let epochs = List::new(vec![link(5, &SECOND, &THREE)]).unwrap();
    HeadFile { version: 1, chain_id: chain(), epochs, head: head(9, 1, 0, &SECOND, &["globex", "north", "south"]) }
}

/// Evidence files that convict nobody: what is wrong, the check that must say so, and the bytes.
pub fn near_misses() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let evidence = |evidence| EvidenceFile::evidence(chain(), evidence).bytes();
    let fork = |one, other| EvidenceFile::fork(chain(), Fork::of((vec![], one), (vec![], other)).unwrap()).bytes();
    let (Evidence::Votes(one, other), Evidence::Proposals(first, second)) =
        (two_votes(ACME, 7), two_proposals(ACME, 7))
    else {
        unreachable!("made so")
    };
    let victim = key("north/validator").public();
    let precommit = |place, word| vote(&chain(), ACME, VoteKind::Precommit, place, word);
    let three = || head(9, 1, 0, &FIRST, &THREE);
    let whole = evidence(two_votes(ACME, 7));
    let foreign = EvidenceFile { chain_id: ChainId([7; 32]), ..decode(&whole).unwrap() };
    let later = EvidenceFile { version: 2, ..decode(&whole).unwrap() };
    let no_link = Fork::of(
        (vec![link(5, &SECOND, &["acme"])], head(9, 1, 0, &SECOND, &["globex", "north", "south"])),
        (vec![], head(9, 2, 0, &FIRST, &THREE)),
    );
    vec![
        ("a byte after the end", "trailing", [&whole[..], &[0]].concat()),
        ("the last byte is missing", "malformed", whole[..whole.len() - 1].to_vec()),
        ("a later version", "version", later.bytes()),
        ("for another ledger", "chain-id", foreign.bytes()),
        ("the same vote twice", "evidence", evidence(Evidence::Votes(one, one))),
        ("votes of two rounds", "evidence", evidence(Evidence::Votes(one, precommit((7, 4), Some("other"))))),
        ("votes of two heights", "evidence", evidence(Evidence::Votes(one, precommit((8, 3), Some("other"))))),
        (
            "a prevote and a precommit",
            "evidence",
            evidence(Evidence::Votes(one, vote(&chain(), ACME, VoteKind::Prevote, (7, 3), Some("other")))),
        ),
        (
            "votes of two keys",
            "evidence",
            evidence(Evidence::Votes(
                one,
                vote(&chain(), "north/validator", VoteKind::Precommit, (7, 3), Some("other")),
            )),
        ),
        (
            "another's key over somebody's votes",
            "evidence",
            evidence(Evidence::Votes(SignedVote { voter: victim, ..one }, SignedVote { voter: victim, ..other })),
        ),
        (
            "one signature under both votes",
            "evidence",
            evidence(Evidence::Votes(one, SignedVote { signature: one.signature, ..other })),
        ),
        ("the same proposal twice", "evidence", evidence(Evidence::Proposals(first, first))),
        (
            "another's key over somebody's proposals",
            "evidence",
            evidence(Evidence::Proposals(
                SignedProposal { proposer: victim, ..first },
                SignedProposal { proposer: victim, ..second },
            )),
        ),
        ("certificates of two rounds, as evidence", "evidence", evidence(two_certificates((0, 1), &THREE, &THREE))),
        ("a certificate without a quorum", "evidence", evidence(two_certificates((0, 0), &THREE, &["acme", "north"]))),
        ("both sides have the same block", "fork", fork(three(), head(9, 1, 0, &FIRST, &["acme", "north", "west"]))),
        ("the sides have blocks of two heights", "fork", fork(three(), head(10, 2, 0, &FIRST, &THREE))),
        ("one side has no quorum", "certificate", fork(three(), head(9, 2, 0, &FIRST, &["acme", "north"]))),
        (
            "one side has validators that nothing leads to",
            "certificate",
            fork(three(), head(9, 2, 0, &SECOND, &["globex", "north", "south"])),
        ),
        (
            "a change of the validators that no quorum certified",
            "epoch-chain",
            EvidenceFile::fork(chain(), no_link.unwrap()).bytes(),
        ),
    ]
}
