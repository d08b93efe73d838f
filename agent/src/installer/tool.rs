//! The host's own tools: found, run with nothing of the agent's environment, bounded in time and in
//! what is listened to.
//!
//! Unlike services and probes, a tool that changes the host does not die with the agent: left alone it
//! comes to an end of its own, which is easier to go back from than from its middle. Whoever takes over
//! waits for its lock.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Where tools are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Lines of a tool's output kept: the last ones.
const LINES_MAX: usize = 100;
/// Bytes of one line kept.
const LINE_BYTES_MAX: u64 = 1024;
/// What a tool may say altogether, on both streams.
const SAID_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long to wait for the end of a tool before the clock is looked at.
const MOMENT_NS: i64 = 50_000_000;
/// How long output may go on after the tool has ended: a process it left behind may hold the pipe.
const OUTPUT_WAIT: Duration = Duration::from_secs(2);

/// Why a tool has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("cannot start {tool}")]
    Start { tool: String, source: io::Error },
    #[error("{tool} was not over after {patience:?}, and was killed")]
    Deadline { tool: String, patience: Duration },
    #[error("{tool} was not to go on, and was killed")]
    Stopped { tool: String },
    #[error("{tool} ended with {status}: {last}")]
    Failed { tool: String, status: String, last: String },
    #[error("{tool} says more than {limit} bytes")]
    TooMuch { tool: String, limit: u64 },
    #[error("cannot listen to {tool}")]
    Listen { tool: String, source: io::Error },
}

impl ToolError {
    /// Whether the tool said that there is no room.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Failed { last, .. } if last.contains("No space left on device"))
    }
}

/// Where a tool is, if the host has it.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    PATH.split(':').map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}

/// A tool about to be run.
pub(crate) struct Tool {
    name: String,
    command: Command,
    patience: Duration,
}

impl Tool {
    pub(crate) fn new(program: &Path, patience: Duration) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("HOME", "/");
        command.current_dir("/").stdin(Stdio::null()).process_group(0);
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, command, patience }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end; what it said last, on both streams. It writes into memory of its own and not
    /// to the agent, so that it can go on writing when there is no agent any more.
    pub(crate) fn run(self) -> (Result<(), ToolError>, Vec<String>) {
        self.run_hearing(|_| ())
    }

    /// The same, and has every line it said heard.
    pub(crate) fn run_hearing(self, hear: impl FnMut(&str)) -> (Result<(), ToolError>, Vec<String>) {
        self.run_minded(hear, || true)
    }

    /// The same, as long as somebody who is asked every moment says that it may go on.
    pub(crate) fn run_minded(
        mut self,
        hear: impl FnMut(&str),
        may_go_on: impl FnMut() -> bool,
    ) -> (Result<(), ToolError>, Vec<String>) {
        let memory = memory(&self.name);
        let cloned = memory.and_then(|file| Ok((file.try_clone()?, file.try_clone()?, file)));
        let (out, err, said) = match cloned {
            Ok(cloned) => cloned,
            Err(source) => return (Err(ToolError::Listen { tool: self.name, source }), Vec::new()),
        };
        let child = match self.command.stdout(out).stderr(err).spawn() {
            Ok(child) => child,
            Err(source) => return (Err(ToolError::Start { tool: self.name, source }), Vec::new()),
        };
        let ended = end(child, &self.name, Until::from_now(self.patience), may_go_on);
        let (ended, lines) = match whole(&said) {
            Ok(said) => (ended, last_lines(said, hear)),
            Err(source) => (ended.and(Err(ToolError::Listen { tool: self.name, source })), Vec::new()),
        };
        (ended.map_err(|error| error.saying(&lines)), lines)
    }

    /// Runs it to its end; everything it wrote to its standard output, at most `limit` bytes.
    pub(crate) fn read(self, limit: u64) -> Result<Vec<u8>, ToolError> {
        let (ended, bytes) = self.read_whatever(limit)?;
        ended.map(|()| bytes)
    }

    /// The same, for tools whose end says less than what they wrote; how it ended comes first.
    pub(crate) fn read_whatever(self, limit: u64) -> Result<(Result<(), ToolError>, Vec<u8>), ToolError> {
        let tool = self.name.clone();
        let (ended, bytes) = self.stream(|from| {
            let mut bytes = Vec::new();
            from.take(limit + 1).read_to_end(&mut bytes).map(|_| bytes)
        })?;
        match (ended, bytes) {
            (Err(late @ ToolError::Deadline { .. }), _) => Err(late),
            (_, Err(source)) => Err(ToolError::Listen { tool, source }),
            (_, Ok(bytes)) if bytes.len() as u64 > limit => Err(ToolError::TooMuch { tool, limit }),
            (ended, Ok(bytes)) => Ok((ended, bytes)),
        }
    }

    /// Runs it, and hands its standard output to `listen`. What is left of the output when that returns
    /// nobody hears; how the tool ended comes first of the two results.
    pub(crate) fn stream<T>(
        mut self,
        listen: impl FnOnce(&mut dyn Read) -> T,
    ) -> Result<(Result<(), ToolError>, T), ToolError> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = self.command.spawn();
        let mut child = spawned.map_err(|source| ToolError::Start { tool: self.name.clone(), source })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (say, said) = mpsc::channel();
        std::thread::spawn(move || say.send(err.map(|err| last_lines(err, |_| ())).unwrap_or_default()));
        let until = Until::from_now(self.patience);
        let (heard, late) = match (out, process(&child)) {
            (Some(out), Some(process)) => {
                let mut in_time = InTime { out, process, until, ended: None };
                // Nobody hears the rest: a tool that goes on writing notices that, unless it is late already and
                // has to hear of that first.
                (listen(&mut in_time), Some(in_time).filter(|_| until.is_over()))
            }
            _ => (listen(&mut io::empty()), None),
        };
        let ended = end(child, &self.name, until, || true);
        drop(late);
        let lines = said.recv_timeout(OUTPUT_WAIT).unwrap_or_default();
        Ok((ended.map_err(|error| error.saying(&lines)), heard))
    }
}

