//! `[installers]`: what each kind of installer may do on this host.

use super::{Wrong, wrong};
use crate::containers::bundle::{OF_THE_HOST, OF_THE_KERNEL};
use crate::installer::images::environment::TRIES_MAX;
use ledger::patch::InstallerKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Directories a file set may put files into.
const DIRECTORIES_MAX: usize = 64;

/// Longest word of a kernel's command line that names the slot.
const KEY_BYTES_MAX: usize = 64;

/// What each kind of installer may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installers {
    /// How long making everything ready for an update may take.
    pub prepare_deadline: Duration,
    /// How long putting it in place may take; then it is taken back.
    pub put_deadline: Duration,
    /// Debian packages.
    pub debian: Debian,
    /// RPM packages.
    pub rpm: Rpm,
    /// File sets.
    pub file_set: FileSet,
    /// Image slots.
    pub images: Images,
    /// Container images.
    pub containers: Containers,
    /// Scripts.
    pub scripts: Scripts,
}

/// Where the RPM database is, if nobody says otherwise. Where it moved this is a link to it.
pub const RPM_DATABASE_DEFAULT: &str = "/var/lib/rpm";

/// RPM packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rpm {
    /// Whether they are offered at all: not before the house says so.
    pub enabled: bool,
    /// The root whose packages are changed.
    pub root: PathBuf,
    /// The directory of their database, as from the root.
    pub database: PathBuf,
    /// How long to wait for others who work with packages.
    pub lock_wait: Duration,
    /// How long one call of rpm may take.
    pub deadline: Duration,
}

/// Debian packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debian {
    /// Whether they are offered at all: not before the house says so.
    pub enabled: bool,
    /// The root whose packages are changed.
    pub root: PathBuf,
    /// How long to wait for others who work with packages.
    pub lock_wait: Duration,
    /// How long one call of dpkg may take.
    pub deadline: Duration,
}

/// File sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSet {
    /// The root that paths begin at.
    pub root: PathBuf,
    /// Absolute directories, as from the root; file sets are not offered without any.
    pub directories: Vec<PathBuf>,
}

/// Image slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Whether they are offered at all: not before the house says so.
    pub enabled: bool,
    /// The one slot: a block device, or a file of a fixed size.
    pub slot_a: PathBuf,
    /// The other one.
    pub slot_b: PathBuf,
    /// The file in which the boot loader and the agent tell each other which slot is started.
    pub environment: PathBuf,
    /// Where the kernel says what it was started with.
    pub command_line: PathBuf,
    /// The word in it that names the slot.
    pub key: String,
    /// How often a new image may be started before it must have been judged.
    pub tries: u8,
    /// Where the image that runs is mounted.
    pub root: PathBuf,
}

/// Container images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Containers {
    /// Whether they are offered at all: not before the house says so.
    pub enabled: bool,
    /// Directories of the host that containers may write to, by where these see them.
    pub directories: BTreeMap<String, PathBuf>,
}

/// Scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripts {
    /// Whether they are offered at all: not before the house says so.
    pub enabled: bool,
    /// The root that paths begin at.
    pub root: PathBuf,
    /// Absolute directories, as from the root, that scripts may change.
    pub directories: Vec<PathBuf>,
    /// How long one may run.
    pub deadline: Duration,
    /// Most memory of one of its processes.
    pub memory_bytes: u64,
    /// Most bytes of all the directories together, with what a script made in them.
    pub disk_bytes: u64,
}

impl Scripts {
    /// The directories, as from the root, without the slash that they begin with.
    pub(crate) fn relative_directories(&self) -> impl Iterator<Item = &str> {
        self.directories.iter().filter_map(|directory| Some(directory.to_str()?.trim_matches('/')))
    }
}

impl Installers {
    /// Directories of the host that patches may change, by the field that names them.
    fn directories(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let beneath = |root: &Path, directory: &Path| root.join(directory.strip_prefix("/").unwrap_or(directory));
        let Self { file_set, scripts, containers, .. } = self;
        let sets = file_set.directories.iter().map(move |it| ("file-set", beneath(&file_set.root, it)));
        let scripts = scripts.directories.iter().map(move |it| ("scripts", beneath(&scripts.root, it)));
        let containers = containers.directories.values().map(|it| ("containers", it.clone()));
        sets.chain(scripts).chain(containers)
    }

