//! Inventories as people and programs are shown them.

use super::EnrolledView;
use crate::connection::NodeError;
use crate::tables::{facts, short, table};
use crate::time;
use ledger::encoding::decode;
use ledger::id::{ChainId, Digest};
use ledger::inventory::{Inventory, InventoryReport, Readings, SignedInventoryReport, Unhealthy};
use ledger::key::PublicKey;
use ledger::limits;
use serde::Serialize;
use std::fmt;

/// What an endpoint signed, if it did.
pub(crate) fn believed(report: &[u8], endpoint: PublicKey, chain: &ChainId) -> Result<InventoryReport, NodeError> {
    let unbelievable = |why: String| NodeError::Unbelievable(format!("the report of endpoint {endpoint}: {why}"));
    let signed: SignedInventoryReport = decode(report).map_err(|error| unbelievable(error.to_string()))?;
    let report = signed.said_by_its_endpoint(chain).map_err(|error| unbelievable(error.to_string()))?;
    match report.endpoint == endpoint {
        true => Ok(report.clone()),
        false => Err(unbelievable("it is another one's".to_owned())),
    }
}

/// A host that said within how many milliseconds it says something again is offline after so many times that.
const OFFLINE_AFTER: u64 = 2;
/// No word is awaited for longer, whatever the last one said.
const AGAIN_WITHIN_MS_MAX: u64 = 14 * 24 * 60 * 60 * 1000;

/// How a host does, by what it said last and how long ago that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostHealth {
    /// It was heard of in time, and all that is installed works.
    Healthy,
    /// Something installed does not work.
    Unhealthy,
    /// It should have been heard of since.
    Offline,
    /// It never said anything here.
    NeverHeard,
    /// It was heard of in time, and nobody looks whether what is installed works.
    NotWatched,
    /// What the node shows as its word is not.
    Unbelievable,
}

impl HostHealth {
    /// By what a host said last, which came at `received_ms`, as its node says: that is believed as far as a node takes
    /// reports that are so old.
    fn of(said: &InventoryReport, received_ms: u64, now_ms: u64) -> Self {
        let heard_ms = received_ms.min(said.at_ms.saturating_add(limits::INVENTORY_REPORT_MS_MAX));
        let again_within_ms = match said.readings.again_within_ms {
            0 => AGAIN_WITHIN_MS_MAX,
            again_within_ms => again_within_ms.min(AGAIN_WITHIN_MS_MAX),
        };
        if now_ms.saturating_sub(heard_ms) > again_within_ms * OFFLINE_AFTER {
            return Self::Offline;
        }
        match (said.readings.unhealthy.is_empty(), said.readings.watched_every_ms) {
            (false, _) => Self::Unhealthy,
            (true, 0) => Self::NotWatched,
            (true, _) => Self::Healthy,
        }
    }

    /// Whether somebody should see to it.
    fn is_alarming(self) -> bool {
        !matches!(self, Self::Healthy | Self::NotWatched)
    }
}

impl fmt::Display for HostHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "UNHEALTHY",
            Self::Offline => "OFFLINE",
            Self::NeverHeard => "never heard",
            Self::NotWatched => "not watched",
            Self::Unbelievable => "UNBELIEVABLE",
        })
    }
}

/// A host, and what it said last.
#[derive(Clone, Debug, Serialize)]
pub struct HostView {
    /// Which.
    #[serde(flatten)]
    pub host: EnrolledView,
    /// How it does, by the clock of whoever asks.
    pub health: HostHealth,
    /// When it said so last, by its own signed word.
    pub seen_ms: Option<u64>,
    /// When that came, by the node's clock.
    pub received_ms: Option<u64>,
    /// Since when it has this inventory.
    pub since_ms: Option<u64>,
    /// Which it has, by its own signed word.
    pub inventory: Option<Digest>,
    /// Its system.
    pub os_name: String,
    /// Its kernel.
    pub kernel: String,
    /// How many packages it has.
    pub packages: Option<u32>,
    /// What only time changes, by its own signed word.
    pub readings: Option<Readings>,
}

