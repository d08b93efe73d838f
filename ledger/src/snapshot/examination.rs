//! A snapshot, examined part by part.

use super::stage::Stage;
use super::tally::Tally;
use super::{KeptTransaction, SNAPSHOT_VERSION, SnapshotError, SnapshotPart, StateRow, has_expired, is_kept};
use crate::block::{Block, Header, PROTOCOL_VERSION};
use crate::certificate::Certificate;
use crate::encoding::{decode, encode};
use crate::genesis::GenesisBlock;
use crate::history::{self, HistoryStorage};
use crate::id::{ChainId, Digest};
use crate::merkle;
use crate::proof::EpochLink;
use crate::state::root::NotAscending;
use crate::state::storage::StateStorage;
use crate::state::{Record, StateKey};
use crate::validators::ValidatorSet;

/// Examines a snapshot part by part. What passes may be written down; what is written counts when
/// [`Examination::finish`] has passed too.
#[derive(Clone, Debug)]
pub struct Examination {
    chain: ChainId,
    genesis: Header,
    stage: Stage,
    /// The sets of validators and the heights above which they are in force.
    eras: Vec<(u64, ValidatorSet)>,
    /// Of the snapshot, its certificate and the header before its first whole block.
    begun: Option<(Header, Certificate, Header)>,
    leaves: u64,
    kept: u64,
    parent: Option<Header>,
    last_key: Option<StateKey>,
    tally: Tally,
}

impl Examination {
    /// Begins with the trust root.
    #[must_use]
    pub fn new(genesis: &GenesisBlock) -> Self {
        Self {
            chain: genesis.chain_id,
            genesis: genesis.header.clone(),
            stage: Stage::Begin,
            eras: vec![(0, genesis.genesis.validators.clone())],
            begun: None,
            leaves: 0,
            kept: 0,
            parent: None,
            last_key: None,
            tally: Tally::default(),
        }
    }

