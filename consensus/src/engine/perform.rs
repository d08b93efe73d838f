//! What the core asks for in the middle of a step, put into our hands.

use super::context::{Context, Height};
use super::core::{self, Effect, Resumable as _, Resume};
use super::{Hands, translate as t};
use crate::log::LogEntry;
use crate::message::Message;
use crate::timer::Timer;
use ledger::validators::ValidatorSet;

/// Answers one effect of the core. Most want no answer, only to be done.
pub(super) fn perform(effect: Effect<Context>, validators: &ValidatorSet, hands: &mut impl Hands) -> Resume<Context> {
    match effect {
        Effect::SignVote(vote, r) => {
            let signed = hands.sign_vote(t::kind_out(vote.kind), t::vote_body_out(&vote));
            return r.resume_with(t::vote_in(&signed));
        }
        Effect::SignProposal(proposal, r) => {
            let signed = hands.sign_proposal(t::proposal_body_out(&proposal));
            return r.resume_with(t::proposal_in(&signed));
        }
        Effect::VerifySignature(signed, _, r) => return r.resume_with(signature_holds(&signed, hands)),
        Effect::VerifyPolkaCertificate(polka, _, _, r) => {
            return r.resume_with(verdict(hands.polka_holds(&t::polka_out(&polka))));
        }
        Effect::VerifyRoundCertificate(skip, _, _, r) => {
            return r.resume_with(verdict(hands.skip_holds(&t::skip_out(&skip))));
        }
        Effect::VerifyExtendedCommitCertificate(certificate, _, _, _, r) => {
            let certificate = t::certificate_out(&certificate.trim_vote_extensions(), validators);
            return r.resume_with(verdict(hands.certificate_holds(&certificate)));
        }
        // Asked while deciding, and the core panics on a no. Every vote in it was verified when it came
        // in; the whole is checked once more, by us, before anything is decided (`Hands::decide`).
        Effect::VerifyCommitCertificate(_, _, _, r) => return r.resume_with(Ok(())),

        Effect::CancelAllTimeouts(_) => hands.cancel_all(),
        Effect::CancelTimeout(timeout, _) => {
            if let Some(kind) = t::timer_out(timeout.kind) {
                hands.cancel(kind, t::round_out(timeout.round));
            }
        }
        Effect::ScheduleTimeout(timeout, _) => match t::timer_out(timeout.kind) {
            Some(kind) => hands.schedule(kind, t::round_out(timeout.round)),
            None => hands.broke_off("it wants to wait after a decision, and read a clock for that".to_owned()),
        },
        Effect::GetValue(_, round, _, _) => hands.build(t::round_out(round)),
        Effect::WalAppend(height, input, _) => {
            if let Some(entry) = log_entry(height, &input) {
                hands.append(entry);
            }
        }

        Effect::PublishConsensusMsg(core::SignedConsensusMsg::Vote(vote), _)
        | Effect::PublishLivenessMsg(core::LivenessMsg::Vote(vote), _)
        | Effect::RepublishVote(vote, _) => hands.say(Message::Vote(t::vote_out(&vote))),
        Effect::PublishConsensusMsg(core::SignedConsensusMsg::Proposal(proposal), _) => {
            hands.say(Message::Proposal(t::proposal_out(&proposal)));
        }
        Effect::PublishLivenessMsg(core::LivenessMsg::PolkaCertificate(polka), _) => {
            hands.say(Message::Polka(t::polka_out(&polka)));
        }
        Effect::PublishLivenessMsg(core::LivenessMsg::SkipRoundCertificate(skip), _)
        | Effect::RepublishRoundCertificate(skip, _) => hands.say(Message::Skip(t::skip_out(&skip))),

        Effect::Decide(certificate, _, _) => hands.decide(t::certificate_out(&certificate, validators)),
        // The evidence in it is no news: whatever the core was told was compared when its signature was verified.
        Effect::Finalize(..) => {}

        // Bodies are fetched by whoever lacks them, so there is nothing to stream again.
        Effect::RestreamProposal(..) | Effect::StartRound(..) => {}
        // A certificate of a decided height is judged where it comes in; these two only report on it.
        Effect::CertVerifiedSyncValue(..) | Effect::CertRejectedSyncValue(..) => {}
        // Vote extensions are disabled, so neither is ever asked for.
        Effect::ExtendVote(_, _, _, _, r) => return r.resume_with(None),
        Effect::VerifyVoteExtension(_, _, _, _, _, _, r) => {
            return r.resume_with(Err(core::VoteExtensionError::InvalidVoteExtension));
        }
    }
    Resume::Continue
}

fn signature_holds(signed: &core::SignedMessage<Context, core::ConsensusMsg<Context>>, hands: &mut impl Hands) -> bool {
    match &signed.message {
        core::ConsensusMsg::Vote(vote) => {
            hands.vote_holds(&t::vote_out(&core::SignedVote::new(*vote, signed.signature)))
        }
        core::ConsensusMsg::Proposal(proposal) => {
            hands.proposal_holds(&t::proposal_out(&core::SignedProposal::new(*proposal, signed.signature)))
        }
    }
}

/// The core logs why a certificate was refused; we already know, and say it in our own words.
#[allow(clippy::result_large_err, reason = "the core's own error type, which it asks for by value")]
fn verdict(holds: bool) -> Result<(), core::CertificateError<Context>> {
    holds.then_some(()).ok_or(core::CertificateError::VerificationError(None))
}

/// What the core wants written down. The inputs left out are never offered by it.
fn log_entry(height: Height, input: &core::Input<Context>) -> Option<LogEntry> {
    Some(match input {
        core::Input::Vote(vote) => LogEntry::Vote(t::vote_out(vote)),
        core::Input::Proposal(proposal) => LogEntry::Proposal(t::proposal_out(proposal)),
        core::Input::PolkaCertificate(polka) => LogEntry::Polka(t::polka_out(polka)),
        core::Input::ProposedValue(value, origin) => LogEntry::Verdict {
            height: value.height.0,
            round: t::round_out(value.round),
            block: value.value.0,
            valid: value.validity.is_valid(),
            certified: origin.is_sync(),
        },
        core::Input::TimeoutElapsed(timeout) => LogEntry::Timer(Timer {
            height: height.0,
            round: t::round_out(timeout.round),
            kind: t::timer_out(timeout.kind)?,
        }),
        core::Input::StartHeight(..)
        | core::Input::RoundCertificate(_)
        | core::Input::Propose(_)
        | core::Input::SyncValueResponse(_) => return None,
    })
}
