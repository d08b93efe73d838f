//! The rows of the `meta` column: what the store is, and where its chain ends.

use crate::column::{Column, number};
use crate::database::Database;
use crate::error::StoreError;
use ledger::block::Header;
use ledger::encoding::{decode, encode};
use ledger::execution::Tip;
use ledger::id::{ChainId, Digest, context, derive};
use ledger::state::tree::TreeHead;

/// Version of the columns and their rows. Another one is another program's store.
pub(crate) const SCHEMA: u64 = 3;

pub(crate) const SCHEMA_KEY: &[u8] = b"schema";
pub(crate) const CHAIN_ID_KEY: &[u8] = b"chain-id";
pub(crate) const GENESIS_KEY: &[u8] = b"genesis";
pub(crate) const TIP_KEY: &[u8] = b"tip";
/// The height from which on blocks are there whole. Only in stores that began with a snapshot or were pruned.
pub(crate) const FLOOR_KEY: &[u8] = b"floor";

/// Refuses stores of another schema.
pub(crate) fn check_schema(database: &Database) -> Result<(), StoreError> {
    let row = required(database, SCHEMA_KEY)?;
    match number(&row) {
        Some(SCHEMA) => Ok(()),
        Some(found) => Err(StoreError::Schema { found, expected: SCHEMA }),
        None => Err(StoreError::row(Column::Meta, SCHEMA_KEY, None, "not a number of eight bytes")),
    }
}

/// A row every store has.
pub(crate) fn required(database: &Database, key: &[u8]) -> Result<Vec<u8>, StoreError> {
    let row = database.get(Column::Meta, key)?;
    row.map(|row| row.to_vec()).ok_or_else(|| StoreError::row(Column::Meta, key, None, "the row is missing"))
}

/// The ledger's id, which is the hash of the genesis bytes beside it.
pub(crate) fn chain_id(database: &Database, genesis: &[u8]) -> Result<ChainId, StoreError> {
    let row = required(database, CHAIN_ID_KEY)?;
    let derived = derive(&context::CHAIN_ID, genesis);
    if row != derived {
        let detail = format!("the genesis bytes hash to {}, not to this", hex::encode(derived));
        return Err(StoreError::row(Column::Meta, CHAIN_ID_KEY, Some(0), detail));
    }
    Ok(ChainId(derived))
}

/// The height a floor row says.
pub(crate) fn parse_floor(row: Option<&[u8]>) -> Result<u64, StoreError> {
    let malformed = || StoreError::row(Column::Meta, FLOOR_KEY, None, "not a height");
    row.map_or(Ok(1), |row| number(row).ok_or_else(malformed))
}

/// A tip as a value: tree version, state root, history root, encoded header.
pub(crate) fn tip_value(tip: &Tip) -> Vec<u8> {
    let mut value = tip.tree.version.to_be_bytes().to_vec();
    value.extend_from_slice(tip.tree.root.as_bytes());
    value.extend_from_slice(tip.history_root.as_bytes());
    value.extend_from_slice(&encode(&tip.header));
    value
}

/// The tip a value is of.
pub(crate) fn parse_tip(value: &[u8]) -> Result<Tip, StoreError> {
    let malformed = |detail: &str| StoreError::row(Column::Meta, TIP_KEY, None, detail);
    let short = || malformed("shorter than a tip");
    let (version, rest) = value.split_first_chunk::<8>().ok_or_else(short)?;
    let (root, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
    let (history_root, header) = rest.split_first_chunk::<32>().ok_or_else(short)?;
    let header: Header = decode(header).map_err(|error| malformed(&error.to_string()))?;
    let tree = TreeHead { version: u64::from_be_bytes(*version), root: Digest(*root) };
    Ok(Tip { header, tree, history_root: Digest(*history_root) })
}
