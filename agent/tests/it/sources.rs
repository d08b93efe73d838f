//! Artifacts from mirrors, directories and other agents: whoever gives them, only right bytes are written.

use crate::support::archive::Archive;
use crate::support::endpoint::{Endpoint, PROGRAM, approved};
use crate::support::eventually;
use crate::support::mirror::{Mirror, Serves, Tunnel, lay};
use crate::support::node::{Artifacts, Node, World};
use agent::settled::Settled;
use ledger::artifact::{GROUP_BYTES, shelf_path};
use ledger::id::{Digest, PatchId};
use ledger::receipt::{Outcome, ReasonCode};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// An archive of a few dozen groups, no two of them alike.
fn large() -> Vec<u8> {
    let content: String = (0..60_000).map(|number| format!("{number:08}\n")).collect();
    Archive::new().file("data", &content).bytes()
}

/// A patch, a node that has no artifacts, and a host that takes them elsewhere.
struct Case {
    world: Arc<World>,
    node: Node,
    endpoint: Endpoint,
    archive: Vec<u8>,
    patch: PatchId,
}

fn mirrors(mirrors: &[&Mirror]) -> String {
    mirrors.iter().map(|mirror| format!("[[sources]]\nkind = \"mirror\"\nurl = {:?}\n", mirror.url)).collect()
}

impl Case {
    async fn new() -> Self {
        let world = World::new();
        let node = world.node().await;
        node.behave(|manners| manners.artifacts = Artifacts::Missing);
        let endpoint = Endpoint::new(&world, &[&node], "");
        let archive = large();
        let patch = approved(&world, 1, archive.clone(), |_| {});
        Self { world, node, endpoint, archive, patch }
    }

    /// With mirrors that behave so, each of which has the artifact.
    async fn with(all: &[Serves]) -> (Self, Vec<Mirror>) {
        let case = Self::new().await;
        let mut made = Vec::new();
        for serves in all {
            let mirror = Mirror::new(serves.clone()).await;
            mirror.store(&case.archive);
            made.push(mirror);
        }
        case.endpoint.configure(&mirrors(&made.iter().collect::<Vec<_>>()));
        (case, made)
    }

    async fn apply(&self) -> Settled {
        self.endpoint.apply(self.patch).await
    }

    fn partial(&self) -> PathBuf {
        self.endpoint.data().join("downloads").join(format!("{}.partial", Digest::blake3(&self.archive)))
    }
}

/// What a host refuses with, and says.
fn refusal(settled: &Settled) -> (ReasonCode, String) {
    let reason = settled.reason.clone().unwrap();
    (reason.code, reason.detail.to_string())
}

#[tokio::test]
async fn a_mirror_gives_what_no_node_has() {
    for serves in [Serves::Honestly, Serves::WithoutTrees, Serves::WithoutRanges] {
        let (case, mirrors) = Case::with(std::slice::from_ref(&serves)).await;
        let settled = case.apply().await;
        assert_eq!(settled.outcome, Outcome::Applied, "{serves:?}: {settled}");
        assert_eq!(mirrors[0].asked(), [0]);
        assert_eq!(case.node.asked().fetches, [] as [u64; 0], "the mirror was asked before the node");
    }
}

#[tokio::test]
async fn a_mirror_that_breaks_off_is_taken_up_where_it_was() {
    let (case, mirrors) = Case::with(&[Serves::BreaksAfter(200_000)]).await;
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    let asked = mirrors[0].asked();
    assert!(asked.len() > 2 && asked.is_sorted_by(|a, b| a < b), "{asked:?}");
    assert!(asked.iter().all(|at| at % GROUP_BYTES == 0), "{asked:?}");
}

#[tokio::test]
async fn what_was_checked_is_kept_when_another_goes_on() {
    let place = 10 * GROUP_BYTES as usize + 77;
    let (case, mirrors) = Case::with(&[Serves::FlipAt(place), Serves::Honestly]).await;
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    assert_eq!(mirrors[0].asked(), [0], "who lied is not asked again");
    assert_eq!(mirrors[1].asked(), [10 * GROUP_BYTES], "and the groups before are not fetched again");
}

