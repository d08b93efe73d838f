//! What the ledger was told of an attempt, for questions.

use super::{OPEN, names};
use crate::files::{self, FileError};
use ledger::encoding::decode;
use ledger::id::PatchId;
use ledger::limits;
use ledger::transaction::{Payload, SignedTransaction};
use std::fmt;
use std::path::Path;

/// What the ledger was told of an attempt. The number is the one in the receipt: it counts the receipts of
/// this host for this patch, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Of this one.
    Attempt(u32),
    /// Its receipt is on its way.
    Waiting,
    /// Of this one nothing, because it ended as an earlier one, which was told.
    Earlier(u32),
    /// Nothing, as far as is remembered here.
    Nothing,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt(number) => write!(f, "; attempt {number} in the ledger"),
            Self::Waiting => f.write_str("; its receipt is not in the ledger yet"),
            Self::Earlier(number) => write!(f, "; the ledger knows it from attempt {number}"),
            Self::Nothing => Ok(()),
        }
    }
}

/// What the ledger was told of the attempt that was this agent's `run`; only looked at.
///
/// # Errors
/// [`FileError`].
pub fn told(directory: &Path, run: u64, patch: PatchId) -> Result<Told, FileError> {
    let (of_run, of_patch) = (format!("{run:08}-{patch}"), format!("-{patch}"));
    if names(directory)?.iter().any(|name| name.starts_with(&of_run)) {
        return Ok(Told::Waiting);
    }
    let sent = directory.join("sent");
    let names = files::names(&sent)?;
    // The name of what was open is behind that of its end, which was told later.
    let newest = names
        .iter()
        .filter(|name| name.contains(&of_patch))
        .max_by_key(|name| (&name[..name.len().min(8)], !name.contains(OPEN)));
    let Some(newest) = newest else { return Ok(Told::Nothing) };
    let Some(bytes) = files::read_if_there(&sent.join(newest), limits::TRANSACTION_BYTES_MAX)? else {
        return Ok(Told::Nothing);
    };
    let Ok(signed) = decode::<SignedTransaction>(&bytes) else { return Ok(Told::Nothing) };
    Ok(match signed.transaction.payload {
        Payload::Receipt { receipt } if newest.starts_with(&of_run) => Told::Attempt(receipt.attempt),
        Payload::Receipt { receipt } => Told::Earlier(receipt.attempt),
        _ => Told::Nothing,
    })
}
