//! The agent's own program: which one runs, and who goes back to the one before when the new one does not come up.
//!
//! The program at its fixed path, where the house has put it, is never written to. What an update brings lies in the
//! data directory like every other tree, and a small [`record`] says which program is the agent's: committed, on
//! trial, and the one before. Whoever is started as `countersign-agent run` reads it first ([`launcher`]): a committed
//! program takes its place, one on trial is run as a child, watched, and ended if it is not healthy in time. What is
//! started was verified in the very file that is executed ([`open`]).
//!
//! The launcher is to the program what a boot loader is to an image (ADR 16): it counts before it starts, and goes
//! back by itself. What the journal says of the update is the engine's, as with every kind
//! (`crate::installer::own_program`).

pub mod launcher;
pub mod open;
pub mod record;
pub(crate) mod state;
pub mod trial;

use crate::clock::now_ms;
use crate::files::FileError;
use bao_tree::blake3;
use ledger::id::Digest;
use ledger::moment::Moment;
use record::{Program, Record};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Variable by which a program knows how it was started. Services never see it: nothing is inherited.
pub(crate) const VARIABLE: &str = "COUNTERSIGN_PROGRAM";
/// How a program that is watched ends when another one is to run: whoever watches it chooses anew.
pub const AGAIN: u8 = 75;

/// How this process was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Launched {
    /// By somebody: it is the program at the fixed path.
    #[default]
    Not,
    /// It was chosen, and took the launcher's place.
    InPlace,
    /// It was chosen, and a launcher waits for its end.
    Watched,
    /// On trial; a launcher ends it if it is not healthy in time.
    OnTrial,
    /// It ran as the agent, and another program is to be chosen.
    ToChoose,
}

impl Launched {
    const WORDS: [(Self, &'static str); 4] = [
        (Self::InPlace, "in-place"),
        (Self::Watched, "watched"),
        (Self::OnTrial, "on-trial"),
        (Self::ToChoose, "choose"),
    ];

    /// What the environment says.
    #[must_use]
    pub fn here() -> Self {
        let said = std::env::var(VARIABLE).unwrap_or_default();
        Self::WORDS.into_iter().find(|(_, word)| *word == said).map_or(Self::Not, |(launched, _)| launched)
    }

    fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|(launched, _)| *launched == self).map_or("", |(_, word)| word)
    }

    /// Whether a launcher waits for the end of this process.
    #[must_use]
    pub fn is_watched(self) -> bool {
        matches!(self, Self::Watched | Self::OnTrial)
    }
}

/// What a program is to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It stands at its fixed path.
    Fixed,
    /// An update brought it, and it was kept.
    Committed,
    /// An update brought it, and it is being tried.
    OnTrial,
}

/// The program that runs, as people see it, and as the launcher that tries it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramView {
    /// The version it was built as.
    pub version: String,
    /// Digest of its file, when that can be read.
    pub blake3: Option<Digest>,
    /// Where it was started from.
    pub path: PathBuf,
    /// Since when it runs.
    pub since_ms: u64,
    /// What it is to the agent.
    pub standing: Standing,
    /// On trial: it has found itself healthy, and waits to be committed.
    #[serde(default)]
    pub ready: bool,
    /// Why it cannot be updated here, where the house wants that.
    #[serde(default)]
    pub cannot_update: Option<String>,
    /// The program that was to take its place and did not come up.
    #[serde(default)]
    pub fallen: Option<String>,
}

impl ProgramView {
    /// The program that would run, of an agent that does not; none where it is the house's own.
    #[must_use]
    pub fn of_the_disk(record: &Record) -> Option<Self> {
        let (program, standing) = match (&record.committed, &record.trial) {
            (_, Some(trial)) => (&trial.program, Standing::OnTrial),
            (Some(committed), None) => (committed, Standing::Committed),
            (None, None) => return None,
        };
        Some(Self {
            version: program.version.to_string(),
            blake3: Some(program.blake3),
            path: program.path.clone(),
            since_ms: 0,
            standing,
            ready: false,
            cannot_update: None,
            fallen: record.fallen.as_ref().map(ToString::to_string),
        })
    }
}

impl fmt::Display for ProgramView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = match self.standing {
            Standing::Fixed => "at its fixed path",
            Standing::Committed => "committed",
            Standing::OnTrial => "ON TRIAL",
        };
        write!(f, "{}, {standing}", self.version)?;
        if self.since_ms > 0 {
            write!(f, ", runs since {}", Moment(self.since_ms))?;
        }
        match &self.blake3 {
            Some(blake3) => write!(f, " ({}, BLAKE3 {blake3})", self.path.display()),
            None => write!(f, " ({})", self.path.display()),
        }
    }
}

