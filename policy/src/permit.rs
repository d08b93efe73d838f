//! May this patch go onto this host now?

use crate::host::{Host, Installed, Offered};
use crate::reason::{Mismatch, Reason};
use crate::schedule::{Because, Due, Leave, Schedule};
use ledger::approval::Count;
use ledger::bounded::{Name, Product};
use ledger::moment::Moment;
use ledger::patch::{InstallerKind, PatchManifest, Probe, Reboot, Relation, Target};
use ledger::proof::FinalizedPatch;
use std::collections::BTreeSet;
use std::fmt;

/// A line of releases a host follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscription {
    /// The product.
    pub product: Product,
    /// The channel.
    pub channel: Name,
}

/// "Nothing now", with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Why, for people.
    pub reason: String,
    /// From then on it is over; without it, somebody has to lift it.
    pub until_ms: Option<u64>,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until_ms {
            Some(until_ms) => write!(f, "paused until {}: {}", Moment(until_ms), self.reason),
            None => write!(f, "paused: {}", self.reason),
        }
    }
}

/// House law of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What the host follows; anything else is refused, however well proven.
    pub subscriptions: BTreeSet<Subscription>,
    /// Set while nothing may be changed.
    pub pause: Option<Pause>,
    /// When something may be changed.
    pub schedule: Schedule,
    /// When the host may be restarted.
    pub restart: Restart,
    /// How long a patch may be in place before the host has restarted for it, in milliseconds: then it is taken back.
    pub restart_within_ms: Option<u64>,
    /// Whether commands of manifests may judge updates on the host.
    pub commands: Commands,
}

/// What becomes of the commands that manifests bring to have an update judged. They run as whoever the agent is, with all that
/// it may do; those of container images run inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commands {
    /// They are run.
    #[default]
    Run,
    /// None is: a patch that brings one is refused.
    Refused,
}

/// When a host may be restarted for a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Never by the program: a patch that always needs it is refused.
    #[default]
    Never,
    /// While a window is open and no blackout covers the day, however urgent the patch is.
    Window,
    /// As soon as the patch is in place.
    Now,
}

/// Leave to put this patch onto this host now. Made only by [`Policy::permit`], and only from a patch
/// that is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    patch: FinalizedPatch,
    replaces: Option<Installed>,
    leave: Leave,
    given_at_ms: u64,
}

impl Permit {
    /// The patch.
    #[must_use]
    pub fn patch(&self) -> &FinalizedPatch {
        &self.patch
    }

    /// What it replaces, if something of its product and channel is installed.
    #[must_use]
    pub fn replaces(&self) -> Option<&Installed> {
        self.replaces.as_ref()
    }

    /// Why now.
    #[must_use]
    pub fn leave(&self) -> &Leave {
        &self.leave
    }

    /// The host's clock when leave was given.
    #[must_use]
    pub fn given_at_ms(&self) -> u64 {
        self.given_at_ms
    }
}

/// One of the checks of [`Policy::permit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Whether the host follows the product on that channel.
    Subscription,
    /// Whether somebody said: nothing now.
    Pause,
    /// Whether a selector is for this host.
    Target,
    /// Whether it is newer than what is installed.
    Release,
    /// Whether what it needs is there, and what it cannot be with is not.
    Relations,
    /// Whether the host can install that kind.
    Installer,
    /// Whether the host may restart for it.
    Restart,
    /// Whether the host may run its commands.
    Commands,
    /// Whether its hour has come.
    Schedule,
}

impl Check {
    /// Those that come before the question of the hour, in their order: only what could be installed now
    /// waits for it.
    const BEFORE_THE_HOUR: [Self; 8] = [
        Self::Subscription,
        Self::Pause,
        Self::Target,
        Self::Release,
        Self::Relations,
        Self::Installer,
        Self::Restart,
        Self::Commands,
    ];

    /// What it is called.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Pause => "pause",
            Self::Target => "target",
            Self::Release => "release",
            Self::Relations => "relations",
            Self::Installer => "installer",
            Self::Restart => "restart",
            Self::Commands => "commands",
            Self::Schedule => "window",
        }
    }
}

impl Policy {
    /// Decides, and gives leave.
    ///
    /// # Errors
    /// [`Reason`] names the first check that said no.
    pub fn permit(&self, patch: FinalizedPatch, host: &Host, now_ms: u64) -> Result<Permit, Reason> {
        let emergency = is_emergency(patch.count());
        let leave = self.decide(patch.manifest(), emergency, host, now_ms)?;
        let manifest = patch.manifest();
        let replaces = host.installed(&manifest.product, &manifest.channel).cloned();
        Ok(Permit { patch, replaces, leave, given_at_ms: now_ms })
    }

