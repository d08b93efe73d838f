//! Raise a whole ledger on one machine: the program.

use clap::{Parser, Subcommand};
use devnet::ending::{self, Interrupted};
use devnet::join;
use devnet::layout::{self, Devnet};
use devnet::raise::{self, Plan};
use devnet::story::{self, Script};
use devnet::{client, guide, processes};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Raise a whole Countersign ledger on one machine.
#[derive(Parser)]
#[command(
    name = "countersign-devnet",
    version,
    after_help = "Examples:
  countersign-devnet up --validators 4 --agents 3 --dir /tmp/ledger
  countersign-devnet status --dir /tmp/ledger
  countersign-devnet stop vendor-a --kill --dir /tmp/ledger
  countersign-devnet start vendor-a --dir /tmp/ledger
  eval \"$(countersign-devnet env --dir /tmp/ledger)\"; countersign status
  countersign-devnet join vendor-c --dir /tmp/ledger >> proposal.toml
  countersign-devnet down --dir /tmp/ledger

DIR/devnet.json describes everything for scripts:
  dir, chain_id, genesis (trust root file), ca (PEM roots of all nodes),
  nodes[]  name, organisation, validator, grpc (https://127.0.0.1:PORT), peer_address, node_key,
           config, data_dir, log, pid
  agents[] name, key, config, data_dir, log, pid
  keys[]   organisation, role (publisher, approver, operator, governor), public_key, file
Vendors own the namespace that is their name (products are `vendor-a/…`); the approval rule wants two
approvals from two of the approver organisations; `site` runs the node the agents follow."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make keys, genesis, nodes and agents, and start them. They go on running.
    Up {
        /// Nodes that vote, one organisation each: vendor-a, approver-a, vendor-b, approver-b, …
        #[arg(long, default_value_t = 4)]
        validators: usize,
        /// Agents behind the site's node.
        #[arg(long, default_value_t = 0)]
        agents: usize,
        /// Where; must not exist, or be empty.
        #[arg(long)]
        dir: PathBuf,
        /// Product (and channel) the agents follow; may be given several times.
        #[arg(long, default_value = "vendor-a/app:stable")]
        subscribe: Vec<String>,
        /// At least one block in this time, in milliseconds.
        #[arg(long, default_value_t = 2_000)]
        heartbeat_ms: u64,
        /// How long a block with transactions waits for the block that makes them provable.
        #[arg(long, default_value_t = 100)]
        seal_ms: u64,
    },
    /// End every process of a devnet.
    Down {
        /// Where it is.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Make a new organisation and its node, and print the change that makes it a member.
    ///
    /// The node runs at once; the others talk to it when a proposal with this change has passed
    /// (`countersign propose`, `countersign ballot`).
    Join {
        /// Its name: vendor-… publishes, approver-… approves.
        name: String,
        /// Where the devnet is.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Print the change that makes the nodes of these organisations the validators, and no others.
    Validators {
        /// The organisations.
        #[arg(required = true)]
        organisations: Vec<String>,
        /// Where the devnet is.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Print lines for a shell: eval "$(countersign-devnet env --dir DIR)" makes `countersign` speak to it.
    Env {
        /// Where the devnet is.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Where every node stands.
    Status {
        /// Where the devnet is.
        #[arg(long)]
        dir: PathBuf,
    },
    /// End one node or agent.
    Stop {
        /// Its name.
        name: String,
        /// At once, as a power cut would (SIGKILL).
        #[arg(long)]
        kill: bool,
        /// Where the devnet is.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Play the whole story once, on a real update of redis-server, and write a report.
    ///
    /// Exit code 0 only when every step came out as promised.
    Story {
        /// Where devnet, report and evidence go; must not exist, or be empty.
        #[arg(long)]
        dir: PathBuf,
        /// Debian packages (files, or directories of them) of the version installed first.
        #[arg(long, required = true)]
        old: Vec<PathBuf>,
        /// Debian packages of the version that patches it.
        #[arg(long, required = true)]
        new: Vec<PathBuf>,
        /// Leave everything running at the end, and say where to look.
        #[arg(long)]
        keep: bool,
        /// Only look whether the packages will do; nothing is made.
        #[arg(long)]
        check: bool,
    },
    /// Start what was stopped.
    Start {
        /// A node or an agent; all that do not run, if not given.
        name: Option<String>,
        /// Where the devnet is.
        #[arg(long)]
        dir: PathBuf,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match execute(arguments.command).await {
        Ok(code) => code,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(ending::INTERRUPTED_CODE),
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Up { validators, agents, dir, subscribe, heartbeat_ms, seal_ms } => {
            let (subscriptions, addresses) = (subscribe, Vec::new());
            let plan = Plan { dir, validators, agents, subscriptions, heartbeat_ms, seal_ms, addresses };
            let work = async { Ok(raise::up(&plan, &mut |line| say(line)).await?) };
            let devnet = ending::ended_with_it(&plan.dir, &mut |line| say(line), work).await?;
            guide::guide(&devnet).iter().for_each(|line| say(line));
            print(&devnet.dir.join(layout::FILE_NAME).display().to_string());
        }
        Command::Join { name, dir } => print(join::join(&mut Devnet::load(&dir)?, &name)?.trim_end()),
        Command::Validators { organisations, dir } => {
            let organisations: Vec<&str> = organisations.iter().map(String::as_str).collect();
            print(join::validators(&Devnet::load(&dir)?, &organisations)?.trim_end());
        }
        Command::Down { dir } => {
            for name in processes::down(&mut Devnet::load(&dir)?)? {
                say(&format!("ended {name}"));
            }
        }
        Command::Env { dir } => guide::environment(&Devnet::load(&dir)?).iter().for_each(|line| print(line)),
        Command::Status { dir } => {
            let devnet = Devnet::load(&dir)?;
            for node in &devnet.nodes {
                match client::status(&node.grpc, &devnet.ca).await {
                    Ok(status) => print(&format!(
                        "{:<12} {:<9} height {:<6} peers {} pending {} finality p50 {}  {}",
                        node.name,
                        if status.validator { "validator" } else { "observer" },
                        status.height,
                        status.peers.len(),
                        status.pending,
                        story::latency(status.finality_p50_ms),
                        node.grpc,
                    )),
                    Err(error) => print(&format!("{:<12} down: {error}", node.name)),
                }
            }
        }
        Command::Stop { name, kill, dir } => stop(&dir, &name, kill)?,
        Command::Start { name, dir } => start(&dir, name.as_deref()).await?,
        Command::Story { dir, old, new, keep, check } => {
            let ledger = dir.join(story::LEDGER);
            let script = Script { dir, old, new, keep };
            story::check(&script)?;
            if check {
                return Ok(ExitCode::SUCCESS);
            }
            let (mut say, mut print) = (|line: &str| self::say(line), |line: &str| print(line));
            let mut told = |line: &str| self::say(line);
            if !ending::ended_with_it(&ledger, &mut told, story::play(&script, &mut say, &mut print)).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn stop(dir: &Path, name: &str, at_once: bool) -> Result<(), Box<dyn Error>> {
    let mut devnet = Devnet::load(dir)?;
    if let Some(node) = devnet.nodes.iter_mut().find(|node| node.name == name) {
        processes::stop(node.pid.take(), &node.config, at_once);
    } else if let Some(agent) = devnet.agents.iter_mut().find(|agent| agent.name == name) {
        processes::stop(agent.pid.take(), &agent.config, at_once);
    } else {
        return Err(format!("no node or agent {name} in {}", dir.display()).into());
    }
    Ok(devnet.save()?)
}

/// Starts one that does not run, or all of them, and waits until nodes serve.
async fn start(dir: &Path, name: Option<&str>) -> Result<(), Box<dyn Error>> {
    let mut devnet = Devnet::load(dir)?;
    let meant = |other: &str| name.is_none_or(|name| name == other);
    let (mut found, mut started) = (false, Vec::new());
    for node in devnet.nodes.iter_mut().filter(|node| meant(&node.name)) {
        found = true;
        if !processes::is_running(node.pid, &node.config) {
            processes::start_node(node)?;
            started.push(node.name.clone());
        }
    }
    for agent in devnet.agents.iter_mut().filter(|agent| meant(&agent.name)) {
        found = true;
        if !processes::is_running(agent.pid, &agent.config) {
            processes::start_agent(agent)?;
            started.push(agent.name.clone());
        }
    }
    devnet.save()?;
    if let (false, Some(name)) = (found, name) {
        return Err(format!("no node or agent {name} in {}", dir.display()).into());
    }
    if started.is_empty() {
        say("it runs already");
    }
    for node in devnet.nodes.iter().filter(|node| started.contains(&node.name)) {
        raise::await_serving(node, &devnet.ca).await?;
    }
    started.iter().for_each(|name| say(&format!("started {name}")));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program's answer belongs on standard output")]
fn print(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "progress belongs on standard error")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stderr, reason = "a program's error belongs on standard error")]
fn report(error: &dyn Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    eprintln!("hint: `countersign-devnet --help` shows examples; node and agent logs are in DIR/logs");
}
