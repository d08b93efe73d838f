//! What of the ledger an agent needs: somebody to ask, an answer that proves itself, and a clock that fits.

use super::{Finding, Mark, hint_at, installed};
use crate::clock::now_ms;
use crate::config::Config;
use crate::enrolment::{self, Enrolment};
use crate::follow;
use crate::follow::heads::{Disbelief, Heads};
use crate::follow::sources::{Source, Sources};
use crate::follow::split;
use crate::key;
use crate::settled::chain;
use crate::site;
use ledger::block::Header;
use ledger::encoding::decode;
use ledger::limits;
use ledger::moment::{Moment, Span};
use ledger::proof::TrustRoot;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a node may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long all of them together may take to say whether they know this host's key.
const ENROLMENT_WAIT: Duration = Duration::from_secs(15);
/// By how much the newest header of a node may be behind those of others: some heartbeats.
const BEHIND_MS_MAX: u64 = 5 * 60 * 1000;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let (trust, heads) = match site::remembered(config) {
        Ok(remembered) => remembered,
        Err(error) => {
            let hint = "take the genesis file from somebody you trust; a memory that is damaged is compared first";
            let hint = hint_at(&error, hint);
            return vec![Finding::fail("trust root", chain(&error), hint)];
        }
    };
    let mut findings = vec![Finding::ok("trust root", format!("{} (chain {})", trust.name(), trust.chain_id()))];
    if let Some(evidence) = heads.split() {
        let said = format!("the ledger was split: {}", evidence.display());
        let hint = format!("{}; nothing is applied meanwhile", split::advice(&evidence));
        findings.push(Finding::fail("split", said, hint));
    }
    match Sources::new(&config.ledger) {
        Ok(_) if config.ledger.nodes.is_empty() => {
            let said = "none: people bring the proofs; receipts wait until there is one";
            findings.push(Finding::ok("nodes", said));
        }
        Ok(sources) => {
            let of_nodes = nodes(&sources, &heads).await;
            findings.extend(installed::recalls(config, &sources, &heads, &trust).await);
            findings.extend(of_nodes);
            findings.extend(unlisted(config, &sources).await);
            findings.extend(enrolment(config, &trust, &sources, &heads).await);
        }
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
    let is_believed = !findings.iter().any(|finding| finding.mark == Mark::Fail);
    let newest = times.iter().map(|(_, time_ms)| *time_ms).max().unwrap_or_default();
    let (of_twins, distinct) = twins(sources, &times).await;
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
    findings.extend(of_twins);
    match distinct {
        0 if is_believed => {
            findings.push(Finding::fail("nodes", "none answers", "see ledger.nodes, ledger.ca and the network"));
        }
        0 => {
            let hint =
                "is the genesis file that of these nodes' ledger? take it from somebody you trust: ledger.genesis";
            findings.push(Finding::fail("nodes", "none says what this host can believe", hint));
        }
        1 => {
            let hint = "give two or more: one can be cut off, or lie, without being noticed";
            findings.push(Finding::warn("nodes", "one answers", hint));
        }
        count => findings.push(Finding::ok("nodes", format!("{count} answer, and agree"))),
    }
    findings
}

/// What this host follows and no node has an approved patch of: a name that is misspelt, or a product that is to come.
async fn unlisted(config: &Config, sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for of in config.subscriptions() {
        let (mut answered, mut listed) = (false, false);
        for source in sources.all() {
            if let Ok(Ok(patches)) = tokio::time::timeout(ANSWER_WAIT, source.approved(of, 0)).await {
                (answered, listed) = (true, listed || !patches.is_empty());
            }
            if listed {
                break;
            }
        }
        if answered && !listed {
            let said = format!("no node has an approved patch of {} ({})", of.product, of.channel);
            let hint = "is that name spelt as its vendor spells it? `countersign patch list` shows what there is";
            findings.push(Finding::warn("subscription", said, hint));
        }
    }
    findings
}

/// Nodes that answer under more than one address, which is one voice; and how many voices there are.
async fn twins(sources: &Sources, answering: &[(&str, u64)]) -> (Vec<Finding>, usize) {
    let (mut findings, mut voices) = (Vec::new(), BTreeMap::new());
    for (node, _) in answering {
        let source = sources.all().iter().find(|source| source.node() == *node);
        let key = match source {
            Some(source) => tokio::time::timeout(ANSWER_WAIT, source.node_key()).await.ok().and_then(Result::ok),
            None => None,
        };
        // One that does not say who it is is known by its address.
        let key = key.filter(|key| !key.is_empty());
        let voice = key.unwrap_or_else(|| node.trim_end_matches('/').to_ascii_lowercase().into_bytes());
        if let Some(other) = voices.insert(voice, *node) {
            let said = match other.eq_ignore_ascii_case(node) {
                true => format!("{node} is given twice"),
                false => format!("{node} and {other} are one node"),
            };
            let hint = "ledger.nodes: give nodes of different organisations; one that lies or is cut off is noticed by \
                        what another says";
            findings.push(Finding::warn("node", said, hint));
        }
    }
    (findings, voices.len())
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

/// Whether the nodes know this host's key. Where none answers, or there is no key, that is said elsewhere.
async fn enrolment(config: &Config, trust: &TrustRoot, sources: &Sources, heads: &Heads) -> Option<Finding> {
    let key = key::open(config).ok()?;
    let asking = enrolment::ask(&key, trust.chain_id(), (sources, |_: &str| true), heads);
    Some(match tokio::time::timeout(ENROLMENT_WAIT, asking).await.ok()?? {
        said @ Enrolment::Enrolled => Finding::ok("enrolment", said),
        said => Finding::fail("enrolment", said, said.hint(key.public(), &config.name)),
    })
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
