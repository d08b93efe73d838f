//! What opens and seals keys: taken from a file, or asked for at the terminal.

use crate::options::Global;
use keyring::{KeyFile, Secret, SecretError, Stored};
use std::io;
use std::path::Path;
use terminal::escape;
use zeroize::Zeroizing;

/// How somebody says from which file a passphrase is taken.
const GIVE_A_FILE: &str = "say which file it is in with --passphrase-file FILE or COUNTERSIGN_PASSPHRASE_FILE";

/// Why there is nothing to open or seal a key with.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// Nobody can be asked.
    #[error("there is no terminal to ask for a passphrase at")]
    NoTerminal(#[source] io::Error),
    /// What was typed is not what was typed before.
    #[error("the two passphrases are not the same")]
    Different,
    /// What was given is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl UnlockError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoTerminal(_) => Some(GIVE_A_FILE.to_owned()),
            Self::Different => Some("try again; nothing was changed".to_owned()),
            Self::Secret(error) => error.hint(),
        }
    }
}

/// What opens a key: that of the file, or what a person types.
pub(crate) fn to_open(file: Option<&Path>, key: &Path) -> Result<Secret, UnlockError> {
    match file {
        Some(file) => Ok(Secret::read(file)?),
        None => ask(&format!("Passphrase of {}: ", key.display())),
    }
}

/// What is to seal a key: that of the file, or what a person types twice.
pub(crate) fn to_seal(file: Option<&Path>, key: &Path) -> Result<Secret, UnlockError> {
    let Some(file) = file else {
        let first = typed(&format!("New passphrase for {}: ", key.display()))?;
        // Before it is typed a second time for nothing.
        let secret = parse(&first)?;
        secret.is_strong()?;
        return match typed("The same again: ")? == first {
            true => Ok(secret),
            false => Err(UnlockError::Different),
        };
    };
    let secret = Secret::read(file)?;
    secret.is_strong()?;
    Ok(secret)
}

fn ask(prompt: &str) -> Result<Secret, UnlockError> {
    parse(&typed(prompt)?)
}

fn parse(typed: &str) -> Result<Secret, UnlockError> {
    let of = |source| SecretError::Of { place: "what was typed".to_owned(), source: Box::new(source) };
    Ok(Secret::parse(typed).map_err(of)?)
}

/// A line that is typed and not shown.
fn typed(prompt: &str) -> Result<Zeroizing<String>, UnlockError> {
    rpassword::prompt_password(escape(prompt)).map(Zeroizing::new).map_err(UnlockError::NoTerminal)
}

impl Global {
    /// Opens a key: where it is sealed, with the passphrase file that was given, or by asking.
    ///
    /// # Errors
    /// [`crate::failure::Failure::Key`] and [`crate::failure::Failure::Unlock`].
    pub fn open(&self, stored: &Stored) -> Result<KeyFile, crate::failure::Failure> {
        let path = self.key.as_deref().unwrap_or(Path::new(""));
        stored.open(|| Ok(to_open(self.passphrase_file.as_deref(), path)?))
    }
}
