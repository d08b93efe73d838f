//! Container images: what is run, and what it may do.

use crate::support::archive::Archive;
use crate::support::bench::Bench;
use crate::support::containers::{ENABLED, INDEX, Image, Images, image, lacking, product, programs, shell};
use crate::support::debian::Real;
use crate::support::endpoint::{Endpoint, PROGRAM, approved_set, canary, says};
use crate::support::node::{Node, World};
use crate::support::{eventually, left_out};
use agent::services::Phase;
use agent::settled::Settled;
use ledger::bounded::List;
use ledger::id::PatchId;
use ledger::patch::{HealthCheck, InstallerKind};
use ledger::receipt::{Outcome, ReasonCode};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

/// A ledger and a host, and the number of the next release.
pub(crate) struct Case {
    world: Arc<World>,
    _node: Node,
    pub(crate) endpoint: Endpoint,
    release: u64,
}

impl Case {
    /// `None` where no containers are run.
    pub(crate) async fn new(config: &str) -> Option<Self> {
        if let Err(why) = lacking() {
            left_out(&why);
            return None;
        }
        let world = World::new();
        let node = world.node().await;
        let endpoint = Endpoint::new(&world, &[&node], config).patient();
        Some(Self { world, _node: node, endpoint, release: 0 })
    }

    /// Approves an image, with checks of its manifest.
    fn approved(&mut self, layout: Vec<u8>, checks: Vec<HealthCheck>) -> PatchId {
        self.release += 1;
        let artifacts = vec![("image.tar".to_owned(), layout)];
        approved_set(&self.world, self.release, InstallerKind::Container, artifacts, |manifest| {
            manifest.health = List::new(checks).unwrap();
        })
    }

    pub(crate) async fn apply(&mut self, layout: Vec<u8>, checks: Vec<HealthCheck>) -> Settled {
        let patch = self.approved(layout, checks);
        self.endpoint.apply(patch).await
    }

    fn root(&self) -> PathBuf {
        self.endpoint.installed().unwrap().tree.join("rootfs")
    }
}

/// A check that runs a script in the container.
fn script(text: &str, expected: &str) -> HealthCheck {
    let mut check = says("/bin/sh -c", expected);
    if let ledger::patch::Probe::Command { arguments, .. } = &mut check.probe {
        let words = ["/bin/sh", "-c", text].map(|word| ledger::bounded::Text::new(word).unwrap());
        *arguments = List::new(words.to_vec()).unwrap();
    }
    check
}

#[tokio::test]
async fn containers_are_off_until_the_house_says_otherwise() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let artifacts = vec![("image.tar".to_owned(), Image::new().bytes())];
    let patch = approved_set(&world, 1, InstallerKind::Container, artifacts, |_| {});
    let settled = endpoint.apply(patch).await;
    assert_eq!(settled.outcome, Outcome::Refused);
    let refused = settled.to_string();
    assert!(refused.contains("container images: not enabled in [installers.containers]"), "{refused}");
}

