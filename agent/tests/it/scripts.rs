//! Scripts: what they may do, what they may not, and what becomes of what they did.

use crate::support::bench::Bench;
use crate::support::endpoint::{Endpoint, approved_set, canary};
use crate::support::node::{Node, World};
use crate::support::scripts::{Scripts, enabled, script};
use crate::support::{eventually, left_out};
use agent::settled::Settled;
use ledger::patch::InstallerKind;
use ledger::receipt::{Outcome, ReasonCode};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

struct Case {
    world: Arc<World>,
    _node: Node,
    endpoint: Endpoint,
    host: Scripts,
    release: u64,
}

impl Case {
    async fn new(more: &str) -> Option<Self> {
        let mut host = match Scripts::new() {
            Ok(host) => host,
            Err(why) => {
                left_out(&why);
                return None;
            }
        };
        let world = World::new();
        let node = world.node().await;
        let endpoint = Endpoint::new(&world, &[&node], &format!("{}{more}", host.config())).patient();
        host.build(&endpoint);
        Some(Self { world, _node: node, endpoint, host, release: 0 })
    }

    async fn apply(&mut self, archive: Vec<u8>) -> Settled {
        self.release += 1;
        let artifacts = vec![("script.tar".to_owned(), archive)];
        let patch = approved_set(&self.world, self.release, InstallerKind::Script, artifacts, |_| {});
        self.endpoint.apply(patch).await
    }

    async fn run(&mut self, text: &str) -> Settled {
        self.apply(script(&format!("#!/bin/sh\n{text}\n")).bytes()).await
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.host.place().join(name)).ok()
    }
}

#[tokio::test]
async fn scripts_are_off_until_the_house_says_otherwise() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved_set(
        &world,
        1,
        InstallerKind::Script,
        vec![("script.tar".to_owned(), script("#!/bin/sh\n").bytes())],
        |_| {},
    );
    let settled = endpoint.apply(patch).await;
    assert_eq!(settled.outcome, Outcome::Refused);
    let refused = settled.to_string();
    assert!(refused.contains("scripts: not enabled in [installers.scripts]"), "{refused}");
}

