//! `countersign patch pack`: from packages to a patch that can be published.

use crate::failure::Failure;
use crate::files;
use crate::pack::manifest::{Description, Patience, parse_command, parse_port, parse_relation, parse_target};
use crate::pack::{
    CONTAINER_NAME, Deltas, FILE_SET_NAME, IMAGE_NAME, LIMITS, MANIFEST_FILE, Package, PackageFormat, Packed,
    SCRIPT_NAME, Shape, TREE_NAME, pack, pack_image, pack_packages,
};
use crate::tables::facts;
use crate::time::parse_milliseconds;
use crate::view::{NO_HEALTH_CHECK, noun_of};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args};
use ledger::bounded::{Argument, List, Name, Product, Version};
use ledger::id::PatchId;
use ledger::limits;
use ledger::patch::{Artifact, Class, InstallerKind, Probe, Reboot, Relation, Severity, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use terminal::Answer;

type Command = List<Argument, { limits::ARGUMENTS_MAX }>;

/// Pack a patch.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("health").multiple(true).args(["health_command", "health_tcp", "health_package"]),
    after_help = "\
Packing the same input twice gives the same patch id. Files keep their modes without setuid; owners and times are left \
out; links are kept as they are and must stay inside. Packages are merged into one tree, each with its control \
paragraph in var/lib/dpkg/status.d/PACKAGE, where an installed version can be read.
With --kind debian or rpm packages are kept as they are, for hosts that have dpkg or rpm: they are the closure, and \
no host asks a resolver for more. With --kind file-set the input has files under their paths from the root of the host.
With --kind image-slot the input is a squashfs image, for hosts with two slots, with --reboot required or if-needed. \
With --kind container it is an OCI image layout, a directory or an archive of one, as skopeo, podman and buildah write \
them (oci:DIR, oci-archive:FILE); --health-command is run in a container of it. With --kind script \
the input has a program `run`, and files it works with.
The result is DIR/manifest.json (edit it as you like before publishing) and DIR/artifacts/BLAKE3.
JSON: {\"patch\", \"product\", \"version\", \"release\", \"directory\", \"artifacts\": [{\"name\", \"size\", \"blake3\", \
\"sha256\", \"delta_from\"}], \"entries\", \"tree_bytes\", \"packages\": [{\"name\", \"version\", \"architecture\"}]}

Examples:
  countersign patch pack --product acme/site --version 1.4 --release 14 \\
      --class feature \\
      --severity low --out site-14 build/

  countersign patch pack --product acme/redis \\
      --version 5:7.0.15-1~deb12u10 --release 10 \\
      --class security --severity important --advisory CVE-2026-0001 \\
      --target os=linux,arch=x86_64 --service redis \\
      --health-command '{tree}/usr/bin/redis-cli -p {port} PING' \\
      --expect PONG \\
      --health-package redis-tools=5:7.0.15-1~deb12u10 \\
      --out redis-10 redis-server.deb redis-tools.deb

  countersign patch pack --product acme/site --version 1.5 --release 15 \\
      --class bugfix \\
      --severity low --delta-from site-14 --out site-15 build/

  countersign patch pack --kind debian --product acme/jq \\
      --version 1.6-2.1+deb12u3 --release 3 \\
      --class security --severity important \\
      --rollback old/jq.deb --rollback old/libjq1.deb \\
      --out jq-3 jq.deb libjq1.deb"
)]
pub struct Pack {
    /// What is patched: namespace/name, the namespace being your organisation's
    #[arg(long, value_name = "PRODUCT")]
    product: Product,
    /// Line of releases
    #[arg(long, value_name = "NAME", default_value = "stable")]
    channel: Name,
    /// The version it brings, as people know it
    #[arg(long, value_name = "TEXT", value_parser = parse_version)]
    version: Version,
    /// Release counter of the product and channel: always greater than the last
    #[arg(long, value_name = "N")]
    release: u64,
    /// What it claims to be
    #[arg(long, value_parser = words::<Class>(&["security", "bugfix", "performance", "feature", "firmware", "content"]))]
    class: Class,
    /// How bad it is not to have it
    #[arg(long, value_parser = words::<Severity>(&["low", "moderate", "important", "critical"]))]
    severity: Severity,
    /// An advisory it fixes; may be repeated
    #[arg(long = "advisory", value_name = "ID")]
    advisories: Vec<String>,
    /// One line for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    title: String,
    /// A file with more for people
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    /// How it is installed
    #[arg(long, default_value = "directory-tree", value_parser = words::<InstallerKind>(&["directory-tree", "debian", "rpm", "file-set", "image-slot", "container", "script"]))]
    kind: InstallerKind,
    /// Hosts it is for: os=, arch=, hardware=, from=, label:NAME=, with commas between; may be repeated, any one
    /// must match
    #[arg(long = "target", value_name = "SELECTOR", value_parser = parse_target)]
    targets: Vec<Target>,
    /// What must be installed: PRODUCT or PRODUCT=MIN..MAX; may be repeated
    #[arg(long, value_name = "RELATION", value_parser = parse_relation)]
    depends: Vec<Relation>,
    /// What must not be installed; may be repeated
    #[arg(long, value_name = "RELATION", value_parser = parse_relation)]
    conflicts: Vec<Relation>,
    /// What it takes the place of; may be repeated
    #[arg(long, value_name = "RELATION", value_parser = parse_relation)]
    supersedes: Vec<Relation>,
    /// A service to restart, by the name the host's configuration gives it; may be repeated
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<Name>,
    /// Whether the host must restart
    #[arg(long, default_value = "never", value_parser = words::<Reboot>(&["never", "if-needed", "required"]))]
    reboot: Reboot,
    /// Healthy when this command succeeds; {tree} and {name} stand for the installed tree and the host's parameters;
    /// may be repeated
    #[arg(long, value_name = "COMMAND", value_parser = parse_command)]
    health_command: Vec<Command>,
    /// … and says exactly this (only with one --health-command)
    #[arg(long, value_name = "TEXT", requires = "health_command", value_parser = parse_argument)]
    expect: Option<Argument>,
    /// Healthy when this port of the loopback interface accepts: 1 to 65535, or {name} for one of the host's
    /// parameters; may be repeated
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    health_tcp: Vec<Argument>,
    /// Healthy when the tree's package database says this; may be repeated
    #[arg(long, value_name = "NAME=VERSION", value_parser = parse_package)]
    health_package: Vec<(Name, Version)>,
    /// How long one attempt of a probe may take
    #[arg(long, value_name = "DURATION", value_parser = parse_milliseconds, default_value = "5s", requires = "health")]
    probe_timeout: u64,
    /// How many attempts before it counts as failed
    #[arg(long, value_name = "N", default_value = "5", requires = "health")]
    probe_attempts: u16,
    /// How long between attempts
    #[arg(long, value_name = "DURATION", value_parser = parse_milliseconds, default_value = "1s", requires = "health")]
    probe_interval: u64,
    /// Where the packed patch is put; must not be there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One directory, one tar archive (plain, gzip, xz, zstd), or one or more Debian packages; with --kind rpm, RPM
    /// packages
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    /// With --kind debian or rpm: a package to go back to, in the version that hosts have now; may be repeated. Without, a
    /// host goes back to what it installed itself, and refuses the patch when that is not what it has
    #[arg(long = "rollback", value_name = "PACKAGE")]
    rollback: Vec<PathBuf>,
    /// An earlier packed patch: hosts that fetched it need only what differs from it; may be repeated. A delta is left
    /// out when it saves less than an eighth, as between packages, which are compressed
    #[arg(long, value_name = "DIR")]
    delta_from: Vec<PathBuf>,
    /// Put each payload there compressed, too (zstd), where that saves an eighth at least: hosts fetch that instead, unless a
    /// delta is smaller
    #[arg(long)]
    compress: bool,
}

