//! The units of `systemd` that come with the programs: well formed, and closed as far as is promised, by the word of
//! `systemd-analyze` itself, which needs no running `systemd`.

#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What `systemd-analyze security` may find at most, of ten.
const EXPOSURE_MAX: f64 = 3.0;
/// The same of an agent that begins containers: to make namespaces and mounts takes most of what root has.
const EXPOSURE_OF_CONTAINERS_MAX: f64 = 5.0;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A host with a unit, its drop-in files, and the programs that units here start.
fn host(unit: &str, dropped_in: &[&str]) -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    let (units, bin) = (host.path().join("etc/systemd/system"), host.path().join("usr/local/bin"));
    let name = Path::new(unit).file_name().unwrap().to_str().unwrap();
    let beside = units.join(format!("{name}.d"));
    for directory in [&units, &bin, &beside] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::copy(root().join(unit), units.join(name)).unwrap();
    for file in dropped_in {
        fs::copy(root().join(file), beside.join(Path::new(file).file_name().unwrap())).unwrap();
    }
    // What a real host has of its own.
    for target in ["sysinit", "basic", "shutdown", "multi-user", "network-online", "time-sync"] {
        fs::write(units.join(format!("{target}.target")), "[Unit]\n").unwrap();
    }
    for slice in ["system", "-"] {
        fs::write(units.join(format!("{slice}.slice")), "[Unit]\n").unwrap();
    }
    for program in ["countersign-agent", "countersign-node"] {
        fs::write(bin.join(program), "").unwrap();
        fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    host
}

fn analyze(host: &Path, words: &[&str], unit: &str) -> Output {
    let name = Path::new(unit).file_name().unwrap();
    let root = format!("--root={}", host.display());
    Command::new("systemd-analyze").env("LC_ALL", "C").arg(root).args(words).arg(name).output().unwrap()
}

/// Whether units can be read here; says so if not.
fn has_systemd_analyze() -> bool {
    let has = Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has {
        tests::left_out(&["systemd-analyze"], "no systemd-analyze on this machine");
    }
    has
}

fn exposure(host: &Path, unit: &str) -> f64 {
    let output = analyze(host, &["security", "--offline=true", "--no-pager"], unit);
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, level) = text.split_once("Overall exposure level for ").unwrap_or_else(|| panic!("no level in {text}"));
    level.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn units_are_well_formed_and_closed() {
    if !has_systemd_analyze() {
        return;
    }
    let agent = "agent/systemd/countersign-agent.service";
    let node = "node/systemd/countersign-node.service";
    for (unit, dropped_in, exposure_max) in [
        (agent, &[][..], EXPOSURE_MAX),
        (agent, &["agent/systemd/packages.conf"], EXPOSURE_MAX),
        (agent, &["agent/systemd/images.conf"], EXPOSURE_MAX),
        (agent, &["agent/systemd/sealed.conf"], EXPOSURE_MAX),
        (agent, &["agent/systemd/containers.conf"], EXPOSURE_OF_CONTAINERS_MAX),
        (node, &[], EXPOSURE_MAX),
    ] {
        let host = host(unit, dropped_in);
        let verified = analyze(host.path(), &["verify", "--man=no"], unit);
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && said.is_empty(), "{unit} with {dropped_in:?}: {said}");
        let exposure = exposure(host.path(), unit);
        println!("{unit} with {dropped_in:?}: exposure {exposure}");
        assert!(exposure <= exposure_max, "{unit} with {dropped_in:?}: exposure {exposure}");
    }
}

/// What the unit may call, of what the analysis asks about.
fn allowed_calls(dropped_in: &[&str]) -> BTreeSet<String> {
    let unit = "agent/systemd/countersign-agent.service";
    let host = host(unit, dropped_in);
    let output = analyze(host.path(), &["security", "--offline=true", "--no-pager"], unit);
    let text = String::from_utf8(output.stdout).unwrap();
    let asked = text.lines().filter(|line| line.contains("SystemCallFilter=~@"));
    // Marked with a tick, or a plus sign where there is none, is what the unit may not call.
    let allowed = asked.clone().filter(|line| !line.trim_start().starts_with(['✓', '+']));
    assert!(asked.count() > 5, "{text}");
    let group =
        |line: &str| line.split_whitespace().find(|word| word.starts_with("SystemCallFilter=")).map(str::to_owned);
    allowed.filter_map(group).collect()
}

/// A host may install packages, run containers, and have a sealed key and slots for images.
#[test]
fn what_one_addition_to_the_unit_allows_no_other_takes_away() {
    if !has_systemd_analyze() {
        return;
    }
    let all = ["containers", "images", "packages", "sealed"].map(|name| format!("agent/systemd/{name}.conf"));
    let together = allowed_calls(&all.each_ref().map(String::as_str));
    assert!(together.contains("SystemCallFilter=~@mount"), "{together:?}");
    for one in &all {
        let alone = allowed_calls(&[one]);
        assert!(alone.is_subset(&together), "{one}: {alone:?}, {together:?}");
    }
}

/// An analysis that finds nothing wrong with anything would show nothing.
#[test]
fn a_unit_with_an_unknown_word_or_without_walls_is_noticed() {
    if !has_systemd_analyze() {
        return;
    }
    let unit = "agent/systemd/countersign-agent.service";
    let host = host(unit, &[]);
    let open = "[Service]\nProtectSystem=no\nCapabilityBoundingSet=~\nNoNewPrivileges=no\nPrivateDevices=no\n";
    let beside = host.path().join("etc/systemd/system/countersign-agent.service.d");
    fs::write(beside.join("open.conf"), open).unwrap();
    assert!(exposure(host.path(), unit) > EXPOSURE_MAX);
    fs::write(beside.join("open.conf"), "[Service]\nProtectSystme=strict\n").unwrap();
    let said = analyze(host.path(), &["verify", "--man=no"], unit).stderr;
    assert!(String::from_utf8_lossy(&said).contains("ProtectSystme"), "{}", String::from_utf8_lossy(&said));
}
