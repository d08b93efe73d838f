//! Clients that work while the network fails, and note everything they saw, to the microsecond.

use super::clients::{Noted, Operator};
use super::history::{History, Looked, Moment, Told, check, place};
use super::ledger::{Ledger, NODES};
use super::{LOOK, PATIENCE};
use devnet::client;
use ledger::id::TransactionId;
use ledger::transaction::VerifiedTransaction;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetStatusRequest, GetTransactionRequest, Position, SubmitRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tests::Dice;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// How long one node is waited for before the next is asked.
const CALL_WAIT_MS: u64 = 1_500;
/// How long a call may take in all.
const CALL_PATIENCE: Duration = Duration::from_secs(4);
/// How long a client rests when a node did not answer.
const REST: Duration = Duration::from_millis(20);

/// What all witnesses share.
struct Scene {
    operator: Arc<Operator>,
    nodes: Vec<String>,
    ca: PathBuf,
    since: Instant,
    history: Mutex<History>,
    noted: Mutex<Noted>,
    /// Which nodes were given up on, over and over: the time that passes while nothing is final.
    in_vain: AtomicUsize,
    stop: AtomicBool,
}

/// Clients that submit, and look, all the time.
pub(crate) struct Witnesses {
    scene: Arc<Scene>,
    clients: Vec<JoinHandle<()>>,
}

impl Witnesses {
    /// So many clients; what each does where is drawn from the seed.
    pub(crate) fn gather(ledger: &Ledger, operator: &Arc<Operator>, size: usize, seed: u64) -> Self {
        let scene = Arc::new(Scene {
            operator: operator.clone(),
            nodes: NODES.iter().map(|name| ledger.node(name).grpc.clone()).collect(),
            ca: ledger.devnet.ca.clone(),
            since: Instant::now(),
            history: Mutex::default(),
            noted: Mutex::default(),
            in_vain: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let witness = |number: usize| Witness {
            scene: scene.clone(),
            dice: Dice::new(seed ^ (number as u64) << 32),
            clients: BTreeMap::new(),
        };
        let clients = (0..size).map(|number| tokio::spawn(witness(number).work())).collect();
        Self { scene, clients }
    }

    fn finals(&self, nodes: &[usize]) -> usize {
        let history = self.scene.history.lock().unwrap();
        let at_these = history.told.iter().filter(|told| nodes.contains(&told.node));
        at_these.map(|told| told.id).collect::<BTreeSet<_>>().len()
    }

    /// Waits until so many more were told at these nodes that something is final.
    pub(crate) async fn await_finals(&self, ledger: &Ledger, nodes: &[usize], more: usize) {
        let wanted = self.finals(nodes) + more;
        self.wait(ledger, "finality", || self.finals(nodes) >= wanted).await;
    }

    /// Waits until a node was asked in vain so often more.
    pub(crate) async fn await_silence(&self, ledger: &Ledger, more: usize) {
        let wanted = self.scene.in_vain.load(Ordering::Relaxed) + more;
        self.wait(ledger, "silence", || self.scene.in_vain.load(Ordering::Relaxed) >= wanted).await;
    }

    async fn wait(&self, ledger: &Ledger, what: &str, is_there: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there() {
            assert!(Instant::now() < deadline, "no {what}:\n{}", ledger.standing().await);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets them end what they have begun. Their history must be one of a ledger; what they were told.
    pub(crate) async fn dismiss(self) -> Noted {
        self.scene.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let history = std::mem::take(&mut *self.scene.history.lock().unwrap());
        println!("{} answers, {} looks", history.told.len(), history.looked.len());
        assert_eq!(check(&history), Ok(()));
        std::mem::take(&mut *self.scene.noted.lock().unwrap())
    }
}

struct Witness {
    scene: Arc<Scene>,
    dice: Dice,
    clients: BTreeMap<usize, LedgerClient<Channel>>,
}

impl Witness {
    async fn work(mut self) {
        while !self.is_over() {
            let transaction = self.scene.operator.sign();
            let begun = self.scene.now();
            // The same transaction until somebody says it is final: offering it again is harmless.
            while !self.is_over() {
                let node = self.node();
                let answer = self.submit(node, &transaction).await;
                let ended = self.scene.now();
                self.look(node, transaction.id()).await;
                let Some(position) = answer else {
                    self.scene.in_vain.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(REST).await;
                    continue;
                };
                let told = Told { id: transaction.id(), node, begun, ended, place: place(position) };
                self.scene.noted.lock().unwrap().push((told.id, position));
                self.scene.history.lock().unwrap().told.push(told);
                break;
            }
            let (node, other) = (self.node(), self.somebodys(transaction.id()));
            self.look(node, other).await;
        }
    }

    fn is_over(&self) -> bool {
        self.scene.stop.load(Ordering::Relaxed)
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.dice.below(self.scene.nodes.len() as u64)).expect("a few nodes")
    }

    /// A transaction that somebody was told of, or this one when nobody was.
    fn somebodys(&mut self, own: TransactionId) -> TransactionId {
        let history = self.scene.history.lock().unwrap();
        self.dice.pick(&history.told).map_or(own, |told| told.id)
    }

    /// A connection, kept as long as it is of use.
    async fn client(&mut self, node: usize) -> Option<LedgerClient<Channel>> {
        if !self.clients.contains_key(&node) {
            let client = client::connect(&self.scene.nodes[node], &self.scene.ca).await.ok()?;
            self.clients.insert(node, client);
        }
        self.clients.get(&node).cloned()
    }

    async fn submit(&mut self, node: usize, transaction: &VerifiedTransaction) -> Option<Position> {
        let mut client = self.client(node).await?;
        let request = SubmitRequest { transaction: transaction.bytes().to_vec(), wait_ms: CALL_WAIT_MS };
        let answer = tokio::time::timeout(CALL_PATIENCE, client.submit(request)).await;
        let Ok(Ok(answer)) = answer else {
            self.clients.remove(&node);
            return None;
        };
        answer.into_inner().position
    }

    /// Asks a node how far it is, and then for a transaction, and notes what it said.
    async fn look(&mut self, node: usize, id: TransactionId) {
        let begun = self.scene.now();
        let Some(mut client) = self.client(node).await else { return };
        let asking = async {
            let height = client.get_status(GetStatusRequest {}).await.ok()?.into_inner().height;
            let request = GetTransactionRequest { id: id.0.to_vec() };
            let place = match client.get_transaction(request).await {
                Ok(found) => found.into_inner().position.map(place),
                Err(status) if status.code() == tonic::Code::NotFound => None,
                Err(_) => return None,
            };
            Some((height, place))
        };
        let Ok(Some((height, place))) = tokio::time::timeout(CALL_PATIENCE, asking).await else {
            self.clients.remove(&node);
            return;
        };
        let ended = self.scene.now();
        self.scene.history.lock().unwrap().looked.push(Looked { id, node, begun, ended, height, place });
    }
}

impl Scene {
    fn now(&self) -> Moment {
        u64::try_from(self.since.elapsed().as_micros()).expect("a test does not last so long")
    }
}
