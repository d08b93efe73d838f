//! The command line: what it prints, and how it ends.

use crate::following::Daemon;
use crate::support::archive::tree_of;
use crate::support::disk::{Mount, Squeeze};
use crate::support::endpoint::{Endpoint, PROGRAM, approved, manifest, says};
use crate::support::ledger::Ledger;
use crate::support::node::World;
use crate::support::{eventually, left_out};
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
    assert_eq!(keyring::PublicPart::read(&key).unwrap().public_key.to_string(), public);

    let config = dir.join("agent.toml");
    let shown = agent(&["run", "--print-config", "--config", text(&config)]).await;
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("https://127.0.0.1:1") && !shown.out.contains(secret));
    let shown: toml::Table = shown.out.parse().unwrap();
    assert_eq!(shown["data_dir"].as_str(), dir.join("data").to_str());

    // What is not known to be whole is told apart from what is.
    let half = directory.path().join("half");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("endpoint.key"), "").unwrap();
    let ended = agent(&["init", "--dir", text(&half), "--name", "edge-1"]).await;
    assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{}", ended.err);
    assert!(ended.err.contains("endpoint.key is there already") && ended.err.contains("interrupted"), "{}", ended.err);

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
async fn an_init_that_comes_to_no_end_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let Some(_mount) = Mount::small(&disk, 1) else { return left_out("only root may mount a small disk") };
    let (dir, world) = (disk.join("agent"), World::new());
    let (genesis, ca) = (directory.path().join("g"), directory.path().join("c"));
    std::fs::write(&genesis, world.ledger().scenario.genesis().genesis.bytes()).unwrap();
    std::fs::write(&ca, &world.ca_pem).unwrap();
    let init = async || {
        let arguments = ["init", "--dir", text(&dir), "--name", "edge-1", "--node", "https://127.0.0.1:1"];
        agent(&[&arguments[..], &["--ca", text(&ca), "--genesis", text(&genesis)]].concat()).await
    };
    // The disk is full at the first file, at the second, at the last.
    let names = |path: &Path| -> Vec<_> {
        std::fs::read_dir(path).map(|all| all.map(|entry| entry.unwrap().file_name()).collect()).unwrap_or_default()
    };
    for left in [0, 4096, 8192, 12288] {
        for is_there in [false, true] {
            if is_there {
                std::fs::create_dir(&dir).unwrap();
            }
            assert!(Squeeze::FullBut(left).on(&disk));
            let ended = init().await;
            Squeeze::FullBut(left).off(&disk);
            assert_eq!((ended.code, ended.out.as_str()), (3, ""), "{left}: {}", ended.err);
            assert!(ended.err.contains("make room on that disk"), "{left}: {}", ended.err);
            assert_eq!((dir.exists(), names(&dir)), (is_there, vec![]), "{left}");
            let _ = std::fs::remove_dir(&dir);
        }
    }
    let ended = init().await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(names(&dir).len(), 4, "{:?}", names(&dir));
}

#[tokio::test]
async fn what_is_no_address_of_a_node_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("agent");
    for (node, words) in [
        ("foo", "\"foo\" must begin with https://, as in https://"),
        ("foo:7400", "must begin with https://"),
        ("http://foo:7400", "must begin with https://"),
        ("https://", "is no address: one looks like https://"),
        ("https://a b:1", "is no address"),
        ("https://a:port", "is no address"),
        ("https://ledger-a:1/", "\"https://ledger-a:1/\" twice: two sources are two nodes"),
    ] {
        let first = ["init", "--dir", text(&dir), "--name", "edge-1", "--node", "https://ledger-a:1", "--node", node];
        let ended = agent(&first).await;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{node}: {}", ended.err);
        assert!(ended.err.contains("--node") && ended.err.contains(words), "{node}: {}", ended.err);
        assert!(!dir.exists(), "{node}");
    }
}

#[tokio::test]
async fn what_are_no_root_certificates_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let (dir, file) = (directory.path().join("agent"), directory.path().join("ca.pem"));
    for roots in ["", "root:x:0:0", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, roots).unwrap();
        let ended = agent(&["init", "--dir", text(&dir), "--name", "edge-1", "--ca", text(&file)]).await;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{roots}: {}", ended.err);
        assert!(ended.err.contains("ca.pem has no certificates in PEM") && !dir.exists(), "{roots}: {}", ended.err);
    }
}

