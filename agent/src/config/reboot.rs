//! `[reboot]`: whether, when and how this host is restarted for a patch.

use super::installers::check_root;
use super::schedule::milliseconds;
use super::{Wrong, wrong};
use ledger::limits;
use policy::Restart;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Longest time a host may take to go down.
const PATIENCE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest time a patch may wait for its restart.
const DEADLINE_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Longest time a host may take to come up.
const UP_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// How a host is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reboot {
    /// What restarts it: program and arguments.
    pub command: Vec<String>,
    /// Where it is looked up how the host runs, and whether it asks for a restart.
    pub root: PathBuf,
    /// How long the host may take to go down before it is asked again.
    pub patience: Duration,
    /// How long a patch that is in place may wait for the restart; then it is taken back.
    pub deadline: Duration,
    /// How long the host must have run before what waited for the restart is judged.
    pub up_after: Duration,
}

/// `[reboot]` as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawReboot {
    when: When,
    command: Vec<String>,
    root: PathBuf,
    patience: String,
    deadline: String,
    up_after: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum When {
    #[default]
    Never,
    Window,
    Now,
}

impl Default for RawReboot {
    fn default() -> Self {
        let command = vec!["systemctl".to_owned(), "reboot".to_owned()];
        let (patience, deadline, up_after) = ("10m".to_owned(), "7d".to_owned(), "2m".to_owned());
        Self { when: When::default(), command, root: "/".into(), patience, deadline, up_after }
    }
}

pub(super) fn parse(raw: &RawReboot) -> Result<(Restart, Reboot), Wrong> {
    if raw.command.first().is_none_or(String::is_empty) || raw.command.len() > limits::ARGUMENTS_MAX {
        return wrong(
            "reboot.command",
            format!("a program and its arguments, {} words at most", limits::ARGUMENTS_MAX),
        );
    }
    check_root("reboot.root", &raw.root)?;
    let duration = |field: &str, text: &str, most| match milliseconds(field, text, most)? {
        0 => wrong(field, "nothing is that quick"),
        ms => Ok(Duration::from_millis(ms)),
    };
    let restart = match raw.when {
        When::Never => Restart::Never,
        When::Window => Restart::Window,
        When::Now => Restart::Now,
    };
    let reboot = Reboot {
        command: raw.command.clone(),
        root: raw.root.clone(),
        patience: duration("reboot.patience", &raw.patience, PATIENCE_MAX)?,
        deadline: duration("reboot.deadline", &raw.deadline, DEADLINE_MAX)?,
        up_after: Duration::from_millis(milliseconds("reboot.up_after", &raw.up_after, UP_AFTER_MAX)?),
    };
    Ok((restart, reboot))
}
