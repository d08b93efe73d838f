//! When an agent changes its host, and when it says that it waits.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved, hear};
use crate::support::node::World;
use agent::follow::heads::Heads;
use agent::installer::journal::{Moment, Record};
use agent::settled::Settled;
use agent::status::Shown;
use agent::worker::{AskError, NoAttempt, Worker};
use ledger::patch::Severity;
use ledger::receipt::Outcome;
use std::sync::{Arc, OnceLock};

/// A window that opens every minute of this century, for an hour.
const OPEN: &str = "[[windows]]\nname = \"always\"\ncron = \"* * * * *\"\nduration = \"1h\"\n";
/// One that opens on the first leap day of the next century.
const SHUT: &str = "[[windows]]\nname = \"far\"\nrrule = \"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29\"\nfrom = \"2100-01-01\"\n\
                    start = \"02:00\"\nduration = \"1h\"\ntime_zone = \"Europe/Berlin\"\n";
const FAR: &str = "waits until 2104-02-29 01:00 UTC, because no window is open";

pub(crate) fn status(worker: &Worker) -> agent::status::Status {
    let site = worker.site();
    let shown = Shown {
        vitals: agent::health::Vitals::default(),
        config: site.config.clone(),
        endpoint: site.key().public(),
        heads: site.heads.clone(),
        services: site.installer.services().clone(),
        receipts: site.receipts.clone(),
        work: worker.watch(),
        origins: site.origins.clone(),
        cache: site.cache.clone(),
        kinds: worker.site().installer.kinds().clone(),
        running: site.installer.running().clone(),
        cannot_update: None,
    };
    shown.status()
}

#[tokio::test]
async fn outside_of_windows_a_patch_waits_and_status_says_until_when() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SHUT);
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});

    let mut worker = endpoint.worker().await;
    for _ in 0..2 {
        worker.pass().await;
        assert_eq!(endpoint.version().unwrap(), "1.0.1");
        let view = worker.watch().borrow().clone();
        assert_eq!(view.waiting[&patch].why, FAR);
        assert!(view.last.is_none() && view.tried.is_empty(), "a wait is no attempt: {view:?}");
    }
    let shown = status(&worker);
    let schedule = shown.schedule.as_ref().unwrap();
    assert_eq!((schedule.open, schedule.window.as_deref()), (false, Some("far")));
    let text = shown.to_string();
    assert!(text.contains("window     far opens at 2104-02-29 01:00 UTC\n"), "{text}");
    assert!(text.contains(&format!("waiting    patch {patch} (acme/widget): {FAR}\n")), "{text}");
    worker.site().sender().send_all().await.unwrap();
    assert!(world.receipts().is_empty(), "nor is there a receipt of it");

    // Somebody who asks is told the same, and it is no refusal: nothing was wrong.
    let waits = |answer: Result<Settled, AskError>| match answer {
        Err(AskError::NoAttempt(NoAttempt::Waits { patch, why, until_ms: Some(_) })) => (patch, why),
        answer => panic!("{answer:?}"),
    };
    assert_eq!(waits(worker.apply(&patch.to_string(), None).await), (patch, FAR.to_owned()));
    assert!(worker.site().attempts.all().next().is_none(), "a wait is no attempt, whoever asked");
    worker.site().sender().send_all().await.unwrap();
    assert!(world.receipts().is_empty());
    // Whoever stands at the host may say that it cannot wait.
    let now = worker.apply_as_asked(&patch.to_string(), None, true).await.unwrap();
    assert_eq!(now.outcome, Outcome::Applied);
    let next = approved(&world, 3, tree_of("1.0.3"), |_| {});
    let asked = waits(worker.apply_as_asked(&next.to_string(), None, false).await);
    assert_eq!(asked.0, next, "only for what was asked for");
}

#[tokio::test]
async fn whoever_asks_too_early_is_told_how_not_to_wait() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SHUT);
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let apply = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["apply", &patch.to_string(), "--config"]).arg(endpoint.config_path()).args(more);
        let output = command.env_remove("COUNTERSIGN_LOG").output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, said, hint) = apply(&[]).await;
    assert_eq!((code, said), (1, format!("patch {patch}: {FAR}; nothing was begun\n")));
    assert!(hint.contains("hint: `apply --now` waits for no window"), "{hint}");
    let (code, said, _) = apply(&["-o", "json"]).await;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["outcome"], &said["why"]), (1, &"waits".into(), &FAR.into()), "{said}");
    assert!(said["until_ms"].as_u64().is_some() && world.receipts().is_empty());
    let (code, said, _) = apply(&["--now"]).await;
    assert!(code == 0 && said.contains("applied"), "{said}");
    assert_eq!(world.receipts().iter().map(|receipt| receipt.attempt).collect::<Vec<_>>(), [1]);
}

