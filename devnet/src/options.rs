//! The command line of `countersign-devnet`.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use terminal::Format;

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
  version (1), dir, chain_id, genesis (trust root file),
  ca (PEM roots of all nodes),
  nodes[]  name, organisation, validator, grpc (https://127.0.0.1:PORT),
           peer_address, node_key, node_key_file, validator_key_file (null
           of a node that does not vote), config, data_dir, log,
           pid (null when it does not run)
  agents[] name, key, key_file, config, data_dir, log, pid
  keys[]   organisation, role (publisher, approver, operator, governor),
           public_key, file
Vendors own the namespace that is their name (products are `vendor-a/…`); the approval rule wants two
approvals from two of the approver organisations; `site` runs the node the agents follow, which also enrols
hosts that its operator invites. Keys are 64 hexadecimal digits; key files are TOML with public_key and
secret_key, which is a seed.

With -o json every command answers with one JSON object: `status` with {\"nodes\": [{\"name\", \"organisation\", \"grpc\",
\"up\", and, when it is up, \"validator\", \"height\", \"peers\", \"pending\", \"finality_p50_ms\" (0 when it has seen none), else \"error\"}]}, `up` with
{\"file\"}, `start` with {\"started\"}, `stop` and `down` with {\"ended\"}, `join` and `validators` with {\"change\"},
`env` with the variables, `story` with its report; what went wrong with {\"error\": {\"code\", \"message\", \"because\",
\"hint\"}}. Exit codes: 0 done, 1 a story that did not come out as promised, 2 usage or environment, 130 interrupted."
)]
pub struct Arguments {
    /// How the answer is written
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t, env = terminal::OUTPUT_VARIABLE, hide_env_values = true)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked for.
#[derive(Subcommand)]
pub enum Command {
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
    /// The node runs at once. The others talk to it when a proposal with this change has passed
    /// (`countersign propose`, `countersign ballot`), or when they are started anew: it was put into their
    /// configurations.
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

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_can_answer_programs() {
        assert_eq!(terminal::mute_commands(Arguments::command()), [""; 0]);
    }
}
