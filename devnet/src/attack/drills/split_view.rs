//! Split view: two nodes show two histories, and a quorum signed both. Which of them is true nobody can tell, so the agent
//! stops, and keeps what it takes to say who did it: exactly those who signed both in one round, and nobody else.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::{Host, Kind};
use crate::attack::judge::{Ending, Promise};
use crate::attack::report::Played;
use crate::attack::stage::{Stage, parsed};
use crate::attack::tool::{self, text};
use crate::attack::validators::Signers;
use ledger::block::Header;
use ledger::id::Digest;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) const DRILL: Drill = Drill {
    name: "split-view",
    attack: "Two nodes show two histories, each signed by a quorum.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/split-view";

/// A second history beside that of the ledger.
struct Second {
    tried: &'static str,
    /// What is other in it.
    change: fn(&mut Header),
    /// By how many rounds later it was decided.
    rounds_later: u32,
    /// Who signed the first; `None`: whose signatures the ledger has.
    first: Option<Signers>,
    /// Who signed it.
    second: Signers,
}

const SECONDS: [Second; 3] = [
    Second {
        tried: "another state, signed by three of four",
        change: |header| header.state_root = Digest::ZERO,
        rounds_later: 0,
        first: None,
        second: 0..3,
    },
    Second {
        tried: "other transactions, signed by another three",
        change: |header| header.tx_root = Digest::ZERO,
        rounds_later: 0,
        first: Some(0..3),
        second: 1..4,
    },
    Second {
        tried: "of another round, for which nobody can be blamed",
        change: |header| header.state_root = Digest::ZERO,
        rounds_later: 1,
        first: None,
        second: 0..4,
    },
];

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let true_one = parsed(&stage.proof(&patch).await?)?;
    let round = true_one.certificate.round;
    let validators = stage.steal_validators()?;
    let (one, other) = (stage.relay().await?, stage.relay_before("vendor-b").await?);
    for Second { tried, change, rounds_later, first, second } in SECONDS {
        let (mut shown, mut forged) = (true_one.clone(), true_one.clone());
        if let Some(first) = first {
            shown.certificate = validators.certificate(&shown.header, round, first);
        }
        change(&mut forged.header);
        forged.certificate = validators.certificate(&forged.header, round + rounds_later, second);
        let signed_both = &validators.signers(&shown.certificate) & &validators.signers(&forged.certificate);
        let guilty: BTreeSet<_> = signed_both.iter().filter(|_| rounds_later == 0).map(ToString::to_string).collect();
        one.shows(&shown);
        other.shows(&forged);
        let both = Kind { products: &[PRODUCT], nodes: &[&one.url, &other.url], ..Kind::default() };
        let host = stage.host(both)?;
        let ending = for_the_split(host.apply(&patch).await?);
        let ending = accusing(stage, &host, &guilty, ending).await?;
        played.tried(tried, Promise::RefusedBy(&["policy"]), ending);
    }
    other.shows(&true_one);
    let both = Kind { products: &[PRODUCT], nodes: &[&one.url, &other.url], ..Kind::default() };
    played.control("two nodes with one history", stage.host(both)?.apply(&patch).await?);
    Ok(played)
}

/// A host may be told to wait for many reasons: this one is meant.
fn for_the_split(ending: Ending) -> Ending {
    match ending {
        Ending::Refused { check, detail } if !detail.contains("the ledger was split") => {
            Ending::Neither { what: format!("{check}, and not for the split: {detail}") }
        }
        ending => ending,
    }
}

/// Holds what the host kept against who did it: that others are named, or not all of them, got through.
async fn accusing(
    stage: &Stage,
    host: &Host,
    guilty: &BTreeSet<String>,
    ending: Ending,
) -> Result<Ending, AttackError> {
    let Some(said) = host.doctor("split").await? else {
        return Ok(Ending::Done { what: "nobody who looks hears of two histories".to_owned() });
    };
    let evidence = said.rsplit(": ").next().unwrap_or_default();
    let trust = stage.devnet.genesis.display().to_string();
    let check = ["audit", "check", evidence, "--trust", &trust, "-o", "json"];
    let checked = tool::answer("countersign", &check).await?;
    let named = checked.pointer("/fork/equivocators").and_then(Value::as_array);
    let named: Option<BTreeSet<_>> = named.map(|named| named.iter().map(|named| text(named, "key")).collect());
    Ok(match named {
        Some(named) if named == *guilty => ending,
        named => Ending::Done { what: format!("the evidence names {named:?}, and it was {guilty:?}") },
    })
}
