//! What is asked of whom, and when: decided by values alone.
//!
//! - Every organisation's missing artifacts wait in a list of their own, and the lists take turns.
//! - One artifact is asked for from one source after the other. When nobody has it, it rests, twice as long
//!   each time.
//! - A source that fails rests, twice as long each time; one that lies rests much longer. Others are asked
//!   meanwhile.

use ledger::bounded::Name;
use ledger::encoding::encode;
use ledger::id::Digest;
use ledger::key::PublicKey;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Fetches at once. Each holds a thread; a line that is full is not faster with more.
pub const FETCHES_MAX: usize = 8;
/// Of one source at once, so that a slow one never holds all of them.
pub const FETCHES_PER_SOURCE_MAX: usize = 2;
/// Of artifacts of one organisation at once: who publishes a lot leaves places to the others.
pub const FETCHES_PER_ORGANISATION_MAX: usize = 2;
/// Missing artifacts of one organisation that are remembered: sixteen patches of as many artifacts as a patch
/// may have. The newest ones count.
pub const WANTED_PER_ORGANISATION_MAX: usize = 1_024;

/// A rest that doubles from one time to the next.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// The first.
    pub first: Duration,
    /// None is longer.
    pub cap: Duration,
}

/// For an artifact that no source has: it is published before it is everywhere, so it comes soon or never.
/// The question costs one round trip.
pub const ABSENT_REST: Rest = Rest { first: Duration::from_millis(500), cap: Duration::from_secs(30) };
/// For a source that broke off or was too slow: it may be restarting (seconds), or in trouble (minutes).
pub const FAILURE_REST: Rest = Rest { first: Duration::from_secs(1), cap: Duration::from_secs(5 * 60) };
/// For a source that served wrong bytes: lines do not do that, so somebody must mend it.
pub const LIE_REST: Rest = Rest { first: Duration::from_secs(10 * 60), cap: Duration::from_secs(6 * 60 * 60) };
/// For an artifact there is no room for: people make room.
pub const NO_ROOM_REST: Duration = Duration::from_secs(10 * 60);

/// An artifact that should be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The organisation that published it, and whose room it takes.
    pub organisation: Name,
    /// Its digest.
    pub blake3: Digest,
    /// Its size, as the manifest says.
    pub size: u64,
}

/// One fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What.
    pub wanted: Wanted,
    /// From whom.
    pub source: PublicKey,
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The artifact is here.
    Here,
    /// The source has not got it.
    Absent,
    /// The source broke off, or was too slow.
    Failed,
    /// The source served wrong bytes.
    Lied,
    /// There is no room for it here.
    NoRoom,
}

struct Missing {
    wanted: Wanted,
    /// The source asked last in this round; the next one has a larger key.
    asked: Option<PublicKey>,
    /// Rounds in which nobody had it.
    rounds: u32,
    running: bool,
    ready_at: Instant,
}

#[derive(Default)]
struct Backlog {
    /// In the order they were published.
    missing: BTreeMap<u64, Missing>,
    /// Those that are not being fetched, by the time they may be.
    ready: BTreeSet<(Instant, u64)>,
    known: BTreeMap<(Digest, u64), u64>,
    running: usize,
    /// When it last had a turn.
    served: u64,
    /// How many were forgotten, because there were too many.
    forgotten: u64,
}

#[derive(Default)]
struct Standing {
    running: usize,
    failures: u32,
    lies: u32,
    rest_until: Option<Instant>,
}

/// What is missing, and how sources stand.
pub struct Plan {
    seed: [u8; 32],
    backlogs: BTreeMap<Name, Backlog>,
    sources: BTreeMap<PublicKey, Standing>,
    running: usize,
    next_number: u64,
}

impl Rest {
    /// The n-th in a row, n from 1.
    fn of(self, n: u32) -> Duration {
        self.first.saturating_mul(1 << n.saturating_sub(1).min(20)).min(self.cap)
    }
}

