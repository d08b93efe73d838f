//! RPM packages, where they are unlike everything else: what rpm leaves half done, what people changed, and who else
//! works with packages.

use crate::crash::child;
use crate::support::bench::{Bench, Rpms, Snapshot, differences};
use crate::support::endpoint::{Endpoint, approved_set, canary, hear, says};
use crate::support::left_out;
use crate::support::node::{Node, World};
use crate::support::rpm::{self, DATABASE, Rpm, bystander, install, packages, pair};
use agent::installer::journal::{Moment, Record};
use agent::settled::Settled;
use agent::worker::Worker;
use ledger::bounded::List;
use ledger::id::PatchId;
use ledger::patch::InstallerKind;
use ledger::receipt::{Outcome, ReasonCode};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// The place of the journal after the new is in place, before it is judged.
const AFTER_PUT: usize = 7;

/// A host with `app` and `libapp` 1.0.1, installed by somebody else, and a ledger with patches for it.
struct Case {
    world: Arc<World>,
    endpoint: Endpoint,
    bench: Rpms,
    release: u64,
    _node: Node,
}

impl Case {
    async fn new() -> Option<Self> {
        let mut bench = match Rpms::new() {
            Ok(bench) => bench,
            Err(why) => {
                left_out(&why);
                return None;
            }
        };
        let world = World::new();
        let node = world.node().await;
        let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
        bench.build(&endpoint);
        assert!(install(&bench.root(), &pair("1.0.1")));
        Some(Self { world, endpoint, bench, release: 0, _node: node })
    }

    fn root(&self) -> PathBuf {
        self.bench.root()
    }

    fn snapshot(&self) -> Snapshot {
        self.bench.snapshot(&self.endpoint)
    }

    #[track_caller]
    fn is(&self, expected: &Snapshot, what: &str) {
        let differences = differences(expected, &self.snapshot());
        assert!(differences.is_empty(), "{what}: {differences:#?}");
    }

    fn patch(&mut self, artifacts: Vec<(&str, Vec<u8>)>) -> PatchId {
        self.release += 1;
        let artifacts = artifacts.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        approved_set(&self.world, self.release, InstallerKind::Rpm, artifacts, |manifest| {
            manifest.health = List::default();
        })
    }

    async fn apply(&mut self, artifacts: Vec<(&str, Vec<u8>)>) -> Settled {
        let patch = self.patch(artifacts);
        self.endpoint.apply(patch).await
    }

    async fn is_refused(&mut self, what: &str, artifacts: Vec<(&str, Vec<u8>)>, code: ReasonCode, evidence: &str) {
        let before = self.snapshot();
        let settled = self.apply(artifacts).await;
        let reason = settled.reason.clone().unwrap_or_else(|| panic!("{what}: {settled}"));
        assert_eq!((settled.outcome, reason.code), (Outcome::Refused, code), "{what}: {settled}");
        assert!(reason.detail.as_str().contains(evidence), "{what}: {reason}");
        self.is(&before, what);
    }
}

/// A release with the packages to go back to.
fn with_old(new: &str, old: &str) -> Vec<(&'static str, Vec<u8>)> {
    let ([app, library], [old_app, old_library]) = (pair(new), pair(old));
    vec![("app.rpm", app), ("libapp.rpm", library), ("old-app.rpm", old_app), ("old-libapp.rpm", old_library)]
}

#[tokio::test]
async fn the_closure_is_all_of_it_and_nothing_else() {
    let Some(mut case) = Case::new().await else { return };
    let [app, library] = pair("1.0.2");
    let both = vec![("app.rpm", app.clone()), ("libapp.rpm", library)];
    let no_way_back = ReasonCode::CannotRollBack;
    case.is_refused("no way back", both, no_way_back, "app 1.0.1-1 is installed, and neither").await;
    let [old_app, _] = pair("1.0.1");
    let half = vec![("app.rpm", app), ("old-app.rpm", old_app)];
    case.is_refused("half of it", half, ReasonCode::InstallFailed, "libapp = 1.0.2").await;
    let thief = Rpm::new("thief", "1").file("/etc/by", "mine").bytes();
    case.is_refused("another's file", vec![("thief.rpm", thief)], ReasonCode::Conflict, "bystander").await;
    let taker = Rpm::new("taker", "1").field("Obsoletes: bystander").bytes();
    case.is_refused("another's place", vec![("taker.rpm", taker)], ReasonCode::Conflict, "bystander").await;
    let settled = case.apply(with_old("1.0.2", "1.0.1")).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(packages(&case.root()), "app 1.0.2-1 noarch\nbystander 7-1 noarch\nlibapp 1.0.2-1 noarch");
}

