//! A real proof file, altered at every place: nothing that was altered is believed.

use crate::support::world::World;
use crate::vectors::{patch, story};
use crate::{epochs, proofs};
use ledger::proof::{HostClock, ProofBundle, TrustRoot};
use std::collections::BTreeMap;

/// Which checks said no, and how often.
type Refusals = BTreeMap<&'static str, usize>;

fn judge(bytes: &[u8], trust: &TrustRoot, clock: HostClock) -> Result<(), &'static str> {
    let verdict = ProofBundle::parse(bytes).and_then(|bundle| bundle.verify(trust, clock));
    verdict.map(|_| ()).map_err(|error| error.code().word())
}

/// Alters every byte of a proof in these ways.
fn alter_every_byte(bytes: &[u8], world: &World, ways: &[fn(u8) -> u8]) -> Refusals {
    let (trust, clock) = (world.trust(), world.clock());
    assert_eq!(judge(bytes, &trust, clock), Ok(()));
    let mut refusals = Refusals::new();
    for place in 0..bytes.len() {
        for way in ways {
            let mut altered = bytes.to_vec();
            altered[place] = way(bytes[place]);
            if altered[place] == bytes[place] {
                continue;
            }
            match judge(&altered, &trust, clock) {
                Err(check) => *refusals.entry(check).or_default() += 1,
                Ok(()) => panic!("byte {place}: {:#04x} instead of {:#04x} is believed", altered[place], bytes[place]),
            }
        }
    }
    refusals
}

#[test]
fn every_altered_byte_of_an_approved_proof_is_refused() {
    let world = story();
    let bytes = world.prove(patch(1)).bytes();
    let refusals = alter_every_byte(&bytes, &world, &[|byte| byte ^ 1, |byte| !byte]);
    let total: usize = refusals.values().sum();
    assert!(total == 2 * bytes.len(), "{total} alterations of {} bytes", bytes.len());
    for check in ["proof-malformed", "chain-id", "certificate", "inclusion", "state-proof"] {
        assert!(refusals.contains_key(check), "{check} had something to refuse: {refusals:?}");
    }
}

#[test]
fn every_altered_byte_of_a_proof_through_two_validator_sets_is_refused() {
    let (world, bundle) = epochs::through_two_changes();
    let refusals = alter_every_byte(&bundle.bytes(), &world, &[|byte| byte ^ 1]);
    assert!(refusals["epoch-chain"] > 1_000, "{refusals:?}");
}

#[test]
fn every_altered_byte_of_an_urgent_proof_is_refused() {
    let world = story();
    alter_every_byte(&world.prove(patch(6)).bytes(), &world, &[|byte| byte ^ 0x10]);
}

#[test]
fn every_cut_and_every_byte_put_in_or_left_out_is_refused() {
    let (world, id) = proofs::approved();
    let (trust, clock) = (world.trust(), world.clock());
    let bytes = world.prove(id).bytes();
    for place in 0..bytes.len() {
        assert!(judge(&bytes[..place], &trust, clock).is_err(), "cut at {place}");
        let left_out = [&bytes[..place], &bytes[place + 1..]].concat();
        assert!(judge(&left_out, &trust, clock).is_err(), "without byte {place}");
        for byte in [0, 1, bytes[place]] {
            let put_in = [&bytes[..place], &[byte], &bytes[place..]].concat();
            assert!(judge(&put_in, &trust, clock).is_err(), "{byte} put in at {place}");
        }
    }
}

/// Whole fields exchanged between two honest proofs of one ledger, at one header and at two.
#[test]
fn parts_of_two_honest_proofs_do_not_mix() {
    let mut world = story();
    let parts: &[(&str, fn(&mut ProofBundle, &ProofBundle))] = &[
        ("header", |bundle, other| bundle.header = other.header.clone()),
        ("certificate", |bundle, other| bundle.certificate = other.certificate.clone()),
        ("header and certificate", |bundle, other| {
            bundle.header = other.header.clone();
            bundle.certificate = other.certificate.clone();
        }),
        ("publish", |bundle, other| bundle.publish = other.publish.clone()),
        ("approvals", |bundle, other| bundle.approvals = other.approvals.clone()),
        ("patch record", |bundle, other| bundle.state.patch = other.state.patch.clone()),
        ("rules", |bundle, other| bundle.state.rules = other.state.rules.clone()),
        ("halts", |bundle, other| bundle.state.halts = other.state.halts.clone()),
        ("organisations", |bundle, other| bundle.state.organisations = other.state.organisations.clone()),
        ("state", |bundle, other| bundle.state = other.state.clone()),
    ];
    // A recalled patch must not borrow anything from an approved one at the same header.
    let (approved, recalled) = (world.prove(patch(1)), world.prove(patch(5)));
    for (part, mix) in parts {
        let mut mixed = recalled.clone();
        mix(&mut mixed, &approved);
        assert!(mixed.verify(&world.trust(), world.clock()).is_err(), "{part} of another patch");
    }
    // Nor from itself before the recall.
    world.block(Vec::new());
    let before = world.prove(patch(1));
    world.say("acme/publisher", crate::support::samples::recall(patch(1)));
    world.block(Vec::new());
    let after = world.prove_with(patch(1), before_record(&world), vec![6, 7]);
    assert_eq!(after.verify(&world.trust(), world.clock()).unwrap_err().code().word(), "recalled");
    for (part, mix) in parts {
        let mut mixed = after.clone();
        mix(&mut mixed, &before);
        assert!(mixed.verify(&world.trust(), world.clock()).is_err(), "{part} of an older header");
    }
    // The whole older proof is true about its time; only height and age can refuse it.
    let seen = HostClock { height_seen: after.header.height, ..world.clock() };
    assert!(before.verify(&world.trust(), world.clock()).is_ok());
    assert_eq!(before.verify(&world.trust(), seen).unwrap_err().code().word(), "height-below-seen");
}

fn before_record(world: &World) -> &'static ledger::state::record::PatchRecord {
    use ledger::state::StateView as _;
    Box::leak(Box::new(world.storage.patch(patch(1)).unwrap().unwrap()))
}
