//! `adopt`: take what is installed today as the baseline.

use super::ConfigArgs;
use crate::failure::{Failure, NO_VERDICT, OK, USAGE};
use agent::control::FILE;
use agent::data::DataDir;
use agent::installer;
use clap::Args;
use ledger::bounded::{Name, Product, Version};
use ledger::id::Digest;
use policy::Subscription;
use serde::Serialize;
use std::path::PathBuf;
use terminal::Answer;

/// Take what is installed today as the baseline of a product; print the digest of its tree.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  countersign-agent adopt --product acme/valkey --channel stable \\
      --version 8.0.0 /opt/valkey

JSON: {\"tree\"}
The tree is copied: what is there stays as it is. The agent must not run.")]
pub(super) struct Adopt {
    #[command(flatten)]
    config: ConfigArgs,
    /// The product.
    #[arg(long)]
    product: Product,
    /// The channel.
    #[arg(long)]
    channel: Name,
    /// The version it has.
    #[arg(long)]
    version: String,
    /// Its release counter: patches with a higher one are newer.
    #[arg(long, value_name = "N", default_value_t = 0)]
    release: u64,
    /// The tree: a directory, or a tar archive of one.
    #[arg(value_name = "TREE_TAR_OR_DIR")]
    tree: PathBuf,
}

/// What was taken as the baseline.
#[derive(Serialize)]
struct Adopted {
    /// Digest of its tree.
    tree: Digest,
}

impl Adopt {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Some(config) = self.config.read()? else { return Ok(Answer::silent(OK)) };
        let version = Version::new(self.version)
            .map_err(|error| Failure::new(error, Some("versions are short texts".to_owned()), USAGE))?;
        if version.as_str().is_empty() {
            return Err(Failure::new("a version cannot be empty", None, USAGE));
        }
        let of = Subscription { product: self.product, channel: self.channel };
        if !config.subscriptions().any(|subscription| *subscription == of) {
            let hint = "add it to [[subscriptions]]: without, it is never patched".to_owned();
            let text = format!("this host does not subscribe to {} on channel {}", of.product, of.channel);
            return Err(Failure::new(text, Some(hint), USAGE));
        }
        let data = DataDir::at(config.data_dir.clone());
        let _lock = data.lock()?;
        if !self.tree.exists() {
            return Err(Failure::new(format!("{} is not there", self.tree.display()), None, NO_VERDICT).called(FILE));
        }
        let tree = installer::adopt(&data.installs(), &of, version, self.release, &self.tree)?;
        Ok(Answer::new(tree.to_string(), &Adopted { tree }))
    }
}
