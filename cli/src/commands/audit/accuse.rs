//! `countersign audit accuse`: the evidence of a file onto the ledger.

use crate::commands::deliver::{Delivered, deliver};
use crate::connection::{Connection, NodeError};
use crate::failure::Failure;
use crate::files;
use crate::options::{Global, Signing};
use crate::sign::Signer;
use crate::submit::SubmitError;
use clap::Args;
use keyring::KeyRole;
use ledger::evidence::Evidence;
use ledger::fork::{EvidenceFile, Exhibit};
use ledger::limits;
use ledger::transaction::Payload;
use serde::Serialize;
use std::path::PathBuf;
use terminal::{Answer, note};

/// The check that says that there is nothing left to do.
const KNOWN: &str = "already-convicted";

/// Accuse.
#[derive(Debug, Args)]
#[command(after_help = "\
Nodes do this by themselves with what they see; this is for what people found. The file is checked first. It does not \
matter whose node key signs: evidence speaks for itself. What is on the ledger already is said, and is no failure.
JSON: {\"accused\": [{\"transaction\", \"position\", \"file\"}], \"known\"}

Examples:
  countersign audit accuse fork.evidence --key node.key --genesis genesis
  countersign audit accuse fork.evidence --key node.key --genesis genesis \\
      --offline --out accuse.tx")]
pub struct Accuse {
    /// The evidence file
    file: PathBuf,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Serialize)]
struct View {
    accused: Vec<Delivered>,
    /// How many accusations were on the ledger already.
    known: usize,
}

impl Accuse {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let signer = Signer::new(global, &self.signing, &[KeyRole::Node])?;
        let evidence = self.evidence(&signer)?;
        let mut connection = match self.signing.offline {
            true => None,
            false => Some(Connection::open(global, Some(&signer.trust)).await?),
        };
        if self.signing.offline && evidence.len() > 1 {
            let message = format!("the file convicts {} keys one by one: that is as many transactions", evidence.len());
            return Err(Failure::usage(message, "submit them through a node, without --offline"));
        }
        let mut view = View { accused: Vec::new(), known: 0 };
        for evidence in evidence {
            let transaction = signer.sign(Payload::Accuse { evidence })?;
            match deliver(connection.as_mut(), &self.signing, &transaction).await {
                Ok(delivered) => view.accused.push(delivered),
                Err(Failure::Submit(error)) if is_known(&error) => view.known += 1,
                Err(failure) => return Err(failure),
            }
        }
        if view.known > 0 {
            note("What is on the ledger already was not recorded again.");
        }
        let mut text: String = view.accused.iter().map(|delivered| delivered.text("accused")).collect();
        if view.accused.is_empty() {
            text = "All of it is on the ledger already.\n".to_owned();
        }
        Ok(Answer::new(text, &view))
    }

    /// What the file has for the ledger, checked.
    fn evidence(&self, signer: &Signer) -> Result<Vec<Evidence>, Failure> {
        let bytes = files::read(&self.file, "evidence file", limits::PROOF_BYTES_MAX)?;
        let trust = signer.trust.root();
        let convicting = EvidenceFile::parse(&bytes, trust).and_then(|exhibit| match exhibit {
            Exhibit::Fork(fork) => Ok(fork.verify(trust)?.evidence().to_vec()),
            Exhibit::Evidence(evidence) => {
                evidence.check(&trust.chain_id())?;
                Ok(vec![evidence])
            }
        });
        let hint = "`countersign audit check` says what it shows";
        let convicting = convicting.map_err(|error| {
            Failure::usage(format!("{}: refused by check {}: {error}", self.file.display(), error.check()), hint)
        })?;
        if convicting.is_empty() {
            let message = format!("{} proves a fork, and convicts nobody", self.file.display());
            return Err(Failure::usage(message, super::view::WHY_NOBODY));
        }
        Ok(convicting)
    }
}

fn is_known(error: &SubmitError) -> bool {
    let SubmitError::Refused(error) = error else { return false };
    matches!(&**error, NodeError::Refused { check, .. } if check == KNOWN)
}
