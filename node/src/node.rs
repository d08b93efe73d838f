//! A whole node: opened, started, run until it is told to stop.

mod error;
mod guard;

pub use error::NodeError;

use crate::artifacts::{ArtifactLimits, Artifacts};
use crate::config::{Config, PeerAddress, RawArtifacts, RawInventories};
use crate::desk::{Desk, HeadNotice, Published};
use crate::grpc::{self, Services};
use crate::inventories::{Inventories, InventoryLimits};
use crate::network::{self, NetworkConfig};
use crate::proof::ProofSource;
use crate::prune;
use crate::replicate::{self, Plan, Wanted};
use crate::shell::{Events, Inbox, Journal, Shell, ShellError, inbox};
use crate::verifier::Verifier;
use consensus::member::{Chain, Event, Member, MemberConfig, Memory, MempoolLimits};
use ledger::block::{Block, Header};
use ledger::certificate::Certificate;
use ledger::evidence::CertifiedHeader;
use ledger::execution::{ExecutedBlock, Tip};
use ledger::genesis::{Genesis, GenesisBlock};
use ledger::history::HistoryStorage;
use ledger::id::{ChainId, Digest, TransactionId};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::proof::EpochLink;
use ledger::state::record::Role;
use ledger::state::storage::{StateStorage, StorageError};
use ledger::state::tree::TreeHead;
use ledger::state::{StateKey, StateView as _};
use ledger::transaction::{Payload, SignedTransaction, VerifiedTransaction};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Restored, Store};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Identity;

/// Patches looked through at a time when missing artifacts are listed at start.
const PATCHES_PER_PAGE: usize = 200;

/// The store as a member's chain.
struct StoredChain(Arc<Store>);

impl StateStorage for StoredChain {
    fn record(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.record(key)
    }

    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.tree_node(key)
    }

    fn is_finalised(&self, id: &TransactionId) -> Result<bool, StorageError> {
        self.0.is_finalised(id)
    }
}

impl HistoryStorage for StoredChain {
    fn history_hash(&self, index: u64) -> Result<Option<Digest>, StorageError> {
        self.0.history_hash(index)
    }
}

impl Chain for StoredChain {
    fn tip(&self) -> Tip {
        self.0.tip()
    }

    fn commit(&mut self, executed: &ExecutedBlock, certificate: &Certificate) -> Result<(), StorageError> {
        self.0.commit(executed, certificate).map_err(StorageError::from)
    }

    fn certified(&self, height: u64) -> Result<Option<CertifiedHeader>, StorageError> {
        let view = self.0.view();
        let header = view.header(height).map_err(StorageError::from)?;
        let certificate = view.certificate(height).map_err(StorageError::from)?;
        Ok(header.zip(certificate).map(|(header, certificate)| CertifiedHeader { header, certificate }))
    }
}

impl ProofSource for store::View<'_> {
    fn head(&self) -> Result<Option<(Header, Certificate, TreeHead)>, StorageError> {
        let tip = self.tip().map_err(StorageError::from)?;
        let certificate = self.certificate(tip.header.height).map_err(StorageError::from)?;
        Ok(certificate.map(|certificate| (tip.header, certificate, tip.tree)))
    }

    fn epochs_before(&self, header: &Header) -> Result<Vec<EpochLink>, StorageError> {
        let mut links = self.epochs(0, limits::EPOCHS_MAX + 1).map_err(StorageError::from)?;
        links.retain(|link| link.header.height < header.height);
        Ok(links)
    }

    fn transaction_bytes(&self, index: u64) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.transaction_at(index).map_err(StorageError::from)?.map(|located| located.bytes))
    }
}