/// Its hour passes while it is made ready.
#[tokio::test]
async fn what_was_made_ready_too_late_waits_and_that_is_no_attempt() {
    const DAYS_MS: u64 = 24 * 60 * 60 * 1000;
    let world = World::new();
    let node = world.node().await;
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    // A day that has not come: a quorum will have signed that it has, when all is prepared.
    let (mut header, scenario) = world.tip();
    (header.height, header.time_ms) = (header.height + 100, header.time_ms + 40 * DAYS_MS);
    let certificate = scenario.certificate(&header);
    let day = ledger::moment::Moment(header.time_ms).to_string()[5..10].to_owned();
    let endpoint = Endpoint::new(&world, &[&node], &format!("[schedule]\nblackout = [\"{day}/{day}\"]\n"));
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let heads: Arc<OnceLock<Arc<Heads>>> = Arc::default();
    let known = heads.clone();
    let site = endpoint.open_observed(Box::new(move |moment, record| {
        if moment == Moment::After && matches!(record, Record::Prepared { .. }) {
            let heads = known.get().unwrap();
            heads.see(&heads.certified(&header, &certificate).unwrap()).unwrap();
        }
    }));
    hear(&site).await;
    assert!(heads.set(site.heads.clone()).is_ok());
    let mut worker = Worker::new(site);
    let answer = worker.apply(&patch.to_string(), None).await;
    let Err(AskError::NoAttempt(NoAttempt::Waits { why, .. })) = &answer else { panic!("{answer:?}") };
    assert!(why.contains("because of the blackout"), "{why}");
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));
    let site = worker.site();
    assert!(!site.installer.is_interrupted() && site.attempts.all().next().is_none());
    assert_eq!(site.receipts.waiting().unwrap(), 0, "a wait is no receipt");
}

#[tokio::test]
async fn what_was_withdrawn_while_it_waited_waits_no_more() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SHUT);
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    assert_eq!(worker.watch().borrow().waiting.len(), 1);
    world.change(|ledger| {
        ledger.recall(patch);
        ledger.settle();
    });
    worker.pass().await;
    worker.pass().await;
    let _ = worker.apply(&patch.to_string(), None).await.unwrap();
    assert!(worker.watch().borrow().waiting.is_empty());
}

#[tokio::test]
async fn in_a_window_and_when_it_is_urgent_a_patch_is_applied() {
    for (schedule, severity) in [
        (OPEN.to_owned(), Severity::Low),
        (format!("{SHUT}[schedule]\nurgent = [\"critical\"]\n"), Severity::Critical),
        (format!("{SHUT}[schedule]\ndeadline = {{ moderate = \"0s\" }}\n"), Severity::Moderate),
    ] {
        let world = World::new();
        let node = world.node().await;
        let endpoint = Endpoint::new(&world, &[&node], &schedule);
        let patch = approved(&world, 2, tree_of("1.0.2"), |manifest| manifest.severity = severity);
        let mut worker = endpoint.worker().await;
        worker.pass().await;
        assert_eq!(endpoint.version().as_deref(), Some("1.0.2"), "{schedule}");
        assert!(worker.watch().borrow().waiting.is_empty());
        assert_eq!(worker.watch().borrow().last.as_ref().unwrap().patch, patch);
    }
}

#[tokio::test]
async fn a_clock_that_is_behind_the_ledger_is_shown_and_not_believed() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let worker = endpoint.worker().await;
    worker.site().heads.persist().unwrap();
    drop(worker);
    let site = endpoint.open();
    let seen = site.heads.newest();
    let (believed, day_ms) = (site.heads.believed_ms(1), 24 * 60 * 60 * 1000);
    assert!((seen.time_ms..seen.time_ms + day_ms).contains(&believed), "the clock says 1970");
    assert_eq!(site.heads.believed_ms(seen.time_ms + day_ms), seen.time_ms + day_ms);
    let mut shown = status(&Worker::new(site)).ledger.unwrap();
    assert_eq!(shown.clock_behind_ms, 0);
    shown.clock_behind_ms = 3 * 24 * 60 * 60 * 1000;
    let whole = agent::status::Status { ledger: Some(shown), ..status(&endpoint.worker().await) };
    assert!(whole.to_string().contains("CLOCK      this host's clock is 259200 s behind"), "{whole}");
}

#[tokio::test]
async fn a_blackout_is_shown_and_nothing_is_applied_in_it() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &format!("{OPEN}[schedule]\nblackout = [\"01-01/12-31\"]\n"));
    approved(&world, 2, tree_of("1.0.2"), |_| {});
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    assert!(endpoint.installed().is_none());
    let text = status(&worker).to_string();
    assert!(text.contains("window     none is in sight; BLACKOUT 01-01/12-31, until "), "{text}");
    drop(worker);
    // Also where no agent runs.
    let status = std::process::Command::new(PROGRAM).args(["status", "--config"]).arg(endpoint.config_path()).output();
    let text = String::from_utf8(status.unwrap().stdout).unwrap();
    assert!(text.contains("BLACKOUT 01-01/12-31"), "{text}");
}