#[tokio::test]
async fn configurations_that_cannot_be_are_refused_by_field() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let good = std::fs::read_to_string(endpoint.config_path()).unwrap();
    let address = &node.address;
    let own = text(endpoint.directory.path());
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
            "a service that ends when it likes",
            format!("{good}\n[services.x]\ncommand = [\"x\"]\nstop_timeout_ms = 45001"),
            "services.x.stop_timeout_ms",
        ),
        ("files of the agent", format!("{good}\n[installers.file-set]\ndirectories = [{own:?}]"), "the agent's own"),
        (
            "its data for scripts",
            format!("{good}\n[installers.scripts]\nenabled = true\ndirectories = [\"{own}/data/installs\"]"),
            "installers.scripts.directories",
        ),
        (
            "its data, from another root",
            format!("{good}\n[installers.file-set]\nroot = \"{own}\"\ndirectories = [\"/data/x\"]"),
            "installers.file-set.directories",
        ),
        (
            "its key for containers",
            format!("{good}\n[installers.containers.directories]\n\"/key\" = \"{own}/endpoint.key\""),
            "installers.containers.directories",
        ),
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
            "no such minute",
            format!("{good}\n[[windows]]\nname = \"w\"\nduration = \"1h\"\ncron = \"61 4 * * SUN\""),
            "windows[0].cron: \"61 4 * * SUN\": minute \"61\": ",
        ),
        (
            "no such weekday",
            format!("{good}\n[[windows]]\nname = \"w\"\nduration = \"1h\"\ncron = \"1 4 * * 9\""),
            "windows[0].cron: \"1 4 * * 9\": weekday \"9\": ",
        ),
        (
            "no such day",
            format!("{good}\n[[windows]]\nname = \"w\"\nduration = \"1h\"\ncron = \"1 4 32 * *\""),
            "day \"32\": ",
        ),
        (
            "a short pattern",
            format!("{good}\n[[windows]]\nname = \"w\"\nduration = \"1h\"\ncron = \"1 4\""),
            "windows[0].cron",
        ),
        (
            "a short window",
            format!("{good}\n[[windows]]\nname = \"w\"\nduration = \"1s\"\ncron = \"1 4 * * *\""),
            "windows[0].duration",
        ),
        (
            "no such hour",
            format!("{good}\n[[windows]]\nname = \"w\"\nduration = \"1h\"\nrrule = \"FREQ=DAILY\"\nstart = \"25:00\""),
            "windows[0].start",
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
    std::fs::write(&key, secret.replace("role = \"endpoint\"", "role = \"publisher\"\norganisation = \"bank\""))
        .unwrap();
    run("this is a key with role publisher, one with role endpoint is needed", 2).await;
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
async fn whoever_asks_for_json_has_errors_as_an_object_of_one_shape() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let gone = Endpoint::new(&world, &[&node.at("127.0.0.1:1".parse().unwrap())], "");
    let (config, dir) = (endpoint.config_path(), endpoint.path("there"));
    let here = ["--config", text(&config)];
    let nowhere = ["--config", "/nowhere/agent.toml"];
    let far = gone.config_path();
    let zeros = "00".repeat(32);
    let rows: Vec<(Vec<&str>, i32, &str)> = vec![
        (vec!["nonsense"], 2, "usage"),
        (vec!["status", "--magic"], 2, "usage"),
        (vec!["apply"], 2, "usage"),
        (vec!["init", "--dir", text(&dir), "--name", "e", "--node", "foo"], 2, "usage"),
        (vec!["adopt", "--product", "nonsense"], 2, "usage"),
        ([&["adopt", "--product", "a/b", "--channel", "c", "--version", "1", "x"][..], &here].concat(), 2, "usage"),
        ([&["run"][..], &nowhere].concat(), 2, "configuration"),
        ([&["status"][..], &nowhere].concat(), 2, "configuration"),
        ([&["doctor"][..], &nowhere].concat(), 2, "configuration"),
        ([&["why", "zz"][..], &here].concat(), 2, "usage"),
        ([&["why", "0000"][..], &here].concat(), 3, "not-found"),
        ([&["apply", "zz"][..], &here].concat(), 2, "usage"),
        ([&["apply", "0000"][..], &here].concat(), 3, "not-found"),
        ([&["apply", &zeros, "--dry-run", "--config"][..], &[text(&far)]].concat(), 3, "unreachable"),
        ([&["apply", &zeros, "--from", "/nowhere.proof"][..], &here].concat(), 3, "file"),
        ([&["rollback", "0000"][..], &here].concat(), 3, "not-the-last"),
    ];
    let check = async |row: &[&str], code: i32, word: &str| {
        let before = [&["-o", "json"], row].concat();
        for arguments in [[row, &["-o", "json"]].concat(), before, [row, &["--output=json"]].concat()] {
            let ended = agent(&arguments).await;
            assert_eq!(ended.code, code, "{arguments:?}: {}", ended.err);
            let said: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
            let fields: Vec<_> = said["error"].as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, ["because", "code", "hint", "message"], "{arguments:?}");
            assert_eq!(said["error"]["code"], word, "{arguments:?}: {said}");
            let message = said["error"]["message"].as_str().unwrap();
            assert!(!message.is_empty() && !message.starts_with("error"), "{arguments:?}: {said}");
            assert!(said["error"]["because"].is_array() && ended.err.contains("error: "), "{arguments:?}");
        }
        let ended = agent(row).await;
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{row:?}: for people, nothing but data is there");
    };
    for (row, code, word) in &rows {
        check(row, *code, word).await;
    }
    // A running agent says the same.
    let daemon = Daemon::start(&endpoint);
    eventually("its socket", async || {
        endpoint.data().join("control.sock").exists().then_some(()) //
    })
    .await;
    check(&[&["apply", "zz"][..], &here].concat(), 2, "usage").await;
    check(&[&["apply", "0000"][..], &here].concat(), 3, "not-found").await;
    check(&[&["rollback", "zz"][..], &here].concat(), 3, "not-the-last").await;
    daemon.stop().await;
    assert!(!dir.exists());
}

