//! A host as far as a decision looks at it.

use ledger::bounded::{Name, Product, Version};
use ledger::id::PatchId;
use ledger::patch::{InstallerKind, Label};
use std::collections::{BTreeMap, BTreeSet};

/// What is installed of a product on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its release counter: what "newer" is measured by.
    pub release: u64,
    /// Its version, as people know it.
    pub version: Version,
}

/// Whether a host can install a kind of patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It can.
    Yes,
    /// It cannot: what it lacks, for people.
    No(String),
}

/// The facts about a host that selectors, relations and counters are matched against. Taken by the
/// program from the host itself, never from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Operating system (`linux`).
    pub os: Name,
    /// Architecture (`x86_64`).
    pub architecture: Name,
    /// Hardware ids.
    pub hardware: BTreeSet<Name>,
    /// Labels.
    pub labels: BTreeSet<Label>,
    /// What is installed, by product and channel.
    pub installed: BTreeMap<(Product, Name), Installed>,
    /// Kinds of installers, as far as somebody looked for them.
    pub installers: BTreeMap<InstallerKind, Offered>,
    /// Since when the host is awake, and the program on it.
    pub awake_since_ms: u64,
    /// Since when patches could have been installed here, as far as that is remembered.
    pub due_since_ms: BTreeMap<PatchId, u64>,
}

impl Host {
    /// What is installed of a product on a channel.
    #[must_use]
    pub fn installed(&self, product: &Product, channel: &Name) -> Option<&Installed> {
        self.installed.get(&(product.clone(), channel.clone()))
    }

    /// Every installed release of a product, on whichever channel.
    pub fn releases<'a>(&'a self, product: &'a Product) -> impl Iterator<Item = &'a Installed> {
        self.installed.iter().filter(move |((of, _), _)| of == product).map(|(_, installed)| installed)
    }
}