impl ToolError {
    /// Puts what the tool said beside how it ended.
    fn saying(self, lines: &[String]) -> Self {
        match self {
            Self::Failed { tool, status, .. } => {
                let told: Vec<_> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
                Self::Failed { tool, status, last: told[told.len().saturating_sub(8)..].join("; ") }
            }
            other => other,
        }
    }
}

/// A file in memory that can never hold more than a tool may say: who says more is told that it cannot.
fn memory(name: &str) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.set_len(SAID_BYTES_MAX)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file)
}

/// All that was said. Whoever wrote shares the place in the file with us.
fn whole(mut said: &File) -> io::Result<impl Read> {
    let end = said.stream_position()?;
    said.seek(SeekFrom::Start(0))?;
    Ok(said.take(end))
}

/// The last lines, each of which was heard as it went by.
fn last_lines(from: impl Read, mut hear: impl FnMut(&str)) -> Vec<String> {
    let (mut lines, mut from) = (VecDeque::new(), BufReader::new(from));
    loop {
        let mut line = Vec::new();
        match from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return lines.into(),
            Ok(_) => {}
        }
        let text: String = String::from_utf8_lossy(&line).trim_end().chars().filter(|c| !c.is_control()).collect();
        hear(&text);
        lines.push_back(text);
        if lines.len() > LINES_MAX {
            lines.pop_front();
        }
    }
}

/// When patience ends.
#[derive(Clone, Copy, Debug)]
struct Until {
    at: Instant,
    patience: Duration,
}

impl Until {
    fn from_now(patience: Duration) -> Self {
        let now = Instant::now();
        // Later than any clock can say is never.
        let at = now.checked_add(patience).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        Self { at, patience }
    }

    fn is_over(self) -> bool {
        Instant::now() >= self.at
    }
}

/// What a tool writes, as long as there is time. A process it left behind may hold the pipe for ever: soon after
/// the tool has ended its output has ended, too.
struct InTime {
    out: ChildStdout,
    process: OwnedFd,
    until: Until,
    ended: Option<Instant>,
}

impl Read for InTime {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // Also of one that writes on and on.
            if self.until.is_over() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let moment = Timespec { tv_sec: 0, tv_nsec: MOMENT_NS };
            match poll(&mut [PollFd::new(&self.out, PollFlags::IN)], Some(&moment)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.out.read(buffer),
                Err(error) => return Err(error.into()),
            }
            if self.ended.is_none() && has_ended(&self.process) {
                self.ended = Some(Instant::now());
            }
            if self.ended.is_some_and(|ended| ended.elapsed() >= OUTPUT_WAIT) {
                return Ok(0);
            }
        }
    }
}

