//! What people can do wrong before a node runs: the exit code is 2, the message names the thing, and
//! there is a hint.

use crate::support::site::{PROGRAM, Site, another_ledger, end_of};
use crate::support::world::World;
use ledger::key::SecretKey;
use ledger::state::record::Role;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Somebody who owns nothing.
const NOBODY: u32 = 65_534;

pub(crate) fn assert_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{} {said}", output.status);
    assert!(said.contains("error: ") && said.contains("\nhint: "), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "nothing is said of {word}: {said}");
    }
}

fn site() -> (World, Site) {
    let world = World::new(91);
    let site = Site::validator(&world);
    (world, site)
}

fn edit(site: &Site, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), change(text)).unwrap();
}

#[test]
fn an_unknown_field_is_named_wherever_it_stands() {
    let cases = [("", "colour"), ("[network]\n", "colour"), ("[grpc]\n", "colour"), ("[consensus]\n", "colour")];
    for (section, field) in cases {
        let (_, site) = site();
        let line = format!("{field} = 1\n");
        edit(&site, |text| match section {
            "" => line + &text,
            section => text.replace(section, &format!("{section}{line}")),
        });
        assert_refused(&site.run_to_end(), &["unknown field", field, "node.toml"]);
    }
}

#[test]
fn values_that_are_none_are_named() {
    type Change = fn(&mut node::config::RawConfig);
    let cases: [(&str, Change); 5] = [
        ("organisation", |raw| raw.organisation = "Not a name".to_owned()),
        ("network.listen", |raw| raw.network.listen = vec!["127.0.0.1:7000".to_owned()]),
        ("grpc.listen", |raw| raw.grpc.listen = "localhost".to_owned()),
        ("network.peers.key", |raw| {
            let address = "/ip4/127.0.0.1/tcp/1".to_owned();
            raw.network.peers = vec![node::config::RawPeer { key: "abc".to_owned(), address }];
        }),
        ("network.peers.address", |raw| {
            let key = SecretKey::from_seed(&[1; 32]).public().to_string();
            raw.network.peers = vec![node::config::RawPeer { key, address: "nowhere".to_owned() }];
        }),
    ];
    for (field, change) in cases {
        let (_, mut site) = site();
        change(&mut site.raw);
        assert_refused(&site.configured().run_to_end(), &[field, "node.toml"]);
    }
}

#[test]
fn files_that_are_missing_are_named() {
    for file in ["genesis.trust", "node.key", "validator.key", "tls.pem", "tls.key", "node.toml"] {
        let (_, site) = site();
        fs::remove_file(site.path(file)).unwrap();
        assert_refused(&site.run_to_end(), &["cannot read", file, "No such file"]);
    }
}

