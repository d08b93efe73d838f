//! Whoever edits a file while a set is put in place loses nothing of it.

use super::super::super::super::footprint::Root;
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// A host with files of one release, and the files of the next.
struct Host {
    room: TempDir,
    changes: Vec<Change>,
}

impl Host {
    fn new() -> Self {
        let host = Self { room: tempfile::tempdir().unwrap(), changes: Vec::new() };
        for (path, content) in [("root/etc/a", "old a"), ("root/etc/b", "old b"), ("root/etc/gone", "old gone")] {
            host.write(path, content);
        }
        for path in ["new/etc/a", "new/etc/b", "new/etc/c", "new/etc/sub/d"] {
            host.write(path, "new");
        }
        for directory in ["root", "root/etc"] {
            fs::set_permissions(host.room.path().join(directory), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let file = |path: &str| Change::File { path: path.to_owned(), mode: 0o644, bytes: 3 };
        let sub = Change::Directory { path: "etc/sub".to_owned(), mode: 0o755 };
        let gone = Change::Remove { path: "etc/gone".to_owned() };
        let changes = vec![file("etc/a"), sub, file("etc/sub/d"), file("etc/b"), file("etc/c"), gone];
        Self { changes, ..host }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.room.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
    }

    /// Puts the set in place, though somebody did something after the last look.
    fn put(&self, meanwhile: impl FnOnce(&Self)) -> Result<(), Stopped> {
        let places = Places::new(Root::own(&self.path("root")), vec!["/etc".into()], "directories");
        let paths: BTreeSet<_> = self.changes.iter().map(|change| change.path().to_owned()).collect();
        let long = Deadline::begin("a test", Duration::from_secs(600));
        let footprint = Footprint::take(places.root(), &paths, &[], long).unwrap();
        meanwhile(self);
        places.put(&self.changes, &self.path("new"), &footprint, long)
    }

    fn all(&self) -> BTreeMap<PathBuf, Option<String>> {
        let (mut all, mut waiting) = (BTreeMap::new(), vec![self.path("root")]);
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    waiting.push(path.clone());
                }
                all.insert(path.clone(), fs::read_to_string(path).ok());
            }
        }
        all
    }
}

#[test]
fn an_edit_between_the_last_look_and_the_exchange_is_not_lost_and_stops_the_set() {
    for (edited, content) in [("etc/a", "edited"), ("etc/b", "edited"), ("etc/c", "made"), ("etc/gone", "edited")] {
        let host = Host::new();
        let mut expected = host.all();
        let stopped = host.put(|host| host.write(&format!("root/{edited}"), content)).unwrap_err();
        assert!(matches!(&stopped, Stopped::Edited(path) if path == edited), "{edited}: {stopped:?}");
        expected.insert(host.path("root").join(edited), Some(content.to_owned()));
        assert_eq!(host.all(), expected, "{edited}: his is there, and all else is as it was");
    }
}

#[test]
fn what_somebody_takes_away_meanwhile_stays_away() {
    let host = Host::new();
    let mut expected = host.all();
    let stopped = host.put(|host| fs::remove_file(host.path("root/etc/b")).unwrap()).unwrap_err();
    assert!(matches!(&stopped, Stopped::Edited(path) if path == "etc/b"), "{stopped:?}");
    expected.remove(&host.path("root/etc/b"));
    assert_eq!(host.all(), expected);
}

#[test]
fn what_nobody_edits_is_put_in_place() {
    let host = Host::new();
    host.put(|_| {}).unwrap();
    for path in ["a", "b", "c", "sub/d"] {
        assert_eq!(fs::read_to_string(host.path("root/etc").join(path)).unwrap(), "new");
    }
    assert!(!host.path("root/etc/gone").exists());
}
