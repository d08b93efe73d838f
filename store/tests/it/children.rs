//! Processes that can be killed: this test program again, asked by the environment to play a role.

use crate::support::{Oracle, check};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use store::{Store, StoreError};
use tests::Finalised;

/// What a child does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Opens `STORE_PATH` and commits the chain of `STORE_SEED`, saying every height, until it fails or is
    /// killed.
    Commit,
    /// Opens `STORE_PATH`, says so, and waits.
    Hold,
    /// Tries to open and to make stores in `STORE_PATH`, and to check it.
    Try,
    /// Fills the file system of `STORE_PATH`, makes room, and opens the store again.
    Fill,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Hold => "hold",
            Self::Try => "try",
            Self::Fill => "fill",
        }
    }
}

/// A running child.
pub(crate) struct Child {
    process: std::process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    pub(crate) fn spawn(role: Role, environment: &[(&str, &OsStr)]) -> Self {
        Self::start(Self::command(Command::new(std::env::current_exe().unwrap()), role, environment))
    }

    /// Lets `command` run the test program: appends its arguments and environment.
    pub(crate) fn command(mut command: Command, role: Role, environment: &[(&str, &OsStr)]) -> Command {
        command.args(["--exact", "children::play", "--nocapture", "--test-threads=1"]);
        command.env("STORE_ROLE", role.name()).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// The next thing it says; `None` when it ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The test harness of the child talks too.
            if let Some((_, said)) = line.trim_end().split_once("store-child: ") {
                return Some(said.to_owned());
            }
        }
    }

    /// All it still says until it ends.
    pub(crate) fn rest(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line() {
            lines.push(line);
        }
        self.process.wait().unwrap();
        lines
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn say(what: impl std::fmt::Display) {
    println!("store-child: {what}");
}

/// Not a test: what a child does. Without a role it does nothing.
#[test]
fn play() {
    let Ok(role) = std::env::var("STORE_ROLE") else { return };
    let path = PathBuf::from(std::env::var_os("STORE_PATH").unwrap());
    match role.as_str() {
        "commit" => commit(&Store::open(path).unwrap()),
        "hold" => {
            let _store = Store::open(path).unwrap();
            say("open");
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }
        "try" => try_everything(&path),
        "fill" => fill(&path),
        other => panic!("no role {other}"),
    }
}

/// Commits until something fails.
fn commit(store: &Store) {
    let seed = std::env::var("STORE_SEED").unwrap().parse().unwrap();
    let mut oracle = Oracle::new(seed);
    for height in store.tip().header.height + 1.. {
        let Finalised { executed, certificate } = oracle.block(height).unwrap();
        if let Err(error) = store.commit(executed, certificate) {
            say(format!("failed: {}", kind(&error)));
            let again = store.commit(executed, certificate).unwrap_err();
            say(format!("again: {}", kind(&again)));
            return;
        }
        say(height);
    }
}

fn try_everything(path: &std::path::Path) {
    let scenario = tests::Scenario::new(1);
    say(format!("open: {}", Store::open(path).map_or_else(|error| kind(&error), |_| "fine")));
    let made = Store::create(path.join("new"), scenario.genesis());
    say(format!("create: {}", made.map_or_else(|error| kind(&error), |_| "fine")));
    let scratch = PathBuf::from(std::env::var_os("STORE_SCRATCH").unwrap());
    let report = check(path, &scratch).unwrap();
    say(format!("check: {} blocks, sound: {}", report.proven, report.is_sound()));
}

fn fill(path: &std::path::Path) {
    let seed: u64 = std::env::var("STORE_SEED").unwrap().parse().unwrap();
    let scratch = PathBuf::from(std::env::var_os("STORE_SCRATCH").unwrap());
    let ballast = path.with_file_name("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let store = Store::create(path, tests::Scenario::new(seed).genesis()).unwrap();
    commit(&store);
    let tip = store.tip();
    drop(store);
    std::fs::remove_file(&ballast).unwrap();
    let opened = Store::open(path).unwrap().tip();
    say(format!("kept {} opened {}", tip.header.height, opened.header.height));
    let report = check(path, &scratch).unwrap();
    say(format!("check: {} blocks, sound: {}", report.proven, report.is_sound()));
}

/// The name of an error's kind.
fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::AlreadyExists { .. } => "already-exists",
        StoreError::NotAStore { .. } => "not-a-store",
        StoreError::Locked { .. } => "locked",
        StoreError::ReadOnly { .. } => "read-only",
        StoreError::DiskFull { .. } => "disk-full",
        StoreError::Corrupt(_) => "corrupt",
        StoreError::Stopped => "stopped",
        _ => "other",
    }
}
