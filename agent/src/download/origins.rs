//! Where artifacts come from: nodes, mirrors, directories; who is asked next, what each has given, and how much all of
//! them together may give.

use super::answer::MirrorError;
use super::directory::Directory;
use super::error::Disappointment;
use super::mirror::{Mirror, MirrorSetup};
use super::pieces::{Incoming, refused};
use super::rate::Rate;
use super::standing::{Candidate, Standing, choose};
use super::stream::Patience;
use crate::config::{self, ArtifactSource, MirrorAddress, SourcePlace};
use crate::follow::sources::{CallCause, Source, Sources};
use ledger::artifact::{TREE_SUFFIX, shelf_path, tree_bytes};
use ledger::id::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Artifacts of which is remembered who gave them.
const DELIVERIES_MAX: usize = 16;
/// Deltas of which is remembered that they do not make what they should.
const LYING_DELTAS_MAX: usize = 256;

/// What a source has been to this agent since it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Which.
    pub source: String,
    /// Bytes of artifacts it gave that were right.
    pub bytes: u64,
    /// Its penalty, which fades: with less it is asked before others.
    pub penalty: u32,
    /// How it disappointed last.
    pub trouble: Option<String>,
}

/// What a source gave of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which source.
    pub source: String,
    /// How many bytes.
    pub bytes: u64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes from {}", self.bytes, self.source)
    }
}

/// Who gave an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Which.
    pub artifact: Digest,
    /// Who gave what of it, in the order in which it came.
    pub from: Vec<Share>,
}

/// Where artifacts come from.
#[derive(Clone)]
pub struct Origins(Arc<Inner>);

struct Inner {
    all: Vec<Origin>,
    patience: config::Download,
    begun: Instant,
    book: Mutex<Book>,
}

/// What is remembered of them.
struct Book {
    rate: Option<Rate>,
    standings: Vec<(Standing, u64, Option<String>)>,
    deliveries: VecDeque<Delivery>,
    lying_deltas: BTreeSet<Digest>,
}

/// One source.
pub(super) struct Origin {
    pub(super) name: String,
    minimum_bytes_per_s: u64,
    rank: usize,
    place: Place,
}

enum Place {
    Node { source: Box<Source>, turn: usize },
    Mirror(Box<Mirror>),
    Directory(Directory),
}

impl Origins {
    /// The sources of a configuration. `own` is a directory of what is here already, asked first.
    ///
    /// # Errors
    /// [`MirrorSetup`].
    pub fn new(
        sources: &[ArtifactSource],
        nodes: &Sources,
        patience: config::Download,
        own: Option<PathBuf>,
    ) -> Result<Self, MirrorSetup> {
        let mut all = Vec::new();
        let mut add = |name: String, minimum: Option<u64>, rank: usize, place: Place| {
            let minimum_bytes_per_s = minimum.unwrap_or(patience.minimum_bytes_per_s);
            all.push(Origin { name, minimum_bytes_per_s, rank, place });
        };
        if let Some(own) = own {
            add("this host's own cache".to_owned(), None, 0, Place::Directory(Directory::new(own)));
        }
        for (rank, ArtifactSource { place, minimum_bytes_per_s }) in (1..).zip(sources) {
            let minimum = *minimum_bytes_per_s;
            match place {
                SourcePlace::Nodes => {
                    for (turn, source) in nodes.all().iter().enumerate() {
                        let place = Place::Node { source: Box::new(source.clone()), turn };
                        add(source.node().to_owned(), minimum, rank, place);
                    }
                }
                SourcePlace::Mirror(address) => {
                    let mirror = Mirror::new(MirrorAddress::clone(address))?;
                    add(address.url.to_string(), minimum, rank, Place::Mirror(Box::new(mirror)));
                }
                SourcePlace::Directory(path) => {
                    add(path.display().to_string(), minimum, rank, Place::Directory(Directory::new(path.clone())));
                }
            }
        }
        let standings = all.iter().map(|_| (Standing::default(), 0, None)).collect();
        let rate = patience.bytes_per_s_max.map(Rate::new);
        let book = Book { rate, standings, deliveries: VecDeque::new(), lying_deltas: BTreeSet::new() };
        Ok(Self(Arc::new(Inner { all, patience, begun: Instant::now(), book: Mutex::new(book) })))
    }

    /// How patient all of them are met.
    #[must_use]
    pub fn patience(&self) -> &config::Download {
        &self.0.patience
    }

    pub(super) fn all(&self) -> &[Origin] {
        &self.0.all
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Everything under the lock is written whole; a panic elsewhere leaves nothing half done.
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.0.begun.elapsed()
    }