#[tokio::test]
async fn hostile_packages_are_refused_by_name_and_touch_nothing() {
    let Some(mut case) = Case::new().await else { return };
    let hostile = |line: &str, has: &str| Rpm::new("hostile", "1").making(line).having(has).bytes();
    let mut changed = Rpm::new("hostile", "1").file("/etc/hostile", "x").bytes();
    let last = changed.len() - 8;
    changed[last] ^= 1;
    for (what, bytes, evidence) in [
        ("setuid", hostile("touch $B/su", "%attr(4755,root,root) /su"), "setuid"),
        ("setgid", hostile("touch $B/sg", "%attr(2755,root,root) /sg"), "setuid"),
        ("capabilities", hostile("touch $B/cap", "%caps(cap_net_raw=ep) /cap"), "capabilities"),
        ("a pipe", hostile("mkfifo $B/pipe", "/pipe"), "named pipe"),
        ("noise", vec![7; 4096], "hostile.rpm"),
        ("cut", Rpm::new("hostile", "1").bytes()[..700].to_vec(), "hostile.rpm"),
        ("a byte changed", changed, "hostile.rpm"),
    ] {
        case.is_refused(what, vec![("hostile.rpm", bytes)], ReasonCode::ArchiveUnsafe, evidence).await;
    }
}

/// One brings the way, the other what goes along it: rpm would follow the link that it has just made.
#[tokio::test]
async fn no_package_goes_through_a_link_that_another_one_brings() {
    let Some(mut case) = Case::new().await else { return };
    let outside = tempfile::tempdir().unwrap();
    let check = canary(&outside.path().join("canary"));
    let way = Rpm::new("away", "1").making(&format!("ln -s {} $B/way", outside.path().display())).having("/way");
    let along = Rpm::new("hostile", "1").field("Requires: away").file("/way/canary", "x");
    let both = vec![("away.rpm", way.bytes()), ("hostile.rpm", along.bytes())];
    case.is_refused("through another's link", both, ReasonCode::ArchiveUnsafe, "no directory").await;
    check();
}

/// Packages that `rpmbuild` does not make: their headers were altered, and their digests made right again.
#[tokio::test]
async fn altered_packages_are_refused_by_name_and_touch_nothing() {
    let Some(mut case) = Case::new().await else { return };
    let outside = tempfile::tempdir().unwrap();
    let check = canary(&outside.path().join("canary"));
    let honest = Rpm::new("hostile", "1")
        .file("/dir0/first", "x")
        .file("/dir0/secnd", "x")
        .making("ln -s /etc $B/link; chmod 0604 $B/dir0/first")
        .having("/link")
        .bytes();
    let mode = |of: u16| [&of.to_be_bytes()[..], &0o100_644_u16.to_be_bytes()].concat();
    let was = mode(0o100_604);
    let device = |kind: u16| mode(kind | 0o604);
    for (what, from, to, evidence) in [
        ("climbs", &b"/dir0/"[..], &b"/../0/"[..], "`..`"),
        ("relative", b"/dir0/", b"adir0/", "no name"),
        ("through its own link", b"/dir0/", b"/link/", "no directory"),
        ("twice", b"secnd", b"first", "twice"),
        ("not UTF-8", b"secnd", b"s\xff\xfend", "not UTF-8"),
        ("escape sequence", b"secnd", b"s\x1b[2J", "control characters"),
        ("a name that is a path", b"secnd", b"../..", "`..`"),
        ("character device", &was, &device(0o020_000), "character device"),
        ("block device", &was, &device(0o060_000), "block device"),
        ("named pipe", &was, &device(0o010_000), "named pipe"),
        ("setuid", &was, &device(0o104_000), "setuid"),
    ] {
        let altered = vec![("hostile.rpm", rpm::altered(&honest, from, to))];
        case.is_refused(what, altered, ReasonCode::ArchiveUnsafe, evidence).await;
        check();
    }
}

