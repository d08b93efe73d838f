//! A manifest for people.

use crate::sign::SignedPatch;
use crate::tables::facts;
use crate::trust::{Trust, word};
use ledger::moment::Span;
use ledger::patch::{Artifact, HealthCheck, PatchManifest, Probe, Relation, Target};

/// What is said of a patch that says nothing of its own about its health.
pub const NO_HEALTH_CHECK: &str = "NO CHECK: nothing in this patch tells a version that works from one that does not;\nhosts keep it unless its \
     services, or checks of their own house, fail";

/// What a vendor signed, for people: from the transaction itself.
#[must_use]
pub fn signed_patch_text(patch: &SignedPatch, trust: Option<&Trust>) -> String {
    let mut rows = vec![("patch", patch.id.to_string()), ("signed by", patch.vendor(trust))];
    rows.extend(manifest_facts(patch.manifest()));
    facts(&rows)
}

fn manifest_facts(manifest: &PatchManifest) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("product", manifest.product.to_string()),
        ("channel", manifest.channel.to_string()),
        ("version", manifest.version.to_string()),
        ("release", manifest.release.to_string()),
        ("class", word(&manifest.class)),
        ("severity", word(&manifest.severity)),
    ];
    let mut some = |name, value: String| {
        if !value.is_empty() {
            rows.push((name, value));
        }
    };
    some("title", manifest.title.to_string());
    some("advisories", join(manifest.advisories.iter(), ", "));
    some("targets", manifest.targets.iter().map(show_target).collect::<Vec<_>>().join("\n"));
    some("depends", manifest.depends.iter().map(show_relation).collect::<Vec<_>>().join("\n"));
    some("conflicts", manifest.conflicts.iter().map(show_relation).collect::<Vec<_>>().join("\n"));
    some("supersedes", manifest.supersedes.iter().map(show_relation).collect::<Vec<_>>().join("\n"));
    some("installer", word(&manifest.installer));
    for artifact in manifest.artifacts.iter() {
        some(noun_of(artifact), format!("{}, {} bytes", artifact.name, artifact.size));
        some("  blake3", artifact.blake3.to_string());
        some("  sha256", artifact.sha256.to_string());
    }
    some("services", join(manifest.services.iter(), ", "));
    match manifest.health.is_empty() {
        true => some("health", NO_HEALTH_CHECK.to_owned()),
        false => some("health", manifest.health.iter().map(show_check).collect::<Vec<_>>().join("\n")),
    }
    some("reboot", word(&manifest.reboot));
    some("notes", manifest.notes.to_string());
    rows
}

/// What an artifact is called before people.
pub(crate) fn noun_of(artifact: &Artifact) -> &'static str {
    if artifact.delta_from.is_some() { "delta" } else { "artifact" }
}

fn join<T: ToString>(values: impl Iterator<Item = T>, between: &str) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(between)
}

fn show_target(target: &Target) -> String {
    let mut parts = Vec::new();
    parts.extend(target.os.iter().map(|os| format!("os={os}")));
    parts.extend(target.architectures.iter().map(|arch| format!("arch={arch}")));
    parts.extend(target.hardware.iter().map(|id| format!("hardware={id}")));
    parts.extend(target.labels.iter().map(|label| format!("label:{}={}", label.key, label.value)));
    parts.extend(target.from_versions.iter().map(|version| format!("from={version}")));
    if parts.is_empty() { "every host".to_owned() } else { parts.join(",") }
}

fn show_relation(relation: &Relation) -> String {
    match relation.release_max {
        u64::MAX => format!("{}={}..", relation.product, relation.release_min),
        max => format!("{}={}..{max}", relation.product, relation.release_min),
    }
}

fn show_check(check: &HealthCheck) -> String {
    let HealthCheck { probe, timeout_ms, attempts, interval_ms } = check;
    let asked = match probe {
        Probe::Command { arguments, expect } => {
            let command = arguments.iter().map(|argument| format!("{:?}", argument.as_str())).collect::<Vec<_>>();
            let expect = expect.as_ref().map_or(String::new(), |expect| format!(" says {:?}", expect.as_str()));
            format!("command {}{expect}", command.join(" "))
        }
        Probe::Tcp { port } => format!("tcp port {port} accepts"),
        Probe::PackageVersion { package, version } => format!("package {package} has version {version}"),
    };
    let [timeout, interval] = [timeout_ms, interval_ms].map(|ms| Span(u64::from(*ms)));
    match attempts {
        1 => format!("{asked} (1 attempt of {timeout})"),
        attempts => format!("{asked} ({attempts} attempts of {timeout}, {interval} between)"),
    }
}
