//! Starting processes that cannot outlive the agent.
//!
//! Services and probes are started through the agent's own program ([`LAUNCH`]), which asks the kernel
//! to kill it when the agent dies, and then becomes the command. Every such process also carries a
//! marker in its environment, so that the next agent on the same data directory finds what a dead one
//! left ([`reap`]): children of children do not get the kernel's signal.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal};
use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// First argument of the agent's program when it is to become another one.
pub const LAUNCH: &str = "__launch";
/// The path of a program that was handed over opened: what is executed is what was verified.
pub(crate) const OWN: &str = "/proc/self/fd/0";
/// What a program of the agent's own is called, whatever path it is executed by.
pub const NAME: &str = "countersign-agent";
/// How a process ends that could not become another one: as shells have it.
pub const NOT_LAUNCHED: u8 = 127;
/// Variable that says which agent a process belongs to: the path of its data directory.
const MARKER: &str = "COUNTERSIGN_AGENT";
/// Where programs without a path are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of an environment looked at.
const ENVIRONMENT_BYTES_MAX: u64 = 256 * 1024;
/// How long a killed process may take to be gone.
const REAP_SECONDS_MAX: i64 = 5;

/// How processes are started.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    data_dir: PathBuf,
}

impl Launcher {
    /// `program` is the agent's own, `data_dir` what its processes are known by.
    #[must_use]
    pub fn new(program: PathBuf, data_dir: &Path) -> Self {
        let data_dir = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Self { program, data_dir }
    }

    /// The agent's own program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command in its own process group, in a directory, with nothing of the agent's environment.
    #[must_use]
    pub fn command(
        &self,
        words: &[String],
        environment: &BTreeMap<String, String>,
        directory: &Path,
    ) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .arg(LAUNCH)
            .arg(std::process::id().to_string())
            .args(words)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .envs(environment)
            .env(MARKER, &self.data_dir)
            .current_dir(directory)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Kills what an agent that died on this data directory left running; how many processes. To be
    /// called with the lock held: whatever carries the marker then belongs to nobody.
    #[must_use]
    pub fn reap(&self) -> usize {
        let Ok(processes) = fs::read_dir("/proc") else { return 0 };
        let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let own = i32::try_from(std::process::id()).ok();
        let ours = pids.filter(|pid| Some(*pid) != own).filter_map(|pid| self.kill_if_ours(pid));
        let killed: Vec<OwnedFd> = ours.collect();
        killed.iter().for_each(wait_for_end);
        killed.len()
    }

    /// Holds the process before looking: its number cannot become another's in between.
    fn kill_if_ours(&self, pid: i32) -> Option<OwnedFd> {
        if !self.is_ours(pid) {
            return None;
        }
        let held = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        if !self.is_ours(pid) {
            return None;
        }
        pidfd_send_signal(&held, Signal::KILL).ok()?;
        Some(held)
    }

    fn is_ours(&self, pid: i32) -> bool {
        let mut environment = Vec::new();
        let read = File::open(format!("/proc/{pid}/environ"))
            .and_then(|file| file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut environment));
        let marker = [MARKER.as_bytes(), b"=", self.data_dir.as_os_str().as_encoded_bytes()].concat();
        read.is_ok() && environment.split(|byte| *byte == 0).any(|variable| variable == marker)
    }
}

fn wait_for_end(process: &OwnedFd) {
    let timeout = Timespec { tv_sec: REAP_SECONDS_MAX, tv_nsec: 0 };
    // A process that does not end in time is stuck in the kernel; there is nothing more to do.
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout));
}

/// Becomes the agent's own program that was opened here, whatever stands at its path by now; returns only when that
/// fails. What the kernel does not take for a program is none: it is not handed to a shell, as `execvp` would.
pub(crate) fn execute(
    program: BorrowedFd<'_>,
    arguments: impl Iterator<Item = OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> io::Error {
    let text = |words: Vec<u8>| CString::new(words).map_err(io::Error::from);
    let named = std::iter::once(OsString::from(NAME)).chain(arguments);
    let arguments: io::Result<Vec<CString>> = named.map(|word| text(word.into_vec())).collect();
    let variable = |(name, value): (OsString, OsString)| text([name.as_bytes(), b"=", value.as_bytes()].concat());
    let environment: io::Result<Vec<CString>> = environment.map(variable).collect();
    match arguments.and_then(|arguments| Ok((arguments, environment?))) {
        Ok((arguments, environment)) => match nix::unistd::fexecve(program, &arguments, &environment) {
            Ok(never) => match never {},
            Err(error) => error.into(),
        },
        Err(error) => error,
    }
}

/// Becomes another program; returns only when that fails. The arguments are the agent's process id,
/// the program and its arguments.
#[must_use]
pub fn launch(mut arguments: impl Iterator<Item = OsString>) -> io::Error {
    let agent = arguments.next().and_then(|pid| Pid::from_raw(pid.to_str()?.parse().ok()?));
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // The agent may have died before the kernel was asked.
    if agent.is_none() || getppid() != agent {
        return io::Error::other("the agent is gone");
    }
    match arguments.next() {
        Some(program) => {
            let error = match program == OWN {
                true => execute(io::stdin().as_fd(), arguments, std::env::vars_os()),
                false => std::process::Command::new(&program).args(arguments).exec(),
            };
            io::Error::new(error.kind(), format!("{}: {error}", program.to_string_lossy()))
        }
        None => io::Error::other("no program"),
    }
}
