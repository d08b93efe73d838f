//! The command line: what it prints, and how it ends.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved, says};
use crate::support::node::World;
use ledger::bounded::List;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tokio::process::Command;

struct Ended {
    code: i32,
    out: String,
    err: String,
}

async fn agent(arguments: &[&str]) -> Ended {
    let output = Command::new(PROGRAM).args(arguments).env_remove("COUNTERSIGN_LOG").output().await.unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn init_makes_a_key_for_its_owner_alone_and_prints_the_public_one() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new();
    let (genesis, ca) = (directory.path().join("g"), directory.path().join("c"));
    std::fs::write(&genesis, world.ledger().scenario.genesis().genesis.bytes()).unwrap();
    std::fs::write(&ca, &world.ca_pem).unwrap();
    let dir = directory.path().join("agent");
    let arguments = ["init", "--dir", text(&dir), "--name", "edge-1", "--node", "https://127.0.0.1:1"];
    let arguments = [&arguments[..], &["--ca", text(&ca), "--genesis", text(&genesis)]].concat();
    let ended = agent(&arguments).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let public = ended.out.trim_end();
    assert!(public.len() == 64 && public.bytes().all(|byte| byte.is_ascii_hexdigit()), "{:?}", ended.out);
    assert_eq!(ended.out.lines().count(), 1, "data on standard output, and nothing else");

    let key = dir.join("endpoint.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let file: toml::Table = std::fs::read_to_string(&key).unwrap().parse().unwrap();
    assert_eq!(file["role"].as_str(), Some("endpoint"));
    assert_eq!(file["public_key"].as_str(), Some(public));
    let secret = file["secret_key"].as_str().unwrap();
    assert_eq!(secret.len(), 64);
    assert_eq!(agent::key::read(&key).unwrap().public().to_string(), public);

    let config = dir.join("agent.toml");
    let shown = agent(&["run", "--print-config", "--config", text(&config)]).await;
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("https://127.0.0.1:1") && !shown.out.contains(secret));
    let shown: toml::Table = shown.out.parse().unwrap();
    assert_eq!(shown["data_dir"].as_str(), dir.join("data").to_str());

    // Another host's key is not written over.
    let again = agent(&arguments).await;
    assert_eq!((again.code, again.out.as_str()), (2, ""));
    assert!(again.err.contains("is there already") && again.err.contains("hint:"), "{}", again.err);
    // Two hosts have two keys.
    let other = directory.path().join("other");
    assert_ne!(agent(&["init", "--dir", text(&other), "--name", "edge-2"]).await.out.trim_end(), public);

    // The status of an agent that never ran.
    let status = agent(&["status", "-o", "json", "--config", text(&config)]).await;
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!((status["running"].as_bool(), status["endpoint"].as_str()), (Some(false), Some(public)));
}

