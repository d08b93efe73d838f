//! Names, modes and link targets that may be in a tree: decided before anything is made.

use super::problem::{EntryProblem, shown};

/// Bytes of one path.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of one part of a path.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// Directories within directories.
pub const DEPTH_MAX: usize = 128;
/// Permissions kept: read, write, execute.
const MODE_MASK: u32 = 0o777;
/// Permission bits nobody may bring.
const SETID_BITS: u32 = 0o6000;

/// What the owner of a file in a tree can always do: the tree must be digestible, also later.
const OWNER_READS: u32 = 0o400;

/// The permissions a file with these has once it is in a tree.
pub(in crate::installer) fn file_mode(mode: u32) -> u32 {
    mode & MODE_MASK | OWNER_READS
}

pub(in crate::installer) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

pub(super) fn checked_mode(mode: u32) -> Result<u32, EntryProblem> {
    match mode & SETID_BITS {
        0 => Ok(mode & MODE_MASK),
        _ => Err(EntryProblem::SetId(mode & 0o7777)),
    }
}

/// A path as parts with one `/` between them; empty for the tree itself.
pub(in crate::installer) fn clean(path: &[u8]) -> Result<String, EntryProblem> {
    if path.len() > PATH_BYTES_MAX {
        return Err(EntryProblem::TooLong);
    }
    let path = text(path)?;
    if path.starts_with('/') {
        return Err(EntryProblem::Absolute);
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(EntryProblem::Climbs);
    }
    if parts.len() > DEPTH_MAX || parts.iter().any(|part| part.len() > COMPONENT_BYTES_MAX) {
        return Err(EntryProblem::TooLong);
    }
    Ok(parts.join("/"))
}

pub(in crate::installer) fn named(path: &[u8]) -> Result<String, EntryProblem> {
    clean(path).and_then(|path| if path.is_empty() { Err(EntryProblem::Nameless) } else { Ok(path) })
}

pub(in crate::installer) fn text(bytes: &[u8]) -> Result<&str, EntryProblem> {
    let text = std::str::from_utf8(bytes).map_err(|_| EntryProblem::Name)?;
    if text.chars().any(char::is_control) { Err(EntryProblem::Name) } else { Ok(text) }
}

pub(super) fn check_link(path: &str, target: &str) -> Result<(), EntryProblem> {
    let depth = path.matches('/').count();
    let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let climbs = parts.iter().take_while(|part| **part == "..").count();
    let stays = !target.is_empty()
        && target.len() <= PATH_BYTES_MAX
        && !target.starts_with('/')
        && climbs <= depth
        && !parts[climbs..].contains(&"..");
    if stays { Ok(()) } else { Err(EntryProblem::LinkOut(shown(target))) }
}
