//! What `doctor` finds, thing by thing.

use crate::crash::child;
use crate::following::Daemon;
use crate::support::archive::{snapshot, tree_of};
use crate::support::endpoint::{Endpoint, PROGRAM, approved};
use crate::support::eventually;
use crate::support::ledger::Ledger;
use crate::support::mirror::{Mirror, Serves};
use crate::support::node::World;
use agent::enrolment::Enrolment;
use std::os::unix::fs::PermissionsExt as _;

struct Seen {
    code: i32,
    text: String,
    findings: Vec<(String, String, String, String)>,
}

async fn doctor(endpoint: &Endpoint) -> Seen {
    let run = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["doctor", "--config"]).arg(endpoint.config_path()).args(more).env_remove("COUNTERSIGN_LOG");
        let output = command.output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let ((code, text), (_, json)) = (run(&[]).await, run(&["-o", "json"]).await);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let word = |finding: &serde_json::Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let finding =
        |finding| (word(finding, "about"), word(finding, "mark"), word(finding, "said"), word(finding, "hint"));
    Seen { code, text, findings: json["findings"].as_array().unwrap().iter().map(finding).collect() }
}

impl Seen {
    /// There is a finding like this, and one that is not well has a hint.
    #[track_caller]
    fn says(&self, about: &str, mark: &str, evidence: &str) {
        let fits = |(is_about, is, said, hint): &&(String, String, String, String)| {
            is_about == about && is == mark && said.contains(evidence) && (mark == "ok") == hint.is_empty()
        };
        assert!(self.findings.iter().any(|finding| fits(&finding)), "{about} {mark} {evidence}:\n{}", self.text);
    }

    /// What is in the way.
    fn fails(&self) -> Vec<&str> {
        self.findings.iter().filter(|(_, mark, ..)| mark == "fail").map(|(about, ..)| about.as_str()).collect()
    }
}

#[tokio::test]
async fn a_host_that_is_well_is_told_so_and_nothing_is_changed() {
    let world = World::new();
    let (one, two) = (world.node().await, world.node().await);
    let endpoint = Endpoint::new(&world, &[&one, &two], "");
    approved(&world, 2, tree_of("1.0.2"), |_| {});
    let before = snapshot(endpoint.directory.path());
    let seen = doctor(&endpoint).await;
    assert_eq!((seen.code, seen.fails()), (0, vec![]), "{}", seen.text);
    seen.says("directory", "warn", "is not there yet");
    seen.says("agent", "warn", "does not run");
    seen.says("nodes", "ok", "2 answer, and agree");
    seen.says("key", "ok", &endpoint.key.public().to_string());
    seen.says("installer", "ok", "directory trees");
    seen.says("clock", "ok", "the newest header, of height");
    assert!(seen.text.contains("looked at: 0 fail, "), "{}", seen.text);
    assert!(snapshot(endpoint.directory.path()) == before);
}

#[tokio::test]
async fn everything_that_is_not_well_is_said_with_what_to_do_about_it() {
    let world = World::new();
    let node = world.node().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = node.at(closed);
    let endpoint = Endpoint::new(&world, &[&node, &gone], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    assert!(child(&endpoint, Some(patch), 8).await);
    let private = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(endpoint.data().join("receipts"), private(0o755)).unwrap();
    let seen = doctor(&endpoint).await;
    assert_eq!((seen.code, seen.fails()), (0, vec![]), "{}", seen.text);
    seen.says("directory", "warn", "receipts has mode 755");
    seen.says("journal", "warn", &format!("patch {patch} of acme/widget is not at its end"));
    seen.says("node", "warn", "does not answer");
    seen.says("nodes", "warn", "one answers");

    // Each of these is in the way.
    let key = endpoint.path("endpoint.key");
    std::fs::set_permissions(&key, private(0o644)).unwrap();
    let journal = endpoint.data().join("journal");
    let mut damaged = std::fs::read(&journal).unwrap();
    damaged[20] ^= 1;
    std::fs::write(&journal, &damaged).unwrap();
    let nowhere = endpoint.path("nowhere");
    endpoint.configure(&format!(
        "[reboot]\nwhen = \"now\"\nroot = \"{0}\"\n[installers.file-set]\nroot = \"{0}\"\ndirectories = [\"/etc/acme\"]",
        nowhere.display()
    ));
    let seen = doctor(&endpoint).await;
    assert_eq!((seen.code, seen.fails()), (1, vec!["key", "installer", "restart", "journal"]), "{}", seen.text);
    seen.says("journal", "fail", "is damaged: record 1");
    assert!(seen.text.contains("FAIL  key") && seen.text.contains("hint: chmod 600"), "{}", seen.text);

    std::fs::write(endpoint.path("genesis"), "no genesis").unwrap();
    let seen = doctor(&endpoint).await;
    seen.says("trust root", "fail", "is no genesis file");
}

/// A name that is misspelt brings nothing, for ever: the host would look well and never be patched.
#[tokio::test]
async fn what_is_followed_in_vain_and_what_nothing_follows_is_said() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    approved(&world, 2, tree_of("1.0.2"), |_| {});
    let seen = doctor(&endpoint).await;
    assert!(!seen.text.contains("no subscription") && !seen.text.contains("no node has"), "{}", seen.text);
    let config = std::fs::read_to_string(endpoint.config_path()).unwrap();
    std::fs::write(endpoint.config_path(), config.replace("acme/widget", "acme/wigdet")).unwrap();
    let seen = doctor(&endpoint).await;
    seen.says("subscription", "warn", "acme/widget (stable) is installed, and no subscription brings anything newer");
    seen.says("subscription", "warn", "no node has an approved patch of acme/wigdet (stable)");
    assert_eq!(seen.fails(), Vec::<&str>::new(), "{}", seen.text);
}

