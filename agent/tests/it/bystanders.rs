//! Others on the host, where Debian packages meet them: packages the patch does not name, people who edit files or
//! install packages meanwhile, and disks of their own.

use crate::crash::child;
use crate::debian::{Case, with_old};
use crate::support::archive::Archive;
use crate::support::bench::{Packages, differences};
use crate::support::debian::{Deb, dpkg, dpkg_install, pair};
use crate::support::disk::Mount;
use crate::support::endpoint::{approved_set, hear, says};
use crate::support::left_out;
use agent::installer::journal::{Moment, Observer, Record};
use agent::worker::Worker;
use ledger::bounded::List;
use ledger::id::PatchId;
use ledger::patch::InstallerKind;
use ledger::receipt::{Health, Outcome, ReasonCode};
use std::fs;
use std::process::Command;

#[tokio::test]
async fn what_belongs_to_another_package_is_not_taken_over() {
    let Some(mut case) = Case::<Packages>::bare("").await else { return };
    let by = |more: bool| {
        let data = Archive::new().directory("./etc/").file("./etc/by", "7");
        Deb::new("bystander", "7").data(if more { data.file("./etc/by-too", "7") } else { data }).bytes()
    };
    let conflict = (Outcome::Refused, ReasonCode::Conflict);
    for (what, more) in [("of its files one", true), ("all of its files", false)] {
        assert!(dpkg_install(&case.root(), &[by(more)]));
        let taker = || {
            let data = Archive::new().directory("./etc/").file("./etc/by", "mine");
            Deb::new("taker", "1").field("Replaces: bystander").data(data).bytes()
        };
        let evidence = "/etc/by belongs to bystander";
        case.comes_to_nothing(what, vec![("taker.deb", taker())], conflict, evidence).await;
    }
    // What was told to make way goes elsewhere, and comes back from there.
    let divert = Command::new("dpkg-divert")
        .args(["--root", case.root().to_str().unwrap(), "--local", "--no-rename", "--divert", "/etc/mine.aside"])
        .args(["--add", "/etc/mine"])
        .output()
        .unwrap();
    assert!(divert.status.success(), "{divert:?}");
    let before = case.snapshot();
    let data = Archive::new().directory("./etc/").file("./etc/mine", "mine");
    let artifacts = vec![("mine.deb".to_owned(), Deb::new("mine", "1").data(data).bytes())];
    for (release, expected, outcome) in [(50, "never", Outcome::RolledBack), (51, "mine", Outcome::Applied)] {
        let patch = approved_set(&case.world, release, InstallerKind::Debian, artifacts.clone(), |manifest| {
            manifest.health = List::new(vec![says("/usr/bin/cat {tree}/etc/mine.aside", expected)]).unwrap();
        });
        let settled = case.endpoint.apply(patch).await;
        assert_eq!(settled.outcome, outcome, "{settled}");
        let differences = differences(&before, &case.snapshot());
        assert_eq!(differences.is_empty(), outcome == Outcome::RolledBack, "{differences:#?}");
    }
}

