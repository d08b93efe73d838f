//! Asking the nodes whether a patch was recalled. Nothing they say is believed without its proof: the
//! record in the state of a fresh header says that it was, and the signed transaction in the history why.

use super::Recall;
use crate::follow;
use crate::follow::heads::Heads;
use crate::follow::sources::{CallError, Source, Sources};
use crate::proofs::{self, Offer};
use ledger::bounded::Sentence;
use ledger::id::PatchId;
use ledger::proof::{ProofBundle, ProofError, TrustRoot};
use ledger::state::record::Position;
use ledger::transaction::{Payload, SignedTransaction};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long one node may take to prove how a patch stands …
const NODE_WAIT: Duration = Duration::from_secs(2);
/// … all of them together: whoever goes back by hand waits for this …
const LOOK_WAIT: Duration = Duration::from_secs(5);
/// … and all of them to show why it was recalled.
const REASON_WAIT: Duration = Duration::from_secs(5);
/// How often a node is asked for a transaction that only the next block proves …
const REASON_ASKED_MAX: usize = 5;
/// … and how long between, when nothing new is heard.
const REASON_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Why it cannot be told whether a patch was recalled.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// What the last node showed does not hold.
    #[error("no node gives a proof that holds")]
    Proof(#[from] ProofError),
    /// No node showed anything.
    #[error("no node gives a proof")]
    NoNode(#[source] Option<CallError>),
}

/// Whether a patch was recalled, with the proof of it; the nodes are asked in turn until one can show
/// how it stands, and none is waited for long.
///
/// # Errors
/// [`Untold`]: then nothing is known.
pub async fn look(
    patch: PatchId,
    sources: &Sources,
    heads: &Heads,
    trust: &TrustRoot,
) -> Result<Option<(Recall, Offer)>, Untold> {
    let (mut trouble, mut counted, mut since) = (Untold::NoNode(None), None, 0);
    let deadline = Instant::now() + LOOK_WAIT;
    for source in sources.from(heads.newest_from()) {
        let until = deadline.min(Instant::now() + NODE_WAIT);
        let Ok(asked) = timeout_at(until, proofs::ask(source, patch, false, heads, since, trust)).await else {
            continue;
        };
        let (offer, fault) = match asked {
            Ok((_, None)) => return Ok(None),
            Ok((offer, Some(fault))) => (offer, fault),
            Err(error) => {
                trouble = Untold::NoNode(Some(error));
                continue;
            }
        };
        // That nobody has leave to install it any more says nothing yet about who runs it.
        let bundle = ProofBundle::parse(&offer.proof);
        let recalled = bundle.as_ref().map_err(Clone::clone).and_then(|bundle| bundle.recalled(trust, offer.clock));
        // A clock that was set back keeps a patch away from this host, and no recall of one that is on it.
        let fault = match (fault, &bundle) {
            (behind @ ProofError::ClockBehind { .. }, Ok(bundle)) => {
                bundle.verify(trust, offer.clock).err().unwrap_or(behind)
            }
            (fault, _) => fault,
        };
        match (recalled, fault) {
            (Ok(Some(at)), _) => {
                let reason = timeout(REASON_WAIT, reason(patch, at, sources, heads, trust)).await.unwrap_or_default();
                return Ok(Some((Recall { height: at.height, reason }, offer)));
            }
            // So many approvers say so that the rule of today withdraws it, if no node shows that their keys were revoked.
            (Ok(None), ProofError::Recalled { height }) => {
                since = since.max(offer.height());
                counted = Some((Recall { height, reason: None }, offer));
            }
            (Ok(None), _) => return Ok(None),
            (Err(fault), _) => trouble = fault.into(),
        }
    }
    counted.map(Some).ok_or(trouble)
}

/// Why it was recalled, from the first node that shows the transaction at that place of the history.
async fn reason(patch: PatchId, at: Position, sources: &Sources, heads: &Heads, trust: &TrustRoot) -> Option<Sentence> {
    for source in sources.from(heads.newest_from()) {
        match signed_reason(source, patch, at, heads, trust).await {
            Ok(Some(reason)) => return Some(reason),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "no reason of a recall"),
        }
    }
    None
}

async fn signed_reason(
    source: &Source,
    patch: PatchId,
    at: Position,
    heads: &Heads,
    trust: &TrustRoot,
) -> Result<Option<Sentence>, CallError> {
    let Some(id) = source.recall(patch).await? else { return Ok(None) };
    let mut changed = heads.watch();
    for _ in 0..REASON_ASKED_MAX {
        changed.mark_unchanged();
        let (transaction, inclusion) = source.transaction(id).await?;
        let Some(inclusion) = inclusion else {
            // The next block proves it.
            let _ = timeout(REASON_AGAIN_AFTER, changed.changed()).await;
            continue;
        };
        let mut header = heads.certified(&inclusion.header, &inclusion.certificate);
        if header.as_ref().is_err_and(|error| error.is_of_a_later_set()) {
            follow::learn(source, heads).await;
            header = heads.certified(&inclusion.header, &inclusion.certificate);
        }
        let is_final =
            header.is_ok_and(|header| inclusion.index == at.index && inclusion.verify(&header, &transaction).is_ok());
        let signed = SignedTransaction::verify_bytes(&transaction, &trust.chain_id());
        return Ok(match signed.as_ref().map(|signed| signed.payload()) {
            Ok(Payload::Recall { patch: recalled, reason }) if is_final && *recalled == patch => Some(reason.clone()),
            _ => None,
        });
    }
    Ok(None)
}
