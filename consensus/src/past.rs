//! The height decided last: helping those who still vote in it, and seeing who says something else in it now.

use crate::ballots::Ballots;
use crate::early::SENDERS_MAX;
use crate::effect::Refusal;
use crate::height::ACCUSED_MAX;
use crate::message::{Message, VoteKind};
use ledger::certificate::Certificate;
use ledger::evidence::{Evidence, Offence};
use ledger::id::ChainId;
use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;
use std::collections::{BTreeMap, BTreeSet};

/// Answers to one peer for one height.
const ANSWERS_MAX: u32 = 16;
/// Votes remembered, to tell one that is only late from one that is repeated.
pub(crate) const HEARD_MAX: usize = 4_096;

/// Late votes of one validator that are kept: it may say what it likes of any round.
const LATE_OF_ONE_MAX: usize = 64;

/// The last height we decided.
#[derive(Debug, Default)]
pub(crate) struct Past {
    certificate: Option<Certificate>,
    heard: BTreeSet<(u32, VoteKind, PublicKey)>,
    answers: BTreeMap<PublicKey, u32>,
    validators: Option<ValidatorSet>,
    /// Votes that were verified.
    ballots: Ballots,
    /// Votes that came too late to be; each from its voter, so that nobody else's are shadowed.
    late: Ballots,
    accused: BTreeSet<(PublicKey, Offence)>,
}

/// How much is kept of it.
pub(crate) struct Held {
    pub(crate) late: usize,
    pub(crate) heard: usize,
    pub(crate) offences: usize,
    pub(crate) answered: usize,
}

impl Past {
    pub(crate) fn new(
        certificate: Certificate,
        validators: ValidatorSet,
        ballots: Ballots,
        accused: BTreeSet<(PublicKey, Offence)>,
    ) -> Self {
        Self {
            certificate: Some(certificate),
            heard: ballots.cast().take(HEARD_MAX).collect(),
            answers: BTreeMap::new(),
            validators: Some(validators),
            ballots,
            late: Ballots::default(),
            accused,
        }
    }

    pub(crate) fn is_of(&self, height: u64) -> bool {
        self.certificate.as_ref().is_some_and(|certificate| certificate.height == height)
    }

    /// What votes that came too late contradict. They change nothing any more, so a signature is verified only
    /// where there are two to compare.
    ///
    /// # Errors
    /// [`Refusal`] of the first that does not hold: whoever passed it on has not looked, and nothing behind it is.
    pub(crate) fn compare(
        &mut self,
        chain: &ChainId,
        from: Option<PublicKey>,
        message: &Message,
        found: &mut Vec<Evidence>,
    ) -> Result<(), Refusal> {
        let Some(validators) = &self.validators else { return Ok(()) };
        for vote in message.votes(validators) {
            let contradicted = self.ballots.contradicted_by(&vote).into_iter();
            for other in contradicted.chain(self.late.all_contradicted_by(&vote)) {
                let evidence = Evidence::Votes(other, vote);
                let Ok(charge) = evidence.charge() else { continue };
                let offence = (vote.voter, charge.offence);
                if self.accused.len() >= ACCUSED_MAX || self.accused.contains(&offence) {
                    continue;
                }
                vote.verify(chain)?;
                // The other one may never have been looked at. A forged one keeps no true one out.
                match other.verify(chain) {
                    Ok(()) => {
                        self.accused.insert(offence);
                        found.push(evidence);
                    }
                    Err(_) => self.late.forget(&other),
                }
            }
            let has_place = self.late.has_place_of(&vote);
            let has_room =
                has_place || (self.late.len() < HEARD_MAX && self.late.places_of(&vote.voter) < LATE_OF_ONE_MAX);
            if from == Some(vote.voter) && has_room && !self.late.contains(&vote) {
                // A place has few variants. Whatever takes one beside another is a true one.
                if has_place {
                    vote.verify(chain)?;
                }
                self.late.insert(&vote);
            }
        }
        Ok(())
    }

    /// The certificate, if the sender of this message seems to need it. With every decision some votes
    /// come late, and their senders are about to decide by themselves; only who repeats a vote, or asks,
    /// is stuck.
    pub(crate) fn answer(&mut self, from: PublicKey, message: &Message) -> Option<Message> {
        let is_stuck = match message {
            Message::Vote(vote) => {
                let place = (vote.body.round, vote.kind, from);
                vote.voter == from
                    && (self.heard.contains(&place) || (self.heard.len() < HEARD_MAX && !self.heard.insert(place)))
            }
            Message::WantProposal { .. } => true,
            Message::Proposal(_) | Message::Polka(_) | Message::Skip(_) | Message::Decided(_) => false,
        };
        if !is_stuck || (self.answers.len() >= SENDERS_MAX && !self.answers.contains_key(&from)) {
            return None;
        }
        let answers = self.answers.entry(from).or_default();
        if *answers >= ANSWERS_MAX {
            return None;
        }
        *answers += 1;
        self.certificate.clone().map(Message::Decided)
    }

    pub(crate) fn held(&self) -> Held {
        Held {
            late: self.late.len(),
            heard: self.heard.len(),
            offences: self.accused.len(),
            answered: self.answers.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SignedVote;
    use ledger::bounded::Name;
    use ledger::certificate::VoteBody;
    use ledger::id::BlockHash;
    use ledger::key::{SecretKey, Signature};
    use ledger::validators::Validator;

    /// A height that took many rounds of many validators leaves no more than any other.
    #[test]
    fn of_a_height_that_took_long_so_many_voters_are_remembered() {
        let mut ballots = Ballots::default();
        for (round, n) in (0..200).flat_map(|round| (0..40).map(move |n| (round, n))) {
            let body = VoteBody { height: 5, round, block: None };
            let (voter, signature) = (PublicKey([n; 32]), Signature([0; 64]));
            ballots.insert(&SignedVote { kind: VoteKind::Prevote, body, voter, signature });
        }
        assert_eq!(ballots.len(), 8_000);
        let key = SecretKey::from_seed(&[1; 32]).public();
        let validator = Validator { key, organisation: Name::new("one").unwrap() };
        let validators = ValidatorSet::new(vec![validator]).unwrap();
        let certificate = Certificate::assemble(5, 0, BlockHash([7; 32]), &[], &validators);
        let past = Past::new(certificate, validators, ballots, BTreeSet::new());
        assert_eq!(past.held().heard, 4_096);
    }
}
