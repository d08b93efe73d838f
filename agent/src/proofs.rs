//! Proof files: from the nodes, or from a person's hands.

use crate::clock::now_ms;
use crate::follow::heads::Heads;
use crate::follow::sources::{CallCause, CallError, Source, Sources};
use ledger::id::PatchId;
use ledger::limits;
use ledger::patch::PatchManifest;
use ledger::proof::{FinalizedPatch, HostClock, ProofBundle, ProofError, TrustRoot};
use ledger::transaction::Payload;
use std::time::Duration;

/// The check by which a node says that only the next block proves what is asked for.
pub(crate) const NOT_YET: &str = "not-yet-provable";
/// How often one node is asked for a proof that is not there yet, or not as new as what was seen.
const ASKED_AGAIN_MAX: usize = 5;
/// Wait before it is asked again, if it does not say.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);
/// How long one node may take for a proof, however often it is asked.
const PROOF_TIMEOUT: Duration = Duration::from_secs(20);
/// No node may make the agent wait longer than this before it is asked again.
const ASK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(2);

/// A proof file that was offered for a patch, and what it is judged by.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The patch asked for.
    pub patch: PatchId,
    /// The proof file.
    pub proof: Vec<u8>,
    /// What was known of time and height when it was asked for: a node cannot be blamed for headers
    /// that came after its answer.
    pub clock: HostClock,
    /// Somebody asked for this patch; it was not the agent's own idea.
    pub asked: bool,
}

impl Offer {
    /// The height it claims to be at; nothing is believed by this.
    pub(crate) fn height(&self) -> u64 {
        ProofBundle::parse(&self.proof).map_or(0, |bundle| bundle.header.height)
    }
}

/// Asks the nodes for the proof of a patch, beginning with the one that brought the newest header. The
/// first proof that holds is taken; else one that names what is missing in the ledger itself; else
/// the last that was offered, so that its fault has a name.
///
/// A proof without enough approvals may be one that a node left them out of, so the others are asked too; what they
/// show counts if it is no older, since an approval may have been withdrawn in between.
///
/// # Errors
/// [`CallError`] when no node offers anything.
pub async fn obtain(
    patch: PatchId,
    asked: bool,
    sources: &Sources,
    heads: &Heads,
    trust: &TrustRoot,
) -> Result<Offer, Option<CallError>> {
    let (mut short, mut faulty, mut trouble, mut since) = (None, None, None, 0);
    for source in sources.from(heads.newest_from()) {
        let answer = source.within(PROOF_TIMEOUT, "GetProof", ask(source, patch, asked, heads, since, trust)).await;
        match answer {
            Ok((offer, None)) => return Ok(offer),
            // Every node would say the same: it is proven that the patch may not be applied.
            Ok((offer, Some(fault))) if is_of_the_ledger(&fault) && !hangs_on_what_is_shown(&fault) => {
                return Ok(offer);
            }
            Ok((offer, Some(fault))) if hangs_on_what_is_shown(&fault) => {
                since = since.max(offer.height());
                short = Some(offer);
            }
            Ok((offer, Some(fault))) => {
                tracing::warn!(node = source.node(), %patch, %fault, "a proof that does not hold");
                faulty = Some(offer);
            }
            // What a node says counts more than that another does not answer.
            Err(error) if trouble.as_ref().is_none_or(|known: &CallError| known.check().is_none()) => {
                trouble = Some(error);
            }
            Err(_) => {}
        }
    }
    short.or(faulty).ok_or(trouble)
}

/// Whether an offer is worth an attempt that nobody asked for: it proves its patch; or it proves that the ledger does not
/// stand for it; or nothing is in the way but this host's clock. Any other fault is that of whoever offered it: a node
/// that lists what there is not would otherwise have a host write receipts that nobody takes.
#[must_use]
pub fn is_worth_an_attempt(offer: &Offer, trust: &TrustRoot) -> bool {
    let judged_by = |clock| ProofBundle::parse(&offer.proof).and_then(|bundle| verify(&bundle, trust, clock));
    let stands = |fault: Option<ProofError>| fault.as_ref().is_none_or(is_of_the_ledger);
    match judged_by(offer.clock).err() {
        Some(ProofError::Stale { .. } | ProofError::ClockBehind { .. }) => {
            let made_ms = ProofBundle::parse(&offer.proof).map_or(0, |bundle| bundle.header.time_ms);
            stands(judged_by(HostClock { now_ms: made_ms, floor_ms: 0, ..offer.clock }).err())
        }
        fault => stands(fault),
    }
}

