//! The life of an update beyond the straight road: what cannot be finished now is said, stays open and
//! is finished later; and what others do to the host meanwhile is theirs.

use crate::crash::child;
use crate::restarts::{House, ask, awaits, shut_for_hours, status};
use crate::support::PATIENCE;
use crate::support::archive::{Archive, tree_of};
use crate::support::bench::{Bench, Files, Packages};
use crate::support::debian::{dpkg_install, packages, pair};
use crate::support::endpoint::{Endpoint, PROGRAM, approved, approved_set, hear, says};
use crate::support::node::World;
use crate::support::{eventually, left_out};
use agent::attempt_log::AttemptLog;
use agent::clock::now_ms;
use agent::control::{Answer, Request};
use agent::data::DataDir;
use agent::installer::journal::{Moment, Observer, Record};
use agent::settled::Refusal;
use agent::worker::{AskError, Worker};
use ledger::bounded::List;
use ledger::patch::{InstallerKind, Reboot};
use ledger::receipt::{Outcome, ReasonCode};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

/// The place behind the record that says that the update is healthy.
const JUDGED: usize = 10;
/// … and behind the one that says that it is in place.
const SWITCHED: usize = 8;

/// Does something once, behind the first record that fits.
fn behind(fits: fn(&Record) -> bool, act: impl Fn() + Send + Sync + 'static) -> Observer {
    let done = Mutex::new(false);
    Box::new(move |moment, record| {
        let mut done = done.lock().unwrap();
        if moment == Moment::After && fits(record) && !*done {
            *done = true;
            act();
        }
    })
}

fn told(world: &World) -> Vec<(Outcome, String)> {
    let told = |receipt: &ledger::receipt::Receipt| (receipt.outcome, receipt.to_version.as_str().to_owned());
    world.receipts().iter().map(told).collect()
}

async fn worker(endpoint: &Endpoint, observer: Observer) -> Worker {
    let site = endpoint.open_observed(observer);
    hear(&site).await;
    Worker::new(site)
}

