//! The consensus core, behind our own words. Nothing outside this folder knows which core it is.
//!
//! The core is Malachite's (Tendermint; Apache-2.0; its `core-consensus` crate only). It asks for
//! things in the middle of a step (sign this, is that signed, write this down): [`Hands`] is what
//! answers.

mod context;
mod perform;
mod translate;

/// The core's names, gathered, so that it is visible how much of it is used.
mod core {
    pub(super) use malachitebft_core_consensus::{
        ConsensusMsg, Effect, Error, Input, LivenessMsg, LocallyProposedValue, Params, PeerId, ProposedValue,
        Resumable, Resume, SignedConsensusMsg, State, ValuePayload, VoteExtensionError, process,
    };
    pub(super) use malachitebft_core_types::*;
}

use crate::log::LogEntry;
use crate::message::{Message, Polka, ProposalBody, SignedProposal, SignedVote, Skip, VoteKind};
use crate::timer::{Timer, TimerKind};
use context::{Address, Candidate, Context, Height, Members};
use core::Round;
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
    Propose {
        round: u32,
        block: BlockHash,
    },
    /// The verdict on a block that a proposal (or, `certified`, a certificate) of `round` names.
    Verdict {
        round: u32,
        block: BlockHash,
        valid: bool,
        certified: bool,
    },
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

    /// The core's limits on strangers hold again. `running.rs` has the same ones, and does not depend on these.
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
            with: effect => Ok::<_, core::Error<Context>>(perform::perform(effect, validators, hands))
        );
        if let Err(error) = result {
            hands.broke_off(error.to_string());
        }
    }

    pub(crate) fn round(&self) -> Option<u32> {
        self.state.round().as_u32()
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
