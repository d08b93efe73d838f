//! Whether the signing guard a node starts with is the whole of what its key signed, and what it says when not.

use super::{Journal, JournalError, Recovered};
use consensus::GuardRecord;
use consensus::member::{DOUBT_MARGIN_MS, Guard};
use ledger::key::PublicKey;
use ledger::state::StateView as _;
use store::{Store, StoreError};

/// Newest blocks that are searched for signatures of the own key. One that votes is in most certificates.
const LOOKED_AT_MAX: u64 = 1_000;

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    /// The chain.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What the guard of a key is worth; `None` when a person takes it for whole until the next start, whatever turns up.
pub(crate) fn look(
    key: PublicKey,
    store: &Store,
    (journal, recovered): (&Journal, &Recovered),
    is_accepted: bool,
    now_ms: u64,
) -> Result<Option<Guard>, GuardError> {
    let known = recovered.guard.iter().map(GuardRecord::height).max().unwrap_or(0);
    let unknown = newest_signature(key, store, known)?;
    let why = match unknown {
        None if !recovered.guard_is_lost => return Ok((!is_accepted).then_some(Guard::Whole)),
        None => "it was not there when the node was started, and the chain has blocks".to_owned(),
        Some(height) => format!("block {height} carries a signature of this key that it does not have"),
    };
    if is_accepted {
        tracing::warn!(why, "the signing guard is lost; --accept-lost-guard: this validator votes at once");
        journal.trust_guard()?;
        return Ok(None);
    }
    say_lost(&why);
    journal.doubt_guard()?;
    Ok(Some(Guard::Lost { since_ms: now_ms }))
}

/// What people must know.
pub(super) fn say_lost(why: &str) {
    tracing::error!(
        why,
        "the signing guard is lost: nobody knows what this validator has signed, and signing something else in its \
         place would convict it. It does not vote until a block is final that was made {} s after now. If the \
         ledger stands still because of that, and no other node runs with this key and none has voted with it in the \
         height that is decided now, start it with --accept-lost-guard",
        DOUBT_MARGIN_MS / 1_000
    );
}

/// The newest block above this height whose certificate has a signature of the key.
fn newest_signature(key: PublicKey, store: &Store, above: u64) -> Result<Option<u64>, StoreError> {
    let tip = store.tip().header.height;
    let upcoming = store.upcoming_validators().map_err(StoreError::from)?;
    // Blocks of another set say nothing here: their bitmaps have other places.
    let Some(validators) = upcoming.map(|upcoming| upcoming.next) else { return Ok(None) };
    let hash = validators.hash();
    for height in (above.max(tip.saturating_sub(LOOKED_AT_MAX))..tip).rev().map(|height| height + 1) {
        let (Some(header), Some(certificate)) = (store.header(height)?, store.certificate(height)?) else { continue };
        if header.validators_hash == hash && certificate.is_signed_by(&validators, &key) {
            return Ok(Some(height));
        }
    }
    Ok(None)
}
