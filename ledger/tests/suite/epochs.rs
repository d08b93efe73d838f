//! The chain of validator sets: from the genesis file to today, each change signed by the set before
//! (sentences 3.14, 3.15 and 6.6).

use crate::proofs;
use crate::support::key;
use crate::support::world::{World, certify, validator_set};
use ledger::block::Header;
use ledger::bounded::{List, Name};
use ledger::certificate::{Certificate, CertificateError};
use ledger::id::{BlockHash, ChainId, Digest};
use ledger::key::SecretKey;
use ledger::proof::{ChangeSeen, EpochError, EpochLink, HostClock, ProofBundle, ProofError};
use ledger::receipt::ReasonCode;
use ledger::validators::{Validator, ValidatorSet};

const FIRST: [&str; 4] = ["acme", "north", "south", "west"];
const SECOND: [&str; 5] = ["globex", "north", "south", "west", "zenith"];
const THIRD: [&str; 4] = ["globex", "initech", "umbrella", "zenith"];

fn keys(organisations: &[&str]) -> Vec<SecretKey> {
    organisations.iter().map(|organisation| key(&format!("{organisation}/validator"))).collect()
}

/// A header at this height, made under one set, that names another for the next height.
fn epoch_header(world: &World, height: u64, from: &ValidatorSet, to: &ValidatorSet) -> Header {
    Header {
        height,
        time_ms: world.genesis.header.time_ms + height,
        parent: BlockHash(Digest::blake3(&height.to_le_bytes()).0),
        validators_hash: from.hash(),
        next_validators_hash: to.hash(),
        ..world.genesis.header.clone()
    }
}

fn link(world: &World, height: u64, from: &[&str], to: &[&str]) -> EpochLink {
    let (before, after) = (validator_set(from), validator_set(to));
    let header = epoch_header(world, height, &before, &after);
    EpochLink { certificate: certify(&header, 0, &keys(from), &before), header, validators: after }
}

/// An approved patch, proven by a header of the third set, with the two links that lead there.
pub fn through_two_changes() -> (World, ProofBundle) {
    let (world, id) = proofs::approved();
    let mut bundle = world.prove(id);
    let third = validator_set(&THIRD);
    bundle.epochs = List::new(vec![link(&world, 5, &FIRST, &SECOND), link(&world, 9, &SECOND, &THIRD)]).unwrap();
    bundle.header.height = 12;
    bundle.header.validators_hash = third.hash();
    bundle.header.next_validators_hash = third.hash();
    bundle.certificate = certify(&bundle.header, 0, &keys(&THIRD), &third);
    (world, bundle)
}

/// The verdict on the bundle after these links were put in place of the honest ones.
fn with_links(change: impl FnOnce(&World, &mut Vec<EpochLink>)) -> Result<(), ProofError> {
    let (world, mut bundle) = through_two_changes();
    let mut links = bundle.epochs.to_vec();
    change(&world, &mut links);
    bundle.epochs = List::new(links).unwrap();
    ProofBundle::parse(&bundle.bytes())?.verify(&world.trust(), world.clock()).map(|_| ())
}

fn problem(result: Result<(), ProofError>) -> (usize, EpochError) {
    match result {
        Err(error @ ProofError::EpochChain { .. }) => {
            assert_eq!(error.code(), ReasonCode::EpochChain);
            let ProofError::EpochChain { link, problem } = error else { unreachable!("matched above") };
            (link, problem)
        }
        other => panic!("expected a broken epoch chain, got {other:?}"),
    }
}

#[test]
fn two_changes_each_signed_by_the_set_before_lead_to_the_third_set() {
    assert_eq!(with_links(|_, _| {}), Ok(()));
}

#[test]
fn quorums_of_the_old_set_are_enough_and_fewer_are_not() {
    let signed_by = |first: &'static [&str], second: &'static [&str]| {
        with_links(move |_, links| {
            links[0].certificate = certify(&links[0].header, 3, &keys(first), &validator_set(&FIRST));
            links[1].certificate = certify(&links[1].header, 0, &keys(second), &validator_set(&SECOND));
        })
    };
    assert_eq!(signed_by(&["acme", "north", "west"], &["globex", "north", "south", "zenith"]), Ok(()));
    let (at, error) = problem(signed_by(&["acme", "north"], &SECOND));
    assert!(at == 0 && matches!(error, EpochError::Certificate(CertificateError::NoQuorum { signers: 2, .. })));
    let (at, error) = problem(signed_by(&FIRST, &["globex", "north", "south"]));
    assert!(at == 1 && matches!(error, EpochError::Certificate(CertificateError::NoQuorum { signers: 3, .. })));
}

