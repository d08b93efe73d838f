//! `countersign chain epochs`: how the set of validators changed, every step proven from the trust root.

use crate::connection::{Connection, NodeError};
use crate::failure::Failure;
use crate::options::{Global, Need};
use crate::tables::{short, table};
use crate::time;
use crate::trust::Trust;
use clap::Args;
use ledger::block::Header;
use ledger::certificate::{Certificate, CertificateError};
use ledger::encoding::decode;
use ledger::id::BlockHash;
use ledger::proof::EpochLink;
use ledger::validators::{Validator, ValidatorSet};
use proto::v1::{GetEpochsRequest, GetHeadRequest};
use serde::Serialize;
use terminal::{Answer, note};

/// Links of one answer; when there are as many, there may be more.
const PAGE_LINKS: usize = 32;
/// Links followed at most.
const LINKS_MAX: usize = 100_000;

/// List the changes of the validator set.
#[derive(Debug, Args)]
#[command(after_help = "\
Every change is checked here: a quorum of the validators before signed the header that names the validators after, \
from the trust root on. So is the node's newest header, under the last of these sets: a node cannot leave the newest \
changes out. What does not hold is refused by the check epoch-chain.
JSON: {\"epochs\": [{\"height\", \"hash\", \"time_ms\", \"signers\", \"quorum\", \"joined\": [{\"key\", \
\"organisation\"}], \"left\": […], \"validators\": […]}], \"head\": {\"height\", \"time_ms\"}}; the first is the trust \
root's own

Example:
  countersign chain epochs --genesis genesis")]
pub struct Epochs {}

/// A set of validators, and how it came to be.
#[derive(Debug, Serialize)]
struct Epoch {
    /// Height of the header that names it: it is in force from the height after.
    height: u64,
    hash: BlockHash,
    time_ms: u64,
    /// How many of the validators before signed; absent for the trust root.
    signers: Option<usize>,
    quorum: usize,
    joined: Vec<Validator>,
    left: Vec<Validator>,
    validators: ValidatorSet,
}

#[derive(Debug, Serialize)]
struct HeadView {
    height: u64,
    time_ms: u64,
}

impl Epochs {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        #[derive(Serialize)]
        struct View {
            epochs: Vec<Epoch>,
            head: HeadView,
        }
        global.need(&[Need::Genesis, Need::Node])?;
        let trust = global.trust_needed()?;
        let mut connection = Connection::open(global, Some(&trust)).await?;
        // The head first: a change that is made meanwhile is then one too many, and not one too few.
        let head = head(&mut connection).await?;
        let (epochs, more) = follow(&mut connection, &trust).await?;
        if more {
            note(&format!("There are more than {LINKS_MAX} changes: these are the first."));
        } else {
            check_head(&head, &epochs, &trust)?;
        }
        let head = HeadView { height: head.0.height, time_ms: head.0.time_ms };
        let text = text(&epochs, &head, more);
        Ok(Answer::new(text, &View { epochs, head }))
    }
}

/// All changes, each with the set before it.
async fn follow(connection: &mut Connection, trust: &Trust) -> Result<(Vec<Epoch>, bool), NodeError> {
    let (links, more) = links(connection, trust).await?;
    let mut epochs = vec![Epoch::genesis(trust)];
    let mut before = &trust.genesis().validators;
    for link in &links {
        epochs.push(Epoch::of(link, before));
        before = &link.validators;
    }
    Ok((epochs, more))
}

/// Asks page after page and checks every link against the set before it; whether there are more.
pub(super) async fn links(connection: &mut Connection, trust: &Trust) -> Result<(Vec<EpochLink>, bool), NodeError> {
    let mut followed: Vec<EpochLink> = Vec::new();
    let (mut validators, mut before) = (trust.genesis().validators.clone(), 0u64);
    loop {
        let from_height = before.saturating_add(1);
        let links = connection.ledger.get_epochs(GetEpochsRequest { from_height }).await?.into_inner().links;
        if links.len() > PAGE_LINKS {
            return Err(NodeError::Unbelievable(format!("{} epoch links in one answer", links.len())));
        }
        for bytes in &links {
            let malformed = |error| NodeError::Unbelievable(format!("an epoch link after height {before}: {error}"));
            let link: EpochLink = decode(bytes).map_err(malformed)?;
            let height = link.header.height;
            let broken = |source| NodeError::EpochChain { height, source };
            link.check(&trust.chain_id(), &validators, before).map_err(broken)?;
            (validators, before) = (link.validators.clone(), height);
            followed.push(link);
        }
        if links.len() < PAGE_LINKS || followed.len() >= LINKS_MAX {
            return Ok((followed, links.len() == PAGE_LINKS));
        }
    }
}

