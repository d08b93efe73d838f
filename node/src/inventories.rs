//! What this organisation's hosts say is on them: the newest and what was before, beside the chain and no part of it.
//!
//! A directory for each endpoint: `record.json`, replaced as a whole, says what there is; each inventory is a file named
//! by its digest, packed. What the record does not name is not there.

mod record;

pub use record::{Entry, Record, Summary};

use crate::artifacts::ArtifactLimits;
use ledger::encoding::encode;
use ledger::id::Digest;
use ledger::inventory::{Inventory, InventoryError, SignedInventoryReport};
use ledger::key::PublicKey;
use ledger::limits::INVENTORY_PACKED_BYTES_MAX;
use ledger::moment::Moment;
use proto::packed::{self, PackedError};
use record::RECORD_BYTES;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stands in a record, beneath an endpoint's directory.
const RECORD: &str = "record.json";
/// What follows the digest in the name of a packed inventory.
const PACKED: &str = ".packed";

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub struct InventoryLimits {
    /// Bytes of all endpoints.
    pub bytes_max: u64,
    /// Bytes of one endpoint: what is oldest goes, and the newest stays.
    pub per_endpoint_bytes_max: u64,
    /// How often an inventory may have become another one until the oldest is forgotten.
    pub history_max: usize,
}

impl Default for InventoryLimits {
    /// Some ten thousand hosts with a history of years.
    fn default() -> Self {
        Self { bytes_max: 4 << 30, per_endpoint_bytes_max: 2 << 20, history_max: 64 }
    }
}

/// Why a report is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// A later one came already.
    #[error("a report of {} came already, this one is of {}", Moment(*last_ms), Moment(*at_ms))]
    Replayed {
        /// When it was made.
        at_ms: u64,
        /// When the newest was.
        last_ms: u64,
    },
    /// What came with it cannot be unpacked.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// What came with it is not the inventory it is about.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// All inventories together have their share of the disk.
    #[error("inventories take {held} bytes here, with {bytes} more the most of all, {most}, is exceeded")]
    Full {
        /// What there is.
        held: u64,
        /// What would come.
        bytes: u64,
        /// What there may be.
        most: u64,
    },
    /// The disk has not enough room left for the chain and this.
    #[error("{free} bytes are free on the disk, and {left_free} are left to the chain")]
    DiskFull {
        /// What is free.
        free: u64,
        /// What is not for inventories.
        left_free: u64,
    },
    /// The operating system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was taken note of.
    Known,
    /// Its inventory is not here; nothing was taken note of.
    Wanted {
        /// The newest that is, to pack it on.
        base: Option<Digest>,
    },
}

/// The inventory of a report, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Packed.
    pub packed: &'a [u8],
    /// On this one.
    pub base: Option<Digest>,
}

/// The inventories of a node.
pub struct Inventories {
    directory: PathBuf,
    limits: InventoryLimits,
    disk: ArtifactLimits,
    /// Bytes of all; whoever has the lock may write.
    held: Mutex<u64>,
    /// Whose reports are being looked at: of one endpoint one at a time.
    under_way: Mutex<HashSet<PublicKey>>,
}

/// The turn of an endpoint, until it is dropped.
pub struct Turn(Arc<Inventories>, PublicKey);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.1);
    }
}

