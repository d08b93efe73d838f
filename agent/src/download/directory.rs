//! A directory with artifacts by digest: a stick, a share, another program's store. Whoever fills it is a stranger.

use super::error::Disappointment;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;

/// Opens a plain file of a length beneath a directory, at an offset. Nothing that waits, gives for ever or leads elsewhere is opened.
///
/// # Errors
/// [`Disappointment`]: what is there instead.
pub(super) fn open(directory: &Path, name: &str, length: u64, offset: u64) -> Result<File, Disappointment> {
    let path = directory.join(name);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(&path, flags, Mode::empty()).map_err(io::Error::from) {
        Ok(file) => File::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Disappointment::Absent("has no such file".to_owned()));
        }
        Err(error) => return Err(Disappointment::Cannot(format!("{}: {error}", path.display()))),
    };
    let metadata = file.metadata().map_err(|error| Disappointment::Cannot(error.to_string()))?;
    if !metadata.is_file() {
        return Err(Disappointment::Cannot(format!("{} is no plain file", path.display())));
    }
    if metadata.len() != length {
        return Err(Disappointment::Length(format!("{} has {} bytes", path.display(), metadata.len())));
    }
    file.seek(SeekFrom::Start(offset)).map_err(|error| Disappointment::Cannot(error.to_string()))?;
    Ok(file)
}
