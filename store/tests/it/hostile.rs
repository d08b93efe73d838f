//! Snapshots that somebody made to be believed too much, or to fill a disk.

use crate::snapshots::{bytes, go_on, parts, rested, restore};
use crate::support::{Kept, Oracle, check};
use ledger::bounded::{Blob, List};
use ledger::encoding::encode;
use ledger::id::PatchId;
use ledger::snapshot::{OUTCOMES, SnapshotPart, is_kept};
use ledger::state::StateKey;
use ledger::transaction::Payload;
use std::io::{Cursor, Read, Result as IoResult, Seek, SeekFrom};
use std::path::PathBuf;
use store::Store;

type Rows = Vec<(PatchId, [u64; OUTCOMES])>;

/// What is said of a snapshot in which somebody changed this.
fn refusal(kept: &Kept, good: &[SnapshotPart], change: impl FnOnce(&mut Vec<SnapshotPart>)) -> String {
    let mut parts = good.to_vec();
    change(&mut parts);
    match restore(kept, "lie", &bytes(&parts)) {
        Err(error) => error.to_string(),
        Ok((path, _)) => {
            std::fs::remove_dir_all(path).unwrap();
            "believed".to_owned()
        }
    }
}

/// Changes the outcomes, which fit one part.
fn with_outcomes(parts: &mut [SnapshotPart], change: impl FnOnce(&mut Rows)) {
    let place = parts.iter().position(|part| matches!(part, SnapshotPart::Outcomes(_))).unwrap();
    let SnapshotPart::Outcomes(rows) = parts[place].clone() else { panic!("outcomes") };
    let mut rows = rows.into_vec();
    change(&mut rows);
    parts[place] = SnapshotPart::Outcomes(List::new(rows).unwrap());
}

#[test]
fn outcomes_are_of_patches_that_are_there_and_of_as_many_receipts_as_there_are() {
    let kept = rested(71);
    let good = parts(&kept.open());
    let told = |change: &dyn Fn(&mut Rows)| refusal(&kept, &good, |parts| with_outcomes(parts, change));
    let says = |actual: String, expected: &str| assert!(actual.contains(expected), "{actual}: {expected}");
    says(told(&|rows| rows.push((PatchId([255; 32]), [1, 0, 0, 0, 0]))), "there is no such patch");
    says(told(&|rows| rows.reverse()), "it is not above the one before");
    says(told(&|rows| rows.push(rows[rows.len() - 1])), "it is not above the one before");
    says(told(&|rows| rows[0].1 = [0; OUTCOMES]), "they are none");
    says(told(&|rows| rows[0].1[0] += 1), "its outcomes are of ");
    says(told(&|rows| rows[0].1 = [u64::MAX; OUTCOMES]), "its outcomes are of ");
    says(
        refusal(&kept, &good, |parts| parts.retain(|part| !matches!(part, SnapshotPart::Outcomes(_)))),
        "those of the whole blocks are left out",
    );
    // Hundreds of parts that nobody asked for, each with another 4,096 patches.
    let invented = |number: u32| -> SnapshotPart {
        let id = |row: u32| [&[255; 24][..], &number.to_be_bytes(), &row.to_be_bytes()].concat().try_into().unwrap();
        SnapshotPart::Outcomes(List::new((0..4096).map(|row| (PatchId(id(row)), [1; OUTCOMES])).collect()).unwrap())
    };
    let end = good.len() - 1;
    says(refusal(&kept, &good, |parts| drop(parts.splice(end..end, (0..400).map(invented)))), "there is no such patch");
}

#[test]
fn where_no_receipt_is_forgotten_each_count_is_exact() {
    let kept = Kept::new(72, 30);
    let good = parts(&kept.open());
    let mut wrong = 0;
    let SnapshotPart::Outcomes(rows) = good.iter().rev().nth(1).unwrap() else { panic!("outcomes") };
    for (row, (_, counts)) in rows.iter().enumerate() {
        for from in (0..OUTCOMES).filter(|from| counts[*from] > 0) {
            let to = (from + 1) % OUTCOMES;
            let said = refusal(&kept, &good, |parts| {
                with_outcomes(parts, |rows| {
                    rows[row].1[from] -= 1;
                    rows[row].1[to] += 1;
                });
            });
            assert!(said.contains("they are fewer than the receipts of the whole blocks"), "{said}");
            wrong += 1;
        }
    }
    assert!(wrong > 4, "{wrong} counts moved");
}

