//! Reading trees to unpack: from a tar archive, or from a directory that is already there.

use super::unpack::{EntryProblem, Growing, Limits, PATH_BYTES_MAX, Refused, UnpackError};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use tar::{Archive, Entry, EntryType, PaxExtension, PaxExtensions};

/// What archives are made of.
const BLOCK_BYTES: u64 = 512;
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
    each(from, |about, entry| put(&mut tree, about, entry))
}

/// What an entry is called and whose it is, by its header and by the extended ones before it, which have the last word.
pub(super) struct About {
    pub(super) path: Vec<u8>,
    /// What it links to; nothing when it is no link.
    pub(super) link: Vec<u8>,
    /// Whose it is, where an extended header says so.
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// Hands over every entry of a tar archive. Everything is read, to the last byte.
pub(super) fn each<R: Read>(
    from: R,
    mut take: impl FnMut(&About, &mut Entry<'_, Counted<R>>) -> Result<(), Refused>,
) -> Result<(), UnpackError> {
    let mut archive = Archive::new(Counted { from, count: 0, is_over: false });
    let broken = UnpackError::archive::<io::Error>;
    let (mut extension, mut end, mut cut_off) = (Extension::default(), 0, None);
    // Raw: the reader would otherwise take any number of bytes into memory for a name.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                cut_off = Some(error);
                break;
            }
        };
        end = entry.raw_file_position().saturating_add(entry.size());
        let name = entry.path_bytes().into_owned();
        if extension.take(&mut entry).map_err(|refused| refused.of(&name))? {
            continue;
        }
        let Extension { path, link, size, uid, gid } = std::mem::take(&mut extension);
        let path = path.unwrap_or(name);
        if size.is_some_and(|size| size != entry.size()) {
            // Two lengths for one entry: readers would disagree about what the archive contains.
            return Err(Refused::from(EntryProblem::Extension).of(&path));
        }
        let link = link.or_else(|| entry.link_name_bytes().map(|link| link.into_owned())).unwrap_or_default();
        check_shape(&entry, &path).map_err(|problem| Refused::from(problem).of(&path))?;
        let about = About { path, link, uid, gid };
        take(&about, &mut entry).map_err(|refused| refused.of(&about.path))?;
    }
    if !extension.is_empty() {
        return Err(UnpackError::archive("there is an extended header at the end, for no entry"));
    }
    let rest = archive.into_inner();
    let filled = end.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(end);
    match cut_off {
        // Some tools leave out what fills up the last block: all of the content is there, and nothing more.
        Some(_) if rest.is_over && (end..filled).contains(&rest.count) => Ok(()),
        Some(error) => Err(broken(error)),
        None => only_padding(rest),
    }
}

/// Counts what is read, and knows whether there is no more.
pub(super) struct Counted<R> {
    from: R,
    count: u64,
    is_over: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.count += count as u64;
        self.is_over = count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

/// Refuses an entry of which readers disagree where it ends: this one passes over the content of whatever has one, dpkg
/// and others do not where there is nothing to keep it in, and find another entry there.
pub(super) fn check_shape(entry: &Entry<'_, impl Read>, path: &[u8]) -> Result<(), EntryProblem> {
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Err(EntryProblem::FileAsDirectory),
        EntryType::Regular | EntryType::Continuous => Ok(()),
        _ if entry.size() > 0 => Err(EntryProblem::Sized(entry.size())),
        _ => Ok(()),
    }
}

