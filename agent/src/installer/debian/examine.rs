//! A package, looked into before dpkg is let near it.

use super::super::archive;
use super::super::packages::{Brings, Contents, ManagerError, Owner, Relations, Rights};
use super::super::packages::{bytes_max, check_target, is_identity, names};
use super::super::unpack::{EntryProblem, PATH_BYTES_MAX, plain_path};
use super::command::Dpkg;
use crate::settled::{Refusal, chain};
use ledger::receipt::ReasonCode;
use std::io::{self, Read};
use std::path::Path;
use tar::{Archive, Entry, EntryType};

/// A control archive: scripts, lists, checksums.
const CONTROL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Fields of a control paragraph asked for.
const FIELDS: [&str; 6] = ["Package", "Version", "Architecture", "Provides", "Pre-Depends", "Depends"];
const FIELDS_BYTES_MAX: u64 = 256 * 1024;

/// Looks into a package.
pub(super) fn examine(dpkg: &Dpkg, package: &Path, called: &str) -> Result<Contents, Refusal> {
    let unsafe_ = |detail: String| Refusal::new(ReasonCode::ArchiveUnsafe, format!("package {called}: {detail}"));
    let broken = |error: ManagerError| unsafe_(chain(&error));
    let packed = std::fs::metadata(package).map_err(|error| unsafe_(error.to_string()))?.len();
    let archive = |which: &str, bytes_max: u64| {
        let (ended, brought) = dpkg.archive(package, which, |from| brought(from, bytes_max)).map_err(broken)?;
        let brought = brought.map_err(unsafe_)?;
        ended.map_err(|error| unsafe_(chain(&error))).map(|()| brought)
    };

    // First of all: whoever asks dpkg-deb for fields has it unpack all of the control archive.
    archive("--ctrl-tarfile", CONTROL_BYTES_MAX)?;
    let brought = archive("--fsys-tarfile", bytes_max(packed))?;
    let known = identity(&dpkg.fields(package, &FIELDS, FIELDS_BYTES_MAX).map_err(broken)?).map_err(unsafe_)?;
    Ok(Contents { entries: brought.entries, rights: brought.rights, ..known })
}

/// Name, version and architecture: they stand in command lines and file names from here on.
///
/// # Errors
/// Which of them there is not, or cannot be used.
pub fn identity(fields: &str) -> Result<Contents, String> {
    let field = |name: &str, plain: &dyn Fn(u8) -> bool| {
        let value = fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let value = value.ok_or_else(|| format!("it has no {name}"))?;
        match is_identity(value, plain) {
            true => Ok(value.to_owned()),
            false => Err(format!("{value:?} is no {name}")),
        }
    };
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let name = field("Package", &|byte| lower(byte) || b"+-.".contains(&byte))?;
    let relations = Relations {
        provides: [vec![name.clone()], names(&whole(fields, "Provides"))].concat(),
        before: names(&whole(fields, "Pre-Depends")),
        depends: names(&whole(fields, "Depends")),
    };
    Ok(Contents {
        name,
        version: field("Version", &|byte| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte))?,
        architecture: field("Architecture", &|byte| lower(byte) || byte == b'-')?,
        relations,
        ..Contents::default()
    })
}