#[tokio::test]
async fn without_a_running_agent_a_change_of_the_validators_is_learnt_and_a_lie_is_not() {
    let (world, other) = (World::new(), World::new());
    let (node, liar) = (world.node().await, other.node().await);
    let endpoint = Endpoint::new(&world, &[&node], "");
    let good = approved(&world, 1, tree_of("1.0.1"), |_| {});
    for _ in 0..3 {
        world.change(|ledger| {
            ledger.rotate_validator();
            ledger.settle();
        });
    }
    world.change(Ledger::block);
    let config = endpoint.config_path();
    let run = async |command: &str| agent(&[command, &good.to_string(), "--config", text(&config)]).await;
    let ended = run("apply").await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(!ended.err.contains("not believed"), "{}", ended.err);
    let ended = run("rollback").await;
    assert!(!ended.err.contains("not believed"), "{}", ended.err);

    // Behind the same name, a node of another ledger altogether.
    let lied_to = Endpoint::new(&world, &[&liar, &node], "");
    std::fs::write(lied_to.path("ca.pem"), format!("{}{}", world.ca_pem, other.ca_pem)).unwrap();
    *other.ledger() = Ledger::new(2);
    other.change(Ledger::block);
    let ended = agent(&["apply", &good.to_string(), "--config", text(&lied_to.config_path())]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let warned: Vec<_> = ended.err.lines().filter(|line| line.contains("head not believed")).collect();
    assert!(warned.len() == 1 && warned[0].contains(&liar.address), "{}", ended.err);
}

#[tokio::test]
async fn what_is_damaged_is_named_and_hides_nothing_else() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let config = endpoint.config_path();
    let status = async || agent(&["status", "--config", text(&config)]).await;
    let nothing = status().await.out;
    assert!(nothing.contains("installed  nothing\n"), "{nothing}");
    let kinds: Vec<_> = nothing.lines().filter(|line| line.starts_with("installer ")).collect();
    assert_eq!(kinds, ["installer  directory trees"], "nobody asked for the others");

    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let installs = endpoint.data().join("installs");
    let place = installs.join("acme/broken/stable");
    std::fs::create_dir_all(place.join("versions")).unwrap();
    std::os::unix::fs::symlink("versions/patch-00", place.join("current")).unwrap();
    let seen = status().await.out;
    assert!(seen.contains("installed  acme/widget 1.0.1 (channel stable, release 1)\n"), "{seen}");
    assert!(seen.contains("TROUBLE    acme/broken (channel stable): cannot open "), "{seen}");
    // What a patch may be in conflict with must be known: updates wait for a person.
    assert!(agent::installer::installs::all_installed(&installs).is_err());

    endpoint.configure("[installers.rpm]\nenabled = true\nroot = \"/nowhere\"");
    let seen = status().await.out;
    assert!(seen.contains("installer  no RPM packages: ") && !seen.contains("Debian"), "{seen}");
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

/// A quorum of the validators is gone: nodes answer, and what was decided last is proven by no block.
#[tokio::test]
async fn what_cannot_be_proven_yet_is_no_fault_of_the_configuration() {
    let world = World::new();
    let (node, gone) = (world.node().await, world.node().await);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Endpoint::new(&world, &[&node, &gone.at(closed)], "");
    let manifest = manifest(&world, 2, &tree_of("1.0.2"));
    let patch = manifest.id().to_string();
    world.change(|ledger| {
        ledger.publish(manifest);
        ledger.block();
    });
    let config = endpoint.config_path();
    let ended = agent(&["apply", &patch, "--config", text(&config), "-o", "json"]).await;
    let told: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, told["error"]["code"].as_str()), (3, Some("not-yet-provable")), "{}", ended.err);
    let hint = "hint: try again; if it stays so, `countersign status` says whether a quorum";
    assert!(ended.err.contains("cannot be proven yet") && ended.err.contains(hint), "{}", ended.err);
}

