//! Snapshots. Whatever is done to an honest one: what passes has a final header, the blocks that led to it, its
//! history and its state, and nothing else. The state is judged by sentence 5.6 itself, the rest by the story.

use crate::choices::{Choices, alter_list};
use crate::doors::is_a_sentence;
use crate::story::{self, Story};
use crate::trees::state_root;
use ledger::block::Header;
use ledger::bounded::List;
use ledger::encoding::{decode, encode};
use ledger::history;
use ledger::id::Digest;
use ledger::snapshot::{Examination, SnapshotError, SnapshotPart, Survey};
use ledger::state::StateKey;
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::{self, TreeHead};
use std::collections::BTreeMap;

/// What is done to one snapshot.
const DEEDS_MAX: usize = 4;

/// What somebody has who believed a snapshot.
struct Taken {
    header: Header,
    first_whole: u64,
    leaves: Vec<Digest>,
    blocks: Vec<Vec<u8>>,
    records: BTreeMap<StateKey, Vec<u8>>,
}

/// An honest snapshot, altered.
pub fn verify(bytes: &[u8]) {
    let (mut choices, story) = (Choices::new(bytes), story::get());
    let mut parts = story.snapshot.clone();
    for _ in 0..DEEDS_MAX {
        if !choices.any() {
            break;
        }
        alter(&mut choices, &mut parts, story);
    }
    match take(&parts, story) {
        Ok(taken) => is_true(&taken, story),
        Err(refusal) => {
            is_a_sentence(&refusal.to_string());
            assert!(parts != story.snapshot, "an honest snapshot is refused: {refusal}");
        }
    }
}

/// As a store does it: looked through once, then examined and written down part by part.
fn take(parts: &[SnapshotPart], story: &Story) -> Result<Taken, SnapshotError> {
    let mut survey = Survey::new(&story.begun);
    parts.iter().try_for_each(|part| survey.take(part))?;
    survey.finish()?;
    let (mut storage, mut head) = (MemoryStorage::default(), None);
    let (mut leaves, mut blocks, mut records) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut examination = Examination::new(&story.begun);
    for part in parts {
        examination.take(&storage, part)?;
        match part {
            SnapshotPart::Leaves(hashes) => {
                let update = history::append_hashed(&storage, leaves.len() as u64, hashes.to_vec())?;
                storage.write_history(&update);
                leaves.extend(hashes.iter().copied());
            }
            SnapshotPart::Whole { block, .. } => blocks.push(encode(block)),
            SnapshotPart::Records(rows) if !rows.is_empty() => {
                let rows: Vec<_> = rows.iter().map(|(key, record)| (*key, record.to_vec())).collect();
                records.extend(rows.iter().cloned());
                let update = tree::update(&storage, head, rows)?;
                storage.write_state(&update);
                head = Some(TreeHead { version: update.version, root: update.root });
            }
            _ => {}
        }
    }
    examination.finish(head.map_or(Digest::ZERO, |head| head.root))?;
    let header = examination.header().cloned().expect("what is over has begun");
    Ok(Taken { header, first_whole: examination.first_whole(), leaves, blocks, records })
}

fn is_true(taken: &Taken, story: &Story) {
    let Taken { header, first_whole, leaves, blocks, records } = taken;
    assert!(story.is_final(header), "a header that no quorum signed");
    assert_eq!(state_root(&records.iter().collect::<Vec<_>>(), 0), header.state_root, "another state");
    assert_eq!(leaves.len() as u64, header.history_size, "a history of another length");
    assert!(leaves.iter().eq(story.leaves.iter().take(leaves.len())), "another history");
    assert_eq!(*first_whole, 1, "nothing in the story is older than thirty days");
    assert!(blocks.iter().eq(story.blocks.iter().map(|(block, _)| block).take(blocks.len())), "other blocks");
    assert_eq!(blocks.len() as u64, header.height, "a block is missing");
}

/// One thing that somebody can do who has all that was ever signed.
fn alter(choices: &mut Choices<'_>, parts: &mut Vec<SnapshotPart>, story: &Story) {
    let place = choices.below(parts.len());
    match choices.below(6) {
        0 => alter_list(choices, parts, &story.snapshot),
        1 => {
            // Any byte of a part: what is still a part is shown.
            let Some(part) = parts.get_mut(place) else { return };
            let mut bytes = encode(part);
            let at = choices.below(bytes.len());
            bytes[at] ^= choices.byte();
            *part = decode(&bytes).unwrap_or(SnapshotPart::End);
        }
        2 => match parts.get_mut(place) {
            Some(SnapshotPart::Leaves(hashes)) => alter_elements(choices, hashes, &[Digest::ZERO]),
            Some(SnapshotPart::Records(rows)) => alter_elements(choices, rows, &[]),
            Some(SnapshotPart::Whole { block, .. }) => alter_elements(choices, &mut block.transactions, &[]),
            _ => {}
        },
        3 => {
            if let Some(SnapshotPart::Whole { block, certificate }) = parts.get_mut(place) {
                let (round, without) = (choices.below(3) as u32, choices.below(5));
                *certificate = story.another_certificate(&block.header, &story.validators(), round, without);
            }
        }
        // Only what is kept of a block, as if it were old.
        4 => {
            let Some(SnapshotPart::Whole { block, certificate }) = parts.get(place).cloned() else { return };
            let transactions = (block.header.history_size..).zip(block.transactions.iter().cloned()).collect();
            let Ok(transactions) = List::new(transactions) else { return };
            parts[place] = SnapshotPart::Kept { header: block.header.clone(), certificate, transactions };
            if let Some(SnapshotPart::Begin { before, .. }) = parts.get_mut(0) {
                *before = block.header;
            }
        }
        // The snapshot of another height: that of the block shown there.
        _ => {
            let Some(SnapshotPart::Whole { block, certificate: shown }) = parts.get(place).cloned() else { return };
            if let Some(SnapshotPart::Begin { header, certificate, .. }) = parts.get_mut(0) {
                (*header, *certificate) = (block.header, shown);
            }
        }
    }
}

fn alter_elements<T: Clone, const MAX: usize>(choices: &mut Choices<'_>, list: &mut List<T, MAX>, others: &[T]) {
    let mut elements = list.to_vec();
    alter_list(choices, &mut elements, others);
    if let Ok(altered) = List::new(elements) {
        *list = altered;
    }
}
