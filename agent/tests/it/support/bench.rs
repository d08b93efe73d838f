//! One host per kind of patch, and releases for it: what the conformance suite stands on.

use super::archive::{Archive, tree_of};
use super::debian::{self, Real};
use super::disk::Mount;
use super::endpoint::{Endpoint, says};
use super::rpm;
use ledger::bounded::{Name, Text};
use ledger::patch::{HealthCheck, InstallerKind, Probe, Reboot};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Everything of a host that can be told apart: mode, owner, content or target, attributes, names of one file.
pub(crate) type Snapshot = BTreeMap<String, (u32, u32, u32, Vec<u8>)>;

/// A kind of patch with a host to try it on.
pub(crate) trait Bench: Sized {
    /// A host with nothing of the product on it; why there cannot be one here.
    fn new() -> Result<Self, String>;

    fn kind(&self) -> InstallerKind;

    /// What the agent's configuration says of it.
    fn config(&self) -> String {
        String::new()
    }

    /// What is changed, which a disk may be mounted at before [`Bench::build`].
    fn target(&self, endpoint: &Endpoint) -> PathBuf;

    /// Fills the target.
    fn build(&mut self, _: &Endpoint) {}

    fn artifacts(&self, release: u64) -> Vec<(String, Vec<u8>)>;

    /// Passes when this release is the installed one.
    fn probe(&self, release: u64) -> HealthCheck;

    /// What its manifests say of restarts.
    fn reboot(&self) -> Reboot {
        Reboot::Never
    }

    /// The host restarts; false for kinds to which that makes no difference.
    fn restarts(&self) -> bool {
        false
    }

    fn snapshot(&self, endpoint: &Endpoint) -> Snapshot;

    /// Room the target needs.
    const MEGABYTES: usize = 96;
}

/// A kind that changes the host in place, where others may put something beside.
pub(crate) trait InPlace: Bench {
    /// A directory of the host that this release makes, and those before it do not have.
    fn new_directory(&self, release: u64) -> String;
}

/// Takes everything in, but what is said to be of no account.
pub(crate) fn snapshot(root: &Path, of_no_account: &[&str]) -> Snapshot {
    let (mut seen, mut waiting) = (Snapshot::new(), vec![root.to_owned()]);
    let mut names: BTreeMap<(u64, u64), BTreeSet<String>> = BTreeMap::new();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            if of_no_account.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if metadata.is_dir() {
                waiting.push(path.clone());
                Vec::new()
            } else if metadata.is_file() {
                names.entry((metadata.dev(), metadata.ino())).or_default().insert(name.clone());
                [fs::read(&path).unwrap(), attribute(&path)].concat()
            } else {
                Vec::new()
            };
            seen.insert(name, (metadata.mode(), metadata.uid(), metadata.gid(), content));
        }
    }
    for same in names.into_values().filter(|names| names.len() > 1) {
        let line = format!("\nlinked: {}", same.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
        for name in &same {
            seen.get_mut(name).unwrap().3.extend(line.as_bytes());
        }
    }
    seen
}

/// The one extended attribute the tests set.
pub(crate) const ATTRIBUTE: &str = "trusted.countersign-test";

fn attribute(path: &Path) -> Vec<u8> {
    let mut value = vec![0; 64];
    let length = rustix::fs::lgetxattr(path, ATTRIBUTE, &mut value[..]).unwrap_or(0);
    value.truncate(length);
    value
}

/// What differs between two hosts, in few words.
pub(crate) fn differences(a: &Snapshot, b: &Snapshot) -> Vec<String> {
    let content = |snapshot: &Snapshot, path: &str| snapshot.get(path).map(|seen| seen.3.clone()).unwrap_or_default();
    // The line in which they differ says it; what comes before it is long.
    let same = |path: &str| {
        let (a, b) = (content(a, path), content(b, path));
        let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        a[..same].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
    };
    let shown = |snapshot: &Snapshot, path: &str| match snapshot.get(path) {
        None => "nothing".to_owned(),
        Some((mode, uid, gid, content)) => {
            let text: String = String::from_utf8_lossy(&content[same(path)..]).chars().take(300).collect();
            format!("{mode:o} {uid}:{gid} {text:?}")
        }
    };
    let paths: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let differing = paths.into_iter().filter(|path| a.get(*path) != b.get(*path));
    differing.take(5).map(|path| format!("{path}: {} / {}", shown(a, path), shown(b, path))).collect()
}

/// Directory trees.
pub(crate) struct Tree;

impl Bench for Tree {
    fn new() -> Result<Self, String> {
        Ok(Self)
    }

    fn kind(&self) -> InstallerKind {
        InstallerKind::DirectoryTree
    }

