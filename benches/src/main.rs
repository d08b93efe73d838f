//! Measure what the house promises.
//!
//! Every figure is held against a limit measured in the same run on the same machine; absolute figures
//! of another day say little.

mod endpoint;
mod fairness;
mod figure;
mod leader_loss;
mod ledger_load;
mod load;
mod signature;
mod world;

use clap::Parser;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

type Failure = Box<dyn Error>;

/// Measure what the house promises.
#[derive(Parser)]
#[command(
    name = "countersign-bench",
    version,
    after_help = "Examples:
  countersign-bench                      everything
  countersign-bench --only proof_verify
  countersign-bench --only ledger_tps --seconds 20
  countersign-bench --only leader        what the loss of a leader costs
  countersign-bench --only others        what others feel while one floods"
)]
pub(crate) struct Arguments {
    /// Only figures whose name begins so.
    #[arg(long, default_value = "")]
    only: String,
    /// How long load is offered.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Transactions offered per second in `ledger_tps`; `overload` offers twice as many.
    #[arg(long, default_value_t = 4_400)]
    rate: u64,
    /// Where results are appended, one JSON line per figure.
    #[arg(long, default_value = "out/bench/results.jsonl")]
    results: PathBuf,
    /// Where devnets are raised.
    #[arg(long, default_value = "out/bench/ledger")]
    dir: PathBuf,
}

impl Arguments {
    /// Whether a figure is wanted, or one of those whose names begin so.
    pub(crate) fn wants(&self, name: &str) -> bool {
        name.starts_with(&self.only) || self.only.starts_with(name)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let signature = signature::measure(&arguments.results)?;
    ledger_load::measure(arguments, &signature).await
}

#[expect(clippy::print_stdout, reason = "figures are this program's answer")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a program's error belongs on standard error")]
fn complain(error: &dyn Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}
