//! Putting versions in place: exactly old or exactly new, whatever happens in between.
//!
//! A version is unpacked beside the one that runs, put onto the disk, and becomes the installed one by
//! one atomic rename. Every step stands in the journal before it is taken ([`journal`]); what was
//! interrupted is finished or taken back when the agent starts again ([`recover`]).

pub mod archive;
pub mod digest;
pub mod installs;
pub mod journal;
pub mod recover;
mod tree;
pub mod unpack;

pub use tree::{AdoptError, adopt};

use crate::attempt_log::AttemptLog;
use crate::config::{self, Service};
use crate::data::DataDir;
use crate::download::{self, DownloadError, Verified};
use crate::files::FileError;
use crate::follow::sources::Sources;
use crate::probes::Prober;
use crate::services::Services;
use crate::settled::{Refusal, Settled, chain, reason};
use installs::{InstalledTree, Place, VersionId};
use journal::{Begun, Journal, Observer, Record};
use ledger::bounded::Version;
use ledger::patch::{Artifact, InstallerKind, PatchManifest};
use ledger::proof::FinalizedPatch;
use ledger::receipt::{Reason, ReasonCode};
use policy::{Permit, Subscription};
use recover::{Observed, Plan};
use std::path::PathBuf;
use std::sync::Arc;
use unpack::Limits;

/// A patch whose bytes are on the host and verified; nothing is changed yet. Made only by
/// [`Installer::stage`], from a [`Permit`].
#[derive(Debug)]
pub struct Staged {
    permit: Permit,
    artifact: Artifact,
    bytes: Verified,
}

impl Staged {
    /// Takes a proof that was checked after the bytes had come.
    ///
    /// # Errors
    /// [`Refusal`] when it is about another patch.
    pub fn confirm(self, again: &FinalizedPatch) -> Result<Ready, Refusal> {
        match again.id() == self.permit.patch().id() {
            true => Ok(Ready(self)),
            false => Err(Refusal::new(ReasonCode::ProofMalformed, format!("the proof is about patch {}", again.id()))),
        }
    }
}

/// What is [`Staged`], and was proven again since: a download may take hours, a recall a second.
#[derive(Debug)]
pub struct Ready(Staged);

/// A version that is the installed one, and not judged yet. Made only by [`Installer::apply`], from
/// what is [`Ready`].
#[derive(Debug)]
pub struct Applied {
    permit: Permit,
    begun: Begun,
    place: Place,
    /// What already went wrong after the switch.
    trouble: Option<Reason>,
}

impl Applied {
    /// The installed tree.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.place.tree(&self.begun.to)
    }

    /// What the vendor signed.
    #[must_use]
    pub fn manifest(&self) -> &PatchManifest {
        self.permit.patch().manifest()
    }
}

/// Installs directory trees, and keeps their services running.
pub struct Installer {
    data: DataDir,
    patience: config::Download,
    limits: Limits,
    journal: Journal,
    services: Arc<Services>,
    prober: Prober,
}

