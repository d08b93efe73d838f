//! What seals keys: a person's passphrase, or a machine's secret.

use age::secrecy::{ExposeSecret as _, SecretString};
use age::x25519;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use zeroize::Zeroizing;

/// Largest file with a secret.
pub const SECRET_FILE_BYTES_MAX: usize = 4 * 1024;
/// Shortest passphrase that seals. What was sealed elsewhere may have a shorter one.
pub const PASSPHRASE_CHARS_MIN: usize = 8;
/// How secrets of machines begin, as `age-keygen` writes them.
const MACHINE_PREFIX: &str = "AGE-SECRET-KEY-1";
/// How whatever else age calls an identity begins.
const OTHER_PREFIX: &str = "AGE-";

/// What seals a key, and opens it again.
#[derive(Clone)]
pub enum Secret {
    /// What a person remembers: guessing it is made slow.
    Passphrase(SecretString),
    /// 32 random bytes that a machine keeps, an X25519 identity of age: nobody guesses it, so it is not made slow and takes
    /// no memory.
    Machine(x25519::Identity),
}

/// Why there is no secret. None of these quotes one.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file could not be read.
    #[error("cannot read the secret in {}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read it.
    #[error("the secret in {} can be read by others: its mode is {mode:03o}", path.display())]
    Exposed {
        /// Where.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Far too long to be one.
    #[error("it is longer than {SECRET_FILE_BYTES_MAX} bytes")]
    TooLong,
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// Not text.
    #[error("it is not text")]
    NotText,
    /// A passphrase is one line.
    #[error("it has more than one line")]
    SeveralLines,
    /// Looks like a machine's secret and is none.
    #[error("it looks like a machine's secret, and is none")]
    NotAMachines,
    /// A passphrase where a machine has to open a key by itself.
    #[error("it is a passphrase; what a machine opens keys with is a machine's secret")]
    Passphrase,
    /// Too short to seal anything with.
    #[error("a passphrase has {PASSPHRASE_CHARS_MIN} characters or more")]
    TooShort,
    /// The service manager gave this process no credentials.
    #[error("the service manager gave this process no credential {name}")]
    NoCredential {
        /// Its name.
        name: String,
    },
    /// Which file or credential it was.
    #[error("{place} cannot be used")]
    Of {
        /// Where it was to be.
        place: String,
        /// What is wrong.
        source: Box<SecretError>,
    },
}

impl SecretError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        const MAKE: &str = "`countersign key secret --out FILE` makes a machine's secret, and `age-keygen` does";
        Some(match self {
            Self::Exposed { path, .. } => {
                format!("chmod 600 {}; if others could read it, take another", path.display())
            }
            Self::Read { .. } => "check the path, who owns the file, and its mode".to_owned(),
            Self::NotText | Self::NotAMachines | Self::Passphrase => MAKE.to_owned(),
            Self::TooLong | Self::Empty | Self::SeveralLines => {
                "what is wanted is one line with a passphrase, or a machine's secret".to_owned()
            }
            Self::TooShort => "several words that nobody has said together are easy to remember".to_owned(),
            Self::NoCredential { name } => format!(
                "the unit hands it over with LoadCredentialEncrypted={name}; out of the service, give the file with \
                 --secret-file"
            ),
            Self::Of { source, .. } => return source.hint(),
        })
    }
}

impl Secret {
    /// A new secret of a machine, as the text of a file: [`Secret::parse`] takes it.
    #[must_use]
    pub fn generate() -> Zeroizing<String> {
        Zeroizing::new(format!("{}\n", x25519::Identity::generate().to_string().expose_secret()))
    }

    /// Reads a passphrase, or a machine's secret as `age-keygen` writes it.
    ///
    /// # Errors
    /// [`SecretError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if text.len() > SECRET_FILE_BYTES_MAX {
            return Err(SecretError::TooLong);
        }
        // A file of `age-keygen` has comments.
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        if lines().any(|line| line.starts_with(OTHER_PREFIX)) {
            let mut lines = lines();
            return match (lines.next(), lines.next()) {
                (Some(only), None) if only.starts_with(MACHINE_PREFIX) => {
                    x25519::Identity::from_str(only).map(Self::Machine).map_err(|_| SecretError::NotAMachines)
                }
                _ => Err(SecretError::NotAMachines),
            };
        }
        match line {
            "" => Err(SecretError::Empty),
            line if line.contains(['\n', '\r']) => Err(SecretError::SeveralLines),
            line => Ok(Self::Passphrase(line.to_owned().into())),
        }
    }

    /// Reads a file that nobody but its owner can read; a pipe will do.
    ///
    /// # Errors
    /// [`SecretError`] says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let failed = |source| SecretError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_file() && mode & 0o077 != 0 {
            return Err(SecretError::Exposed { path: path.to_owned(), mode });
        }
        Self::read_open(path, file)
    }

    /// Reads what is open, whoever else may read it.
    pub(crate) fn read_open(path: &Path, file: File) -> Result<Self, SecretError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_FILE_BYTES_MAX + 1));
        let read = file.take(SECRET_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
        let of = |source: SecretError| SecretError::Of { place: path.display().to_string(), source: Box::new(source) };
        let text = std::str::from_utf8(&bytes).map_err(|_| of(SecretError::NotText))?;
        Self::parse(text).map_err(of)
    }

    /// Whether it may seal something.
    ///
    /// # Errors
    /// [`SecretError::TooShort`].
    pub fn is_strong(&self) -> Result<(), SecretError> {
        match self {
            Self::Passphrase(text) if text.expose_secret().chars().count() < PASSPHRASE_CHARS_MIN => {
                Err(SecretError::TooShort)
            }
            _ => Ok(()),
        }
    }

    /// Whether it is one that machines keep.
    #[must_use]
    pub const fn is_a_machines(&self) -> bool {
        matches!(self, Self::Machine(_))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_a_machines() { "Secret::Machine" } else { "Secret::Passphrase" })
    }
}
