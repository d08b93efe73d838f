//! Probes: asking an installed version whether it works. What was seen is judged elsewhere
//! ([`policy::health`]).

pub mod house;
mod looks;

use crate::attempt_log::AttemptLog;
use crate::config::{self, Health};
use crate::containers::{Containers, TREE_INSIDE};
use crate::installer::rpm;
use crate::package_database;
use crate::parameters::{Parameters, UnknownParameter};
use crate::services::{kill_group, launch::Launcher, signal_group};
use crate::settled::chain;
use ledger::patch::{HealthCheck, Probe};
use looks::Looks;
use policy::health::{Failure, Judgement, Observation, describe, describe_house, judge, judge_house};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// What a container is called that a check of an update is made in; services are called `service-…`.
const CHECK: &str = "check";
/// The same between updates: one may begin while it is there.
const WATCH: &str = "watch";
/// Bytes of a command's output kept.
pub const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// How long all checks of something installed together may take, whatever its manifest says.
pub const HEALTH_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Where the commands of a patch's checks are run.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// On the host, in the installed tree.
    Host(&'a Path),
    /// In a container of the installed image.
    Container(&'a Path),
}

impl At<'_> {
    /// What is installed.
    fn tree(&self) -> &Path {
        match self {
            Self::Host(tree) | Self::Container(tree) => tree,
        }
    }
}

/// What probes are made with.
#[derive(Clone, Debug)]
pub struct Prober {
    launcher: Launcher,
    containers: Containers,
    parameters: Parameters,
    health: Health,
    looks: Looks,
    /// Whether it is asked between updates.
    is_watching: bool,
    /// Where RPM packages are installed, if they are.
    rpm: Option<config::Rpm>,
}

impl Prober {
    /// Commands are started by `launcher`, `{name}`s, `health` and `rpm` are this host's.
    #[must_use]
    pub fn new(
        launcher: Launcher,
        containers: Containers,
        parameters: Parameters,
        health: Health,
        rpm: &config::Rpm,
    ) -> Self {
        let rpm = rpm.enabled.then(|| rpm.clone());
        Self { launcher, containers, parameters, health, looks: Looks::default(), is_watching: false, rpm }
    }

    /// The same for looking between updates: an update's checks never wait for these, nor get in their way.
    #[must_use]
    pub(crate) fn for_watching(&self) -> Self {
        Self { looks: Looks::default(), is_watching: true, ..self.clone() }
    }

    /// Whether this host's house has checks for every patch.
    #[must_use]
    pub fn has_checks_of_the_house(&self) -> bool {
        !self.health.checks.is_empty()
    }

    /// Makes all checks of a patch, and of the house, against an installed tree, one after the other,
    /// until one fails for good; and again and again while it soaks.
    ///
    /// # Errors
    /// [`Failure`] is the first check that failed.
    pub async fn examine(&self, checks: &[HealthCheck], at: At<'_>, log: &mut AttemptLog) -> Result<(), Failure> {
        match timeout(HEALTH_DEADLINE, self.examine_and_soak(checks, at, log)).await {
            Ok(result) => result,
            Err(_) => {
                let (probe, cause) = ("health checks".to_owned(), format!("not over after {HEALTH_DEADLINE:?}"));
                Err(Failure { probe, attempts: 1, cause })
            }
        }
    }

    /// Makes all checks of something installed, and of the house, once.
    ///
    /// # Errors
    /// [`Failure`] is the first check that failed.
    pub(crate) async fn look(&self, checks: &[HealthCheck], at: At<'_>) -> Result<(), Failure> {
        let mut log = |line: &str| tracing::debug!("{line}");
        // What was installed before its house ran no commands any more is asked the rest.
        let may = |check: &&HealthCheck| {
            self.health.manifest_commands
                || matches!(at, At::Container(_))
                || !matches!(check.probe, Probe::Command { .. })
        };
        let checks: Vec<HealthCheck> = checks.iter().filter(may).cloned().collect();
        let checks = checks.as_slice();
        timeout(HEALTH_DEADLINE, self.examine_all(checks, at, &mut log)).await.unwrap_or_else(|_| {
            let cause = format!("not over after {HEALTH_DEADLINE:?}");
            Err(Failure { probe: "health checks".to_owned(), attempts: 1, cause })
        })
    }

    async fn examine_and_soak(&self, checks: &[HealthCheck], at: At<'_>, log: &mut AttemptLog) -> Result<(), Failure> {
        let mut log = |line: &str| log.line(line);
        self.examine_all(checks, at, &mut log).await?;
        let soaked = Instant::now() + self.health.soak;
        while Instant::now() < soaked {
            sleep_until(soaked.min(Instant::now() + self.health.interval)).await;
            self.examine_all(checks, at, &mut log)
                .await
                .map_err(|failure| Failure { cause: format!("{}, after it had passed", failure.cause), ..failure })?;
        }
        Ok(())
    }

