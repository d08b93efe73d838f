//! The body withholder: its blocks hold what it alone has, and it shows that to some or to none.

use super::{Adversary, Stage};
use consensus::member::PeerMessage;

#[derive(Default)]
pub(crate) struct Withholder;

impl Adversary for Withholder {
    fn sends(&mut self, stage: &mut Stage<'_>, to: usize, message: PeerMessage) -> Vec<PeerMessage> {
        let keeps = match &message {
            // Clients that come to it are heard by nobody else.
            PeerMessage::Transactions(_) => to != 0,
            PeerMessage::Body { .. } => stage.rng.once_in(3),
            PeerMessage::FinalisedBlock { .. } => stage.rng.once_in(2),
            _ => false,
        };
        if keeps { Vec::new() } else { vec![message] }
    }
}
