//! Restarts of the host, as far as an update has to do with them: whether one is needed, how the host
//! is told from one that has restarted, and what asks for one.

use super::tool::{self, Tool, ToolError};
use crate::config;
use crate::files::{self, FileError, failed};
use ledger::patch::Reboot;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Another one after every start of the kernel, beneath the root.
const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";
/// What packages leave when the host is to be restarted, beneath the root.
const REQUIRED: &str = "run/reboot-required";
/// Seconds since the kernel started, beneath the root.
const UPTIME: &str = "proc/uptime";
/// Bytes of that file: two numbers.
const UPTIME_BYTES_MAX: usize = 128;
/// Bytes of a boot id: 36, and the end of the line.
const BOOT_ID_BYTES_MAX: usize = 64;

/// Which run of the host this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootId(String);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// That the host asks for a restart: which file says so, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    inode: u64,
    changed: (i64, i64),
    bytes: u64,
}

/// Why the host is not restarted.
#[derive(Debug, thiserror::Error)]
#[error("cannot restart the host")]
pub struct RestartError(#[source] RestartCause);

#[derive(Debug, thiserror::Error)]
enum RestartCause {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("there is no {0} here")]
    NoTool(String),
    #[error("the call broke off: {0}")]
    Died(String),
}

/// The host's restarts.
#[derive(Clone, Debug)]
pub(super) struct Restarts {
    config: config::Reboot,
    may: bool,
}

impl Restarts {
    /// `may`: whether this agent may ever restart the host.
    pub(super) fn new(config: &config::Reboot, may: bool) -> Self {
        Self { config: config.clone(), may }
    }

    /// Whether this agent may ever restart the host.
    pub(super) fn may(&self) -> bool {
        self.may
    }

    /// Until when a patch that is in place may wait to be judged, where the host has run for so long.
    pub(super) fn deadline_ms(&self, running_ms: u64) -> u64 {
        running_ms.saturating_add(u64::try_from(self.config.deadline.as_millis()).unwrap_or(u64::MAX))
    }

    /// Which run of the host this is.
    pub(super) fn boot_id(&self) -> Result<BootId, FileError> {
        let path = self.config.root.join(BOOT_ID);
        let text = String::from_utf8_lossy(&files::read(&path, BOOT_ID_BYTES_MAX)?).trim().to_owned();
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        match plain {
            true => Ok(BootId(text)),
            false => Err(failed("understand", &path)(io::Error::other("it is no boot id"))),
        }
    }

    /// How long it takes until the host counts as up; where nobody can tell since when it runs, it began
    /// just now.
    pub(super) fn until_up(&self) -> Duration {
        let text = files::read(&self.config.root.join(UPTIME), UPTIME_BYTES_MAX).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let seconds = text.split([' ', '.']).next().and_then(|seconds| seconds.parse().ok());
        self.config.up_after.saturating_sub(Duration::from_secs(seconds.unwrap_or(0)))
    }

    /// Whether the host asks for a restart, if it does.
    pub(super) fn wish(&self) -> Option<Wish> {
        let metadata = std::fs::symlink_metadata(required(&self.config)).ok()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some(Wish { inode: metadata.ino(), changed, bytes: metadata.len() })
    }

    /// Whether a patch that is in place must wait for a restart; `before` is what the host asked for
    /// before it was. What was asked for already is not this patch's business.
    pub(super) fn is_needed(&self, reboot: Reboot, before: Option<Wish>) -> bool {
        let asks = || self.wish().is_some_and(|wish| Some(wish) != before);
        self.may
            && match reboot {
                Reboot::Never => false,
                Reboot::IfNeeded => asks(),
                Reboot::Required => true,
            }
    }

    /// Makes sure before anything is changed that a restart could be told from none.
    pub(super) fn check(&self, reboot: Reboot) -> Result<(), FileError> {
        match self.may && reboot != Reboot::Never {
            true => self.boot_id().map(drop),
            false => Ok(()),
        }
    }

    /// Has the host restarted. When this returns, it is about to go down.
    pub(super) async fn restart(&self) -> Result<(), RestartError> {
        let config = self.config.clone();
        let called = tokio::task::spawn_blocking(move || call(&config)).await;
        called.unwrap_or_else(|died| Err(RestartCause::Died(died.to_string()))).map_err(RestartError)
    }
}

