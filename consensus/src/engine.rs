//! The consensus core, behind our own words. Nothing outside this folder knows which core it is.
//!
//! The core is Malachite's (Tendermint; Apache-2.0; its `core-consensus` crate only). It asks for
//! things in the middle of a step (sign this, is that signed, write this down): [`Hands`] is what
//! answers.

mod context;
mod translate;

/// The core's names, gathered, so that it is visible how much of it is used.
mod core {
    pub(super) use malachitebft_core_consensus::{
        Effect, Error, Input, LocallyProposedValue, LivenessMsg, Params, PeerId, ProposedValue, Resumable, Resume,
        SignedConsensusMsg, State, ValuePayload, process,
    };
    pub(super) use malachitebft_core_types::*;
}

use crate::evidence::Evidence;
use crate::log::LogEntry;
use crate::message::{Message, Polka, ProposalBody, SignedProposal, SignedVote, Skip, VoteKind};
use crate::timer::{Timer, TimerKind};
use context::{Address, Candidate, Context, Height, Members};
use core::{Resumable as _, Round};
use ledger::certificate::{Certificate, VoteBody};
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;
use translate as t;

/// What the core is told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Vote(SignedVote),
    Proposal(SignedProposal),
    Polka(Polka),
    Skip(Skip),
    /// A quorum's precommits, from somebody who has decided.
    Decided(Certificate),
    /// Our own block for our own round.
    Propose { round: u32, block: BlockHash },
    /// The verdict on a block that a proposal (or, `certified`, a certificate) of `round` names.
    Verdict { round: u32, block: BlockHash, valid: bool, certified: bool },
    Timer(Timer),
}

/// What the core asks for in the middle of a step.
pub(crate) trait Hands {
    /// Signs a vote of ours, or says what was signed before instead.
    fn sign_vote(&mut self, kind: VoteKind, body: VoteBody) -> SignedVote;
    /// Signs a proposal of ours, or says what was signed before instead.
    fn sign_proposal(&mut self, body: ProposalBody) -> SignedProposal;
    fn vote_holds(&mut self, vote: &SignedVote) -> bool;
    fn proposal_holds(&mut self, proposal: &SignedProposal) -> bool;
    fn polka_holds(&mut self, polka: &Polka) -> bool;
    fn skip_holds(&mut self, skip: &Skip) -> bool;
    fn certificate_holds(&mut self, certificate: &Certificate) -> bool;
    fn append(&mut self, entry: LogEntry);
    fn say(&mut self, message: Message);
    fn build(&mut self, round: u32);
    fn schedule(&mut self, kind: TimerKind, round: u32);
    fn cancel(&mut self, kind: TimerKind, round: u32);
    fn cancel_all(&mut self);
    fn decide(&mut self, certificate: Certificate);
    fn accuse(&mut self, evidence: Evidence);
    /// The core broke off. It goes on with the next input.
    fn broke_off(&mut self, error: String);
}

/// One core, at one height at a time.
pub(crate) struct Engine {
    state: core::State<Context>,
    validators: ValidatorSet,
}

impl Engine {
    pub(crate) fn new(me: PublicKey, height: u64, validators: ValidatorSet) -> Self {
        let params = core::Params {
            address: Address(me),
            threshold_params: core::ThresholdParams::default(),
            // With `ProposalOnly` the core calls every proposal valid and never asks for a verdict.
            value_payload: core::ValuePayload::ProposalAndParts,
            enabled: true,
        };
        // Messages for later heights are kept outside (`early.rs`), so the core's own queue stays empty.
        let state = core::State::new(Context, Height(height), Members::new(&validators), params, 1, 1);
        Self { state, validators }
    }

    /// Leaves whatever height it was in and enters round 0 of `height`.
    pub(crate) fn start(&mut self, height: u64, validators: ValidatorSet, hands: &mut impl Hands) {
        let members = Members::new(&validators);
        self.validators = validators;
        // `None`: no target time. With one, the core would read a clock.
        let start = core::Input::StartHeight(Height(height), members, false, None, core::VoteExtensionPolicy::Disabled);
        self.run(start, hands);
    }

    /// What is told from here on comes from the log: limits on what strangers may send do not apply.
    pub(crate) fn begin_replay(&mut self) {
        // The index of our own recorded messages stays empty: the signing guard holds them, and answers
        // every request of the core to sign, in a replay as at any other time.
        self.state.index_wal_entries(&[]);
    }

    pub(crate) fn end_replay(&mut self) {
        self.state.reset_entries_index();
    }