/// A host with the first release of a kind, on which the second was judged healthy when the power went.
async fn judged<B: Bench>(world: &Arc<World>, bench: &mut B) -> (Endpoint, crate::support::node::Node) {
    let node = world.node().await;
    let endpoint = Endpoint::new(world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    let [first, second] = [1, 2].map(|release| {
        approved_set(world, release, bench.kind(), bench.artifacts(release), |manifest| {
            manifest.health = List::new(vec![bench.probe(release)]).unwrap();
        })
    });
    assert_eq!(endpoint.apply(first).await.outcome, Outcome::Applied);
    assert!(child(&endpoint, Some(second), JUDGED).await);
    (endpoint, node)
}

#[tokio::test]
async fn what_was_judged_healthy_stays_whatever_others_did_since() {
    let (world, mut bench) = (World::new(), Files::new().unwrap());
    let (endpoint, _node) = judged(&world, &mut bench).await;
    std::fs::write(bench.root().join("etc/acme/main.conf"), "made by hand since").unwrap();
    let mut site = endpoint.open();
    assert_eq!(site.recover().await.unwrap().unwrap().outcome, Outcome::Applied);
    assert_eq!(std::fs::read_to_string(bench.root().join("etc/acme/main.conf")).unwrap(), "made by hand since");
    assert!(!site.installer.is_interrupted());
}

#[tokio::test]
async fn packages_that_others_upgraded_since_are_not_taken_back() {
    let (world, bench) = (World::new(), Packages::new());
    let Ok(mut bench) = bench else { return left_out("no dpkg, or no root") };
    let (endpoint, _node) = judged(&world, &mut bench).await;
    assert!(dpkg_install(&bench.root(), &pair("1.0.9")));
    let upgraded = packages(&bench.root());
    let mut site = endpoint.open();
    assert_eq!(site.recover().await.unwrap().unwrap().outcome, Outcome::Applied);
    assert_eq!(packages(&bench.root()), upgraded);
    assert!(!site.installer.is_interrupted());
}

#[tokio::test]
async fn a_receipt_that_cannot_be_written_leaves_the_update_open_and_the_agent_comes_back_to_it() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let (receipts, away) = (endpoint.data().join("receipts"), endpoint.data().join("away"));
    let (from, to) = (receipts.clone(), away.clone());
    let gone = move || std::fs::rename(&from, &to).and_then(|()| std::fs::write(&from, "no room")).unwrap();
    let mut worker = worker(&endpoint, behind(|record| *record == Record::Judged { against: None }, gone)).await;
    let answer = ask(&mut worker, patch).await;
    assert!(matches!(answer, Err(AskError::File(_))), "{answer:?}");
    worker.tend_open().await;
    let text = status(&worker);
    assert!(worker.site().installer.is_interrupted(), "it is still open: {text}");
    assert!(text.to_string().contains(&format!("UNFINISHED patch {patch}: cannot ")), "{text}");
    assert!(text.to_string().contains("TROUBLE    cannot list "), "{text}");
    drop(worker);

    std::fs::remove_file(&receipts).and_then(|()| std::fs::rename(&away, &receipts)).unwrap();
    let mut worker = self::worker(&endpoint, Box::new(|_, _| {})).await;
    worker.tend_open().await;
    assert!(!worker.site().installer.is_interrupted() && worker.watch().borrow().open.is_none());
    worker.site().sender().send_all().await.unwrap();
    assert_eq!(
        (told(&world), endpoint.version().as_deref()),
        (vec![(Outcome::Applied, "1.0.2".to_owned())], Some("1.0.2"))
    );
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_receipted_at_once_and_once_more_at_its_end() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let sick = approved(&world, 2, tree_of("1.0.2"), |manifest| {
        manifest.health = List::new(vec![says("{tree}/bin/version", "something else")]).unwrap();
    });
    // The link cannot be moved back: something stands where the new one is made.
    let obstacle = endpoint.installed().unwrap().tree.ancestors().nth(2).unwrap().join("current.new");
    let stands = obstacle.clone();
    let judged = |record: &Record| matches!(record, Record::Judged { against: Some(_) });
    let mut worker = worker(&endpoint, behind(judged, move || std::fs::create_dir(&stands).unwrap())).await;
    let settled = ask(&mut worker, sick).await.unwrap();
    assert_eq!((settled.outcome, settled.to_version.as_str()), (Outcome::Failed, "1.0.2"), "{settled}");

    // It is tried again, says the same, and nothing else is begun.
    let next = approved(&world, 3, tree_of("1.0.3"), |_| {});
    worker.tend_open().await;
    worker.pass().await;
    let text = status(&worker).to_string();
    assert!(text.contains(&format!("UNFINISHED patch {sick}: failed: health-failed: ")), "{text}");
    worker.site().sender().send_all().await.unwrap();
    assert_eq!(told(&world), [(Outcome::Failed, "1.0.2".to_owned())]);
    assert_eq!(ask(&mut worker, next).await.unwrap().outcome, Outcome::Refused);
    assert_eq!(endpoint.version().as_deref(), Some("1.0.2"));

    std::fs::remove_dir(&obstacle).unwrap();
    assert_eq!(ask(&mut worker, next).await.unwrap().outcome, Outcome::Applied);
    assert!(worker.watch().borrow().open.is_none());
    worker.site().sender().send_all().await.unwrap();
    let of_the_sick: Vec<_> = world.receipts().into_iter().filter(|receipt| receipt.patch == sick).collect();
    let ends: Vec<_> = of_the_sick.iter().map(|receipt| (receipt.attempt, receipt.outcome)).collect();
    assert_eq!(ends, [(1, Outcome::Failed), (2, Outcome::RolledBack)]);
    assert_eq!(of_the_sick[1].to_version.as_str(), "1.0.1");
    assert!(!worker.site().attempts.may_try(sick, u64::MAX), "what was not healthy is not tried again");
}

