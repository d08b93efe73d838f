//! Debian packages, where they are unlike everything else: the closure, what dpkg leaves half done, what
//! people changed, and who else works with packages.

use crate::crash::child;
use crate::support::archive::Archive;
use crate::support::bench::{Bench, Packages, RealPackages, Snapshot, differences};
use crate::support::debian::{Deb, dpkg, dpkg_install, packages, pair};
use crate::support::endpoint::{Endpoint, approved_set, says};
use crate::support::left_out;
use crate::support::node::{Node, World};
use agent::settled::Settled;
use ledger::bounded::List;
use ledger::id::PatchId;
use ledger::patch::InstallerKind;
use ledger::receipt::{Outcome, ReasonCode};
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use tar::EntryType;

/// A host with `app` and `libapp` 1.0.1, installed by somebody else, and a ledger with patches for it.
pub(crate) struct Case<B> {
    pub(crate) world: Arc<World>,
    pub(crate) endpoint: Endpoint,
    bench: B,
    pub(crate) release: u64,
    _node: Node,
}

impl<B: Bench> Case<B> {
    pub(crate) async fn bare(config: &str) -> Option<Self> {
        let mut bench = match B::new() {
            Ok(bench) => bench,
            Err(why) => {
                left_out(&why);
                return None;
            }
        };
        let world = World::new();
        let node = world.node().await;
        let endpoint = Endpoint::new(&world, &[&node], &format!("{}\n{config}", bench.config())).patient();
        bench.build(&endpoint);
        Some(Self { world, endpoint, bench, release: 0, _node: node })
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.bench.snapshot(&self.endpoint)
    }

    pub(crate) fn patch(&mut self, artifacts: Vec<(&str, Vec<u8>)>) -> PatchId {
        self.release += 1;
        let artifacts = artifacts.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        approved_set(&self.world, self.release, InstallerKind::Debian, artifacts, |manifest| {
            manifest.health = List::default();
        })
    }

    pub(crate) async fn apply(&mut self, artifacts: Vec<(&str, Vec<u8>)>) -> Settled {
        let patch = self.patch(artifacts);
        self.endpoint.apply(patch).await
    }

    /// Ends as it should, for the reason it should, and the host is as it was.
    pub(crate) async fn comes_to_nothing(
        &mut self,
        what: &str,
        artifacts: Vec<(&str, Vec<u8>)>,
        (outcome, code): (Outcome, ReasonCode),
        evidence: &str,
    ) {
        let before = self.snapshot();
        let settled = self.apply(artifacts).await;
        let reason = settled.reason.clone().unwrap_or_else(|| panic!("{what}: {settled}"));
        assert_eq!((settled.outcome, reason.code), (outcome, code), "{what}: {settled}");
        assert!(reason.detail.as_str().contains(evidence), "{what}: {reason}");
        let differences = differences(&before, &self.snapshot());
        assert!(differences.is_empty(), "{what}: {differences:#?}");
    }
}

impl Case<Packages> {
    pub(crate) async fn new() -> Option<Self> {
        let case = Self::bare("").await?;
        assert!(dpkg_install(&case.root(), &pair("1.0.1")));
        Some(case)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.bench.root()
    }

    pub(crate) fn says(&self, package: &str) -> String {
        let packages = packages(&self.root());
        packages.lines().find(|line| line.starts_with(package)).unwrap_or_default().to_owned()
    }
}

/// A release with the packages to go back to.
pub(crate) fn with_old(new: &str, old: &str) -> Vec<(&'static str, Vec<u8>)> {
    let ([app, library], [old_app, old_library]) = (pair(new), pair(old));
    vec![("app.deb", app), ("libapp.deb", library), ("old-app.deb", old_app), ("old-libapp.deb", old_library)]
}

