//! What validators said, as the vote logs of killed nodes have it: their own words and what they heard.

use super::ledger::Ledger;
use consensus::{LogEntry, Signed, SignedKind, log};
use ledger::key::PublicKey;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;

/// Where a validator may say one thing.
type Place = (PublicKey, u64, u32, SignedKind);

/// Everything anybody said, as far as it is known.
#[derive(Default)]
pub(crate) struct Words {
    said: BTreeMap<Place, Signed>,
}

impl Words {
    /// Reads the vote log of a node that was killed: nobody in it may have said something else in the same place, there or
    /// in any log read before.
    pub(crate) fn nobody_contradicts_himself(&mut self, ledger: &Ledger, killed: &str) {
        let path = ledger.node(killed).data_dir.join("vote.log");
        for entry in log::scan(&fs::read(path).unwrap()).entries {
            match entry {
                LogEntry::Vote(vote) => self.hear(killed, Signed::Vote(vote)),
                LogEntry::Proposal(proposal) => self.hear(killed, Signed::Proposal(proposal)),
                LogEntry::Polka(polka) => polka.votes().map(Signed::Vote).for_each(|vote| self.hear(killed, vote)),
                LogEntry::Verdict { .. } | LogEntry::Timer(_) | LogEntry::Decided(_) => {}
            }
        }
    }

    fn hear(&mut self, killed: &str, signed: Signed) {
        match self.said.entry((signed.author(), signed.height(), signed.round(), signed.kind())) {
            Entry::Vacant(place) => drop(place.insert(signed)),
            Entry::Occupied(place) => {
                assert_eq!(
                    place.get().block(),
                    signed.block(),
                    "{killed} heard another word: {:?}, {signed:?}",
                    place.get()
                );
            }
        }
    }

    /// How many messages were compared.
    pub(crate) fn len(&self) -> usize {
        self.said.len()
    }
}