fn put(tree: &mut Growing, about: &About, entry: &mut Entry<'_, impl Read>) -> Result<(), Refused> {
    // Whose it is in the archive nobody asks: a tree is the agent's.
    let About { path, link, .. } = about;
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
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Extension {
    fn is_empty(&self) -> bool {
        let Self { path, link, size, uid, gid } = self;
        path.is_none() && link.is_none() && size.is_none() && uid.is_none() && gid.is_none()
    }

    /// Takes an extended header; whether it was one.
    fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<bool, Refused> {
        match entry.header().entry_type() {
            EntryType::GNULongName => set(&mut self.path, without_end(&bytes(entry)?).to_vec())?,
            EntryType::GNULongLink => set(&mut self.link, without_end(&bytes(entry)?).to_vec())?,
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
                b"path" => set(&mut self.path, record.value_bytes().to_vec())?,
                b"linkpath" => set(&mut self.link, record.value_bytes().to_vec())?,
                b"size" => set(&mut self.size, number(&record)?)?,
                b"uid" => set(&mut self.uid, somebody(number(&record)?)?)?,
                b"gid" => set(&mut self.gid, somebody(number(&record)?)?)?,
                key if key.starts_with(b"GNU.sparse.") => return Err(EntryProblem::Kind("sparse file")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Nothing is said twice: readers would disagree about which of the two holds.
fn set<T>(place: &mut Option<T>, value: T) -> Result<(), EntryProblem> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(EntryProblem::Extension),
    }
}

fn number(record: &PaxExtension<'_>) -> Result<u64, EntryProblem> {
    record.value().ok().and_then(|value| value.parse().ok()).ok_or(EntryProblem::Extension)
}

/// The number of a user or a group. The largest one means nobody.
pub(super) fn somebody(number: u64) -> Result<u32, EntryProblem> {
    u32::try_from(number).ok().filter(|number| *number != u32::MAX).ok_or(EntryProblem::Extension)
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
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(from, flags, Mode::empty());
    let from = opened.map_err(|error| Refused::from(error).of(from.as_os_str().as_bytes()))?;
    copy_opened(from, into, limits).map(drop)
}

/// The same for one that is open already; how many bytes its files have. Others may be at work in it: what is copied lies
/// beneath it, whatever they put in the place of what, and whatever it is, nobody waits for it.
pub(super) fn copy_opened(from: OwnedFd, into: &Path, limits: Limits) -> Result<u64, UnpackError> {
    let mut tree = Growing::beneath(into, limits)?;
    copy_directory(&mut tree, from, b"")?;
    Ok(tree.bytes())
}

/// No deeper than trees may be: what is deeper is refused before anybody goes there.
fn copy_directory(tree: &mut Growing, from: OwnedFd, within: &[u8]) -> Result<(), UnpackError> {
    let unreadable = |error: Errno| Refused::from(error).of(within);
    let mut from = Dir::new(from).map_err(unreadable)?;
    while let Some(entry) = from.read() {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut path = within.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let directory = from.fd().map_err(unreadable)?;
        let inner = copy_entry(tree, &path, directory, name).map_err(|refused| refused.of(&path))?;
        if let Some(inner) = inner {
            copy_directory(tree, inner, &path)?;
        }
    }
    Ok(())
}

/// Copies what a directory has under a name; itself, opened, when it is a directory.
fn copy_entry(tree: &mut Growing, path: &[u8], from: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, Refused> {
    let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
    let special = || EntryProblem::Kind("special file").into();
    // To open something else may do something already.
    match kind(&rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?) {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            return tree.symlink(path, target.as_bytes()).map(|()| None);
        }
        FileType::Directory | FileType::RegularFile => {}
        _ => return Err(special()),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(from, name, flags, Mode::empty())?;
    // It may be another one by now.
    let stat = rustix::fs::fstat(&opened)?;
    match kind(&stat) {
        FileType::Directory => tree.directory(path, stat.st_mode).map(|()| Some(opened)),
        FileType::RegularFile => {
            let (size, modified_s) = (u64::try_from(stat.st_size).unwrap_or(0), u64::try_from(stat.st_mtime).ok());
            tree.file(path, stat.st_mode, size, modified_s, File::from(opened)).map(|()| None)
        }
        _ => Err(special()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::unpack::LIMITS;
    use super::*;
    use rustix::fs::{RenameFlags, renameat_with};
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// How often a directory is copied of which others exchange a part all the time.
    const ROUNDS: usize = 300;

    #[test]
    fn what_others_exchange_meanwhile_leads_nowhere_else() {
        let room = tempfile::tempdir().unwrap();
        let (from, outside) = (room.path().join("from"), room.path().join("outside"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(from.join("sub/file"), "inside").unwrap();
        fs::write(outside.join("file"), "secret").unwrap();
        std::os::unix::fs::symlink("from-elsewhere", from.join("other")).unwrap();
        std::os::unix::fs::symlink(&outside, from.join("other-name")).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A directory, a link to another one, and a pipe that nobody ever writes to.
                let pipe = from.join("pipe");
                rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, 0o600.into(), 0).unwrap();
                let exchange = |a: &str, b: &str| {
                    let (a, b) = (from.join(a), from.join(b));
                    renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, RenameFlags::EXCHANGE).unwrap();
                };
                while !over.load(Ordering::Relaxed) {
                    exchange("sub", "other-name");
                    exchange("sub", "pipe");
                    exchange("sub", "other");
                }
            });
            let led_out = (0..ROUNDS).find(|round| {
                let into = room.path().join(format!("into-{round}"));
                fs::create_dir(&into).unwrap();
                // Mostly refused, for one reason or the other; never with anything from outside.
                drop(copy(&from, &into, LIMITS));
                let copied = |name: &&str| fs::read_to_string(into.join(name).join("file"));
                let has_secret = |name: &&str| copied(name).is_ok_and(|content| content == "secret");
                ["sub", "other", "other-name", "pipe"].iter().any(has_secret)
            });
            over.store(true, Ordering::Relaxed);
            assert_eq!(led_out, None, "the round in which it was led out");
        });
    }

    /// As some tools leave them; what is cut off in its content is no archive.
    #[test]
    fn an_archive_may_end_with_the_content_of_its_last_file() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(700);
        header.set_mode(0o644);
        archive.append_data(&mut header, "first", &[b'a'; 700][..]).unwrap();
        archive.append_data(&mut header, "last", &[b'b'; 700][..]).unwrap();
        let whole = archive.into_inner().unwrap();
        // Twice a header and two blocks.
        let content = 2 * 512 + 1024 + 700;
        for length in content - 600..=3072 {
            let room = tempfile::tempdir().unwrap();
            let unpacked = unpack(&whole[..length], room.path(), LIMITS);
            assert_eq!(unpacked.is_ok(), length >= content, "{length}: {unpacked:?}");
            if unpacked.is_ok() {
                assert_eq!(fs::read(room.path().join("last")).unwrap(), [b'b'; 700], "{length}");
            }
        }
    }

    #[test]
    fn a_directory_is_copied_from_where_it_was_opened() {
        let room = tempfile::tempdir().unwrap();
        let (from, into) = (room.path().join("from"), room.path().join("into"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&into).unwrap();
        fs::write(from.join("a/b/file"), "12345").unwrap();
        fs::write(from.join("file"), "678").unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = rustix::fs::open(&from, flags, Mode::empty()).unwrap();
        fs::rename(&from, room.path().join("moved")).unwrap();
        std::os::unix::fs::symlink("/etc", &from).unwrap();
        assert_eq!(copy_opened(opened, &into, LIMITS).unwrap(), 8);
        assert_eq!(fs::read_to_string(into.join("a/b/file")).unwrap(), "12345");
        assert_eq!(fs::read_dir(&into).unwrap().count(), 2);
    }
}
