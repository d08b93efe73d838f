//! `apply`: bring a patch onto this host now.

use super::{ConfigArgs, Output, block_on, json, observer, print};
use crate::failure::{Failure, NO_VERDICT, OK, REFUSED};
use agent::clock::now_ms;
use agent::config::Config;
use agent::control::{self, Answer, Request};
use agent::data::{DataDir, DataError};
use agent::follow::sources::Sources;
use agent::proofs;
use agent::settled::Settled;
use agent::site::{self, Site, SiteError, own_program};
use agent::why::{Held, Why};
use agent::worker::{self, Worker};
use clap::Args;
use ledger::limits;
use ledger::receipt::Outcome;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long to wait for the receipt to be final when no agent runs that would see to it.
const RECEIPT_WAIT: Duration = Duration::from_secs(15);
/// How long an agent that holds the data directory may take until it can be asked: it may have begun
/// just now, or be ending.
const AGENT_WAIT: Duration = Duration::from_secs(10);
/// How often to look.
const AGENT_LOOK: Duration = Duration::from_millis(50);

/// Bring a patch onto this host now, whatever was tried before; print the verdict.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign-agent apply 66c5d1
  countersign-agent apply 66c5d1 --from valkey.proof -o json
  countersign-agent apply 66c5d1 --now
  countersign-agent apply 66c5d1 --dry-run

A running agent is asked to do it; without one, this command does it itself.")]
pub(super) struct Apply {
    /// The patch: its id, or the beginning of it.
    patch: String,
    /// Its proof file; without, the nodes are asked for it.
    #[arg(long, value_name = "FILE.proof")]
    from: Option<PathBuf>,
    /// Wait for no window, and for no blackout; everything else is checked.
    #[arg(long)]
    now: bool,
    /// Say what would happen, and change nothing: not on this host, nor in the ledger. Ends with 0 if it
    /// would be installed, with 1 if not.
    #[arg(long)]
    dry_run: bool,
    /// How the verdict is printed.
    #[arg(short, long, default_value = "text")]
    output: Output,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Apply {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let Some(config) = self.config.read()? else { return Ok(OK.into()) };
        let proof = self.from.as_deref().map(read_proof).transpose()?;
        if self.dry_run {
            let would = block_on(look(&config, &self.patch, proof, self.now))?;
            match self.output {
                Output::Text => print(&would.to_string())?,
                Output::Json => print(&json(&would)?)?,
            }
            return Ok(if would.well { OK.into() } else { REFUSED.into() });
        }
        let settled = block_on(settle(config, self.patch, proof, self.now))?;
        match self.output {
            Output::Text => print(&format!("patch {}: {settled}", settled.patch))?,
            Output::Json => print(&json(&settled)?)?,
        }
        Ok(if settled.outcome == Outcome::Applied { OK.into() } else { REFUSED.into() })
    }
}

/// One byte more than a proof file may have, so that one that is too large is refused as that.
pub(super) fn read_proof(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut proof = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limits::PROOF_BYTES_MAX as u64 + 1).read_to_end(&mut proof));
    read.map_err(|error| Failure::new(format!("{}: {error}", path.display()), None, NO_VERDICT))?;
    Ok(proof)
}

/// Beside a running agent, if there is one: only its files are read.
async fn look(config: &Config, patch: &str, proof: Option<Vec<u8>>, now: bool) -> Result<Why, Failure> {
    let (trust, heads) = site::remembered(config)?;
    let held = Held { config, trust: &trust, heads: heads.clone() };
    let (patch, proof) = match proof {
        // A proof of something else is refused under the name that was asked for.
        Some(proof) => match proofs::claimed_patch(&proof).filter(|claimed| claimed.to_string().starts_with(patch)) {
            Some(claimed) => (claimed, proof),
            None => (held.find(patch)?, proof),
        },
        None => {
            let sources = Sources::new(&config.ledger).map_err(SiteError::from)?;
            let offer = worker::look_up(patch, &sources, &heads, &trust).await?;
            (offer.patch, offer.proof)
        }
    };
    Ok(held.would(patch, &proof, now)?)
}

async fn settle(config: Config, patch: String, proof: Option<Vec<u8>>, now: bool) -> Result<Settled, Failure> {
    let data = DataDir::at(config.data_dir.clone());
    let request = Request::Apply { patch: patch.clone(), proof: proof.as_ref().map(hex::encode), now };
    let deadline = Instant::now() + AGENT_WAIT;
    loop {
        match control::ask(&data, &request).await? {
            Some(Answer::Verdict(settled)) => return Ok(settled),
            Some(Answer::Error { message, hint }) => return Err(Failure::new(message, Some(hint), NO_VERDICT)),
            Some(Answer::Status(_)) => {
                return Err(Failure::new("the agent answered something else", None, NO_VERDICT));
            }
            None => {}
        }
        match Site::open(config.clone(), own_program().to_owned(), observer()) {
            Err(SiteError::Data(DataError::InUse(_))) if Instant::now() < deadline => sleep(AGENT_LOOK).await,
            site => return settle_here(site?, &patch, proof, now).await,
        }
    }
}

/// Without a running agent: everything it would do, once.
async fn settle_here(mut site: Site, patch: &str, proof: Option<Vec<u8>>, now: bool) -> Result<Settled, Failure> {
    site.recover().await?;
    let (sources, heads, sender) = (site.sources.clone(), site.heads.clone(), site.sender());
    let services = site.installer.services().clone();
    for (place, source) in sources.all().iter().enumerate() {
        match source.head().await {
            Ok(head) => {
                if let Err(disbelief) = heads.take(place, &head, now_ms()) {
                    tracing::warn!(node = source.node(), %disbelief, "head not believed");
                }
            }
            Err(error) => tracing::warn!(%error, "node does not answer"),
        }
    }
    let mut worker = Worker::new(site);
    let settled = worker.apply_as_asked(patch, proof, now).await;
    if settled.is_ok() {
        match timeout(RECEIPT_WAIT, sender.send_all()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the receipt waits for the agent to run"),
            Err(_) => tracing::warn!("the receipt waits for the agent to run"),
        }
    }
    services.stop_all().await;
    Ok(settled?)
}
