//! What has to hold before the core is told that it holds.

use super::Desk;
use crate::effect::Refusal;
use crate::message::{Polka, SignedVote, Skip, SkipReason, VoteKind};
use ledger::certificate::Certificate;
use std::collections::BTreeSet;

/// No proof of a later round is believed: with five seconds each, so many rounds take years. The core
/// counts rounds without looking at their end.
const ROUND_MAX: u32 = 1 << 24;

impl Desk {
    /// Counts verified votes of different validators of this height.
    fn count_votes(&mut self, votes: impl Iterator<Item = SignedVote>) -> Result<usize, Refusal> {
        let mut counted = BTreeSet::new();
        for vote in votes {
            if self.now.validators.position(&vote.voter).is_none() {
                return Err(Refusal::NotAValidator(vote.voter));
            }
            if !counted.insert(vote.voter) {
                return Err(Refusal::CountedTwice(vote.voter));
            }
            self.verify_vote(&vote)?;
        }
        Ok(counted.len())
    }

    /// Verifies the signature of a vote, unless it has been verified before.
    pub(crate) fn verify_vote(&mut self, vote: &SignedVote) -> Result<(), Refusal> {
        if !self.now.ballots.contains(vote) {
            vote.verify(&self.chain)?;
            self.now.ballots.insert(vote);
        }
        Ok(())
    }

    pub(super) fn check_polka(&mut self, polka: &Polka) -> Result<(), Refusal> {
        within_reach(polka.round)?;
        let votes = self.count_votes(polka.votes())?;
        let needed = self.now.validators.quorum();
        if votes < needed { Err(Refusal::TooFewVotes { votes, needed }) } else { Ok(()) }
    }

    pub(super) fn check_skip(&mut self, skip: &Skip) -> Result<(), Refusal> {
        within_reach(skip.round)?;
        let votes = self.count_votes(skip.votes())?;
        let stray = skip.votes.iter().find(|vote| vote.kind != VoteKind::Precommit);
        let (enough, needed) = match (skip.reason, stray) {
            (SkipReason::Over, Some(vote)) => return Err(Refusal::WrongKind(vote.voter)),
            (SkipReason::Over, None) => (self.now.validators.is_quorum(votes), self.now.validators.quorum()),
            (SkipReason::Ahead, _) => (self.now.is_more_than_a_third(votes), self.now.validators.len() / 3 + 1),
        };
        if enough { Ok(()) } else { Err(Refusal::TooFewVotes { votes, needed }) }
    }

    pub(super) fn check_certificate(&self, certificate: &Certificate) -> Result<(), Refusal> {
        within_reach(certificate.round)?;
        Ok(certificate.check(&self.chain, &self.now.validators)?)
    }
}

fn within_reach(round: u32) -> Result<(), Refusal> {
    if round > ROUND_MAX { Err(Refusal::RoundOutOfReach(round)) } else { Ok(()) }
}