#[tokio::test]
async fn layers_lie_over_each_other_as_the_specification_says() {
    let Some(mut case) = Case::new(ENABLED).await else { return };
    let owned = |name: &str, ids: (u64, u64), mode: u32| {
        let mut inner = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_mode(mode);
        header.set_uid(ids.0);
        header.set_gid(ids.1);
        header.set_mtime(1_700_000_000);
        header.set_size(2);
        header.set_cksum();
        inner.append(&header, &b"x\n"[..]).unwrap();
        inner.into_inner().unwrap()
    };
    let below = Archive::new()
        .file("replaced", "old\n")
        .file("hidden", "")
        .directory("opaque/")
        .file("opaque/old", "")
        .directory("opaque/deep/")
        .file("opaque/deep/old", "")
        .directory("merged/")
        .file("merged/old", "old\n")
        .directory("becomes-a-file/")
        .file("becomes-a-file/old", "")
        .file("becomes-a-directory", "")
        .directory("gone/")
        .file("gone/inside", "")
        .file("linked", "one content\n")
        .hard_link("also", "linked")
        .link("kept-link", "/somewhere/else")
        .link("link-to-a-directory", "merged");
    let above = Archive::new()
        .file("replaced", "new\n")
        .file(".wh.hidden", "")
        .file("opaque/new", "")
        .file("opaque/.wh..wh..opq", "")
        .file("merged/new", "new\n")
        .file("becomes-a-file", "now\n")
        .directory("becomes-a-directory/")
        .file(".wh.gone", "")
        .file(".wh.never-was", "")
        .file("also", "another\n")
        // To replace a link of the layer below is not to write through it.
        .file("link-to-a-directory", "a file\n");
    // What hides comes after what is to stay, in the same layer, and does not hide that.
    let last = Archive::new().file("merged/mine", "").file("merged/.wh.old", "").file("merged/.wh.mine", "");
    let owned = owned("usr/bin/su", (1000, 33), 0o4755);
    // Numbers and names that a header has no room for stand in one of their own; the header says 0 then.
    let long = "long-name-".repeat(12);
    let extended = Archive::new()
        .pax(&[("uid", "3000000"), ("gid", "4000000"), ("mtime", "1700000000.5"), ("uname", "acme")])
        .file("var/extended", "x\n")
        .pax(&[("path", &long), ("size", "2"), ("uid", "7")])
        .file("var/cut-off", "x\n")
        .pax(&[("linkpath", &long), ("gid", "8")])
        .link("var/link", "cut-off")
        .file("var/plain", "x\n");
    let layers = Image::new().layer("", shell()).layer("+gzip", below.bytes()).layer("+zstd", above.bytes());
    let layers = layers.layer("", extended.bytes());
    let settled = case
        .apply(layers.layer("+gzip", last.bytes()).layer("", owned).bytes(), vec![script("echo well", "well")])
        .await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    let root = case.root();
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    for (path, content) in [
        ("replaced", Some("new\n")),
        ("hidden", None),
        ("opaque/old", None),
        ("opaque/deep", None),
        ("opaque/new", Some("")),
        ("merged/old", None),
        ("merged/new", Some("new\n")),
        ("merged/mine", Some("")),
        ("becomes-a-file", Some("now\n")),
        ("gone", None),
        ("linked", Some("one content\n")),
        ("also", Some("another\n")),
        ("link-to-a-directory", Some("a file\n")),
    ] {
        assert_eq!(read(path).as_deref(), content, "{path}");
    }
    assert!(root.join("becomes-a-directory").is_dir() && !root.join("link-to-a-directory").is_symlink());
    assert_eq!(fs::read_link(root.join("kept-link")).unwrap(), Path::new("/somewhere/else"));
    let su = fs::metadata(root.join("usr/bin/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid()), (0o755, 1000, 33), "no bits of others' rights");
    let whose = |path: &str| fs::symlink_metadata(root.join(path)).map(|there| (there.uid(), there.gid())).ok();
    assert_eq!(whose("var/extended"), Some((3_000_000, 4_000_000)), "what the extended header says");
    assert_eq!((whose(&long), whose("var/cut-off")), (Some((7, 0)), None));
    assert_eq!((whose("var/link"), whose("var/plain")), (Some((0, 8)), Some((0, 0))), "each for one entry");
    assert_eq!(fs::read_link(root.join("var/link")).unwrap(), Path::new(&long));
    assert!(!root.parent().unwrap().join("layout").exists(), "what was unpacked is not kept twice");
}

#[tokio::test]
async fn what_is_in_a_container_cannot_change_or_see_the_host() {
    let host = tempfile::tempdir().unwrap();
    let outside = host.path().join("data");
    fs::create_dir(&outside).unwrap();
    let config = format!("{ENABLED}directories = {{ \"/var/lib/acme\" = {outside:?} }}\n");
    let Some(mut case) = Case::new(&config).await else { return };
    let secret = host.path().join("secret");
    let check = canary(&secret);
    let can = |what: &str| format!("if {what} 2>/dev/null; then echo can; else echo cannot; fi");
    let secret = secret.display();
    let checks = vec![
        script("echo $$", "1"),
        script(&can("echo x > /file"), "cannot"),
        script(&can("echo x > /bin/version"), "cannot"),
        script(&can("echo x > /proc/sys/kernel/hostname"), "cannot"),
        script(&can(&format!("cat {secret}")), "cannot"),
        script(&can("cat /proc/1/root/etc/hostname"), "cannot"),
        script(&can("echo x > /tmp/file"), "can"),
        script("cat /run/there", "of the image"),
        script(&can("echo kept > /var/lib/acme/file"), "can"),
        // No rights beyond these, none to be gained, and a filter of calls.
        script(
            "while read a b; do case $a in CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) printf '%s ' $b;; esac; done < /proc/self/status",
            "00000000000004eb 00000000000004eb 1 2",
        ),
        script("cat /etc/given", "7"),
        script("echo $GIVEN $PWD", "by the image /share"),
    ];
    let above = product("1.0.1").file("run/there", "of the image").file("etc/given", "7");
    let image = Image::new().layer("+gzip", shell()).layer("", above.bytes());
    let image = image.config("Env", json!(["GIVEN=by the image"])).config("WorkingDir", json!("/share"));
    let settled = case.apply(image.bytes(), checks).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    check();
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "kept\n");
    let mounted = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounted.contains("containers/notes"), "its mounts are its own: {mounted}");

    // What it keeps is the host's, and there for the next version; as somebody who is not root.
    let user = image_as("acme", "acme:x:1000:1000::/:/bin/sh\n");
    std::os::unix::fs::chown(&outside, Some(1000), Some(1000)).unwrap();
    let checks = vec![
        script("cat /var/lib/acme/file; echo x > /var/lib/acme/mine", "kept"),
        script(
            "while read a b c; do case $a in Uid:|CapEff:) printf '%s ' $b;; esac; done < /proc/self/status",
            "1000 0000000000000000",
        ),
    ];
    let settled = case.apply(user.bytes(), checks).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(fs::metadata(outside.join("mine")).unwrap().uid(), 1000);
}

