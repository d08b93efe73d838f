//! The one door to age: text in, sealed text out, and back.

use crate::secret::Secret;
use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, Identity, Recipient, scrypt};
use std::io::Read as _;
use zeroize::Zeroizing;

/// Binary logarithm of scrypt's work for what a passphrase seals: 128 MiB and a part of a second for each guess.
pub const PASSPHRASE_WORK_LOG2: u8 = 17;
/// The same of what is opened at the most: 1 GiB. Files that others sealed may have been made harder to guess.
pub const PASSPHRASE_WORK_LOG2_MAX: u8 = 20;

/// Why something sealed stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// With a passphrase, but what was given is a machine's secret, or the other way round.
    OtherKind {
        /// Whether it is a passphrase that is needed.
        passphrase: bool,
    },
    /// It would take more work than anybody is made to do.
    TooMuchWork {
        /// Binary logarithm of what it takes.
        log2: u8,
    },
    /// Another secret, or changed bytes: which of them is not told.
    NotOpened,
    /// It is nothing that age wrote.
    NotSealed,
}

/// Seals; the text is armoured.
pub(crate) fn seal(plain: &[u8], with: &Secret) -> Result<String, age::EncryptError> {
    match with {
        Secret::Passphrase(passphrase) => {
            let mut recipient = scrypt::Recipient::new(passphrase.clone());
            recipient.set_work_factor(PASSPHRASE_WORK_LOG2);
            armoured(&recipient, plain)
        }
        Secret::Machine(identity) => armoured(&identity.to_public(), plain),
    }
}

fn armoured(recipient: &impl Recipient, plain: &[u8]) -> Result<String, age::EncryptError> {
    age::encrypt_and_armor(recipient, plain)
}

/// Opens what is not longer than `limit` once it is open.
pub(crate) fn open(sealed: &str, with: &Secret, limit: usize) -> Result<Zeroizing<Vec<u8>>, Closed> {
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(sealed.as_bytes())).map_err(|_| Closed::NotSealed)?;
    if decryptor.is_scrypt() == with.is_a_machines() {
        return Err(Closed::OtherKind { passphrase: decryptor.is_scrypt() });
    }
    let opened = match with {
        Secret::Passphrase(passphrase) => {
            let mut identity = scrypt::Identity::new(passphrase.clone());
            identity.set_max_work_factor(PASSPHRASE_WORK_LOG2_MAX);
            decryptor.decrypt(std::iter::once(&identity as &dyn Identity))
        }
        Secret::Machine(identity) => decryptor.decrypt(std::iter::once(identity as &dyn Identity)),
    };
    let reader = opened.map_err(|error| match error {
        DecryptError::ExcessiveWork { required, .. } => Closed::TooMuchWork { log2: required },
        _ => Closed::NotOpened,
    })?;
    // It never grows: what grows leaves copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(limit + 1));
    match reader.take(limit as u64 + 1).read_to_end(&mut plain) {
        Ok(_) if plain.len() <= limit => Ok(plain),
        _ => Err(Closed::NotOpened),
    }
}