    /// Whom to ask next; `first` is the node whose turn it is.
    pub(super) fn next(&self, first: usize, in_vain: &[bool]) -> Option<usize> {
        let (book, now) = (self.book(), self.now());
        let nodes = self.0.all.iter().filter(|origin| matches!(origin.place, Place::Node { .. })).count().max(1);
        let candidates =
            self.0.all.iter().zip(&book.standings).zip(in_vain).map(|((origin, (standing, ..)), in_vain)| {
                let turn = match origin.place {
                    Place::Node { turn, .. } => (turn + nodes - first % nodes) % nodes,
                    _ => 0,
                };
                let rank = origin.rank * (config::NODES_MAX + 1) + turn;
                Candidate { points: standing.points(now), rank, in_vain: *in_vain }
            });
        choose(&candidates.collect::<Vec<_>>())
    }

    /// Takes note of what a source gave, and of how it disappointed.
    pub(super) fn note(&self, place: usize, bytes: u64, disappointment: Option<&Disappointment>, why: Option<String>) {
        let now = self.now();
        if let Some((standing, given, trouble)) = self.book().standings.get_mut(place) {
            *given = given.saturating_add(bytes);
            if let Some(disappointment) = disappointment {
                *standing = standing.after(disappointment, now);
                *trouble = why;
            }
        }
    }

    /// Takes note of who gave an artifact.
    pub(super) fn delivered(&self, delivery: Delivery) {
        let deliveries = &mut self.book().deliveries;
        deliveries.push_back(delivery);
        while deliveries.len() > DELIVERIES_MAX {
            deliveries.pop_front();
        }
    }

    /// How long to wait after so many bytes came, that all downloads together take no more than they may.
    pub(super) fn pay(&self, bytes: u64) -> Duration {
        let now = self.now();
        self.book().rate.as_mut().map_or(Duration::ZERO, |rate| rate.take(bytes, now))
    }

    /// Takes note of a delta that does not make what it should.
    pub(super) fn lies(&self, delta: Digest) {
        let lying = &mut self.book().lying_deltas;
        if lying.len() < LYING_DELTAS_MAX {
            lying.insert(delta);
        }
    }

    /// Whether a delta is known not to make what it should.
    pub(super) fn is_lying(&self, delta: &Digest) -> bool {
        self.book().lying_deltas.contains(delta)
    }

    /// What they have been so far, in the order of the configuration; and who gave the last artifacts.
    #[must_use]
    pub fn view(&self) -> (Vec<SourceView>, Vec<Delivery>) {
        let (book, now) = (self.book(), self.now());
        let views = self.0.all.iter().zip(&book.standings).map(|(origin, (standing, bytes, trouble))| SourceView {
            source: origin.name.clone(),
            bytes: *bytes,
            penalty: standing.points(now),
            trouble: trouble.clone(),
        });
        (views.collect(), book.deliveries.iter().cloned().collect())
    }
}

impl Origin {
    /// How patient it is met.
    pub(super) fn patience(&self, download: &config::Download, deadline: Instant) -> Patience {
        Patience { minimum_bytes_per_s: self.minimum_bytes_per_s, window: download.patience, deadline }
    }

    /// Whether it gives the self-checking form, and not plain bytes with a tree beside.
    pub(super) fn checks_itself(&self) -> bool {
        matches!(self.place, Place::Node { .. })
    }

    /// The artifact from an offset on.
    pub(super) async fn payload(&self, blake3: Digest, size: u64, offset: u64) -> Result<Incoming, Disappointment> {
        match &self.place {
            Place::Node { source, .. } => match source.fetch(blake3, size, offset).await {
                Ok(stream) => Ok(Incoming::Node(stream)),
                Err(error) => match error.cause {
                    CallCause::Refused { check, message, .. } => {
                        Err(refused(Some(proto::v1::Refusal { check, message, ..Default::default() }), ""))
                    }
                    cause => Err(Disappointment::Cannot(cause.to_string())),
                },
            },
            _ => self.file(&shelf_path(&blake3), size, offset).await,
        }
    }

    /// The hash tree of an artifact, if this is a source that has such.
    pub(super) async fn tree(&self, blake3: Digest, size: u64) -> Result<Incoming, Disappointment> {
        match self.place {
            Place::Node { .. } => Err(Disappointment::Absent("has no trees".to_owned())),
            _ => self.file(&format!("{}{TREE_SUFFIX}", shelf_path(&blake3)), tree_bytes(size), 0).await,
        }
    }

    async fn file(&self, path: &str, size: u64, offset: u64) -> Result<Incoming, Disappointment> {
        match &self.place {
            Place::Node { .. } => Err(Disappointment::Absent("has no files".to_owned())),
            Place::Mirror(mirror) => mirror.get(path, size, offset).await.map(Incoming::Mirror).map_err(disappointment),
            Place::Directory(directory) => directory.get(path, size, offset).await.map(Incoming::Directory),
        }
    }
}

fn disappointment(error: MirrorError) -> Disappointment {
    match error {
        MirrorError::Absent(_) => Disappointment::Absent(error.to_string()),
        MirrorError::Length { .. } => Disappointment::Length(error.to_string()),
        MirrorError::Silent => Disappointment::Slow(error.to_string()),
        error => Disappointment::Cannot(error.to_string()),
    }
}