#[tokio::test]
async fn capabilities_are_kept_and_not_added_to() {
    let Some(mut case) = Case::new().await else { return };
    let ping = |version: &str, capabilities: &str| {
        let ping = Rpm::new("ping", version).making(&format!("echo {version} > $B/ping"));
        ping.having(&format!("%attr(0755,root,root) %caps({capabilities}) /ping")).bytes()
    };
    let old = ping("1", "cap_net_raw,cap_net_admin=ep");
    assert!(install(&case.root(), std::slice::from_ref(&old)));
    let with_old = |new: Vec<u8>| vec![("ping.rpm", new), ("old-ping.rpm", old.clone())];
    let more = with_old(ping("2", "cap_net_raw,cap_sys_admin=ep"));
    case.is_refused("more", more, ReasonCode::ArchiveUnsafe, "has more capabilities than it has here").await;
    let settled = case.apply(with_old(ping("2", "cap_net_raw=p"))).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

/// Somebody put one in the place of a program that is longer than anybody reads in the time there is.
#[tokio::test]
async fn a_file_that_is_not_read_to_its_end_is_no_reason_to_wait_for_ever() {
    let Some(mut case) = Case::new().await else { return };
    let app = case.root().join("usr/bin/app");
    let length = 15 << 30;
    fs::OpenOptions::new().write(true).open(&app).unwrap().set_len(length).unwrap();
    case.endpoint.configure("[installers]\nprepare_deadline_ms = 1000\n");
    let settled = case.apply(with_old("1.0.2", "1.0.1")).await;
    let reason = settled.reason.clone().unwrap();
    assert_eq!((settled.outcome, reason.code), (Outcome::Refused, ReasonCode::InstallFailed), "{settled}");
    assert!(reason.detail.as_str().contains("was not over after"), "{settled}");
    assert_eq!(fs::metadata(&app).unwrap().len(), length);
    assert!(!case.endpoint.open().installer.is_interrupted());
}

#[tokio::test]
async fn what_people_changed_is_kept_and_comes_back_changed() {
    let Some(mut case) = Case::new().await else { return };
    let conf = case.root().join("etc/app/app.conf");
    fs::write(&conf, "mine\n").unwrap();
    fs::write(case.root().join("usr/share/app/secret"), "changed by hand").unwrap();
    fs::remove_file(case.root().join("usr/bin/also-app")).unwrap();
    let before = case.snapshot();
    let patch = case.patch(with_old("1.0.2", "1.0.1"));
    assert!(child(&case.endpoint, Some(patch), AFTER_PUT).await);
    assert!(packages(&case.root()).contains("app 1.0.2-1"));
    let mut site = case.endpoint.open();
    assert_eq!(site.recover().await.unwrap().unwrap().outcome, Outcome::RolledBack);
    drop(site);
    case.is(&before, "taken back");

    let settled = case.apply(with_old("1.0.2", "1.0.1")).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "mine\n");
    let logs = fs::read_dir(case.endpoint.data().join("logs")).unwrap().map(|entry| entry.unwrap().path());
    let log = fs::read_to_string(logs.max().unwrap()).unwrap();
    for told in [
        "/etc/app/app.conf was changed on this host and is kept; the package's is /etc/app/app.conf.rpmnew",
        "/usr/share/app/secret was changed on this host, and is replaced",
    ] {
        assert!(log.contains(told), "{log}");
    }
}