    fn target(&self, endpoint: &Endpoint) -> PathBuf {
        endpoint.data().join("installs")
    }

    fn artifacts(&self, release: u64) -> Vec<(String, Vec<u8>)> {
        vec![("tree.tar".to_owned(), tree_of(&format!("1.0.{release}")))]
    }

    fn probe(&self, release: u64) -> HealthCheck {
        says("{tree}/bin/version", &format!("1.0.{release}"))
    }

    fn snapshot(&self, endpoint: &Endpoint) -> Snapshot {
        endpoint.installed().map(|installed| snapshot(&installed.tree, &[])).unwrap_or_default()
    }
}

/// What of a root says nothing about what is installed.
const BOOKKEEPING: [&str; 6] = [
    "var/lib/dpkg/lock",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/triggers/Lock",
    "var/cache/ldconfig",
    "etc/ld.so.cache",
    "var/log",
];

fn packages_snapshot(root: &Path) -> Snapshot {
    let mut snapshot = snapshot(root, &BOOKKEEPING);
    // The text of the database has an order of its own; what it says is told by dpkg-query.
    snapshot.remove("var/lib/dpkg/status");
    snapshot.insert("packages".to_owned(), (0, 0, 0, debian::packages(root).into_bytes()));
    snapshot
}

fn package_probe(package: &str, version: &str) -> HealthCheck {
    let probe = Probe::PackageVersion { package: Name::new(package).unwrap(), version: Text::new(version).unwrap() };
    HealthCheck { probe, timeout_ms: 10_000, attempts: 1, interval_ms: 10 }
}

fn debian_config(root: &Path) -> String {
    format!("[installers.debian]\nenabled = true\nroot = \"{}\"\nlock_wait_ms = 20000", root.display())
}

/// Debian packages made for the test, in a bare root.
pub(crate) struct Packages(pub(crate) TempDir);

impl Packages {
    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }
}

impl Bench for Packages {
    fn new() -> Result<Self, String> {
        debian::lacking()?;
        Ok(Self(tempfile::tempdir().unwrap()))
    }

    fn kind(&self) -> InstallerKind {
        InstallerKind::Debian
    }

    fn config(&self) -> String {
        debian_config(&self.root())
    }

    fn target(&self, _: &Endpoint) -> PathBuf {
        self.root()
    }

    fn build(&mut self, _: &Endpoint) {
        debian::bare_root(&self.root());
        let bystander =
            debian::Deb::new("bystander", "7").data(Archive::new().directory("./etc/").file("./etc/by", "7"));
        assert!(debian::dpkg_install(&self.root(), &[bystander.bytes()]));
    }

    fn artifacts(&self, release: u64) -> Vec<(String, Vec<u8>)> {
        let [app, library] = debian::pair(&format!("1.0.{release}"));
        vec![("app.deb".to_owned(), app), ("libapp.deb".to_owned(), library)]
    }

    fn probe(&self, release: u64) -> HealthCheck {
        package_probe("app", &format!("1.0.{release}"))
    }

    fn snapshot(&self, _: &Endpoint) -> Snapshot {
        packages_snapshot(&self.root())
    }
}

impl InPlace for Packages {
    fn new_directory(&self, release: u64) -> String {
        format!("usr/share/app/1.0.{release}")
    }
}

/// Real Debian packages in a real Debian.
pub(crate) struct RealPackages {
    real: Real,
    room: TempDir,
    mount: Option<Mount>,
}

impl RealPackages {
    pub(crate) fn root(&self) -> PathBuf {
        self.room.path().join("mounted/root")
    }

    pub(crate) fn version(&self, release: u64) -> String {
        let bytes = &self.real.pair(release)[0].1;
        let file = self.room.path().join("asked.deb");
        fs::write(&file, bytes).unwrap();
        let asked = std::process::Command::new("dpkg-deb").arg("--field").arg(&file).arg("Version").output().unwrap();
        String::from_utf8(asked.stdout).unwrap().trim().to_owned()
    }
}

impl Bench for RealPackages {
    fn new() -> Result<Self, String> {
        Ok(Self { real: Real::new()?, room: tempfile::tempdir().unwrap(), mount: None })
    }

    fn kind(&self) -> InstallerKind {
        InstallerKind::Debian
    }

    fn config(&self) -> String {
        debian_config(&self.root())
    }

    fn target(&self, _: &Endpoint) -> PathBuf {
        self.room.path().join("mounted")
    }

    fn build(&mut self, _: &Endpoint) {
        // What is changed is on the disk that is the target; what is not is shared by all tests.
        let mounted = self.room.path().join("mounted");
        self.mount = self.real.mount(&mounted, &self.root());
        assert!(self.mount.is_some(), "root may mount");
    }