#[test]
fn old_blocks_have_what_is_kept_and_all_of_it() {
    let kept = rested(73);
    let good = parts(&kept.open());
    // Nothing speaks of a ballot once its proposal has passed: it must be there all the same.
    let mut left_out = 0;
    for (place, part) in good.iter().enumerate() {
        let SnapshotPart::Kept { transactions, .. } = part else { continue };
        for (number, (_, signed)) in transactions.iter().enumerate() {
            if !matches!(signed.transaction.payload, Payload::Ballot { .. }) || transactions.len() < 2 {
                continue;
            }
            let said = refusal(&kept, &good, |parts| {
                let SnapshotPart::Kept { transactions, .. } = &mut parts[place] else { panic!("as it was") };
                let mut fewer = transactions.clone().into_vec();
                fewer.remove(number);
                *transactions = List::new(fewer).unwrap();
            });
            assert!(said.contains("these are not the"), "{said}");
            left_out += 1;
        }
    }
    assert!(left_out > 2, "{left_out} ballots");
    let first = good.iter().position(|part| matches!(part, SnapshotPart::Kept { .. })).unwrap();
    let said = refusal(&kept, &good, |parts| {
        let SnapshotPart::Kept { transactions, .. } = &mut parts[first] else { panic!("as it was") };
        *transactions = List::default();
    });
    assert!(said.contains("nothing of it is kept"), "{said}");
    // A receipt of an old block is at its place in the history, and kept by nobody.
    let old = kept.oracle.blocks[..30].iter().find(|block| {
        let transactions = &block.executed.transactions;
        transactions.iter().any(|one| is_kept(one.signed())) && transactions.iter().any(|one| !is_kept(one.signed()))
    });
    let old = &old.unwrap().executed;
    let height = old.block.header.height;
    let said = refusal(&kept, &good, |parts| {
        for part in parts {
            let SnapshotPart::Kept { header, transactions, .. } = part else { continue };
            if header.height == height {
                let all = old.transactions.iter().map(|one| one.signed().clone());
                *transactions = List::new((header.history_size..).zip(all).collect()).unwrap();
            }
        }
    });
    assert!(said.contains("is a receipt of a block that is not there whole"), "{said}");
}

/// A snapshot being read, and the most bytes that were on the disk for it at any moment.
struct Watched {
    bytes: Cursor<Vec<u8>>,
    draft: PathBuf,
    most: u64,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let sizes = std::fs::read_dir(&self.draft).into_iter().flatten();
        let sizes = sizes.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len());
        self.most = self.most.max(sizes.sum());
        self.bytes.read(buffer)
    }
}

impl Seek for Watched {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        self.bytes.seek(to)
    }
}

#[test]
fn records_that_are_not_the_state_are_refused_before_one_is_written() {
    let kept = rested(74);
    let mut hostile = parts(&kept.open());
    let invented = |number: u8| {
        let key = |row: u8| StateKey([&[255, number, row][..], &[0; 29]].concat().try_into().unwrap());
        let record = Blob::new(vec![number; 60_000]).unwrap();
        SnapshotPart::Records(List::new((0..16).map(|row| (key(row), record.clone())).collect()).unwrap())
    };
    let behind = hostile.iter().rposition(|part| matches!(part, SnapshotPart::Records(_))).unwrap() + 1;
    hostile.splice(behind..behind, (0..32).map(invented));
    let draft = kept.directory.path().join("lie.creating");
    let mut from = Watched { bytes: Cursor::new(bytes(&hostile)), draft: draft.clone(), most: 0 };
    let genesis = kept.oracle.chain.scenario().genesis();
    let error = Store::restore(kept.directory.path().join("lie"), genesis, &mut from).unwrap_err();
    assert!(error.to_string().contains("the records make state root"), "{error}");
    assert!(!draft.exists());
    assert!(from.most < 1024 * 1024, "{} bytes were written for {}", from.most, bytes(&hostile).len());
}

#[test]
fn only_changes_of_the_validators_below_its_header_belong_to_a_snapshot() {
    let mut oracle = Oracle::of(75, 120);
    let epochs: Vec<u64> = (1..=120).filter(|height| is_epoch(&mut oracle, *height)).collect();
    assert!(epochs.len() > 2, "{epochs:?}");
    let whole = Kept::new(75, 120);
    let links = whole.open().epochs(0, 100).unwrap();
    // The snapshot's own header makes the change, or a later one does.
    for (link, height) in [(links[1].clone(), epochs[1]), (links[1].clone(), epochs[1] - 1)] {
        let kept = Kept::new(75, height);
        let good = parts(&kept.open());
        let behind = 1 + good.iter().filter(|part| matches!(part, SnapshotPart::Epoch(_))).count();
        assert_eq!(link.header.height, epochs[1]);
        let said = refusal(&kept, &good, |parts| parts.insert(behind, SnapshotPart::Epoch(link)));
        assert!(said.contains("it is not below the snapshot's header"), "height {height}: {said}");
    }
}

fn is_epoch(oracle: &mut Oracle, height: u64) -> bool {
    let header = &oracle.block(height).unwrap().executed.block.header;
    header.validators_hash != header.next_validators_hash
}

#[test]
fn what_a_killed_restoration_left_is_gone_at_the_next_start() {
    let mut kept = rested(76);
    let genesis = kept.oracle.chain.scenario().genesis().clone();
    let snapshot = bytes(&parts(&kept.open()));
    let leave = |name: &str| {
        let draft = kept.directory.path().join(format!("{name}.creating"));
        std::fs::create_dir_all(&draft).unwrap();
        std::fs::write(draft.join("000017.log"), vec![7; 4096]).unwrap();
        draft
    };
    let draft = leave("restored");
    let (path, _) = restore(&kept, "restored", &snapshot).unwrap();
    assert!(!draft.exists());
    let draft = leave("restored");
    let store = Store::open(&path).unwrap();
    assert!(!draft.exists(), "a store that is there was not made of it");
    let draft = leave("fresh");
    drop(Store::create(kept.directory.path().join("fresh"), &genesis).unwrap());
    assert!(!draft.exists());
    kept.oracle.block(60);
    go_on(&kept.oracle, &store);
    drop(store);
    assert!(check(&path, kept.directory.path()).unwrap().is_sound());
    // A store that cannot be made leaves nothing either.
    let place = kept.directory.path().join("cut");
    let half = &snapshot[..encode(&0u32).len() + 40];
    Store::restore(&place, &genesis, Cursor::new(half)).unwrap_err();
    assert!(!place.exists() && !kept.directory.path().join("cut.creating").exists());
}
