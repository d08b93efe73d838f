//! What only time changes: how long the host has run, what is free, what runs.

use super::fact;
use super::services::Running;
use crate::clock::now_ms;
use crate::config::Config;
use crate::probes::house::{disk_free, memory_free};
use ledger::bounded::SortedList;
use ledger::inventory::Readings;
use ledger::limits::READINGS_FAILED_MAX;

/// What cannot be told is 0.
pub(super) fn look(config: &Config, Running { running, mut failed }: Running) -> Readings {
    let uptime_ms = u64::try_from(rustix::system::sysinfo().uptime).unwrap_or(0).saturating_mul(1000);
    failed.sort();
    failed.truncate(READINGS_FAILED_MAX);
    let failed = failed.iter().map(|name| fact(name)).collect();
    Readings {
        booted_at_ms: now_ms().saturating_sub(uptime_ms),
        uptime_ms,
        memory_free_mib: memory_free().unwrap_or(0) >> 20,
        disk_free_mib: disk_free(&config.data_dir.to_string_lossy()).unwrap_or(0) >> 20,
        services_running: running,
        services_failed: SortedList::new(failed).unwrap_or_default(),
        ..Readings::default()
    }
}
