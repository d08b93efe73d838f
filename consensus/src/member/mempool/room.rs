//! How much may wait, whose, and how a refusal says which bound it met.

use ledger::bounded::Name;
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
}

impl Default for MempoolLimits {
    fn default() -> Self {
        Self {
            transactions_max: TRANSACTIONS_MAX,
            bytes_max: BYTES_MAX,
            per_organisation_max: PER_ORGANISATION_MAX,
            per_organisation_bytes_max: PER_ORGANISATION_BYTES_MAX,
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

/// How full a pool is, for refusing cheaply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Transactions that wait.
    pub pending: usize,
    /// Why no client's transaction has room, if none has.
    pub full: Option<NoRoom>,
    /// Organisations that have their quota, and which.
    pub organisations: BTreeMap<Name, NoRoom>,
}

impl Crowd {
    /// What admission will say to a client, as far as that is known beforehand.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn room_for(&self, organisation: Option<&Name>) -> Result<(), NoRoom> {
        let crowded = organisation.and_then(|organisation| self.organisations.get(organisation));
        self.full.as_ref().or(crowded).map_or(Ok(()), |no_room| Err(no_room.clone()))
    }
}
