//! The population of a ledger under load: patches, endpoints, and receipts nobody has sent yet.

use crate::Failure;
use devnet::client;
use devnet::layout::Devnet;
use devnet::raise::SITE;
use futures::StreamExt as _;
use ledger::block::PROTOCOL_VERSION;
use ledger::bounded::{List, Name, Notes, Product, Sentence, SortedList, Version};
use ledger::encoding::encode;
use ledger::id::{ChainId, Digest, PatchId};
use ledger::key::{PublicKey, SecretKey};
use ledger::patch::{Artifact, Class, InstallerKind, PatchManifest, PayloadEncoding, Reboot, Severity};
use ledger::receipt::{Health, Outcome, Reason, ReasonCode, Receipt};
use ledger::transaction::{Payload, Transaction, Verdict};
use proto::v1::SubmitRequest;
use proto::v1::ledger_client::LedgerClient;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::transport::Channel;

/// Endpoints that write receipts.
const ENDPOINTS: usize = 1_200;
/// Patches they write them about, so that no receipt waits for another.
const PATCHES: usize = 360;
/// A signed receipt is padded to this.
const TRANSACTION_BYTES: usize = 300;

/// The population of the ledger under load.
pub(crate) struct World<'a> {
    pub(crate) devnet: &'a Devnet,
    pub(crate) chain: ChainId,
    endpoints: Vec<SecretKey>,
    pub(crate) patches: Vec<PatchId>,
    /// One at every validator.
    pub(crate) clients: Vec<LedgerClient<Channel>>,
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn key_of(devnet: &Devnet, organisation: &str, role: &str) -> Result<SecretKey, Failure> {
    let key = devnet.key(organisation, role).ok_or("no such key")?;
    let table: toml::Table = std::fs::read_to_string(&key.file)?.parse()?;
    let seed = table.get("secret_key").and_then(toml::Value::as_str).ok_or("no secret key in the file")?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(seed, &mut bytes)?;
    Ok(SecretKey::from_seed(&bytes))
}

pub(crate) fn signed(chain: ChainId, key: &SecretKey, nonce: u64, payload: Payload) -> Vec<u8> {
    let transaction = Transaction {
        version: PROTOCOL_VERSION,
        chain_id: chain,
        signer: key.public(),
        nonce,
        expires_at_ms: now_ms() + 3_600_000,
        payload,
    };
    encode(&transaction.sign(key))
}

/// A connection to every validator.
pub(crate) async fn connect(devnet: &Devnet) -> Result<Vec<LedgerClient<Channel>>, Failure> {
    let mut clients = Vec::new();
    for node in devnet.nodes.iter().filter(|node| node.validator) {
        clients.push(client::connect(&node.grpc, &devnet.ca).await?);
    }
    Ok(clients)
}

impl<'a> World<'a> {
    pub(crate) async fn populate(devnet: &'a Devnet) -> Result<Self, Failure> {
        let chain: ChainId = devnet.chain_id.parse()?;
        let clients = connect(devnet).await?;
        let (vendor, operator) = (key_of(devnet, "vendor-a", "publisher")?, key_of(devnet, SITE, "operator")?);
        let endpoints: Vec<SecretKey> = (0..ENDPOINTS)
            .map(|number| {
                let mut seed = [9; 32];
                seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
                SecretKey::from_seed(&seed)
            })
            .collect();
        let manifests: Vec<PatchManifest> = (0..PATCHES).map(manifest).collect::<Result<_, _>>()?;
        let patches = manifests.iter().map(PatchManifest::id).collect();
        let mut transactions = Vec::new();
        for (nonce, manifest) in (0..).zip(manifests) {
            transactions.push(signed(chain, &vendor, nonce, Payload::Publish { manifest }));
        }
        for (nonce, endpoint) in (0..).zip(&endpoints) {
            transactions.push(signed(chain, &operator, nonce, enrolment(endpoint.public(), nonce)?));
        }
        let world = Self { devnet, chain, endpoints, patches, clients };
        world.finalise(transactions).await?;
        let verdicts = ["approver-a", "approver-b"].into_iter().map(|organisation| {
            let key = key_of(devnet, organisation, "approver")?;
            let verdict = Verdict { patch: world.patches[0], evidence: Digest::ZERO, note: Notes::default() };
            Ok(signed(chain, &key, 0, Payload::Approve { verdict, urgent: false }))
        });
        let verdicts = verdicts.collect::<Result<_, Failure>>()?;
        world.finalise(verdicts).await?;
        Ok(world)
    }

