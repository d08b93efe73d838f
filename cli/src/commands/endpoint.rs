//! `countersign endpoint`: enrol, invite and retire endpoints.

use super::consent::consent;
use super::deliver::{Delivered, deliver};
use super::get::{namesakes, resolve_endpoint};
use super::invite::Invite;
use crate::connection::{Connection, parse_endpoint};
use crate::failure::Failure;
use crate::options::{Global, Signing};
use crate::pack::manifest::parse_label;
use crate::sign::Signer;
use crate::tables::short;
use clap::{Args, Subcommand};
use keyring::{KeyRole, PublicPart};
use ledger::bounded::{Name, SortedList};
use ledger::key::PublicKey;
use ledger::patch::Label;
use ledger::transaction::Payload;
use serde::Serialize;
use std::path::Path;
use terminal::{Answer, note};

/// Enrol, invite and retire endpoints.
#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    /// Enrol an endpoint in your organisation
    Enroll(Enroll),
    /// Invite hosts to enrol themselves: `countersign-agent enroll`
    Invite(Invite),
    /// Retire an endpoint: its key speaks no more
    Retire(Retire),
}

/// Enrol an endpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"endpoint\", \"transaction\", \"position\": {\"height\", \"index\", \"time_ms\"}}, or \"file\" with --offline; \
{\"endpoint\", \"already\": true} when it is enrolled under this name already

Example:
  countersign endpoint enroll host7.pub --name host7 --group web \\
      --label site=hamburg --key operator.key")]
pub struct Enroll {
    /// The endpoint's public key, or a file `countersign key` wrote that has it
    #[arg(value_name = "PUBLIC_KEY")]
    endpoint: String,
    /// What people call the host
    #[arg(long, value_name = "NAME")]
    name: Name,
    /// Its group
    #[arg(long, value_name = "NAME")]
    group: Name,
    /// A label; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<Label>,
    #[command(flatten)]
    signing: Signing,
}

/// Retire an endpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"endpoint\", \"transaction\", \"position\": {\"height\", \"index\", \"time_ms\"}}, or \"file\" with --offline

Example:
  countersign endpoint retire 77ab --key operator.key")]
pub struct Retire {
    /// The endpoint: all 64 digits of its key; or their beginning, or its name, and a yes when asked
    #[arg(value_name = "ENDPOINT", value_parser = parse_endpoint)]
    endpoint: String,
    #[command(flatten)]
    signing: Signing,
}

/// A host that has what was asked for.
#[derive(Serialize)]
struct AlreadyView {
    endpoint: PublicKey,
    already: bool,
}

impl EndpointCommand {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        match self {
            Self::Enroll(enroll) => enroll.run(global).await,
            Self::Invite(invite) => invite.run(global),
            Self::Retire(retire) => retire.run(global).await,
        }
    }
}

impl Enroll {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let signer = Signer::new(global, &self.signing, &[KeyRole::Operator])?;
        let endpoint = public_key(&self.endpoint)?;
        let labels = SortedList::new(self.labels.clone())
            .map_err(|error| Failure::usage(format!("--label: {error}"), "give fewer"))?;
        let (name, group) = (self.name.clone(), self.group.clone());
        let transaction = signer.sign(Payload::Enroll { endpoint, name, group, labels })?;
        let mut connection = match self.signing.offline {
            true => None,
            false => Some(Connection::open(global, Some(&signer.trust)).await?),
        };
        if let (Some(connection), Some(organisation)) = (&connection, &signer.key.public.organisation) {
            let alike = namesakes(connection, organisation.as_str(), self.name.as_str()).await?;
            if alike.contains(&endpoint) {
                // Not a refusal: what is asked for is so. Its own name is no other's.
                return Ok(Answer::new(
                    "this host is enrolled already: nothing to do",
                    &AlreadyView { endpoint, already: true },
                ));
            }
            for other in alike {
                let short = short(&other);
                note(&format!(
                    "an active endpoint is called {} already: {short}; retire it if this one takes its place",
                    self.name
                ));
            }
        }
        let delivered = deliver(connection.as_mut(), &self.signing, &transaction).await?;
        Ok(Delivered { endpoint: Some(endpoint), ..delivered }.answer("enrolled"))
    }
}

impl Retire {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let signer = Signer::new(global, &self.signing, &[KeyRole::Operator])?;
        let mut connection = match self.signing.offline {
            true => None,
            false => Some(Connection::open(global, Some(&signer.trust)).await?),
        };
        let endpoint = match &connection {
            Some(connection) => resolve_endpoint(connection, &self.endpoint).await?,
            None => self.endpoint.parse().map_err(|_| {
                Failure::usage(
                    "without a node neither a prefix nor a name means anything",
                    "give all 64 digits of the endpoint's key",
                )
            })?,
        };
        note(&format!("This is what is retired:\nendpoint  {endpoint}"));
        consent(&self.endpoint, &endpoint)?;
        let transaction = signer.sign(Payload::Retire { endpoint })?;
        let delivered = deliver(connection.as_mut(), &self.signing, &transaction).await?;
        Ok(Delivered { endpoint: Some(endpoint), ..delivered }.answer("retired"))
    }
}

/// A key written out, or the key of a file.
fn public_key(text: &str) -> Result<PublicKey, Failure> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let public = PublicPart::read(Path::new(text))?;
    if public.role != KeyRole::Endpoint {
        return Err(Failure::usage(
            format!("{text} is a key with role {}", public.role),
            "an endpoint has a key of its own: `countersign key new --role endpoint`",
        ));
    }
    Ok(public.public_key)
}