/// Runs a node until `stop` changes.
///
/// # Errors
/// [`NodeError`] names what could not be opened, or what failed while running.
pub async fn run(config: Config, stop: watch::Receiver<bool>) -> Result<(), NodeError> {
    let identity = identity(&config)?;
    let (store, chain_id, name) = open_store(&config)?;
    let data = &config.raw.data_dir;
    let artifacts = Arc::new(Artifacts::open(data.join("artifacts"), artifact_limits(&config))?);
    let inventories = open_inventories(&config)?;
    let tip = store.tip();
    let (journal, recovered) = Journal::open(data, tip.header.height + 1)?;
    if let Some(damage) = &recovered.damage {
        tracing::warn!(damage, "the vote log was cut at a damaged frame; the signing guard stands");
    }
    tracing::info!(%chain_id, height = tip.header.height, "chain opened");
    say_whose(&config, &store)?;
    let memory = guard::memory(&config, &store, &genesis(&config)?, &recovered.guard, recovered.is_silent)?;

    let (events, received) = inbox();
    let notice =
        HeadNotice { height: tip.header.height, time_ms: tip.header.time_ms, sealing: tip.header.tx_count > 0 };
    let (desk, published) = Desk::new(notice);
    let desk = Arc::new(desk);
    let network =
        NetworkConfig { key: config.node_key.clone(), listen: config.listen.clone(), peers: config.peers.clone() };
    let verifier = Verifier::new(chain_id)?;
    let network =
        network::start(network, store.clone(), artifacts.clone(), (events.clone(), verifier.clone()), stop.clone())
            .await?;
    let plan = missing_artifacts(&config, &store, &artifacts)?;
    let published = wanted(published, store.clone());
    let replication = tokio::spawn(replicate::run(plan, artifacts.clone(), network.clone(), published, stop.clone()));

    if let Some(days) = config.raw.chain.receipts_days {
        tokio::spawn(prune::run(store.clone(), days, stop.clone()));
    }
    let services =
        services(&config, &store, (&artifacts, inventories), &desk, &network, (events, &verifier), (chain_id, name));
    let member = member(&config, &store, chain_id, (recovered.guard, memory), recovered.evidence)?;
    let bodies = recovered.bodies.into_iter().filter_map(|block| verified(block, chain_id)).collect();
    let start = Event::Start { log: recovered.log, bodies };
    let shell = Shell::new(member, journal, network, desk);
    let clients = grpc::serve(services, config.grpc_listen, identity, stop.clone()).await?;

    // Nothing fails any more from here on: a process must not end while this thread writes.
    let mut main_loop = spawn_main_loop(shell, start, received, stop.clone());
    let clients = tokio::spawn(clients);
    let mut stop = stop;
    let result = tokio::select! {
        ended = &mut main_loop => ended.map_err(|_| NodeError::Lost)?.map_err(NodeError::from),
        _ = stop.changed() => {
            tracing::info!("stopping");
            // What it has begun to write it finishes: the thread is over before the process is.
            main_loop.await.map_err(|_| NodeError::Lost)?.map_err(NodeError::from)
        }
    };
    clients.abort();
    replication.abort();
    result
}

/// A node that is not its member's, as far as this chain goes, is told so: it may sleep, or be configured wrongly.
fn say_whose(config: &Config, store: &Store) -> Result<(), StorageError> {
    let (key, organisation) = (config.node_key.public(), &config.organisation);
    match store.key_owner(key)? {
        Some(owner) if owner.organisation == *organisation && owner.role == Role::Node => {}
        Some(owner) => {
            let (owner, role) = (owner.organisation, owner.role);
            tracing::warn!(%key, %organisation, %owner, %role, "the ledger knows this node's key as something else");
        }
        None => tracing::warn!(
            %key, %organisation,
            "the ledger as far as it is here does not know this node's key: a governor adds it (propose)"
        ),
    }
    Ok(())
}

/// The main loop has a thread of its own: it writes to disks and must not wait behind sockets.
fn spawn_main_loop(
    shell: Shell<StoredChain>,
    start: Event,
    events: Events,
    stop: watch::Receiver<bool>,
) -> tokio::sync::oneshot::Receiver<Result<(), ShellError>> {
    let (ended, receiver) = tokio::sync::oneshot::channel();
    let handle = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("main-loop".to_owned())
        .spawn(move || {
            let result = handle.block_on(shell.run(start, events, stop));
            // Nobody listens when the node was told to stop.
            let _ = ended.send(result);
        })
        .expect("a process that just started can start one more thread");
    receiver
}

