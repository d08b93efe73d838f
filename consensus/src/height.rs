//! What a replica knows about the height it is in. All of it is forgotten with the height.

use crate::ballots::{self, Ballots};
use crate::early::SENDERS_MAX;
use crate::message::{Polka, ProposalBody, SignedProposal, SignedVote, VoteKind};
use crate::missing::Missing;
use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::evidence::{Charge, Offence};
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Different proposals of one round that are looked at. Two are evidence; a third is of use only when a
/// quorum prevoted for it. The core has the same bound.
pub(crate) const PROPOSALS_PER_ROUND_MAX: usize = 2;
/// Proposals sent to one peer that lacks them.
const ANSWERS_MAX: u32 = 64;
/// Verdicts on blocks that nothing names yet. The node may judge bodies before their proposals come.
pub(crate) const UNNAMED_VERDICTS_MAX: usize = 64;
/// Offences of one height that are told of.
pub(crate) const ACCUSED_MAX: usize = 4_096;

/// A verdict of the node, and whether the core has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) valid: bool,
    pub(crate) told: bool,
}

#[derive(Debug)]
pub(crate) struct Height {
    pub(crate) number: u64,
    pub(crate) validators: ValidatorSet,
    pub(crate) ballots: Ballots,
    /// The last round in which a quorum prevoted for a block, and the block: known however long ago that was.
    polka: Option<(u32, BlockHash)>,
    /// Quorums of precommits for a block, by round: each decides, whatever round this is.
    pub(crate) precommitted: BTreeMap<u32, Certificate>,
    /// Verified proposals of each round, in the order they came.
    proposals: BTreeMap<u32, Vec<SignedProposal>>,
    verdicts: BTreeMap<BlockHash, Verdict>,
    pub(crate) missing: Missing,
    /// Shown to us by somebody who has decided.
    pub(crate) certified: Option<Certificate>,
    /// Our own decision.
    pub(crate) decided: Option<Certificate>,
    /// What somebody was told of.
    pub(crate) accused: BTreeSet<(PublicKey, Offence)>,
    answers: BTreeMap<PublicKey, u32>,
    alarmed: bool,
}

/// How much is kept of a height.
pub(crate) struct Held {
    pub(crate) votes: usize,
    pub(crate) proposals: usize,
    pub(crate) quorums: usize,
    pub(crate) verdicts: usize,
    pub(crate) offences: usize,
    pub(crate) answered: usize,
    pub(crate) proposals_asked_for: usize,
    pub(crate) judging: usize,
    pub(crate) bodies_asked_for: usize,
}

/// What a new verdict means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerdictNews {
    /// Something to act on.
    New,
    /// Nothing.
    Known,
    /// Good before, bad now. The first word stands: votes may have been cast on it.
    TurnedInvalid,
}

impl Height {
    pub(crate) fn new(number: u64, validators: ValidatorSet) -> Self {
        Self {
            number,
            validators,
            ballots: Ballots::default(),
            polka: None,
            precommitted: BTreeMap::new(),
            proposals: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            missing: Missing::default(),
            certified: None,
            decided: None,
            accused: BTreeSet::new(),
            answers: BTreeMap::new(),
            alarmed: false,
        }
    }

    /// More than a third: at least one of them is honest.
    pub(crate) fn is_more_than_a_third(&self, count: usize) -> bool {
        3 * count > self.validators.len()
    }

    /// Whether a verified vote makes a quorum.
    pub(crate) fn count(&mut self, vote: &SignedVote) {
        self.look_for_polka(vote);
        self.look_for_decision(vote);
    }

    fn look_for_polka(&mut self, vote: &SignedVote) {
        let VoteBody { round, block, .. } = vote.body;
        let Some(block) = block.filter(|_| vote.kind == VoteKind::Prevote) else { return };
        let is_later = self.polka.is_none_or(|(last, _)| last < round);
        if is_later && self.ballots.count(round, VoteKind::Prevote, block) >= self.validators.quorum() {
            self.polka = Some((round, block));
        }
    }

    fn look_for_decision(&mut self, vote: &SignedVote) {
        let VoteBody { height, round, block } = vote.body;
        let is_news = vote.kind == VoteKind::Precommit && !self.precommitted.contains_key(&round);
        let Some(block) = block.filter(|_| is_news) else { return };
        let signed = self.ballots.signers(round, VoteKind::Precommit, block);
        if self.validators.is_quorum(signed.len()) {
            let quorum = Certificate::assemble(height, round, block, &signed, &self.validators);
            self.precommitted.insert(round, quorum);
        }
    }

