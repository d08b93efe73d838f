//! What may become of a journal, and what is made of it.

use super::*;
use ledger::bounded::Sentence;
use ledger::receipt::ReasonCode;

fn silent() -> Observer {
    Box::new(|_, _| {})
}

fn begun() -> Record {
    let patch = PatchId([2; 32]);
    Record::Begun(Begun {
        run: 1,
        patch,
        product: Product::new("acme/widget").unwrap(),
        channel: Name::new("stable").unwrap(),
        from: None,
        to: VersionId::of_patch(patch),
        from_version: Version::cut("1"),
        to_version: Version::cut("2"),
        kind: InstallerKind::DirectoryTree,
        by_hand: false,
        after_restart: false,
        own_program: false,
        unasked: false,
    })
}

/// A journal of a whole update, and where its records end.
fn written(path: &Path) -> (Vec<Record>, Vec<usize>) {
    let mut journal = Journal::open(path, silent()).unwrap();
    let judged = Record::Judged { against: None };
    let records = vec![begun(), Record::Switching, Record::Switched, judged, Record::Done];
    let end = |record: &Record| {
        journal.append(record.clone()).unwrap();
        usize::try_from(journal.whole).unwrap()
    };
    let ends = records.iter().map(end).collect();
    (records, ends)
}

#[test]
fn a_record_that_is_half_written_was_never_written_and_is_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let (records, ends) = written(&path);
    let whole = std::fs::read(&path).unwrap();
    let last = ends[ends.len() - 2];
    let mut torn: Vec<Vec<u8>> = (0..whole.len()).map(|place| whole[..place].to_vec()).collect();
    for place in last..whole.len() {
        // The length of the file reached the disk before its content did, or a part of it.
        torn.push([&whole[..place], &vec![0; whole.len() - place][..]].concat());
        let mut changed = whole.clone();
        changed[place] ^= 1;
        torn.push(changed);
    }
    for bytes in torn {
        let what = format!("{} bytes", bytes.len());
        std::fs::write(&path, &bytes).unwrap();
        let mut journal = Journal::open(&path, silent()).unwrap();
        let count = journal.records().len();
        let expected = ends.iter().filter(|end| whole.get(..**end) == bytes.get(..**end)).count();
        assert_eq!((journal.records(), count), (&records[..count], expected), "{what}");
        let next = if count == 0 { begun() } else { Record::Done };
        journal.append(next).unwrap();
        assert_eq!(Journal::peek(&path).unwrap().len(), count + 1, "{what}");
    }
}

#[test]
fn what_is_damaged_otherwise_is_said_by_name_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let (_, ends) = written(&path);
    let whole = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = Journal::open(&path, silent()).err().unwrap_or_else(|| panic!("{} bytes", bytes.len()));
        assert!(std::fs::read(&path).unwrap() == bytes, "nothing is cut off");
        error.to_string()
    };
    for place in 0..ends[ends.len() - 2] {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        let record = 1 + ends.iter().filter(|end| **end <= place).count();
        let said = refused(&changed);
        assert!(said.contains(&format!("is damaged: record {record}, at byte")), "{place}: {said}");
    }
    let mut changed = whole.clone();
    changed[ends[1] + FRAME_BYTES] ^= 1;
    assert!(refused(&changed).contains("about patch 0202020202"), "{}", refused(&changed));
    let long = [&whole[..], &vec![7; FRAME_BYTES + RECORD_BYTES_MAX + 1]].concat();
    assert!(refused(&long).contains("that are no record"), "{}", refused(&long));
    assert!(refused(&whole[ends[0]..]).contains("does not begin with the beginning"));
    let strange = br#""teleported""#;
    let length = u32::try_from(strange.len()).unwrap().to_le_bytes();
    let frame = [&whole[..ends[0]], &length, &Digest::blake3(strange).0[..8], strange].concat();
    assert!(refused(&frame).contains("record 2 is of no step this agent knows"), "{}", refused(&frame));
}

#[test]
fn what_could_not_be_written_is_not_there_and_the_next_record_stands_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut journal = Journal::open(&path, silent()).unwrap();
    journal.append(begun()).unwrap();
    // As a disk that is full leaves it: half of a record, behind the agent's back.
    let half = Record::Judged {
        against: Some(Reason { code: ReasonCode::HealthFailed, detail: Sentence::cut(&"x".repeat(200)) }),
    };
    let frame = journal.frame(&half).unwrap();
    journal.file.write_all(&frame[..frame.len() / 2]).unwrap();
    assert!(!journal.is_in_doubt());
    journal.append(Record::Switching).unwrap();
    assert_eq!(Journal::peek(&path).unwrap(), [begun(), Record::Switching]);
    // A whole record that could not be synced is cut off as well: nobody went by it.
    journal.file.write_all(&frame).unwrap();
    journal.append(Record::Done).unwrap();
    assert_eq!(Journal::peek(&path).unwrap(), [begun(), Record::Switching, Record::Done]);
}
