//! Key files: one ed25519 key, what it is for, and whose it is.
//!
//! The format is TOML with exactly these fields, of the last two one, or none where a file is to be shown around:
//!
//! ```toml
//! role = "publisher"
//! organisation = "acme"
//! public_key = "64 hexadecimal digits"
//! secret_key = "64 hexadecimal digits: the ed25519 seed of RFC 8032"
//! sealed_key = """
//! -----BEGIN AGE ENCRYPTED FILE-----
//! the whole file as it is unsealed, encrypted
//! -----END AGE ENCRYPTED FILE-----
//! """
//! ```
//!
//! Only an endpoint's key may go without its organisation: a host makes its key before anybody enrols it.

use crate::error::KeyFileError;
use crate::role::KeyRole;
use crate::seal::{self, Closed};
use crate::secret::Secret;
use ledger::bounded::Name;
use ledger::key::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, Zeroizing};

/// Largest key file.
pub const KEY_FILE_BYTES_MAX: usize = 4 * 1024;

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

/// A key, opened.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// What anybody may see.
    pub public: PublicPart,
    /// What nobody may see.
    pub secret: SecretKey,
}

/// A key file as it lies on the disk.
#[derive(Debug)]
pub struct Stored {
    path: PathBuf,
    mode: u32,
    public: PublicPart,
    kept: Kept,
}

/// How a file has its secret.
#[derive(Debug)]
enum Kept {
    /// Not at all.
    Not,
    /// As it is.
    Plain(SecretKey),
    /// Sealed.
    Sealed(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    role: KeyRole,
    organisation: Option<Name>,
    public_key: PublicKey,
    secret_key: Option<String>,
    sealed_key: Option<String>,
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
    pub fn generate(role: KeyRole, organisation: Option<Name>) -> Result<Self, KeyFileError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        let mut filled = 0;
        while filled < seed.len() {
            let got = rustix::rand::getrandom(&mut seed[filled..], rustix::rand::GetRandomFlags::empty());
            filled += got.map_err(|error| KeyFileError::Randomness(error.into()))?;
        }
        Ok(Self::of(role, organisation, SecretKey::from_seed(&seed)))
    }

    /// A key that is there already.
    #[must_use]
    pub fn of(role: KeyRole, organisation: Option<Name>, secret: SecretKey) -> Self {
        Self { public: PublicPart { role, organisation, public_key: secret.public() }, secret }
    }

    /// As a file with the secret as it is.
    #[must_use]
    pub fn plain(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(hex::encode(self.secret.seed()));
        Zeroizing::new(format!(
            "# A Countersign secret key: whoever has this file signs with it.\n{}secret_key = \"{}\"\n",
            self.public.toml(),
            secret.as_str()
        ))
    }

    /// As a file with the secret sealed.
    ///
    /// # Errors
    /// [`KeyFileError::Secret`] when what is to seal it is too weak; [`KeyFileError::Seal`]. The path is what they name.
    pub fn sealed(&self, path: &Path, with: &Secret) -> Result<String, KeyFileError> {
        with.is_strong().map_err(|source| KeyFileError::Secret { path: path.to_owned(), source })?;
        let sealed = seal::seal(self.plain().as_bytes(), with)
            .map_err(|error| KeyFileError::Seal { path: path.to_owned(), detail: error.to_string() })?;
        Ok(format!(
            "# A Countersign secret key, sealed: `countersign key` opens it, and so does the age tool.\n{}sealed_key = \
             \"\"\"\n{sealed}\"\"\"\n",
            self.public.toml()
        ))
    }

    /// As a file: sealed, if there is something to seal it with.
    ///
    /// # Errors
    /// As [`KeyFile::sealed`].
    pub fn text(&self, path: &Path, with: Option<&Secret>) -> Result<Zeroizing<String>, KeyFileError> {
        with.map_or_else(|| Ok(self.plain()), |with| self.sealed(path, with).map(Zeroizing::new))
    }
}

impl PublicPart {
    /// Reads what anybody may see, with or without the secret beside it.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        Stored::read(path).map(|stored| stored.public)
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

impl Stored {
    /// Reads a key file. What is sealed stays so.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        // It never grows: what grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX + 1));
        file.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > KEY_FILE_BYTES_MAX {
            return Err(KeyFileError::TooLarge { path: path.to_owned() });
        }
        let (public, kept) = parse(path, &bytes)?;
        Ok(Self { path: path.to_owned(), mode: metadata.permissions().mode() & 0o777, public, kept })
    }