    /// Makes sure that no patch is let into what the agent itself stands on: its data directory, and the directory of its
    /// configuration, its key and what it trusts.
    pub(super) fn keep_off<'a>(
        &self,
        data_dir: &'a Path,
        own: impl Iterator<Item = &'a Path> + Clone,
    ) -> Result<(), Wrong> {
        for (kind, directory) in self.directories() {
            let field = || format!("installers.{kind}.directories");
            if let Some(own) = own.clone().chain([data_dir]).find(|own| own.starts_with(&directory)) {
                let problem = format!("{} holds {}, which is the agent's own", directory.display(), own.display());
                return wrong(field(), problem);
            }
            if directory.starts_with(data_dir) {
                let problem = format!("{} is in {}, which is the agent's own", directory.display(), data_dir.display());
                return wrong(field(), problem);
            }
        }
        Ok(())
    }

    /// Whether the house wants patches of a kind to be installed here; directory trees need nobody's word.
    #[must_use]
    pub fn wants(&self, kind: InstallerKind) -> bool {
        match kind {
            InstallerKind::DirectoryTree => true,
            InstallerKind::Debian => self.debian.enabled,
            InstallerKind::Rpm => self.rpm.enabled,
            InstallerKind::FileSet => !self.file_set.directories.is_empty(),
            InstallerKind::ImageSlot => self.images.enabled,
            InstallerKind::Container => self.containers.enabled,
            InstallerKind::Script => self.scripts.enabled,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    prepare_deadline_ms: u64,
    put_deadline_ms: u64,
    debian: RawDebian,
    rpm: RawRpm,
    #[serde(rename = "file-set")]
    file_set: RawFileSet,
    images: RawImages,
    containers: RawContainers,
    scripts: RawScripts,
}

impl Default for Raw {
    fn default() -> Self {
        const HOUR_MS: u64 = 60 * 60 * 1000;
        let (debian, rpm, file_set) = (RawDebian::default(), RawRpm::default(), RawFileSet::default());
        let (images, containers) = (RawImages::default(), RawContainers::default());
        let scripts = RawScripts::default();
        Self {
            prepare_deadline_ms: HOUR_MS,
            put_deadline_ms: HOUR_MS,
            debian,
            rpm,
            file_set,
            images,
            containers,
            scripts,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawDebian {
    enabled: bool,
    root: PathBuf,
    lock_wait_ms: u64,
    deadline_ms: u64,
}

impl Default for RawDebian {
    fn default() -> Self {
        Self { enabled: false, root: "/".into(), lock_wait_ms: 120_000, deadline_ms: 30 * 60 * 1000 }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawRpm {
    enabled: bool,
    root: PathBuf,
    database: PathBuf,
    lock_wait_ms: u64,
    deadline_ms: u64,
}

impl Default for RawRpm {
    fn default() -> Self {
        let RawDebian { enabled, root, lock_wait_ms, deadline_ms } = RawDebian::default();
        Self { enabled, root, database: RPM_DATABASE_DEFAULT.into(), lock_wait_ms, deadline_ms }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawFileSet {
    root: PathBuf,
    directories: Vec<PathBuf>,
}

impl Default for RawFileSet {
    fn default() -> Self {
        Self { root: "/".into(), directories: Vec::new() }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawImages {
    enabled: bool,
    slot_a: PathBuf,
    slot_b: PathBuf,
    environment: PathBuf,
    command_line: PathBuf,
    key: String,
    tries: u8,
    root: PathBuf,
}

impl Default for RawImages {
    fn default() -> Self {
        Self {
            enabled: false,
            slot_a: "/dev/disk/by-partlabel/slot-a".into(),
            slot_b: "/dev/disk/by-partlabel/slot-b".into(),
            environment: "/boot/countersign.env".into(),
            command_line: "/proc/cmdline".into(),
            key: "countersign.slot".to_owned(),
            tries: 3,
            root: "/".into(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawContainers {
    enabled: bool,
    directories: BTreeMap<String, PathBuf>,
}

fn parse_containers(raw: &RawContainers) -> Result<Containers, Wrong> {
    let RawContainers { enabled, directories } = raw.clone();
    let field = "installers.containers.directories";
    if directories.len() > DIRECTORIES_MAX {
        return wrong(field, format!("{} directories, {DIRECTORIES_MAX} at most", directories.len()));
    }
    for (inside, outside) in &directories {
        check_root(field, outside)?;
        check_root(field, Path::new(inside))?;
        let taken = OF_THE_KERNEL.into_iter().chain(OF_THE_HOST).find(|taken| Path::new(inside).starts_with(taken));
        if let Some(taken) = taken {
            return wrong(field, format!("{inside} is in {taken}, which is mounted from elsewhere"));
        }
        if Path::new(inside) == Path::new("/") {
            return wrong(field, "/ is the image itself: name the directory that is written to");
        }
    }
    Ok(Containers { enabled, directories })
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RawScripts {
    enabled: bool,
    root: PathBuf,
    directories: Vec<PathBuf>,
    deadline_ms: u64,
    memory_mb: u64,
    disk_mb: u64,
}

impl Default for RawScripts {
    fn default() -> Self {
        let (root, directories) = ("/".into(), Vec::new());
        Self { enabled: false, root, directories, deadline_ms: 60_000, memory_mb: 512, disk_mb: 1024 }
    }
}

/// Directories that a script may use and not change, or that are not kept.
const NOT_A_SCRIPTS: [&str; 11] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/proc", "/dev", "/sys", "/tmp", "/run"];

fn parse_scripts(raw: &RawScripts) -> Result<Scripts, Wrong> {
    let RawScripts { enabled, root, directories, deadline_ms, memory_mb, disk_mb } = raw.clone();
    check_root("installers.scripts.root", &root)?;
    if deadline_ms == 0 || memory_mb == 0 || disk_mb == 0 {
        return wrong("installers.scripts", "a script needs some time, some memory and some room");
    }
    let field = "installers.scripts.directories";
    check_directories(field, &directories)?;
    for directory in &directories {
        if let Some(taken) = NOT_A_SCRIPTS.into_iter().find(|taken| directory.starts_with(taken)) {
            return wrong(field, format!("{} is in {taken}, which is not a script's to change", directory.display()));
        }
        if let Some(outer) = directories.iter().find(|other| *other != directory && directory.starts_with(other)) {
            let problem = format!("{} is in {}: one of them is enough", directory.display(), outer.display());
            return wrong(field, problem);
        }
    }
    let deadline = Duration::from_millis(deadline_ms);
    let [memory_bytes, disk_bytes] = [memory_mb, disk_mb].map(|mb| mb.saturating_mul(1 << 20));
    Ok(Scripts { enabled, root, directories, deadline, memory_bytes, disk_bytes })
}

/// Directories of the host that something may be put into.
fn check_directories(field: &str, directories: &[PathBuf]) -> Result<(), Wrong> {
    if directories.len() > DIRECTORIES_MAX {
        return wrong(field, format!("{} directories, {DIRECTORIES_MAX} at most", directories.len()));
    }
    for directory in directories {
        check_root(field, directory)?;
        if directory == Path::new("/") {
            return wrong(field, "/ is everything: name the directories that are meant");
        }
    }
    Ok(())
}

fn parse_images(raw: &RawImages) -> Result<Images, Wrong> {
    let RawImages { enabled, slot_a, slot_b, environment, command_line, key, tries, root } = raw.clone();
    let paths = [("slot_a", &slot_a), ("slot_b", &slot_b), ("environment", &environment), ("root", &root)];
    for (field, path) in paths.into_iter().chain([("command_line", &command_line)]) {
        check_root(&format!("installers.images.{field}"), path)?;
    }
    if slot_a == slot_b {
        return wrong("installers.images.slot_b", "the slots are two: one runs while the other is written");
    }
    if !(1..=TRIES_MAX).contains(&tries) {
        return wrong("installers.images.tries", format!("1 to {TRIES_MAX}: the boot loader counts with one digit"));
    }
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(is_plain) {
        return wrong("installers.images.key", format!("a word without `=`, {KEY_BYTES_MAX} bytes at most"));
    }
    Ok(Images { enabled, slot_a, slot_b, environment, command_line, key, tries, root })
}

pub(super) fn parse(raw: &Raw) -> Result<Installers, Wrong> {
    let Raw { prepare_deadline_ms, put_deadline_ms, debian, rpm, file_set, images, containers, scripts } = raw;
    for (field, ms) in [
        ("prepare_deadline_ms", *prepare_deadline_ms),
        ("put_deadline_ms", *put_deadline_ms),
        ("debian.deadline_ms", debian.deadline_ms),
        ("rpm.deadline_ms", rpm.deadline_ms),
    ] {
        if ms == 0 {
            return wrong(format!("installers.{field}"), "nothing is that quick");
        }
    }
    for (field, path) in [
        ("debian.root", &debian.root),
        ("rpm.root", &rpm.root),
        ("rpm.database", &rpm.database),
        ("file-set.root", &file_set.root),
    ] {
        check_root(&format!("installers.{field}"), path)?;
    }
    check_directories("installers.file-set.directories", &file_set.directories)?;
    let RawDebian { enabled, root, lock_wait_ms, deadline_ms } = debian.clone();
    let (lock_wait, deadline) = (Duration::from_millis(lock_wait_ms), Duration::from_millis(deadline_ms));
    let rpm = Rpm {
        enabled: rpm.enabled,
        root: rpm.root.clone(),
        database: rpm.database.clone(),
        lock_wait: Duration::from_millis(rpm.lock_wait_ms),
        deadline: Duration::from_millis(rpm.deadline_ms),
    };
    let RawFileSet { root: file_root, directories } = file_set.clone();
    Ok(Installers {
        prepare_deadline: Duration::from_millis(*prepare_deadline_ms),
        put_deadline: Duration::from_millis(*put_deadline_ms),
        debian: Debian { enabled, root, lock_wait, deadline },
        rpm,
        file_set: FileSet { root: file_root, directories },
        images: parse_images(images)?,
        containers: parse_containers(containers)?,
        scripts: parse_scripts(scripts)?,
    })
}

/// An absolute path that means one place.
pub(super) fn check_root(field: &str, path: &Path) -> Result<(), Wrong> {
    let plain = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    match plain && path.to_str().is_some() {
        true => Ok(()),
        false => wrong(field, format!("{} must be absolute, without `..`", path.display())),
    }
}
