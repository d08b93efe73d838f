//! What a patch is: the manifest a vendor signs.

use crate::bounded::{Argument, List, Name, Notes, Product, Sentence, SortedList, Text, Version};
use crate::encoding::{Canonical, Limit, encode};
use crate::id::{Digest, PatchId, context, derive};
use crate::limits;
use serde::{Deserialize, Serialize};

/// What a patch claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Closes a vulnerability.
    Security,
    /// Repairs a defect.
    Bugfix,
    /// Makes something faster or smaller.
    Performance,
    /// Adds something.
    Feature,
    /// Software below the operating system.
    Firmware,
    /// Data: signatures, maps, rules.
    Content,
}

/// How bad it is not to have the patch, as the vendor claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Little.
    Low,
    /// Some.
    Moderate,
    /// Much.
    Important,
    /// Exploitable without effort, or worse.
    Critical,
}

/// How the artifacts become an installed version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstallerKind {
    /// A tar archive unpacked as a directory tree, put in place by one atomic switch.
    DirectoryTree,
    /// Debian packages.
    Debian,
    /// RPM packages.
    Rpm,
    /// An image for the other one of two slots.
    ImageSlot,
    /// Single files with their modes.
    FileSet,
    /// A container image.
    Container,
    /// A script.
    Script,
}

/// How an artifact's bytes carry its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayloadEncoding {
    /// The bytes are the payload.
    Identity,
}

/// One file of a patch, named by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name within the patch.
    pub name: Name,
    /// Exact length of the payload in bytes.
    pub size: u64,
    /// BLAKE3 of the payload: what stores and transfers call it by.
    pub blake3: Digest,
    /// SHA-256 of the payload: what the outside world calls it by.
    pub sha256: Digest,
    /// How the bytes carry the payload.
    pub encoding: PayloadEncoding,
    /// When the artifact is a delta: BLAKE3 of the payload it starts from. What it makes is the payload before it
    /// in the manifest ([`PatchManifest::payloads`]).
    pub delta_from: Option<Digest>,
}

/// How the name of an artifact begins that is only there to go back to.
pub const GO_BACK_PREFIX: &str = "old-";

impl Artifact {
    /// Whether it is not part of what is installed, but of what a host may have had before.
    #[must_use]
    pub fn is_to_go_back_to(&self) -> bool {
        self.name.as_str().starts_with(GO_BACK_PREFIX)
    }
}

/// A label of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// For instance `site`.
    pub key: Name,
    /// For instance `hamburg`.
    pub value: Name,
}

/// A selector of hosts: all its non-empty parts must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Operating systems (`linux`); empty means any.
    pub os: SortedList<Name, { limits::SELECTOR_VALUES_MAX }>,
    /// Architectures (`x86_64`); empty means any.
    pub architectures: SortedList<Name, { limits::SELECTOR_VALUES_MAX }>,
    /// Hardware ids; empty means any.
    pub hardware: SortedList<Name, { limits::SELECTOR_VALUES_MAX }>,
    /// Labels the host must all have.
    pub labels: SortedList<Label, { limits::SELECTOR_VALUES_MAX }>,
    /// Versions the host may come from; empty means any.
    pub from_versions: SortedList<Version, { limits::SELECTOR_VALUES_MAX }>,
}

/// A relation to a release of another product.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Relation {
    /// The other product.
    pub product: Product,
    /// Release counters from here on.
    pub release_min: u64,
    /// Release counters up to here.
    pub release_max: u64,
}

/// One probe that tells whether the new version is running and healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A command; `{tree}` and `{name}` stand for the installed tree and the host's parameters.
    Command {
        /// Program and arguments.
        arguments: List<Argument, { limits::ARGUMENTS_MAX }>,
        /// What standard output must be, white space at both ends apart; anything if absent.
        expect: Option<Argument>,
    },
    /// Something accepts a TCP connection on this port of the loopback interface (a number, or a
    /// `{name}` parameter of the host).
    Tcp {
        /// The port.
        port: Argument,
    },
    /// The package database of the installed tree says this version. Read there and not from a
    /// program's `--version`: a security rebuild keeps the upstream version.
    PackageVersion {
        /// The package.
        package: Name,
        /// The version it must have.
        version: Version,
    },
}

/// A probe with its patience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What to ask.
    pub probe: Probe,
    /// How long one attempt may take.
    pub timeout_ms: u32,
    /// How many attempts before it counts as failed.
    pub attempts: u16,
    /// How long to wait between attempts.
    pub interval_ms: u32,
}

/// Whether the host must restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reboot {
    /// Never.
    Never,
    /// When the host finds it has to.
    IfNeeded,
    /// Always.
    Required,
}

