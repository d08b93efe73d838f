//! Services that systemd runs: the agent has them restarted when what they run changed, and sees that they stay up.

use super::launch::Launcher;
use super::{Phase, State};
use ledger::bounded::Name;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

/// How long a unit may take to end and to start: longer than what systemd itself grants each.
const RESTART_MAX: Duration = Duration::from_secs(300);
/// How long systemd may take to say how a unit is.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);
/// Wait between two looks at a unit, after something changed …
const LOOK_MIN: Duration = Duration::from_millis(250);
/// … and when nothing has for long.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Looks without an answer, in a row, after which a unit is not called up any more.
const UNTOLD_MAX: u32 = 3;
/// Largest answer.
const ANSWER_BYTES_MAX: u64 = 4 * 1024;

/// Whoever is to be told when a unit was looked at.
pub(super) type Asked = oneshot::Sender<()>;

/// systemd, as far as it is asked here.
#[derive(Clone, Debug)]
pub(super) struct Units {
    launcher: Launcher,
    systemctl: String,
}

/// What systemd says of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// `active`, `failed`, …
    state: String,
    /// Another one after every start.
    invocation: String,
    /// Its main process.
    pid: Option<u32>,
    /// How often systemd started it again because it had died.
    restarts: u32,
}

impl Seen {
    fn is_up(&self) -> bool {
        ["active", "reloading", "refreshing"].contains(&self.state.as_str())
    }
}

impl Units {
    pub(super) fn new(launcher: Launcher, systemctl: String) -> Self {
        Self { launcher, systemctl }
    }

    /// Has a unit restarted, or only if it is up where it need not be: it must be up afterwards, and another start than
    /// before. How it is then; nothing, where it is not up and need not be.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub(super) async fn restart(&self, unit: &str, must_be_up: bool) -> Result<Option<Seen>, String> {
        let before = self.look(unit).await?;
        if !must_be_up && !before.is_up() {
            return Ok(None);
        }
        self.ask(&["restart", "--", unit], RESTART_MAX).await?;
        let after = self.look(unit).await?;
        match after.state.as_str() {
            "active" if after.invocation != before.invocation => Ok(Some(after)),
            "active" => Err(format!("unit {unit} was not started anew by systemctl restart")),
            state => Err(format!("unit {unit} is {state:?} after systemctl restart")),
        }
    }

    async fn look(&self, unit: &str) -> Result<Seen, String> {
        let properties = "--property=ActiveState,InvocationID,MainPID,NRestarts";
        let said = self.ask(&["show", properties, "--", unit], LOOK_PATIENCE).await?;
        seen(&said).ok_or_else(|| format!("{} show says nothing of {unit}", self.systemctl))
    }

    /// Asks systemd; what it says.
    async fn ask(&self, words: &[&str], patience: Duration) -> Result<String, String> {
        let words: Vec<String> =
            std::iter::once(&*self.systemctl).chain(words.iter().copied()).map(str::to_owned).collect();
        let called = words.join(" ");
        let mut command = self.launcher.command(&words, &BTreeMap::new(), Path::new("/"));
        // It is killed when nobody waits for it any more.
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{called}: {error}"))?;
        let stdout = child.stdout.take();
        let talk = async {
            let mut said = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut said).await?;
            }
            Ok::<(Vec<u8>, ExitStatus), io::Error>((said, child.wait().await?))
        };
        match timeout(patience, talk).await {
            Ok(Ok((said, status))) if status.success() => Ok(String::from_utf8_lossy(&said).into_owned()),
            Ok(Ok((_, status))) => Err(format!("{called}: {status}")),
            Ok(Err(error)) => Err(format!("{called}: {error}")),
            Err(_) => Err(format!("{called}: no answer within {} s", patience.as_secs())),
        }
    }
}

