//! Keep one endpoint patched.
//!
//! `countersign-agent`: commands in, exit codes and one line of data out; everything else is in the
//! library.

mod commands;
mod failure;

use clap::Parser as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    // The agent starts other programs through itself; see `agent::services::launch`.
    if arguments.nth(1).is_some_and(|first| first == agent::services::launch::LAUNCH) {
        return failure::not_launched(&agent::services::launch::launch(arguments));
    }
    keyring::no_core_dumps();
    let words: Vec<_> = std::env::args_os().collect();
    let cli = match commands::Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return terminal::not_read(&error, &words, "countersign-agent COMMAND"),
    };
    start_log();
    // Executed through what was opened, it would be called after the number of that.
    if agent::own_program::Launched::here() != agent::own_program::Launched::Not
        && let Err(error) = rustix::thread::set_name(c"countersign-agent")
    {
        tracing::debug!(%error, "this process is called otherwise");
    }
    let output = cli.output;
    match commands::run(cli) {
        Ok(answer) => answer.end(output, failure::NO_VERDICT),
        Err(failure) => failure.report(output),
    }
}

/// Logs go to standard error; `COUNTERSIGN_LOG` chooses how much (`debug`, `agent=trace`).
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("COUNTERSIGN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false)
        .init();
}
