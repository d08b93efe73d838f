//! From the replica's effects to the member's actions.

use super::{Action, Alarm, Chain, Fatal, Member, Parting, PeerMessage, To};
use crate::{Effect, Input, Message, SignedVote, VoteKind};
use ledger::key::PublicKey;

impl<C: Chain> Member<C> {
    /// Gives the replica an input. Effects may lead to further inputs; those wait until the effects of
    /// this one are carried out, so that the end of one height never undoes the beginning of the next, and one
    /// decision after another needs no more stack than the first.
    pub(super) fn replica_step(&mut self, input: Input) -> Result<(), Fatal> {
        if self.has_forgotten() && !matches!(input, Input::Compare { .. }) {
            return Ok(());
        }
        self.inputs.push_back(input);
        if self.stepping {
            return Ok(());
        }
        self.stepping = true;
        while let Some(input) = self.inputs.pop_front() {
            let Some(replica) = self.replica.as_mut() else { break };
            for effect in replica.step(input) {
                self.carry_out(effect)?;
            }
            // Whoever is heard said the first of them. What was kept for the height that it led to may be of others.
            self.hearing = None;
        }
        self.stepping = false;
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), Fatal> {
        // Nothing of a replica that has forgotten leaves, and nothing is written of it: not even what it was told, or
        // else it would pass for known after a restart. Block sync decides for it.
        let is_of_others = matches!(effect, Effect::Evidence(_) | Effect::Refused { .. } | Effect::Alarm(_));
        if self.has_forgotten() && !is_of_others {
            return Ok(());
        }
        match effect {
            Effect::Append(entry) => self.actions.push(Action::AppendLog(entry)),
            Effect::Guard(record) => {
                if let Some(voice) = &mut self.voice {
                    voice.knows(&record);
                }
                self.unwritten = true;
                self.actions.push(Action::WriteGuard(record));
            }
            Effect::Forgotten { height } => self.is_told_of_own_words(height),
            Effect::Send(message) => {
                if let Message::Vote(SignedVote { kind: VoteKind::Precommit, body, .. }) = &message
                    && let Some(block) = body.block
                {
                    self.executed.bind(block);
                }
                let message = PeerMessage::Consensus(message);
                self.actions.push(Action::Send { to: To::Validators, message });
            }
            Effect::SendTo { to, message } => {
                if let Some(node) = self.peers.node_of(&to) {
                    let message = PeerMessage::Consensus(message);
                    self.actions.push(Action::Send { to: To::Peer(node), message });
                }
            }
            Effect::Build { height, round, .. } => self.build(height, round)?,
            Effect::Judge { height, block, proposer, .. } => self.judge(height, block, &[proposer])?,
            Effect::Fetch { height, block, from } => self.judge(height, block, &from)?,
            Effect::Schedule { timer, after_ms } => {
                self.actions.push(Action::Schedule { alarm: Alarm::Consensus(timer), after_ms });
            }
            Effect::Cancel(timer) => self.actions.push(Action::Cancel(Alarm::Consensus(timer))),
            Effect::CancelAll => self.actions.push(Action::CancelConsensus),
            Effect::Decide(certificate) if self.unwritten => self.undone = Some(certificate),
            Effect::Decide(certificate) => self.decided(&certificate)?,
            Effect::Evidence(evidence) => self.caught(evidence)?,
            Effect::Refused { from, why } => {
                if let Some(peer) = self.to_blame(&from) {
                    self.actions.push(Action::Disconnect { peer, why: Parting::Fault(why.to_string()) });
                }
            }
            Effect::Alarm(alarm) => self.actions.push(Action::Alarm(alarm.to_string())),
        }
        Ok(())
    }

    /// The node that sent what was refused, if that is the one being heard. What was kept for later and
    /// is refused now may have come from any node of the organisation that said it speaks for this
    /// validator; then nobody is to blame.
    fn to_blame(&self, validator: &PublicKey) -> Option<PublicKey> {
        self.hearing.filter(|node| self.peers.validator_of(node) == Some(*validator))
    }
}
