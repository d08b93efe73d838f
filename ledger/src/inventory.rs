//! Inventories: what a host is and what is on it, by its own word (protocol.md, section 15).
//!
//! An inventory is beside the ledger and not on it: it tells whoever reads it what a host is weak in. What only time
//! changes, [`Readings`], is no part of it, so that the digest of a host that nobody touched stays what it is.

mod difference;
mod read;
mod report;

pub use difference::{Change, changes};
pub use read::{InventoryRead, READERS, ReadError, SignedInventoryRead};
pub use report::{InventoryReport, Readings, ReportError, SignedInventoryReport, Unhealthy};

use crate::bounded::{SortedList, Text};
use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::id::Digest;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The one form of an inventory there is.
pub const INVENTORY_VERSION: u16 = 1;

/// A word or two in an inventory, as the host has it.
pub type Fact = Text<{ limits::FACT_BYTES_MAX }>;

/// What a host is and what is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// [`INVENTORY_VERSION`].
    pub version: u16,
    /// What runs it.
    pub system: System,
    /// What it is made of.
    pub hardware: Hardware,
    /// What is installed.
    pub packages: SortedList<Package, { limits::INVENTORY_PACKAGES_MAX }>,
    /// What is there to be run.
    pub services: SortedList<Service, { limits::INVENTORY_SERVICES_MAX }>,
    /// Where it is reached; not by itself alone, nor by its link alone.
    pub addresses: SortedList<Address, { limits::INVENTORY_ADDRESSES_MAX }>,
    /// Packages, services and addresses for which there was no room.
    pub left_out: u32,
    /// What could not be looked at, and why.
    pub unread: SortedList<Unread, { limits::INVENTORY_UNREAD_MAX }>,
}

/// What runs a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// What it calls itself.
    pub host: Fact,
    /// The system's word for itself: `ID` of os-release.
    pub os: Fact,
    /// Its version: `VERSION_ID` of os-release.
    pub os_version: Fact,
    /// Its name for people: `PRETTY_NAME` of os-release.
    pub os_name: Fact,
    /// Release of the kernel that runs.
    pub kernel: Fact,
    /// Which build of it.
    pub kernel_build: Fact,
    /// The machine it was built for.
    pub architecture: Fact,
}

/// What a host is made of. What cannot be told is empty, or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Who made it.
    pub vendor: Fact,
    /// What they call it.
    pub model: Fact,
    /// What its processors are called.
    pub processor: Fact,
    /// How many there are, as the kernel counts.
    pub processors: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Disks that stay in it.
    pub disks: SortedList<Disk, { limits::INVENTORY_DISKS_MAX }>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Disk {
    /// The kernel's name.
    pub name: Fact,
    /// What its maker calls it.
    pub model: Fact,
    /// Its size.
    pub bytes: u64,
}

/// Who says that a package is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// dpkg's database.
    Dpkg,
    /// rpm's database.
    Rpm,
    /// The agent, which installed it.
    Agent,
}

impl Source {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
            Self::Agent => "agent",
        }
    }
}

/// Something installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Who says so.
    pub source: Source,
    /// Its name; of the agent, its product.
    pub name: Fact,
    /// Its architecture; of the agent, its channel.
    pub variant: Fact,
    /// Its version, as its packager writes it.
    pub version: Fact,
    /// What is particular about it: of dpkg, a status other than installed; of the agent, how it was installed, and
    /// by which patch.
    pub detail: Fact,
}

/// Who runs a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// systemd.
    Systemd,
    /// The agent.
    Agent,
}

impl Manager {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Agent => "agent",
        }
    }
}

/// Something there to be run. Whether it runs is a reading.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Service {
    /// Who runs it.
    pub manager: Manager,
    /// Its name.
    pub name: Fact,
    /// Of systemd, whether it is enabled; of the agent, from what it runs.
    pub state: Fact,
}

/// Where a host is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Through which interface.
    pub interface: Fact,
    /// The IP address.
    pub address: Fact,
}

/// What could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unread {
    /// What.
    pub what: Fact,
    /// Why.
    pub why: Fact,
}

impl Canonical for Inventory {
    const NAME: &'static str = "inventory";
    const LIMIT: Limit = Limit::Inventory;
}

/// Why bytes are not the inventory of a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// No inventory at all.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A form that is not known.
    #[error("an inventory of version {0}; {INVENTORY_VERSION} is known")]
    Version(u16),
    /// Of another digest.
    #[error("the inventory has digest {actual}, the report says {said}")]
    Digest {
        /// What the bytes have.
        actual: Digest,
        /// What was said.
        said: Digest,
    },
}

impl InventoryError {
    /// The stable word of the check.
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.check(),
            Self::Version(_) => "version",
            Self::Digest { .. } => "inventory",
        }
    }
}

impl Inventory {
    /// What names it: the BLAKE3 of its canonical bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::blake3(&encode(self))
    }

    /// The inventory of this digest, from bytes from outside.
    ///
    /// # Errors
    /// [`InventoryError`].
    pub fn of_bytes(bytes: &[u8], said: Digest) -> Result<Self, InventoryError> {
        let actual = Digest::blake3(bytes);
        if actual != said {
            return Err(InventoryError::Digest { actual, said });
        }
        let inventory: Self = decode(bytes)?;
        match inventory.version {
            INVENTORY_VERSION => Ok(inventory),
            other => Err(InventoryError::Version(other)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
