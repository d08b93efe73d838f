//! Beginning a height, and going on in one after a crash.

use super::Running;
use crate::effect::Alarm;
use crate::engine::Told;
use crate::guard::{Binding, Signed};
use crate::height::Height;
use crate::log::LogEntry;
use crate::message::{Polka, ProposalBody};
use crate::proposer::proposer;
use crate::timer::{Timer, TimerKind};
use ledger::validators::ValidatorSet;

impl Running {
    /// Enters a height and reads its log. The order matters: the log is read to its end before anything
    /// is built, said or written, or else we would say something new where we have spoken before.
    pub(crate) fn start(&mut self, height: u64, validators: ValidatorSet, log: Vec<LogEntry>) {
        self.desk.now = Height::new(height, validators.clone());
        let log: Vec<LogEntry> = log.into_iter().filter(|entry| entry.height() == height).collect();

        self.desk.begin_replay(&log);
        self.learn_what_we_signed(&log);
        self.engine.start(height, validators, &mut self.desk);
        self.engine.begin_replay();
        let signed: Vec<Signed> = self.desk.guard.messages(height).collect();
        let recovered = !log.is_empty() || !signed.is_empty();
        log.into_iter().for_each(|entry| self.replay(entry));
        self.remember_what_binds_us();
        signed.into_iter().for_each(|signed| match signed {
            Signed::Vote(vote) => self.tell(Told::Vote(vote)),
            Signed::Proposal(proposal) => self.tell(Told::Proposal(proposal)),
        });
        self.report_bad_entry();
        self.engine.end_replay();
        self.desk.end_replay();

        if recovered {
            self.speak_again();
        }
        self.settle();
        self.resume_turn();
    }

    /// Everything of ours in the log and in the guard file, wherever it stands: a vote may have been lost
    /// by itself, and be left in a quorum it was part of.
    fn learn_what_we_signed(&mut self, log: &[LogEntry]) {
        let binding = self.desk.guard.binding(self.height()).cloned();
        let polkas = log.iter().filter_map(|entry| if let LogEntry::Polka(polka) = entry { Some(polka) } else { None });
        let in_polkas =
            polkas.chain(binding.iter().map(|binding| &binding.polka)).flat_map(Polka::votes).map(Signed::Vote);
        let by_itself = log.iter().filter_map(|entry| match entry {
            LogEntry::Vote(vote) => Some(Signed::Vote(*vote)),
            LogEntry::Proposal(proposal) => Some(Signed::Proposal(*proposal)),
            _ => None,
        });
        let proposed = binding.iter().map(|binding| Signed::Proposal(binding.proposal));
        let me = self.desk.me;
        let mut ours: Vec<Signed> = by_itself.chain(in_polkas).chain(proposed).filter(|s| s.author() == me).collect();
        // In the order in which they were signed: the guard takes nothing for rounds it has left.
        ours.sort_by_key(|signed| (signed.round(), signed.kind()));
        for signed in ours {
            // What does not verify is reported when it is read.
            match signed {
                Signed::Vote(vote) => self.desk.verify_vote(&vote).ok(),
                Signed::Proposal(proposal) => self.desk.verify_proposal(&proposal).ok(),
            };
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
        self.report_bad_entry();
    }

    /// What is read back from disk has passed its checksum, and is believed no further than a stranger.
    fn report_bad_entry(&mut self) {
        if let Some(why) = self.desk.refusal.take() {
            self.desk.alarm(Alarm::LogEntryRefused { why });
        }
    }

    /// After the loss of the log: takes the core back to the round of our last precommit for a block, and
    /// lets it find again why we cast it. Then it is bound as before, and proposes that block when it is
    /// its turn. Where the log is whole, being told again changes nothing.
    fn remember_what_binds_us(&mut self) {
        let height = self.height();
        let Some(Binding { proposal, polka }) = self.desk.guard.binding(height).cloned() else { return };
        let ProposalBody { round, block, .. } = proposal.body;
        if self.is_decided() {
            return;
        }
        // We have judged it, or we would not have precommitted it.
        self.desk.now.judge(block, true);
        self.tell(Told::Polka(polka));
        self.tell(Told::Proposal(proposal));
        self.tell(Told::Verdict { round, block, valid: true, certified: false });
        if self.engine.awaits_proposal() {
            // It was proposed on the strength of an earlier quorum that we no longer know.
            self.tell(Told::Timer(Timer { height, round, kind: TimerKind::Propose }));
        }
        self.report_bad_entry();
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
}