#[tokio::test]
async fn what_people_change_while_an_update_is_prepared_is_not_lost() {
    let Some(mut case) = Case::new().await else { return };
    let patch = case.patch(with_old("1.0.2", "1.0.1"));
    let edited = case.root().join("usr/share/app/secret");
    let by_hand = edited.clone();
    let site = case.endpoint.open_observed(Box::new(move |moment, record| {
        if moment == Moment::After && *record == Record::Switching {
            fs::write(&by_hand, "by hand").unwrap();
        }
    }));
    hear(&site).await;
    let settled = Worker::new(site).apply(&patch.to_string(), None).await.unwrap();
    assert_eq!(settled.outcome, Outcome::Refused, "{settled}");
    assert!(settled.to_string().contains("/usr/share/app/secret was changed meanwhile"), "{settled}");
    assert_eq!(fs::read_to_string(&edited).unwrap(), "by hand");
}

/// A package with a log that is its own by name only, and that somebody writes all the time.
fn logging(version: &str) -> Vec<u8> {
    Rpm::new("logging", version)
        .file("/usr/share/logging", version)
        .making("mkdir -p $B/var/log/logging; touch $B/var/log/logging/log")
        .having("%dir /var/log/logging\n%ghost /var/log/logging/log")
        .bytes()
}

#[tokio::test]
async fn a_log_that_is_written_all_the_time_stops_no_update_and_no_way_back() {
    let Some(mut case) = Case::new().await else { return };
    assert!(install(&case.root(), &[logging("1")]));
    let (program, log) = (case.root().join("usr/share/logging"), case.root().join("var/log/logging/log"));
    fs::write(&log, "before\n").unwrap();
    let artifacts = || vec![("logging.rpm", logging("2")), ("old-logging.rpm", logging("1"))];

    // Taken back after it was in place: the old program, and the log as it was written since.
    let patch = case.patch(artifacts());
    assert!(child(&case.endpoint, Some(patch), AFTER_PUT).await);
    assert_eq!(fs::read_to_string(&program).unwrap(), "2");
    fs::write(&log, "before\nput\n").unwrap();
    let mut site = case.endpoint.open();
    let settled = site.recover().await.unwrap().unwrap();
    assert_eq!(settled.outcome, Outcome::RolledBack, "{settled}");
    drop(site);
    assert_eq!(fs::read_to_string(&program).unwrap(), "1");
    assert_eq!(fs::read_to_string(&log).unwrap(), "before\nput\n");

    // Written between preparing and putting in place, and replaced by a longer one.
    let patch = case.patch(artifacts());
    let written = log.clone();
    let site = case.endpoint.open_observed(Box::new(move |moment, record| {
        if moment == Moment::After && *record == Record::Switching {
            fs::write(&written, "before\nput\nmeanwhile\n").unwrap();
        }
    }));
    hear(&site).await;
    let settled = Worker::new(site).apply(&patch.to_string(), None).await.unwrap();
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    assert_eq!(fs::read_to_string(&program).unwrap(), "2");
    assert_eq!(fs::read_to_string(&log).unwrap(), "before\nput\nmeanwhile\n");
}

/// Whoever owns a directory of a package may give what is in it the names that rpm gives what it leaves.
#[tokio::test]
async fn a_directory_named_like_what_rpm_leaves_stops_no_way_back() {
    let Some(mut case) = Case::new().await else { return };
    fs::create_dir(case.root().join("usr/bin/app;6560a1b2")).unwrap();
    let before = case.snapshot();
    let patch = case.patch(with_old("1.0.2", "1.0.1"));
    assert!(child(&case.endpoint, Some(patch), AFTER_PUT).await);
    // Longer than anybody can read, and not what was there.
    fs::File::create(case.root().join("etc/app/app.conf.rpmnew")).unwrap().set_len(1 << 43).unwrap();
    let mut site = case.endpoint.open();
    let settled = site.recover().await.unwrap().unwrap();
    assert_eq!(settled.outcome, Outcome::RolledBack, "{settled}");
    drop(site);
    case.is(&before, "taken back");
}

