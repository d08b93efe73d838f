//! The manifest from what a person typed.

use super::error::PackError;
use ledger::artifact::PayloadDigests;
use ledger::bounded::{Argument, BoundError, List, Name, Notes, Product, Sentence, SortedList, Text, Version};
use ledger::encoding::encode;
use ledger::limits;
use ledger::patch::{
    Artifact, Class, HealthCheck, InstallerKind, Label, PatchManifest, PayloadEncoding, Probe, Reboot, Relation,
    Severity, Target,
};

/// Room a transaction needs besides its manifest: chain id, signer, nonce, expiry, signature.
const TRANSACTION_OVERHEAD_BYTES: usize = 256;

/// Everything of a manifest but the artifact.
#[derive(Clone, Debug)]
pub struct Description {
    /// What is patched.
    pub product: Product,
    /// Line of releases.
    pub channel: Name,
    /// The version it brings.
    pub version: Version,
    /// Release counter.
    pub release: u64,
    /// What it claims to be.
    pub class: Class,
    /// How urgent it claims to be.
    pub severity: Severity,
    /// Advisories it says it fixes.
    pub advisories: Vec<String>,
    /// One line for people.
    pub title: String,
    /// More for people.
    pub notes: String,
    /// Which hosts it is for.
    pub targets: Vec<Target>,
    /// What must be installed.
    pub depends: Vec<Relation>,
    /// What must not be installed.
    pub conflicts: Vec<Relation>,
    /// What it takes the place of.
    pub supersedes: Vec<Relation>,
    /// How it is installed.
    pub installer: InstallerKind,
    /// Services to restart.
    pub services: Vec<Name>,
    /// How to tell that it works.
    pub probes: Vec<Probe>,
    /// How patient each probe is.
    pub patience: Patience,
    /// Whether the host must restart.
    pub reboot: Reboot,
}

/// How patient a probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long one attempt may take.
    pub timeout_ms: u32,
    /// How many attempts.
    pub attempts: u16,
    /// How long between attempts.
    pub interval_ms: u32,
}

impl Description {
    /// The manifest for packed artifacts.
    ///
    /// # Errors
    /// [`PackError`] names the field that is out of bounds.
    pub fn manifest(self, artifacts: Vec<(Name, PayloadDigests)>) -> Result<PatchManifest, PackError> {
        let patience = self.patience;
        let health = self.probes.into_iter().map(|probe| HealthCheck {
            probe,
            timeout_ms: patience.timeout_ms,
            attempts: patience.attempts,
            interval_ms: patience.interval_ms,
        });
        let advisories = self.advisories.into_iter().map(Text::new).collect::<Result<Vec<_>, _>>();
        let artifacts = artifacts.into_iter().map(|(name, artifact)| Artifact {
            name,
            size: artifact.size,
            blake3: artifact.blake3,
            sha256: artifact.sha256,
            encoding: PayloadEncoding::Identity,
            delta_from: None,
        });
        let manifest = PatchManifest {
            product: self.product,
            channel: self.channel,
            version: self.version,
            release: self.release,
            class: self.class,
            severity: self.severity,
            advisories: bound("--advisory", advisories.and_then(SortedList::new))?,
            title: bound("--title", Sentence::new(self.title))?,
            notes: bound("--notes", Notes::new(self.notes))?,
            targets: bound("--target", List::new(self.targets))?,
            depends: bound("--depends", SortedList::new(self.depends))?,
            conflicts: bound("--conflicts", SortedList::new(self.conflicts))?,
            supersedes: bound("--supersedes", SortedList::new(self.supersedes))?,
            installer: self.installer,
            artifacts: bound("artifacts", List::new(artifacts.collect()))?,
            services: bound("--service", SortedList::new(self.services))?,
            health: bound("--health", List::new(health.collect()))?,
            reboot: self.reboot,
        };
        check(&manifest)?;
        Ok(manifest)
    }
}

fn bound<T>(field: &str, checked: Result<T, BoundError>) -> Result<T, PackError> {
    checked.map_err(|error| PackError::Bound { field: field.to_owned(), error })
}

