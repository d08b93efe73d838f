//! The rules of the ledger, one sentence and one attempt each (sentences of section 10).
//!
//! `every_rejection_is_reached` holds the table against the enum itself: a new rule without a sentence
//! here does not compile.

use crate::support::samples::*;
use crate::support::world::World;
use crate::support::{key, name, product};
use ledger::approval::{Decision, Standing};
use ledger::bounded::{List, SortedList};
use ledger::id::PatchId;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::patch::{Class, ManifestError, PatchManifest, Relation};
use ledger::receipt::{Outcome, Reason, ReasonCode, Receipt};
use ledger::state::record::KeyStatus;
use ledger::state::{Rejection, StateView as _};
use ledger::transaction::Payload;
use std::collections::BTreeSet;

fn redis(release: u64) -> PatchManifest {
    manifest("acme/redis", release)
}

/// The patch every sentence is about.
fn id() -> PatchId {
    redis(1).id()
}

/// A ledger with that patch published, host-1 enrolled by acme and host-2 by north.
fn world() -> World {
    let mut world = World::new();
    world.say("acme/publisher", publish(&redis(1)));
    world.say("acme/operator", enroll("host-1"));
    world.say("north/operator", enroll("host-2"));
    world
}

fn approved() -> World {
    let mut world = world();
    world.say("north/approver", approve(id()));
    world.say("south/approver", approve(id()));
    world
}

fn receipt_by_host_1(attempt: u32, outcome: Outcome) -> Payload {
    receive(receipt(id(), attempt, outcome))
}

/// The name of a rejection. Exhaustive on purpose.
fn variant(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::AlreadyFinalised(_) => "AlreadyFinalised",
        Rejection::Expired { .. } => "Expired",
        Rejection::ExpiresTooLate { .. } => "ExpiresTooLate",
        Rejection::UnknownKey(_) => "UnknownKey",
        Rejection::KeyNotActive { .. } => "KeyNotActive",
        Rejection::WrongRole { .. } => "WrongRole",
        Rejection::NamespaceNotOwned { .. } => "NamespaceNotOwned",
        Rejection::Manifest(_) => "Manifest",
        Rejection::AlreadyPublished(_) => "AlreadyPublished",
        Rejection::ReleaseOutOfStep { .. } => "ReleaseOutOfStep",
        Rejection::NoApprovalRule(_) => "NoApprovalRule",
        Rejection::UnknownPatch(_) => "UnknownPatch",
        Rejection::Recalled(_) => "Recalled",
        Rejection::NotAnApprover { .. } => "NotAnApprover",
        Rejection::VerdictUnchanged { .. } => "VerdictUnchanged",
        Rejection::TooManyVerdicts(_) => "TooManyVerdicts",
        Rejection::KeyInUse(_) => "KeyInUse",
        Rejection::UnknownEndpoint(_) => "UnknownEndpoint",
        Rejection::NotYourEndpoint { .. } => "NotYourEndpoint",
        Rejection::AttemptOutOfOrder { .. } => "AttemptOutOfOrder",
        Rejection::NeverApproved { .. } => "NeverApproved",
        Rejection::ReasonMismatch(_) => "ReasonMismatch",
    }
}

/// All names of `variant`, in the order of the enum.
const VARIANTS: [&str; 22] = [
    "AlreadyFinalised",
    "Expired",
    "ExpiresTooLate",
    "UnknownKey",
    "KeyNotActive",
    "WrongRole",
    "NamespaceNotOwned",
    "Manifest",
    "AlreadyPublished",
    "ReleaseOutOfStep",
    "NoApprovalRule",
    "UnknownPatch",
    "Recalled",
    "NotAnApprover",
    "VerdictUnchanged",
    "TooManyVerdicts",
    "KeyInUse",
    "UnknownEndpoint",
    "NotYourEndpoint",
    "AttemptOutOfOrder",
    "NeverApproved",
    "ReasonMismatch",
];

