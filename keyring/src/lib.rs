//! Keep secret keys.
//!
//! A key file says in clear what a key is for, whose it is and what its public half is ([`PublicPart`]); the secret half
//! stands beside that as it is, or sealed: encrypted and authenticated with a person's passphrase or a machine's secret
//! ([`Secret`]). What is sealed is the whole key file, so that whoever changes what stands outside is found out when it is
//! opened. The encryption is that of age, version 1 (docs/protocol.md, section 16): the `age` tool opens it, too.
//!
//! All programs read their keys here: [`Stored::read`], then [`Stored::open`]. What the sealed file keeps secret is not
//! secret in the memory of a program that uses it; [`no_core_dumps`] keeps that off the disk.

mod error;
mod file;
mod place;
mod process;
mod replace;
mod role;
mod seal;
mod secret;

pub use error::KeyFileError;
pub use file::{KEY_FILE_BYTES_MAX, KeyFile, PublicPart, Stored};
pub use place::{CredentialName, CredentialNameError, SecretPlace};
pub use process::no_core_dumps;
pub use replace::{Overwritten, replace};
pub use role::{KeyRole, UnknownRole};
pub use seal::{PASSPHRASE_WORK_LOG2, PASSPHRASE_WORK_LOG2_MAX};
pub use secret::{PASSPHRASE_CHARS_MIN, SECRET_FILE_BYTES_MAX, Secret, SecretError};