/// Proves an offered patch once more, some time later: it may have been recalled, halted or held back
/// since. Where no node gives a proof of today that holds, the one at hand does while it is fresh: a node
/// that says nothing must not be able to stop what is proven, nor to stretch it.
///
/// # Errors
/// [`ProofError`] names what has changed.
pub async fn renew(
    offer: &Offer,
    sources: &Sources,
    heads: &Heads,
    trust: &TrustRoot,
) -> Result<FinalizedPatch, ProofError> {
    if let Ok(newer) = obtain(offer.patch, offer.asked, sources, heads, trust).await {
        match ProofBundle::parse(&newer.proof).and_then(|bundle| verify(&bundle, trust, newer.clock)) {
            Ok(patch) if patch.id() == offer.patch => return Ok(patch),
            Err(fault) if is_of_the_ledger(&fault) => return Err(fault),
            _ => {}
        }
    }
    // By the time of now, and by the height of when it was asked for.
    let clock = HostClock { height_seen: offer.clock.height_seen, ..heads.clock(now_ms()) };
    verify(&ProofBundle::parse(&offer.proof)?, trust, clock)
}

/// Verifies a proof, on a host whose clock can be true: one that is behind what a quorum signed cannot tell how old
/// anything is. Where it was set back and no node says anything new, a proof would stay fresh for as long as that.
///
/// # Errors
/// [`ProofError`]; [`ProofError::ClockBehind`] whatever the proof is like, when the clock is behind.
pub fn verify(bundle: &ProofBundle, trust: &TrustRoot, clock: HostClock) -> Result<FinalizedPatch, ProofError> {
    let ahead_ms = clock.floor_ms.saturating_sub(clock.now_ms);
    if ahead_ms > limits::CLOCK_AHEAD_MS_MAX {
        return Err(ProofError::ClockBehind { height: clock.height_seen, ahead_ms });
    }
    bundle.verify(trust, clock)
}

/// Asks one node, again if it is only a little behind: what was seen, or `since`, the height that another proof was at.
/// What it offers, and what is wrong with that.
pub(crate) async fn ask(
    source: &Source,
    patch: PatchId,
    asked: bool,
    heads: &Heads,
    since: u64,
    trust: &TrustRoot,
) -> Result<(Offer, Option<ProofError>), CallError> {
    let (mut times, mut changed) = (0, heads.watch());
    loop {
        times += 1;
        changed.mark_unchanged();
        let known = heads.clock(now_ms());
        let clock = HostClock { height_seen: known.height_seen.max(since), ..known };
        let (wait, next_block) = match source.proof(patch).await {
            Err(error) => match error.check() {
                Some(NOT_YET) if times < ASKED_AGAIN_MAX => (error.retry_after(), true),
                _ => return Err(error),
            },
            Ok(proof) => {
                let bundle = ProofBundle::parse(&proof);
                // However good: a fact about another patch says nothing about this one.
                if bundle.as_ref().is_ok_and(|bundle| manifest_of(bundle).map(PatchManifest::id) != Some(patch)) {
                    return Err(source.error("GetProof", CallCause::Malformed("a proof of another patch")));
                }
                let fault = bundle.and_then(|bundle| verify(&bundle, trust, clock)).err();
                match fault {
                    Some(ProofError::HeightBelowSeen { .. }) if times < ASKED_AGAIN_MAX => (None, false),
                    fault => return Ok((Offer { patch, proof, clock, asked }, fault)),
                }
            }
        };
        tokio::select! {
            // The next block proves it, and nobody has to wait longer than for that.
            Ok(()) = changed.changed(), if next_block => {}
            () = tokio::time::sleep(wait.unwrap_or(ASK_AGAIN_AFTER).min(ASK_AGAIN_AFTER_MAX)) => {}
        }
    }
}

/// Whether a fault is a fact of the ledger, proven at a fresh header, and not a node's.
fn is_of_the_ledger(fault: &ProofError) -> bool {
    hangs_on_what_is_shown(fault) || matches!(fault, ProofError::NoApprovalRule | ProofError::Halted(_))
}

/// Whether a node can bring this about by what it leaves out of a true proof: approvals, or the organisation that says
/// which key was revoked. (A recall by the vendor is in the record, and stays one whatever others show.)
fn hangs_on_what_is_shown(fault: &ProofError) -> bool {
    matches!(
        fault,
        ProofError::ApprovalMissing { .. }
            | ProofError::Rejected { .. }
            | ProofError::Held { .. }
            | ProofError::Recalled { .. }
    )
}

/// The patch a proof file claims to be about; nothing is believed by this.
#[must_use]
pub fn claimed_patch(proof: &[u8]) -> Option<PatchId> {
    claimed(proof).map(|manifest| manifest.id())
}

/// The manifest a proof file claims to prove; nothing is believed by this.
#[must_use]
pub fn claimed(proof: &[u8]) -> Option<PatchManifest> {
    manifest_of(&ProofBundle::parse(proof).ok()?).cloned()
}

fn manifest_of(bundle: &ProofBundle) -> Option<&PatchManifest> {
    match &bundle.publish.transaction.transaction.payload {
        Payload::Publish { manifest } => Some(manifest),
        _ => None,
    }
}
