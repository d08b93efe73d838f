//! Is the signing guard the one this key last wrote?
//!
//! Nothing may be signed twice in one place, and only the guard knows what was. A guard that is gone, damaged or out of a
//! backup knows less than the chain beside it shows: then it cannot be gone by, and the member keeps silent for a while.
//! What the chain of others shows besides, the member sees for itself.

use super::error::NodeError;
use crate::config::Config;
use consensus::GuardRecord;
use consensus::member::{Memory, OwnWords, SILENCE_MS};
use ledger::genesis::GenesisBlock;
use ledger::validators::ValidatorSet;
use store::Store;

/// What the guard of this node's validating key is good for.
///
/// # Errors
/// [`NodeError`] when the chain cannot be read.
pub(super) fn memory(
    config: &Config,
    store: &Store,
    genesis: &GenesisBlock,
    guard: &[GuardRecord],
    is_silent: bool,
) -> Result<Memory, NodeError> {
    let Some(key) = config.validator_key.as_ref().map(|key| key.public()) else { return Ok(Memory::Whole) };
    let words = OwnWords::of(key, guard);
    let (known, forgotten) = (words.height(), forgotten(store, genesis, &words)?);
    if config.accept_lost_guard {
        tracing::warn!(%key, known, ?forgotten, is_silent, "whoever runs this node has it vote at once, whatever its signing guard lacks");
        return Ok(Memory::Trusted);
    }
    if is_silent {
        tracing::warn!(
            %key, known,
            "this key was silent when the node ended, because its signing guard lacks what it had signed; it still is"
        );
        return Ok(Memory::Lost);
    }
    let Some(signed) = forgotten else { return Ok(Memory::Whole) };
    tracing::warn!(
        %key, signed, known,
        "the signing guard was lost, or is an older one: this key signed at a height that it does not know of. Nothing is \
         signed until a block is {} s later than the moment when this node has caught up; if too many validators wait so, `run --accept-lost-guard` ends it",
        SILENCE_MS / 1_000
    );
    Ok(Memory::Lost)
}

/// The newest height at which the chain has a signature that is not among these words.
fn forgotten(store: &Store, genesis: &GenesisBlock, words: &OwnWords) -> Result<Option<u64>, NodeError> {
    let tip = store.tip().header.height;
    let sets = Sets::read(store, genesis)?;
    for height in words.to_be_looked_at(tip) {
        if store.certificate(height)?.is_some_and(|certificate| words.lack(&certificate, sets.at(height))) {
            return Ok(Some(height));
        }
    }
    Ok(None)
}

/// The sets of validators, each with the height it begins behind.
struct Sets(Vec<(u64, ValidatorSet)>);

impl Sets {
    fn read(store: &Store, genesis: &GenesisBlock) -> Result<Self, NodeError> {
        let links = store.epochs(0, usize::MAX)?;
        let first = (0, genesis.genesis.validators.clone());
        Ok(Self(
            std::iter::once(first).chain(links.into_iter().map(|link| (link.header.height, link.validators))).collect(),
        ))
    }

    /// The set that signed the certificate of a height.
    fn at(&self, height: u64) -> &ValidatorSet {
        let last = self.0.iter().rposition(|(behind, _)| *behind < height).unwrap_or(0);
        &self.0[last].1
    }
}
