//! What can be wrong with a key file.

use crate::file::KEY_FILE_BYTES_MAX;
use crate::role::KeyRole;
use crate::seal::PASSPHRASE_WORK_LOG2_MAX;
use crate::secret::SecretError;
use std::io;
use std::path::PathBuf;

/// What is wrong with a key file. None of these quotes it: a secret may be in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It could not be read.
    #[error("cannot read key file {}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than such a file can be.
    #[error("{} is larger than a key file can be: at most {KEY_FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Where.
        path: PathBuf,
    },
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
    /// It has another use.
    #[error("{}: this is a key with role {actual}, one with role {needed} is needed", path.display())]
    Role {
        /// Where.
        path: PathBuf,
        /// What it is for.
        actual: KeyRole,
        /// What is needed.
        needed: KeyRole,
    },
    /// It is sealed, and there is nothing to open it with.
    #[error("{} is sealed, and nothing was given that opens it", path.display())]
    Sealed {
        /// Where.
        path: PathBuf,
    },
    /// It is sealed already.
    #[error("{} is sealed already", path.display())]
    SealedAlready {
        /// Where.
        path: PathBuf,
    },
    /// It is not sealed.
    #[error("{} is not sealed", path.display())]
    NotSealed {
        /// Where.
        path: PathBuf,
    },
    /// What was given does not open it, or it was changed; which of them cannot be told.
    #[error("{} is not opened by what was given, or was changed", path.display())]
    NotOpened {
        /// Where.
        path: PathBuf,
    },
    /// A passphrase for what a machine's secret sealed, or the other way round.
    #[error("{} is sealed with {}", path.display(), if *passphrase { "a passphrase, and a machine's secret was given" } else { "a machine's secret, and a passphrase was given" })]
    OtherKind {
        /// Where.
        path: PathBuf,
        /// Whether a passphrase is needed.
        passphrase: bool,
    },
    /// To open it would take too much work.
    #[error("opening {} takes scrypt's work 2^{log2}, and no more than 2^{PASSPHRASE_WORK_LOG2_MAX} is done", path.display())]
    TooMuchWork {
        /// Where.
        path: PathBuf,
        /// Binary logarithm of the work.
        log2: u8,
    },
    /// What was sealed is not what stands on it: somebody changed the outside.
    #[error("{}: what is sealed in it is not the key that stands on it", path.display())]
    NotWhatItSays {
        /// Where.
        path: PathBuf,
    },
    /// It could not be sealed.
    #[error("cannot seal {}: {detail}", path.display())]
    Seal {
        /// Where.
        path: PathBuf,
        /// What the library says.
        detail: String,
    },
    /// It has more than one name: what is done to one of them would not be done to the others.
    #[error("{} is no file of one name: it has {links}", path.display())]
    Links {
        /// Where.
        path: PathBuf,
        /// How many names it has.
        links: u64,
    },
    /// It could not be written.
    #[error("cannot {act} {}", path.display())]
    Write {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no secret to open or seal it with.
    #[error("{} cannot be opened or sealed", path.display())]
    Secret {
        /// Which key file.
        path: PathBuf,
        /// Why.
        source: SecretError,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness(#[source] io::Error),
}

impl KeyFileError {
    /// What to do about it, where that is the same for every program.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Exposed { path, .. } => format!("chmod 600 {}", path.display()),
            Self::PublicOnly { .. } => "give the file with the secret, which `countersign key new` wrote".to_owned(),
            Self::Halves { .. } | Self::NotWhatItSays { .. } => {
                "it was changed: take it again from where it is kept safe".to_owned()
            }
            Self::NotOpened { .. } => "give what it was sealed with; if that is lost, make a new key".to_owned(),
            Self::OtherKind { passphrase: true, .. } => {
                "a program that starts by itself opens keys that are sealed with a machine's secret: \
                 `countersign key change-passphrase` takes one"
                    .to_owned()
            }
            Self::OtherKind { .. } => "give the file with the machine's secret".to_owned(),
            Self::TooMuchWork { .. } => "open it where it was sealed, and seal it anew".to_owned(),
            Self::NotSealed { .. } => "nothing is to do; `countersign key seal` seals it".to_owned(),
            Self::Links { .. } => "remove the other names first, or make a copy".to_owned(),
            Self::Secret { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}