#[tokio::test]
async fn a_running_agent_says_that_its_configuration_was_changed_and_why_a_receipt_waits() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    node.behave(|manners| manners.no_submit = Some("quota"));
    approved(&world, 1, tree_of("1"), |_| {});
    let daemon = Daemon::start(&endpoint);
    eventually("a receipt that waits", async || {
        let said = doctor(&endpoint).await;
        said.text.contains("a receipt waits: ").then_some(said)
    })
    .await
    .says("agent", "warn", "quota");
    let mut status = tokio::process::Command::new(PROGRAM);
    status.args(["status", "--config"]).arg(endpoint.config_path());
    let text = String::from_utf8(status.output().await.unwrap().stdout).unwrap();
    assert!(text.contains("receipts   1 waiting: ") && text.contains("quota"), "{text}");
    let config = std::fs::read_to_string(endpoint.config_path()).unwrap();
    std::fs::write(endpoint.config_path(), config.replace("patience_ms = 400", "patience_ms = 500")).unwrap();
    doctor(&endpoint).await.says("agent", "warn", "was changed since it began");
    let said = status.output().await.unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("hint: the configuration was changed since the agent began"), "{said}");
    daemon.stop().await;
}

/// Whoever took the wrong genesis file is not sent to look at the network.
#[tokio::test]
async fn nodes_that_are_not_believed_are_not_said_to_be_silent() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let another = Ledger::new(2);
    std::fs::write(endpoint.path("genesis"), another.scenario.genesis().genesis.bytes()).unwrap();
    let seen = doctor(&endpoint).await;
    seen.says("nodes", "fail", "none says what this host can believe");
    assert!(!seen.text.contains("none answers"), "{}", seen.text);
}

#[tokio::test]
async fn sources_are_looked_at_and_nothing_is_taken() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let (honest, failing) = (Mirror::new(Serves::Honestly).await, Mirror::new(Serves::Failing).await);
    let (elsewhere, circling) =
        (Mirror::new(Serves::SendsOn(honest.url.clone())).await, Mirror::new(Serves::InCircles).await);
    let (secure, root) = Mirror::with_tls(Serves::Honestly, "localhost").await;
    let (stranger, _) = Mirror::with_tls(Serves::Honestly, "localhost").await;
    let anything = Mirror::new(Serves::Anything).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (ca, stick, gone) = (endpoint.path("mirror.pem"), endpoint.path("stick"), endpoint.path("gone"));
    std::fs::write(&ca, root).unwrap();
    std::fs::create_dir(&stick).unwrap();
    let mirror = |url: &str| format!("[[sources]]\nkind = \"mirror\"\nurl = {url:?}\n");
    let directory = |path: &std::path::Path| format!("[[sources]]\nkind = \"directory\"\npath = {path:?}\n");
    let believed = |mirror: &Mirror| format!("[[sources]]\nkind = \"mirror\"\nurl = {:?}\nca = {ca:?}\n", mirror.url);
    let mut sources: String = [&honest, &failing, &elsewhere, &circling, &anything].map(|it| mirror(&it.url)).concat();
    sources += &[mirror(&format!("http://{closed}/patches")), believed(&secure), believed(&stranger)].concat();
    sources += &[directory(&stick), directory(&gone)].concat();
    endpoint.configure(&sources);
    let seen = doctor(&endpoint).await;
    assert_eq!((seen.code, seen.fails()), (0, vec![]), "{}", seen.text);
    for (source, mark, evidence) in [
        (honest.url.clone(), "ok", "answers"),
        (failing.url, "warn", "status: answered 500"),
        (elsewhere.url, "warn", "which redirects_to does not name"),
        (circling.url, "warn", "redirects: more than 4"),
        (anything.url, "warn", "under a digest that nothing has"),
        (format!("http://{closed}/patches"), "warn", "connection: "),
        (secure.url, "ok", "answers"),
        (stranger.url, "warn", "connection: invalid peer certificate"),
        (stick.display().to_string(), "ok", "answers"),
        (gone.display().to_string(), "warn", "No such file"),
    ] {
        let of_it = |(about, ..): &&(String, String, String, String)| about == "source";
        let found = seen.findings.iter().filter(of_it).find(|(_, _, said, _)| said.starts_with(&source));
        let (_, is, said, _) = found.unwrap_or_else(|| panic!("{source}: {}", seen.text));
        assert!(is == mark && said.contains(evidence), "{source}: {}", seen.text);
    }
    // Roots that are none stop the agent itself.
    std::fs::write(&ca, "no roots").unwrap();
    let seen = doctor(&endpoint).await;
    assert_eq!((seen.code, seen.fails()), (1, vec!["source", "source"]), "{}", seen.text);
    assert!(seen.text.contains("no usable TLS roots"), "{}", seen.text);
}