#[tokio::test]
async fn without_the_packages_of_before_nothing_is_changed() {
    let Some(mut case) = Case::new().await else { return };
    let [app, library] = pair("1.0.2");
    let nothing = (Outcome::Refused, ReasonCode::CannotRollBack);
    let evidence = "app 1.0.1 is installed, and neither the patch nor this agent has that package";
    case.comes_to_nothing("no old package", vec![("app.deb", app), ("libapp.deb", library)], nothing, evidence).await;
    case.comes_to_nothing("another old package", with_old("1.0.2", "1.0.0"), nothing, evidence).await;

    let settled = case.apply(with_old("1.0.2", "1.0.1")).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(case.says("app"), "app:all 1.0.2 install ok installed");
    // What this agent installed it can go back to by itself.
    let [app, library] = pair("1.0.3");
    let settled = case.apply(vec![("app.deb", app), ("libapp.deb", library)]).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    // What is there already is not installed again, and is part of what must be there.
    let [app, library] = pair("1.0.3");
    let settled = case.apply(vec![("app.deb", app), ("libapp.deb", library)]).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

#[tokio::test]
async fn what_dpkg_leaves_half_done_is_noticed_and_taken_back() {
    let Some(mut case) = Case::new().await else { return };
    let [app, _] = pair("1.0.2");
    let ([old_app, old_library], failed) = (pair("1.0.1"), (Outcome::RolledBack, ReasonCode::InstallFailed));
    let half = vec![("app.deb", app), ("old-app.deb", old_app.clone())];
    case.comes_to_nothing("a program without its library", half, failed, "libapp (= 1.0.2)").await;

    let [app, library] = pair("1.0.2");
    // There is no shell in the bare root: no script can end well.
    let script = "#!/bin/sh\nexit 0\n";
    let configured = Deb::new("helper", "1").control_file("postinst", 0o755, script).bytes();
    let artifacts = vec![
        ("app.deb", app),
        ("helper.deb", configured),
        ("libapp.deb", library),
        ("old-app.deb", old_app),
        ("old-libapp.deb", old_library),
    ];
    case.comes_to_nothing("a script that fails", artifacts, failed, "helper").await;
    let log =
        fs::read_dir(case.endpoint.data().join("logs")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    assert!(fs::read_to_string(log).unwrap().contains("dpkg: Unpacking"), "what dpkg said is in the log");
}

#[tokio::test]
async fn for_real_a_new_jq_without_its_library_is_noticed_and_taken_back() {
    let Some(mut case) = Case::<RealPackages>::bare("").await else { return };
    let (old, new) = (case.bench.artifacts(1), case.bench.artifacts(2));
    let as_str = |artifacts: &[(String, Vec<u8>)]| -> Vec<(&'static str, Vec<u8>)> {
        let name = |name: &str| if name == "jq.deb" { "jq.deb" } else { "libjq1.deb" };
        artifacts.iter().map(|(called, bytes)| (name(called), bytes.clone())).collect()
    };
    let settled = case.apply(as_str(&old)).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    let jq: Vec<_> = as_str(&new).into_iter().filter(|(name, _)| *name == "jq.deb").collect();
    let evidence = format!("jq depends on libjq1 (= {})", case.bench.version(2));
    let half = (Outcome::RolledBack, ReasonCode::InstallFailed);
    case.comes_to_nothing("half of the pair", jq, half, &evidence).await;
    let settled = case.apply(as_str(&new)).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    let jq = packages(&case.bench.root()).lines().find(|line| line.starts_with("jq:")).unwrap().to_owned();
    assert!(jq.ends_with(&format!(" {} install ok installed", case.bench.version(2))), "{jq}");
}

#[tokio::test]
async fn nothing_is_pulled_in_and_nothing_pushed_out() {
    let Some(mut case) = Case::new().await else { return };
    let greedy = Deb::new("greedy", "1").field("Conflicts: bystander").field("Replaces: bystander");
    let taking = (Outcome::Refused, ReasonCode::Conflict);
    case.comes_to_nothing("pushes out", vec![("greedy.deb", greedy.bytes())], taking, "bystander").await;
    assert_eq!(case.says("bystander"), "bystander:all 7 install ok installed");

    let needy = Deb::new("needy", "1").field("Depends: not-there");
    let missing = (Outcome::RolledBack, ReasonCode::InstallFailed);
    case.comes_to_nothing("depends on nothing there", vec![("needy.deb", needy.bytes())], missing, "not-there").await;
    let before = Deb::new("before", "1").field("Pre-Depends: not-there");
    let refused = (Outcome::Refused, ReasonCode::InstallFailed);
    case.comes_to_nothing("pre-depends", vec![("before.deb", before.bytes())], refused, "not-there").await;
    let mut foreign = Deb::new("foreign", "1");
    foreign.control = foreign.control.replace("Architecture: all", "Architecture: sparc");
    case.comes_to_nothing("for others", vec![("foreign.deb", foreign.bytes())], refused, "architecture").await;
    let thief = Deb::new("thief", "1").data(Archive::new().directory("./etc/").file("./etc/by", "mine"));
    let owned = (Outcome::Refused, ReasonCode::Conflict);
    case.comes_to_nothing("another's file", vec![("thief.deb", thief.bytes())], owned, "bystander").await;
}

#[tokio::test]
async fn what_people_decided_about_packages_stands() {
    let Some(mut case) = Case::new().await else { return };
    let no_way_back = (Outcome::Refused, ReasonCode::CannotRollBack);
    let selections = case.root().join("selections");
    fs::write(&selections, "app hold\n").unwrap();
    let set = |case: &Case<Packages>| {
        let root = format!("--root={}", case.root().display());
        let mut dpkg = std::process::Command::new("dpkg");
        dpkg.args([&root, "--set-selections"]).stdin(File::open(case.root().join("selections")).unwrap());
        assert!(dpkg.status().unwrap().success());
    };
    set(&case);
    case.comes_to_nothing("on hold", with_old("1.0.2", "1.0.1"), no_way_back, "hold ok installed").await;
    fs::write(&selections, "app install\n").unwrap();
    set(&case);
    assert!(!dpkg_install(&case.root(), &[pair("1.0.2")[0].clone()]), "half of a pair, by somebody else");
    case.comes_to_nothing("unpacked", with_old("1.0.3", "1.0.1"), no_way_back, "install ok unpacked").await;
}

#[tokio::test]
async fn configuration_files_that_were_changed_are_kept() {
    let Some(mut case) = Case::new().await else { return };
    let path = case.root().join("etc/app/app.conf");
    fs::write(&path, "mine\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let before = case.snapshot();
    let sick = with_old("1.0.2", "1.0.1");
    let patch = case.patch(sick);
    // Something goes wrong after dpkg was through: the disk, the agent, anything.
    assert!(crate::crash::child(&case.endpoint, Some(patch), 7).await);
    assert_eq!(case.says("app"), "app:all 1.0.2 install ok installed");
    let mut site = case.endpoint.open();
    site.recover().await.unwrap();
    drop(site);
    let differences = differences(&before, &case.snapshot());
    assert!(differences.is_empty(), "{differences:#?}");

    let settled = case.apply(with_old("1.0.2", "1.0.1")).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
    assert_eq!(fs::read_to_string(path.with_extension("conf.dpkg-dist")).unwrap(), "made-by = 1.0.2\n");
    let log =
        fs::read_dir(case.endpoint.data().join("logs")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let told = "/etc/app/app.conf was changed on this host and is kept";
    assert!(fs::read_to_string(&log).unwrap().contains(told), "{}", fs::read_to_string(&log).unwrap());
}

#[tokio::test]
async fn files_that_were_changed_by_hand_come_back_changed() {
    let Some(mut case) = Case::new().await else { return };
    fs::write(case.root().join("usr/share/app/secret"), "changed by hand").unwrap();
    fs::remove_file(case.root().join("usr/bin/also-app")).unwrap();
    fs::set_permissions(case.root().join("usr/share/app"), fs::Permissions::from_mode(0o700)).unwrap();
    let before = case.snapshot();
    let patch = case.patch(with_old("1.0.2", "1.0.1"));
    assert!(crate::crash::child(&case.endpoint, Some(patch), 7).await);
    let mut site = case.endpoint.open();
    assert_eq!(site.recover().await.unwrap().unwrap().outcome, Outcome::RolledBack);
    let differences = differences(&before, &case.snapshot());
    assert!(differences.is_empty(), "{differences:#?}");
}

/// A process without any rights that looks like a dpkg left behind by an agent: same name, same marker.
#[tokio::test]
async fn a_stranger_who_calls_himself_dpkg_holds_nothing_up() {
    use std::os::unix::process::CommandExt as _;
    let Some(mut case) = Case::<Packages>::bare("").await else { return };
    let room = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let fake = room.path().join("dpkg");
    // Written by another process: a program that is open for writing here cannot be run.
    assert!(Command::new("install").args(["-m", "755", "/bin/sleep"]).arg(&fake).status().unwrap().success());
    let mut fake = Command::new(fake);
    fake.arg("600").env("COUNTERSIGN_DPKG_ROOT", case.root()).current_dir("/").uid(65_534).gid(65_534);
    let mut fake = fake.spawn().unwrap();
    let [app, library] = pair("1.0.2");
    let settled = case.apply(vec![("app.deb", app), ("libapp.deb", library)]).await;
    fake.kill().unwrap();
    fake.wait().unwrap();
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

#[tokio::test]
async fn whoever_works_with_packages_is_waited_for() {
    let Some(mut case) = Case::<Packages>::bare("").await else { return };
    case.endpoint = {
        let config = case.bench.config().replace("lock_wait_ms = 20000", "lock_wait_ms = 100");
        Endpoint::new(&case.world, &[&case._node], &config).patient()
    };
    let path = case.root().join("var/lib/dpkg/lock-frontend");
    File::create(&path).unwrap();
    // A lock of this very process would be none for it.
    let held = held_by_another(&path);
    let [app, library] = pair("1.0.2");
    let both = vec![("app.deb", app), ("libapp.deb", library)];
    let locked = (Outcome::Refused, ReasonCode::InstallFailed);
    case.comes_to_nothing("locked", both.clone(), locked, "somebody else works with packages").await;
    drop(held);
    let settled = case.apply(both.clone()).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");

    // What cannot be taken back because of that is taken back when it can be, and before anything else.
    let [app, library] = pair("1.0.3");
    let (before, patch) = (case.snapshot(), case.patch(vec![("app.deb", app), ("libapp.deb", library)]));
    assert!(crate::crash::child(&case.endpoint, Some(patch), 7).await);
    let held = held_by_another(&path);
    let mut site = case.endpoint.open();
    assert!(site.recover().await.is_err(), "it cannot even be seen what is there");
    assert!(site.installer.is_interrupted());
    drop((site, held));
    let mut site = case.endpoint.open();
    assert_eq!(site.recover().await.unwrap().unwrap().outcome, Outcome::RolledBack);
    let differences = differences(&before, &case.snapshot());
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Not a test by itself: holds a lock until its standard input ends.
#[test]
fn the_holder() {
    let Ok(path) = std::env::var(HOLDER) else { return };
    let file = File::options().write(true).open(path).unwrap();
    rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    println!("held");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

const HOLDER: &str = "COUNTERSIGN_TEST_HOLDER";

pub(crate) struct Held(std::process::Child);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

pub(crate) fn held_by_another(path: &std::path::Path) -> Held {
    use std::io::BufRead as _;
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap());
    holder.args(["--exact", "debian::the_holder", "--nocapture"]).env(HOLDER, path);
    let piped = std::process::Stdio::piped;
    let mut child = holder.stdin(piped()).stdout(piped()).spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("held")));
    Held(child)
}

#[tokio::test]
async fn hostile_packages_are_refused_by_name_and_touch_nothing() {
    let Some(mut case) = Case::new().await else { return };
    let outside = tempfile::tempdir().unwrap();
    let check = crate::support::endpoint::canary(&outside.path().join("canary"));
    let aim = outside.path().join("canary");
    let aim = aim.to_str().unwrap();
    let one = |kind: EntryType, name: &str, mode: u32| Archive::new().entry(kind, name.as_bytes(), mode, b"", b"");
    let refused = (Outcome::Refused, ReasonCode::ArchiveUnsafe);
    for (what, data, evidence) in [
        ("climbs", Archive::new().file("./../canary", "x"), "`..`"),
        ("absolute", Archive::new().file(aim, "x"), "absolute"),
        ("through its own link", Archive::new().link("./d", "/tmp").file("./d/x", "x"), "no directory"),
        ("over its own link", Archive::new().link("./x", aim).file("./x", "x"), "twice"),
        ("hard link out", Archive::new().hard_link("./x", "../canary"), "`..`"),
        ("hard link to the host", Archive::new().hard_link("./x", "./etc/by"), "no file before it"),
        ("character device", one(EntryType::Char, "./null", 0o666), "character device"),
        ("block device", one(EntryType::Block, "./sda", 0o666), "block device"),
        ("named pipe", one(EntryType::Fifo, "./pipe", 0o666), "named pipe"),
        ("sparse", one(EntryType::GNUSparse, "./sparse", 0o644), "sparse"),
        ("pax header", one(EntryType::XHeader, "./pax", 0o644), "special entry"),
        // What dpkg would find in a directory's content, as an entry of its own.
        (
            "setuid, hidden in a directory",
            Archive::new().entry(
                EntryType::Directory,
                b"./usr/",
                0o755,
                b"",
                &Archive::new().entry(EntryType::Regular, b"./usr/evil", 0o4755, b"", b"x").bytes()[..1024],
            ),
            "only a file may",
        ),
        ("link with a content", Archive::new().entry(EntryType::Symlink, b"./l", 0o777, b"f", b"x"), "only a file may"),
        ("file called like a directory", Archive::new().file("./usr/", "x"), "ends in `/`"),
        ("setuid", one(EntryType::Regular, "./su", 0o4755), "setuid"),
        ("setgid", one(EntryType::Regular, "./sg", 0o2755), "setuid"),
        ("twice", Archive::new().file("./f", "1").file("f", "2"), "twice"),
        ("not UTF-8", Archive::new().entry(EntryType::Regular, b"./\xff\xfe", 0o644, b"", b""), "UTF-8"),
        ("escape sequence", Archive::new().file("./a\x1b[2Jb", ""), "control characters"),
    ] {
        let hostile = Deb::new("hostile", "1").data(data).bytes();
        case.comes_to_nothing(what, vec![("hostile.deb", hostile)], refused, evidence).await;
        check();
    }
    // One brings the way, the other what goes along it: dpkg would follow the link that it has just made.
    let way = Deb::new("away", "1").data(Archive::new().link("./way", outside.path().to_str().unwrap())).bytes();
    let along = Deb::new("hostile", "1").data(Archive::new().file("./way/canary", "x")).bytes();
    let both = vec![("away.deb", way), ("hostile.deb", along)];
    case.comes_to_nothing("through the link of another package", both, refused, "no directory").await;
    check();
    for (what, bytes, evidence) in [
        ("noise", vec![7; 4096], "hostile.deb"),
        ("cut", Deb::new("hostile", "1").bytes()[..700].to_vec(), "hostile.deb"),
        ("a bomb", bomb(Deb::new("hostile", "1").data(Archive::new().file("./zeros", ""))), "too large"),
        // dpkg-deb would unpack it, whatever it was asked for.
        ("a bomb among its scripts", bomb(Deb::new("hostile", "1").control_file("zeros", 0o644, "")), "too large"),
        ("control file", Deb::new("hostile", "1").control_file("postinst/", 0o755, "x").bytes(), "hostile.deb"),
        ("no package's name", Deb::new("../hostile", "1").bytes(), "hostile.deb"),
        ("an option for a name", Deb::new("--force-all", "1").bytes(), "hostile.deb"),
    ] {
        case.comes_to_nothing(what, vec![("hostile.deb", bytes)], refused, evidence).await;
        check();
    }
    assert!(dpkg(&case.root(), &["--audit"]));
}

/// Much out of little: a header that claims a terabyte, in a package of some kilobytes.
fn bomb(honest: Deb) -> Vec<u8> {
    let honest = honest.bytes();
    let place = honest.windows(7).rposition(|window| window == b"./zeros").unwrap();
    let mut bytes = honest;
    let mut header = tar::Header::from_byte_slice(&bytes[place..place + 512]).clone();
    header.set_size(1 << 40);
    header.set_cksum();
    bytes[place..place + 512].copy_from_slice(header.as_bytes());
    bytes
}

#[tokio::test]
async fn what_a_killed_dpkg_did_not_come_to_is_done() {
    for left in ["triggers-pending", "half-configured"] {
        let Some(case) = Case::<Packages>::bare("").await else { return };
        let watcher = Deb::new("watcher", "1").control_file("triggers", 0o644, "interest-noawait /usr/share/app\n");
        assert!(dpkg_install(&case.root(), &[watcher.bytes()]) && dpkg_install(&case.root(), &pair("1.0.1")));
        let before = case.snapshot();
        let artifacts = with_old("1.0.2", "1.0.1").into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let patch = approved_set(&case.world, 2, InstallerKind::Debian, artifacts, |manifest| {
            manifest.health = List::new(vec![says("{tree}/usr/bin/no-such-program", "x")]).unwrap();
        });
        // Going back is done but for its record …
        let restored = 10;
        assert!(child(&case.endpoint, Some(patch), restored).await);
        // … and the dpkg that did it was killed before the triggers, or while one ran.
        let room = tempfile::tempdir().unwrap();
        let files = ["app", "libapp"].map(|name| room.path().join(name).display().to_string());
        files.iter().zip(pair("1.0.1")).for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
        assert!(dpkg(&case.root(), &["--no-triggers", "--install", &files[0], &files[1]]));
        if left == "half-configured" {
            let status = case.root().join("var/lib/dpkg/status");
            let pending = fs::read_to_string(&status).unwrap();
            let of_triggers = |line: &&str| !line.starts_with("Triggers-Pending:");
            let lines: Vec<_> = pending.lines().filter(of_triggers).collect();
            fs::write(&status, lines.join("\n").replace("triggers-pending", left) + "\n").unwrap();
        }
        assert_eq!(case.says("watcher"), format!("watcher:all 1 install ok {left}"));
        let mut site = case.endpoint.open();
        let settled = site.recover().await.unwrap().unwrap();
        assert_eq!(settled.outcome, Outcome::RolledBack, "{settled}");
        let differences = differences(&before, &case.snapshot());
        assert!(differences.is_empty(), "{left}: {differences:#?}");
    }
}

#[tokio::test]
async fn programs_with_others_rights_are_kept_and_not_brought() {
    let Some(mut case) = Case::<Packages>::bare("").await else { return };
    let su = |version: &str, mode: u32| {
        let data = Archive::new().directory("./usr/").directory("./usr/bin/");
        Deb::new("su", version)
            .data(data.entry(EntryType::Regular, b"./usr/bin/su", mode, b"", version.as_bytes()))
            .bytes()
    };
    assert!(dpkg_install(&case.root(), &[su("1", 0o4755)]));
    let more = vec![("su.deb", su("2", 0o6755)), ("old-su.deb", su("1", 0o4755))];
    case.comes_to_nothing("more rights", more, (Outcome::Refused, ReasonCode::ArchiveUnsafe), "setuid").await;
    // Whoever gave it to somebody else did not mean that it is root's again.
    let path = case.root().join("usr/bin/su");
    let set = |owner: u32| {
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    };
    set(1234);
    let again = || vec![("su.deb", su("2", 0o4755)), ("old-su.deb", su("1", 0o4755))];
    let refused = (Outcome::Refused, ReasonCode::ArchiveUnsafe);
    case.comes_to_nothing("another's rights", again(), refused, "is setuid for 0, and is so for 1234 here").await;
    set(0);
    let settled = case.apply(again()).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}
