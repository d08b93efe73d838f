//! What the agent knows of the ledger now: the newest header believed, what each node says, and
//! whether two of them contradict each other.

use super::light::{HeadError, LightClient};
use super::memory::{Memory, MemoryError, Seen};
use super::split::{FORK, HEAD, SplitError, Splits};
use crate::clock::{Now, running_ms};
use crate::data::DataDir;
use crate::files::FileError;
use ledger::block::Header;
use ledger::bounded::{BoundError, List};
use ledger::certificate::{Certificate, FinalizedHeader};
use ledger::evidence::CertifiedHeader;
use ledger::fork::{EvidenceFile, FORK_VERSION, Fork, HeadFile};
use ledger::genesis::GenesisBlock;
use ledger::id::BlockHash;
use ledger::limits;
use ledger::moment::Span;
use ledger::proof::{EpochLink, HostClock};
use proto::v1;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Headers kept to compare what nodes say about one height.
const RECENT_MAX: usize = 256;

/// Why a head was not believed.
#[derive(Debug, thiserror::Error)]
pub enum Disbelief {
    /// It does not prove itself.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// It is ahead of this host's clock. One of the two is wrong, and nothing may hang on it.
    #[error("header {height} is {} ahead of this host's clock", Span(*ahead_ms))]
    ClockBehind {
        /// Height of the header.
        height: u64,
        /// How far ahead.
        ahead_ms: u64,
    },
    /// Two certified headers at one height: the ledger was split.
    #[error("two certified headers at height {height}: evidence in {}", evidence.display())]
    Split {
        /// The height.
        height: u64,
        /// The file with both.
        evidence: PathBuf,
    },
    /// A certified header is not the one that was remembered at its height: the ledger was split. The certificate of that
    /// one was not kept, so that this names nobody.
    #[error(
        "certified, and not the header remembered at height {height}, {remembered}, whose certificate was not kept: this \
         one is in {}",
        evidence.display()
    )]
    Remembered {
        /// The height.
        height: u64,
        /// The hash of the one that was believed before.
        remembered: BlockHash,
        /// The file with the other one.
        evidence: PathBuf,
    },
    /// Evidence of a split could not be written; it is known all the same, while the agent runs.
    #[error("two certified headers at one height, and the evidence cannot be kept")]
    Evidence(#[source] SplitError),
}

/// What one node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its address.
    pub node: String,
    /// Whether it answered last.
    pub reachable: bool,
    /// The highest header of it that was believed.
    pub height: u64,
    /// What was wrong last; cleared when it answers well.
    pub trouble: Option<String>,
}

/// Whether what is known is recent enough to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// It is.
    Fresh,
    /// No header within `max_age_ms`: nothing is applied.
    Stale,
    /// No header ever.
    Unknown,
}

struct Known {
    light: LightClient,
    memory: Memory,
    recent: VecDeque<FinalizedHeader>,
    nodes: Vec<NodeView>,
    newest_from: usize,
    /// Newest time a quorum signed, whatever this host's clock says about it.
    certified_ms: u64,
    splits: Splits,
}

/// What is known of the ledger, shared by those who follow it and those who act on it.
pub struct Heads {
    known: Mutex<Known>,
    max_age_ms: u64,
    /// Transactions final, and transactions provable, as of the newest header: what may have changed.
    changed: watch::Sender<(u64, u64)>,
}

