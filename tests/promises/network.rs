//! A network that fails: nodes in namespaces of their own, cut off from each other both ways and one way, over
//! links that lose and delay, one of them on a slow disk, killed at any moment. Clients note what they see all the while.

use crate::support::clients::{Operator, finalise};
use crate::support::faults::Fault;
use crate::support::invariants::{
    all_chains_are_equal, no_place_is_given_twice, nobody_is_convicted, nobody_panicked, nothing_finalised_is_lost,
    place_of, the_chain_is_sound,
};
use crate::support::ledger::{Ledger, NODES, VALIDATORS};
use crate::support::namespaces::in_a_network;
use crate::support::witnesses::Witnesses;
use crate::support::{number, wait_for};
use proto::v1::{SubmitRequest, TransactionState};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::Dice;

/// How many faults come and go, unless `FAULTS` says otherwise: one of each kind, and one more.
const FAULTS_DEFAULT: usize = 8;
/// Which, unless `SEED` says otherwise.
const SEED_DEFAULT: u64 = 11;
/// How many seconds a fault lasts at least, unless `LASTING` says otherwise: connections that were silent for longer
/// take longer to speak again.
const LASTING_DEFAULT_S: u64 = 0;
/// Clients that watch.
const CLIENTS: usize = 6;
/// What a slow disk does: a few blocks in a second.
const SLOW_WRITES_PER_SECOND: u32 = 40;
const EVERYBODY: [usize; 5] = [0, 1, 2, 3, 4];

/// After everything: all nodes have the same, nothing is lost, nothing is there twice.
async fn assert_whole(ledger: &mut Ledger, operator: &Operator, witnesses: Witnesses) {
    let noted = witnesses.dismiss().await;
    let last = finalise(ledger, "site", &operator.sign()).await;
    for name in NODES {
        ledger.await_height(name, last.height).await;
    }
    nothing_finalised_is_lost(ledger, &NODES, &noted).await;
    no_place_is_given_twice(&noted);
    assert!(all_chains_are_equal(ledger, &NODES).await >= last.height);
    nobody_panicked(ledger, &NODES);
    nobody_is_convicted(ledger, "site").await;
    for name in NODES {
        ledger.stop(name);
        the_chain_is_sound(ledger, name);
    }
}

/// Everybody has what the one that is furthest has now.
async fn everybody_catches_up(ledger: &Ledger) {
    let mut highest = 0;
    for name in NODES {
        highest = highest.max(ledger.height(name).await);
    }
    for name in NODES {
        ledger.await_height(name, highest).await;
    }
}

#[test]
fn whatever_the_network_does_the_history_is_one_of_a_ledger() {
    in_a_network(NODES.len(), async |net| {
        let (faults, seed) = (number("FAULTS", FAULTS_DEFAULT), number("SEED", SEED_DEFAULT));
        let lasting = Duration::from_secs(number("LASTING", LASTING_DEFAULT_S));
        println!("FAULTS={faults} SEED={seed} LASTING={}", lasting.as_secs());
        let mut ledger = Ledger::raise_behind_relays(net).await;
        let mut dice = Dice::new(seed);
        let slow = *dice.pick(&VALIDATORS).unwrap();
        let disk = ledger.move_to_a_slow_disk(slow);
        let operator = Arc::new(Operator::of(&ledger));
        let witnesses = Witnesses::gather(&ledger, &operator, CLIENTS, seed);
        for fault in Fault::hand(&mut dice, faults) {
            let (is_late, is_slow) = (dice.below(3) == 0, dice.below(3) == 0);
            let late = (is_late && fault.delay().is_none()).then(|| Fault::draw_delay(&mut dice));
            let began = Instant::now();
            let at_once: Vec<Fault> = [Some(fault.clone()), late.clone()].into_iter().flatten().collect();
            net.impose(&at_once);
            if let Some(disk) = &disk {
                disk.set_writes_per_second(if is_slow { SLOW_WRITES_PER_SECOND } else { 0 });
            }
            let killed = (dice.below(2) == 0).then(|| *dice.pick(&NODES).unwrap());
            if let Some(name) = killed {
                // It comes back into what it was taken out of.
                ledger.kill(name);
                the_chain_is_sound(&ledger, name);
                ledger.start(name);
            }
            match fault.majority() {
                Some(majority) => witnesses.await_finals(&ledger, &majority, 10).await,
                None => witnesses.await_silence(&ledger, CLIENTS).await,
            }
            tokio::time::sleep(lasting.saturating_sub(began.elapsed())).await;
            let lasted = began.elapsed();
            net.heal();
            if let Some(disk) = &disk {
                disk.set_writes_per_second(0);
            }
            witnesses.await_finals(&ledger, &EVERYBODY, 10).await;
            everybody_catches_up(&ledger).await;
            let besides = [
                late.map(|late| format!(", {late}")),
                is_slow.then(|| format!(", the disk of {slow} slow")),
                killed.map(|name| format!(", {name} killed")),
            ];
            let besides: String = besides.into_iter().flatten().collect();
            let after = began.elapsed() - lasted;
            println!("{fault}{besides}: {} ms, and {} ms after it", lasted.as_millis(), after.as_millis());
        }
        assert_whole(&mut ledger, &operator, witnesses).await;
        drop(disk);
    });
}

