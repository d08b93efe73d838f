//! The pool's bounds: which there are for clients and for peers, and what whoever meets one is told.

use crate::pool::{Crowded, name};
use consensus::member::{MempoolLimits, NoRoom, Source};
use ledger::transaction::VerifiedTransaction;

#[test]
fn every_bound_is_named_by_its_refusal() {
    let limits = MempoolLimits {
        transactions_max: 40,
        bytes_max: 80 * 1_024,
        per_organisation_max: 8,
        per_organisation_bytes_max: 48 * 1_024,
        ..MempoolLimits::default()
    };
    // Places of one organisation.
    let mut crowded = Crowded::new(limits);
    crowded.offer_many("depot", 6);
    let transaction = crowded.small();
    let quota = NoRoom::Quota { organisation: name("depot"), pending: 6, most: 6 };
    assert_eq!(crowded.offer("depot", transaction, Source::Client), Err(quota.clone()));
    assert_eq!(crowded.pool.crowd().room_for(Some(&name("depot")), 0, 0), Err(quota));
    assert_eq!(crowded.pool.crowd().room_for(Some(&name("bank")), 0, 0), Ok(()));

    // Bytes of one organisation: two large ones are most of 36 KiB, and the others have all their own.
    let mut crowded = Crowded::new(limits);
    for _ in 0..2 {
        let transaction = crowded.large();
        crowded.offer("depot", transaction, Source::Client).unwrap();
    }
    let bytes = crowded.pool.bytes();
    let transaction = crowded.large();
    let quota = NoRoom::QuotaOfBytes { organisation: name("depot"), bytes, most: 36 * 1_024 };
    assert_eq!(crowded.offer("depot", transaction.clone(), Source::Client), Err(quota.clone()));
    assert!(quota.to_string().contains("depot") && quota.to_string().contains("36864 bytes"), "{quota}");
    assert_eq!(crowded.pool.of(&name("depot")), (2, bytes));
    crowded.offer("bank", transaction, Source::Client).unwrap();

    // Bytes of all, with room kept for what peers admitted, and each organisation's own beside them.
    let roomy = MempoolLimits { per_organisation_bytes_max: 400 * 1_024, bytes_max: 200 * 1_024, ..limits };
    let mut crowded = Crowded::new(MempoolLimits { per_organisation_max: 40, ..roomy });
    let (_, refused) = crowded.offer_until_refused("depot", Crowded::large);
    assert_eq!(refused, NoRoom::FullOfBytes { bytes: crowded.pool.bytes(), most: 150 * 1_024 });
    let transaction = crowded.large();
    crowded.offer("depot", transaction, Source::Peer).unwrap();
    let transaction = crowded.large();
    crowded.offer("bank", transaction, Source::Client).unwrap();

    // Places of all: those of its own are an organisation's however full the pool is, and only those.
    let limits = MempoolLimits { per_organisation_max: 40, ..limits };
    let mut crowded = Crowded::new(limits);
    crowded.offer_many("depot", 30);
    let full = NoRoom::Full { pending: 30, most: 30 };
    assert_eq!(crowded.pool.crowd().room_for(None, 0, 0), Err(full.clone()));
    assert_eq!(crowded.pool.crowd().room_for(Some(&name("bank")), 15, 15), Ok(()));
    crowded.offer_many("bank", 16);
    let full = NoRoom::Full { pending: 46, most: 30 };
    let transaction = crowded.small();
    assert_eq!(crowded.offer("bank", transaction, Source::Client), Err(full.clone()));
    assert_eq!(crowded.pool.crowd().room_for(Some(&name("bank")), 0, 0), Err(full));
    crowded.offer_many("clinic", 1);
    let crowd = crowded.pool.crowd();
    assert_eq!((crowd.organisations[&name("clinic")].own, crowd.organisations[&name("depot")].own), (15, 0));
}

/// A peer has admitted them, it says. They find the room that is kept for such, and no more.
#[test]
fn what_peers_pass_on_fills_the_pool_and_goes_no_further() {
    let limits = MempoolLimits {
        transactions_max: 400,
        bytes_max: 800 * 1_024,
        per_organisation_max: 100,
        per_organisation_bytes_max: 400 * 1_024,
        ..MempoolLimits::default()
    };
    let depot = || name("depot");
    let until_refused = |limits: MempoolLimits, key: Option<u8>, next: fn(&mut Crowded) -> VerifiedTransaction| {
        let mut crowded = Crowded::new(limits);
        crowded.key = key;
        for _ in 0..1_000 {
            let transaction = next(&mut crowded);
            if let Err(refused) = crowded.offer("depot", transaction, Source::Peer) {
                return (crowded, refused);
            }
        }
        panic!("the pool takes whatever a peer passes on")
    };
    let (_, refused) = until_refused(limits, None, Crowded::small);
    assert_eq!(refused, NoRoom::Quota { organisation: depot(), pending: 100, most: 100 });
    let (crowded, refused) = until_refused(limits, None, Crowded::large);
    let bytes = crowded.pool.bytes();
    assert_eq!(refused, NoRoom::QuotaOfBytes { organisation: depot(), bytes, most: 400 * 1_024 });
    let (mut crowded, refused) = until_refused(limits, Some(1), Crowded::small);
    let key = crowded.small().signer();
    assert_eq!(refused, NoRoom::QuotaOfKey { key, pending: 50, left: 50 });

    let of_one = MempoolLimits { per_organisation_max: 1_000, per_organisation_bytes_max: 1_600 * 1_024, ..limits };
    let (_, refused) = until_refused(of_one, None, Crowded::small);
    assert_eq!(refused, NoRoom::Full { pending: 400, most: 400 });
    let (crowded, refused) = until_refused(of_one, None, Crowded::large);
    assert_eq!(refused, NoRoom::FullOfBytes { bytes: crowded.pool.bytes(), most: 800 * 1_024 });
}