#[tokio::test]
async fn configurations_that_cannot_be_are_refused_by_field() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let good = std::fs::read_to_string(endpoint.config_path()).unwrap();
    let address = &node.address;
    let rows: Vec<(&str, String, &str)> = vec![
        ("an unknown field", good.replace("[host]", "[host]\ncolour = \"red\""), "colour"),
        ("an unknown table", format!("{good}\n[magic]\n"), "magic"),
        ("no data directory", good.replace("data_dir = \"data\"", ""), "data_dir"),
        ("another type", good.replace("poll_interval_ms = 200", "poll_interval_ms = \"often\""), "poll_interval_ms"),
        ("not TOML", format!("{good}\n]["), "agent.toml"),
        ("no node", good.replace(&format!("[\"{address}\"]"), "[]"), "ledger.nodes"),
        ("no TLS", good.replace("https://", "http://"), "ledger.nodes"),
        ("no address", good.replace(address, "https:// no"), "ledger.nodes"),
        ("no trust root", good.replace("genesis = \"genesis\"", ""), "ledger.genesis"),
        ("no TLS roots", good.replace("ca = \"ca.pem\"", ""), "ledger.ca"),
        ("no age", good.replace("poll_interval_ms = 200", "max_age_ms = 0"), "ledger.max_age_ms"),
        ("no pause", good.replace("poll_interval_ms = 200", "poll_interval_ms = 0"), "ledger.poll_interval_ms"),
        ("no name", good.replace("name = \"host\"", "name = \"My Host\""), "host.name"),
        ("no product", good.replace("acme/widget", "widget"), "subscriptions[0].product"),
        ("twice", format!("{good}\n[[subscriptions]]\nproduct = \"acme/widget\"\nchannel = \"stable\""), "twice"),
        ("no deadline", format!("{}\n", good.replace("patience_ms = 400", "deadline_ms = 0")), "download"),
        ("tree", format!("{good}\n[parameters]\ntree = \"x\""), "parameters.tree"),
        ("a parameter's name", format!("{good}\n[parameters]\n\"a b\" = \"x\""), "parameters"),
        ("no program", format!("{good}\n[services.x]\ncommand = []"), "services.x.command"),
        (
            "no such product",
            format!("{good}\n[services.x]\ncommand = [\"x\"]\nproduct = \"a/b\""),
            "services.x.product",
        ),
        ("no rule", format!("{good}\n[[windows]]\nname = \"w\"\nduration = \"1h\""), "windows[0].rrule"),
        (
            "never",
            format!("{good}\n[[windows]]\nname = \"w\"\nduration = \"1h\"\ncron = \"0 0 30 2 *\""),
            "never happens",
        ),
        (
            "no hour",
            format!("{good}\n[[windows]]\nname = \"w\"\nduration = \"1h\"\nrrule = \"FREQ=DAILY\""),
            "windows[0].start",
        ),
        ("no zone", format!("{good}\n[schedule]\ntime_zone = \"Atlantis\""), "schedule.time_zone"),
        ("no day", format!("{good}\n[schedule]\nblackout = [\"tomorrow\"]"), "schedule.blackout"),
        ("no severity", format!("{good}\n[schedule]\nurgent = [\"very\"]"), "schedule.urgent"),
        ("too late", format!("{good}\n[schedule.deadline]\nlow = \"99y\""), "schedule.deadline.low"),
        (
            "two probes",
            format!("{good}\n[[health.checks]]\nname = \"c\"\nunit = \"a.service\"\ntcp = 80"),
            "health.checks[0]",
        ),
        (
            "elsewhere",
            format!("{good}\n[[health.checks]]\nname = \"c\"\nhttp = \"http://192.0.2.1/\""),
            "health.checks[0].http",
        ),
        ("an option", format!("{good}\n[[health.checks]]\nname = \"c\"\nunit = \"--help\""), "health.checks[0].unit"),
        ("a long soak", format!("{good}\n[health]\nsoak = \"2h\""), "health.soak"),
        ("half a pause", format!("{good}\n[policy]\npaused_until_ms = 5"), "policy.paused_until_ms"),
    ];
    for (what, config, field) in rows {
        assert_ne!(config, good, "{what}");
        std::fs::write(endpoint.config_path(), config).unwrap();
        let ended = agent(&["run", "--config", text(&endpoint.config_path())]).await;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{what}: {}", ended.err);
        assert!(ended.err.contains(field), "{what}: {}", ended.err);
    }
    std::fs::write(endpoint.config_path(), &good).unwrap();

    // Files the configuration names.
    let run = async |evidence: &str, code: i32| {
        let ended = agent(&["run", "--config", text(&endpoint.config_path())]).await;
        assert_eq!(ended.code, code, "{}", ended.err);
        assert!(ended.err.contains(evidence), "{evidence}: {}", ended.err);
    };
    let key = endpoint.path("endpoint.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    run("can be read by others", 2).await;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let secret = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&key, secret.replace("role = \"endpoint\"", "role = \"publisher\"")).unwrap();
    run("role is not `endpoint`", 2).await;
    std::fs::write(&key, &secret).unwrap();
    let genesis = std::fs::read(endpoint.path("genesis")).unwrap();
    std::fs::write(endpoint.path("genesis"), &genesis[1..]).unwrap();
    run("is no genesis file", 2).await;
    let other = tests::Scenario::new(5).genesis().genesis.bytes();
    std::fs::write(endpoint.path("genesis"), &genesis).unwrap();
    drop(endpoint.open());
    let seen = format!(
        r#"{{"chain_id":"{}","height":1,"time_ms":1,"hash":"{}"}}"#,
        world.ledger().scenario.chain_id(),
        "00".repeat(32)
    );
    std::fs::write(endpoint.data().join("memory.json"), seen).unwrap();
    std::fs::write(endpoint.path("genesis"), other).unwrap();
    run("one data directory is for one ledger", 2).await;
    std::fs::write(endpoint.path("genesis"), &genesis).unwrap();
    std::fs::write(endpoint.data().join("memory.json"), "{}").unwrap();
    run("is damaged", 3).await;
    std::fs::remove_file(endpoint.data().join("memory.json")).unwrap();
    let site = endpoint.open();
    run("in use by a running agent", 3).await;
    drop(site);
}

