use super::*;
use ::tests::Chain;
use consensus::{Signed, SignedVote, VoteKind};
use ledger::certificate::VoteBody;
use ledger::id::ChainId;
use ledger::key::SecretKey;

/// What was written and not synced may be gone after a loss of power, though no kill of a process shows it.
#[test]
fn a_sync_leaves_no_file_out() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path(), 1).unwrap();
    let body = VoteBody { height: 1, round: 0, block: None };
    let vote = SignedVote::sign(VoteKind::Prevote, body, &SecretKey::from_seed(&[5; 32]), &ChainId([1; 32]));
    let dirty = |journal: &Journal| {
        let Journal { log, guard, silence, bodies, .. } = journal;
        [log, guard, silence, bodies].map(|file| file.dirty)
    };
    assert_eq!(dirty(&journal), [false; 4]);
    journal.append(&LogEntry::Vote(vote)).unwrap();
    journal.guard(&GuardRecord { slot: 0, signed: Signed::Vote(vote), binding: None }).unwrap();
    journal.keep_silence(true).unwrap();
    journal.keep_body(&Chain::new(1).finalise().executed.block).unwrap();
    assert_eq!(dirty(&journal), [true; 4]);
    journal.sync().unwrap();
    assert_eq!(dirty(&journal), [false; 4]);
}

/// A height that had many bodies leaves no large file behind, and one that is under way keeps its own.
#[test]
fn the_room_of_bodies_is_given_back_when_their_height_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bodies.log");
    let (mut journal, _) = Journal::open(directory.path(), 1).unwrap();
    let body = Chain::new(1).finalise().executed.block;
    journal.keep_body(&body).unwrap();
    let grow = || OpenOptions::new().write(true).open(&path).unwrap().set_len(3 * BODIES_BYTES).unwrap();
    let length = || std::fs::metadata(&path).unwrap().len();
    grow();
    for _ in 0..3 {
        let (_, recovered) = Journal::open(directory.path(), 1).unwrap();
        assert_eq!((recovered.bodies.as_slice(), length()), (std::slice::from_ref(&body), 3 * BODIES_BYTES));
    }
    let (_, recovered) = Journal::open(directory.path(), 2).unwrap();
    assert_eq!((recovered.bodies.len(), length()), (0, BODIES_BYTES));
}
