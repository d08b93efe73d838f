//! A fresh endpoint, asked to do what it must not do.

use super::error::AttackError;
use super::files::{Files, files_of};
use super::judge::Ending;
use super::stage::{CHANNEL, Stage, wait_for};
use super::tool::{self, text};
use crate::layout::Agent;
use crate::processes;
use crate::raise::{agent_subscriptions, make_agent_of};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

/// Permission bits of others than a file's user.
const OTHERS: u32 = 0o077;

/// What a host is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind<'a> {
    /// Products it follows.
    pub products: &'a [&'a str],
    /// Nodes it asks; the site's when there are none.
    pub nodes: &'a [&'a str],
    /// More for its section `[ledger]`.
    pub ledger: &'a str,
    /// More for its section `[host]`.
    pub host: &'a str,
    /// More sections.
    pub more: &'a str,
}

/// A fresh endpoint.
pub struct Host {
    pub(super) agent: Agent,
}

impl Stage {
    /// Makes an endpoint and enrols it. Its agent does not run: it is asked.
    ///
    /// # Errors
    /// [`AttackError`].
    pub fn host(&mut self, kind: Kind<'_>) -> Result<Host, AttackError> {
        self.hosts += 1;
        let site = self.site()?.grpc.clone();
        let nodes = if kind.nodes.is_empty() { &[site.as_str()][..] } else { kind.nodes };
        let products: Vec<String> = kind.products.iter().map(|product| (*product).to_owned()).collect();
        let more = agent_subscriptions(&products) + "\n" + kind.more;
        let agent = make_agent_of(&self.devnet, &format!("host-{}", self.hosts), nodes, &more)?;
        let config = fs::read_to_string(&agent.config).map_err(AttackError::io("cannot read agent.toml"))?;
        let within = |section: &str, more: &str| format!("{section}\n{more}\n");
        let config = config.replacen("[ledger]\n", &within("[ledger]", kind.ledger), 1);
        let config = config.replacen("[host]\n", &within("[host]", kind.host), 1);
        fs::write(&agent.config, config).map_err(AttackError::io("cannot write agent.toml"))?;
        Ok(Host { agent })
    }

    /// Starts a host's agent, and waits until it answers: who asks before that does the work itself.
    pub(super) async fn start(&mut self, host: &mut Host) -> Result<(), AttackError> {
        processes::start_agent(&mut host.agent).map_err(AttackError::io("cannot start countersign-agent"))?;
        // Written down at once: whoever is interrupted leaves nobody behind.
        self.devnet.agents.push(host.agent.clone());
        self.devnet.save().map_err(AttackError::io("cannot write devnet.json"))?;
        wait_for("an agent that runs", async || {
            let status = host.status().await?;
            Ok(status.get("running").and_then(Value::as_bool).filter(|runs| *runs).map(drop))
        })
        .await
    }

    /// Ends a host's agent.
    pub(super) fn stop(&mut self, host: &mut Host) -> Result<(), AttackError> {
        processes::stop(host.agent.pid.take(), &host.agent.config, false);
        self.devnet.agents.retain(|agent| agent.name != host.agent.name);
        self.devnet.save().map_err(AttackError::io("cannot write devnet.json"))
    }
}

