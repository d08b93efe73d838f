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
struct Seen {
    /// `active`, `failed`, …
    state: String,
    /// Another one after every start.
    invocation: String,
    /// Its main process.
    pid: Option<u32>,
    /// How often systemd started it again because it had died.
    restarts: u32,
}

impl Units {
    pub(super) fn new(launcher: Launcher, systemctl: String) -> Self {
        Self { launcher, systemctl }
    }

    /// Has a unit restarted: it must be up afterwards, and another start than before.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub(super) async fn restart(&self, unit: &str) -> Result<(), String> {
        let before = self.look(unit).await?;
        self.ask(&["restart", "--", unit], RESTART_MAX).await?;
        let after = self.look(unit).await?;
        match after.state.as_str() {
            "active" if after.invocation != before.invocation => Ok(()),
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
    pub(super) service: Name,
    pub(super) unit: String,
    pub(super) units: Units,
    pub(super) say: watch::Sender<State>,
}

impl Watcher {
    /// Looks at once, when somebody asks, and now and then.
    pub(super) async fn watch(self, mut asked: mpsc::Receiver<Asked>, mut stop: oneshot::Receiver<()>) {
        let (mut restarts, mut rest, mut waits) = (None, LOOK_MIN, None::<Asked>);
        loop {
            let seen = tokio::select! {
                seen = self.units.look(&self.unit) => seen,
                _ = &mut stop => return self.end(),
            };
            rest = if self.hear(seen, &mut restarts) { LOOK_MIN } else { (rest * 2).min(LOOK_MAX) };
            if let Some(answer) = waits.take() {
                // Whoever asked may be gone.
                let _ = answer.send(());
            }
            tokio::select! {
                () = sleep(rest) => {}
                Some(answer) = asked.recv() => waits = Some(answer),
                _ = &mut stop => return self.end(),
            }
        }
    }

    /// Takes note of what was seen; whether that is another thing than before.
    fn hear(&self, seen: Result<Seen, String>, restarts: &mut Option<u32>) -> bool {
        let trouble = match seen {
            Ok(Seen { state, pid, restarts: now, .. }) if state == "active" || state == "reloading" => {
                let died = restarts.replace(now).is_some_and(|before| now > before);
                return self.say.send_if_modified(|known| {
                    let changed = died || known.phase != Phase::Running || known.pid != pid;
                    (known.phase, known.pid) = (Phase::Running, pid);
                    if died {
                        tracing::warn!(service = %self.service, unit = self.unit, "service died, and systemd started it again");
                        known.deaths += 1;
                        known.last_end = Some(format!("unit {} died and was started again by systemd", self.unit));
                    }
                    changed
                });
            }
            Ok(Seen { state, restarts: now, .. }) => {
                // That systemd starts it again is the same death.
                *restarts = Some(now.saturating_add(1));
                format!("unit {} is {state:?}", self.unit)
            }
            Err(why) => why,
        };
        self.say.send_if_modified(|known| {
            let is_news = known.phase != Phase::Waiting || known.last_end.is_none();
            (known.phase, known.pid) = (Phase::Waiting, None);
            if is_news {
                tracing::warn!(service = %self.service, trouble, "service died");
                known.deaths += 1;
            }
            let changed = known.last_end.as_ref() != Some(&trouble);
            known.last_end = Some(trouble);
            is_news || changed
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
        let watcher = Watcher { service: Name::new("web").unwrap(), unit: "web.service".to_owned(), units, say };
        let mut restarts = None;
        let known = || {
            let state = state.borrow();
            (state.phase.clone(), state.deaths)
        };
        assert!(watcher.hear(active(3, 7), &mut restarts), "it came up");
        assert!(!watcher.hear(active(3, 7), &mut restarts));
        assert_eq!(known(), (Phase::Running, 0), "what it did before nobody watched");
        assert!(watcher.hear(active(4, 8), &mut restarts));
        assert_eq!(known(), (Phase::Running, 1));
        let down = |state: &str| Ok(seen(&format!("ActiveState={state}\nNRestarts=4\n")).unwrap());
        assert!(watcher.hear(down("activating"), &mut restarts));
        assert!(watcher.hear(down("failed"), &mut restarts), "it is worse");
        assert_eq!(known(), (Phase::Waiting, 2));
        assert!(watcher.hear(active(5, 9), &mut restarts));
        assert_eq!(known(), (Phase::Running, 2), "the same death");
        // Somebody restarts it: systemd begins to count again.
        assert!(watcher.hear(active(0, 10), &mut restarts));
        assert_eq!(known(), (Phase::Running, 2));
        assert!(watcher.hear(Err("systemctl show: no answer".to_owned()), &mut restarts));
        assert_eq!(known(), (Phase::Waiting, 3));
    }
}
