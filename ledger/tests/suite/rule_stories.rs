//! Rules that need a story: lifetimes, counters, minds changed, receipts (sentences 2.11 to 2.21).

use crate::rules::{approved, id, receipt_by_host_1, redis, world};
use crate::support::offences::{accuse, two_certificates, two_votes};
use crate::support::samples::*;
use crate::support::world::World;
use crate::support::{key, name, product};
use ledger::approval::{Decision, Standing};
use ledger::bounded::{List, SortedList};
use ledger::id::PatchId;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::moment::Moment;
use ledger::patch::{ManifestError, PatchManifest, Relation};
use ledger::receipt::{Outcome, ReasonCode};
use ledger::state::record::KeyStatus;
use ledger::state::{Rejection, StateView as _};
use ledger::transaction::Payload;

#[test]
fn a_transaction_is_finalised_once_for_ever() {
    let mut world = World::new();
    let first = world.transaction("acme/operator", enroll("host-1"));
    world.block(vec![first.clone()]);
    assert_eq!(world.judge(&first), Err(Rejection::AlreadyFinalised(first.id())));
    for _ in 0..3 {
        world.block(Vec::new());
        assert_eq!(world.judge(&first), Err(Rejection::AlreadyFinalised(first.id())));
    }
    // The id covers the body, not the signature: another signature of the same body is no way around.
    let mut dropped = world.propose(vec![first.clone(), first.clone()]);
    assert_eq!(dropped.pop().unwrap().1, Rejection::AlreadyFinalised(first.id()));
}

#[test]
fn a_transaction_lives_until_it_expires_and_at_most_thirty_days() {
    let mut world = World::new();
    let now = world.next_ms();
    let mut expiring = |expires_at_ms| {
        let body = ledger::transaction::Transaction { expires_at_ms, ..world.body(enroll("host-1")) };
        let transaction = body.sign(&key("acme/operator")).verify(&world.chain()).unwrap();
        world.judge(&transaction)
    };
    assert_eq!(expiring(0), Err(Rejection::Expired { expires_at_ms: 0, time_ms: now }));
    assert_eq!(expiring(now), Err(Rejection::Expired { expires_at_ms: now, time_ms: now }));
    assert_eq!(expiring(now + 1), Ok(()));
    let last = now + limits::EXPIRY_AHEAD_MS_MAX;
    assert_eq!(expiring(last), Ok(()));
    let late = Rejection::ExpiresTooLate { expires_at_ms: last + 1, time_ms: now };
    assert_eq!(
        late.to_string(),
        format!("transaction expires at {}, more than 30d after block time {}", Moment(last + 1), Moment(now))
    );
    assert_eq!(expiring(last + 1), Err(late));
    assert_eq!(expiring(u64::MAX), Err(Rejection::ExpiresTooLate { expires_at_ms: u64::MAX, time_ms: now }));
}

#[test]
fn a_manifest_that_nobody_could_install_is_named() {
    let relation = |min, max| {
        let relation = Relation { product: product("acme/libc"), release_min: min, release_max: max };
        SortedList::new(vec![relation]).unwrap()
    };
    let artifacts = |all: Vec<ledger::patch::Artifact>| List::new(all).unwrap();
    let sized = |size| ledger::patch::Artifact { size, ..artifact("a") };
    let cases = [
        (PatchManifest { release: 0, ..redis(1) }, ManifestError::ReleaseZero),
        (PatchManifest { artifacts: List::default(), ..redis(1) }, ManifestError::NoArtifact),
        (
            PatchManifest { artifacts: artifacts(vec![artifact("a"), artifact("b"), artifact("a")]), ..redis(1) },
            ManifestError::DuplicateArtifact(name("a")),
        ),
        (
            PatchManifest { artifacts: artifacts(vec![sized(0)]), ..redis(1) },
            ManifestError::ArtifactSize { name: name("a"), size: 0 },
        ),
        (
            PatchManifest { artifacts: artifacts(vec![sized(limits::ARTIFACT_BYTES_MAX + 1)]), ..redis(1) },
            ManifestError::ArtifactSize { name: name("a"), size: limits::ARTIFACT_BYTES_MAX + 1 },
        ),
        (PatchManifest { depends: relation(2, 1), ..redis(1) }, ManifestError::EmptyRelation(product("acme/libc"))),
        (PatchManifest { conflicts: relation(2, 1), ..redis(1) }, ManifestError::EmptyRelation(product("acme/libc"))),
        (PatchManifest { supersedes: relation(2, 1), ..redis(1) }, ManifestError::EmptyRelation(product("acme/libc"))),
    ];
    for (manifest, error) in cases {
        assert_eq!(World::new().refuse("acme/publisher", publish(&manifest)), Rejection::Manifest(error));
    }
    let largest = PatchManifest { artifacts: artifacts(vec![sized(limits::ARTIFACT_BYTES_MAX)]), ..redis(1) };
    World::new().say("acme/publisher", publish(&PatchManifest { depends: relation(1, 1), ..largest }));
}

