//! `apply`: bring a patch onto this host now.

use super::settling::{Answered, settle, show};
use super::{ConfigArgs, answer, block_on, running};
use crate::failure::{Failure, NO_VERDICT, OK, REFUSED, hint};
use agent::config::Config;
use agent::control::FILE;
use agent::follow::{self, sources::Sources};
use agent::proofs;
use agent::settled::Settled;
use agent::site::{self, SiteError};
use agent::why::{Held, Why};
use agent::worker::{self, Wish};
use clap::Args;
use ledger::limits;
use ledger::receipt::{Outcome, ReasonCode};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use terminal::Answer;

/// Bring a patch onto this host now, whatever was tried before; print the verdict.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign-agent apply 66c5d1
  countersign-agent apply 66c5d1 --from valkey.proof -o json
  countersign-agent apply 66c5d1 --now
  countersign-agent apply 66c5d1 --dry-run

A running agent is asked to do it; without one, this command does it itself.

Exit codes: 0 applied, or installed already (then nothing is done, and no receipt written); 1 refused, rolled back or
failed; or its hour has not come, which is no attempt and no receipt: `--now` waits for no window; or it is installed
already and was recalled; 3 no verdict.")]
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
    /// would be installed, or is already, with 1 if not.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Apply {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Some(config) = self.config.read_as_the_agent()? else { return Ok(Answer::silent(OK)) };
        let proof = self.from.as_deref().map(read_proof).transpose()?;
        if self.dry_run {
            let would = block_on(look(&config, &self.patch, proof, self.now))?;
            return Ok(answer(&would).with_code(if would.well { OK } else { REFUSED }));
        }
        let (brought, has_nodes) = (proof.is_some(), !config.ledger.nodes.is_empty());
        let wish = Wish::Apply { patch: self.patch, proof, now: self.now };
        let answered = block_on(settle(config, wish))?;
        if let Answered::Settled(Settled { outcome: Outcome::Refused, reason: Some(reason), .. }) = &answered
            && brought
        {
            hint(about_the_file(reason.code, has_nodes));
        }
        Ok(show(&answered, Outcome::Applied))
    }
}

/// What to do about a proof file that was refused; nothing where it is not the file's fault.
fn about_the_file(code: ReasonCode, has_nodes: bool) -> &'static str {
    use ReasonCode as Code;
    match code {
        Code::HeightBelowSeen if has_nodes => {
            "this host has heard of the ledger since: leave `--from` out, and it asks a node for a proof of now"
        }
        Code::HeightBelowSeen | Code::Stale => {
            "have a newer one made: `countersign proof get`, on a host that hears the ledger"
        }
        Code::ChainId | Code::EpochChain => "the file is of another ledger than the one this host trusts",
        Code::ProofSize
        | Code::ProofMalformed
        | Code::Certificate
        | Code::Inclusion
        | Code::Signature
        | Code::StateProof
        | Code::Authority => {
            "the file is no proof of that patch, or was changed: have it made again, by another organisation's node"
        }
        _ => "",
    }
}

/// One byte more than a proof file may have, so that one that is too large is refused as that.
pub(super) fn read_proof(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut proof = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limits::PROOF_BYTES_MAX as u64 + 1).read_to_end(&mut proof));
    let hint = "a proof file is what `countersign proof` wrote, on a host that hears the ledger";
    read.map_err(|error| {
        Failure::new(format!("{}: {error}", path.display()), Some(hint.to_owned()), NO_VERDICT).called(FILE)
    })?;
    Ok(proof)
}

/// Beside a running agent, if there is one: only its files are read, and it is asked what it has seen. Without one the
/// nodes are, as `apply` itself would.
async fn look(config: &Config, patch: &str, proof: Option<Vec<u8>>, now: bool) -> Result<Why, Failure> {
    let (trust, heads) = site::remembered(config)?;
    let sources = Sources::new(&config.ledger).map_err(SiteError::from)?;
    let running = running(config).await;
    if running.is_none() {
        follow::ask_all(&sources, &heads).await;
    }
    let held = Held { config, trust: &trust, heads: heads.clone(), running };
    let (patch, proof) = match proof {
        // A proof of something else is refused under the name that was asked for.
        Some(proof) => match proofs::claimed_patch(&proof).filter(|claimed| claimed.to_string().starts_with(patch)) {
            Some(claimed) => (claimed, proof),
            None => (held.find(patch)?, proof),
        },
        None => {
            let offer = worker::look_up(patch, &sources, &heads, &trust).await?;
            (offer.patch, offer.proof)
        }
    };
    Ok(held.would(patch, &proof, now)?)
}
