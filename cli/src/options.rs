//! The command line: options for every command, and the commands.

use crate::commands;
use crate::failure::Failure;
use crate::sign::SignError;
use crate::trust::Trust;
use clap::{Args, Command, CommandFactory as _, FromArgMatches as _, Parser};
use keyring::{KeyFile, KeyRole, PublicPart, Stored};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use terminal::Format;

/// What examples do not repeat.
const LEFT_OUT: &str = "\
What an example leaves out of --node, --ca, --genesis and --key is taken from the environment: COUNTERSIGN_NODE, \
COUNTERSIGN_CA, COUNTERSIGN_GENESIS, COUNTERSIGN_KEY.";

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
Ids are accepted in full or as a unique prefix, those of transactions in full; signing by a prefix asks first, at a terminal. Answers go to standard output, everything else to standard error.
COUNTERSIGN_NODE, COUNTERSIGN_CA, COUNTERSIGN_GENESIS, COUNTERSIGN_KEY, COUNTERSIGN_PASSPHRASE_FILE and COUNTERSIGN_OUTPUT stand for --node, --ca, --genesis, --key, --passphrase-file and --output.
Exit codes: 0 done, 1 refused or a negative answer, 2 usage or environment.",
    after_long_help = "\
A word that is no command here runs the program countersign-WORD beside this one or on PATH, with the options above \
in its environment.

Ids are accepted in full or as a unique prefix, those of transactions in full; signing by a prefix asks first, at a terminal. Answers go to standard output, everything else to standard error.

With -o json the answer is one JSON object: ids, keys and digests in lower-case hex, times in milliseconds since \
1970-01-01 UTC in fields that end in _ms. Fields are only ever added. What was refused or went wrong is one JSON object \
on standard output, too: {\"error\": {\"code\", \"message\", \"because\", \"hint\"}}, with the same exit code; the code \
is a stable word, of a refusal the check that said no.

Exit codes:
  0  done
  1  refused, or a negative answer; the check that said no is named
  2  usage or environment: the question could not be asked

Examples:
  What every command needs stands in the environment once:
    export COUNTERSIGN_NODE=https://node.example:7101 COUNTERSIGN_CA=ca.pem
    export COUNTERSIGN_GENESIS=genesis COUNTERSIGN_KEY=approver.key

  A vendor signs a patch and publishes it:
    countersign key new --role publisher --organisation acme \\
        --out vendor.key
    countersign patch pack --product acme/redis --version 7.0.15-1 \\
        --release 7 --class security --severity important \\
        --out redis-7 redis-server.deb redis-tools.deb
    countersign patch publish redis-7 --key vendor.key

  An approver judges it:
    countersign review --key approver.key
    countersign review 3fa9
    countersign approve 3fa9 --note 'trial of 12 hours passed' \\
        --key approver.key

  A governor proposes that the members change, and another one answers:
    countersign propose --example > change.toml
    countersign propose change.toml --key governor.key
    countersign ballot 51c0 for --key governor.key

  An auditor takes the evidence away and checks it without a network:
    countersign proof get 3fa9 --out redis.proof
    countersign verify redis.proof --trust genesis

  Two nodes are compared, and whoever signed two histories is named:
    countersign audit fork https://a.example:7101 https://b.example:7101 \\
        --trust genesis --out fork.evidence
    countersign audit check fork.evidence --trust genesis"
)]
pub struct CommandLine {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: commands::Command,
}

impl CommandLine {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// What clap says, help and version included.
    pub fn read(words: &[OsString]) -> Result<Self, clap::Error> {
        let command = with_environment(Self::command());
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }
}