    /// The quorum that prevoted for a block in a round, as long as its votes are kept.
    pub(crate) fn polka_of(&self, round: u32, block: BlockHash) -> Option<Polka> {
        let prevotes = self.ballots.signers(round, VoteKind::Prevote, block);
        let quorum = Some(prevotes).filter(|prevotes| self.validators.is_quorum(prevotes.len()))?;
        Some(Polka { height: self.number, round, block, prevotes: List::new(quorum).ok()? })
    }

    /// A quorum of an earlier round than this that decides: its proposal is here, and its block is good.
    pub(crate) fn decided_before(&self, current: u32) -> Option<&Certificate> {
        let mut earlier = self.precommitted.range(..current).map(|(_, quorum)| quorum);
        earlier.find(|Certificate { round, block, .. }| {
            self.is_proposed_in(*round, *block) && self.verdict(block).is_some_and(|verdict| verdict.valid)
        })
    }

    /// Whether a quorum prevoted for a block in one of these rounds.
    pub(crate) fn has_polka(&self, rounds: Range<u32>, block: BlockHash) -> bool {
        let is_the_last = self.polka.is_some_and(|(round, last)| rounds.contains(&round) && last == block);
        is_the_last || self.ballots.has_polka(rounds, block, self.validators.quorum())
    }

    pub(crate) fn has_proposal(&self, proposal: &SignedProposal) -> bool {
        self.proposals.get(&proposal.body.round).is_some_and(|known| known.contains(proposal))
    }

    /// Whether a proposal says something its author has not said yet, and may still say.
    pub(crate) fn is_news(&self, proposal: &SignedProposal) -> bool {
        let ProposalBody { round, block, .. } = proposal.body;
        let known = self.proposals_of(round);
        // One author may write a block's name beside as many earlier rounds as there are.
        let is_wanted = || {
            self.ballots.count(round, VoteKind::Prevote, block) >= self.validators.quorum()
                && !self.is_proposed_in(round, block)
        };
        (known.len() < PROPOSALS_PER_ROUND_MAX || is_wanted()) && known.iter().all(|known| known.body != proposal.body)
    }

    pub(crate) fn keep_proposal(&mut self, proposal: SignedProposal) {
        let known = self.proposals.entry(proposal.body.round).or_default();
        if !known.contains(&proposal) {
            known.push(proposal);
        }
    }

    pub(crate) fn proposals(&self) -> impl Iterator<Item = &SignedProposal> {
        self.proposals.values().flatten()
    }