/// A directory of the host's may be one that others reach: what root in a container makes there must not run with root's
/// rights outside.
#[tokio::test]
async fn no_container_leaves_a_file_that_runs_with_its_owners_rights() {
    let host = tempfile::tempdir().unwrap();
    let config = format!("{ENABLED}directories = {{ \"/var/lib/acme\" = {:?} }}\n", host.path());
    let Some(mut case) = Case::new(&config).await else { return };
    fs::write(host.path().join("file"), "").unwrap();
    let can = |what: &str| format!("if {what} 2>/dev/null; then echo can; else echo cannot; fi");
    // What a call is given must be a variable's, or it is given nothing.
    let perl =
        |path: &str, text: &str| can(&format!("/usr/bin/perl -e \"\\$_ = '/var/lib/acme/{path}'; {text} and exit 1\""));
    let mut checks = vec![
        script(&can("chmod 755 /var/lib/acme/file"), "can"),
        script(&can("chmod 4755 /var/lib/acme/file"), "cannot"),
        script(&can("chmod 2755 /var/lib/acme/file"), "cannot"),
        script(&perl("new", "!mkdir \\$_, 02755"), "cannot"),
        script(&perl("sticky", "!mkdir \\$_, 01777"), "can"),
        // Numbers that are the same on every machine: openat2 and fchmodat2, which newer kernels have.
        script(&perl("new", "\\$how = pack('Q3', 0x42, 04755, 0); syscall(437, -100, \\$_, \\$how, 24) < 0"), "cannot"),
        script(&perl("file", "syscall(452, -100, \\$_, 04755, 0)"), "cannot"),
    ];
    if cfg!(target_arch = "x86_64") {
        checks.extend([
            script(&perl("file", "open F, '<', \\$_; syscall(91, fileno F, 04755)"), "cannot"),
            script(&perl("new", "syscall(2, \\$_, 0x42, 04755) < 0"), "cannot"),
            script(&perl("new", "syscall(257, -100, \\$_, 0x42, 02755) < 0"), "cannot"),
            script(&perl("", "syscall(257, -100, \\$_, 0x410002, 06755) < 0"), "cannot"),
            script(&perl("new", "syscall(133, \\$_, 0104755, 0)"), "cannot"),
            // What opens and makes nothing may have anything in the place of a mode; what makes something, honest ones.
            script(&perl("file", "syscall(257, -100, \\$_, 0, 07777) < 0"), "can"),
            script(&perl("", "syscall(257, -100, \\$_, 0x410002, 0755) < 0"), "can"),
        ]);
    }
    let tools = programs(&["/bin/chmod", "/usr/bin/perl"]);
    let image = Image::new().layer("+gzip", shell()).layer("", tools).layer("", product("1.0.1").bytes());
    let settled = case.apply(image.bytes(), checks).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    let modes = fs::read_dir(host.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().mode());
    assert!(modes.into_iter().all(|mode| mode & 0o6000 == 0));
}

