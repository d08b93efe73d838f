//! The rules of the ledger, one sentence and one attempt each (sentences 2.11 to 2.21, and 2.27).
//!
//! `every_rejection_is_reached` holds the table against the enum itself: a new rule without a sentence
//! here does not compile.

use crate::support::offences::{accuse, two_votes};
use crate::support::samples::*;
use crate::support::world::World;
use ledger::bounded::{List, Name, SortedList};
use ledger::id::PatchId;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::patch::{Class, Label, PatchManifest};
use ledger::receipt::{Outcome, Reason, ReasonCode, Receipt};
use ledger::state::Rejection;
use ledger::transaction::Payload;
use std::collections::BTreeSet;

pub fn redis(release: u64) -> PatchManifest {
    manifest("acme/redis", release)
}

/// The patch every sentence is about.
pub fn id() -> PatchId {
    redis(1).id()
}

/// A ledger with that patch published, host-1 enrolled by acme and host-2 by north.
pub fn world() -> World {
    let mut world = World::new();
    world.say("acme/publisher", publish(&redis(1)));
    world.say("acme/operator", enroll("host-1"));
    world.say("north/operator", enroll("host-2"));
    world
}

pub fn approved() -> World {
    let mut world = world();
    world.say("north/approver", approve(id()));
    world.say("south/approver", approve(id()));
    world
}

pub fn receipt_by_host_1(attempt: u32, outcome: Outcome) -> Payload {
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
        Rejection::NotAKey(_) => "NotAKey",
        Rejection::LabelTwice(_) => "LabelTwice",
        Rejection::UnknownEndpoint(_) => "UnknownEndpoint",
        Rejection::NotYourEndpoint { .. } => "NotYourEndpoint",
        Rejection::AttemptOutOfOrder { .. } => "AttemptOutOfOrder",
        Rejection::NeverApproved { .. } => "NeverApproved",
        Rejection::ReasonMismatch(_) => "ReasonMismatch",
        Rejection::Proposal(_) => "Proposal",
        Rejection::TooManyProposals { .. } => "TooManyProposals",
        Rejection::TooManyProposalsOfKey { .. } => "TooManyProposalsOfKey",
        Rejection::Change(_) => "Change",
        Rejection::UnknownProposal(_) => "UnknownProposal",
        Rejection::ProposalClosed { .. } => "ProposalClosed",
        Rejection::BallotUnchanged { .. } => "BallotUnchanged",
        Rejection::NoValidatorNamed(_) => "NoValidatorNamed",
        Rejection::AlreadyConvicted { .. } => "AlreadyConvicted",
    }
}