/// What is not as it was after going back is not said to be over: it is put right by the next try.
#[tokio::test]
async fn what_is_changed_between_going_back_and_the_proof_of_it_is_gone_back_to_once_more() {
    let (world, mut bench) = (World::new(), Files::new().unwrap());
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    let old = bench.snapshot(&endpoint);
    let sick = approved_set(&world, 1, bench.kind(), bench.artifacts(1), |manifest| {
        manifest.health = List::new(vec![says("/usr/bin/env true", "something else")]).unwrap();
    });
    let file = bench.root().join("etc/acme/main.conf");
    let edit = move || std::fs::write(&file, "by somebody, at the wrong moment").unwrap();
    let mut worker = worker(&endpoint, behind(|record| *record == Record::Restored, edit)).await;
    let settled = ask(&mut worker, sick).await.unwrap();
    assert_eq!(settled.outcome, Outcome::Failed, "{settled}");
    assert!(worker.site().installer.is_unfinished());
    worker.tend_open().await;
    assert!(!worker.site().installer.is_interrupted());
    let last = worker.watch().borrow().last.clone().unwrap();
    assert_eq!(last.outcome, Outcome::RolledBack, "{last}");
    assert!(bench.snapshot(&endpoint) == old);
    worker.site().sender().send_all().await.unwrap();
    let ends: Vec<_> = world.receipts().iter().map(|receipt| (receipt.attempt, receipt.outcome)).collect();
    assert_eq!(ends, [(1, Outcome::Failed), (2, Outcome::RolledBack)]);
}

#[tokio::test]
async fn a_host_that_is_neither_waits_for_a_person_and_nothing_is_put_on_top_of_it() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    assert!(child(&endpoint, Some(patch), SWITCHED).await);
    let old = std::fs::read_dir(endpoint.installed().unwrap().tree.parent().unwrap()).unwrap();
    let old = old.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().contains("/baseline-"));
    let (old, away) = (old.unwrap(), endpoint.path("away"));
    let old = if old.is_dir() { old } else { old.with_extension("") };
    std::fs::rename(&old, &away).unwrap();

    let mut worker = worker(&endpoint, Box::new(|_, _| {})).await;
    for _ in 0..2 {
        worker.tend_open().await;
        let last = worker.watch().borrow().last.clone().unwrap();
        assert!(last.to_string().contains("the way back is gone"), "{last}");
        assert!(worker.site().installer.is_interrupted());
    }
    let next = approved(&world, 3, tree_of("1.0.3"), |_| {});
    worker.pass().await;
    assert_eq!(ask(&mut worker, next).await.unwrap().outcome, Outcome::Refused);

    std::fs::rename(&away, &old).unwrap();
    assert_eq!(ask(&mut worker, next).await.unwrap().outcome, Outcome::Applied);
    worker.site().sender().send_all().await.unwrap();
    let ends: Vec<_> = world.receipts().iter().filter(|receipt| receipt.patch == patch).map(|it| it.outcome).collect();
    assert_eq!(ends, [Outcome::Failed, Outcome::RolledBack]);
}

#[tokio::test]
async fn the_hour_is_asked_again_when_all_is_prepared() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let observer: Observer = Box::new(move |_, record| note.lock().unwrap().push(record.clone()));
    let mut site = endpoint.open_observed(observer);
    hear(&site).await;
    let mut log = AttemptLog::begin(&endpoint.data().join("logs"), 1, patch);
    let proof = world.ledger().proof(patch).unwrap();
    let proven = proof.verify(&site.trust, site.heads.clock(now_ms())).unwrap();
    let permit = site.policy().permit(proven.clone(), &site.host().unwrap(), site.now_ms()).unwrap();
    let staged = site.installer.stage(permit, &site.origins, 0, &mut log).await.unwrap();
    let asked = Mutex::new(Vec::new());
    let still = || {
        asked.lock().unwrap().push(seen.lock().unwrap().last().cloned().unwrap());
        Err(Refusal::new(ReasonCode::Policy, "its window is shut"))
    };
    let refused = site.installer.apply(1, staged.confirm(&proven).unwrap(), still, &mut log).await.unwrap_err();
    assert_eq!(refused.reason.code, ReasonCode::Policy);
    let asked = asked.into_inner().unwrap();
    assert!(matches!(asked[..], [Record::Prepared { .. }]), "{asked:?}");
    site.installer.close().unwrap();
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));
    assert!(!seen.lock().unwrap().contains(&Record::Switching));
}