    pub(crate) fn proposals_of(&self, round: u32) -> &[SignedProposal] {
        self.proposals.get(&round).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_proposed_in(&self, round: u32, block: BlockHash) -> bool {
        self.proposals_of(round).iter().any(|proposal| proposal.body.block == block)
    }

    pub(crate) fn verdict(&self, block: &BlockHash) -> Option<Verdict> {
        self.verdicts.get(block).copied()
    }

    /// A word of the node about a block.
    pub(crate) fn judge(&mut self, block: BlockHash, valid: bool) -> VerdictNews {
        match self.verdicts.get(&block) {
            Some(verdict) if verdict.valid == valid => VerdictNews::Known,
            Some(verdict) if verdict.valid => VerdictNews::TurnedInvalid,
            None if self.verdicts.len() >= UNNAMED_VERDICTS_MAX && !self.is_named(&block) => VerdictNews::Known,
            _ => {
                self.verdicts.insert(block, Verdict { valid, told: false });
                VerdictNews::New
            }
        }
    }

    /// The core has taken note of a verdict.
    pub(crate) fn told(&mut self, block: BlockHash, valid: bool) {
        self.verdicts.insert(block, Verdict { valid, told: true });
    }

    /// Whether a peer that lacks a proposal may be sent it.
    pub(crate) fn may_answer(&mut self, peer: PublicKey) -> bool {
        if self.answers.len() >= SENDERS_MAX && !self.answers.contains_key(&peer) {
            return false;
        }
        let answers = self.answers.entry(peer).or_default();
        *answers += 1;
        *answers <= ANSWERS_MAX
    }

    /// Whether this is the first time that an alarm about this height's block is raised.
    pub(crate) fn alarm_once(&mut self) -> bool {
        !std::mem::replace(&mut self.alarmed, true)
    }

    /// Everybody who voted for a block, and so should have its body.
    pub(crate) fn holders(&self, block: BlockHash) -> Vec<PublicKey> {
        let rounds = self.ballots.rounds();
        let mut holders: Vec<_> = rounds.into_iter().flat_map(|round| self.ballots.voters(round, block)).collect();
        holders.extend(self.proposals().filter(|p| p.body.block == block).map(|proposal| proposal.proposer));
        holders.sort_unstable();
        holders.dedup();
        holders
    }

    fn is_named(&self, block: &BlockHash) -> bool {
        self.proposals().any(|proposal| proposal.body.block == *block)
            || self.certified.as_ref().is_some_and(|certificate| certificate.block == *block)
    }

    /// Whether nobody was told of this yet.
    pub(crate) fn is_new(&self, charge: &Charge) -> bool {
        self.accused.len() < ACCUSED_MAX
            && charge.keys.iter().any(|key| !self.accused.contains(&(*key, charge.offence)))
    }

    pub(crate) fn held(&self) -> Held {
        let (proposals_asked_for, judging, bodies_asked_for) = self.missing.held();
        Held {
            votes: self.ballots.variants(),
            proposals: self.proposals().count(),
            quorums: self.precommitted.len(),
            verdicts: self.verdicts.len(),
            offences: self.accused.len(),
            answered: self.answers.len(),
            proposals_asked_for,
            judging,
            bodies_asked_for,
        }
    }

    /// Drops what rounds long past left behind, so that a height that does not end stays small.
    pub(crate) fn forget_old_rounds(&mut self, current: u32) {
        let first_kept = current.saturating_sub(ballots::ROUNDS_KEPT);
        if first_kept > 0 {
            self.ballots.forget_before(first_kept);
            self.proposals = self.proposals.split_off(&first_kept);
            self.precommitted = self.precommitted.split_off(&first_kept);
            self.missing.forget_before(first_kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::bounded::Name;
    use ledger::evidence::OffenceKind;
    use ledger::key::SecretKey;
    use ledger::validators::Validator;

    fn height() -> Height {
        let validator = |n: u8| Validator {
            key: SecretKey::from_seed(&[n; 32]).public(),
            organisation: Name::new(format!("org-{n}")).unwrap(),
        };
        Height::new(1, ValidatorSet::new((0..4).map(validator).collect()).unwrap())
    }

    #[test]
    fn of_one_height_so_many_offences_are_told_of() {
        let mut height = height();
        let key = PublicKey([1; 32]);
        let charge = |round| {
            let offence = Offence { height: 1, round, kind: OffenceKind::Prevote };
            Charge { offence, keys: vec![key] }
        };
        for round in 0..4_096 {
            assert!(height.is_new(&charge(round)));
            height.accused.insert((key, charge(round).offence));
            assert!(!height.is_new(&charge(round)), "once");
        }
        assert!(!height.is_new(&charge(4_096)));
    }

    #[test]
    fn quorums_of_rounds_long_past_are_forgotten() {
        let mut height = height();
        let keys: Vec<_> = height.validators.validators().iter().map(|validator| validator.key).collect();
        for round in 0..300 {
            let body = VoteBody { height: 1, round, block: Some(BlockHash([1; 32])) };
            for voter in &keys[..3] {
                let signature = ledger::key::Signature([1; 64]);
                let vote = SignedVote { kind: VoteKind::Precommit, body, voter: *voter, signature };
                height.ballots.insert(&vote);
                height.count(&vote);
            }
            height.forget_old_rounds(round);
        }
        assert_eq!(height.held().quorums, 257);
        assert!(height.precommitted.keys().eq(&(43..300).collect::<Vec<_>>()));
    }

    #[test]
    fn so_many_peers_are_answered_so_often() {
        let mut height = height();
        let peer = |n: u16| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_le_bytes());
            PublicKey(key)
        };
        let answered = (0..1_000).filter(|n| height.may_answer(peer(*n))).count();
        assert_eq!((answered, height.held().answered), (256, 256));
        assert_eq!((0..1_000).filter(|_| height.may_answer(peer(7))).count(), 63, "one it has had");
    }
}
