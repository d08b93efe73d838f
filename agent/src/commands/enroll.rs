//! `enroll`: a new host, with nothing but an invitation.

use super::block_on;
use super::new_host::{CONFIG, NewHost, SealWith, Sealing, check_is_new};
use crate::failure::{Failure, NO_VERDICT, REFUSED, USAGE};
use agent::clock;
use agent::config::{NODES_MAX, check_nodes};
use agent::follow::sources::{CallError, Source, Sources};
use clap::Args;
use ledger::bounded::Name;
use ledger::encoding::encode;
use ledger::genesis::Genesis;
use ledger::id::ChainId;
use ledger::invitation::{Arrival, SignedInvitation};
use ledger::key::PublicKey;
use proto::v1;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use terminal::Answer;
use tokio::time::{Instant, sleep};

/// How long a host asks to be enrolled, once it has seen its ledger.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);
/// The status of an endpoint that is enrolled.
const ACTIVE: &str = "active";
/// How long it waits when no answer came.
const JOIN_PAUSE: Duration = Duration::from_secs(1);

/// Enrol this host with an invitation: make its key and configuration, and have the ledger know it.
///
/// The invitation says which ledger that is and whose certificates are believed, so nothing else is needed; that the host
/// is enrolled is the node's word, until the agent runs. The key is made here and never leaves the host.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  # an operator:
  countersign endpoint invite --group servers --hosts 20 --for 8h \\
      --key operator.key
  # prints this line, for each host:
  countersign-agent enroll https://ledger-a.example:7400 \\
      --token countersign1-…

With --seal-with FILE the key is sealed from the start; put FILE where nobody else reads it, or hand it to systemd as a
credential and name that with --credential (docs/guide/endpoint.md).
The token may come from the environment (COUNTERSIGN_TOKEN), where other users of the host do not see it.
JSON: {\"public_key\", \"name\", \"config\", \"height\" (null while the enrolment is not final)}
Exit codes: 0 enrolled; 1 refused, the check is named; 2 wrong use; 3 no node answers. All of it is made, or nothing.")]
pub(super) struct Enroll {
    /// The node that enrols, as https://HOST:PORT
    #[arg(value_name = "URL")]
    node: String,
    /// The invitation
    #[arg(long, value_name = "TOKEN", env = "COUNTERSIGN_TOKEN", hide_env_values = true)]
    token: String,
    /// What people call this host; what the invitation says, or else what the host calls itself, if not given
    #[arg(long)]
    name: Option<Name>,
    /// Where key and configuration go; data goes into `data` beneath
    #[arg(long, default_value = "/etc/countersign")]
    dir: PathBuf,
    #[command(flatten)]
    seal: SealWith,
}

/// What was made.
#[derive(Serialize)]
struct Enrolled {
    public_key: PublicKey,
    name: Name,
    config: PathBuf,
    height: Option<u64>,
}

impl Enroll {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        check_is_new(&self.dir)?;
        let signed = SignedInvitation::parse(&self.token).map_err(|error| {
            let hint = "take all of what `countersign endpoint invite` printed, and nothing else";
            Failure::new(error, Some(hint.to_owned()), USAGE).called("invitation")
        })?;
        let chain_id = signed.invitation.chain_id;
        signed.check(&chain_id, clock::now_ms()).map_err(|error| {
            let word = error.check();
            Failure::new(error, Some(ASK_AGAIN.to_owned()), REFUSED).called(word)
        })?;
        let nodes = self.nodes(&signed)?;
        let name = self.name(&signed)?;
        let seal = self.seal.sealing()?;
        block_on(self.enroll(&signed, &nodes, name, seal.as_ref()))
    }

    async fn enroll(
        &self,
        signed: &SignedInvitation,
        nodes: &[String],
        name: Name,
        seal: Option<&Sealing>,
    ) -> Result<Answer, Failure> {
        let chain_id = signed.invitation.chain_id;
        let roots: Vec<&[u8]> = signed.invitation.roots.iter().map(|root| &root[..]).collect();
        let roots = proto::certificates_to_pem(&roots).into_bytes();
        let sources = Sources::with_roots(&nodes[..1], None, &roots).map_err(|error| {
            Failure::new(error, Some("is this an address of a node?".to_owned()), USAGE).called("nodes")
        })?;
        let node = sources.all().first().ok_or_else(|| Failure::new("no node", None, USAGE))?;
        let genesis = genesis(node, chain_id).await?;
        let (mirrors, directories) = (&[], &[]);
        let (ca, genesis) = (Some(roots), Some(genesis));
        let host = NewHost { dir: &self.dir, name: &name, nodes, mirrors, directories, ca, genesis, seal };
        let (made, secret) = host.make()?;
        let arrival = Arrival { invitation: signed.digest(), endpoint: secret.public(), name: name.clone() };
        let request = v1::JoinRequest {
            invitation: encode(signed),
            endpoint: arrival.endpoint.0.to_vec(),
            name: name.to_string(),
            signature: arrival.sign(&chain_id, &secret).0.to_vec(),
        };
        let joined = match join(node, &request).await {
            Err(lost) if lost.is_unanswered() => {
                // It may have been let in: then its key is worth something.
                made.keep();
                let hint = format!(
                    "whether it was enrolled is not known, and its key is kept: `countersign-agent doctor` says; if it was \
                     not, an operator enrols it: countersign endpoint enroll {} --name {name} --group GROUP",
                    arrival.endpoint
                );
                return Err(lost.with_hint(&hint));
            }
            joined => joined?,
        };
        made.keep();
        let (public_key, config) = (arrival.endpoint, self.dir.join(CONFIG));
        let height = joined.position.map(|position| position.height);
        let text = match height {
            Some(height) => format!("{name} is enrolled at height {height}: {public_key}"),
            None => format!("{name} will be enrolled when the ledger is final again: {public_key}"),
        };
        say_namesakes(node, &arrival).await;
        tracing::info!(config = %config.display(), "written; subscribe to something, then `countersign-agent run`");
        Ok(Answer::new(text, &Enrolled { public_key, name, config, height }))
    }

    /// The node that enrols, and those the invitation names.
    fn nodes(&self, signed: &SignedInvitation) -> Result<Vec<String>, Failure> {
        let bare = |node: &str| node.trim_end_matches('/').to_owned();
        let mut nodes = vec![self.node.clone()];
        for node in signed.invitation.nodes.iter() {
            if nodes.len() < NODES_MAX && nodes.iter().all(|known| bare(known) != bare(node.as_str())) {
                nodes.push(node.to_string());
            }
        }
        let hint = || Some("take the address that `countersign endpoint invite` printed".to_owned());
        check_nodes(&nodes).map_err(|problem| Failure::new(problem, hint(), USAGE))?;
        Ok(nodes)
    }

    fn name(&self, signed: &SignedInvitation) -> Result<Name, Failure> {
        if let Some(name) = self.name.clone().or_else(|| signed.invitation.name.clone()) {
            return Ok(name);
        }
        let own = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        Name::new(own).map_err(|error| {
            Failure::new(
                format!("what this host calls itself cannot be its name: {error}"),
                Some("give --name".to_owned()),
                USAGE,
            )
        })
    }
}