#[test]
fn release_counters_count_per_product_and_channel() {
    let mut world = world();
    world.say("acme/publisher", publish(&redis(1 + limits::RELEASE_STEP_MAX)));
    world.say("acme/publisher", publish(&redis(2 + limits::RELEASE_STEP_MAX)));
    world.say("acme/publisher", publish(&manifest("acme/valkey", 1)));
    world.say("acme/publisher", publish(&PatchManifest { channel: name("beta"), ..redis(1) }));
    let stable = world.storage.product(&product("acme/redis"), &name("stable")).unwrap().unwrap();
    assert_eq!(stable.release, 2 + limits::RELEASE_STEP_MAX);
    let beta = world.storage.product(&product("acme/redis"), &name("beta")).unwrap().unwrap();
    assert_eq!(beta.release, 1);
}

#[test]
fn an_approver_may_change_its_mind_until_the_recall() {
    let mut world = world();
    let standing = |world: &World| world.storage.patch(id()).unwrap().unwrap().standing;
    let story: [(&str, fn(PatchId) -> Payload, Standing); 9] = [
        ("north/approver", approve, Standing::Pending),
        ("north/approver", approve_urgently, Standing::Approved),
        ("north/approver", approve, Standing::Pending),
        ("south/approver", approve, Standing::Approved),
        ("south/approver", hold, Standing::Held),
        ("south/approver", reject, Standing::Pending),
        ("west/approver", reject, Standing::Rejected),
        ("west/approver", recall, Standing::Pending),
        ("south/approver", recall, Standing::Recalled),
    ];
    for (place, (who, what, expected)) in story.into_iter().enumerate() {
        world.say(who, what(id()));
        assert_eq!(standing(&world), expected, "sentence {place}");
    }
    let record = world.storage.patch(id()).unwrap().unwrap();
    assert_eq!(record.verdicts.len(), 3, "one verdict per key");
    let at = |index: u64| ledger::state::record::Position { height: index + 1, index };
    assert_eq!(record.approved, Some(at(4)), "where it first stood approved, for ever");
    assert_eq!(record.recalled, Some(at(11)));
    for who in ["north/approver", "south/approver", "west/approver", "acme/publisher"] {
        assert_eq!(world.refuse(who, recall(id())), Rejection::Recalled(id()));
    }
}

#[test]
fn the_same_verdict_is_told_apart_by_its_urgency() {
    let mut world = world();
    world.say("north/approver", approve(id()));
    let (key, patch, decision) = (key("north/approver").public(), id(), Decision::Approve);
    let unchanged = Rejection::VerdictUnchanged { key, patch, decision };
    assert_eq!(world.refuse("north/approver", approve(id())), unchanged);
    world.say("north/approver", approve_urgently(id()));
    let decision = Decision::ApproveUrgently;
    let unchanged = Rejection::VerdictUnchanged { key, patch, decision };
    assert_eq!(world.refuse("north/approver", approve_urgently(id())), unchanged);
}

#[test]
fn a_patch_has_at_most_sixty_four_verdicts() {
    // An organisation has at most 64 keys, so it takes two to fill a patch.
    let mut genesis = crate::support::world::genesis();
    let crowd = |of: &str| {
        let more: Vec<String> = (0..40).map(|n| format!("crowd {n}")).collect();
        let more: Vec<_> =
            more.iter().map(|word| (word.as_str(), ledger::state::record::Role::Approver, KeyStatus::Active)).collect();
        crate::support::world::organisation(of, &more)
    };
    let others = genesis.organisations.iter().filter(|o| !matches!(o.name.as_str(), "north" | "south")).cloned();
    genesis.organisations = SortedList::new(others.chain([crowd("north"), crowd("south")]).collect()).unwrap();
    let mut world = World::from(genesis);
    world.say("acme/publisher", publish(&redis(1)));
    for n in 0..limits::VERDICTS_PER_PATCH_MAX {
        let who = format!("{}/crowd {}", ["north", "south"][n % 2], n / 2);
        world.say(&who, approve(id()));
    }
    assert_eq!(world.refuse("west/approver", approve(id())), Rejection::TooManyVerdicts(id()));
    assert_eq!(world.refuse("west/approver", hold(id())), Rejection::TooManyVerdicts(id()));
    world.say("north/crowd 0", hold(id()));
    world.say("acme/publisher", recall(id()));
    assert_eq!(world.storage.patch(id()).unwrap().unwrap().verdicts.len(), limits::VERDICTS_PER_PATCH_MAX);
}

