//! What we lack of this height, and asking for it.

use super::Running;
use crate::effect::{Alarm, Effect};
use crate::engine::Told;
use crate::message::{Message, Polka, ProposalBody, SignedVote, VoteKind};
use crate::proposer::proposer;
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use ledger::key::PublicKey;

impl Running {
    /// Who votes for a block has the proposal and the body: what of it we lack, we ask for at once.
    pub(super) fn ask_for_what_it_names(&mut self, vote: &SignedVote) {
        let Some(block) = vote.body.block.filter(|_| vote.voter != self.desk.me && !self.is_decided()) else { return };
        let round = vote.body.round;
        self.want_proposal(round, block, vote.voter);
        if self.desk.now.verdict(&block).is_some() {
            return;
        }
        if self.desk.now.missing.is_judging(&block) {
            self.fetch(block, vec![vote.voter]);
        } else if self.desk.now.is_more_than_a_third(self.desk.now.ballots.voters(round, block).len()) {
            // At least one honest replica found it good: the body can be on its way before the proposal is.
            self.fetch(block, self.desk.now.holders(block));
        }
    }

    fn want_proposal(&mut self, round: u32, block: BlockHash, peer: PublicKey) {
        let now = &mut self.desk.now;
        if !now.is_proposed_in(round, block) && now.certified.is_none() && now.missing.ask_for_proposal(round, peer) {
            let message = Message::WantProposal { height: now.number, round };
            self.desk.effects.push(Effect::SendTo { to: peer, message });
        }
    }

    fn fetch(&mut self, block: BlockHash, holders: Vec<PublicKey>) {
        let me = self.desk.me;
        let holders = holders.into_iter().filter(|holder| *holder != me).collect();
        let from = self.desk.now.missing.ask_for_body(block, holders);
        if !from.is_empty() {
            self.desk.effects.push(Effect::Fetch { height: self.height(), block, from });
        }
    }

    /// Asks again for what is still missing in this round, or in any round a quorum decided in.
    pub(super) fn ask_again(&mut self) {
        self.desk.now.missing.ask_again();
        let current = self.round();
        for round in self.desk.now.ballots.rounds() {
            let named: Vec<_> = self.desk.now.ballots.named_in(round).collect();
            for (voter, block) in self.desk.now.missing.in_turn(named) {
                let precommits = self.desk.now.ballots.count(round, VoteKind::Precommit, block);
                if voter != self.desk.me && (round == current || self.desk.now.validators.is_quorum(precommits)) {
                    self.want_proposal(round, block, voter);
                }
            }
        }
        let judging: Vec<BlockHash> = self.desk.now.missing.judging().collect();
        for block in judging.into_iter().filter(|block| self.desk.now.verdict(block).is_none()).collect::<Vec<_>>() {
            self.fetch(block, self.desk.now.holders(block));
        }
    }

    /// Brings verdicts and proposals together, whichever came first, and asks for verdicts still out. What is
    /// of no use any more goes.
    pub(crate) fn settle(&mut self) {
        self.decide_by_an_earlier_round();
        // First: told of a block that a proposal names, the core does not look for a certificate of another round.
        if let Some(Certificate { round, block, .. }) = self.desk.now.certified.clone() {
            self.settle_block(round, block, true);
        }
        let named: Vec<ProposalBody> = self.desk.now.proposals().map(|proposal| proposal.body).collect();
        for ProposalBody { round, block, .. } in named {
            self.settle_block(round, block, false);
        }
        self.show_the_quorum_that_is_called_on();
        self.desk.now.forget_old_rounds(self.round());
    }

    /// The core forgets the votes of the rounds before when it precommits. A quorum of one of them that has its proposal only
    /// now, or its last vote, decides all the same ("upon … 2f + 1 precommits … while decision = nil", of any round: line 49
    /// of Algorithm 1, <https://arxiv.org/abs/1807.04938>): it is shown to the core as if by another who has decided.
    fn decide_by_an_earlier_round(&mut self) {
        let now = &self.desk.now;
        let quorum = now.decided_before(self.round()).filter(|_| now.certified.is_none() && !self.is_decided());
        if let Some(quorum) = quorum.cloned() {
            self.tell(Told::Decided(quorum));
        }
    }

    /// So it forgets the quorum of prevotes that a later proposal calls on (line 28): whoever says those votes again says
    /// nothing new.
    fn show_the_quorum_that_is_called_on(&mut self) {
        let proposals = self.desk.now.proposals_of(self.round()).iter();
        let called_on = proposals.filter_map(|proposal| proposal.body.pol_round.zip(Some(proposal.body.block)));
        let forgotten = called_on.filter(|(round, block)| self.engine.polka(*round, block).is_none());
        let known: Vec<Polka> = forgotten.filter_map(|(round, block)| self.desk.now.polka_of(round, block)).collect();
        for polka in known {
            // The first may have led to a decision.
            if !self.is_decided() && self.engine.awaits_proposal() {
                self.tell(Told::Polka(polka));
            }
        }
    }

    fn settle_block(&mut self, round: u32, block: BlockHash, certified: bool) {
        if self.is_decided() {
            return;
        }
        let Some(verdict) = self.desk.now.verdict(&block) else {
            return self.ask_to_judge(round, block, certified);
        };
        if !verdict.told {
            self.tell(Told::Verdict { round, block, valid: verdict.valid, certified });
        }
        if certified && !verdict.valid && self.desk.now.alarm_once() {
            self.desk.alarm(Alarm::CertifiedButInvalid { height: self.height(), block });
        }
    }

    fn ask_to_judge(&mut self, round: u32, block: BlockHash, certified: bool) {
        let height = self.height();
        if self.desk.now.missing.ask_to_judge(round, block) {
            let proposer = proposer(&self.desk.now.validators, height, round);
            self.desk.effects.push(Effect::Judge { height, round, block, proposer });
            // Some voted for it before we knew its name.
            let voters: Vec<PublicKey> = self.desk.now.ballots.voters(round, block).into_iter().collect();
            if certified || !voters.is_empty() {
                self.fetch(block, voters);
            }
        }
    }
}
