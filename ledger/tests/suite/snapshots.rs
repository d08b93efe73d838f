//! Snapshots: who begins with one believes what its certified header proves, and nothing else (section 13).

use crate::support::samples::*;
use crate::support::world::{BLOCK_MS, World, validator_set};
use ledger::bounded::List;
use ledger::certificate::CertificateError;
use ledger::id::Digest;
use ledger::limits;
use ledger::patch::PatchManifest;
use ledger::receipt::Outcome;
use ledger::snapshot::{KeptTransaction, SnapshotError, SnapshotPart, has_expired};
use ledger::transaction::Payload;

const MONTH_MS: u64 = limits::EXPIRY_AHEAD_MS_MAX;

fn redis(release: u64) -> PatchManifest {
    manifest("acme/redis", release)
}

/// Three blocks, with two transactions each that are kept; a rest; and three blocks more.
fn rested(rest_ms: u64) -> World {
    let mut world = World::new();
    let [one, two, three] = [1, 2, 3].map(redis);
    let said = |world: &mut World, words: Vec<(&str, Payload)>| {
        let transactions = words.into_iter().map(|(who, what)| world.transaction(who, what)).collect();
        world.block(transactions);
    };
    said(&mut world, vec![("acme/publisher", publish(&one)), ("acme/operator", enroll("host-1"))]);
    said(&mut world, vec![("north/approver", approve(one.id())), ("south/approver", approve(one.id()))]);
    let applied = receive(receipt(one.id(), 1, Outcome::Applied));
    said(&mut world, vec![("acme/publisher", publish(&two)), ("host-1", applied), ("acme/operator", enroll("host-2"))]);
    world.wait(rest_ms - BLOCK_MS);
    said(&mut world, vec![("acme/publisher", publish(&three))]);
    said(&mut world, vec![("host-1", receive(receipt(one.id(), 2, Outcome::Refused)))]);
    said(&mut world, vec![("north/approver", approve(three.id()))]);
    world
}

/// The world after a rest of a month, and its snapshot, in which the first three blocks are not whole.
fn old() -> (World, Vec<SnapshotPart>) {
    let world = rested(MONTH_MS);
    let snapshot = world.snapshot(4);
    (world, snapshot)
}

/// What is kept of an old block, to be altered, and where it stands.
fn kept(parts: &mut [SnapshotPart], of: u64) -> (usize, &mut SnapshotPart) {
    let is = |part: &SnapshotPart| matches!(part, SnapshotPart::Kept { header, .. } if header.height == of);
    let place = parts.iter().position(is).expect("something of it is kept");
    (place, &mut parts[place])
}

fn transactions(part: &mut SnapshotPart) -> Vec<KeptTransaction> {
    let SnapshotPart::Kept { transactions, .. } = part else { panic!("what is kept of a block") };
    transactions.to_vec()
}

fn show(part: &mut SnapshotPart, these: Vec<KeptTransaction>) {
    let SnapshotPart::Kept { transactions, .. } = part else { panic!("what is kept of a block") };
    *transactions = List::new(these).unwrap();
}

/// Where and why somebody who begins with these parts stops.
fn refused(world: &World, parts: &[SnapshotPart]) -> (usize, SnapshotError) {
    world.begin_with(parts).map(|_| ()).expect_err("it is not believed")
}

#[test]
fn an_honest_snapshot_is_believed_of_a_young_ledger_and_of_an_old_one() {
    let (world, parts) = old();
    let begun = world.begin_with(&parts).unwrap();
    assert_eq!((begun.header(), begun.first_whole()), (Some(&world.tip.header), 4));
    let begun = world.begin_with(&world.snapshot(1)).unwrap();
    assert_eq!((begun.header(), begun.first_whole()), (Some(&world.tip.header), 1));
}

/// One shown twice would make up for one that is left out.
#[test]
fn each_transaction_of_an_old_block_is_shown_once() {
    let (world, honest) = old();
    for (height, shown) in [(1, [0, 0]), (1, [1, 1]), (2, [0, 0]), (3, [0, 0]), (2, [1, 0])] {
        let mut parts = honest.clone();
        let (place, part) = kept(&mut parts, height);
        let these = transactions(part);
        assert_eq!(these.len(), 2);
        show(part, shown.map(|which: usize| these[which].clone()).to_vec());
        let index = these[shown[1]].0;
        assert_eq!(refused(&world, &parts), (place, SnapshotError::Transaction { index }), "{shown:?} of {height}");
    }
}