#[test]
fn a_change_signed_only_by_the_new_set_is_refused() {
    for place in [0, 1] {
        let (at, error) = problem(with_links(|_, links| {
            let (new, set) = ([&SECOND[..], &THIRD[..]][place], links[place].validators.clone());
            links[place].certificate = certify(&links[place].header, 0, &keys(new), &set);
        }));
        assert_eq!(at, place);
        assert!(matches!(error, EpochError::Certificate(_)), "{error}");
    }
}

#[test]
fn a_set_that_put_itself_in_place_is_refused() {
    // The new set makes a header that says it was always the set, and signs it.
    let (at, error) = problem(with_links(|world, links| {
        *links = vec![link(world, 5, &["globex", "initech", "umbrella"], &THIRD)];
    }));
    assert_eq!((at, error), (0, EpochError::Certificate(CertificateError::WrongValidators { height: 5 })));
}

#[test]
fn every_link_is_needed_once_and_in_order() {
    let leave_out = |place: usize| with_links(move |_, links| drop(links.remove(place)));
    let (at, error) = problem(leave_out(0));
    assert_eq!((at, error), (0, EpochError::Certificate(CertificateError::WrongValidators { height: 9 })));
    assert!(matches!(leave_out(1), Err(ProofError::Certificate(CertificateError::WrongValidators { height: 12 }))));

    let (at, error) = problem(with_links(|_, links| links.swap(0, 1)));
    assert_eq!((at, error), (0, EpochError::Certificate(CertificateError::WrongValidators { height: 9 })));
    let (at, error) = problem(with_links(|_, links| links.insert(0, links[0].clone())));
    assert_eq!((at, error), (1, EpochError::NotAscending { height: 5, before: 5 }));
    let (at, error) = problem(with_links(|_, links| links.push(links[1].clone())));
    assert_eq!((at, error), (2, EpochError::NotAscending { height: 9, before: 9 }));
}

#[test]
fn a_header_that_changes_nothing_has_no_place_in_the_chain() {
    let (at, error) = problem(with_links(|world, links| links.insert(1, link(world, 7, &SECOND, &SECOND))));
    assert_eq!((at, error), (1, EpochError::NoChange(7)));
}

#[test]
fn a_link_shows_the_set_its_header_names() {
    let (at, error) = problem(with_links(|_, links| links[0].validators = validator_set(&THIRD)));
    assert_eq!((at, error), (0, EpochError::WrongSet));
    // The same keys under other organisations' names are another set.
    let (at, error) = problem(with_links(|_, links| {
        let renamed = links[0]
            .validators
            .validators()
            .iter()
            .map(|validator| Validator { organisation: Name::new("mallory").unwrap(), ..validator.clone() });
        links[0].validators = ValidatorSet::new(renamed.collect()).unwrap();
    }));
    assert_eq!((at, error), (0, EpochError::WrongSet));
}

#[test]
fn links_are_of_this_chain() {
    let (at, error) = problem(with_links(|_, links| links[1].header.chain_id = ChainId([4; 32])));
    assert_eq!((at, error), (1, EpochError::WrongChain(ChainId([4; 32]))));
}

#[test]
fn the_header_comes_after_the_last_change() {
    let (world, mut bundle) = through_two_changes();
    for height in [1, 9] {
        bundle.header.height = height;
        bundle.certificate = certify(&bundle.header, 0, &keys(&THIRD), &validator_set(&THIRD));
        let (at, error) = problem(bundle.verify(&world.trust(), world.clock()).map(|_| ()));
        assert_eq!((at, error), (2, EpochError::NotAscending { height, before: 9 }));
    }
}