impl Heads {
    /// Begins from the trust root and what was remembered.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn open(
        genesis: &GenesisBlock,
        data: &DataDir,
        nodes: &[String],
        max_age_ms: u64,
    ) -> Result<Self, MemoryError> {
        let memory = Memory::open(&data.memory(), genesis.chain_id, running_ms())?;
        let splits = Splits::open(data.evidence())?;
        let view = |node: &String| NodeView { node: node.clone(), reachable: false, height: 0, trouble: None };
        let known = Known {
            light: LightClient::new(genesis, memory.change_seen()),
            memory,
            recent: VecDeque::new(),
            nodes: nodes.iter().map(view).collect(),
            newest_from: 0,
            certified_ms: 0,
            splits,
        };
        Ok(Self { known: Mutex::new(known), max_age_ms, changed: watch::channel((0, 0)).0 })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Everything under the lock is written whole; a panic elsewhere leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges a head from a node, and keeps it if it is believed; its height then.
    ///
    /// # Errors
    /// [`Disbelief`] says why not.
    pub fn take(&self, from: usize, head: &v1::Head, now_ms: u64) -> Result<u64, Disbelief> {
        let mut known = self.known();
        if head.certificate.is_empty() && head.height == 0 {
            // The genesis header: nothing is final yet, and that is no lie.
            known.answered(from, 0);
            return Ok(0);
        }
        let taken = known.judge(&head.header, &head.certificate, now_ms).and_then(|header| {
            let height = header.header().height;
            known.keep(header, Some(from))?;
            known.answered(from, height);
            Ok(height)
        });
        if let Err(disbelief) = &taken {
            known.troubled(from, true, disbelief.to_string());
        }
        self.announce(&known);
        taken
    }

    /// Believes a header if a quorum of its validators signed it, however old it is.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn certified(&self, header: &Header, certificate: &Certificate) -> Result<FinalizedHeader, HeadError> {
        self.known().light.verify_parsed(header, certificate)
    }

    /// Takes note of a header that a proof brought.
    ///
    /// # Errors
    /// [`Disbelief::Split`] or [`Disbelief::Remembered`] when another is known at its height.
    pub fn see(&self, header: &FinalizedHeader) -> Result<(), Disbelief> {
        let mut known = self.known();
        known.keep(header.clone(), None)?;
        self.announce(&known);
        Ok(())
    }

    /// What was wrong with a node's last answer, if anything was.
    #[must_use]
    pub fn trouble_of(&self, node: usize) -> Option<String> {
        self.known().nodes.get(node).and_then(|view| view.trouble.clone())
    }

    /// Takes note that a node does not answer.
    pub fn unreachable(&self, node: usize, trouble: String) {
        self.known().troubled(node, false, trouble);
    }

    /// The height above which the newest set of validators known is in force.
    #[must_use]
    pub fn newest_epoch(&self) -> u64 {
        self.known().light.newest_epoch()
    }

    /// Learns how the set of validators changed; how many changes were new. Nobody who was replaced is believed any more, also
    /// after a restart, once it was put [onto the disk](Heads::persist).
    ///
    /// # Errors
    /// [`HeadError::Epoch`].
    pub fn learn(&self, epochs: &[EpochLink]) -> Result<usize, HeadError> {
        let known = &mut *self.known();
        let new = known.light.learn(epochs)?;
        known.memory.see_change(known.light.change_seen());
        Ok(new)
    }

    /// Puts the highest header onto the disk: before anything is applied.
    ///
    /// # Errors
    /// [`FileError`]; then nothing may be applied.
    pub fn persist(&self) -> Result<(), FileError> {
        self.known().memory.persist()
    }

    /// What a proof is judged by now.
    #[must_use]
    pub fn clock(&self, now_ms: u64) -> HostClock {
        self.known().memory.clock(Now { now_ms, running_ms: running_ms() }, self.max_age_ms)
    }

    /// The time now, as far as a clock of this host that says `now_ms` is believed: a quorum signed that
    /// it is not before the newest header, nor before what has passed since that was heard of. It is on the disk
    /// before anything is applied, so a clock that is set back opens no window a second time.
    #[must_use]
    pub fn believed_ms(&self, now_ms: u64) -> u64 {
        now_ms.max(self.known().memory.floor_ms(running_ms()))
    }

    /// The highest header ever believed.
    #[must_use]
    pub fn newest(&self) -> Seen {
        self.known().memory.newest()
    }

    /// The ledger's own time, as far as a quorum signed it; 0 while nothing was heard. Good for dating
    /// what is sent to the ledger, and for nothing else: it is not compared with this host's clock.
    #[must_use]
    pub fn ledger_time_ms(&self) -> u64 {
        let known = self.known();
        known.certified_ms.max(known.memory.newest().time_ms)
    }

    /// The node that brought the newest header: the one most likely to have a proof at it.
    #[must_use]
    pub fn newest_from(&self) -> usize {
        self.known().newest_from
    }

    /// Whether what is known is recent enough.
    #[must_use]
    pub fn freshness(&self, now_ms: u64) -> Freshness {
        let Seen { height, time_ms, .. } = self.newest();
        match self.believed_ms(now_ms).saturating_sub(time_ms) {
            _ if height == 0 => Freshness::Unknown,
            age_ms if age_ms > self.max_age_ms => Freshness::Stale,
            _ => Freshness::Fresh,
        }
    }

    /// How long until it is not, if nothing new is heard.
    #[must_use]
    pub fn stale_in(&self, now_ms: u64) -> Duration {
        let until_ms = self.newest().time_ms.saturating_add(self.max_age_ms);
        Duration::from_millis(until_ms.saturating_sub(self.believed_ms(now_ms)))
    }

    /// The file that shows that the ledger was split, if there is one. Nothing is applied until a
    /// person has looked at it and taken it away.
    #[must_use]
    pub fn split(&self) -> Option<PathBuf> {
        self.known().splits.known()
    }

    /// What each node says.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeView> {
        self.known().nodes.clone()
    }

    /// Wakes whoever waits for new transactions to be final, and again when they are provable, which is
    /// one block later. A heartbeat wakes nobody.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<(u64, u64)> {
        self.changed.subscribe()
    }

    fn announce(&self, known: &Known) {
        let newest = known.recent.back().map(FinalizedHeader::header);
        let now = newest.map_or((0, 0), |header| (header.history_size_after(), header.history_size));
        self.changed.send_if_modified(|before| std::mem::replace(before, now) != now);
    }
}

