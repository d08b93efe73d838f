//! `countersign status`: what a node is and where it stands.

use crate::connection::{Connection, id};
use crate::failure::Failure;
use crate::options::Global;
use crate::tables::{facts, short, table};
use crate::time;
use clap::Args;
use ledger::id::ChainId;
use ledger::key::PublicKey;
use serde::Serialize;
use terminal::Answer;

/// Show a node's status.
#[derive(Debug, Args)]
#[command(after_help = "\
JSON: {\"version\", \"chain_id\", \"ledger\", \"organisation\", \"node_key\", \"validator\", \"height\", \"head_time_ms\", \
\"transactions\", \"pending\", \"finality_p50_ms\", \"finality_p99_ms\", \"validators\", \"validators_connected\", \"quorum\", \
\"heartbeat_ms\", \"peers\": [{\"node_key\", \"organisation\", \
\"address\", \"height\"}]}

Example:
  countersign status --node https://node.example:7101 --ca roots.pem")]
pub struct Status {}

/// As many heartbeats after the newest block, the next one is late.
const HEARTBEATS_LATE: u64 = 3;

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
    validators: u32,
    validators_connected: u32,
    quorum: u32,
    heartbeat_ms: u64,
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
            validators: status.validators,
            validators_connected: status.validators_connected,
            quorum: status.quorum,
            heartbeat_ms: status.heartbeat_ms,
            peers: peers.collect::<Result<_, Failure>>()?,
        };
        Ok(Answer::new(view.text(time::now_ms()), &view))
    }
}

impl StatusView {
    fn text(&self, now_ms: u64) -> String {
        let role = if self.validator { "validator" } else { "follower" };
        let mut rows = vec![
            ("node", format!("{} of {}, version {}", role, self.organisation, self.version)),
            ("node key", self.node_key.to_string()),
            ("ledger", self.ledger.clone()),
            ("chain id", self.chain_id.to_string()),
            ("height", self.height.to_string()),
            ("head", self.head(now_ms)),
            ("transactions", format!("{} finalised, {} pending", self.transactions, self.pending)),
            ("finality", self.finality()),
        ];
        rows.extend(self.quorum().map(|quorum| ("quorum", quorum)));
        let text = facts(&rows);
        if self.peers.is_empty() {
            return text + "peers  none\n";
        }
        let rows: Vec<_> = self
            .peers
            .iter()
            .map(|peer| {
                let (organisation, address) = (peer.organisation.clone(), peer.address.clone());
                vec![short(&peer.node_key), organisation, address, peer.height.to_string()]
            })
            .collect();
        text + "\n" + &table(&["PEER", "ORGANISATION", "ADDRESS", "HEIGHT"], &rows)
    }

    /// The newest block's time, and its age when it is older than it may be.
    fn head(&self, now_ms: u64) -> String {
        let (at, age_ms) = (time::show(self.head_time_ms), now_ms.saturating_sub(self.head_time_ms));
        let late = self.heartbeat_ms > 0 && age_ms > self.heartbeat_ms.saturating_mul(HEARTBEATS_LATE);
        match late {
            false => at,
            true => {
                let (age, heartbeat) = (time::show_about(age_ms), time::show_duration(self.heartbeat_ms));
                format!("{at}, {age} ago: late, there is to be a block every {heartbeat}")
            }
        }
    }

    /// How long finality takes, as far as anybody waited for it here.
    fn finality(&self) -> String {
        if self.finality_p99_ms == 0.0 {
            return "–".to_owned();
        }
        format!("p50 {:.0} ms, p99 {:.0} ms", self.finality_p50_ms, self.finality_p99_ms)
    }

    /// Whether blocks can be decided, as far as this node sees; a node of an older version does not say.
    fn quorum(&self) -> Option<String> {
        let Self { validators, validators_connected: connected, quorum, .. } = self;
        let seen = format!("{connected} of {validators} validators seen from here, {quorum} needed");
        match (*validators, connected < quorum) {
            (0, _) => None,
            (_, false) => Some(seen),
            (_, true) => Some(format!("gone: {seen}; nothing is finalised until they are back")),
        }
    }
}
