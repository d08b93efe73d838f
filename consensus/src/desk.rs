//! The core's hands: the key, the guard, the memory of this height, and the list of effects.

mod checks;

use crate::effect::{Alarm, Effect, Refusal};
use crate::engine::Hands;
use crate::guard::{Answer, Binding, Signed, SignedKind, SigningGuard};
use crate::height::Height;
use crate::log::LogEntry;
use crate::message::{Message, Polka, ProposalBody, SignedProposal, SignedVote, Skip, VoteKind};
use crate::timer::{Timeouts, Timer, TimerKind};
use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::evidence::Evidence;
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, SecretKey, Signature};
use std::collections::BTreeSet;

/// Stands for a signature the guard did not allow. It verifies under no key, so the core drops what
/// carries it, and nothing that carries it is sent.
const WITHHELD: Signature = Signature([0; 64]);

/// Reading the log back: what is in it already, and what has to be added when it has been read.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    written: BTreeSet<Vec<u8>>,
    unwritten: Vec<LogEntry>,
}

pub(crate) struct Desk {
    pub(crate) chain: ChainId,
    pub(crate) key: SecretKey,
    pub(crate) me: PublicKey,
    pub(crate) timeouts: Timeouts,
    pub(crate) guard: SigningGuard,
    pub(crate) now: Height,
    pub(crate) effects: Vec<Effect>,
    /// Why the core was told that something does not hold.
    pub(crate) refusal: Option<Refusal>,
    replay: Option<Replay>,
}

impl Desk {
    pub(crate) fn new(chain: ChainId, key: SecretKey, timeouts: Timeouts, guard: SigningGuard, now: Height) -> Self {
        let me = key.public();
        Self { chain, key, me, timeouts, guard, now, effects: Vec::new(), refusal: None, replay: None }
    }

    pub(crate) fn begin_replay(&mut self, log: &[LogEntry]) {
        let written = log.iter().map(ledger::encoding::encode).collect();
        self.replay = Some(Replay { written, unwritten: Vec::new() });
    }

    /// What came up while reading the log and is not in it is written first: before anything is sent, and before a
    /// decision, with which the next log begins.
    pub(crate) fn end_replay(&mut self) {
        let unwritten = self.replay.take().unwrap_or_default().unwritten;
        self.effects.splice(0..0, unwritten.into_iter().map(Effect::Append));
    }

    /// Evidence is told of once for each thing that somebody did, and only when it convicts.
    pub(crate) fn accuse_of(&mut self, evidence: Evidence) {
        let Ok(charge) = evidence.charge() else { return };
        if self.now.is_new(&charge) && evidence.check(&self.chain).is_ok() {
            self.now.accused.insert((charge.keys[0], charge.offence));
            self.effects.push(Effect::Evidence(evidence));
        }
    }

    fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) {
        self.effects.push(Effect::Alarm(alarm));
    }

    /// Takes note of a message of ours that comes from the log or from a peer, so that nothing else is
    /// signed in its place. Its signature has been verified.
    fn learn(&mut self, signed: Signed) {
        let answer = self.guard.ask(signed.height(), signed.round(), signed.kind(), |known| *known == signed);
        if matches!(answer, Answer::Again(_)) {
            return;
        }
        // From a peer: then somebody has it whom our guard, which is written first, did not see it leave to.
        if !self.is_replaying() && self.guard.keeps(signed.height(), signed.round()) {
            self.effects.push(Effect::Forgotten { height: signed.height() });
        }
        if answer == Answer::Sign {
            let record = self.guard.record(signed, None);
            self.effects.push(Effect::Guard(record));
        }
    }

    /// Our turn to propose. What was proposed already (the log is lost, the guard is not) is said again.
    pub(crate) fn take_turn(&mut self, round: u32) {
        match self.guard.proposal(self.now.number, round) {
            Some(proposal) => self.say(Message::Proposal(proposal)),
            // Nothing we build could be signed: let the turn pass when its time is over.
            None if !self.guard.lets_propose(self.now.number, round) => {}
            None => {
                let within_ms = self.timeouts.after_ms(TimerKind::Propose, round);
                self.effects.push(Effect::Build { height: self.now.number, round, within_ms });
            }
        }
    }

    /// Rule 3 of the guard: whether this prevote would break faith with a precommit of ours.
    fn bound_elsewhere(&self, kind: VoteKind, body: &VoteBody) -> Option<(u32, BlockHash)> {
        let block = body.block.filter(|_| kind == VoteKind::Prevote)?;
        let (since, bound_to) = self.guard.bound_to(body.height)?;
        let released = || self.now.has_polka(since..body.round, block);
        (bound_to != block && !released()).then_some((since, bound_to))
    }

    /// Why we precommit this block, to be kept with the precommit.
    fn reason(&self, vote: &SignedVote) -> Option<Binding> {
        let VoteBody { height, round, block } = vote.body;
        let block = block.filter(|_| vote.kind == VoteKind::Precommit)?;
        let proposal = *self.now.proposals_of(round).iter().find(|proposal| proposal.body.block == block)?;
        let prevotes = List::new(self.now.ballots.signers(round, VoteKind::Prevote, block)).ok()?;
        Some(Binding { proposal, polka: Polka { height, round, block, prevotes } })
    }

    fn sign(&mut self, signed: Signed) {
        let binding = match &signed {
            Signed::Vote(vote) => self.reason(vote),
            Signed::Proposal(_) => None,
        };
        let record = self.guard.record(signed, binding);
        self.effects.push(Effect::Guard(record));
        // Known from here on, so that our own signature is not verified when the core comes back with it.
        match signed {
            Signed::Vote(vote) => {
                self.now.ballots.insert(&vote);
                self.now.count(&vote);
            }
            Signed::Proposal(proposal) => self.now.keep_proposal(proposal),
        }
    }

    /// A proposal that will not be heard of again. The core has stopped waiting for one, because it has
    /// proposed, as it thinks; so that it does not wait for ever, the timer runs again.
    fn withhold_proposal(&mut self, body: ProposalBody) -> SignedProposal {
        self.schedule(TimerKind::Propose, body.round);
        SignedProposal { body, proposer: self.me, signature: WITHHELD }
    }

    /// The guard said no. In a replay of the log that is nothing to speak of: the core passes through
    /// rounds whose messages the guard no longer keeps.
    fn refuse_to_sign(&mut self, alarm: Alarm) {
        if !self.is_replaying() {
            self.alarm(alarm);
        }
    }

    /// Keeps the reason, for whoever told the core.
    fn holds(&mut self, checked: Result<(), Refusal>) -> bool {
        let holds = checked.is_ok();
        self.refusal = checked.err().or(self.refusal.take());
        holds
    }

    fn timer(&self, kind: TimerKind, round: u32) -> Timer {
        Timer { height: self.now.number, round, kind }
    }
}

impl Hands for Desk {
    fn sign_vote(&mut self, kind: VoteKind, body: VoteBody) -> SignedVote {
        let same = |known: &Signed| matches!(known, Signed::Vote(vote) if vote.body == body);
        match self.guard.ask(body.height, body.round, kind.into(), same) {
            Answer::Again(Signed::Vote(vote)) => vote,
            Answer::Conflict(signed @ Signed::Vote(vote)) => {
                self.refuse_to_sign(Alarm::ConflictRefused { block: body.block, signed });
                vote
            }
            Answer::Sign => {
                let mut body = body;
                if let (Some(block), Some((since, bound_to))) = (body.block, self.bound_elsewhere(kind, &body)) {
                    let VoteBody { height, round, .. } = body;
                    self.refuse_to_sign(Alarm::BoundElsewhere { height, round, block, bound_to, since });
                    body.block = None;
                }
                let vote = SignedVote::sign(kind, body, &self.key, &self.chain);
                self.sign(Signed::Vote(vote));
                vote
            }
            Answer::Backwards | Answer::Again(_) | Answer::Conflict(_) => {
                let VoteBody { height, round, .. } = body;
                self.refuse_to_sign(Alarm::BackwardsRefused { height, round, kind: kind.into() });
                SignedVote { kind, body, voter: self.me, signature: WITHHELD }
            }
        }
    }