/// What a power cut made of the groups that were here is nobody's lie, and no reason to refuse an artifact for ever.
#[tokio::test]
async fn groups_that_were_damaged_meanwhile_are_fetched_again_from_whoever_has_no_trees() {
    let (case, mirrors) = Case::with(&[Serves::WithoutTrees]).await;
    drop(case.endpoint.open());
    std::fs::write(case.partial(), vec![0; 3 * GROUP_BYTES as usize]).unwrap();
    let settled = case.apply().await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(mirrors[0].asked(), [3 * GROUP_BYTES, 0]);
    // Who lies about the rest of it is found out all the same.
    let (case, mirrors) = Case::with(&[Serves::FlipWithoutTrees(400_000)]).await;
    drop(case.endpoint.open());
    std::fs::write(case.partial(), &case.archive[..3 * GROUP_BYTES as usize]).unwrap();
    let (code, detail) = refusal(&case.apply().await);
    assert_eq!(code, ReasonCode::ArtifactDigest, "{detail}");
    assert!(detail.contains("sent bytes that do not belong to it"), "{detail}");
    assert_eq!(mirrors[0].asked(), [3 * GROUP_BYTES, 0], "once more, and not for ever");
}

#[tokio::test]
async fn who_does_not_know_ranges_is_skipped_to_where_it_was() {
    let place = 10 * GROUP_BYTES as usize + 77;
    let (case, mirrors) = Case::with(&[Serves::FlipAt(place), Serves::WithoutRanges]).await;
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    assert_eq!(mirrors[1].asked(), [10 * GROUP_BYTES]);
}

#[tokio::test]
async fn every_way_to_lie_has_a_name_and_nothing_of_it_is_written() {
    use ReasonCode::{ArtifactDigest, ArtifactLength, ArtifactUnavailable};
    for (serves, code, said) in [
        (Serves::FlipAt(0), ArtifactDigest, "sent bytes that do not belong to it"),
        (Serves::FlipWithoutTrees(400_000), ArtifactDigest, "sent bytes that do not belong to it"),
        (Serves::WrongTrees, ArtifactDigest, "its hash tree does not belong to it"),
        (Serves::Longer, ArtifactLength, "length: it has"),
        (Serves::Dripping, ArtifactUnavailable, "slower than 1000 bytes/s"),
        (Serves::HeadOnly, ArtifactUnavailable, "slower than 1000 bytes/s"),
        (Serves::InCircles, ArtifactUnavailable, "redirects: more than 4"),
        (Serves::SendsOn("http://192.0.2.1".to_owned()), ArtifactUnavailable, "which redirects_to does not name"),
        (Serves::SendsOn("ftp://127.0.0.1".to_owned()), ArtifactUnavailable, "redirect: to \"ftp\""),
        (Serves::HugeHead, ArtifactUnavailable, "head: "),
        (Serves::Compressed, ArtifactUnavailable, "encoding: gzip"),
        (Serves::Failing, ArtifactUnavailable, "status: answered 500"),
        (Serves::Nonsense, ArtifactUnavailable, "head: "),
    ] {
        let (case, mirrors) = Case::with(std::slice::from_ref(&serves)).await;
        let settled = case.apply().await;
        let (found, detail) = refusal(&settled);
        let all = format!("{serves:?}: {detail}");
        assert_eq!(found, code, "{all}");
        // A lie says more than that the node has nothing; what is no lie is found with its source, below.
        assert!(code == ArtifactUnavailable || detail.contains(said), "{all}");
        let there = std::fs::read(case.partial()).unwrap();
        assert_eq!(there, case.archive[..there.len()], "{all}");
        assert!(mirrors[0].sent() < 16 * 1024 * 1024, "{all}");

        // The same host, with an honest one beside it.
        let honest = Mirror::new(Serves::Honestly).await;
        honest.store(&case.archive);
        case.endpoint.configure(&self::mirrors(&[&mirrors[0], &honest]));
        let mut worker = case.endpoint.worker().await;
        assert_eq!(worker.apply(&case.patch.to_string(), None).await.unwrap().outcome, Outcome::Applied, "{all}");
        let (views, deliveries) = worker.site().origins.view();
        let trouble = views[0].trouble.clone().unwrap_or_default();
        assert!(trouble.contains(said), "{all}: {trouble}");
        assert!(views[0].penalty > 0 && views[1].penalty == 0 && views[1].bytes > 0, "{all}: {views:?}");
        assert_eq!(deliveries[0].from.last().unwrap().source, honest.url, "{all}");
        worker.site().installer.services().stop_all().await;
    }
}