#[tokio::test]
async fn what_a_script_changes_is_changed_and_nothing_else() {
    let Some(mut case) = Case::new("").await else { return };
    let before = fs::metadata(case.host.place().join("by")).unwrap();
    let settled = case
        .run("cd /etc/acme; echo changed >> main.conf; rm to-be-removed; mkdir -p a/b; echo new > a/b/file; touch by; echo $COUNTERSIGN_TO_VERSION > version")
        .await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(case.read("main.conf").as_deref(), Some("# made by hand\nrelease = none\nchanged\n"));
    assert_eq!((case.read("to-be-removed"), case.read("a/b/file").as_deref()), (None, Some("new\n")));
    assert_eq!(case.read("version").as_deref(), Some("1.0.1\n"));
    let main = fs::metadata(case.host.place().join("main.conf")).unwrap();
    assert_eq!((main.uid(), main.gid()), (1234, 4321), "whose it was, it is");
    let file = fs::metadata(case.host.place().join("a/b/file")).unwrap();
    assert_eq!(file.uid(), 0, "and what is new is the agent's");
    let by = fs::metadata(case.host.place().join("by")).unwrap();
    assert_eq!((by.ino(), by.mtime()), (before.ino(), before.mtime()), "what is the same is not touched");
    assert!(case.host.place().join("link").is_symlink());
    // One that changes nothing is a patch, too.
    let settled = case.run(":").await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

/// A copy has no permissions like these; a host may.
#[tokio::test]
async fn permissions_that_no_copy_has_are_no_obstacle_and_stay() {
    let Some(mut case) = Case::new("").await else { return };
    let modes = [("closed", 0o0), ("sticky", 0o1644), ("write-only", 0o200)];
    for (name, mode) in modes {
        let path = case.host.place().join(name);
        fs::write(&path, name).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let settled = case.run("cd /etc/acme; echo changed >> main.conf").await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    for (name, mode) in modes {
        let metadata = fs::metadata(case.host.place().join(name)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, mode, "{name}");
    }
}

#[tokio::test]
async fn a_script_sees_and_reaches_nothing_but_what_it_is_given() {
    let Some(mut case) = Case::new("").await else { return };
    let secret = case.host.0.path().join("secret");
    let check = canary(&secret);
    let key = case.endpoint.path("endpoint.key");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tries = [
        ("host file", format!("cat {}", secret.display())),
        ("key of the agent", format!("cat {}", key.display())),
        ("what only root reads", "cat /etc/shadow".to_owned()),
        ("programs", "echo x > /usr/bin/countersign-test".to_owned()),
        ("settings", "echo x > /etc/hosts".to_owned()),
        ("what it was given", "echo x > /patch/run".to_owned()),
        ("kernel", "echo x > /proc/sys/kernel/hostname".to_owned()),
        ("network", format!("bash -c 'echo x > /dev/tcp/127.0.0.1/{port}'")),
        ("devices", "mknod /tmp/device c 1 3".to_owned()),
        ("owners", "chown 0 /etc/acme/main.conf".to_owned()),
        ("mounts", "mount -t tmpfs tmpfs /tmp".to_owned()),
        ("namespaces", "unshare --user true".to_owned()),
        ("sockets of others", "ls /run/* /var/run/*".to_owned()),
    ];
    let ask = |(what, command): &(&str, String)| format!("if ({command}) >/dev/null 2>&1; then echo '{what}'; fi\n");
    let all: String = tries.iter().map(ask).collect();
    let text = format!(
        "({all}) > /etc/acme/reached\nid -u > /etc/acme/who\nls /proc | grep -c '^[0-9]' > /etc/acme/processes\n"
    );
    let settled = case.run(&text).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(case.read("reached").as_deref(), Some(""), "it reached something");
    check();
    let who: u32 = case.read("who").unwrap().trim().parse().unwrap();
    assert!(who > 100_000, "nobody on the host is user {who}");
    let processes: u32 = case.read("processes").unwrap().trim().parse().unwrap();
    assert!(processes < 8, "it sees {processes} processes, which cannot all be its own");
    drop(listener);
}

#[tokio::test]
async fn a_script_that_fails_or_goes_too_far_changes_nothing() {
    let bounds = "deadline_ms = 1500\nmemory_mb = 128\n";
    let Some(mut case) = Case::new(bounds).await else { return };
    let old = case.host.snapshot(&case.endpoint);
    for (what, text, says) in [
        ("fails", "echo halfway > /etc/acme/main.conf; echo why >&2; exit 3", "the script ended with exit status: 3"),
        ("never ends", "while :; do :; done", "was not over after 1.5s"),
        (
            "leaves something behind that never ends",
            "(trap '' TERM HUP; while :; do sleep 0.1; done) & exit 4",
            "exit status: 4",
        ),
        ("memory", "x=0123456789; while :; do x=$x$x; done", "the script ended with"),
        ("says too much", "yes", "the script ended with"),
        ("is killed in a part of it", "set -e; sh -c 'kill -9 $$'", "the script ended with"),
        ("link out", "ln -s /etc/shadow /etc/acme/link-out", "is a link: only files and directories"),
        ("changed link", "rm /etc/acme/link; ln -s main.conf /etc/acme/link", "is a link: only files and directories"),
        ("pipe", "mkfifo /etc/acme/pipe", "only files and directories"),
        ("link in place of a directory", "rm -r /etc/acme/* && ln -s / /etc/acme/deep", "is a link"),
        ("odd name", "touch \"$(printf '/etc/acme/a\\001b')\"", "which is no plain name"),
        ("odd bytes", "touch \"$(printf '/etc/acme/a\\377b')\"", "which is no plain name"),
        ("name of the agent's", "touch /etc/acme/.countersign-x", "uses itself"),
    ] {
        let settled = case.run(text).await;
        let reason = settled.reason.clone().unwrap();
        assert_eq!(settled.outcome, Outcome::Refused, "{what}: {settled}");
        assert!(reason.detail.as_str().contains(says), "{what}: {reason}");
        assert!(case.host.snapshot(&case.endpoint) == old, "{what}");
    }
    for (what, archive, says) in [
        ("no program", crate::support::archive::Archive::new().file("run", "").bytes(), "no program \"run\""),
        ("link", crate::support::archive::Archive::new().link("run", "elsewhere").bytes(), "no program \"run\""),
        ("nothing", crate::support::archive::Archive::new().program("walk", "").bytes(), "no program \"run\""),
    ] {
        let settled = case.apply(archive).await;
        let reason = settled.reason.clone().unwrap();
        assert_eq!((settled.outcome, reason.code), (Outcome::Refused, ReasonCode::ArchiveUnsafe), "{what}: {settled}");
        assert!(reason.detail.as_str().contains(says), "{what}: {reason}");
    }
    assert!(case.host.snapshot(&case.endpoint) == old);
    let settled = case.run("echo well > /etc/acme/well").await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

/// Where the directory is that a script works on, while it does.
fn at_work(endpoint: &Endpoint) -> Option<PathBuf> {
    let mut waiting = vec![endpoint.data().join("installs")];
    while let Some(directory) = waiting.pop() {
        let is_under_way =
            directory.components().any(|part| part.as_os_str().as_encoded_bytes().ends_with(b".partial"));
        if is_under_way && directory.ends_with("new/etc/acme") {
            return Some(directory);
        }
        let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        waiting.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()));
    }
    None
}

#[tokio::test]
async fn what_others_change_while_a_script_is_at_work_is_theirs() {
    let Some(mut case) = Case::new("").await else { return };
    let place = case.host.place();
    for (what, edited, is_applied) in [
        ("a file that the script changes", "main.conf", false),
        ("a file that the script removes", "to-be-removed", false),
        ("a file where the script makes one", "new.conf", false),
        ("a file that the script leaves alone", "by", true),
        ("a file that the script knows nothing of", "another", true),
    ] {
        // It tells by a pipe that it has seen everything, and goes on when somebody answers.
        let script = "set -e; cd /etc/acme; echo mine >> main.conf; rm -f to-be-removed; echo mine > new.conf\n\
                      mkfifo wait; read answer < wait; rm wait";
        let (endpoint, wait) = (&case.endpoint, "wait");
        case.release += 1;
        let archive = crate::support::scripts::script(&format!("#!/bin/sh\n{script}\n")).bytes();
        let artifacts = vec![("script.tar".to_owned(), archive)];
        let patch = approved_set(&case.world, case.release, InstallerKind::Script, artifacts, |_| {});
        let edit = async {
            let pipe = async || at_work(endpoint).map(|at| at.join(wait)).filter(|pipe| pipe.exists());
            let pipe = eventually("a script at work", pipe).await;
            fs::write(place.join(edited), format!("theirs: {what}")).unwrap();
            tokio::task::spawn_blocking(move || fs::write(pipe, "go on\n").unwrap()).await.unwrap();
        };
        let (settled, ()) = tokio::join!(endpoint.apply(patch), edit);
        assert_eq!(case.read(edited).unwrap(), format!("theirs: {what}"));
        if is_applied {
            assert_eq!(settled.outcome, Outcome::Applied, "{what}: {settled}");
            assert_eq!(case.read("new.conf").as_deref(), Some("mine\n"), "{what}");
            fs::remove_file(place.join("new.conf")).unwrap();
            continue;
        }
        let reason = settled.reason.clone().unwrap();
        assert_eq!(settled.outcome, Outcome::Refused, "{what}: {settled}");
        let said = format!("/etc/acme/{edited} was changed while the script was at work");
        assert!(reason.detail.as_str().contains(&said), "{what}: {reason}");
        assert_eq!(case.read("new.conf").is_some(), edited == "new.conf", "{what}: and nothing was put in place");
        let _ = fs::remove_file(place.join("new.conf"));
        fs::write(place.join("to-be-removed"), "again").unwrap();
    }
}

#[tokio::test]
async fn a_script_that_makes_too_much_is_ended_and_all_of_it_is_gone() {
    let Some(mut case) = Case::new("disk_mb = 8\n").await else { return };
    let old = case.host.snapshot(&case.endpoint);
    // Deeper than anything that was ever opened one in the other, and longer than any path may be.
    let deep = |name: &str, depth: usize| {
        format!("perl -e 'chdir \"/etc/acme\"; for (1..{depth}) {{ mkdir \"{name}\"; chdir \"{name}\" or exit 7 }}'")
    };
    let long = "d".repeat(200);
    for (what, text, says) in [
        ("a file that is too large", "head -c 20000000 /dev/zero > /etc/acme/large".to_owned(), "more than 8 MiB"),
        (
            "files that are too large together",
            "cd /etc/acme; i=0; while :; do head -c 1000000 /dev/zero > large.$i; i=$((i+1)); done".to_owned(),
            "more than 8 MiB",
        ),
        ("a file with nothing in it", "truncate -s 900M /etc/acme/sparse".to_owned(), "more than 8 MiB"),
        ("too deep", deep("d", 9000), "deeper than 128"),
        ("too deep, and goes on", format!("{}; sleep 1000", deep("d", 9000)), "deeper than 128"),
        ("paths that are too long", deep(&long, 100), "longer than 4096"),
        ("too deep, and paths that are too long", deep(&long, 9000), "longer than 4096"),
    ] {
        let settled = case.run(&text).await;
        let reason = settled.reason.clone().unwrap();
        assert_eq!(settled.outcome, Outcome::Refused, "{what}: {settled}");
        assert!(reason.detail.as_str().contains(says), "{what}: {reason}");
        assert!(case.host.snapshot(&case.endpoint) == old, "{what}");
        assert_eq!(at_work(&case.endpoint), None, "{what}: something is left");
    }
    let settled = case.run("head -c 4000000 /dev/zero > /etc/acme/enough").await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    // What is there already counts, too: it is copied.
    fs::write(case.host.place().join("large"), vec![0; 5 << 20]).unwrap();
    let settled = case.run(":").await;
    assert_eq!(settled.outcome, Outcome::Refused, "{settled}");
    assert!(settled.to_string().contains("/etc/acme cannot be copied for a script"), "{settled}");
}

#[tokio::test]
async fn bits_of_others_rights_are_no_scripts_to_give() {
    let Some(mut case) = Case::new("").await else { return };
    let tries = "chmod 6755 tool || chmod 4755 tool || chmod 2755 tool || mkdir -m 2755 more || echo no > tool";
    let settled = case.run(&format!("cd /etc/acme; cp /bin/true tool; {tries}")).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(case.read("tool").as_deref(), Some("no\n"), "it could give some");
    assert_eq!(fs::metadata(case.host.place().join("tool")).unwrap().mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn directories_that_are_no_scripts_to_change_are_no_configuration() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("agent.toml");
    let base = "data_dir = \"data\"\n[ledger]\nnodes = [\"https://127.0.0.1:1\"]\nca = \"ca\"\ngenesis = \"genesis\"\n[host]\nname = \"host\"\n";
    let config = |directories: &str| {
        let text = enabled(room.path()).replace("[\"/etc/acme\"]", directories);
        fs::write(&path, format!("{base}{text}")).unwrap();
        agent::config::Config::read(&path).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(config("[\"/etc/acme\", \"/srv/acme\"]"), Ok(()));
    for (directories, says) in [
        ("[\"/\"]", "/ is everything"),
        ("[\"/usr/local/bin\"]", "is in /usr"),
        ("[\"/run/acme\"]", "is in /run"),
        ("[\"etc\"]", "must be absolute"),
        ("[\"/etc/acme\", \"/etc/acme/sub\"]", "one of them is enough"),
    ] {
        let refused = config(directories).unwrap_err();
        assert!(refused.contains("installers.scripts.directories") && refused.contains(says), "{refused}");
    }
}

/// What people copy out of the guides is a configuration.
#[test]
fn the_configurations_of_the_guides_are_understood() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("agent.toml");
    let base = "data_dir = \"data\"\n[ledger]\nnodes = [\"https://127.0.0.1:1\"]\nca = \"ca\"\ngenesis = \"genesis\"\n[host]\nname = \"host\"\n";
    for (guide, is_enabled) in [
        ("containers", (|config| config.installers.containers.enabled) as fn(&agent::config::Config) -> bool),
        ("scripts", |config| config.installers.scripts.enabled),
    ] {
        let file = format!("{}/../docs/guide/{guide}.md", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(file).unwrap();
        let (_, toml) = text.split_once("```toml\n").expect("the guide has a configuration");
        fs::write(&path, format!("{base}{}", toml.split_once("```").unwrap().0)).unwrap();
        assert!(is_enabled(&agent::config::Config::read(&path).unwrap()), "{guide}");
    }
}
