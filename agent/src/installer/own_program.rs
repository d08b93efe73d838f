//! The agent's own program: a directory tree like others, but that what is in it is judged by whether it runs as the
//! agent.
//!
//! Which version is installed is what `current` says, as with every tree; which program runs is what the record of
//! programs says (`crate::own_program`). When the tree is in place the agent hands over: the new program is noted as to
//! be tried, the agent ends, and whoever launches it tries the new one. On trial it takes the update up from the
//! journal, and judges itself; that it is kept is for the launcher to say, which is the program before.

use super::directory_tree::DirectoryTree;
use super::install::{Held, Install, Job, Look, PutError, Story};
use super::installs::VersionId;
use super::tree;
use crate::config;
use crate::data::DataDir;
use crate::files::{FileError, failed};
use crate::own_program::record::{Fixed, Program, Record};
use crate::own_program::{self, Running, open};
use crate::settled::{Refusal, chain, reason};
use ledger::patch::{InstallerKind, PatchManifest, Reboot};
use ledger::receipt::{Reason, ReasonCode};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How often to look whether the launcher has committed what is healthy.
const COMMIT_LOOK: Duration = Duration::from_millis(20);
/// Bytes of a program's head that are looked at: what it is for stands there.
const HEAD_BYTES: usize = 20;
/// How a program of the kernel's own format begins; anything else is somebody's script, and shows what it is on trial.
const ELF: [u8; 4] = *b"\x7fELF";

/// Installs the agent's own program.
pub(super) struct OwnProgram {
    tree: DirectoryTree,
    data: DataDir,
    running: Arc<Running>,
    /// As the house wants it; none where it does not, and only what was begun is brought to its end.
    wanted: Option<config::OwnProgram>,
}

impl OwnProgram {
    pub(super) fn new(data: &DataDir, running: Arc<Running>, wanted: Option<config::OwnProgram>) -> Self {
        Self { tree: DirectoryTree::default(), data: data.clone(), running, wanted }
    }

    /// Whether patches of this product and channel are the agent's own.
    pub(super) fn is_of(&self, manifest: &PatchManifest) -> bool {
        let fits = |own: &config::OwnProgram| own.of.product == manifest.product && own.of.channel == manifest.channel;
        self.wanted.as_ref().is_some_and(fits)
    }

    /// The agent's program is a tree, and nothing else.
    pub(super) fn check_kind(&self, kind: InstallerKind) -> Result<(), Refusal> {
        let detail = || format!("the agent's own program comes as {}", policy::kind_words(self.kind()));
        if kind == self.kind() { Ok(()) } else { Err(Refusal::new(ReasonCode::InstallerMissing, detail())) }
    }

    fn record(&self) -> Result<Option<Record>, FileError> {
        Record::read(&self.data.programs())
    }

    /// The record as it is, or as it begins: with the program that runs as the house's own.
    fn record_or_new(&self) -> Result<Record, FileError> {
        if let Some(record) = self.record()? {
            return Ok(record);
        }
        let path = self.running.path();
        let unread = || failed("read", path)(io::Error::other("its digest cannot be told"));
        Ok(Record::new(Fixed { path: path.to_owned(), blake3: self.running.blake3().ok_or_else(unread)? }))
    }

    fn change(&self, change: impl FnOnce(Record) -> Record) -> Result<(), FileError> {
        match self.record()? {
            Some(record) => {
                let changed = change(record.clone());
                if changed == record { Ok(()) } else { changed.write(&self.data.programs()) }
            }
            None => Ok(()),
        }
    }

    /// The program of a version that is in place.
    fn program(&self, job: &Job, own: &config::OwnProgram) -> Result<Program, FileError> {
        tree::check(&job.place, &job.begun.to)
            .map_err(|differs| failed("use", &job.holding())(io::Error::other(differs)))?;
        let path = job.holding().join(&own.program);
        let mut file = File::open(&path).map_err(failed("open", &path))?;
        let blake3 = own_program::digest(&mut file).map_err(failed("read", &path))?;
        let bytes = file.metadata().map_err(failed("examine", &path))?.len();
        let beneath = path.strip_prefix(self.data.path()).unwrap_or(&path).to_owned();
        let (id, version) = (job.begun.to.clone(), job.begun.to_version.clone());
        Ok(Program { id, version, path: beneath, blake3, bytes })
    }

    /// Why a version that is installed does not run; none when it does, or is on trial.
    fn fell_back(&self, id: &VersionId) -> Result<Option<Reason>, FileError> {
        let interrupted = |why: &str| Ok(Some(reason(ReasonCode::Interrupted, why)));
        let Some(record) = self.record()? else { return interrupted("the new program was not tried") };
        let runs = |program: &Program| program.id == *id && self.running.is(program);
        if record.committed.as_ref().is_some_and(runs) || record.trial.is_some() && self.running.is_on_trial(&record) {
            return Ok(None);
        }
        match record.fallen.filter(|fallen| fallen.program.id == *id) {
            Some(fallen) => Ok(Some(fallen.reason)),
            None => interrupted("the new program was not tried; the one before runs"),
        }
    }
}

/// Whether a program is one for this machine, as far as its head says.
fn check_program(path: &Path, running: &Path) -> Result<(), Refusal> {
    let refused = |why: String| Err(Refusal::new(ReasonCode::InstallFailed, why));
    let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return refused(format!("{shown} in the patch is no plain file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refused(format!("the patch has no {shown}, which would be the agent's program"));
        }
        Err(error) => return Err(failed("examine", path)(error).into()),
    };
    let mode = metadata.permissions().mode();
    if mode & 0o100 == 0 || mode & 0o022 != 0 {
        return refused(format!(
            "{shown} in the patch has mode {:o}: it must be executable, and its owner's",
            mode & 0o7777
        ));
    }
    let (new, own) = (head(path)?, head(running)?);
    let is_for = |head: &[u8; HEAD_BYTES]| (head[4], head[5], [head[18], head[19]]);
    match new[..4] == ELF && own[..4] == ELF && is_for(&new) != is_for(&own) {
        true => refused(format!("{shown} in the patch is a program for another machine")),
        false => Ok(()),
    }
}