#[tokio::test]
async fn an_endless_mirror_is_let_go_when_everything_is_there() {
    let (case, mirrors) = Case::with(&[Serves::Endless]).await;
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    let sent = mirrors[0].sent();
    // What lies in buffers on the way counts as sent.
    assert!(sent < case.archive.len() as u64 + 8 * 1024 * 1024, "{sent}");
}

#[tokio::test]
async fn a_mirror_may_send_on_to_whom_the_configuration_names() {
    let (case, all) = Case::with(&[Serves::Honestly]).await;
    let front = Mirror::new(Serves::SendsOn(all[0].url.trim_end_matches("/patches").to_owned())).await;
    let named = front.url.replace("127.0.0.1", "localhost");
    let source = format!("[[sources]]\nkind = \"mirror\"\nurl = {named:?}\n");
    case.endpoint.configure(&source);
    assert_eq!(refusal(&case.apply().await).0, ReasonCode::ArtifactUnavailable);
    assert_eq!(all[0].asked(), [] as [u64; 0]);
    case.endpoint.configure(&format!("{source}redirects_to = [\"127.0.0.1\"]\n"));
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
}

#[tokio::test]
async fn a_proxy_is_used_where_the_configuration_names_one() {
    let (case, all) = Case::with(&[Serves::Honestly]).await;
    // A proxy is asked for whole addresses: this one has the artifact under that of a host nobody else finds.
    let url = "http://mirror.invalid/patches";
    let address = all[0].url.trim_start_matches("http://").trim_end_matches("/patches").to_owned();
    all[0].store_as(url, &case.archive);
    let source = format!("[[sources]]\nkind = \"mirror\"\nurl = {url:?}\n");
    case.endpoint.configure(&source);
    assert_eq!(refusal(&case.apply().await).0, ReasonCode::ArtifactUnavailable);
    case.endpoint.configure(&format!("{source}proxy = \"http://{address}\"\n"));
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
}

/// A source over TLS: its address, and the roots that it is believed by.
fn secure(url: &str, ca: &std::path::Path) -> String {
    format!("[[sources]]\nkind = \"mirror\"\nurl = {url:?}\nca = {ca:?}\n")
}

#[tokio::test]
async fn a_mirror_over_tls_is_who_its_certificate_says() {
    let case = Case::new().await;
    let (mirror, root) = Mirror::with_tls(Serves::Honestly, "localhost").await;
    let (other, others_root) = Mirror::with_tls(Serves::Honestly, "elsewhere.example").await;
    let (ca, others_ca) = (case.endpoint.path("mirror.pem"), case.endpoint.path("other.pem"));
    std::fs::write(&ca, root).unwrap();
    std::fs::write(&others_ca, others_root).unwrap();
    mirror.store(&case.archive);
    other.store(&case.archive);
    let others_url = other.url.replace("elsewhere.example", "localhost");
    for (what, url, roots) in [
        ("a certificate that does not lead to the roots", &mirror.url, &others_ca),
        ("a certificate of another host", &others_url, &others_ca),
    ] {
        case.endpoint.configure(&secure(url, roots));
        let settled = case.apply().await;
        assert_eq!(refusal(&settled).0, ReasonCode::ArtifactUnavailable, "{what}: {settled}");
        assert!(mirror.asked().is_empty() && other.asked().is_empty(), "{what}: nothing was said to it");
    }
    case.endpoint.configure(&secure(&mirror.url, &ca));
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    assert_eq!(mirror.asked(), [0]);
}

