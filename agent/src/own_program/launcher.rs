//! The launcher: what `countersign-agent run` does before it is the agent. It chooses a program by the record and takes
//! its place, or watches it until it has come up.
//!
//! While a program is on trial, its launcher is the program before: it holds no lock and opens nothing of the agent's
//! but the record, so that two agents never work on one data directory. It commits what is healthy in time, and ends
//! what is not. A program that it watches ends with it, by the kernel's hand.

use super::record::{Choice, Program, Record, Trial, not_started};
use super::trial::{self, Progress};
use super::{AGAIN, Launched, VARIABLE, digest, open, state};
use crate::clock::now_ms;
use crate::control::{self, Request};
use crate::data::DataDir;
use crate::services::describe;
use crate::services::launch::{LAUNCH, NAME, NOT_LAUNCHED, OWN, execute};
use crate::settled::{Refusal, chain, reason};
use ledger::id::Digest;
use ledger::receipt::{Reason, ReasonCode};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Child;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often a program on trial is asked how it is.
const LOOK: Duration = Duration::from_millis(200);
/// How long it may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long one that was not healthy in time may take to end when it is asked to; then it is killed.
const LATE_END_WAIT: Duration = Duration::from_secs(5);
/// How long an agent may take to end when somebody stops it: services have a time of their own to end in.
const STOP_WAIT: Duration = Duration::from_secs(45);
/// Who stops all processes of the agent may have asked the one that is watched a moment earlier.
const STOP_LAG: Duration = Duration::from_millis(300);
/// Wait before a program that ended by itself is started again.
const START_WAIT: Duration = Duration::from_secs(1);
/// The program that chooses, also when its file was replaced.
const SELF: &str = "/proc/self/exe";

/// How the launcher ends.
#[derive(Debug)]
pub enum Launch {
    /// This program itself is the agent.
    Own,
    /// The agent has ended, with this exit code.
    Ended(u8),
}