/// All names of `variant`, in the order of the enum.
const VARIANTS: [&str; 33] = [
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
    "NotAKey",
    "LabelTwice",
    "UnknownEndpoint",
    "NotYourEndpoint",
    "AttemptOutOfOrder",
    "NeverApproved",
    "ReasonMismatch",
    "Proposal",
    "TooManyProposals",
    "TooManyProposalsOfKey",
    "Change",
    "UnknownProposal",
    "ProposalClosed",
    "BallotUnchanged",
    "NoValidatorNamed",
    "AlreadyConvicted",
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

/// The point with this y: 1 is the identity, and there is none with 2.
fn number(y: u8) -> PublicKey {
    let mut bytes = [0; 32];
    bytes[0] = y;
    PublicKey(bytes)
}

fn enroll_key(key: PublicKey) -> Payload {
    let Payload::Enroll { name, group, labels, .. } = enroll("host-9") else { unreachable!("an enrolment") };
    Payload::Enroll { endpoint: key, name, group, labels }
}

fn enroll_with_two_sites() -> Payload {
    let Payload::Enroll { endpoint, name, group, .. } = enroll("host-9") else { unreachable!("an enrolment") };
    let site = |value: &str| Label { key: Name::new("site").unwrap(), value: Name::new(value).unwrap() };
    let labels = SortedList::new(vec![site("bremen"), site("hamburg")]).unwrap();
    Payload::Enroll { endpoint, name, group, labels }
}

fn two_precommits() -> Payload {
    accuse(two_votes("acme/validator", 7))
}

const SENTENCES: &[Sentence] = &[
    // Who may speak at all.
    sentence_of("a stranger publishes", World::new, "stranger", || publish(&redis(1)), "UnknownKey"),
    sentence_of("a stranger approves", world, "stranger", || approve(id()), "UnknownKey"),
    sentence_of("a stranger recalls", world, "stranger", || recall(id()), "UnknownKey"),
    sentence_of("a stranger enrols", world, "stranger", || enroll("host-9"), "UnknownKey"),
    sentence_of(
        "a stranger writes a receipt",
        approved,
        "stranger",
        || receipt_by_host_1(1, Outcome::Applied),
        "UnknownKey",
    ),
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
    sentence_of(
        "an approver writes a receipt",
        approved,
        "north/approver",
        || receipt_by_host_1(1, Outcome::Applied),
        "WrongRole",
    ),
    // Publish.
    sentence_of(
        "a vendor publishes in another's namespace",
        World::new,
        "globex/publisher",
        || publish(&redis(1)),
        "NamespaceNotOwned",
    ),
    sentence_of(
        "a vendor publishes in nobody's namespace",
        World::new,
        "acme/publisher",
        || publish(&manifest("open/redis", 1)),
        "NamespaceNotOwned",
    ),
    sentence_of(
        "an approver's publisher has no namespace",
        World::new,
        "north/publisher",
        || publish(&manifest("north/x", 1)),
        "NamespaceNotOwned",
    ),
    sentence_of(
        "a manifest without artifacts is published",
        World::new,
        "acme/publisher",
        || publish(&PatchManifest { artifacts: List::default(), ..redis(1) }),
        "Manifest",
    ),
    sentence_of("the very same patch is published", world, "acme/publisher", || publish(&redis(1)), "AlreadyPublished"),
    sentence_of(
        "another patch with the same release",
        world,
        "acme/publisher",
        || publish(&PatchManifest { title: sentence("other"), ..redis(1) }),
        "ReleaseOutOfStep",
    ),
    sentence_of(
        "a lower release",
        || {
            let mut world = world();
            world.say("acme/publisher", publish(&redis(9)));
            world
        },
        "acme/publisher",
        || publish(&redis(8)),
        "ReleaseOutOfStep",
    ),
    sentence_of(
        "a release that jumps",
        world,
        "acme/publisher",
        || publish(&redis(limits::RELEASE_STEP_MAX + 2)),
        "ReleaseOutOfStep",
    ),
    sentence_of(
        "a release near the end of numbers",
        world,
        "acme/publisher",
        || publish(&redis(u64::MAX)),
        "ReleaseOutOfStep",
    ),
    sentence_of(
        "a first release that jumps",
        World::new,
        "acme/publisher",
        || publish(&redis(limits::RELEASE_STEP_MAX + 1)),
        "ReleaseOutOfStep",
    ),
    sentence_of(
        "a class without a rule",
        World::new,
        "acme/publisher",
        || publish(&PatchManifest { class: Class::Content, ..redis(1) }),
        "NoApprovalRule",
    ),
    // Verdicts.
    sentence_of(
        "an approval of a patch nobody published",
        world,
        "north/approver",
        || approve(PatchId([1; 32])),
        "UnknownPatch",
    ),
    sentence_of(
        "a rejection of a patch nobody published",
        world,
        "north/approver",
        || reject(PatchId([1; 32])),
        "UnknownPatch",
    ),
    sentence_of(
        "a recall of a patch nobody published",
        world,
        "acme/publisher",
        || recall(PatchId([1; 32])),
        "UnknownPatch",
    ),
    sentence_of("the vendor approves its own", world, "acme/approver", || approve(id()), "NotAnApprover"),
    sentence_of("the vendor's approver recalls its own", world, "acme/approver", || recall(id()), "NotAnApprover"),
    sentence_of(
        "somebody the rule does not name approves",
        world,
        "globex/approver",
        || approve(id()),
        "NotAnApprover",
    ),
    sentence_of("somebody the rule does not name holds", world, "globex/approver", || hold(id()), "NotAnApprover"),
    sentence_of("another vendor recalls", world, "globex/publisher", || recall(id()), "NotAnApprover"),
    sentence_of("the same verdict twice", approved, "north/approver", || approve(id()), "VerdictUnchanged"),
    sentence_of("an approval after the recall", recalled, "west/approver", || approve(id()), "Recalled"),
    sentence_of("a rejection after the recall", recalled, "west/approver", || reject(id()), "Recalled"),
    sentence_of("a recall after the recall", recalled, "acme/publisher", || recall(id()), "Recalled"),
    // Endpoints.
    sentence_of("no key is enrolled", world, "acme/operator", || enroll_key(number(2)), "NotAKey"),
    sentence_of("a key of small order is enrolled", world, "acme/operator", || enroll_key(number(1)), "NotAKey"),
    sentence_of("one label is given twice", world, "acme/operator", enroll_with_two_sites, "LabelTwice"),
    sentence_of("an endpoint is enrolled twice", world, "acme/operator", || enroll("host-1"), "KeyInUse"),
    sentence_of("another's endpoint is enrolled", world, "acme/operator", || enroll("host-2"), "KeyInUse"),
    sentence_of("a member's key is enrolled", world, "acme/operator", || enroll("north/approver"), "KeyInUse"),
    sentence_of("a validator's key is enrolled", world, "acme/operator", || enroll("acme/validator"), "KeyInUse"),
    sentence_of("a retired endpoint is enrolled again", retired_host, "acme/operator", || enroll("host-1"), "KeyInUse"),
    sentence_of(
        "an endpoint nobody enrolled is retired",
        world,
        "acme/operator",
        || retire("host-9"),
        "UnknownEndpoint",
    ),
    sentence_of(
        "a member's key is retired as an endpoint",
        world,
        "acme/operator",
        || retire("north/approver"),
        "UnknownEndpoint",
    ),
    sentence_of("another's endpoint is retired", world, "acme/operator", || retire("host-2"), "NotYourEndpoint"),
    sentence_of("an endpoint is retired twice", retired_host, "acme/operator", || retire("host-1"), "KeyNotActive"),
    // Receipts.
    sentence_of(
        "a retired endpoint writes a receipt",
        retired_host,
        "host-1",
        || receipt_by_host_1(1, Outcome::Applied),
        "KeyNotActive",
    ),
    sentence_of(
        "a receipt for a patch nobody published",
        approved,
        "host-1",
        || receive(receipt(PatchId([1; 32]), 1, Outcome::Refused)),
        "UnknownPatch",
    ),
    sentence_of(
        "a receipt says applied before approval",
        world,
        "host-1",
        || receipt_by_host_1(1, Outcome::Applied),
        "NeverApproved",
    ),
    sentence_of(
        "a receipt says rolled back before approval",
        world,
        "host-1",
        || receipt_by_host_1(1, Outcome::RolledBack),
        "NeverApproved",
    ),
    sentence_of(
        "a receipt says failed before approval",
        world,
        "host-1",
        || receipt_by_host_1(1, Outcome::Failed),
        "NeverApproved",
    ),
    sentence_of(
        "a first receipt is numbered 0",
        approved,
        "host-1",
        || receipt_by_host_1(0, Outcome::Applied),
        "AttemptOutOfOrder",
    ),
    sentence_of(
        "a first receipt is numbered 2",
        approved,
        "host-1",
        || receipt_by_host_1(2, Outcome::Applied),
        "AttemptOutOfOrder",
    ),
    sentence_of(
        "a receipt is written twice",
        receipts,
        "host-1",
        || receipt_by_host_1(1, Outcome::Applied),
        "AttemptOutOfOrder",
    ),
    sentence_of(
        "a receipt is left out",
        receipts,
        "host-1",
        || receipt_by_host_1(3, Outcome::Applied),
        "AttemptOutOfOrder",
    ),
    sentence_of(
        "applied, with a reason",
        approved,
        "host-1",
        || {
            let reason = Some(Reason { code: ReasonCode::Io, detail: sentence("x") });
            receive(Receipt { reason, ..receipt(id(), 1, Outcome::Applied) })
        },
        "ReasonMismatch",
    ),
    sentence_of(
        "refused, without a reason",
        approved,
        "host-1",
        || receive(Receipt { reason: None, ..receipt(id(), 1, Outcome::Refused) }),
        "ReasonMismatch",
    ),
    // Accountability.
    sentence_of("a stranger accuses", World::new, "stranger", two_precommits, "UnknownKey"),
    sentence_of("a validator accuses", World::new, "north/validator", two_precommits, "WrongRole"),
    sentence_of("an operator accuses", World::new, "north/operator", two_precommits, "WrongRole"),
    sentence_of("an endpoint accuses", world, "host-1", two_precommits, "WrongRole"),
    sentence_of(
        "an accusation of no validator",
        World::new,
        "north/node",
        || accuse(two_votes("acme/publisher", 7)),
        "NoValidatorNamed",
    ),
    sentence_of(
        "what is on the ledger already",
        || {
            let mut world = World::new();
            world.say("acme/node", two_precommits());
            world
        },
        "north/node",
        two_precommits,
        "AlreadyConvicted",
    ),
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
    // These have tests of their own in `rule_stories`.
    reached.extend(["AlreadyFinalised", "Expired", "ExpiresTooLate", "TooManyVerdicts"]);
    // And these in `governance`.
    reached.extend(["TooManyProposals", "TooManyProposalsOfKey"]);
    reached.extend(["Proposal", "Change", "UnknownProposal", "ProposalClosed", "BallotUnchanged"]);
    assert_eq!(reached, VARIANTS.iter().copied().collect());
}
