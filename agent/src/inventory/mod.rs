//! What this host is and what is on it (docs/protocol.md, section 15): looked at, kept, and said to its nodes.
//!
//! [`gather`] is the one look. What cannot be looked at is named in it, and hides nothing else.

mod addresses;
mod hardware;
mod history;
mod packages;
mod readings;
mod recalled;
mod services;
mod system;
mod teller;
mod told;

pub use history::{Held, History};
pub use teller::Teller;
pub use told::{Told, ToldNode};

use crate::clock;
use crate::config::{self, Config, Part};
use crate::data::DataDir;
use crate::health::{HealthView, Vitals};
use ledger::bounded::SortedList;
use ledger::encoding::encode;
use ledger::id::Digest;
use ledger::inventory::{Fact, Hardware, INVENTORY_VERSION, Inventory, Readings, Unhealthy, Unread};
use ledger::limits;
use recalled::RecalledSince;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// What was seen in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// What the host is and what is on it.
    pub inventory: Inventory,
    /// What only time changes.
    pub readings: Readings,
}

/// What could not be looked at.
#[derive(Debug, Default)]
struct Troubles(Vec<Unread>);

impl Troubles {
    /// What was seen, or what is there instead when it could not be.
    fn see<T: Default, E: fmt::Display>(&mut self, what: &str, seen: Result<T, E>) -> T {
        seen.unwrap_or_else(|why| {
            self.0.push(Unread { what: fact(what), why: fact(&why.to_string()) });
            T::default()
        })
    }
}

/// A text of the host's, as far as it fits.
fn fact(text: &str) -> Fact {
    Fact::cut(text.trim())
}

/// As many as there is room for, and how many were left out. Which are left out does not depend on their order.
fn bounded<T: Ord, const MAX: usize>(mut all: Vec<T>, left_out: &mut usize) -> SortedList<T, MAX> {
    all.sort();
    all.dedup();
    *left_out += all.len().saturating_sub(MAX);
    all.truncate(MAX);
    SortedList::new(all).unwrap_or_default()
}

/// Looks at this host. Blocking: files, and the host's own tools.
#[must_use]
pub fn gather(config: &Config, what: &config::Inventory) -> Gathered {
    let (mut troubles, mut left_out) = (Troubles::default(), 0);
    let has = |part| what.parts.contains(&part);
    let system = troubles.see("system", system::look(&what.root));
    let hardware = match has(Part::Hardware) {
        true => hardware::look(&what.root, &mut troubles),
        false => Hardware::default(),
    };
    let packages = if has(Part::Packages) { packages::look(config, what, &mut troubles) } else { Vec::new() };
    let (services, running) = match has(Part::Services) {
        true => services::look(config, &what.root, &mut troubles),
        false => Default::default(),
    };
    let addresses = if has(Part::Addresses) { troubles.see("addresses", addresses::look()) } else { Vec::new() };
    let mut inventory = Inventory {
        version: INVENTORY_VERSION,
        system,
        hardware,
        packages: bounded(packages, &mut left_out),
        services: bounded(services, &mut left_out),
        addresses: bounded(addresses, &mut left_out),
        left_out: 0,
        unread: SortedList::default(),
    };
    inventory.unread = bounded(troubles.0, &mut left_out);
    inventory.left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
    make_room(&mut inventory);
    Gathered { inventory, readings: readings::look(config, running) }
}

/// Leaves packages out until the rest is no larger than an inventory may be: whoever has so many with such long names
/// is told of most of them, and that there are more.
fn make_room(inventory: &mut Inventory) {
    while encode(inventory).len() > limits::INVENTORY_BYTES_MAX && !inventory.packages.is_empty() {
        let mut packages = std::mem::take(&mut inventory.packages).into_vec();
        let kept = packages.len() * 3 / 4;
        inventory.left_out =
            inventory.left_out.saturating_add(u32::try_from(packages.len() - kept).unwrap_or(u32::MAX));
        packages.truncate(kept);
        inventory.packages = SortedList::new(packages).unwrap_or_default();
    }
}

/// What is installed and does not work, or was recalled.
fn unhealthy(
    vitals: &Vitals,
    recalled: Vec<Unhealthy>,
    left_out: &mut usize,
) -> SortedList<Unhealthy, { limits::READINGS_UNHEALTHY_MAX }> {
    let unhealthy = vitals.all().into_iter().filter_map(|HealthView { product, channel, since_ms, trouble }| {
        let (product, channel) = (fact(&product.to_string()), fact(channel.as_str()));
        Some(Unhealthy { product, channel, since_ms, why: fact(&trouble?) })
    });
    bounded(unhealthy.chain(recalled).collect(), left_out)
}

/// Looks at the host for whoever wants to know, one look at a time: two would take the memory of two.
#[derive(Clone)]
pub struct Gatherer {
    config: Arc<Config>,
    /// Since when it is seen of what that it was recalled; whoever looks has it.
    looking: Arc<Mutex<RecalledSince>>,
    wanted: Arc<Notify>,
    /// How what is installed does.
    pub(crate) vitals: Vitals,
}

impl Gatherer {
    /// Of a host with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            config: Arc::new(config.clone()),
            looking: Arc::default(),
            wanted: Arc::default(),
            vitals: Vitals::default(),
        }
    }

    /// Looks now, and does something with what was seen, on a thread for that; nothing where the house wants no
    /// inventory, or the look broke off.
    async fn look<T: Send + 'static>(&self, then: impl FnOnce(Gathered) -> T + Send + 'static) -> Option<T> {
        let Self { config, looking, vitals, .. } = self.clone();
        let what = config.inventory.clone()?;
        let looked = tokio::task::spawn_blocking(move || {
            let mut since = looking.lock().unwrap_or_else(PoisonError::into_inner);
            let mut gathered = gather(&config, &what);
            let mut left_out = 0;
            let recalled = since.see(&DataDir::at(config.data_dir.clone()), clock::now_ms());
            gathered.readings.unhealthy = unhealthy(&vitals, recalled, &mut left_out);
            gathered.readings.unhealthy_left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
            let watch = config.health.watch.as_millis();
            gathered.readings.watched_every_ms = u64::try_from(watch).unwrap_or(u64::MAX);
            gathered.readings.again_within_ms = u64::try_from(what.again_within().as_millis()).unwrap_or(u64::MAX);
            then(gathered)
        });
        looked.await.inspect_err(|error| tracing::warn!(%error, "cannot look at what is on this host")).ok()
    }

    /// What the log of an attempt says of the host: the digest of its inventory at that moment.
    pub async fn line(&self, when: &str) -> String {
        match self.look(|gathered| gathered.inventory.digest()).await {
            Some(digest) => format!("inventory {when}: {digest}"),
            None => format!("inventory {when}: none was taken"),
        }
    }

    /// Has the nodes told anew, soon: something ended that may have changed the host.
    pub fn want(&self) {
        self.wanted.notify_one();
    }

    /// Where what was seen is kept.
    #[must_use]
    pub fn history(&self) -> History {
        History::at(&DataDir::at(self.config.data_dir.clone()).inventory())
    }
}

/// An inventory as it travels and is kept, with what names it.
struct Written {
    digest: Digest,
    bytes: Vec<u8>,
}

impl Written {
    fn new(inventory: &Inventory) -> Self {
        let bytes = encode(inventory);
        Self { digest: Digest::blake3(&bytes), bytes }
    }
}

#[cfg(test)]
mod tests;
