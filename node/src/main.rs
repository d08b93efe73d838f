//! Run a member of the ledger: the program.

use clap::{Parser, Subcommand};
use ledger::bounded::Name;
use node::config::RawConfig;
use node::init::{NewNode, init};
use node::node::NodeError;
use std::error::Error;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use store::StoreError;
use tokio::sync::watch;

/// A block is tens of thousands of small allocations, freed on other threads than they were made on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run a member of a Countersign ledger.
#[derive(Parser)]
#[command(
    name = "countersign-node",
    version,
    after_help = "Examples:
  countersign-node init --dir node --organisation acme --validator \\
      --listen /ip4/0.0.0.0/tcp/7000 --grpc 0.0.0.0:7100 --host node.acme.example
  cp genesis.trust node/ && countersign-node run --config node/node.toml
  countersign-node run --config node/node.toml --print-config
  countersign-node restore --config node/node.toml --from ledger.snapshot
  countersign-node fsck --config node/node.toml"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a node's directory: keys, certificates, configuration. Prints its public keys.
    Init {
        /// The directory; must be empty or not exist.
        #[arg(long)]
        dir: PathBuf,
        /// The member the node belongs to.
        #[arg(long)]
        organisation: Name,
        /// Make a validating key too.
        #[arg(long)]
        validator: bool,
        /// Multiaddress to listen on for peers; may be given several times.
        #[arg(long, default_value = "/ip4/0.0.0.0/tcp/7000")]
        listen: Vec<String>,
        /// Address to serve clients on.
        #[arg(long, default_value = "0.0.0.0:7100")]
        grpc: SocketAddr,
        /// Name or address clients will use, for the certificate; may be given several times.
        #[arg(long, default_values = ["localhost", "127.0.0.1"])]
        host: Vec<String>,
    },
    /// Run until interrupted.
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Print the configuration in force, defaults included, and exit.
        #[arg(long)]
        print_config: bool,
    },
    /// Begin with a snapshot instead of the first block. The node must not have a chain yet.
    ///
    /// `countersign chain snapshot --out FILE` takes one from a running node. Nothing in it is believed:
    /// certificates, history and state are checked against the genesis file; then the node goes on by block sync.
    /// Exit code 1: the snapshot is not believed.
    Restore {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// The snapshot: a file and no pipe, because it is read twice.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Check the chain of a stopped node: derive everything again from genesis and compare.
    ///
    /// Exit code 0: sound; 1: damaged, block and reason are named; 2: cannot be checked.
    Fsck {
        /// The configuration file.
        #[arg(long, conflicts_with = "dir", required_unless_present = "dir")]
        config: Option<PathBuf>,
        /// The node's data directory, or the chain directory in it.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match execute(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            report(&*error);
            ExitCode::from(2)
        }
    }
}

fn execute(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Init { dir, organisation, validator, listen, grpc, host } => {
            let made = init(&NewNode { directory: dir, organisation, validator, listen, grpc, hosts: host })?;
            print(&format!("node = \"{}\"", made.node));
            if let Some(validator) = made.validator {
                print(&format!("validator = \"{validator}\""));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { config, print_config } => {
            let raw = RawConfig::load(&config)?;
            if print_config {
                print(toml::to_string_pretty(&raw)?.trim_end());
                return Ok(ExitCode::SUCCESS);
            }
            run(raw.parse(&config)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Restore { config, from } => {
            let restored = match node::node::restore(&RawConfig::load(&config)?.parse(&config)?, &from) {
                Ok(restored) => restored,
                Err(error) if error.is_refusal() => {
                    report(&error);
                    return Ok(ExitCode::from(1));
                }
                Err(error) => return Err(error.into()),
            };
            print(&format!(
                "restored at height {}: {} transactions, blocks whole from height {} on",
                restored.height, restored.history_size, restored.first_whole
            ));
            Ok(ExitCode::SUCCESS)
        }
        Command::Fsck { config, dir } => {
            let directory = match (dir, config) {
                (Some(directory), _) => chain_in(directory),
                (None, Some(config)) => RawConfig::load(&config)?.data_dir.join(CHAIN),
                (None, None) => return Err("either --config or --dir is needed".into()),
            };
            Ok(fsck(&directory)?)
        }
    }
}

fn run(config: node::config::Config) -> Result<(), Box<dyn Error>> {
    proto::install_tls_provider();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,libp2p=warn,arc_malachitebft=error"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            // The node has stopped already when nobody listens.
            let _ = stop.send(true);
        });
        Ok::<_, Box<dyn Error>>(node::node::run(config, stopped).await?)
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    result
}

/// The directory of the chain in a node's data directory.
const CHAIN: &str = "chain";

/// A data directory has its chain below it; whatever else was named is taken at its word.
fn chain_in(directory: PathBuf) -> PathBuf {
    let below = directory.join(CHAIN);
    if below.is_dir() { below } else { directory }
}

fn fsck(directory: &std::path::Path) -> Result<ExitCode, Box<dyn Error>> {
    // The scratch lies beside the chain: where that fits, this does.
    let scratch = tempfile::Builder::new().prefix("fsck-").tempdir_in(directory.parent().unwrap_or(directory))?;
    let mut last = 0;
    let report = store::fsck(directory, &scratch.path().join("chain"), &mut |progress| {
        if let store::Progress::Replayed { height, of } = progress
            && (height >= last + PROGRESS_BLOCKS || height == of)
        {
            last = height;
            note(&format!("{height} of {of} blocks proven"));
        }
    })?;
    for problem in &report.problems {
        print(&problem.to_string());
    }
    if report.is_sound() {
        print(&format!("sound: {} blocks, {} transactions, {} rows", report.proven, report.transactions, report.rows));
        return Ok(ExitCode::SUCCESS);
    }
    note("hint: move the chain directory away and start the node: it gets the chain from its peers again");
    Ok(ExitCode::FAILURE)
}

/// Blocks between two lines of progress.
const PROGRESS_BLOCKS: u64 = 1_000;

/// Progress and hints, apart from the answer.
#[expect(clippy::print_stderr, reason = "progress belongs on standard error")]
fn note(line: &str) {
    eprintln!("{line}");
}

/// The one place where this program writes data.
#[expect(clippy::print_stdout, reason = "a program's answer belongs on standard output")]
fn print(line: &str) {
    println!("{line}");
}

/// The error, its causes, and what to do.
#[expect(clippy::print_stderr, reason = "a program's error belongs on standard error")]
fn report(error: &(dyn Error + 'static)) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    eprintln!("hint: {}", hint(error));
}

/// What to do about it: the rooms know best about themselves.
fn hint(error: &(dyn Error + 'static)) -> &'static str {
    let of_the_node = error.downcast_ref::<NodeError>().and_then(NodeError::hint);
    let of_the_store = error.downcast_ref::<StoreError>().and_then(StoreError::hint);
    of_the_node
        .or(of_the_store)
        .unwrap_or("`countersign-node --help` shows examples; `run --print-config` shows the values in force")
}