/// Whether the host could be restarted, and be told from one that has restarted.
///
/// # Errors
/// What is missing, for people.
pub fn check(config: &config::Reboot) -> Result<(), String> {
    let restarts = Restarts::new(config, true);
    restarts.boot_id().map_err(|error| crate::settled::chain(&error))?;
    match program(config) {
        Ok(path) if path.is_file() => Ok(()),
        Ok(path) => Err(format!("there is no {} here", path.display())),
        Err(error) => Err(error.to_string()),
    }
}

/// What packages leave when the host is to be restarted.
#[must_use]
pub fn required(config: &config::Reboot) -> PathBuf {
    config.root.join(REQUIRED)
}

fn call(config: &config::Reboot) -> Result<(), RestartCause> {
    let arguments = config.command.get(1..).unwrap_or_default();
    Ok(Tool::new(&program(config)?, config.patience).args(arguments).run().0?)
}

fn program(config: &config::Reboot) -> Result<PathBuf, RestartCause> {
    let name = config.command.first().map_or("", String::as_str);
    let program = if name.contains('/') { Some(Path::new(name).to_owned()) } else { tool::find(name) };
    program.ok_or_else(|| RestartCause::NoTool(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarts(root: &Path, may: bool) -> Restarts {
        let hour = Duration::from_secs(3600);
        let command = vec!["/bin/sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()];
        let up_after = Duration::from_secs(120);
        Restarts::new(&config::Reboot { command, root: root.to_owned(), patience: hour, deadline: hour, up_after }, may)
    }

    #[test]
    fn a_host_is_up_when_it_has_run_for_a_while() {
        let root = tempfile::tempdir().unwrap();
        let restarts = restarts(root.path(), true);
        std::fs::create_dir(root.path().join("proc")).unwrap();
        for (uptime, wait_s) in
            [("0.05 0.01\n", 120), ("119.99 400.00\n", 1), ("120.00 1.00\n", 0), ("9000000.1 1\n", 0)]
        {
            std::fs::write(root.path().join(UPTIME), uptime).unwrap();
            assert_eq!(restarts.until_up(), Duration::from_secs(wait_s), "{uptime}");
        }
        // Who cannot tell waits all of it.
        for strange in ["", "soon", "-5 1"] {
            std::fs::write(root.path().join(UPTIME), strange).unwrap();
            assert_eq!(restarts.until_up(), Duration::from_secs(120), "{strange}");
        }
    }

    #[test]
    fn what_the_host_asked_for_before_is_not_the_patchs_business() {
        let root = tempfile::tempdir().unwrap();
        let (may, may_not) = (restarts(root.path(), true), restarts(root.path(), false));
        let silent = may.wish();
        assert!(silent.is_none() && may.is_needed(Reboot::Required, silent));
        assert!(!may.is_needed(Reboot::IfNeeded, silent) && !may_not.is_needed(Reboot::Required, silent));
        std::fs::create_dir(root.path().join("run")).unwrap();
        std::fs::write(root.path().join("run/reboot-required"), "*** System restart required ***\n").unwrap();
        let asked = may.wish();
        assert!(may.is_needed(Reboot::IfNeeded, silent) && !may.is_needed(Reboot::Never, silent));
        assert!(!may.is_needed(Reboot::IfNeeded, asked));
        // Somebody else's package asks again.
        std::fs::write(root.path().join("run/reboot-required"), "*** once more ***\n").unwrap();
        assert!(may.is_needed(Reboot::IfNeeded, asked));
    }

    #[tokio::test]
    async fn a_host_that_cannot_be_told_from_a_restarted_one_is_not_begun_with() {
        let root = tempfile::tempdir().unwrap();
        let restarts = restarts(root.path(), true);
        assert!(restarts.check(Reboot::IfNeeded).unwrap_err().is_not_found());
        restarts.check(Reboot::Never).unwrap();
        let path = root.path().join(BOOT_ID);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for wrong in ["", "\n", "no boot id\n", "\u{1b}[2J\n"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(restarts.check(Reboot::Required).is_err(), "{wrong:?}");
        }
        std::fs::write(&path, "9f1c0a52-8f2b-4a55-9d34-6a2b8d6f4c11\n").unwrap();
        assert_eq!(restarts.boot_id().unwrap().to_string(), "9f1c0a52-8f2b-4a55-9d34-6a2b8d6f4c11");
        let failed = crate::settled::chain(&restarts.restart().await.unwrap_err());
        assert!(failed.starts_with("cannot restart the host: sh ended with exit status: 3"), "{failed}");
    }
}
