//! A devnet of four validators under load: real processes, every validator checking every signature,
//! every block durable.

use crate::Arguments;
use crate::figure::Figure;
use crate::signature::SignatureLimit;
use devnet::client;
use devnet::layout::Devnet;
use devnet::processes;
use devnet::raise::{self, Plan, SITE};
use futures::StreamExt as _;
use ledger::block::PROTOCOL_VERSION;
use ledger::bounded::{List, Name, Notes, Product, Sentence, SortedList, Version};
use ledger::encoding::encode;
use ledger::id::{ChainId, Digest, PatchId};
use ledger::key::{PublicKey, SecretKey};
use ledger::patch::{Artifact, Class, InstallerKind, PatchManifest, PayloadEncoding, Reboot, Severity};
use ledger::proof::{HostClock, ProofBundle, TrustRoot};
use ledger::receipt::{Health, Outcome, Reason, ReasonCode, Receipt};
use ledger::transaction::{Payload, Transaction, Verdict};
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetProofRequest, SubmitRequest};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tonic::transport::Channel;

/// Endpoints that write receipts.
const ENDPOINTS: usize = 500;
/// Patches they write them about, so that no receipt waits for another.
const PATCHES: usize = 360;
/// Submissions, one after the other, that tell the latency of an idle ledger.
const IDLE_SAMPLES: usize = 200;
/// Verifications of one proof.
const PROOF_SAMPLES: usize = 200;
/// A signed receipt is padded to this.
const TRANSACTION_BYTES: usize = 300;
/// Submissions sent in one go.
const BURST: usize = 32;
/// Tuned CometBFT on two cores: idle latency and sustained rate.
const TARGET_LATENCY_MS: f64 = 15.0;
const TARGET_PROOF_BYTES: f64 = 6.0 * 1024.0;
const TARGET_PROOF_MS: f64 = 1.0;

type Failure = Box<dyn Error>;

/// Raises the ledger, measures, ends it.
pub(crate) async fn measure(arguments: &Arguments, limit: &SignatureLimit) -> Result<(), Failure> {
    if arguments.dir.exists() {
        std::fs::remove_dir_all(&arguments.dir)?;
    }
    let plan = Plan {
        dir: arguments.dir.clone(),
        validators: 4,
        agents: 0,
        subscriptions: Vec::new(),
        heartbeat_ms: 2_000,
        seal_ms: 100,
    };
    let mut devnet = raise::up(&plan, &mut |_| {}).await?;
    // Figures are those of four validators: the site's node does not validate.
    for node in devnet.nodes.iter_mut().filter(|node| !node.validator) {
        processes::stop(node.pid.take(), &node.config, false);
    }
    let result = measure_on(arguments, limit, &devnet).await;
    processes::down(&mut devnet)?;
    result
}

async fn measure_on(arguments: &Arguments, limit: &SignatureLimit, devnet: &Devnet) -> Result<(), Failure> {
    let world = World::populate(devnet).await?;
    if arguments.wants("proof_verify") {
        world.measure_proof(arguments).await?;
    }
    if arguments.wants("finality_latency") {
        world.measure_latency(arguments).await?;
    }
    let mut receipts = world.receipts();
    if arguments.wants("ledger_tps") || arguments.wants("overload") {
        let sustained = world.offer(&mut receipts, arguments.rate, arguments.seconds).await?;
        sustained.publish(
            ["ledger_tps", "ledger_tps_seconds"],
            arguments,
            ("limit of signatures, tx/s", limit.transactions_per_s),
        )?;
        if arguments.wants("overload") {
            let over = world.offer(&mut receipts, arguments.rate * 2, arguments.seconds).await?;
            over.publish(["overload", "overload_seconds"], arguments, ("sustained, tx/s", sustained.mean))?;
        }
    }
    Ok(())
}

/// The population of the ledger under load.
struct World<'a> {
    devnet: &'a Devnet,
    chain: ChainId,
    endpoints: Vec<SecretKey>,
    patches: Vec<PatchId>,
    clients: Vec<LedgerClient<Channel>>,
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn key_of(devnet: &Devnet, organisation: &str, role: &str) -> Result<SecretKey, Failure> {
    let key = devnet.key(organisation, role).ok_or("no such key")?;
    let table: toml::Table = std::fs::read_to_string(&key.file)?.parse()?;
    let seed = table.get("secret_key").and_then(toml::Value::as_str).ok_or("no secret key in the file")?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(seed, &mut bytes)?;
    Ok(SecretKey::from_seed(&bytes))
}