/// The genesis file of the ledger that was meant; a node of another one has none.
async fn genesis(node: &Source, chain_id: ChainId) -> Result<Vec<u8>, Failure> {
    let bytes = node.genesis().await.map_err(refused)?;
    let found = Genesis::parse(&bytes).map(|block| block.chain_id);
    match found {
        Ok(found) if found == chain_id => Ok(bytes),
        found => {
            let found = found.map_or_else(|error| error.to_string(), |found| found.to_string());
            let text =
                format!("{} is a node of another ledger: {found}, the invitation is for {chain_id}", node.node());
            Err(Failure::new(text, Some(ASK_AGAIN.to_owned()), REFUSED).called("chain-id"))
        }
    }
}

/// Says when another host of the organisation is called the same, as far as the node says so: it may be this one, under a
/// key that it had before, and it is how people and the inventory tell hosts apart.
async fn say_namesakes(node: &Source, arrival: &Arrival) {
    let Ok(endpoints) = node.endpoints().await else { return };
    let is_this = |endpoint: &&v1::Endpoint| endpoint.key == arrival.endpoint.0;
    let Some(own) = endpoints.iter().find(is_this) else { return };
    let is_alike = |endpoint: &&v1::Endpoint| {
        !is_this(endpoint)
            && endpoint.status == ACTIVE
            && (&endpoint.name, &endpoint.organisation) == (&own.name, &own.organisation)
    };
    if let Some(other) = endpoints.iter().find(is_alike) {
        let key = hex::encode(&other.key);
        tracing::warn!(key, "another host is called {} already: retire it if this one takes its place", arrival.name);
    }
}

/// Asks as long as the answer is lost, or others are first: whoever asks again is not one more.
async fn join(node: &Source, request: &v1::JoinRequest) -> Result<v1::JoinResponse, Failure> {
    let until = Instant::now() + JOIN_PATIENCE;
    loop {
        let error = match node.join(request.clone()).await {
            Ok(joined) => return Ok(joined),
            Err(error) => error,
        };
        let again = error.retry_after().or_else(|| error.check().is_none().then_some(JOIN_PAUSE));
        match again.filter(|_| Instant::now() < until) {
            Some(pause) => sleep(pause.min(JOIN_PATIENCE)).await,
            None => return Err(refused(error)),
        }
    }
}

/// What to do without an invitation that holds.
const ASK_AGAIN: &str = "ask an operator for a new invitation: `countersign endpoint invite`";

fn refused(error: CallError) -> Failure {
    match error.check().map(str::to_owned) {
        Some(check) => Failure::new(error, Some(ASK_AGAIN.to_owned()), REFUSED).called(check),
        None => {
            let hint = "is it the right address, and does the node run? Nothing was left behind: try again".to_owned();
            Failure::new(error, Some(hint), NO_VERDICT)
        }
    }
}