/// A field with the lines it goes on in.
fn whole(fields: &str, name: &str) -> String {
    let mut lines =
        fields.lines().skip_while(|line| !line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
    let first = lines.next().and_then(|line| line.split_once(':')).map(|(_, value)| value).unwrap_or_default();
    let more = lines.take_while(|line| line.starts_with([' ', '\t']));
    std::iter::once(first).chain(more).collect::<Vec<_>>().join(" ")
}

/// What an archive brings: one that `dpkg-deb` made out of a package, to its end.
///
/// # Errors
/// Which entry may not be there, and why.
pub fn brought(from: &mut dyn Read, bytes_max: u64) -> Result<Contents, String> {
    let mut brought = Brought { bytes_max, ..Brought::default() };
    brought.read(from).map(|()| brought.contents)
}

/// What was read of an archive so far.
#[derive(Default)]
struct Brought {
    contents: Contents,
    bytes: u64,
    bytes_max: u64,
}

impl Brought {
    fn read(&mut self, from: &mut dyn Read) -> Result<(), String> {
        // Raw entries: the reader would otherwise take any number of bytes into memory for a name.
        let mut archive = Archive::new(from);
        let mut long = Long::default();
        for entry in archive.entries().map_err(in_one_line)?.raw(true) {
            let mut entry = entry.map_err(in_one_line)?;
            let name = entry.path_bytes().into_owned();
            if long.take(&mut entry).map_err(|problem| refused(&name, &problem))? {
                continue;
            }
            let Long { path, link } = std::mem::take(&mut long);
            let path = path.unwrap_or(name);
            let link = link.or_else(|| entry.link_name_bytes().map(|link| link.into_owned())).unwrap_or_default();
            self.take(&path, &link, &entry).map_err(|problem| refused(&path, &problem))?;
        }
        // What comes after the archive's end dpkg would not read either; the tool must come to its end.
        io::copy(&mut archive.into_inner().take(self.bytes_max), &mut io::sink()).map_err(in_one_line)?;
        Ok(())
    }

    fn take(&mut self, path: &[u8], link: &[u8], entry: &Entry<'_, impl Read>) -> Result<(), EntryProblem> {
        archive::check_shape(entry, path)?;
        let path = plain_path(path)?;
        let mode = entry.header().mode().map_err(|_| EntryProblem::Extension)?;
        if path.is_empty() {
            return Ok(());
        }
        let brings = match entry.header().entry_type() {
            EntryType::Directory => Brings::Directory,
            EntryType::Regular | EntryType::Continuous => {
                self.bytes = self.bytes.saturating_add(entry.size());
                if self.bytes > self.bytes_max {
                    return Err(EntryProblem::TooLarge(self.bytes_max));
                }
                self.contents.grant(&path, rights(entry, mode));
                Brings::File { mode, bytes: entry.size() }
            }
            EntryType::Symlink => check_target(link).map(|()| Brings::Link)?,
            EntryType::Link => {
                let first = plain_path(link)?;
                let Some(&Brings::File { mode, .. }) = self.contents.entries.get(&first) else {
                    return Err(EntryProblem::LinkToNothing(String::from_utf8_lossy(link).into_owned()));
                };
                if let Some(rights) = self.contents.rights.get(&first).cloned() {
                    self.contents.grant(&path, rights);
                }
                Brings::File { mode, bytes: 0 }
            }
            EntryType::Char => return Err(EntryProblem::Kind("character device")),
            EntryType::Block => return Err(EntryProblem::Kind("block device")),
            EntryType::Fifo => return Err(EntryProblem::Kind("named pipe")),
            EntryType::GNUSparse => return Err(EntryProblem::Kind("sparse file")),
            _ => return Err(EntryProblem::Kind("special entry")),
        };
        self.contents.bring(path, brings)
    }
}

/// Whose it is dpkg says by name, and by number where the host does not know that. It knows no capabilities.
fn rights(entry: &Entry<'_, impl Read>, mode: u32) -> Rights {
    let header = entry.header();
    let owner = |name: Option<&[u8]>, number: io::Result<u64>| Owner {
        name: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
        number: number.ok().and_then(|number| u32::try_from(number).ok()),
    };
    let (user, group) = (owner(header.username_bytes(), header.uid()), owner(header.groupname_bytes(), header.gid()));
    Rights { mode: mode & 0o7777, user, group, capabilities: String::new() }
}

/// The reader of archives quotes names as they are.
fn in_one_line(error: io::Error) -> String {
    error.to_string().replace('\n', " ")
}

fn refused(path: &[u8], problem: &EntryProblem) -> String {
    let path: String = String::from_utf8_lossy(path).chars().take(200).collect();
    format!("entry {path:?} {problem}")
}

/// Names too long for a header, as dpkg understands them: GNU's way, and no other.
#[derive(Default)]
struct Long {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Long {
    fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<bool, EntryProblem> {
        let place = match entry.header().entry_type() {
            EntryType::GNULongName => &mut self.path,
            EntryType::GNULongLink => &mut self.link,
            _ => return Ok(false),
        };
        if entry.size() > PATH_BYTES_MAX as u64 {
            return Err(EntryProblem::TooLong);
        }
        let mut name = Vec::new();
        entry.read_to_end(&mut name).map_err(|_| EntryProblem::Extension)?;
        let name = name.strip_suffix(b"\0").unwrap_or(&name).to_vec();
        match place.replace(name) {
            None => Ok(true),
            Some(_) => Err(EntryProblem::Extension),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library quotes the name of an entry whose length is none, whatever is in it.
    #[test]
    fn what_is_wrong_with_an_archive_is_said_in_one_line() {
        let mut header = tar::Header::new_gnu();
        header.set_path("a\nb").unwrap();
        header.set_size(1);
        header.as_mut_bytes()[124..135].fill(b'x');
        header.set_cksum();
        let refusal = brought(&mut &header.as_bytes()[..], 1_000).unwrap_err();
        assert!(refusal.contains("a b"), "{refusal:?}");
    }
}