    fn artifacts(&self, release: u64) -> Vec<(String, Vec<u8>)> {
        self.real.pair(release)
    }

    fn probe(&self, release: u64) -> HealthCheck {
        package_probe("jq", &if release > 2 { "never".to_owned() } else { self.version(release) })
    }

    fn snapshot(&self, _: &Endpoint) -> Snapshot {
        packages_snapshot(&self.root())
    }
}

/// RPM packages made for the test, in a root with nothing else.
pub(crate) struct Rpms(pub(crate) TempDir);

impl Rpms {
    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }
}

impl Bench for Rpms {
    fn new() -> Result<Self, String> {
        rpm::lacking()?;
        Ok(Self(tempfile::tempdir().unwrap()))
    }

    fn kind(&self) -> InstallerKind {
        InstallerKind::Rpm
    }

    fn config(&self) -> String {
        format!("[installers.rpm]\nenabled = true\nroot = \"{}\"\nlock_wait_ms = 20000", self.root().display())
    }

    fn target(&self, _: &Endpoint) -> PathBuf {
        self.root()
    }

    fn build(&mut self, _: &Endpoint) {
        rpm::bare_root(&self.root());
        assert!(rpm::install(&self.root(), &[rpm::bystander("7")]));
    }

    fn artifacts(&self, release: u64) -> Vec<(String, Vec<u8>)> {
        let [app, library] = rpm::pair(&format!("1.0.{release}"));
        vec![("app.rpm".to_owned(), app), ("libapp.rpm".to_owned(), library)]
    }

    fn probe(&self, release: u64) -> HealthCheck {
        package_probe("app", &format!("1.0.{release}-1"))
    }

    fn snapshot(&self, _: &Endpoint) -> Snapshot {
        // The database is pages in an order of their own; what it says is told by rpm.
        let mut snapshot = snapshot(&self.root(), &["var/lib/rpm/", "var/tmp"]);
        snapshot.insert("packages".to_owned(), (0, 0, 0, rpm::packages(&self.root()).into_bytes()));
        snapshot
    }
}

impl InPlace for Rpms {
    fn new_directory(&self, release: u64) -> String {
        format!("usr/share/app/1.0.{release}")
    }
}

/// File sets.
pub(crate) struct Files(pub(crate) TempDir);

impl Files {
    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }
}

impl Bench for Files {
    fn new() -> Result<Self, String> {
        let room = tempfile::tempdir().unwrap();
        fs::create_dir_all(room.path().join("root/etc/acme")).unwrap();
        Ok(Self(room))
    }

    fn kind(&self) -> InstallerKind {
        InstallerKind::FileSet
    }

    fn config(&self) -> String {
        format!("[installers.file-set]\nroot = \"{}\"\ndirectories = [\"/etc/acme\"]", self.root().display())
    }

    fn target(&self, _: &Endpoint) -> PathBuf {
        self.root()
    }

    fn build(&mut self, _: &Endpoint) {
        let place = self.root().join("etc/acme");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("by"), "not of the set").unwrap();
        fs::write(place.join("main.conf"), "made by hand").unwrap();
        if super::disk::is_root() {
            std::os::unix::fs::chown(place.join("main.conf"), Some(1234), Some(4321)).unwrap();
            let flags = rustix::fs::XattrFlags::empty();
            // Where the file system keeps such attributes.
            let _ = rustix::fs::lsetxattr(place.join("main.conf"), ATTRIBUTE, b"kept", flags);
        }
    }

    fn artifacts(&self, release: u64) -> Vec<(String, Vec<u8>)> {
        let set = Archive::new()
            .entry(
                tar::EntryType::Regular,
                b"etc/acme/main.conf",
                0o640,
                b"",
                format!("release = {release}\n").as_bytes(),
            )
            .file("etc/acme/same.conf", "the same in every release\n")
            .directory(&format!("etc/acme/conf.{release}/"))
            .file(&format!("etc/acme/conf.{release}/only-here.conf"), &"x".repeat(20_000))
            .program("etc/acme/version", &format!("#!/bin/sh\necho {release}\n"));
        vec![("files.tar".to_owned(), set.bytes())]
    }

    fn probe(&self, release: u64) -> HealthCheck {
        says("{tree}/etc/acme/version", &release.to_string())
    }

    fn snapshot(&self, _: &Endpoint) -> Snapshot {
        snapshot(&self.root(), &[])
    }
}

impl InPlace for Files {
    fn new_directory(&self, release: u64) -> String {
        format!("etc/acme/conf.{release}")
    }
}