impl Host {
    /// Has its program do something; the exit code, the answer for programs, and what it said to people.
    pub(super) async fn ask(
        &self,
        command: &[&str],
    ) -> Result<(Option<i32>, Result<Value, AttackError>, String), AttackError> {
        let config = self.agent.config.display().to_string();
        let arguments: Vec<&str> = command.iter().copied().chain(["--config", &config, "-o", "json"]).collect();
        let output = tool::output("countersign-agent", &arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        Ok((output.status.code(), tool::parsed("countersign-agent", &output), said))
    }

    /// How it says it stands.
    pub(super) async fn status(&self) -> Result<Value, AttackError> {
        self.ask(&["status"]).await?.1
    }

    /// Waits until its running agent says that what it knows of the ledger is `fresh`, or `stale`.
    pub(super) async fn says_it_is(&self, freshness: &str) -> Result<(), AttackError> {
        wait_for(&format!("an agent that says it is {freshness}"), async || {
            let status = self.status().await?;
            Ok(status.get("ledger").filter(|ledger| text(ledger, "freshness") == freshness).map(drop))
        })
        .await
    }

    /// What is wrong, for a person who looks: what a doctor says of one thing that is not well.
    pub(super) async fn doctor(&self, about: &str) -> Result<Option<String>, AttackError> {
        let report = self.ask(&["doctor"]).await?.1?;
        let findings = report.get("findings").and_then(Value::as_array).into_iter().flatten();
        let mut wrong = findings.filter(|finding| text(finding, "about") == about && text(finding, "mark") == "fail");
        Ok(wrong.next().map(|finding| text(finding, "said")))
    }

    /// What it says is installed.
    async fn installed(&self) -> Result<Value, AttackError> {
        Ok(self.status().await?.get("installed").cloned().unwrap_or_default())
    }

    /// Asks it to bring a patch onto the host.
    ///
    /// # Errors
    /// [`AttackError`].
    pub async fn apply(&self, patch: &str) -> Result<Ending, AttackError> {
        self.applied(&["apply", patch]).await
    }

    /// The same, with a proof file out of somebody's hands.
    pub(super) async fn apply_from(&self, patch: &str, proof: &Path) -> Result<Ending, AttackError> {
        self.applied(&["apply", patch, "--from", &proof.display().to_string()]).await
    }

    async fn applied(&self, command: &[&str]) -> Result<Ending, AttackError> {
        let before = self.installed().await?;
        let (code, answer, said) = self.ask(command).await?;
        let after = self.installed().await?;
        let Ok(settled) = answer else {
            return Ok(Ending::Neither { what: format!("no verdict (exit code {code:?}): {said}") });
        };
        let (outcome, reason) = (text(&settled, "outcome"), settled.get("reason").cloned().unwrap_or_default());
        Ok(match (code, outcome.as_str()) {
            (Some(0), "applied") => Ending::Done { what: format!("{} was installed", text(&settled, "to_version")) },
            // Nothing was begun: it is there, or its hour has not come.
            (_, "installed-already" | "waits") if after == before => {
                Ending::Neither { what: outcome.replace('-', " ") }
            }
            // Whatever it says: that is what counts.
            _ if after != before => Ending::Done { what: format!("{outcome}, and yet {after} is installed") },
            (Some(1), "refused" | "not-applicable") => {
                Ending::Refused { check: text(&reason, "code"), detail: text(&reason, "detail") }
            }
            _ => Ending::Neither { what: format!("{outcome}: {reason}") },
        })
    }

    /// What is installed of a product, file by file, as programs would find it; nothing when it is not there.
    pub(super) fn installed_files(&self, product: &str) -> Result<Files, AttackError> {
        let current = self.agent.data_dir.join("installs").join(product).join(CHANNEL).join("current");
        if current.exists() { files_of(&current) } else { Ok(Files::new()) }
    }

    /// What others than the agent's user may do in its data directory: permission bits.
    pub(super) fn rights_of_others(&self) -> Result<u64, AttackError> {
        let data =
            fs::metadata(&self.agent.data_dir).map_err(AttackError::io("cannot look at the agent's directory"))?;
        Ok(u64::from(data.permissions().mode() & OTHERS))
    }

    /// What its program writes about something, for people or for programs, whatever comes of it.
    pub(super) async fn written(&self, command: &[&str], format: &str) -> Result<Output, AttackError> {
        let config = self.agent.config.display().to_string();
        let arguments: Vec<&str> = command.iter().copied().chain(["--config", &config, "-o", format]).collect();
        tool::output("countersign-agent", &arguments).await
    }

    /// What it would be asked to install, in a process of its own that is killed (SIGKILL) when `moment` is over, if it has
    /// not ended before.
    pub(super) async fn killed_while_applying(
        &self,
        patch: &str,
        moment: impl Future<Output = Result<(), AttackError>>,
    ) -> Result<(), AttackError> {
        let config = self.agent.config.display().to_string();
        tool::killed_after("countersign-agent", &["apply", patch, "--config", &config], moment).await
    }

    /// Takes back the last update.
    pub(super) async fn take_back(&self, patch: &str) -> Result<(), AttackError> {
        let settled = self.ask(&["rollback", patch]).await?.1?;
        match text(&settled, "outcome") == "rolled-back" {
            true => Ok(()),
            false => Err(AttackError::Answer { from: self.agent.name.clone(), answer: settled.to_string() }),
        }
    }

    /// The most memory its running agent ever had, in bytes.
    pub(super) fn memory_peak(&self) -> Result<u64, AttackError> {
        let gone = || AttackError::Stage(format!("the agent of {} does not run", self.agent.name));
        let pid = self.agent.pid.ok_or_else(gone)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|_| gone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or_else(gone)?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().map_err(|_| gone())?;
        Ok(1_024 * kilobytes)
    }

    /// Bytes of everything beneath its data directory.
    pub(super) fn disk(&self) -> u64 {
        let (mut bytes, mut waiting) = (0, vec![self.agent.data_dir.clone()]);
        while let Some(directory) = waiting.pop() {
            // What vanishes meanwhile takes no room.
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                    Ok(metadata) => bytes += metadata.len(),
                    Err(_) => {}
                }
            }
        }
        bytes
    }
}
