//! Columns: one RocksDB column family per noun, and what its keys and values are.
//!
//! Integers in keys are big-endian, so that order on disk is order in the chain. "Index" is the index
//! of a transaction's leaf in the history.
//!
//! | column | key | value |
//! |---|---|---|
//! | `meta` | a word | schema, chain id, genesis bytes, tip, floor |
//! | `headers` | height | encoded header |
//! | `certificates` | height (from 1) | encoded certificate |
//! | `transactions` | index | signed transaction bytes |
//! | `transaction-ids` | transaction id | height, index |
//! | `spans` | index of a block's first transaction | height |
//! | `records` | state key | encoded record |
//! | `nodes` | the state tree's own key | the state tree's own value |
//! | `history` | page number | up to 256 stored hashes of 32 bytes |
//! | `patches` | index of the publication | patch id |
//! | `endpoints` | index of the enrolment | endpoint key |
//! | `receipts` | index | – |
//! | `patch-receipts` | patch id, index | – |
//! | `endpoint-receipts` | endpoint key, index | – |
//! | `outcomes` | patch id | receipts by outcome: five 8-byte counts |
//! | `epochs` | height of an epoch header | encoded validator set of the height after it |
//! | `proposals` | index of the proposal | id of its transaction |
//! | `accusations` | index of the accusation | id of its transaction |
//!
//! Blocks below the floor are not whole: their receipts are forgotten, and header, certificate and span of
//! those that have nothing left.
//!
//! A block's bytes are its header's and its transactions' bytes put together; they are not kept twice.

/// A column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Column {
    Meta,
    Headers,
    Certificates,
    Transactions,
    TransactionIds,
    Spans,
    Records,
    Nodes,
    History,
    Patches,
    Endpoints,
    Receipts,
    PatchReceipts,
    EndpointReceipts,
    Outcomes,
    Epochs,
    Proposals,
    Accusations,
    /// Only in the scratch of a check: column and key of a row → the height that wrote it last.
    Written,
}

impl Column {
    /// All of them, in the order of the table above.
    pub(crate) const ALL: [Self; 18] = [
        Self::Meta,
        Self::Headers,
        Self::Certificates,
        Self::Transactions,
        Self::TransactionIds,
        Self::Spans,
        Self::Records,
        Self::Nodes,
        Self::History,
        Self::Patches,
        Self::Endpoints,
        Self::Receipts,
        Self::PatchReceipts,
        Self::EndpointReceipts,
        Self::Outcomes,
        Self::Epochs,
        Self::Proposals,
        Self::Accusations,
    ];

    /// Its name on disk, and in messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Headers => "headers",
            Self::Certificates => "certificates",
            Self::Transactions => "transactions",
            Self::TransactionIds => "transaction-ids",
            Self::Spans => "spans",
            Self::Records => "records",
            Self::Nodes => "nodes",
            Self::History => "history",
            Self::Patches => "patches",
            Self::Endpoints => "endpoints",
            Self::Receipts => "receipts",
            Self::PatchReceipts => "patch-receipts",
            Self::EndpointReceipts => "endpoint-receipts",
            Self::Outcomes => "outcomes",
            Self::Epochs => "epochs",
            Self::Proposals => "proposals",
            Self::Accusations => "accusations",
            Self::Written => "written",
        }
    }

    /// What kind of number a key begins with, if it is one.
    const fn numbered(self) -> Option<&'static str> {
        match self {
            Self::Headers | Self::Certificates | Self::Epochs => Some("height"),
            Self::Transactions
            | Self::Spans
            | Self::Patches
            | Self::Endpoints
            | Self::Receipts
            | Self::Proposals
            | Self::Accusations => Some("index"),
            Self::History => Some("page"),
            _ => None,
        }
    }

    /// A key in words, for people.
    pub(crate) fn describe(self, key: &[u8]) -> String {
        match (self, self.numbered(), number(key)) {
            (Self::Meta, ..) if key.is_ascii() => String::from_utf8_lossy(key).into_owned(),
            (_, Some(kind), Some(number)) => format!("{kind} {number}"),
            (Self::PatchReceipts | Self::EndpointReceipts, ..) if key.len() == 40 => {
                let (id, index) = key.split_at(32);
                format!("{} index {}", hex::encode(id), number(index).unwrap_or_default())
            }
            _ => hex::encode(key),
        }
    }

    /// A key of this column as a key of [`Column::Written`].
    pub(crate) fn tagged(self, key: &[u8]) -> Vec<u8> {
        let mut tagged = vec![self as u8];
        tagged.extend_from_slice(key);
        tagged
    }

    /// The height a key is about, where the key says so.
    pub(crate) fn height_of(self, key: &[u8]) -> Option<u64> {
        matches!(self, Self::Headers | Self::Certificates | Self::Epochs).then(|| number(key)).flatten()
    }
}

/// A number as a key.
pub(crate) const fn numeric(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The number a key or a value of eight bytes is.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// An id and an index, as keys of the receipt indexes have them.
pub(crate) fn id_and_index(id: &[u8; 32], index: u64) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(id);
    key[32..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Where a transaction stands, as the value of [`Column::TransactionIds`].
pub(crate) fn place(height: u64, index: u64) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&height.to_be_bytes());
    value[8..].copy_from_slice(&index.to_be_bytes());
    value
}

/// Height and index out of [`place`].
pub(crate) fn parse_place(value: &[u8]) -> Option<(u64, u64)> {
    let (height, index) = value.split_at_checked(8)?;
    Some((number(height)?, number(index)?))
}