impl Known {
    fn judge(&mut self, header: &[u8], certificate: &[u8], now_ms: u64) -> Result<FinalizedHeader, Disbelief> {
        let header = self.light.verify(header, certificate)?;
        self.certified_ms = self.certified_ms.max(header.header().time_ms);
        // Without this, a head from the future would become the floor under the clock.
        let (height, time_ms) = (header.header().height, header.header().time_ms);
        let ahead_ms = time_ms.saturating_sub(now_ms.max(self.memory.floor_ms(running_ms())));
        match ahead_ms > limits::CLOCK_AHEAD_MS_MAX {
            true => Err(Disbelief::ClockBehind { height, ahead_ms }),
            false => Ok(header),
        }
    }

    /// Compares with what is known at this height, and keeps it in ascending order.
    fn keep(&mut self, header: FinalizedHeader, from: Option<usize>) -> Result<(), Disbelief> {
        let height = header.header().height;
        match self.recent.binary_search_by_key(&height, |known| known.header().height) {
            Ok(place) if self.recent[place].hash() == header.hash() => {}
            Ok(place) => {
                let Self { recent, light, splits, .. } = self;
                let evidence = splits.note(height, FORK, || fork_file(&recent[place], &header, light));
                return Err(Disbelief::Split { height, evidence: evidence.map_err(Disbelief::Evidence)? });
            }
            Err(place) => {
                if let Some(remembered) = self.memory.another_than(&header) {
                    let Self { light, splits, .. } = self;
                    let evidence = splits.note(height, HEAD, || head_file(&header, light));
                    let evidence = evidence.map_err(Disbelief::Evidence)?;
                    return Err(Disbelief::Remembered { height, remembered, evidence });
                }
                // After a restart nothing is recent, and what is remembered may be newer than all that a node shows.
                let is_newest = place == self.recent.len() && height >= self.memory.newest().height;
                if let (Some(from), true) = (from, is_newest) {
                    self.newest_from = from;
                }
                self.memory.see(&header, running_ms());
                self.recent.insert(place, header);
                if self.recent.len() > RECENT_MAX {
                    self.recent.pop_front();
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, node: usize, height: u64) {
        if let Some(view) = self.nodes.get_mut(node) {
            (view.reachable, view.trouble) = (true, None);
            view.height = view.height.max(height);
        }
    }

    fn troubled(&mut self, node: usize, reachable: bool, trouble: String) {
        if let Some(view) = self.nodes.get_mut(node) {
            (view.reachable, view.trouble) = (reachable, Some(trouble));
        }
    }
}

/// Both headers, with all that proves them, as `countersign audit check` reads it: anybody can, with the
/// genesis file alone, and it names exactly those who signed both.
fn fork_file(first: &FinalizedHeader, second: &FinalizedHeader, light: &LightClient) -> Result<Vec<u8>, BoundError> {
    let (height, chain_id) = (first.header().height, first.header().chain_id);
    let side = |header: &FinalizedHeader| (light.epochs_before(height), certified(header));
    Ok(EvidenceFile::fork(chain_id, Fork::of(side(first), side(second))?).bytes())
}

/// One header, with all that proves it, as `countersign audit fork` compares it with a node's: where of the other one
/// only the hash is known, nobody can be named by this alone.
fn head_file(header: &FinalizedHeader, light: &LightClient) -> Result<Vec<u8>, BoundError> {
    let chain_id = header.header().chain_id;
    let epochs = List::new(light.epochs_before(header.header().height))?;
    Ok(HeadFile { version: FORK_VERSION, chain_id, epochs, head: certified(header) }.bytes())
}

fn certified(header: &FinalizedHeader) -> CertifiedHeader {
    CertifiedHeader { header: header.header().clone(), certificate: header.certificate().clone() }
}
