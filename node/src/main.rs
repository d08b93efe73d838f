//! Run a member of the ledger: the program.

use clap::{Parser, Subcommand};
use keyring::{CredentialName, KeyFileError, SecretError, SecretPlace};
use ledger::bounded::Name;
use libp2p::Multiaddr;
use node::config::{ConfigError, RawConfig, listen_address};
use node::init::{InitError, NewNode, Sealing, init};
use node::node::NodeError;
use serde_json::json;
use std::error::Error;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::StoreError;
use terminal::{Answer, EXIT_DONE, EXIT_REFUSED, EXIT_USAGE, ErrorView, Format, note};
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
      --listen /ip4/0.0.0.0/tcp/7000 --grpc 0.0.0.0:7100 \\
      --host node.acme.example
  cp genesis.trust node/ && countersign-node run --config node/node.toml
  countersign-node run --config node/node.toml --print-config
  countersign-node restore --config node/node.toml --from ledger.snapshot
  countersign-node fsck --config node/node.toml

With -o json the answer is one JSON object: of `init` {\"node\", \"validator\"}, of `run --print-config` the
configuration, of `restore` {\"height\", \"transactions\", \"first_whole_height\"}, of `fsck` {\"sound\",
\"problems\", \"blocks\", \"transactions\", \"rows\", \"torn\"}; what went wrong is {\"error\": {\"code\", \"message\",
\"because\", \"hint\"}}. Exit codes: 0 done, 1 refused or damaged, 2 usage or environment."
)]
struct Arguments {
    /// How the answer is written
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t, env = terminal::OUTPUT_VARIABLE, hide_env_values = true)]
    output: Format,
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
        #[arg(long, default_value = "/ip4/0.0.0.0/tcp/7000", value_parser = listen_address)]
        listen: Vec<Multiaddr>,
        /// Address to serve clients on.
        #[arg(long, default_value = "0.0.0.0:7100")]
        grpc: SocketAddr,
        /// Name or address clients will use, for the certificate; may be given several times.
        #[arg(long, default_values = ["localhost", "127.0.0.1"], value_parser = host)]
        host: Vec<String>,
        /// Seal its keys with the machine's secret in this file (`countersign key secret` makes one).
        #[arg(long, value_name = "FILE")]
        seal_with: Option<PathBuf>,
        /// The node finds that secret in this credential of systemd, and not in the file.
        #[arg(long, value_name = "NAME", requires = "seal_with")]
        credential: Option<CredentialName>,
    },
    /// Run until interrupted.
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Print the configuration in force, defaults included, and exit.
        #[arg(long)]
        print_config: bool,
        /// Vote as soon as a quorum is heard, whatever the signing guard lacks. Without this, a validator whose guard is not the last one (as
        /// the chain shows) signs nothing for a while. It may sign two things in one place then, and be convicted for
        /// it: for ledgers that stand because too many validators lost their guards at once.
        #[arg(long)]
        accept_lost_guard: bool,
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
    #[command(override_usage = "\
countersign-node fsck [OPTIONS] --config <CONFIG>
       countersign-node fsck [OPTIONS] --dir <DIR>")]
    Fsck {
        /// The configuration file.
        #[arg(long, conflicts_with = "dir", required_unless_present = "dir")]
        config: Option<PathBuf>,
        /// The node's data directory, or the chain directory in it.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

fn host(name: &str) -> Result<String, String> {
    if proto::is_host(name) { Ok(name.to_owned()) } else { Err("neither a name of the DNS nor an address".to_owned()) }
}

/// What seals the keys of a new node, and where the node finds it again.
fn sealing(file: &Path, credential: Option<CredentialName>) -> Result<Sealing, Box<dyn Error>> {
    let file = SecretPlace::File(std::path::absolute(file)?);
    let secret = file.secret()?;
    Ok(Sealing { secret, place: credential.map_or(file, SecretPlace::Credential) })
}

fn main() -> ExitCode {
    keyring::no_core_dumps();
    let words: Vec<OsString> = std::env::args_os().collect();
    let Arguments { output, command } = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return terminal::not_read(&error, &words, "countersign-node COMMAND"),
    };
    match execute(command) {
        Ok(answer) => answer.end(output, EXIT_USAGE),
        Err(error) => {
            let (code, hint) = match key_hint(&*error) {
                Some(hint) => ("key-file", hint),
                None => {
                    let (code, hint) = code_and_hint(&*error);
                    (code, hint.to_owned())
                }
            };
            ErrorView::of(&*error, code, Some(hint)).tell(output);
            let is_refused = error.downcast_ref::<NodeError>().is_some_and(NodeError::is_refusal);
            ExitCode::from(if is_refused { EXIT_REFUSED } else { EXIT_USAGE })
        }
    }
}

