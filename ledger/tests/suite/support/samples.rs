//! Manifests, verdicts and receipts to say things about.

use super::{digest, name, product};
use ledger::bounded::{List, Name, Notes, Sentence, SortedList, Text, Version};
use ledger::id::{Digest, PatchId};
use ledger::patch::{
    Artifact, Class, HealthCheck, InstallerKind, Label, PatchManifest, PayloadEncoding, Probe, Reboot, Relation,
    Severity, Target,
};
use ledger::receipt::{Health, Outcome, Reason, ReasonCode, Receipt};
use ledger::transaction::{Payload, Verdict};

fn list<T, const MAX: usize>(elements: Vec<T>) -> List<T, MAX> {
    List::new(elements).expect("samples are within bounds")
}

fn sorted<T: Ord, const MAX: usize>(elements: Vec<T>) -> SortedList<T, MAX> {
    SortedList::new(elements).expect("samples are within bounds")
}

fn text<const MAX: usize>(words: &str) -> Text<MAX> {
    Text::new(words).expect("samples are within bounds")
}

/// One file of a patch.
pub fn artifact(called: &str) -> Artifact {
    Artifact {
        name: name(called),
        size: 1_234_567,
        blake3: digest(called),
        sha256: digest(&format!("{called}, the other digest")),
        encoding: PayloadEncoding::Identity,
        delta_from: None,
    }
}

/// A manifest with only what one must have.
pub fn manifest(of: &str, release: u64) -> PatchManifest {
    PatchManifest {
        product: product(of),
        channel: name("stable"),
        version: text(&format!("{release}.0")),
        release,
        class: Class::Security,
        severity: Severity::Important,
        advisories: SortedList::default(),
        title: text(&format!("{of} {release}")),
        notes: Notes::default(),
        targets: List::default(),
        depends: SortedList::default(),
        conflicts: SortedList::default(),
        supersedes: SortedList::default(),
        installer: InstallerKind::DirectoryTree,
        artifacts: list(vec![artifact("tree.tar")]),
        services: SortedList::default(),
        health: List::default(),
        reboot: Reboot::Never,
    }
}

/// A manifest with something in every field.
pub fn full_manifest(of: &str, release: u64) -> PatchManifest {
    let names = |words: &[&str]| sorted(words.iter().copied().map(name).collect());
    PatchManifest {
        version: text("7.0.15-1~deb12u1"),
        advisories: sorted(vec![text("CVE-2024-31449"), text("CVE-2024-46981")]),
        title: text("Redis: remote code execution through Lua"),
        notes: text("Fixes two overflows.\nRestart needed: größer als ≤ 7.0.14."),
        targets: list(vec![Target {
            os: names(&["linux"]),
            architectures: names(&["aarch64", "x86_64"]),
            hardware: names(&["gateway-3"]),
            labels: sorted(vec![Label { key: name("site"), value: name("hamburg") }]),
            from_versions: sorted(vec![text("7.0.11-1"), text("7.0.14-1")]),
        }]),
        depends: sorted(vec![Relation { product: product("acme/libc"), release_min: 3, release_max: u64::MAX }]),
        conflicts: sorted(vec![Relation { product: product("acme/valkey"), release_min: 0, release_max: 9 }]),
        supersedes: sorted(vec![Relation { product: product(of), release_min: 1, release_max: 6 }]),
        artifacts: list(vec![
            artifact("tree.tar"),
            Artifact { delta_from: Some(digest("the version before")), ..artifact("tree.delta") },
        ]),
        services: names(&["redis"]),
        health: list(vec![
            check(Probe::Command {
                arguments: list(vec![text("{tree}/bin/redis-cli"), text("ping")]),
                expect: Some(text("PONG")),
            }),
            check(Probe::Tcp { port: text("{port}") }),
            check(Probe::PackageVersion { package: name("redis"), version: text("7.0.15-1~deb12u1") }),
        ]),
        reboot: Reboot::IfNeeded,
        ..manifest(of, release)
    }
}

fn check(probe: Probe) -> HealthCheck {
    HealthCheck { probe, timeout_ms: 2_000, attempts: 3, interval_ms: 500 }
}

/// A verdict without evidence.
pub fn verdict(patch: PatchId) -> Verdict {
    Verdict { patch, evidence: Digest::ZERO, note: Notes::default() }
}

pub fn publish(manifest: &PatchManifest) -> Payload {
    Payload::Publish { manifest: manifest.clone() }
}

pub fn approve(patch: PatchId) -> Payload {
    Payload::Approve { verdict: verdict(patch), urgent: false }
}

pub fn approve_urgently(patch: PatchId) -> Payload {
    Payload::Approve { verdict: verdict(patch), urgent: true }
}

pub fn reject(patch: PatchId) -> Payload {
    Payload::Reject { verdict: verdict(patch) }
}

pub fn hold(patch: PatchId) -> Payload {
    Payload::Hold { verdict: verdict(patch) }
}

pub fn recall(patch: PatchId) -> Payload {
    Payload::Recall { patch, reason: text::<{ ledger::limits::SENTENCE_BYTES_MAX }>("it eats data") }
}

/// The host called so, in the group of servers.
pub fn enroll(host: &str) -> Payload {
    let labels = sorted(vec![Label { key: name("site"), value: name("hamburg") }]);
    Payload::Enroll {
        endpoint: super::key(host).public(),
        name: name(&host.replace('/', "-")),
        group: name("servers"),
        labels,
    }
}

pub fn retire(host: &str) -> Payload {
    Payload::Retire { endpoint: super::key(host).public() }
}

/// A receipt that says how it ended, with a reason where one is needed.
pub fn receipt(patch: PatchId, attempt: u32, outcome: Outcome) -> Receipt {
    let reason = Reason { code: ReasonCode::HealthFailed, detail: text("redis does not answer") };
    Receipt {
        patch,
        rollout: None,
        attempt,
        from_version: text::<{ ledger::limits::VERSION_BYTES_MAX }>("7.0.14-1") as Version,
        to_version: text("7.0.15-1"),
        outcome,
        reason: (outcome != Outcome::Applied).then_some(reason),
        health: if outcome == Outcome::Applied { Health::Passed } else { Health::Failed },
        log_digest: digest("log"),
        ended_at_ms: 1_700_000_123_456,
    }
}

pub fn receive(receipt: Receipt) -> Payload {
    Payload::Receipt { receipt }
}

/// A short reason.
pub fn sentence(words: &str) -> Sentence {
    text(words)
}

/// Some names, as a list.
pub fn names<const MAX: usize>(words: &[&str]) -> SortedList<Name, MAX> {
    sorted(words.iter().copied().map(name).collect())
}