/// The program that runs in this process.
#[derive(Debug)]
pub struct Running {
    /// What leads to it, also when its file was replaced since.
    program: PathBuf,
    path: PathBuf,
    launched: Launched,
    since_ms: u64,
    blake3: OnceLock<Option<Digest>>,
    ready: AtomicBool,
    committed: AtomicBool,
    leaves: AtomicBool,
}

impl Running {
    /// `program` is a path that leads to it.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        let path = fs::read_link(program).unwrap_or_else(|_| program.to_owned());
        // As the kernel shows a file that was replaced: another one stands there now.
        let path = path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map_or(path.clone(), PathBuf::from);
        let (program, launched) = (program.to_owned(), Launched::here());
        let (since_ms, none) = (now_ms(), AtomicBool::default);
        Self {
            program,
            path,
            launched,
            since_ms,
            blake3: OnceLock::new(),
            ready: none(),
            committed: none(),
            leaves: none(),
        }
    }

    /// Where it was started from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path by which it can be read, also when its file was replaced.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// How it was started.
    #[must_use]
    pub fn launched(&self) -> Launched {
        self.launched
    }

    /// Digest of its file; none when that cannot be read any more.
    #[must_use]
    pub fn blake3(&self) -> Option<Digest> {
        *self.blake3.get_or_init(|| File::open(&self.program).and_then(|mut file| digest(&mut file)).ok())
    }

    /// Whether it is this program, started by a launcher.
    #[must_use]
    pub fn is(&self, program: &Program) -> bool {
        !matches!(self.launched, Launched::Not | Launched::ToChoose) && self.blake3() == Some(program.blake3)
    }

    /// Whether it is the one that the record has on trial.
    #[must_use]
    pub fn is_on_trial(&self, record: &Record) -> bool {
        self.launched == Launched::OnTrial && record.trial.as_ref().is_some_and(|trial| self.is(&trial.program))
    }

    /// It has found itself healthy.
    pub(crate) fn say_ready(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    /// Whether it was on trial and is not any more.
    pub(crate) fn note_committed(&self) {
        self.committed.store(true, Ordering::SeqCst);
    }

    /// Another program is to run: this one ends when it has said what is to be said.
    pub(crate) fn leave(&self) {
        self.leaves.store(true, Ordering::SeqCst);
    }

    /// Whether another program is to run.
    #[must_use]
    pub fn leaves(&self) -> bool {
        self.leaves.load(Ordering::SeqCst)
    }

    /// Takes note that it came up: the next launcher need not watch it. One that is on trial still is counted by whoever
    /// tries it.
    ///
    /// # Errors
    /// [`FileError`]; then it is watched once more.
    pub fn came_up(&self, record: &Path) -> Result<(), FileError> {
        if self.launched == Launched::OnTrial && !self.committed.load(Ordering::SeqCst) {
            return Ok(());
        }
        match Record::read(record)? {
            Some(known) if known.starts > 0 && known.committed.as_ref().is_some_and(|committed| self.is(committed)) => {
                Record { starts: 0, ..known }.write(record)
            }
            _ => Ok(()),
        }
    }

    /// How it is shown.
    #[must_use]
    pub fn view(&self, record: Option<&Record>, cannot_update: Option<String>) -> ProgramView {
        let standing = match (self.launched, record) {
            (Launched::OnTrial, Some(record)) if self.is_on_trial(record) => Standing::OnTrial,
            (_, Some(Record { committed: Some(committed), .. })) if self.is(committed) => Standing::Committed,
            _ => Standing::Fixed,
        };
        ProgramView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            blake3: self.blake3(),
            path: self.path.clone(),
            since_ms: self.since_ms,
            standing,
            ready: self.ready.load(Ordering::SeqCst),
            cannot_update,
            fallen: record.and_then(|record| record.fallen.as_ref()).map(ToString::to_string),
        }
    }
}

/// BLAKE3 of all that is left of a file.
pub(crate) fn digest(file: &mut File) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    io::copy(file, &mut hasher)?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// Why what is in a directory could not be executed, or not as what was verified; none when it could.
#[must_use]
pub fn lacks(data_dir: &Path) -> Option<String> {
    let there = data_dir.ancestors().find(|path| path.is_dir())?;
    match rustix::fs::statvfs(there) {
        Ok(stat) if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC) => {
            Some(format!("nothing in {} can be executed: it is mounted noexec", there.display()))
        }
        Ok(_) if !Path::new("/proc/self/exe").exists() => Some("/proc is not mounted".to_owned()),
        Ok(_) => open::directory(there).err().map(|error| crate::settled::chain(&error)),
        Err(error) => Some(format!("{}: {error}", there.display())),
    }
}
