//! A replica in a height: what it hears, what it lacks, what the core is told.

use crate::desk::Desk;
use crate::effect::{Alarm, Effect, Refusal};
use crate::engine::{Engine, Hands as _, Told};
use crate::guard::Signed;
use crate::height::{Height, VerdictNews};
use crate::log::LogEntry;
use crate::message::{Message, ProposalBody, SignedProposal, SignedVote, VoteKind};
use crate::proposer::proposer;
use crate::timer::{Timer, TimerKind};
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;

/// Rounds ahead of ours in which single votes and proposals are looked at. Who is further ahead proves
/// it with a [`crate::Skip`]. The core has the same bound.
const ROUNDS_AHEAD: u32 = 10;

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

    fn round(&self) -> u32 {
        self.engine.round().unwrap_or(0)
    }

    fn tell(&mut self, told: Told) {
        self.engine.tell(told, &mut self.desk);
    }

    /// Enters a height and reads its log. The order matters: the log is read to its end before anything
    /// is built, said or written, or else we would say something new where we have spoken before.
    pub(crate) fn start(&mut self, height: u64, validators: ValidatorSet, log: Vec<LogEntry>) {
        self.desk.now = Height::new(height, validators.clone());
        self.desk.guard.start_height(height);
        let log: Vec<LogEntry> = log.into_iter().filter(|entry| entry.height() == height).collect();

        self.desk.begin_replay(&log);
        self.learn_what_we_signed(&log);
        self.engine.start(height, validators, &mut self.desk);
        self.engine.begin_replay();
        let signed: Vec<Signed> = self.desk.guard.messages(height).collect();
        let recovered = !log.is_empty() || !signed.is_empty();
        log.into_iter().for_each(|entry| self.replay(entry));
        signed.into_iter().for_each(|signed| match signed {
            Signed::Vote(vote) => self.tell(Told::Vote(vote)),
            Signed::Proposal(proposal) => self.tell(Told::Proposal(proposal)),
        });
        self.engine.end_replay();
        self.desk.end_replay();

        if recovered {
            self.speak_again();
        }
        self.settle();
        self.resume_turn();
    }

    fn learn_what_we_signed(&mut self, log: &[LogEntry]) {
        for entry in log {
            match entry {
                LogEntry::Vote(vote) if vote.voter == self.desk.me && vote.verify(&self.desk.chain).is_ok() => {
                    self.desk.learn(Signed::Vote(*vote));
                }
                LogEntry::Proposal(p) if p.proposer == self.desk.me && p.verify(&self.desk.chain).is_ok() => {
                    self.desk.learn(Signed::Proposal(*p));
                }
                _ => {}
            }
        }
    }

    fn replay(&mut self, entry: LogEntry) {
        match entry {
            LogEntry::Vote(vote) => self.tell(Told::Vote(vote)),
            LogEntry::Proposal(proposal) => self.tell(Told::Proposal(proposal)),
            LogEntry::Polka(polka) => self.tell(Told::Polka(polka)),
            LogEntry::Verdict { round, block, valid, certified, .. } => {
                self.desk.now.judge(block, valid);
                self.tell(Told::Verdict { round, block, valid, certified });
            }
            LogEntry::Timer(timer) => self.tell(Told::Timer(timer)),
            LogEntry::Decided(certificate) => self.tell(Told::Decided(certificate)),
        }
        if let Some(why) = self.desk.refusal.take() {
            self.desk.alarm(Alarm::LogEntryRefused { why });
        }
    }

    /// After a restart in our own turn: propose, unless we have.
    fn resume_turn(&mut self) {
        let Some(round) = self.engine.round().filter(|_| !self.is_decided() && self.engine.awaits_proposal()) else {
            return;
        };
        let now = &self.desk.now;
        let ours = proposer(&now.validators, now.number, round) == self.desk.me;
        if ours && self.desk.guard.proposal(now.number, round).is_none() {
            self.desk.take_turn(round);
        }
    }

    /// A message for this height, which is not decided.
    pub(crate) fn hear(&mut self, from: PublicKey, message: Message) {
        let heard = match message {
            Message::Vote(vote) => self.hear_vote(vote),
            Message::Proposal(proposal) => self.hear_proposal(proposal),
            Message::Polka(polka) => Ok(self.tell(Told::Polka(polka))),
            Message::Skip(skip) => Ok(self.tell(Told::Skip(skip))),
            Message::WantProposal { round, .. } => Ok(self.answer(from, round)),
            Message::Decided(certificate) => self.hear_decided(certificate),
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
        if vote.voter == self.desk.me {
            self.desk.learn(Signed::Vote(vote));
        }
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
        if !self.desk.proposal_holds(&proposal) {
            return Ok(());
        }
        if proposal.proposer == self.desk.me {
            self.desk.learn(Signed::Proposal(proposal));
        }
        self.tell(Told::Proposal(proposal));
        Ok(())
    }

    fn hear_decided(&mut self, certificate: Certificate) -> Result<(), Refusal> {
        if self.desk.now.certified.is_none() {
            certificate.signers(&self.desk.now.validators)?;
            self.tell(Told::Decided(certificate));
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
            let polka = pol_round.and_then(|round| self.engine.polka(round, &block));
            let messages = polka.map(Message::Polka).into_iter().chain([Message::Proposal(proposal)]);
            self.desk.effects.extend(messages.map(|message| Effect::SendTo { to: peer, message }));
        }
    }

    /// Who votes for a block has the proposal and the body: what of it we lack, we ask for at once.
    fn ask_for_what_it_names(&mut self, vote: &SignedVote) {
        let Some(block) = vote.body.block.filter(|_| vote.voter != self.desk.me && !self.is_decided()) else { return };
        let round = vote.body.round;
        self.want_proposal(round, block, vote.voter);
        if self.desk.now.verdict(&block).is_some() {
            return;
        }
        if self.desk.now.missing.is_judging(&block) {
            self.fetch(block, vec![vote.voter]);
        } else if self.desk.now.is_more_than_a_third(self.desk.now.ballots.voters(round, block).count()) {
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
        self.desk.now.forget_old_rounds(self.round());
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

    /// Asks again for what is still missing in this round, or in any round a quorum decided in.
    fn ask_again(&mut self) {
        self.desk.now.missing.ask_again();
        let current = self.round();
        for round in self.desk.now.ballots.rounds() {
            let named: Vec<_> = self.desk.now.ballots.named_in(round).collect();
            for (voter, block) in named {
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

    /// Brings verdicts and proposals together, whichever came first, and asks for verdicts still out.
    pub(crate) fn settle(&mut self) {
        let named: Vec<ProposalBody> = self.desk.now.proposals().map(|proposal| proposal.body).collect();
        for ProposalBody { round, block, .. } in named {
            self.settle_block(round, block, false);
        }
        if let Some(Certificate { round, block, .. }) = self.desk.now.certified.clone() {
            self.settle_block(round, block, true);
        }
    }

    fn settle_block(&mut self, round: u32, block: BlockHash, certified: bool) {
        if self.is_decided() {
            return;
        }
        match self.desk.now.verdict(&block) {
            None => self.ask_to_judge(round, block, certified),
            Some(verdict) if !verdict.told => self.tell(Told::Verdict { round, block, valid: verdict.valid, certified }),
            Some(verdict) if certified && !verdict.valid && self.desk.now.alarm_once() => {
                self.desk.alarm(Alarm::CertifiedButInvalid { height: self.height(), block });
            }
            Some(_) => {}
        }
    }

    fn ask_to_judge(&mut self, round: u32, block: BlockHash, certified: bool) {
        let height = self.height();
        if self.desk.now.missing.ask_to_judge(block) {
            let proposer = proposer(&self.desk.now.validators, height, round);
            self.desk.effects.push(Effect::Judge { height, round, block, proposer });
            // Some voted for it before we knew its name.
            let voters: Vec<PublicKey> = self.desk.now.ballots.voters(round, block).collect();
            if certified || !voters.is_empty() {
                self.fetch(block, voters);
            }
        }
    }
}
