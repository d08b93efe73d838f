//! The vote journal after everything that can happen to files: it reads what is beyond doubt, never
//! guesses, and says which file it cannot use.

use consensus::{Evidence, GuardRecord, LogEntry, Signed, SignedVote, VoteKind};
use ledger::block::Block;
use ledger::certificate::VoteBody;
use ledger::id::{BlockHash, ChainId};
use ledger::key::SecretKey;
use node::shell::{Durable, Journal, Recovered};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tests::{Chain, Dice};

/// The height everything here is about.
const HEIGHT: u64 = 3;
const LOG: &str = "vote.log";
const GUARD: &str = "signing.guard";
const BODIES: &str = "bodies.log";

fn vote(round: u32) -> SignedVote {
    let body = VoteBody { height: HEIGHT, round, block: Some(BlockHash([7; 32])) };
    SignedVote::sign(VoteKind::Prevote, body, &SecretKey::from_seed(&[5; 32]), &ChainId([1; 32]))
}

fn record(slot: u32) -> GuardRecord {
    GuardRecord { slot, signed: Signed::Vote(vote(slot)), binding: None }
}

/// A journal with twelve entries, six guard records and two bodies, and what was written.
struct Written {
    directory: TempDir,
    log: Vec<LogEntry>,
    guard: Vec<GuardRecord>,
    bodies: Vec<Block>,
}

impl Written {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(3);
        for _ in 1..HEIGHT {
            chain.publish();
            chain.finalise();
        }
        // Two candidates for the same height: one empty, one not.
        let empty = chain.clone().finalise().executed.block;
        chain.publish();
        let bodies = vec![empty, chain.finalise().executed.block];
        let log: Vec<_> = (0..12).map(|round| LogEntry::Vote(vote(round))).collect();
        let guard: Vec<_> = (0..6).map(record).collect();
        let (mut journal, found) = Journal::open(directory.path(), HEIGHT).unwrap();
        assert!(found.log.is_empty() && found.guard.is_empty() && found.bodies.is_empty() && found.damage.is_none());
        for entry in &log {
            journal.append(entry).unwrap();
        }
        for record in &guard {
            journal.guard(record).unwrap();
        }
        for body in &bodies {
            journal.keep_body(body).unwrap();
        }
        journal.sync().unwrap();
        Self { directory, log, guard, bodies }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    /// Where the bytes written end, and zeros begin.
    fn end(&self, name: &str) -> usize {
        self.bytes(name).iter().rposition(|byte| *byte != 0).unwrap() + 1
    }

    fn open(&self) -> Recovered {
        Journal::open(self.directory.path(), HEIGHT).unwrap().1
    }

    /// Opens it damaged: what is found is a beginning of what was written, and the same the next time.
    fn check(&self, what: &str) -> Recovered {
        let found = self.open();
        assert!(self.log.starts_with(&found.log), "{what}: entries that nobody wrote, or with a gap");
        assert!(self.bodies.starts_with(&found.bodies), "{what}: bodies that nobody kept, or with a gap");
        assert!(found.guard.iter().all(|record| self.guard.contains(record)), "{what}: records nobody wrote");
        let again = self.open();
        assert_eq!(
            (&again.log, &again.guard, &again.bodies),
            (&found.log, &found.guard, &found.bodies),
            "{what}: another answer the second time"
        );
        assert_eq!(again.damage, None, "{what}: what was cut off is still there");
        found
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes(name);
        change(&mut bytes);
        fs::write(self.file(name), bytes).unwrap();
    }
}

#[test]
fn what_was_made_durable_is_found_again() {
    let written = Written::new();
    let found = written.check("whole");
    assert_eq!((&found.log, &found.guard, &found.bodies), (&written.log, &written.guard, &written.bodies));
}

