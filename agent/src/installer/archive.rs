//! Reading trees to unpack: from a tar archive, or from a directory that is already there.

use super::unpack::{EntryProblem, Growing, Limits, PATH_BYTES_MAX, Refused, UnpackError};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tar::{Archive, Entry, EntryType, PaxExtensions};

/// Bytes of the extended header of one entry: two paths and some numbers.
const EXTENSION_BYTES_MAX: u64 = 4 * PATH_BYTES_MAX as u64;

/// Unpacks a tar archive beneath a directory that is empty and the agent's own. Everything is read, to
/// the last byte: whoever hashes what passes has hashed all of it.
///
/// # Errors
/// [`UnpackError`] names the first entry that is not acceptable. What was unpacked before stays where
/// it is; the caller throws the directory away.
pub fn unpack(from: impl Read, into: &Path, limits: Limits) -> Result<(), UnpackError> {
    let mut tree = Growing::beneath(into, limits)?;
    each(from, |path, link, entry| put(&mut tree, path, link, entry))
}

/// Hands over every entry of a tar archive, with its path and what it links to. Everything is read, to the last byte.
pub(super) fn each<R: Read>(
    from: R,
    mut take: impl FnMut(&[u8], &[u8], &mut Entry<'_, R>) -> Result<(), Refused>,
) -> Result<(), UnpackError> {
    let mut archive = Archive::new(from);
    let broken = UnpackError::archive::<io::Error>;
    let mut extension = Extension::default();
    // Raw: the reader would otherwise take any number of bytes into memory for a name.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path_bytes().into_owned();
        if extension.take(&mut entry).map_err(|refused| refused.of(&name))? {
            continue;
        }
        let Extension { path, link, size } = std::mem::take(&mut extension);
        let path = path.unwrap_or(name);
        if size.is_some_and(|size| size != entry.size()) {
            // Two lengths for one entry: readers would disagree about what the archive contains.
            return Err(Refused::from(EntryProblem::Extension).of(&path));
        }
        let link = link.or_else(|| entry.link_name_bytes().map(|link| link.into_owned())).unwrap_or_default();
        take(&path, &link, &mut entry).map_err(|refused| refused.of(&path))?;
    }
    if !extension.is_empty() {
        return Err(UnpackError::archive("there is an extended header at the end, for no entry"));
    }
    only_padding(archive.into_inner())
}

fn put(tree: &mut Growing, path: &[u8], link: &[u8], entry: &mut Entry<'_, impl Read>) -> Result<(), Refused> {
    let mode = entry.header().mode().map_err(|_| EntryProblem::Extension)?;
    let modified_s = entry.header().mtime().ok();
    match entry.header().entry_type() {
        EntryType::Directory => tree.directory(path, mode),
        EntryType::Regular | EntryType::Continuous => {
            let size = entry.size();
            tree.file(path, mode, size, modified_s, entry)
        }
        EntryType::Symlink => tree.symlink(path, link),
        EntryType::Link => tree.hard_link(path, link),
        other => Err(EntryProblem::Kind(kind(other)).into()),
    }
}

/// What an entry is that cannot be in a tree.
pub(super) fn kind(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char => "character device",
        EntryType::Block => "block device",
        EntryType::Fifo => "named pipe",
        EntryType::GNUSparse => "sparse file",
        _ => "special entry",
    }
}

/// Archives end in zeros. Anything else there would be read by some readers and not by others.
fn only_padding(mut rest: impl Read) -> Result<(), UnpackError> {
    let mut buffer = [0; 8 * 1024];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) if buffer[..count].iter().all(|byte| *byte == 0) => {}
            Ok(_) => return Err(UnpackError::archive("there are bytes after its end")),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(UnpackError::archive(error)),
        }
    }
}

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && self.size.is_none()
    }

    /// Takes an extended header; whether it was one.
    fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<bool, Refused> {
        match entry.header().entry_type() {
            EntryType::GNULongName => set(&mut self.path, without_end(&bytes(entry)?))?,
            EntryType::GNULongLink => set(&mut self.link, without_end(&bytes(entry)?))?,
            EntryType::XHeader => self.take_records(&bytes(entry)?)?,
            EntryType::XGlobalHeader => {
                // Comments (`git archive` writes one) are harmless; a name for every entry is not.
                let mut global = Self::default();
                global.take_records(&bytes(entry)?)?;
                if !global.is_empty() {
                    return Err(EntryProblem::Extension.into());
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_records(&mut self, records: &[u8]) -> Result<(), EntryProblem> {
        for record in PaxExtensions::new(records) {
            let record = record.map_err(|_| EntryProblem::Extension)?;
            match record.key_bytes() {
                b"path" => set(&mut self.path, record.value_bytes())?,
                b"linkpath" => set(&mut self.link, record.value_bytes())?,
                b"size" => {
                    let size = record.value().ok().and_then(|value| value.parse().ok());
                    self.size = Some(size.ok_or(EntryProblem::Extension)?);
                }
                key if key.starts_with(b"GNU.sparse.") => return Err(EntryProblem::Kind("sparse file")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn set(place: &mut Option<Vec<u8>>, value: &[u8]) -> Result<(), EntryProblem> {
    match place.replace(value.to_vec()) {
        None => Ok(()),
        Some(_) => Err(EntryProblem::Extension),
    }
}

fn without_end(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"\0").unwrap_or(name)
}

fn bytes(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, Refused> {
    let size = entry.size();
    if size > EXTENSION_BYTES_MAX {
        return Err(EntryProblem::Extension.into());
    }
    let mut bytes = Vec::new();
    entry.take(EXTENSION_BYTES_MAX).read_to_end(&mut bytes).map_err(Refused::Archive)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(EntryProblem::Extension.into()) }
}

/// Copies a directory that is there, by the same rules: what could not be in a patch cannot be a
/// baseline either.
///
/// # Errors
/// [`UnpackError`] names the first entry that is not acceptable.
pub fn copy(from: &Path, into: &Path, limits: Limits) -> Result<(), UnpackError> {
    let mut tree = Growing::beneath(into, limits)?;
    let mut waiting = vec![Vec::new()];
    while let Some(directory) = waiting.pop() {
        let unreadable = |path: &[u8]| {
            let path = path.to_vec();
            move |error: io::Error| Refused::Disk(error).of(&path)
        };
        let listed = fs::read_dir(from.join(std::ffi::OsStr::from_bytes(&directory)));
        for entry in listed.map_err(unreadable(&directory))? {
            let entry = entry.map_err(unreadable(&directory))?;
            let mut path = directory.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.file_name().as_bytes());
            let metadata = entry.metadata().map_err(unreadable(&path))?;
            copy_entry(&mut tree, &path, &entry.path(), &metadata).map_err(|refused| refused.of(&path))?;
            if metadata.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(())
}

fn copy_entry(tree: &mut Growing, path: &[u8], from: &Path, metadata: &fs::Metadata) -> Result<(), Refused> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        tree.directory(path, metadata.mode())
    } else if kind.is_symlink() {
        let target = fs::read_link(from).map_err(Refused::Disk)?;
        tree.symlink(path, target.as_os_str().as_bytes())
    } else if kind.is_file() {
        let content = File::open(from).map_err(Refused::Disk)?;
        tree.file(path, metadata.mode(), metadata.len(), u64::try_from(metadata.mtime()).ok(), content)
    } else {
        Err(EntryProblem::Kind("special file").into())
    }
}
