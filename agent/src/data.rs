//! The data directory: where everything is that the agent keeps, and the lock that makes it one
//! agent's.

use crate::files::{self, FileError, failed};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often to look whether the lock is free.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// The layout of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir(PathBuf);

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another agent works on it.
    #[error("{} is in use by a running agent", .0.display())]
    InUse(PathBuf),
    /// The operating system said no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Held while an agent works on its data directory; let go when dropped, or when the process ends
/// however it ends.
#[derive(Debug)]
pub struct DataLock {
    file: File,
}

impl Drop for DataLock {
    /// Gives the lock back by name. To close the file is not enough: a service being started has, for a
    /// moment, a copy of it.
    fn drop(&mut self) {
        // A lock that cannot be given back goes with the process.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

impl DataDir {
    /// The layout beneath a path.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory with its parts, for the owner alone, and takes the lock.
    ///
    /// # Errors
    /// [`DataError::InUse`] when another agent has the lock.
    pub fn lock(&self) -> Result<DataLock, DataError> {
        self.lock_within(Duration::ZERO)
    }

    /// The same, and waits so long for whoever has it.
    ///
    /// # Errors
    /// [`DataError::InUse`] when another agent has the lock still.
    pub fn lock_within(&self, patience: Duration) -> Result<DataLock, DataError> {
        let began = Instant::now();
        for part in [self.0.clone(), self.downloads(), self.installs(), self.receipts(), self.logs(), self.evidence()] {
            files::private_dir(&part)?;
        }
        let path = self.0.join("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(files::PRIVATE_FILE_MODE);
        let file = options.open(&path).map_err(failed("open", &path))?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(DataLock { file }),
                Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() < patience => std::thread::sleep(LOCK_LOOK),
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(DataError::InUse(self.0.clone())),
                Err(error) => return Err(failed("lock", &path)(io::Error::from(error)).into()),
            }
        }
    }

    /// The path of the socket that a running agent listens on, through an open directory: a socket's own path may have
    /// 108 bytes at most, a data directory's may be longer.
    pub(crate) fn control(&self) -> io::Result<(OwnedFd, PathBuf)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let held = rustix::fs::open(&self.0, flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}/{}", held.as_raw_fd(), Self::CONTROL);
        Ok((held, path.into()))
    }

    /// Whether an agent listens there.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.control().and_then(|(_held, socket)| UnixStream::connect(socket)).is_ok()
    }

    /// Artifacts on their way in.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.0.join("downloads")
    }

    /// What others of the site may have from here.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// Installed trees.
    #[must_use]
    pub fn installs(&self) -> PathBuf {
        self.0.join("installs")
    }

    /// What runs in containers: descriptions, made anew each time.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    /// Receipts on their way out.
    #[must_use]
    pub fn receipts(&self) -> PathBuf {
        self.0.join("receipts")
    }

    /// Proofs that were offered.
    #[must_use]
    pub fn proofs(&self) -> PathBuf {
        self.0.join("proofs")
    }

    /// One log per attempt.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// Proofs that the ledger was split.
    #[must_use]
    pub fn evidence(&self) -> PathBuf {
        self.0.join("evidence")
    }

    /// The journal of the update under way.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// The last update of each product that was kept.
    #[must_use]
    pub fn last_kept(&self) -> PathBuf {
        self.0.join("last-kept.json")
    }

    /// The manifest of the update that is judged when the host has restarted.
    #[must_use]
    pub fn restarting(&self) -> PathBuf {
        self.0.join("restarting")
    }

    /// The run of the host that an update was taken back in, after the host had restarted for it.
    #[must_use]
    pub fn restart_owed(&self) -> PathBuf {
        self.0.join("restart-owed.json")
    }

    /// The highest header ever verified here.
    #[must_use]
    pub fn memory(&self) -> PathBuf {
        self.0.join("memory.json")
    }

    /// Since when patches are due, and the host is awake.
    #[must_use]
    pub fn waits(&self) -> PathBuf {
        self.0.join("waits.json")
    }

    /// What was tried with which patch.
    #[must_use]
    pub fn attempts(&self) -> PathBuf {
        self.0.join("attempts.json")
    }

    /// How often an agent was started here.
    #[must_use]
    pub fn starts(&self) -> PathBuf {
        self.0.join("starts")
    }

    /// Which patches were recalled.
    #[must_use]
    pub fn recalls(&self) -> PathBuf {
        self.0.join("recalls.json")
    }

    /// Which program is the agent's.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.0.join("program.json")
    }

    /// What was on this host.
    #[must_use]
    pub fn inventory(&self) -> PathBuf {
        self.0.join("inventory")
    }

    /// What the nodes were told of that.
    #[must_use]
    pub fn told(&self) -> PathBuf {
        self.0.join("inventory-told.json")
    }

    /// Name of the control socket within the directory.
    pub const CONTROL: &'static str = "control.sock";
}
