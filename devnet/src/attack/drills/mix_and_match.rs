//! Mix and match: parts of proofs that hold, put together to something that was never true. All facts hang on one
//! header.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::{Stage, head_of, parsed};
use ledger::bounded::List;
use ledger::proof::ProofBundle;

pub(super) const DRILL: Drill = Drill {
    name: "mix-and-match",
    attack: "Parts of several good proofs are put together.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/mix-and-match";

/// A part taken from elsewhere, and the checks that may meet it.
type Mixture = (&'static str, Promise, fn(&mut ProofBundle, &Parts));

/// Where parts are taken from.
struct Parts {
    /// The same patch, at an older header.
    older: ProofBundle,
    /// Another patch.
    other: ProofBundle,
}

const MIXTURES: &[Mixture] = &[
    ("header of another height", Promise::RefusedBy(&["certificate"]), |it, parts| {
        it.header = parts.older.header.clone();
    }),
    ("certificate of another height", Promise::RefusedBy(&["certificate"]), |it, parts| {
        it.certificate = parts.older.certificate.clone();
    }),
    ("another patch's publication", Promise::RefusedBy(&["inclusion"]), |it, parts| {
        it.publish.transaction = parts.other.publish.transaction.clone();
    }),
    ("another patch's publication with its path", Promise::RefusedBy(&["state-proof"]), |it, parts| {
        it.publish = parts.other.publish.clone();
    }),
    ("no approvals", Promise::RefusedBy(&["approval-rule"]), |it, _| it.approvals = List::default()),
    ("another patch's approvals", Promise::RefusedBy(&["authority"]), |it, parts| {
        it.approvals = parts.other.approvals.clone();
    }),
    ("state of another height", Promise::RefusedBy(&["state-proof"]), |it, parts| {
        it.state = parts.older.state.clone();
    }),
    ("another patch's record", Promise::RefusedBy(&["state-proof"]), |it, parts| {
        it.state.patch = parts.other.state.patch.clone();
    }),
    ("approval rules in the place of halts", Promise::RefusedBy(&["state-proof"]), |it, _| {
        it.state.halts = it.state.rules.clone();
    }),
    ("no organisations", Promise::RefusedBy(&["authority"]), |it, _| it.state.organisations = List::default()),
];

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let older = parsed(&stage.proof(&patch).await?)?;
    // It changes what the state is: otherwise that of the older header would be today's, and true.
    let other = stage.release(PRODUCT, 2, &[]).await?;
    // Both at one header: then it is not the header that gives a mixture away.
    let (other, proof) = loop {
        let pair = (parsed(&stage.proof(&other).await?)?, parsed(&stage.proof(&patch).await?)?);
        if pair.0.header == pair.1.header && pair.1.header != older.header {
            break pair;
        }
    };
    let relay = stage.relay().await?;
    relay.behave(|manners| manners.lists_nothing = true);
    let host = stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() })?;
    // What the agent's node says is no newer than the proof.
    relay.behave(|manners| manners.head = Some(head_of(&proof)));

    let parts = Parts { older, other };
    for (tried, promise, mix) in MIXTURES {
        let mut mixed = proof.clone();
        mix(&mut mixed, &parts);
        let file = stage.write("mixed.proof", &mixed.bytes())?;
        let both = vec![stage.verify(&file).await?, host.apply_from(&patch, &file).await?];
        played.tried_often(*tried, *promise, both);
    }
    let file = stage.write("unmixed.proof", &proof.bytes())?;
    played.control("what was mixed into, to `verify`", stage.verify(&file).await?);
    played.control("what was mixed into, to `apply --from`", host.apply_from(&patch, &file).await?);
    Ok(played)
}