#[test]
fn evidence_is_kept_whole_and_read_up_to_the_first_doubt() {
    const EVIDENCE: &str = "evidence.kept";
    let written = Written::new();
    assert!(written.open().evidence.is_empty());
    let other = |round| {
        let body = VoteBody { height: HEIGHT, round, block: None };
        SignedVote::sign(VoteKind::Prevote, body, &SecretKey::from_seed(&[5; 32]), &ChainId([1; 32]))
    };
    let evidence: Vec<_> = (0..5).map(|round| Evidence::Votes(vote(round), other(round))).collect();
    let journal = Journal::open(written.directory.path(), HEIGHT).unwrap().0;
    journal.keep_evidence(&evidence).unwrap();
    assert_eq!(written.open().evidence, evidence);
    let whole = written.bytes(EVIDENCE);
    for cut in 0..whole.len() {
        fs::write(written.file(EVIDENCE), &whole[..cut]).unwrap();
        let found = written.open().evidence;
        assert_eq!(found, evidence[..cut * evidence.len() / whole.len()], "cut at {cut}");
    }
    for place in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        fs::write(written.file(EVIDENCE), &flipped).unwrap();
        assert!(evidence.starts_with(&written.open().evidence), "bit flipped in byte {place}");
    }
    // What it keeps next takes the place of all that.
    journal.keep_evidence(&evidence[..1]).unwrap();
    assert_eq!(written.open().evidence, evidence[..1]);
    journal.keep_evidence(&[]).unwrap();
    assert!(written.open().evidence.is_empty());
}

#[test]
fn entries_and_bodies_count_for_their_height_only_and_guard_records_for_ever() {
    let written = Written::new();
    for height in [HEIGHT - 1, HEIGHT + 1] {
        let found = Journal::open(written.directory.path(), height).unwrap().1;
        assert!(found.log.is_empty() && found.bodies.is_empty());
        assert_eq!(found.guard, written.guard);
    }
}