/// Two names of one node are one voice.
#[tokio::test]
async fn a_node_that_is_given_twice_agrees_with_nobody() {
    let world = World::new();
    let node = world.node().await;
    approved(&world, 2, tree_of("1.0.2"), |_| {});
    let port = node.address.rsplit_once(':').unwrap().1;
    let named = node.called(&format!("localhost:{port}"));
    for (second, said) in [(&node, "is given twice"), (&named, "are one node")] {
        let endpoint = Endpoint::new(&world, &[&node, second], "");
        let seen = doctor(&endpoint).await;
        seen.says("node", "warn", said);
        seen.says("nodes", "warn", "one answers");
        assert!(!seen.text.contains("agree"), "{}", seen.text);
    }
}

#[tokio::test]
async fn a_host_that_is_not_enrolled_is_told_what_an_operator_types() {
    let world = World::new();
    let node = world.node().await;
    let key = agent::key::generate().unwrap();
    approved(&world, 2, tree_of("1.0.2"), |_| {});
    let endpoint = Endpoint::not_enrolled(&world, &[&node], "", key);
    let public = endpoint.key.public();
    let seen = doctor(&endpoint).await;
    assert_eq!((seen.code, seen.fails()), (1, vec!["enrolment"]), "{}", seen.text);
    seen.says("enrolment", "fail", "is not enrolled in the ledger: no node takes its receipts");
    let typed = format!("countersign endpoint enroll {public} --name host --group GROUP --key OPERATOR.key");
    assert!(seen.text.contains(&typed), "{}", seen.text);

    // An agent that runs says it, and takes note when it is over. Asking is no receipt.
    let worker = endpoint.worker().await;
    let (sender, receipts) = (worker.site().sender(), worker.site().receipts.clone());
    assert_eq!(receipts.enrolment(), None);
    sender.ask_enrolment(|_| true).await;
    assert_eq!(receipts.enrolment(), Some(Enrolment::NotEnrolled));
    let text = crate::windows::status(&worker).to_string();
    assert!(text.contains("ENROLMENT  this host's key is not enrolled") && text.contains(&typed), "{text}");
    world.change(|ledger| {
        ledger.enroll(public);
        ledger.settle();
    });
    sender.ask_enrolment(|_| true).await;
    assert_eq!(receipts.enrolment(), Some(Enrolment::Enrolled));
    assert!(!crate::windows::status(&worker).to_string().contains("ENROLMENT") && world.receipts().is_empty());
    let seen = doctor(&endpoint).await;
    seen.says("enrolment", "ok", "is enrolled in the ledger");
}

#[tokio::test]
async fn every_kind_the_house_wants_is_looked_at() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let nowhere = endpoint.path("nowhere");
    for (kind, words) in [("debian", "no Debian packages: "), ("rpm", "no RPM packages: ")] {
        endpoint.configure(&format!("[installers.{kind}]\nenabled = true\nroot = \"{}\"", nowhere.display()));
        let seen = doctor(&endpoint).await;
        assert_eq!((seen.code, seen.fails()), (1, vec!["installer"]), "{kind}: {}", seen.text);
        seen.says("installer", "fail", words);
    }
}

#[tokio::test]
async fn nodes_that_are_silent_or_lie_and_a_clock_that_does_not_fit_are_told_apart() {
    let world = World::new();
    let (node, mut endpoint) = (world.node().await, None);
    for (ledger, fails, evidence) in [
        ("max_age_ms = 1", vec!["clock"], "STALE, nothing is applied"),
        ("server_name = \"elsewhere.example\"", vec!["nodes"], "none answers"),
    ] {
        let host = endpoint.insert(Endpoint::new(&world, &[&node], ""));
        host.ledger = ledger.to_owned();
        host.configure("");
        let seen = doctor(host).await;
        assert_eq!((seen.code, seen.fails()), (1, fails), "{ledger}: {}", seen.text);
        assert!(seen.text.contains(evidence), "{ledger}: {}", seen.text);
    }
    std::fs::write(endpoint.as_ref().unwrap().path("ca.pem"), "no roots").unwrap();
    let seen = doctor(endpoint.as_ref().unwrap()).await;
    assert_eq!(seen.code, 1, "{}", seen.text);
}