/// The first bytes of a program; zeros behind a shorter one.
fn head(path: &Path) -> Result<[u8; HEAD_BYTES], FileError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES as u64).read_to_end(&mut head));
    read.map_err(failed("read", path))?;
    head.resize(HEAD_BYTES, 0);
    Ok(head.try_into().unwrap_or([0; HEAD_BYTES]))
}

impl Install for OwnProgram {
    fn kind(&self) -> InstallerKind {
        self.tree.kind()
    }

    fn lacks(&self) -> Option<String> {
        own_program::lacks(self.data.path())
    }

    fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal> {
        if let Some(lacks) = self.lacks() {
            return Err(Refusal::new(ReasonCode::InstallerMissing, format!("this agent cannot be updated: {lacks}")));
        }
        self.tree.plan(manifest)
    }

    fn prepare(&self, job: &Job, held: Vec<Held>, holding: &Path, story: &mut Story) -> Result<(), Refusal> {
        self.tree.prepare(job, held, holding, story)?;
        match &self.wanted {
            Some(own) => check_program(&holding.join(&own.program), self.running.program()),
            None => Err(Refusal::new(ReasonCode::InstallerMissing, "this agent does not update itself")),
        }
    }

    fn put(&self, job: &Job, story: &mut Story) -> Result<(), PutError> {
        self.tree.put(job, story)
    }

    fn look(&self, job: &Job) -> Result<Look, FileError> {
        Ok(Look { fell_back: self.fell_back(&job.begun.to)?, ..self.tree.look(job)? })
    }

    fn prove_new(&self, job: &Job) -> Result<(), Reason> {
        self.tree.prove_new(job)
    }

    fn restore(&self, job: &Job, story: &mut Story) -> Result<(), String> {
        let before = self.record().map_err(|error| chain(&error))?;
        self.change(|record| record.take_back(&job.begun.to)).map_err(|error| chain(&error))?;
        let ran =
            before.iter().flat_map(|record| [record.committed.as_ref(), record.trial.as_ref().map(|it| &it.program)]);
        if ran.flatten().any(|program| program.id == job.begun.to && self.running.is(program)) {
            story.tell("the program before runs as soon as this one has ended");
            self.running.leave();
        }
        self.tree.restore(job, story)
    }

    fn prove_old(&self, job: &Job) -> Result<(), String> {
        let record = self.record().map_err(|error| chain(&error))?;
        match record.as_ref().is_some_and(|record| record.clone().take_back(&job.begun.to) != *record) {
            true => Err(format!("the record of programs still names {}", job.begun.to)),
            false => self.tree.prove_old(job),
        }
    }

    fn check_way_back(&self, job: &Job) -> Result<(), String> {
        let record = self.record().map_err(|error| chain(&error))?;
        if let Some(record) = record.map(|record| record.take_back(&job.begun.to)) {
            match &record.committed {
                Some(before) => open::program(self.data.path(), before).map(drop).map_err(|error| chain(&error))?,
                None if record.fixed.path.is_file() => {}
                None => return Err(format!("there is no {} any more", record.fixed.path.display())),
            }
        }
        self.tree.prove_old(job)
    }

    fn settle(&self, job: &Job) -> Result<(), FileError> {
        own_program::state::discard(&self.data)?;
        self.tree.settle(job)
    }

    fn reboot(&self, _: &PatchManifest) -> Reboot {
        // It is the agent that begins anew, and not the host.
        Reboot::Never
    }

    fn hands_over(&self) -> bool {
        true
    }

    fn hand_over(&self, job: &Job) -> Result<(), FileError> {
        let refused = || failed("use", &job.holding())(io::Error::other("this agent does not update itself"));
        let own = self.wanted.as_ref().ok_or_else(refused)?;
        let record = self.record_or_new()?.to_try(self.program(job, own)?, own.deadline);
        record.write(&self.data.programs())?;
        self.running.leave();
        Ok(())
    }

    fn keep(&self, job: &Job) -> Result<(), FileError> {
        // Only whoever tries it can say that it is kept: it is the one who would have to go back.
        self.running.say_ready();
        let patience = self.record()?.and_then(|record| record.trial).map_or(Duration::ZERO, |trial| trial.patience());
        let began = Instant::now();
        loop {
            let committed = self.record()?.and_then(|record| record.committed);
            if committed.is_some_and(|committed| committed.id == job.begun.to) {
                self.running.note_committed();
                return Ok(());
            }
            if began.elapsed() > patience {
                let late = io::Error::new(io::ErrorKind::TimedOut, "nobody who tries this program has committed it");
                return Err(failed("keep", self.running.path())(late));
            }
            thread::sleep(COMMIT_LOOK);
        }
    }

    fn owes_restart(&self) -> Option<bool> {
        Some(false)
    }
}

impl OwnProgram {
    /// The version that is the agent's by the record and does not run, because it did not come up; and why.
    pub(super) fn fallen(&self) -> Option<(VersionId, Reason)> {
        let fallen = self.record().ok()??.fallen?;
        Some((fallen.program.id, fallen.reason))
    }

    /// Where installed versions of it are.
    pub(super) fn of(&self) -> Option<&policy::Subscription> {
        self.wanted.as_ref().map(|own| &own.of)
    }

    /// The program that runs.
    pub(super) fn running(&self) -> &Arc<Running> {
        &self.running
    }
}
