//! The record of programs, `program.json` in the data directory: which is the agent's, which is on trial, what becomes
//! of one that does not come up. Values in, values out; [`super::launcher`] acts.
//!
//! It is read by launchers that are older than whoever wrote it, and by newer ones: fields are only ever added, and what
//! is unknown is passed over.

use crate::files::{self, FileError, failed};
use crate::installer::installs::VersionId;
use crate::settled::{chain, reason};
use ledger::bounded::Version;
use ledger::id::Digest;
use ledger::receipt::{Reason, ReasonCode};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest record.
const RECORD_BYTES_MAX: usize = 64 * 1024;
/// How often in a row a committed program may be started without coming up.
pub const STARTS_MAX: u32 = 5;

/// A program that an update brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The version it is of.
    pub id: VersionId,
    /// As people know it.
    pub version: Version,
    /// Its file, beneath the data directory.
    pub path: PathBuf,
    /// Digest of that file, as it was unpacked from what was verified.
    pub blake3: Digest,
    /// Bytes of that file.
    pub bytes: u64,
}

/// The program that the house has put on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixed {
    /// Where.
    pub path: PathBuf,
    /// Its digest when an update first took its place. Once it is another one, somebody has put another program there.
    pub blake3: Digest,
}

/// A program that is to be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which.
    pub program: Program,
    /// How often it may still be started. Taken off before it is: what was interrupted is not tried again.
    pub tries_left: u8,
    /// How long it may take to be healthy.
    pub patience_ms: u64,
}

impl Trial {
    /// How long it may take to be healthy.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }
}

/// A program that did not come up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallen {
    /// Which.
    pub program: Program,
    /// Why it does not run.
    pub reason: Reason,
    /// When that was found.
    pub at_ms: u64,
}

impl fmt::Display for Fallen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not run: {}", self.program.version, self.reason)
    }
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The program of the house.
    pub fixed: Fixed,
    /// The agent's program; the house's when none.
    pub committed: Option<Program>,
    /// Gone back to when that does not come up; the house's when none.
    pub previous: Option<Program>,
    /// To be tried, or being tried.
    pub trial: Option<Trial>,
    /// What was gone back from last.
    pub fallen: Option<Fallen>,
    /// How often the committed one was started since it last came up.
    #[serde(default)]
    pub starts: u32,
}

/// What a launcher is to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The program of the house.
    Fixed,
    /// The committed one, in the launcher's place.
    Become(Program),
    /// The committed one, watched: it did not come up when it was started last.
    Watch(Program),
    /// The one on trial.
    Try(Trial),
}

impl Record {
    /// Of a host on which nothing was ever updated.
    #[must_use]
    pub fn new(fixed: Fixed) -> Self {
        Self { fixed, committed: None, previous: None, trial: None, fallen: None, starts: 0 }
    }

    /// Reads it; none where no program was ever updated.
    ///
    /// # Errors
    /// [`FileError`], also when it cannot be understood.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let Some(bytes) = files::read_if_there(path, RECORD_BYTES_MAX)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| failed("understand", path)(io::Error::other(error)))
    }

    /// Writes it: on the disk when this returns, and after a crash the old one or the new one.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        files::replace(path, &serde_json::to_vec_pretty(self).unwrap_or_default())
    }

    /// A program is to be tried, once.
    #[must_use]
    pub fn to_try(self, program: Program, patience: Duration) -> Self {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        Self { trial: Some(Trial { program, tries_left: 1, patience_ms }), fallen: None, ..self }
    }

    /// The one on trial is the agent's from now on.
    #[must_use]
    pub fn commit(self) -> Self {
        match self.trial {
            None => self,
            Some(trial) => {
                Self { previous: self.committed, committed: Some(trial.program), trial: None, starts: 1, ..self }
            }
        }
    }

    /// The one on trial does not come up.
    #[must_use]
    pub fn fall(self, reason: Reason, at_ms: u64) -> Self {
        match self.trial {
            None => self,
            Some(Trial { program, .. }) => {
                Self { trial: None, fallen: Some(Fallen { program, reason, at_ms }), ..self }
            }
        }
    }

    /// The committed one does not come up: the one before is the agent's again.
    #[must_use]
    pub fn fall_back(self, reason: Reason, at_ms: u64) -> Self {
        match self.committed {
            None => self,
            Some(program) => {
                let fallen = Some(Fallen { program, reason, at_ms });
                Self { committed: self.previous, previous: None, starts: 0, fallen, ..self }
            }
        }
    }

    /// A version is taken back: it is not tried, and not the agent's any more.
    #[must_use]
    pub fn take_back(mut self, id: &VersionId) -> Self {
        self.trial = self.trial.filter(|trial| trial.program.id != *id);
        if self.committed.as_ref().is_some_and(|committed| committed.id == *id) {
            (self.committed, self.previous, self.starts) = (self.previous, None, 0);
        }
        self
    }

    /// What is to be started, and the record as it is to be before it is. `own` is the digest of the program of the
    /// house, if that is the one that asks.
    #[must_use]
    pub fn choose(mut self, own: Option<Digest>, at_ms: u64) -> (Choice, Self) {
        if own.is_some_and(|own| own != self.fixed.blake3) {
            // Whoever puts another program there has decided: it runs, and what was committed before is history.
            let why = "another program was put at the fixed path";
            let fixed = Fixed { blake3: own.unwrap_or(self.fixed.blake3), ..self.fixed.clone() };
            let fallen = self.fall(reason(ReasonCode::Interrupted, why), at_ms).fallen;
            return (Choice::Fixed, Self { fallen, ..Self::new(fixed) });
        }
        match &mut self.trial {
            Some(trial) if trial.tries_left > 0 => {
                trial.tries_left -= 1;
                let choice = Choice::Try(trial.clone());
                return (choice, self);
            }
            Some(_) => {
                let why = "the agent was interrupted while its new program was tried; the one before runs";
                self = self.fall(reason(ReasonCode::Interrupted, why), at_ms);
            }
            None => {}
        }
        if self.starts >= STARTS_MAX {
            let why = format!("the program was started {STARTS_MAX} times in a row and did not come up");
            self = self.fall_back(reason(ReasonCode::HealthFailed, why), at_ms);
        }
        match self.committed.clone() {
            None => (Choice::Fixed, self),
            Some(program) => {
                let choice = if self.starts == 0 { Choice::Become(program) } else { Choice::Watch(program) };
                self.starts += 1;
                (choice, self)
            }
        }
    }
}