/// Makes the chain of a node that has none from a snapshot file.
///
/// # Errors
/// [`NodeError`]; there is no chain then, as before.
pub fn restore(config: &Config, from: &Path) -> Result<Restored, NodeError> {
    let directory = config.raw.data_dir.join("chain");
    if directory.exists() {
        return Err(NodeError::HasChain { path: directory });
    }
    let read = |source| NodeError::Read { path: from.to_owned(), source };
    let file = std::fs::File::open(from).map_err(read)?;
    let genesis = genesis(config)?;
    let parent = &config.raw.data_dir;
    std::fs::create_dir_all(parent).map_err(|source| NodeError::Make { path: parent.clone(), source })?;
    Ok(Store::restore(&directory, &genesis, io::BufReader::new(file))?)
}

fn genesis(config: &Config) -> Result<GenesisBlock, NodeError> {
    let path = &config.raw.genesis;
    let bytes = std::fs::read(path).map_err(|source| NodeError::Read { path: path.clone(), source })?;
    Ok(Genesis::parse(&bytes)?)
}

fn open_store(config: &Config) -> Result<(Arc<Store>, ChainId, ledger::bounded::Name), NodeError> {
    let genesis = genesis(config)?;
    let directory = config.raw.data_dir.join("chain");
    let store = if directory.exists() {
        Store::open(&directory)?
    } else {
        let parent = &config.raw.data_dir;
        std::fs::create_dir_all(parent).map_err(|source| NodeError::Make { path: parent.clone(), source })?;
        Store::create(&directory, &genesis)?
    };
    let (stored, expected) = (store.chain_id(), genesis.chain_id);
    if stored != expected {
        return Err(NodeError::OtherChain { stored, expected });
    }
    Ok((Arc::new(store), expected, genesis.genesis.name))
}

fn member(
    config: &Config,
    store: &Arc<Store>,
    chain_id: ChainId,
    (guard, memory): (Vec<consensus::GuardRecord>, Memory),
    evidence: Vec<consensus::Evidence>,
) -> Result<Member<StoredChain>, NodeError> {
    let consensus = &config.raw.consensus;
    let member = MemberConfig {
        told: told(config),
        chain_id,
        parameters: parameters(store)?,
        validator: config.validator_key.clone(),
        node: config.node_key.clone(),
        guard,
        memory,
        evidence,
        timeouts: consensus::Timeouts {
            propose_ms: consensus.propose_ms,
            propose_step_ms: consensus.propose_step_ms,
            vote_ms: consensus.vote_ms,
            vote_step_ms: consensus.vote_step_ms,
            rebroadcast_ms: consensus.rebroadcast_ms,
            cap_ms: consensus.cap_ms,
        },
        mempool: MempoolLimits {
            transactions_max: config.raw.mempool.transactions_max,
            bytes_max: config.raw.mempool.bytes_max,
            per_organisation_max: config.raw.mempool.per_organisation_max,
            per_organisation_bytes_max: config.raw.mempool.per_organisation_bytes_max,
            share_max: config.raw.mempool.share_max,
        },
        batch_ms: consensus.batch_ms,
        block_transactions: consensus.block_transactions,
    };
    Ok(Member::new(member, StoredChain(store.clone())))
}

/// The nodes the configuration names.
fn told(config: &Config) -> BTreeSet<PublicKey> {
    config.peers.iter().map(|peer| peer.key).collect()
}

fn parameters(store: &Arc<Store>) -> Result<ledger::state::record::Parameters, NodeError> {
    let parameters = store.parameters()?;
    Ok(parameters.ok_or_else(|| StorageError::new("state records", "no parameters"))?)
}