/// Says under the examples of every command what they leave out.
fn with_environment(command: Command) -> Command {
    let command = command.mut_subcommands(with_environment);
    match command.get_after_help().map(ToString::to_string) {
        Some(help) if !command.has_subcommands() => command.after_help(format!("{help}\n\n{LEFT_OUT}")),
        _ => command,
    }
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
    /// The file with what opens a sealed key: a passphrase, or a machine's secret. Without, a sealed key's passphrase is
    /// asked for at the terminal
    #[arg(long, global = true, value_name = "FILE", env = "COUNTERSIGN_PASSPHRASE_FILE", hide_env_values = true, help_heading = EVERYWHERE)]
    pub passphrase_file: Option<PathBuf>,
    /// How the answer is written
    #[arg(short = 'o', long, global = true, value_name = "FORMAT", value_enum, default_value_t, env = terminal::OUTPUT_VARIABLE, hide_env_values = true, help_heading = EVERYWHERE)]
    pub output: Format,
}

/// Something a command cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Whose signature it is.
    Key,
    /// Which ledger it is for.
    Genesis,
    /// Whom to ask, and how to know it.
    Node,
}

impl Global {
    /// Makes sure that all of these were given; whatever was not is named at once.
    ///
    /// # Errors
    /// [`Failure::Missing`].
    pub fn need(&self, needs: &[Need]) -> Result<(), Failure> {
        let mut missing = Vec::new();
        if needs.contains(&Need::Key) && self.key.is_none() {
            missing.push(("key", "whose signature it is with --key FILE or COUNTERSIGN_KEY"));
        }
        if needs.contains(&Need::Genesis) && self.genesis.is_none() {
            missing.push(("trust root", "which ledger it is about with --genesis FILE or COUNTERSIGN_GENESIS"));
        }
        if needs.contains(&Need::Node) {
            missing.extend(self.missing_on_the_way());
        }
        if missing.is_empty() { Ok(()) } else { Err(Failure::Missing(missing)) }
    }

    fn missing_on_the_way(&self) -> Vec<(&'static str, &'static str)> {
        let node = "which node to ask with --node URL or COUNTERSIGN_NODE, for instance https://127.0.0.1:7101";
        let roots = "what its certificate comes from, its ca.pem, with --ca FILE or COUNTERSIGN_CA";
        let (node, roots) = (("node", node), ("root certificates", roots));
        match (&self.node, &self.ca) {
            (None, None) => vec![node, roots],
            (None, Some(_)) => vec![node],
            // Plain http needs none.
            (Some(url), None) if url.starts_with("https:") => vec![roots],
            (Some(_), _) => Vec::new(),
        }
    }

    /// The node to ask.
    ///
    /// # Errors
    /// [`Failure::Missing`] when it, or what its certificate comes from, was not given.
    pub fn node(&self) -> Result<&str, Failure> {
        self.need(&[Need::Node])?;
        Ok(self.node.as_deref().unwrap_or_default())
    }

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
    /// [`Failure::Missing`] when it was not given, [`Failure::Trust`] when it is none.
    pub fn trust_needed(&self) -> Result<Trust, Failure> {
        self.need(&[Need::Genesis])?;
        Ok(Trust::read(self.genesis.as_deref().unwrap_or(Path::new("")))?)
    }

    /// Whose key file was given, if one was: nobody is asked to open it.
    ///
    /// # Errors
    /// [`Failure::Key`] when it was given and is none.
    pub fn key(&self) -> Result<Option<PublicPart>, Failure> {
        Ok(self.key.as_deref().map(PublicPart::read).transpose()?)
    }

    /// The key, which this command signs with. It is opened when it is the right one: nobody types a passphrase for
    /// nothing.
    ///
    /// # Errors
    /// [`Failure::Missing`] when it was not given, [`Failure::Key`] when it is none, [`Failure::Sign`] when it is for
    /// something else, [`Failure::Unlock`] when there is nothing to open it with.
    pub fn key_needed(&self, needed: &[KeyRole]) -> Result<KeyFile, Failure> {
        self.need(&[Need::Key])?;
        let stored = Stored::read(self.key.as_deref().unwrap_or(Path::new("")))?;
        let actual = stored.public().role;
        if !needed.contains(&actual) {
            let needed = needed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            return Err(SignError::WrongRole { needed, actual }.into());
        }
        self.open(&stored)
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
