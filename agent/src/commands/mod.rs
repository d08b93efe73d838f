//! What a person at a host can do.

mod adopt;
mod apply;
mod doctor;
mod enroll;
mod init;
mod inventory;
mod key;
mod log;
mod new_host;
mod rollback;
mod settling;
mod status;
mod why;

use crate::failure::{Failure, NO_VERDICT, OK};
use agent::clock;
use agent::config::{Config, own_program};
use agent::control::{self, Request};
use agent::daemon::{self, Ended};
use agent::data::DataDir;
use agent::installer::journal::Moment;
use agent::own_program::launcher::{self, Launch, LaunchError};
use agent::own_program::{AGAIN, Launched, Running};
use agent::site;
use agent::status::LedgerStatus;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use terminal::{Answer, Format};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// How long threads that read or write may take to notice that the program ends.
const END_WAIT: Duration = Duration::from_millis(200);
/// Threads for reading, writing and hashing: one update at a time needs no more.
const BLOCKING_THREADS_MAX: usize = 4;
/// How long a running agent may take to say how it stands: it answers at once, but while it begins.
const RUNNING_WAIT: Duration = Duration::from_secs(2);
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
  countersign-agent enroll https://ledger-a.example:7400 \\
      --token countersign1-…
  countersign-agent init --dir /etc/countersign --name edge-1 \\
      --node https://ledger-a.example:7400 \\
      --node https://ledger-b.example:7400 \\
      --ca roots.pem --genesis genesis
  countersign-agent adopt --product acme/valkey --channel stable \\
      --version 8.0.0 /opt/valkey
  countersign-agent run
  countersign-agent apply 66c5d1
  countersign-agent status -o json
  countersign-agent why 66c5d1
  countersign-agent log 66c5d1
  countersign-agent rollback 66c5d1
  countersign-agent doctor
  countersign-agent inventory
  countersign-agent key seal

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
    /// How the answer is written.
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t, env = terminal::OUTPUT_VARIABLE, hide_env_values = true)]
    pub(crate) output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    Enroll(enroll::Enroll),
    Init(init::Init),
    Adopt(adopt::Adopt),
    Run(Run),
    Apply(apply::Apply),
    Rollback(rollback::Rollback),
    Status(status::Status),
    Why(why::Why),
    Log(log::Log),
    Doctor(doctor::Doctor),
    Inventory(inventory::Inventory),
    Key(key::Key),
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

/// Keep this host patched until told to stop (SIGTERM, SIGINT).
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  countersign-agent run --config /etc/countersign/agent.toml

Where the agent updates itself ([self] in the configuration), the program that its last update brought takes this one's
place; one on trial is run beside it, watched, and gone back from if it does not come up. `status` says which one runs.")]
struct Run {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(cli: Cli) -> Result<Answer, Failure> {
    match cli.command {
        Command::Enroll(enroll) => enroll.run(),
        Command::Init(init) => init.run(),
        Command::Adopt(adopt) => adopt.run(),
        Command::Run(run) => run.run(),
        Command::Apply(apply) => apply.run(),
        Command::Rollback(rollback) => rollback.run(),
        Command::Status(status) => status.run(),
        Command::Why(why) => why.run(),
        Command::Log(log) => log.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Inventory(inventory) => inventory.run(),
        Command::Key(key) => key.run(),
    }
}

impl ConfigArgs {
    /// The data directory, where the agent updates itself: there it says which program that is.
    fn data_of_own_program(&self) -> Option<DataDir> {
        let data_dir = if self.print_config { None } else { own_program::data_dir(&self.config) };
        data_dir.map(DataDir::at)
    }

    /// The configuration, read by the program that is the agent's: it speaks with an agent that runs as it would itself.
    fn read_as_the_agent(&self) -> Result<Option<Config>, Failure> {
        self.data_of_own_program().iter().for_each(launcher::defer);
        self.read()
    }

    /// The configuration; `None` when it was only to be printed.
    fn read(&self) -> Result<Option<Config>, Failure> {
        let config = Config::read(&self.config)?;
        if self.print_config {
            terminal::print(&config.toml()).map_err(|error| Failure::new(error, None, NO_VERDICT).called("output"))?;
            return Ok(None);
        }
        Ok(Some(config))
    }
}

impl Run {
    fn run(self) -> Result<Answer, Failure> {
        let watched = |error: LaunchError| Failure::new(error, None, NO_VERDICT).called("runtime");
        let data = self.config.data_of_own_program();
        if let Some(data) = &data
            && let Launch::Ended(code) = launcher::launch(data).map_err(watched)?
        {
            return Ok(Answer::silent(code));
        }
        let config = self.config.read().inspect_err(|_| {
            // What is wrong with the configuration is no fault of the program that was started.
            data.iter().for_each(|data| daemon::note_up(&Running::new(site::own_program()), &data.programs()));
        });
        let Some(config) = config? else { return Ok(Answer::silent(OK)) };
        let ended = block_on(async {
            let stop = stop_signal()?;
            Ok(daemon::run(config, site::own_program().to_owned(), observer(), stop).await?)
        })?;
        match ended {
            Ended::Stopped => Ok(Answer::silent(OK)),
            Ended::Leaves if Launched::here().is_watched() => Ok(Answer::silent(AGAIN)),
            Ended::Leaves => Err(Failure::new(launcher::choose_again(), None, NO_VERDICT).called("runtime")),
        }
    }
}

/// What an agent that runs on this host has seen of the ledger, if one runs and says so in time.
async fn running(config: &Config) -> Option<LedgerStatus> {
    let data = DataDir::at(config.data_dir.clone());
    let answer = match timeout(RUNNING_WAIT, control::ask(&data, &Request::Status {})).await {
        Ok(Ok(answer)) => answer?,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the agent cannot be asked what it has seen: the disk says what it had");
            return None;
        }
        Err(_) => {
            tracing::warn!("the agent does not answer: the disk says what it had seen");
            return None;
        }
    };
    match answer {
        control::Answer::Status(status) => status.ledger,
        control::Answer::Verdict(_) | control::Answer::NoAttempt(_) | control::Answer::Error { .. } => None,
    }
}

/// Ends when somebody wants the agent to.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error: std::io::Error| Failure::new(error, None, NO_VERDICT).called("runtime");
    let mut terminate: tokio::signal::unix::Signal = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => tracing::warn!("hung up: the agent ends; a changed configuration is read at its start"),
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
    let runtime = runtime.map_err(|error| Failure::new(error, None, NO_VERDICT).called("runtime"))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(END_WAIT);
    done
}

/// What people and programs are told of something that shows itself to both.
fn answer(shown: &(impl fmt::Display + Serialize)) -> Answer {
    Answer::new(terminal::lines(&shown.to_string()), shown)
}
