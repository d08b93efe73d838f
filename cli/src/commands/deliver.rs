//! What happens to a signed transaction: submitted and finalised, or written to a file.

use crate::connection::Connection;
use crate::failure::Failure;
use crate::files;
use crate::options::Signing;
use crate::submit::{self, PositionView};
use crate::terminal::{Answer, facts};
use crate::view::show_position;
use ledger::id::{PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::transaction::VerifiedTransaction;
use serde::Serialize;

/// A transaction that was delivered: the answer of every command that signs one.
#[derive(Debug, Serialize)]
pub(super) struct Delivered {
    /// What the transaction is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) patch: Option<PatchId>,
    /// What the transaction is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<PublicKey>,
    /// What the transaction is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) proposal: Option<TransactionId>,
    /// The transaction.
    pub(super) transaction: TransactionId,
    /// Where it was finalised; absent when it was only signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<PositionView>,
    /// Where it was written, when it was only signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
}

/// Submits or writes.
pub(super) async fn deliver(
    connection: Option<&mut Connection>,
    signing: &Signing,
    transaction: &VerifiedTransaction,
) -> Result<Delivered, Failure> {
    let mut delivered = Delivered {
        patch: transaction.payload().patch(),
        endpoint: None,
        proposal: None,
        transaction: transaction.id(),
        position: None,
        file: None,
    };
    match (connection, &signing.out) {
        (Some(connection), _) => {
            delivered.position = Some(submit::submit(connection, transaction, signing.wait).await?);
        }
        (None, Some(out)) => {
            files::write_new(out, transaction.bytes(), files::PUBLIC_MODE)?;
            delivered.file = Some(out.display().to_string());
        }
        (None, None) => return Err(Failure::usage("nowhere to put the transaction", "--offline needs --out FILE")),
    }
    Ok(delivered)
}

impl Delivered {
    /// For people and programs.
    pub(super) fn answer(&self, did: &str) -> Answer {
        Answer::new(self.text(did), self)
    }

    /// For people.
    pub(super) fn text(&self, did: &str) -> String {
        let mut rows = vec![("done", did.to_owned())];
        rows.extend(self.patch.map(|patch| ("patch", patch.to_string())));
        rows.extend(self.endpoint.map(|endpoint| ("endpoint", endpoint.to_string())));
        rows.extend(self.proposal.map(|proposal| ("proposal", proposal.to_string())));
        rows.push(("transaction", self.transaction.to_string()));
        rows.extend(self.position.map(|position| ("finalised", show_position(&position))));
        rows.extend(self.file.clone().map(|file| ("signed only, in", file)));
        facts(&rows)
    }
}