#[test]
fn receipts_are_numbered_per_endpoint_and_patch_and_may_come_late() {
    let mut world = approved();
    world.say("host-1", receipt_by_host_1(1, Outcome::Refused));
    world.say("host-1", receipt_by_host_1(2, Outcome::RolledBack));
    world.say("host-2", receipt_by_host_1(1, Outcome::Applied));
    // What was applied while it was approved is told after it was recalled, too.
    world.say("acme/publisher", recall(id()));
    world.say("host-1", receipt_by_host_1(3, Outcome::Applied));
    let record = world.storage.receipt(key("host-1").public(), id()).unwrap().unwrap();
    assert_eq!((record.attempt, record.outcome, record.reason), (3, Outcome::Applied, None));
    let before = world.storage.receipt(key("host-2").public(), id()).unwrap().unwrap();
    assert_eq!((before.attempt, before.outcome), (1, Outcome::Applied));
}

#[test]
fn a_host_may_refuse_what_was_never_approved() {
    for outcome in [Outcome::Refused, Outcome::NotApplicable] {
        let mut world = world();
        world.say("host-1", receipt_by_host_1(1, outcome));
        let record = world.storage.receipt(key("host-1").public(), id()).unwrap().unwrap();
        assert_eq!(record.reason, Some(ReasonCode::HealthFailed));
    }
}

#[test]
fn the_evidence_is_inside_the_rejection() {
    let mut world = world();
    assert_eq!(
        world.refuse("north/publisher", approve(id())),
        Rejection::WrongRole {
            kind: "approve",
            key: key("north/publisher").public(),
            needed: "approver",
            actual: "publisher".to_owned(),
        }
    );
    assert_eq!(
        world.refuse("acme/operator", retire("host-2")),
        Rejection::NotYourEndpoint {
            endpoint: key("host-2").public(),
            owner: name("north"),
            organisation: name("acme"),
        }
    );
    assert_eq!(
        world.refuse("acme/publisher", publish(&redis(3_000))).to_string(),
        "release 3000 of acme/redis must be above 1 and at most 1000 above it"
    );
    let unknown = PublicKey([7; 32]);
    assert_eq!(
        world.refuse("acme/operator", Payload::Retire { endpoint: unknown }),
        Rejection::UnknownEndpoint(unknown)
    );
}

/// What costs as much as hundreds of transactions is looked at where signatures are, before any rule.
#[test]
fn an_accusation_that_proves_nothing_is_not_even_judged() {
    use ledger::evidence::{Evidence, EvidenceError};
    use ledger::transaction::TransactionError;
    let mut world = World::new();
    let chain = world.chain();
    let mut verify = |evidence| world.body(accuse(evidence)).sign(&key("north/node")).verify(&chain);
    let rounds = two_certificates((0, 1), &["acme", "north", "south"], &["acme", "north", "west"]);
    let refused = verify(rounds).unwrap_err();
    assert_eq!(refused, TransactionError::Evidence(EvidenceError::OtherRounds { one: 0, other: 1 }));
    let Evidence::Votes(one, other) = two_votes("acme/validator", 7) else { unreachable!("two votes") };
    let forged = Evidence::Votes(one, ledger::vote::SignedVote { signature: one.signature, ..other });
    assert!(matches!(verify(forged), Err(TransactionError::Evidence(EvidenceError::Signature(_)))));
    assert!(verify(two_votes("acme/validator", 7)).is_ok());
}

#[test]
fn a_transaction_for_another_chain_or_version_or_signer_is_not_even_judged() {
    use ledger::transaction::{SignedTransaction, TransactionError};
    let mut world = World::new();
    let chain = world.chain();
    let body = world.body(enroll("host-1"));
    let elsewhere = ledger::id::ChainId([9; 32]);
    let mut foreign = body.clone();
    foreign.chain_id = elsewhere;
    let refused = foreign.sign(&key("acme/operator")).verify(&chain).unwrap_err();
    assert_eq!(refused, TransactionError::WrongChain { actual: elsewhere, expected: chain });
    let mut later = body.clone();
    later.version = 2;
    assert_eq!(later.sign(&key("acme/operator")).verify(&chain).unwrap_err(), TransactionError::Version(2));
    let mut signed = body.clone().sign(&key("acme/operator"));
    signed.transaction.signer = key("north/operator").public();
    assert!(matches!(signed.clone().verify(&chain), Err(TransactionError::Signature(_))));
    signed.transaction.signer = key("acme/operator").public();
    let verified = signed.clone().verify(&chain).unwrap();
    assert_eq!(SignedTransaction::verify_bytes(verified.bytes(), &chain).unwrap(), verified);
}
