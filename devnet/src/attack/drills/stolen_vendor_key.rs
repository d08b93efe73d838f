//! Stolen vendor key: whoever has it can publish, and nothing more. Approvals of other organisations are needed, and
//! the agent counts them itself.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;
use ledger::bounded::Notes;
use ledger::id::Digest;
use ledger::transaction::{Payload, Verdict};

pub(super) const DRILL: Drill = Drill {
    name: "stolen-vendor-key",
    attack: "Whoever stole a vendor's key publishes a patch, and approves it.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/stolen-vendor-key";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.publish(&stage.pack(PRODUCT, 1, &[]).await?).await?;
    let host = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    played.tried("published, offered at once", Promise::RefusedBy(&["approval-rule"]), host.apply(&patch).await?);

    let stolen = stage.steal("vendor-a", "publisher")?;
    let id = patch.parse().map_err(|_| AttackError::Stage(format!("{patch} is no patch")))?;
    let approval = Payload::Approve {
        verdict: Verdict { patch: id, evidence: Digest::ZERO, note: Notes::default() },
        urgent: true,
    };
    let approval = stolen.sign(stolen.transaction(stage.chain()?, approval));
    played.tried("approved with the same key", Promise::RefusedBy(&["wrong-role"]), stage.submit(&approval).await?);
    played.tried("offered again", Promise::RefusedBy(&["approval-rule"]), host.apply(&patch).await?);

    stage.approve(&patch, "approver-a").await?;
    stage.approve(&patch, "approver-b").await?;
    played.control("two organisations approved it", host.apply(&patch).await?);
    Ok(played)
}
