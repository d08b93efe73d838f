//! The dripper: further than everybody, as it says, and it does have the blocks. It gives one of them just before
//! who asked would lose patience.

use super::{Adversary, Stage};
use consensus::member::PeerMessage;
use ledger::encoding::encode;
use std::collections::{BTreeMap, VecDeque};

/// Just shorter than the patience of who asked.
const EVERY_MS: u64 = 2_700;

#[derive(Default)]
pub(crate) struct Dripper {
    kept: BTreeMap<usize, (u64, VecDeque<PeerMessage>)>,
}

impl Adversary for Dripper {
    fn sends(&mut self, _: &mut Stage<'_>, to: usize, message: PeerMessage) -> Vec<PeerMessage> {
        match message {
            PeerMessage::FinalisedBlock { .. } => {
                self.kept.entry(to).or_default().1.push_back(message);
                Vec::new()
            }
            PeerMessage::Status { .. } => vec![PeerMessage::Status { height: u64::MAX / 4 }],
            PeerMessage::Hello { version, chain, validator, .. } => {
                vec![PeerMessage::Hello { version, chain, validator, height: u64::MAX / 4 }]
            }
            other => vec![other],
        }
    }

    fn speaks(&mut self, stage: &mut Stage<'_>) -> Vec<(usize, Vec<u8>)> {
        let mut said = Vec::new();
        for (to, (next_ms, kept)) in &mut self.kept {
            if *next_ms <= stage.wall_ms
                && let Some(block) = kept.pop_front()
            {
                *next_ms = stage.wall_ms + EVERY_MS;
                said.push((*to, encode(&block)));
            }
        }
        said
    }
}
