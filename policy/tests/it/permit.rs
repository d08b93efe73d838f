//! May this patch go onto this host now?

use ledger::bounded::{List, Name, Product, SortedList, Text, Version};
use ledger::id::Digest;
use ledger::limits;
use ledger::patch::{
    Artifact, Class, HealthCheck, InstallerKind, Label, PatchManifest, PayloadEncoding, Probe, Reboot, Relation,
    Severity, Target,
};
use ledger::receipt::{self, Outcome, ReasonCode};
use policy::{Commands, Host, Installed, Offered, Pause, Policy, Reason, Restart, Subscription};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NOW_MS: u64 = 1_000_000;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn product(text: &str) -> Product {
    Product::new(text).unwrap()
}

fn names<const N: usize>(texts: [&str; N]) -> SortedList<Name, { limits::SELECTOR_VALUES_MAX }> {
    let mut names = texts.map(name).to_vec();
    names.sort();
    SortedList::new(names).unwrap()
}

fn label(value: &str) -> Label {
    Label { key: name("site"), value: name(value) }
}

fn installed(release: u64) -> Installed {
    Installed { release, version: Version::new(format!("1.0.{release}")).unwrap() }
}

/// Release 5 of the widget, for every host.
fn manifest() -> PatchManifest {
    PatchManifest {
        product: product("acme/widget"),
        channel: name("stable"),
        version: Version::new("1.0.5").unwrap(),
        release: 5,
        class: Class::Security,
        severity: Severity::Important,
        advisories: SortedList::default(),
        title: ledger::bounded::Sentence::cut("widget 1.0.5"),
        notes: ledger::bounded::Text::cut(""),
        targets: List::default(),
        depends: SortedList::default(),
        conflicts: SortedList::default(),
        supersedes: SortedList::default(),
        installer: InstallerKind::DirectoryTree,
        artifacts: List::new(vec![Artifact {
            name: name("tree.tar"),
            size: 1,
            blake3: Digest::ZERO,
            sha256: Digest::ZERO,
            encoding: PayloadEncoding::Identity,
            delta_from: None,
        }])
        .unwrap(),
        services: SortedList::default(),
        health: List::default(),
        reboot: Reboot::Never,
    }
}

/// Follows the widget, has release 4 of it.
fn host() -> Host {
    Host {
        os: name("linux"),
        architecture: name("x86_64"),
        hardware: [name("board-7"), name("board-8")].into(),
        labels: [label("hamburg")].into(),
        installed: [((product("acme/widget"), name("stable")), installed(4))].into(),
        installers: [(InstallerKind::DirectoryTree, Offered::Yes)].into(),
        awake_since_ms: 0,
        due_since_ms: BTreeMap::new(),
    }
}

fn policy() -> Policy {
    let widget = Subscription { product: product("acme/widget"), channel: name("stable") };
    Policy { subscriptions: [widget].into(), ..Policy::default() }
}

fn decide(change: impl FnOnce(&mut Policy, &mut PatchManifest, &mut Host)) -> Result<(), Reason> {
    let (mut policy, mut manifest, mut host) = (policy(), manifest(), host());
    change(&mut policy, &mut manifest, &mut host);
    policy.check(&manifest, &host, NOW_MS)
}

fn targets(targets: Vec<Target>) -> impl FnOnce(&mut Policy, &mut PatchManifest, &mut Host) {
    |_, manifest, _| manifest.targets = List::new(targets).unwrap()
}

/// The important widget, which needs a restart, in a house with this policy.
pub(crate) fn with_restart(house: Policy, now_ms: u64) -> Result<(), Reason> {
    let manifest = PatchManifest { reboot: Reboot::Required, ..manifest() };
    Policy { subscriptions: policy().subscriptions, ..house }.check(&manifest, &host(), now_ms)
}

/// The word, the outcome and the sentence of a decision against a patch.
fn refusal(decision: Result<(), Reason>) -> (ReasonCode, Outcome, String) {
    let reason = decision.expect_err("refused");
    (reason.code(), reason.outcome(), reason.to_string())
}

#[test]
fn what_fits_may_go_onto_the_host() {
    assert_eq!(decide(|_, _, _| {}), Ok(()));
    assert_eq!(decide(|_, _, host| host.installed = BTreeMap::new()), Ok(()), "a first installation");
}

