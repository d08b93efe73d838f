//! People who use the ledger: they sign, submit, try again elsewhere, and note what they were told.

use super::ledger::{Ledger, NODES};
use super::{PATIENCE, wait_for};
use devnet::client;
use ledger::block::PROTOCOL_VERSION;
use ledger::bounded::{Name, SortedList};
use ledger::id::{ChainId, TransactionId};
use ledger::key::SecretKey;
use ledger::transaction::{Payload, Transaction, VerifiedTransaction};
use proto::v1::{Position, SubmitRequest, TransactionState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

/// How long one node is waited for before the next is asked.
const CALL_WAIT_MS: u64 = 3_000;
/// How long a client rests that no node answered.
const REST: Duration = Duration::from_millis(20);

/// What was answered as finalised, and where.
pub(crate) type Noted = Vec<(TransactionId, Position)>;

/// The site's operator: enrols endpoints.
pub(crate) struct Operator {
    key: SecretKey,
    chain: ChainId,
    number: AtomicU64,
}

/// The clock of this machine.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Operator {
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let file = &ledger.devnet.key("site", "operator").unwrap().file;
        let table: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
        let mut seed = [0; 32];
        hex::decode_to_slice(table["secret_key"].as_str().unwrap(), &mut seed).unwrap();
        let chain = ledger.devnet.chain_id.parse().unwrap();
        Self { key: SecretKey::from_seed(&seed), chain, number: AtomicU64::new(0) }
    }

    /// The next enrolment.
    pub(crate) fn sign(&self) -> VerifiedTransaction {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let endpoint = SecretKey::from_seed(ledger::id::Digest::blake3(&number.to_le_bytes()).as_bytes()).public();
        let (name, group) = (Name::new(format!("host-{number}")).unwrap(), Name::new("servers").unwrap());
        let body = Transaction {
            version: PROTOCOL_VERSION,
            chain_id: self.chain,
            signer: self.key.public(),
            nonce: number,
            expires_at_ms: now_ms() + 3_600_000,
            payload: Payload::Enroll { endpoint, name, group, labels: SortedList::default() },
        };
        body.sign(&self.key).verify(&self.chain).unwrap()
    }
}

/// Submits at one node until it is finalised there.
pub(crate) async fn finalise(ledger: &Ledger, node: &str, transaction: &VerifiedTransaction) -> Position {
    let mut client = ledger.connect(node).await;
    wait_for(&format!("finality at {node}"), async || {
        let request = SubmitRequest { transaction: transaction.bytes().to_vec(), wait_ms: CALL_WAIT_MS };
        client.submit(request).await.ok()?.into_inner().position
    })
    .await
}

/// Clients that submit all the time.
pub(crate) struct Crowd {
    noted: Arc<Mutex<Noted>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// So many clients; each begins at another node and goes on to the next when one does not answer.
    pub(crate) fn gather(ledger: &Ledger, operator: &Arc<Operator>, size: usize) -> Self {
        let noted: Arc<Mutex<Noted>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let nodes: Vec<String> = NODES.iter().map(|name| ledger.node(name).grpc.clone()).collect();
        let clients = (0..size).map(|first| {
            let client = Client {
                operator: operator.clone(),
                noted: noted.clone(),
                stop: stop.clone(),
                nodes: nodes.clone(),
                ca: ledger.devnet.ca.clone(),
            };
            tokio::spawn(client.work(first))
        });
        let clients = clients.collect();
        Self { noted, stop, clients }
    }

    pub(crate) fn count(&self) -> usize {
        self.noted.lock().unwrap().len()
    }

    /// Waits until they noted so many more.
    pub(crate) async fn await_more(&self, ledger: &Ledger, more: usize) {
        let wanted = self.count() + more;
        let deadline = Instant::now() + PATIENCE;
        while self.count() < wanted {
            assert!(Instant::now() < deadline, "no finality:\n{}", ledger.standing().await);
            tokio::time::sleep(REST).await;
        }
    }

    /// Lets them end what they have begun; what they noted.
    pub(crate) async fn dismiss(self) -> Noted {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        std::mem::take(&mut *self.noted.lock().unwrap())
    }
}

struct Client {
    operator: Arc<Operator>,
    noted: Arc<Mutex<Noted>>,
    stop: Arc<AtomicBool>,
    nodes: Vec<String>,
    ca: PathBuf,
}

impl Client {
    async fn work(self, first: usize) {
        let mut place = first;
        while !self.is_over() {
            let transaction = self.operator.sign();
            // The same transaction until somebody says it is finalised: offering it again is harmless.
            while !self.is_over() {
                let url = &self.nodes[place % self.nodes.len()];
                if let Some(position) = self.submit(url, &transaction).await {
                    self.noted.lock().unwrap().push((transaction.id(), position));
                    break;
                }
                place += 1;
                tokio::time::sleep(REST).await;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn submit(&self, url: &str, transaction: &VerifiedTransaction) -> Option<Position> {
        let mut client = client::connect(url, &self.ca).await.ok()?;
        let request = SubmitRequest { transaction: transaction.bytes().to_vec(), wait_ms: CALL_WAIT_MS };
        let answer = client.submit(request).await.ok()?.into_inner();
        if answer.state() == TransactionState::Finalised { answer.position } else { None }
    }
}
