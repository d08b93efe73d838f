//! Tampered proofs: a proof file is changed, anywhere. Everything in it is under a signature or a hash, and both the
//! agent and the verifier of auditors say which.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::{Ending, Promise};
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill = Drill {
    name: "tampered-proofs",
    attack: "A proof file is changed at many places.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/tampered-proofs";
/// Places, evenly over the file, that the verifier is given; more of them on demand.
const PLACES: usize = 96;
/// Of so many of them one is given to an agent, too.
const EVERY: usize = 12;

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    // The agent's node knows nothing newer than the proof, so that nothing but the change is wrong with it.
    let relay = stage.relay().await?;
    let head = stage.head().await?;
    relay.behave(|manners| manners.head = Some(head));
    let proof = stage.proof(&patch).await?;
    let host = stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() })?;

    let (mut verified, mut applied) = (Vec::new(), Vec::new());
    let places = PLACES * stage.times;
    for number in 0..places {
        let (place, bit) = (number * proof.len() / places, number % 8);
        let mut altered = proof.clone();
        altered[place] ^= 1 << bit;
        let file = stage.write("altered.proof", &altered)?;
        verified.push(at(place, bit, stage.verify(&file).await?));
        if number % EVERY == 0 {
            applied.push(at(place, bit, host.apply_from(&patch, &file).await?));
        }
    }
    played.tried_often("one bit, to `verify`", Promise::RefusedByName, verified);
    played.tried_often("one bit, to `apply --from`", Promise::RefusedByName, applied);
    let cut = &proof[..proof.len() / 2];
    let longer = [proof.as_slice(), b"0"].concat();
    for (tried, altered) in [("cut in half", cut), ("a byte at the end", &longer)] {
        let (file, malformed) = (stage.write("altered.proof", altered)?, Promise::RefusedBy(&["proof-malformed"]));
        let both = vec![stage.verify(&file).await?, host.apply_from(&patch, &file).await?];
        played.tried_often(tried, malformed, both);
    }
    let file = stage.write("unaltered.proof", &proof)?;
    played.control("the same file, to `verify`", stage.verify(&file).await?);
    played.control("the same file, to `apply --from`", host.apply_from(&patch, &file).await?);
    Ok(played)
}

/// Says which change it was that got through.
fn at(place: usize, bit: usize, ending: Ending) -> Ending {
    match ending {
        Ending::Done { what } => Ending::Done { what: format!("bit {bit} of byte {place} changed: {what}") },
        refused => refused,
    }
}