#[derive(Serialize)]
struct PackView<'a> {
    patch: PatchId,
    product: &'a Product,
    version: &'a Version,
    release: u64,
    directory: String,
    artifacts: &'a [Artifact],
    entries: usize,
    tree_bytes: u64,
    packages: &'a [Package],
}

impl Pack {
    pub(super) fn run(&self) -> Result<Answer, Failure> {
        let description = self.description()?;
        let format = self.package_format();
        if format.is_none() && !self.rollback.is_empty() {
            let belongs = "--rollback belongs to --kind debian and --kind rpm";
            return Err(Failure::usage(belongs, "other kinds go back by themselves"));
        }
        let beside = Deltas { from: &self.delta_from, compressed: self.compress };
        let packed = match (format, self.kind) {
            (Some(format), _) => {
                let describe = |artifacts| description.manifest(artifacts);
                let (new, old) = (&self.inputs, &self.rollback);
                pack_packages(new, old, &self.out, format, LIMITS, beside, describe)?
            }
            (None, InstallerKind::ImageSlot) => {
                if self.reboot == Reboot::Never {
                    let runs = "an image runs when the host has restarted";
                    return Err(Failure::usage(runs, "--reboot required"));
                }
                if !self.delta_from.is_empty() || self.compress {
                    let none = "an image travels as it is: no host keeps one that a delta could start from, and a squashfs is compressed";
                    return Err(Failure::usage(none, "leave --delta-from and --compress out"));
                }
                let name = Name::new(IMAGE_NAME).expect("the name of an image is a name");
                pack_image(&self.inputs, &self.out, |image| description.manifest(vec![(name, image)]))?
            }
            (None, kind) => {
                let (name, shape) = match kind {
                    InstallerKind::FileSet => (FILE_SET_NAME, Shape::FileSet),
                    InstallerKind::Container => (CONTAINER_NAME, Shape::Container),
                    InstallerKind::Script => (SCRIPT_NAME, Shape::Script),
                    _ => (TREE_NAME, Shape::Tree),
                };
                let name = Name::new(name).expect("the names of packed trees are names");
                let describe = |artifact| description.manifest(vec![(name, artifact)]);
                pack(&self.inputs, &self.out, LIMITS, shape, beside, describe)?
            }
        };
        Ok(self.answer(&packed))
    }

