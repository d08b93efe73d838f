//! Files that a killed `rpm` left behind: it writes each under a name of its own, `NAME;NUMBER`, beside its place.

use super::super::footprint::{Footprint, Root, remove, split};
use crate::files::{FileError, failed};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;

/// What stands between the name and the number of the transaction.
const MARK: char = ';';
/// Digits of that number.
const DIGITS: std::ops::RangeInclusive<usize> = 8..=16;

/// Their paths.
pub(super) fn find(root: &Root, footprint: &Footprint) -> Result<Vec<String>, FileError> {
    let directories: BTreeSet<&str> = footprint.paths().map(|path| split(path).0).collect();
    let mut strays = Vec::new();
    for directory in directories {
        let names = root.names(directory).map_err(failed("list", &root.path().join(directory)))?;
        for name in names.iter().filter_map(|name| of(name).map(|of| (name, of))) {
            let beneath =
                |name: &str| if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            if footprint.has(&beneath(name.1)) {
                strays.push(beneath(name.0));
            }
        }
    }
    Ok(strays)
}

/// The name a stray stands beside.
fn of(name: &str) -> Option<&str> {
    let (of, number) = name.rsplit_once(MARK)?;
    let is_number = DIGITS.contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then_some(of)
}

/// Takes them away.
pub(super) fn clear(root: &Root, footprint: &Footprint) -> Result<(), FileError> {
    for path in find(root, footprint)? {
        let removed = match root.parent(&path) {
            Ok((parent, name)) => remove(parent.as_fd(), name).map_err(io::Error::from),
            Err(error) => Err(error.into()),
        };
        removed.map_err(failed("remove", &root.path().join(&path)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_rpm_names_so_is_a_stray() {
        for (name, expected) in [
            ("app;6560a1b2", Some("app")),
            ("a;b;6560a1b2", Some("a;b")),
            ("app;6560a1", None),
            ("app;6560a1bx", None),
            ("app", None),
            (";6560a1b2", Some("")),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
    }
}