    pub(crate) fn tell(&mut self, told: Told, hands: &mut impl Hands) {
        let height = self.state.height();
        let input = match told {
            Told::Vote(vote) => core::Input::Vote(t::vote_in(&vote)),
            Told::Proposal(proposal) => core::Input::Proposal(t::proposal_in(&proposal)),
            Told::Polka(polka) => core::Input::PolkaCertificate(t::polka_in(&polka)),
            Told::Skip(skip) => core::Input::RoundCertificate(t::skip_in(&skip)),
            Told::Decided(certificate) => {
                let Ok(certificate) = t::certificate_in(&certificate, &self.validators) else { return };
                core::Input::SyncValueResponse(core::ValueResponse::new(nobody(), Default::default(), certificate))
            }
            Told::Propose { round, block } => {
                core::Input::Propose(core::LocallyProposedValue::new(height, t::round_in(round), Candidate(block)))
            }
            Told::Verdict { round, block, valid, certified } => {
                let round = t::round_in(round);
                let value = core::ProposedValue {
                    height,
                    round,
                    valid_round: Round::Nil,
                    proposer: *self.state.get_proposer(height, round),
                    value: Candidate(block),
                    validity: core::Validity::from_bool(valid),
                };
                let origin = if certified { core::ValueOrigin::Sync } else { core::ValueOrigin::Consensus };
                core::Input::ProposedValue(value, origin)
            }
            Told::Timer(timer) => core::Input::TimeoutElapsed(t::timer_in(timer.kind, timer.round)),
        };
        self.run(input, hands);
    }

    /// One input through the core, and every effect of it into our hands.
    fn run(&mut self, input: core::Input<Context>, hands: &mut impl Hands) {
        let validators = &self.validators;
        let result: Result<(), core::Error<Context>> = core::process!(
            input: input,
            state: &mut self.state,
            metrics: &(),
            with: effect => Ok::<_, core::Error<Context>>(perform(effect, validators, hands))
        );
        if let Err(error) = result {
            hands.broke_off(error.to_string());
        }
        self.accuse(hands);
    }

    /// Evidence as soon as the core has it, not only when the height ends.
    fn accuse(&self, hands: &mut impl Hands) {
        let votes = self.state.driver.votes().evidence();
        if !votes.is_empty() {
            votes.iter().flat_map(|(_, pairs)| pairs).for_each(|pair| hands.accuse(t::double_vote_out(pair)));
        }
        let proposals = self.state.driver.proposals().evidence();
        if !proposals.is_empty() {
            proposals.iter().flat_map(|(_, pairs)| pairs).for_each(|pair| hands.accuse(t::double_proposal_out(pair)));
        }
    }

    pub(crate) fn height(&self) -> u64 {
        self.state.height().0
    }

    pub(crate) fn round(&self) -> Option<u32> {
        self.state.round().as_u32()
    }

    pub(crate) fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Still waiting for the proposal of this round.
    pub(crate) fn awaits_proposal(&self) -> bool {
        self.state.driver.step_is_propose()
    }

    pub(crate) fn polka(&self, round: u32, block: &BlockHash) -> Option<Polka> {
        self.state.polka_certificate(t::round_in(round), block).map(t::polka_out)
    }
}

/// The peer in a sync response is only passed through by the core; we have no use for it.
fn nobody() -> core::PeerId {
    // Identity multihash of no bytes.
    core::PeerId::from_bytes(&[0, 0]).expect("a well-formed, empty identity multihash")
}

