//! What an agent shows of itself.

mod installed;

pub(crate) use installed::installed;
use installed::installed_and_judged;
pub use installed::{InstalledStatus, RecalledStatus};

use crate::cache::{Cache, CacheView};
use crate::clock::now_ms;
use crate::config::Config;
use crate::data::DataDir;
use crate::download::{Delivery, Origins, SourceView};
use crate::enrolment::Enrolment;
use crate::files::FileError;
use crate::follow::heads::{Freshness, Heads, NodeView};
use crate::health::{HealthView, Vitals};
use crate::installer::kinds::{KindStatus, Kinds};
use crate::installer::restarts;
use crate::own_program::record::Record;
use crate::own_program::{ProgramView, Running};
use crate::receipts::Receipts;
use crate::restart::RestartView;
use crate::services::{Phase, ServiceView, Services};
use crate::settled::chain;
use crate::site::own_program;
use crate::worker::{OpenView, WorkerView};
use ledger::bounded::Name;
use ledger::id::{ChainId, Digest};
use ledger::key::PublicKey;
use ledger::limits;
use policy::Policy;
use policy::schedule::Zone;
use rustix::fs::StatVfsMountFlags;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use terminal::escape;
use tokio::sync::watch;

/// Free on the agent's disk: with less, what it does may not be written down.
const NOTES_BYTES_MIN: u64 = 4 << 20;

/// What to do where the configuration was changed since the agent began.
pub const CHANGED_SINCE: &str =
    "the configuration was changed since the agent began, which goes by the one before: restart it";

/// An agent's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Whether the agent runs; without it, only what is on the disk is known.
    pub running: bool,
    /// What people call the host.
    pub name: Name,
    /// The endpoint's key.
    pub endpoint: PublicKey,
    /// What is known of the ledger.
    pub ledger: Option<LedgerStatus>,
    /// Kinds of patches, and which of them this host can install.
    pub installers: Vec<KindStatus>,
    /// What is installed.
    pub installed: Vec<InstalledStatus>,
    /// Of an agent that does not run: the update it began and did not bring to its end. A running one says so in `work`.
    #[serde(default)]
    pub interrupted: Option<String>,
    /// Services.
    pub services: Vec<ServiceView>,
    /// How what is installed does, as a running agent saw it last.
    #[serde(default)]
    pub health: Vec<HealthView>,
    /// Receipts that are not final yet.
    pub receipts_waiting: usize,
    /// Why they were not taken when they were sent last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts_trouble: Option<String>,
    /// What the nodes say of the endpoint's key, if they were asked.
    #[serde(default)]
    pub enrolment: Option<Enrolment>,
    /// Why nothing is applied now, if somebody said so.
    pub paused: Option<String>,
    /// When something may be changed next, where there are windows or blackouts.
    #[serde(default)]
    pub schedule: Option<ScheduleStatus>,
    /// The file by which the host asks to be restarted, whoever left it there.
    #[serde(default)]
    pub restart_required: Option<PathBuf>,
    /// What the agent does, and did.
    pub work: Option<WorkerView>,
    /// Where artifacts come from, and what each source has been since the agent began.
    #[serde(default)]
    pub sources: Vec<SourceView>,
    /// Who gave the last artifacts.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
    /// What is given to other hosts of the site.
    #[serde(default)]
    pub cache: Option<CacheView>,
    /// The agent's own program: the one that runs, or the one that would.
    #[serde(default)]
    pub program: Option<ProgramView>,
    /// What of this could not be found out, and why; and that the disk is full.
    #[serde(default)]
    pub trouble: Vec<String>,
    /// BLAKE3 of the configuration that a running agent goes by, as `--print-config` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Digest>,
}

/// When something may be changed next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleStatus {
    /// The blackout that is in force.
    pub blackout: Option<String>,
    /// The window that is open, or the next one.
    pub window: Option<String>,
    /// Whether it is open.
    pub open: bool,
    /// From when on; while it is open, now.
    pub from_ms: Option<u64>,
    /// Until when.
    pub until_ms: Option<u64>,
    /// The same for people, in the schedule's zone and in UTC.
    pub shown: String,
}

/// What is known of the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// Which.
    pub chain_id: ChainId,
    /// Whether what is known is recent enough to act on.
    pub freshness: Freshness,
    /// The highest header believed.
    pub height: u64,
    /// Its time.
    pub time_ms: u64,
    /// How far this host's clock is behind the newest header.
    #[serde(default)]
    pub clock_behind_ms: u64,
    /// The file that shows that the ledger was split.
    pub split: Option<PathBuf>,
    /// What each node says.
    pub nodes: Vec<NodeView>,
}

