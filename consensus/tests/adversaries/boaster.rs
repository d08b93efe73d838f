//! The boaster: far ahead of everybody, as it says, and never able to show a block. Now and then it lets
//! itself be thrown out, and comes back as if nothing had been.

use super::{Adversary, Stage};
use consensus::member::PeerMessage;

#[derive(Default)]
pub(crate) struct Boaster;

impl Adversary for Boaster {
    fn sends(&mut self, stage: &mut Stage<'_>, _: usize, message: PeerMessage) -> Vec<PeerMessage> {
        match message {
            PeerMessage::FinalisedBlock { .. } => Vec::new(),
            PeerMessage::Status { height } => {
                let height = height + *stage.rng.pick(&[1, 1_000, u64::MAX / 4]);
                vec![PeerMessage::Status { height }]
            }
            PeerMessage::Hello { version, chain, validator, .. } => {
                vec![PeerMessage::Hello { version, chain, validator, height: u64::MAX / 2 }]
            }
            other => vec![other],
        }
    }

    fn speaks(&mut self, stage: &mut Stage<'_>) -> Vec<(usize, Vec<u8>)> {
        if stage.rng.once_in(12) {
            return stage.peers.iter().map(|peer| (*peer, vec![0xff; 9])).collect();
        }
        let height = *stage.rng.pick(&[stage.height, stage.height + 7, u64::MAX]);
        stage.one_hears(&PeerMessage::Status { height })
    }
}
