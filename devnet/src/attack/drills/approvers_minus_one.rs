//! Approvers minus one: one approver fewer than the rule wants, whatever that one does. Distinct keys and
//! organisations count, and each once.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill = Drill {
    name: "approvers-minus-one",
    attack: "One approver alone approves, again and more urgently.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/approvers-minus-one";
const MISSING: Promise = Promise::RefusedBy(&["approval-rule"]);

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.publish(&stage.pack(PRODUCT, 1, &[]).await?).await?;
    let host = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    stage.approve(&patch, "approver-a").await?;
    played.tried("one of two approvals", MISSING, host.apply(&patch).await?);

    let again = stage.attempt("approver-a", "approver", &["approve", &patch]).await?;
    played.tried("the same approval twice", Promise::RefusedBy(&["verdict-unchanged"]), again);
    stage.sign("approver-a", "approver", &["approve", &patch, "--urgent"]).await?;
    played.tried("the same approver, urgently", MISSING, host.apply(&patch).await?);

    stage.approve(&patch, "approver-b").await?;
    played.control("the other approver, too", host.apply(&patch).await?);
    Ok(played)
}
