//! One endpoint: everything an update needs, opened in the right order.

mod law;
mod program;
mod recalled;

pub(crate) use law::{Law, host};

use crate::attempt_log::{self, AttemptLog};
use crate::attempts::Attempts;
use crate::cache::Cache;
use crate::clock::{Now, now_ms};
use crate::config::{Config, ConfigError};
use crate::containers::Containers;
use crate::data::{DataDir, DataError, DataLock};
use crate::download::{MirrorSetup, Origins};
use crate::files::{self, FileError};
use crate::follow::heads::Heads;
use crate::follow::memory::MemoryError;
use crate::follow::sources::{SourceError, Sources};
use crate::installer::by_hand::{self, Before, ByHandError};
use crate::installer::journal::{JournalError, Observer};
use crate::installer::{Installer, installs};
use crate::inventory::{Gatherer, Teller};
use crate::key::{self, KeyError};
use crate::probes::Prober;
use crate::proofs::{self, Offer};
use crate::recalls::Recalls;
use crate::receipts::{Receipts, Sender, run_of};
use crate::services::{Services, launch::Launcher};
use crate::settled::{Refusal, Settled, chain};
use crate::shelf::Shelf;
use crate::turns::Turns;
use crate::waits::Waits;
use crate::worker::AskError;
use ledger::bounded::Version;
use ledger::genesis::{Genesis, GenesisBlock, GenesisError};
use ledger::id::{Digest, PatchId};
use ledger::key::SecretKey;
use ledger::limits;
use ledger::proof::{FinalizedPatch, ProofBundle, TrustRoot};
use policy::schedule::Wait;
use policy::{Host, Policy, Subscription};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a program that takes over from another one waits for the data directory.
const LOCK_WAIT: Duration = Duration::from_secs(20);

/// Largest number of starts, in digits, and the end of the line.
const STARTS_BYTES_MAX: usize = 21;

