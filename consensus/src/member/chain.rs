//! The chain as a member needs it: read the newest state, write the next block.

use ledger::certificate::Certificate;
use ledger::evidence::CertifiedHeader;
use ledger::execution::{ExecutedBlock, Tip};
use ledger::history::HistoryStorage;
use ledger::state::storage::{StateStorage, StorageError};

/// What a member keeps its chain in: the store in production, memory in simulation.
pub trait Chain: StateStorage + HistoryStorage {
    /// The newest end.
    fn tip(&self) -> Tip;

    /// Writes the next block durably: when this returns, the block survives a power cut.
    ///
    /// # Errors
    /// [`StorageError`] when the disk says no. Nothing is written then.
    fn commit(&mut self, executed: &ExecutedBlock, certificate: &Certificate) -> Result<(), StorageError>;

    /// The header of a finalised block and its certificate; genesis has none.
    ///
    /// # Errors
    /// [`StorageError`] when the disk says no.
    fn certified(&self, height: u64) -> Result<Option<CertifiedHeader>, StorageError>;
}