fn image_as(user: &str, passwd: &str) -> Image {
    let above = product("1.0.2").file("etc/passwd", passwd);
    Image::new().layer("+gzip", shell()).layer("", above.bytes()).config("User", json!(user))
}

const SERVICE: &str = "[services.widget]\ncontainer = true\nready_wait_ms = 500\nenvironment = { MORE = \"{port}\" }\n\
                       [parameters]\nport = 7\n";

/// Processes in whose environment or words a text stands, but for zombies.
fn processes_with(text: &str) -> Vec<i32> {
    let has = |path: PathBuf| fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text));
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    all.filter(|pid| has(format!("/proc/{pid}/cmdline").into()) || has(format!("/proc/{pid}/environ").into())).collect()
}

#[tokio::test]
async fn a_service_runs_in_a_container_of_the_installed_image() {
    let Some(mut case) = Case::new(&format!("{ENABLED}{SERVICE}")).await else { return };
    // Its first process says who it is where the host can look.
    let marker = format!("marker-{}", std::process::id());
    let serving = |version: &str| {
        let serve = "#!/bin/sh\ntrap 'exit 0' TERM\n[ \"$MORE\" = 7 ] || exit 9\nwhile :; do /bin/sleep 0.05; done\n";
        let above =
            Archive::new().program("bin/serve", serve).program("bin/version", &format!("#!/bin/sh\necho {version}\n"));
        let image = Image::new().layer("+gzip", shell()).layer("", above.bytes());
        image.config("Env", json!([format!("MARKER={marker}-{version}"), "MORE=of the image"])).bytes()
    };
    let runs = |version: &str| processes_with(&format!("{marker}-{version}")).len();
    let (first, second) = (case.approved(serving("1.0.1"), vec![]), case.approved(serving("1.0.2"), vec![]));
    let dies = Image::new()
        .layer("+gzip", shell())
        .layer("", Archive::new().program("bin/serve", "#!/bin/sh\nexit 3\n").bytes());
    let dies = case.approved(dies.bytes(), vec![]);
    let nothing = case.approved(Image::new().layer("", shell()).config("Entrypoint", json!(null)).bytes(), vec![]);
    let mut worker = case.endpoint.worker().await;
    let settled = worker.apply(&first.to_string(), None).await.unwrap();
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert!(runs("1.0.1") > 0 && runs("1.0.2") == 0);
    let settled = worker.apply(&second.to_string(), None).await.unwrap();
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert!(runs("1.0.1") == 0 && runs("1.0.2") > 0);
    for (patch, evidence) in [(dies, "widget: ended with status 3"), (nothing, "the image names no program")] {
        let settled = worker.apply(&patch.to_string(), None).await.unwrap();
        let reason = settled.reason.clone().unwrap();
        assert_eq!((settled.outcome, reason.code), (Outcome::RolledBack, ReasonCode::ServiceFailed), "{settled}");
        assert!(reason.detail.as_str().contains(evidence), "{reason}");
        assert!(runs("1.0.2") > 0, "the old one runs again");
    }
    let view = worker.site().installer.services().views().remove(0);
    assert_eq!((view.phase, view.deaths), (Phase::Running, 0));
    worker.site().installer.services().stop_all().await;
    assert_eq!(runs("1.0.2"), 0, "stopped, with all that was in it");
}

