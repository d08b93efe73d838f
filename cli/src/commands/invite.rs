//! `countersign endpoint invite`: what lets hosts enrol themselves.

use crate::failure::Failure;
use crate::files;
use crate::options::{Global, Need};
use crate::pack::manifest::parse_label;
use crate::sign::nonce;
use crate::time;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use keyring::KeyRole;
use ledger::bounded::{Blob, List, Name, SortedList};
use ledger::id::Digest;
use ledger::invitation::{Invitation, NodeAddress};
use ledger::key::PublicKey;
use ledger::patch::Label;
use serde::Serialize;
use std::path::{Path, PathBuf};
use terminal::{Answer, note};

/// Largest file of root certificates.
const CA_BYTES_MAX: usize = 256 * 1024;
/// Most hosts one invitation is for: who invites more should know of it again.
const HOSTS_MAX: u64 = 10_000;

/// Invite hosts to enrol themselves.
#[derive(Debug, Args)]
#[command(after_help = "\
Whoever has the token may use it, until it expires or as many hosts came as may: treat it like a key. It has in it what a \
host must know to believe nobody else, the ledger's chain id and the roots of --ca. A node of your organisation enrols, if \
its configuration names an operator's key ([enrolment]); nothing is sent to it now.

JSON: {\"token\", \"command\", \"invitation\", \"hosts\", \"expires_at_ms\"}

Example:
  countersign endpoint invite --group web --hosts 20 --for 8h \\
      --label site=hamburg --key operator.key
  # each of the hosts runs what it prints:
  countersign-agent enroll URL --token countersign1-…")]
pub struct Invite {
    /// The group of the hosts
    #[arg(long, value_name = "NAME")]
    group: Name,
    /// A label of theirs; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<Label>,
    /// What the host must be called; any name if not given
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// How many hosts may come
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<u32>::new().range(1..=HOSTS_MAX))]
    hosts: u32,
    /// How long it is valid
    #[arg(long = "for", value_name = "DURATION", default_value = "24h", value_parser = time::parse_duration)]
    valid_ms: u64,
    /// Another node for the hosts to follow, beside --node; may be repeated
    #[arg(long = "follow", value_name = "URL")]
    follow: Vec<String>,
}

#[derive(Serialize)]
struct InviteView {
    token: String,
    command: String,
    /// The digest, which begins the label of every host that comes.
    invitation: Digest,
    hosts: u32,
    expires_at_ms: u64,
}

impl Invite {
    pub(super) fn run(&self, global: &Global) -> Result<Answer, Failure> {
        global.need(&[Need::Key, Need::Genesis, Need::Node])?;
        let key = global.key_needed(&[KeyRole::Operator])?;
        let (trust, node) = (global.trust_needed()?, global.node()?);
        if self.valid_ms == 0 {
            return Err(Failure::usage("an invitation that is over at once lets nobody in", "give it time with --for"));
        }
        let too_much = |what: &str| {
            let what = what.to_owned();
            move |error: ledger::bounded::BoundError| Failure::usage(format!("{what}: {error}"), "give less of it")
        };
        let nodes = std::iter::once(node).chain(self.follow.iter().map(String::as_str));
        let nodes: Result<Vec<_>, _> = nodes.map(NodeAddress::new).collect();
        let roots = roots(global.ca.as_deref())?.into_iter().map(Blob::new).collect::<Result<Vec<_>, _>>();
        let expires_at_ms = time::now_ms().saturating_add(self.valid_ms);
        let invitation = Invitation {
            chain_id: trust.chain_id(),
            operator: PublicKey(key.public.public_key.0),
            nonce: nonce()?,
            name: self.name.clone(),
            group: self.group.clone(),
            labels: SortedList::new(self.labels.clone()).map_err(too_much("--label"))?,
            hosts_max: self.hosts,
            expires_at_ms,
            nodes: nodes.and_then(List::new).map_err(too_much("--node, --follow"))?,
            roots: roots.and_then(List::new).map_err(too_much("--ca"))?,
        };
        let signed = invitation.sign(&key.secret);
        signed
            .check(&trust.chain_id(), time::now_ms())
            .map_err(|error| Failure::usage(error.to_string(), "leave it out"))?;
        let (token, digest) = (signed.to_string(), signed.digest());
        let command = format!("countersign-agent enroll {node} --token {token}");
        let hosts = if self.hosts == 1 { "one host".to_owned() } else { format!("{} hosts", self.hosts) };
        note(&format!(
            "for {hosts}, until {}; those that come have the label {}={}",
            time::show(expires_at_ms),
            signed.label().key,
            signed.label().value
        ));
        let view = InviteView { token, command: command.clone(), invitation: digest, hosts: self.hosts, expires_at_ms };
        Ok(Answer::new(command, &view))
    }
}

/// The root certificates of a file, in DER.
fn roots(ca: Option<&Path>) -> Result<Vec<Vec<u8>>, Failure> {
    let Some(path) = ca else { return Ok(Vec::new()) };
    let pem = files::read(path, "root certificates", CA_BYTES_MAX)?;
    proto::certificates_from_pem(&pem).ok_or_else(|| no_roots(path.to_owned()))
}

fn no_roots(path: PathBuf) -> Failure {
    let text = format!("{} has no certificates in PEM in it, or something else", path.display());
    Failure::usage(text, "--ca takes the ca.pem that `countersign-node init` wrote for each node, one after the other")
}
