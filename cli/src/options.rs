//! The command line: options for every command, and the commands.

use crate::commands::Command;
use crate::failure::Failure;
use crate::key_file::KeyFile;
use crate::terminal::Format;
use crate::trust::Trust;
use clap::{Args, Parser};
use std::path::PathBuf;

/// The heading of the options that every command takes.
const EVERYWHERE: &str = "Options of every command";

/// Hands for people: sign patches, judge them, prove them, and ask a ledger what happened.
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
A word that is no command here runs the program countersign-WORD beside this one or on PATH.
Ids are accepted in full or as a unique prefix; signing by a prefix asks first, at a terminal. Answers go to standard output, everything else to standard error.
Exit codes: 0 done, 1 refused or a negative answer, 2 usage or environment.",
    after_long_help = "\
A word that is no command here runs the program countersign-WORD beside this one or on PATH, with the options above \
in its environment.

Ids are accepted in full or as a unique prefix; signing by a prefix asks first, at a terminal. Answers go to standard output, everything else to standard error.

With -o json the answer is one JSON object: ids, keys and digests in lower-case hex, times in milliseconds since \
1970-01-01 UTC in fields that end in _ms. Fields are only ever added.

Exit codes:
  0  done
  1  refused, or a negative answer; the check that said no is named
  2  usage or environment: the question could not be asked

Examples:
  A vendor signs a patch and publishes it:
    countersign key new --role publisher --organisation acme --out vendor.key
    countersign patch pack --product acme/redis --version 7.0.15-1 --release 7 --class security \\
        --severity important --out redis-7 redis-server.deb redis-tools.deb
    countersign patch publish redis-7 --key vendor.key

  An approver judges it:
    countersign review --key approver.key
    countersign review 3fa9
    countersign approve 3fa9 --note 'trial of 12 hours passed' --key approver.key

  A governor proposes that the members change, and another one answers:
    countersign propose --example > change.toml
    countersign propose change.toml --key governor.key
    countersign ballot 51c0 for --key governor.key

  An auditor takes the evidence away and checks it on a machine without a network:
    countersign proof get 3fa9 --out redis.proof
    countersign verify redis.proof --trust genesis

  Two nodes are compared, and whoever signed two histories is named:
    countersign audit fork https://a.example:7101 https://b.example:7101 --trust genesis --out fork.evidence
    countersign audit check fork.evidence --trust genesis"
)]
pub struct CommandLine {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The node to ask, for instance https://127.0.0.1:7101 (plain http only to this machine itself)
    #[arg(long, global = true, value_name = "URL", env = "COUNTERSIGN_NODE", hide_env_values = true, help_heading = EVERYWHERE)]
    pub node: Option<String>,
    /// Root certificates the node's certificate must come from, PEM
    #[arg(long, global = true, value_name = "FILE", env = "COUNTERSIGN_CA", hide_env_values = true, help_heading = EVERYWHERE)]
    pub ca: Option<PathBuf>,
    /// The trust root: the genesis file you were given. Its chain id is what is signed for, and nodes of
    /// another ledger are refused
    #[arg(long, global = true, value_name = "FILE", env = "COUNTERSIGN_GENESIS", hide_env_values = true, help_heading = EVERYWHERE)]
    pub genesis: Option<PathBuf>,
    /// The key file to sign with
    #[arg(long, global = true, value_name = "FILE", env = "COUNTERSIGN_KEY", hide_env_values = true, help_heading = EVERYWHERE)]
    pub key: Option<PathBuf>,
    /// How the answer is written
    #[arg(short = 'o', long, global = true, value_name = "FORMAT", value_enum, default_value_t, help_heading = EVERYWHERE)]
    pub output: Format,
}

impl Global {
    /// The trust root, if one was given.
    ///
    /// # Errors
    /// [`Failure::Trust`] when it was given and is none.
    pub fn trust(&self) -> Result<Option<Trust>, Failure> {
        Ok(self.genesis.as_deref().map(Trust::read).transpose()?)
    }

    /// The trust root, which this command needs.
    ///
    /// # Errors
    /// [`Failure::Usage`] when it was not given, [`Failure::Trust`] when it is none.
    pub fn trust_needed(&self) -> Result<Trust, Failure> {
        self.trust()?.ok_or_else(|| {
            Failure::usage(
                "no trust root given",
                "a signature is for one ledger: say which with --genesis FILE or COUNTERSIGN_GENESIS",
            )
        })
    }

    /// The key file, if one was given.
    ///
    /// # Errors
    /// [`Failure::Key`] when it was given and is none.
    pub fn key(&self) -> Result<Option<KeyFile>, Failure> {
        Ok(self.key.as_deref().map(KeyFile::read).transpose()?)
    }

    /// The key file, which this command needs.
    ///
    /// # Errors
    /// [`Failure::Usage`] when it was not given, [`Failure::Key`] when it is none.
    pub fn key_needed(&self) -> Result<KeyFile, Failure> {
        self.key()?.ok_or_else(|| {
            Failure::usage("no key given", "say whose signature it is with --key FILE or COUNTERSIGN_KEY")
        })
    }
}

/// Options of every command that signs a transaction.
#[derive(Clone, Debug, Args)]
pub struct Signing {
    /// How long the transaction may wait to be finalised; at most 30d
    #[arg(long, value_name = "DURATION", value_parser = crate::time::parse_duration, default_value = "1h")]
    pub expires: u64,
    /// How long to wait until it is finalised
    #[arg(long, value_name = "DURATION", value_parser = crate::time::parse_duration, default_value = "60s")]
    pub wait: u64,
    /// Sign only: write the transaction to --out instead of submitting it (`countersign submit` does later)
    #[arg(long, requires = "out")]
    pub offline: bool,
    /// Where --offline writes the signed transaction
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub out: Option<PathBuf>,
}
