//! Nodes killed at any moment, over and over. Clients note what they see all the while.

use crate::support::clients::{Operator, finalise};
use crate::support::invariants::{
    all_chains_are_equal, no_place_is_given_twice, nobody_is_convicted, nobody_panicked, nothing_finalised_is_lost,
    the_chain_is_sound,
};
use crate::support::ledger::{Ledger, NODES};
use crate::support::number;
use crate::support::witnesses::Witnesses;
use crate::support::words::Words;
use std::sync::Arc;
use tests::Dice;

/// How many nodes are killed, unless `KILLS` says otherwise.
const KILLS_DEFAULT: usize = 200;
/// Who is killed when, unless `SEED` says otherwise.
const SEED_DEFAULT: u64 = 7;
/// Clients that submit, and look, all the time.
const CLIENTS: usize = 8;
const EVERYBODY: [usize; 5] = [0, 1, 2, 3, 4];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_finalised_is_lost_whenever_nodes_are_killed() {
    let (kills, seed) = (number("KILLS", KILLS_DEFAULT), number("SEED", SEED_DEFAULT));
    println!("KILLS={kills} SEED={seed}");
    let mut ledger = Ledger::raise().await;
    let operator = Arc::new(Operator::of(&ledger));
    let witnesses = Witnesses::gather(&ledger, &operator, CLIENTS, seed);
    let mut dice = Dice::new(seed);
    let (mut killed, mut words) = (0, Words::default());
    while killed < kills {
        witnesses.await_finals(&ledger, &EVERYBODY, usize::try_from(dice.below(30)).unwrap() + 1).await;
        // One node, or several at once: without three of four nothing goes on, and nothing may be lost.
        let mut victims = Vec::new();
        for _ in 0..=dice.below(3) {
            let victim = *dice.pick(&NODES).unwrap();
            if !victims.contains(&victim) {
                victims.push(victim);
            }
        }
        for victim in &victims {
            ledger.kill(victim);
            the_chain_is_sound(&ledger, victim);
            words.nobody_contradicts_himself(&ledger, victim);
            words.the_guard_knows_them(&ledger, victim);
        }
        if victims.len() == 1 && dice.below(2) == 0 {
            witnesses.await_finals(&ledger, &EVERYBODY, 5).await;
        }
        for victim in &victims {
            ledger.start(victim);
        }
        killed += victims.len();
    }
    witnesses.await_finals(&ledger, &EVERYBODY, 20).await;
    let noted = witnesses.dismiss().await;
    println!("{killed} killed, {} transactions noted, {} words of validators compared", noted.len(), words.len());
    assert!(words.len() > kills, "every log has the words of a height");
    let last = finalise(&ledger, "vendor-a", &operator.sign()).await;
    for name in NODES {
        ledger.await_height(name, last.height).await;
    }
    nothing_finalised_is_lost(&ledger, &NODES, &noted).await;
    no_place_is_given_twice(&noted);
    assert!(all_chains_are_equal(&ledger, &NODES).await >= last.height);
    nobody_panicked(&ledger, &NODES);
    nobody_is_convicted(&ledger, "site").await;
    for name in NODES {
        ledger.stop(name);
        the_chain_is_sound(&ledger, name);
    }
}