#[tokio::test]
async fn containers_end_with_the_agent_whatever_it_dies_of() {
    let Some(mut case) = Case::new(&format!("{ENABLED}{SERVICE}")).await else { return };
    let marker = format!("stubborn-{}", std::process::id());
    // It has children, asks for nothing, and hears nothing.
    let serve = "#!/bin/sh\ntrap '' TERM\n(while :; do /bin/sleep 0.05; done) &\nwhile :; do /bin/sleep 0.05; done\n";
    let above = Archive::new().program("bin/serve", serve).bytes();
    let image = Image::new().layer("+gzip", shell()).layer("", above).config("Env", json!([format!("M={marker}")]));
    assert_eq!(case.apply(image.bytes(), vec![]).await.outcome, Outcome::Applied);
    assert!(processes_with(&marker).is_empty(), "it was stopped, though it did not want to");
    let mut agent = tokio::process::Command::new(PROGRAM);
    agent.arg("run").arg("--config").arg(case.endpoint.config_path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut agent = agent.kill_on_drop(true).spawn().unwrap();
    let more_than_one = async || Some(processes_with(&marker)).filter(|running| running.len() > 1);
    eventually("the service with a child", more_than_one).await;
    agent.kill().await.unwrap();
    let none = async || processes_with(&marker).is_empty().then_some(());
    eventually("everything in the container gone", none).await;
}

#[tokio::test]
async fn an_image_for_many_hosts_is_installed_as_the_one_for_this_host() {
    let Some(mut case) = Case::new(ENABLED).await else { return };
    let mut own = image("1.0.1");
    let platform = |architecture: &str| json!({ "architecture": architecture, "os": "linux" });
    let mut mine = own.manifest();
    mine["platform"] = platform(&own.architecture);
    let mut foreign = Image { architecture: "mips".to_owned(), ..own.clone() };
    let mut other = foreign.manifest();
    other["platform"] = platform("mips");
    foreign.blobs.extend(own.blobs);
    // As builders write them: an index in the index, and a note about the build that is for no host.
    let mut note = other.clone();
    note["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
    let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other, mine, note] });
    let inner = foreign.blob(INDEX, serde_json::to_vec(&inner).unwrap());
    let settled = case.apply(foreign.layout(&[inner]), vec![says("/bin/version", "1.0.1")]).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

#[tokio::test]
async fn the_packages_of_an_image_are_not_asked_for_from_outside() {
    let Some(mut case) = Case::new(ENABLED).await else { return };
    let above = product("1.0.1").link("var/lib/dpkg/status", "/var/lib/dpkg/status").bytes();
    let check = HealthCheck {
        probe: ledger::patch::Probe::PackageVersion {
            package: ledger::bounded::Name::new("libc6").unwrap(),
            version: ledger::bounded::Text::new("1").unwrap(),
        },
        ..script("", "")
    };
    let settled = case.apply(Image::new().layer("", shell()).layer("", above).bytes(), vec![check]).await;
    assert_eq!(settled.outcome, Outcome::RolledBack, "{settled}");
    assert!(settled.to_string().contains("by a command in it"), "{settled}");
}

