//! Killed whenever it may be: exactly old or exactly new.

use super::Case;
use crate::crash::{CHILD, child};
use crate::support::bench::Bench;
use crate::support::endpoint::Endpoint;
use ledger::id::PatchId;
use ledger::receipt::Outcome;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tests::Dice;

/// How many random moments each kind is killed at.
const KILLS: &str = "COUNTERSIGN_KILLS";
const KILLS_DEFAULT: usize = 4;
/// From so many on, that next to none of them was within an update is no chance.
const KILLS_THAT_TELL: usize = 100;

pub(super) async fn killed_at_every_step<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    for patch in [case.healthy, case.sick] {
        let mut host = case.host::<B>(false).await;
        // How many places there are before the host restarts, for kinds that need it.
        let mut before_restart = None;
        for place in 0.. {
            let receipts = case.world.receipts().len();
            let mut died = false;
            if before_restart.is_none_or(|before| place < before) {
                died = child(&host.endpoint, Some(patch), place).await;
                if !died && host.endpoint.open().installer.to_be_judged().is_some() {
                    before_restart = Some(place);
                }
            } else {
                assert!(!child(&host.endpoint, Some(patch), usize::MAX).await);
            }
            if !died && let Some(before) = before_restart {
                host.bench.restarts();
                died = child(&host.endpoint, None, place - before).await;
            }
            if !died {
                assert!(place >= 12, "before and after each record");
                break;
            }
            // Half of the time the power fails: then it is the boot loader's turn first.
            if place % 2 == 1 {
                host.bench.restarts();
            }
            // The very first place is before anything was written: nothing happened.
            if place > 0 {
                let outcome = host.check(&case, &states, receipts, &format!("place {place}")).await;
                assert!(patch == case.healthy || outcome != Outcome::Applied, "what is not healthy is not kept");
                if outcome == Outcome::Applied {
                    host = case.host::<B>(false).await;
                }
            }
        }
    }
}

/// Half of the time the whole machine loses power; otherwise only the agent dies, and what it had
/// started goes on.
pub(super) async fn killed_at_random<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    let mut host = case.host::<B>(false).await;
    let unhindered = Instant::now();
    assert!(!run_child(&host.endpoint, Some(case.sick), false, Duration::MAX).await);
    let longest = u64::try_from(unhindered.elapsed().as_millis()).unwrap();
    let kills = std::env::var(KILLS).ok().map_or(KILLS_DEFAULT, |kills| kills.parse().unwrap());
    let (mut dice, mut within) = (Dice::new(7), 0);
    for round in 0..kills {
        let (power_cut, after_ms) = (round % 2 == 1, dice.below(longest + 1));
        let patch = if dice.below(2) == 0 { case.healthy } else { case.sick };
        host.send_receipts().await;
        let receipts = case.world.receipts().len();
        let what = format!("round {round}, after {after_ms} of {longest} ms, power cut {power_cut}");
        let after = Duration::from_millis(after_ms);
        let mut died = run_child(&host.endpoint, Some(patch), power_cut, after).await;
        if !died && host.endpoint.open().installer.to_be_judged().is_some() && host.bench.restarts() {
            let after = Duration::from_millis(dice.below(longest + 1));
            died = run_child(&host.endpoint, None, power_cut, after).await;
        }
        if power_cut {
            host.bench.restarts();
        }
        let began = journal_is_open(&host.endpoint);
        within += usize::from(died && began);
        host.send_receipts().await;
        if died && !began && case.world.receipts().len() == receipts {
            // Whatever is done has a receipt before it is over: this one was not begun.
            host.is(&states.0, &what);
        } else {
            // Killed or not, and whenever: it ended, and its receipt says how.
            let outcome = host.check(&case, &states, receipts, &what).await;
            assert!(patch == case.healthy || outcome != Outcome::Applied, "{what}: what is not healthy is not kept");
            assert!(died || patch == case.sick || outcome == Outcome::Applied, "{what}: nothing was in its way");
        }
        if host.snapshot() != states.0 {
            host = case.host::<B>(false).await;
        }
    }
    assert!(kills < KILLS_THAT_TELL || within >= kills / 10, "{within} of {kills} moments were within an update");
}

fn journal_is_open(endpoint: &Endpoint) -> bool {
    let journal = agent::installer::journal::Journal::open(&endpoint.data().join("journal"), Box::new(|_, _| {}));
    journal.unwrap().is_open()
}

/// An agent in a process of its own, killed after a while; whether it died of that.
async fn run_child(endpoint: &Endpoint, patch: Option<PatchId>, power_cut: bool, after: Duration) -> bool {
    let patch = patch.map(|patch| patch.to_string()).unwrap_or_default();
    let alone = power_cut && crate::support::disk::is_root();
    let mut command = if alone {
        // With its first process dies everything in a namespace.
        let mut command = tokio::process::Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(std::env::current_exe().unwrap());
        command
    } else {
        tokio::process::Command::new(std::env::current_exe().unwrap())
    };
    let orders = format!("{}|{patch}|{}", endpoint.config_path().display(), usize::MAX);
    command.args(["--exact", "crash::the_child"]).env(CHILD, orders).kill_on_drop(true);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    match tokio::time::timeout(after, child.wait()).await {
        Ok(status) => {
            assert!(status.unwrap().success());
            false
        }
        Err(_) => {
            child.kill().await.unwrap();
            // Whoever is left of a namespace dies a moment later: the lock says when.
            let lock = std::fs::File::create(endpoint.data().join("lock")).unwrap();
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
            true
        }
    }
}
