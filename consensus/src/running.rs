//! A replica in a height: what it hears, what it lacks, what the core is told.

mod lacking;
mod recovery;

use crate::desk::Desk;
use crate::effect::{Alarm, Effect, Refusal};
use crate::engine::{Engine, Hands as _, Told};
use crate::guard::Signed;
use crate::height::VerdictNews;
use crate::message::{Message, ProposalBody, SignedProposal, SignedVote};
use crate::proposer::proposer;
use crate::timer::{Timer, TimerKind};
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use ledger::key::PublicKey;

/// Rounds ahead of ours in which single votes and proposals are looked at. Who is further ahead proves
/// it with a [`crate::Skip`]. The core has the same bound.
pub(crate) const ROUNDS_AHEAD: u32 = 10;

pub(crate) struct Running {
    pub(crate) engine: Engine,
    pub(crate) desk: Desk,
}

impl Running {
    pub(crate) fn height(&self) -> u64 {
        self.desk.now.number
    }

    pub(crate) fn is_decided(&self) -> bool {
        self.desk.now.decided.is_some()
    }

    pub(crate) fn round(&self) -> u32 {
        self.engine.round().unwrap_or(0)
    }

    fn tell(&mut self, told: Told) {
        self.engine.tell(told, &mut self.desk);
    }

    /// A message for this height, which is not decided.
    pub(crate) fn hear(&mut self, from: PublicKey, message: Message) {
        let heard = match message {
            Message::Vote(vote) => self.hear_vote(vote),
            Message::Proposal(proposal) => self.hear_proposal(proposal),
            Message::Decided(certificate) => self.hear_decided(certificate),
            Message::Polka(polka) => {
                self.tell(Told::Polka(polka));
                Ok(())
            }
            Message::Skip(skip) => {
                self.tell(Told::Skip(skip));
                Ok(())
            }
            Message::WantProposal { round, .. } => {
                self.answer(from, round);
                Ok(())
            }
        };
        if let Some(why) = heard.err().or(self.desk.refusal.take()) {
            self.desk.effects.push(Effect::Refused { from, why });
        }
    }

    fn hear_vote(&mut self, vote: SignedVote) -> Result<(), Refusal> {
        if !self.is_near(vote.body.round) || !self.desk.now.ballots.is_news(&vote) {
            return Ok(());
        }
        if self.desk.now.validators.position(&vote.voter).is_none() {
            return Err(Refusal::NotAValidator(vote.voter));
        }
        self.desk.verify_vote(&vote)?;
        self.tell(Told::Vote(vote));
        self.ask_for_what_it_names(&vote);
        Ok(())
    }

    fn hear_proposal(&mut self, proposal: SignedProposal) -> Result<(), Refusal> {
        let ProposalBody { height, round, pol_round, .. } = proposal.body;
        if !self.is_near(round) || !self.desk.now.is_news(&proposal) {
            return Ok(());
        }
        let expected = proposer(&self.desk.now.validators, height, round);
        if proposal.proposer != expected {
            return Err(Refusal::OutOfTurn { round, proposer: proposal.proposer, expected });
        }
        if let Some(pol_round) = pol_round.filter(|pol_round| *pol_round >= round) {
            return Err(Refusal::PolRoundNotEarlier { round, pol_round });
        }
        // The core asks for this again before it does anything. One lock is ours.
        if !self.desk.proposal_holds(&proposal) {
            return Ok(());
        }
        self.tell(Told::Proposal(proposal));
        Ok(())
    }

    fn hear_decided(&mut self, certificate: Certificate) -> Result<(), Refusal> {
        if self.desk.now.certified.is_none() {
            certificate.signers(&self.desk.now.validators)?;
            self.tell(Told::Decided(certificate));
        } else {
            self.desk.compare(&Message::Decided(certificate))?;
        }
        Ok(())
    }

    /// Neither further ahead nor further back than is looked at.
    fn is_near(&self, round: u32) -> bool {
        let current = self.round();
        round <= current.saturating_add(ROUNDS_AHEAD) && round >= current.saturating_sub(crate::ballots::ROUNDS_KEPT)
    }

    /// Sends what we hold of a round to a peer that lacks it.
    fn answer(&mut self, peer: PublicKey, round: u32) {
        let proposals = self.desk.now.proposals_of(round).to_vec();
        if proposals.is_empty() || !self.desk.now.may_answer(peer) {
            return;
        }
        for proposal in proposals {
            let ProposalBody { pol_round, block, .. } = proposal.body;
            let known = |round| self.engine.polka(round, &block).or_else(|| self.desk.now.polka_of(round, block));
            let polka = pol_round.and_then(known);
            let messages = polka.map(Message::Polka).into_iter().chain([Message::Proposal(proposal)]);
            self.desk.effects.extend(messages.map(|message| Effect::SendTo { to: peer, message }));
        }
    }

    /// Our block for our turn.
    pub(crate) fn propose(&mut self, round: u32, block: BlockHash) {
        self.desk.now.judge(block, true);
        self.tell(Told::Propose { round, block });
    }

    /// A verdict of the node.
    pub(crate) fn judged(&mut self, block: BlockHash, valid: bool) {
        if self.desk.now.judge(block, valid) == VerdictNews::TurnedInvalid {
            self.desk.alarm(Alarm::VerdictChanged { height: self.height(), block });
        }
    }

    /// A timer of this height.
    pub(crate) fn ring(&mut self, timer: Timer) {
        if self.engine.round() != Some(timer.round) {
            return;
        }
        if timer.kind == TimerKind::Rebroadcast {
            self.speak_again();
            self.ask_again();
        } else {
            self.tell(Told::Timer(timer));
        }
    }

    /// Says again what we said in this round, and in later ones: after the loss of the log we may have
    /// fallen behind ourselves.
    fn speak_again(&mut self) {
        if self.is_decided() {
            return;
        }
        let (height, round) = (self.height(), self.round());
        self.tell(Told::Timer(Timer { height, round, kind: TimerKind::Rebroadcast }));
        let signed: Vec<Signed> = self.desk.guard.messages(height).filter(|signed| signed.round() >= round).collect();
        for signed in signed {
            let message = match signed {
                Signed::Vote(vote) => Message::Vote(vote),
                Signed::Proposal(proposal) => Message::Proposal(proposal),
            };
            let again = Effect::Send(message);
            if !self.desk.effects.contains(&again) {
                self.desk.effects.push(again);
            }
        }
    }
}
