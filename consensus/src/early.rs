//! Messages for the next height that come before we are there.

use crate::message::Message;
use ledger::key::PublicKey;
use ledger::limits::VALIDATORS_MAX;
use std::collections::BTreeMap;

/// What one sender may leave with us. Proofs are large and weigh more than votes.
pub(crate) const WEIGHT_PER_SENDER_MAX: usize = 24;
const PROOF_WEIGHT: usize = 8;
/// The validators of the next height, and as many who only believe they are.
pub(crate) const SENDERS_MAX: usize = 2 * VALIDATORS_MAX;

/// Kept per sender, so that one who sends too much only harms itself.
#[derive(Debug, Default)]
pub(crate) struct Early {
    height: u64,
    kept: BTreeMap<PublicKey, (usize, Vec<Message>)>,
}

impl Early {
    /// Keeps a message for `height`, if its sender has room left.
    pub(crate) fn keep(&mut self, height: u64, from: PublicKey, message: Message) {
        if height != self.height {
            *self = Self { height, kept: BTreeMap::new() };
        }
        let weight = match message {
            Message::Vote(_) | Message::Proposal(_) => 1,
            Message::Polka(_) | Message::Skip(_) | Message::Decided(_) => PROOF_WEIGHT,
            // Whoever asks will ask again.
            Message::WantProposal { .. } => return,
        };
        if self.kept.len() >= SENDERS_MAX && !self.kept.contains_key(&from) {
            return;
        }
        let (used, messages) = self.kept.entry(from).or_default();
        if *used + weight <= WEIGHT_PER_SENDER_MAX && !messages.contains(&message) {
            *used += weight;
            messages.push(message);
        }
    }

    /// How many messages are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.values().map(|(_, messages)| messages.len()).sum()
    }

    /// Takes what was kept for `height`.
    pub(crate) fn take(&mut self, height: u64) -> Vec<(PublicKey, Message)> {
        if self.height > height {
            return Vec::new();
        }
        let kept = std::mem::take(self);
        if kept.height != height {
            return Vec::new();
        }
        kept.kept.into_iter().flat_map(|(from, (_, messages))| messages.into_iter().map(move |m| (from, m))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Polka, SignedVote, VoteKind};
    use ledger::bounded::List;
    use ledger::certificate::VoteBody;
    use ledger::id::BlockHash;
    use ledger::key::Signature;

    fn vote(round: u32) -> Message {
        Message::Vote(SignedVote {
            kind: VoteKind::Prevote,
            body: VoteBody { height: 2, round, block: None },
            voter: PublicKey([1; 32]),
            signature: Signature([0; 64]),
        })
    }

    #[test]
    fn what_came_early_is_there_when_its_height_starts() {
        let mut early = Early::default();
        early.keep(2, PublicKey([1; 32]), vote(0));
        assert_eq!(early.take(2), vec![(PublicKey([1; 32]), vote(0))]);
        assert_eq!(early.take(2), vec![], "and is there once");
    }

    #[test]
    fn a_sender_who_sends_too_much_only_harms_itself() {
        let mut early = Early::default();
        for round in 0..1_000 {
            early.keep(2, PublicKey([1; 32]), vote(round));
        }
        early.keep(2, PublicKey([2; 32]), vote(0));
        let taken = early.take(2);
        assert_eq!(taken.iter().filter(|(from, _)| *from == PublicKey([1; 32])).count(), WEIGHT_PER_SENDER_MAX);
        assert_eq!(taken.iter().filter(|(from, _)| *from == PublicKey([2; 32])).count(), 1);
    }

    /// A proof has a vote of a whole quorum.
    #[test]
    fn few_proofs_of_one_sender_are_kept() {
        let proof =
            |round| Message::Polka(Polka { height: 2, round, block: BlockHash([7; 32]), prevotes: List::default() });
        let mut early = Early::default();
        for round in 0..1_000 {
            early.keep(2, PublicKey([1; 32]), proof(round));
        }
        early.keep(2, PublicKey([1; 32]), vote(0));
        early.keep(2, PublicKey([2; 32]), proof(0));
        assert_eq!(early.len(), 3 + 1, "three, no vote beside them, and one of another");
    }

    #[test]
    fn the_number_of_senders_is_bounded() {
        let mut early = Early::default();
        for n in 0..u16::MAX {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_le_bytes());
            early.keep(2, PublicKey(key), vote(0));
        }
        assert_eq!(early.take(2).len(), SENDERS_MAX);
    }

    #[test]
    fn what_came_for_a_height_that_was_passed_over_is_dropped() {
        let mut early = Early::default();
        early.keep(2, PublicKey([1; 32]), vote(0));
        assert_eq!(early.take(5), vec![]);
        early.keep(6, PublicKey([1; 32]), vote(1));
        assert_eq!(early.take(6).len(), 1);
    }
}
