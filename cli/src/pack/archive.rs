//! Reading a tar archive into the tree, entry by entry, each judged before it is taken.

use super::compressed::Counter;
use super::error::{EntryProblem, PackError};
use super::limits::EXTENSION_BYTES_MAX;
use super::tree::{Refused, Tree};
use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;
use tar::{Archive, Entry, EntryType, PaxExtensions};
use terminal::escape;

const BLOCK_BYTES: u64 = 512;

/// Reads the whole archive into the tree.
pub(super) fn read(tree: &mut Tree, input: &Path, from: impl Read) -> Result<(), PackError> {
    let entry_refused = |entry: &[u8], refused| refuse(input, entry, refused);
    walk(input, from, |entry| {
        let (path, link) = (entry.path.clone(), entry.link.clone());
        let mode = entry.from.header().mode().map_err(|_| entry_refused(&path, EntryProblem::Extension.into()))?;
        let taken = match entry.kind {
            EntryType::Directory => tree.add_directory(&path, mode),
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => tree.add_directory(&path, mode),
            EntryType::Regular | EntryType::Continuous => {
                let size = entry.from.size();
                tree.add_file(&path, mode, size, &mut entry.from)
            }
            EntryType::Symlink => tree.add_link(&path, &link),
            EntryType::Link => tree.add_hard_link(&path, &link),
            kind => Err(EntryProblem::Kind(name(kind)).into()),
        };
        taken.map_err(|refused| entry_refused(&path, refused))
    })
}

/// Reads one small file of an archive; `None` when there is no such file. The rest is read too: only at
/// the end do decompressors say whether all of it was what was compressed.
pub(super) fn read_one(input: &Path, from: impl Read, name: &str, limit: u64) -> Result<Option<Vec<u8>>, PackError> {
    let mut found = None;
    walk(input, from, |entry| {
        if entry.path.strip_prefix(b"./").unwrap_or(&entry.path) != name.as_bytes() {
            return Ok(());
        }
        if found.is_some() {
            return Err(refuse(input, &entry.path, EntryProblem::Conflict.into()));
        }
        let mut bytes = Vec::new();
        let size = entry.from.size();
        if entry.kind != EntryType::Regular || size > limit {
            return Err(refuse(input, &entry.path, EntryProblem::TooLarge(limit).into()));
        }
        (&mut entry.from).take(limit).read_to_end(&mut bytes).map_err(|source| broken(input, source))?;
        if bytes.len() as u64 != size {
            let problem = EntryProblem::BrokenOff { actual: bytes.len() as u64, expected: size };
            return Err(refuse(input, &entry.path, problem.into()));
        }
        found = Some(bytes);
        Ok(())
    })?;
    Ok(found)
}

/// An entry with its extended headers resolved.
struct Found<'a, R: Read> {
    path: Vec<u8>,
    link: Vec<u8>,
    kind: EntryType,
    from: Entry<'a, R>,
}

/// Goes through an archive. Extended headers are read here and not by the archive reader, which would
/// take any number of bytes for a name.
fn walk<R: Read>(
    input: &Path,
    from: R,
    mut visit: impl FnMut(&mut Found<'_, Counter<R>>) -> Result<(), PackError>,
) -> Result<(), PackError> {
    let count = Rc::new(Cell::new(0));
    let mut archive = Archive::new(Counter { from, count: Rc::clone(&count) });
    let mut end = 0;
    let mut extension = Extension::default();
    for entry in archive.entries().map_err(|source| broken(input, source))?.raw(true) {
        let mut entry = entry.map_err(|source| broken(input, source))?;
        let padded = entry.size().checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX);
        end = entry.raw_file_position().saturating_add(padded);
        let kind = entry.header().entry_type();
        let name = entry.path_bytes().into_owned();
        if extension.take(kind, &mut entry).map_err(|refused| refuse(input, &name, refused))? {
            continue;
        }
        let extended = std::mem::take(&mut extension);
        if extended.size.is_some_and(|size| size != entry.size()) {
            // Two lengths for one entry: readers would disagree about what the archive contains.
            return Err(refuse(input, &name, EntryProblem::Extension.into()));
        }
        let link = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        let (path, link) = (extended.path.unwrap_or(name), extended.link.unwrap_or(link));
        visit(&mut Found { path, link, kind, from: entry })?;
    }
    // An archive that was cut between two entries looks complete except for the block that ends it.
    if count.get() < end.saturating_add(BLOCK_BYTES) {
        return Err(broken(input, io::Error::new(io::ErrorKind::UnexpectedEof, "the archive has no end")));
    }
    // To the end of the stream, where decompressors keep their checksums.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|source| broken(input, source))?;
    Ok(())
}

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extension {
    /// Takes an extended header; whether it was one.
    fn take<R: Read>(&mut self, kind: EntryType, entry: &mut Entry<'_, R>) -> Result<bool, Refused> {
        match kind {
            EntryType::GNULongName => set(&mut self.path, without_end(&bytes(entry)?))?,
            EntryType::GNULongLink => set(&mut self.link, without_end(&bytes(entry)?))?,
            EntryType::XHeader => self.take_records(&bytes(entry)?)?,
            EntryType::XGlobalHeader => {
                // Comments (`git archive` writes one) are harmless; a name for every entry is not.
                let mut global = Self::default();
                global.take_records(&bytes(entry)?)?;
                if global.path.is_some() || global.link.is_some() || global.size.is_some() {
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

fn bytes<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Refused> {
    let size = entry.size();
    if size > EXTENSION_BYTES_MAX {
        return Err(EntryProblem::Extension.into());
    }
    let mut bytes = Vec::new();
    entry.take(EXTENSION_BYTES_MAX).read_to_end(&mut bytes).map_err(Refused::Source)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(EntryProblem::Extension.into()) }
}

fn name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char => "character device",
        EntryType::Block => "block device",
        EntryType::Fifo => "named pipe",
        EntryType::GNUSparse => "sparse file",
        _ => "special entry",
    }
}

pub(super) fn broken(input: &Path, source: io::Error) -> PackError {
    PackError::Broken { input: input.to_owned(), what: "an archive", source }
}

/// Puts input and entry beside what is wrong.
pub(super) fn refuse(input: &Path, entry: &[u8], refused: Refused) -> PackError {
    let entry = String::from_utf8_lossy(entry).chars().take(200).collect::<String>();
    match refused {
        Refused::Entry(problem) => PackError::Entry { input: input.to_owned(), entry: escape(&entry), problem },
        Refused::Source(source) => broken(input, source),
        Refused::Spool { out, source } => PackError::Write { path: out, source },
    }
}