/// Everything a running agent's status is made from.
#[derive(Clone)]
pub struct Shown {
    /// Its configuration.
    pub config: Config,
    /// Its key.
    pub endpoint: PublicKey,
    /// What it knows.
    pub heads: Arc<Heads>,
    /// Its services.
    pub services: Arc<Services>,
    /// How what is installed does.
    pub vitals: Vitals,
    /// Its receipts.
    pub receipts: Receipts,
    /// What it does.
    pub work: watch::Receiver<WorkerView>,
    /// Where its artifacts come from.
    pub origins: Origins,
    /// What others have from it.
    pub cache: Option<Arc<Cache>>,
    /// What it can install.
    pub kinds: Arc<Kinds>,
    /// The program that runs.
    pub running: Arc<Running>,
    /// Why that cannot be updated, where the house wants it to be.
    pub cannot_update: Option<String>,
}

impl Shown {
    /// The state now. What cannot be found out is said, and is no obstacle to the rest.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut trouble: Vec<_> = room(&self.config).into_iter().collect();
        let seen = self.heads.newest();
        let split = self.heads.split();
        let paused = match &split {
            Some(evidence) => Some(format!("the ledger was split, see {}", evidence.display())),
            None => paused(&self.config.policy),
        };
        let (sources, deliveries) = self.origins.view();
        Status {
            running: true,
            name: self.config.name.clone(),
            endpoint: self.endpoint,
            ledger: Some(LedgerStatus {
                chain_id: seen.chain_id,
                freshness: self.heads.freshness(now_ms()),
                height: seen.height,
                time_ms: seen.time_ms,
                clock_behind_ms: self.heads.ledger_time_ms().saturating_sub(now_ms()),
                split,
                nodes: self.heads.nodes(),
            }),
            installers: self.kinds.statuses(),
            installed: installed_and_judged(&self.config, &mut trouble).0,
            interrupted: None,
            services: self.services.views(),
            health: self.vitals.all(),
            receipts_waiting: known(self.receipts.waiting(), &mut trouble),
            receipts_trouble: self.receipts.trouble(),
            enrolment: self.receipts.enrolment(),
            paused,
            schedule: schedule(&self.config.policy, self.heads.believed_ms(now_ms())),
            restart_required: restart_required(&self.config),
            work: Some(self.work.borrow().clone()),
            sources,
            deliveries,
            cache: self.cache.as_ref().map(|cache| cache.view()),
            program: Some(self.running.view(programs(&self.config, &mut trouble).as_ref(), self.cannot_update.clone())),
            trouble,
            configuration: Some(digest_of(&self.config)),
        }
    }
}

impl Status {
    /// What the disk says of an agent that does not run.
    #[must_use]
    pub fn of_the_disk(config: &Config, endpoint: PublicKey) -> Self {
        let mut trouble: Vec<_> = room(config).into_iter().collect();
        let (installed, under_way) = installed_and_judged(config, &mut trouble);
        let receipts = Receipts::waiting_in(&DataDir::at(config.data_dir.clone()).receipts());
        Self {
            running: false,
            name: config.name.clone(),
            endpoint,
            ledger: None,
            installers: Kinds::of(&config.installers, own_program()).statuses(),
            installed,
            interrupted: under_way.map(|under_way| under_way.said),
            services: Vec::new(),
            health: Vec::new(),
            receipts_waiting: known(receipts, &mut trouble),
            receipts_trouble: None,
            enrolment: None,
            paused: paused(&config.policy),
            schedule: schedule(&config.policy, now_ms()),
            restart_required: restart_required(config),
            work: None,
            sources: Vec::new(),
            deliveries: Vec::new(),
            cache: None,
            program: programs(config, &mut trouble).and_then(|record| ProgramView::of_the_disk(&record)),
            trouble,
            configuration: None,
        }
    }

    /// Whether the agent goes by another configuration than this one: it was changed since the agent began.
    #[must_use]
    pub fn goes_by_another(&self, config: &Config) -> bool {
        self.configuration.is_some_and(|configuration| configuration != digest_of(config))
    }
}

fn digest_of(config: &Config) -> Digest {
    Digest::blake3(config.toml().as_bytes())
}

