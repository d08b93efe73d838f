//! `countersign get convictions`: what validators were convicted of; and the evidence, checked here.

use super::get::{Limit, listed, pages, raise};
use crate::connection::{Connection, NodeError};
use crate::failure::Failure;
use crate::files;
use crate::options::Global;
use crate::view::{ConvictionView, conviction_table};
use clap::Args;
use ledger::evidence::Evidence;
use ledger::fork::EvidenceFile;
use ledger::key::PublicKey;
use ledger::transaction::{Payload, SignedTransaction};
use proto::v1::{GetTransactionRequest, ListConvictionsRequest};
use serde::Serialize;
use std::path::PathBuf;
use terminal::{Answer, note};

/// List convictions.
#[derive(Debug, Args)]
#[command(after_help = "\
Of each conviction the evidence is fetched and checked here: what a node says without evidence is refused. A conviction \
changes nothing by itself; governors may propose that the key is revoked (`countersign propose`).
JSON: {\"convictions\": [{\"offence\": {\"kind\", \"height\", \"round\"}, \"culprits\": [{\"organisation\", \"key\", \
\"status\"}], \"accuser\", \"accuser_organisation\", \"position\", \"transaction\"}], \"more\"}

Examples:
  countersign get convictions
  countersign get convictions --of 3fa9…e9 --limit 1 --out acme.evidence")]
pub struct Convictions {
    /// Only of this validating key, in full
    #[arg(long, value_name = "KEY")]
    of: Option<PublicKey>,
    /// Also write the evidence of the newest one listed, for `countersign audit check`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    limit: Limit,
}

impl Convictions {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            convictions: Vec<ConvictionView>,
            more: bool,
        }
        let mut connection = Connection::open(global, global.trust()?.as_ref()).await?;
        let key = self.of.map(|key| key.0.to_vec()).unwrap_or_default();
        let (convictions, more) = pages(self.limit.limit as usize, |page_token, page_size| {
            let (mut ledger, key) = (connection.ledger.clone(), key.clone());
            async move {
                let answer = ledger.list_convictions(ListConvictionsRequest { key, page_size, page_token }).await?;
                let answer = answer.into_inner();
                let convictions = answer.convictions.into_iter().map(ConvictionView::new).collect::<Result<_, _>>()?;
                Ok((convictions, answer.next_page_token))
            }
        })
        .await?;
        let mut newest = None;
        for conviction in &convictions {
            let evidence = check(&mut connection, conviction).await?;
            newest = newest.or(Some(evidence));
        }
        match (&self.out, newest) {
            (Some(out), Some(evidence)) => {
                let bytes = EvidenceFile::evidence(connection.chain_id, evidence).bytes();
                files::write_once(out, &bytes, files::PUBLIC_MODE)?;
                note(&format!("The evidence of the newest one is in {}.", out.display()));
            }
            (Some(_), None) => note("Nobody is convicted: no evidence was written."),
            (None, _) => {}
        }
        let text = listed("convictions", conviction_table(&convictions), convictions.len(), more, &raise(self.limit));
        Ok(Answer::new(text, &View { convictions, more }))
    }
}

/// The evidence of a conviction, if it convicts whom the node says of what the node says.
async fn check(connection: &mut Connection, conviction: &ConvictionView) -> Result<Evidence, NodeError> {
    let wrong = |what: String| NodeError::Unbelievable(format!("conviction {}: {what}", conviction.transaction));
    let request = GetTransactionRequest { id: conviction.transaction.as_bytes().to_vec() };
    let bytes = connection.ledger.get_transaction(request).await?.into_inner().transaction;
    let chain = connection.chain_id;
    let accusation = SignedTransaction::verify_bytes(&bytes, &chain).map_err(|error| wrong(error.to_string()))?;
    let Payload::Accuse { evidence } = accusation.payload() else {
        return Err(wrong(format!("it is of kind {}", accusation.payload().kind())));
    };
    let charge = evidence.check(&chain).map_err(|error| wrong(error.to_string()))?;
    let named = conviction.culprits.iter().all(|culprit| charge.keys.contains(&culprit.key));
    let shown = (accusation.id(), accusation.signer());
    if shown != (conviction.transaction, conviction.accuser) || charge.offence != conviction.offence || !named {
        return Err(wrong("its evidence says something else".to_owned()));
    }
    Ok(evidence.clone())
}