/// Answers one effect of the core.
fn perform(effect: core::Effect<Context>, validators: &ValidatorSet, hands: &mut impl Hands) -> core::Resume<Context> {
    use core::Effect;
    match effect {
        Effect::CancelAllTimeouts(r) => r.resume_with(hands.cancel_all()),
        Effect::CancelTimeout(timeout, r) => {
            if let Some(kind) = t::timer_out(timeout.kind) {
                hands.cancel(kind, t::round_out(timeout.round));
            }
            r.resume_with(())
        }
        Effect::ScheduleTimeout(timeout, r) => {
            if let Some(kind) = t::timer_out(timeout.kind) {
                hands.schedule(kind, t::round_out(timeout.round));
            }
            r.resume_with(())
        }
        Effect::GetValue(_, round, _, r) => r.resume_with(hands.build(t::round_out(round))),

        Effect::SignVote(vote, r) => {
            let signed = hands.sign_vote(t::kind_out(vote.kind), t::vote_body_out(&vote));
            r.resume_with(t::vote_in(&signed))
        }
        Effect::SignProposal(proposal, r) => {
            let signed = hands.sign_proposal(t::proposal_body_out(&proposal));
            r.resume_with(t::proposal_in(&signed))
        }
        Effect::VerifySignature(signed, _, r) => r.resume_with(signature_holds(&signed, hands)),
        Effect::VerifyPolkaCertificate(polka, _, _, r) => {
            let holds = hands.polka_holds(&t::polka_out(&polka));
            r.resume_with(verdict(holds))
        }
        Effect::VerifyRoundCertificate(skip, _, _, r) => {
            let holds = hands.skip_holds(&t::skip_out(&skip));
            r.resume_with(verdict(holds))
        }
        Effect::VerifyExtendedCommitCertificate(certificate, _, _, _, r) => {
            let certificate = t::certificate_out(&certificate.trim_vote_extensions(), validators);
            r.resume_with(verdict(hands.certificate_holds(&certificate)))
        }
        // Asked while deciding, and the core panics on a no. Every vote in it was verified when it came
        // in; the whole is checked once more, by us, before anything is decided (`Hands::decide`).
        Effect::VerifyCommitCertificate(_, _, _, r) => r.resume_with(Ok(())),

        Effect::WalAppend(height, input, r) => {
            if let Some(entry) = log_entry(height, &input) {
                hands.append(entry);
            }
            r.resume_with(())
        }
        Effect::PublishConsensusMsg(message, r) => {
            hands.say(match message {
                core::SignedConsensusMsg::Vote(vote) => Message::Vote(t::vote_out(&vote)),
                core::SignedConsensusMsg::Proposal(proposal) => Message::Proposal(t::proposal_out(&proposal)),
            });
            r.resume_with(())
        }
        Effect::PublishLivenessMsg(message, r) => {
            hands.say(match message {
                core::LivenessMsg::Vote(vote) => Message::Vote(t::vote_out(&vote)),
                core::LivenessMsg::PolkaCertificate(polka) => Message::Polka(t::polka_out(&polka)),
                core::LivenessMsg::SkipRoundCertificate(skip) => Message::Skip(t::skip_out(&skip)),
            });
            r.resume_with(())
        }
        Effect::RepublishVote(vote, r) => r.resume_with(hands.say(Message::Vote(t::vote_out(&vote)))),
        Effect::RepublishRoundCertificate(skip, r) => r.resume_with(hands.say(Message::Skip(t::skip_out(&skip)))),

        Effect::Decide(certificate, _, r) => {
            hands.decide(t::certificate_out(&certificate, validators));
            r.resume_with(())
        }
        Effect::Finalize(_, _, evidence, r) => {
            evidence.votes.iter().flat_map(|(_, pairs)| pairs).for_each(|p| hands.accuse(t::double_vote_out(p)));
            evidence.proposals.iter().flat_map(|(_, pairs)| pairs).for_each(|p| hands.accuse(t::double_proposal_out(p)));
            r.resume_with(())
        }

        // Bodies are fetched by whoever lacks them, so there is nothing to stream again.
        Effect::RestreamProposal(_, _, _, _, _, r) => r.resume_with(()),
        Effect::StartRound(_, _, _, _, r) => r.resume_with(()),
        // A certificate of a decided height is judged where it comes in; these two only report on it.
        Effect::CertVerifiedSyncValue(_, _, r) => r.resume_with(()),
        Effect::CertRejectedSyncValue(_, _, _, r) => r.resume_with(()),
        // Vote extensions are disabled, so neither is ever asked for.
        Effect::ExtendVote(_, _, _, _, r) => r.resume_with(None),
        Effect::VerifyVoteExtension(_, _, _, _, _, _, r) => {
            r.resume_with(Err(malachitebft_core_consensus::VoteExtensionError::InvalidVoteExtension))
        }
    }
}

fn signature_holds(
    signed: &core::SignedMessage<Context, malachitebft_core_consensus::ConsensusMsg<Context>>,
    hands: &mut impl Hands,
) -> bool {
    use malachitebft_core_consensus::ConsensusMsg;
    match &signed.message {
        ConsensusMsg::Vote(vote) => hands.vote_holds(&t::vote_out(&core::SignedVote::new(*vote, signed.signature))),
        ConsensusMsg::Proposal(proposal) => {
            hands.proposal_holds(&t::proposal_out(&core::SignedProposal::new(*proposal, signed.signature)))
        }
    }
}

/// The core logs why a certificate was refused; we already know, and say it in our own words.
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