impl Plan {
    /// Nothing is missing. The seed decides by how much rests differ between nodes: it should be the node's
    /// own, or else all would ask again at the same moment.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, backlogs: BTreeMap::new(), sources: BTreeMap::new(), running: 0, next_number: 0 }
    }

    /// An artifact should be here. Gives one back that is forgotten for it, when there are too many.
    pub fn want(&mut self, now: Instant, wanted: Wanted) -> Option<Wanted> {
        let backlog = self.backlogs.entry(wanted.organisation.clone()).or_default();
        let key = (wanted.blake3, wanted.size);
        if backlog.known.contains_key(&key) {
            return None;
        }
        self.next_number += 1;
        backlog.known.insert(key, self.next_number);
        backlog.ready.insert((now, self.next_number));
        let missing = Missing { wanted, asked: None, rounds: 0, running: false, ready_at: now };
        backlog.missing.insert(self.next_number, missing);
        if backlog.missing.len() <= WANTED_PER_ORGANISATION_MAX {
            return None;
        }
        let oldest = backlog.missing.iter().find(|(_, missing)| !missing.running).map(|(number, _)| *number)?;
        backlog.forgotten += 1;
        backlog.remove(oldest)
    }

    /// How many of an organisation's were forgotten.
    #[must_use]
    pub fn forgotten(&self, organisation: &Name) -> u64 {
        self.backlogs.get(organisation).map_or(0, |backlog| backlog.forgotten)
    }

    /// How many artifacts are missing.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.backlogs.values().map(|backlog| backlog.missing.len()).sum()
    }

    /// The next fetch, if there is one to begin now. It counts as running until [`Plan::ended`].
    pub fn next(&mut self, now: Instant, connected: &[PublicKey]) -> Option<Job> {
        if self.running >= FETCHES_MAX || connected.is_empty() {
            return None;
        }
        // Only those that come and go by their own will are forgotten: not who is made to rest.
        self.sources.retain(|source, standing| {
            standing.running > 0 || standing.lies > 0 || standing.rest_until.is_some() || connected.contains(source)
        });
        let mut turns: Vec<_> = self.backlogs.iter().map(|(name, backlog)| (backlog.served, name.clone())).collect();
        turns.sort();
        turns.into_iter().find_map(|(_, organisation)| self.next_of(&organisation, now, connected))
    }

    fn next_of(&mut self, organisation: &Name, now: Instant, connected: &[PublicKey]) -> Option<Job> {
        let backlog = self.backlogs.get_mut(organisation)?;
        if backlog.running >= FETCHES_PER_ORGANISATION_MAX {
            return None;
        }
        let due: Vec<u64> = backlog.ready.range(..=(now, u64::MAX)).map(|(_, number)| *number).collect();
        for number in due {
            let Some(missing) = backlog.missing.get_mut(&number) else { continue };
            let left = connected.iter().filter(|source| missing.asked.is_none_or(|asked| **source > asked));
            let mut busy = false;
            let source = left.copied().find(|source| {
                let standing = self.sources.entry(*source).or_default();
                let is_resting = standing.rest_until.is_some_and(|until| until > now);
                let is_busy = standing.running >= FETCHES_PER_SOURCE_MAX;
                busy |= is_busy && !is_resting;
                !is_busy && !is_resting
            });
            match source {
                Some(source) => {
                    backlog.ready.remove(&(missing.ready_at, number));
                    missing.running = true;
                    backlog.running += 1;
                    self.next_number += 1;
                    backlog.served = self.next_number;
                    self.running += 1;
                    self.sources.entry(source).or_default().running += 1;
                    return Some(Job { wanted: missing.wanted.clone(), source });
                }
                // Who might have it is asked when he has a place.
                None if busy => {}
                None => {
                    missing.rounds = missing.rounds.saturating_add(1);
                    missing.asked = None;
                    let rest =
                        spread(&self.seed, ABSENT_REST.of(missing.rounds), &missing.wanted.blake3, missing.rounds);
                    backlog.rest(number, now + rest);
                }
            }
        }
        None
    }

    /// A fetch is over.
    pub fn ended(&mut self, now: Instant, job: &Job, ended: Ended) {
        self.running = self.running.saturating_sub(1);
        let standing = self.sources.entry(job.source).or_default();
        standing.running = standing.running.saturating_sub(1);
        let rest = match ended {
            Ended::Here => {
                standing.failures = 0;
                None
            }
            Ended::Absent | Ended::NoRoom => None,
            Ended::Failed => {
                standing.failures = standing.failures.saturating_add(1);
                Some((FAILURE_REST, standing.failures))
            }
            Ended::Lied => {
                standing.lies = standing.lies.saturating_add(1);
                Some((LIE_REST, standing.lies))
            }
        };
        if let Some((rest, times)) = rest {
            let until = now + spread(&self.seed, rest.of(times), &Digest::blake3(&encode(&job.source)), times);
            standing.rest_until = Some(standing.rest_until.map_or(until, |before| before.max(until)));
        }
        let Some(backlog) = self.backlogs.get_mut(&job.wanted.organisation) else { return };
        backlog.running = backlog.running.saturating_sub(1);
        let Some(number) = backlog.known.get(&(job.wanted.blake3, job.wanted.size)).copied() else { return };
        match ended {
            Ended::Here => drop(backlog.remove(number)),
            Ended::NoRoom => backlog.rest(number, now + NO_ROOM_REST),
            Ended::Absent | Ended::Failed | Ended::Lied => {
                if let Some(missing) = backlog.missing.get_mut(&number) {
                    missing.asked = Some(job.source);
                }
                backlog.rest(number, now);
            }
        }
        if backlog.missing.is_empty() && backlog.running == 0 {
            self.backlogs.remove(&job.wanted.organisation);
        }
    }

    /// When something may be to be done, if anything is missing: the first artifact's or source's rest is
    /// over. What waits for a place is looked at when a fetch has ended.
    #[must_use]
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let first = self.backlogs.values().filter_map(|backlog| backlog.ready.first()).map(|(at, _)| *at).min()?;
        let rested = self.sources.values().filter_map(|standing| standing.rest_until);
        let later = rested.chain([first]).filter(|at| *at > now).min();
        Some(later.unwrap_or(now + ABSENT_REST.cap))
    }
}

impl Backlog {
    fn rest(&mut self, number: u64, until: Instant) {
        if let Some(missing) = self.missing.get_mut(&number) {
            self.ready.remove(&(missing.ready_at, number));
            (missing.running, missing.ready_at) = (false, until);
            self.ready.insert((until, number));
        }
    }

    fn remove(&mut self, number: u64) -> Option<Wanted> {
        let missing = self.missing.remove(&number)?;
        self.ready.remove(&(missing.ready_at, number));
        self.known.remove(&(missing.wanted.blake3, missing.wanted.size));
        Some(missing.wanted)
    }
}

/// A rest, shorter or longer by up to a quarter: so that nodes which failed together do not come back together.
/// The same seed gives the same rests.
fn spread(seed: &[u8; 32], rest: Duration, what: &Digest, times: u32) -> Duration {
    let mut words = seed.to_vec();
    words.extend_from_slice(&what.0);
    words.extend_from_slice(&times.to_le_bytes());
    let dice = Digest::blake3(&words).0[0];
    rest * 3 / 4 + rest / 2 * u32::from(dice) / 255
}
