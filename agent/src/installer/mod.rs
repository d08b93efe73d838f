//! Putting versions in place: exactly old or exactly new, whatever happens in between.
//!
//! What a kind of patch does is a handful of steps ([`install`]); that they end in the old version or
//! the new one is decided here, the same for all kinds. Every step stands in the journal before it is
//! taken ([`journal`]); what was interrupted is finished or taken back when the agent starts again
//! ([`recover`]). Which version of a product is the installed one is what its link `current` says
//! ([`installs`]).

pub mod archive;
pub mod by_hand;
pub mod container;
pub mod deadline;
pub mod debian;
pub mod digest;
mod directory_tree;
mod ending;
mod file_set;
mod footprint;
mod handing_over;
pub mod images;
pub mod install;
pub mod installs;
pub mod journal;
pub mod kinds;
pub mod last_kept;
mod others;
mod own_program;
mod packages;
mod record;
pub mod recover;
pub mod restarting;
pub mod restarts;
mod resume;
mod room;
pub mod rpm;
mod running;
mod script;
mod stages;
pub(crate) mod tool;
mod tree;
pub mod under_way;
pub mod unpack;

pub(crate) use container::has_directory;
pub use packages::{Brings, Capabilities, Contents};
pub use stages::{Applied, Ready, Staged};
pub use tree::{AdoptError, adopt};

use crate::attempt_log::AttemptLog;
use crate::cache::Cache;
use crate::config::{self, Config};
use crate::data::{DataDir, DataLock};
use crate::download::{self, DownloadError, Origins, Room, Verified};
use crate::files::{FileError, failed};
use crate::own_program::Running;
use crate::probes::{At, Prober};
use crate::services::Services;
use crate::settled::{Refusal, chain, reason};
use deadline::Deadline;
use install::{Held, Install, Job, PutError, Story};
use installs::{Place, VersionId, VersionMeta};
use journal::{Begun, Journal, JournalError, Observer, Record};
use kinds::Kinds;
use ledger::patch::{Artifact, InstallerKind, PatchManifest, Reboot};
use ledger::receipt::{Reason, ReasonCode};
use own_program::OwnProgram;
use policy::{Permit, Restart, Subscription};
use restarts::Restarts;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Puts versions in place, and keeps their services running.
pub struct Installer {
    data: DataDir,
    /// What others of the site may have from here.
    cache: Option<Arc<Cache>>,
    prepare_deadline: Duration,
    put_deadline: Duration,
    kinds: Arc<Kinds>,
    own: Arc<OwnProgram>,
    restarts: Restarts,
    journal: Journal,
    /// Neither old nor new: the journal stays open until it is one of them.
    unfinished: bool,
    /// A holding that nobody needs any more when the update is over, because somebody else has decided.
    overtaken: Option<(Place, VersionId)>,
    services: Arc<Services>,
    prober: Prober,
    /// The lock of the data directory, held by every step as long as it works.
    lock: Option<Arc<DataLock>>,
}