    /// Whether the host may be restarted now, for a patch that is in place.
    ///
    /// # Errors
    /// [`Reason`] names what is in the way.
    pub fn permit_restart(&self, now_ms: u64) -> Result<(), Reason> {
        self.check_pause(now_ms)?;
        match self.restart {
            Restart::Never => Err(Reason::RestartForbidden),
            Restart::Window => self.schedule.in_window(now_ms).map(drop).map_err(Reason::NotYet),
            Restart::Now => Ok(()),
        }
    }

    /// What [`Policy::permit`] would decide about a patch that was approved under its ordinary rule, for
    /// questions like "why does this host not have this patch?": it needs no proof and gives no leave.
    ///
    /// # Errors
    /// [`Reason`] names the first check that said no.
    pub fn check(&self, manifest: &PatchManifest, host: &Host, now_ms: u64) -> Result<(), Reason> {
        self.decide(manifest, false, host, now_ms).map(drop)
    }

    /// Every check of [`Policy::permit`] by itself, also those behind one that says no: for questions, and
    /// without giving leave. Without the `count` of its approvals a patch is no emergency.
    #[must_use]
    pub fn checks(
        &self,
        manifest: &PatchManifest,
        count: Option<&Count>,
        host: &Host,
        now_ms: u64,
    ) -> Vec<(Check, Result<Option<Leave>, Reason>)> {
        let one = |check| (check, self.check_one(check, manifest, host, now_ms).map(|()| None));
        let hour = self.check_schedule(manifest, count.is_some_and(is_emergency), host, now_ms);
        Check::BEFORE_THE_HOUR.into_iter().map(one).chain([(Check::Schedule, hour.map(Some))]).collect()
    }

    fn decide(&self, manifest: &PatchManifest, emergency: bool, host: &Host, now_ms: u64) -> Result<Leave, Reason> {
        for check in Check::BEFORE_THE_HOUR {
            self.check_one(check, manifest, host, now_ms)?;
        }
        self.check_schedule(manifest, emergency, host, now_ms)
    }

    fn check_one(&self, check: Check, manifest: &PatchManifest, host: &Host, now_ms: u64) -> Result<(), Reason> {
        let installed = host.installed(&manifest.product, &manifest.channel);
        match check {
            Check::Subscription => self.check_subscription(manifest),
            Check::Pause => self.check_pause(now_ms),
            Check::Target => check_targets(&manifest.targets, host, installed),
            Check::Release => check_release(manifest.release, installed),
            Check::Relations => check_relations(manifest, host),
            Check::Installer => check_installer(manifest, host),
            Check::Restart => self.check_restart(manifest),
            Check::Commands => self.check_commands(manifest),
            Check::Schedule => self.check_schedule(manifest, false, host, now_ms).map(drop),
        }
    }

    fn check_restart(&self, manifest: &PatchManifest) -> Result<(), Reason> {
        match manifest.reboot == Reboot::Required && self.restart == Restart::Never {
            true => Err(Reason::RestartForbidden),
            false => Ok(()),
        }
    }

    fn check_commands(&self, manifest: &PatchManifest) -> Result<(), Reason> {
        let commands = manifest.health.iter().filter(|check| matches!(check.probe, Probe::Command { .. })).count();
        match manifest.installer == InstallerKind::Container || self.commands == Commands::Run || commands == 0 {
            true => Ok(()),
            false => Err(Reason::CommandsRefused { commands }),
        }
    }

    fn check_schedule(
        &self,
        manifest: &PatchManifest,
        emergency: bool,
        host: &Host,
        now_ms: u64,
    ) -> Result<Leave, Reason> {
        let due = Due {
            severity: manifest.severity,
            emergency,
            since_ms: host.due_since_ms.get(&manifest.id()).copied().unwrap_or(now_ms),
            awake_since_ms: host.awake_since_ms,
        };
        let leave = self.schedule.decide(&due, now_ms).map_err(Reason::NotYet)?;
        self.check_restart_in_time(manifest, now_ms)?;
        Ok(leave)
    }

    /// However urgent it is: what the host has to restart for is not begun where the next window comes after it would
    /// have been taken back.
    fn check_restart_in_time(&self, manifest: &PatchManifest, now_ms: u64) -> Result<(), Reason> {
        let needed = manifest.reboot == Reboot::Required && self.restart == Restart::Window;
        let (true, Some(within_ms)) = (needed, self.restart_within_ms) else { return Ok(()) };
        match self.schedule.in_window(now_ms) {
            Err(wait) if wait.until_ms.is_none_or(|until_ms| until_ms >= now_ms.saturating_add(within_ms)) => {
                Err(Reason::NotYet(wait.because(Because::NoRestart)))
            }
            _ => Ok(()),
        }
    }