/// Runs the agent's program, and asks it how it stands until it says this.
async fn a_running_agent_says(endpoint: &Endpoint, evidence: &str) {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(endpoint.config_path()).stderr(Stdio::null()).kill_on_drop(true);
    let mut running = command.spawn().unwrap();
    let data = DataDir::at(endpoint.data());
    eventually(evidence, async || match agent::control::ask(&data, &Request::Status {}).await {
        Ok(Some(Answer::Status(status))) => status.to_string().contains(evidence).then_some(()),
        _ => None,
    })
    .await;
    assert!(running.try_wait().unwrap().is_none(), "and it goes on");
    running.kill().await.unwrap();
}

#[tokio::test]
async fn one_installers_trouble_does_not_end_the_agent() {
    let (world, mut bench) = (World::new(), Files::new().unwrap());
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    let patch = approved_set(&world, 1, InstallerKind::FileSet, bench.artifacts(1), |_| {});
    assert!(child(&endpoint, Some(patch), 6).await);
    let holding = endpoint.data().join(format!("installs/acme/widget/stable/versions/patch-{patch}"));
    let (changes, before) = (holding.join("changes.json"), std::fs::read(holding.join("changes.json")).unwrap());
    std::fs::write(&changes, "no changes").unwrap();
    a_running_agent_says(&endpoint, &format!("UNFINISHED patch {patch}: cannot understand ")).await;

    std::fs::write(&changes, before).unwrap();
    let mut site = endpoint.open();
    assert_eq!(site.recover().await.unwrap().unwrap().outcome, Outcome::RolledBack);
}

#[tokio::test]
async fn a_damaged_journal_is_said_by_name_and_nothing_is_done() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    assert!(child(&endpoint, Some(patch), SWITCHED).await);
    let journal = endpoint.data().join("journal");
    let whole = std::fs::read(&journal).unwrap();
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    std::fs::write(&journal, &damaged).unwrap();
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(endpoint.config_path()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("is damaged: record 1, at byte 0") && said.contains("hint: what was begun"), "{said}");
    assert_eq!((std::fs::read(&journal).unwrap(), endpoint.version().as_deref()), (damaged, Some("1.0.2")));

    // One that was only torn is gone on with from the record before.
    std::fs::write(&journal, &whole[..whole.len() - 3]).unwrap();
    let mut site = endpoint.open();
    assert_eq!(site.recover().await.unwrap().unwrap().outcome, Outcome::RolledBack);
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));
}

/// The tree the one service runs from.
fn runs_from(worker: &Worker) -> Option<PathBuf> {
    worker.site().installer.services().views()[0].tree.clone()
}

const SERVICE: &str = "[services.widget]\ncommand = [\"sleep\", \"1000\"]\nready_wait_ms = 10\nstop_timeout_ms = 2000";

#[tokio::test]
async fn until_the_host_has_restarted_services_are_started_from_what_was_judged() {
    let mut house = House::new().await;
    house.allows("now", "", SERVICE);
    let old = house.endpoint.installed().unwrap().tree;
    let patch = house.patch(Reboot::Required, "1.0.2");
    let (mut worker, _) = house.begins().await;
    assert_eq!(awaits(&ask(&mut worker, patch).await), Some(patch));
    worker.site().installer.services().stop_all().await;
    drop(worker);
    // Only the agent was restarted.
    let (worker, settled) = house.begins().await;
    assert!(settled.is_none());
    let new = house.endpoint.installed().unwrap().tree;
    assert_eq!((runs_from(&worker), house.endpoint.version().as_deref()), (Some(old), Some("1.0.2")));
    worker.site().installer.services().stop_all().await;
    drop(worker);
    house.restarts();
    let (worker, settled) = house.begins().await;
    assert_eq!((settled.unwrap().outcome, runs_from(&worker)), (Outcome::Applied, Some(new)));
    worker.site().installer.services().stop_all().await;
}

