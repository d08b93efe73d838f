//! `countersign status`: what a node is and where it stands.

use crate::connection::{Connection, id};
use crate::failure::Failure;
use crate::options::Global;
use crate::terminal::{Answer, facts, short, table};
use crate::time;
use clap::Args;
use ledger::id::ChainId;
use ledger::key::PublicKey;
use serde::Serialize;

/// Show a node's status.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"version\", \"chain_id\", \"ledger\", \"organisation\", \"node_key\", \"validator\", \"height\", \"head_time_ms\", \
\"transactions\", \"pending\", \"finality_p50_ms\", \"finality_p99_ms\", \"peers\": [{\"node_key\", \"organisation\", \
\"address\", \"height\"}]}

Example:
  countersign status --node https://node.example:7101 --ca roots.pem")]
pub struct Status {}

#[derive(Serialize)]
struct StatusView {
    version: String,
    chain_id: ChainId,
    ledger: String,
    organisation: String,
    node_key: PublicKey,
    validator: bool,
    height: u64,
    head_time_ms: u64,
    transactions: u64,
    pending: u64,
    finality_p50_ms: f64,
    finality_p99_ms: f64,
    peers: Vec<PeerView>,
}

#[derive(Serialize)]
struct PeerView {
    node_key: PublicKey,
    organisation: String,
    address: String,
    height: u64,
}

impl Status {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let Connection { status, chain_id, .. } = Connection::open(global, global.trust()?.as_ref()).await?;
        let peers = status.peers.into_iter().map(|peer| {
            let node_key = PublicKey(id(&peer.node_key, "key")?);
            Ok(PeerView { node_key, organisation: peer.organisation, address: peer.address, height: peer.height })
        });
        let view = StatusView {
            version: status.version,
            chain_id,
            ledger: status.ledger_name,
            organisation: status.organisation,
            node_key: PublicKey(id(&status.node_key, "key")?),
            validator: status.validator,
            height: status.height,
            head_time_ms: status.head_time_ms,
            transactions: status.transactions,
            pending: status.pending,
            finality_p50_ms: status.finality_p50_ms,
            finality_p99_ms: status.finality_p99_ms,
            peers: peers.collect::<Result<_, Failure>>()?,
        };
        Ok(Answer::new(view.text(), &view))
    }
}

impl StatusView {
    fn text(&self) -> String {
        let role = if self.validator { "validator" } else { "follower" };
        let mut text = facts(&[
            ("node", format!("{} of {}, version {}", role, self.organisation, self.version)),
            ("node key", self.node_key.to_string()),
            ("ledger", self.ledger.clone()),
            ("chain id", self.chain_id.to_string()),
            ("height", self.height.to_string()),
            ("head", time::show(self.head_time_ms)),
            ("transactions", format!("{} finalised, {} pending", self.transactions, self.pending)),
            ("finality", format!("p50 {:.0} ms, p99 {:.0} ms", self.finality_p50_ms, self.finality_p99_ms)),
        ]);
        text.push('\n');
        let rows: Vec<_> = self
            .peers
            .iter()
            .map(|peer| {
                let (organisation, address) = (peer.organisation.clone(), peer.address.clone());
                vec![short(&peer.node_key), organisation, address, peer.height.to_string()]
            })
            .collect();
        text + &table(&["PEER", "ORGANISATION", "ADDRESS", "HEIGHT"], &rows)
    }
}
