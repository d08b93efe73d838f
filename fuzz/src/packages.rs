//! Packages of a host's package managers, as these tell them; and their databases.

use crate::archives::repair;
use crate::doors::is_a_sentence;
use crate::memory::peak_of;
use crate::places::directory;
use agent::installer::debian::examine as debian;
use agent::installer::rpm::examine as rpm;
use agent::installer::{Brings, Capabilities, Contents};
use agent::package_database::version;
use agent::settled::Refusal;
use ledger::receipt::ReasonCode;
use std::fs;

/// Bytes that a package may unpack to: few, so that it is met.
const PACKAGE_BYTES_MAX: u64 = 64 * 1024;
/// Memory for each byte …
const BYTES_PER_BYTE_MAX: usize = 96;
/// … and for looking at all.
const BYTES_BEGUN_MAX: usize = 256 * 1024;

/// What is written of a refusal.
fn refused(detail: &str) {
    is_a_sentence(Refusal::new(ReasonCode::ArchiveUnsafe, detail).reason.detail.as_str());
}

/// What stands in command lines and file names.
fn is_a_word(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.bytes().all(|byte| byte.is_ascii_graphic() && !b"/\\'\"`$&|;<>*?()[]{}!#%,=".contains(&byte))
}

/// Nothing but plain names, each beneath directories alone, and no more than was allowed.
fn check_entries(contents: &Contents) {
    let mut total = 0;
    for (path, brings) in &contents.entries {
        let parts: Vec<&str> = path.split('/').collect();
        assert!(parts.iter().all(|part| !matches!(*part, "" | "." | "..")), "{path:?} is no plain name");
        assert!(!path.chars().any(char::is_control), "{path:?} is no plain name");
        let above = path.rsplit_once('/').and_then(|(above, _)| contents.entries.get(above));
        assert!(above.is_none_or(|above| *above == Brings::Directory), "{path:?} is beneath no directory");
        if let Brings::File { bytes, .. } = brings {
            total += bytes;
        }
    }
    assert!(total <= PACKAGE_BYTES_MAX, "{total} bytes");
}

/// The first byte says whether the rest is an archive, as `dpkg-deb` writes it, its checksums made to fit or not, or what
/// a package says of itself.
pub fn examine_debian(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    if how & 2 == 2 {
        return match debian::identity(&String::from_utf8_lossy(rest)) {
            Ok(contents) => {
                let words = [&contents.name, &contents.version, &contents.architecture];
                assert!(words.into_iter().all(|word| is_a_word(word)), "{words:?}");
            }
            Err(refusal) => refused(&refusal),
        };
    }
    let mut file = rest.to_vec();
    if how & 1 == 1 {
        repair(&mut file);
    }
    let (brought, taken) = peak_of(|| debian::brought(&mut &file[..], PACKAGE_BYTES_MAX));
    assert!(taken <= file.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory for {}", file.len());
    match brought {
        Ok(contents) => check_entries(&contents),
        Err(refusal) => refused(&refusal),
    }
}

/// What rpm says a package is, a zero, what it says that it brings.
pub fn examine_rpm(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (said, listing) = text.split_once('\0').unwrap_or((&text, ""));
    let (read, taken) = peak_of(|| {
        let (mut contents, count) = rpm::identity(said)?;
        rpm::read(&mut contents, listing, count, PACKAGE_BYTES_MAX).map(|()| (contents, count))
    });
    assert!(taken <= text.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory for {}", text.len());
    match read {
        Ok((contents, count)) => {
            let words = [&contents.name, &contents.version, &contents.architecture];
            assert!(words.into_iter().all(|word| is_a_word(word)), "{words:?}");
            assert!(contents.entries.len() <= count, "more entries than there are");
            check_entries(&contents);
        }
        Err(refusal) => refused(&refusal),
    }
}

/// A package's name, a line's end, and a database: of all packages, or, if the name's first byte says so, of that one. A
/// version that is found stands there, behind the name.
pub fn read_database(bytes: &[u8]) {
    let Some((own, rest)) = bytes.split_first() else { return };
    let (name, database) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    let Some(name) = std::str::from_utf8(name).ok().and_then(|name| ledger::bounded::Name::new(name).ok()) else {
        return;
    };
    let tree = directory("packages");
    let place = if own & 1 == 1 { format!("status.d/{name}") } else { "status".to_owned() };
    let place = tree.join("var/lib/dpkg").join(place);
    fs::create_dir_all(place.parent().expect("it is in a directory")).expect("a directory can be made");
    fs::write(&place, database).expect("a file can be written");
    let (found, taken) = peak_of(|| version(&tree, name.as_str()));
    assert!(taken <= BYTES_BEGUN_MAX, "{taken} bytes of memory");
    if let Some(version) = found.expect("the file can be read") {
        let text = String::from_utf8_lossy(database);
        let mut said = text.lines().filter_map(|line| line.split_once(':'));
        assert!(said.any(|(field, value)| field == "Version" && value.trim() == version), "nobody said {version:?}");
        let mut said = text.lines().filter_map(|line| line.split_once(':'));
        assert!(said.any(|(field, value)| field == "Package" && value.trim() == name.as_str()));
    }
}

/// Capabilities in words, a zero, and as a kernel keeps them: none are within all, all within themselves, and what a host
/// has is what it grants.
pub fn read_capabilities(bytes: &[u8]) {
    let (words, kept) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let ((new, had), taken) = peak_of(|| {
        let words = String::from_utf8_lossy(words);
        (Capabilities::from_text(&words), Capabilities::from_attribute(kept.get(1..).unwrap_or_default()))
    });
    assert!(taken <= bytes.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory");
    let none = Capabilities::default();
    for one in [new, had].into_iter().flatten() {
        assert!(one.are_within(one) && none.are_within(one));
        assert!(!one.are_within(none) || one == none, "something is within nothing");
    }
    if let (Some(new), Some(had)) = (new, had) {
        assert_eq!(new.are_within(had) && had.are_within(new), new == had, "two that are within each other are one");
    }
}