/// One sentence: who tries what in which world, and how the ledger names the rule that forbids it.
struct Sentence {
    about: &'static str,
    world: fn() -> World,
    who: &'static str,
    what: fn() -> Payload,
    refused: &'static str,
}

const fn sentence_of(
    about: &'static str,
    world: fn() -> World,
    who: &'static str,
    what: fn() -> Payload,
    refused: &'static str,
) -> Sentence {
    Sentence { about, world, who, what, refused }
}

fn recalled() -> World {
    let mut world = approved();
    world.say("acme/publisher", recall(id()));
    world
}

fn retired_host() -> World {
    let mut world = approved();
    world.say("acme/operator", retire("host-1"));
    world
}

fn receipts() -> World {
    let mut world = approved();
    world.say("host-1", receipt_by_host_1(1, Outcome::Refused));
    world
}

const SENTENCES: &[Sentence] = &[
    // Who may speak at all.
    sentence_of("a stranger publishes", World::new, "stranger", || publish(&redis(1)), "UnknownKey"),
    sentence_of("a stranger approves", world, "stranger", || approve(id()), "UnknownKey"),
    sentence_of("a stranger recalls", world, "stranger", || recall(id()), "UnknownKey"),
    sentence_of("a stranger enrols", world, "stranger", || enroll("host-9"), "UnknownKey"),
    sentence_of("a stranger writes a receipt", approved, "stranger", || receipt_by_host_1(1, Outcome::Applied), "UnknownKey"),
    sentence_of("a retired key publishes", World::new, "acme/retired publisher", || publish(&redis(1)), "KeyNotActive"),
    sentence_of("a revoked key publishes", World::new, "acme/revoked publisher", || publish(&redis(1)), "KeyNotActive"),
    sentence_of("a retired key approves", world, "south/retired approver", || approve(id()), "KeyNotActive"),
    sentence_of("a revoked key approves", world, "west/revoked approver", || approve(id()), "KeyNotActive"),
    sentence_of("a revoked approver recalls", world, "west/revoked approver", || recall(id()), "KeyNotActive"),
    sentence_of("a revoked publisher recalls", world, "acme/revoked publisher", || recall(id()), "KeyNotActive"),
    // One key, one use.
    sentence_of("an approver publishes", World::new, "acme/approver", || publish(&redis(1)), "WrongRole"),
    sentence_of("an operator publishes", World::new, "acme/operator", || publish(&redis(1)), "WrongRole"),
    sentence_of("a validator publishes", World::new, "acme/validator", || publish(&redis(1)), "WrongRole"),
    sentence_of("a node publishes", World::new, "acme/node", || publish(&redis(1)), "WrongRole"),
    sentence_of("a governor publishes", World::new, "acme/governor", || publish(&redis(1)), "WrongRole"),
    sentence_of("an endpoint publishes", world, "host-1", || publish(&redis(2)), "WrongRole"),
    sentence_of("a publisher approves", world, "north/publisher", || approve(id()), "WrongRole"),
    sentence_of("a validator approves", world, "north/validator", || approve(id()), "WrongRole"),
    sentence_of("an endpoint approves", world, "host-2", || approve(id()), "WrongRole"),
    sentence_of("an operator rejects", world, "north/operator", || reject(id()), "WrongRole"),
    sentence_of("an operator holds", world, "north/operator", || hold(id()), "WrongRole"),
    sentence_of("an operator recalls", world, "acme/operator", || recall(id()), "WrongRole"),
    sentence_of("an endpoint recalls", world, "host-1", || recall(id()), "WrongRole"),
    sentence_of("a publisher enrols", World::new, "acme/publisher", || enroll("host-1"), "WrongRole"),
    sentence_of("an endpoint enrols", world, "host-1", || enroll("host-9"), "WrongRole"),
    sentence_of("an endpoint retires itself", world, "host-1", || retire("host-1"), "WrongRole"),
    sentence_of("an approver writes a receipt", approved, "north/approver", || receipt_by_host_1(1, Outcome::Applied), "WrongRole"),
    // Publish.
    sentence_of("a vendor publishes in another's namespace", World::new, "globex/publisher", || publish(&redis(1)), "NamespaceNotOwned"),
    sentence_of("a vendor publishes in nobody's namespace", World::new, "acme/publisher", || publish(&manifest("open/redis", 1)), "NamespaceNotOwned"),
    sentence_of("an approver's publisher has no namespace", World::new, "north/publisher", || publish(&manifest("north/x", 1)), "NamespaceNotOwned"),
    sentence_of("a manifest without artifacts is published", World::new, "acme/publisher", || publish(&PatchManifest { artifacts: List::default(), ..redis(1) }), "Manifest"),
    sentence_of("the very same patch is published", world, "acme/publisher", || publish(&redis(1)), "AlreadyPublished"),
    sentence_of("another patch with the same release", world, "acme/publisher", || publish(&PatchManifest { title: sentence("other"), ..redis(1) }), "ReleaseOutOfStep"),
    sentence_of("a lower release", || { let mut world = world(); world.say("acme/publisher", publish(&redis(9))); world }, "acme/publisher", || publish(&redis(8)), "ReleaseOutOfStep"),
    sentence_of("a release that jumps", world, "acme/publisher", || publish(&redis(limits::RELEASE_STEP_MAX + 2)), "ReleaseOutOfStep"),
    sentence_of("a release near the end of numbers", world, "acme/publisher", || publish(&redis(u64::MAX)), "ReleaseOutOfStep"),
    sentence_of("a first release that jumps", World::new, "acme/publisher", || publish(&redis(limits::RELEASE_STEP_MAX + 1)), "ReleaseOutOfStep"),
    sentence_of("a class without a rule", World::new, "acme/publisher", || publish(&PatchManifest { class: Class::Content, ..redis(1) }), "NoApprovalRule"),
    // Verdicts.
    sentence_of("an approval of a patch nobody published", world, "north/approver", || approve(PatchId([1; 32])), "UnknownPatch"),
    sentence_of("a rejection of a patch nobody published", world, "north/approver", || reject(PatchId([1; 32])), "UnknownPatch"),
    sentence_of("a recall of a patch nobody published", world, "acme/publisher", || recall(PatchId([1; 32])), "UnknownPatch"),
    sentence_of("the vendor approves its own", world, "acme/approver", || approve(id()), "NotAnApprover"),
    sentence_of("the vendor's approver recalls its own", world, "acme/approver", || recall(id()), "NotAnApprover"),
    sentence_of("somebody the rule does not name approves", world, "globex/approver", || approve(id()), "NotAnApprover"),
    sentence_of("somebody the rule does not name holds", world, "globex/approver", || hold(id()), "NotAnApprover"),
    sentence_of("another vendor recalls", world, "globex/publisher", || recall(id()), "NotAnApprover"),
    sentence_of("the same verdict twice", approved, "north/approver", || approve(id()), "VerdictUnchanged"),
    sentence_of("an approval after the recall", recalled, "west/approver", || approve(id()), "Recalled"),
    sentence_of("a rejection after the recall", recalled, "west/approver", || reject(id()), "Recalled"),
    sentence_of("a recall after the recall", recalled, "acme/publisher", || recall(id()), "Recalled"),
    // Endpoints.
    sentence_of("an endpoint is enrolled twice", world, "acme/operator", || enroll("host-1"), "KeyInUse"),
    sentence_of("another's endpoint is enrolled", world, "acme/operator", || enroll("host-2"), "KeyInUse"),
    sentence_of("a member's key is enrolled", world, "acme/operator", || enroll("north/approver"), "KeyInUse"),
    sentence_of("a validator's key is enrolled", world, "acme/operator", || enroll("acme/validator"), "KeyInUse"),
    sentence_of("a retired endpoint is enrolled again", retired_host, "acme/operator", || enroll("host-1"), "KeyInUse"),
    sentence_of("an endpoint nobody enrolled is retired", world, "acme/operator", || retire("host-9"), "UnknownEndpoint"),
    sentence_of("a member's key is retired as an endpoint", world, "acme/operator", || retire("north/approver"), "UnknownEndpoint"),
    sentence_of("another's endpoint is retired", world, "acme/operator", || retire("host-2"), "NotYourEndpoint"),
    sentence_of("an endpoint is retired twice", retired_host, "acme/operator", || retire("host-1"), "KeyNotActive"),
    // Receipts.
    sentence_of("a retired endpoint writes a receipt", retired_host, "host-1", || receipt_by_host_1(1, Outcome::Applied), "KeyNotActive"),
    sentence_of("a receipt for a patch nobody published", approved, "host-1", || receive(receipt(PatchId([1; 32]), 1, Outcome::Refused)), "UnknownPatch"),
    sentence_of("a receipt says applied before approval", world, "host-1", || receipt_by_host_1(1, Outcome::Applied), "NeverApproved"),
    sentence_of("a receipt says rolled back before approval", world, "host-1", || receipt_by_host_1(1, Outcome::RolledBack), "NeverApproved"),
    sentence_of("a receipt says failed before approval", world, "host-1", || receipt_by_host_1(1, Outcome::Failed), "NeverApproved"),
    sentence_of("a first receipt is numbered 0", approved, "host-1", || receipt_by_host_1(0, Outcome::Applied), "AttemptOutOfOrder"),
    sentence_of("a first receipt is numbered 2", approved, "host-1", || receipt_by_host_1(2, Outcome::Applied), "AttemptOutOfOrder"),
    sentence_of("a receipt is written twice", receipts, "host-1", || receipt_by_host_1(1, Outcome::Applied), "AttemptOutOfOrder"),
    sentence_of("a receipt is left out", receipts, "host-1", || receipt_by_host_1(3, Outcome::Applied), "AttemptOutOfOrder"),
    sentence_of("applied, with a reason", approved, "host-1", || {
        let reason = Some(Reason { code: ReasonCode::Io, detail: sentence("x") });
        receive(Receipt { reason, ..receipt(id(), 1, Outcome::Applied) })
    }, "ReasonMismatch"),
    sentence_of("refused, without a reason", approved, "host-1", || receive(Receipt { reason: None, ..receipt(id(), 1, Outcome::Refused) }), "ReasonMismatch"),
];