/// That nothing becomes final at these nodes, for as long as a client of each waits; and the transaction they
/// were given.
async fn assert_nothing_is_final(
    ledger: &Ledger,
    operator: &Operator,
    nodes: &[usize],
) -> Vec<ledger::transaction::VerifiedTransaction> {
    let mut waiting = Vec::new();
    for node in nodes {
        let name = NODES[*node];
        let transaction = operator.sign();
        let request = SubmitRequest { transaction: transaction.bytes().to_vec(), wait_ms: 1_500 };
        let answer = ledger.connect(name).await.submit(request).await.unwrap().into_inner();
        assert_eq!((answer.state(), answer.position), (TransactionState::Pending, None), "{name}");
        assert_eq!(place_of(ledger, name, transaction.id()).await, None, "{name}");
        waiting.push(transaction);
    }
    waiting
}

#[test]
fn a_majority_goes_on_a_minority_waits_and_without_a_quorum_everybody_does() {
    in_a_network(NODES.len(), async |net| {
        let mut ledger = Ledger::raise_in(net).await;
        let operator = Arc::new(Operator::of(&ledger));
        let witnesses = Witnesses::gather(&ledger, &operator, CLIENTS, 5);
        let cases = [
            Fault::Apart([1].into()),
            Fault::Apart([0, 4].into()),
            Fault::Apart([0, 2].into()),
            Fault::Apart([1, 3, 4].into()),
        ];
        for fault in cases {
            net.impose(std::slice::from_ref(&fault));
            let majority = fault.majority().unwrap_or_default();
            let minority: Vec<usize> = EVERYBODY.into_iter().filter(|node| !majority.contains(node)).collect();
            // What had been agreed on when the cut came may still arrive.
            let mut before = 0;
            for node in &minority {
                before = before.max(ledger.height(NODES[*node]).await);
            }
            let waiting = assert_nothing_is_final(&ledger, &operator, &minority).await;
            if !majority.is_empty() {
                witnesses.await_finals(&ledger, &majority, 10).await;
            }
            for node in minority {
                let (name, now) = (NODES[node], ledger.height(NODES[node]).await);
                assert!(now <= before + 1, "{fault}: {name} went from {before} to {now} without a quorum");
            }
            net.heal();
            // And with the very transactions that waited it goes on.
            for transaction in waiting {
                for name in NODES {
                    let what = format!("{fault}, now healed: a transaction that waited, at {name}");
                    wait_for(&what, async || place_of(&ledger, name, transaction.id()).await).await;
                }
            }
        }
        assert_whole(&mut ledger, &operator, witnesses).await;
    });
}

#[test]
fn slow_links_that_lose_and_a_slow_disk_cost_time_and_nothing_else() {
    in_a_network(NODES.len(), async |net| {
        let mut ledger = Ledger::raise_behind_relays(net).await;
        let operator = Arc::new(Operator::of(&ledger));
        let witnesses = Witnesses::gather(&ledger, &operator, CLIENTS, 7);
        net.impose(&[Fault::Delay(Duration::from_millis(60)), Fault::Loss(3)]);
        witnesses.await_finals(&ledger, &EVERYBODY, 30).await;
        // One hears only what is late, and nobody hears it.
        net.impose(&[Fault::Delay(Duration::from_millis(60)), Fault::Mute(2)]);
        witnesses.await_finals(&ledger, &[0, 1, 3], 20).await;
        net.heal();
        everybody_catches_up(&ledger).await;

        let disk = ledger.move_to_a_slow_disk("vendor-b");
        if let Some(disk) = &disk {
            disk.set_writes_per_second(SLOW_WRITES_PER_SECOND);
        }
        witnesses.await_finals(&ledger, &[0, 1, 3, 4], 60).await;
        // The others do not wait for it; and it does not stay behind.
        witnesses.await_finals(&ledger, &[2], 5).await;
        if let Some(disk) = &disk {
            disk.set_writes_per_second(0);
        }
        everybody_catches_up(&ledger).await;
        assert_whole(&mut ledger, &operator, witnesses).await;
        drop(disk);
    });
}
