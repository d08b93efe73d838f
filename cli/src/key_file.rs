//! Key files: one ed25519 key, what it is for, and whose it is.
//!
//! The format is TOML with exactly these fields, `secret_key` being absent where a file is to be
//! shown around:
//!
//! ```toml
//! role = "publisher"
//! organisation = "acme"
//! public_key = "64 hexadecimal digits"
//! secret_key = "64 hexadecimal digits: the ed25519 seed of RFC 8032"
//! ```
//!
//! Only an endpoint's key may go without its organisation: a host makes its key before anybody enrols it.

use crate::files::{self, FileError};
use ledger::bounded::Name;
use ledger::key::{PublicKey, SecretKey};
use ledger::state::record::Role;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, Zeroizing};

/// Largest key file.
pub const KEY_FILE_BYTES_MAX: usize = 4 * 1024;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRole {
    /// Signs patches of its organisation.
    Publisher,
    /// Gives verdicts on other organisations' patches.
    Approver,
    /// Enrols and retires endpoints.
    Operator,
    /// Identifies a node to its peers.
    Node,
    /// Signs consensus messages.
    Validator,
    /// Votes on changes of membership and law.
    Governor,
    /// Signs one endpoint's receipts.
    Endpoint,
}

impl KeyRole {
    /// The role in the ledger's words; endpoints are enrolled and have none.
    #[must_use]
    pub fn member_role(self) -> Option<Role> {
        Some(match self {
            Self::Publisher => Role::Publisher,
            Self::Approver => Role::Approver,
            Self::Operator => Role::Operator,
            Self::Node => Role::Node,
            Self::Validator => Role::Validator,
            Self::Governor => Role::Governor,
            Self::Endpoint => return None,
        })
    }
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.member_role().map_or("endpoint", Role::name))
    }
}

/// The part of a key file anybody may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicPart {
    /// What the key is for.
    pub role: KeyRole,
    /// Whose it is; absent only for endpoints.
    pub organisation: Option<Name>,
    /// The key.
    pub public_key: PublicKey,
}

/// A key file with its secret.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// What anybody may see.
    pub public: PublicPart,
    /// What nobody may see.
    pub secret: SecretKey,
}

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not the format.
    #[error("{} is not a key file: {detail}", path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// What the parser says; never a line of the file.
        detail: String,
    },
    /// The two halves do not belong together.
    #[error("{}: the public key is not that of the secret key", path.display())]
    Halves {
        /// Where.
        path: PathBuf,
    },
    /// A public part where a secret is needed.
    #[error("{} has no secret key: it cannot sign", path.display())]
    PublicOnly {
        /// Where.
        path: PathBuf,
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
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

impl KeyFileError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Format { .. } => Some("`countersign key new` writes key files".to_owned()),
            Self::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::PublicOnly { .. } => Some("give the file that `countersign key new` wrote".to_owned()),
            Self::Halves { .. } => Some("it was changed: take it again from where it is kept safe".to_owned()),
            Self::Randomness(_) => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    role: KeyRole,
    organisation: Option<Name>,
    public_key: PublicKey,
    secret_key: Option<String>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.secret_key.zeroize();
    }
}

impl KeyFile {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyFileError::Randomness`].
    pub fn generate(role: KeyRole, organisation: Name) -> Result<Self, KeyFileError> {
        use rand::TryRng as _;
        let mut seed = Zeroizing::new([0; 32]);
        rand::rngs::SysRng
            .try_fill_bytes(seed.as_mut())
            .map_err(|error| KeyFileError::Randomness(error.to_string()))?;
        let secret = SecretKey::from_seed(&seed);
        Ok(Self { public: PublicPart { role, organisation: Some(organisation), public_key: secret.public() }, secret })
    }

    /// Writes it where nothing is yet, for its owner's eyes only.
    ///
    /// # Errors
    /// [`KeyFileError::File`].
    pub fn write(&self, path: &Path) -> Result<(), KeyFileError> {
        let secret = Zeroizing::new(hex::encode(self.secret.seed()));
        let text = Zeroizing::new(format!(
            "# A Countersign secret key: whoever has this file signs with it.\n{}secret_key = \"{}\"\n",
            self.public.toml(),
            secret.as_str()
        ));
        Ok(files::write_new(path, text.as_bytes(), files::SECRET_MODE)?)
    }

    /// Reads a key file that nobody but its owner can read.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source| FileError::Read { what: "key file", path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        // First whether it is one at all: nobody is told to take another file's rights away.
        let (public, secret) = parse(path)?;
        if mode & 0o077 != 0 && secret.is_some() {
            return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
        }
        let secret = secret.ok_or_else(|| KeyFileError::PublicOnly { path: path.to_owned() })?;
        Ok(Self { public, secret })
    }
}

impl PublicPart {
    /// Reads what anybody may see, with or without the secret beside it.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        parse(path).map(|(public, _)| public)
    }

    /// As a file of its own: a key file without the secret.
    #[must_use]
    pub fn toml(&self) -> String {
        let Self { role, organisation, public_key } = self;
        let organisation = organisation.as_ref().map(|name| format!("organisation = \"{name}\"\n"));
        let organisation = organisation.unwrap_or_default();
        format!("role = \"{role}\"\n{organisation}public_key = \"{public_key}\"\n")
    }
}

fn parse(path: &Path) -> Result<(PublicPart, Option<SecretKey>), KeyFileError> {
    let text = Zeroizing::new(files::read_text(path, "key file", KEY_FILE_BYTES_MAX)?);
    // The parser's own report would quote the line it stumbled over: a secret must not end there.
    let raw: Raw = toml::from_str(&text)
        .map_err(|error| KeyFileError::Format { path: path.to_owned(), detail: without_quotes(error.message()) })?;
    let (role, organisation, public_key) = (raw.role, raw.organisation.clone(), raw.public_key);
    if organisation.is_none() && role != KeyRole::Endpoint {
        let detail = format!("a key with role {role} needs its organisation");
        return Err(KeyFileError::Format { path: path.to_owned(), detail });
    }
    let public = PublicPart { role, organisation, public_key };
    let Some(secret) = &raw.secret_key else { return Ok((public, None)) };
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(secret, seed.as_mut()).map_err(|_| KeyFileError::Format {
        path: path.to_owned(),
        detail: "secret_key is not 64 hexadecimal digits".to_owned(),
    })?;
    let secret = SecretKey::from_seed(&seed);
    if secret.public() != public_key {
        return Err(KeyFileError::Halves { path: path.to_owned() });
    }
    Ok((public, Some(secret)))
}

/// A message as far as it quotes nothing.
fn without_quotes(message: &str) -> String {
    message.split(['"', '`']).step_by(2).collect::<Vec<_>>().join("…")
}
