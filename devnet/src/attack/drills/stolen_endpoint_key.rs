//! Stolen endpoint key: it may only write its own device's receipts.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::forge;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;
use ledger::bounded::{Notes, Version};
use ledger::id::{Digest, PatchId};
use ledger::receipt::{Health, Outcome, Receipt};
use ledger::transaction::{Payload, Verdict};

pub(super) const DRILL: Drill = Drill {
    name: "stolen-endpoint-key",
    attack: "Whoever stole an endpoint's key writes receipts for others, and approves.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/stolen-endpoint-key";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let id = |patch: &str| patch.parse().map_err(|_| AttackError::Stage(format!("{patch} is no patch")));
    let patch: PatchId = id(&stage.release(PRODUCT, 1, &[]).await?)?;
    let pending: PatchId = id(&stage.publish(&stage.pack(PRODUCT, 2, &[]).await?).await?)?;
    let robbed = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    let victim = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    let stolen = forge::steal(&robbed.agent.config.with_file_name("endpoint.key"))?;
    let chain = stage.chain()?;

    let mut forged = stolen.sign(stolen.transaction(chain, applied(patch)));
    let unlike = |_| AttackError::Stage(format!("{} is no key", victim.agent.key));
    forged.transaction.signer = victim.agent.key.parse().map_err(unlike)?;
    played.tried("another device's receipt", Promise::RefusedBy(&["signature"]), stage.submit(&forged).await?);
    let never = stolen.sign(stolen.transaction(chain, applied(pending)));
    let ending = stage.submit(&never).await?;
    played.tried("applied, what was never approved", Promise::RefusedBy(&["never-approved"]), ending);
    let verdict = Verdict { patch: pending, evidence: Digest::ZERO, note: Notes::default() };
    let approval = stolen.sign(stolen.transaction(chain, Payload::Approve { verdict, urgent: false }));
    played.tried("an approval", Promise::RefusedBy(&["wrong-role"]), stage.submit(&approval).await?);

    let own = stolen.sign(stolen.transaction(chain, applied(patch)));
    played.control("its own device's receipt", stage.submit(&own).await?);
    Ok(played)
}

/// A receipt that says that all is well.
fn applied(patch: PatchId) -> Payload {
    Payload::Receipt {
        receipt: Receipt {
            patch,
            rollout: None,
            attempt: 1,
            from_version: Version::default(),
            to_version: Version::default(),
            outcome: Outcome::Applied,
            reason: None,
            health: Health::Passed,
            log_digest: Digest::ZERO,
            ended_at_ms: forge::now_ms(),
        },
    }
}
