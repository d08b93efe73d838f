use super::*;
use ::tests::Chain;
use consensus::member::{Alarm, PeerMessage, To};
use consensus::{Signed, SignedVote, VoteKind};
use ledger::certificate::VoteBody;
use ledger::id::ChainId;
use ledger::key::SecretKey;
use std::cell::RefCell;
use std::io;
use std::path::PathBuf;

/// A journal that tells what was done to it, and fails at one of these.
#[derive(Default)]
struct Told {
    done: RefCell<Vec<&'static str>>,
    fails_at: Option<&'static str>,
}

impl Told {
    fn tell(&self, what: &'static str) -> Result<(), JournalError> {
        self.done.borrow_mut().push(what);
        let error = || JournalError { path: PathBuf::from(what), source: io::ErrorKind::StorageFull.into() };
        if self.fails_at == Some(what) { Err(error()) } else { Ok(()) }
    }
}

impl Durable for Told {
    fn append(&mut self, _: &LogEntry) -> Result<(), JournalError> {
        self.tell("log")
    }

    fn guard(&mut self, _: &GuardRecord) -> Result<(), JournalError> {
        self.tell("guard")
    }

    fn keep_silence(&mut self, _: bool) -> Result<(), JournalError> {
        self.tell("silence")
    }

    fn keep_body(&mut self, _: &Block) -> Result<(), JournalError> {
        self.tell("body")
    }

    fn sync_bodies(&mut self) -> Result<(), JournalError> {
        // Nothing is done where none is new.
        if self.done.borrow().last() == Some(&"body") { self.tell("sync bodies") } else { Ok(()) }
    }

    fn keep_evidence(&self, _: &[Evidence]) -> Result<(), JournalError> {
        self.tell("evidence")
    }

    fn start_over(&mut self) {
        self.done.borrow_mut().push("start over");
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.tell("sync")
    }
}

/// A vote, sent before it is written, as a list of actions may well have it.
fn actions() -> Vec<Action> {
    let body = VoteBody { height: 3, round: 0, block: None };
    let vote = SignedVote::sign(VoteKind::Prevote, body, &SecretKey::from_seed(&[5; 32]), &ChainId([1; 32]));
    let message = PeerMessage::Consensus(consensus::Message::Vote(vote));
    vec![
        Action::BeginLog { height: 3 },
        Action::Send { to: To::Validators, message },
        Action::AppendLog(LogEntry::Vote(vote)),
        Action::Schedule { alarm: Alarm::Sync, after_ms: 1 },
        Action::WriteGuard(GuardRecord { slot: 0, signed: Signed::Vote(vote), binding: None }),
        Action::KeepSilence(false),
        Action::KeepEvidence(Vec::new()),
    ]
}

#[test]
fn all_that_is_written_is_made_durable_by_one_sync_and_then_shown() {
    let mut journal = Told::default();
    let shown = make_durable(&mut journal, actions()).unwrap();
    assert_eq!(journal.done.into_inner(), ["start over", "log", "guard", "silence", "evidence", "sync"]);
    assert!(shown.iter().any(|action| matches!(action, Action::Send { .. })));
}

/// Power may go at any time, and of two files either may be written first.
#[test]
fn a_body_is_durable_before_a_word_about_it_is_written() {
    let is_word = |action: &Action| matches!(action, Action::AppendLog(_) | Action::WriteGuard(_));
    let with_a_body = |word| {
        let executed = Chain::new(1).finalise().executed;
        vec![Action::KeepBody(executed.into()), word]
    };
    for (word, written) in actions().into_iter().filter(is_word).zip(["log", "guard"]) {
        let mut journal = Told::default();
        make_durable(&mut journal, with_a_body(word)).unwrap();
        assert_eq!(journal.done.into_inner(), ["body", "sync bodies", written, "sync"]);
    }
    for word in actions().into_iter().filter(is_word) {
        let mut journal = Told { fails_at: Some("sync bodies"), ..Told::default() };
        assert!(make_durable(&mut journal, with_a_body(word)).is_err());
        assert_eq!(journal.done.into_inner(), ["body", "sync bodies"], "and no word");
    }
}

#[test]
fn where_a_write_fails_or_the_sync_nothing_is_shown() {
    for fails_at in ["log", "guard", "silence", "sync"] {
        let mut journal = Told { fails_at: Some(fails_at), ..Told::default() };
        let error = make_durable(&mut journal, actions()).map(|_| ()).unwrap_err();
        assert_eq!(error.path, PathBuf::from(fails_at));
        assert_eq!(journal.done.into_inner().last(), Some(&fails_at), "and nothing else is written");
    }
}

#[test]
fn evidence_that_cannot_be_kept_holds_up_no_vote() {
    let mut journal = Told { fails_at: Some("evidence"), ..Told::default() };
    assert!(make_durable(&mut journal, actions()).is_ok());
    assert_eq!(journal.done.into_inner().last(), Some(&"sync"));
}