/// What a killed rpm leaves: one package twice, one not at all, files under names of its own, others gone.
#[tokio::test]
async fn what_a_killed_rpm_left_is_noticed_and_taken_back() {
    let Some(mut case) = Case::new().await else { return };
    let before = case.snapshot();
    let patch = case.patch(with_old("1.0.2", "1.0.1"));
    assert!(child(&case.endpoint, Some(patch), AFTER_PUT).await);
    let root = case.root();
    let rpm = |arguments: &[&str]| {
        let mut command = std::process::Command::new("rpm");
        command.arg("--root").arg(&root).args(["--dbpath", "/var/lib/rpm"]).args(arguments).env("HOME", "/");
        assert!(command.output().unwrap().status.success(), "{arguments:?}");
    };
    let room = tempfile::tempdir().unwrap();
    let old = room.path().join("app.rpm");
    fs::write(&old, &pair("1.0.1")[0]).unwrap();
    rpm(&["--install", "--justdb", "--nodeps", "--force", old.to_str().unwrap()]);
    rpm(&["--erase", "--justdb", "--nodeps", "libapp"]);
    fs::write(root.join("usr/bin/app;6560a1b2"), "half").unwrap();
    fs::remove_file(root.join("usr/lib/libapp.so.1.0.2")).unwrap();
    assert_eq!(packages(&root), "app 1.0.1-1 noarch\napp 1.0.2-1 noarch\nbystander 7-1 noarch");
    let mut site = case.endpoint.open();
    let settled = site.recover().await.unwrap().unwrap();
    assert_eq!(settled.outcome, Outcome::RolledBack, "{settled}");
    drop(site);
    case.is(&before, "taken back");
}

#[tokio::test]
async fn somebody_elses_packages_are_not_guessed_at() {
    let Some(mut case) = Case::new().await else { return };
    let patch = case.patch(with_old("1.0.2", "1.0.1"));
    assert!(child(&case.endpoint, Some(patch), AFTER_PUT).await);
    assert!(install(&case.root(), &pair("1.0.9")) && install(&case.root(), &[bystander("8")]));
    let before = case.snapshot();
    let mut site = case.endpoint.open();
    let settled = site.recover().await.unwrap().unwrap();
    assert_eq!((settled.outcome, settled.to_version.as_str()), (Outcome::Failed, "1.0.9-1"), "{settled}");
    assert!(settled.to_string().contains("app is 1.0.9-1"), "{settled}");
    assert!(!site.installer.is_interrupted(), "what a person decided blocks nothing");
    drop(site);
    case.is(&before, "left as it is");
}

#[tokio::test]
async fn whoever_works_with_packages_is_waited_for() {
    let Some(mut case) = Case::new().await else { return };
    case.endpoint = {
        let config = case.bench.config().replace("lock_wait_ms = 20000", "lock_wait_ms = 100");
        Endpoint::new(&case.world, &[&case._node], &config).patient()
    };
    let held = crate::debian::held_by_another(&case.root().join(DATABASE).join(".rpm.lock"));
    let evidence = "somebody else works with packages";
    case.is_refused("locked", with_old("1.0.2", "1.0.1"), ReasonCode::InstallFailed, evidence).await;
    drop(held);
    let settled = case.apply(with_old("1.0.2", "1.0.1")).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

/// A script that fails: rpm leaves that package out, or counts it as installed, and says so in passing.
#[tokio::test]
async fn what_rpm_leaves_half_done_is_taken_back() {
    let Some(mut case) = Case::new().await else { return };
    for section in ["pre -p <lua>", "post -p <lua>"] {
        let before = case.snapshot();
        let failing = Rpm::new("failing", "1").file("/etc/failing", "x").script(section, "error('no')").bytes();
        let [app, library] = pair("1.0.2");
        let [old_app, old_library] = pair("1.0.1");
        let artifacts = vec![
            ("failing.rpm", failing),
            ("app.rpm", app),
            ("libapp.rpm", library),
            ("old-app.rpm", old_app),
            ("old-libapp.rpm", old_library),
        ];
        case.release += 1;
        let artifacts = artifacts.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let patch = approved_set(&case.world, case.release, InstallerKind::Rpm, artifacts, |manifest| {
            manifest.health = List::new(vec![says("/usr/bin/true", "never")]).unwrap();
        });
        let settled = case.endpoint.apply(patch).await;
        assert_eq!(settled.outcome, Outcome::RolledBack, "{section}: {settled}");
        case.is(&before, section);
    }
}
