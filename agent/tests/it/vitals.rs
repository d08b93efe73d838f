//! Health between updates: what stops working is said within one interval, and so is that it works again.

use crate::following::{Daemon, applied};
use crate::services::SERVICE;
use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, approved, says};
use crate::support::eventually;
use crate::support::node::World;
use agent::control::{Answer, Request, ask};
use agent::data::DataDir;
use agent::health::HealthView;
use agent::status::Status;
use ledger::bounded::List;
use ledger::receipt::Outcome;
use rustix::process::{Pid, Signal, kill_process};

/// So often that nobody waits for it.
const WATCH: &str = "\n[health]\nwatch = \"50ms\"\n";

async fn status(endpoint: &Endpoint) -> Status {
    match ask(&DataDir::at(endpoint.data()), &Request::Status {}).await {
        Ok(Some(Answer::Status(status))) => *status,
        other => panic!("{other:?}"),
    }
}

/// Waits until what is installed is seen to work, or not to; what is said of it.
async fn seen(endpoint: &Endpoint, works: bool) -> HealthView {
    let what = if works { "that it works" } else { "that it does not work" };
    eventually(what, async || {
        let health = status(endpoint).await.health.pop()?;
        (health.trouble.is_none() == works).then_some(health)
    })
    .await
}

#[tokio::test]
async fn a_check_of_the_manifest_that_fails_later_is_said_and_nothing_is_taken_back() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], WATCH);
    let flag = endpoint.path("flag");
    std::fs::write(&flag, "").unwrap();
    let daemon = Daemon::start(&endpoint);
    approved(&world, 1, tree_of("1"), |manifest| {
        let is_there = format!("/usr/bin/env test -e {}", flag.display());
        manifest.health = List::new(vec![says(&is_there, "")]).unwrap();
    });
    applied(&world, &endpoint, "1.0.1").await;
    let well = seen(&endpoint, true).await;
    assert_eq!(well.product.to_string(), "acme/widget");

    std::fs::remove_file(&flag).unwrap();
    let ill = seen(&endpoint, false).await;
    assert!(
        ill.since_ms > well.since_ms && ill.trouble.as_ref().is_some_and(|it| it.contains("exit status 1")),
        "{ill:?}"
    );
    let shown = status(&endpoint).await.to_string();
    assert!(shown.contains("UNHEALTHY  acme/widget (channel stable) since "), "{shown}");
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));

    std::fs::write(&flag, "").unwrap();
    seen(&endpoint, true).await;
    daemon.stop().await;
    assert_eq!(world.receipts().len(), 1);
}

/// What was installed before its house ran no commands of manifests any more is asked the rest.
#[tokio::test]
async fn a_house_that_runs_no_commands_of_manifests_looks_without_them() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let ran = endpoint.path("ran");
    let patch = approved(&world, 2, tree_of("1.0.2"), |manifest| {
        manifest.health = List::new(vec![says(&format!("/usr/bin/env touch {}", ran.display()), "")]).unwrap();
    });
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    std::fs::remove_file(&ran).unwrap();
    endpoint.configure(&format!("{WATCH}manifest_commands = false"));
    let daemon = Daemon::start(&endpoint);
    let socket = endpoint.data().join(DataDir::CONTROL);
    eventually("the control socket", async || socket.exists().then_some(())).await;
    seen(&endpoint, true).await;
    assert!(!ran.exists());
    endpoint.configure(WATCH);
    daemon.stop().await;
    let daemon = Daemon::start(&endpoint);
    eventually("a look with the command", async || ran.exists().then_some(())).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_service_that_dies_is_said_though_it_is_started_again_at_once() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &format!("{SERVICE}{WATCH}"));
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let daemon = Daemon::start(&endpoint);
    let socket = endpoint.data().join(DataDir::CONTROL);
    eventually("the control socket", async || socket.exists().then_some(())).await;
    let well = seen(&endpoint, true).await;
    let pid = status(&endpoint).await.services[0].pid.unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    let ill = seen(&endpoint, false).await;
    assert_eq!(ill.trouble.as_deref(), Some("service widget: ended by signal 9"));
    let again = seen(&endpoint, true).await;
    assert!(well.since_ms < ill.since_ms && ill.since_ms < again.since_ms);
    daemon.stop().await;
}

/// A check may hold what an update needs, and what an update replaces does not work meanwhile.
#[tokio::test]
async fn an_update_waits_for_no_look_and_ends_what_its_checks_began() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], WATCH);
    let path = |name: &str| endpoint.path(name);
    let (flag, begun, still) = (path("flag"), path("begun"), path("still"));
    // It hangs in a child of its own when the flag is gone.
    let hangs = path("hangs");
    let script = format!(
        "[ -e {0} ] && exit 0\nsleep 1000 &\necho $! > {1}.new\nmv {1}.new {1}\nwait\n",
        flag.display(),
        begun.display()
    );
    std::fs::write(&hangs, script).unwrap();
    // Whether that child runs while the update asks.
    let looks = path("looks");
    let script = format!(
        "pid=$(cat {})\nif grep -qs '^State:[[:space:]]*[RSD]' /proc/$pid/status; then touch {}; fi\n",
        begun.display(),
        still.display()
    );
    std::fs::write(&looks, script).unwrap();
    std::fs::write(&flag, "").unwrap();

    let daemon = Daemon::start(&endpoint);
    let checked_by =
        |script: &std::path::Path| List::new(vec![says(&format!("/bin/sh {}", script.display()), "")]).unwrap();
    approved(&world, 1, tree_of("1"), |manifest| manifest.health = checked_by(&hangs));
    applied(&world, &endpoint, "1.0.1").await;
    std::fs::remove_file(&flag).unwrap();
    eventually("a check that hangs", async || begun.exists().then_some(())).await;

    approved(&world, 2, tree_of("2"), |manifest| manifest.health = checked_by(&looks));
    applied(&world, &endpoint, "1.0.2").await;
    assert!(!still.exists(), "the update asked while the look before it went on");
    seen(&endpoint, true).await;
    daemon.stop().await;
}
