//! Having a running agent do something, or doing it without one.

use super::observer;
use crate::failure::{Failure, NO_VERDICT, OK, REFUSED, hint};
use agent::config::Config;
use agent::control::{self, Request};
use agent::data::{DataDir, DataError};
use agent::follow;
use agent::settled::Settled;
use agent::site::{Site, SiteError, own_program};
use agent::worker::{AskError, NoAttempt, Wish, Worker};
use ledger::receipt::Outcome;
use std::time::{Duration, Instant};
use terminal::Answer;
use tokio::time::{sleep, timeout};

/// How long to wait for the receipt to be final when no agent runs that would see to it.
const RECEIPT_WAIT: Duration = Duration::from_secs(15);
/// How long an agent that holds the data directory may take until it can be asked: it may have begun
/// just now, or be ending.
const AGENT_WAIT: Duration = Duration::from_secs(10);
/// How often to look.
const AGENT_LOOK: Duration = Duration::from_millis(50);

/// What came of what was asked for.
pub(super) enum Answered {
    /// A verdict.
    Settled(Settled),
    /// Nothing was begun, and nothing is wrong.
    NoAttempt(NoAttempt),
}

/// What came of it, and how the program ends: well if it is what was `wanted`.
pub(super) fn show(answered: &Answered, wanted: Outcome) -> Answer {
    let (answer, well) = match answered {
        Answered::Settled(settled) => {
            let text = format!("patch {}: {settled}", settled.patch);
            (Answer::new(terminal::lines(&text), settled), settled.outcome == wanted)
        }
        Answered::NoAttempt(no_attempt) => {
            hint(no_attempt.hint());
            let text = format!("patch {}: {no_attempt}", no_attempt.patch());
            (Answer::new(terminal::lines(&text), no_attempt), no_attempt.is_well())
        }
    };
    answer.with_code(if well { OK } else { REFUSED })
}

/// Has a running agent do it, or does it here.
pub(super) async fn settle(config: Config, wish: Wish) -> Result<Answered, Failure> {
    let data = DataDir::at(config.data_dir.clone());
    let request = match wish.clone() {
        Wish::Apply { patch, proof, now } => Request::Apply { patch, proof: proof.map(hex::encode), now },
        Wish::TakeBack { patch } => Request::Rollback { patch },
    };
    let deadline = Instant::now() + AGENT_WAIT;
    loop {
        match control::ask(&data, &request).await? {
            Some(control::Answer::Verdict(settled)) => return Ok(Answered::Settled(settled)),
            Some(control::Answer::NoAttempt(no_attempt)) => return Ok(Answered::NoAttempt(no_attempt)),
            Some(control::Answer::Error { code, message, hint }) => return Err(Failure::answered(message, hint, code)),
            Some(control::Answer::Status(_)) => {
                return Err(Failure::new("the agent answered something else", None, NO_VERDICT));
            }
            None => {}
        }
        match Site::open(config.clone(), own_program().to_owned(), observer()) {
            Err(SiteError::Data(DataError::InUse(_))) if Instant::now() < deadline => sleep(AGENT_LOOK).await,
            site => return settle_here(site?, wish).await,
        }
    }
}

/// Without a running agent: everything it would do, once.
async fn settle_here(mut site: Site, wish: Wish) -> Result<Answered, Failure> {
    site.recover().await?;
    let (sources, heads, sender) = (site.sources.clone(), site.heads.clone(), site.sender());
    let services = site.installer.services().clone();
    follow::ask_all(&sources, &heads).await;
    let mut worker = Worker::new(site);
    let settled = worker.fulfil(wish).await;
    if settled.is_ok() {
        match timeout(RECEIPT_WAIT, sender.send_all()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let hint = sender.hint_at(&error);
                let hint = Some(hint.as_str()).filter(|hint| !hint.is_empty());
                tracing::warn!(%error, hint, "the receipt waits for a node, and is sent when the agent runs");
            }
            Err(_) => tracing::warn!("the receipt waits for a node, and is sent when the agent runs"),
        }
    }
    services.stop_all().await;
    match settled {
        Err(AskError::NoAttempt(no_attempt)) => Ok(Answered::NoAttempt(no_attempt)),
        settled => Ok(Answered::Settled(settled?)),
    }
}