impl Installer {
    /// Opens the journal; what is open in it wants [`Installer::recover`] first.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(
        data: &DataDir,
        config: &Config,
        services: Arc<Services>,
        prober: Prober,
        observer: Observer,
    ) -> Result<Self, JournalError> {
        let journal = Journal::open(&data.journal(), observer)?;
        let config::Installers { prepare_deadline, put_deadline, .. } = config.installers;
        let program = services.launcher().program();
        let own = own_program_of(data, config, program);
        Ok(Self {
            data: data.clone(),
            cache: None,
            prepare_deadline,
            put_deadline,
            kinds: Arc::new(Kinds::of(&config.installers, program).with_own(own.clone())),
            own,
            restarts: Restarts::new(&config.reboot, config.policy.restart != Restart::Never),
            journal,
            unfinished: false,
            overtaken: None,
            services,
            prober,
            lock: None,
        })
    }

    /// Every step holds this lock for as long as it works: one that outlasts an agent which was asked to end, between two
    /// files, would else find that somebody has brought its update to an end meanwhile.
    pub fn work_under(&mut self, lock: Arc<DataLock>) {
        self.lock = Some(lock);
    }

    /// Kinds of patches, and which of them it can install.
    #[must_use]
    pub fn kinds(&self) -> &Arc<Kinds> {
        &self.kinds
    }

    /// The services it keeps running.
    #[must_use]
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Fetches and verifies what a permit is for.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed but the private staging area.
    pub async fn stage(
        &self,
        permit: Permit,
        origins: &Origins,
        first: usize,
        log: &mut AttemptLog,
    ) -> Result<Staged, Refusal> {
        let manifest = permit.patch().manifest();
        self.check_nothing_is_open()?;
        let kind = self.kinds.offered_one(manifest)?;
        kind.plan(manifest)?;
        self.check_same_kind(&permit)?;
        self.check_sole(&permit)?;
        self.check_restart(kind.reboot(manifest))?;
        Room::reckon(&self.data, &manifest.artifacts)?.check()?;
        download::prune(&self.data, &manifest.artifacts)?;
        let mut held = Vec::new();
        for (artifact, deltas) in manifest.payloads() {
            let bytes = self.obtain(artifact, &deltas, origins, first, log).await;
            let bytes = bytes.map_err(|error| Refusal::new(error.code(), chain(&error)))?;
            held.push(Held { artifact: artifact.clone(), bytes });
        }
        Ok(Staged { permit, kind, held })
    }

    /// One payload, made out of a delta where that is less, else fetched.
    async fn obtain(
        &self,
        artifact: &Artifact,
        deltas: &[&Artifact],
        origins: &Origins,
        first: usize,
        log: &mut AttemptLog,
    ) -> Result<Verified, DownloadError> {
        let directory = self.data.downloads();
        log.line(&format!("fetching {} ({} bytes, BLAKE3 {})", artifact.name, artifact.size, artifact.blake3));
        if let Some(from) = download::delta::make(artifact, deltas, origins, first, &directory).await {
            log.line("made out of a delta");
            from.iter().for_each(|share| log.line(&format!("of the delta, {share}")));
        }
        let bytes = download::download(artifact, origins, first, &directory).await?;
        bytes.from.iter().for_each(|share| log.line(&share.to_string()));
        log.line("artifact is whole: length, BLAKE3 and SHA-256 are what the vendor signed");
        self.keep_for_others(artifact, directory.join(download::file_name(&artifact.blake3))).await;
        Ok(bytes)
    }

    /// What others get of it is their affair: that it cannot be kept is no obstacle here.
    async fn keep_for_others(&self, artifact: &Artifact, path: PathBuf) {
        let Some(cache) = self.cache.clone() else { return };
        let blake3 = artifact.blake3;
        match tokio::task::spawn_blocking(move || cache.keep(blake3, &path)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "an artifact is not kept for others"),
            Err(error) => tracing::warn!(%error, "an artifact is not kept for others"),
        }
    }

    /// From now on, what is fetched is kept for others of the site.
    pub(crate) fn keep_in(&mut self, cache: Arc<Cache>) {
        self.cache = Some(cache);
    }

    /// One after the other.
    fn check_nothing_is_open(&self) -> Result<(), Refusal> {
        let why = match (self.to_be_judged(), self.unfinished) {
            _ if !self.journal.is_open() => return Ok(()),
            (Some(_), _) => "is judged when the host has restarted",
            (None, true) => "could not be taken back yet",
            (None, false) => "is not at its end yet",
        };
        let detail = format!("an earlier update {why}; nothing else is begun before that");
        Err(Refusal::new(ReasonCode::InstallFailed, detail))
    }

    /// What only runs when the host has restarted is not begun where it never may; nor what could not be told from
    /// what runs already.
    fn check_restart(&self, reboot: Reboot) -> Result<(), Refusal> {
        if reboot == Reboot::Required && !self.restarts.may() {
            return Err(policy::Reason::RestartForbidden.into());
        }
        Ok(self.restarts.check(reboot)?)
    }

    /// Packages would stay behind a tree that takes their place, and nobody would ever patch them.
    fn check_same_kind(&self, permit: &Permit) -> Result<(), Refusal> {
        let manifest = permit.patch().manifest();
        let of = Subscription { product: manifest.product.clone(), channel: manifest.channel.clone() };
        match installs::installed(&self.data.installs(), &of)? {
            Some(installed) if installed.meta.kind != manifest.installer => {
                let (old, new) = (policy::kind_words(installed.meta.kind), policy::kind_words(manifest.installer));
                let detail = format!("{} is installed as {old}, the patch brings {new}", manifest.product);
                Err(Refusal::new(ReasonCode::InstallerMissing, detail))
            }
            _ => Ok(()),
        }
    }

    /// Of a kind of which a host has one, one product is installed: another one's update would write over what the
    /// first goes back to.
    fn check_sole(&self, permit: &Permit) -> Result<(), Refusal> {
        let manifest = permit.patch().manifest();
        if manifest.installer != InstallerKind::ImageSlot {
            return Ok(());
        }
        let own = Subscription { product: manifest.product.clone(), channel: manifest.channel.clone() };
        let there = installs::all_trees(&self.data.installs())?;
        match there.iter().find(|(of, tree)| tree.meta.kind == manifest.installer && **of != own) {
            None => Ok(()),
            Some((of, _)) => {
                let detail = format!("the image slots of this host are those of {} {}", of.product, of.channel);
                Err(Refusal::new(ReasonCode::InstallerMissing, detail))
            }
        }
    }

    /// Makes what is ready the installed version, and restarts its services, unless the host has to
    /// restart as a whole. Journal first. When all is prepared, and right before the host is changed,
    /// `still` is asked whether that may be done: preparing may outlast a window.
    ///
    /// # Errors
    /// [`Refusal`] when the host was not changed.
    pub async fn apply(
        &mut self,
        run: u64,
        ready: Ready,
        still: impl Fn() -> Result<(), Refusal>,
        log: &mut AttemptLog,
    ) -> Result<Applied, Refusal> {
        let Ready(Staged { permit, kind, held }) = ready;
        let mut job = self.describe(run, &permit, kind.hands_over())?;
        let manifest = permit.patch().manifest().clone();
        self.journal.begin(job.begun.clone())?;
        let prepared = self.prepare(&kind, &job, &manifest, held, log).await;
        if let Err(refusal) = prepared.and_then(|()| still()) {
            self.discard_if_possible(&kind, &job, log).await;
            return Err(refusal);
        }
        let wish = self.restarts.wish();
        job.deadline = Deadline::begin("putting the new version in place", self.put_deadline);
        if let Err(error) = self.journal.append(Record::Switching) {
            self.discard_if_possible(&kind, &job, log).await;
            return Err(error.into());
        }
        let mut trouble = match self.put(&kind, &job, log).await {
            Ok(()) => None,
            Err(PutError::Midway(reason)) if !self.is_untouched(&kind, &job, log).await => Some(reason),
            Err(PutError::NotBegun(reason) | PutError::Midway(reason)) => {
                self.discard_if_possible(&kind, &job, log).await;
                return Err(Refusal::new(reason.code, reason.detail));
            }
        };
        if trouble.is_none() {
            let Begun { from_version, to_version, .. } = &job.begun;
            let from = if from_version.as_str().is_empty() { "nothing" } else { from_version.as_str() };
            log.line(&format!("switched from {from} to {}", to_version.as_str()));
            trouble = self.journal.append(Record::Switched).err().map(|error| Refusal::from(error).reason);
        }
        let needs_restart = kind.hands_over() || self.restarts.is_needed(kind.reboot(&manifest), wish);
        let mut applied = Applied { manifest, kind, job, trouble, needs_restart };
        // Until the host, or the agent, has restarted, what runs goes on as it was.
        if !applied.needs_restart && applied.trouble.is_none() {
            self.restart_affected(&mut applied, log).await;
        }
        Ok(applied)
    }

    /// Restarts what has to run the version that is in place now.
    async fn restart_affected(&self, applied: &mut Applied, log: &mut AttemptLog) {
        let affected = self.affected(&applied.job.begun, applied.manifest());
        self.say_who_is_unknown(applied.manifest(), log);
        applied.trouble = self.restart(&affected, log).await.err();
    }

    /// Makes the holding: all that the steps from here on need. The host is untouched.
    async fn prepare(
        &mut self,
        kind: &Arc<dyn Install>,
        job: &Job,
        manifest: &PatchManifest,
        held: Vec<Held>,
        log: &mut AttemptLog,
    ) -> Result<(), Refusal> {
        let (version, release, patch) = (manifest.version.clone(), manifest.release, Some(job.begun.patch));
        let prepared = self.step(kind, job, log, move |kind, job, story| {
            let partial = tree::fresh(&job.place, &job.begun.to)?;
            kind.prepare(job, held, &partial, story)?;
            job.deadline.check()?;
            let (runs_from, kind) = (kind.runs_from(), kind.kind());
            let meta = |tree| VersionMeta { version, release, patch, tree, kind, runs_from };
            tree::name(&job.place, &job.begun.to, meta)
        });
        let tree = prepared.await.unwrap_or_else(|died| Err(Refusal::new(ReasonCode::Io, died)))?;
        Ok(self.journal.append(Record::Prepared { tree })?)
    }

    /// The step that counts, behind its record.
    async fn put(&self, kind: &Arc<dyn Install>, job: &Job, log: &mut AttemptLog) -> Result<(), PutError> {
        let put = self.step(kind, job, log, |kind, job, story| {
            job.deadline.check().map_err(|late| PutError::NotBegun(Refusal::from(late).reason))?;
            kind.put(job, story)?;
            kind.prove_new(job).map_err(PutError::Midway)
        });
        put.await.unwrap_or_else(|died| Err(PutError::Midway(reason(ReasonCode::Io, died))))?;
        match job.place.switch(Some(&job.begun.to)) {
            // The rename is what counts; it may have been only the directory that could not be synced.
            Err(_) if job.place.current().ok().flatten().as_ref() == Some(&job.begun.to) => Ok(()),
            result => result.map_err(|error| PutError::Midway(Refusal::from(error).reason)),
        }
    }

    /// Whether a step that failed left the host as it was.
    async fn is_untouched(&self, kind: &Arc<dyn Install>, job: &Job, log: &mut AttemptLog) -> bool {
        let look = self.step(kind, job, log, |kind, job, _| kind.look(job)).await;
        let is_old = look.is_ok_and(|look| look.is_ok_and(|look| look.old));
        is_old && job.place.current().is_ok_and(|current| current == job.begun.from)
    }

    /// What asks whether something installed works.
    #[must_use]
    pub fn prober(&self) -> &Prober {
        &self.prober
    }

    /// Asks whether what was applied works: its services, its probes, its services again.
    ///
    /// # Errors
    /// [`Reason`] is the first thing that does not.
    pub async fn examine(&self, applied: &Applied, log: &mut AttemptLog) -> Result<(), Reason> {
        if let Some(trouble) = &applied.trouble {
            return Err(trouble.clone());
        }
        let (tree, contained) = (applied.tree(), applied.kind.runs_in_containers());
        let at = if contained { At::Container(&tree) } else { At::Host(&tree) };
        let examined = self.prober.examine(&applied.manifest().health, at, log).await;
        // A probe that failed because a service died says less than the service's end does.
        for service in self.affected(&applied.job.begun, applied.manifest()) {
            self.services.check(&service).await.map_err(|error| reason(ReasonCode::ServiceFailed, error))?;
        }
        examined.map_err(|failure| reason(ReasonCode::HealthFailed, failure))
    }

    fn describe(&self, run: u64, permit: &Permit, own_program: bool) -> Result<Job, FileError> {
        let (manifest, patch) = (permit.patch().manifest(), permit.patch().id());
        let of = Subscription { product: manifest.product.clone(), channel: manifest.channel.clone() };
        let installs = self.data.installs();
        let from = installs::installed(&installs, &of)?;
        let mut begun = Begun {
            run,
            patch,
            product: of.product.clone(),
            channel: of.channel.clone(),
            from_version: from.as_ref().map(|from| from.meta.version.clone()).unwrap_or_default(),
            from: from.map(|from| from.id),
            to: VersionId::of_patch(patch),
            to_version: manifest.version.clone(),
            kind: manifest.installer,
            by_hand: false,
            after_restart: false,
            own_program,
            unasked: false,
        };
        // Whether a program of the agent's own comes up is a question of its own.
        let asked = own_program || !manifest.health.is_empty() || self.prober.has_checks_of_the_house();
        begun.unasked = !asked && self.affected(&begun, manifest).is_empty();
        let deadline = Deadline::begin("preparing the new version", self.prepare_deadline);
        Ok(Job { begun, place: Place::new(&installs, &of), deadline })
    }

    /// Takes a step beside the agent's own thread, and writes what it did into the log.
    async fn step<T: Send + 'static>(
        &self,
        kind: &Arc<dyn Install>,
        job: &Job,
        log: &mut AttemptLog,
        act: impl FnOnce(&dyn Install, &Job, &mut Story) -> T + Send + 'static,
    ) -> Result<T, StepDied> {
        let (kind, job, lock) = (kind.clone(), job.clone(), self.lock.clone());
        let stepping = tokio::task::spawn_blocking(move || {
            let _lock = lock;
            let mut story = Story::default();
            let done = act(&*kind, &job, &mut story);
            (done, story)
        });
        let (done, story) = stepping.await.map_err(|error| StepDied(error.to_string()))?;
        story.into_lines().iter().for_each(|line| log.line(line));
        Ok(done)
    }
}

fn own_program_of(data: &DataDir, config: &Config, program: &Path) -> Arc<OwnProgram> {
    Arc::new(OwnProgram::new(data, Arc::new(Running::new(program)), config.own_program.clone()))
}

/// The kinds of an agent with this configuration, for whoever only asks what it could install.
#[must_use]
pub fn kinds_of(config: &Config, program: &Path) -> Kinds {
    let data = DataDir::at(config.data_dir.clone());
    Kinds::of(&config.installers, program).with_own(own_program_of(&data, config, program))
}

/// A step that came to no end of its own.
#[derive(Debug, thiserror::Error)]
#[error("a step of the installer broke off: {0}")]
struct StepDied(String);

impl StepDied {
    fn into_file_error(self) -> FileError {
        failed("finish a step of", Path::new("the installer"))(io::Error::other(self))
    }
}
