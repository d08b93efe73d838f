//! `inventory`: what this host is and what is on it, and when that became another thing.

use super::{ConfigArgs, answer};
use crate::failure::{Failure, NO_VERDICT, OK, USAGE};
use agent::config::Config;
use agent::data::DataDir;
use agent::inventory::{Gathered, Held, History, Told, gather};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use ledger::id::Digest;
use ledger::inventory::{Change, Inventory as Words, Readings, Source, changes};
use ledger::moment::{Moment, Span};
use serde::Serialize;
use std::fmt;
use terminal::Answer;

/// Changes shown, if nobody says otherwise.
const CHANGES_DEFAULT: u64 = 20;
/// Lines of one change shown to people.
const LINES_MAX: usize = 20;

/// Show what this host is and what is on it, as its nodes are told; or when that changed.
///
/// It is looked at now, whether an agent runs or not. What changed is what a running agent has seen.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign-agent inventory
  countersign-agent inventory -o json
  countersign-agent inventory --history")]
pub(super) struct Inventory {
    #[command(flatten)]
    config: ConfigArgs,
    /// Show when what changed, the newest first.
    #[arg(long)]
    history: bool,
    /// Show at most so many changes.
    #[arg(long, value_name = "N", requires = "history", default_value_t = CHANGES_DEFAULT, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1000))]
    limit: u64,
}

impl Inventory {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Some(config) = self.config.read()? else { return Ok(Answer::silent(OK)) };
        match self.history {
            true => history(&config, usize::try_from(self.limit).unwrap_or(usize::MAX)),
            false => now(&config),
        }
    }
}

/// What is on the host now.
#[derive(Serialize)]
struct Now {
    digest: Digest,
    inventory: Words,
    readings: Readings,
    /// What the nodes were told.
    told: Told,
}

fn now(config: &Config) -> Result<Answer, Failure> {
    let Some(what) = &config.inventory else {
        let hint = "see [inventory] in the configuration".to_owned();
        return Err(Failure::new("this host takes no inventory: inventory.enabled is false", Some(hint), USAGE));
    };
    let told = Told::read(&DataDir::at(config.data_dir.clone()).told());
    let told = told.map_err(|error| Failure::new(error, None, NO_VERDICT))?;
    let Gathered { inventory, readings } = gather(config, what);
    Ok(answer(&Now { digest: inventory.digest(), inventory, readings, told }))
}

impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { digest, inventory, readings, told } = self;
        let Words { system, hardware, packages, services, addresses, left_out, unread, .. } = inventory;
        let of = |source| packages.iter().filter(|package| package.source == source).count();
        writeln!(f, "inventory  {digest}")?;
        writeln!(f, "host       {}, {}", system.host, system.architecture)?;
        writeln!(f, "system     {}", system.os_name)?;
        writeln!(f, "kernel     {} ({})", system.kernel, system.kernel_build)?;
        if !hardware.model.as_str().is_empty() {
            writeln!(f, "machine    {} {}", hardware.vendor, hardware.model)?;
        }
        if hardware.processors > 0 {
            writeln!(f, "processor  {} of {}", hardware.processors, hardware.processor)?;
        }
        writeln!(f, "memory     {} MiB, {} MiB free", hardware.memory_mib, readings.memory_free_mib)?;
        for disk in hardware.disks.iter() {
            writeln!(f, "disk       {}: {} MiB {}", disk.name, disk.bytes >> 20, disk.model)?;
        }
        let (dpkg, rpm, agent) = (of(Source::Dpkg), of(Source::Rpm), of(Source::Agent));
        writeln!(f, "packages   {} ({dpkg} of dpkg, {rpm} of rpm, {agent} of this agent)", packages.len())?;
        for package in packages.iter().filter(|package| package.source == Source::Agent) {
            writeln!(f, "           {} {} {} ({})", package.name, package.variant, package.version, package.detail)?;
        }
        let failed = readings.services_failed.len();
        writeln!(f, "services   {}: {} run, {failed} failed", services.len(), readings.services_running)?;
        for address in addresses.iter() {
            writeln!(f, "address    {} {}", address.interface, address.address)?;
        }
        let (booted, up) = (Moment(readings.booted_at_ms), Span(readings.uptime_ms / 60_000 * 60_000));
        writeln!(f, "started    {booted}, {up} ago")?;
        if *left_out > 0 {
            writeln!(f, "left out   {left_out}: there was no room for more")?;
        }
        for unread in unread.iter() {
            writeln!(f, "not seen   {}: {}", unread.what, unread.why)?;
        }
        match told.nodes.iter().filter(|(_, told)| told.taken_at_ms > 0).max_by_key(|(_, told)| told.taken_at_ms) {
            None => write!(f, "told       nobody yet"),
            Some((node, last)) => {
                let same = if last.inventory == Some(*digest) { "this" } else { "another one" };
                write!(f, "told       {same}, to {node} at {}", Moment(last.taken_at_ms))
            }
        }
    }
}

/// When it changed.
#[derive(Serialize)]
struct Changed {
    changes: Vec<ChangedAt>,
    more: bool,
}

#[derive(Serialize)]
struct ChangedAt {
    since_ms: u64,
    inventory: Digest,
    /// Nothing where the one before is not kept any more.
    changes: Option<Vec<Change>>,
}

fn history(config: &Config, limit: usize) -> Result<Answer, Failure> {
    let history = History::at(&DataDir::at(config.data_dir.clone()).inventory());
    let all = history.all().map_err(|error| Failure::new(error, None, NO_VERDICT))?;
    let change = |place: usize| {
        let Held { since_ms, digest } = all[place];
        let before = place.checked_sub(1).and_then(|before| history.inventory(all[before].digest));
        let both = before.zip(history.inventory(digest));
        ChangedAt { since_ms, inventory: digest, changes: both.map(|(before, after)| changes(&before, &after)) }
    };
    let changes: Vec<_> = (0..all.len()).rev().take(limit).map(change).collect();
    Ok(answer(&Changed { more: changes.len() < all.len(), changes }))
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return write!(f, "nothing was seen yet: an agent that runs takes note of what changes");
        }
        for (place, ChangedAt { since_ms, inventory, changes }) in self.changes.iter().enumerate() {
            let gap = if place == 0 { "" } else { "\n" };
            write!(f, "{gap}{}  {}", Moment(*since_ms), &inventory.to_string()[..12])?;
            match changes {
                None => write!(f, "\n  the first that is kept")?,
                Some(changes) => {
                    changes.iter().take(LINES_MAX).try_for_each(|change| write!(f, "\n  {change}"))?;
                    if changes.len() > LINES_MAX {
                        write!(f, "\n  and {} more; -o json has all", changes.len() - LINES_MAX)?;
                    }
                }
            }
        }
        if self.more {
            write!(f, "\nthere are older ones: --limit")?;
        }
        Ok(())
    }
}