fn process(child: &Child) -> Option<OwnedFd> {
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
    pidfd_open(process, PidfdFlags::empty()).ok()
}

/// Waits for the end, and makes one when it does not come.
fn end(mut child: Child, tool: &str, until: Until, mut may_go_on: impl FnMut() -> bool) -> Result<(), ToolError> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let listen = |source| ToolError::Listen { tool: tool.to_owned(), source };
    let held = process(&child);
    while let Some(held) = &held
        && !has_ended(held)
    {
        let is_late = until.is_over();
        if is_late || !may_go_on() {
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            child.wait().map_err(listen)?;
            let tool = tool.to_owned();
            return Err(match is_late {
                true => ToolError::Deadline { tool, patience: until.patience },
                false => ToolError::Stopped { tool },
            });
        }
    }
    let status = child.wait().map_err(listen)?;
    match status.success() {
        true => Ok(()),
        false => Err(ToolError::Failed { tool: tool.to_owned(), status: status.to_string(), last: String::new() }),
    }
}

/// Waits a moment for the end of a process.
fn has_ended(process: &OwnedFd) -> bool {
    let moment = Timespec { tv_sec: 0, tv_nsec: MOMENT_NS };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&moment)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> Tool {
        Tool::new(Path::new("/bin/sh"), patience).args(["-c", script])
    }

    #[test]
    fn a_tool_is_bounded_in_time_and_in_what_is_listened_to() {
        let (hangs, _) = shell("sleep 1000 & sleep 1000", Duration::from_millis(100)).run();
        assert!(matches!(hangs, Err(ToolError::Deadline { .. })), "{hangs:?}");
        let (failed, lines) = shell("i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; exit 3", LONG).run();
        assert!(failed.unwrap_err().to_string().ends_with("line 299"));
        assert_eq!(lines.len(), LINES_MAX);
        let (endless, _) = shell("yes", LONG).run();
        assert!(matches!(endless, Err(ToolError::Failed { .. })), "{endless:?}");
        assert_eq!(shell("printf abc", LONG).read(3).unwrap(), b"abc");
        assert!(matches!(shell("printf abcd", LONG).read(3), Err(ToolError::TooMuch { limit: 3, .. })));
        let mut heard = 0;
        let all = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done";
        let (ended, _) = shell(all, LONG).run_hearing(|line| heard += usize::from(line.starts_with("line")));
        assert!(ended.is_ok() && heard == 300, "all of it is heard, though not kept: {heard}");
        let (mut asked, quietly) = (0, shell("sleep 1000", LONG));
        let (stopped, _) = quietly.run_minded(
            |_| (),
            || {
                asked += 1;
                asked < 3
            },
        );
        assert!(matches!(stopped, Err(ToolError::Stopped { .. })) && asked == 3, "{stopped:?}");
        // One that writes without end ends when nobody listens any more.
        assert!(shell("yes", LONG).read(1000).is_err());
    }

    #[test]
    fn nobody_listens_for_ever() {
        let moment = Duration::from_millis(100);
        for endless in ["sleep 1000", "echo one; exec sleep 1000", "exec >&-; sleep 1000", "exec yes"] {
            let (ended, _) = shell(endless, moment).stream(|from| io::copy(from, &mut io::sink())).unwrap();
            assert!(matches!(ended, Err(ToolError::Deadline { .. })), "{endless}: {ended:?}");
        }
        // Who has the pipe when the tool has gone has nothing more to say.
        assert_eq!(shell("sleep 5 & echo one", LONG).read(1000).unwrap(), b"one\n");
    }

    #[test]
    fn a_tool_has_nothing_of_the_agents_environment() {
        let seen = shell("env", LONG).env("MORE", "1").read(10_000).unwrap();
        let seen = String::from_utf8(seen).unwrap();
        let mut names: Vec<_> = seen.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        names.retain(|name| !["_", "PWD", "SHLVL", "OLDPWD"].contains(name));
        names.sort_unstable();
        assert_eq!(names, ["HOME", "LC_ALL", "MORE", "PATH"]);
    }

    const LONG: Duration = Duration::from_secs(30);
}
