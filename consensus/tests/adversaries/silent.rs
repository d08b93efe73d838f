//! The silent one: connected, up to date, and without a word; or without a word to half of the others.

use super::{Adversary, Stage};
use consensus::member::PeerMessage;

pub(crate) struct Silent {
    pub(crate) to_all: bool,
}

impl Adversary for Silent {
    fn sends(&mut self, _: &mut Stage<'_>, to: usize, message: PeerMessage) -> Vec<PeerMessage> {
        let is_consensus = matches!(message, PeerMessage::Consensus(_) | PeerMessage::Body { .. });
        if is_consensus && (self.to_all || to.is_multiple_of(2)) { Vec::new() } else { vec![message] }
    }
}
