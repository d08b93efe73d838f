//! What an RPM package says of itself: a lead, a header with signatures, and the header (the format of
//! `rpm`'s own documentation, version 3 and 4).

use super::debian::Package;
use super::error::PackError;
use super::limits::{RPM_HEADER_BYTES_MAX, RPM_TAGS_MAX};
use crate::files;
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// How every package begins …
const LEAD: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
/// … with so many bytes that nobody reads any more.
const LEAD_BYTES: usize = 96;
/// How every header begins, and its version.
const HEADER: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
/// The first header is filled up to a multiple of this.
const ALIGNMENT: u64 = 8;
const TAG_BYTES: usize = 16;
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCHITECTURE: u32 = 1022;
/// The name of the package it was built from; a package without is such a one itself.
const SOURCE: u32 = 1044;
/// Longest name, version, release or architecture.
const WORD_BYTES_MAX: usize = 255;

/// Whether a file begins like an RPM package.
pub(super) fn is_package_file(input: &Path) -> Result<bool, PackError> {
    let mut magic = [0; LEAD.len()];
    let read = files::open(input, "input")?.read_exact(&mut magic);
    Ok(read.is_ok() && magic == LEAD)
}

/// What a package says of itself.
pub(super) fn identify(input: &Path) -> Result<Package, PackError> {
    let broken = |source| PackError::Broken { input: input.to_owned(), what: "an RPM package", source };
    let mut from = BufReader::new(files::open(input, "RPM package")?);
    from.read_exact(&mut [0; LEAD_BYTES]).map_err(broken)?;
    let signatures = Header::read(&mut from).map_err(broken)?;
    let padding = (ALIGNMENT - signatures.store.len() as u64 % ALIGNMENT) % ALIGNMENT;
    io::copy(&mut from.by_ref().take(padding), &mut io::sink()).map_err(broken)?;
    let header = Header::read(&mut from).map_err(broken)?;
    header.package().map_err(|detail| PackError::RpmPackage { input: input.to_owned(), detail })
}

/// So many bytes; no memory is taken for what does not come.
fn exactly(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Tags, and where their values begin in the store.
struct Header {
    tags: BTreeMap<u32, usize>,
    store: Vec<u8>,
}

impl Header {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut intro = [0; 16];
        from.read_exact(&mut intro)?;
        let number =
            |bytes: &[u8], at: usize| bytes[at..at + 4].iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        if intro[..4] != HEADER {
            return Err(wrong("there is no header where one must be"));
        }
        let (count, length) = (number(&intro, 8) as usize, number(&intro, 12) as usize);
        if count > RPM_TAGS_MAX || length > RPM_HEADER_BYTES_MAX {
            return Err(wrong("its header is larger than any package's"));
        }
        let (index, store) = (exactly(from, count * TAG_BYTES)?, exactly(from, length)?);
        let tag = |entry: &[u8]| (number(entry, 0), number(entry, 8) as usize);
        Ok(Self { tags: index.chunks_exact(TAG_BYTES).map(tag).collect(), store })
    }

    fn package(&self) -> Result<Package, String> {
        if !self.tags.contains_key(&SOURCE) {
            return Err("it is a source package".to_owned());
        }
        let (name, architecture) = (self.word("name", NAME)?, self.word("architecture", ARCHITECTURE)?);
        let (version, release) = (self.word("version", VERSION)?, self.word("release", RELEASE)?);
        let epoch = self.tags.get(&EPOCH).and_then(|at| self.store.get(*at..at.checked_add(4)?));
        let epoch = epoch.map(|bytes| bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)));
        let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
        Ok(Package { name, version: format!("{epoch}{version}-{release}"), architecture })
    }

    fn word(&self, what: &str, tag: u32) -> Result<String, String> {
        let none = || format!("it has no {what}");
        let from = self.tags.get(&tag).and_then(|at| self.store.get(*at..)).ok_or_else(none)?;
        let end = from.iter().take(WORD_BYTES_MAX + 1).position(|byte| *byte == 0).ok_or_else(none)?;
        let word = &from[..end];
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-~^".contains(byte);
        match word.first().is_some_and(u8::is_ascii_alphanumeric) && word.iter().all(plain) {
            true => Ok(String::from_utf8_lossy(word).into_owned()),
            false => Err(format!("{:?} is no {what}", String::from_utf8_lossy(word))),
        }
    }
}
