//! What others feel while one organisation sends ten times what the ledger takes.

use crate::figure::{Figure, p99};
use crate::ledger_load::TARGET_LATENCY_MS;
use crate::world::{World, connect, key_of, manifest, signed};
use crate::{Arguments, Failure};
use futures::StreamExt as _;
use ledger::transaction::Payload;
use proto::v1::SubmitRequest;
use proto::v1::ledger_client::LedgerClient;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
const ROUNDS: u64 = 3;

/// A connection of the flood.
type Pouring = tokio::task::JoinHandle<Result<(), String>>;

/// What the flood is made of, and what came of it.
#[derive(Clone)]
struct Load {
    fresh: Arc<Mutex<std::vec::IntoIter<Vec<u8>>>>,
    flood: Arc<Flood>,
}

impl Load {
    /// One that was never sent.
    fn next(&self) -> Option<Vec<u8>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

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
        receipts: std::vec::IntoIter<Vec<u8>>,
        capacity: u64,
        arguments: &Arguments,
    ) -> Result<(), Failure> {
        let load = Load { fresh: Arc::new(Mutex::new(receipts)), flood: Arc::default() };
        let (mut alone, mut flooded, mut ratios, mut seconds) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        for round in 0..ROUNDS {
            self.await_silence().await?;
            let quiet = self.others(2 * round, arguments.seconds).await?;
            let floods = self.flood(&load, TIMES * capacity).await?;
            let begun = Instant::now();
            tokio::time::sleep(RISE).await;
            let beside = self.others(2 * round + 1, arguments.seconds).await;
            load.flood.stop.store(true, Ordering::Relaxed);
            seconds += begun.elapsed().as_secs_f64();
            for flood in floods {
                flood.await??;
            }
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
        let (taken, refused) = (load.flood.taken.load(Ordering::Relaxed), load.flood.refused.load(Ordering::Relaxed));
        let answered = (taken + refused) as f64 / seconds;
        crate::print(&format!(
            "  of the flood's {} per second, {answered:.0} were read, {:.0} taken",
            TIMES * capacity,
            taken as f64 / seconds,
        ));
        Ok(())
    }

    /// Waits until nothing that was taken is still on its way: whoever is alone is alone.
    async fn await_silence(&self) -> Result<(), Failure> {
        let mut before = self.finalised().await?;
        loop {
            tokio::time::sleep(RISE).await;
            let now = self.finalised().await?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    /// Begins a flood of so many per second.
    async fn flood(&self, load: &Load, rate: u64) -> Result<Vec<Pouring>, Failure> {
        load.flood.stop.store(false, Ordering::Relaxed);
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.extend(connect(self.devnet).await?);
        }
        let rate = rate / clients.len() as u64;
        Ok(clients.into_iter().map(|client| tokio::spawn(pour(client, load.clone(), rate))).collect())
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

/// Sends a load over one stream at a steady rate: what is refused once more, and else what was never sent.
///
/// # Errors
/// Nothing is left to be sent: it would be no flood any more.
async fn pour(mut client: LedgerClient<Channel>, load: Load, rate: u64) -> Result<(), String> {
    let (sender, receiver) = tokio::sync::mpsc::channel(4 * BURST);
    let (sent, mut unanswered) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let (again, mut refused) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let pouring = load.clone();
    let pour = tokio::spawn(async move {
        let begun = Instant::now();
        for place in 0.. {
            if place % BURST == 0 {
                let due = Duration::from_secs_f64(place as f64 / rate as f64);
                tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
            }
            let Some(transaction) = refused.try_recv().ok().or_else(|| pouring.next()) else {
                return Err("the flood has nothing left to send: fewer --seconds".to_owned());
            };
            let request = SubmitRequest { transaction: transaction.clone(), wait_ms: 0 };
            if pouring.flood.stop.load(Ordering::Relaxed) || sender.send(request).await.is_err() {
                break;
            }
            let _ = sent.send(transaction);
        }
        Ok(())
    });
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.submit_stream(requests).await.map_err(|status| status.to_string())?.into_inner();
    while let Some(answer) = answers.next().await {
        // Answers come in the order asked.
        let of = unanswered.recv().await;
        if answer.map_err(|status| status.to_string())?.refusal.is_some() {
            load.flood.refused.fetch_add(1, Ordering::Relaxed);
            let _ = of.map(|transaction| again.send(transaction));
        } else {
            load.flood.taken.fetch_add(1, Ordering::Relaxed);
        }
    }
    pour.await.map_err(|error| error.to_string())?
}
