//! What is there to be run: the agent's own services, and systemd's where it runs the host. Whether they are meant to
//! run is a fact; whether they run is a reading, for some come and go by themselves.

use super::{Troubles, fact};
use crate::config::Config;
use crate::installer::tool::{self, Tool, ToolError};
use ledger::inventory::{Manager, Service};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// There where systemd runs the host, beneath the root.
const SYSTEMD: &str = "run/systemd/system";
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// What it may say.
const SAID_BYTES_MAX: u64 = 1024 * 1024;

/// How services run now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// How many run.
    pub(super) running: u32,
    /// Which failed.
    pub(super) failed: Vec<String>,
}

pub(super) fn look(config: &Config, root: &Path, troubles: &mut Troubles) -> (Vec<Service>, Running) {
    let own = config.services.iter().map(|service| Service {
        manager: Manager::Agent,
        name: fact(service.name.as_str()),
        state: fact(&format!("{} {}", service.of.product, service.of.channel)),
    });
    let mut all: Vec<Service> = own.collect();
    if !root.join(SYSTEMD).is_dir() {
        return (all, Running::default());
    }
    let Some(systemctl) = find(&config.health.systemctl) else { return (all, Running::default()) };
    let ask = |words: &[&str]| -> Result<String, ToolError> {
        let tool = Tool::new(&systemctl, PATIENCE).args(words).args(["--type=service", "--no-legend", "--no-pager"]);
        Ok(String::from_utf8_lossy(&tool.read(SAID_BYTES_MAX)?).into_owned())
    };
    let files = troubles.see("systemd", ask(&["list-unit-files"]));
    all.extend(files.lines().filter_map(unit_file));
    let units = ask(&["list-units", "--plain", "--state=running,failed"]).unwrap_or_default();
    (all, running(&units))
}

fn find(systemctl: &str) -> Option<PathBuf> {
    if systemctl.contains('/') { Some(systemctl.into()) } else { tool::find(systemctl) }
}

/// `cron.service enabled enabled`: the unit, whether it is enabled, and whether it would be by default.
fn unit_file(line: &str) -> Option<Service> {
    let mut words = line.split_whitespace();
    let (name, state) = (words.next()?, words.next()?);
    Some(Service { manager: Manager::Systemd, name: fact(name), state: fact(state) })
}

/// `cron.service loaded active running Regular background …`, or `… loaded failed failed …`.
fn running(units: &str) -> Running {
    let mut all = Running::default();
    for line in units.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [name, _, "failed", ..] => all.failed.push(name.to_owned()),
            [_, _, "active", "running", ..] => all.running += 1,
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_says_is_understood() {
        let service = unit_file("cron.service                  enabled   enabled").unwrap();
        assert_eq!((service.name.as_str(), service.state.as_str()), ("cron.service", "enabled"));
        assert_eq!(unit_file("one"), None);
        let said = "cron.service loaded active running Regular background\nfstrim.service loaded failed failed Discard\n\
                    getty@tty1.service loaded active running Getty\nodd\n";
        assert_eq!(running(said), Running { running: 2, failed: vec!["fstrim.service".to_owned()] });
    }
}