#[test]
fn only_what_is_subscribed_to_by_product_and_channel() {
    let nothing = refusal(decide(|policy, _, _| policy.subscriptions = BTreeSet::new()));
    assert_eq!((nothing.0, nothing.1), (ReasonCode::Policy, Outcome::Refused));
    let channel = refusal(decide(|_, manifest, _| manifest.channel = name("beta")));
    assert!(channel.2.contains("acme/widget on channel beta"), "{}", channel.2);
    assert_eq!(refusal(decide(|_, manifest, _| manifest.product = product("acme/gadget"))).0, ReasonCode::Policy);
}

#[test]
fn a_pause_ends_at_its_time_and_not_before() {
    let paused =
        |until_ms| decide(|policy, _, _| policy.pause = Some(Pause { reason: "stock-taking".to_owned(), until_ms }));
    assert!(refusal(paused(None)).2.contains("paused: stock-taking"));
    assert_eq!(refusal(paused(Some(NOW_MS + 1))).0, ReasonCode::Policy);
    assert_eq!(paused(Some(NOW_MS)), Ok(()));
}

#[test]
fn one_selector_is_enough_and_every_part_of_it_must_match() {
    let os = Target { os: names(["linux", "plan9"]), ..Target::default() };
    let arm = Target { architectures: names(["arm7"]), ..Target::default() };
    let exact = Target {
        os: names(["linux"]),
        architectures: names(["x86_64"]),
        hardware: names(["board-8"]),
        labels: SortedList::new(vec![label("hamburg")]).unwrap(),
        from_versions: SortedList::new(vec![Version::new("1.0.4").unwrap()]).unwrap(),
    };
    assert_eq!(decide(targets(vec![os])), Ok(()));
    assert_eq!(decide(targets(vec![arm.clone(), exact.clone()])), Ok(()), "the second is for this host");

    let wrong = [
        (Target { os: names(["plan9"]), ..exact.clone() }, "os must be plan9, this host has linux"),
        (arm, "architecture must be arm7, this host has x86_64"),
        (
            Target { hardware: names(["board-9"]), ..exact.clone() },
            "hardware must be board-9, this host has board-7 or board-8",
        ),
        (
            Target { labels: SortedList::new(vec![label("kiel")]).unwrap(), ..exact.clone() },
            "label must be site=kiel, this host has site=hamburg",
        ),
        (
            Target { from_versions: SortedList::new(vec![Version::new("1.0.3").unwrap()]).unwrap(), ..exact },
            "from-version must be 1.0.3, this host has 1.0.4",
        ),
    ];
    for (target, evidence) in wrong {
        let (code, outcome, sentence) = refusal(decide(targets(vec![target])));
        assert_eq!((code, outcome), (ReasonCode::Target, Outcome::NotApplicable));
        assert!(sentence.contains(evidence), "{evidence:?} in {sentence:?}");
    }
}

#[test]
fn a_selector_by_version_is_not_for_a_host_that_has_none() {
    let update =
        Target { from_versions: SortedList::new(vec![Version::new("1.0.4").unwrap()]).unwrap(), ..Target::default() };
    let decision = decide(|policy, manifest, host| {
        targets(vec![update])(policy, manifest, host);
        host.installed = BTreeMap::new();
    });
    assert!(refusal(decision).2.contains("this host has none"));
}

#[test]
fn relations_look_at_every_channel_and_at_both_ends_of_their_range() {
    let gadget = |release_min, release_max| {
        SortedList::new(vec![Relation { product: product("acme/gadget"), release_min, release_max }]).unwrap()
    };
    let with_gadget = |host: &mut Host, release| {
        host.installed.insert((product("acme/gadget"), name("beta")), installed(release));
    };
    let depends = |found: Option<u64>| {
        decide(|_, manifest, host| {
            manifest.depends = gadget(3, 9);
            found.into_iter().for_each(|release| with_gadget(host, release));
        })
    };
    for (found, fits) in [(2, false), (3, true), (9, true), (10, false)] {
        assert_eq!(depends(Some(found)).is_ok(), fits, "needs 3 to 9, has {found}");
        let conflict = decide(|_, manifest, host| {
            manifest.conflicts = gadget(3, 9);
            with_gadget(host, found);
        });
        assert_eq!(conflict.is_err(), fits, "must not have 3 to 9, has {found}");
        conflict.err().into_iter().for_each(|reason| assert_eq!(reason.code(), ReasonCode::Conflict));
    }
    let (code, _, sentence) = refusal(depends(None));
    assert_eq!(code, ReasonCode::DependencyMissing);
    assert_eq!(sentence, "needs acme/gadget releases 3 to 9, none is installed");
    assert!(refusal(depends(Some(2))).2.ends_with("installed: 2 (1.0.2)"));
}

