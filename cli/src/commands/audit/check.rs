//! `countersign audit check`: an evidence file against a trust root, without a network.

use super::trust_root;
use super::validating::Validating;
use super::view::{ChargeView, ForkView};
use crate::failure::Failure;
use crate::files;
use crate::kinds::kind_of;
use crate::options::Global;
use clap::Args;
use ledger::fork::{EvidenceFile, Exhibit, ForkError};
use ledger::limits;
use serde::Serialize;
use std::path::{Path, PathBuf};
use terminal::{Answer, EXIT_REFUSED, ErrorView, note};

/// Check evidence.
#[derive(Debug, Args)]
#[command(after_help = "\
Needs nobody's word: signatures, quorums and the chain of validator sets are checked from the trust root. Names exactly \
those who signed two things where they may sign one, and nobody when that cannot be told. Keys that are not known to \
validate convict nobody, because anybody can sign two things with a key of his own: refused by check unknown-key. The \
trust root knows its own validators, a head file those that came later.
Exit codes: 0 it holds, 1 refused (the check is named), 2 a file that cannot be read.
JSON: {\"verified\": true, \"fork\": {as `audit fork`}} or {\"verified\": true, \"evidence\": {\"offence\": {\"height\", \
\"round\", \"kind\"}, \"equivocators\": [{\"key\", \"organisation\"}]}} or {\"verified\": false, \"check\", \"message\", \
\"error\"}

Examples:
  countersign audit check fork.evidence --trust genesis
  countersign audit check convictions.evidence --trust genesis \\
      --head now.head")]
pub struct Check {
    /// The evidence file
    file: PathBuf,
    /// The trust root: the genesis file you were given; --genesis if not given
    #[arg(long, value_name = "GENESIS")]
    trust: Option<PathBuf>,
    /// A head file (`countersign chain show --out`): proves who became a validator later
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Holds {
    Fork(Box<ForkView>),
    Evidence(ChargeView),
}

#[derive(Serialize)]
struct VerifiedView {
    verified: bool,
    #[serde(flatten)]
    holds: Holds,
}

#[derive(Serialize)]
struct RefusedView {
    verified: bool,
    check: &'static str,
    message: String,
    error: ErrorView,
}

impl Check {
    pub(super) fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let trust = trust_root(self.trust.as_deref(), global)?;
        let validating = Validating::new(&trust, self.head.as_deref())?;
        // One byte more than it may have: that it is too large is for the check to say, by name.
        let bytes = match files::read(&self.file, "evidence file", limits::PROOF_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(files::FileError::TooLarge { .. }) => vec![0; limits::PROOF_BYTES_MAX + 1],
            Err(error) => return Err(error.into()),
        };
        let judged = EvidenceFile::parse(&bytes, trust.root()).and_then(|exhibit| match exhibit {
            Exhibit::Fork(fork) => {
                let proven = fork.verify(trust.root())?;
                Ok(Holds::Fork(Box::new(ForkView::new(proven.one().header().height, &proven, ["one", "other"]))))
            }
            Exhibit::Evidence(evidence) => {
                let charge = evidence.check(&trust.chain_id())?;
                if charge.keys.iter().all(|key| validating.organisation(key).is_none()) {
                    return Err(ForkError::Strangers(charge.keys));
                }
                Ok(Holds::Evidence(ChargeView::new(&charge, &validating)))
            }
        });
        Ok(match judged {
            Ok(holds) => {
                let text = match &holds {
                    Holds::Fork(view) => view.text(),
                    Holds::Evidence(view) => view.text(),
                };
                Answer::new(text, &VerifiedView { verified: true, holds })
            }
            Err(error) => refused(&error, &self.file),
        })
    }
}

/// A refusal is an answer: the check goes to standard output for programs and is told to people.
fn refused(error: &ForkError, file: &Path) -> Answer {
    let check = error.check();
    let message = match error {
        // It may be something else altogether.
        ForkError::Decode(error) => {
            let is = kind_of(file).map(|kind| format!("; this file is {kind}")).unwrap_or_default();
            format!("an evidence file is wanted, of at most {} bytes: {error}{is}", limits::PROOF_BYTES_MAX)
        }
        error => error.to_string(),
    };
    let hint = match error {
        ForkError::Strangers(_) => {
            "validators change: --head takes a file that proves who came later (`countersign chain show --out`)"
        }
        ForkError::Decode(_) => {
            "`countersign audit fork --out` and `countersign get convictions --out` write such files"
        }
        _ => "it convicts nobody: get the file again, from whoever made it",
    };
    note(&format!("error: refused by check {check}: {message}"));
    note(&format!("hint: {hint}"));
    let (code, hint) = (check.to_owned(), Some(hint.to_owned()));
    let error = ErrorView { code, message: message.clone(), because: Vec::new(), hint };
    Answer::new(String::new(), &RefusedView { verified: false, check, message, error }).with_code(EXIT_REFUSED)
}