/// Lines of `Name=value`.
fn seen(said: &str) -> Option<Seen> {
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Some(Seen {
        state: value("ActiveState").filter(|state| !state.is_empty())?.to_owned(),
        invocation: value("InvocationID").unwrap_or_default().to_owned(),
        pid: value("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0),
        restarts: value("NRestarts").and_then(|restarts| restarts.parse().ok()).unwrap_or_default(),
    })
}

/// Watches one unit until it is told to stop.
pub(super) struct Watcher {
    service: Name,
    unit: String,
    units: Units,
    say: watch::Sender<State>,
    /// The start that is known, and how often systemd had started it again then.
    known: Option<(String, u32)>,
    /// Looks in a row that told nothing.
    untold: u32,
}

impl Watcher {
    /// Of a service, from what was seen of its unit on.
    pub(super) fn new(
        service: Name,
        unit: String,
        units: Units,
        say: watch::Sender<State>,
        seen: Option<Seen>,
    ) -> Self {
        let known = seen.map(|seen| (seen.invocation, seen.restarts));
        Self { service, unit, units, say, known, untold: 0 }
    }

    /// Looks at once, when somebody asks, and now and then.
    pub(super) async fn watch(mut self, mut asked: mpsc::Receiver<Asked>, mut stop: oneshot::Receiver<()>) {
        let (mut rest, mut waits) = (LOOK_MIN, None::<Asked>);
        loop {
            let seen = tokio::select! {
                seen = self.units.look(&self.unit) => seen,
                _ = &mut stop => return self.end(),
            };
            let is_news = self.hear(seen);
            rest = if is_news || self.cannot_tell() { LOOK_MIN } else { (rest * 2).min(LOOK_MAX) };
            if let Some(answer) = waits.take_if(|_| !self.cannot_tell()) {
                // Whoever asked may be gone.
                let _ = answer.send(());
            }
            tokio::select! {
                () = sleep(rest) => {}
                Some(answer) = asked.recv(), if waits.is_none() => waits = Some(answer),
                _ = &mut stop => return self.end(),
            }
        }
    }

    /// Whether systemd did not answer just now, and may the next time.
    fn cannot_tell(&self) -> bool {
        (1..UNTOLD_MAX).contains(&self.untold)
    }

    /// Takes note of what was seen; whether that is another thing than before.
    fn hear(&mut self, seen: Result<Seen, String>) -> bool {
        self.untold = if seen.is_err() { self.untold.saturating_add(1) } else { 0 };
        match seen {
            Ok(seen) if seen.is_up() => self.is_up(seen),
            Ok(Seen { state, .. }) => {
                // That it is started again is the same death.
                self.known = None;
                self.is_down(format!("unit {} is {state:?}", self.unit))
            }
            // systemd was busy, perhaps with itself.
            Err(_) if self.cannot_tell() => false,
            Err(why) => self.is_down(why),
        }
    }

    fn is_up(&mut self, Seen { invocation, pid, restarts, .. }: Seen) -> bool {
        let before = self.known.replace((invocation.clone(), restarts));
        let died = before.as_ref().is_some_and(|(_, before)| restarts > *before);
        // Somebody else may start it anew: whoever judges it then judges another one.
        let is_another = before.is_some_and(|(before, _)| before != invocation);
        self.say.send_if_modified(|state| {
            let is_news = died || is_another || state.phase != Phase::Running || state.pid != pid;
            (state.phase, state.pid) = (Phase::Running, pid);
            if died {
                tracing::warn!(service = %self.service, unit = self.unit, "service died, and systemd started it again");
                state.deaths += 1;
                state.last_end = Some(format!("unit {} died and was started again by systemd", self.unit));
            } else if is_another {
                tracing::info!(service = %self.service, unit = self.unit, "service was started anew by somebody");
                state.last_end = Some(format!("unit {} was started anew by somebody", self.unit));
            }
            is_news
        })
    }

    fn is_down(&self, trouble: String) -> bool {
        self.say.send_if_modified(|state| {
            let is_news = state.phase != Phase::Waiting || state.last_end.is_none();
            (state.phase, state.pid) = (Phase::Waiting, None);
            if is_news {
                tracing::warn!(service = %self.service, trouble, "service died");
                state.deaths += 1;
            }
            let says_more = state.last_end.as_ref() != Some(&trouble);
            state.last_end = Some(trouble);
            is_news || says_more
        })
    }

    /// systemd goes on with it.
    fn end(self) {
        self.say.send_modify(|state| (state.phase, state.pid) = (Phase::Stopped, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(restarts: u32, pid: u32) -> Result<Seen, String> {
        Ok(seen(&format!("ActiveState=active\nInvocationID=a1\nMainPID={pid}\nNRestarts={restarts}\n")).unwrap())
    }

    #[test]
    fn what_systemd_says_is_understood() {
        let socket = seen("ActiveState=active\nInvocationID=0f\nMainPID=0\n").unwrap();
        assert_eq!((socket.pid, socket.restarts, socket.invocation.as_str()), (None, 0, "0f"));
        assert_eq!(seen("ActiveState=\nMainPID=7\n"), None);
        assert_eq!(seen(""), None);
    }

    #[test]
    fn a_unit_that_is_down_and_one_that_was_down_between_two_looks_died_once_each() {
        let (say, state) = watch::channel(State { phase: Phase::Waiting, pid: None, deaths: 0, last_end: None });
        let units = Units::new(Launcher::new("agent".into(), Path::new("/")), "systemctl".to_owned());
        let (service, unit) = (Name::new("web").unwrap(), "web.service".to_owned());
        let mut watcher = Watcher::new(service, unit, units, say, active(3, 7).ok());
        let known = || {
            let state = state.borrow();
            (state.phase.clone(), state.deaths)
        };
        assert!(watcher.hear(active(3, 7)), "it came up");
        assert!(!watcher.hear(active(3, 7)));
        assert_eq!(known(), (Phase::Running, 0), "what it did before is no death");
        assert!(watcher.hear(active(4, 8)));
        assert_eq!(known(), (Phase::Running, 1));
        let down = |state: &str| Ok(seen(&format!("ActiveState={state}\nNRestarts=4\n")).unwrap());
        assert!(watcher.hear(down("activating")));
        assert!(watcher.hear(down("failed")), "it is worse");
        assert_eq!(known(), (Phase::Waiting, 2));
        assert!(watcher.hear(active(5, 9)));
        assert_eq!(known(), (Phase::Running, 2), "the same death");
        // Somebody restarts it, and systemd begins to count again: no death, and another start than was judged.
        let anew = Ok(seen("ActiveState=active\nInvocationID=b2\nMainPID=10\nNRestarts=0\n").unwrap());
        assert!(watcher.hear(anew));
        assert_eq!(known(), (Phase::Running, 2));
        assert_eq!(state.borrow().last_end.as_deref(), Some("unit web.service was started anew by somebody"));
        // systemd need not answer at once.
        let silent = || Err("systemctl show: no answer".to_owned());
        assert!(!watcher.hear(silent()) && !watcher.hear(silent()) && watcher.cannot_tell());
        assert_eq!(known(), (Phase::Running, 2));
        assert!(watcher.hear(silent()) && !watcher.cannot_tell());
        assert_eq!(known(), (Phase::Waiting, 3));
    }
}
