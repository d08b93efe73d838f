//! What is kept sealed, and what opens it.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod changing;
mod sealing;
mod secrets;

use keyring::{KeyFile, KeyFileError, KeyRole, Secret, Stored};
use ledger::bounded::Name;
use ledger::key::SecretKey;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A passphrase, and the seed of the key that it seals here.
const PASSPHRASE: &str = "correct horse battery staple";
const SEED: [u8; 32] = [1; 32];

/// A directory with key files.
struct Drawer(TempDir);

impl Drawer {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn approver() -> KeyFile {
    KeyFile::of(KeyRole::Approver, Some(Name::new("bank").unwrap()), SecretKey::from_seed(&SEED))
}

fn machine() -> Secret {
    Secret::parse(&Secret::generate()).unwrap()
}

fn passphrase(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}

/// Opens a key file with this, or with nothing.
fn open(path: &Path, with: Option<&Secret>) -> Result<KeyFile, KeyFileError> {
    let nothing = || KeyFileError::Sealed { path: path.to_owned() };
    Stored::read(path)?.open(|| with.cloned().ok_or_else(nothing))
}
