//! Why a host has a patch, or not: from its own disk, whoever can be asked.

use crate::crash::child;
use crate::following::Daemon;
use crate::support::archive::{snapshot, tree_of};
use crate::support::endpoint::{Endpoint, PROGRAM, approved, hear, manifest, says};
use crate::support::node::World;
use ledger::bounded::List;
use ledger::id::PatchId;
use ledger::receipt::Outcome;
use std::collections::BTreeMap;
use std::process::Command;

struct Answer {
    code: i32,
    text: String,
    /// What each check says, and its evidence.
    checks: BTreeMap<String, (String, String)>,
    answer: String,
}

/// Runs the program, for people and for programs.
fn why(endpoint: &Endpoint, patch: &str, more: &[&str]) -> Answer {
    let run = |more: &[&str]| {
        let config = endpoint.config_path();
        let mut command = Command::new(PROGRAM);
        command.args(["why", patch, "--config"]).arg(&config).args(more).env_remove("COUNTERSIGN_LOG").output().unwrap()
    };
    let shown = run(more);
    let output = run(&[more, &["-o", "json"]].concat());
    assert_eq!(shown.status.code(), output.status.code());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let check = |check: &serde_json::Value| (word(&check["check"]), (word(&check["verdict"]), word(&check["said"])));
    Answer {
        code: output.status.code().unwrap(),
        text: String::from_utf8(shown.stdout).unwrap(),
        checks: json["checks"].as_array().unwrap().iter().map(check).collect(),
        answer: word(&json["answer"]),
    }
}

impl Answer {
    #[track_caller]
    fn says(&self, check: &str, verdict: &str, evidence: &str) {
        let (is, said) = &self.checks[check];
        assert!(is == verdict && said.contains(evidence), "{check} is {is}: {said}\n{}", self.text);
    }

    /// The checks that say no.
    fn against(&self) -> Vec<&str> {
        self.checks.iter().filter(|(_, (verdict, _))| verdict == "no").map(|(check, _)| check.as_str()).collect()
    }
}

/// A window that opens on the first leap day of the next century.
const SHUT: &str = "[[windows]]\nname = \"far\"\nrrule = \"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29\"\nfrom = \"2100-01-01\"\n\
                    start = \"02:00\"\nduration = \"1h\"\n";

#[tokio::test]
async fn what_waits_for_its_hour_is_told_from_what_is_installed_and_from_what_was_taken_back() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SHUT);
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let good = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    drop(worker);
    // No node answers any more.
    drop(node);
    let answer = why(&endpoint, &good.to_string()[..10], &[]);
    assert_eq!((answer.code, answer.against()), (1, vec!["window"]), "{}", answer.text);
    assert!(answer.answer.contains("because of host window: waits until 2104-02-29"), "{}", answer.answer);
    answer.says("quorum", "yes", "signed the header of height");
    answer.says("approval", "yes", "2 of 2 approvals");
    answer.says("release", "yes", "release 2 is newer");
    answer.says("attempts", "yes", "not tried yet");
    for line in ["about      acme/widget ", "host   window       NO   waits until", "answer     it is not installed"] {
        assert!(answer.text.contains(line), "{line}: {}", answer.text);
    }

    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    endpoint.apply(good).await;
    let answer = why(&endpoint, &good.to_string(), &[]);
    assert_eq!((answer.code, answer.answer.as_str()), (0, "it is installed (acme/widget 1.0.2)"), "{}", answer.text);
    answer.says("attempts", "yes", "applied; installed since; attempt 1 in the ledger");
    answer.says("release", "yes", "it is what is installed");

    let sick = approved(&world, 3, tree_of("1.0.3"), |manifest| {
        manifest.health = List::new(vec![says("{tree}/bin/version", "something else")]).unwrap();
    });
    endpoint.apply(sick).await;
    let answer = why(&endpoint, &sick.to_string(), &[]);
    assert_eq!((answer.code, answer.against()), (1, vec!["attempts"]), "{}", answer.text);
    answer.says("attempts", "no", "rolled-back (health-failed); not tried again by itself");
    answer.says("attempts", "no", "; attempt 1 in the ledger");

    // The ledger goes on: what was kept is old by then, which is no answer to what was settled long ago.
    world.change(crate::support::ledger::Ledger::settle);
    let site = endpoint.open();
    hear(&site).await;
    site.heads.persist().unwrap();
    drop(site);
    let answer = why(&endpoint, &sick.to_string(), &[]);
    answer.says("freshness", "note", "the one kept here is old: header has height");
    assert_eq!((answer.code, answer.against()), (1, vec!["attempts"]), "{}", answer.text);
    assert!(
        answer.answer.starts_with("it is not installed, because of agent attempts: rolled-back"),
        "{}",
        answer.text
    );
    let answer = why(&endpoint, &good.to_string(), &[]);
    assert_eq!((answer.code, answer.answer.as_str()), (0, "it is installed (acme/widget 1.0.2)"), "{}", answer.text);
    // Of a file that somebody gives it is said, and what is forged in it before that.
    let file = endpoint.path("old.proof");
    std::fs::copy(endpoint.data().join(format!("proofs/{sick}.proof")), &file).unwrap();
    let answer = why(&endpoint, &sick.to_string(), &["--from", file.to_str().unwrap()]);
    assert!(answer.answer.contains("because of proof freshness: "), "{}", answer.text);
    let mut forged = ledger::proof::ProofBundle::parse(&std::fs::read(&file).unwrap()).unwrap();
    forged.publish.transaction.signature = ledger::key::Signature([7; 64]);
    std::fs::write(&file, forged.bytes()).unwrap();
    let answer = why(&endpoint, &sick.to_string(), &["--from", file.to_str().unwrap()]);
    assert!(answer.answer.contains("because of proof history: "), "{}", answer.text);
}

