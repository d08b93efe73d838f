//! `key`: seal the host's key, and open it.

use super::{ConfigArgs, OK};
use crate::failure::{Failure, USAGE, hint};
use agent::config::Config;
use agent::key::{self, KeyError};
use clap::{Args, Subcommand};
use keyring::{KeyFile, KeyFileError, Overwritten, Secret, SecretPlace};
use ledger::key::PublicKey;
use serde::Serialize;
use std::path::{Path, PathBuf};
use terminal::Answer;

/// Seal this host's key, so that its file alone signs nothing; or write it as it is.
///
/// What opens a sealed key is named by `unseal` in the configuration; say it there first. The agent opens its key when it
/// starts, so one that runs is not disturbed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # agent.toml has: unseal = { file = \"/var/lib/countersign/machine.secret\" }
  countersign-agent key seal
  # it has: unseal = { credential = \"countersign-unseal\" },
  # which only the service is given
  countersign-agent key seal --secret-file machine.secret
  countersign-agent key reseal --secret-file machine.secret \\
      --new-secret-file next.secret
  countersign-agent key unseal --secret-file machine.secret

A machine's secret is an identity of age: `countersign key secret --out FILE` makes one, and `age-keygen` does.
JSON: {\"public_key\", \"sealed\", \"overwritten\"}: whether the bytes of the file before were written over, which some disks
and file systems do not do where they lie.")]
pub(super) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Seal the key
    Seal(Given),
    /// Write the key as it is
    Unseal(Given),
    /// Seal the key with another secret
    Reseal(Reseal),
}

/// What seals the key, or opens it.
#[derive(Debug, Args)]
struct Given {
    #[command(flatten)]
    config: ConfigArgs,
    /// The file with the machine's secret, where the configuration names a credential, or none any more
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Reseal {
    #[command(flatten)]
    given: Given,
    /// The file with the secret that seals it from now on
    #[arg(long, value_name = "FILE")]
    new_secret_file: PathBuf,
}

/// What became of the key file.
#[derive(Serialize)]
struct Changed {
    public_key: PublicKey,
    sealed: bool,
    overwritten: bool,
}

impl Key {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        match self.command {
            KeyCommand::Seal(given) => {
                let Some(config) = given.config.read()? else { return Ok(Answer::silent(OK)) };
                if config.unseal.is_none() {
                    let hint = "say in the configuration where the agent finds what opens it, first: unseal = { file = \
                                \"FILE\" }, or { credential = \"NAME\" }";
                    let text = "an agent with this configuration could not open a sealed key";
                    return Err(Failure::new(text, Some(hint.to_owned()), USAGE).called("key-file"));
                }
                let stored = key::stored(&config.key)?;
                let sealed_already = || KeyError::from(KeyFileError::SealedAlready { path: config.key.clone() });
                let key = stored.open(|| Err(sealed_already()))?;
                change(&config, &key, Some(&given.secret(&config)?))
            }
            KeyCommand::Unseal(given) => {
                let Some(config) = given.config.read()? else { return Ok(Answer::silent(OK)) };
                change(&config, &given.open(&config)?, None)
            }
            KeyCommand::Reseal(Reseal { given, new_secret_file }) => {
                let Some(config) = given.config.read()? else { return Ok(Answer::silent(OK)) };
                let key = given.open(&config)?;
                change(&config, &key, Some(&of_file(&new_secret_file, &config)?))
            }
        }
    }
}

impl Given {
    /// The secret of the file, or of the place that the configuration names.
    fn secret(&self, config: &Config) -> Result<Secret, KeyError> {
        match &self.secret_file {
            Some(file) => of_file(file, config),
            None => Ok(key::secret(config.unseal.as_ref(), &config.key)?),
        }
    }

    /// The key, which must be sealed.
    fn open(&self, config: &Config) -> Result<KeyFile, KeyError> {
        let stored = key::stored(&config.key)?;
        match stored.is_sealed() {
            true => stored.open(|| self.secret(config)),
            false => Err(KeyFileError::NotSealed { path: config.key.clone() }.into()),
        }
    }
}

fn of_file(file: &Path, config: &Config) -> Result<Secret, KeyError> {
    Ok(key::secret(Some(&SecretPlace::File(file.to_owned())), &config.key)?)
}

/// Writes the key in the place of its file, sealed or not.
fn change(config: &Config, key: &KeyFile, seal: Option<&Secret>) -> Result<Answer, Failure> {
    let path = &config.key;
    let changed = key.text(path, seal).and_then(|text| keyring::replace(path, &text)).map_err(KeyError::from)?;
    if let Overwritten::No(error) = &changed {
        hint(&format!("what was in {} before could not be written over: {error}", path.display()));
    }
    // Whoever starts the agent next finds out; better that it is found out now.
    if seal.is_some() && matches!(key::open(config), Err(KeyError::Key(KeyFileError::NotOpened { .. }))) {
        hint("what `unseal` names in the configuration does not open the key: the agent will not start like this");
    }
    let (public_key, sealed) = (key.public.public_key, seal.is_some());
    let state = if sealed { "sealed" } else { "not sealed any more" };
    let view = Changed { public_key, sealed, overwritten: matches!(changed, Overwritten::Yes) };
    Ok(Answer::new(format!("{} is {state}: {public_key}", path.display()), &view))
}
