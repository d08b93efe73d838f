//! Opening the program that is to be executed: what is opened is what is verified, and what was verified is what is
//! executed, through the descriptor.

use super::digest;
use super::record::Program;
use crate::settled::reason;
use ledger::id::Digest;
use ledger::receipt::{Reason, ReasonCode};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bits of a mode by which others than its owner may write.
const OTHERS_WRITE: u32 = 0o022;

/// Why a program is not executed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system said no.
    #[error("cannot open {}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Somebody else could have put it there.
    #[error("{} belongs to user {owner} and has mode {mode:o}: others may change it", path.display())]
    Others {
        /// What.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// It is no file.
    #[error("{} is no plain file", .0.display())]
    NoFile(PathBuf),
    /// It is not what was verified.
    #[error("{} is not what was verified: it has {bytes} bytes and digest {actual}, verified was {expected}", path.display())]
    Changed {
        /// What.
        path: PathBuf,
        /// Bytes it has.
        bytes: u64,
        /// Its digest.
        actual: Digest,
        /// What was verified.
        expected: Digest,
    },
}

impl OpenError {
    /// What a receipt says of it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Changed { .. } => reason(ReasonCode::ArtifactDigest, self),
            Self::Io { .. } | Self::Others { .. } | Self::NoFile(_) => super::record::not_started(self),
        }
    }
}

/// Opens a directory that nobody but its owner, root or this agent's user, can write to.
///
/// # Errors
/// [`OpenError`].
pub fn directory(path: &Path) -> Result<OwnedFd, OpenError> {
    let failed = |error: rustix::io::Errno| OpenError::Io { path: path.to_owned(), source: error.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?);
    check_owner(&opened, path)?;
    Ok(opened.into())
}

/// Opens a program of the record and verifies what was opened. It is to be executed through what is returned, and
/// through nothing else.
///
/// # Errors
/// [`OpenError`].
pub fn program(data_dir: &Path, program: &Program) -> Result<File, OpenError> {
    let path = data_dir.join(&program.path);
    let failed = |source: io::Error| OpenError::Io { path: path.clone(), source };
    let directory = directory(data_dir)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(&directory, &program.path, flags, Mode::empty(), beneath);
    let mut file = File::from(opened.map_err(|error| failed(error.into()))?);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(OpenError::NoFile(path));
    }
    check_owner(&file, &path)?;
    let bytes = metadata.len();
    let failed = |source: io::Error| OpenError::Io { path: path.clone(), source };
    // Another length is another program, however long it would take to read.
    let actual = if bytes == program.bytes { digest(&mut file).map_err(failed)? } else { Digest::ZERO };
    if actual != program.blake3 {
        return Err(OpenError::Changed { path, bytes, actual, expected: program.blake3 });
    }
    file.rewind().map_err(failed)?;
    Ok(file)
}

fn check_owner(file: &File, path: &Path) -> Result<(), OpenError> {
    let metadata = file.metadata().map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let own = owner == 0 || owner == rustix::process::geteuid().as_raw();
    match own && mode & OTHERS_WRITE == 0 {
        true => Ok(()),
        false => Err(OpenError::Others { path: path.to_owned(), owner, mode }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installer::installs::VersionId;
    use ledger::bounded::Version;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn only_what_was_verified_is_opened() {
        let room = tempfile::tempdir().unwrap();
        let data = room.path().join("data");
        fs::create_dir_all(data.join("tree")).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let (path, blake3) = (data.join("tree/agent"), Digest::blake3(b"verified"));
        let id = VersionId::of_baseline(blake3);
        let known = Program { id, version: Version::cut("2"), path: "tree/agent".into(), blake3, bytes: 8 };
        let opened = || program(&data, &known).map(drop).map_err(|error| error.reason().code);
        fs::write(&path, "verified").unwrap();
        for (what, spoil, mend, expected) in [
            ("as it was", &(|| ()) as &dyn Fn(), &(|| ()) as &dyn Fn(), Ok(())),
            (
                "another byte",
                &|| fs::write(&path, "VERIFIED").unwrap(),
                &|| fs::write(&path, "verified").unwrap(),
                Err(ReasonCode::ArtifactDigest),
            ),
            (
                "longer",
                &|| fs::write(&path, "verified, and more").unwrap(),
                &|| fs::write(&path, "verified").unwrap(),
                Err(ReasonCode::ArtifactDigest),
            ),
            ("others may write it", &|| mode(&path, 0o722), &|| mode(&path, 0o700), Err(ReasonCode::InstallFailed)),
            ("others may write beside", &|| mode(&data, 0o777), &|| mode(&data, 0o700), Err(ReasonCode::InstallFailed)),
            (
                "a link",
                &|| {
                    fs::rename(&path, data.join("away")).unwrap();
                    symlink(data.join("away"), &path).unwrap();
                },
                &|| fs::rename(data.join("away"), &path).unwrap(),
                Err(ReasonCode::InstallFailed),
            ),
            (
                "a link on the way",
                &|| {
                    fs::rename(data.join("tree"), data.join("away")).unwrap();
                    symlink("away", data.join("tree")).unwrap();
                },
                &|| {
                    fs::remove_file(data.join("tree")).unwrap();
                    fs::rename(data.join("away"), data.join("tree")).unwrap();
                },
                Err(ReasonCode::InstallFailed),
            ),
            ("as it was, again", &|| (), &|| (), Ok(())),
        ] {
            spoil();
            assert_eq!(opened(), expected, "{what}");
            mend();
        }
    }
}
