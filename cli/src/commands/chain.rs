//! `countersign chain`: look at the chain, or have a node's store checked.

use super::epochs::{Epochs, links, validators_at};
use super::snapshot::Snapshot;
use super::{external, wait_for};
use crate::connection::{Connection, NodeError};
use crate::failure::Failure;
use crate::files;
use crate::options::{Global, Need};
use crate::tables::{facts, table};
use crate::time;
use crate::trust::Trust;
use crate::view::Said;
use clap::{Args, Subcommand};
use ledger::block::{Block, Header};
use ledger::bounded::List;
use ledger::certificate::Certificate;
use ledger::encoding::decode;
use ledger::evidence::CertifiedHeader;
use ledger::fork::{FORK_VERSION, HeadFile};
use ledger::id::{BlockHash, PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::merkle;
use ledger::transaction::VerifiedTransaction;
use ledger::validators::ValidatorSet;
use proto::v1::{GetBlockRequest, GetBlockResponse};
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;
use terminal::{Answer, Format, note};

/// The program that has a node's store open.
const NODE_PROGRAM: &str = "countersign-node";

/// Look at the chain, or check a node's store.
#[derive(Debug, Subcommand)]
pub enum ChainCommand {
    /// Show a block: its header, its transactions, and who signed it
    Show(Show),
    /// List how the set of validators changed, proven from the trust root
    Epochs(Epochs),
    /// Take a snapshot away, for a new node to begin with
    Snapshot(Snapshot),
    /// Check a node's store from its first block to its last
    Fsck(Fsck),
}

/// Show a block.
#[derive(Debug, Args)]
#[command(after_help = "\
Every signature and the root over the transactions are checked here; the certificate is, when a trust root is given: \
from there the changes of the validators are followed up to the block.
JSON: {\"hash\", \"header\", \"round\", \"signers\", \"certificate\": \"verified\" | \"not-checked\" | \"none\", \
\"transactions\": [{\"id\", \"kind\", \"signer\", \"patch\", \"size\", \"note\", \
\"evidence\"}]}

Examples:
  countersign chain show
  countersign chain show 4711 --genesis genesis
  countersign chain show --genesis genesis --out bank.head")]
pub struct Show {
    /// Height of the block; the head if not given
    height: Option<u64>,
    /// Also write the header, with all that proves it from the trust root, for `countersign audit fork`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Check a store.
#[derive(Debug, Args)]
#[command(after_help = "\
Runs `countersign-node fsck --dir DIR`, beside this program or on PATH, and ends with its exit code.
JSON: {\"sound\", \"problems\", \"blocks\", \"transactions\", \"rows\"}, of `countersign-node fsck -o json`

Example:
  countersign chain fsck --store /var/lib/countersign")]
pub struct Fsck {
    /// The node's data directory, or the chain directory in it; the node must not be running
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

#[derive(Serialize)]
struct ShownBlock {
    hash: BlockHash,
    header: Header,
    round: Option<u32>,
    signers: Option<usize>,
    certificate: &'static str,
    transactions: Vec<ShownTransaction>,
}

#[derive(Serialize)]
struct ShownTransaction {
    id: TransactionId,
    kind: &'static str,
    signer: PublicKey,
    patch: Option<PatchId>,
    size: usize,
    /// Of verdicts and recalls.
    #[serde(flatten)]
    said: Option<Said>,
}

impl ChainCommand {
    pub(super) fn run(&self, global: &Global) -> Result<Answer, Failure> {
        match self {
            Self::Show(show) => wait_for(show.run(global)),
            Self::Epochs(epochs) => wait_for(epochs.run(global)),
            Self::Snapshot(snapshot) => wait_for(snapshot.run(global)),
            Self::Fsck(Fsck { store }) => {
                let mut arguments = vec!["fsck".into(), "--dir".into(), OsString::from(store)];
                if global.output == Format::Json {
                    arguments.extend(["-o".into(), "json".into()]);
                }
                let source = external::replace(global, NODE_PROGRAM, arguments);
                Err(Failure::Program { program: NODE_PROGRAM.to_owned(), source })
            }
        }
    }
}

impl Show {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        if self.out.is_some() {
            // What is exported is proven from the trust root.
            global.need(&[Need::Genesis, Need::Node])?;
        }
        let trust = global.trust()?;
        let mut connection = Connection::open(global, trust.as_ref()).await?;
        let height = self.height.unwrap_or(connection.status.height);
        let answer = connection.ledger.get_block(GetBlockRequest { height }).await.map_err(NodeError::from)?;
        let validators = match &trust {
            Some(trust) => Some(validators_at(&mut connection, trust, height).await?),
            None => None,
        };
        let view = check(answer.get_ref(), height, &connection, validators.as_ref())?;
        if let Some(out) = &self.out {
            let bytes = export(&mut connection, trust.as_ref(), answer.get_ref(), &view.header).await?;
            files::write_over(out, "head file", &bytes, |old| decode::<HeadFile>(old).is_ok())?;
            note(&format!(
                "The header is in {}, {} bytes: it needs nothing but the trust root.",
                out.display(),
                bytes.len()
            ));
        }
        Ok(Answer::new(view.text(), &view))
    }
}

/// A head file: checked as whoever reads it will.
async fn export(
    connection: &mut Connection,
    trust: Option<&Trust>,
    answer: &GetBlockResponse,
    header: &Header,
) -> Result<Vec<u8>, Failure> {
    let trust = trust.ok_or_else(|| {
        Failure::usage("no trust root given", "what is exported is proven from it: give it with --genesis FILE")
    })?;
    if answer.certificate.is_empty() {
        return Err(Failure::usage("nobody signed block 0: it is the trust root itself", "export a later one"));
    }
    let unbelievable = |error: String| NodeError::Unbelievable(format!("block {}: {error}", header.height));
    let certificate = decode(&answer.certificate).map_err(|error| unbelievable(error.to_string()))?;
    let (mut epochs, _) = links(connection, trust).await?;
    epochs.retain(|link| link.header.height < header.height);
    let epochs = List::new(epochs).map_err(|error| unbelievable(error.to_string()))?;
    let head = CertifiedHeader { header: header.clone(), certificate };
    let file = HeadFile { version: FORK_VERSION, chain_id: trust.chain_id(), epochs, head };
    file.verify(trust.root()).map_err(|error| unbelievable(error.to_string()))?;
    Ok(file.bytes())
}

/// Checks of a block what can be checked without the blocks before it.
fn check(
    answer: &GetBlockResponse,
    height: u64,
    connection: &Connection,
    validators: Option<&ValidatorSet>,
) -> Result<ShownBlock, NodeError> {
    let wrong = |what: String| NodeError::Unbelievable(format!("block {height}: {what}"));
    let Block { header, transactions } = Block::parse(&answer.block).map_err(|error| wrong(error.to_string()))?;
    if header.height != height || header.chain_id != connection.chain_id {
        return Err(wrong(format!("it is block {} of chain {}", header.height, header.chain_id)));
    }
    let chain = &connection.chain_id;
    let transactions = transactions.iter().map(|signed| signed.clone().verify(chain));
    let transactions: Vec<VerifiedTransaction> =
        transactions.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    let root = merkle::root(transactions.iter().map(VerifiedTransaction::bytes));
    if root != header.tx_root || header.tx_count as usize != transactions.len() {
        return Err(wrong("its transactions are not those of its header".to_owned()));
    }
    let certificate = match answer.certificate.as_slice() {
        [] => None,
        bytes => Some(decode::<Certificate>(bytes).map_err(|error| wrong(error.to_string()))?),
    };
    let verified = match (&certificate, validators) {
        (None, _) if height > 0 => return Err(wrong("it has no certificate".to_owned())),
        (None, _) => "none",
        (Some(_), None) => "not-checked",
        (Some(certificate), Some(validators)) => {
            certificate.verify(&header, chain, validators).map_err(|error| wrong(error.to_string()))?;
            "verified"
        }
    };
    let signers = |certificate: &Certificate| validators.and_then(|known| Some(certificate.signers(known).ok()?.len()));
    Ok(ShownBlock {
        hash: header.hash(),
        round: certificate.as_ref().map(|certificate| certificate.round),
        signers: certificate.as_ref().and_then(signers),
        certificate: verified,
        transactions: transactions.iter().map(ShownTransaction::of).collect(),
        header,
    })
}

impl ShownTransaction {
    fn of(transaction: &VerifiedTransaction) -> Self {
        Self {
            id: transaction.id(),
            kind: transaction.payload().kind(),
            signer: transaction.signer(),
            patch: transaction.payload().patch(),
            size: transaction.bytes().len(),
            said: Said::of(transaction.payload()),
        }
    }
}

impl ShownBlock {
    fn text(&self) -> String {
        let header = &self.header;
        let certificate = match (self.certificate, self.signers, self.round) {
            ("verified", Some(signers), Some(round)) => format!("verified here: {signers} signed, round {round}"),
            ("none", ..) => "none: this is the trust root".to_owned(),
            _ => "not checked here: give the trust root with --genesis".to_owned(),
        };
        let mut text = facts(&[
            ("block", header.height.to_string()),
            ("hash", self.hash.to_string()),
            ("time", time::show(header.time_ms)),
            ("parent", header.parent.to_string()),
            ("transactions", format!("{}, {} before", header.tx_count, header.history_size)),
            ("tx root", header.tx_root.to_string()),
            ("history root", header.history_root.to_string()),
            ("state root", header.state_root.to_string()),
            ("validators", header.validators_hash.to_string()),
            ("next", header.next_validators_hash.to_string()),
            ("proposer", header.proposer.to_string()),
            ("certificate", certificate),
        ]);
        if self.transactions.is_empty() {
            return text;
        }
        let rows: Vec<_> = self
            .transactions
            .iter()
            .map(|shown| {
                let patch = shown.patch.map(|patch| patch.to_string()).unwrap_or_default();
                let note = shown.said.as_ref().map(Said::line).unwrap_or_default();
                vec![shown.id.to_string(), shown.kind.to_owned(), shown.signer.to_string(), patch, note]
            })
            .collect();
        text.push('\n');
        text + &table(&["TRANSACTION", "KIND", "SIGNER", "PATCH", "NOTE"], &rows)
    }
}
