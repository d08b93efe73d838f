//! Validator swap: somebody puts validators of his own in the place of the ledger's. Only the set before can say who comes
//! after it, so a change that the new set signs for by itself changes nothing.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::{Stage, parsed};
use crate::attack::validators::Validators;
use ledger::block::Header;
use ledger::certificate::Certificate;

pub(super) const DRILL: Drill = Drill {
    name: "validator-swap",
    attack: "Strangers name themselves validators, and sign the ledger's next block.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/validator-swap";
const BROKEN: Promise = Promise::RefusedBy(&["epoch-chain"]);

/// Who signs that the old set hands over to the new one.
type Signed = fn(&Header, &Validators, &Validators) -> Certificate;

const SIGNED: [(&str, Signed); 3] = [
    ("signed by the new set alone", |header, _, new| new.certificate(header, 0, new.all())),
    ("signed by nobody", |header, old, _| old.certificate(header, 0, 0..0)),
    ("signed by two of the old four", |header, old, _| old.certificate(header, 0, 0..2)),
];

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let proof = parsed(&stage.proof(&patch).await?)?;
    let old = stage.steal_validators()?;
    let (new, other) = (old.strangers()?, old.strangers()?);
    let relay = stage.relay().await?;
    // What follows such a set follows no block of the ledger's any more: there is nobody to take receipts.
    relay.behave(|manners| manners.takes_nothing = true);
    let mut refused = Vec::new();
    for (tried, signed) in SIGNED {
        let mut link = old.hand_over(&new, &proof.header);
        link.certificate = signed(&link.header, &old, &new);
        refused.push((tried, BROKEN, new.proof_behind(&proof, vec![link])?));
    }
    let mut link = old.hand_over(&new, &proof.header);
    link.validators = other.set.clone();
    refused.push(("another set than the one that was signed", BROKEN, other.proof_behind(&proof, vec![link])?));
    let unannounced = new.proof_behind(&proof, Vec::new())?;
    refused.push(("without a word", Promise::RefusedBy(&["certificate"]), unannounced));
    for (tried, promise, forged) in refused {
        relay.shows(&forged);
        let host = stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() })?;
        let file = stage.write("validator-swap.proof", &forged.bytes())?;
        let both = vec![host.apply(&patch).await?, host.apply_from(&patch, &file).await?];
        played.tried_often(tried, promise, both);
    }
    relay.shows(&new.proof_behind(&proof, vec![old.hand_over(&new, &proof.header)])?);
    let host = stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() })?;
    played.control("signed by the old set", host.apply(&patch).await?);
    Ok(played)
}