/// That there is no room for what the agent has to write down of all it does: it begins nothing then, and some of what it
/// knows is not kept.
fn room(config: &Config) -> Option<String> {
    let there = config.data_dir.ancestors().find(|path| path.is_dir())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    let (free, shown) = (disk.f_bavail.saturating_mul(disk.f_frsize), there.display());
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Some(format!("the disk of {shown} cannot be written: it is mounted read-only"));
    }
    // Of a disk that counts no files there are none free and none at all.
    if disk.f_files > 0 && disk.f_favail == 0 {
        return Some(format!("the disk of {shown} has no room for another file"));
    }
    (free < NOTES_BYTES_MIN).then(|| format!("the disk of {shown} is full: {} KiB are free", free >> 10))
}

/// The record of the agent's own programs, where there is one.
fn programs(config: &Config, trouble: &mut Vec<String>) -> Option<Record> {
    known(Record::read(&DataDir::at(config.data_dir.clone()).programs()), trouble)
}

/// What was found out; else nothing, and why.
fn known<T: Default>(found: Result<T, FileError>, trouble: &mut Vec<String>) -> T {
    found.unwrap_or_else(|error| {
        trouble.push(chain(&error));
        T::default()
    })
}

fn restart_required(config: &Config) -> Option<PathBuf> {
    Some(restarts::required(&config.reboot)).filter(|file| file.exists())
}

fn paused(policy: &Policy) -> Option<String> {
    policy.pause.as_ref().map(ToString::to_string)
}

