//! A key file in the place of another.

use crate::{Drawer, SEED, approver, machine, open};
use keyring::{KeyFileError, Overwritten, Secret, replace};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

#[test]
fn a_key_is_sealed_and_opened_again_where_it_lies_and_nothing_else_is_left() {
    let (drawer, key, secret) = (Drawer::new(), approver(), machine());
    let path = drawer.put("a.key", key.plain().as_bytes());
    let mut old = File::open(&path).unwrap();
    let owner = if rustix::process::geteuid().is_root() { 12 } else { fs::metadata(&path).unwrap().uid() };
    chown(&path, Some(owner), Some(owner)).unwrap();
    assert!(matches!(replace(&path, &key.sealed(&path, &secret).unwrap()).unwrap(), Overwritten::Yes));
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o777), (owner, owner, 0o600));
    // What a program that had it open would still see, and a disk that was looked at byte by byte.
    let mut left = Vec::new();
    old.rewind().unwrap();
    old.read_to_end(&mut left).unwrap();
    assert!(left.len() == key.plain().len() && left.iter().all(|byte| *byte == 0), "{left:?}");
    assert_eq!(*open(&path, Some(&secret)).unwrap().secret.seed(), SEED);

    replace(&path, &key.plain()).unwrap();
    assert_eq!(*open(&path, None).unwrap().secret.seed(), SEED);
    assert_eq!(fs::read_dir(drawer.path(".")).unwrap().count(), 1);
}

#[test]
fn a_link_is_followed_and_a_file_of_two_names_is_left_alone() {
    let (drawer, key, secret) = (Drawer::new(), approver(), machine());
    let path = drawer.put("a.key", key.plain().as_bytes());
    let link = drawer.path("link.key");
    symlink(&path, &link).unwrap();
    let sealed = key.sealed(&link, &secret).unwrap();
    replace(&link, &sealed).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&path).unwrap(), sealed);

    fs::hard_link(&path, drawer.path("other.key")).unwrap();
    let error = replace(&path, &key.plain()).unwrap_err();
    assert!(matches!(error, KeyFileError::Links { links: 2, .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), sealed);
    assert!(matches!(replace(&drawer.path("absent"), "").unwrap_err(), KeyFileError::Write { .. }));
    assert!(Secret::parse(&sealed).is_err());
}
