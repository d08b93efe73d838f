//! Makes archives and packages, honest ones and others.

use std::io::{Read, Write as _};
use tar::{Builder, EntryType, Header};

/// One entry of a tar archive, as raw as the test wants it.
#[derive(Clone)]
pub(crate) struct Entry {
    path: Vec<u8>,
    kind: EntryType,
    mode: u32,
    link: Vec<u8>,
    content: Vec<u8>,
}

/// A file.
pub(crate) fn file(path: &str, mode: u32, content: &str) -> Entry {
    entry(path, EntryType::Regular, mode, "", content.as_bytes())
}

/// A directory.
pub(crate) fn directory(path: &str, mode: u32) -> Entry {
    entry(path, EntryType::Directory, mode, "", b"")
}

/// A symbolic link.
pub(crate) fn link(path: &str, target: &str) -> Entry {
    entry(path, EntryType::Symlink, 0o777, target, b"")
}

/// Anything.
pub(crate) fn entry(path: &str, kind: EntryType, mode: u32, link: &str, content: &[u8]) -> Entry {
    entry_of(path.as_bytes(), kind, mode, link, content)
}

/// Anything, under any name.
pub(crate) fn entry_of(path: &[u8], kind: EntryType, mode: u32, link: &str, content: &[u8]) -> Entry {
    Entry { path: path.to_vec(), kind, mode, link: link.as_bytes().to_vec(), content: content.to_vec() }
}

/// A tar archive of these entries. Names are written as they are: the archive writer would refuse the
/// very ones the tests are about.
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for Entry { path, kind, mode, link, content } in entries {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_mtime(1_700_000_000);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, content.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn xz(mut bytes: impl Read) -> Vec<u8> {
    let mut encoder = xz2::write::XzEncoder::new(Vec::new(), 1);
    std::io::copy(&mut bytes, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// An `ar` archive of these members.
pub(crate) fn ar(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), content.len() as u64);
        header.set_mode(0o100_644);
        archive.append(&header, content.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A control paragraph.
pub(crate) fn control(name: &str, version: &str, architecture: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Example <maintainer@example.org>\n\
         Description: an example\n Version: not this one\n"
    )
}

/// A Debian package with these files.
pub(crate) fn deb(name: &str, version: &str, architecture: &str, entries: &[Entry]) -> Vec<u8> {
    let control = tar(&[file("./control", 0o644, &control(name, version, architecture))]);
    ar(&[
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control)),
        ("data.tar.xz", xz(tar(entries).as_slice())),
    ])
}