#[tokio::test]
async fn nobody_is_sent_on_from_tls_to_none_or_to_another_server_of_the_same_host() {
    let case = Case::new().await;
    let open = Mirror::new(Serves::Honestly).await;
    open.store(&case.archive);
    let port = open.address.port();
    let ca = case.endpoint.path("mirror.pem");
    for to in [format!("http://localhost:{port}"), format!("https://localhost:{port}"), "//localhost".to_owned()] {
        let (front, root) = Mirror::with_tls(Serves::SendsOn(to.clone()), "localhost").await;
        std::fs::write(&ca, root).unwrap();
        case.endpoint.configure(&secure(&front.url, &ca));
        assert_eq!(refusal(&case.apply().await).0, ReasonCode::ArtifactUnavailable, "{to}");
        assert_eq!((front.asked().is_empty(), open.asked().len()), (false, 0), "{to}");
    }
}

#[tokio::test]
async fn a_proxy_sees_whom_a_host_speaks_to_and_not_what_it_says() {
    let case = Case::new().await;
    // Nobody finds this host but the proxy.
    let (mirror, root) = Mirror::with_tls(Serves::Honestly, "mirror.invalid").await;
    mirror.store(&case.archive);
    let ca = case.endpoint.path("mirror.pem");
    std::fs::write(&ca, root).unwrap();
    let (open, closed) = (Tunnel::to(Some(&mirror)).await, Tunnel::to(None).await);
    let through = |tunnel: &Tunnel| format!("{}proxy = \"http://{}\"\n", secure(&mirror.url, &ca), tunnel.address);
    case.endpoint.configure(&secure(&mirror.url, &ca));
    assert_eq!(refusal(&case.apply().await).0, ReasonCode::ArtifactUnavailable, "without a proxy");
    case.endpoint.configure(&through(&closed));
    assert_eq!(refusal(&case.apply().await).0, ReasonCode::ArtifactUnavailable, "with one that refuses");
    assert!(!closed.asked().is_empty() && mirror.asked().is_empty());
    case.endpoint.configure(&through(&open));
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    let wanted = format!("CONNECT mirror.invalid:{} HTTP/1.1\r\n", mirror.address.port());
    assert!(!open.asked().is_empty());
    for head in open.asked() {
        assert!(head.starts_with(&wanted) && !head.contains("/patches"), "{head}");
    }
    assert_eq!(mirror.asked(), [0]);
}

#[tokio::test]
async fn a_killed_agent_goes_on_where_its_mirror_was() {
    let (mut case, mirrors) = Case::with(&[Serves::Honestly]).await;
    // So slowly that somebody can kill it in the middle.
    case.endpoint.download = "patience_ms = 60000\nbytes_per_s_max = 50000".to_owned();
    case.endpoint.configure(&self::mirrors(&[&mirrors[0]]));
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["apply", &case.patch.to_string(), "--config"]).arg(case.endpoint.config_path()).kill_on_drop(true);
    let mut agent = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let some = async || std::fs::metadata(case.partial()).ok().filter(|file| file.len() >= 2 * GROUP_BYTES);
    eventually("some groups", some).await;
    agent.kill().await.unwrap();
    let have = std::fs::metadata(case.partial()).unwrap().len();
    assert!(have < case.archive.len() as u64);
    case.endpoint.download = "patience_ms = 60000".to_owned();
    case.endpoint.configure(&self::mirrors(&[&mirrors[0]]));
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    let whole = have - have % GROUP_BYTES;
    assert_eq!(mirrors[0].asked(), [0, whole]);
}

#[tokio::test]
async fn a_host_without_a_node_is_patched_from_a_stick() {
    let case = Case::new().await;
    let stick = tempfile::tempdir().unwrap();
    let proof = case.endpoint.path("it.proof");
    std::fs::write(&proof, case.world.ledger().proof(case.patch).unwrap().bytes()).unwrap();
    let alone = Endpoint::not_enrolled(&case.world, &[], &directory(stick.path()), agent::key::generate().unwrap());
    let text = std::fs::read_to_string(alone.config_path()).unwrap().replace("ca = \"ca.pem\"", "");
    std::fs::write(alone.config_path(), text).unwrap();
    let apply = async || {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["apply", &case.patch.to_string(), "-o", "json", "--from"]).arg(&proof);
        let output = command.arg("--config").arg(alone.config_path()).output().await.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = apply().await;
    assert!(code == Some(1) && said.contains("artifact-unavailable"), "{said}");
    // Wrong, then without a tree, which is enough for an artifact of this size.
    lay(stick.path(), &case.archive, true);
    let path = stick.path().join(shelf_path(&Digest::blake3(&case.archive)));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"x", 300_000).unwrap();
    let (code, said) = apply().await;
    assert!(code == Some(1) && said.contains("artifact-digest"), "{said}");
    lay(stick.path(), &case.archive, false);
    std::fs::remove_file(path.with_extension("tree")).unwrap();
    let (code, said) = apply().await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(alone.version().as_deref(), Some(case.version().as_str()));
}

