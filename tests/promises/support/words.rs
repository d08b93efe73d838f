//! What validators said, as the vote logs of killed nodes have it: their own words and what they heard.

use super::ledger::Ledger;
use consensus::{GuardRecord, LogEntry, Signed, SignedKind, log, records};
use ledger::key::PublicKey;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;

/// Where a validator may say one thing.
type Place = (PublicKey, u64, u32, SignedKind);

/// Rounds of the newest height that a guard knows of: three kinds of message each.
const ROUNDS_KNOWN: u32 = GuardRecord::SLOTS / 3;

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

    /// Reads the signing guard of a node that was killed: nothing that its key was heard to say is later than what stands in
    /// there, nor another thing.
    pub(crate) fn the_guard_knows_them(&self, ledger: &Ledger, killed: &str) {
        let file = fs::read(ledger.node(killed).data_dir.join("signing.guard")).unwrap();
        let known: Vec<Signed> = records::read_slots(&file).into_iter().map(|record| record.signed).collect();
        let Some(newest) = known.iter().max_by_key(|signed| (signed.height(), signed.round())) else { return };
        let (author, height) = (newest.author(), newest.height());
        let oldest_round = newest.round().saturating_sub(ROUNDS_KNOWN - 1);
        let knows = |heard: &Signed| {
            known.iter().any(|signed| {
                (signed.author(), signed.height(), signed.round(), signed.kind(), signed.block())
                    == (author, height, heard.round(), heard.kind(), heard.block())
            })
        };
        let first = (author, height, oldest_round, SignedKind::Proposal);
        let of_author = self.said.range(first..).take_while(|((who, ..), _)| *who == author);
        for (_, heard) in of_author {
            assert_eq!(heard.height(), height, "{killed} said something later than its guard knows of: {heard:?}");
            assert!(knows(heard), "{killed} said {heard:?}, and its guard knows {known:?}");
        }
    }

    /// How many messages were compared.
    pub(crate) fn len(&self) -> usize {
        self.said.len()
    }
}
