//! Others who work with packages on this host: people, their tools, and what an agent left running when it died.

use crate::files::{self, FileError, failed};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often to look whether a lock is free.
const LOCK_LOOK: Duration = Duration::from_millis(50);
/// Bytes looked at of what the kernel says about a process.
const PROCESS_BYTES_MAX: usize = 256 * 1024;

/// Why it is not this agent's turn.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnError {
    /// Somebody else works with packages.
    #[error("somebody else works with packages: {} was not free for {waited:?}", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The lock cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Waiting for one's turn, for so long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    until: Instant,
    wait: Duration,
}

impl Turn {
    pub(super) fn within(wait: Duration) -> Self {
        Self { until: Instant::now() + wait, wait }
    }

    /// Takes a lock, or waits for whoever has it.
    pub(super) fn lock(self, path: &Path) -> Result<File, TurnError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(files::PRIVATE_FILE_MODE);
        let file = options.open(path).map_err(failed("open", path))?;
        loop {
            match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::AGAIN | Errno::ACCESS) => self.wait_for(path)?,
                Err(error) => return Err(failed("lock", path)(error.into()).into()),
            }
        }
    }

    /// Waits until no tool runs any more that an agent started which is no more.
    pub(super) fn wait_for_left_behind(self, tool: &str, marker: &OsStr, database: &Path) -> Result<(), TurnError> {
        while is_left_behind(tool, marker) {
            self.wait_for(database)?;
        }
        Ok(())
    }

    fn wait_for(self, path: &Path) -> Result<(), TurnError> {
        if Instant::now() >= self.until {
            return Err(TurnError::Locked { path: path.to_owned(), waited: self.wait });
        }
        std::thread::sleep(LOCK_LOOK);
        Ok(())
    }
}

/// What every tool an agent starts on a root is known by: a variable of its environment.
pub(super) fn marker(variable: &str, root: &Path) -> OsString {
    let mut marker = OsString::from(variable);
    marker.push("=");
    marker.push(root);
    marker
}

/// Whether such a tool runs. What its scripts left running carries the marker as well, and is none; nor is what
/// another user lets look like one.
fn is_left_behind(tool: &str, marker: &OsStr) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let own = users(Path::new("/proc/self"));
    let mut processes = processes.filter_map(|entry| Some(entry.ok()?.path()));
    processes.any(|process| users(&process) == own && is_one(&process, tool, marker))
}

/// Whether a process is a tool with a marker. One that is being started is called as its parent still, and has no
/// environment yet: it could be such a tool, and in a moment it says.
fn is_one(process: &Path, tool: &str, marker: &OsStr) -> bool {
    let read = |name: &str| files::read(&process.join(name), PROCESS_BYTES_MAX).unwrap_or_default();
    let is_called = read("comm").strip_suffix(b"\n") == Some(tool.as_bytes());
    let runs =
        || std::fs::read_link(process.join("exe")).is_ok_and(|program| program.file_name() == Some(tool.as_ref()));
    match &read("environ")[..] {
        [] => runs(),
        environment => is_called && environment.split(|byte| *byte == 0).any(|one| one == marker.as_bytes()),
    }
}

/// Whose a process is: real, effective, saved and file system user, as the kernel writes them.
fn users(process: &Path) -> Option<Vec<u8>> {
    let status = files::read(&process.join("status"), PROCESS_BYTES_MAX).ok()?;
    status.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"Uid:")).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A program of this name that runs until its input ends.
    fn runs(directory: &Path, name: &str, environment: &[(&str, &str)]) -> Child {
        let program = directory.join(name);
        std::fs::copy("/bin/cat", &program).unwrap();
        let mut command = Command::new(program);
        command.env_clear().envs(environment.iter().copied()).stdin(Stdio::piped());
        loop {
            match command.spawn() {
                // Whatever another test is about to start still has the copy open for writing.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                spawned => return spawned.unwrap(),
            }
        }
    }

    #[test]
    fn a_tool_is_known_by_its_name_and_its_marker_and_one_that_begins_by_its_program() {
        let directory = tempfile::tempdir().unwrap();
        let marker = marker("MARKER", Path::new("/root"));
        for (name, environment, expected) in [
            ("rpm", &[("MARKER", "/root")][..], true),
            ("rpm", &[("MARKER", "/elsewhere")], false),
            ("cat", &[("MARKER", "/root")], false),
            // As the kernel shows it before it has laid down the environment.
            ("rpm", &[], true),
            ("cat", &[], false),
        ] {
            let mut process = runs(directory.path(), name, environment);
            let place = PathBuf::from(format!("/proc/{}", process.id()));
            // `spawn` returns when the program was found; what it is called shows a moment later.
            let called = || std::fs::read_to_string(place.join("comm")).unwrap().trim_end() == name;
            while !called() || !environment.is_empty() && std::fs::read(place.join("environ")).unwrap().is_empty() {
                std::thread::yield_now();
            }
            assert_eq!(is_one(&place, "rpm", &marker), expected, "{name} {environment:?}");
            drop(process.stdin.take());
            process.wait().unwrap();
        }
    }
}
