//! What an agent keeps on its disk and reads again when it starts: its journal, and its other files; what it is asked on
//! its socket; and its configuration.

use crate::doors::{is_a_sentence, is_made_inert};
use crate::memory::peak_of;
use crate::places::{directory, path, written};
use crate::story;
use agent::attempts::{self, Attempts};
use agent::clock::Now;
use agent::config::Config;
use agent::control::{Answer, Request};
use agent::files::FileError;
use agent::follow::memory::Memory;
use agent::installer::installs::{VersionId, VersionMeta};
use agent::installer::journal::Journal;
use agent::installer::last_kept::{self, LastKept};
use agent::inventory::Told;
use agent::own_program::record::{Choice, Program, Record, STARTS_MAX};
use agent::own_program::trial::judge;
use agent::recalls::{News, Recall, Recalls};
use agent::receipts::Receipts;
use agent::settled::{Settled, reason};
use agent::waits::{self, Waits};
use ledger::bounded::Version;
use ledger::id::{Digest, PatchId};
use ledger::receipt::{Health, Outcome, ReasonCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Bytes before a payload in a journal.
const FRAME_BYTES: usize = 12;
/// Memory for each byte of a file …
const BYTES_PER_BYTE_MAX: usize = 64;
/// … and for whatever it says.
const BYTES_BEGUN_MAX: usize = 256 * 1024;
/// Memory for a configuration: there is a compiled house policy in it, whatever else it says.
const CONFIG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What time it is.
const NOW: Now = Now { now_ms: 1_767_225_600_000, running_ms: 3_600_000 };
const PATCH: PatchId = PatchId([7; 32]);

/// The first byte says whether digests are made to fit, the second after how many bytes of it the power went. What is
/// whole is read and stays so; what was half written is cut off; all else is damage and is left alone.
pub fn read_journal(bytes: &[u8]) {
    let [repaired, cut, file @ ..] = bytes else { return };
    let mut file = file.to_vec();
    if repaired & 1 == 1 {
        repair(&mut file);
    }
    let at = written("journal", &file);
    let (peeked, taken) = peak_of(|| Journal::peek(&at));
    assert!(taken <= file.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory for {}", file.len());
    let opened = Journal::open(&at, Box::new(|_, _| ()));
    let after = fs::read(&at).expect("it is there");
    match (peeked, opened) {
        (Ok(peeked), Ok(opened)) => {
            assert_eq!(opened.records(), peeked);
            assert_eq!(after.len(), whole(&file, peeked.len()), "what is behind the last record is cut off");
            assert!(file.starts_with(&after), "a record was written over");
            assert_eq!(Journal::peek(&at).ok(), Some(peeked.clone()));
            let shorter = &after[..after.len().saturating_sub(usize::from(*cut))];
            let left = Journal::peek(&written("journal", shorter)).expect("a record that is cut off is no damage");
            assert!(peeked.starts_with(&left), "a shorter journal has the same beginning");
        }
        (Err(peeked), Err(opened)) => {
            is_made_inert(&peeked.to_string());
            assert_eq!(peeked.to_string(), opened.to_string());
            assert!(after == file, "what is damaged was written to");
        }
        (peeked, opened) => panic!("{:?} and {:?}", peeked.err(), opened.err()),
    }
}

/// Where so many records end, by their lengths.
fn whole(file: &[u8], records: usize) -> usize {
    (0..records).fold(0, |at, _| {
        let length = file[at..at + 4].try_into().map(u32::from_le_bytes).expect("four bytes");
        at + FRAME_BYTES + length as usize
    })
}

/// Makes the digests of all records fit what is in them.
fn repair(file: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = file.get(at..at + FRAME_BYTES) {
        let length = u32::from_le_bytes(std::array::from_fn(|byte| header[byte])) as usize;
        let Some(payload) = file.get(at + FRAME_BYTES..at.saturating_add(FRAME_BYTES + length)) else { return };
        let digest = Digest::blake3(payload);
        file[at + 4..at + FRAME_BYTES].copy_from_slice(&digest.0[..8]);
        at += FRAME_BYTES + length;
    }
}

/// The first byte says which file it is. Whatever is in it, an agent goes on from it, and reads what it wrote then.
pub fn read_file(bytes: &[u8]) {
    let Some((which, file)) = bytes.split_first() else { return };
    let at = written("kept", file);
    let ((), taken) = peak_of(|| match which % 11 {
        0 => attempts_go_on(&at),
        1 => waits_go_on(&at),
        2 => recalls_go_on(&at),
        3 => told_of_headers(&at),
        4 => program_goes_on(&at),
        5 => drop(understood(last_kept::read(&at)).map(again::<Vec<LastKept>>)),
        6 => drop(understood(Told::read(&at)).map(again)),
        7 => receipts_go_on(file),
        8 => drop(serde_json::from_slice::<VersionMeta>(file).map(again)),
        9 => drop(serde_json::from_slice::<Request>(file).map(written_again)),
        _ => {
            let _ = serde_json::from_slice::<Answer>(file).map(written_again);
            said_on_trial(file);
        }
    });
    assert!(taken <= file.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory for {}", file.len());
}

fn understood<T>(read: Result<T, FileError>) -> Option<T> {
    read.map_err(|error| is_made_inert(&error.to_string())).ok()
}

/// What is read is written, and read as the same.
fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let written = serde_json::to_vec(&value).expect("it is written into memory");
    assert_eq!(serde_json::from_slice::<T>(&written).expect("what is written is read"), value);
}

fn written_again<T: Serialize + DeserializeOwned>(value: T) {
    let written = serde_json::to_vec(&value).expect("it is written into memory");
    let read: T = serde_json::from_slice(&written).expect("what is written is read");
    assert_eq!(serde_json::to_vec(&read).expect("it is written into memory"), written);
}

fn attempts_go_on(at: &Path) {
    let is_whole = attempts::check(at).is_ok();
    let Some(mut attempts) = understood(Attempts::open(at, NOW)) else { return };
    assert!(is_whole || attempts.all().next().is_none(), "what cannot be read is begun anew");
    let before = attempts.next_run().expect("the file can be written");
    let settled = Settled {
        run: before,
        patch: PATCH,
        from_version: Version::default(),
        to_version: Version::default(),
        outcome: Outcome::RolledBack,
        reason: Some(reason(ReasonCode::Interrupted, "the host")),
        health: Health::NotRun,
    };
    attempts.record(&settled, NOW, false).expect("the file can be written");
    let kept: Vec<_> = attempts.all().map(|(patch, tried)| (*patch, tried.clone())).collect();
    assert!(kept.iter().any(|(patch, tried)| *patch == PATCH && tried.run == before));
    let mut again = Attempts::open(at, NOW).expect("it was just written");
    assert!(again.all().map(|(patch, tried)| (*patch, tried.clone())).eq(kept), "what was written is read");
    assert!(again.next_run().is_ok_and(|run| run > before || run == u64::MAX), "a number is given twice");
    let _ = (again.may_try(PATCH, NOW.running_ms), again.next_try_in_ms(NOW.running_ms));
}

fn waits_go_on(at: &Path) {
    let Some(waits) = understood(Waits::open(at, NOW.now_ms)) else { return };
    let due = waits.due(PATCH, NOW.now_ms).expect("the file can be written");
    assert!(due <= NOW.now_ms && waits.awake_since_ms() <= NOW.now_ms, "nothing begins in the future");
    assert_eq!(waits::peek(at).ok(), Some(waits.waited()), "what was written is read");
}

fn recalls_go_on(at: &Path) {
    let Some(mut recalls) = understood(Recalls::open(at)) else { return };
    let known = recalls.of(PATCH).cloned();
    let news = recalls.keep(PATCH, Recall { height: u64::MAX, reason: None }).expect("the file can be written");
    assert_eq!(news == News::Recall, known.is_none());
    let kept = recalls.of(PATCH).cloned();
    assert_eq!(Recalls::open(at).expect("it is there").of(PATCH).cloned(), kept, "what was written is read");
}

fn told_of_headers(at: &Path) {
    match Memory::open(at, story::get().chain(), NOW.running_ms) {
        Ok(memory) => {
            let clock = memory.clock(Now { running_ms: u64::MAX, ..NOW }, 1);
            assert!(clock.floor_ms >= memory.newest().time_ms || memory.newest().height == 0, "time goes back");
        }
        Err(refusal) => is_made_inert(&refusal.to_string()),
    }
}

/// A launcher always has something to start, and does not start for ever what does not come up.
fn program_goes_on(at: &Path) {
    let Some(Some(record)) = understood(Record::read(at)) else { return };
    record.write(at).expect("the file can be written");
    assert_eq!(Record::read(at).ok().flatten().as_ref(), Some(&record), "what was written is read");
    let own = Some(record.fixed.blake3);
    let mut now = record.clone();
    for _ in 0..u32::from(u8::MAX) + 2 * (STARTS_MAX + 1) {
        let (choice, next) = now.clone().choose(own, NOW.now_ms);
        if choice == Choice::Fixed {
            break;
        }
        now = next;
    }
    assert_eq!(now.choose(own, NOW.now_ms).0, Choice::Fixed, "what never comes up is gone back from");
    let replaced = record.choose(Some(Digest([0xee; 32])), NOW.now_ms);
    assert_eq!(replaced.0, Choice::Fixed, "another program of the house has the last word");
}

/// One that cannot be read is put aside; one that was, and can be read now, waits again.
fn receipts_go_on(file: &[u8]) {
    let queue = directory("receipts");
    let aside = queue.join("unreadable");
    fs::create_dir_all(&aside).expect("a directory can be made");
    fs::write(aside.join("00000001-x.json"), file).expect("a file can be written");
    let receipts = Receipts::open(&queue).expect("the directory can be read");
    let waiting = receipts.waiting().expect("the directory can be read");
    assert_eq!(waiting == 0, aside.join("00000001-x.json").exists(), "it waits, or lies aside");
    assert_eq!(receipts.newest_run().expect("the directory can be read"), 1, "its number is not given again");
}

/// What a program on trial says of itself.
fn said_on_trial(answer: &[u8]) {
    let program = Program {
        id: VersionId::of_patch(PATCH),
        version: Version::default(),
        path: path("program"),
        blake3: Digest([7; 32]),
        bytes: 1,
    };
    let trial = agent::own_program::record::Trial { program, tries_left: 1, patience_ms: 1 };
    assert!(trial.patience() <= Duration::from_millis(1));
    if let agent::own_program::trial::Progress::NotYet(why) = judge(&trial, Some(answer)) {
        is_a_sentence(&why);
    }
}

/// A configuration in force, written out, is the same configuration.
pub fn read_configuration(bytes: &[u8]) {
    let at = written("agent.toml", bytes);
    let (read, taken) = peak_of(|| Config::read(&at));
    assert!(taken <= CONFIG_BYTES_MAX, "{taken} bytes of memory");
    if let Ok(config) = read {
        let again = Config::read(&written("agent.toml", config.toml().as_bytes())).expect("what it writes it reads");
        assert_eq!(again.toml(), config.toml());
    }
}
