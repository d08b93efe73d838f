//! What happens to a signed transaction: submitted and finalised, or written to a file.

use crate::connection::Connection;
use crate::failure::Failure;
use crate::files;
use crate::options::Signing;
use crate::submit::{self, PositionView};
use crate::tables::facts;
use crate::view::show_position;
use ledger::id::{PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::transaction::VerifiedTransaction;
use serde::Serialize;
use std::fmt;
use terminal::Answer;

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
    /// What the transaction is, in words.
    #[serde(skip)]
    pub(super) noun: &'static str,
    /// Where it was finalised; absent when it was only signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<PositionView>,
    /// Where it was written, when it was only signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    /// How the patch stood before, by the node's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Stood>,
    /// How it stands with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Stood>,
}

/// How a patch stood at a moment.
#[derive(Debug, Serialize)]
pub(super) struct Stood {
    standing: String,
    count: String,
}

impl Stood {
    /// By a node's word. What is signed does not depend on it: a node that does not answer takes nothing away.
    pub(super) async fn ask(connection: Option<&mut Connection>, patch: PatchId) -> Option<Self> {
        let told = connection?.patch(patch).await.ok()?;
        Some(Self { standing: told.standing, count: told.count })
    }
}

impl Stood {
    /// What that means: a transaction is final, how a patch stands need not be.
    fn now(&self) -> String {
        let means = match self.standing.as_str() {
            "pending" => "no host applies it yet",
            "held" => "no host applies it until whoever holds it says otherwise",
            "rejected" => "no host applies it unless whoever rejected it says otherwise",
            "approved" => "hosts may apply it",
            "recalled" => "no host applies it any more, whatever comes",
            _ => return self.to_string(),
        };
        format!("{self}; {means}")
    }
}

impl fmt::Display for Stood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { standing, count } = self;
        write!(f, "{standing}: {count}")
    }
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
        noun: transaction.payload().noun(),
        position: None,
        file: None,
        before: None,
        after: None,
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
        let done = if self.file.is_some() { "signed, not submitted" } else { did };
        let mut rows = vec![("done", done.to_owned())];
        rows.extend(self.patch.map(|patch| ("patch", patch.to_string())));
        rows.extend(self.endpoint.map(|endpoint| ("endpoint", endpoint.to_string())));
        rows.extend(self.proposal.map(|proposal| ("proposal", proposal.to_string())));
        rows.push(("transaction", self.transaction.to_string()));
        let noun = self.noun;
        rows.extend(self.position.map(|position| ("finalised", format!("{noun} {}", show_position(&position)))));
        rows.extend(self.before.as_ref().map(|stood| ("before", stood.to_string())));
        rows.extend(self.after.as_ref().map(|stood| ("now", stood.now())));
        rows.extend(self.file.clone().map(|file| ("in", format!("{file}, for `countersign submit`"))));
        facts(&rows)
    }
}
