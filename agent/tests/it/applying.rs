//! What an approved patch does to a host.

use crate::support::archive::{snapshot, tree_of};
use crate::support::endpoint::{Endpoint, approved, says};
use crate::support::node::World;
use agent::settled::Settled;
use ledger::bounded::{List, SortedList, Text};
use ledger::id::Digest;
use ledger::patch::{HealthCheck, PatchManifest, Probe};
use ledger::receipt::{Health, Outcome, ReasonCode};

/// A release whose health is that it says its version.
fn healthy(version: &str) -> impl FnOnce(&mut PatchManifest) {
    let probe = says("{tree}/bin/version", version);
    move |manifest| manifest.health = List::new(vec![probe]).unwrap()
}

fn code(settled: &Settled) -> Option<ReasonCode> {
    settled.reason.as_ref().map(|reason| reason.code)
}

#[tokio::test]
async fn an_approved_patch_is_applied_judged_and_receipted() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "[parameters]\nwho = \"bin/version\"");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |manifest| {
        let package = ledger::bounded::Name::new("widget").unwrap();
        let probe = Probe::PackageVersion { package, version: Text::new("1.0.2").unwrap() };
        let installed = HealthCheck { probe, timeout_ms: 1_000, attempts: 1, interval_ms: 0 };
        manifest.health = List::new(vec![says("{tree}/{who}", "1.0.2"), installed]).unwrap();
    });

    let settled = endpoint.apply(patch).await;
    assert_eq!((settled.outcome, settled.health, code(&settled)), (Outcome::Applied, Health::Passed, None));
    let expected = tempfile::tempdir().unwrap();
    tar::Archive::new(&tree_of("1.0.2")[..]).unpack(expected.path()).unwrap();
    assert_eq!(endpoint.tree(), snapshot(expected.path()));

    let receipts = world.receipts();
    let [receipt] = &receipts[..] else { panic!("{receipts:?}") };
    assert_eq!((receipt.patch, receipt.attempt, receipt.outcome), (patch, 1, Outcome::Applied));
    assert_eq!((receipt.from_version.as_str(), receipt.to_version.as_str()), ("1.0.1", "1.0.2"));
    let log = std::fs::read_dir(endpoint.data().join("logs")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(
        receipt.log_digest,
        Digest::blake3(&std::fs::read(log).unwrap()),
        "the log is the one the receipt names"
    );
}

#[tokio::test]
async fn a_patch_that_is_not_healthy_is_rolled_back_and_left_alone() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let before = endpoint.tree();
    let patch = approved(&world, 2, tree_of("1.0.2"), healthy("1.0.3"));

    let settled = endpoint.apply(patch).await;
    assert_eq!((settled.outcome, settled.health), (Outcome::RolledBack, Health::Failed));
    assert_eq!(settled.to_version.as_str(), "1.0.1");
    let detail = settled.reason.unwrap();
    assert_eq!(detail.code, ReasonCode::HealthFailed);
    for evidence in ["{tree}/bin/version", "\"1.0.2\"", "\"1.0.3\""] {
        assert!(detail.detail.as_str().contains(evidence), "{detail}");
    }
    assert_eq!(endpoint.tree(), before);
    assert_eq!(world.receipts().last().unwrap().outcome, Outcome::RolledBack);

    // By itself the agent does not try it again …
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    worker.site().sender().send_all().await.unwrap();
    assert_eq!(world.receipts().len(), 1);
    drop(worker);
    // … and when it is asked to, that is the second attempt.
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::RolledBack);
    assert_eq!(world.receipts().last().unwrap().attempt, 2);
}

#[tokio::test]
async fn of_two_releases_the_newest_is_applied_and_old_trees_are_pruned() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let mut worker = endpoint.worker().await;
    for release in [2, 3, 4, 5] {
        approved(&world, release, tree_of(&format!("1.0.{release}")), |_| {});
        if release % 2 == 1 {
            worker.pass().await;
            assert_eq!(endpoint.version().unwrap(), format!("1.0.{release}"));
        }
    }
    let kept = std::fs::read_dir(endpoint.installed().unwrap().tree.parent().unwrap()).unwrap();
    let trees = kept.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(trees, agent::installer::installs::VERSIONS_KEPT);
}

