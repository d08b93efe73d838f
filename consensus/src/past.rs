//! Helping those who still vote in a height we have decided.

use crate::message::{Message, VoteKind};
use ledger::certificate::Certificate;
use ledger::key::PublicKey;
use std::collections::{BTreeMap, BTreeSet};

/// Answers to one peer for one height.
const ANSWERS_MAX: u32 = 16;
/// Votes remembered, to tell one that is only late from one that is repeated.
const HEARD_MAX: usize = 4_096;

/// The last height we decided.
#[derive(Debug, Default)]
pub(crate) struct Past {
    certificate: Option<Certificate>,
    heard: BTreeSet<(u32, VoteKind, PublicKey)>,
    answers: BTreeMap<PublicKey, u32>,
}

impl Past {
    pub(crate) fn new(certificate: Certificate, heard: impl Iterator<Item = (u32, VoteKind, PublicKey)>) -> Self {
        Self { certificate: Some(certificate), heard: heard.take(HEARD_MAX).collect(), answers: BTreeMap::new() }
    }

    pub(crate) fn is_of(&self, height: u64) -> bool {
        self.certificate.as_ref().is_some_and(|certificate| certificate.height == height)
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
        let answers = self.answers.entry(from).or_default();
        if !is_stuck || *answers >= ANSWERS_MAX {
            return None;
        }
        *answers += 1;
        self.certificate.clone().map(Message::Decided)
    }
}