#[tokio::test]
async fn the_last_image_is_taken_back_by_hand() {
    let Some(mut case) = Case::new(ENABLED).await else { return };
    assert_eq!(case.apply(image("1.0.1").bytes(), vec![]).await.outcome, Outcome::Applied);
    let before = Images.snapshot(&case.endpoint);
    let second = case.approved(image("1.0.2").bytes(), vec![says("/bin/version", "1.0.2")]);
    assert_eq!(case.endpoint.apply(second).await.outcome, Outcome::Applied);
    let rollback = async || {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(["rollback", &second.to_string(), "--config"]).arg(case.endpoint.config_path());
        let output = command.env_remove("COUNTERSIGN_LOG").output().await.unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    // Somebody who gave a file of the old one to somebody else.
    let versions = case.endpoint.installed().unwrap().tree.parent().unwrap().to_owned();
    let current = case.endpoint.installed().unwrap().tree;
    let is_old = |path: &PathBuf| path.is_dir() && *path != current;
    let old = fs::read_dir(versions).unwrap().map(|entry| entry.unwrap().path()).find(is_old).unwrap();
    let file = old.join("rootfs/bin/version");
    std::os::unix::fs::chown(&file, Some(1000), None).unwrap();
    let said = rollback().await;
    assert!(said.contains("belong to others than they did"), "{said}");
    std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    let said = rollback().await;
    assert!(said.contains("rolled-back: policy: taken back by hand"), "{said}");
    assert!(Images.snapshot(&case.endpoint) == before);
}

#[test]
fn directories_that_cannot_be_put_into_containers_are_no_configuration() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("agent.toml");
    let base = "data_dir = \"data\"\n[ledger]\nnodes = [\"https://127.0.0.1:1\"]\nca = \"ca\"\ngenesis = \"genesis\"\n[host]\nname = \"host\"\n";
    let config = |more: &str| {
        fs::write(&path, format!("{base}{more}")).unwrap();
        agent::config::Config::read(&path).map(drop).map_err(|error| error.to_string())
    };
    let directory =
        |inside: &str, outside: &str| config(&format!("{ENABLED}directories = {{ {inside:?} = {outside:?} }}\n"));
    assert_eq!(directory("/var/lib/acme", "/srv/acme"), Ok(()));
    for (inside, outside, says) in [
        ("/", "/srv/acme", "/ is the image itself"),
        ("/proc/sys", "/srv/acme", "is in /proc"),
        ("/etc/hosts", "/srv/acme", "is in /etc/hosts"),
        ("/a/../b", "/srv/acme", "without `..`"),
        ("relative", "/srv/acme", "must be absolute"),
        ("/var/lib/acme", "srv", "must be absolute"),
    ] {
        let refused = directory(inside, outside).unwrap_err();
        assert!(refused.contains("installers.containers.directories") && refused.contains(says), "{refused}");
    }
    // What runs in a container may be its image's to say; what does not, may not.
    let service = |more: &str| {
        let subscription = "[[subscriptions]]\nproduct = \"acme/widget\"\nchannel = \"stable\"\n";
        config(&format!("{subscription}[services.widget]\n{more}\n"))
    };
    assert_eq!((service("container = true"), service("container = true\ncommand = [\"/a\"]")), (Ok(()), Ok(())));
    for nothing in ["", "container = false", "container = true\ncommand = [\"\"]"] {
        assert!(service(nothing).unwrap_err().contains("names no program"), "{nothing:?}");
    }
}

/// What a program writes to its standard output.
fn output(command: &mut std::process::Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What the tools make that vendors have: an image of these layers, as an archive.
fn made_by(tool: &str, room: &Path, layers: &[Vec<u8>]) -> Vec<u8> {
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(words[0]);
        command.args(&words[1..]).current_dir(room).env("TMPDIR", room);
        output(&mut command)
    };
    let files: Vec<String> = (0..layers.len()).map(|number| format!("layer-{number}.tar")).collect();
    for (file, layer) in files.iter().zip(layers) {
        fs::write(room.join(file), layer).unwrap();
    }
    let of_another = room.join("of-another");
    fs::write(&of_another, "whose it is stands in an extended header\n").unwrap();
    std::os::unix::fs::chown(&of_another, Some(3_000_000), Some(4_000_000)).unwrap();
    let (out, archive) = (room.join("out.tar"), format!("oci-archive:{}/out.tar:acme", room.display()));
    if tool == "buildah" {
        let policy = "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}";
        fs::write(room.join("policy.json"), policy).unwrap();
        let own = ["buildah", "--root", "store", "--runroot", "runs", "--storage-driver", "vfs"];
        let build = |words: &[&str]| run(&[&own[..], words].concat());
        build(&["from", "--name", "made", "scratch"]);
        files.iter().for_each(|file| drop(build(&["add", "made", file, "/"])));
        build(&["add", "--chown", "3000000:4000000", "made", "of-another", "/var/of-another"]);
        build(&["config", "--entrypoint", "[\"/bin/serve\"]", "made"]);
        build(&["commit", "--signature-policy", "policy.json", "made", &archive]);
        return fs::read(out).unwrap();
    }
    run(&["umoci", "init", "--layout", "layout"]);
    run(&["umoci", "new", "--image", "layout:acme"]);
    files.iter().for_each(|file| drop(run(&["umoci", "raw", "add-layer", "--image", "layout:acme", file])));
    run(&["umoci", "insert", "--image", "layout:acme", "of-another", "/var/of-another"]);
    run(&["umoci", "config", "--image", "layout:acme", "--config.entrypoint", "/bin/serve"]);
    match tool {
        "umoci" => run(&["tar", "--create", "--directory", "layout", "--file", "out.tar", "."]),
        _ => run(&["skopeo", "--insecure-policy", "copy", "oci:layout:acme", &archive]),
    };
    fs::read(out).unwrap()
}

