//! Trees and archives of them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// An archive in the making. Names are written into headers as they are: hostile ones, too.
pub(crate) struct Archive(Builder<Vec<u8>>);

impl Archive {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(crate) fn entry(mut self, kind: EntryType, name: &[u8], mode: u32, link: &[u8], content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name);
        gnu.linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    /// An extended header for the entry that comes next.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let record = |(key, value): &(&str, &str)| {
            let rest = format!(" {key}={value}\n");
            // The length counts its own digits.
            let fits = |length: &usize| length.to_string().len() + rest.len() == *length;
            format!("{}{rest}", (rest.len()..rest.len() + 9).find(fits).expect("so many digits are enough"))
        };
        let records: String = records.iter().map(record).collect();
        self.entry(EntryType::XHeader, b"pax", 0o644, b"", records.as_bytes())
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), 0o644, b"", content.as_bytes())
    }

    pub(crate) fn program(self, name: &str, script: &str) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), 0o755, b"", script.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name.as_bytes(), 0o755, b"", b"")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name.as_bytes(), 0o777, target.as_bytes(), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name.as_bytes(), 0o644, target.as_bytes(), b"")
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A tree that says which version it is, with a bit of everything a tree may have.
pub(crate) fn tree_of(version: &str) -> Vec<u8> {
    Archive::new()
        .directory("bin/")
        .program("bin/version", &format!("#!/bin/sh\necho {version}\n"))
        .program("bin/serve", "#!/bin/sh\nexec sleep 1000\n")
        .link("bin/current", "version")
        .hard_link("bin/also", "bin/version")
        .link("lib/up", "../bin/version")
        .file(&format!("share/only-in-{version}"), version)
        .file("var/lib/dpkg/status.d/widget", &format!("Package: widget\nVersion: {version}\n"))
        .bytes()
}

/// Everything of a tree that can be told apart: modes, content, links.
pub(crate) fn snapshot(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_symlink() {
                std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if metadata.is_dir() {
                waiting.push(path.clone());
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            seen.insert(name, (metadata.mode(), content));
        }
    }
    seen
}
