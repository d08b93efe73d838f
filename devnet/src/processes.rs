//! Starting and stopping the programs of a devnet.

use crate::layout::{Agent, Devnet, Node};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use terminal::OUTPUT_VARIABLE;

/// How long a program may take to end before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// What the names of all programs here begin with.
const NAME: &str = "countersign";
/// How often an ending program is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A tool that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("cannot run {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Nobody here has such a key, or there is no node to ask.
    #[error("{organisation} has no {role} key, or no node to use it at")]
    Nobody {
        /// The organisation.
        organisation: String,
        /// The role.
        role: String,
    },
    /// It said no.
    #[error("`{command}` ended with {code}:\n{stderr}")]
    Failed {
        /// What was run.
        command: String,
        /// Its exit code.
        code: String,
        /// What it said.
        stderr: String,
    },
}

impl ToolError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Start { .. } => "every program of the house must lie beside this one: `make install`",
            Self::Nobody { .. } => "`countersign-devnet join` makes an organisation, its keys and its node",
            Self::Failed { .. } => "what the program said stands above; what nodes said is in DIR/logs",
        }
    }
}

/// A program of this workspace: it lies beside this one, or one directory up when this one is a test.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let here = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    here.map_or_else(
        || name.into(),
        |directory| match directory.parent() {
            Some(above) if directory.ends_with("deps") => above.join(name),
            _ => directory.join(name),
        },
    )
}

/// Runs a program to its end and gives what it printed, whatever its exit code.
///
/// # Errors
/// [`ToolError::Start`].
pub fn output(name: &str, arguments: &[&str]) -> Result<Output, ToolError> {
    let program = program(name);
    // Its answer is read here, whoever asked us for JSON.
    let mut command = Command::new(&program);
    let output = command.args(arguments).env_remove(OUTPUT_VARIABLE).stdin(Stdio::null()).output();
    output.map_err(|source| ToolError::Start { program, source })
}

/// Runs a program that must succeed and gives its standard output.
///
/// # Errors
/// [`ToolError`].
pub fn run(name: &str, arguments: &[&str]) -> Result<String, ToolError> {
    let output = output(name, arguments)?;
    if !output.status.success() {
        return Err(ToolError::Failed {
            command: format!("{name} {}", arguments.join(" ")),
            code: output.status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Starts a program that goes on when this one ends.
///
/// # Errors
/// What the operating system says.
pub fn start(name: &str, arguments: &[&str], log: &Path) -> io::Result<u32> {
    let mut command = Command::new(program(name));
    command.args(arguments);
    detach(command, log)
}

fn detach(mut command: Command, log: &Path) -> io::Result<u32> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn()?;
    Ok(child.id())
}

/// Starts a node.
///
/// # Errors
/// What the operating system says.
pub fn start_node(node: &mut Node) -> io::Result<()> {
    start_node_through(node, &[])
}

/// Starts a node through a program that becomes it, as `nsenter --net=FILE --` does.
///
/// # Errors
/// What the operating system says.
pub fn start_node_through(node: &mut Node, starter: &[String]) -> io::Result<()> {
    let mut words = starter.iter().map(OsString::from).chain([program("countersign-node").into()]);
    // There is at least the node's own program.
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(["run", "--config"]).arg(&node.config);
    node.pid = Some(detach(command, &node.log)?);
    Ok(())
}

/// Starts an agent.
///
/// # Errors
/// What the operating system says.
pub fn start_agent(agent: &mut Agent) -> io::Result<()> {
    let config = agent.config.display().to_string();
    agent.pid = Some(start("countersign-agent", &["run", "--config", &config], &agent.log)?);
    Ok(())
}

/// Whether a process is (still) the one that was started with this configuration: numbers are used
/// again.
fn is_ours(pid: u32, config: &Path) -> bool {
    if is_over(pid) {
        return false;
    }
    let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let (command, config) = (read("cmdline"), config.display().to_string());
    // One that is dying has lost its arguments, but still has its name, its files and their locks.
    let dying = command.is_empty() && read("comm").starts_with(NAME.as_bytes());
    dying || String::from_utf8_lossy(&command).split('\0').any(|argument| argument == config)
}

/// Whether a process is gone, or dead and its parent has only not asked after it yet: then its files are
/// closed, and whoever wants their locks can have them.
fn is_over(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let dead = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
    // The first thread may be dead while others still end.
    dead && fs::read_dir(format!("/proc/{pid}/task")).map_or(true, |threads| threads.count() <= 1)
}

/// Whether a program that was started with this configuration still runs.
#[must_use]
pub fn is_running(pid: Option<u32>, config: &Path) -> bool {
    pid.is_some_and(|pid| is_ours(pid, config))
}

/// The last line of a log.
#[must_use]
pub fn last_words(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let error = text.lines().rfind(|line| line.starts_with("error: "));
    error.or_else(|| text.lines().last()).unwrap_or_default().to_owned()
}

/// Ends a process: asks first (unless `at_once`), then kills. Only one that was started with this
/// configuration.
pub fn stop(pid: Option<u32>, config: &Path, at_once: bool) {
    let Some(number) = pid.filter(|pid| is_ours(*pid, config)) else { return };
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else { return };
    // A process that is gone already needs no signal.
    let _ = kill_process(pid, if at_once { Signal::KILL } else { Signal::TERM });
    let deadline = Instant::now() + STOP_PATIENCE;
    while is_ours(number, config) {
        if Instant::now() > deadline {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Ends every program of a devnet: agents first, so that their last receipts find nodes. Gives their names.
///
/// # Errors
/// When `devnet.json` cannot be written.
pub fn down(devnet: &mut Devnet) -> io::Result<Vec<String>> {
    let mut ended = Vec::new();
    let agents = devnet.agents.iter_mut().map(|agent| (&agent.name, &mut agent.pid, &agent.config));
    let nodes = devnet.nodes.iter_mut().map(|node| (&node.name, &mut node.pid, &node.config));
    for (name, pid, config) in agents.chain(nodes) {
        if is_running(*pid, config) {
            ended.push(name.clone());
        }
        stop(pid.take(), config, false);
    }
    devnet.save()?;
    Ok(ended)
}
