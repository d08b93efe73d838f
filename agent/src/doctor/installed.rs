//! How what is installed stands in the ledger.

use super::Finding;
use crate::config::Config;
use crate::data::DataDir;
use crate::follow::heads::Heads;
use crate::follow::sources::Sources;
use crate::recalls::{self, Recalls};
use crate::settled::chain;
use crate::status::{self, InstalledStatus, RecalledStatus};
use ledger::proof::TrustRoot;
use std::time::Duration;

/// How long the nodes may take to prove how one patch stands.
const PROOF_WAIT: Duration = Duration::from_secs(15);

/// Whether something that is installed was recalled: by what this host knows, and else by what the nodes prove.
pub(super) async fn recalls(config: &Config, sources: &Sources, heads: &Heads, trust: &TrustRoot) -> Vec<Finding> {
    let data = DataDir::at(config.data_dir.clone());
    let known = match Recalls::open(&data.recalls()) {
        Ok(known) => known,
        Err(error) => return vec![unreadable(&chain(&error))],
    };
    let mut trouble = Vec::new();
    let all = status::installed(config, &mut trouble);
    let mut findings: Vec<_> = trouble.iter().map(|trouble| unreadable(trouble)).collect();
    let mut well = 0;
    for mut installed in all {
        let Some(patch) = installed.patch else { continue };
        if installed.recalled.is_none() {
            let looking = recalls::look(patch, sources, heads, trust);
            match tokio::time::timeout(PROOF_WAIT, looking).await {
                Ok(Ok(None)) => {
                    well += 1;
                    continue;
                }
                Ok(Ok(Some((recall, _)))) => {
                    installed.recalled = Some(RecalledStatus::new(recall, known.advice(patch, &data)));
                }
                Ok(Err(untold)) => {
                    findings.push(not_told(&installed, &chain(&untold)));
                    continue;
                }
                Err(_) => {
                    findings.push(not_told(&installed, &format!("nothing within {} s", PROOF_WAIT.as_secs())));
                    continue;
                }
            }
        }
        let hint = installed.recalled.as_ref().map(|recalled| recalled.hint.clone()).unwrap_or_default();
        findings.push(Finding::fail("RECALLED", installed.recall().unwrap_or_default(), hint));
    }
    if well > 0 {
        findings.push(Finding::ok(
            "installed",
            match well {
                1 => "one patch, proven not to be recalled".to_owned(),
                _ => format!("{well} patches, proven not to be recalled"),
            },
        ));
    }
    findings
}

fn unreadable(said: &str) -> Finding {
    Finding::fail("installed", said, "run this as the agent's user, or see that file")
}

fn not_told(installed: &InstalledStatus, why: &str) -> Finding {
    let version = terminal::escape(installed.version.as_str());
    let said = format!("whether {} {version} was recalled cannot be told: {why}", installed.product);
    Finding::warn("installed", said, "see the nodes below: one that answers proves it")
}