/// Whether a manifest can be published by anybody, and says what a host can do.
pub(super) fn check(manifest: &PatchManifest) -> Result<(), PackError> {
    manifest.check()?;
    for check in manifest.health.iter() {
        if let Probe::Tcp { port } = &check.probe {
            parse_port(port.as_str()).map_err(PackError::Port)?;
        }
    }
    let (actual, limit) = (encode(manifest).len(), limits::TRANSACTION_BYTES_MAX - TRANSACTION_OVERHEAD_BYTES);
    if actual > limit { Err(PackError::ManifestTooLarge { actual, limit }) } else { Ok(()) }
}

/// A command line as people write it: words, with quotes around those that have spaces. No shell is
/// asked, so nothing else means anything.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_command(text: &str) -> Result<List<Argument, { limits::ARGUMENTS_MAX }>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    if words.is_empty() {
        return Err("no program".to_owned());
    }
    let words = words.into_iter().map(Argument::new).collect::<Result<Vec<_>, _>>();
    words.and_then(List::new).map_err(|error| error.to_string())
}

/// A port of a health check: a number, or one that the host knows under a name: `{port}`.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_port(text: &str) -> Result<Argument, String> {
    let (mut digits, mut rest, mut is_named) = (String::new(), text, false);
    while let Some((before, _, after)) = rest
        .split_once('{')
        .and_then(|(before, after)| after.split_once('}').map(|(name, after)| (before, name, after)))
        .filter(|(_, name, _)| is_parameter(name))
    {
        digits.push_str(before);
        (rest, is_named) = (after, true);
    }
    digits.push_str(rest);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = is_number && (is_named || digits.parse::<u16>().is_ok_and(|port| port > 0));
    if !is_port {
        return Err(format!(
            "{text:?} is no port: 1 to 65535, or {{NAME}} for a number the host knows by that name; it is a port of the \
             host itself"
        ));
    }
    Argument::new(text).map_err(|error| error.to_string())
}

/// Whether hosts can have a parameter of this name.
fn is_parameter(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(is_letter)
}

/// A selector of hosts: `os=linux,arch=x86_64,hardware=ID,label:site=hamburg,from=1.0`.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_target(text: &str) -> Result<Target, String> {
    let (mut os, mut architectures, mut hardware) = (Vec::new(), Vec::new(), Vec::new());
    let (mut labels, mut from_versions) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not key=value"))?;
        let name = || Name::new(value).map_err(|error| error.to_string());
        match key {
            "os" => os.push(name()?),
            "arch" => architectures.push(name()?),
            "hardware" => hardware.push(name()?),
            "from" => from_versions.push(Version::new(value).map_err(|error| error.to_string())?),
            key => match key.strip_prefix("label:") {
                Some(label) => labels.push(parse_label(&format!("{label}={value}"))?),
                None => return Err(format!("{key:?} is none of os, arch, hardware, from, label:NAME")),
            },
        }
    }
    let bound = |error: BoundError| error.to_string();
    Ok(Target {
        os: SortedList::new(os).map_err(bound)?,
        architectures: SortedList::new(architectures).map_err(bound)?,
        hardware: SortedList::new(hardware).map_err(bound)?,
        labels: SortedList::new(labels).map_err(bound)?,
        from_versions: SortedList::new(from_versions).map_err(bound)?,
    })
}

/// A label: `site=hamburg`.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_label(text: &str) -> Result<Label, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| "expected name=value".to_owned())?;
    let name = |text| Name::new(text).map_err(|error| error.to_string());
    Ok(Label { key: name(key)?, value: name(value)? })
}

/// A relation: `acme/redis`, `acme/redis=3..` or `acme/redis=3..7`.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_relation(text: &str) -> Result<Relation, String> {
    let (product, releases) = text.split_once('=').unwrap_or((text, "0.."));
    let product = Product::new(product).map_err(|error| error.to_string())?;
    let (min, max) = releases.split_once("..").unwrap_or((releases, releases));
    let number = |text: &str, empty: u64| match text {
        "" => Ok(empty),
        text => text.parse().map_err(|_| format!("{text:?} is not a release counter")),
    };
    Ok(Relation { product, release_min: number(min, 0)?, release_max: number(max, u64::MAX)? })
}
