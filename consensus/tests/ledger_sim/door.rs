//! Where bytes from peers come in, as the node has it: parsed at one door, and signatures verified
//! before the member sees anything.

use super::cast::Cast;
use consensus::member::{Event, PeerMessage};
use ledger::block::Block;
use ledger::encoding::{decode, encode};
use ledger::id::ChainId;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::transaction::{SignedTransaction, VerifiedTransaction};
use std::collections::BTreeMap;

/// Remembers what it has verified: the same bytes verify the same way everywhere.
pub(crate) struct Door {
    cast: &'static Cast,
    verified: BTreeMap<Vec<u8>, Option<VerifiedTransaction>>,
}

impl Door {
    pub(crate) fn new(cast: &'static Cast) -> Self {
        Self { cast, verified: BTreeMap::new() }
    }

    fn chain(&self) -> ChainId {
        self.cast.chain_id()
    }

    fn verify(&mut self, bytes: &[u8]) -> Option<VerifiedTransaction> {
        if let Some(known) = self.verified.get(bytes) {
            return known.clone();
        }
        let verified = SignedTransaction::verify_bytes(bytes, &self.chain()).ok();
        self.verified.insert(bytes.to_vec(), verified.clone());
        verified
    }

    /// All transactions of a block, or none.
    pub(crate) fn verify_all(&mut self, block: &Block) -> Option<Vec<VerifiedTransaction>> {
        block.transactions.iter().map(|signed| self.verify(&encode(signed))).collect()
    }

    /// From bytes to an event, or why the peer is disconnected.
    pub(crate) fn parse(&mut self, peer: PublicKey, bytes: &[u8]) -> Result<Event, String> {
        if bytes.len() > limits::FRAME_BYTES_MAX {
            return Err(format!("a frame of {} bytes", bytes.len()));
        }
        let does_not_verify = || "a transaction that does not verify".to_owned();
        match decode::<PeerMessage>(bytes).map_err(|error| error.to_string())? {
            PeerMessage::Transactions(list) => {
                let transactions = list.iter().map(|bytes| self.verify(bytes)).collect::<Option<_>>();
                Ok(Event::Gossiped { peer, transactions: transactions.ok_or_else(does_not_verify)? })
            }
            PeerMessage::Given(list) => {
                let transactions = list.iter().map(|bytes| self.verify(bytes)).collect::<Option<_>>();
                Ok(Event::Given { peer, transactions: transactions.ok_or_else(does_not_verify)? })
            }
            PeerMessage::FinalisedBlock { block, certificate } => {
                let transactions = self.verify_all(&block).ok_or_else(does_not_verify)?;
                Ok(Event::Synced { peer, block, transactions, certificate })
            }
            message => Ok(Event::Said { peer, message }),
        }
    }
}