/// A program cannot be watched: there is no runtime, or there are no signals.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch the agent's program")]
pub struct LaunchError(#[source] io::Error);

/// Starts what the record of this data directory says, unless it is this very program.
///
/// # Errors
/// [`LaunchError`].
pub fn launch(data: &DataDir) -> Result<Launch, LaunchError> {
    if matches!(Launched::here(), Launched::InPlace | Launched::Watched | Launched::OnTrial) {
        return Ok(Launch::Own);
    }
    let mut record = match Record::read(&data.programs()) {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(Launch::Own),
        Err(error) => {
            tracing::error!(error = chain(&error), "which program is the agent's cannot be told: this one is");
            return Ok(Launch::Own);
        }
    };
    let own = own_digest(&record);
    // Every turn takes a program out of the choice, counts a start, or ends.
    loop {
        if record.trial.as_ref().is_some_and(|trial| trial.tries_left == 0) {
            mend(data);
        }
        let (choice, counted) = record.clone().choose(own, now_ms());
        let noted = counted == record || note(data, &counted);
        let known = |data| if noted { known(data, &counted) } else { counted.clone() };
        record = match choice {
            Choice::Fixed => return Ok(fixed(&counted)),
            Choice::Become(program) => {
                let reason = become_program(data, &program, Launched::InPlace);
                tracing::error!(%reason, version = %program.version, "the program before runs again");
                counted.clone().fall_back(reason, now_ms())
            }
            Choice::Try(_) if !noted => {
                let why = "the new program was not tried: that it is could not be noted";
                counted.clone().fall(reason(ReasonCode::Io, why), now_ms())
            }
            Choice::Try(trial) => match watch(data, &trial.program, Some(&trial), &counted)? {
                Watched::Stopped(code) => return Ok(Launch::Ended(code)),
                Watched::Ended => known(data),
                Watched::Again => hand_on(data, known(data)),
                Watched::Fell(reason) => {
                    tracing::error!(%reason, version = %trial.program.version, "the program before runs again");
                    mend(data);
                    // One that took itself back has said so in the record already.
                    known(data).fall(reason, now_ms())
                }
            },
            Choice::Watch(program) => match watch(data, &program, None, &counted)? {
                Watched::Stopped(code) => return Ok(Launch::Ended(code)),
                Watched::Ended => known(data),
                Watched::Again => hand_on(data, known(data)),
                Watched::Fell(reason) => known(data).fall_back(reason, now_ms()),
            },
        };
        if record != counted {
            note(data, &record);
        }
    }
}

/// Starts the committed program in the place of this one, for a command that is no agent: so it speaks as whoever runs.
/// Returns where there is none, or it cannot be started.
pub fn defer(data: &DataDir) {
    if Launched::here() != Launched::Not {
        return;
    }
    // Whoever may not read it is told so by the command itself.
    let Ok(Some(record)) = Record::read(&data.programs()) else { return };
    let own = own_digest(&record);
    let quiet = Record { trial: None, starts: 0, ..record };
    if let (Choice::Become(program), _) = quiet.choose(own, now_ms()) {
        let reason = become_program(data, &program, Launched::InPlace);
        tracing::warn!(%reason, "this is not said by the agent's own program");
    }
}

/// Becomes the launcher of whatever is to run after this agent. Returns only when that fails.
#[must_use]
pub fn choose_again() -> io::Error {
    command(Path::new(SELF), Launched::ToChoose).exec()
}

/// Digest of the program that chooses, if it is the one at the fixed path.
fn own_digest(record: &Record) -> Option<Digest> {
    if Launched::here() != Launched::Not {
        return None;
    }
    // One that cannot be read is taken for what it was.
    File::open(SELF).and_then(|mut file| digest(&mut file)).ok().or(Some(record.fixed.blake3))
}

/// Has this program find what it can read, after another one was tried.
fn mend(data: &DataDir) {
    if let Err(error) = state::mend(data) {
        tracing::error!(error = chain(&error), "what was written on trial is not put back");
    }
}

/// The record as it is now: a program that was watched may have changed it.
fn known(data: &DataDir, before: &Record) -> Record {
    Record::read(&data.programs()).ok().flatten().unwrap_or_else(|| before.clone())
}

/// Puts the record on the disk, if the disk lets it.
fn note(data: &DataDir, record: &Record) -> bool {
    let noted = record.write(&data.programs());
    if let Err(error) = &noted {
        tracing::error!(error = chain(error), "which program is the agent's cannot be noted");
    }
    noted.is_ok()
}

/// The program at the fixed path is the agent: this one, or it takes this one's place. Should it not be there any more,
/// this one is better than none.
fn fixed(record: &Record) -> Launch {
    if Launched::here() != Launched::Not {
        let error = command(&record.fixed.path, Launched::InPlace).exec();
        tracing::error!(%error, path = %record.fixed.path.display(), "the program at the fixed path cannot be started");
    }
    Launch::Own
}

/// Has a committed program that has come up choose what runs after it: the newest launcher there is.
fn hand_on(data: &DataDir, record: Record) -> Record {
    if let Some(program) = record.committed.as_ref().filter(|_| record.starts == 0) {
        let reason = become_program(data, program, Launched::ToChoose);
        tracing::error!(%reason, "it does not choose; this program does");
    }
    record
}

/// The command line of this program, for another one.
fn command(program: &Path, launched: Launched) -> Command {
    let mut command = Command::new(program);
    command.arg0(NAME).args(std::env::args_os().skip(1)).env(VARIABLE, launched.word());
    command
}

/// Becomes a program; returns only when that fails.
fn become_program(data: &DataDir, program: &Program, launched: Launched) -> Reason {
    match open::program(data.path(), program) {
        Ok(file) => {
            let others = std::env::vars_os().filter(|(name, _)| name != VARIABLE);
            let environment = others.chain([(VARIABLE.into(), launched.word().into())]);
            not_started(&execute(file.as_fd(), std::env::args_os().skip(1), environment))
        }
        Err(error) => error.reason(),
    }
}

/// What came of a program that was watched.
#[derive(Debug)]
enum Watched {
    /// It was asked to end, and did.
    Stopped(u8),
    /// Another program is to run.
    Again,
    /// It was, or is by now, the agent's, and ended by itself.
    Ended,
    /// It did not come up.
    Fell(Reason),
}

/// Runs a program and waits for its end. One that is on trial is committed when it is healthy, and ended when it is not
/// in time.
fn watch(data: &DataDir, program: &Program, trial: Option<&Trial>, record: &Record) -> Result<Watched, LaunchError> {
    let file = match open::program(data.path(), program) {
        Ok(file) => file,
        Err(error) => return Ok(Watched::Fell(error.reason())),
    };
    if trial.is_some()
        && let Err(error) = state::keep(data)
    {
        return Ok(Watched::Fell(Refusal::from(error).reason));
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(LaunchError)?;
    runtime.block_on(async {
        let mut stop = Stop::new().map_err(LaunchError)?;
        let launched = if trial.is_some() { Launched::OnTrial } else { Launched::Watched };
        let child = match spawn(file, launched) {
            Ok(child) => child,
            Err(error) => return Ok(Watched::Fell(not_started(&error))),
        };
        tracing::info!(version = %program.version, process = child.id(), launched = launched.word(), "started");
        let mut watch = Watch { data, child, began: Instant::now(), trial, record, missing: String::new() };
        let watched = watch.until_its_end(&mut stop).await;
        if matches!(watched, Watched::Ended) {
            tracing::error!(version = %program.version, again_in = ?START_WAIT, "the agent ended by itself");
            tokio::select! {
                () = sleep(START_WAIT) => {}
                () = stop.asked() => return Ok(Watched::Stopped(0)),
            }
        }
        Ok(watched)
    })
}

/// Starts a program that cannot outlive this one.
fn spawn(file: File, launched: Launched) -> io::Result<Child> {
    let mut command = tokio::process::Command::new(SELF);
    command.arg(LAUNCH).arg(std::process::id().to_string()).arg(OWN).args(std::env::args_os().skip(1));
    command.env(VARIABLE, launched.word()).stdin(Stdio::from(file)).kill_on_drop(true).spawn()
}

/// A program that runs, and how far it is.
struct Watch<'a> {
    data: &'a DataDir,
    child: Child,
    began: Instant,
    /// While it is on trial.
    trial: Option<&'a Trial>,
    record: &'a Record,
    /// What it lacked when it was looked at last.
    missing: String,
}

impl Watch<'_> {
    async fn until_its_end(&mut self, stop: &mut Stop) -> Watched {
        loop {
            let deadline = self.trial.and_then(|trial| self.began.checked_add(trial.patience()));
            tokio::select! {
                biased;
                ended = self.child.wait() => return match timeout(STOP_LAG, stop.asked()).await {
                    Ok(()) => Watched::Stopped(code(ended)),
                    Err(_) => self.ended(ended),
                },
                () = stop.asked() => return Watched::Stopped(code(self.end(STOP_WAIT).await)),
                () = at(deadline) => {
                    let late = self.trial.map(|trial| trial::late(trial, &self.missing));
                    if let Err(error) = self.end(LATE_END_WAIT).await {
                        tracing::error!(%error, "it cannot be waited for");
                    }
                    return late.map_or(Watched::Ended, Watched::Fell);
                }
                () = sleep(LOOK), if self.trial.is_some() => self.look().await,
            }
        }
    }

    /// Asks a program on trial how it is, and commits it if it is healthy.
    async fn look(&mut self) {
        let Some(trial) = self.trial else { return };
        let asked = timeout(ANSWER_WAIT, control::ask_line(self.data, &Request::Status {})).await;
        let answer = asked.ok().and_then(Result::ok).flatten();
        match trial::judge(trial, answer.as_deref()) {
            Progress::Healthy if let Some(unreadable) = state::unreadable(self.data) => {
                self.missing = format!("it wrote what the program before cannot read: {unreadable}");
            }
            Progress::Healthy => match self.record.clone().commit().write(&self.data.programs()) {
                Ok(()) => {
                    tracing::info!(version = %trial.program.version, "healthy: committed");
                    self.trial = None;
                }
                Err(error) => self.missing = chain(&error),
            },
            Progress::NotYet(missing) => self.missing = missing,
        }
    }

    fn ended(&self, ended: io::Result<ExitStatus>) -> Watched {
        let is_again = ended.as_ref().is_ok_and(|status| status.code() == Some(i32::from(AGAIN)));
        let on_trial =
            || Record::read(&self.data.programs()).is_ok_and(|now| now.is_some_and(|now| now.trial.is_some()));
        match self.trial {
            // One that has taken itself back is not on trial any more.
            Some(_) if is_again && !on_trial() => Watched::Again,
            None if is_again => Watched::Again,
            None => Watched::Ended,
            Some(_) if ended.as_ref().is_ok_and(|status| status.code() == Some(i32::from(NOT_LAUNCHED))) => {
                Watched::Fell(reason(ReasonCode::InstallFailed, "the new program could not be started"))
            }
            Some(_) => Watched::Fell(trial::died(&describe(ended), self.began.elapsed())),
        }
    }

    /// Has it end, by force if it must be.
    async fn end(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // It is a child that was not waited for: its number is nobody else's.
            let _ = kill_process(pid, Signal::TERM);
        }
        match timeout(patience, self.child.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.child.kill().await?;
                self.child.wait().await
            }
        }
    }
}

/// Ends at a deadline, if there is one.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The exit code of a program that was asked to end.
fn code(ended: io::Result<ExitStatus>) -> u8 {
    /// What shells add to the number of a signal.
    const SIGNALLED: i32 = 128;
    let code = |status: ExitStatus| status.code().or(status.signal().map(|signal| SIGNALLED + signal));
    ended.ok().and_then(code).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// What asks a program to end.
struct Stop {
    terminate: Signals,
    interrupt: Signals,
    hangup: Signals,
}

impl Stop {
    fn new() -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: signal(SignalKind::hangup())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