#[test]
fn every_sentence_of_the_rules_holds() {
    for sentence in SENTENCES {
        let mut world = (sentence.world)();
        let before = world.tip.clone();
        let rejection = world.refuse(sentence.who, (sentence.what)());
        assert_eq!(variant(&rejection), sentence.refused, "{}: {rejection}", sentence.about);
        // And nothing comes of it: it stays out of the block, and the state stays as it was.
        let transaction = world.transaction(sentence.who, (sentence.what)());
        let dropped = world.propose(vec![transaction]);
        assert_eq!(dropped.len(), 1, "{}", sentence.about);
        assert_eq!(world.tip.header.state_root, before.header.state_root, "{}", sentence.about);
        assert_eq!(world.tip.tree, before.tree, "{}", sentence.about);
    }
}

#[test]
fn every_rejection_is_reached() {
    let mut reached: BTreeSet<&str> = SENTENCES.iter().map(|sentence| sentence.refused).collect();
    // These have tests of their own below.
    reached.extend(["AlreadyFinalised", "Expired", "ExpiresTooLate", "TooManyVerdicts"]);
    assert_eq!(reached, VARIANTS.iter().copied().collect());
}

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
    assert_eq!(late.to_string(), format!("transaction expires at {}, more than 30 days after block time {now}", last + 1));
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
        let more: Vec<_> = more
            .iter()
            .map(|word| (word.as_str(), ledger::state::record::Role::Approver, KeyStatus::Active))
            .collect();
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
