//! How much may wait, whose, and how a refusal says which bound it met.

use ledger::bounded::Name;
use ledger::key::PublicKey;
use std::collections::BTreeMap;

/// Transactions that may wait altogether: at 4,400 a second, what two seconds bring.
const TRANSACTIONS_MAX: usize = 8_000;
/// Bytes that may wait altogether: thirty full blocks, and little beside the memory of a server.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Transactions of one organisation: three quarters of all, so that one alone can use what a quiet ledger
/// can do, and the others still find a quarter of the places.
const PER_ORGANISATION_MAX: usize = 6_000;
/// Bytes of one organisation: a quarter of all. Its 6,000 places full of ordinary transactions (300 bytes)
/// need a quarter of that; so only transactions far above the ordinary meet this bound.
const PER_ORGANISATION_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Places that every organisation has of its own, however full the pool is otherwise: whoever has something to
/// say now and then is never kept out by those who have much. With 256 members that is half a pool more at most.
pub const OWN_PLACES_MAX: usize = 16;
/// Bytes of its own places: two of the largest transactions; with 256 members, the pool's bytes once more.
pub const OWN_PLACES_BYTES_MAX: usize = 128 * 1024;

/// Transactions of one organisation in a block while another has little to say: at a block every 20 ms 800 a second, and
/// a third of that where such blocks begin further apart; and what four validators on two cores execute in the time of a quiet block.
const SHARE_MAX: usize = 16;

/// Bounds of the pool.
#[derive(Clone, Copy, Debug)]
pub struct MempoolLimits {
    /// Transactions altogether.
    pub transactions_max: usize,
    /// Their bytes altogether.
    pub bytes_max: usize,
    /// Transactions of one organisation.
    pub per_organisation_max: usize,
    /// Bytes of one organisation.
    pub per_organisation_bytes_max: usize,
    /// Transactions of one organisation in a block, while another has fewer than this to say.
    pub share_max: usize,
}

impl Default for MempoolLimits {
    fn default() -> Self {
        Self {
            transactions_max: TRANSACTIONS_MAX,
            bytes_max: BYTES_MAX,
            per_organisation_max: PER_ORGANISATION_MAX,
            per_organisation_bytes_max: PER_ORGANISATION_BYTES_MAX,
            share_max: SHARE_MAX,
        }
    }
}

/// Where a transaction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client of this node.
    Client,
    /// A peer, which admitted it: it will be in a block soon, so here is room kept for it.
    Peer,
}

impl Source {
    /// What a bound is for it. Clients get three quarters, so that all pools hold what peers admitted:
    /// a block of transactions that are here is judged without asking for any.
    pub(super) const fn share(self, bound: usize) -> usize {
        match self {
            Self::Client => bound / 4 * 3,
            Self::Peer => bound,
        }
    }
}

/// Why there is no room: which bound was met, and what waits under it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The pool has no place.
    #[error("{pending} transactions are waiting, the pool takes {most}")]
    Full {
        /// How many wait.
        pending: usize,
        /// How many may.
        most: usize,
    },
    /// The pool has no bytes.
    #[error("transactions of {bytes} bytes are waiting, the pool takes {most} bytes")]
    FullOfBytes {
        /// How many bytes wait.
        bytes: usize,
        /// How many may.
        most: usize,
    },
    /// The organisation has its places.
    #[error("{pending} transactions of {organisation} are waiting, one organisation's quota is {most}")]
    Quota {
        /// Whose.
        organisation: Name,
        /// How many wait.
        pending: usize,
        /// How many may.
        most: usize,
    },
    /// The key has as many places of its organisation's as it leaves to the others.
    #[error(
        "{pending} transactions of key {key} are waiting, and it leaves {left} places to its organisation's others"
    )]
    QuotaOfKey {
        /// Whose.
        key: PublicKey,
        /// How many wait.
        pending: usize,
        /// How many are left.
        left: usize,
    },
    /// The key has as many bytes of its organisation's as it leaves to the others.
    #[error(
        "transactions of key {key} of {bytes} bytes are waiting, and it leaves {left} to its organisation's others"
    )]
    QuotaOfKeyOfBytes {
        /// Whose.
        key: PublicKey,
        /// How many bytes wait.
        bytes: usize,
        /// How many are left.
        left: usize,
    },
    /// As many of its proposals, ballots and accusations wait as may.
    #[error(
        "{pending} proposals, ballots and accusations of {organisation} are waiting, {of_key} of them of key {key}; \
         the quota is {most} of one organisation, {most_of_key} of one key"
    )]
    QuotaOfLong {
        /// Whose.
        organisation: Name,
        /// How many wait.
        pending: usize,
        /// How many may.
        most: usize,
        /// Whose one more would be.
        key: PublicKey,
        /// How many of them are its own.
        of_key: usize,
        /// How many may be.
        most_of_key: usize,
    },
    /// The organisation has its bytes.
    #[error("transactions of {organisation} of {bytes} bytes are waiting, one organisation's quota is {most} bytes")]
    QuotaOfBytes {
        /// Whose.
        organisation: Name,
        /// How many bytes wait.
        bytes: usize,
        /// How many may.
        most: usize,
    },
}

/// How full a pool is, for refusing cheaply: before anything of a transaction is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// Transactions that wait.
    pub pending: usize,
    /// What is left for clients altogether.
    pub all: Places,
    /// What is left for organisations: for those that have taken half of their places or more, and for every
    /// one that has something waiting when half of all are taken.
    pub organisations: BTreeMap<Name, Places>,
    /// What is left for keys: for those that have half of what they may of their organisation's places, or more.
    pub keys: BTreeMap<PublicKey, Places>,
}

/// Places for transactions of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// How many are left.
    pub left: usize,
    /// How many of those are left whatever the others take.
    pub own: usize,
    /// The bound that is met when none is.
    pub bound: NoRoom,
}

impl Default for Crowd {
    /// Of a pool that has not said anything yet: nobody is refused beforehand.
    fn default() -> Self {
        let all = Places { left: usize::MAX, own: 0, bound: NoRoom::Full { pending: 0, most: 0 } };
        Self { pending: 0, all, organisations: BTreeMap::new(), keys: BTreeMap::new() }
    }
}

impl Crowd {
    /// Whether there is one more place for an organisation, where so many are taken by transactions that are on
    /// their way: altogether, and of its own.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn room_for(&self, organisation: Option<&Name>, claimed: usize, of_it: usize) -> Result<(), NoRoom> {
        let places = organisation.and_then(|organisation| self.organisations.get(organisation));
        let own = match organisation {
            Some(_) => places.map_or(OWN_PLACES_MAX, |places| places.own),
            // Nobody knows whose it is.
            None => 0,
        };
        match places {
            Some(places) if of_it >= places.left => Err(places.bound.clone()),
            _ if of_it >= own && claimed >= self.all.left => Err(self.all.bound.clone()),
            _ => Ok(()),
        }
    }

    /// Whether there is one more place for a key that has claimed so many.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn room_of(&self, key: &PublicKey, claimed: usize) -> Result<(), NoRoom> {
        match self.keys.get(key) {
            Some(places) if claimed >= places.left => Err(places.bound.clone()),
            _ => Ok(()),
        }
    }

    /// Whether it matters whose a transaction is.
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        !self.organisations.is_empty() || !self.keys.is_empty() || self.all.left == 0
    }
}
