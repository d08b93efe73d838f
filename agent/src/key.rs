//! The endpoint's key: signs this endpoint's receipts and nothing else.

use crate::config::Config;
use crate::files::{self, FileError};
use keyring::{KeyFile, KeyFileError, KeyRole, Secret, SecretPlace, Stored};
use ledger::key::{PublicKey, SecretKey};
use std::path::Path;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What it says, or that it stays sealed.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

impl KeyError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        const SAY: &str =
            "say in the configuration what opens it: unseal = { credential = \"NAME\" }, or { file = \"FILE\" }";
        match self {
            Self::Key(KeyFileError::Exposed { path, .. }) => {
                format!("chmod 600 {}; if others could read it, make a new key", path.display())
            }
            Self::Key(KeyFileError::Sealed { .. }) => SAY.to_owned(),
            Self::Key(KeyFileError::SealedAlready { .. }) => "`countersign-agent key reseal` seals it anew".to_owned(),
            Self::Key(error) => error.hint().unwrap_or_else(|| {
                "`countersign-agent init` writes key files; an operator enrols the public key".to_owned()
            }),
            Self::File(_) => String::new(),
        }
    }
}

/// Makes a new key.
///
/// # Errors
/// [`KeyFileError::Randomness`].
pub fn generate() -> Result<SecretKey, KeyError> {
    Ok(KeyFile::generate(KeyRole::Endpoint, None)?.secret)
}

/// Writes a key file where none is yet, whole or not at all, for its owner's eyes only, and sealed if there is something
/// to seal it with.
///
/// # Errors
/// [`KeyError`].
pub fn write(path: &Path, key: &SecretKey, seal: Option<&Secret>) -> Result<(), KeyError> {
    let text = KeyFile::of(KeyRole::Endpoint, None, key.clone()).text(path, seal)?;
    Ok(files::create_new(path, text.as_bytes(), files::PRIVATE_FILE_MODE)?)
}

/// Reads an endpoint's key file; what is sealed stays so.
///
/// # Errors
/// [`KeyError::Key`] says what is wrong with it.
pub fn stored(path: &Path) -> Result<Stored, KeyError> {
    Ok(Stored::read(path)?.needs(KeyRole::Endpoint)?)
}

/// The public half, for which nothing has to be opened.
///
/// # Errors
/// As [`stored`].
pub fn public(config: &Config) -> Result<PublicKey, KeyError> {
    Ok(stored(&config.key)?.public().public_key)
}

/// The key this host signs with, opened as its configuration says.
///
/// # Errors
/// [`KeyError::Key`] says what is wrong with it, or with what should open it.
pub fn open(config: &Config) -> Result<SecretKey, KeyError> {
    let key = stored(&config.key)?.open(|| secret(config.unseal.as_ref(), &config.key))?;
    Ok(key.secret)
}

/// What opens or seals a key file by itself.
///
/// # Errors
/// [`KeyFileError::Sealed`] when no place is known; [`KeyFileError::Secret`].
pub fn secret(place: Option<&SecretPlace>, key: &Path) -> Result<Secret, KeyFileError> {
    let place = place.ok_or_else(|| KeyFileError::Sealed { path: key.to_owned() })?;
    place.secret().map_err(|source| KeyFileError::Secret { path: key.to_owned(), source })
}
