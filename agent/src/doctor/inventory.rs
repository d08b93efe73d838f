//! Whether what is on this host was said to its nodes.

use super::{Finding, hint_at};
use crate::clock::now_ms;
use crate::config::Config;
use crate::data::DataDir;
use crate::inventory::{Told, ToldNode};
use crate::settled::chain;
use ledger::moment::Moment;
use std::time::Duration;

/// So many intervals without a word are too many.
const INTERVALS_MAX: u32 = 3;

/// What it is about.
const ABOUT: &str = "inventory";

pub(super) fn examine(config: &Config) -> Finding {
    let Some(inventory) = &config.inventory else {
        return Finding::ok(ABOUT, "none is taken: the configuration wants none");
    };
    if config.ledger.nodes.is_empty() {
        return Finding::ok(ABOUT, "there is no node to send it to: `countersign-agent inventory` shows it");
    }
    let told = match Told::read(&DataDir::at(config.data_dir.clone()).told()) {
        Ok(told) => told,
        Err(error) => {
            let hint = hint_at(&error, "remove that file; it is written anew");
            return Finding::warn(ABOUT, chain(&error), hint);
        }
    };
    let newest = told.nodes.iter().filter(|(_, told)| told.taken_at_ms > 0).max_by_key(|(_, told)| told.taken_at_ms);
    let trouble = told.nodes.iter().find_map(|(node, told)| Some(format!("{node}: {}", told.trouble.as_ref()?)));
    match (newest, trouble) {
        (Some((node, told)), trouble) => of_the_last(node, told, trouble, inventory.every * INTERVALS_MAX),
        (None, Some(trouble)) => {
            Finding::warn(ABOUT, format!("no node took it yet; {trouble}"), "see that, and `countersign-agent status`")
        }
        (None, None) if told.nodes.is_empty() => {
            Finding::warn(ABOUT, "no node was told it yet", "an agent that runs does it: `countersign-agent run`")
        }
        (None, None) => Finding::warn(
            ABOUT,
            "none of the nodes is this organisation's, so nobody is told",
            "follow a node of your own organisation, too: ledger.nodes",
        ),
    }
}

fn of_the_last(node: &str, told: &ToldNode, trouble: Option<String>, patience: Duration) -> Finding {
    let digest = told.inventory.map(|digest| digest.to_string()[..12].to_owned()).unwrap_or_default();
    let said = format!("{digest}, taken by {node} at {}", Moment(told.taken_at_ms));
    let age_ms = u128::from(now_ms().saturating_sub(told.taken_at_ms));
    match trouble {
        Some(trouble) => Finding::warn(ABOUT, format!("{said}; {trouble}"), "see that, and `countersign-agent status`"),
        None if age_ms > patience.as_millis() => {
            Finding::warn(ABOUT, format!("the last one was {said}"), "does the agent run, and do its nodes answer?")
        }
        None => Finding::ok(ABOUT, said),
    }
}