/// One meaning, one number: that of the receipt. And what went well is not shown with why it once did not.
#[tokio::test]
async fn attempts_are_numbered_as_in_the_ledger() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    // Other patches are tried first: their attempts are theirs.
    let other = approved(&world, 2, tree_of("1.0.2"), |manifest| {
        manifest.channel = ledger::bounded::Name::new("beta").unwrap();
    });
    for _ in 0..3 {
        assert_eq!(endpoint.apply(other).await.outcome, Outcome::Refused);
    }
    let manifest = manifest(&world, 3, &tree_of("1.0.3"));
    let patch = manifest.id();
    world.store(tree_of("1.0.3"));
    world.change(|ledger| {
        ledger.publish(manifest);
        ledger.settle();
    });
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Refused);
    why(&endpoint, &patch.to_string(), &[]).says(
        "attempts",
        "yes",
        "refused (approval-rule); may be tried again; attempt 1 in",
    );
    // Tried again by itself it is the same refusal, of which there is one receipt.
    node.behave(|manners| manners.lists_all_as_approved = true);
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    drop(worker);
    why(&endpoint, &patch.to_string(), &[]).says("attempts", "no", "; the ledger knows it from attempt 1");
    world.change(|ledger| {
        ledger.approve("bank", patch);
        ledger.approve("clinic", patch);
        ledger.settle();
    });
    node.behave(|manners| manners.no_submit = Some("mempool-full"));
    let mut worker = endpoint.worker().await;
    assert_eq!(worker.apply(&patch.to_string(), None).await.unwrap().outcome, Outcome::Applied);
    let said = "applied; installed since; its receipt is not in the ledger yet";
    why(&endpoint, &patch.to_string(), &[]).says("attempts", "yes", said);
    node.behave(|manners| manners.no_submit = None);
    worker.site().sender().send_all().await.unwrap();
    why(&endpoint, &patch.to_string(), &[]).says(
        "attempts",
        "yes",
        "applied; installed since; attempt 2 in the ledger",
    );
    assert_eq!(world.receipts().last().unwrap().attempt, 2);
}

#[tokio::test]
async fn with_a_damaged_journal_nothing_is_called_installed() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    endpoint.apply(patch).await;
    let journal = endpoint.data().join("journal");
    let mut damaged = std::fs::read(&journal).unwrap();
    damaged[20] ^= 1;
    std::fs::write(&journal, damaged).unwrap();
    let answer = why(&endpoint, &patch.to_string(), &[]);
    assert_eq!((answer.code, answer.against()), (1, vec!["under way"]), "{}", answer.text);
    let said = "the link `current` of acme/widget (stable) leads to it; whether its update is over cannot be told: ";
    assert!(answer.answer.starts_with(said) && answer.answer.contains("is damaged: record 1"), "{}", answer.answer);
    assert!(answer.text.contains("hint: see what is installed, put it right by hand, then move"), "{}", answer.text);
}

