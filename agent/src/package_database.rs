//! The package database of an installed tree: which version of a package is in it. Read there, and not
//! from a program's `--version`: a security rebuild keeps the upstream version.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;

/// One control paragraph per file, named by the package: how images without a package manager say
/// what is in them.
const PARAGRAPHS: &str = "var/lib/dpkg/status.d";
/// All control paragraphs in one file (dpkg).
const STATUS: &str = "var/lib/dpkg/status";
/// Bytes looked at: several times the database of a large system.
const DATABASE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Files looked at where every paragraph has its own.
const PARAGRAPHS_MAX: usize = 16 * 1024;
/// Bytes of a line looked at: names and versions are shorter.
const LINE_BYTES_MAX: u64 = 4 * 1024;

/// The installed version of a package; `None` when the tree has no such package, or no database.
///
/// # Errors
/// When the database is there and cannot be read.
pub fn version(tree: &Path, package: &str) -> io::Result<Option<String>> {
    for path in [format!("{PARAGRAPHS}/{package}"), STATUS.to_owned()] {
        let found = match open_beneath(tree, &path) {
            Ok(file) => find(file, package)?,
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Opens a file of the tree without following any link: a link could lead to the host's own database.
fn open_beneath(tree: &Path, path: &str) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut place: OwnedFd = rustix::fs::open(tree, flags | OFlags::DIRECTORY, Mode::empty())?;
    for part in path.split('/') {
        place = rustix::fs::openat(&place, part, flags, Mode::empty())?;
    }
    Ok(place.into())
}

/// One control paragraph, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paragraph {
    pub(crate) package: Option<String>,
    pub(crate) architecture: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) status: Option<String>,
}

impl Paragraph {
    fn take(&mut self, line: &str) {
        let Some((field, value)) = line.split_once(':') else { return };
        let place = match field {
            "Package" => &mut self.package,
            "Architecture" => &mut self.architecture,
            "Version" => &mut self.version,
            "Status" => &mut self.status,
            _ => return,
        };
        *place = Some(value.trim().to_owned());
    }

    /// The version, if this is about the package and it is installed (a removed one leaves its
    /// paragraph behind).
    fn version_of(self, package: &str) -> Option<String> {
        let installed = self.status.is_none_or(|status| status.ends_with(" installed"));
        self.version.filter(|_| installed && self.package.as_deref() == Some(package))
    }
}

fn find(file: File, package: &str) -> io::Result<Option<String>> {
    let mut found = None;
    each(file, |paragraph| {
        found = paragraph.version_of(package);
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Has every paragraph of a database looked at, until somebody has seen enough.
fn each(file: File, mut look: impl FnMut(Paragraph) -> ControlFlow<()>) -> io::Result<()> {
    let mut lines = BufReader::new(file.take(DATABASE_BYTES_MAX));
    let (mut paragraph, mut line, mut whole_before) = (Paragraph::default(), Vec::new(), true);
    loop {
        line.clear();
        if lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            let _ = look(paragraph); // The last one, whatever is said of it.
            return Ok(());
        }
        let (begins_line, ends_line) = (whole_before, line.ends_with(b"\n"));
        whole_before = ends_line;
        match std::str::from_utf8(&line) {
            Ok(text) if begins_line && text.trim().is_empty() => match look(std::mem::take(&mut paragraph)) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(()) => return Ok(()),
            },
            // The rest of a long line is no line of its own.
            Ok(text) if begins_line => paragraph.take(text),
            _ => {}
        }
    }
}

/// Has every paragraph of a host's database looked at; whether there is one. Here links are followed: it is the host
/// that is asked, and its database may lie anywhere.
///
/// # Errors
/// When the database is there and cannot be read.
pub(crate) fn each_of_host(root: &Path, mut look: impl FnMut(Paragraph)) -> io::Result<bool> {
    let found = match File::open(root.join(STATUS)) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let paragraphs = root.join(PARAGRAPHS);
    let mut look = |paragraph| {
        look(paragraph);
        ControlFlow::Continue(())
    };
    let mut is_there = found.is_some();
    found.map_or(Ok(()), |file| each(file, &mut look))?;
    for name in crate::files::names(&paragraphs).map_err(|error| error.source)?.iter().take(PARAGRAPHS_MAX) {
        is_there = true;
        each(File::open(paragraphs.join(name))?, &mut look)?;
    }
    Ok(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_where_packages_say_who_they_are() {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let is = |package: &str, expected: Option<&str>| {
            assert_eq!(version(tree.path(), package).unwrap().as_deref(), expected, "{package}");
        };
        is("valkey", None);
        put("var/lib/dpkg/status.d/valkey", "Package: valkey\nVersion: 8.0.1+dfsg1-1\n");
        let long = "x".repeat(9_000);
        let status = format!(
            "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
             Package: libc6\nStatus: install ok installed\nDescription: {long} Version: 9\n Version: 8\nVersion: 2.36-9\n"
        );
        put("var/lib/dpkg/status", &status);
        is("valkey", Some("8.0.1+dfsg1-1"));
        is("libc6", Some("2.36-9"));
        is("gone", None);

        // A link to the host's own database is not followed.
        std::fs::remove_dir_all(tree.path().join("var/lib/dpkg")).unwrap();
        std::os::unix::fs::symlink("/var/lib/dpkg", tree.path().join("var/lib/dpkg")).unwrap();
        assert!(version(tree.path(), "libc6").is_err());
    }
}
