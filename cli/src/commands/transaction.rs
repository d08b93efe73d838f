//! `countersign get transaction`: where a transaction is.

use crate::connection::{Connection, NodeError, parse_prefix};
use crate::failure::Failure;
use crate::options::Global;
use crate::submit::PositionView;
use crate::tables::facts;
use crate::view::{Said, show_position};
use clap::Args;
use ledger::id::{PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::transaction::SignedTransaction;
use proto::v1::{GetTransactionRequest, TransactionState};
use serde::Serialize;
use terminal::{Answer, EXIT_DONE, EXIT_REFUSED};

/// Find a transaction.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 1 when it is not finalised.
JSON: {\"transaction\", \"state\": \"unknown\" | \"pending\" | \"finalised\", \"position\", \"kind\", \"signer\", \"patch\", \
\"note\", \"evidence\"}

Example:
  countersign get transaction 51c0…e9 (all 64 digits)")]
pub struct Transaction {
    /// The transaction's id: all 64 digits, because nodes know transactions by nothing less
    #[arg(value_parser = parse_id)]
    id: TransactionId,
}

fn parse_id(text: &str) -> Result<TransactionId, String> {
    text.parse().map_err(|error| match parse_prefix(text) {
        Ok(_) => "this is the beginning of an id: of a transaction all 64 digits are needed; whoever submitted it was \
             told them, and `countersign chain show HEIGHT` tells them"
            .to_owned(),
        Err(_) => format!("{error}"),
    })
}

impl Transaction {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            transaction: TransactionId,
            state: &'static str,
            position: Option<PositionView>,
            kind: Option<&'static str>,
            signer: Option<PublicKey>,
            patch: Option<PatchId>,
            #[serde(flatten)]
            said: Option<Said>,
        }
        let mut connection = Connection::open(global, global.trust()?.as_ref()).await?;
        let request = GetTransactionRequest { id: self.id.as_bytes().to_vec() };
        let answer = match connection.ledger.get_transaction(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == tonic::Code::NotFound => Default::default(),
            Err(status) => return Err(NodeError::from(status).into()),
        };
        let transaction = match answer.transaction.as_slice() {
            [] => None,
            bytes => {
                let unbelievable = |error| NodeError::Unbelievable(format!("what it shows as {}: {error}", self.id));
                let shown = SignedTransaction::verify_bytes(bytes, &connection.chain_id).map_err(unbelievable)?;
                if shown.id() != self.id {
                    return Err(NodeError::Unbelievable(format!("it shows {} as {}", shown.id(), self.id)).into());
                }
                Some(shown)
            }
        };
        let (state, code) = match answer.state() {
            TransactionState::Unknown => ("unknown", EXIT_REFUSED),
            TransactionState::Pending => ("pending", EXIT_REFUSED),
            TransactionState::Finalised => ("finalised", EXIT_DONE),
        };
        let view = View {
            transaction: self.id,
            state,
            position: answer.position.map(PositionView::from),
            kind: transaction.as_ref().map(|shown| shown.payload().kind()),
            signer: transaction.as_ref().map(|shown| shown.signer()),
            patch: transaction.as_ref().and_then(|shown| shown.payload().patch()),
            said: transaction.as_ref().and_then(|shown| Said::of(shown.payload())),
        };
        let mut rows = vec![("transaction", self.id.to_string()), ("state", state.to_owned())];
        rows.extend(view.position.as_ref().map(|position| ("finalised", show_position(position))));
        rows.extend(view.kind.map(|kind| ("kind", kind.to_owned())));
        rows.extend(view.signer.map(|signer| ("signer", signer.to_string())));
        rows.extend(view.patch.map(|patch| ("patch", patch.to_string())));
        rows.extend(view.said.iter().flat_map(Said::rows));
        Ok(Answer::new(facts(&rows), &view).with_code(code))
    }
}
