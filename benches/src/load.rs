//! Load: receipts offered at a steady rate over all validators.

use crate::figure::Figure;
use crate::world::World;
use crate::{Arguments, Failure};
use futures::StreamExt as _;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetStatusRequest, SubmitRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Submissions sent in one go.
const BURST: usize = 32;

impl World<'_> {
    pub(crate) async fn finalised(&self) -> Result<u64, Failure> {
        let mut client = self.clients[0].clone();
        Ok(client.get_status(GetStatusRequest {}).await?.into_inner().transactions)
    }

    /// Offers receipts at a rate over all validators; one sample of finalised transactions per second.
    pub(crate) async fn offer(
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

/// What came of a load.
pub(crate) struct Offered {
    /// Finalised per second, second by second: blocks fall on one side of a second or the other.
    samples: Vec<f64>,
    /// Finalised per second over all of them: what was sustained.
    pub(crate) mean: f64,
    offered: usize,
    refused: u64,
}

impl Offered {
    /// Publishes both: the mean is the figure, the seconds say how steady it was.
    pub(crate) fn publish(
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
