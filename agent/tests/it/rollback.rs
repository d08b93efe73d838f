//! The last update, taken back by hand.

use crate::crash::{child, child_takes_back};
use crate::restarts::{House, ask, awaits};
use crate::support::archive::{Archive, tree_of};
use crate::support::bench::{Bench, Files};
use crate::support::endpoint::{Endpoint, PROGRAM, approved, approved_set, says};
use crate::support::node::World;
use agent::data::DataDir;
use agent::installer::by_hand;
use agent::installer::installs::patches_kept;
use agent::installer::restarting::Awaited;
use ledger::bounded::List;
use ledger::patch::{InstallerKind, Reboot};
use ledger::receipt::{Outcome, ReasonCode};
use std::process::Output;

async fn rollback(endpoint: &Endpoint, patch: &str) -> (i32, String) {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["rollback", patch, "--config"]).arg(endpoint.config_path()).env_remove("COUNTERSIGN_LOG");
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let said = if status.code() == Some(0) { stdout } else { [stdout, stderr].concat() };
    (status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn the_last_update_is_taken_back_with_a_receipt_and_left_alone_then() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let old = endpoint.tree();
    let (first, last) = (approved(&world, 2, tree_of("1.0.2"), |_| {}), approved(&world, 3, tree_of("1.0.3"), |_| {}));
    let (code, said) = rollback(&endpoint, &first.to_string()).await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("no update was kept here"), "{said}");
    assert_eq!(endpoint.apply(first).await.outcome, Outcome::Applied);

    let logs = || std::fs::read_dir(endpoint.data().join("logs")).unwrap().count();
    let logged = logs();
    let (code, said) = rollback(&endpoint, &last.to_string()).await;
    assert_eq!((code, logs()), (3, logged), "{said}");
    assert!(said.contains(&format!("the last update here was patch {first}")) && said.contains("hint:"), "{said}");
    let (code, said) = rollback(&endpoint, &first.to_string()[..12]).await;
    let expected = "rolled-back: policy: taken back by hand, at the host (1.0.2 → 1.0.1)";
    assert_eq!((code, said), (0, format!("patch {first}: {expected}\n")));
    assert!(endpoint.tree() == old);
    let receipt = world.receipts().last().cloned().unwrap();
    let code = receipt.reason.map(|reason| reason.code);
    assert_eq!((receipt.outcome, receipt.attempt, code), (Outcome::RolledBack, 2, Some(ReasonCode::Policy)));

    // Once is enough; and by itself the agent does not bring it back, but what comes after it.
    let (code, said) = rollback(&endpoint, &first.to_string()).await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("is not installed: 1.0.1 is"), "{said}");
    let mut worker = endpoint.worker().await;
    assert!(!worker.site().attempts.may_try(first, u64::MAX));
    worker.pass().await;
    assert_eq!(endpoint.version().as_deref(), Some("1.0.3"));
    let installs = DataDir::at(endpoint.data()).installs();
    // Of both the proofs are kept, however many others are offered: whoever goes back is asked how that does.
    let kept = patches_kept(&installs).unwrap();
    assert_eq!(kept, [last].into());
    let next = approved(&world, 4, tree_of("1.0.4"), |_| {});
    worker.pass().await;
    let kept = patches_kept(&installs).unwrap();
    assert_eq!(kept, [last, next].into());
}

/// A file that is damaged, or not there yet, says nothing against what somebody decided before.
#[tokio::test]
async fn what_was_taken_back_and_is_asked_for_in_vain_stays_taken_back() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let proof = world.ledger().proof(patch).unwrap().bytes();
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    let mut worker = endpoint.worker().await;
    worker.take_back(&patch.to_string()).await.unwrap();
    let mut damaged = proof.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for file in [damaged, Vec::new(), proof[..proof.len() / 2].to_vec()] {
        let settled = worker.apply(&patch.to_string(), Some(file)).await.unwrap();
        assert_eq!((settled.outcome, settled.to_version.as_str()), (Outcome::Refused, "1.0.1"), "{settled}");
        worker.pass().await;
        assert_eq!(endpoint.version().as_deref(), Some("1.0.1"), "the agent does not bring it back by itself");
    }
    // Who asks with a proof that holds gets it.
    let settled = worker.apply(&patch.to_string(), None).await.unwrap();
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

