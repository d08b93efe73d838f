//! `countersign key`: make, show, seal and open key files.

use crate::failure::Failure;
use crate::files;
use crate::options::Global;
use crate::unlock;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use keyring::{KeyFile, KeyFileError, KeyRole, Overwritten, PublicPart, Secret, Stored};
use ledger::bounded::Name;
use ledger::key::PublicKey;
use serde::Serialize;
use std::path::{Path, PathBuf};
use terminal::{Answer, note};

/// Make, show, seal and open key files.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and write it to a file of its own, for its owner's eyes only
    New(New),
    /// Print the public parts of a key file
    Show(Show),
    /// Encrypt the secret of a key file, with a passphrase or a machine's secret
    Seal(Seal),
    /// Write the secret of a sealed key file as it is
    Unseal(Unseal),
    /// Seal a sealed key file with another passphrase, or a machine's secret
    ChangePassphrase(ChangePassphrase),
    /// Make a machine's secret, which seals the keys of programs that start by themselves
    Secret(NewSecret),
}

/// Make a key.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is TOML (role, organisation, public_key, and secret_key, the 32-byte seed of RFC 8032; keys in hex) with mode \
0600, and never replaces another. With --seal it has sealed_key instead: all of that, encrypted by age.
JSON: {\"role\", \"organisation\", \"public_key\"}

Example:
  countersign key new --role approver --organisation bank --seal \\
      --out approver.key")]
pub struct New {
    /// What the key is for; a key has one use
    #[arg(long, value_parser = roles())]
    role: KeyRole,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    organisation: Name,
    /// Where it is written
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Seal it with what is in --passphrase-file, or else with a passphrase that is typed twice
    #[arg(long)]
    seal: bool,
}

/// Show a key.
#[derive(Debug, Args)]
#[command(after_help = "\
What it prints is a key file without the secret, good enough for `countersign init`. Sealed or not, nobody is asked to \
open it; that the two halves belong together shows when it is.
JSON: {\"role\", \"organisation\", \"public_key\"}

Example:
  countersign key show approver.key > approver.pub")]
pub struct Show {
    /// The key file
    file: PathBuf,
}

/// Seal a key.
#[derive(Debug, Args)]
#[command(after_help = "\
It is sealed with what is in --passphrase-file, or else with a passphrase that is typed twice. The sealed file takes the \
place of the other; the bytes of that one are written over afterwards, which some disks and file systems do not do where \
they lie: a key that may have been copied is one to rotate.
JSON: {\"public_key\", \"sealed\", \"overwritten\"}

Example:
  countersign key seal approver.key")]
pub struct Seal {
    /// The key file
    file: PathBuf,
}

/// Unseal a key.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"public_key\", \"sealed\", \"overwritten\"}

Example:
  countersign key unseal approver.key")]
pub struct Unseal {
    /// The key file
    file: PathBuf,
}

/// Change what a key is sealed with.
#[derive(Debug, Args)]
#[command(after_help = "\
What opens it now is in --passphrase-file, or asked for.
JSON: {\"public_key\", \"sealed\", \"overwritten\"}

Examples:
  countersign key change-passphrase approver.key
  countersign key change-passphrase node.key \\
      --new-passphrase-file machine.secret")]
pub struct ChangePassphrase {
    /// The key file
    file: PathBuf,
    /// The file with what seals it from now on; without, that is typed twice
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

/// Make a machine's secret.
#[derive(Debug, Args)]
#[command(after_help = "\
It is an identity of age, as `age-keygen` makes them: 32 random bytes, which nobody guesses. Nodes and agents open the \
keys it sealed with it, from a credential of systemd (`systemd-creds encrypt` binds that to the host) or from a file.
JSON: {\"file\"}

Example:
  countersign key secret --out machine.secret
  countersign key seal node.key --passphrase-file machine.secret")]
pub struct NewSecret {
    /// Where it is written
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What became of a key file.
#[derive(Serialize)]
struct Changed {
    public_key: PublicKey,
    sealed: bool,
    /// Whether the bytes that were there before were written over.
    overwritten: bool,
}

impl KeyCommand {
    pub(super) fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let given = global.passphrase_file.as_deref();
        match self {
            Self::New(New { role, organisation, out, seal }) => {
                let seal = seal.then(|| unlock::to_seal(given, out)).transpose()?;
                let key = KeyFile::generate(*role, Some(organisation.clone()))?;
                files::write_new(out, key.text(out, seal.as_ref())?.as_bytes(), files::SECRET_MODE)?;
                Ok(Answer::new(key.public.toml(), &key.public))
            }
            Self::Show(Show { file }) => {
                let public = PublicPart::read(file)?;
                Ok(Answer::new(public.toml(), &public))
            }
            Self::Seal(Seal { file }) => {
                let stored = Stored::read(file)?;
                let key = stored.open(|| Err(Failure::from(KeyFileError::SealedAlready { path: file.clone() })))?;
                change(file, &key, Some(&unlock::to_seal(given, file)?))
            }
            Self::Unseal(Unseal { file }) => change(file, &open_sealed(file, given)?, None),
            Self::ChangePassphrase(ChangePassphrase { file, new_passphrase_file }) => {
                let key = open_sealed(file, given)?;
                change(file, &key, Some(&unlock::to_seal(new_passphrase_file.as_deref(), file)?))
            }
            Self::Secret(NewSecret { out }) => {
                #[derive(Serialize)]
                struct View<'a> {
                    file: &'a Path,
                }
                files::write_new(out, Secret::generate().as_bytes(), files::SECRET_MODE)?;
                Ok(Answer::new("", &View { file: out }))
            }
        }
    }
}

fn open_sealed(file: &Path, given: Option<&Path>) -> Result<KeyFile, Failure> {
    let stored = Stored::read(file)?;
    match stored.is_sealed() {
        true => stored.open(|| Ok(unlock::to_open(given, file)?)),
        false => Err(KeyFileError::NotSealed { path: file.to_owned() }.into()),
    }
}

/// Writes the key in the place of its file, sealed or not.
fn change(file: &Path, key: &KeyFile, seal: Option<&Secret>) -> Result<Answer, Failure> {
    let overwritten = keyring::replace(file, &key.text(file, seal)?)?;
    if let Overwritten::No(error) = &overwritten {
        note(&format!("what was in {} before could not be written over: {error}", file.display()));
    }
    let is_sealed = seal.is_some();
    let view = Changed {
        public_key: key.public.public_key,
        sealed: is_sealed,
        overwritten: matches!(overwritten, Overwritten::Yes),
    };
    let state = if is_sealed { "sealed" } else { "not sealed any more" };
    Ok(Answer::new(format!("{} is {state}: {}", file.display(), view.public_key), &view))
}

/// Takes the name of a role.
fn roles() -> impl TypedValueParser<Value = KeyRole> {
    let all = KeyRole::ALL.map(|role| PossibleValue::new(role.name()).help(role.meaning()));
    PossibleValuesParser::new(all).try_map(|name| name.parse::<KeyRole>())
}
