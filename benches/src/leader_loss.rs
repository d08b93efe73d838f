//! What the loss of the leader costs: the node whose turn it is dies or freezes, a transaction comes right then.

use crate::figure::Figure;
use crate::world::{enrolment, key_of, signed};
use crate::{Arguments, Failure};
use devnet::client;
use devnet::layout::{Devnet, Node};
use devnet::processes;
use devnet::raise::SITE;
use ledger::certificate::Certificate;
use ledger::encoding::decode;
use ledger::id::ChainId;
use ledger::key::SecretKey;
use ledger::proof::TrustRoot;
use proto::v1::{GetBlockRequest, SubmitRequest};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// Leaders lost of each kind.
const LOSSES: u64 = 20;
/// How long a proposal is waited for, unless a node's configuration says otherwise; and what the loss of a leader
/// may cost at most.
const PROPOSE_MS: f64 = 500.0;
const LIMIT_MS: f64 = 1.5 * PROPOSE_MS;
/// How long everybody is waited for after each.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Nothing has happened for so long: the block that seals the last one is over.
const IDLE: Duration = Duration::from_millis(300);

/// How a leader is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Its process is gone, and the kernel tells its peers.
    Killed,
    /// It says nothing any more, and nobody tells.
    Frozen,
}

/// Measures both, on a ledger that is idle.
pub(crate) async fn measure(arguments: &Arguments, devnet: &mut Devnet) -> Result<(), Failure> {
    let mut scene = Scene::of(devnet)?;
    let kinds = [
        (Loss::Killed, ["leader_killed", "leader_killed_worst"]),
        (Loss::Frozen, ["leader_frozen", "leader_frozen_worst"]),
    ];
    for (loss, [name, worst]) in kinds {
        let mut samples = Vec::new();
        while samples.len() < usize::try_from(LOSSES)? {
            samples.extend(scene.lose_leader(devnet, loss).await?);
        }
        let slowest = samples.iter().copied().fold(0.0, f64::max);
        let against = ("1.5 × the propose timeout, ms", LIMIT_MS);
        Figure::new(name, "ms", samples, against).publish(&arguments.results)?;
        Figure::new(worst, "ms", vec![slowest], against).publish(&arguments.results)?;
    }
    Ok(())
}

struct Scene {
    chain: ChainId,
    operator: SecretKey,
    /// Validators' organisations in the order of their turns.
    turns: Vec<String>,
    sent: u64,
}

impl Scene {
    fn of(devnet: &Devnet) -> Result<Self, Failure> {
        let trust = TrustRoot::parse(&std::fs::read(&devnet.genesis)?)?;
        let turns = trust.validators().validators().iter().map(|validator| validator.organisation.to_string());
        let (chain, operator) = (devnet.chain_id.parse()?, key_of(devnet, SITE, "operator")?);
        Ok(Self { chain, operator, turns: turns.collect(), sent: 0 })
    }

    fn next_transaction(&mut self) -> Result<Vec<u8>, Failure> {
        self.sent += 1;
        let mut seed = [13; 32];
        seed[..8].copy_from_slice(&self.sent.to_le_bytes());
        let endpoint = SecretKey::from_seed(&seed).public();
        Ok(signed(self.chain, &self.operator, 2_000_000 + self.sent, enrolment(endpoint, self.sent)?))
    }

    /// Takes away whoever leads the next height, and measures until the next block is final elsewhere. `None`
    /// when another block came in between: then another had the turn.
    async fn lose_leader(&mut self, devnet: &mut Devnet, loss: Loss) -> Result<Option<f64>, Failure> {
        let height = await_idle(devnet).await?;
        // The turn passes along the set, one place with each height.
        let turn = usize::try_from((height + 1) % self.turns.len() as u64)?;
        let leader = self.turns[turn].clone();
        let transaction = self.next_transaction()?;
        let other = validators(devnet).find(|node| node.name != leader).ok_or("one validator only")?;
        let mut client = client::connect(&other.grpc, &devnet.ca).await?;

        let node = devnet.nodes.iter_mut().find(|node| node.name == leader).ok_or("no such node")?;
        let begun = Instant::now();
        signal(node, if loss == Loss::Killed { Signal::KILL } else { Signal::STOP })?;
        let answer = client.submit(SubmitRequest { transaction, wait_ms: 30_000 }).await;
        let cost = begun.elapsed();
        match loss {
            Loss::Killed => {
                processes::stop(node.pid.take(), &node.config, true);
                processes::start_node(node)?;
            }
            Loss::Frozen => signal(node, Signal::CONT)?,
        }
        let position = answer?.into_inner().position.ok_or("nothing is final after the loss of a leader")?;
        if position.height != height + 1 {
            return Ok(None);
        }
        let cost = cost.as_secs_f64() * 1e3;
        if cost > LIMIT_MS {
            let block = client.get_block(GetBlockRequest { height: position.height }).await?.into_inner();
            let certificate: Certificate = decode(&block.certificate)?;
            crate::print(&format!("  {cost:.0} ms at height {}, in round {}", position.height, certificate.round));
        }
        Ok(Some(cost))
    }
}

fn validators(devnet: &Devnet) -> impl Iterator<Item = &Node> {
    devnet.nodes.iter().filter(|node| node.validator)
}

fn signal(node: &Node, signal: Signal) -> Result<(), Failure> {
    let pid = node.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).ok_or("it does not run")?;
    Ok(kill_process(pid, signal)?)
}

/// Waits until every validator sees every other, all have the same block and no new one comes for a while; its
/// height.
async fn await_idle(devnet: &Devnet) -> Result<u64, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let others = validators(devnet).count() - 1;
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let mut heights = Vec::new();
        for node in validators(devnet) {
            let status = client::status(&node.grpc, &devnet.ca).await.ok();
            heights.push(status.filter(|status| status.peers.len() >= others && status.pending == 0).map(|s| s.height));
        }
        let same = heights.first().copied().flatten().filter(|_| heights.windows(2).all(|pair| pair[0] == pair[1]));
        if same.is_none() || same != last {
            (last, since) = (same, Instant::now());
        }
        match same {
            Some(height) if since.elapsed() > IDLE => return Ok(height),
            _ if Instant::now() > deadline => return Err("the validators do not come to rest".into()),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