#[tokio::test]
async fn of_what_was_put_into_the_place_of_the_old_there_is_only_the_new_to_start() {
    for first in [true, false] {
        let house = House::new().await;
        std::fs::remove_dir_all(house.endpoint.data().join("installs")).unwrap();
        let root = house.root();
        let files =
            format!("{SERVICE}\n[installers.file-set]\nroot = \"{}\"\ndirectories = [\"/run\"]", root.display());
        house.allows("now", "", &files);
        let set = |release, reboot| {
            let set = Archive::new().file("run/release", &format!("{release}\n")).bytes();
            let artifacts = vec![("files.tar".to_owned(), set)];
            approved_set(&house.world, release, InstallerKind::FileSet, artifacts, |manifest| {
                (manifest.reboot, manifest.health) = (reboot, List::default());
            })
        };
        let (mut worker, _) = house.begins().await;
        if !first {
            assert_eq!(ask(&mut worker, set(1, Reboot::Never)).await.unwrap().outcome, Outcome::Applied);
        }
        let patch = set(2, Reboot::Required);
        assert_eq!(awaits(&ask(&mut worker, patch).await), Some(patch));
        worker.site().installer.services().stop_all().await;
        drop(worker);
        let (worker, _) = house.begins().await;
        assert_eq!(runs_from(&worker), (!first).then_some(root), "what was never judged is not started");
        worker.site().installer.services().stop_all().await;
    }
}

#[tokio::test]
async fn whoever_asks_now_for_what_waits_for_its_restart_asks_for_the_restart() {
    let house = House::new().await;
    house.allows("window", "", &format!("[schedule]\nurgent = [\"important\"]\n{}", shut_for_hours()));
    let patch = house.patch(Reboot::Required, "1.0.2");
    let (mut worker, _) = house.begins().await;
    assert_eq!(awaits(&ask(&mut worker, patch).await), Some(patch));
    let other = approved(&house.world, 3, tree_of("1.0.3"), |_| {});
    let answer = worker.apply_as_asked(&other.to_string(), None, true).await;
    assert_eq!(
        (awaits(&answer), house.asked()),
        (Some(patch), 0),
        "another patch is no reason to restart for this one"
    );
    let answer = worker.apply_as_asked(&patch.to_string(), None, false).await;
    assert_eq!((awaits(&answer), house.asked()), (Some(patch), 0), "nor is asking without saying now");
    let answer = worker.apply_as_asked(&patch.to_string()[..12], None, true).await;
    assert_eq!((awaits(&answer), house.asked()), (Some(patch), 1));
}

/// A window that opens every minute of this century, for an hour.
const OPEN: &str = "[[windows]]\nname = \"always\"\ncron = \"* * * * *\"\nduration = \"1h\"\n";

#[tokio::test]
async fn going_back_waits_for_no_blackout_and_the_restart_for_it_does() {
    let mut house = House::new().await;
    house.allows("window", "", OPEN);
    let old = house.endpoint.tree();
    let patch = house.patch(Reboot::Required, "something else");
    let (mut worker, _) = house.begins().await;
    assert_eq!((awaits(&ask(&mut worker, patch).await), house.asked()), (Some(patch), 1));
    drop(worker);
    house.allows("window", "", &format!("{OPEN}[schedule]\nblackout = [\"01-01/12-31\"]\n"));
    house.restarts();
    let (mut worker, settled) = house.begins().await;
    assert_eq!(settled.unwrap().outcome, Outcome::RolledBack);
    assert!(house.endpoint.tree() == old);
    worker.tend_restart().await;
    let why = worker.watch().borrow().restart.clone().unwrap().why;
    assert!(why.starts_with("taken back; ") && why.contains("because of the blackout 01-01/12-31"), "{why}");
    assert_eq!(house.asked(), 1);
}

#[tokio::test]
async fn a_host_that_goes_down_as_it_comes_up_owes_a_restart_to_what_was_before() {
    let mut house = House::new().await;
    house.allows("now", "", "");
    let patch = house.patch(Reboot::Required, "1.0.2");
    assert!(!child(&house.endpoint, Some(patch), usize::MAX).await);
    house.restarts();
    // Behind the first record after the restart: it is coming up.
    assert!(child(&house.endpoint, None, 1).await);
    house.restarts();
    let (mut worker, settled) = house.begins().await;
    let settled = settled.unwrap();
    assert!(settled.to_string().contains("the host went down again while it came up"), "{settled}");
    worker.tend_restart().await;
    assert_eq!(house.asked(), 2, "what is in place does not run yet");
}
