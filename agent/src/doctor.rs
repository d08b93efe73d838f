//! What an agent needs, looked at thing by thing: each is well, or what to do about it is said. Only looked
//! at: nothing is changed, and no running agent is in the way. Only if two nodes show that the ledger was
//! split, the evidence is kept.

mod host;
mod installed;
mod inventory;
mod ledger;
mod sources;

use crate::config::Config;
use serde::Serialize;
use std::error::Error;
use std::{fmt, io};

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// As it should be.
    Ok,
    /// Updates go on, and somebody should look at it.
    Warn,
    /// No update can go well like that, or what runs must not go on running; somebody has to act.
    Fail,
}

/// What was found out about a thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// About what.
    pub about: &'static str,
    /// How it is.
    pub mark: Mark,
    /// What was seen.
    pub said: String,
    /// What to do about it; empty when there is nothing to do.
    pub hint: String,
}

impl Finding {
    fn ok(about: &'static str, said: impl fmt::Display) -> Self {
        Self { about, mark: Mark::Ok, said: said.to_string(), hint: String::new() }
    }

    fn warn(about: &'static str, said: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self { about, mark: Mark::Warn, said: said.to_string(), hint: hint.to_string() }
    }

    fn fail(about: &'static str, said: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self { about, mark: Mark::Fail, said: said.to_string(), hint: hint.to_string() }
    }
}

/// Everything that was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Thing by thing.
    pub findings: Vec<Finding>,
}

/// What to do where something cannot be read: nothing is wrong with what only another user may read.
fn hint_at(error: &(dyn Error + 'static), otherwise: &'static str) -> &'static str {
    if is_forbidden(error) { "run this as the agent's user" } else { otherwise }
}

fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    let by_itself = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    error.downcast_ref().is_some_and(by_itself) || error.source().is_some_and(is_forbidden)
}

/// Looks at everything an agent with this configuration needs.
pub async fn examine(config: &Config) -> Report {
    let mut findings = vec![host::key(config)];
    findings.extend(host::directories(config));
    findings.push(host::room(config));
    findings.push(host::subscriptions(config));
    findings.extend(host::orphans(config));
    findings.extend(host::installers(config));
    findings.extend(host::restart(config));
    findings.push(host::journal(config));
    findings.push(host::self_update(config));
    findings.push(host::agent(config).await);
    let (sources, ledger) = tokio::join!(sources::examine(config), ledger::examine(config));
    findings.extend(ledger);
    findings.extend(sources);
    findings.push(inventory::examine(config));
    Report { findings }
}

impl Report {
    /// Whether nothing is in the way of an update.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.mark != Mark::Fail)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut warnings, mut failures) = (0, 0);
        for Finding { about, mark, said, hint } in &self.findings {
            let mark = match mark {
                Mark::Ok => "ok",
                Mark::Warn => "warn",
                Mark::Fail => "FAIL",
            };
            (warnings, failures) = (warnings + i32::from(mark == "warn"), failures + i32::from(mark == "FAIL"));
            writeln!(f, "{mark:<4}  {about:<12}  {said}")?;
            if !hint.is_empty() {
                writeln!(f, "      {:<12}  hint: {hint}", "")?;
            }
        }
        write!(f, "{} looked at: {failures} fail, {warnings} warn", self.findings.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FileError;
    use crate::installer::journal::JournalError;

    #[test]
    fn what_only_another_user_may_read_is_not_moved_away() {
        let journal = |kind: io::ErrorKind| {
            JournalError::from(FileError { act: "open", path: "journal".into(), source: kind.into() })
        };
        let hint = |kind| hint_at(&journal(kind), JournalError::PUT_RIGHT);
        assert_eq!(hint(io::ErrorKind::PermissionDenied), "run this as the agent's user");
        assert_eq!(hint(io::ErrorKind::InvalidData), JournalError::PUT_RIGHT);
    }
}