    fn sign_proposal(&mut self, body: ProposalBody) -> SignedProposal {
        let same = |known: &Signed| matches!(known, Signed::Proposal(proposal) if proposal.body == body);
        match self.guard.ask(body.height, body.round, SignedKind::Proposal, same) {
            Answer::Again(Signed::Proposal(proposal)) => proposal,
            Answer::Sign => {
                let proposal = SignedProposal::sign(body, &self.key, &self.chain);
                self.sign(Signed::Proposal(proposal));
                proposal
            }
            Answer::Conflict(signed) => {
                self.refuse_to_sign(Alarm::ConflictRefused { block: Some(body.block), signed });
                if let Signed::Proposal(proposal) = signed {
                    self.say(Message::Proposal(proposal));
                }
                self.withhold_proposal(body)
            }
            Answer::Backwards | Answer::Again(_) => {
                let ProposalBody { height, round, .. } = body;
                self.refuse_to_sign(Alarm::BackwardsRefused { height, round, kind: SignedKind::Proposal });
                self.withhold_proposal(body)
            }
        }
    }

    fn vote_holds(&mut self, vote: &SignedVote) -> bool {
        if vote.signature == WITHHELD {
            return false;
        }
        let checked = self.verify_vote(vote);
        self.holds(checked)
    }

    fn proposal_holds(&mut self, proposal: &SignedProposal) -> bool {
        if proposal.signature == WITHHELD {
            return false;
        }
        let checked = self.verify_proposal(proposal);
        self.holds(checked)
    }

    fn polka_holds(&mut self, polka: &Polka) -> bool {
        let checked = self.check_polka(polka);
        self.holds(checked)
    }

    fn skip_holds(&mut self, skip: &Skip) -> bool {
        let checked = self.check_skip(skip);
        self.holds(checked)
    }

    /// The core does not write such a certificate down, though it leaves rounds because of it: we do.
    fn certificate_holds(&mut self, certificate: &Certificate) -> bool {
        let checked = self.check_certificate(certificate);
        if checked.is_ok() {
            self.append(LogEntry::Decided(certificate.clone()));
            self.now.certified = Some(certificate.clone());
        }
        self.holds(checked)
    }

    fn append(&mut self, entry: LogEntry) {
        if let LogEntry::Verdict { block, valid, .. } = entry {
            self.now.told(block, valid);
        }
        match &mut self.replay {
            None => self.effects.push(Effect::Append(entry)),
            Some(replay) if replay.written.contains(&ledger::encoding::encode(&entry)) => {}
            Some(replay) => replay.unwritten.push(entry),
        }
    }

    fn say(&mut self, message: Message) {
        let withheld = match &message {
            Message::Vote(vote) => vote.signature == WITHHELD,
            Message::Proposal(proposal) => proposal.signature == WITHHELD,
            _ => false,
        };
        if !withheld && !self.is_replaying() {
            self.effects.push(Effect::Send(message));
        }
    }

    fn build(&mut self, round: u32) {
        // While the log is read, nobody knows yet what we proposed in this round. Asked again after it.
        if !self.is_replaying() {
            self.take_turn(round);
        }
    }

    fn schedule(&mut self, kind: TimerKind, round: u32) {
        // A quorum that precommitted nothing leaves no quorum for a block: there is nothing to wait for, and the
        // round of a lost leader costs no more than the wait for its proposal.
        let given_up =
            kind == TimerKind::Precommit && self.now.validators.is_quorum(self.now.ballots.nil_precommits(round));
        let after_ms = if given_up { 0 } else { self.timeouts.after_ms(kind, round) };
        self.effects.push(Effect::Schedule { timer: self.timer(kind, round), after_ms });
    }

    fn cancel(&mut self, kind: TimerKind, round: u32) {
        self.effects.push(Effect::Cancel(self.timer(kind, round)));
    }

    fn cancel_all(&mut self) {
        self.effects.push(Effect::CancelAll);
    }

    fn decide(&mut self, certificate: Certificate) {
        match certificate.check(&self.chain, &self.now.validators) {
            Ok(()) => {
                self.now.decided = Some(certificate.clone());
                self.effects.extend([Effect::CancelAll, Effect::Decide(certificate)]);
            }
            Err(error) => self.alarm(Alarm::Undecidable { height: self.now.number, error }),
        }
    }

    fn broke_off(&mut self, error: String) {
        self.alarm(Alarm::CoreBrokeOff(error));
    }
}

#[cfg(test)]
mod tests;