    /// The header the snapshot is of, once it was shown.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.begun.as_ref().map(|(header, ..)| header)
    }

    /// Height of the first whole block.
    #[must_use]
    pub fn first_whole(&self) -> u64 {
        self.begun.as_ref().map_or(1, |(_, _, before)| before.height + 1)
    }

    /// Leaf hashes taken so far.
    #[must_use]
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Whether the last part was [`SnapshotPart::End`].
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::End
    }

    /// Examines the next part. `storage` has what was taken before.
    ///
    /// # Errors
    /// [`SnapshotError`] names what does not hold.
    pub fn take<S: HistoryStorage + StateStorage>(
        &mut self,
        storage: &S,
        part: &SnapshotPart,
    ) -> Result<(), SnapshotError> {
        let stage = part.stage();
        let repeats = matches!(stage, Stage::Epochs | Stage::Leaves | Stage::Kept | Stage::Whole);
        let repeats = repeats || matches!(stage, Stage::Records | Stage::Outcomes);
        let begins = self.stage == Stage::Begin && self.begun.is_none();
        if begins != (stage == Stage::Begin) || stage < self.stage || (stage == self.stage && !repeats && !begins) {
            return Err(SnapshotError::OutOfOrder { actual: stage.name(), expected: self.stage.name() });
        }
        self.pass(storage, stage)?;
        match part {
            SnapshotPart::Begin { version, header, certificate, before } => {
                self.begin(*version, header, certificate, before)
            }
            SnapshotPart::Epoch(link) => self.epoch(link),
            SnapshotPart::Leaves(hashes) => {
                self.leaves += hashes.len() as u64;
                let most = self.header().map_or(0, |header| header.history_size);
                if self.leaves > most { Err(SnapshotError::History) } else { Ok(()) }
            }
            SnapshotPart::Kept { header, certificate, transactions } => {
                self.older(storage, header, certificate, transactions)
            }
            SnapshotPart::Whole { block, certificate } => self.whole(storage, block, certificate),
            SnapshotPart::Records(rows) => self.records(rows),
            SnapshotPart::Outcomes(rows) => {
                rows.iter().try_for_each(|(patch, counts)| self.tally.outcomes(storage, *patch, counts))
            }
            SnapshotPart::End => Ok(()),
        }
    }

    /// Takes the root the records make.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is not over, the records are not those of its header, or what it shows and
    /// tells is not as much as there is.
    pub fn finish(&self, state_root: Digest) -> Result<(), SnapshotError> {
        let (Some(header), true) = (self.header(), self.is_over()) else {
            return Err(SnapshotError::OutOfOrder { actual: "nothing", expected: Stage::End.name() });
        };
        if state_root != header.state_root {
            return Err(SnapshotError::State { actual: state_root, expected: header.state_root });
        }
        self.tally.finish(header.history_size_after())
    }

    /// What must hold when one kind of part is over.
    fn pass(&mut self, storage: &impl HistoryStorage, stage: Stage) -> Result<(), SnapshotError> {
        let over = |last: Stage| self.stage <= last && stage > last;
        if let Some((header, certificate, before)) = &self.begun {
            if over(Stage::Epochs) {
                self.check(header, certificate)?;
            }
            if over(Stage::Leaves) {
                let all = self.leaves == header.history_size;
                if !all || history::root(storage, header.history_size)? != header.history_root {
                    return Err(SnapshotError::History);
                }
            }
            if over(Stage::Whole) && self.parent.as_ref().unwrap_or(before) != header {
                return Err(SnapshotError::Block { height: header.height, detail: "its block is not there" });
            }
        }
        self.stage = stage;
        Ok(())
    }

    fn begin(
        &mut self,
        version: u16,
        header: &Header,
        certificate: &Certificate,
        before: &Header,
    ) -> Result<(), SnapshotError> {
        check_form(version, header, self.chain)?;
        let height = before.height;
        if height >= header.height {
            return Err(SnapshotError::Block { height, detail: "whole blocks begin behind the snapshot's header" });
        }
        if height == 0 && *before != self.genesis {
            return Err(SnapshotError::Block { height, detail: "it is not the genesis of the trust root" });
        }
        if height > 0 && !has_expired(before.time_ms, header.time_ms) {
            return Err(SnapshotError::TooShort { before_ms: before.time_ms });
        }
        self.begun = Some((header.clone(), certificate.clone(), before.clone()));
        Ok(())
    }

    fn epoch(&mut self, link: &EpochLink) -> Result<(), SnapshotError> {
        let height = link.header.height;
        if self.header().is_none_or(|header| height >= header.height) {
            let detail = "it changes the validators, and it is not below the snapshot's header";
            return Err(SnapshotError::Block { height, detail });
        }
        let (before, set) = &self.eras[self.eras.len() - 1];
        link.check(&self.chain, set, *before).map_err(|problem| SnapshotError::Epoch { height, problem })?;
        self.eras.push((height, link.validators.clone()));
        Ok(())
    }

    fn older(
        &mut self,
        storage: &impl HistoryStorage,
        header: &Header,
        certificate: &Certificate,
        transactions: &[KeptTransaction],
    ) -> Result<(), SnapshotError> {
        let height = header.height;
        if height <= self.kept || height >= self.first_whole() {
            return Err(SnapshotError::Block { height, detail: "it is not between the one before and the whole ones" });
        }
        self.check(header, certificate)?;
        self.kept = height;
        if transactions.is_empty() {
            return Err(SnapshotError::Block { height, detail: "nothing of it is kept" });
        }
        let mut due = header.history_size;
        for (index, transaction) in transactions {
            if *index < due || *index >= header.history_size_after() {
                return Err(SnapshotError::Transaction { index: *index });
            }
            if !is_kept(transaction) {
                return Err(SnapshotError::Receipt { index: *index });
            }
            check_leaf(storage, *index, &encode(transaction))?;
            self.tally.transaction(transaction);
            due = index + 1;
        }
        Ok(())
    }

    fn whole(
        &mut self,
        storage: &impl HistoryStorage,
        block: &Block,
        certificate: &Certificate,
    ) -> Result<(), SnapshotError> {
        let Some((last, _, before)) = &self.begun else { return Ok(()) };
        let (header, parent) = (&block.header, self.parent.as_ref().unwrap_or(before));
        let height = header.height;
        let wrong = |detail| Err(SnapshotError::Block { height, detail });
        if height != parent.height + 1 || header.parent != parent.hash() {
            return wrong("it does not follow the one before");
        }
        if height > last.height {
            return wrong("it is behind the snapshot's header");
        }
        self.check(header, certificate)?;
        let leaves: Vec<Vec<u8>> = block.transactions.iter().map(encode).collect();
        let count = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
        if header.tx_count != count || header.tx_root != merkle::root(leaves.iter().map(Vec::as_slice)) {
            return wrong("these are not its transactions");
        }
        // The newest block's own transactions are in the history of the next one.
        if height < last.height {
            for (index, leaf) in (header.history_size..).zip(&leaves) {
                check_leaf(storage, index, leaf)?;
            }
        }
        block.transactions.iter().for_each(|transaction| self.tally.transaction(transaction));
        self.parent = Some(header.clone());
        Ok(())
    }

    fn records(&mut self, rows: &[StateRow]) -> Result<(), SnapshotError> {
        for (key, record) in rows {
            if self.last_key.is_some_and(|last| last >= *key) {
                return Err(NotAscending(*key).into());
            }
            self.last_key = Some(*key);
            let record: Record = decode(record).map_err(|_| SnapshotError::NoRecord(*key))?;
            self.tally.record(&record);
        }
        Ok(())
    }

    fn check(&self, header: &Header, certificate: &Certificate) -> Result<(), SnapshotError> {
        let height = header.height;
        if header.version != PROTOCOL_VERSION {
            return Err(SnapshotError::Block { height, detail: "its header is of an unknown version" });
        }
        let era = self.eras.iter().rev().find(|(above, _)| *above < height).unwrap_or(&self.eras[0]);
        let verified = certificate.verify(header, &self.chain, &era.1);
        verified.map(|_| ()).map_err(|problem| SnapshotError::Certificate { height, problem })
    }
}

/// The version and the chain of what a snapshot is of.
pub(super) fn check_form(version: u16, header: &Header, chain: ChainId) -> Result<(), SnapshotError> {
    if version != SNAPSHOT_VERSION {
        return Err(SnapshotError::Version(version));
    }
    match header.chain_id == chain {
        true => Ok(()),
        false => Err(SnapshotError::WrongChain { actual: header.chain_id, expected: chain }),
    }
}

fn check_leaf(storage: &impl HistoryStorage, index: u64, leaf: &[u8]) -> Result<(), SnapshotError> {
    match storage.history_hash(history::leaf_position(index))? {
        Some(hash) if hash == history::leaf_hash(leaf) => Ok(()),
        _ => Err(SnapshotError::Transaction { index }),
    }
}
