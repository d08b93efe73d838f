//! Finalised blocks before their transactions are looked at: to check those may take a hundred times as long as the
//! certificate, which says whether anybody made them final.

use ledger::block::{Block, Header};
use ledger::certificate::Certificate;
use ledger::encoding::encode;
use ledger::id::ChainId;
use ledger::merkle;
use ledger::state::StateView;
use ledger::state::storage::StorageError;
use ledger::validators::ValidatorSet;

/// The set that a block must be certified by, as far as that is known at this tip: the two next heights have sets that are
/// fixed, and a header further ahead may name one of these two. Of others nothing can be said yet.
///
/// # Errors
/// [`StorageError`] when the disk says no.
pub fn certifiers(state: &impl StateView, tip: u64, header: &Header) -> Result<Option<ValidatorSet>, StorageError> {
    let Some(upcoming) = state.upcoming_validators()? else { return Ok(None) };
    Ok(match header.height.checked_sub(tip) {
        Some(1) => Some(upcoming.next),
        Some(2) => Some(upcoming.after_next),
        _ => [upcoming.next, upcoming.after_next].into_iter().find(|set| set.hash() == header.validators_hash),
    })
}

/// Whether a quorum of these made a block final, and it carries the transactions of its header: a certificate covers the
/// header alone, and anybody can put others behind it.
#[must_use]
pub fn is_final(block: &Block, certificate: &Certificate, chain: &ChainId, validators: &ValidatorSet) -> bool {
    let leaves: Vec<Vec<u8>> = block.transactions.iter().map(encode).collect();
    usize::try_from(block.header.tx_count) == Ok(leaves.len())
        && merkle::root(leaves.iter().map(Vec::as_slice)) == block.header.tx_root
        && certificate.verify(&block.header, chain, validators).is_ok()
}