impl Installer {
    /// Opens the journal; what is open in it wants [`Installer::recover`] first.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(
        data: &DataDir,
        patience: config::Download,
        services: Arc<Services>,
        prober: Prober,
        observer: Observer,
    ) -> Result<Self, FileError> {
        let journal = Journal::open(&data.journal(), observer)?;
        Ok(Self { data: data.clone(), patience, limits: unpack::LIMITS, journal, services, prober })
    }

    /// Kinds of patches it can install.
    #[must_use]
    pub fn kinds() -> &'static [InstallerKind] {
        &[InstallerKind::DirectoryTree]
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
        sources: &Sources,
        first: usize,
        log: &mut AttemptLog,
    ) -> Result<Staged, Refusal> {
        let manifest = permit.patch().manifest();
        let [artifact] = &manifest.artifacts[..] else {
            let detail = format!("a directory tree is one archive, this patch has {}", manifest.artifacts.len());
            return Err(Refusal::new(ReasonCode::InstallerMissing, detail));
        };
        let (artifact, directory) = (artifact.clone(), self.data.downloads());
        download::prune(&directory, std::slice::from_ref(&artifact))?;
        log.line(&format!("fetching {} ({} bytes, BLAKE3 {})", artifact.name, artifact.size, artifact.blake3));
        let bytes = download::download(&artifact, sources, first, &directory, &self.patience).await;
        let bytes = bytes.map_err(|error: DownloadError| Refusal::new(error.code(), chain(&error)))?;
        log.line("artifact is whole: length, BLAKE3 and SHA-256 are what the vendor signed");
        Ok(Staged { permit, artifact, bytes })
    }

    /// Makes what is ready the installed version, and restarts its services. Journal first.
    ///
    /// # Errors
    /// [`Refusal`] when the switch was not reached; the old version is untouched.
    pub async fn apply(&mut self, run: u64, ready: Ready, log: &mut AttemptLog) -> Result<Applied, Refusal> {
        let Ready(Staged { permit, artifact, bytes }) = ready;
        let (begun, place) = self.describe(run, &permit)?;
        self.journal.begin(begun.clone())?;
        let (to, limits) = (tree::New::of(&begun, &place, permit.patch().manifest()), self.limits);
        let unpacking = tokio::task::spawn_blocking(move || to.unpack(bytes, &artifact, limits)).await;
        let unpacked = unpacking.unwrap_or_else(|error| Err(Refusal::new(ReasonCode::Io, error)));
        if let Err(refusal) = unpacked.and_then(|tree| self.switch(&begun, &place, tree)) {
            if let Err(error) = place.discard(&begun.to) {
                tracing::warn!(error = chain(&error), "what was unpacked is still there");
            }
            return Err(refusal);
        }
        log.line(&format!("switched from {:?} to {:?}", begun.from_version.as_str(), begun.to_version.as_str()));
        let noted = self.journal.append(Record::Switched).map_err(|error| Refusal::from(error).reason);
        let mut applied = Applied { permit, begun, place, trouble: noted.err() };
        if applied.trouble.is_none() {
            let affected = self.affected(&applied.begun, applied.manifest());
            applied.trouble = self.restart(&affected, log).await.err();
        }
        Ok(applied)
    }

    /// Asks whether what was applied works: its services, its probes, its services again.
    ///
    /// # Errors
    /// [`Reason`] is the first thing that does not.
    pub async fn examine(&self, applied: &Applied, log: &mut AttemptLog) -> Result<(), Reason> {
        if let Some(trouble) = &applied.trouble {
            return Err(trouble.clone());
        }
        let examined = self.prober.examine(&applied.manifest().health, &applied.tree(), log).await;
        // A probe that failed because a service died says less than the service's end does.
        for service in self.affected(&applied.begun, applied.manifest()) {
            self.services.check(&service).map_err(|error| reason(ReasonCode::ServiceFailed, error))?;
        }
        examined.map_err(|failure| reason(ReasonCode::HealthFailed, failure))
    }

    /// Keeps what was applied.
    pub async fn keep(&mut self, applied: Applied, log: &mut AttemptLog) -> Settled {
        if let Err(error) = self.journal.append(Record::Judged { against: None }) {
            return self.roll_back(applied, Refusal::from(error).reason, log).await;
        }
        self.finish(&applied.begun, &applied.place, log)
    }

    fn finish(&self, begun: &Begun, place: &Place, log: &mut AttemptLog) -> Settled {
        log.line("healthy, kept");
        let kept: Vec<&VersionId> = [Some(&begun.to), begun.from.as_ref()].into_iter().flatten().collect();
        if let Err(error) = place.prune(&kept[..kept.len().min(installs::VERSIONS_KEPT)]) {
            tracing::warn!(error = chain(&error), "old versions are still there");
        }
        Settled::applied(begun)
    }

    /// Puts back what was there before: the tree, its services; and makes sure that it is the same.
    pub async fn roll_back(&mut self, applied: Applied, reason: Reason, log: &mut AttemptLog) -> Settled {
        let affected = self.affected(&applied.begun, applied.manifest());
        self.restore(&applied.begun, &applied.place, reason, &affected, log).await
    }

    async fn restore(
        &mut self,
        begun: &Begun,
        place: &Place,
        against: Reason,
        affected: &[Service],
        log: &mut AttemptLog,
    ) -> Settled {
        log.line(&format!("rolling back: {against}"));
        // Back is the safe direction: it is gone even when the journal cannot be written any more. A
        // journal that ends with the switch also leads back.
        self.note(Record::Judged { against: Some(against.clone()) });
        if let Err(error) = place.switch(begun.from.as_ref()) {
            return self.fail(begun, against, &chain(&error), begun.to_version.clone(), log);
        }
        self.note(Record::Restored);
        let restarted = self.restart(affected, log).await;
        let same = begun.from.as_ref().map_or(Ok(()), |from| tree::check(place, from));
        if let Err(trouble) = restarted.map_err(|reason| reason.to_string()).and(same) {
            return self.fail(begun, against, &trouble, begun.from_version.clone(), log);
        }
        if let Err(error) = place.discard(&begun.to) {
            tracing::warn!(error = chain(&error), "the version that was rolled back is still there");
        }
        log.line("the old version is back, its tree and its services are as they were");
        Settled::rolled_back(begun, against)
    }

    fn fail(&self, begun: &Begun, against: Reason, trouble: &str, there: Version, log: &mut AttemptLog) -> Settled {
        log.line(&format!("ROLLING BACK FAILED: {trouble}"));
        let detail = format!("{}; and rolling back failed: {trouble}", against.detail);
        Settled::failed(begun, reason(against.code, detail), there)
    }

    /// Writes a record whose absence recovery can live with.
    fn note(&mut self, record: Record) {
        if let Err(error) = self.journal.append(record) {
            tracing::error!(error = chain(&error), "the journal cannot be written");
        }
    }

    /// Whether an update was begun and not brought to its end.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.journal.is_open()
    }

    /// Finishes or takes back what was interrupted; how it ended, if anything was. The host is exactly
    /// old or exactly new afterwards.
    ///
    /// # Errors
    /// [`FileError`] when it cannot even be seen what is there.
    pub async fn recover(
        &mut self,
        log: impl FnOnce(&Begun) -> AttemptLog,
    ) -> Result<Option<(Settled, AttemptLog)>, FileError> {
        let Some(Record::Begun(begun)) = self.journal.records().first().cloned() else { return Ok(None) };
        let of = Subscription { product: begun.product.clone(), channel: begun.channel.clone() };
        let place = Place::new(&self.data.installs(), &of);
        let observed = Observed {
            current: place.current()?,
            from_there: begun.from.as_ref().is_some_and(|from| place.has(from)),
            to_there: place.has(&begun.to),
        };
        let plan = recover::recover(self.journal.records(), &observed);
        if plan == Plan::Nothing {
            return Ok(None);
        }
        let mut log = log(&begun);
        log.line("an update was interrupted");
        let settled = match plan {
            Plan::Nothing => return Ok(None),
            Plan::Finish { begun } => self.finish(&begun, &place, &mut log),
            Plan::Discard { begun, reason } => {
                log.line("the old version is in place, what was made of the new one is thrown away");
                place.discard(&begun.to)?;
                Settled::rolled_back(&begun, reason)
            }
            Plan::RollBack { begun, reason } => {
                let affected: Vec<_> = self.services.all().iter().filter(|service| service.of == of).cloned().collect();
                self.restore(&begun, &place, reason, &affected, &mut log).await
            }
            Plan::Stranded { begun, reason } => {
                log.line(&format!("A PERSON IS NEEDED: {reason}"));
                let there = observed.current.as_ref().and_then(|id| place.meta(id).ok());
                Settled::failed(&begun, reason, there.map(|meta| meta.version).unwrap_or_default())
            }
        };
        Ok(Some((settled, log)))
    }

    /// Ends the update under way: its receipt is on its way.
    ///
    /// # Errors
    /// [`FileError`]; then recovery will say the same again.
    pub fn close(&mut self) -> Result<(), FileError> {
        if self.journal.is_open() { self.journal.append(Record::Done) } else { Ok(()) }
    }

    /// Starts every service of what is installed that does not run yet.
    pub async fn start_services(&self) {
        let running: Vec<_> = self.services.views().into_iter().filter(|view| view.tree.is_some()).collect();
        for service in self.services.all() {
            if running.iter().any(|view| view.service == service.name) {
                continue;
            }
            if let Err(reason) = self.restart_one(service).await {
                tracing::warn!(%reason, "a service does not start; it is tried again");
            }
        }
    }

    fn describe(&self, run: u64, permit: &Permit) -> Result<(Begun, Place), FileError> {
        let (manifest, patch) = (permit.patch().manifest(), permit.patch().id());
        let of = Subscription { product: manifest.product.clone(), channel: manifest.channel.clone() };
        let installs = self.data.installs();
        let from = installs::installed(&installs, &of)?;
        let begun = Begun {
            run,
            patch,
            product: of.product.clone(),
            channel: of.channel.clone(),
            from_version: from.as_ref().map(|from| from.meta.version.clone()).unwrap_or_default(),
            from: from.map(|from| from.id),
            to: VersionId::of_patch(patch),
            to_version: manifest.version.clone(),
        };
        Ok((begun, Place::new(&installs, &of)))
    }

    /// The one step that counts, between two records.
    fn switch(&mut self, begun: &Begun, place: &Place, tree: ledger::id::Digest) -> Result<(), Refusal> {
        self.journal.append(Record::Unpacked { tree })?;
        self.journal.append(Record::Switching)?;
        match place.switch(Some(&begun.to)) {
            // The rename is what counts; it may have been only the directory that could not be synced.
            Err(_) if place.current().ok().flatten().as_ref() == Some(&begun.to) => Ok(()),
            result => Ok(result?),
        }
    }

    /// The services a switch is for: those of its product, and those its manifest names.
    fn affected(&self, begun: &Begun, manifest: &PatchManifest) -> Vec<Service> {
        let of = |service: &&Service| service.of.product == begun.product && service.of.channel == begun.channel;
        let named = |service: &&Service| manifest.services.contains(&service.name);
        self.services.all().iter().filter(|service| of(service) || named(service)).cloned().collect()
    }

    /// Restarts services from what is installed now.
    async fn restart(&self, services: &[Service], log: &mut AttemptLog) -> Result<(), Reason> {
        for service in services {
            log.line(&format!("restarting service {}", service.name));
            self.restart_one(service).await?;
        }
        Ok(())
    }

    async fn restart_one(&self, service: &Service) -> Result<(), Reason> {
        let installed = installs::installed(&self.data.installs(), &service.of);
        let installed: Option<InstalledTree> = installed.map_err(|error| Refusal::from(error).reason)?;
        let tree = installed.map(|installed| installed.tree);
        let restarted = self.services.restart(service, tree.as_deref()).await;
        restarted.map_err(|error| reason(ReasonCode::ServiceFailed, error))
    }
}