#[tokio::test]
async fn all_that_a_trial_says_is_heard() {
    let Some(mut case) = Case::<Packages>::bare("").await else { return };
    let greedy = Deb::new("greedy", "1").field("Conflicts: bystander").field("Replaces: bystander").bytes();
    let fillers: Vec<(String, Vec<u8>)> = (0..60)
        .map(|place| format!("filler{place}"))
        .map(|name| (format!("{name}.deb"), Deb::new(&name, "1").bytes()))
        .collect();
    let mut artifacts = vec![("greedy.deb", greedy)];
    artifacts.extend(fillers.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    case.comes_to_nothing("at the beginning", artifacts, (Outcome::Refused, ReasonCode::Conflict), "bystander").await;
}

/// An observer that does something when a record has been written.
fn when(at: fn(&Record) -> bool, act: impl Fn() + Send + Sync + 'static) -> Observer {
    Box::new(move |moment, record| {
        if moment == Moment::After && at(record) {
            act();
        }
    })
}

#[tokio::test]
async fn what_people_change_while_an_update_is_prepared_is_not_lost() {
    let Some(mut case) = Case::new().await else { return };
    for path in ["etc/app/app.conf", "usr/share/app/secret"] {
        let patch = case.patch(with_old("1.0.2", "1.0.1"));
        let edited = case.root().join(path);
        let by_hand = edited.clone();
        let observer = when(|record| *record == Record::Switching, move || fs::write(&by_hand, "by hand\n").unwrap());
        let site = case.endpoint.open_observed(observer);
        hear(&site).await;
        let settled = Worker::new(site).apply(&patch.to_string(), None).await.unwrap();
        assert_eq!(settled.outcome, Outcome::Refused, "{settled}");
        assert!(settled.to_string().contains(&format!("/{path} was changed meanwhile")), "{settled}");
        assert_eq!(fs::read_to_string(&edited).unwrap(), "by hand\n");
    }
    // What was changed before is said, and only then replaced.
    let settled = case.apply(with_old("1.0.2", "1.0.1")).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    let logs = fs::read_dir(case.endpoint.data().join("logs")).unwrap().map(|entry| entry.unwrap().path());
    let log = fs::read_to_string(logs.max().unwrap()).unwrap();
    assert!(log.contains("/usr/share/app/secret was changed on this host, and is replaced"), "{log}");
}

#[tokio::test]
async fn somebody_elses_packages_are_not_guessed_at() {
    let Some(mut case) = Case::new().await else { return };
    let after_put = 7;
    // Somebody installs yet another version while the new one is not judged.
    let patch = case.patch(with_old("1.0.2", "1.0.1"));
    assert!(child(&case.endpoint, Some(patch), after_put).await);
    assert!(dpkg_install(&case.root(), &pair("1.0.9")));
    let mut before = case.snapshot();
    let all = before.len();
    before.retain(|path, _| !path.contains(".countersign-"));
    assert!(before.len() < all, "room is kept for going back");
    let mut site = case.endpoint.open();
    let settled = site.recover().await.unwrap().unwrap();
    assert_eq!((settled.outcome, settled.health), (Outcome::Failed, Health::NotRun), "{settled}");
    assert_eq!(settled.to_version.as_str(), "1.0.9", "what is there");
    assert!(settled.to_string().contains("app is 1.0.9"), "{settled}");
    assert!(!site.installer.is_interrupted(), "what a person decided blocks nothing");
    drop(site);
    let found = differences(&before, &case.snapshot());
    assert!(found.is_empty(), "{found:#?}");
    assert!(case.endpoint.installed().is_none(), "the patch is not what is installed");
    assert!(!holds(&case, patch), "its holding is gone");

    // Somebody changes another package: that is no matter of this update.
    assert!(dpkg_install(&case.root(), &pair("1.0.1")));
    let patch = case.patch(with_old("1.0.3", "1.0.1"));
    assert!(child(&case.endpoint, Some(patch), after_put).await);
    let newer = Deb::new("bystander", "8").data(Archive::new().directory("./etc/").file("./etc/by", "8"));
    assert!(dpkg_install(&case.root(), &[newer.bytes()]));
    let mut site = case.endpoint.open();
    let settled = site.recover().await.unwrap().unwrap();
    assert_eq!(settled.outcome, Outcome::RolledBack, "{settled}");
    assert_eq!(case.says("app"), "app:all 1.0.1 install ok installed");
    assert_eq!(case.says("bystander"), "bystander:all 8 install ok installed");
}

/// Whether anything is left of what was made of a patch.
fn holds(case: &Case<Packages>, patch: PatchId) -> bool {
    let (mut waiting, patch) = (vec![case.endpoint.data().join("installs")], patch.to_string());
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().contains(&patch) {
                return true;
            }
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    false
}

#[tokio::test]
async fn what_somebody_else_left_half_done_stays_open_until_it_is_whole() {
    let Some(mut case) = Case::new().await else { return };
    let ([app, _], [newest_app, newest_library]) = (pair("1.0.2"), pair("1.0.9"));
    let patch = case.patch(with_old("1.0.2", "1.0.1"));
    assert!(child(&case.endpoint, Some(patch), 7).await);
    // The patch's own program is unpacked only, its library is somebody else's.
    let file = case.endpoint.path("app.deb");
    fs::write(&file, app).unwrap();
    assert!(dpkg(&case.root(), &["--unpack", file.to_str().unwrap()]));
    let mut site = case.endpoint.open();
    for (package, evidence) in [
        (newest_library.clone(), "app is 1.0.2 (install ok unpacked); libapp is 1.0.9"),
        // Gone altogether may be on its way.
        (newest_library.clone(), "app is not installed, not 1.0.1 or 1.0.2: somebody else changed it"),
    ] {
        assert!(dpkg_install(&case.root(), &[package]));
        let before = case.snapshot();
        let settled = site.recover().await.unwrap().unwrap();
        assert_eq!((settled.outcome, settled.health), (Outcome::Failed, Health::NotRun), "{settled}");
        assert!(settled.to_string().contains(evidence), "{settled}");
        assert!(settled.to_string().contains("a person has to say what it shall be"), "{settled}");
        assert!(site.installer.is_interrupted() && site.installer.is_unfinished(), "{settled}");
        let found = differences(&before, &case.snapshot());
        assert!(found.is_empty() && holds(&case, patch), "{found:#?}");
        assert!(dpkg(&case.root(), &["--purge", "app"]));
    }
    // He has ended what he began.
    assert!(dpkg_install(&case.root(), &[newest_library, newest_app]));
    let settled = site.recover().await.unwrap().unwrap();
    assert_eq!((settled.outcome, settled.to_version.as_str()), (Outcome::Failed, "1.0.9"), "{settled}");
    assert!(!site.installer.is_interrupted(), "what a person decided blocks nothing");
    let left: Vec<_> = case.snapshot().into_keys().filter(|path| path.contains(".countersign-")).collect();
    assert!(left.is_empty() && !holds(&case, patch), "{left:?}");
}

#[tokio::test]
async fn what_must_be_there_before_comes_before_in_both_directions() {
    let Some(mut case) = Case::<Packages>::bare("").await else { return };
    // Named so that the one that needs the other comes first by name.
    let both = |version: &str| {
        let app = Deb::new("app", version).field(&format!("Pre-Depends: libapp (= {version})")).bytes();
        [app, Deb::new("libapp", version).bytes()]
    };
    let [app, library] = both("1");
    for package in [&library, &app] {
        assert!(dpkg_install(&case.root(), std::slice::from_ref(package)));
    }
    let before = case.snapshot();
    let [newer_app, newer_library] = both("2");
    let artifacts =
        [("app.deb", newer_app), ("libapp.deb", newer_library), ("old-app.deb", app), ("old-libapp.deb", library)];
    let named = |artifacts: &[(&str, Vec<u8>)]| {
        artifacts.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect::<Vec<_>>()
    };
    let sick = approved_set(&case.world, 1, InstallerKind::Debian, named(&artifacts), |manifest| {
        manifest.health = List::new(vec![says("/usr/bin/true", "never")]).unwrap();
    });
    let settled = case.endpoint.apply(sick).await;
    assert_eq!(
        (settled.outcome, settled.reason.as_ref().map(|why| why.code)),
        (Outcome::RolledBack, Some(ReasonCode::HealthFailed)),
        "{settled}"
    );
    let found = differences(&before, &case.snapshot());
    assert!(found.is_empty(), "{found:#?}");
    case.release = 1;
    assert_eq!(case.apply(artifacts.to_vec()).await.outcome, Outcome::Applied);
}

#[tokio::test]
async fn every_disk_an_update_needs_room_on_is_asked() {
    let Some(mut case) = Case::<Packages>::bare("").await else { return };
    let place = case.root().join("opt/app");
    let Some(_mount) = Mount::small(&place, 4) else { return left_out("only root may mount a small disk") };
    let data = Archive::new().directory("./opt/").directory("./opt/app/").file("./opt/app/large", &"x".repeat(6 << 20));
    let large = Deb::new("large", "1").data(data).bytes();
    let full = (Outcome::Refused, ReasonCode::DiskFull);
    case.comes_to_nothing("on a disk of its own", vec![("large.deb", large)], full, "opt/app has ").await;
}
