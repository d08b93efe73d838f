//! The first look at a snapshot, while nothing of it is written down.

use super::examination::check_form;
use super::stage::Stage;
use super::{SnapshotError, SnapshotPart};
use crate::genesis::GenesisBlock;
use crate::id::{ChainId, Digest};
use crate::state::root::RunningRoot;

/// Looks all parts through for what an [`super::Examination`] knows only at the end: that the records make the
/// state their header names. Who surveys before he examines never writes a record that is not proven: the
/// examination refuses a header that nobody certified before the first record comes.
#[derive(Clone, Debug)]
pub struct Survey {
    chain: ChainId,
    /// The state root of the snapshot's header.
    due: Option<Digest>,
    records: RunningRoot,
}

impl Survey {
    /// Begins with the trust root.
    #[must_use]
    pub fn new(genesis: &GenesisBlock) -> Self {
        Self { chain: genesis.chain_id, due: None, records: RunningRoot::default() }
    }

    /// Looks at the next part.
    ///
    /// # Errors
    /// [`SnapshotError`] when it begins twice, is of another format or ledger, or records do not ascend.
    pub fn take(&mut self, part: &SnapshotPart) -> Result<(), SnapshotError> {
        match part {
            SnapshotPart::Begin { .. } if self.due.is_some() => {
                Err(SnapshotError::OutOfOrder { actual: Stage::Begin.name(), expected: Stage::End.name() })
            }
            SnapshotPart::Begin { version, header, .. } => {
                self.due = Some(header.state_root);
                check_form(*version, header, self.chain)
            }
            SnapshotPart::Records(rows) => {
                rows.iter().try_for_each(|(key, record)| Ok(self.records.take(key, record)?))
            }
            _ => Ok(()),
        }
    }

    /// Says whether it is worth being examined.
    ///
    /// # Errors
    /// [`SnapshotError::State`] when the records are not those of its header.
    pub fn finish(&self) -> Result<(), SnapshotError> {
        let actual = self.records.root();
        match self.due {
            Some(expected) if expected != actual => Err(SnapshotError::State { actual, expected }),
            // Without a beginning it is refused when it is examined.
            _ => Ok(()),
        }
    }
}
