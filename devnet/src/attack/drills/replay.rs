//! Replay: what was signed once is offered again, elsewhere, or too late. A transaction is for one ledger, has an id
//! that is recorded for ever, and an end.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::forge;
use crate::attack::judge::{Ending, Promise};
use crate::attack::report::Played;
use crate::attack::stage::Stage;
use ledger::bounded::{Name, SortedList};
use ledger::id::ChainId;
use ledger::key::SecretKey;
use ledger::transaction::Payload;
use rand::RngExt as _;

pub(super) const DRILL: Drill = Drill {
    name: "replay",
    attack: "A transaction is offered again, on another ledger, and after its end.",
    play: |stage| Box::pin(play(stage)),
};

/// A ledger that is not this one.
const ELSEWHERE: ChainId = ChainId([7; 32]);

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let (operator, chain) = (stage.steal("site", "operator")?, stage.chain()?);
    let first = operator.sign(operator.transaction(chain, enrolment()?));
    played.control("for the first time", stage.submit(&first).await?);

    // Submitting again is answered for the one that is recorded: it must not be recorded twice.
    let ending = match stage.submit(&first).await? {
        Ending::Done { .. } => stage.check(&first).await?,
        refused => refused,
    };
    played.tried("again", Promise::RefusedBy(&["already-finalised"]), ending);
    let again = operator.sign(operator.transaction(chain, first.transaction.payload.clone()));
    played.tried("the same intent anew", Promise::RefusedBy(&["key-in-use"]), stage.submit(&again).await?);
    let elsewhere = operator.sign(operator.transaction(ELSEWHERE, enrolment()?));
    played.tried("of another ledger", Promise::RefusedBy(&["chain-id"]), stage.submit(&elsewhere).await?);
    let mut renamed = elsewhere;
    renamed.transaction.chain_id = chain;
    played.tried("of another ledger, renamed", Promise::RefusedBy(&["signature"]), stage.submit(&renamed).await?);
    let mut late = operator.transaction(chain, enrolment()?);
    late.expires_at_ms = forge::now_ms().saturating_sub(1_000);
    let late = operator.sign(late);
    played.tried("after its end", Promise::RefusedBy(&["expired"]), stage.submit(&late).await?);
    Ok(played)
}

/// An endpoint's enrolment: a key nobody had before.
fn enrolment() -> Result<Payload, AttackError> {
    let endpoint = SecretKey::from_seed(&rand::rng().random()).public();
    let name = |text: &str| Name::new(text).map_err(|error| AttackError::Stage(format!("{text}: {error}")));
    Ok(Payload::Enroll { endpoint, name: name("replayed")?, group: name("devnet")?, labels: SortedList::default() })
}
