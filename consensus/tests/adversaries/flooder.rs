//! The body flooder: good blocks that nobody asked for and no proposal names, more than fit.

use super::{Adversary, Stage};
use consensus::member::PeerMessage;
use ledger::bounded::List;
use ledger::id::TransactionId;

#[derive(Default)]
pub(crate) struct Flooder {
    height: u64,
}

/// More than a member keeps.
const BODIES: u64 = 40;

impl Adversary for Flooder {
    fn speaks(&mut self, stage: &mut Stage<'_>) -> Vec<(usize, Vec<u8>)> {
        if self.height == stage.height {
            return Vec::new();
        }
        self.height = stage.height;
        let mut said = Vec::new();
        for n in 0..BODIES {
            let mut header = stage.empty_block(stage.wall_ms + n);
            let mut transactions = List::default();
            if n % 2 == 1 {
                // Never complete: there is no such transaction.
                header.tx_count = 1;
                transactions = List::new(vec![TransactionId([7; 32])]).unwrap();
            }
            said.extend(stage.all_hear(&PeerMessage::Body { header, transactions }));
        }
        said
    }
}