    async fn examine_all(&self, checks: &[HealthCheck], at: At<'_>, log: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        for check in checks {
            let name = describe(&check.probe);
            let observe = async || self.observe(check, at).await;
            ask(&name, |seen| judge(check, seen), observe, log).await?;
        }
        for check in &self.health.checks {
            let patience = Duration::from_millis(check.timeout_ms.into());
            let observe = async || self.observe_house(&check.probe, at.tree(), patience).await;
            ask(&describe_house(check), |seen| judge_house(check, seen), observe, log).await?;
        }
        Ok(())
    }

    async fn observe(&self, check: &HealthCheck, at: At<'_>) -> Observation {
        let (tree, shown) = (at.tree(), at.tree().to_string_lossy());
        let parameters = self.parameters.with_tree(if matches!(at, At::Container(_)) { TREE_INSIDE } else { &shown });
        let patience = Duration::from_millis(check.timeout_ms.into());
        let observation = match &check.probe {
            Probe::Command { arguments, .. } => {
                let words: Result<Vec<_>, UnknownParameter> =
                    arguments.iter().map(|argument| parameters.expand(argument.as_str())).collect();
                let words = match (words, at) {
                    // An update that was begun before its house ran none any more.
                    (_, At::Host(_)) if !self.health.manifest_commands => {
                        Err(Observation::Impossible("this house runs no commands of manifests".to_owned()))
                    }
                    (Err(unknown), _) => Err(Observation::Impossible(unknown.to_string())),
                    (Ok(words), At::Host(_)) => Ok(words),
                    (Ok(words), At::Container(image)) => self.contained(image, words, patience).await,
                };
                return match words {
                    Ok(words) => self.run(&words, tree, patience).await,
                    Err(observation) => observation,
                };
            }
            Probe::Tcp { port } => match parameters.expand(port.as_str()) {
                Ok(port) => return connect_to(&port, patience).await,
                Err(unknown) => Err(unknown.to_string()),
            },
            // Links in an image lead to places in it: read from outside its database may be the host's.
            Probe::PackageVersion { .. } if matches!(at, At::Container(_)) => {
                Err("the packages of an image are asked for by a command in it".to_owned())
            }
            Probe::PackageVersion { package, .. } => return self.package(package.as_str(), tree, patience).await,
        };
        observation.unwrap_or_else(Observation::Impossible)
    }

    /// The words that run a command in a container of an image; directories of the host are looked at for them.
    async fn contained(
        &self,
        image: &Path,
        words: Vec<String>,
        patience: Duration,
    ) -> Result<Vec<String>, Observation> {
        let called = if self.is_watching { WATCH } else { CHECK };
        let (about, image) = (format!("image {}", image.display()), image.to_owned());
        let containers = self.containers.clone();
        let prepare = move || containers.words(called, &image, &words, &BTreeMap::new()).map_err(|error| chain(&error));
        self.looks.ask(&about, patience, prepare).await
    }

    /// Which version of a package the tree has.
    async fn package(&self, package: &str, tree: &Path, patience: Duration) -> Observation {
        let (about, package, tree) = (format!("packages of {}", tree.display()), package.to_owned(), tree.to_owned());
        let rpm = self.rpm.clone().filter(|rpm| rpm.root == tree);
        let look = move || {
            let of_rpm = rpm.map(|rpm| rpm::version(&rpm, &package)).transpose();
            let version = match of_rpm {
                Ok(Some(Some(version))) => Ok(Some(version)),
                Err(why) => Err(why),
                // Only its own tool can read it; everything else says who it is in files.
                Ok(None | Some(None)) => package_database::version(&tree, &package).map_err(|error| error.to_string()),
            };
            version.map(Observation::Package).map_err(|why| format!("the package database cannot be read: {why}"))
        };
        self.looks.look(&about, patience, look).await
    }

    /// Runs a command in the tree: bounded output, bounded time, nothing left behind.
    async fn run(&self, words: &[String], tree: &Path, patience: Duration) -> Observation {
        let mut command = self.launcher.command(words, &BTreeMap::new(), tree);
        // What a command complains of is part of an update's story, and not told again and again.
        let complaints = if self.is_watching { Stdio::null() } else { Stdio::inherit() };
        command.stdout(Stdio::piped()).stderr(complaints);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Observation::Impossible(format!("cannot be started: {error}")),
        };
        let (pid, stdout) = (child.id(), child.stdout.take());
        let mut left = LeftBehind(pid);
        let ended = timeout(patience, async {
            let (output, truncated) = read_bounded(stdout).await?;
            // What writes without end would otherwise never end.
            let status = if truncated { None } else { child.wait().await?.code() };
            Ok(Observation::Exited { status, output, truncated })
        });
        let observation = match ended.await {
            Ok(Ok(observation)) => observation,
            Ok(Err::<_, io::Error>(error)) => Observation::Impossible(error.to_string()),
            Err(_) => Observation::TimedOut,
        };
        let _ = child.start_kill();
        let _ = child.wait().await;
        kill_group(left.0.take()).await;
        observation
    }
}