/// Under another header they would be of another height and another time.
#[test]
fn transactions_of_an_old_block_are_shown_under_its_own_header() {
    let (world, honest) = old();
    for (from, to) in [(2, 1), (3, 2), (1, 2), (2, 3)] {
        let mut parts = honest.clone();
        let (place, part) = kept(&mut parts, from);
        let moved = transactions(part);
        parts.remove(place);
        let (place, part) = kept(&mut parts, to);
        let own = transactions(part);
        let both = if from < to { [moved.clone(), own].concat() } else { [own, moved.clone()].concat() };
        show(part, both);
        let index = moved[0].0;
        assert_eq!(refused(&world, &parts), (place, SnapshotError::Transaction { index }), "from {from} to {to}");
    }
}

/// A header before the whole blocks that nobody signed has the time somebody likes.
#[test]
fn the_first_whole_block_follows_the_very_header_that_is_before_it() {
    let world = rested(2 * BLOCK_MS);
    let mut parts = world.snapshot(4);
    let SnapshotPart::Begin { before, .. } = &mut parts[0] else { panic!("the beginning") };
    before.time_ms -= MONTH_MS;
    let first = parts.iter().position(|part| matches!(part, SnapshotPart::Whole { .. })).unwrap();
    let detail = "it does not follow the one before";
    assert_eq!(refused(&world, &parts), (first, SnapshotError::Block { height: 4, detail }));
}

/// Of a younger one a transaction could be handed in again, and nobody here would know it.
#[test]
fn what_is_not_there_whole_is_a_month_old() {
    for (rest_ms, enough) in
        [(MONTH_MS / 2, false), (MONTH_MS - 2 * BLOCK_MS - 1, false), (MONTH_MS - 2 * BLOCK_MS, true)]
    {
        let world = rested(rest_ms);
        let before_ms = world.block_of(3).header.time_ms;
        assert_eq!(has_expired(before_ms, world.tip.header.time_ms), enough, "after {rest_ms} ms");
        match world.begin_with(&world.snapshot(4)) {
            Ok(_) => assert!(enough, "after {rest_ms} ms"),
            Err(refused) => {
                assert!(!enough, "after {rest_ms} ms: {refused:?}");
                assert_eq!(refused, (0, SnapshotError::TooShort { before_ms }));
            }
        }
    }
}

/// They are written down as they come.
#[test]
fn no_more_leaf_hashes_are_taken_than_the_history_has() {
    let (world, honest) = old();
    let SnapshotPart::Leaves(hashes) = &honest[1] else { panic!("the hashes of the history") };
    let part = |hashes: &[Digest]| SnapshotPart::Leaves(List::new(hashes.to_vec()).unwrap());
    // In parts, it does not matter how many.
    let mut in_two = honest.clone();
    in_two.splice(1..2, [part(&hashes[..2]), part(&hashes[2..])]);
    assert!(world.begin_with(&in_two).is_ok());
    for more in [hashes.to_vec(), hashes[..1].to_vec()] {
        let mut parts = honest.clone();
        parts.insert(2, part(&more));
        assert_eq!(refused(&world, &parts), (2, SnapshotError::History));
    }
    let mut parts = honest.clone();
    parts[1] = part(&[&hashes[..], &hashes[..1]].concat());
    assert_eq!(refused(&world, &parts), (1, SnapshotError::History));
    parts[1] = part(&hashes[1..]);
    assert_eq!(refused(&world, &parts), (2, SnapshotError::History));
}

/// It says how many of them are written down.
#[test]
fn a_header_is_proven_final_before_the_first_leaf_hash_is_taken() {
    let (world, mut parts) = old();
    let weak = world.certify(&world.tip.header, &["acme", "north"], &validator_set(&world.validators));
    let SnapshotPart::Begin { header, certificate, .. } = &mut parts[0] else { panic!("the beginning") };
    *certificate = weak;
    let height = header.height;
    let problem = CertificateError::NoQuorum { signers: 2, validators: 4, quorum: 3 };
    assert_eq!(refused(&world, &parts), (1, SnapshotError::Certificate { height, problem }));
}