#[tokio::test]
async fn what_cannot_be_gone_back_to_is_said_and_nothing_is_changed() {
    let world = World::new();
    let node = world.node().await;
    let mut bench = Files::new().unwrap();
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    let patch = approved_set(&world, 1, InstallerKind::FileSet, bench.artifacts(1), |_| {});
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    let before = bench.snapshot(&endpoint);
    let (code, said) = rollback(&endpoint, &patch.to_string()).await;
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("file sets cannot be taken back by hand") && said.contains("hint: have the version"),
        "{said}"
    );
    assert!(bench.snapshot(&endpoint) == before);

    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let tree = endpoint.installed().unwrap().tree;
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    std::fs::write(tree.join("share/only-in-1.0.1"), "changed by somebody").unwrap();
    let (code, said) = rollback(&endpoint, &patch.to_string()).await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("is not what it was: its digest is"), "{said}");
    assert_eq!(endpoint.version().as_deref(), Some("1.0.2"));
}

#[tokio::test]
async fn killed_anywhere_the_restart_that_is_owed_is_not_forgotten() {
    let mut place = 0;
    loop {
        let mut house = House::new().await;
        house.allows("now", "", "");
        let patch = house.patch(Reboot::Required, "1.0.2");
        let (mut worker, _) = house.begins().await;
        assert_eq!(awaits(&ask(&mut worker, patch).await), Some(patch));
        drop(worker);
        house.restarts();
        let (worker, settled) = house.begins().await;
        assert_eq!(settled.unwrap().outcome, Outcome::Applied);
        drop(worker);

        let died = child_takes_back(&house.endpoint, patch, place).await;
        let (worker, _) = house.begins().await;
        // Before the first record nothing was begun.
        let expected = (place > 0).then_some(Awaited::TakenBack { patch });
        assert_eq!(worker.site().installer.awaited_restart().unwrap(), expected, "place {place}");
        if !died {
            break;
        }
        place += 1;
    }
    // Begun, judged, restored, done: before and after each.
    assert_eq!(place, 8);
}

#[tokio::test]
async fn killed_anywhere_it_is_taken_back_or_not_begun() {
    let world = World::new();
    let node = world.node().await;
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let mut place = 0;
    loop {
        let endpoint = Endpoint::new(&world, &[&node], "");
        endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
        let old = endpoint.tree();
        assert!(!child(&endpoint, Some(patch), usize::MAX).await);
        let (new, receipts) = (endpoint.tree(), world.receipts().len());
        let died = child_takes_back(&endpoint, patch, place).await;
        let mut site = endpoint.open();
        site.recover().await.unwrap();
        assert!(!site.installer.is_interrupted(), "place {place}");
        site.sender().send_all().await.unwrap();
        let last = world.receipts()[receipts..].last().cloned().unwrap();
        let reason = last.reason.map(|reason| reason.code);
        // Before the first record nothing was begun; then it is gone through with.
        let expected =
            if place == 0 { (Outcome::Applied, None) } else { (Outcome::RolledBack, Some(ReasonCode::Policy)) };
        assert_eq!((last.outcome, reason), expected, "place {place}");
        assert!(endpoint.tree() == if place == 0 { new } else { old }, "place {place}");
        assert!(!site.attempts.may_try(patch, u64::MAX), "place {place}: the agent does not bring it back");
        if !died {
            break;
        }
        place += 1;
    }
    // Begun, judged, restored, done: before and after each.
    assert_eq!(place, 8);
}

/// An attempt that comes to nothing has nothing to do with the way back of what is installed.
#[tokio::test]
async fn what_was_tried_since_and_came_to_nothing_takes_the_way_back_from_nobody() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let old = endpoint.tree();
    let kept = approved(&world, 2, tree_of("1.0.2"), |_| {});
    assert_eq!(endpoint.apply(kept).await.outcome, Outcome::Applied);
    // One that cannot be unpacked, and one that is not healthy: both began, and ended with the old version in place.
    let unsafe_ = approved(&world, 3, Archive::new().file("../x", "x").bytes(), |_| {});
    assert_eq!(endpoint.apply(unsafe_).await.outcome, Outcome::Refused);
    let sick = approved(&world, 4, tree_of("1.0.4"), |manifest| {
        manifest.health = List::new(vec![says("{tree}/bin/version", "another")]).unwrap();
    });
    assert_eq!(endpoint.apply(sick).await.outcome, Outcome::RolledBack);

    // Those are not installed, and what is can be gone back from.
    let (code, said) = rollback(&endpoint, &sick.to_string()).await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("is not installed: 1.0.2 is"), "{said}");
    assert!(by_hand::before(&DataDir::at(endpoint.data()), sick).is_none());
    let before = by_hand::before(&DataDir::at(endpoint.data()), kept).unwrap();
    assert_eq!((before.version.as_str(), before.patch), ("1.0.1", None));
    let (code, said) = rollback(&endpoint, &kept.to_string()[..12]).await;
    assert_eq!(code, 0, "{said}");
    assert!(endpoint.tree() == old);
    // Once is enough.
    let (code, said) = rollback(&endpoint, &kept.to_string()).await;
    assert_eq!(code, 3, "{said}");
}
