//! What has to hold before the core is told that it holds.

use super::Desk;
use crate::effect::Refusal;
use crate::guard::Signed;
use crate::message::{Message, Polka, SignedProposal, SignedVote, Skip, SkipReason, VoteKind};
use ledger::certificate::{Certificate, VoteBody};
use ledger::evidence::Evidence;
use std::collections::BTreeSet;

/// No proof of a later round is believed: with five seconds each, so many rounds take years. The core
/// counts rounds without looking at their end.
const ROUND_MAX: u32 = 1 << 24;

impl Desk {
    /// Verifies so many votes of different validators of this height, and gives those that are to be remembered: once all
    /// of them hold, and are enough. Or else one validator could leave votes of its own in every round there may ever be.
    fn verify_votes(
        &mut self,
        votes: impl Iterator<Item = SignedVote>,
        needed: usize,
    ) -> Result<Vec<SignedVote>, Refusal> {
        let (mut counted, mut unknown) = (BTreeSet::new(), Vec::new());
        for vote in votes {
            if self.now.validators.position(&vote.voter).is_none() {
                return Err(Refusal::NotAValidator(vote.voter));
            }
            if !counted.insert(vote.voter) {
                return Err(Refusal::CountedTwice(vote.voter));
            }
            if !self.now.ballots.contains(&vote) {
                self.look_for_contradictions(&vote);
                unknown.push(vote);
            }
        }
        if counted.len() < needed {
            return Err(Refusal::TooFewVotes { votes: counted.len(), needed });
        }
        unknown.iter().try_for_each(|vote| vote.verify(&self.chain))?;
        Ok(unknown)
    }

    /// Verifies the signature of a vote, unless it has been verified before. If it is ours, we have cast
    /// it, whether we remember or not.
    pub(crate) fn verify_vote(&mut self, vote: &SignedVote) -> Result<(), Refusal> {
        if !self.now.ballots.contains(vote) {
            vote.verify(&self.chain)?;
            self.take_note(vote);
        }
        Ok(())
    }

    /// A signature is verified where there is one.
    fn look_for_contradictions(&mut self, vote: &SignedVote) {
        if let Some(other) = self.now.ballots.contradicted_by(vote) {
            self.accuse_of(Evidence::Votes(other, *vote));
        }
    }

    fn take_note(&mut self, verified: &SignedVote) {
        self.look_for_contradictions(verified);
        self.now.ballots.insert(verified);
        self.draw_conclusions(verified);
    }

    fn take_note_of_quorum(&mut self, verified: &SignedVote) {
        self.look_for_contradictions(verified);
        self.now.ballots.insert_of_quorum(verified);
        self.draw_conclusions(verified);
    }

    fn draw_conclusions(&mut self, verified: &SignedVote) {
        self.now.count(verified);
        if verified.voter == self.me {
            self.learn(Signed::Vote(*verified));
        }
    }

    /// Verifies the signature of a proposal, unless it has been verified before.
    pub(crate) fn verify_proposal(&mut self, proposal: &SignedProposal) -> Result<(), Refusal> {
        if !self.now.has_proposal(proposal) {
            proposal.verify(&self.chain)?;
            let mut known = self.now.proposals_of(proposal.body.round).iter();
            if let Some(other) = known.find(|known| known.conflicts_with(proposal)).copied() {
                self.accuse_of(Evidence::Proposals(other, *proposal));
            }
            self.now.keep_proposal(*proposal);
            if proposal.proposer == self.me {
                self.learn(Signed::Proposal(*proposal));
            }
        }
        Ok(())
    }

    /// Looks at a message for nothing but contradictions.
    ///
    /// # Errors
    /// [`Refusal`] of the first vote that contradicts another and does not hold.
    pub(crate) fn compare(&mut self, message: &Message) -> Result<(), Refusal> {
        for vote in message.votes(&self.now.validators) {
            let Some(other) = self.now.ballots.contradicted_by(&vote) else { continue };
            let evidence = Evidence::Votes(other, vote);
            if evidence.charge().is_ok_and(|charge| self.now.is_new(&charge)) {
                vote.verify(&self.chain)?;
                self.accuse_of(evidence);
            }
        }
        Ok(())
    }

    pub(super) fn check_polka(&mut self, polka: &Polka) -> Result<(), Refusal> {
        within_reach(polka.round)?;
        let votes = self.verify_votes(polka.votes(), self.now.validators.quorum())?;
        votes.iter().for_each(|vote| self.take_note_of_quorum(vote));
        Ok(())
    }

    pub(super) fn check_skip(&mut self, skip: &Skip) -> Result<(), Refusal> {
        within_reach(skip.round)?;
        let stray = skip.votes.iter().find(|vote| vote.kind != VoteKind::Precommit);
        let needed = match (skip.reason, stray) {
            (SkipReason::Over, Some(vote)) => return Err(Refusal::WrongKind(vote.voter)),
            (SkipReason::Over, None) => self.now.validators.quorum(),
            (SkipReason::Ahead, _) => self.now.validators.len() / 3 + 1,
        };
        let votes = self.verify_votes(skip.votes(), needed)?;
        votes.iter().for_each(|vote| self.take_note(vote));
        Ok(())
    }

    pub(super) fn check_certificate(&mut self, certificate: &Certificate) -> Result<(), Refusal> {
        within_reach(certificate.round)?;
        certificate.check(&self.chain, &self.now.validators)?;
        let Certificate { height, round, block, .. } = *certificate;
        let body = VoteBody { height, round, block: Some(block) };
        for (voter, signature) in certificate.signers(&self.now.validators)? {
            self.take_note_of_quorum(&SignedVote { kind: VoteKind::Precommit, body, voter, signature });
        }
        Ok(())
    }
}

fn within_reach(round: u32) -> Result<(), Refusal> {
    if round > ROUND_MAX { Err(Refusal::RoundOutOfReach(round)) } else { Ok(()) }
}
