//! What is claimed by whom, and what is left to others.

use super::*;
use consensus::member::Places;
use std::net::{IpAddr, Ipv4Addr};

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// An address, a key and an organisation.
fn claimant(address: u8, key: u8, organisation: Option<&str>) -> Claimant {
    Claimant {
        origin: Origin::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, address))),
        signer: Some(PublicKey([key; 32])),
        organisation: organisation.map(name),
    }
}

fn quota() -> NoRoom {
    NoRoom::Quota { organisation: name("depot"), pending: 6, most: 6 }
}

fn full() -> NoRoom {
    NoRoom::Full { pending: 12, most: 12 }
}

/// A crowd that leaves so many places to all, and so many to the depot, of which some are its own.
fn crowd(all: usize, depot: usize, own: usize) -> Crowd {
    Crowd {
        pending: 8,
        all: Places { left: all, own: 0, bound: full() },
        organisations: BTreeMap::from([(name("depot"), Places { left: depot, own, bound: quota() })]),
        keys: BTreeMap::new(),
    }
}

/// All that one can claim.
fn greedy(claims: &Arc<Claims>, crowd: &Crowd, claimant: &Claimant) -> (Vec<Claim>, NoClaim) {
    let mut held = Vec::new();
    loop {
        match claims.claim(crowd, claimant.clone()) {
            Ok(claim) => held.push(claim),
            Err(why) => return (held, why),
        }
    }
}

/// Two places are left for the depot and four for all: what is claimed beyond that is refused by the bound
/// it meets, and what is dropped is there again.
#[test]
fn no_more_is_claimed_than_is_left() {
    let crowd = crowd(4, 2, 2);
    let claims = Arc::new(Claims::default());
    let mut next = 0;
    let mut claim = |owner: Option<&str>| {
        // Each from elsewhere, under a key of its own.
        next += 1;
        claims.claim(&crowd, claimant(next, next, owner))
    };
    let first = claim(Some("depot")).expect("room");
    let second = claim(Some("depot")).expect("room");
    assert_eq!(claim(Some("depot")).err(), Some(quota().into()));
    let others = [claim(None).expect("room"), claim(None).expect("room")];
    assert_eq!(claim(None).err(), Some(full().into()));
    let bank = claim(Some("bank")).expect("a place of its own");
    drop(first);
    let again = claim(Some("depot")).expect("the place that was given back");
    drop((again, second, others, bank));
    let held = claims.held();
    assert_eq!((held.all, held.of.len(), held.by_address.len()), (0, 0, 0), "nothing is left behind");
}

/// Whoever says that what he brings is the depot's has not all of the depot's places for that, nor everybody's.
#[test]
fn an_address_claims_no_more_than_it_leaves() {
    let claims = Arc::new(Claims::default());
    let crowd = crowd(1_000, 100, 0);
    let (of_the_depot, why) = greedy(&claims, &crowd, &claimant(1, 1, Some("depot")));
    assert!(of_the_depot.len() == 34 && matches!(why, NoClaim::Key { .. }), "{}: {why}", of_the_depot.len());
    // In the names of many keys it is no more than half.
    let mut of_the_depot = of_the_depot;
    for key in 2..100 {
        of_the_depot.extend(greedy(&claims, &crowd, &claimant(1, key, Some("depot"))).0);
    }
    assert_eq!(of_the_depot.len(), 50);
    let why = claims.claim(&crowd, claimant(1, 100, Some("depot"))).err();
    assert!(matches!(why, Some(NoClaim::Address { claimed: 50, left: 50, .. })), "{why:?}");
    let (others, _) = greedy(&claims, &crowd, &claimant(2, 101, Some("depot")));
    assert!(others.len() >= 16, "{}", others.len());
    assert!(claims.claim(&crowd, claimant(3, 3, Some("depot"))).is_ok(), "there is always a place for the next");
    // The same in the name of nobody, or of many.
    let (of_nobody, why) = greedy(&claims, &crowd, &claimant(1, 1, None));
    assert!(matches!(why, NoClaim::Address { .. }), "{why}");
    assert_eq!(of_the_depot.len() + of_nobody.len(), (1_000 - others.len()).div_ceil(2));
    assert!(claims.claim(&crowd, claimant(4, 4, None)).is_ok());
}

