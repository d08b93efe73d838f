//! A devnet of four validators: real processes, every validator checking every signature, every block
//! durable.

use crate::endpoint;
use crate::figure::Figure;
use crate::leader_loss;
use crate::signature::SignatureLimit;
use crate::world::{World, enrolment, key_of, now_ms, signed};
use crate::{Arguments, Failure};
use devnet::layout::Devnet;
use devnet::processes;
use devnet::raise::{self, Plan, SITE};
use ledger::key::SecretKey;
use ledger::proof::{HostClock, ProofBundle, TrustRoot};
use proto::v1::{GetProofRequest, SubmitRequest};
use std::time::{Duration, Instant};

/// Submissions, one after the other, that tell the latency of an idle ledger.
const IDLE_SAMPLES: usize = 200;
/// Verifications of one proof.
const PROOF_SAMPLES: usize = 200;
/// What tuned CometBFT does on two cores, and better.
pub(crate) const TARGET_LATENCY_MS: f64 = 15.0;
/// Finalised per second of 300 bytes each, sustained.
const TARGET_TPS: f64 = 4_000.0;
const TARGET_PROOF_BYTES: f64 = 6.0 * 1024.0;
const TARGET_PROOF_MS: f64 = 1.0;

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
        addresses: Vec::new(),
    };
    let mut devnet = raise::up(&plan, &mut |_| {}).await?;
    let result = measure_on(arguments, limit, &mut devnet).await;
    processes::down(&mut devnet)?;
    result
}

async fn measure_on(arguments: &Arguments, limit: &SignatureLimit, devnet: &mut Devnet) -> Result<(), Failure> {
    if arguments.wants("agent") {
        endpoint::measure(arguments, devnet).await?;
    }
    // The other figures are those of four validators: the site's node does not validate.
    let site = devnet.nodes.iter_mut().find(|node| node.name == SITE).ok_or("no site")?;
    processes::stop(site.pid.take(), &site.config, false);
    if arguments.wants("leader") {
        leader_loss::measure(arguments, devnet).await?;
    }
    let world = World::populate(devnet).await?;
    if arguments.wants("proof") {
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
        let met = if sustained.mean >= TARGET_TPS { "met" } else { "MISSED" };
        crate::print(&format!("  target: at least {TARGET_TPS} tx/s ({met})"));
        if arguments.wants("overload") {
            let over = world.offer(&mut receipts, arguments.rate * 2, arguments.seconds).await?;
            over.publish(["overload", "overload_seconds"], arguments, ("sustained, tx/s", sustained.mean))?;
        }
    }
    if arguments.wants("others") {
        world.measure_fairness(receipts, arguments.rate, arguments).await?;
    }
    Ok(())
}

impl World<'_> {
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
}