#[test]
fn a_host_installs_only_what_it_has_an_installer_for() {
    let debian = refusal(decide(|_, manifest, _| manifest.installer = InstallerKind::Debian));
    assert_eq!((debian.0, debian.1), (ReasonCode::InstallerMissing, Outcome::Refused));
    assert!(debian.2.contains("Debian packages"));
    let lacking = refusal(decide(|_, manifest, host| {
        manifest.installer = InstallerKind::Rpm;
        host.installers.insert(InstallerKind::Rpm, Offered::No("there is no rpm here".to_owned()));
    }));
    assert_eq!(lacking.2, "this host has no installer for RPM packages: there is no rpm here");
    let restart = |restart, reboot| {
        decide(|policy, manifest, _| {
            policy.restart = restart;
            manifest.reboot = reboot;
        })
    };
    assert_eq!(refusal(restart(Restart::Never, Reboot::Required)).0, ReasonCode::Policy);
    assert_eq!(restart(Restart::Never, Reboot::IfNeeded), Ok(()));
    for may in [Restart::Window, Restart::Now] {
        assert_eq!(restart(may, Reboot::Required), Ok(()));
    }
    let delta = decide(|_, manifest, _| {
        let artifact = Artifact { delta_from: Some(Digest::ZERO), ..manifest.artifacts[0].clone() };
        manifest.artifacts = List::new(vec![artifact]).unwrap();
    });
    assert_eq!(refusal(delta).0, ReasonCode::InstallerMissing);
}

/// What a vendor signs into a manifest is run with all that the agent may do; a house that does not want that says so.
#[test]
fn a_house_that_runs_no_commands_of_manifests_takes_no_patch_that_brings_one() {
    let asks = |commands, kind: InstallerKind, probe: Probe| {
        decide(|policy, manifest, host| {
            policy.commands = commands;
            host.installers.insert(kind, Offered::Yes);
            manifest.installer = kind;
            let check = HealthCheck { probe, timeout_ms: 1, attempts: 1, interval_ms: 1 };
            manifest.health = List::new(vec![check]).unwrap();
        })
    };
    let command =
        || Probe::Command { arguments: List::new(vec![Text::new("/bin/true").unwrap()]).unwrap(), expect: None };
    let refused = refusal(asks(Commands::Refused, InstallerKind::FileSet, command()));
    assert_eq!((refused.0, refused.1), (ReasonCode::Policy, Outcome::Refused));
    assert!(
        refused.2.contains("1 of its own commands") && refused.2.contains("health.manifest_commands"),
        "{}",
        refused.2
    );
    assert_eq!(asks(Commands::Run, InstallerKind::FileSet, command()), Ok(()));
    assert_eq!(asks(Commands::Refused, InstallerKind::Container, command()), Ok(()), "it runs inside");
    assert_eq!(asks(Commands::Refused, InstallerKind::FileSet, Probe::Tcp { port: Text::new("80").unwrap() }), Ok(()));
}

#[test]
fn a_receipt_carries_the_word_and_the_sentence() {
    let reason = decide(|_, manifest, _| manifest.release = 4).unwrap_err();
    let written = receipt::Reason::from(&reason);
    assert_eq!(written.code, ReasonCode::Downgrade);
    assert_eq!(written.detail.as_str(), "release 4 is not above release 4 (1.0.4), which is installed");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn releases_only_grow(offered in 0u64..100, has in 0u64..100) {
        let decision = decide(|_, manifest, host| {
            manifest.release = offered;
            host.installed = [((product("acme/widget"), name("stable")), installed(has))].into();
        });
        prop_assert_eq!(decision.is_ok(), offered > has);
        prop_assert!(decision.err().is_none_or(|reason| reason.code() == ReasonCode::Downgrade));
    }

    #[test]
    fn another_channel_holds_nothing_up(has in 0u64..100) {
        let decision = decide(|_, _, host| {
            host.installed = [((product("acme/widget"), name("beta")), installed(has))].into();
        });
        prop_assert_eq!(decision, Ok(()));
    }
}
