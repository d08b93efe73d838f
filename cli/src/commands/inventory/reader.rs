//! Whoever reads: with a key of the organisation, of its node, and for a minute. What comes is checked here.

use crate::connection::{Connection, NodeError, id};
use crate::failure::Failure;
use crate::options::{Global, Need};
use crate::time;
use crate::view::{ShownInventory, believed};
use keyring::{KeyFile, KeyRole};
use ledger::encoding::encode;
use ledger::id::Digest;
use ledger::inventory::{Inventory, InventoryRead};
use ledger::key::PublicKey;
use proto::packed;
use proto::v1::{GetHistoryRequest, GetInventoryRequest};

/// How long a wish to read is good for.
const READ_FOR_MS: u64 = 60_000;
/// Entries of a history that are believed to be one.
const ENTRIES_MAX: usize = 10_000;
/// Roles that may read; nodes refuse all others.
const READERS: [KeyRole; 2] = [KeyRole::Operator, KeyRole::Approver];

/// A key that may read, and the node it asks.
pub(super) struct Reader {
    pub(super) connection: Connection,
    key: KeyFile,
    node: PublicKey,
}

impl Reader {
    /// Connects. A node that says it is of another organisation is asked nothing: it would refuse, and a wish that was
    /// signed is not for it to see.
    pub(super) async fn open(global: &Global) -> Result<Self, Failure> {
        global.need(&[Need::Key, Need::Genesis, Need::Node])?;
        let (key, trust) = (global.key_needed(&READERS)?, global.trust_needed()?);
        let connection = Connection::open(global, Some(&trust)).await?;
        let theirs = &connection.status.organisation;
        match &key.public.organisation {
            Some(ours) if ours.as_str() != theirs => Err(Failure::usage(
                format!("the node says that it is of {theirs}, and the key is of {ours}"),
                "inventories are on nodes of the hosts' own organisation: give one of them with --node",
            )),
            _ => {
                let node = PublicKey(id(&connection.status.node_key, "node key")?);
                Ok(Self { connection, key, node })
            }
        }
    }

    /// A signed wish to read of one endpoint, or of all.
    pub(super) fn wish(&self, endpoint: Option<PublicKey>) -> Result<Vec<u8>, Failure> {
        let read = InventoryRead {
            chain_id: self.connection.chain_id,
            reader: self.key.public.public_key,
            node: self.node,
            endpoint,
            expires_at_ms: time::now_ms().saturating_add(READ_FOR_MS),
        };
        Ok(encode(&read.sign(&self.key.secret)))
    }

    /// Since when an endpoint had which inventory, the newest first: the node's word.
    pub(super) async fn history(&self, endpoint: PublicKey) -> Result<Vec<(Digest, u64)>, Failure> {
        let request = GetHistoryRequest { read: self.wish(Some(endpoint))? };
        let answer = self.connection.inventories.clone().get_history(request).await.map_err(NodeError::from)?;
        let entries = answer.into_inner().entries;
        if entries.len() > ENTRIES_MAX {
            return Err(NodeError::Unbelievable(format!("a history of {} entries", entries.len())).into());
        }
        let entry = |entry: &proto::v1::InventoryEntry| Ok((Digest(id(&entry.inventory, "digest")?), entry.since_ms));
        Ok(entries.iter().map(entry).collect::<Result<_, NodeError>>()?)
    }

    /// An inventory of an endpoint: of this digest, or the newest, which is what the endpoint signed last.
    pub(super) async fn inventory(
        &self,
        endpoint: PublicKey,
        wanted: Option<Digest>,
    ) -> Result<ShownInventory, Failure> {
        let inventory = wanted.map(|wanted| wanted.0.to_vec()).unwrap_or_default();
        let request = GetInventoryRequest { read: self.wish(Some(endpoint))?, inventory };
        let answer = self.connection.inventories.clone().get(request).await.map_err(NodeError::from)?.into_inner();
        let report = believed(&answer.report, endpoint, &self.connection.chain_id)?;
        let digest = wanted.unwrap_or(report.inventory);
        let unbelievable = |error: &dyn std::error::Error| NodeError::Unbelievable(error.to_string());
        let bytes = packed::unpack(&answer.packed, &[]).map_err(|error| unbelievable(&error))?;
        let content = Inventory::of_bytes(&bytes, digest).map_err(|error| unbelievable(&error))?;
        let is_newest = report.inventory == digest;
        Ok(ShownInventory {
            endpoint,
            inventory: digest,
            seen_ms: is_newest.then_some(report.at_ms),
            received_ms: answer.received_ms,
            readings: is_newest.then_some(report.readings),
            content,
        })
    }
}
