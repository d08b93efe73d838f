//! Services: processes the agent keeps running from installed trees.
//!
//! Each runs in a process group of its own, is asked to end before it is killed, and is started again
//! when it dies, with growing waits. It runs from the directory of one version and not through
//! `current`, so that there is never a doubt which version runs. Those that systemd runs are restarted by it, and watched.

pub mod launch;
mod units;

use crate::config::{Config, Service};
use crate::containers::{ContainerError, Containers, TREE_INSIDE};
use crate::parameters::{Parameters, UnknownParameter};
use crate::settled::chain;
use launch::Launcher;
use ledger::bounded::Name;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use units::{Asked, Seen, Units, Watcher};

/// Wait before a service that died is started again, at first …
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// … and at the most.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A service that ran this long begins again with the shortest wait.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// How long killed processes may take to be gone.
const KILL_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often to look.
const KILL_LOOK: Duration = Duration::from_millis(10);

/// Why a service is not running.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its command has a name without a value.
    #[error("service {service}: {unknown}")]
    Parameter {
        /// The service.
        service: Name,
        /// Which name.
        unknown: UnknownParameter,
    },
    /// What is installed cannot be run in a container.
    #[error("service {service} cannot be run in a container: {}", chain(why))]
    Container {
        /// The service.
        service: Name,
        /// Why.
        why: ContainerError,
    },
    /// It ended before it counted as started, or while health was judged.
    #[error("service {service}: {ended}")]
    Ended {
        /// The service.
        service: Name,
        /// How.
        ended: String,
    },
}

/// What a service does now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It runs.
    Running,
    /// It died and waits to be started again.
    Waiting,
    /// It does not run, and should not.
    Stopped,
}

/// A service as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub service: Name,
    /// What it does now.
    pub phase: Phase,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// How often it died since it was last started on purpose.
    pub deaths: u32,
    /// How it died last.
    pub last_end: Option<String>,
    /// The tree it runs from.
    pub tree: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct State {
    phase: Phase,
    pid: Option<u32>,
    deaths: u32,
    last_end: Option<String>,
}

struct Running {
    tree: Option<PathBuf>,
    state: watch::Receiver<State>,
    /// Whom to ask for a look, where somebody else runs it.
    look: Option<mpsc::Sender<Asked>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The services of a host.
pub struct Services {
    launcher: Launcher,
    units: Units,
    containers: Containers,
    parameters: Parameters,
    services: Vec<Service>,
    running: Mutex<BTreeMap<Name, Running>>,
}

impl Services {
    /// Prepares them; nothing is started.
    #[must_use]
    pub fn new(launcher: Launcher, containers: Containers, config: &Config) -> Self {
        let units = Units::new(launcher.clone(), config.health.systemctl.clone());
        let (parameters, services) = (config.parameters.clone(), config.services.clone());
        Self { launcher, units, containers, parameters, services, running: Mutex::new(BTreeMap::new()) }
    }

    /// All services of the configuration.
    #[must_use]
    pub fn all(&self) -> &[Service] {
        &self.services
    }

    /// How processes are started.
    #[must_use]
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Name, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops a service if it runs, and starts it from a tree, if there is one. It counts as started once
    /// it has stayed up for its `ready_wait`; if it does not, it is still tried again and again. One that systemd runs is
    /// restarted by it; where nothing of its own is installed, only if it is up.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn restart(&self, service: &Service, tree: Option<&Path>) -> Result<(), ServiceError> {
        self.stop(&service.name).await;
        let ended = |ended| ServiceError::Ended { service: service.name.clone(), ended };
        let state = match (&service.unit, tree) {
            (None, None) => return Ok(()),
            (None, Some(tree)) => self.start(service, tree)?,
            (Some(unit), tree) => match self.units.restart(unit, tree.is_some()).await {
                Ok(None) => return Ok(()),
                Ok(Some(seen)) => self.watch(service, unit, tree, Some(seen)),
                Err(why) => {
                    // It is watched in any case.
                    drop(self.watch(service, unit, tree, None));
                    return Err(ended(why));
                }
            },
        };
        match timeout(service.ready_wait, death(state)).await {
            Ok(why) => Err(ended(why)),
            Err(_) => self.check(service).await,
        }
    }