/// The places that are an organisation's own are not used up in its name by one address either.
#[test]
fn own_places_are_left_by_an_address_too() {
    let claims = Arc::new(Claims::default());
    let crowd = crowd(0, 100, OWN_PLACES_MAX);
    let (stranger, why) = greedy(&claims, &crowd, &claimant(1, 1, Some("depot")));
    assert!((1..=OWN_PLACES_MAX / 2).contains(&stranger.len()), "{}: {why}", stranger.len());
    assert!(claims.claim(&crowd, claimant(2, 2, Some("depot"))).is_ok());
    assert!(claims.claim(&crowd, claimant(2, 3, Some("bank"))).is_ok());
    assert_eq!(claims.claim(&crowd, claimant(2, 4, None)).err(), Some(full().into()));
}

/// One key of an organisation, from however many addresses, leaves as many places as it claims to the others.
#[test]
fn a_key_claims_no_more_than_it_leaves_to_the_other_keys_of_its_organisation() {
    let claims = Arc::new(Claims::default());
    let crowd = crowd(1_000, 100, 0);
    let (mut mad, mut why) = (Vec::new(), None);
    for address in 1..=20 {
        let (held, refused) = greedy(&claims, &crowd, &claimant(address, 1, Some("depot")));
        mad.extend(held);
        why = Some(refused);
    }
    assert_eq!(mad.len(), 50);
    assert!(matches!(why, Some(NoClaim::Key { claimed: 50, left: 50, .. })), "{why:?}");
    for address in [1, 2, 200] {
        let other = claims.claim(&crowd, claimant(address, 2, Some("depot")));
        assert!(other.is_ok(), "another key finds a place, also behind an address of the first: {:?}", other.err());
    }
}

/// A key that has its half of what waits of its organisation claims nothing more, though its organisation may.
#[test]
fn a_key_with_its_share_of_the_pool_claims_nothing_more() {
    let claims = Arc::new(Claims::default());
    let bound = NoRoom::QuotaOfKey { key: PublicKey([1; 32]), pending: 50, left: 50 };
    let one_more = Places { left: 1, own: 0, bound: bound.clone() };
    let crowd = Crowd { keys: BTreeMap::from([(PublicKey([1; 32]), one_more)]), ..crowd(1_000, 100, 0) };
    let (held, why) = greedy(&claims, &crowd, &claimant(1, 1, Some("depot")));
    assert_eq!((held.len(), why), (1, bound.into()));
    assert!(claims.claim(&crowd, claimant(1, 2, Some("depot"))).is_ok());
}

/// What was not signed costs its address, and nobody else, for a while.
#[tokio::test(start_paused = true)]
async fn what_is_forged_is_held_against_its_address_for_a_while() {
    let claims = Arc::new(Claims::default());
    let crowd = crowd(1_000, 30, 0);
    let (forger, depot) = (claimant(1, 1, Some("depot")), claimant(2, 2, Some("depot")));
    for _ in 0..30 {
        drop(claims.claim(&crowd, forger.clone()).expect("what failed is not a place that is taken"));
        claims.forged(forger.origin);
    }
    let why = claims.claim(&crowd, forger.clone()).err().expect("it has wasted as many as are left");
    assert!(matches!(why, NoClaim::Address { claimed: 30, left: 30, .. }), "{why}");
    let (others, _) = greedy(&claims, &crowd, &depot);
    assert_eq!(others.len(), 10, "nobody else has fewer: a third, under one key");
    drop(others);
    tokio::time::advance(FORGERY_COST).await;
    assert!(claims.claim(&crowd, forger.clone()).is_ok(), "it is forgiven");
    assert!(claims.held().forged.is_empty(), "and forgotten");
    // However much is forged, and from however many addresses, only so much is remembered.
    (0..2 * FORGERIES_MAX).for_each(|_| claims.forged(forger.origin));
    assert_eq!(claims.held().forgeries(forger.origin), FORGERIES_MAX);
    for place in 0..2 * FORGERS_MAX as u32 {
        claims.forged(Origin::from(IpAddr::V4(Ipv4Addr::from_bits(place))));
    }
    assert_eq!(claims.held().forged.len(), FORGERS_MAX);
}