impl HostView {
    /// Takes a node's answer, as it is now. What it shows as the host's word and is not hides no other host.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when it is no answer.
    pub fn new(host: proto::v1::EndpointInventory, chain: &ChainId, now_ms: u64) -> Result<Self, NodeError> {
        let endpoint = EnrolledView::try_from(host.endpoint.unwrap_or_default())?;
        let report = match host.report.is_empty() {
            true => Ok(None),
            false => believed(&host.report, endpoint.key, chain).map(Some),
        };
        let health = match &report {
            Ok(Some(said)) => HostHealth::of(said, host.received_ms, now_ms),
            Ok(None) => HostHealth::NeverHeard,
            Err(_) => HostHealth::Unbelievable,
        };
        let report = report.ok().flatten();
        let said = report.is_some();
        Ok(Self {
            host: endpoint,
            health,
            seen_ms: report.as_ref().map(|report| report.at_ms),
            received_ms: said.then_some(host.received_ms),
            since_ms: said.then_some(host.since_ms),
            inventory: report.as_ref().map(|report| report.inventory),
            os_name: host.os_name,
            kernel: host.kernel,
            packages: said.then_some(host.packages),
            readings: report.map(|report| report.readings),
        })
    }

    pub(crate) fn row(&self) -> Vec<String> {
        self.host.row([
            self.health.to_string(),
            self.seen_ms.map_or("never".to_owned(), time::show),
            self.os_name.clone(),
            self.kernel.clone(),
            self.packages.map(|packages| packages.to_string()).unwrap_or_default(),
            self.inventory.as_ref().map(short).unwrap_or_default(),
        ])
    }

    /// Whether somebody should see to it.
    pub(crate) fn is_alarming(&self) -> bool {
        self.health.is_alarming()
    }

    /// Whether it is enrolled still: who is not may be silent.
    pub(crate) fn is_active(&self) -> bool {
        self.host.status == "active"
    }

    /// Its key.
    pub(crate) fn key(&self) -> PublicKey {
        self.host.key
    }

    /// Its rows of the alarm: one for everything that does not work.
    pub(crate) fn alarms(&self) -> Vec<Vec<String>> {
        let row = |since: String, what: String| {
            let EnrolledView { key, name, group, .. } = &self.host;
            vec![short(key), name.clone(), group.clone(), self.health.to_string(), since, what]
        };
        let unhealthy = self.readings.iter().flat_map(|readings| readings.unhealthy.iter());
        match self.health {
            HostHealth::Unhealthy => {
                let what = |of: &Unhealthy| format!("{} (channel {}): {}", of.product, of.channel, of.why);
                unhealthy.map(|of| row(time::show(of.since_ms), what(of))).collect()
            }
            _ => vec![row(self.received_ms.map_or("never".to_owned(), time::show), String::new())],
        }
    }

    pub(crate) const ALARM_HEADINGS: [&str; 6] = ["HOST", "NAME", "GROUP", "HEALTH", "SINCE", "WHAT"];

    pub(crate) const HEADINGS: [&str; 12] = [
        "HOST",
        "NAME",
        "GROUP",
        "ORGANISATION",
        "LABELS",
        "STATUS",
        "HEALTH",
        "LAST SEEN",
        "SYSTEM",
        "KERNEL",
        "PACKAGES",
        "INVENTORY",
    ];
}

/// One inventory of a host.
#[derive(Clone, Debug, Serialize)]
pub struct ShownInventory {
    /// The host's key.
    pub endpoint: PublicKey,
    /// What names the inventory.
    pub inventory: Digest,
    /// When the host said last that it has it, by its own signed word; nothing of one it had before.
    pub seen_ms: Option<u64>,
    /// When its last word came, by the node's clock.
    pub received_ms: u64,
    /// What only time changes, by its own signed word; nothing of one it had before.
    pub readings: Option<Readings>,
    /// What is in it.
    pub content: Inventory,
}