#[tokio::test]
async fn a_first_installation_that_is_not_healthy_leaves_nothing() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let sick = approved(&world, 1, tree_of("1.0.1"), healthy("2"));
    let settled = endpoint.apply(sick).await;
    assert_eq!((settled.outcome, settled.to_version.as_str()), (Outcome::RolledBack, ""));
    assert!(endpoint.installed().is_none());
    let well = approved(&world, 2, tree_of("1.0.2"), healthy("1.0.2"));
    let settled = endpoint.apply(well).await;
    assert_eq!((settled.outcome, settled.from_version.as_str()), (Outcome::Applied, ""));
}

#[tokio::test]
async fn a_rollback_that_does_not_restore_what_was_there_is_a_failure() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), healthy("2"));
    std::fs::write(endpoint.installed().unwrap().tree.join("share/only-in-1.0.1"), "changed by somebody").unwrap();
    let settled = endpoint.apply(patch).await;
    assert_eq!((settled.outcome, code(&settled)), (Outcome::Failed, Some(ReasonCode::HealthFailed)));
    assert!(settled.reason.unwrap().detail.as_str().contains("rolling back failed"));
}

#[tokio::test]
async fn a_probe_with_an_unknown_parameter_fails_and_names_it() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let port = Probe::Tcp { port: Text::new("{port}").unwrap() };
    for (release, probe) in [(1, says("{tree}/bin/version {port}", "x").probe), (2, port)] {
        let check = HealthCheck { probe, timeout_ms: 1_000, attempts: 3, interval_ms: 1 };
        let patch = approved(&world, release, tree_of("1"), |manifest| {
            manifest.health = List::new(vec![check]).unwrap();
        });
        let settled = endpoint.apply(patch).await;
        let reason = settled.reason.unwrap();
        assert_eq!(reason.code, ReasonCode::HealthFailed);
        assert!(reason.detail.as_str().contains("{port} is no parameter"), "{reason}");
    }
}

#[tokio::test]
async fn probes_are_bounded_in_time_and_output() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    for (release, command, evidence) in [
        (1, "sleep 1000", "no answer in time"),
        (2, "yes", "more output than is kept"),
        (3, "{tree}/bin/no-such-program", "exit status 127"),
        (4, "{tree}/bin/environment", "PATH="),
    ] {
        let script =
            "#!/bin/sh\nenv | grep -v -e ^PATH= -e ^LANG= -e ^PWD= -e ^COUNTERSIGN_AGENT= -e ^_= || echo PATH=\n";
        let archive = crate::support::archive::Archive::new().program("bin/environment", script).bytes();
        let patch = approved(&world, release, archive, |manifest| {
            let check = HealthCheck { timeout_ms: 500, ..says(command, "x") };
            manifest.health = List::new(vec![check]).unwrap();
        });
        let reason = endpoint.apply(patch).await.reason.unwrap();
        assert!(reason.detail.as_str().contains(evidence), "{command}: {reason}");
    }
}

#[tokio::test]
async fn services_the_host_does_not_have_are_no_obstacle() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1"), |manifest| {
        let elsewhere = ledger::bounded::Name::new("elsewhere").unwrap();
        manifest.services = SortedList::new(vec![elsewhere]).unwrap();
    });
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
}

/// That nobody complained is no word of health: whoever counts hosts on which a patch works must not count this one.
#[tokio::test]
async fn what_nobody_was_asked_about_is_not_called_healthy() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1.0.1"), |manifest| manifest.health = List::default());
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    let receipt = world.receipts().last().cloned().unwrap();
    assert_eq!((receipt.outcome, receipt.health), (Outcome::Applied, Health::NotRun));

    // One service that runs from it is somebody who can be asked.
    endpoint.configure(crate::services::SERVICE);
    let patch = approved(&world, 2, tree_of("1.0.2"), |manifest| manifest.health = List::default());
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    assert_eq!(world.receipts().last().unwrap().health, Health::Passed);
}
