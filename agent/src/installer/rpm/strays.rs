//! Files and links that a killed `rpm` left behind: it makes each under a name of its own, `NAME;NUMBER`, beside its
//! place.

use super::super::footprint::{Footprint, Root, remove, split};
use crate::settled::chain;
use rustix::fs::FileType;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;

/// What stands between the name and the number of the transaction.
const MARK: char = ';';
/// Digits of that number.
const DIGITS: std::ops::RangeInclusive<usize> = 8..=16;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// Their paths.
    pub(super) files: Vec<String>,
    /// Directories that could not be searched, in words.
    unseen: Vec<String>,
}

/// Looks for them. `rpm` leaves files and links: what else bears such a name is somebody's own, and a directory that
/// cannot be searched stops nothing else.
pub(super) fn find(root: &Root, footprint: &Footprint) -> Strays {
    let directories: BTreeSet<&str> = footprint.paths().map(|path| split(path).0).collect();
    let mut strays = Strays::default();
    for directory in directories {
        let names = match root.names(directory) {
            Ok(names) => names,
            Err(error) => {
                strays.unseen.push(format!("/{directory} cannot be searched for what rpm left: {}", chain(&error)));
                continue;
            }
        };
        for (name, of) in names.iter().filter_map(|name| of(name).map(|of| (name, of))) {
            let beneath =
                |name: &str| if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            let path = beneath(name);
            let is_left = || matches!(root.kind(&path), Ok(Some(FileType::RegularFile | FileType::Symlink)));
            if footprint.has(&beneath(of)) && is_left() {
                strays.files.push(path);
            }
        }
    }
    strays.files.sort();
    strays
}

/// The name a stray stands beside.
fn of(name: &str) -> Option<&str> {
    let (of, number) = name.rsplit_once(MARK)?;
    let is_number = DIGITS.contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then_some(of)
}

/// Takes them away; in words, what stays. Nobody's going back waits for it.
pub(super) fn clear(root: &Root, footprint: &Footprint) -> Vec<String> {
    let Strays { files, unseen: mut stays } = find(root, footprint);
    for path in files {
        let removed = match root.parent(&path) {
            Ok((parent, name)) => remove(parent.as_fd(), name).map_err(io::Error::from),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = removed {
            stays.push(format!("/{path}, which rpm left, cannot be removed: {}", chain(&error)));
        }
    }
    stays
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

    #[test]
    fn only_files_and_links_are_strays_and_what_cannot_be_searched_stops_nothing() {
        use super::super::super::deadline::Deadline;
        use std::fs::{self, Permissions};
        use std::os::unix::fs::PermissionsExt as _;
        let room = tempfile::tempdir().unwrap();
        let base = room.path().join("root");
        for directory in ["", "app", "theirs"] {
            fs::create_dir_all(base.join(directory)).unwrap();
            fs::set_permissions(base.join(directory), Permissions::from_mode(0o755)).unwrap();
        }
        for path in ["app/data", "theirs/data"] {
            fs::write(base.join(path), "old").unwrap();
        }
        let (root, deadline) = (Root::own(&base), Deadline::begin("a test", std::time::Duration::from_secs(600)));
        let paths = ["app/data", "theirs/data"].map(str::to_owned).into();
        let footprint = Footprint::take(&root, &paths, &[], deadline).unwrap();
        fs::create_dir(base.join("app/data;6560a1b2")).unwrap();
        std::os::unix::fs::symlink("data", base.join("app/data;6560a1b4")).unwrap();
        fs::write(base.join("app/data;6560a1b3"), "half").unwrap();
        fs::write(base.join("theirs/data;6560a1b3"), "half").unwrap();
        // Others may change it now: this root does not go there.
        fs::set_permissions(base.join("theirs"), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(find(&root, &footprint).files, ["app/data;6560a1b3", "app/data;6560a1b4"]);
        let stays = clear(&root, &footprint);
        assert!(stays.len() == 1 && stays[0].starts_with("/theirs cannot be searched"), "{stays:?}");
        assert!(!base.join("app/data;6560a1b3").exists() && !base.join("app/data;6560a1b4").is_symlink());
        assert!(base.join("app/data;6560a1b2").is_dir() && base.join("app/data").is_file());
        assert!(find(&root, &footprint).files.is_empty());
    }
}