/// The node's newest header and its certificate; the genesis header has none.
async fn head(connection: &mut Connection) -> Result<(Header, Option<Certificate>), NodeError> {
    let head = connection.ledger.get_head(GetHeadRequest {}).await?.into_inner();
    let malformed = |error| NodeError::Unbelievable(format!("its newest header: {error}"));
    let header: Header = decode(&head.header).map_err(malformed)?;
    let certificate = match head.certificate.as_slice() {
        [] => None,
        bytes => Some(decode(bytes).map_err(malformed)?),
    };
    Ok((header, certificate))
}

/// The newest header is certified by the set in force at its height: nothing was left out before it.
fn check_head(
    (header, certificate): &(Header, Option<Certificate>),
    epochs: &[Epoch],
    trust: &Trust,
) -> Result<(), NodeError> {
    let (chain, height) = (trust.chain_id(), header.height);
    let unbelievable = |what: &str| NodeError::Unbelievable(format!("its newest header, at height {height}: {what}"));
    if header.chain_id != chain {
        return Err(unbelievable("it is of another chain"));
    }
    let Some(certificate) = certificate else {
        let trusted = header == trust.header();
        return if trusted { Ok(()) } else { Err(unbelievable("it has no certificate")) };
    };
    let broken = |error: CertificateError| NodeError::EpochChain { height, source: error.into() };
    certificate.verify(header, &chain, in_force(epochs, height)).map_err(broken)?;
    Ok(())
}

/// The validators that certify a height: the first set is in force from the beginning.
fn in_force(epochs: &[Epoch], height: u64) -> &ValidatorSet {
    let newest = epochs.iter().rposition(|epoch| epoch.height < height).unwrap_or(0);
    &epochs[newest].validators
}

/// The validators that certify a height, proven from the trust root.
pub(super) async fn validators_at(
    connection: &mut Connection,
    trust: &Trust,
    height: u64,
) -> Result<ValidatorSet, NodeError> {
    let (epochs, _) = follow(connection, trust).await?;
    Ok(in_force(&epochs, height).clone())
}

impl Epoch {
    fn genesis(trust: &Trust) -> Self {
        let header = trust.header();
        let validators = &trust.genesis().validators;
        Self {
            height: 0,
            hash: header.hash(),
            time_ms: header.time_ms,
            signers: None,
            quorum: validators.quorum(),
            joined: validators.validators().to_vec(),
            left: Vec::new(),
            validators: validators.clone(),
        }
    }

    fn of(link: &EpochLink, before: &ValidatorSet) -> Self {
        let (before, after) = (before.validators(), link.validators.validators());
        let without = |all: &[Validator], others: &[Validator]| {
            all.iter().filter(|validator| !others.contains(validator)).cloned().collect()
        };
        Self {
            height: link.header.height,
            hash: link.header.hash(),
            time_ms: link.header.time_ms,
            signers: Some(link.certificate.signer_count()),
            quorum: link.validators.quorum(),
            joined: without(after, before),
            left: without(before, after),
            validators: link.validators.clone(),
        }
    }

    fn row(&self) -> Vec<String> {
        let changes = |sign: &'static str, validators: &[Validator]| {
            let change = |known: &Validator| format!("{sign}{} {}", known.organisation, short(&known.key));
            validators.iter().map(change).collect::<Vec<_>>()
        };
        let changes = [changes("+", &self.joined), changes("-", &self.left)].concat();
        vec![
            self.height.to_string(),
            time::show(self.time_ms),
            self.signers.map_or_else(|| "trust root".to_owned(), |signers| signers.to_string()),
            self.validators.len().to_string(),
            self.quorum.to_string(),
            changes.join(", "),
        ]
    }
}

fn text(epochs: &[Epoch], head: &HeadView, more: bool) -> String {
    let rows: Vec<_> = epochs.iter().map(Epoch::row).collect();
    let mut text = table(&["HEIGHT", "TIME", "SIGNED BY", "VALIDATORS", "QUORUM", "CHANGES"], &rows);
    if !more {
        let (changes, HeadView { height, time_ms }) = (epochs.len() - 1, head);
        let times = if changes == 1 { "once".to_owned() } else { format!("{changes} times") };
        let at = time::show(*time_ms);
        text.push_str(&format!("\nChanged {times}, verified here up to the node's head: height {height}, {at}.\n"));
    }
    text
}