    /// Begins to look after a service that is only to be there, because the agent is: one that systemd runs is left alone.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn begin(&self, service: &Service, tree: Option<&Path>) -> Result<(), ServiceError> {
        match (&service.unit, tree) {
            (None, tree) => self.restart(service, tree).await,
            (Some(_), None) => Ok(()),
            (Some(unit), tree) => {
                drop(self.watch(service, unit, tree, None));
                // Nobody is told that it does not run before anybody has looked.
                let _ = self.check(service).await;
                Ok(())
            }
        }
    }

    /// Whether a service is kept running, or watched.
    #[must_use]
    pub fn looks_after(&self, service: &Service) -> bool {
        self.running().contains_key(&service.name)
    }

    /// Makes sure that a service never died since it was started on purpose.
    ///
    /// # Errors
    /// [`ServiceError::Ended`].
    pub async fn check(&self, service: &Service) -> Result<(), ServiceError> {
        let look = self.running().get(&service.name).and_then(|running| running.look.clone());
        if let Some(look) = look {
            let (ask, answer) = oneshot::channel();
            // Its watcher cannot have gone away by itself.
            let _ = look.send(ask).await;
            let _ = answer.await;
        }
        let running = self.running();
        let Some(running) = running.get(&service.name) else { return Ok(()) };
        match running.state.borrow().last_end.clone() {
            Some(ended) => Err(ServiceError::Ended { service: service.name.clone(), ended }),
            None => Ok(()),
        }
    }

    fn start(&self, service: &Service, tree: &Path) -> Result<watch::Receiver<State>, ServiceError> {
        let (say, state) = watch::channel(State { phase: Phase::Waiting, pid: None, deaths: 0, last_end: None });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(self.keeper(service, tree, say)?.keep_running(stopped));
        let running = Running { tree: Some(tree.to_owned()), state: state.clone(), look: None, stop, task };
        self.running().insert(service.name.clone(), running);
        Ok(state)
    }

    /// Watches a unit, from what was seen of it on.
    fn watch(&self, service: &Service, unit: &str, tree: Option<&Path>, seen: Option<Seen>) -> watch::Receiver<State> {
        let (say, state) = watch::channel(State { phase: Phase::Waiting, pid: None, deaths: 0, last_end: None });
        let (stop, stopped) = oneshot::channel();
        let (ask, asked) = mpsc::channel(1);
        let (name, unit, units) = (service.name.clone(), unit.to_owned(), self.units.clone());
        let task = tokio::spawn(Watcher::new(name, unit, units, say, seen).watch(asked, stopped));
        let tree = tree.map(Path::to_owned);
        let running = Running { tree, state: state.clone(), look: Some(ask), stop, task };
        self.running().insert(service.name.clone(), running);
        state
    }

    fn keeper(&self, service: &Service, tree: &Path, say: watch::Sender<State>) -> Result<Keeper, ServiceError> {
        let shown = tree.to_string_lossy();
        let parameters = self.parameters.with_tree(if service.container { TREE_INSIDE } else { &shown });
        let missing = |unknown| ServiceError::Parameter { service: service.name.clone(), unknown };
        let words: Result<Vec<_>, _> = service.command.iter().map(|word| parameters.expand(word)).collect();
        let mut words = words.map_err(missing)?;
        let variable = |(name, value): (&String, &String)| Ok((name.clone(), parameters.expand(value)?));
        let environment: Result<BTreeMap<_, _>, _> = service.environment.iter().map(variable).collect();
        let mut environment = environment.map_err(missing)?;
        if service.container {
            let (name, inside) = (format!("service-{}", service.name), std::mem::take(&mut environment));
            let contained = self.containers.words(&name, tree, &words, &inside);
            words = contained.map_err(|why| ServiceError::Container { service: service.name.clone(), why })?;
        }
        let command = Blueprint { launcher: self.launcher.clone(), words, environment, tree: tree.to_owned() };
        Ok(Keeper { service: service.name.clone(), command, stop_timeout: service.stop_timeout, say })
    }

    async fn stop(&self, name: &Name) {
        let Some(running) = self.running().remove(name) else { return };
        // The keeper cannot have gone away by itself.
        let _ = running.stop.send(());
        let _ = running.task.await;
    }

    /// Stops everything, all at once.
    pub async fn stop_all(&self) {
        let running = std::mem::take(&mut *self.running());
        let tasks: Vec<_> = running
            .into_values()
            .map(|running| {
                let _ = running.stop.send(());
                running.task
            })
            .collect();
        for task in tasks {
            let _ = task.await;
        }
    }

    /// What each service does now.
    #[must_use]
    pub fn views(&self) -> Vec<ServiceView> {
        let running = self.running();
        let view = |service: &Service| {
            let running = running.get(&service.name);
            let state = running.map(|running| running.state.borrow().clone());
            ServiceView {
                service: service.name.clone(),
                phase: state.as_ref().map_or(Phase::Stopped, |state| state.phase.clone()),
                pid: state.as_ref().and_then(|state| state.pid),
                deaths: state.as_ref().map_or(0, |state| state.deaths),
                last_end: state.and_then(|state| state.last_end),
                tree: running.and_then(|running| running.tree.clone()),
            }
        };
        self.services.iter().map(view).collect()
    }
}