#[tokio::test]
async fn what_is_in_place_and_not_judged_is_not_called_installed() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    // The agent dies after the switch: `current` leads to what nobody has judged.
    assert!(child(&endpoint, Some(patch), 8).await);
    let answer = why(&endpoint, &patch.to_string(), &[]);
    assert_eq!(answer.code, 1, "{}", answer.text);
    let said = format!("its update is not over: patch {patch} of acme/widget is under way, or was interrupted");
    assert!(answer.answer.starts_with(&said), "{}", answer.answer);
    answer.says("under way", "no", "nothing else is begun");
    let output = Command::new(PROGRAM).args(["status", "--config"]).arg(endpoint.config_path()).output().unwrap();
    let status = String::from_utf8(output.stdout).unwrap();
    for line in [
        "installed  acme/widget 1.0.2 (channel stable, release 2), NOT JUDGED: its update is not over\n".to_owned(),
        format!("UNFINISHED patch {patch} of acme/widget is under way, or was interrupted; "),
    ] {
        assert!(status.contains(&line), "{line}: {status}");
    }

    let settled = endpoint.open().recover().await.unwrap().unwrap();
    let answer = why(&endpoint, &patch.to_string(), &[]);
    assert!(answer.answer.starts_with("it is not installed, because of"), "{settled}: {}", answer.text);
}