/// What a command started, killed with it wherever nobody waits for it any more.
struct LeftBehind(Option<u32>);

impl Drop for LeftBehind {
    fn drop(&mut self) {
        signal_group(self.0, Signal::KILL);
    }
}

async fn read_bounded(stdout: Option<tokio::process::ChildStdout>) -> io::Result<(Vec<u8>, bool)> {
    let mut output = Vec::new();
    if let Some(stdout) = stdout {
        stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut output).await?;
    }
    let truncated = output.len() as u64 > OUTPUT_BYTES_MAX;
    Ok((output, truncated))
}

/// Asks until there is a judgement.
async fn ask(
    name: &str,
    judge: impl Fn(&[Observation]) -> Judgement,
    observe: impl AsyncFn() -> Observation,
    log: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let mut observations = Vec::new();
    loop {
        match judge(&observations) {
            Judgement::Passed => {
                log(&format!("passed: {name}"));
                return Ok(());
            }
            Judgement::Failed(failure) => return Err(failure),
            Judgement::Again { wait_ms } => sleep(Duration::from_millis(wait_ms.into())).await,
        }
        let observation = observe().await;
        log(&format!("attempt {}: {name}: {}", observations.len() + 1, shown(&observation)));
        // Only the number of earlier attempts is looked at; their output need not be kept.
        observations.iter_mut().for_each(forget_output);
        observations.push(observation);
    }
}

async fn connect_to(port: &str, patience: Duration) -> Observation {
    match port.parse::<u16>() {
        Ok(port) => connect(port, patience).await,
        Err(_) => Observation::Impossible("not a port".to_owned()),
    }
}

async fn connect(port: u16, patience: Duration) -> Observation {
    let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut refused = String::new();
    for address in loopbacks {
        match timeout(patience, TcpStream::connect((address, port))).await {
            Ok(Ok(_)) => return Observation::Connected,
            Ok(Err(error)) if refused.is_empty() => refused = format!("port {port}: {error}"),
            Ok(Err(_)) => {}
            Err(_) => return Observation::TimedOut,
        }
    }
    Observation::Impossible(refused)
}

fn forget_output(observation: &mut Observation) {
    if let Observation::Exited { output, .. } | Observation::Answered { body: output, .. } = observation {
        *output = Vec::new();
    }
}

fn shown(observation: &Observation) -> String {
    let beginning = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(512)]));
    match observation {
        Observation::Exited { status: Some(status), output, .. } => {
            format!("status {status}, output {}", beginning(output))
        }
        Observation::Exited { status: None, output, .. } => format!("ended by a signal, output {}", beginning(output)),
        Observation::Connected => "connected".to_owned(),
        Observation::Package(Some(version)) => format!("version {version}"),
        Observation::Package(None) => "not installed".to_owned(),
        Observation::Answered { status, body } => format!("status {status}, answer {}", beginning(body)),
        Observation::Unit(state) => beginning(state.as_bytes()),
        Observation::Free { bytes } => format!("{bytes} bytes are free"),
        Observation::TimedOut => "no answer in time".to_owned(),
        Observation::Impossible(why) => why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Containers as Contained;
    use ledger::bounded::Argument;
    use std::path::PathBuf;

    /// Whatever a manifest says of attempts and pauses, and a house of soaking: health comes to an end.
    #[tokio::test(start_paused = true)]
    async fn all_checks_together_are_over_after_an_hour() {
        let room = tempfile::tempdir().unwrap();
        let launcher = Launcher::new(PathBuf::from("/bin/false"), room.path());
        let contained = Contained::default();
        let rpm = config::Rpm {
            enabled: false,
            root: room.path().to_owned(),
            database: PathBuf::new(),
            lock_wait: Duration::ZERO,
            deadline: Duration::ZERO,
        };
        let minute = Duration::from_secs(60);
        let prober = |soak| {
            let (checks, systemctl) = (Vec::new(), String::new());
            let health = Health { checks, soak, interval: minute, watch: minute, systemctl, manifest_commands: true };
            let containers = Containers::new(room.path().to_owned(), &contained);
            Prober::new(launcher.clone(), containers, Parameters::default(), health, &rpm)
        };
        // Nothing is known of this port, so that every attempt fails at once.
        let port = Argument::new("{port}").unwrap();
        let never = HealthCheck { probe: Probe::Tcp { port }, timeout_ms: 1000, attempts: 1000, interval_ms: 60_000 };
        let mut log = AttemptLog::begin(room.path(), 1, ledger::id::PatchId([1; 32]));
        for (checks, soak) in [(vec![never], Duration::ZERO), (Vec::new(), 2 * HEALTH_DEADLINE)] {
            let begun = Instant::now();
            let failure = prober(soak).examine(&checks, At::Host(room.path()), &mut log).await.unwrap_err();
            assert_eq!((failure.probe.as_str(), failure.cause.as_str()), ("health checks", "not over after 3600s"));
            assert_eq!(begun.elapsed().as_secs(), HEALTH_DEADLINE.as_secs());
        }
    }
}