#[tokio::test]
async fn what_the_tools_of_vendors_make_is_installed() {
    const TOOLS: [&str; 3] = ["umoci", "skopeo", "buildah"];
    let has = |tool: &&str| std::process::Command::new(tool).arg("--version").output().is_ok();
    if let Some(tool) = TOOLS.iter().find(|tool| !has(tool)) {
        return tests::left_out(&["containers", "image-tools"], &format!("no {tool} here"));
    }
    let Some(mut case) = Case::new(ENABLED).await else { return };
    // Without what hides something: that is a builder's own to write.
    let version = |text: &str| Archive::new().program("bin/version", &format!("#!/bin/sh\necho {text}\n"));
    for tool in TOOLS {
        let room = tempfile::tempdir().unwrap();
        let made = made_by(tool, room.path(), &[shell(), version(tool).bytes()]);
        let settled = case.apply(made, vec![says("/bin/version", tool)]).await;
        assert_eq!(settled.outcome, Outcome::Applied, "{tool}: {settled}");
        let of_another = fs::metadata(case.root().join("var/of-another")).unwrap();
        assert_eq!((of_another.uid(), of_another.gid()), (3_000_000, 4_000_000), "{tool}");
    }
}

/// A whole Debian as the lowest layer, with all that such a system has; above it the packages of a real update, as they
/// were built.
#[tokio::test]
async fn a_real_update_on_a_real_system_is_installed_and_taken_back() {
    let real = match Real::new() {
        Ok(real) => real,
        Err(why) => return left_out(&why),
    };
    let Some(mut case) = Case::new(ENABLED).await else { return };
    let mut tar = std::process::Command::new("tar");
    tar.args([
        "--create",
        "--numeric-owner",
        "--exclude=./dev/*",
        "--exclude=./usr/share/doc",
        "--exclude=./usr/share/man",
    ]);
    let system = output(
        tar.args(["--exclude=./usr/share/locale", "--exclude=./var/cache", "--directory"]).arg(&real.root).arg("."),
    );
    let room = tempfile::tempdir().unwrap();
    let layer = |(name, bytes): (String, Vec<u8>)| {
        let package = room.path().join(name);
        fs::write(&package, bytes).unwrap();
        output(std::process::Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package))
    };
    let image = |release: u64| {
        let layers = real.pair(release).into_iter().map(layer);
        layers.fold(Image::new().layer("+gzip", system.clone()), |image, layer| image.layer("", layer)).bytes()
    };
    let works = || vec![script("echo '{\"a\":[1,2]}' | jq --compact-output .a", "[1,2]")];
    let library = |case: &Case| {
        let directory = case.root().join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
        let is_it = |path: &PathBuf| !path.is_symlink() && path.to_string_lossy().contains("/libjq.so");
        fs::read(fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).find(is_it).unwrap()).unwrap()
    };
    let settled = case.apply(image(1), works()).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    let (old, before) = (library(&case), Images.snapshot(&case.endpoint));
    let has_bits = |(mode, _, _, _): &(u32, u32, u32, Vec<u8>)| mode & 0o6000 != 0;
    assert!(!before.values().any(has_bits), "no bits of others' rights");
    let settled = case.apply(image(2), vec![says("/usr/bin/jq --version", "something else")]).await;
    assert_eq!(settled.outcome, Outcome::RolledBack, "{settled}");
    assert!(Images.snapshot(&case.endpoint) == before);
    let settled = case.apply(image(2), works()).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert!(library(&case) != old, "the library of the update");
}
