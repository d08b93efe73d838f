//! A package, looked into before dpkg is let near it.
//!
//! dpkg unpacks as root over the whole host. So a package may bring files, directories and links under
//! plain names and nothing else: no way up or out, no devices, nothing written through a link that it
//! brings itself, nothing twice, nothing out of proportion. What runs with somebody else's rights it may
//! keep, where the host has it already, and not bring.

use super::super::unpack::{EntryProblem, LIMITS, PATH_BYTES_MAX, plain_path};
use super::command::{Dpkg, DpkgError};
use super::order::{self, Relations};
use crate::settled::{Refusal, chain};
use ledger::receipt::ReasonCode;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use tar::{Archive, Entry, EntryType};

/// A control archive: scripts, lists, checksums.
const CONTROL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Fields of a control paragraph asked for.
const FIELDS: [&str; 6] = ["Package", "Version", "Architecture", "Provides", "Pre-Depends", "Depends"];
const FIELDS_BYTES_MAX: u64 = 256 * 1024;
/// Unpacked bytes may be this many times the packed ones …
const RATIO_MAX: u64 = 200;
/// … once there are more than this many.
const RATIO_FREE_BYTES: u64 = 64 * 1024 * 1024;
const SETID_BITS: u32 = 0o6000;

/// What a package is, and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    /// What it brings, by path.
    pub(super) entries: BTreeMap<String, Brings>,
    /// What it asks for.
    pub(super) relations: Relations,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brings {
    Directory,
    File { mode: u32, bytes: u64 },
    Link,
}

impl Contents {
    /// Its files, with their lengths.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.entries.iter().filter_map(|(path, brings)| match brings {
            Brings::File { bytes, .. } => Some((path.as_str(), *bytes)),
            _ => None,
        })
    }

    /// Programs that would run with their owner's rights, with their modes.
    pub(super) fn set_id(&self) -> impl Iterator<Item = (&str, u32)> {
        self.entries.iter().filter_map(|(path, brings)| match brings {
            Brings::File { mode, .. } if mode & SETID_BITS != 0 => Some((path.as_str(), *mode)),
            _ => None,
        })
    }
}

/// Looks into a package.
pub(super) fn examine(dpkg: &Dpkg, package: &Path, called: &str) -> Result<Contents, Refusal> {
    let unsafe_ = |detail: String| Refusal::new(ReasonCode::ArchiveUnsafe, format!("package {called}: {detail}"));
    let broken = |error: DpkgError| unsafe_(chain(&error));
    let packed = std::fs::metadata(package).map_err(|error| unsafe_(error.to_string()))?.len();
    let mut contents = identity(&dpkg.fields(package, &FIELDS, FIELDS_BYTES_MAX).map_err(broken)?).map_err(unsafe_)?;

    let bytes_max = packed.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
    for (which, bytes_max) in [("--ctrl-tarfile", CONTROL_BYTES_MAX), ("--fsys-tarfile", bytes_max)] {
        let mut brought = Brought { bytes_max, ..Brought::default() };
        let (ended, read) = dpkg.archive(package, which, |from| brought.read(from)).map_err(broken)?;
        read.map_err(unsafe_)?;
        ended.map_err(|error| unsafe_(chain(&error)))?;
        contents.entries = brought.entries;
    }
    Ok(contents)
}

/// Name, version and architecture: they stand in command lines and file names from here on.
fn identity(fields: &str) -> Result<Contents, String> {
    let field = |name: &str, plain: &dyn Fn(u8) -> bool| {
        let value = fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let value = value.ok_or_else(|| format!("it has no {name}"))?;
        let fine = value.len() <= 255 && value.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        match fine && value.bytes().all(plain) {
            true => Ok(value.to_owned()),
            false => Err(format!("{value:?} is no {name}")),
        }
    };
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let name = field("Package", &|byte| lower(byte) || b"+-.".contains(&byte))?;
    let relations = Relations {
        provides: [vec![name.clone()], order::names(&whole(fields, "Provides"))].concat(),
        before: order::names(&whole(fields, "Pre-Depends")),
        depends: order::names(&whole(fields, "Depends")),
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

/// What was read of an archive so far.
#[derive(Default)]
struct Brought {
    entries: BTreeMap<String, Brings>,
    bytes: u64,
    bytes_max: u64,
}

impl Brought {
    fn read(&mut self, from: &mut dyn Read) -> Result<(), String> {
        // Raw entries: the reader would otherwise take any number of bytes into memory for a name.
        let mut archive = Archive::new(from);
        let mut long = Long::default();
        for entry in archive.entries().map_err(|error| error.to_string())?.raw(true) {
            let mut entry = entry.map_err(|error| error.to_string())?;
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
        io::copy(&mut archive.into_inner().take(self.bytes_max), &mut io::sink()).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn take(&mut self, path: &[u8], link: &[u8], entry: &Entry<'_, impl Read>) -> Result<(), EntryProblem> {
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
                Brings::File { mode, bytes: entry.size() }
            }
            // Where a link of the host leads is the host's affair, and packages have links to anywhere.
            EntryType::Symlink => plain_target(link).map(|()| Brings::Link)?,
            EntryType::Link => match self.entries.get(&plain_path(link)?) {
                Some(Brings::File { mode, .. }) => Brings::File { mode: *mode, bytes: 0 },
                _ => return Err(EntryProblem::LinkToNothing(String::from_utf8_lossy(link).into_owned())),
            },
            EntryType::Char => return Err(EntryProblem::Kind("character device")),
            EntryType::Block => return Err(EntryProblem::Kind("block device")),
            EntryType::Fifo => return Err(EntryProblem::Kind("named pipe")),
            EntryType::GNUSparse => return Err(EntryProblem::Kind("sparse file")),
            _ => return Err(EntryProblem::Kind("special entry")),
        };
        let through = path
            .match_indices('/')
            .any(|(end, _)| self.entries.get(&path[..end]).is_some_and(|brings| *brings != Brings::Directory));
        if through {
            return Err(EntryProblem::BeneathNoDirectory);
        }
        match self.entries.insert(path, brings) {
            Some(_) => Err(EntryProblem::Duplicate),
            None if self.entries.len() > LIMITS.entries_max => Err(EntryProblem::TooMany(LIMITS.entries_max)),
            None => Ok(()),
        }
    }
}

fn plain_target(target: &[u8]) -> Result<(), EntryProblem> {
    let text = std::str::from_utf8(target).map_err(|_| EntryProblem::Name)?;
    match text.chars().any(char::is_control) || text.is_empty() {
        true => Err(EntryProblem::Name),
        false => Ok(()),
    }
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
