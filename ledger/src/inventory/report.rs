//! What an endpoint says of itself, and when: signed by it, and good for a few minutes only.

use super::Fact;
use crate::bounded::SortedList;
use crate::encoding::{Canonical, DecodeError, Limit, encode};
use crate::id::{ChainId, Digest};
use crate::key::{PublicKey, Purpose, SecretKey, Signature, SignatureError};
use crate::limits;
use crate::moment::Moment;
use serde::{Deserialize, Serialize};

/// What only time changes: beside an inventory, and not in its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readings {
    /// When the host began to run.
    pub booted_at_ms: u64,
    /// For how long it has run.
    pub uptime_ms: u64,
    /// Memory that could be had, in MiB.
    pub memory_free_mib: u64,
    /// Room on the disk the agent works on, in MiB.
    pub disk_free_mib: u64,
    /// Services that run.
    pub services_running: u32,
    /// Services that failed, as many as there is room for.
    pub services_failed: SortedList<Fact, { limits::READINGS_FAILED_MAX }>,
    /// What is installed and does not work, as many as there is room for.
    pub unhealthy: SortedList<Unhealthy, { limits::READINGS_UNHEALTHY_MAX }>,
    /// How many others there was no room for.
    pub unhealthy_left_out: u32,
    /// How often it is looked whether what is installed works, in milliseconds; 0: never.
    pub watched_every_ms: u64,
    /// Within how many milliseconds the host says something again, if all is well with it. Whoever hears nothing for much
    /// longer may ask why.
    pub again_within_ms: u64,
}

/// Something installed that does not work, or was recalled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unhealthy {
    /// Its product.
    pub product: Fact,
    /// Its channel.
    pub channel: Fact,
    /// Since when that has been seen, by the host's clock.
    pub since_ms: u64,
    /// The first check that failed, and how; or the recall.
    pub why: Fact,
}

/// That an endpoint has this inventory now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReport {
    /// The ledger it is enrolled in.
    pub chain_id: ChainId,
    /// The endpoint's key.
    pub endpoint: PublicKey,
    /// When, by its own clock; later than in every report before.
    pub at_ms: u64,
    /// BLAKE3 of its encoded inventory.
    pub inventory: Digest,
    /// What only time changes.
    pub readings: Readings,
}

/// A report and its signature, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedInventoryReport {
    /// The report.
    pub report: InventoryReport,
    /// By `report.endpoint`, for the purpose `countersign/v1/inventory`.
    pub signature: Signature,
}

impl Canonical for SignedInventoryReport {
    const NAME: &'static str = "inventory report";
    const LIMIT: Limit = Limit::Message;
}

/// Why a report is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Not bytes of one.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// For another ledger.
    #[error("the report is for chain {0}")]
    WrongChain(ChainId),
    /// Too long ago.
    #[error("the report is of {}, it is {}", Moment(*at_ms), Moment(*now_ms))]
    Expired {
        /// When it was made.
        at_ms: u64,
        /// The judge's clock.
        now_ms: u64,
    },
    /// Not made yet.
    #[error("the report is of {}, and it is only {}", Moment(*at_ms), Moment(*now_ms))]
    Ahead {
        /// When it says it was made.
        at_ms: u64,
        /// The judge's clock.
        now_ms: u64,
    },
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl ReportError {
    /// The stable word of the check.
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.check(),
            Self::WrongChain(_) => "chain-id",
            Self::Expired { .. } => "expired",
            Self::Ahead { .. } => "clock-ahead",
            Self::Signature(_) => "signature",
        }
    }
}

impl InventoryReport {
    /// Signs. The endpoint field is set to the key's public half.
    #[must_use]
    pub fn sign(mut self, key: &SecretKey) -> SignedInventoryReport {
        self.endpoint = key.public();
        let signature = key.sign(Purpose::Inventory, &self.chain_id, &encode(&self));
        SignedInventoryReport { report: self, signature }
    }
}

impl SignedInventoryReport {
    /// Checks all that a report says by itself. Whether the key is an enrolled endpoint's is for the state to say, and
    /// whether a later report came already, for whoever keeps them.
    ///
    /// # Errors
    /// [`ReportError`] is the first check that failed.
    pub fn check(&self, chain: &ChainId, now_ms: u64) -> Result<&InventoryReport, ReportError> {
        let at_ms = self.report.at_ms;
        if self.report.chain_id != *chain {
            return Err(ReportError::WrongChain(self.report.chain_id));
        }
        if at_ms.saturating_add(limits::INVENTORY_REPORT_MS_MAX) <= now_ms {
            return Err(ReportError::Expired { at_ms, now_ms });
        }
        if at_ms > now_ms.saturating_add(limits::INVENTORY_AHEAD_MS_MAX) {
            return Err(ReportError::Ahead { at_ms, now_ms });
        }
        self.said_by_its_endpoint(chain)
    }

    /// Whether the endpoint said it, however long ago.
    ///
    /// # Errors
    /// [`ReportError::WrongChain`], [`ReportError::Signature`].
    pub fn said_by_its_endpoint(&self, chain: &ChainId) -> Result<&InventoryReport, ReportError> {
        let Self { report, signature } = self;
        if report.chain_id != *chain {
            return Err(ReportError::WrongChain(report.chain_id));
        }
        report.endpoint.verify(Purpose::Inventory, chain, &encode(report), signature)?;
        Ok(report)
    }
}