#[test]
fn files_that_are_something_else_are_named_and_no_secret_is_shown() {
    let (world, site) = site();
    let secret = hex::encode(*world.key("bank", Role::Node).seed());
    let (start, public) = ("role = \"node\"\norganisation = \"bank\"\n", world.key("bank", Role::Node).public());
    let broken = [
        ("node.key", format!("secret_key = \"{secret}\"\n"), "is not a key file: missing field"),
        (
            "node.key",
            format!("{start}public_key = \"{secret}\"\nsecret_key = \"{secret}\"\n"),
            "the public key is not that",
        ),
        ("node.key", format!("{start}public_key = \"{public}\"\nsecret_key = \"{}\"\n", &secret[1..]), "secret_key"),
        ("node.key", "x".repeat(300_000), "larger than"),
        ("node.toml", "organisation = ".to_owned(), "node.toml"),
    ];
    for (file, text, word) in broken {
        let before = fs::read(site.path(file)).unwrap();
        fs::write(site.path(file), text).unwrap();
        let output = site.run_to_end();
        assert_refused(&output, &[file, word]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains(&secret[1..]), "a secret is shown");
        fs::write(site.path(file), before).unwrap();
    }
    let others = [
        ("tls.pem", "tls.pem is no certificate in PEM"),
        ("tls.key", "tls.key is no private key in PEM"),
        ("genesis.trust", "genesis"),
    ];
    for (file, word) in others {
        let before = fs::read(site.path(file)).unwrap();
        fs::write(site.path(file), "nothing of the kind").unwrap();
        assert_refused(&site.run_to_end(), &[word]);
        fs::write(site.path(file), before).unwrap();
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let (_, site) = site();
    for file in ["node.key", "validator.key"] {
        fs::set_permissions(site.path(file), fs::Permissions::from_mode(0o640)).unwrap();
        assert_refused(&site.run_to_end(), &[file, "can be read by others: its mode is 640", "hint: chmod 600"]);
        fs::set_permissions(site.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_key_for_another_use_is_refused() {
    let (world, site) = site();
    site.write_key("node.key", "validator", &world.scenario.validators()[0]);
    assert_refused(
        &site.run_to_end(),
        &["node.key", "this is a key with role validator", "one with role node is needed"],
    );
    site.write_key("node.key", "node", &world.key(tests::VENDOR, Role::Node));
    site.write_key("validator.key", "publisher", &world.publisher());
    assert_refused(&site.run_to_end(), &["validator.key", "this is a key with role publisher"]);
}

#[tokio::test]
async fn a_genesis_of_another_ledger_is_refused_and_the_chain_stays() {
    let (world, site) = site();
    let node = site.start().await;
    let place = node.finalise(&world.enroll(1)).await;
    node.stop();
    let other = another_ledger();
    fs::write(site.path("genesis.trust"), other.genesis().genesis.bytes()).unwrap();
    let (stored, expected) = (world.scenario.chain_id().to_string(), other.chain_id().to_string());
    assert_refused(&site.run_to_end(), &["the store holds chain", &stored, &expected]);
    fs::write(site.path("genesis.trust"), world.scenario.genesis().genesis.bytes()).unwrap();
    let node = site.start().await;
    assert!(node.status().await.height >= place.height);
}

#[test]
fn ports_in_use_are_named() {
    let (_, site) = site();
    let _taken = TcpListener::bind(&site.raw.grpc.listen).unwrap();
    assert_refused(&site.run_to_end(), &["cannot listen for clients on", &site.raw.grpc.listen]);

    let (_, site) = self::site();
    let port = site.raw.network.listen[0].rsplit('/').next().unwrap().to_owned();
    let _taken = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    assert_refused(&site.run_to_end(), &["cannot listen on", &site.raw.network.listen[0]]);

    let (_, mut site) = self::site();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    site.raw.network.listen = vec![format!("/ip4/127.0.0.1/udp/{port}/quic-v1")];
    let site = site.configured();
    assert_refused(&site.run_to_end(), &["cannot listen on", &site.raw.network.listen[0]]);
}

#[tokio::test]
async fn a_second_node_in_one_directory_is_refused() {
    let (world, mut site) = site();
    let node = site.start().await;
    let (listen, grpc) = (site.raw.network.listen.clone(), site.raw.grpc.listen.clone());
    site.raw.network.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    site.raw.grpc.listen = "127.0.0.1:0".to_owned();
    let mut site = site.configured();
    assert_refused(&site.run_to_end(), &["chain"]);
    node.assert_goes_on(&world, 1).await;
    node.stop();
    (site.raw.network.listen, site.raw.grpc.listen) = (listen, grpc);
    site.configured().assert_sound();
}

/// Lets somebody who owns nothing run the node: root may write anywhere.
fn unprivileged(site: &Site) -> Command {
    let public = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let program = site.beside("program");
    if !program.exists() {
        fs::copy(PROGRAM, &program).unwrap();
    }
    public(&program, 0o755);
    public(program.parent().unwrap(), 0o755);
    public(site.config().parent().unwrap(), 0o755);
    for file in ["node.key", "validator.key", "tls.key"] {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(site.path(file), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let mut command = Command::new(&program);
    command.args(["run", "--config"]).arg(site.config());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_to_is_named_and_left_alone() {
    let (world, site) = site();
    let mode = |mode| fs::set_permissions(site.data(), fs::Permissions::from_mode(mode)).unwrap();
    // Before there is a chain, and after.
    for has_chain in [false, true] {
        if has_chain {
            mode(0o755);
            let node = site.start().await;
            node.assert_goes_on(&world, 1).await;
            node.stop();
        }
        mode(0o555);
        let output = end_of(unprivileged(&site));
        assert_refused(&output, &[&site.data().to_string_lossy()]);
        mode(0o755);
    }
    let node = site.start().await;
    node.assert_goes_on(&world, 2).await;
    node.stop();
    site.assert_sound();
}

#[test]
fn what_is_printed_is_a_configuration_again_and_the_same() {
    let (_, site) = site();
    let print = |config: &Path| {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--print-config", "--config"]).arg(config);
        let output = end_of(command);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = print(&site.config());
    for field in ["propose_ms", "transactions_max", "listen", "validator_key"] {
        assert!(printed.contains(field), "{field} is not shown: {printed}");
    }
    let again = site.beside("again.toml");
    fs::write(&again, &printed).unwrap();
    assert_eq!(print(&again), printed);

    // Asked for from where the file is, it says the same: whole paths, which mean the same from everywhere.
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--print-config", "--config", "node.toml"]).current_dir(site.config().parent().unwrap());
    assert_eq!(String::from_utf8(end_of(command).stdout).unwrap(), printed);
}

#[test]
fn init_makes_what_run_takes_and_never_writes_over_anything() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("new");
    let init = || {
        let mut command = Command::new(PROGRAM);
        command.args(["init", "--organisation", "acme", "--validator", "--dir"]).arg(&place);
        end_of(command)
    };
    let output = init();
    assert!(output.status.success(), "{output:?}");
    let printed: toml::Table = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    assert!(printed.contains_key("node") && printed.contains_key("validator"));
    for secret in ["node.key", "validator.key", "tls.key"] {
        let mode = fs::metadata(place.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let before = fs::read(place.join("node.key")).unwrap();
    assert_refused(&init(), &["is not empty"]);
    assert_eq!(fs::read(place.join("node.key")).unwrap(), before);
}

#[test]
fn an_init_that_could_never_run_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("new");
    for (option, value, says) in [
        ("--listen", "nonsense", "is no multiaddress"),
        ("--listen", "/ip4/0.0.0.0/udp/7000", "cannot be listened on: want /ip4/0.0.0.0/tcp/7000 or"),
        ("--listen", "/dns4/node.example/tcp/7000", "cannot be listened on"),
        ("--host", "", "neither a name of the DNS nor an address"),
        ("--host", "a b", "neither a name of the DNS nor an address"),
        ("--grpc", "localhost", "invalid socket address"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(["init", "--organisation", "acme", option, value, "--dir"]).arg(&place);
        let output = end_of(command);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{option} {value}: {told}");
        assert!(told.contains(says) && !place.exists(), "{told}");
    }
}

/// A disk is full at the last file: here, no file may have more than so many bytes.
#[test]
fn an_init_that_comes_to_no_end_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("new");
    // Blocks of 512 bytes: none for a key, keys but no certificate, all but the configuration.
    for blocks in [0, 1, 2] {
        for is_there in [false, true] {
            if is_there {
                fs::create_dir(&place).unwrap();
            }
            let mut command = Command::new("sh");
            let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
            command.args(["-c", &script, "sh", PROGRAM, "init", "--organisation", "acme", "--dir"]).arg(&place);
            let output = end_of(command);
            assert_refused(&output, &["File too large"]);
            let left = fs::read_dir(&place).map(Iterator::count).unwrap_or_default();
            assert_eq!((place.exists(), left), (is_there, 0), "{blocks}");
            let _ = fs::remove_dir(&place);
        }
    }
}

/// Whoever comes second takes nothing away of what the first one made: those keys may be enrolled already.
#[test]
fn of_many_inits_of_one_directory_at_most_one_is_done_and_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let place = directory.path().join(round.to_string());
        let begin = |_| {
            let mut command = Command::new(PROGRAM);
            command.args(["init", "--organisation", "acme", "--validator", "--dir"]).arg(&place);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let running: Vec<_> = (0..6).map(begin).collect();
        let done = running.into_iter().filter_map(|mut init| init.wait().unwrap().success().then_some(())).count();
        assert!(done <= 1, "{done} were done");
        let files = ["node.key", "validator.key", "ca.pem", "tls.pem", "tls.key", "node.toml", "data"];
        let left = files.iter().filter(|name| place.join(name).exists()).count();
        assert_eq!(left, done * files.len(), "all of it, or nothing");
    }
}

/// What cannot be looked into may hold a node.
#[test]
fn where_it_cannot_be_told_what_is_there_nothing_is_made_or_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("node");
    fs::write(&place, "a file").unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["init", "--organisation", "acme", "--dir"]).arg(&place);
    assert_refused(&end_of(command), &["Not a directory"]);
    assert_eq!(fs::read(&place).unwrap(), b"a file");
}

#[test]
fn the_configuration_init_writes_shows_the_section_of_artifacts_with_what_is_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("new");
    let mut command = Command::new(PROGRAM);
    command.args(["init", "--organisation", "acme", "--dir"]).arg(&place);
    assert!(end_of(command).status.success());
    let path = place.join("node.toml");
    let in_force = || {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--print-config", "--config"]).arg(&path);
        let output = end_of(command);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (before, text) = (in_force(), fs::read_to_string(&path).unwrap());
    let section = &text[text.find("# [artifacts]\n").unwrap()..];
    let section = section.split_once("\n\n").map_or(section, |(section, _)| section);
    let without = section.lines().map(|line| line.strip_prefix("# ").unwrap().to_owned() + "\n").collect::<String>();
    fs::write(&path, text.replace(section, &without)).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("\n[artifacts]\nbytes_max = "));
    assert_eq!(in_force(), before, "the figures are those in force without the section");
}

#[tokio::test]
async fn fsck_takes_the_data_directory_too_and_not_while_the_node_runs() {
    let world = World::new(61);
    let site = Site::validator(&world);
    let node = site.start().await;
    node.finalise(&world.enroll(1)).await;
    let fsck = |directory: &std::path::Path| {
        let mut command = Command::new(PROGRAM);
        command.args(["fsck", "--dir"]).arg(directory);
        end_of(command)
    };
    let (data, chain) = (site.data(), site.data().join("chain"));
    for directory in [&data, &chain] {
        let output = fsck(directory);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.starts_with(&format!("error: store {} is in use by another process\n", chain.display())),
            "{told}"
        );
        assert!(told.contains("hint: stop the other process; one store has one owner\n"), "{told}");
    }
    node.stop();
    for directory in [&data, &chain] {
        let output = fsck(directory);
        assert!(output.status.success() && output.stdout.starts_with(b"sound: "), "{output:?}");
    }
}

#[test]
fn fsck_of_what_is_no_chain_cannot_be_done_and_says_so() {
    let (_, site) = site();
    let output = site.fsck();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let mut command = Command::new(PROGRAM);
    command.arg("fsck");
    let output = end_of(command);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn what_is_printed_can_be_had_as_json_and_errors_too() {
    let around = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args(["-o", "json"]).current_dir(around.path());
        let output = end_of(command);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code(), json, String::from_utf8(output.stderr).unwrap())
    };
    let init = ["init", "--dir", "node", "--organisation", "acme"];
    let (code, made, _) = run(&init);
    assert_eq!((code, made["node"].as_str().map(str::len), &made["validator"]), (Some(0), Some(64), &().into()));
    let (code, config, _) = run(&["run", "--config", "node/node.toml", "--print-config"]);
    assert_eq!((code, config["organisation"].as_str()), (Some(0), Some("acme")));

    fs::write(around.path().join("wrong.toml"), "colour = 1\n").unwrap();
    for (arguments, code, hint) in [
        (&init[..], "not-empty", "another --dir"),
        (&["run", "--config", "absent"], "configuration", "countersign-node init --dir DIR"),
        (&["run", "--config", "wrong.toml"], "configuration", "explains every field"),
        (&["fsck", "--dir", "absent"], "store", "check the path"),
        (&["fsck"], "usage", "countersign-node COMMAND --help"),
        (&["fnord"], "usage", "countersign-node COMMAND --help"),
    ] {
        let (ended, answer, said) = run(arguments);
        let error = &answer["error"];
        assert_eq!((ended, error["code"].as_str()), (Some(2), Some(code)), "{arguments:?}: {error}");
        assert!(error["hint"].as_str().unwrap().contains(hint), "{arguments:?}: {error}");
        // What an error says of its cause is not said again.
        assert!(said.matches("unknown field").count() <= 1, "{said}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_crash() {
    let (_, site) = site();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed = writer.try_clone().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--print-config", "--config"]).arg(site.config()).stdout(writer).stderr(closed);
    assert_eq!(command.status().unwrap().code(), Some(0));
}

#[tokio::test]
async fn one_port_of_both_families_is_listened_on_and_a_port_of_somebody_else_is_named() {
    let world = World::new(62);
    let mut site = Site::validator(&world);
    let port = site.raw.network.listen[0].rsplit('/').next().unwrap().to_owned();
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        site.raw.network.listen = vec![format!("/ip4/0.0.0.0/tcp/{port}"), format!("/ip6/::/tcp/{port}")];
    }
    let site = site.configured();
    let node = site.start().await;
    let mut other = Site::observer(&world, "bank");
    other.raw.network.listen = vec![format!("/ip4/127.0.0.1/tcp/{port}")];
    assert_refused(
        &other.configured().run_to_end(),
        &["cannot listen", &port, "in use", "does another program listen"],
    );
    node.stop();
}