fn execute(command: Command) -> Result<Answer, Box<dyn Error>> {
    match command {
        Command::Init { dir, organisation, validator, listen, grpc, host, seal_with, credential } => {
            let seal = seal_with.map(|file| sealing(&file, credential)).transpose()?;
            let made = init(&NewNode { directory: dir, organisation, validator, listen, grpc, hosts: host, seal })?;
            let mut text = format!("node = \"{}\"", made.node);
            let validator = made.validator.map(|key| key.to_string());
            text.extend(validator.iter().map(|key| format!("\nvalidator = \"{key}\"")));
            Ok(Answer::new(text, &json!({ "node": made.node.to_string(), "validator": validator })))
        }
        Command::Run { config, print_config, accept_lost_guard } => {
            let raw = RawConfig::load(&config)?;
            if print_config {
                return Ok(Answer::new(toml::to_string_pretty(&raw)?, &raw));
            }
            run(node::config::Config { accept_lost_guard, ..raw.parse(&config)? })?;
            Ok(Answer::silent(EXIT_DONE))
        }
        Command::Restore { config, from } => {
            let restored = node::node::restore(&RawConfig::load(&config)?.parse(&config)?, &from)?;
            let (height, transactions, first_whole) = (restored.height, restored.history_size, restored.first_whole);
            let text = format!(
                "restored at height {height}: {transactions} transactions, blocks whole from height {first_whole} on"
            );
            let view = json!({ "height": height, "transactions": transactions, "first_whole_height": first_whole });
            Ok(Answer::new(text, &view))
        }
        Command::Fsck { config, dir } => {
            let directory = match (dir, config) {
                (Some(directory), _) => chain_in(directory),
                (None, Some(config)) => RawConfig::load(&config)?.data_dir.join(CHAIN),
                (None, None) => return Err("either --config or --dir is needed".into()),
            };
            fsck(&directory)
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

/// A place for the check that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot write beside {}, where the check puts what it derives again", chain.display())]
struct NoScratch {
    chain: PathBuf,
    source: std::io::Error,
}

fn fsck(directory: &Path) -> Result<Answer, Box<dyn Error>> {
    // The scratch lies beside the chain: where that fits, this does.
    let beside = directory.parent().unwrap_or(directory);
    let scratch = match beside.is_dir() {
        true => tempfile::Builder::new().prefix("fsck-").tempdir_in(beside),
        // That there is no chain is for the check to say.
        false => tempfile::tempdir(),
    };
    // What is in the way is not the name of a directory that is gone in a moment.
    let no_scratch = |error: std::io::Error| NoScratch { chain: directory.to_owned(), source: error.kind().into() };
    let scratch = scratch.map_err(no_scratch)?;
    let mut last = 0;
    let report = store::fsck(directory, &scratch.path().join("chain"), &mut |progress| {
        if let store::Progress::Replayed { height, of } = progress
            && (height >= last + PROGRESS_BLOCKS || height == of)
        {
            last = height;
            note(&format!("{height} of {of} blocks proven"));
        }
    })?;
    let store::Report { proven, transactions, rows, .. } = report;
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let view = json!({
        "sound": report.is_sound(), "problems": problems, "blocks": proven, "transactions": transactions, "rows": rows,
        "torn": report.torn,
    });
    report.torn.iter().for_each(|torn| note(torn));
    if report.is_sound() {
        let text = format!("sound: {proven} blocks, {transactions} transactions, {rows} rows");
        return Ok(Answer::new(text, &view));
    }
    note("hint: move the chain directory away and start the node: it gets the chain from its peers again");
    Ok(Answer::new(problems.join("\n"), &view).with_code(EXIT_REFUSED))
}

/// Blocks between two lines of progress.
const PROGRESS_BLOCKS: u64 = 1_000;

/// What to do about a key file, or what opens it; `None` of everything else.
fn key_hint(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<SecretError>() {
        return Some(error.hint().unwrap_or_default());
    }
    let error = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(ConfigError::Key(error)), _) | (_, Some(InitError::Key(error))) => error,
        _ => return None,
    };
    Some(match error {
        KeyFileError::Sealed { .. } => {
            "say in the configuration what opens it: unseal = { credential = \"NAME\" }, or { file = \"FILE\" }"
                .to_owned()
        }
        error => error.hint().unwrap_or_else(|| "`countersign key new` and `init` write key files".to_owned()),
    })
}

/// A stable word for programs, and what to do: the rooms know best about themselves.
fn code_and_hint(error: &(dyn Error + 'static)) -> (&'static str, &'static str) {
    let usual = "`countersign-node --help` shows examples; `run --print-config` shows the values in force";
    let room = "is there room on the disk, and may this user write there?";
    if let Some(error) = error.downcast_ref::<NodeError>() {
        let code = match error {
            error if error.is_refusal() => "snapshot",
            _ => "node",
        };
        return (code, error.hint().unwrap_or(usual));
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return ("store", error.hint().unwrap_or(room));
    }
    if error.is::<NoScratch>() {
        return ("scratch", room);
    }
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(ConfigError::Read { .. }), _) => (
            "configuration",
            "`countersign-node init --dir DIR --organisation NAME` makes a configuration, and all it names",
        ),
        (Some(ConfigError::TooLarge { .. }), _) => ("configuration", "is it a configuration at all?"),
        (Some(_), _) => {
            ("configuration", "what `init` writes explains every field; `run --print-config` shows all values")
        }
        (_, Some(InitError::NotEmpty(_))) => ("not-empty", "nothing is ever overwritten: give another --dir"),
        (_, Some(InitError::Io { .. })) => ("file", room),
        (_, Some(InitError::Certificate(_))) => ("certificate", "--host takes names and addresses that clients use"),
        _ => ("failed", usual),
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_can_answer_programs() {
        assert_eq!(terminal::mute_commands(Arguments::command()), [""; 0]);
    }
}