fn signed(chain: ChainId, key: &SecretKey, nonce: u64, payload: Payload) -> Vec<u8> {
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

impl<'a> World<'a> {
    async fn populate(devnet: &'a Devnet) -> Result<Self, Failure> {
        let chain: ChainId = devnet.chain_id.parse()?;
        let mut clients = Vec::new();
        for node in devnet.nodes.iter().filter(|node| node.validator) {
            clients.push(client::connect(&node.grpc, &devnet.ca).await?);
        }
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

    async fn measure_proof(&self, arguments: &Arguments) -> Result<(), Failure> {
        let mut client = self.clients[0].clone();
        // The block that seals the last transactions may not be there yet.
        let proof = loop {
            match client.get_proof(GetProofRequest { patch: self.patches[0].0.to_vec() }).await {
                Ok(answer) => break answer.into_inner().proof,
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(status) => return Err(status.into()),
            }
        };
        let trust = TrustRoot::parse(&std::fs::read(&self.devnet.genesis)?)?;
        let mut samples = Vec::new();
        for _ in 0..PROOF_SAMPLES {
            let begun = Instant::now();
            ProofBundle::parse(&proof)?.verify(&trust, HostClock::at(now_ms()))?;
            samples.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Figure::new("proof_verify", "ms", samples, ("target, ms", TARGET_PROOF_MS)).publish(&arguments.results)?;
        let bytes = vec![proof.len() as f64];
        Figure::new("proof_bytes", "bytes", bytes, ("target, bytes", TARGET_PROOF_BYTES))
            .publish(&arguments.results)?;
        Ok(())
    }

    /// One submission at a time on an idle ledger, to each validator in turn.
    async fn measure_latency(&self, arguments: &Arguments) -> Result<(), Failure> {
        let operator = key_of(self.devnet, SITE, "operator")?;
        let mut samples = Vec::new();
        for sample in 0..IDLE_SAMPLES as u64 {
            let mut seed = [11; 32];
            seed[..8].copy_from_slice(&sample.to_le_bytes());
            let endpoint = SecretKey::from_seed(&seed).public();
            let transaction = signed(self.chain, &operator, 1_000_000 + sample, enrolment(endpoint, sample)?);
            let mut client = self.clients[sample as usize % self.clients.len()].clone();
            let begun = Instant::now();
            client.submit(SubmitRequest { transaction, wait_ms: 30_000 }).await?;
            samples.push(begun.elapsed().as_secs_f64() * 1e3);
            // Idle means that the block that seals this one is over, too.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        Figure::new("finality_latency", "ms", samples, ("target, ms", TARGET_LATENCY_MS))
            .publish(&arguments.results)?;
        Ok(())
    }

    /// Receipts nobody has sent yet, signed in advance, in an order in which neighbours are of
    /// different endpoints.
    fn receipts(&self) -> std::vec::IntoIter<Vec<u8>> {
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

    async fn finalised(&self) -> Result<u64, Failure> {
        let mut client = self.clients[0].clone();
        Ok(client.get_status(proto::v1::GetStatusRequest {}).await?.into_inner().transactions)
    }

    /// Offers receipts at a rate over all validators; one sample of finalised transactions per second.
    async fn offer(
        &self,
        receipts: &mut std::vec::IntoIter<Vec<u8>>,
        rate: u64,
        seconds: u64,
    ) -> Result<Offered, Failure> {
        let count = usize::try_from(rate * seconds)?;
        let load: Vec<Vec<u8>> = receipts.by_ref().take(count).collect();
        if load.len() < count {
            return Err(format!("only {} receipts are left, {count} are needed: fewer --seconds", load.len()).into());
        }
        let refused = Arc::new(AtomicU64::new(0));
        let mut streams = Vec::new();
        let share = load.len().div_ceil(self.clients.len());
        for (client, load) in self.clients.iter().zip(load.chunks(share)) {
            streams.push(tokio::spawn(offer_to(
                client.clone(),
                load.to_vec(),
                rate / self.clients.len() as u64,
                refused.clone(),
            )));
        }
        let mut samples = Vec::new();
        let (mut before, mut begun) = (self.finalised().await?, Instant::now());
        let (mut first, mut since) = (before, begun);
        for second in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (after, now) = (self.finalised().await?, Instant::now());
            // The first second fills the pipe.
            if second > 0 {
                samples.push((after - before) as f64 / (now - begun).as_secs_f64());
            } else {
                (first, since) = (after, now);
            }
            (before, begun) = (after, now);
        }
        let mean = (before - first) as f64 / (begun - since).as_secs_f64();
        for stream in streams {
            stream.await??;
        }
        Ok(Offered { samples, mean, offered: count, refused: refused.load(Ordering::Relaxed) })
    }
}

struct Offered {
    /// Finalised per second, second by second: blocks fall on one side of a second or the other.
    samples: Vec<f64>,
    /// Finalised per second over all of them: what was sustained.
    mean: f64,
    offered: usize,
    refused: u64,
}

impl Offered {
    /// Publishes both: the mean is the figure, the seconds say how steady it was.
    fn publish(
        &self,
        [mean, seconds]: [&'static str; 2],
        arguments: &Arguments,
        against: (&str, f64),
    ) -> std::io::Result<()> {
        Figure::new(mean, "tx/s", vec![self.mean], against).publish(&arguments.results)?;
        Figure::new(seconds, "tx/s", self.samples.clone(), against).publish(&arguments.results)?;
        crate::print(&format!("  refused with \"try again\": {} of {} offered", self.refused, self.offered));
        Ok(())
    }
}

/// Sends a load over one stream at a steady rate, and counts what is refused.
async fn offer_to(
    mut client: LedgerClient<Channel>,
    load: Vec<Vec<u8>>,
    rate: u64,
    refused: Arc<AtomicU64>,
) -> Result<(), tonic::Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel(4 * BURST);
    let pacing = tokio::spawn(async move {
        let begun = Instant::now();
        for (place, burst) in load.chunks(BURST).enumerate() {
            let due = Duration::from_secs_f64((place * BURST) as f64 / rate as f64);
            tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
            for transaction in burst {
                let request = SubmitRequest { transaction: transaction.clone(), wait_ms: 0 };
                if sender.send(request).await.is_err() {
                    return;
                }
            }
        }
    });
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.submit_stream(requests).await?.into_inner();
    while let Some(answer) = answers.next().await {
        if answer?.refusal.is_some() {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
    pacing.abort();
    Ok(())
}

fn manifest(number: usize) -> Result<PatchManifest, Failure> {
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

fn enrolment(endpoint: PublicKey, number: u64) -> Result<Payload, Failure> {
    Ok(Payload::Enroll {
        endpoint,
        name: Name::new(format!("host-{number}"))?,
        group: Name::new("load")?,
        labels: SortedList::default(),
    })
}