/// What came of attempts, and what their probes said, is there to be read without looking for files.
#[tokio::test]
async fn log_tells_what_attempts_did_and_is_what_their_receipts_name() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let config = endpoint.config_path();
    let log = async |more: &[&str]| agent(&[&["log", "--config", text(&config)], more].concat()).await;
    let nothing = log(&[]).await;
    assert_eq!((nothing.code, nothing.out.as_str()), (0, "nothing was tried on this host yet\n"), "{}", nothing.err);

    let good = approved(&world, 1, tree_of("1.0.1"), |_| {}).to_string();
    let sick = approved(&world, 2, tree_of("1.0.2"), |manifest| {
        manifest.health = List::new(vec![says("/usr/bin/printf \\033[2Jill", "well")]).unwrap();
    });
    let sick = sick.to_string();
    for (patch, code) in [(&good, 0), (&sick, 1)] {
        assert_eq!(agent(&["apply", patch, "--config", text(&config)]).await.code, code);
    }
    let all = log(&[]).await.out;
    let rows: Vec<_> = all.lines().collect();
    assert!(rows[0].starts_with("run 2") && rows[0].contains(&sick[..12]) && rows[0].contains("rolled-back"), "{all}");
    assert!(rows[1].starts_with("run 1") && rows[1].contains(&good[..12]) && rows[1].contains("applied"), "{all}");

    let of_sick = log(&[&sick]).await.out;
    assert!(of_sick.contains("rolling back: ") && of_sick.contains("[2Jill"), "{of_sick}");
    assert!(!of_sick.contains('\u{1b}'), "nothing acts on a terminal");
    let (short, tail) = (log(&[&sick[..6]]).await.out, log(&["--run", "2", "--tail", "1"]).await.out);
    assert_eq!(short, of_sick);
    assert_eq!(
        tail.lines().collect::<Vec<_>>()[2..],
        of_sick.lines().collect::<Vec<_>>()[of_sick.lines().count() - 1..]
    );
    let as_json: serde_json::Value = serde_json::from_str(&log(&["--run", "2", "-o", "json"]).await.out).unwrap();
    let receipts = world.receipts();
    let named: Vec<_> = receipts.iter().map(|receipt| receipt.log_digest.to_string()).collect();
    assert_eq!(as_json["digest"], *named.last().unwrap());

    // What is no log is none, and nobody waits for it.
    let logs = endpoint.data().join("logs");
    std::os::unix::fs::symlink("/etc/passwd", logs.join("run-00000009-000000000000.log")).unwrap();
    std::fs::create_dir(logs.join("run-00000008-000000000000.log")).unwrap();
    std::fs::write(logs.join("run-7-000000000000.log"), "1 x\n").unwrap();
    assert_eq!(log(&[]).await.out, all);
    // An id is compared to its end.
    let mut alike = sick.clone();
    alike.replace_range(20..21, if &sick[20..21] == "0" { "1" } else { "0" });
    for (wrong, no_id) in [("", true), ("zz", true), (&format!("{} x", &sick[..12]), true), (&alike, false)] {
        let ended = log(&[wrong]).await;
        let said = if no_id { "not a patch id" } else { "no log of such an attempt" };
        assert!(ended.code == 2 && ended.err.contains(said), "{wrong:?}: {}", ended.err);
    }
    assert_eq!(as_json["patch"], *sick);
    for wrong in [&["0000"][..], &["--run", "7"], &[&good, "--run", "2"]] {
        let ended = log(wrong).await;
        assert!(ended.code == 2 && ended.err.contains("no log of such an attempt"), "{wrong:?}: {}", ended.err);
    }
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
        &["log", "--help"],
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
