//! What a person at a host can do.

mod adopt;
mod apply;
mod doctor;
mod init;
mod rollback;
mod settling;
mod status;
mod why;

use crate::failure::{Failure, OK};
use agent::clock;
use agent::config::Config;
use agent::daemon;
use agent::installer::journal::Moment;
use agent::site::own_program;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long threads that read or write may take to notice that the program ends.
const END_WAIT: Duration = Duration::from_millis(200);
/// Threads for reading, writing and hashing: one update at a time needs no more.
const BLOCKING_THREADS_MAX: usize = 4;
/// The configuration, if nobody says otherwise.
const CONFIG_DEFAULT: &str = "/etc/countersign/agent.toml";

/// Keep one endpoint patched.
///
/// The agent follows the ledger, applies what is proven and permitted, judges whether it went well,
/// keeps it or rolls back, and writes a receipt. It believes no node.
#[derive(Debug, Parser)]
#[command(
    name = "countersign-agent",
    version,
    after_help = "\
Examples:
  countersign-agent init --dir /etc/countersign --name edge-1 \\
      --node https://ledger-a.example:7400 --node https://ledger-b.example:7400 \\
      --ca roots.pem --genesis genesis
  countersign-agent adopt --product acme/valkey --channel stable --version 8.0.0 /opt/valkey
  countersign-agent run
  countersign-agent apply 66c5d1
  countersign-agent status -o json
  countersign-agent why 66c5d1
  countersign-agent rollback 66c5d1
  countersign-agent doctor

With -o json the answer is one JSON object on standard output. What went wrong is one, too:
{\"error\": {\"code\", \"message\", \"because\", \"hint\"}}, with the same exit code; the code is a stable
word. How an update ended is its verdict, also when it was refused. --print-config prints TOML.

Exit codes: 0 done or applied; 1 refused, rolled back or failed (the verdict names the check);
2 wrong use or configuration; 3 no verdict (no node answers, the disk says no).
Logs go to standard error; COUNTERSIGN_LOG=debug shows more."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How the answer is printed.
    #[arg(short, long, global = true, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Adopt(adopt::Adopt),
    Run(Run),
    Apply(apply::Apply),
    Rollback(rollback::Rollback),
    Status(status::Status),
    Why(why::Why),
    Doctor(doctor::Doctor),
}

/// Which configuration.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT, env = "COUNTERSIGN_AGENT_CONFIG")]
    config: PathBuf,
    /// Print the configuration in force, defaults filled in, and do nothing.
    #[arg(long)]
    print_config: bool,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Keep this host patched until told to stop (SIGTERM, SIGINT).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  countersign-agent run --config /etc/countersign/agent.toml")]
struct Run {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let Cli { command, output } = cli;
    match command {
        Command::Init(init) => init.run(output),
        Command::Adopt(adopt) => adopt.run(output),
        Command::Run(run) => run.run(),
        Command::Apply(apply) => apply.run(output),
        Command::Rollback(rollback) => rollback.run(output),
        Command::Status(status) => status.run(output),
        Command::Why(why) => why.run(output),
        Command::Doctor(doctor) => doctor.run(output),
    }
}

impl ConfigArgs {
    /// The configuration; `None` when it was only to be printed.
    fn read(&self) -> Result<Option<Config>, Failure> {
        let config = Config::read(&self.config)?;
        if self.print_config {
            print(&config.toml())?;
            return Ok(None);
        }
        Ok(Some(config))
    }
}

impl Run {
    fn run(self) -> Result<ExitCode, Failure> {
        let Some(config) = self.config.read()? else { return Ok(OK.into()) };
        block_on(async {
            let stop = stop_signal()?;
            Ok(daemon::run(config, own_program().to_owned(), observer(), stop).await?)
        })?;
        Ok(OK.into())
    }
}

/// Ends when somebody wants the agent to.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error: std::io::Error| Failure::new(error, None, crate::failure::NO_VERDICT).called("runtime");
    let mut terminate: tokio::signal::unix::Signal = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Steps of an update, for whoever wants to follow them.
fn observer() -> agent::installer::journal::Observer {
    Box::new(|moment, record| {
        if moment == Moment::After {
            tracing::debug!(?record, at_ms = clock::now_ms(), "journal");
        }
    })
}

/// One thread for everything but reading and writing files: an agent is a guest on its host.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build();
    let runtime = runtime.map_err(|error| Failure::new(error, None, crate::failure::NO_VERDICT).called("runtime"))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(END_WAIT);
    done
}

/// Data goes to standard output, and only data.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| match text.ends_with('\n') {
        true => out.flush(),
        false => out.write_all(b"\n").and_then(|()| out.flush()),
    });
    match written {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::new(error, None, crate::failure::NO_VERDICT).called("output")),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map_err(|error| Failure::new(error, None, crate::failure::NO_VERDICT).called("output"))
}