/// What the schedule says of now; nothing where it has nothing to say.
fn schedule(policy: &Policy, now_ms: u64) -> Option<ScheduleStatus> {
    let schedule = &policy.schedule;
    if schedule.windows.is_empty() && schedule.blackouts.is_empty() {
        return None;
    }
    let blackout = schedule.blackout(now_ms);
    let opening = schedule.next_opening(now_ms);
    let open = blackout.is_none() && opening.as_ref().is_some_and(|opening| opening.from_ms <= now_ms);
    let show = |at_ms| schedule.zone.show(at_ms);
    let shown = match &opening {
        Some(opening) if open => format!("{} is open until {}", opening.window, show(opening.until_ms)),
        Some(opening) => format!("{} opens at {}", opening.window, show(opening.from_ms)),
        None if schedule.windows.is_empty() => "none is needed".to_owned(),
        None => "none is in sight".to_owned(),
    };
    Some(ScheduleStatus {
        blackout: blackout.map(|(blackout, end_ms)| format!("{blackout}, until {}", show(end_ms))),
        window: opening.as_ref().map(|opening| opening.window.clone()),
        open,
        from_ms: opening.as_ref().map(|opening| opening.from_ms),
        until_ms: opening.as_ref().map(|opening| opening.until_ms),
        shown,
    })
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, endpoint, running, .. } = self;
        writeln!(f, "host       {name} ({})", if *running { "agent runs" } else { "agent does not run" })?;
        writeln!(f, "endpoint   {endpoint}")?;
        if let Some(program) = &self.program {
            writeln!(f, "program    {program}")?;
            if let Some(lacks) = &program.cannot_update {
                writeln!(f, "SELF-UPDATE is wanted, and cannot be: {lacks}")?;
            }
            if let Some(fallen) = &program.fallen {
                writeln!(f, "fell back  {fallen}")?;
            }
        }
        if let Some(said) = self.enrolment.filter(|said| *said != Enrolment::Enrolled) {
            writeln!(f, "ENROLMENT  {said}; {}", said.hint(*endpoint, name))?;
        }
        if let Some(ledger) = &self.ledger {
            let LedgerStatus { freshness, height, chain_id, .. } = ledger;
            let word = match freshness {
                Freshness::Fresh => "fresh",
                Freshness::Stale => "STALE: nothing is applied",
                Freshness::Unknown => "nothing heard yet",
            };
            let newest = (*height > 0).then(|| Zone::utc().show(ledger.time_ms));
            writeln!(f, "ledger     height {height}{}, {word} (chain {chain_id})", with(" of ", newest.as_deref()))?;
            if ledger.clock_behind_ms > limits::CLOCK_AHEAD_MS_MAX {
                let behind_s = ledger.clock_behind_ms / 1000;
                writeln!(f, "CLOCK      this host's clock is {behind_s} s behind the ledger's: one of them is wrong")?;
            }
            for NodeView { node, reachable, height, trouble } in &ledger.nodes {
                let reachable = if *reachable { "answers" } else { "does not answer" };
                writeln!(f, "node       {node} {reachable}, height {height}{}", with(": ", trouble.as_deref()))?;
            }
        }
        if let Some(paused) = &self.paused {
            writeln!(f, "PAUSED     {paused}")?;
        }
        for installed in &self.installed {
            if let (Some(recall), Some(RecalledStatus { hint, .. })) = (installed.recall(), &installed.recalled) {
                writeln!(f, "RECALLED   {recall}; {hint}")?;
            }
        }
        for trouble in &self.trouble {
            writeln!(f, "TROUBLE    {trouble}")?;
        }
        for HealthView { product, channel, since_ms, trouble } in &self.health {
            if let Some(trouble) = trouble {
                let since = Zone::utc().show(*since_ms);
                writeln!(f, "UNHEALTHY  {product} (channel {channel}) since {since}: {trouble}")?;
            }
        }
        if let Some(file) = &self.restart_required {
            writeln!(f, "RESTART    this host asks to be restarted ({})", file.display())?;
        }
        for kind in self.installers.iter().filter(|kind| kind.is_of_interest()) {
            writeln!(f, "installer  {kind}")?;
        }
        if let Some(ScheduleStatus { blackout, shown, .. }) = &self.schedule {
            writeln!(f, "window     {shown}{}", with("; BLACKOUT ", blackout.as_deref()))?;
        }
        if self.installed.is_empty() && self.trouble.is_empty() {
            writeln!(f, "installed  nothing")?;
        }
        for InstalledStatus { product, channel, version, release, not_over, .. } in &self.installed {
            let judged = if not_over.is_some() { ", NOT JUDGED: its update is not over" } else { "" };
            let version = escape(version.as_str());
            writeln!(f, "installed  {product} {version} (channel {channel}, release {release}){judged}")?;
        }
        if let Some(said) = &self.interrupted {
            writeln!(f, "UNFINISHED {said}; the agent goes on with it when it runs")?;
        }
        for ServiceView { service, phase, pid, deaths, last_end, .. } in &self.services {
            let phase = match phase {
                Phase::Running => "runs",
                Phase::Waiting => "died, is started again",
                Phase::Stopped => "does not run",
            };
            let pid = pid.map(|pid| pid.to_string());
            write!(f, "service    {service} {phase}{}", with(", process ", pid.as_deref()))?;
            let deaths = (*deaths > 0).then(|| deaths.to_string());
            writeln!(f, "{}{}", with(", deaths ", deaths.as_deref()), with(", last: ", last_end.as_deref()))?;
        }
        if let Some(work) = &self.work {
            if let Some(patch) = work.updating {
                writeln!(f, "updating   patch {patch}")?;
            }
            if let Some(RestartView { patch, why, .. }) = &work.restart {
                writeln!(f, "restart    patch {patch}: {why}")?;
            }
            if let Some(OpenView { patch, why, .. }) = &work.open {
                writeln!(f, "UNFINISHED patch {patch}: {why}")?;
            }
            for (patch, waiting) in &work.waiting {
                writeln!(f, "waiting    patch {patch} ({}): {}", waiting.product, waiting.why)?;
            }
            if let Some(last) = &work.last {
                writeln!(f, "last       patch {}: {last}", last.patch)?;
            }
        }
        for SourceView { source, bytes, penalty, trouble } in &self.sources {
            let penalty = (*penalty > 0).then(|| penalty.to_string());
            writeln!(
                f,
                "source     {source} gave {bytes} bytes{}{}",
                with(", penalty ", penalty.as_deref()),
                with(", last trouble: ", trouble.as_deref())
            )?;
        }
        for Delivery { artifact, from } in &self.deliveries {
            let from: Vec<_> = from.iter().map(ToString::to_string).collect();
            writeln!(f, "fetched    {artifact}: {}", from.join(", "))?;
        }
        if let Some(CacheView { listens, artifacts, bytes, bytes_max, given }) = &self.cache {
            let listens = listens.map_or_else(|| "does not listen".to_owned(), |at| format!("on {at}"));
            writeln!(
                f,
                "cache      {listens}: {artifacts} artifacts, {bytes} of {bytes_max} bytes; gave {given} bytes"
            )?;
        }
        let trouble = self.receipts_trouble.as_deref().filter(|_| self.receipts_waiting > 0).map(escape);
        write!(f, "receipts   {} waiting{}", self.receipts_waiting, with(": ", trouble.as_deref()))
    }
}

fn with(before: &str, text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!("{before}{text}"))
}