    fn check_subscription(&self, manifest: &PatchManifest) -> Result<(), Reason> {
        let (product, channel) = (manifest.product.clone(), manifest.channel.clone());
        match self.subscriptions.contains(&Subscription { product: product.clone(), channel: channel.clone() }) {
            true => Ok(()),
            false => Err(Reason::NotSubscribed { product, channel }),
        }
    }

    fn check_pause(&self, now_ms: u64) -> Result<(), Reason> {
        match &self.pause {
            Some(pause) if pause.until_ms.is_none_or(|until_ms| now_ms < until_ms) => {
                Err(Reason::Paused(pause.clone()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the ordinary rule alone would not have approved it.
fn is_emergency(count: &Count) -> bool {
    count.approvals < usize::from(count.needed.approvals)
        || count.approved_by.len() < usize::from(count.needed.organisations)
}

/// Any one selector is enough; no selector means every host.
fn check_targets(targets: &[Target], host: &Host, installed: Option<&Installed>) -> Result<(), Reason> {
    let mut mismatches = Vec::new();
    for target in targets {
        match mismatch(target, host, installed) {
            None => return Ok(()),
            Some(mismatch) => mismatches.push(mismatch),
        }
    }
    if mismatches.is_empty() { Ok(()) } else { Err(Reason::NotApplicable(mismatches)) }
}

/// The first part of a selector that does not match; an empty part matches everything.
fn mismatch(target: &Target, host: &Host, installed: Option<&Installed>) -> Option<Mismatch> {
    let any_of = |part: &'static str, wanted: &[Name], actual: &[&Name]| {
        let matches = wanted.is_empty() || actual.iter().any(|name| wanted.contains(name));
        (!matches).then(|| Mismatch { part, wanted: list(wanted.iter()), actual: list(actual.iter()) })
    };
    let label = || {
        let missing = target.labels.iter().find(|label| !host.labels.contains(label))?;
        let actual = host.labels.iter().filter(|label| label.key == missing.key);
        Some(Mismatch {
            part: "label",
            wanted: format!("{}={}", missing.key, missing.value),
            actual: list(actual.map(|label| format!("{}={}", label.key, label.value))),
        })
    };
    let from_version = || {
        let actual = installed.map(|installed| &installed.version);
        let matches =
            target.from_versions.is_empty() || actual.is_some_and(|version| target.from_versions.contains(version));
        let wanted = list(target.from_versions.iter());
        (!matches).then(|| Mismatch { part: "from-version", wanted, actual: list(actual.iter()) })
    };
    any_of("os", &target.os, &[&host.os])
        .or_else(|| any_of("architecture", &target.architectures, &[&host.architecture]))
        .or_else(|| any_of("hardware", &target.hardware, &host.hardware.iter().collect::<Vec<_>>()))
        .or_else(label)
        .or_else(from_version)
}

fn list<T: ToString>(values: impl Iterator<Item = T>) -> String {
    let values: Vec<_> = values.map(|value| value.to_string()).collect();
    if values.is_empty() { "none".to_owned() } else { values.join(" or ") }
}

/// Release counters only grow; going back is a rollback, which has rules of its own.
fn check_release(release: u64, installed: Option<&Installed>) -> Result<(), Reason> {
    match installed {
        Some(installed) if release <= installed.release => {
            Err(Reason::Downgrade { release, installed: installed.clone() })
        }
        _ => Ok(()),
    }
}

fn check_relations(manifest: &PatchManifest, host: &Host) -> Result<(), Reason> {
    let within = |relation: &Relation, installed: &Installed| {
        (relation.release_min..=relation.release_max).contains(&installed.release)
    };
    for relation in manifest.depends.iter() {
        if !host.releases(&relation.product).any(|installed| within(relation, installed)) {
            let found = host.releases(&relation.product).cloned().collect();
            return Err(Reason::DependencyMissing { relation: relation.clone(), found });
        }
    }
    for relation in manifest.conflicts.iter() {
        if host.releases(&relation.product).any(|installed| within(relation, installed)) {
            let found = host.releases(&relation.product).cloned().collect();
            return Err(Reason::Conflict { relation: relation.clone(), found });
        }
    }
    Ok(())
}

fn check_installer(manifest: &PatchManifest, host: &Host) -> Result<(), Reason> {
    let kind = manifest.installer;
    match host.installers.get(&kind) {
        Some(Offered::Yes) => {}
        Some(Offered::No(lacks)) => return Err(Reason::InstallerMissing { kind, lacks: Some(lacks.clone()) }),
        None => return Err(Reason::InstallerMissing { kind, lacks: None }),
    }
    // What a delta makes stands before it; one that nothing stands before makes nothing.
    match manifest.artifacts.iter().next().filter(|artifact| artifact.delta_from.is_some()) {
        Some(artifact) => Err(Reason::EncodingUnknown { artifact: artifact.name.clone() }),
        None => Ok(()),
    }
}
