//! Proof that a transaction is final: its path in the history, at a header that a quorum signed.
//!
//! Whoever has handed in something important need not take a node's word that it is on the ledger.

use crate::block::Header;
use crate::bounded::List;
use crate::certificate::{Certificate, FinalizedHeader};
use crate::encoding::{Canonical, Limit};
use crate::history;
use crate::id::Digest;
use crate::limits;
use crate::merkle::PathError;
use serde::{Deserialize, Serialize};

/// The path of a transaction, and the header it leads to (docs/protocol.md, sentence 4.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionProof {
    /// A header after the transaction's block.
    pub header: Header,
    /// What is to prove it final.
    pub certificate: Certificate,
    /// The transaction's place in the history.
    pub index: u64,
    /// Its path there.
    pub path: List<Digest, { limits::HISTORY_PATH_MAX }>,
}

impl Canonical for InclusionProof {
    const NAME: &'static str = "inclusion proof";
    const LIMIT: Limit = Limit::Message;
}

impl InclusionProof {
    /// Checks that the history under this header, which must be the proof's own after its certificate was
    /// verified, has these bytes of a signed transaction.
    ///
    /// # Errors
    /// [`PathError`]; also when the header is another than the proof's.
    pub fn verify(&self, header: &FinalizedHeader, transaction: &[u8]) -> Result<(), PathError> {
        // The root comes from what a quorum signed, and from nowhere else.
        let Header { history_root, history_size, .. } = header.header();
        history::verify(history_root, *history_size, self.index, transaction, &self.path)
    }
}
