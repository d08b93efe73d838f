//! Tells the nodes what is on this host: when the agent begins, now and then, and when an update has ended. A node that
//! has the inventory is told its digest and nothing more; the others want it, packed on the last one they have.

use super::{Gathered, Gatherer, Told, Written};
use crate::clock;
use crate::config;
use crate::follow::Pace;
use crate::follow::heads::Heads;
use crate::follow::sources::{CallCause, CallError, Source, Sources, id};
use crate::settled::chain;
use ledger::encoding::encode;
use ledger::id::{ChainId, Digest};
use ledger::inventory::{InventoryReport, Readings};
use ledger::key::SecretKey;
use proto::packed::{self, PackedError};
use proto::v1::ReportRequest;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Wait before a node is told again that did not take it, at first; it doubles …
const RETRY_MIN: Duration = Duration::from_secs(30);
/// … up to this, or to the interval: who is back is not without news for long.
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);
/// The check of a node that is another organisation's.
const STRANGE: &str = "organisation";

/// Why a node was not told.
#[derive(Debug, thiserror::Error)]
enum TellError {
    /// It did not take it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The inventory is too large to travel.
    #[error(transparent)]
    Packed(#[from] PackedError),
}

/// Tells the nodes.
pub struct Teller {
    gatherer: Gatherer,
    sources: Sources,
    heads: Arc<Heads>,
    key: SecretKey,
    chain_id: ChainId,
    told_path: PathBuf,
    told: Told,
}

impl Teller {
    /// Of a host with this key; what it told before is read from `told_path`.
    #[must_use]
    pub fn new(
        gatherer: Gatherer,
        sources: Sources,
        heads: Arc<Heads>,
        (key, chain_id): (SecretKey, ChainId),
        told_path: PathBuf,
    ) -> Self {
        let mut told = Told::read(&told_path).unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "what the nodes were told is forgotten");
            Told::default()
        });
        // Whoever was strange is asked once more: a host may be enrolled elsewhere now.
        told.nodes.values_mut().for_each(|node| node.is_strange = false);
        Self { gatherer, sources, heads, key, chain_id, told_path, told }
    }

    /// Looks and tells for ever.
    pub async fn run(mut self, what: config::Inventory) {
        let seed = Digest::blake3(&[self.key.public().as_bytes().as_slice(), b"inventory"].concat());
        let mut pace = Pace::of(what.every, what.jitter_percent, seed);
        let (mut retry, wanted) = (RETRY_MIN, self.gatherer.wanted.clone());
        loop {
            let wait = match self.tell_all(&what.nodes).await {
                true => {
                    retry = RETRY_MIN;
                    pace.interval()
                }
                false => {
                    let longest = RETRY_MAX.min(what.every);
                    let wait = pace.stray(retry.min(longest));
                    retry = (retry * 2).min(longest);
                    wait
                }
            };
            // An update that ended, and what stopped working, are told at once.
            if tokio::time::timeout(wait, wanted.notified()).await.is_ok() {
                retry = RETRY_MIN;
            }
        }
    }

    /// Looks, and tells those named that are this organisation's; whether all took it.
    pub async fn tell_all(&mut self, named: &[String]) -> bool {
        let (history, now_ms) = (self.gatherer.history(), self.heads.believed_ms(clock::now_ms()));
        let looked = self.gatherer.look(move |Gathered { inventory, readings }| {
            let written = Written::new(&inventory);
            drop(inventory); // It takes several times the room of its bytes.
            match history.note(&written, now_ms) {
                Ok(true) => tracing::info!(inventory = %written.digest, "this host's inventory is another one"),
                Ok(false) => {}
                Err(error) => tracing::warn!(error = chain(&error), "the inventory is not kept"),
            }
            (written, readings)
        });
        let Some((written, readings)) = looked.await else { return false };
        let mut all = true;
        for source in self.sources.clone().all() {
            let node = source.node();
            if !named.iter().any(|name| name == node) || self.told.nodes.get(node).is_some_and(|told| told.is_strange) {
                continue;
            }
            let at_ms = self.told.next_at_ms(self.heads.believed_ms(clock::now_ms()));
            let result = self.tell(source, &written, at_ms, readings.clone()).await;
            let told = self.told.nodes.entry(node.to_owned()).or_default();
            match result {
                Ok(()) => {
                    self.told.at_ms = at_ms;
                    (told.taken_at_ms, told.inventory, told.trouble) = (at_ms, Some(written.digest), None);
                }
                Err(TellError::Call(error)) if error.check() == Some(STRANGE) => {
                    tracing::info!(node, "is another organisation's: it is told nothing of this host");
                    (told.is_strange, told.trouble) = (true, None);
                }
                Err(error) => {
                    tracing::warn!(node, error = chain(&error), "does not take this host's inventory");
                    *told = std::mem::take(told).troubled(&chain(&error));
                    all = false;
                }
            }
        }
        if let Err(error) = self.told.write(&self.told_path) {
            tracing::warn!(error = chain(&error), "what the nodes were told is not written down");
        }
        all
    }

    /// Tells one node: by the digest, and with all of it if the node wants that.
    async fn tell(&self, source: &Source, written: &Written, at_ms: u64, readings: Readings) -> Result<(), TellError> {
        let endpoint = self.key.public();
        let report = InventoryReport { chain_id: self.chain_id, endpoint, at_ms, inventory: written.digest, readings };
        let report = encode(&report.sign(&self.key));
        let asked = source.report(ReportRequest { report: report.clone(), ..ReportRequest::default() }).await?;
        if asked.known {
            return Ok(());
        }
        let base = id(&asked.base).map(Digest);
        let base = base.and_then(|base| Some((base, self.gatherer.history().bytes(base)?)));
        let packed = packed::pack(&written.bytes, base.as_ref().map_or(&[], |(_, bytes)| bytes))?;
        let base = base.map(|(base, _)| base.0.to_vec()).unwrap_or_default();
        tracing::debug!(node = source.node(), bytes = packed.len(), alone = base.is_empty(), "the inventory is sent");
        match source.report(ReportRequest { report, packed, base }).await?.known {
            true => Ok(()),
            false => Err(source.error("Report", CallCause::Malformed("it wants what it has")).into()),
        }
    }
}
