//! What of the ledger an agent needs: somebody to ask, an answer that proves itself, and a clock that fits.

use super::Finding;
use crate::clock::now_ms;
use crate::config::Config;
use crate::follow;
use crate::follow::heads::{Disbelief, Heads};
use crate::follow::sources::{Source, Sources};
use crate::settled::chain;
use crate::site;
use ledger::block::Header;
use ledger::encoding::decode;
use ledger::limits;
use ledger::moment::{Moment, Span};
use std::time::Duration;

/// How long a node may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// By how much the newest header of a node may be behind those of others: some heartbeats.
const BEHIND_MS_MAX: u64 = 5 * 60 * 1000;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let (trust, heads) = match site::remembered(config) {
        Ok(remembered) => remembered,
        Err(error) => {
            let hint = "take the genesis file from somebody you trust; a memory that is damaged is compared first";
            return vec![Finding::fail("trust root", chain(&error), hint)];
        }
    };
    let mut findings = vec![Finding::ok("trust root", format!("{} (chain {})", trust.name(), trust.chain_id()))];
    if let Some(evidence) = heads.split() {
        let said = format!("the ledger was split: {}", evidence.display());
        let hint =
            format!("`countersign audit check {}` says by whom; nothing is applied meanwhile", evidence.display());
        findings.push(Finding::fail("split", said, hint));
    }
    match Sources::new(&config.ledger) {
        Ok(sources) => findings.extend(nodes(&sources, &heads).await),
        Err(error) => findings.push(Finding::fail("tls", chain(&error), "see ledger.nodes and ledger.ca")),
    }
    findings.push(clock(config, &heads));
    findings
}

/// Whether nodes answer, with proof, and say the same.
async fn nodes(sources: &Sources, heads: &Heads) -> Vec<Finding> {
    let (mut findings, mut times) = (Vec::new(), Vec::new());
    for (place, source) in sources.all().iter().enumerate() {
        match one(place, source, heads).await {
            Ok(time_ms) => times.push((source.node(), time_ms)),
            Err(finding) => findings.push(finding),
        }
    }
    let newest = times.iter().map(|(_, time_ms)| *time_ms).max().unwrap_or_default();
    for (node, time_ms) in &times {
        let behind_ms = newest - time_ms;
        findings.push(match behind_ms > BEHIND_MS_MAX {
            true => {
                let said = format!("{node} is {} behind the others", Span(behind_ms));
                Finding::warn("node", said, "it may be cut off: ask whoever runs it")
            }
            false if *time_ms == 0 => Finding::ok("node", format!("{node} answers, nothing is final there yet")),
            false => Finding::ok("node", format!("{node} answers, its newest header is of {}", Moment(*time_ms))),
        });
    }
    match times.len() {
        0 => findings.push(Finding::fail("nodes", "none answers", "see ledger.nodes, ledger.ca and the network")),
        1 => {
            let hint = "give two or more: one can be cut off, or lie, without being noticed";
            findings.push(Finding::warn("nodes", "one answers", hint));
        }
        count => findings.push(Finding::ok("nodes", format!("{count} answer, and agree"))),
    }
    findings
}

/// The time of a node's newest header, which a quorum signed.
async fn one(place: usize, source: &Source, heads: &Heads) -> Result<u64, Finding> {
    let node = source.node();
    let silent = |why: String| {
        Finding::warn(
            "node",
            format!("{node} does not answer: {why}"),
            "see the network, ledger.ca and ledger.server_name",
        )
    };
    let asked = tokio::time::timeout(ANSWER_WAIT, source.head()).await;
    let head = asked.map_err(|_| silent(format!("nothing within {} s", ANSWER_WAIT.as_secs())))?;
    let head = head.map_err(|error| silent(chain(&error)))?;
    let mut taken = heads.take(place, &head, now_ms());
    if let Err(Disbelief::Head(error)) = &taken
        && error.is_of_a_later_set()
    {
        follow::learn(source, heads).await;
        taken = heads.take(place, &head, now_ms());
    }
    match taken {
        // It is what was believed just now.
        Ok(_) => Ok(decode::<Header>(&head.header).map_or(0, |header| header.time_ms)),
        Err(disbelief) => {
            let hint = "one of them is wrong, the node or this host: compare with another host";
            Err(Finding::fail("node", format!("{node}: {}", chain(&disbelief)), hint))
        }
    }
}

/// Whether the newest header fits this host's clock.
fn clock(config: &Config, heads: &Heads) -> Finding {
    let (newest, now_ms) = (heads.newest(), now_ms());
    let hint = "set this host's clock, as by NTP; if it is right, the ledger is cut off from here";
    if newest.height == 0 {
        return Finding::warn("clock", "nothing to compare it with: no header was seen yet", "");
    }
    let (ahead_ms, age_ms) = (newest.time_ms.saturating_sub(now_ms), now_ms.saturating_sub(newest.time_ms));
    if ahead_ms > limits::CLOCK_AHEAD_MS_MAX {
        return Finding::fail("clock", format!("is {} behind the newest header", Span(ahead_ms)), hint);
    }
    let said = format!("the newest header, of height {}, is {} old", newest.height, Span(age_ms));
    match age_ms > config.ledger.max_age_ms {
        true => Finding::fail("clock", format!("{said}: STALE, nothing is applied"), hint),
        false => Finding::ok("clock", said),
    }
}
