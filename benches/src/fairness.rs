//! What others feel while one organisation sends ten times what the ledger takes.

use crate::figure::{Figure, p99};
use crate::ledger_load::TARGET_LATENCY_MS;
use crate::world::{World, connect, key_of, manifest, signed};
use crate::{Arguments, Failure};
use futures::StreamExt as _;
use ledger::transaction::Payload;
use proto::v1::SubmitRequest;
use proto::v1::ledger_client::LedgerClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Connections of the flood to each validator, of its own, as another organisation's are: who is refused is not read
/// for a moment, and only so many are refused in a second. What is not read waits here.
const CONNECTIONS: usize = 8;
/// How much more than it takes the ledger is sent.
const TIMES: u64 = 10;
/// Submissions sent in one go.
const BURST: usize = 64;
/// Submissions of the others per second.
const OTHERS_RATE: u64 = 40;
/// How much longer the others may wait for it, of a hundred the slowest.
const TARGET: f64 = 2.0;
/// The flood flows before anybody is measured: the pools are full, and nobody has been heard of but who floods.
const RISE: Duration = Duration::from_secs(3);
/// How often both are measured, in turn. A machine stands still now and then, for as long as some submissions take
/// together; of so many rounds the one in the middle says what the ledger does.
const ROUNDS: u64 = 5;

/// A connection of the flood.
type Pouring = tokio::task::JoinHandle<Result<(), tonic::Status>>;

/// What came of a flood.
#[derive(Default)]
struct Flood {
    stop: AtomicBool,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl World<'_> {
    /// A vendor publishes, alone and then beside a site whose endpoints send `capacity` ten times over; and so again.
    pub(crate) async fn measure_fairness(
        &self,
        receipts: &[Vec<u8>],
        capacity: u64,
        arguments: &Arguments,
    ) -> Result<(), Failure> {
        let flood = Arc::new(Flood::default());
        let (mut alone, mut flooded, mut ratios, mut seconds) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        for (round, receipts) in (0..ROUNDS).zip(receipts.chunks(receipts.len().div_ceil(ROUNDS as usize).max(1))) {
            let quiet = self.others(2 * round, arguments.seconds).await?;
            let floods = self.flood(receipts, TIMES * capacity, &flood).await?;
            let begun = Instant::now();
            tokio::time::sleep(RISE).await;
            let beside = self.others(2 * round + 1, arguments.seconds).await;
            flood.stop.store(true, Ordering::Relaxed);
            for flood in floods {
                flood.await??;
            }
            seconds += begun.elapsed().as_secs_f64();
            let beside = beside?;
            ratios.push(p99(&beside) / p99(&quiet));
            alone.extend(quiet);
            flooded.extend(beside);
        }
        let alone = Figure::new("others_alone", "ms", alone, ("target, ms", TARGET_LATENCY_MS));
        let flooded = Figure::new("others_flooded", "ms", flooded, ("alone, ms", alone.median));
        let ratios = Figure::new("others_flooded_p99", "×", ratios, ("target, × p99 alone", TARGET));
        for figure in [alone, flooded, ratios] {
            figure.publish(&arguments.results)?;
        }
        let (taken, refused) = (flood.taken.load(Ordering::Relaxed), flood.refused.load(Ordering::Relaxed));
        let answered = (taken + refused) as f64 / seconds;
        crate::print(&format!(
            "  of the flood's {} per second, {answered:.0} were read, {:.0} taken",
            TIMES * capacity,
            taken as f64 / seconds,
        ));
        Ok(())
    }

    /// Begins a flood of so many per second.
    async fn flood(&self, receipts: &[Vec<u8>], rate: u64, flood: &Arc<Flood>) -> Result<Vec<Pouring>, Failure> {
        flood.stop.store(false, Ordering::Relaxed);
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.extend(connect(self.devnet).await?);
        }
        let (share, rate) = (receipts.len().div_ceil(clients.len()).max(1), rate / clients.len() as u64);
        let clients = std::iter::zip(clients, receipts.chunks(share));
        Ok(clients.map(|(client, load)| tokio::spawn(pour(client, load.to_vec(), rate, flood.clone()))).collect())
    }

    /// Patches of a vendor at a steady rate, at each validator in turn: how long each takes to be final.
    async fn others(&self, part: u64, seconds: u64) -> Result<Vec<f64>, Failure> {
        let vendor = key_of(self.devnet, "vendor-a", "publisher")?;
        let begun = Instant::now();
        let mut waiting = Vec::new();
        for number in 0..OTHERS_RATE * seconds {
            let nonce = 3_000_000 + part * 100_000 + number;
            let manifest = manifest(usize::try_from(nonce)?)?;
            let transaction = signed(self.chain, &vendor, nonce, Payload::Publish { manifest });
            let mut client = self.clients[usize::try_from(number)? % self.clients.len()].clone();
            let due = Duration::from_secs_f64(number as f64 / OTHERS_RATE as f64);
            tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
            waiting.push(tokio::spawn(async move {
                let begun = Instant::now();
                let answer = client.submit(SubmitRequest { transaction, wait_ms: 30_000 }).await?.into_inner();
                Ok::<_, tonic::Status>(answer.position.map(|_| begun.elapsed().as_secs_f64() * 1e3))
            }));
        }
        let mut samples = Vec::new();
        for submission in waiting {
            samples.push(submission.await??.ok_or("a patch is not final after half a minute")?);
        }
        Ok(samples)
    }
}

/// Sends a load over one stream at a steady rate, over and over: what was refused may be taken the next time, what
/// was taken is known.
async fn pour(
    mut client: LedgerClient<Channel>,
    load: Vec<Vec<u8>>,
    rate: u64,
    flood: Arc<Flood>,
) -> Result<(), tonic::Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel(4 * BURST);
    let pouring = flood.clone();
    tokio::spawn(async move {
        let begun = Instant::now();
        for (place, transaction) in load.iter().cycle().enumerate() {
            if place % BURST == 0 {
                let due = Duration::from_secs_f64(place as f64 / rate as f64);
                tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
            }
            let request = SubmitRequest { transaction: transaction.clone(), wait_ms: 0 };
            if pouring.stop.load(Ordering::Relaxed) || sender.send(request).await.is_err() {
                return;
            }
        }
    });
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.submit_stream(requests).await?.into_inner();
    while let Some(answer) = answers.next().await {
        let count = if answer?.refusal.is_some() { &flood.refused } else { &flood.taken };
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
