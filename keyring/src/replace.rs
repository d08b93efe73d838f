//! A key file in the place of another: whole or not at all, and nothing left of the old one as far as that can be had.

use crate::error::KeyFileError;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

/// Permissions of a file with a secret: its owner and nobody else.
const SECRET_MODE: u32 = 0o600;

/// What became of the old bytes.
///
/// Overwritten where they lay is the best a program can do, and no more: disks that write elsewhere (flash), file systems
/// that copy on write, snapshots and backups keep what was.
#[derive(Debug)]
pub enum Overwritten {
    /// Written over, and synced.
    Yes,
    /// They could not be written over.
    No(io::Error),
}

/// Puts a key file in the place of the one that is there. After a crash it is the old one or the new one. Owner and group
/// stay, its mode is 0600. The old bytes are written over afterwards.
///
/// # Errors
/// [`KeyFileError::Links`] and [`KeyFileError::Write`]; then the old one is still there.
pub fn replace(path: &Path, text: &str) -> Result<Overwritten, KeyFileError> {
    let failed = |act| move |source| KeyFileError::Write { act, path: path.to_owned(), source };
    // The file itself, and not a link to it.
    let place = fs::canonicalize(path).map_err(failed("find"))?;
    let old = OpenOptions::new().write(true).open(&place).map_err(failed("open"))?;
    let metadata = old.metadata().map_err(failed("examine"))?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(KeyFileError::Links { path: path.to_owned(), links: metadata.nlink() });
    }
    let directory = place.parent().unwrap_or(Path::new("/"));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".countersign-").permissions(Permissions::from_mode(SECRET_MODE));
    let mut new = builder.tempfile_in(directory).map_err(failed("create a file beside"))?;
    let made = new.as_file().metadata().map_err(failed("examine what replaces"))?;
    if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
        // Whoever runs the program must still be able to read it.
        fchown(new.as_file(), Some(metadata.uid()), Some(metadata.gid())).map_err(failed("keep the owner of"))?;
    }
    new.write_all(text.as_bytes()).map_err(failed("write"))?;
    new.as_file().sync_all().map_err(failed("sync"))?;
    new.persist(&place).map_err(|error| failed("replace")(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync the directory of"))?;
    Ok(match overwrite(old, metadata.len()) {
        Ok(()) => Overwritten::Yes,
        Err(error) => Overwritten::No(error),
    })
}

/// Zeros over what a file had. It has no name any more.
fn overwrite(mut old: File, length: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut old)?;
    old.sync_all()
}