/// Why an endpoint cannot begin to work.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The genesis file.
    #[error("{} is no genesis file", path.display())]
    Genesis {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: GenesisError,
    },
    /// What was remembered.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The nodes.
    #[error(transparent)]
    Sources(#[from] SourceError),
    /// The mirrors.
    #[error(transparent)]
    Mirror(#[from] MirrorSetup),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// One endpoint.
pub struct Site {
    /// Its configuration.
    pub config: Config,
    /// What it trusts.
    pub trust: TrustRoot,
    /// What it knows of the ledger.
    pub heads: Arc<Heads>,
    /// The nodes it asks.
    pub sources: Sources,
    /// Where artifacts come from.
    pub origins: Origins,
    /// What others of the site may have from here, if anything.
    pub cache: Option<Arc<Cache>>,
    /// What puts versions in place.
    pub installer: Installer,
    /// What was tried.
    pub attempts: Attempts,
    /// Since when what is due, and the host awake.
    pub waits: Waits,
    /// Receipts on their way.
    pub receipts: Receipts,
    /// What was recalled, as far as it is known.
    pub recalls: Recalls,
    /// What looks at what is on this host.
    pub inventory: Gatherer,
    /// Whether somebody looks, or updates.
    pub turns: Turns,
    /// How often an agent was started here before.
    starts: u64,
    /// Somebody at the host said that what is asked for waits for no window.
    schedule_lifted: bool,
    /// When the host was asked to restart last, by how long it has run, and what came of it.
    pub(crate) restart_asked: Option<(u64, String)>,
    key: SecretKey,
    data: DataDir,
    lock: Arc<DataLock>,
}

impl Site {
    /// Opens an endpoint: lock, trust root, memory, journal, in this order. What a dead agent left
    /// running is killed. `program` is the agent's own, for starting others; `observer` is told of
    /// every record of the journal.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn open(config: Config, program: PathBuf, observer: Observer) -> Result<Self, SiteError> {
        Self::open_within(Duration::ZERO, config, program, observer, |_| Ok(())).map(|(site, ())| site)
    }

    /// Opens an endpoint for an agent that is to run, and does something as soon as the lock is held: whoever finds it held
    /// may then count on that. Somebody at the host may do something by hand just now, and is waited for; an agent that
    /// runs already is not.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn open_and<T>(
        config: Config,
        program: PathBuf,
        observer: Observer,
        locked: impl FnOnce(&DataDir) -> Result<T, FileError>,
    ) -> Result<(Self, T), SiteError> {
        let runs = DataDir::at(config.data_dir.clone()).is_answered();
        let patience = if runs { Duration::ZERO } else { LOCK_WAIT };
        Self::open_within(patience, config, program, observer, locked)
    }

    fn open_within<T>(
        patience: Duration,
        config: Config,
        program: PathBuf,
        observer: Observer,
        locked: impl FnOnce(&DataDir) -> Result<T, FileError>,
    ) -> Result<(Self, T), SiteError> {
        let data = DataDir::at(config.data_dir.clone());
        let key = key::open(&config)?;
        let (genesis, trust) = trusted(&config)?;
        let sources = Sources::new(&config.ledger)?;
        let own = config.cache.is_some().then(|| data.cache());
        let origins = Origins::new(&config.sources, &sources, config.download, own)?;
        let lock = Arc::new(data.lock_within(patience)?);
        let done = locked(&data)?;
        let launcher = Launcher::new(program, data.path());
        match launcher.reap() {
            0 => {}
            left => tracing::warn!(left, "killed processes that an earlier agent left behind"),
        }
        let heads = Heads::open(&genesis, &data, &config.ledger.nodes, config.ledger.max_age_ms)?;
        let waits = Waits::open(&data.waits(), heads.believed_ms(now_ms()))?;
        let rpm = &config.installers.rpm;
        let containers = Containers::new(data.containers(), &config.installers.containers);
        let (parameters, health) = (config.parameters.clone(), config.health.clone());
        let prober = Prober::new(launcher.clone(), containers.clone(), parameters, health, rpm);
        let services = Services::new(launcher, containers, &config);
        let cache = config.cache.as_ref().map(|bounds| Cache::open(&data.cache(), bounds)).transpose()?.map(Arc::new);
        let mut installer = Installer::open(&data, &config, Arc::new(services), prober, observer)?;
        cache.iter().for_each(|cache| installer.keep_in(cache.clone()));
        installer.work_under(lock.clone());
        let (receipts, mut attempts) =
            (Receipts::open(&data.receipts())?, Attempts::open(&data.attempts(), Now::here())?);
        attempts.stray(Digest(key.public().0));
        attempts.go_on_behind(receipts.newest_run()?.max(attempt_log::newest_run(&data.logs())?));
        attempt_log::prune(&data.logs())?;
        let site = Self {
            trust,
            heads: Arc::new(heads),
            sources,
            origins,
            cache,
            installer,
            attempts,
            waits,
            starts: count_start(&data.starts()),
            schedule_lifted: false,
            restart_asked: None,
            receipts,
            recalls: Recalls::open(&data.recalls())?,
            inventory: Gatherer::new(&config),
            turns: Turns::default(),
            key,
            data,
            config,
            lock,
        };
        Ok((site, done))
    }

    /// The lock of its data directory, for whoever goes on working there when the endpoint is gone.
    #[must_use]
    pub fn lock(&self) -> Arc<DataLock> {
        self.lock.clone()
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// How often an agent was started here before this one, as far as that is known: where two do in turn what one
    /// of them does wrong, they begin elsewhere.
    #[must_use]
    pub fn starts(&self) -> usize {
        usize::try_from(self.starts).unwrap_or(0)
    }

    /// Its key, for receipts.
    #[must_use]
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// What sends its receipts.
    #[must_use]
    pub fn sender(&self) -> Sender {
        let chain_id = self.trust.chain_id();
        let signer = (self.key.clone(), self.config.name.clone());
        Sender::new(self.receipts.clone(), self.sources.clone(), self.heads.clone(), signer, chain_id)
    }

    /// What tells its nodes what is on it.
    #[must_use]
    pub fn teller(&self) -> Teller {
        let signer = (self.key.clone(), self.trust.chain_id());
        Teller::new(self.inventory.clone(), self.sources.clone(), self.heads.clone(), signer, self.data.told())
    }

    /// Finishes or takes back what was interrupted, judges what the host had to restart for, and starts
    /// the services of what was judged: those that have nothing to do with it first, and all of them
    /// whatever comes of it.
    ///
    /// # Errors
    /// [`FileError`]; then the update stays open, and this is to be tried again.
    pub async fn recover(&mut self) -> Result<Option<Settled>, FileError> {
        let _updating = self.turns.update().await;
        self.installer.start_other_services().await;
        if self.installer.is_on_trial() {
            self.hear().await;
        }
        let mut recovered = self.bring_to_an_end().await;
        if let Ok(settled) = &mut recovered
            && let Some(taken_back) = self.take_back_fallen().await?
        {
            *settled = Some(taken_back);
        }
        self.installer.start_services().await;
        recovered
    }

    async fn bring_to_an_end(&mut self) -> Result<Option<Settled>, FileError> {
        let logs = self.data.logs();
        let recovered = self.installer.recover(|begun| AttemptLog::begin(&logs, begun.run, begun.patch)).await?;
        let Some((settled, log)) = recovered else { return Ok(None) };
        match self.installer.is_unfinished() {
            true => tracing::error!(%settled, patch = %settled.patch, "an update cannot be brought to its end"),
            false => tracing::warn!(%settled, patch = %settled.patch, "an update that was begun before is at its end"),
        }
        self.write_receipt(&settled, log, false).await?;
        Ok(Some(settled))
    }

    /// Begins an attempt: what an earlier one left open is brought to its end first.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) fn begin(&mut self, patch: PatchId) -> Result<(u64, AttemptLog), FileError> {
        let (run, logs) = (self.attempts.next_run()?, self.data.logs());
        let mut log = AttemptLog::begin(&logs, run, patch);
        if let Err(error) = attempt_log::prune(&logs) {
            tracing::warn!(error = chain(&error), "more logs are kept than are meant to be");
        }
        log.line(&format!("patch {patch}"));
        Ok((run, log))
    }

    /// Says in the log what is on the host, before anything of it is changed. Whoever is refused changes nothing: a look
    /// may take longer than all the rest of an attempt that comes to nothing, and there may be one every minute.
    pub(crate) async fn look_before(&self, log: &mut AttemptLog) {
        log.line(&self.inventory.line("before").await);
    }

    /// Takes back the last update because somebody at the host says so; but not to what was recalled, as far
    /// as the nodes or this host know: going back is the safe direction, and waits for no node.
    ///
    /// # Errors
    /// [`AskError`] when nothing was changed.
    pub(crate) async fn take_back(&mut self, patch: PatchId) -> Result<Settled, AskError> {
        if let Some(Before { version, patch: Some(patch) }) = by_hand::before(&self.data, patch)
            && let Some(recall) = self.look_for_recall(patch).await
        {
            return Err(ByHandError::Recalled { version, patch, recall }.into());
        }
        let _updating = self.turns.update().await;
        let (run, mut log) = self.begin(patch)?;
        self.look_before(&mut log).await;
        let settled = match self.installer.take_back(run, patch, &mut log).await {
            Ok(settled) => settled,
            // Nothing was begun: an empty log would stand before that of the update.
            Err(error) => {
                let _ = log.finish();
                self.forget_log(run);
                return Err(error.into());
            }
        };
        self.write_receipt(&settled, log, true).await?;
        Ok(settled)
    }

    /// Puts a receipt on its way: on the disk before the journal says that the update is over, and
    /// once, however often this is interrupted. An update that stays open has one that says so, and
    /// another one at its end. A refusal that was told already has none, and leaves no log.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) async fn write_receipt(
        &mut self,
        settled: &Settled,
        mut log: AttemptLog,
        asked: bool,
    ) -> Result<(), FileError> {
        if !settled.is_refusal() {
            log.line(&self.inventory.line("after").await);
            self.inventory.want();
        }
        log.line(&format!("{settled}"));
        let log_digest = log.finish();
        if asked || self.attempts.is_news(settled) {
            self.receipts.queue(settled, log_digest, self.installer.is_unfinished())?;
        } else if !self.attempts.knows(settled) {
            self.forget_log(settled.run);
        }
        self.attempts.record(settled, Now::here(), asked)?;
        self.installer.close()
    }

    /// Takes the log of an attempt away that no receipt names: that of the first one that ended so says as much.
    fn forget_log(&self, run: u64) {
        let logs = self.data.logs();
        let of_run = |name: &String| name.strip_prefix("run-").and_then(run_of) == Some(run);
        let names = files::names(&logs).map(|names| names.into_iter().filter(of_run));
        let forgotten = names.and_then(|mut names| names.try_for_each(|name| files::remove(&logs.join(name))));
        if let Err(error) = forgotten {
            tracing::warn!(error = chain(&error), "the log of an attempt that says nothing new stays");
        }
    }

    /// Ends what turned out to wait for its hour: nothing was changed, and there is nothing to tell.
    pub(crate) fn end_without_receipt(&mut self, wait: &Wait, mut log: AttemptLog) -> Result<(), FileError> {
        log.line(&format!("no attempt: {wait}"));
        let _ = log.finish();
        self.installer.close()
    }

    /// Whether what is offered only waits for its hour; until when then. What is wrong with it in other
    /// ways is found out by an update.
    pub(crate) fn waits_for(&self, offer: &Offer) -> Result<Option<Wait>, FileError> {
        let proven =
            ProofBundle::parse(&offer.proof).and_then(|bundle| proofs::verify(&bundle, &self.trust, offer.clock));
        let Ok(patch) = proven else { return Ok(None) };
        let (id, now_ms) = (patch.id(), self.now_ms());
        match self.policy().permit(patch, &self.host()?, now_ms) {
            Err(policy::Reason::NotYet(wait)) => {
                self.waits.due(id, now_ms)?;
                Ok(Some(wait))
            }
            _ => Ok(None),
        }
    }

    /// Asks once more for what was permitted, and again whenever it is called: a download may outlast a
    /// window, and so may preparing. The facts about this host are those of now, the time is not.
    pub(crate) fn still_permits(
        &self,
        patch: &FinalizedPatch,
    ) -> Result<impl Fn() -> Result<(), Refusal> + Send + use<>, FileError> {
        let (patch, host, law) = (patch.clone(), self.host()?, self.law());
        Ok(move || law.policy().permit(patch.clone(), &host, law.now_ms()).map(drop).map_err(Refusal::from))
    }

    fn law(&self) -> Law {
        Law { policy: self.config.policy.clone(), schedule_lifted: self.schedule_lifted, heads: self.heads.clone() }
    }

    /// From here on, or no more: windows and blackouts are no obstacle.
    pub(crate) fn lift_schedule(&mut self, lifted: bool) {
        self.schedule_lifted = lifted;
    }

    /// Whether windows and blackouts are no obstacle now.
    #[must_use]
    pub(crate) fn is_schedule_lifted(&self) -> bool {
        self.schedule_lifted
    }

    /// House law now: while the ledger is known to be split, nothing is applied.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.law().policy()
    }

    /// The time now, as far as this host's clock is believed: never before the newest header.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.heads.believed_ms(now_ms())
    }

    /// The facts about this host, as they are now.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn host(&self) -> Result<Host, FileError> {
        host(&self.config, self.installer.kinds().offered(), self.waits.waited())
    }

    /// Keeps a proof that was offered, for whoever asks later why.
    pub(crate) fn keep_proof(&self, offer: &Offer) {
        let kept = installs::patches_kept(&self.data.installs());
        let kept = kept.and_then(|kept| Shelf::at(&self.data.proofs()).keep(offer, &kept));
        if let Err(error) = kept {
            tracing::warn!(error = chain(&error), "a proof is not kept");
        }
    }

    /// The version installed of what an offer is about; empty when none is, or nothing can be told. A patch's name is the
    /// digest of its manifest, so any proof file of it tells the product, also one from before.
    pub(crate) fn version_installed(&self, offer: &Offer) -> Version {
        let offered = proofs::claimed(&offer.proof).filter(|manifest| manifest.id() == offer.patch);
        let kept = || Shelf::at(&self.data.proofs()).manifest(offer.patch).ok().flatten();
        let Some(manifest) = offered.or_else(kept) else { return Version::default() };
        let of = Subscription { product: manifest.product, channel: manifest.channel };
        let installed = installs::installed(&self.data.installs(), &of);
        installed.ok().flatten().map(|installed| installed.meta.version).unwrap_or_default()
    }
}

