//! Whether a program on trial is healthy: judged by the program before, from what the new one says on its control
//! socket.

use super::Standing;
use super::record::Trial;
use crate::settled::reason;
use ledger::id::Digest;
use ledger::receipt::{Reason, ReasonCode};
use serde::Deserialize;
use std::time::Duration;

/// What is looked at of what the new program says of itself. Everything else may be said in words that this one does
/// not know yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Said {
    program: Option<ProgramSaid>,
    ledger: Option<LedgerSaid>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct ProgramSaid {
    blake3: Option<Digest>,
    standing: Standing,
    #[serde(default)]
    ready: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct LedgerSaid {
    freshness: String,
    height: u64,
    nodes: Vec<NodeSaid>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct NodeSaid {
    reachable: bool,
    height: u64,
}

/// What is missing where no node showed anything fresh.
const HEARD_NOTHING: &str = "it heard nothing fresh of the ledger";

/// How far a program on trial is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Healthy: it may be committed.
    Healthy,
    /// Not yet, because of this.
    NotYet(String),
}

/// Judges what a program on trial answered, if it did: one line of JSON.
#[must_use]
pub fn judge(trial: &Trial, answer: Option<&[u8]>) -> Progress {
    let not_yet = |why: &str| Progress::NotYet(why.to_owned());
    let Some(answer) = answer else { return not_yet("it did not answer on its control socket") };
    let value: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let said: Said =
        value.get("status").cloned().and_then(|said| serde_json::from_value(said).ok()).unwrap_or_default();
    let Some(program) = said.program else { return not_yet("it did not say which program it is") };
    if program.blake3 != Some(trial.program.blake3) || program.standing != Standing::OnTrial {
        return not_yet("another program answered");
    }
    let ledger = said.ledger.unwrap_or_default();
    let shows = |node: &NodeSaid| node.reachable && node.height > 0 && node.height >= ledger.height;
    let heard = ledger.nodes.is_empty() || ledger.nodes.iter().any(shows);
    if !heard || ledger.freshness != "fresh" {
        return not_yet(HEARD_NOTHING);
    }
    match program.ready {
        true => Progress::Healthy,
        false => not_yet("it did not find itself healthy"),
    }
}

/// Why a program is gone back from that ended, or was ended.
#[must_use]
pub fn died(how: &str, after: Duration) -> Reason {
    let detail = format!("the new program {how} after {} ms, before it was healthy", after.as_millis());
    reason(ReasonCode::HealthFailed, detail)
}

/// Why a program is gone back from that took too long. Where all that it lacked was news of the ledger, that may have been
/// the network's fault: it was interrupted, which is tried again a few times, and not found unhealthy, which is not.
#[must_use]
pub fn late(trial: &Trial, missing: &str) -> Reason {
    let detail = format!("the new program was not healthy within {:?}: {missing}", trial.patience());
    reason(if missing == HEARD_NOTHING { ReasonCode::Interrupted } else { ReasonCode::HealthFailed }, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installer::installs::VersionId;
    use crate::own_program::record::Program;
    use ledger::bounded::Version;
    use serde_json::json;

    #[test]
    fn healthy_is_who_says_so_himself_has_heard_of_the_ledger_and_is_the_one_on_trial() {
        let blake3 = Digest([2; 32]);
        let id = VersionId::of_baseline(blake3);
        let program = Program { id, version: Version::cut("2"), path: "p".into(), blake3, bytes: 1 };
        let trial = Trial { program, tries_left: 0, patience_ms: 1 };
        let good = json!({"status": {
            "program": {"blake3": blake3, "standing": "on-trial", "ready": true, "word of tomorrow": 1},
            "ledger": {"freshness": "fresh", "height": 7, "nodes": [{"reachable": false, "height": 7}, {"reachable": true, "height": 7}]},
            "installers": "said in another way tomorrow",
        }});
        let judged = |value: &serde_json::Value| judge(&trial, Some(value.to_string().as_bytes()));
        assert_eq!(judged(&good), Progress::Healthy);
        for (path, value, expected) in [
            ("/status/program/ready", json!(false), "it did not find itself healthy"),
            ("/status/program/standing", json!("committed"), "another program answered"),
            ("/status/program/blake3", json!(Digest([3; 32])), "another program answered"),
            ("/status/program", json!(null), "it did not say which program it is"),
            ("/status/ledger/freshness", json!("stale"), "it heard nothing fresh of the ledger"),
            ("/status/ledger/nodes/1/reachable", json!(false), "it heard nothing fresh of the ledger"),
            ("/status/ledger/nodes/1/height", json!(6), "it heard nothing fresh of the ledger"),
            ("/status", json!([1]), "it did not say which program it is"),
        ] {
            let mut said = good.clone();
            *said.pointer_mut(path).unwrap() = value;
            assert_eq!(judged(&said), Progress::NotYet(expected.to_owned()), "{path}");
        }
        assert_eq!(judge(&trial, Some(b"\xff")), Progress::NotYet("it did not say which program it is".to_owned()));
        // A host without nodes is patched out of somebody's hands.
        let mut alone = good.clone();
        *alone.pointer_mut("/status/ledger/nodes").unwrap() = json!([]);
        assert_eq!(judged(&alone), Progress::Healthy);
    }
}
