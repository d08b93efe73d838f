//! Inventories as people and programs are shown them.

use super::EnrolledView;
use crate::connection::NodeError;
use crate::tables::{facts, short, table};
use crate::time;
use ledger::encoding::decode;
use ledger::id::{ChainId, Digest};
use ledger::inventory::{Inventory, InventoryReport, Readings, SignedInventoryReport};
use ledger::key::PublicKey;
use serde::Serialize;

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

/// A host, and what it said last.
#[derive(Clone, Debug, Serialize)]
pub struct HostView {
    /// Which.
    #[serde(flatten)]
    pub host: EnrolledView,
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
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when what it shows as the host's word is not.
    pub fn new(host: proto::v1::EndpointInventory, chain: &ChainId) -> Result<Self, NodeError> {
        let endpoint = EnrolledView::try_from(host.endpoint.unwrap_or_default())?;
        let report = match host.report.is_empty() {
            true => None,
            false => Some(believed(&host.report, endpoint.key, chain)?),
        };
        let said = report.is_some();
        Ok(Self {
            host: endpoint,
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
            self.seen_ms.map_or("never".to_owned(), time::show),
            self.os_name.clone(),
            self.kernel.clone(),
            self.packages.map(|packages| packages.to_string()).unwrap_or_default(),
            self.inventory.as_ref().map(short).unwrap_or_default(),
        ])
    }

    pub(crate) const HEADINGS: [&str; 11] = [
        "HOST",
        "NAME",
        "GROUP",
        "ORGANISATION",
        "LABELS",
        "STATUS",
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