    /// What packages are that are kept as they are.
    fn package_format(&self) -> Option<PackageFormat> {
        match self.kind {
            InstallerKind::Debian => Some(PackageFormat::Debian),
            InstallerKind::Rpm => Some(PackageFormat::Rpm),
            _ => None,
        }
    }

    fn description(&self) -> Result<Description, Failure> {
        let notes = self.notes.as_deref().map(|file| files::read_text(file, "notes", limits::NOTES_BYTES_MAX));
        let milliseconds = |option: &str, value: u64| {
            u32::try_from(value).map_err(|_| Failure::usage(format!("{option} is too long"), "at most 49 days"))
        };
        Ok(Description {
            product: self.product.clone(),
            channel: self.channel.clone(),
            version: self.version.clone(),
            release: self.release,
            class: self.class,
            severity: self.severity,
            advisories: self.advisories.clone(),
            title: self.title.clone(),
            notes: notes.transpose()?.unwrap_or_default(),
            targets: self.targets.clone(),
            depends: self.depends.clone(),
            conflicts: self.conflicts.clone(),
            supersedes: self.supersedes.clone(),
            installer: self.kind,
            services: self.services.clone(),
            probes: self.probes()?,
            patience: Patience {
                timeout_ms: milliseconds("--probe-timeout", self.probe_timeout)?,
                attempts: self.probe_attempts,
                interval_ms: milliseconds("--probe-interval", self.probe_interval)?,
            },
            reboot: self.reboot,
        })
    }

    /// What stands still is asked first: a wrong package version need not wait for a service.
    fn probes(&self) -> Result<Vec<Probe>, Failure> {
        if self.expect.is_some() && self.health_command.len() > 1 {
            return Err(Failure::usage("--expect belongs to one --health-command", "edit manifest.json for more"));
        }
        let packages = self.health_package.iter().cloned();
        let packages = packages.map(|(package, version)| Probe::PackageVersion { package, version });
        let ports = self.health_tcp.iter().cloned().map(|port| Probe::Tcp { port });
        let commands = self.health_command.iter().cloned();
        let commands = commands.map(|arguments| Probe::Command { arguments, expect: self.expect.clone() });
        Ok(packages.chain(ports).chain(commands).collect())
    }

    fn answer(&self, packed: &Packed) -> Answer {
        let manifest = &packed.manifest;
        let view = PackView {
            patch: manifest.id(),
            product: &manifest.product,
            version: &manifest.version,
            release: manifest.release,
            directory: self.out.display().to_string(),
            artifacts: &manifest.artifacts,
            entries: packed.entries,
            tree_bytes: packed.tree_bytes,
            packages: &packed.packages,
        };
        let mut rows = vec![
            ("patch", view.patch.to_string()),
            ("product", manifest.product.to_string()),
            ("version", manifest.version.to_string()),
            ("release", manifest.release.to_string()),
        ];
        for artifact in view.artifacts {
            rows.push((noun_of(artifact), format!("{}, {} bytes", artifact.name, artifact.size)));
            rows.push(("  blake3", artifact.blake3.to_string()));
            rows.push(("  sha256", artifact.sha256.to_string()));
        }
        if self.package_format().is_none() {
            rows.push(("tree", format!("{} entries, {} bytes", packed.entries, packed.tree_bytes)));
        }
        let packages = packed.packages.iter().map(|Package { name, version, architecture }| {
            format!("{name} {version} {architecture}") //
        });
        rows.extend(packages.map(|package| ("package", package)));
        if manifest.health.is_empty() {
            rows.push(("health", NO_HEALTH_CHECK.to_owned()));
        }
        rows.push(("manifest", self.out.join(MANIFEST_FILE).display().to_string()));
        Answer::new(facts(&rows), &view)
    }
}

/// One of the words a ledger type has in JSON.
fn words<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| serde_json::from_value::<T>(serde_json::Value::String(word)))
}

fn parse_version(text: &str) -> Result<Version, String> {
    Version::new(text).map_err(|error| error.to_string())
}

fn parse_argument(text: &str) -> Result<Argument, String> {
    Argument::new(text).map_err(|error| error.to_string())
}

fn parse_package(text: &str) -> Result<(Name, Version), String> {
    let (name, version) = text.split_once('=').ok_or_else(|| "expected name=version".to_owned())?;
    Ok((Name::new(name).map_err(|error| error.to_string())?, parse_version(version)?))
}
