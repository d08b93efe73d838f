//! Long range: validators who were replaced long ago, or whoever found their keys, sign another history, higher than the
//! true one. A host that saw their successors believes nobody who was replaced, also after a restart.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::{Stage, parsed};

pub(super) const DRILL: Drill = Drill {
    name: "long-range",
    attack: "Keys of validators who were replaced sign another history.",
    play: |stage| Box::pin(play(stage)),
};

const SEEN: &str = "vendor-a/long-range-seen";
const PRODUCT: &str = "vendor-a/long-range";
const PRODUCTS: &[&str] = &[SEEN, PRODUCT];
const REPLACED: Promise = Promise::RefusedBy(&["epoch-chain"]);
/// How many blocks the other history is ahead.
const AHEAD: u64 = 1_000;

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let (seen, patch) = (stage.release(SEEN, 1, &[]).await?, stage.release(PRODUCT, 1, &[]).await?);
    let (first, proof) = (parsed(&stage.proof(&seen).await?)?, parsed(&stage.proof(&patch).await?)?);
    // Twice everybody was replaced, each time by the word of those before.
    let genesis = stage.steal_validators()?;
    let (second, third) = (genesis.strangers()?, genesis.strangers()?);
    let to_second = genesis.hand_over(&second, &first.header);
    let to_third = second.hand_over(&third, &to_second.header);
    let all = vec![to_second.clone(), to_third];
    let relay = stage.relay().await?;
    relay.behave(|manners| manners.takes_nothing = true);
    relay.shows(&third.proof_behind(&first, all.clone())?);
    let mut host = stage.host(Kind { products: PRODUCTS, nodes: &[&relay.url], ..Kind::default() })?;
    played.control("a host that hears of both changes", host.apply(&seen).await?);

    let higher = |header: &mut ledger::block::Header| header.height += AHEAD;
    let of_the_first = genesis.proof(&proof, higher);
    let of_the_second = second.proof(&second.proof_behind(&proof, vec![to_second.clone()])?, higher);
    let strangers = genesis.strangers()?;
    let elsewhere = second.hand_over(&strangers, &to_second.header);
    let to_strangers = strangers.proof(&strangers.proof_behind(&proof, vec![to_second, elsewhere])?, higher);
    let forged = [
        ("the first set goes on", of_the_first),
        ("the second set goes on", of_the_second),
        ("the second set hands over to strangers", to_strangers),
    ];
    let others = stage.host(Kind { products: PRODUCTS, nodes: &[&relay.url], ..Kind::default() })?;
    for (tried, forged) in &forged {
        relay.shows(forged);
        let file = stage.write("long-range.proof", &forged.bytes())?;
        // Each of these begins anew, as after a restart.
        let both = vec![host.apply(&patch).await?, host.apply_from(&patch, &file).await?];
        played.tried_often(*tried, REPLACED, both);
    }
    stage.start(&mut host).await?;
    for (tried, forged) in &forged {
        relay.shows(forged);
        let file = stage.write("long-range.proof", &forged.bytes())?;
        let ending = host.apply_from(&patch, &file).await?;
        played.tried(format!("{tried}, to an agent that runs"), REPLACED, ending);
    }
    stage.stop(&mut host)?;
    // Who never heard of any successor cannot know better.
    relay.shows(&forged[0].1);
    played.control("the same, to a host that knows only the first set", others.apply(&patch).await?);
    relay.shows(&third.proof(&third.proof_behind(&proof, all)?, higher));
    played.control("the validators of today", host.apply(&patch).await?);
    Ok(played)
}