impl Case {
    fn version(&self) -> String {
        self.world.ledger().record(self.patch).unwrap().version.to_string()
    }
}

fn directory(path: &std::path::Path) -> String {
    format!("[[sources]]\nkind = \"directory\"\npath = {path:?}\n")
}

#[tokio::test]
async fn what_is_no_plain_file_is_not_opened() {
    let case = Case::new().await;
    let stick = tempfile::tempdir().unwrap();
    case.endpoint.configure(&directory(stick.path()));
    let path = stick.path().join(shelf_path(&Digest::blake3(&case.archive)));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let elsewhere = case.endpoint.path("elsewhere");
    std::fs::write(&elsewhere, &case.archive).unwrap();
    let makes: [(&str, &dyn Fn()); 4] = [
        ("a link", &|| std::os::unix::fs::symlink(&elsewhere, &path).unwrap()),
        ("a device", &|| std::os::unix::fs::symlink("/dev/zero", &path).unwrap()),
        ("a directory", &|| std::fs::create_dir(&path).unwrap()),
        ("a pipe", &|| {
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
    ];
    for (what, make) in makes {
        make();
        let (code, detail) = refusal(&case.apply().await);
        assert_eq!(code, ReasonCode::ArtifactUnavailable, "{what}: {detail}");
        if std::fs::remove_file(&path).is_err() {
            std::fs::remove_dir(&path).unwrap();
        }
    }
    // Nor is what lies where a link on the way leads to.
    let (shelf, away) = (path.parent().unwrap(), case.endpoint.path("away"));
    lay(stick.path(), &case.archive, true);
    std::fs::rename(shelf, &away).unwrap();
    std::os::unix::fs::symlink(&away, shelf).unwrap();
    let (code, detail) = refusal(&case.apply().await);
    assert_eq!(code, ReasonCode::ArtifactUnavailable, "{detail}");
    std::fs::remove_file(shelf).unwrap();
    lay(stick.path(), &case.archive, true);
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
}

#[tokio::test]
async fn the_site_fetches_once() {
    let case = Case::new().await;
    case.node.behave(|manners| manners.artifacts = Artifacts::Honest);
    case.endpoint.configure("[cache]\nlisten = \"127.0.0.1:0\"\ndisk_mb = 16\n");
    let config = case.endpoint.config();
    let data = agent::data::DataDir::at(config.data_dir);
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(case.endpoint.config_path()).stderr(std::process::Stdio::null());
    let mut running = command.kill_on_drop(true).spawn().unwrap();
    let cache = eventually("a cache that has the artifact", async || {
        match agent::control::ask(&data, &agent::control::Request::Status {}).await {
            Ok(Some(agent::control::Answer::Status(status))) => {
                status.cache.filter(|cache| cache.artifacts == 1 && cache.listens.is_some())
            }
            _ => None,
        }
    })
    .await;
    let fetched = case.node.asked().fetches.len();

    case.node.behave(|manners| manners.artifacts = Artifacts::Missing);
    let url = format!("http://{}", cache.listens.unwrap());
    let others = format!("[[sources]]\nkind = \"mirror\"\nurl = {url:?}\n");
    for _ in 0..3 {
        let other = Endpoint::new(&case.world, &[&case.node], &others);
        assert_eq!(other.apply(case.patch).await.outcome, Outcome::Applied);
    }
    assert_eq!(case.node.asked().fetches.len(), fetched, "nobody else asked a node for it");
    running.kill().await.unwrap();
}
