//! What a house asks of its hosts after every update.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, approved, says};
use crate::support::node::World;
use agent::settled::Settled;
use ledger::bounded::List;
use ledger::receipt::{Outcome, ReasonCode};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A web server that says one thing to everybody, and then nothing more; its port.
async fn web(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.read(&mut request).await;
            });
        }
    });
    port
}

/// A program that does what a shell would.
pub(crate) fn script(path: &Path, text: &str) -> String {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// One house, asked about one release after the other.
struct House {
    world: std::sync::Arc<World>,
    endpoint: Endpoint,
    release: u64,
    _node: crate::support::node::Node,
}

impl House {
    async fn new() -> Self {
        let world = World::new();
        let node = world.node().await;
        let endpoint = Endpoint::new(&world, &[&node], "");
        endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
        Self { world, endpoint, release: 1, _node: node }
    }

    /// What comes of an update with these checks.
    async fn update(&mut self, health: &str) -> Settled {
        self.release += 1;
        self.endpoint.configure(health);
        let patch = approved(&self.world, self.release, tree_of(&format!("1.0.{}", self.release)), |_| {});
        self.endpoint.apply(patch).await
    }

    async fn check(&mut self, check: &str) -> Settled {
        self.update(&format!("[[health.checks]]\nname = \"mine\"\nattempts = 1\ntimeout = \"400ms\"\n{check}")).await
    }

    async fn passes(&mut self, check: &str) {
        let settled = self.check(check).await;
        assert_eq!(settled.outcome, Outcome::Applied, "{check}: {settled}");
    }

    async fn fails(&mut self, check: &str, evidence: &str) {
        let settled = self.check(check).await;
        let reason = settled.reason.unwrap();
        assert_eq!((settled.outcome, reason.code), (Outcome::RolledBack, ReasonCode::HealthFailed), "{check}");
        let detail = reason.detail.as_str();
        assert!(detail.starts_with("mine (") && detail.contains(evidence), "{evidence:?} in {detail:?}");
    }
}

#[tokio::test]
async fn a_web_server_is_asked_once_and_bounded() {
    let mut house = House::new().await;
    let well = web(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nall well").await;
    let sick = web(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nsick").await;
    let moved = web(b"HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n").await;
    let silent = web(b"").await;
    let nonsense = web(b"\x00\x01\x02 not a web server\r\n\r\n").await;
    let endless: &[u8] = Box::leak([b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 4 << 20]].concat().into());
    let endless = web(endless).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ask = |port: u16| format!("http = \"http://127.0.0.1:{port}/health?deep=1\"");

    house.passes(&format!("{}\ncontains = \"well\"", ask(well))).await;
    house.passes(&format!("{}\nstatus = 503", ask(sick))).await;
    house.passes(&ask(endless)).await;
    house.fails(&ask(sick), "status 503, expected 200, answer \"sick\"").await;
    house
        .fails(&format!("{}\ncontains = \"ill\"", ask(well)), "answer \"all well\", expected to contain \"ill\"")
        .await;
    house.fails(&ask(moved), "status 302, expected 200").await;
    house.fails(&ask(silent), "no answer in time").await;
    house.fails(&ask(nonsense), "127.0.0.1:").await;
    house.fails(&ask(closed), "refused").await;
    house.fails("http = \"http://{nowhere}/\"", "{nowhere} is no parameter").await;
    house.passes(&format!("http = \"http://localhost:{{port}}/\"\n[parameters]\nport = {well}")).await;
    house.fails("http = \"http://{host}/\"\n[parameters]\nhost = \"192.0.2.1\"", "loopback").await;
}

#[tokio::test]
async fn units_ports_disks_and_memory_are_asked() {
    let mut house = House::new().await;
    let words = house.endpoint.path("words");
    let fake = format!(
        "echo \"$@\" > {words}\ncase \"$3\" in good.service) echo active ;; bad.service) echo failed; exit 3 ;; \
         slow.service) sleep 100 ;; mute.service) exit 4 ;; esac",
        words = words.display()
    );
    let systemctl = format!("[health]\nsystemctl = {:?}\n", script(&house.endpoint.path("systemctl"), &fake));
    let unit = |name: &str| format!("unit = \"{name}.service\"\n{systemctl}");
    let update = async |house: &mut House, check: String| {
        let (check, section) = check.split_once("[health]").unwrap();
        house
            .update(&format!(
                "[health]{section}[[health.checks]]\nname = \"mine\"\nattempts = 1\ntimeout = \"2s\"\n{check}"
            ))
            .await
    };
    assert_eq!(update(&mut house, unit("good")).await.outcome, Outcome::Applied);
    assert_eq!(std::fs::read_to_string(&words).unwrap(), "is-active -- good.service\n");
    for (name, evidence) in [
        ("bad", "mine (unit bad.service): it is \"failed\" (1 attempt)"),
        ("slow", "no answer in time"),
        ("mute", "says nothing, exit status 4"),
    ] {
        let settled = update(&mut house, unit(name)).await;
        let reason = settled.reason.unwrap();
        assert_eq!(settled.outcome, Outcome::RolledBack);
        assert!(reason.detail.as_str().contains(evidence), "{evidence:?} in {reason}");
    }

    let port = web(b"").await;
    house.passes(&format!("tcp = {port}")).await;
    house.passes("disk = \"{tree}\"\nfree_mb = 0").await;
    house.passes("memory_free_mb = 1").await;
    house.passes("command = [\"echo\", \"{tree}\"]").await;
    house.fails("disk = \"/\"\nfree_mb = 999999999999", "bytes are free, 999999999999000000 are wanted").await;
    house.fails("disk = \"/no/such/place\"\nfree_mb = 1", "/no/such/place").await;
    house.fails("memory_free_mb = 999999999999", "are wanted").await;
    house.fails("command = [\"echo\", \"no\"]\nexpect = \"yes\"", "output \"no\", expected \"yes\"").await;
    house.fails("package = \"nothing\"\nversion = \"1\"", "does not know it").await;
}

#[tokio::test]
async fn what_fails_while_it_soaks_is_rolled_back() {
    let mut house = House::new().await;
    let count = house.endpoint.path("count");
    // Passes twice, then never again.
    let tired = format!("echo x >> {count}; test $(wc -l < {count}) -le 2", count = count.display());
    let tired = script(&house.endpoint.path("tired"), &tired);
    let soak = "[health]\nsoak = \"10m\"\ninterval = \"1ms\"\n";
    let check =
        format!("{soak}[[health.checks]]\nname = \"tired\"\ncommand = [{tired:?}]\nattempts = 2\ninterval = \"1ms\"");
    let settled = house.update(&check).await;
    let detail = settled.reason.unwrap().detail.to_string();
    assert_eq!(settled.outcome, Outcome::RolledBack);
    assert!(detail.contains("exit status 1") && detail.contains("after it had passed (2 attempts)"), "{detail}");
    assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 4);
    assert_eq!(house.endpoint.version().unwrap(), "1.0.1");

    let short = "[health]\nsoak = \"20ms\"\ninterval = \"5ms\"\n[[health.checks]]\nname = \"m\"\nmemory_free_mb = 0";
    assert_eq!(house.update(short).await.outcome, Outcome::Applied);
}

#[tokio::test]
async fn a_house_that_runs_no_commands_of_manifests_refuses_patches_that_bring_some() {
    let House { world, endpoint, _node, .. } = House::new().await;
    let ran = endpoint.path("ran");
    let patch = approved(&world, 2, tree_of("1.0.2"), |manifest| {
        manifest.health = List::new(vec![says(&format!("/usr/bin/env touch {}", ran.display()), "")]).unwrap();
    });
    endpoint.configure("[health]\nmanifest_commands = false");
    let refused = endpoint.apply(patch).await;
    assert_eq!((refused.outcome, ran.exists()), (Outcome::Refused, false), "{refused}");
    assert!(refused.to_string().contains("health.manifest_commands"), "{refused}");
    endpoint.configure("");
    assert_eq!((endpoint.apply(patch).await.outcome, ran.exists()), (Outcome::Applied, true));
}