impl ShownInventory {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let Inventory { system, hardware, packages, services, addresses, left_out, unread, .. } = &self.content;
        let mut shown = vec![
            ("host", system.host.to_string()),
            ("endpoint", self.endpoint.to_string()),
            ("inventory", self.inventory.to_string()),
            ("last seen", self.seen_ms.map_or("it has another one now".to_owned(), time::show)),
            ("system", format!("{} ({} {})", system.os_name, system.os, system.os_version)),
            ("kernel", format!("{} ({}), {}", system.kernel, system.kernel_build, system.architecture)),
            ("machine", format!("{} {}", hardware.vendor, hardware.model)),
            ("processors", format!("{} of {}", hardware.processors, hardware.processor)),
            ("memory", format!("{} MiB", hardware.memory_mib)),
        ];
        let line = |words: &dyn std::fmt::Display| words.to_string();
        let disks: Vec<_> = hardware
            .disks
            .iter()
            .map(|disk| format!("{}: {} MiB {}", disk.name, disk.bytes >> 20, disk.model))
            .collect();
        let addresses: Vec<_> = addresses.iter().map(|of| format!("{} {}", of.interface, of.address)).collect();
        let unread: Vec<_> = unread.iter().map(|unread| format!("{}: {}", unread.what, unread.why)).collect();
        for (name, lines) in [("disks", disks), ("addresses", addresses), ("not seen", unread)] {
            if !lines.is_empty() {
                shown.push((name, lines.join("\n")));
            }
        }
        if let Some(readings) = &self.readings {
            let failed: Vec<_> = readings.services_failed.iter().map(|name| line(name)).collect();
            shown.push((
                "started",
                format!("{}, up {}", time::show(readings.booted_at_ms), time::show_about(readings.uptime_ms)),
            ));
            shown.push((
                "free",
                format!("{} MiB memory, {} MiB disk", readings.memory_free_mib, readings.disk_free_mib),
            ));
            shown.push(("services run", readings.services_running.to_string()));
            let unhealthy: Vec<_> = readings
                .unhealthy
                .iter()
                .map(|of| {
                    let since = time::show(of.since_ms);
                    format!("{} (channel {}) since {since}: {}", of.product, of.channel, of.why)
                })
                .collect();
            if !unhealthy.is_empty() {
                shown.push(("UNHEALTHY", unhealthy.join("\n")));
            }
            shown.push(("failed", if failed.is_empty() { "none".to_owned() } else { failed.join(", ") }));
        }
        if *left_out > 0 {
            shown.push(("left out", left_out.to_string()));
        }
        let packages: Vec<Vec<String>> = packages
            .iter()
            .map(|of| vec![line(&of.source), line(&of.name), line(&of.variant), line(&of.version), line(&of.detail)])
            .collect();
        let services: Vec<Vec<String>> =
            services.iter().map(|of| vec![line(&of.manager), line(&of.name), line(&of.state)]).collect();
        let packages = match packages.is_empty() {
            true => String::new(),
            false => format!("\n{}", table(&["BY", "PACKAGE", "FOR", "VERSION", "DETAIL"], &packages)),
        };
        let services = match services.is_empty() {
            true => String::new(),
            false => format!("\n{}", table(&["BY", "SERVICE", "STATE"], &services)),
        };
        format!("{}{packages}{services}", facts(&shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::bounded::SortedList;
    use ledger::inventory::Fact;

    #[test]
    fn a_host_is_offline_after_twice_the_time_it_named() {
        let unhealthy = Unhealthy {
            product: Fact::cut("acme/widget"),
            channel: Fact::cut("stable"),
            since_ms: 1,
            why: Fact::cut("service widget: ended by signal 9"),
        };
        let well = Readings { again_within_ms: 1_000, watched_every_ms: 1, ..Readings::default() };
        let ill = Readings { unhealthy: SortedList::new(vec![unhealthy]).unwrap(), ..well.clone() };
        let said = |readings: &Readings| InventoryReport {
            chain_id: ChainId([1; 32]),
            endpoint: PublicKey([2; 32]),
            at_ms: 50_000,
            inventory: Digest([3; 32]),
            readings: readings.clone(),
        };
        let health = |readings: &Readings, silent_ms| HostHealth::of(&said(readings), 50_000, 50_000 + silent_ms);
        assert_eq!(health(&well, 2_000), HostHealth::Healthy);
        assert_eq!(health(&well, 2_001), HostHealth::Offline);
        assert_eq!(health(&ill, 2_000), HostHealth::Unhealthy);
        assert_eq!(health(&ill, 2_001), HostHealth::Offline, "what it said then says nothing of now");
        assert_eq!(HostHealth::of(&said(&well), 50_000, 1), HostHealth::Healthy, "the reader's clock is behind");
        // Whoever promised nothing, or too much, is not silent for ever; nor does a node say that it heard of it just now.
        for again_within_ms in [0, u64::MAX] {
            let readings = Readings { again_within_ms, ..well.clone() };
            assert_eq!(health(&readings, 2 * AGAIN_WITHIN_MS_MAX), HostHealth::Healthy);
            assert_eq!(health(&readings, 2 * AGAIN_WITHIN_MS_MAX + 1), HostHealth::Offline);
        }
        let much_later = 50_000 + 2_001 + limits::INVENTORY_REPORT_MS_MAX;
        assert_eq!(HostHealth::of(&said(&well), much_later, much_later), HostHealth::Offline);
        assert_eq!(health(&Readings { watched_every_ms: 0, ..well }, 1), HostHealth::NotWatched);
    }
}
