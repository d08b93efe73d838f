//! `dpkg` and its companions, called in the one way this agent calls them.

use super::super::install::Story;
use super::super::tool::{self, Tool, ToolError};
use super::database::{Database, FORMAT, LISTING_BYTES_MAX};
use crate::config;
use crate::files::{self, FileError, failed};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The tools needed.
const TOOLS: [&str; 3] = ["dpkg", "dpkg-deb", "dpkg-query"];
/// How long looking something up may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(300);
/// How often to look whether a lock is free.
const LOCK_LOOK: Duration = Duration::from_millis(50);
/// Variable that says on which root a dpkg of this agent works.
const MARKER: &str = "COUNTERSIGN_DPKG_ROOT";
/// Bytes looked at of what the kernel says about a process.
const PROCESS_BYTES_MAX: usize = 256 * 1024;
/// Largest output of `dpkg --verify`.
const VERIFY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why packages could not be worked with.
#[derive(Debug, thiserror::Error)]
pub(super) enum DpkgError {
    /// A tool.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody else works with packages.
    #[error("somebody else works with packages: {} was not free for {waited:?}", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// It would take something away that the patch does not name.
    #[error("dpkg would change what the patch does not name: {0}")]
    Extraneous(String),
}

impl DpkgError {
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            Self::Tool(error) => error.is_disk_full(),
            Self::File(error) => error.is_disk_full(),
            Self::Locked { .. } | Self::Extraneous(_) => false,
        }
    }
}

impl DpkgError {
    /// Whether nobody at all can change packages here.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Self::File(error) if error.source.kind() == std::io::ErrorKind::ReadOnlyFilesystem)
    }
}

/// The locks apt and dpkg take, held.
pub(super) struct Lock {
    _frontend: File,
}

/// The host's dpkg, working on one root.
pub(super) struct Dpkg {
    root: PathBuf,
    lock_wait: Duration,
    deadline: Duration,
}

impl Dpkg {
    pub(super) fn new(config: &config::Debian) -> Self {
        Self { root: config.root.clone(), lock_wait: config.lock_wait, deadline: config.deadline }
    }

    /// What this host lacks for Debian packages.
    pub(super) fn lacks(&self, root: &Path) -> Option<String> {
        if let Some(missing) = TOOLS.into_iter().find(|name| tool::find(name).is_none()) {
            return Some(format!("there is no {missing} here"));
        }
        if !root.join("var/lib/dpkg/status").is_file() {
            return Some(format!("{} has no package database", root.display()));
        }
        let user = rustix::process::geteuid();
        (!user.is_root()).then(|| "only root may change packages".to_owned())
    }

    fn tool(&self, name: &str, patience: Duration) -> Tool {
        let program = tool::find(name).unwrap_or_else(|| Path::new("/usr/bin").join(name));
        // Nobody is asked anything: maintainers' scripts have nobody to talk to.
        Tool::new(&program, patience)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("DEBCONF_NONINTERACTIVE_SEEN", "true")
            // This agent holds the frontend lock while it calls.
            .env("DPKG_FRONTEND_LOCKED", "true")
            .env(MARKER, &self.root)
    }

    /// `dpkg` on the root. Forced is only this: a configuration file that was changed on this host is
    /// kept without asking (`confold`), and an older package may take the place of a newer one
    /// (`downgrade`, for going back; whether a patch is newer is the ledger's release counter's word).
    fn dpkg(&self, patience: Duration) -> Tool {
        let tool = self.tool("dpkg", patience).args(["--force-confold", "--force-downgrade", "--abort-after=1"]);
        match self.root == Path::new("/") {
            true => tool,
            false => tool.args([option("--root=", &self.root)]),
        }
    }

    fn admin_directory(&self) -> PathBuf {
        self.root.join("var/lib/dpkg")
    }

    /// Takes the locks, or waits for whoever has them.
    pub(super) fn lock(&self) -> Result<Lock, DpkgError> {
        let deadline = Instant::now() + self.lock_wait;
        let frontend = self.lock_one("lock-frontend", deadline)?;
        // A dpkg that an agent left behind when it died holds this one only, until it is through …
        drop(self.lock_one("lock", deadline)?);
        // … and when it had only just begun, not even that one yet.
        while left_behind(&self.marker()) {
            if Instant::now() >= deadline {
                return Err(DpkgError::Locked { path: self.admin_directory(), waited: self.lock_wait });
            }
            std::thread::sleep(LOCK_LOOK);
        }
        Ok(Lock { _frontend: frontend })
    }

    /// What every dpkg on this root is known by.
    fn marker(&self) -> OsString {
        option(&format!("{MARKER}="), &self.root)
    }