/// Waits until the service has died once; how.
async fn death(mut state: watch::Receiver<State>) -> String {
    match state.wait_for(|state| state.last_end.is_some()).await {
        Ok(state) => state.last_end.clone().unwrap_or_default(),
        Err(_) => "nobody keeps it running".to_owned(),
    }
}

/// How one service is started, again and again.
struct Blueprint {
    launcher: Launcher,
    words: Vec<String>,
    environment: BTreeMap<String, String>,
    tree: PathBuf,
}

impl Blueprint {
    fn command(&self) -> Command {
        // What a service says goes where the agent's own log goes; standard output is for data.
        let mut command = self.launcher.command(&self.words, &self.environment, &self.tree);
        command.stdout(io::stderr());
        command
    }
}

/// Keeps one service running until it is told to stop.
struct Keeper {
    service: Name,
    command: Blueprint,
    stop_timeout: Duration,
    say: watch::Sender<State>,
}

impl Keeper {
    async fn keep_running(self, mut stop: oneshot::Receiver<()>) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let started = Instant::now();
            let ended = match self.command.command().spawn() {
                Err(error) => format!("cannot be started: {error}"),
                Ok(mut child) => {
                    let pid = child.id();
                    self.say.send_modify(|state| (state.phase, state.pid) = (Phase::Running, pid));
                    tracing::info!(service = %self.service, pid, tree = %self.command.tree.display(), "started");
                    let ended = tokio::select! {
                        ended = child.wait() => describe(ended),
                        _ = &mut stop => return self.end(child, pid).await,
                    };
                    kill_group(pid).await;
                    ended
                }
            };
            if started.elapsed() >= STABLE_AFTER {
                backoff = BACKOFF_MIN;
            }
            tracing::warn!(service = %self.service, %ended, again_in = ?backoff, "service died");
            self.say.send_modify(|state| {
                (state.phase, state.pid) = (Phase::Waiting, None);
                state.deaths += 1;
                state.last_end = Some(ended);
            });
            tokio::select! {
                () = sleep(backoff) => {}
                _ = &mut stop => return,
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Asks it to end, kills it if it does not, and leaves nothing of its group.
    async fn end(&self, mut child: Child, pid: Option<u32>) {
        if let Some(group) = group(pid) {
            let _ = kill_process_group(group, Signal::TERM);
        }
        if timeout(self.stop_timeout, child.wait()).await.is_err() {
            tracing::warn!(service = %self.service, "did not end when asked, is killed");
            if let Some(group) = group(pid) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
        }
        kill_group(pid).await;
        self.say.send_modify(|state| (state.phase, state.pid) = (Phase::Stopped, None));
        tracing::info!(service = %self.service, "stopped");
    }
}

/// The process group of a child: it leads one of its own.
fn group(pid: Option<u32>) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid?).ok()?)
}

/// Kills what is left of a process group whose leader was waited for, and waits until it is gone.
pub(crate) async fn kill_group(pid: Option<u32>) {
    let Some(group) = group(pid) else { return };
    let deadline = Instant::now() + KILL_WAIT_MAX;
    signal_group(pid, Signal::KILL);
    while test_kill_process_group(group).is_ok() && Instant::now() < deadline {
        sleep(KILL_LOOK).await;
    }
}

/// Tells everybody in the process group of a child something.
pub(crate) fn signal_group(pid: Option<u32>, signal: Signal) {
    if let Some(group) = group(pid) {
        // Nobody may be there any more.
        let _ = kill_process_group(group, signal);
    }
}

/// How a process ended.
pub(crate) fn describe(ended: io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("cannot be waited for: {error}"),
    }
}