fn services(
    config: &Config,
    store: &Arc<Store>,
    (artifacts, inventories): (&Arc<Artifacts>, Arc<Inventories>),
    desk: &Arc<Desk>,
    network: &network::Network,
    (events, verifier): (Inbox, &Verifier),
    (chain_id, ledger_name): (ChainId, ledger::bounded::Name),
) -> Services {
    Services {
        store: store.clone(),
        artifacts: artifacts.clone(),
        desk: desk.clone(),
        network: network.clone(),
        events,
        chain_id,
        ledger_name,
        organisation: config.organisation.clone(),
        node_key: config.node_key.public(),
        validator_key: config.validator_key.as_ref().map(ledger::key::SecretKey::public),
        verifier: verifier.clone(),
        refusing: grpc::Refusing::default(),
        connections: grpc::Connections::of_this_process(config.peers.iter().filter_map(PeerAddress::ip)),
        intake: grpc::Intake::default(),
        unread: grpc::Unread::default(),
        downloads: grpc::Downloads::default(),
        followers: grpc::Followers::new(config.raw.grpc.ask_again_ms_max),
        snapshots: grpc::Snapshots::default(),
        porter: grpc::Porter::new(config.operator_key.clone()),
        inventories,
    }
}

/// What clients know this node by, before anything is opened: files that are none are named then.
fn identity(config: &Config) -> Result<Identity, NodeError> {
    let read = |path: &PathBuf, what, is_one: fn(&[u8]) -> bool| {
        let pem = std::fs::read(path).map_err(|source| NodeError::Read { path: path.clone(), source })?;
        if is_one(&pem) { Ok(pem) } else { Err(NodeError::Tls { path: path.clone(), what }) }
    };
    let certificate = read(&config.raw.grpc.certificate, "certificate", proto::are_certificates)?;
    Ok(Identity::from_pem(certificate, read(&config.raw.grpc.private_key, "private key", proto::is_private_key)?))
}

/// A recovered block with its transactions verified; one that does not verify was not kept by us.
fn verified(block: Block, chain: ChainId) -> Option<(Block, Vec<VerifiedTransaction>)> {
    let transactions = block.transactions.iter().map(|signed| signed.clone().verify(&chain).ok()).collect();
    let transactions: Option<Vec<_>> = transactions;
    Some((block, transactions?))
}

fn artifact_limits(config: &Config) -> ArtifactLimits {
    let RawArtifacts { bytes_max, per_organisation_bytes_max, left_free_bytes_max } = config.raw.artifacts;
    ArtifactLimits { bytes_max, per_organisation_bytes_max, left_free_bytes_max }
}

fn open_inventories(config: &Config) -> Result<Arc<Inventories>, NodeError> {
    let path = config.raw.data_dir.join("inventories");
    let RawInventories { bytes_max, per_endpoint_bytes_max, history_max } = config.raw.inventories;
    let limits = InventoryLimits { bytes_max, per_endpoint_bytes_max, history_max };
    let opened = Inventories::open(path.clone(), limits, artifact_limits(config));
    Ok(Arc::new(opened.map_err(|source| NodeError::Inventories { path, source })?))
}

/// What to replicate: every artifact of every patch published so far that is not here.
fn missing_artifacts(config: &Config, store: &Store, artifacts: &Artifacts) -> Result<Plan, NodeError> {
    // The seed only makes nodes differ from each other.
    let mut plan = Plan::new(config.node_key.public().0);
    let mut after = None;
    loop {
        let page = store.patches(after, PATCHES_PER_PAGE)?;
        for (_, record) in &page.rows {
            let Some(located) = store.transaction_at(record.published.index)? else { continue };
            let Ok(signed) = ledger::encoding::decode::<SignedTransaction>(&located.bytes) else { continue };
            if let Payload::Publish { manifest } = signed.transaction.payload {
                for artifact in manifest.artifacts.iter() {
                    let organisation = record.organisation.clone();
                    let wanted = Wanted { organisation, blake3: artifact.blake3, size: artifact.size };
                    replicate::want(&mut plan, artifacts, wanted);
                }
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(plan),
        }
    }
}

/// Artifacts as they are published, with whose they are.
fn wanted(published: UnboundedReceiver<Published>, store: Arc<Store>) -> impl Stream<Item = Wanted> + Unpin {
    UnboundedReceiverStream::new(published).filter_map(move |Published { publisher, artifact }| {
        // A finalised patch was signed by a key that is known; if the disk fails now, the next start finds it.
        let organisation = store.key_owner(publisher).ok().flatten()?.organisation;
        Some(Wanted { organisation, blake3: artifact.blake3, size: artifact.size })
    })
}