/// What a vendor signs: everything about a patch that anybody will ever judge it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchManifest {
    /// What is patched; its namespace is owned by the vendor's organisation.
    pub product: Product,
    /// Line of releases (`stable`). Release counters count per product and channel.
    pub channel: Name,
    /// The version it brings, as people know it.
    pub version: Version,
    /// Ever-growing counter: what "newer" means to an endpoint.
    pub release: u64,
    /// What it claims to be.
    pub class: Class,
    /// How urgent it claims to be.
    pub severity: Severity,
    /// Advisories it says it fixes (`CVE-2024-31449`).
    pub advisories: SortedList<Text<64>, { limits::ADVISORIES_MAX }>,
    /// One line for people.
    pub title: Sentence,
    /// More for people.
    pub notes: Notes,
    /// Which hosts it is for: any one selector; none means every host.
    pub targets: List<Target, { limits::TARGETS_MAX }>,
    /// What must be installed.
    pub depends: SortedList<Relation, { limits::RELATIONS_MAX }>,
    /// What must not be installed.
    pub conflicts: SortedList<Relation, { limits::RELATIONS_MAX }>,
    /// What it takes the place of.
    pub supersedes: SortedList<Relation, { limits::RELATIONS_MAX }>,
    /// How it is installed.
    pub installer: InstallerKind,
    /// The files.
    pub artifacts: List<Artifact, { limits::ARTIFACTS_MAX }>,
    /// Services to restart after the switch, by the names the host's configuration gives them.
    pub services: SortedList<Name, { limits::SELECTOR_VALUES_MAX }>,
    /// How to tell that it works.
    pub health: List<HealthCheck, { limits::HEALTH_CHECKS_MAX }>,
    /// Whether the host must restart.
    pub reboot: Reboot,
}

impl Canonical for PatchManifest {
    const NAME: &'static str = "patch manifest";
    const LIMIT: Limit = Limit::Transaction;
}

/// Why a manifest cannot be published by anybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Nothing to install.
    #[error("the manifest names no artifact")]
    NoArtifact,
    /// Two artifacts with one name.
    #[error("artifact name {0} occurs twice")]
    DuplicateArtifact(Name),
    /// An artifact larger than allowed, or empty.
    #[error("artifact {name} has {size} bytes; 1 to {} are allowed", limits::ARTIFACT_BYTES_MAX)]
    ArtifactSize {
        /// The artifact.
        name: Name,
        /// Its size.
        size: u64,
    },
    /// Release counters start at one.
    #[error("release counter must be at least 1")]
    ReleaseZero,
    /// A relation that no release can satisfy.
    #[error("relation to {0} has its smallest release after its largest")]
    EmptyRelation(Product),
}

impl PatchManifest {
    /// `BLAKE3 derive_key("countersign/v1/patch-id", encoding)`.
    #[must_use]
    pub fn id(&self) -> PatchId {
        PatchId(derive(&context::PATCH_ID, &encode(self)))
    }

    /// The payloads to install, in their order, each with the deltas that make it: those that come after it and
    /// before the next payload. A delta that no payload stands before makes nothing; nobody needs it.
    #[must_use]
    pub fn payloads(&self) -> Vec<(&Artifact, Vec<&Artifact>)> {
        let mut payloads: Vec<(&Artifact, Vec<&Artifact>)> = Vec::new();
        for artifact in self.artifacts.iter() {
            match (artifact.delta_from, payloads.last_mut()) {
                (None, _) => payloads.push((artifact, Vec::new())),
                (Some(_), Some((_, deltas))) => deltas.push(artifact),
                (Some(_), None) => {}
            }
        }
        payloads
    }

    /// Total size of the artifacts.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.size).fold(0, u64::saturating_add)
    }

    /// What the types alone do not say.
    ///
    /// # Errors
    /// [`ManifestError`] names the first rule broken.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.release == 0 {
            return Err(ManifestError::ReleaseZero);
        }
        if self.artifacts.is_empty() {
            return Err(ManifestError::NoArtifact);
        }
        for (place, artifact) in self.artifacts.iter().enumerate() {
            if artifact.size == 0 || artifact.size > limits::ARTIFACT_BYTES_MAX {
                return Err(ManifestError::ArtifactSize { name: artifact.name.clone(), size: artifact.size });
            }
            if self.artifacts[..place].iter().any(|earlier| earlier.name == artifact.name) {
                return Err(ManifestError::DuplicateArtifact(artifact.name.clone()));
            }
        }
        let relations = self.depends.iter().chain(self.conflicts.iter()).chain(self.supersedes.iter());
        match relations.into_iter().find(|relation| relation.release_min > relation.release_max) {
            Some(relation) => Err(ManifestError::EmptyRelation(relation.product.clone())),
            None => Ok(()),
        }
    }
}
