//! Who may read inventories: a key of the same organisation asks one node, and for a few minutes only.

use crate::encoding::{Canonical, DecodeError, Limit, encode};
use crate::id::ChainId;
use crate::key::{PublicKey, Purpose, SecretKey, Signature, SignatureError};
use crate::limits;
use crate::moment::{Moment, Span};
use crate::state::record::Role;
use serde::{Deserialize, Serialize};

/// Roles whose keys may read the inventories of their own organisation: whoever looks after hosts, and whoever decides
/// what is good for them.
pub const READERS: [Role; 2] = [Role::Operator, Role::Approver];

/// A wish to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryRead {
    /// The ledger.
    pub chain_id: ChainId,
    /// Whose wish it is.
    pub reader: PublicKey,
    /// The node that is asked, by its node key: what one node was asked it cannot ask another.
    pub node: PublicKey,
    /// Of which endpoint; of all when there is none.
    pub endpoint: Option<PublicKey>,
    /// From then on it is void.
    pub expires_at_ms: u64,
}

/// A wish to read and its signature, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedInventoryRead {
    /// The wish.
    pub read: InventoryRead,
    /// By `read.reader`, for the purpose `countersign/v1/inventory-read`.
    pub signature: Signature,
}

impl Canonical for SignedInventoryRead {
    const NAME: &'static str = "inventory read";
    const LIMIT: Limit = Limit::Message;
}

/// Why nothing may be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not bytes of a wish to read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// For another ledger.
    #[error("leave to read is asked of chain {0}")]
    WrongChain(ChainId),
    /// For another node.
    #[error("leave to read is asked of node {0}")]
    WrongNode(PublicKey),
    /// Its time is over.
    #[error("leave to read expired at {}, it is {}", Moment(*expires_at_ms), Moment(*now_ms))]
    Expired {
        /// When it expired.
        expires_at_ms: u64,
        /// The judge's clock.
        now_ms: u64,
    },
    /// It would be good for too long.
    #[error("leave to read may last {} at most", Span(limits::INVENTORY_READ_MS_MAX))]
    ExpiresTooLate,
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl ReadError {
    /// The stable word of the check.
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.check(),
            Self::WrongChain(_) => "chain-id",
            Self::WrongNode(_) => "node",
            Self::Expired { .. } => "expired",
            Self::ExpiresTooLate => "expires-too-late",
            Self::Signature(_) => "signature",
        }
    }
}

impl InventoryRead {
    /// Signs. The reader field is set to the key's public half.
    #[must_use]
    pub fn sign(mut self, key: &SecretKey) -> SignedInventoryRead {
        self.reader = key.public();
        let signature = key.sign(Purpose::InventoryRead, &self.chain_id, &encode(&self));
        SignedInventoryRead { read: self, signature }
    }
}

impl SignedInventoryRead {
    /// Checks all that a wish says by itself, for the node of this key. Whose the reader's key is, the state says.
    ///
    /// # Errors
    /// [`ReadError`] is the first check that failed.
    pub fn check(&self, chain: &ChainId, node: &PublicKey, now_ms: u64) -> Result<&InventoryRead, ReadError> {
        let Self { read, signature } = self;
        let expires_at_ms = read.expires_at_ms;
        if read.chain_id != *chain {
            return Err(ReadError::WrongChain(read.chain_id));
        }
        if read.node != *node {
            return Err(ReadError::WrongNode(read.node));
        }
        if expires_at_ms <= now_ms {
            return Err(ReadError::Expired { expires_at_ms, now_ms });
        }
        if expires_at_ms > now_ms.saturating_add(limits::INVENTORY_READ_MS_MAX) {
            return Err(ReadError::ExpiresTooLate);
        }
        read.reader.verify(Purpose::InventoryRead, chain, &encode(read), signature)?;
        Ok(read)
    }
}