/// How often an agent was started here before; takes note of this start. That nothing can be read or written is no
/// obstacle: an agent may have to go back on the disk that is full.
fn count_start(path: &Path) -> u64 {
    let known = files::read_if_there(path, STARTS_BYTES_MAX).ok().flatten().unwrap_or_default();
    let starts = std::str::from_utf8(&known).ok().and_then(|text| text.trim_end().parse().ok()).unwrap_or(0u64);
    if let Err(error) = files::replace(path, format!("{}\n", starts.wrapping_add(1)).as_bytes()) {
        tracing::warn!(error = chain(&error), "this start cannot be noted");
    }
    starts
}

/// The trust root.
fn trusted(config: &Config) -> Result<(GenesisBlock, TrustRoot), SiteError> {
    let file = files::read(&config.ledger.genesis, limits::BLOCK_BYTES_MAX)?;
    let not_one = |source| SiteError::Genesis { path: config.ledger.genesis.clone(), source };
    Ok((Genesis::parse(&file).map_err(not_one)?, TrustRoot::parse(&file).map_err(not_one)?))
}

/// What an endpoint trusts, and what it remembers of the ledger, beside an agent that may be running.
///
/// # Errors
/// [`SiteError`].
pub fn remembered(config: &Config) -> Result<(TrustRoot, Arc<Heads>), SiteError> {
    let (genesis, trust) = trusted(config)?;
    let data = DataDir::at(config.data_dir.clone());
    let heads = Heads::open(&genesis, &data, &config.ledger.nodes, config.ledger.max_age_ms)?;
    Ok((trust, Arc::new(heads)))
}

/// The path that starts this very program again, even after its file was replaced.
#[must_use]
pub fn own_program() -> &'static Path {
    Path::new("/proc/self/exe")
}
