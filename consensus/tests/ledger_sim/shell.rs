//! What the node's shell does with a member's actions: durable things first, then everything that can be
//! seen from outside; and power may go between any two of them.

use super::faults::JOURNAL_FULL;
use super::host::{Host, Out};
use super::surroundings::Surroundings;
use consensus::Message;
use consensus::member::{Action, Alarm, PeerMessage, To};

/// How long after a proposal who forgets loses power.
const FORGETS_AFTER_US: u64 = 10_000;

impl Host {
    /// All actions of a turn share one sync.
    pub(super) fn perform(&mut self, actions: Vec<Action>, out: &mut Vec<Out>, around: &mut Surroundings) {
        let (mut writes, mut shows): (Vec<Action>, Vec<Action>) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::AppendLog(_)
                | Action::WriteGuard(_)
                | Action::KeepSilence(_)
                | Action::KeepBody(_)
                | Action::BeginLog { .. }
                | Action::KeepEvidence(_) => {
                    writes.push(action);
                }
                _ => shows.push(action),
            }
        }
        let all = writes.len() + 1 + shows.len();
        let dies_after = self.crash_after.filter(|(after, _)| *after < all);
        let shown_first = self.flaws.sends_first;
        let mut done = 0;
        let mut survives = |host: &mut Self| {
            done += 1;
            if let Some((_, of)) = dies_after.filter(|(after, _)| *after == done - 1) {
                host.crash();
                host.suffered = Some(of);
            }
            host.is_up()
        };
        if shown_first {
            for action in shows.drain(..) {
                if !survives(self) {
                    return;
                }
                self.show(action, out, around);
            }
        }
        for action in writes {
            if !survives(self) {
                return;
            }
            if self.journal_full && matches!(action, Action::AppendLog(_) | Action::KeepBody(_)) {
                // What was written before waits in the page cache, and gets to the disk in the end.
                self.journal.sync();
                self.stop();
                self.suffered = Some(JOURNAL_FULL);
                return;
            }
            self.write(action);
        }
        if !survives(self) {
            return;
        }
        self.journal.sync();
        for action in shows {
            if !survives(self) {
                return;
            }
            self.show(action, out, around);
        }
    }

    fn write(&mut self, action: Action) {
        match action {
            Action::AppendLog(entry) => self.journal.append(&entry),
            Action::WriteGuard(record) => self.journal.guard(record),
            Action::KeepSilence(is_silent) => self.journal.keep_silence(is_silent),
            Action::KeepBody(executed) => self.journal.keep_body(executed.block.clone()),
            Action::KeepEvidence(evidence) => self.evidence = evidence,
            Action::BeginLog { .. } => {
                self.journal.start_over();
                self.journal.retain_bodies(|_| false);
                self.round = 0;
            }
            _ => {}
        }
    }

    fn show(&mut self, action: Action, out: &mut Vec<Out>, around: &mut Surroundings) {
        let honest = self.is_honest(around);
        match action {
            Action::Send { to, message } => {
                self.note_sent(&message, honest, around);
                for to in self.receivers(&to, around) {
                    self.send(to, message.clone(), out, around);
                }
                let proposes = matches!(message, PeerMessage::Consensus(Message::Proposal(_)));
                if self.forgets && proposes && self.rng.once_in(2) {
                    // Once others have it: what is under way is lost with its connection.
                    out.push(Out::PowerGoes { after_us: FORGETS_AFTER_US });
                }
            }
            Action::SendBlocks { to, from, count } => {
                for to in self.receivers(&To::Peer(to), around) {
                    for height in from..from.saturating_add(u64::from(count)) {
                        let Some((block, certificate)) = self.vault.look().block(height) else { break };
                        self.send(to, PeerMessage::FinalisedBlock { block, certificate }, out, around);
                    }
                }
            }
            Action::Schedule { alarm, after_ms } => {
                self.tokens += 1;
                self.timers.insert(alarm, self.tokens);
                let after_us = after_ms * 100_000 / self.clock.percent;
                out.push(Out::Alarm { alarm, token: self.tokens, after_us });
            }
            Action::Cancel(Alarm::Consensus(_)) | Action::CancelConsensus if self.flaws.untagged_timers => {}
            Action::Cancel(alarm) => drop(self.timers.remove(&alarm)),
            Action::CancelConsensus => self.timers.retain(|alarm, _| !matches!(alarm, Alarm::Consensus(_))),
            Action::Finalised(executed) if honest => around.watch.answered(self.place, &executed.block),
            Action::Dropped { id, rejection } if honest => {
                around.watch.nothing_valid_is_dropped(self.place, id, rejection);
            }
            Action::Disconnect { peer, why } => {
                if let Some(peer) = around.places.get(&peer).copied() {
                    if honest && why.is_fault() && around.honest.contains(&peer) {
                        around.watch.nothing_an_honest_member_sends_gets_it_disconnected(
                            self.place,
                            peer,
                            why.to_string(),
                        );
                    }
                    out.push(Out::Unlink { peer });
                }
            }
            Action::Evidence(evidence) if honest => around.watch.evidence_names_only_who_did_it(&evidence),
            Action::Alarm(what) if honest => {
                around.watch.no_alarm_is_a_bug(self.place, &what);
                if self.has_a_whole_log() {
                    around.watch.the_guard_never_steps_in_where_the_log_is_whole(self.place, &what);
                }
            }
            _ => {}
        }
    }

    fn note_sent(&mut self, message: &PeerMessage, honest: bool, around: &mut Surroundings) {
        let PeerMessage::Consensus(message) = message else { return };
        if honest {
            around.watch.no_honest_validator_signs_two_things(message);
        } else {
            around.watch.voting.contradictions_of_liars_are_counted(message);
        }
        if let Message::Vote(vote) = message
            && Some(vote.voter) == self.person.validator.as_ref().map(ledger::key::SecretKey::public)
        {
            self.round = vote.body.round;
        }
    }

    fn receivers(&self, to: &To, around: &Surroundings) -> Vec<usize> {
        let Some(member) = &self.member else { return Vec::new() };
        let is_validator = |place: &usize| {
            let key = around.places.iter().find(|(_, known)| *known == place).map(|(key, _)| key);
            key.is_some_and(|key| member.is_validator_node(key))
        };
        match to {
            To::Peer(key) => {
                around.places.get(key).filter(|to| self.linked.contains(to)).copied().into_iter().collect()
            }
            To::All => self.linked.iter().copied().collect(),
            To::Validators => self.linked.iter().filter(|place| is_validator(place)).copied().collect(),
        }
    }

    fn send(&mut self, to: usize, message: PeerMessage, out: &mut Vec<Out>, around: &Surroundings) {
        let Some(mut adversary) = self.adversary.take() else {
            out.push(Out::Frame { to, message });
            return;
        };
        // How far it is is what it may lie about to get into the game; the game is something else.
        let is_a_boast = matches!(message, PeerMessage::Hello { .. } | PeerMessage::Status { .. });
        let instead = adversary.sends(&mut self.stage(around), to, message.clone());
        self.deeds += u64::from(!is_a_boast && instead != [message]);
        out.extend(instead.into_iter().map(|message| Out::Frame { to, message }));
        self.adversary = Some(adversary);
    }
}