impl Inventories {
    /// Opens the directory, and counts what is there. Of the disk, as much is left free as artifacts leave.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn open(directory: PathBuf, limits: InventoryLimits, disk: ArtifactLimits) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut held = 0;
        for group in fs::read_dir(&directory)? {
            for of in fs::read_dir(group?.path())? {
                held += read_record(&of?.path())?.map_or(0, |record| record.bytes());
            }
        }
        Ok(Self { directory, limits, disk, held: Mutex::new(held), under_way: Mutex::default() })
    }

    /// The turn of an endpoint, unless it has one.
    #[must_use]
    pub fn turn(self: &Arc<Self>, endpoint: PublicKey) -> Option<Turn> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.insert(endpoint).then(|| Turn(self.clone(), endpoint))
    }

    /// What is known of an endpoint.
    ///
    /// # Errors
    /// What the operating system said, or that the record is damaged.
    pub fn of(&self, endpoint: PublicKey) -> io::Result<Option<Record>> {
        read_record(&self.place(endpoint))
    }

    /// One of an endpoint's inventories, packed on none; `None` where it is not here.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn packed(&self, endpoint: PublicKey, inventory: Digest) -> io::Result<Option<Vec<u8>>> {
        read(&packed_path(&self.place(endpoint), inventory), INVENTORY_PACKED_BYTES_MAX)
    }

    /// Takes a report that was checked, with its inventory where it came along.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing was taken note of then.
    pub fn take(
        &self,
        signed: &SignedInventoryReport,
        sent: Option<Sent<'_>>,
        received_ms: u64,
    ) -> Result<Taken, NotTaken> {
        let (report, place) = (&signed.report, self.place(signed.report.endpoint));
        let bytes = encode(signed);
        let mut record = read_record(&place)?.unwrap_or_default();
        if record.report == bytes {
            return Ok(Taken::Known); // The answer was lost.
        }
        let last_ms = record.at_ms;
        if report.at_ms <= last_ms {
            return Err(NotTaken::Replayed { at_ms: report.at_ms, last_ms });
        }
        let before = record.bytes();
        (record.report, record.at_ms, record.received_ms) = (bytes, report.at_ms, received_ms);
        if record.newest() == Some(report.inventory) {
            write(&place.join(RECORD), &record.to_bytes(), false)?;
            return Ok(Taken::Known);
        }
        let base = record.newest();
        let Some(inventory) = self.inventory(report.endpoint, &record, report.inventory, sent)? else {
            return Ok(Taken::Wanted { base });
        };
        let packed = packed::pack(&encode(&inventory), &[])?;
        record.push(report.inventory, report.at_ms, packed.len() as u64, Summary::of(&inventory));
        self.keep(&place, &mut record, before, (report.inventory, &packed))?;
        Ok(Taken::Known)
    }

    /// The inventory of a report: as it came, or one that was here before; `None` where it is neither.
    fn inventory(
        &self,
        endpoint: PublicKey,
        record: &Record,
        wanted: Digest,
        sent: Option<Sent<'_>>,
    ) -> Result<Option<Inventory>, NotTaken> {
        let here = |inventory: Digest| -> Result<Option<Vec<u8>>, NotTaken> {
            let packed = if record.has(inventory) { self.packed(endpoint, inventory)? } else { None };
            Ok(packed.map(|packed| packed::unpack(&packed, &[])).transpose()?)
        };
        let bytes = match sent {
            None => here(wanted)?,
            Some(Sent { packed, base: None }) => Some(packed::unpack(packed, &[])?),
            Some(Sent { packed, base: Some(base) }) => {
                here(base)?.map(|base| packed::unpack(packed, &base)).transpose()?
            }
        };
        Ok(bytes.map(|bytes| Inventory::of_bytes(&bytes, wanted)).transpose()?)
    }

    /// Keeps a new inventory: it is on the disk before the record names it, and what the record names no more goes last.
    fn keep(
        &self,
        place: &Path,
        record: &mut Record,
        before: u64,
        (inventory, packed): (Digest, &[u8]),
    ) -> Result<(), NotTaken> {
        let InventoryLimits { bytes_max, per_endpoint_bytes_max, history_max } = self.limits;
        record.forget_oldest(history_max, per_endpoint_bytes_max);
        let mut held = self.held();
        let others = held.saturating_sub(before);
        // Nobody's history is given up for another one's: whoever comes last has less of it.
        record.forget_oldest(history_max, bytes_max.saturating_sub(others));
        let bytes = record.bytes();
        if others.saturating_add(bytes) > bytes_max {
            return Err(NotTaken::Full { held: others, bytes, most: bytes_max });
        }
        let disk = rustix::fs::statvfs(&self.directory).map_err(io::Error::from)?;
        let left_free = self.disk.left_free(disk.f_blocks.saturating_mul(disk.f_frsize));
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < left_free.saturating_add(packed.len() as u64 + RECORD_BYTES) {
            return Err(NotTaken::DiskFull { free, left_free });
        }
        fs::create_dir_all(place)?;
        write(&packed_path(place, inventory), packed, true)?;
        write(&place.join(RECORD), &record.to_bytes(), true)?;
        *held = others + bytes;
        let named: BTreeSet<PathBuf> = record.digests().map(|digest| packed_path(place, digest)).collect();
        for file in fs::read_dir(place)? {
            let path = file?.path();
            if path != place.join(RECORD) && !named.contains(&path) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn place(&self, endpoint: PublicKey) -> PathBuf {
        let name = endpoint.to_string();
        self.directory.join(&name[..2]).join(name)
    }

    /// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
    fn held(&self) -> MutexGuard<'_, u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn packed_path(place: &Path, inventory: Digest) -> PathBuf {
    place.join(format!("{inventory}{PACKED}"))
}

/// A record that a power cut left damaged is none: its endpoint is asked for everything again.
fn read_record(place: &Path) -> io::Result<Option<Record>> {
    let Some(bytes) = read(&place.join(RECORD), record::RECORD_BYTES_MAX)? else { return Ok(None) };
    Ok(Record::parse(&bytes)
        .inspect_err(|error| tracing::warn!(%error, place = %place.display(), "a record of inventories is damaged"))
        .ok())
}

/// Reads a file of at most so many bytes; `None` when there is none.
fn read(path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > most {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is too large", path.display()))),
        false => Ok(Some(bytes)),
    }
}

/// Replaces a file as a whole. What may be lost with the power is not waited for.
fn write(path: &Path, bytes: &[u8], must_last: bool) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    if must_last {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    if must_last {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
