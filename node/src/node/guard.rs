//! Is the signing guard the one this key last wrote?
//!
//! Nothing may be signed twice in one place, and only the guard knows what was. A guard that is gone, damaged or out of a
//! backup knows less than the chain beside it shows: then it cannot be gone by.

use super::error::NodeError;
use consensus::GuardRecord;
use ledger::genesis::GenesisBlock;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::validators::ValidatorSet;
use store::Store;

/// Blocks looked back for a signature of this key: with as many validators as there may be, every one is asked to
/// propose so often, and is in most certificates.
const BLOCKS_LOOKED_AT: u64 = 2 * limits::VALIDATORS_MAX as u64;

/// Compares what the chain shows that a key has signed with what its guard knows.
///
/// # Errors
/// [`NodeError::GuardLost`] when the chain shows more.
pub(super) fn check(
    store: &Store,
    genesis: &GenesisBlock,
    key: PublicKey,
    guard: &[GuardRecord],
) -> Result<(), NodeError> {
    let known = guard.iter().map(GuardRecord::height).max().unwrap_or(0);
    let tip = store.tip().header.height;
    let sets = Sets::read(store, genesis)?;
    for height in (tip.saturating_sub(BLOCKS_LOOKED_AT).max(known) + 1..=tip).rev() {
        let (header, certificate) = (store.header(height)?, store.certificate(height)?);
        let proposed = header.is_some_and(|header| header.proposer == key);
        let signers = certificate.and_then(|certificate| certificate.signers(sets.at(height)).ok());
        if proposed || signers.is_some_and(|signers| signers.iter().any(|(signer, _)| *signer == key)) {
            return Err(NodeError::GuardLost { key, signed: height, known });
        }
    }
    Ok(())
}

/// The sets of validators, each with the height it begins behind.
struct Sets(Vec<(u64, ValidatorSet)>);

impl Sets {
    fn read(store: &Store, genesis: &GenesisBlock) -> Result<Self, NodeError> {
        let links = store.epochs(0, limits::EPOCHS_MAX + 1)?;
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
