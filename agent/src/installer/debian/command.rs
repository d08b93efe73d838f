//! `dpkg` and its companions, called in the one way this agent calls them.

use super::super::install::Story;
use super::super::others::{self, Turn};
use super::super::packages::{Altered, Database, ManagerError};
use super::super::tool::{self, Tool, ToolError};
use super::database::{self, FORMAT, LISTING_BYTES_MAX};
use crate::config;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The tools needed.
const TOOLS: [&str; 3] = ["dpkg", "dpkg-deb", "dpkg-query"];
/// How long looking something up may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(300);
/// Variable that says on which root a dpkg of this agent works.
const MARKER: &str = "COUNTERSIGN_DPKG_ROOT";
/// Largest output of `dpkg --verify`.
const VERIFY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The locks apt and dpkg take, held.
pub(in crate::installer) struct Lock {
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
    pub(super) fn lock(&self) -> Result<Lock, ManagerError> {
        let (turn, directory) = (Turn::within(self.lock_wait), self.admin_directory());
        let frontend = turn.lock(&directory.join("lock-frontend"))?;
        // A dpkg that an agent left behind when it died holds this one only, until it is through …
        drop(turn.lock(&directory.join("lock"))?);
        // … and when it had only just begun, not even that one yet.
        turn.wait_for_left_behind("dpkg", &others::marker(MARKER, &self.root), &directory)?;
        Ok(Lock { _frontend: frontend })
    }

    /// Every package there is.
    pub(super) fn database(&self) -> Result<Database, ManagerError> {
        let directory = option("--admindir=", &self.admin_directory());
        let tool = self.tool("dpkg-query", LOOK_PATIENCE).args([directory]).args(["--show", "--showformat", FORMAT]);
        Ok(database::parse(&tool.read(LISTING_BYTES_MAX)?))
    }

    /// Tries an installation without doing it. Dependencies are not looked at in a trial, and what must be there
    /// before only of the first packages to be installed (`is_first`); conflicts, architectures and the packages
    /// themselves are. All it says is listened to.
    pub(super) fn try_install(&self, packages: &[PathBuf], is_first: bool) -> Result<(), ManagerError> {
        let forced: &[&str] = if is_first { &[] } else { &["--force-depends"] };
        let tool = self.dpkg(LOOK_PATIENCE).args(forced).args(["--no-act", "--install"]).args(packages);
        let mut extraneous = None;
        let (result, _) = tool.run_hearing(|line| {
            if extraneous.is_none() && takes_away(line) {
                extraneous = Some(line.trim().to_owned());
            }
        });
        // It may fail because of that.
        match extraneous {
            Some(line) => Err(ManagerError::Extraneous(line)),
            None => Ok(result?),
        }
    }

    /// Installs packages, all in one go, in the time that is left and at most in that of one call.
    pub(super) fn install(&self, packages: &[PathBuf], left: Duration, story: &mut Story) -> Result<(), ManagerError> {
        self.act(self.dpkg(self.deadline.min(left)).args(["--install"]).args(packages), story)
    }

    /// Has dpkg write out what a killed one had left for later: it reads no selections at all, and that is
    /// reason enough for it.
    pub(super) fn write_out(&self) -> Result<(), ManagerError> {
        Ok(self.dpkg(LOOK_PATIENCE).args(["--set-selections"]).run().0?)
    }

    /// Has packages finish what they have left to do, triggers too.
    pub(super) fn finish(&self, instances: &[String]) -> Result<(), ManagerError> {
        Ok(self.dpkg(self.deadline).args(["--configure"]).args(instances).run().0?)
    }

    /// Takes packages away, with all they brought; also ones that are broken, and ones others lean on:
    /// those others are about to go or have just gone back.
    pub(super) fn purge(&self, instances: &[String], story: &mut Story) -> Result<(), ManagerError> {
        let forced = ["--force-remove-reinstreq", "--force-depends", "--purge"];
        self.act(self.dpkg(self.deadline).args(forced).args(instances), story)
    }

    fn act(&self, tool: Tool, story: &mut Story) -> Result<(), ManagerError> {
        let (result, lines) = tool.run();
        lines.iter().filter(|line| !line.is_empty()).for_each(|line| story.tell(format!("dpkg: {line}")));
        Ok(result?)
    }

    /// The files that are not as their packages have them, in the time that is left: somebody may have put a file
    /// there that nobody reads to its end.
    pub(super) fn verify(&self, instances: &[String], left: Duration) -> Result<Vec<Altered>, ManagerError> {
        let tool = self.dpkg(LOOK_PATIENCE.min(left)).args(["--verify"]).args(instances);
        // It ends with a status of its own when something differs; what it says is what counts.
        let (ended, said) = tool.read_whatever(VERIFY_BYTES_MAX)?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let altered: Vec<Altered> = said.lines().filter_map(altered).collect();
        match ended {
            Err(ToolError::Failed { .. }) if !altered.is_empty() => Ok(altered),
            ended => ended.map(|()| altered).map_err(Into::into),
        }
    }

    /// Some fields of a package's control paragraph.
    pub(super) fn fields(&self, package: &Path, fields: &[&str], limit: u64) -> Result<String, ManagerError> {
        let bytes = self.tool("dpkg-deb", LOOK_PATIENCE).args(["--field"]).args([package]).args(fields).read(limit)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A package's control or data archive, read by `listen`.
    pub(super) fn archive<T>(
        &self,
        package: &Path,
        which: &str,
        listen: impl FnOnce(&mut dyn std::io::Read) -> T,
    ) -> Result<(Result<(), ToolError>, T), ManagerError> {
        Ok(self.tool("dpkg-deb", LOOK_PATIENCE).args([which]).args([package]).stream(listen)?)
    }
}

/// `??5?????? c /etc/…`: the letter says that it is a configuration file.
fn altered(line: &str) -> Option<Altered> {
    let path = line.get(12..)?.trim_start_matches('/').to_owned();
    Some(Altered { path, is_configuration: line.as_bytes().get(10) == Some(&b'c'), told: line.trim().to_owned() })
}

/// Whether a line of a trial says that a package would have to go, or to stop working. A line about a file begins
/// otherwise, whatever the file is called.
fn takes_away(line: &str) -> bool {
    let says = ["considering removing", "will remove", "deconfigur", "isappear"];
    (line.starts_with("dpkg: ") || line.starts_with('(')) && says.iter().any(|words| line.contains(words))
}

/// `--option=path`, also for paths that are no text.
fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}