#[test]
fn a_retired_set_cannot_sign_for_today() {
    let (world, mut bundle) = through_two_changes();
    for retired in [&FIRST[..], &SECOND[..]] {
        let set = validator_set(retired);
        bundle.certificate = certify(&bundle.header, 0, &keys(retired), &set);
        let refused = bundle.verify(&world.trust(), world.clock()).unwrap_err();
        assert_eq!(refused.code(), ReasonCode::Certificate);
        // Nor does it help to say in the header that it is still the set.
        let mut rewritten = bundle.clone();
        rewritten.header.validators_hash = set.hash();
        rewritten.certificate = certify(&rewritten.header, 0, &keys(retired), &set);
        assert_eq!(rewritten.verify(&world.trust(), world.clock()).unwrap_err().code(), ReasonCode::Certificate);
    }
}

#[test]
fn who_saw_a_change_is_led_through_it_by_every_later_proof() {
    let (world, bundle) = through_two_changes();
    let change = |of: usize| ChangeSeen::of(&bundle.epochs[of]);
    let seen = |change: ChangeSeen| HostClock { change_seen: Some(change), ..world.clock() };
    let verdict = |bundle: &ProofBundle, clock| problem(bundle.verify(&world.trust(), clock).map(|_| ()));
    for of in [0, 1] {
        assert!(bundle.verify(&world.trust(), seen(change(of))).is_ok(), "link {of}");
        assert_eq!(bundle.recalled(&world.trust(), seen(change(of))), Ok(None), "link {of}");
    }
    // A set that was replaced signs for today, and leaves out that it was.
    for (retired, shown) in [(&FIRST[..], 0), (&SECOND[..], 1)] {
        let (mut old, set) = (bundle.clone(), validator_set(retired));
        old.epochs = List::new(bundle.epochs[..shown].to_vec()).unwrap();
        (old.header.validators_hash, old.header.next_validators_hash) = (set.hash(), set.hash());
        old.certificate = certify(&old.header, 0, &keys(retired), &set);
        assert!(old.verify(&world.trust(), world.clock()).is_ok(), "who saw nothing cannot know");
        let past = (shown, EpochError::PastSeen { above: change(1).above });
        assert_eq!(verdict(&old, seen(change(1))), past);
        let recalled = old.recalled(&world.trust(), seen(change(1))).map(|_| ());
        assert_eq!(problem(recalled), past);
        // What it signed while it was the set still holds, as far as its height does.
        old.header.height = change(1).above;
        old.certificate = certify(&old.header, 0, &keys(retired), &set);
        assert!(old.verify(&world.trust(), seen(change(1))).is_ok());
    }
    // At the same height, to another set.
    let other = ChangeSeen { validators_hash: validator_set(&SECOND).hash(), ..change(1) };
    assert_eq!(verdict(&bundle, seen(other)), (2, EpochError::PastSeen { above: other.above }));
}

#[test]
fn the_longest_chain_of_sets_that_may_be_shown_is_followed() {
    let (world, mut bundle) = through_two_changes();
    let sets = [&FIRST[..], &SECOND[..]];
    let links = (0..ledger::limits::EPOCHS_MAX).map(|n| link(&world, n as u64 + 1, sets[n % 2], sets[(n + 1) % 2]));
    bundle.epochs = List::new(links.collect()).unwrap();
    let first = validator_set(&FIRST);
    bundle.header.height = 1_000;
    bundle.header.validators_hash = first.hash();
    bundle.certificate = certify(&bundle.header, 0, &keys(&FIRST), &first);
    assert!(bundle.bytes().len() < ledger::limits::PROOF_BYTES_MAX);
    assert!(ProofBundle::parse(&bundle.bytes()).unwrap().verify(&world.trust(), world.clock()).is_ok());
    let one_more = [bundle.epochs.to_vec(), vec![bundle.epochs[0].clone()]].concat();
    assert!(List::<EpochLink, { ledger::limits::EPOCHS_MAX }>::new(one_more).is_err());
}

/// Certificates of links may be of any round, and each link's certificate is its own.
#[test]
fn a_certificate_of_one_link_does_not_serve_another() {
    let swapped: fn(&World, &mut Vec<EpochLink>) = |_, links| {
        let certificates: Vec<Certificate> = links.iter().map(|link| link.certificate.clone()).collect();
        links[0].certificate = certificates[1].clone();
        links[1].certificate = certificates[0].clone();
    };
    let (at, error) = problem(with_links(swapped));
    assert_eq!(at, 0);
    assert_eq!(error, EpochError::Certificate(CertificateError::WrongHeight { certificate: 9, header: 5 }));
}