/// Why a program does not run that could not even be opened or started.
pub(super) fn not_started(error: &dyn std::error::Error) -> Reason {
    reason(ReasonCode::InstallFailed, format!("the new program could not be started: {}", chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUSE: Digest = Digest([1; 32]);

    fn program(number: u8) -> Program {
        let (id, blake3) = (VersionId::of_baseline(Digest([number; 32])), Digest([number; 32]));
        Program { id, version: Version::cut(&format!("{number}")), path: "p".into(), blake3, bytes: 1 }
    }

    fn record() -> Record {
        Record::new(Fixed { path: "/usr/local/bin/countersign-agent".into(), blake3: HOUSE })
    }

    fn tried(record: Record, number: u8) -> Record {
        record.to_try(program(number), Duration::from_secs(1))
    }

    #[test]
    fn what_is_to_be_tried_is_tried_once_and_what_was_interrupted_is_not_tried_again() {
        let (choice, counted) = tried(record(), 2).choose(Some(HOUSE), 7);
        assert!(matches!(&choice, Choice::Try(trial) if trial.program == program(2) && trial.tries_left == 0));
        // The power went: whoever chooses then goes on with what was before.
        let (choice, after) = counted.choose(Some(HOUSE), 8);
        assert_eq!(choice, Choice::Fixed);
        let fallen = after.fallen.clone().unwrap();
        assert_eq!((fallen.program, fallen.reason.code, fallen.at_ms), (program(2), ReasonCode::Interrupted, 8));
        assert_eq!(after.clone().choose(Some(HOUSE), 9), (Choice::Fixed, after));
    }

    #[test]
    fn what_was_committed_runs_and_what_does_not_come_up_is_gone_back_from() {
        let first = tried(record(), 2).commit();
        assert_eq!((first.committed.clone(), first.previous.clone(), first.starts), (Some(program(2)), None, 1));
        let mut record = tried(Record { starts: 0, ..first }, 3).commit();
        assert_eq!(record.previous, Some(program(2)));
        record.starts = 0;
        let (choice, mut record) = record.choose(None, 1);
        assert_eq!(choice, Choice::Become(program(3)));
        for start in 2..=STARTS_MAX {
            let (choice, counted) = record.choose(None, 1);
            assert_eq!((choice, counted.starts), (Choice::Watch(program(3)), start));
            record = counted;
        }
        let (choice, record) = record.choose(None, 1);
        assert_eq!((choice, record.previous.clone()), (Choice::Become(program(2)), None));
        let fallen = record.fallen.clone().unwrap();
        assert_eq!((fallen.program, fallen.reason.code), (program(3), ReasonCode::HealthFailed));
        // And if that one does not come up either, it is the program of the house.
        let (choice, record) = Record { starts: STARTS_MAX, ..record }.choose(Some(HOUSE), 1);
        assert_eq!((choice, record.committed), (Choice::Fixed, None));
    }

    #[test]
    fn another_program_at_the_fixed_path_is_somebodys_decision() {
        let other = Digest([9; 32]);
        let committed = Record { starts: 0, ..tried(record(), 2).commit() };
        let (choice, record) = tried(committed.clone(), 3).choose(Some(other), 1);
        assert_eq!((choice, record.committed.clone(), record.fixed.blake3), (Choice::Fixed, None, other));
        assert_eq!(record.fallen.clone().unwrap().program, program(3));
        // A program of an update that chooses is not the one at the fixed path.
        assert_eq!(committed.choose(None, 1).0, Choice::Become(program(2)));
    }

    #[test]
    fn what_is_taken_back_is_neither_tried_nor_started() {
        let committed = Record { starts: 0, ..tried(record(), 2).commit() };
        let (second, third) = (program(2).id, program(3).id);
        assert_eq!(tried(committed.clone(), 3).take_back(&third), committed);
        let back = tried(committed.clone(), 3).commit().take_back(&third);
        assert_eq!((back.committed.clone(), back.previous.clone(), back.starts), (Some(program(2)), None, 0));
        assert_eq!(back.clone().take_back(&third), back, "once more is the same");
        assert_eq!(back.take_back(&second).committed, None);
    }

    #[test]
    fn a_record_of_a_newer_program_is_understood() {
        let mut text = serde_json::to_value(tried(record(), 2)).unwrap();
        text["a field of tomorrow"] = serde_json::json!({"x": 1});
        text["trial"]["another"] = serde_json::json!(2);
        assert_eq!(serde_json::from_value::<Record>(text).unwrap(), tried(record(), 2));
    }
}