#[tokio::test]
async fn apply_without_a_running_agent_does_it_itself() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let (config, tar) = (endpoint.config_path(), endpoint.path("tree.tar"));
    std::fs::write(&tar, tree_of("1.0.1")).unwrap();
    let adopt = ["adopt", "--product", "acme/widget", "--channel", "stable", "--version", "1.0.1", "--release", "1"];
    let adopt = [&adopt[..], &["--config", text(&config), text(&tar)]].concat();
    let adopted = agent(&adopt).await;
    assert_eq!(adopted.code, 0, "{}", adopted.err);
    assert_eq!(adopted.out.trim_end(), endpoint.installed().unwrap().meta.tree.to_string());
    assert_eq!(agent(&adopt).await.code, 3, "a baseline is taken once");

    let good = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let sick = approved(&world, 3, tree_of("1.0.3"), |manifest| {
        manifest.health = List::new(vec![says("false", "x")]).unwrap();
    });
    let apply =
        async |patch: &str, more: &[&str]| agent(&[&["apply", patch, "--config", text(&config)], more].concat()).await;
    let ended = apply(&good.to_string()[..12], &[]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.out, format!("patch {good}: applied (1.0.1 → 1.0.2)\n"));
    let ended = apply(&good.to_string(), &[]).await;
    let there = format!("patch {good}: installed already (1.0.2)\n");
    assert_eq!((ended.code, &ended.out), (0, &there), "{}", ended.err);
    // Also by its beginning, and with its proof, however old; but not with a file that proves nothing.
    let file = endpoint.path("good.proof");
    let bundle = world.ledger().proof(good).unwrap();
    std::fs::write(&file, bundle.bytes()).unwrap();
    world.change(crate::support::ledger::Ledger::settle);
    let ended = apply(&good.to_string()[..12], &["--from", text(&file)]).await;
    assert_eq!((ended.code, &ended.out), (0, &there), "{}", ended.err);
    let ended = apply(&good.to_string(), &["-o", "json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, &answer["outcome"]), (0, &"installed-already".into()), "{answer}");
    let mut forged = bundle;
    forged.publish.transaction.signature = ledger::key::Signature([7; 64]);
    std::fs::write(&file, forged.bytes()).unwrap();
    let told: Vec<_> = world.receipts().iter().map(|receipt| receipt.outcome.to_string()).collect();
    assert_eq!(told, ["applied"], "what changes nothing is no receipt");
    let dry = apply(&good.to_string(), &["--from", text(&file), "--dry-run"]).await;
    let because = "answer     it would not be installed, because of proof history:";
    assert!(dry.code == 1 && dry.out.contains(because), "{}", dry.out);

    let proof = endpoint.path("sick.proof");
    std::fs::write(&proof, world.ledger().proof(sick).unwrap().bytes()).unwrap();
    let ended = apply(&sick.to_string(), &["--from", text(&proof), "-o", "json"]).await;
    assert_eq!(ended.code, 1);
    let verdict: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(verdict["outcome"], "rolled-back");
    assert_eq!(verdict["reason"]["code"], "health-failed");
    assert_eq!(verdict["to_version"], "1.0.2");
    let told: Vec<_> = world.receipts().iter().map(|receipt| receipt.outcome.to_string()).collect();
    assert_eq!(told, ["applied", "rolled-back"]);

    for (patch, more, code, evidence) in [
        ("not-an-id", &[][..], 2, "not a patch id"),
        ("0000000000", &[], 3, "no node knows"),
        (&good.to_string(), &["--from", "/nowhere.proof"], 3, "/nowhere.proof"),
        (&good.to_string(), &["--magic"], 2, "--magic"),
    ] {
        let ended = apply(patch, more).await;
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{patch}: {}", ended.err);
        assert!(ended.err.contains(evidence), "{patch}: {}", ended.err);
    }
    let status = agent(&["status", "--config", text(&config)]).await;
    assert!(status.out.contains("acme/widget 1.0.2") && status.out.contains("does not run"), "{}", status.out);
}

#[tokio::test]
async fn without_a_node_there_is_no_verdict() {
    let world = World::new();
    let node = world.node().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = node.at(closed);
    let endpoint = Endpoint::new(&world, &[&gone], "");
    let config = endpoint.config_path();
    let ended = agent(&["apply", &"00".repeat(32), "--config", text(&config)]).await;
    assert_eq!((ended.code, ended.out.as_str()), (3, ""));
    assert!(ended.err.contains("because:") && ended.err.contains("hint:"), "{}", ended.err);
    assert!(world.receipts().is_empty());
}

#[tokio::test]
async fn help_has_examples() {
    for command in [
        &["--help"][..],
        &["init", "--help"],
        &["adopt", "--help"],
        &["run", "--help"],
        &["apply", "--help"],
        &["status", "--help"],
        &["why", "--help"],
        &["doctor", "--help"],
        &["rollback", "--help"],
    ] {
        let ended = agent(command).await;
        assert_eq!(ended.code, 0);
        assert!(ended.out.contains("Example"), "{command:?}");
    }
    assert_eq!(agent(&[]).await.code, 2);
    assert_eq!(agent(&["--version"]).await.out, format!("countersign-agent {}\n", env!("CARGO_PKG_VERSION")));
}