    /// What anybody may see.
    #[must_use]
    pub fn public(&self) -> &PublicPart {
        &self.public
    }

    /// Whether its secret is sealed.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self.kept, Kept::Sealed(_))
    }

    /// Checks what it is for.
    ///
    /// # Errors
    /// [`KeyFileError::Role`].
    pub fn needs(self, needed: KeyRole) -> Result<Self, KeyFileError> {
        match self.public.role {
            actual if actual == needed => Ok(self),
            actual => Err(KeyFileError::Role { path: self.path, actual, needed }),
        }
    }

    /// The key, opened with what `secret` gives where it is sealed; where it is not, nobody is asked. A key file that others
    /// than its owner can read is not used.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong, or what `secret` says.
    pub fn open<E: From<KeyFileError>>(&self, secret: impl FnOnce() -> Result<Secret, E>) -> Result<KeyFile, E> {
        let path = || self.path.clone();
        if self.mode & 0o077 != 0 && !matches!(self.kept, Kept::Not) {
            return Err(KeyFileError::Exposed { path: path(), mode: self.mode }.into());
        }
        match &self.kept {
            Kept::Not => Err(KeyFileError::PublicOnly { path: path() }.into()),
            Kept::Plain(secret) => Ok(KeyFile { public: self.public.clone(), secret: secret.clone() }),
            Kept::Sealed(sealed) => Ok(self.unseal(sealed, &secret()?)?),
        }
    }

    fn unseal(&self, sealed: &str, with: &Secret) -> Result<KeyFile, KeyFileError> {
        let path = self.path.clone();
        let plain = match seal::open(sealed, with, KEY_FILE_BYTES_MAX) {
            Ok(plain) => plain,
            Err(Closed::OtherKind { passphrase }) => return Err(KeyFileError::OtherKind { path, passphrase }),
            Err(Closed::TooMuchWork { log2 }) => return Err(KeyFileError::TooMuchWork { path, log2 }),
            Err(Closed::NotOpened) => return Err(KeyFileError::NotOpened { path }),
            Err(Closed::NotSealed) => {
                return Err(KeyFileError::Format { path, detail: "sealed_key is nothing that age wrote".to_owned() });
            }
        };
        // Whoever sealed it vouches for role and organisation, too: what stands outside could be anybody's.
        match parse(&self.path, &plain) {
            Ok((public, Kept::Plain(secret))) if public == self.public => Ok(KeyFile { public, secret }),
            _ => Err(KeyFileError::NotWhatItSays { path }),
        }
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(PublicPart, Kept), KeyFileError> {
    let format = |detail: String| KeyFileError::Format { path: path.to_owned(), detail };
    let text = std::str::from_utf8(bytes).map_err(|_| format("it is not text".to_owned()))?;
    // The parser's own report would quote the line it stumbled over: a secret must not end there.
    let raw: Raw = toml::from_str(text).map_err(|error| format(without_quotes(error.message())))?;
    let (role, organisation, public_key) = (raw.role, raw.organisation.clone(), raw.public_key);
    if organisation.is_none() && role != KeyRole::Endpoint {
        return Err(format(format!("a key with role {role} needs its organisation")));
    }
    let kept = match (&raw.secret_key, &raw.sealed_key) {
        (None, None) => Kept::Not,
        (None, Some(sealed)) => Kept::Sealed(sealed.clone()),
        (Some(_), Some(_)) => return Err(format("its secret is there twice, as it is and sealed".to_owned())),
        (Some(secret), None) => {
            let mut seed = Zeroizing::new([0; 32]);
            hex::decode_to_slice(secret, seed.as_mut())
                .map_err(|_| format("secret_key is not 64 hexadecimal digits".to_owned()))?;
            let secret = SecretKey::from_seed(&seed);
            if secret.public() != public_key {
                return Err(KeyFileError::Halves { path: path.to_owned() });
            }
            Kept::Plain(secret)
        }
    };
    Ok((PublicPart { role, organisation, public_key }, kept))
}

/// A message as far as it quotes nothing: what is quoted may have quotes in it, so it ends with the last of them.
fn without_quotes(message: &str) -> String {
    let is_quote = ['"', '`'];
    match (message.find(is_quote), message.rfind(is_quote)) {
        (Some(first), Some(last)) => format!("{}…{}", &message[..first], &message[last + 1..]),
        _ => message.to_owned(),
    }
}
