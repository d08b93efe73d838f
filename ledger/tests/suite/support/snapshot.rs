//! Snapshots of the test ledger, honest and otherwise, and somebody who begins with one.

use super::world::{World, validator_set};
use ledger::block::Block;
use ledger::bounded::{Blob, List};
use ledger::certificate::Certificate;
use ledger::encoding::encode;
use ledger::execution;
use ledger::history;
use ledger::id::{Digest, PatchId};
use ledger::snapshot::{Examination, OUTCOMES, SNAPSHOT_VERSION, SnapshotError, SnapshotPart, Survey, is_kept};
use ledger::state::StateKey;
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::{self, TreeHead};
use ledger::transaction::{Payload, SignedTransaction};
use std::collections::BTreeMap;

impl World {
    /// The honest snapshot of the newest block; those before `first_whole` are not there whole. The validators of
    /// the ledger never changed.
    pub fn snapshot(&self, first_whole: u64) -> Vec<SnapshotPart> {
        let header = self.tip.header.clone();
        let before = match first_whole {
            1 => self.genesis.header.clone(),
            _ => self.block_of(first_whole - 1).header.clone(),
        };
        let leaves = self.log.iter().map(|signed| history::leaf_hash(&encode(signed)));
        let leaves = leaves.take(usize::try_from(header.history_size).unwrap());
        let (old, whole) = self.blocks.split_at(usize::try_from(first_whole - 1).unwrap());
        let mut parts = vec![
            SnapshotPart::Begin {
                version: SNAPSHOT_VERSION,
                certificate: self.certificate(&self.blocks[self.blocks.len() - 1]),
                header,
                before,
            },
            SnapshotPart::Leaves(List::new(leaves.collect()).unwrap()),
        ];
        parts.extend(old.iter().filter_map(|block| self.kept(block)));
        let whole = whole
            .iter()
            .map(|block| SnapshotPart::Whole { block: block.clone(), certificate: self.certificate(block) });
        parts.extend(whole);
        let rows = self.records().into_iter().map(|(key, record)| (key, Blob::new(record).unwrap()));
        parts.push(SnapshotPart::Records(List::new(rows.collect()).unwrap()));
        parts.push(SnapshotPart::Outcomes(List::new(self.outcomes()).unwrap()));
        parts.push(SnapshotPart::End);
        parts
    }

    pub fn block_of(&self, height: u64) -> &Block {
        &self.blocks[usize::try_from(height - 1).unwrap()]
    }

    fn certificate(&self, block: &Block) -> Certificate {
        self.certify(&block.header, &self.signers, &validator_set(&self.validators))
    }

    /// What is kept of an old block, if anything is.
    fn kept(&self, block: &Block) -> Option<SnapshotPart> {
        let transactions = (block.header.history_size..).zip(block.transactions.iter().cloned());
        let transactions: Vec<_> = transactions.filter(|(_, signed)| is_kept(signed)).collect();
        let kept = |transactions| SnapshotPart::Kept {
            header: block.header.clone(),
            certificate: self.certificate(block),
            transactions: List::new(transactions).unwrap(),
        };
        (!transactions.is_empty()).then(|| kept(transactions))
    }

    /// Every record there is, found by executing the blocks again.
    fn records(&self) -> BTreeMap<StateKey, Vec<u8>> {
        let mut again = Self::from(self.genesis.genesis.clone());
        let mut records: BTreeMap<_, _> = again.genesis.state.records.iter().cloned().collect();
        for block in &self.blocks {
            let verified = |signed: &SignedTransaction| signed.clone().verify(&self.chain()).unwrap();
            let transactions = block.transactions.iter().map(verified).collect();
            let executed = execution::execute(&again.storage, &again.tip, block.clone(), transactions).unwrap();
            records.extend(executed.state.records.iter().cloned());
            again.storage.write_state(&executed.state);
            again.storage.write_history(&executed.history);
            again.storage.write_finalised(executed.transactions.iter().map(|transaction| transaction.id()));
            again.tip = executed.tip();
        }
        records
    }

    fn outcomes(&self) -> Vec<(PatchId, [u64; OUTCOMES])> {
        let mut outcomes = BTreeMap::<PatchId, [u64; OUTCOMES]>::new();
        for signed in &self.log {
            if let Payload::Receipt { receipt } = &signed.transaction.payload {
                outcomes.entry(receipt.patch).or_default()[receipt.outcome as usize] += 1;
            }
        }
        outcomes.into_iter().collect()
    }

    /// Begins with a snapshot as a store does: it is looked through once, then examined and written down part by part.
    ///
    /// # Errors
    /// Which part is refused, and why; after the last one, what holds of none alone.
    pub fn begin_with(&self, parts: &[SnapshotPart]) -> Result<Examination, (usize, SnapshotError)> {
        let mut survey = Survey::new(&self.genesis);
        let surveyed = parts.iter().try_for_each(|part| survey.take(part)).and_then(|()| survey.finish());
        surveyed.expect("what is altered here shows when it is examined");
        let (mut storage, mut head) = (MemoryStorage::default(), None);
        let mut examination = Examination::new(&self.genesis);
        for (place, part) in parts.iter().enumerate() {
            let leaves = examination.leaves();
            examination.take(&storage, part).map_err(|error| (place, error))?;
            match part {
                SnapshotPart::Leaves(hashes) => {
                    storage.write_history(&history::append_hashed(&storage, leaves, hashes.to_vec()).unwrap());
                }
                SnapshotPart::Records(rows) => {
                    let rows = rows.iter().map(|(key, record)| (*key, record.to_vec())).collect();
                    let update = tree::update(&storage, head, rows).unwrap();
                    storage.write_state(&update);
                    head = Some(TreeHead { version: update.version, root: update.root });
                }
                _ => {}
            }
        }
        examination.finish(head.map_or(Digest::ZERO, |head| head.root)).map_err(|error| (parts.len(), error))?;
        Ok(examination)
    }
}
