//! Reading a Debian package into the tree: an `ar` archive with a version, a control archive and a
//! data archive (deb(5)).

use super::archive;
use super::compressed;
use super::error::{EntryProblem, PackError};
use super::limits::{CONTROL_ARCHIVE_BYTES_MAX, CONTROL_BYTES_MAX, Limits, PACKAGE_MEMBERS_MAX};
use super::tree::Tree;
use crate::files::{self, FileError};
use serde::Serialize;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

/// How every `ar` archive begins.
const MAGIC: &[u8] = b"!<arch>\n";
/// Where the packages of a tree say who they are: one control paragraph per file (the convention of
/// distroless images).
pub const STATUS_DIRECTORY: &str = "var/lib/dpkg/status.d";
/// An `ar` member's header.
const HEADER_BYTES: u64 = 60;
/// Permissions of a control paragraph in the tree.
const CONTROL_MODE: u32 = 0o644;

/// What a package says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Package {
    /// `Package`.
    pub name: String,
    /// `Version`.
    pub version: String,
    /// `Architecture`.
    pub architecture: String,
}

/// Reads a package's files and its control paragraph into the tree.
pub(super) fn read(tree: &mut Tree, input: &Path, limits: &Limits) -> Result<Package, PackError> {
    let control = control(input, limits)?;
    let package = Package::parse(&control).map_err(|detail| no_package(input, detail))?;
    with_member(input, "data.tar", |member, size| {
        let from = compressed::open(BufReader::new(member), size, limits).map_err(|e| archive::broken(input, e))?;
        archive::read(tree, input, from)
    })?;
    let place = format!("{STATUS_DIRECTORY}/{}", package.name);
    tree.add_file(place.as_bytes(), CONTROL_MODE, control.len() as u64, control.as_slice())
        .map_err(|refused| archive::refuse(input, place.as_bytes(), refused))?;
    Ok(package)
}

/// What a package says of itself.
pub(super) fn identify(input: &Path, limits: &Limits) -> Result<Package, PackError> {
    Package::parse(&control(input, limits)?).map_err(|detail| no_package(input, detail))
}

fn control(input: &Path, limits: &Limits) -> Result<Vec<u8>, PackError> {
    let control = with_member(input, "control.tar", |member, size| {
        let small = Limits { tree_bytes_max: CONTROL_ARCHIVE_BYTES_MAX, ..*limits };
        let from = compressed::open(BufReader::new(member), size, &small).map_err(|e| archive::broken(input, e))?;
        archive::read_one(input, from.take(CONTROL_ARCHIVE_BYTES_MAX), "control", CONTROL_BYTES_MAX)
    })?;
    control.ok_or_else(|| no_package(input, "its control archive has no file `control`"))
}

fn no_package(input: &Path, detail: impl Into<String>) -> PackError {
    PackError::Package { input: input.to_owned(), detail: detail.into() }
}

/// Hands the one member whose name begins so to `read`.
fn with_member<T>(
    input: &Path,
    name: &str,
    read: impl FnOnce(&mut dyn Read, u64) -> Result<T, PackError>,
) -> Result<T, PackError> {
    let mut file = files::open(input, "Debian package")?;
    check_headers(input, &mut file)?;
    let mut archive = ar::Archive::new(BufReader::new(file));
    while let Some(entry) = archive.next_entry() {
        let mut entry = entry.map_err(|source| archive::broken(input, source))?;
        let identifier = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        let Some(suffix) = identifier.strip_prefix(name) else { continue };
        if !matches!(suffix, "" | ".gz" | ".xz" | ".zst") {
            return Err(no_package(input, format!("{identifier} is compressed in a way this program does not read")));
        }
        let size = entry.header().size();
        return read(&mut entry, size);
    }
    Err(no_package(input, format!("it has no {name}")))
}

/// Looks at the members' headers before the archive reader does: it would take a header's word for how
/// long a name is, and reserve memory for it. A package needs no long names, so there are none.
fn check_headers(input: &Path, file: &mut File) -> Result<(), PackError> {
    let failed = |source| archive::broken(input, source);
    let length = file.metadata().map_err(failed)?.len();
    let mut place = MAGIC.len() as u64;
    let mut members: Vec<String> = Vec::new();
    while place < length {
        let mut header = [0; HEADER_BYTES as usize];
        file.seek(SeekFrom::Start(place)).map_err(failed)?;
        file.read_exact(&mut header).map_err(failed)?;
        if header[0] == b'/' || header.starts_with(b"#1/") {
            return Err(no_package(input, "it has members with extended names"));
        }
        let name = String::from_utf8_lossy(&header[..16]);
        let name = name.trim_end().trim_end_matches('/');
        let kind = ["debian-binary", "control.tar", "data.tar"].into_iter().find(|kind| name.starts_with(kind));
        // Two of one kind: readers would disagree about what the package contains. Names with an
        // underscore first are for extensions (deb(5)) and of no concern here.
        if members.iter().any(|earlier| Some(earlier.as_str()) == kind) || (kind.is_none() && !name.starts_with('_')) {
            return Err(no_package(input, format!("it has a member {name:?} too many")));
        }
        let size = std::str::from_utf8(&header[48..58]).ok().and_then(|size| size.trim_end().parse::<u64>().ok());
        let size = size.ok_or_else(|| no_package(input, "a member has no length"))?;
        let end = place + HEADER_BYTES + size;
        if end > length {
            let problem = EntryProblem::BrokenOff { actual: length - place - HEADER_BYTES, expected: size };
            return Err(archive::refuse(input, header[..16].trim_ascii_end(), problem.into()));
        }
        place = end + size % 2;
        members.push(kind.unwrap_or("_").to_owned());
        if members.len() > PACKAGE_MEMBERS_MAX {
            return Err(no_package(input, format!("it has more than {PACKAGE_MEMBERS_MAX} members")));
        }
    }
    file.seek(SeekFrom::Start(0)).map(|_| ()).map_err(failed)
}

impl Package {
    /// Reads the fields of a control paragraph (deb-control(5)) that matter here.
    fn parse(control: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(control).map_err(|_| "its control paragraph is not UTF-8".to_owned())?;
        let field = |name: &str| {
            let value = text.lines().take_while(|line| !line.is_empty()).find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            });
            value.filter(|value| !value.is_empty()).ok_or_else(|| format!("its control paragraph has no {name}"))
        };
        let package =
            Self { name: field("Package")?, version: field("Version")?, architecture: field("Architecture")? };
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(byte);
        let (first, rest) = package.name.as_bytes().split_first().unwrap_or((&b'-', &[]));
        // Becomes a file name in the tree: Debian policy §5.6.1 leaves no room for mischief.
        if !(first.is_ascii_lowercase() || first.is_ascii_digit())
            || !rest.iter().all(plain)
            || package.name.len() > 200
        {
            return Err("its name is not a package name".to_owned());
        }
        Ok(package)
    }
}

/// Whether a file begins as a Debian package does.
pub(super) fn is_package_file(input: &Path) -> Result<bool, PackError> {
    let mut start = Vec::new();
    let read = files::open(input, "input")?.take(MAGIC.len() as u64).read_to_end(&mut start);
    read.map_err(|source| FileError::Read { what: "input", path: input.to_owned(), source })?;
    Ok(start.starts_with(MAGIC))
}
