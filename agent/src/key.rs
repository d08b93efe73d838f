//! The endpoint's key: signs this endpoint's receipts and nothing else.
//!
//! ```toml
//! role = "endpoint"
//! organisation = "bank" # may be left out: the ledger says whose host it is
//! public_key = "64 hexadecimal digits"
//! secret_key = "64 hexadecimal digits: the ed25519 seed of RFC 8032"
//! ```

use crate::files::{self, FileError, failed};
use ledger::bounded::Name;
use ledger::key::{PublicKey, SecretKey};
use serde::Deserialize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, Zeroizing};

/// Largest key file.
pub const KEY_FILE_BYTES_MAX: usize = 4 * 1024;
/// What the role field says.
const ROLE: &str = "endpoint";

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not the format. Says what, and never quotes the file: a secret is in it.
    #[error("{} is not an endpoint key file: {detail}", path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        detail: &'static str,
    },
    /// Others than the owner may read it.
    #[error("{} can be read by others: its mode is {mode:03o}", path.display())]
    Exposed {
        /// Where.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness(#[source] std::io::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    role: String,
    /// Whoever makes keys for many hosts notes whose they are; here nothing hangs on it.
    #[serde(default, rename = "organisation")]
    _organisation: Option<Name>,
    public_key: PublicKey,
    secret_key: String,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.secret_key.zeroize();
    }
}

/// Makes a new key.
///
/// # Errors
/// [`KeyError::Randomness`].
pub fn generate() -> Result<SecretKey, KeyError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    let mut filled = 0;
    while filled < seed.len() {
        let got = rustix::rand::getrandom(&mut seed[filled..], rustix::rand::GetRandomFlags::empty());
        filled += got.map_err(|error| KeyError::Randomness(error.into()))?;
    }
    Ok(SecretKey::from_seed(&seed))
}

/// Writes a key file where none is yet, whole or not at all, for its owner's eyes only.
///
/// # Errors
/// [`KeyError::File`].
pub fn write(path: &Path, key: &SecretKey) -> Result<(), KeyError> {
    let secret = Zeroizing::new(hex::encode(key.seed()));
    let text = Zeroizing::new(format!(
        "# This host's key: whoever has this file writes receipts in this host's name.\n\
         role = \"{ROLE}\"\npublic_key = \"{}\"\nsecret_key = \"{}\"\n",
        key.public(),
        secret.as_str()
    ));
    Ok(files::create_new(path, text.as_bytes(), files::PRIVATE_FILE_MODE)?)
}

/// Reads a key file that nobody but its owner can read.
///
/// # Errors
/// [`KeyError`] says what is wrong with it.
pub fn read(path: &Path) -> Result<SecretKey, KeyError> {
    let format = |detail| KeyError::Format { path: path.to_owned(), detail };
    let metadata = std::fs::metadata(path).map_err(failed("examine", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let bytes = Zeroizing::new(files::read(path, KEY_FILE_BYTES_MAX)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| format("not text"))?;
    let raw: Raw = toml::from_str(text)
        .map_err(|_| format("role, public_key, secret_key and perhaps organisation are wanted, and nothing else"))?;
    if raw.role != ROLE {
        return Err(format("its role is not `endpoint`"));
    }
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(&raw.secret_key, seed.as_mut())
        .map_err(|_| format("secret_key is not 64 hexadecimal digits"))?;
    let key = SecretKey::from_seed(&seed);
    match key.public() == raw.public_key {
        true => Ok(key),
        false => Err(format("public_key is not that of secret_key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_may_say_whose_it_is_and_nothing_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("endpoint.key");
        let key = SecretKey::from_seed(&[7; 32]);
        write(&path, &key).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let read_with = |more: &str| {
            std::fs::write(&path, format!("{text}{more}\n")).unwrap();
            read(&path)
        };
        for more in ["", "organisation = \"bank\""] {
            assert_eq!(read_with(more).unwrap().public(), key.public(), "{more:?}");
        }
        for more in ["organisation = \"No Name\"", "organisation = 5", "colour = \"red\"", "]["] {
            let error = read_with(more).unwrap_err();
            assert!(matches!(error, KeyError::Format { .. }), "{more:?}: {error}");
            assert!(!error.to_string().contains(&hex::encode(key.seed())), "{more:?}");
        }
    }
}
