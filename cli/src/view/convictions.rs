//! Convictions, as a node tells of them.

use crate::connection::{NodeError, id};
use crate::submit::PositionView;
use crate::tables::{short, table};
use crate::view::show_position;
use ledger::evidence::{Offence, OffenceKind};
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use serde::Serialize;

/// What somebody was convicted of.
#[derive(Clone, Debug, Serialize)]
pub struct ConvictionView {
    /// What was signed twice, and where.
    pub offence: Offence,
    /// Whom it convicted.
    pub culprits: Vec<CulpritView>,
    /// The node key that brought the evidence.
    pub accuser: PublicKey,
    /// Whose that is.
    pub accuser_organisation: String,
    /// Where it was finalised.
    pub position: Option<PositionView>,
    /// The transaction with the evidence.
    pub transaction: TransactionId,
}

/// A convicted key.
#[derive(Clone, Debug, Serialize)]
pub struct CulpritView {
    /// Whose it is.
    pub organisation: String,
    /// The validating key.
    pub key: PublicKey,
    /// What became of it: `active`, `retired` or `revoked`.
    pub status: String,
}

impl ConvictionView {
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when an id or a word in it is none.
    pub fn new(conviction: proto::v1::Conviction) -> Result<Self, NodeError> {
        let kind = match conviction.kind.as_str() {
            "prevote" => OffenceKind::Prevote,
            "precommit" => OffenceKind::Precommit,
            "proposal" => OffenceKind::Proposal,
            other => return Err(NodeError::Unbelievable(format!("a conviction of two {other:?}"))),
        };
        let culprits = conviction.culprits.into_iter().map(|culprit| {
            let key = PublicKey(id(&culprit.key, "key")?);
            Ok(CulpritView { organisation: culprit.organisation, key, status: culprit.status })
        });
        Ok(Self {
            offence: Offence { height: conviction.height, round: conviction.round, kind },
            culprits: culprits.collect::<Result<_, NodeError>>()?,
            accuser: PublicKey(id(&conviction.accuser, "key")?),
            accuser_organisation: conviction.accuser_organisation,
            position: conviction.position.map(PositionView::from),
            transaction: TransactionId(id(&conviction.transaction_id, "transaction id")?),
        })
    }

    fn row(&self) -> Vec<String> {
        let culprit =
            |culprit: &CulpritView| format!("{} {} ({})", culprit.organisation, short(&culprit.key), culprit.status);
        vec![
            self.culprits.iter().map(culprit).collect::<Vec<_>>().join(", "),
            self.offence.to_string(),
            self.accuser_organisation.clone(),
            self.position.map(|position| show_position(&position)).unwrap_or_default(),
            short(&self.transaction),
        ]
    }
}

/// Convictions for people.
#[must_use]
pub fn conviction_table(convictions: &[ConvictionView]) -> String {
    let rows: Vec<_> = convictions.iter().map(ConvictionView::row).collect();
    table(&["CONVICTED", "OF", "BROUGHT BY", "RECORDED", "TRANSACTION"], &rows)
}