#[test]
fn a_log_torn_anywhere_is_read_up_to_the_tear() {
    let mut dice = Dice::new(11);
    for _ in 0..40 {
        let written = Written::new();
        let end = written.end(LOG);
        let cut = usize::try_from(dice.below(end as u64)).unwrap();
        written.change(LOG, |bytes| bytes[cut..end].fill(0));
        let found = written.check(&format!("torn at {cut}"));
        // Frames have one length here: as many are left as lie before the tear.
        let frame = end / written.log.len();
        assert!(found.log.len() == cut / frame || found.log.len() == cut / frame + 1, "torn at {cut}");
        assert_eq!((&found.guard, &found.bodies), (&written.guard, &written.bodies));
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_what_it_hit_and_is_never_believed() {
    let mut dice = Dice::new(12);
    for name in [LOG, GUARD, BODIES] {
        for _ in 0..40 {
            let written = Written::new();
            let place = usize::try_from(dice.below(written.end(name) as u64)).unwrap();
            let bit = 1 << dice.below(8);
            written.change(name, |bytes| bytes[place] ^= bit);
            let found = written.check(&format!("{name}, byte {place}"));
            let whole = [
                (LOG, found.log == written.log),
                (GUARD, found.guard.len() + 1 >= written.guard.len()),
                (BODIES, found.bodies == written.bodies),
            ];
            for (other, whole) in whole {
                assert!(whole || other == name, "{name}, byte {place}: {other} suffers");
            }
            let torn = written.guard.len() - found.guard.len();
            assert!(torn <= 1, "{name}, byte {place}: {torn} guard records lost");
        }
    }
}

#[test]
fn a_damaged_log_is_reported() {
    let written = Written::new();
    written.change(LOG, |bytes| bytes[200] ^= 1);
    let found = written.open();
    assert!(found.log.len() < written.log.len());
    assert!(found.damage.is_some(), "nobody is told");
}

#[test]
fn files_that_are_shorter_or_gone_are_made_again_and_the_others_stand() {
    for name in [LOG, GUARD, BODIES] {
        for length in [None, Some(0), Some(1), Some(100), Some(1_000)] {
            let written = Written::new();
            match length {
                Some(length) => written.change(name, |bytes| bytes.truncate(length)),
                None => fs::remove_file(written.file(name)).unwrap(),
            }
            let found = written.check(&format!("{name} cut to {length:?}"));
            let whole = [
                (LOG, found.log == written.log),
                (GUARD, found.guard == written.guard),
                (BODIES, found.bodies == written.bodies),
            ];
            for (other, whole) in whole {
                assert!(whole || other == name, "{name} cut to {length:?}: {other} suffers");
            }
        }
    }
}

#[test]
fn the_guard_survives_the_loss_of_everything_else() {
    let written = Written::new();
    fs::remove_file(written.file(LOG)).unwrap();
    fs::remove_file(written.file(BODIES)).unwrap();
    let found = written.open();
    assert!(found.log.is_empty() && found.bodies.is_empty());
    assert_eq!(found.guard, written.guard);
}

#[test]
fn a_torn_slot_is_empty_and_its_neighbours_stand() {
    let written = Written::new();
    let slot = written.bytes(GUARD).len() / GuardRecord::SLOTS as usize;
    for torn in 0..written.guard.len() {
        let written = Written::new();
        written.change(GUARD, |bytes| bytes[torn * slot + 40..(torn + 1) * slot].fill(0xAA));
        let mut expected = written.guard.clone();
        expected.remove(torn);
        assert_eq!(written.check(&format!("slot {torn}")).guard, expected);
    }
}

#[test]
fn the_largest_record_has_room_and_touches_no_neighbour() {
    let written = Written::new();
    let slots = GuardRecord::SLOTS;
    let (mut journal, _) = Journal::open(written.directory.path(), HEIGHT).unwrap();
    journal.guard(&record(slots - 1)).unwrap();
    journal.sync().unwrap();
    let mut expected = written.guard.clone();
    expected.push(record(slots - 1));
    assert_eq!(written.open().guard, expected);
}

#[test]
fn after_a_tear_the_log_goes_on_and_the_old_rest_never_comes_back() {
    let written = Written::new();
    let frame = written.end(LOG) / written.log.len();
    // The third frame is damaged, the nine behind it are whole.
    written.change(LOG, |bytes| bytes[2 * frame + 20] ^= 1);
    let (mut journal, found) = Journal::open(written.directory.path(), HEIGHT).unwrap();
    assert_eq!(found.log, written.log[..2]);
    let entry = LogEntry::Vote(vote(100));
    journal.append(&entry).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let found = written.open();
    assert_eq!((found.log.len(), &found.log[2]), (3, &entry));
    assert_eq!(found.damage, None);
}

#[test]
fn starting_over_forgets_entries_and_bodies_though_their_bytes_are_still_there() {
    let written = Written::new();
    let (mut journal, _) = Journal::open(written.directory.path(), HEIGHT).unwrap();
    journal.start_over();
    journal.append(&LogEntry::Vote(vote(0))).unwrap();
    journal.sync().unwrap();
    drop(journal);
    assert_eq!(written.open().log, [LogEntry::Vote(vote(0))]);
}

/// Behind the end of a log there are always frames of earlier heights, cut anywhere: that is no damage.
#[test]
fn what_is_left_of_earlier_heights_is_not_called_damage() {
    let written = Written::new();
    for entries in 1..8 {
        let (mut journal, _) = Journal::open(written.directory.path(), HEIGHT).unwrap();
        for height in HEIGHT..HEIGHT + 5 {
            journal.start_over();
            // Entries of other lengths than those before, so that no two frames begin at one place.
            for round in 0..entries + u32::try_from(height).unwrap() % 3 {
                let timer = consensus::Timer { height, round, kind: consensus::TimerKind::Propose };
                journal.append(&LogEntry::Timer(timer)).unwrap();
                let body = VoteBody { height, round, block: None };
                let vote =
                    SignedVote::sign(VoteKind::Prevote, body, &SecretKey::from_seed(&[5; 32]), &ChainId([1; 32]));
                journal.append(&LogEntry::Vote(vote)).unwrap();
            }
            journal.sync().unwrap();
        }
        drop(journal);
        let found = Journal::open(written.directory.path(), HEIGHT + 4).unwrap().1;
        assert_eq!(found.damage, None);
        assert_eq!(found.log.len() as u64, 2 * (u64::from(entries) + (HEIGHT + 4) % 3));
        // A log begun by a longer height: the next round starts among its remains.
        let (mut journal, _) = Journal::open(written.directory.path(), HEIGHT).unwrap();
        journal.start_over();
        for entry in &written.log {
            journal.append(entry).unwrap();
        }
        journal.sync().unwrap();
    }
}

/// A directory in a file's place, a place that is not there, and a file where the directory should be.
#[test]
fn a_file_that_cannot_be_used_is_named() {
    for name in [LOG, GUARD, BODIES] {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(name)).unwrap();
        let error = Journal::open(directory.path(), HEIGHT).err().unwrap();
        assert_eq!(error.path, directory.path().join(name));
        assert!(error.to_string().contains(name), "{error}");
    }
    let missing = Path::new("/proc/self/nowhere");
    assert_eq!(Journal::open(missing, HEIGHT).err().unwrap().source.kind(), std::io::ErrorKind::NotFound);
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(Journal::open(file.path(), HEIGHT).err().unwrap().source.kind(), std::io::ErrorKind::NotADirectory);
}