    /// Submits and waits until all are finalised.
    async fn finalise(&self, transactions: Vec<Vec<u8>>) -> Result<(), Failure> {
        let submissions = transactions.into_iter().map(|transaction| {
            let mut client = self.clients[0].clone();
            async move { client.submit(SubmitRequest { transaction, wait_ms: 30_000 }).await }
        });
        let mut answers = futures::stream::iter(submissions).buffer_unordered(64);
        while let Some(answer) = answers.next().await {
            answer?;
        }
        Ok(())
    }

    /// Receipts nobody has sent yet, signed in advance, in an order in which neighbours are of
    /// different endpoints.
    pub(crate) fn receipts(&self) -> std::vec::IntoIter<Vec<u8>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs: Vec<(PatchId, &SecretKey)> =
            self.patches.iter().flat_map(|patch| self.endpoints.iter().map(|endpoint| (*patch, endpoint))).collect();
        let signed: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let threads: Vec<_> = jobs
                .chunks(jobs.len().div_ceil(cores))
                .map(|jobs| {
                    scope.spawn(|| jobs.iter().map(|(patch, key)| self.receipt(*patch, key)).collect::<Vec<_>>())
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        signed.into_iter()
    }

    fn receipt(&self, patch: PatchId, endpoint: &SecretKey) -> Vec<u8> {
        let receipt = |detail: &str| Payload::Receipt {
            receipt: Receipt {
                patch,
                rollout: None,
                attempt: 1,
                from_version: Version::default(),
                to_version: Version::default(),
                outcome: Outcome::Refused,
                reason: Some(Reason { code: ReasonCode::Policy, detail: Sentence::cut(detail) }),
                health: Health::NotRun,
                log_digest: Digest::ZERO,
                ended_at_ms: 0,
            },
        };
        let bare = signed(self.chain, endpoint, 0, receipt("")).len();
        signed(self.chain, endpoint, 0, receipt(&"x".repeat(TRANSACTION_BYTES.saturating_sub(bare))))
    }
}

pub(crate) fn manifest(number: usize) -> Result<PatchManifest, Failure> {
    Ok(PatchManifest {
        product: Product::new(format!("vendor-a/load-{number}"))?,
        channel: Name::new("stable")?,
        version: Version::new(format!("{number}"))?,
        release: 1,
        class: Class::Bugfix,
        severity: Severity::Low,
        advisories: SortedList::default(),
        title: Sentence::new("load")?,
        notes: Notes::default(),
        targets: List::default(),
        depends: SortedList::default(),
        conflicts: SortedList::default(),
        supersedes: SortedList::default(),
        installer: InstallerKind::DirectoryTree,
        artifacts: List::new(vec![Artifact {
            name: Name::new("tree.tar")?,
            size: 1,
            blake3: Digest::blake3(&[0]),
            sha256: Digest::ZERO,
            encoding: PayloadEncoding::Identity,
            delta_from: None,
        }])?,
        services: SortedList::default(),
        health: List::default(),
        reboot: Reboot::Never,
    })
}

pub(crate) fn enrolment(endpoint: PublicKey, number: u64) -> Result<Payload, Failure> {
    Ok(Payload::Enroll {
        endpoint,
        name: Name::new(format!("host-{number}"))?,
        group: Name::new("load")?,
        labels: SortedList::default(),
    })
}
