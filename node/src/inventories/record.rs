//! What is known of one endpoint: its newest report, and when its inventory became another one.

use ledger::id::Digest;
use ledger::inventory::Inventory;
use ledger::limits::INVENTORY_PACKED_BYTES_MAX;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Largest record: the report in hexadecimal digits, and as many entries as may be configured.
pub(super) const RECORD_BYTES_MAX: usize = 512 * 1024;
/// What a record counts for: the longest report and a usual number of entries (a test measures it).
pub(super) const RECORD_BYTES: u64 = 48 * 1024;

/// What is known of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its newest signed report, encoded.
    #[serde(with = "in_hex")]
    pub report: Vec<u8>,
    /// When that was made.
    pub at_ms: u64,
    /// When it came.
    pub received_ms: u64,
    /// What is in the newest inventory, in a few words.
    pub summary: Summary,
    /// Its inventories, the oldest first; one may come back.
    pub entries: Vec<Entry>,
}

/// Since when an endpoint had which inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which.
    pub inventory: Digest,
    /// Since when, by the endpoint's clock.
    pub since_ms: u64,
    /// What it takes here.
    #[serde(deserialize_with = "possible")]
    pub bytes: u64,
}

/// What is in an inventory, in a few words: for lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Name of the system.
    pub os_name: String,
    /// Release of the kernel.
    pub kernel: String,
    /// How many packages there are.
    pub packages: u32,
}

impl Summary {
    pub(super) fn of(inventory: &Inventory) -> Self {
        let (os_name, kernel) = (inventory.system.os_name.to_string(), inventory.system.kernel.to_string());
        let left_out = inventory.left_out;
        let packages = u32::try_from(inventory.packages.len()).unwrap_or(u32::MAX).saturating_add(left_out);
        Self { os_name, kernel, packages }
    }
}

impl Record {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The newest inventory.
    #[must_use]
    pub fn newest(&self) -> Option<Digest> {
        self.entries.last().map(|entry| entry.inventory)
    }

    /// Whether an inventory is among them.
    #[must_use]
    pub fn has(&self, inventory: Digest) -> bool {
        self.entries.iter().any(|entry| entry.inventory == inventory)
    }

    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.entries.iter().map(|entry| entry.inventory)
    }

    /// What it all takes: every inventory once, and the record.
    pub(super) fn bytes(&self) -> u64 {
        let each: BTreeMap<Digest, u64> = self.entries.iter().map(|entry| (entry.inventory, entry.bytes)).collect();
        if each.is_empty() { 0 } else { each.values().sum::<u64>() + RECORD_BYTES }
    }

    pub(super) fn push(&mut self, inventory: Digest, since_ms: u64, bytes: u64, summary: Summary) {
        self.entries.push(Entry { inventory, since_ms, bytes });
        self.summary = summary;
    }

    /// Forgets the oldest until no more are there, and no more bytes, than may be; never the newest.
    pub(super) fn forget_oldest(&mut self, entries_max: usize, bytes_max: u64) {
        while self.entries.len() > 1 && (self.entries.len() > entries_max || self.bytes() > bytes_max) {
            self.entries.remove(0);
        }
    }
}

/// As many bytes as an inventory can take: a damaged record that counts for more would leave nobody else room.
fn possible<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = u64::deserialize(deserializer)?;
    let most = INVENTORY_PACKED_BYTES_MAX as u64;
    if bytes > most {
        Err(D::Error::custom(format!("an inventory of {bytes} bytes, at most {most} are possible")))
    } else {
        Ok(bytes)
    }
}

/// Bytes as hexadecimal digits.
mod in_hex {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