    fn lock_one(&self, name: &str, deadline: Instant) -> Result<File, DpkgError> {
        let path = self.admin_directory().join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(files::PRIVATE_FILE_MODE);
        let file = options.open(&path).map_err(failed("open", &path))?;
        loop {
            match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::AGAIN | Errno::ACCESS) if Instant::now() < deadline => std::thread::sleep(LOCK_LOOK),
                Err(Errno::AGAIN | Errno::ACCESS) => return Err(DpkgError::Locked { path, waited: self.lock_wait }),
                Err(error) => return Err(failed("lock", &path)(error.into()).into()),
            }
        }
    }

    /// Every package there is.
    pub(super) fn database(&self) -> Result<Database, DpkgError> {
        let directory = option("--admindir=", &self.admin_directory());
        let tool = self.tool("dpkg-query", LOOK_PATIENCE).args([directory]).args(["--show", "--showformat", FORMAT]);
        Ok(Database::parse(&tool.read(LISTING_BYTES_MAX)?))
    }

    /// Tries an installation without doing it. Dependencies are not looked at in a trial; conflicts,
    /// architectures and the packages themselves are.
    pub(super) fn try_install(&self, packages: &[PathBuf]) -> Result<(), DpkgError> {
        let (result, lines) = self.dpkg(LOOK_PATIENCE).args(["--no-act", "--install"]).args(packages).run();
        result?;
        let takes_away = |line: &&String| line.contains("removing") || line.contains("deconfigur");
        match lines.iter().find(takes_away) {
            Some(line) => Err(DpkgError::Extraneous(line.trim().to_owned())),
            None => Ok(()),
        }
    }

    /// Installs packages, all in one go, in the time that is left and at most in that of one call.
    pub(super) fn install(&self, packages: &[PathBuf], left: Duration, story: &mut Story) -> Result<(), DpkgError> {
        self.act(self.dpkg(self.deadline.min(left)).args(["--install"]).args(packages), story)
    }

    /// Has dpkg write out what a killed one had left for later: it reads no selections at all, and that is
    /// reason enough for it.
    pub(super) fn write_out(&self) -> Result<(), DpkgError> {
        Ok(self.dpkg(LOOK_PATIENCE).args(["--set-selections"]).run().0?)
    }

    /// Has packages finish what they have left to do, triggers too.
    pub(super) fn finish(&self, instances: &[String]) -> Result<(), DpkgError> {
        Ok(self.dpkg(self.deadline).args(["--configure"]).args(instances).run().0?)
    }

    /// Takes packages away, with all they brought; also ones that are broken, and ones others lean on:
    /// those others are about to go or have just gone back.
    pub(super) fn purge(&self, instances: &[String], story: &mut Story) -> Result<(), DpkgError> {
        let forced = ["--force-remove-reinstreq", "--force-depends", "--purge"];
        self.act(self.dpkg(self.deadline).args(forced).args(instances), story)
    }

    fn act(&self, tool: Tool, story: &mut Story) -> Result<(), DpkgError> {
        let (result, lines) = tool.run();
        lines.iter().filter(|line| !line.is_empty()).for_each(|line| story.tell(format!("dpkg: {line}")));
        Ok(result?)
    }

    /// The first file that is not as its package has it, configuration files apart.
    pub(super) fn verify(&self, instances: &[String]) -> Result<Option<String>, DpkgError> {
        let tool = self.dpkg(LOOK_PATIENCE).args(["--verify"]).args(instances);
        // It ends with a status of its own when something differs; what it says is what counts.
        let (ended, said) = tool.stream(|from| {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(from, VERIFY_BYTES_MAX), &mut bytes).map(|_| bytes)
        })?;
        let said = said.map_err(|source| ToolError::Listen { tool: "dpkg".to_owned(), source })?;
        let said = String::from_utf8_lossy(&said).into_owned();
        // `??5?????? c /etc/…`: the letter says that it is a configuration file.
        let differs = said.lines().find(|line| line.as_bytes().get(10) != Some(&b'c'));
        match (ended, differs) {
            (_, Some(line)) => Ok(Some(line.trim().to_owned())),
            (Err(ToolError::Failed { .. }), None) if !said.is_empty() => Ok(None),
            (ended, None) => ended.map(|()| None).map_err(Into::into),
        }
    }

    /// Some fields of a package's control paragraph.
    pub(super) fn fields(&self, package: &Path, fields: &[&str], limit: u64) -> Result<String, DpkgError> {
        let bytes = self.tool("dpkg-deb", LOOK_PATIENCE).args(["--field"]).args([package]).args(fields).read(limit)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A package's control or data archive, read by `listen`.
    pub(super) fn archive<T>(
        &self,
        package: &Path,
        which: &str,
        listen: impl FnOnce(&mut dyn std::io::Read) -> T,
    ) -> Result<(Result<(), ToolError>, T), DpkgError> {
        Ok(self.tool("dpkg-deb", LOOK_PATIENCE).args([which]).args([package]).stream(listen)?)
    }
}

/// Whether a dpkg runs that an agent started which is no more. What its scripts left running carries the
/// marker as well, and is none; nor is what another user lets look like one.
fn left_behind(marker: &OsStr) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let own = users(Path::new("/proc/self"));
    processes.filter_map(|entry| Some(entry.ok()?.path())).filter(|process| users(process) == own).any(|process| {
        let read = |name: &str| files::read(&process.join(name), PROCESS_BYTES_MAX).unwrap_or_default();
        read("comm") == b"dpkg\n" && read("environ").split(|byte| *byte == 0).any(|one| one == marker.as_bytes())
    })
}

/// Whose a process is: real, effective, saved and file system user, as the kernel writes them.
fn users(process: &Path) -> Option<Vec<u8>> {
    let status = files::read(&process.join("status"), PROCESS_BYTES_MAX).ok()?;
    status.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"Uid:")).map(<[u8]>::to_vec)
}

/// `--option=path`, also for paths that are no text.
fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}
