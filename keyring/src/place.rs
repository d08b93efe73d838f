//! Where a machine keeps the secret that opens its keys.

use crate::secret::{Secret, SecretError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where the service manager puts credentials, by its word (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Longest name of a credential.
const NAME_BYTES_MAX: usize = 255;

/// Where a machine keeps the secret that opens its keys: `{ credential = "NAME" }` or `{ file = "PATH" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretPlace {
    /// Of the service manager, which keeps it bound to this host (`LoadCredentialEncrypted=`) and shows it to the
    /// service alone.
    Credential(CredentialName),
    /// A file that only the program's user can read; relative paths are relative to the configuration.
    File(PathBuf),
}

/// The name of a credential: letters, digits, `.`, `_` and `-`, not beginning with a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialName(String);

/// What cannot be the name of a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a credential: letters, digits, `.`, `_` and `-`, not beginning with a point")]
pub struct CredentialNameError(String);

impl CredentialName {
    /// Takes a name that can be one file's.
    ///
    /// # Errors
    /// [`CredentialNameError`].
    pub fn new(name: impl Into<String>) -> Result<Self, CredentialNameError> {
        let name = name.into();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let is_one = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.');
        match is_one && name.chars().all(is_plain) {
            true => Ok(Self(name)),
            false => Err(CredentialNameError(name.chars().take(NAME_BYTES_MAX).collect())),
        }
    }
}

impl TryFrom<String> for CredentialName {
    type Error = CredentialNameError;

    fn try_from(name: String) -> Result<Self, CredentialNameError> {
        Self::new(name)
    }
}

impl std::str::FromStr for CredentialName {
    type Err = CredentialNameError;

    fn from_str(name: &str) -> Result<Self, CredentialNameError> {
        Self::new(name)
    }
}

impl From<CredentialName> for String {
    fn from(name: CredentialName) -> Self {
        name.0
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl SecretPlace {
    /// The same, a relative path beginning in this directory.
    #[must_use]
    pub fn below(self, base: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(base.join(path)),
            credential @ Self::Credential(_) => credential,
        }
    }

    /// Reads it. Machines open keys with a machine's secret and with nothing else: a passphrase takes more memory than an
    /// endpoint gives, and one that is written down is none.
    ///
    /// # Errors
    /// [`SecretError`] says what is wrong with it.
    pub fn secret(&self) -> Result<Secret, SecretError> {
        let secret = match self {
            Self::File(path) => Secret::read(path),
            Self::Credential(name) => credential(name, std::env::var_os(CREDENTIALS).map(PathBuf::from)),
        };
        match secret? {
            machine @ Secret::Machine(_) => Ok(machine),
            Secret::Passphrase(_) => {
                Err(SecretError::Of { place: self.to_string(), source: Box::new(SecretError::Passphrase) })
            }
        }
    }
}

/// A credential in the directory that the service manager made: who may read it there is the manager's affair, and shows
/// in its mode where access lists do it.
fn credential(name: &CredentialName, directory: Option<PathBuf>) -> Result<Secret, SecretError> {
    let none = || SecretError::NoCredential { name: name.to_string() };
    let path = directory.filter(|directory| directory.is_absolute()).ok_or_else(none)?.join(&name.0);
    match File::open(&path) {
        Ok(file) => Secret::read_open(&path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(none()),
        Err(source) => Err(SecretError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

    use super::*;

    #[test]
    fn a_credential_is_one_file_of_the_directory_and_no_other() {
        for name in ["", ".", "..", "a/b", "../a", "/a", ".hidden", "a b", "a\0", &"x".repeat(256)] {
            CredentialName::new(name).unwrap_err();
        }
        let directory = tempfile::tempdir().unwrap();
        let (name, here) = (CredentialName::new("unseal").unwrap(), || Some(directory.path().to_owned()));
        for nowhere in [None, Some(PathBuf::from("relative")), here()] {
            let error = credential(&name, nowhere).unwrap_err();
            assert!(matches!(error, SecretError::NoCredential { .. }), "{error}");
        }
        // As the service manager has it where access lists let the service's user read: the group's bits are the mask.
        let path = directory.path().join("unseal");
        std::fs::write(&path, &*Secret::generate()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();
        assert!(credential(&name, here()).unwrap().is_a_machines());
    }
}
