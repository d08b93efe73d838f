//! The sentence everything else serves.
//!
//! `verify → permit → stage → verify again → apply → (restart) → health → keep or roll back → receipt`.
//! Each step takes what only the step before can make ([`FinalizedPatch`], [`Permit`], [`Staged`],
//! [`Ready`], [`Applied`]), so that leaving one out does not compile:
//!
//! ```compile_fail
//! fn skip_the_proof(policy: &policy::Policy, manifest: ledger::patch::PatchManifest, host: &policy::Host) {
//!     let permit = policy.permit(manifest, host, 0); // wants a FinalizedPatch
//! }
//! ```
//!
//! ```compile_fail
//! async fn skip_the_download(installer: &mut agent::installer::Installer, permit: policy::Permit, log: &mut agent::attempt_log::AttemptLog) {
//!     let applied = installer.apply(1, permit, || Ok(()), log).await; // wants what is Ready
//! }
//! ```
//!
//! ```compile_fail
//! async fn skip_the_second_look(installer: &mut agent::installer::Installer, staged: agent::installer::Staged, log: &mut agent::attempt_log::AttemptLog) {
//!     let applied = installer.apply(1, staged, || Ok(()), log).await; // wants what is Ready
//! }
//! ```
//!
//! [`FinalizedPatch`]: ledger::proof::FinalizedPatch
//! [`Permit`]: policy::Permit
//! [`Staged`]: crate::installer::Staged
//! [`Ready`]: crate::installer::Ready
//! [`Applied`]: crate::installer::Applied

use crate::attempt_log::AttemptLog;
use crate::files::FileError;
use crate::proofs::{self, Offer};
use crate::settled::{Refusal, Settled, chain};
use crate::site::Site;
use ledger::id::PatchId;
use ledger::proof::{FinalizedPatch, ProofBundle};
use ledger::receipt::ReasonCode;
use policy::schedule::Wait;

/// How an update leaves the host.
#[derive(Debug)]
pub enum Ending {
    /// As it is going to be.
    Settled(Settled),
    /// The patch is in place; whether it stays is judged when the host has restarted. The receipt comes
    /// then.
    AwaitsRestart(PatchId),
    /// As it was: its hour has not come, or has passed while it was made ready. That is no attempt, and there is no
    /// receipt.
    Waits(Wait),
}

/// Brings an offered patch onto this host, or says why not; either way there is a receipt, but for what only
/// waits for its hour.
///
/// # Errors
/// [`FileError`] when not even that can be written down. Recovery takes it from there.
pub async fn update(site: &mut Site, offer: &Offer) -> Result<Ending, FileError> {
    let _updating = site.turns.update().await;
    let (run, mut log) = site.begin(offer.patch)?;
    let settled = match attempt(site, run, offer, &mut log).await {
        Ok(Ending::Settled(settled)) => settled,
        Ok(waits) => return Ok(waits),
        Err(Refusal { waits: Some(wait), .. }) => {
            site.end_without_receipt(&wait, log)?;
            return Ok(Ending::Waits(*wait));
        }
        Err(refusal) => Settled::refused(run, offer.patch, site.version_installed(offer), refusal),
    };
    site.write_receipt(&settled, log, offer.asked).await?;
    Ok(Ending::Settled(settled))
}

async fn attempt(site: &mut Site, run: u64, offer: &Offer, log: &mut AttemptLog) -> Result<Ending, Refusal> {
    let bundle = ProofBundle::parse(&offer.proof)?;
    let patch = proofs::verify(&bundle, &site.trust, offer.clock)?; //            who signed, who approved, what is final
    let patch = is_the_one(patch, offer.patch)?;
    site.remember(&patch, log)?; //                                               before anything hangs on it
    let permit = site.policy().permit(patch, &site.host()?, site.now_ms())?; //   this host, now
    match site.is_schedule_lifted() {
        true => log.line("permitted: by hand, at once: windows and blackouts were not asked"),
        false => log.line(&format!("permitted: {}", permit.leave())),
    }
    let staged = site.installer.stage(permit, &site.origins, site.heads.newest_from(), log).await?;
    let patch = proofs::renew(offer, &site.sources, &site.heads, &site.trust).await?; // nobody withdrew it meanwhile
    site.remember(&patch, log)?;
    let still = site.still_permits(&patch)?;
    still()?; //                                                                  nor did its hour pass
    let ready = staged.confirm(&patch)?;
    site.look_before(log).await;
    let applied = site.installer.apply(run, ready, still, log).await?; //         journal first; its hour is asked again
    let Some(applied) = site.installer.judged_now(applied, log) else {
        return Ok(Ending::AwaitsRestart(offer.patch)); //                         `recover` goes on from here
    };
    let settled = match site.installer.examine(&applied, log).await {
        Ok(()) => site.installer.keep(applied, log).await,
        Err(reason) => site.installer.roll_back(applied, reason, log).await,
    };
    Ok(Ending::Settled(settled))
}

/// A proof of something else proves nothing about what was asked for.
fn is_the_one(patch: FinalizedPatch, asked: PatchId) -> Result<FinalizedPatch, Refusal> {
    match patch.id() == asked {
        true => Ok(patch),
        false => Err(Refusal::new(ReasonCode::ProofMalformed, format!("the proof is about patch {}", patch.id()))),
    }
}

impl Site {
    /// Puts the header of a proof, and whose successors signed it, where they can never be forgotten, and compares it with
    /// what the nodes say.
    fn remember(&self, patch: &FinalizedPatch, log: &mut AttemptLog) -> Result<(), Refusal> {
        let header = patch.header();
        let learnt = self.heads.learn(patch.epochs());
        learnt.map_err(|error| Refusal::new(ReasonCode::EpochChain, chain(&error)))?;
        let seen = self.heads.see(header);
        seen.map_err(|disbelief| Refusal::new(ReasonCode::Certificate, chain(&disbelief)))?;
        self.heads.persist()?;
        log.line(&format!(
            "proven at height {} ({}): {}, rule {}",
            header.header().height,
            header.hash(),
            patch.count(),
            patch.rule()
        ));
        Ok(())
    }
}