#[tokio::test]
async fn every_part_of_a_proof_says_no_by_itself() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let (patch, recalled) = (approved(&world, 2, tree_of("1.0.2"), |_| {}), approved(&world, 3, tree_of("1"), |_| {}));
    world.change(|ledger| {
        ledger.recall(recalled);
        ledger.settle();
    });
    let path = endpoint.path("some.proof");
    let ask = |patch: PatchId, proof: Vec<u8>| {
        std::fs::write(&path, proof).unwrap();
        why(&endpoint, &patch.to_string(), &["--from", path.to_str().unwrap()])
    };
    let good = world.ledger().proof(patch).unwrap();
    let answer = ask(patch, good.bytes());
    assert_eq!((answer.code, answer.against()), (0, vec![]), "{}", answer.text);
    assert!(answer.answer.starts_with("nothing is in the way"), "{}", answer.answer);

    let answer = ask(recalled, world.ledger().proof(recalled).unwrap().bytes());
    assert_eq!((answer.code, answer.against()), (1, vec!["recall"]), "{}", answer.text);
    answer.says("authority", "yes", "");
    answer.says("halt", "unknown", "not reached");
    answer.says("release", "yes", "");

    // What is merely old is examined as of its time.
    let mut old = good.clone();
    old.header.time_ms -= 2 * 24 * 60 * 60 * 1000;
    old.certificate = world.ledger().scenario.certificate(&old.header);
    let answer = ask(patch, old.bytes());
    assert_eq!((answer.code, answer.against()), (1, vec!["freshness"]), "{}", answer.text);
    answer.says("approval", "yes", "2 of 2 approvals");
    let mut half = good.clone();
    {
        let ledger = world.ledger();
        half.certificate = ledger.scenario.certificate_by(&half.header, &ledger.scenario.validators()[..2]);
    }
    let answer = ask(patch, half.bytes());
    assert_eq!((answer.code, answer.against()), (1, vec!["quorum"]), "{}", answer.text);
    answer.says("freshness", "unknown", "not reached");

    let answer = ask(patch, b"no proof".to_vec());
    assert_eq!((answer.code, answer.against()), (1, vec!["file"]), "{}", answer.text);
    let answer = ask(recalled, good.bytes());
    assert_eq!(answer.against(), ["file"], "{}", answer.text);
    answer.says("file", "no", "the proof of another patch");
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "[services.widget]\ncommand = [\"{tree}/bin/serve\"]");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    drop(endpoint.open());
    let before = snapshot(endpoint.directory.path());
    let run = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["apply", &patch.to_string()[..10], "--dry-run", "--config"]).arg(endpoint.config_path());
        let output = command.args(more).env_remove("COUNTERSIGN_LOG").output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&[]).await;
    assert_eq!(code, 0, "{text}");
    for line in [
        "host   plan         yes  1 artifact\n",
        "would      fetch tree.tar (",
        "would      install directory trees: acme/widget 1.0.1 → 1.0.2",
        "would      restart service widget",
        "would      keep it if all of them pass, else go back to 1.0.1; and write a receipt",
        "answer     it would be installed; nothing was changed",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (code, json) = run(&["-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json["well"].as_bool(), json["installed"].as_bool()), (0, Some(true), Some(false)));

    assert!(snapshot(endpoint.directory.path()) == before);
    assert!(world.receipts().is_empty() && node.asked().fetches.iter().all(|fetches| *fetches == 0));

    // Also beside an agent that runs, and whatever the hour.
    endpoint.configure(SHUT);
    let held = endpoint.open();
    let (code, text) = run(&[]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("answer     it would not be installed, because of host window: waits until"), "{text}");
    assert!(text.contains("no window is open; `--now` waits for no window\n"), "{text}");
    assert!(text.contains("would      fetch tree.tar ("), "when its hour has come: {text}");
    assert_eq!(run(&["--now"]).await.0, 0);
    drop(held);
    endpoint.configure("");
    assert_eq!(endpoint.apply(patch).await.to_version.as_str(), "1.0.2");
    let (code, text) = run(&[]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("answer     it is installed already: nothing would be done"), "{text}");
    assert!(!text.contains("\nwould "), "{text}");
}

/// `apply` judges by the newest header the agent has seen, which need not be on the disk; so do those who only ask.
#[tokio::test]
async fn who_only_asks_is_answered_by_the_newest_header_too() {
    let world = World::new();
    let node = world.node().await;
    // No update is begun, before which the newest header would go to the disk.
    let endpoint = Endpoint::new(&world, &[&node], SHUT);
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let file = endpoint.path("old.proof");
    std::fs::write(&file, world.ledger().proof(patch).unwrap().bytes()).unwrap();
    world.change(crate::support::ledger::Ledger::settle);
    let from = ["--from", file.to_str().unwrap(), "--now"];
    let dry_run = async || {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["apply", &patch.to_string(), "--dry-run", "--config"]).arg(endpoint.config_path());
        let output = command.args(from).env_remove("COUNTERSIGN_LOG").output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let already_seen = "because of proof freshness: header has height";
    let (code, text) = dry_run().await;
    assert!(code == 1 && text.contains(already_seen), "without an agent the nodes are asked: {text}");

    let daemon = Daemon::start(&endpoint);
    let newest = world.ledger().heads.last().unwrap().0.height;
    let data = agent::data::DataDir::at(endpoint.data());
    crate::support::eventually("the newest header", async || {
        let asked = agent::control::ask(&data, &agent::control::Request::Status {}).await;
        let Ok(Some(agent::control::Answer::Status(status))) = asked else { return None };
        status.ledger.filter(|ledger| ledger.height == newest)
    })
    .await;
    let (code, text) = dry_run().await;
    assert!(!text.contains("\nwould "), "with this proof it would do nothing: {text}");
    assert!(code == 1 && text.contains(already_seen), "beside one that runs it is: {text}");
    let answer = why(&endpoint, &patch.to_string(), &from[..2]);
    assert!(answer.answer.contains(already_seen), "{}", answer.text);
    daemon.stop().await;
}

#[tokio::test]
async fn what_this_host_never_heard_of_is_said_and_nothing_is_changed() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let answer = why(&endpoint, &patch.to_string(), &[]);
    assert_eq!((answer.code, answer.against()), (1, vec!["file"]), "{}", answer.text);
    answer.says("file", "no", "no proof of it lies on this host");
    assert!(!endpoint.data().exists(), "asking leaves nothing behind");
    for (prefix, code, evidence) in [("zz", 2, "not a patch id"), ("0000", 3, "knows of no patch")] {
        let mut command = Command::new(PROGRAM);
        let output = command.args(["why", prefix, "--config"]).arg(endpoint.config_path()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(evidence) && said.contains("hint:"), "{said}");
    }
}
