//! What scripts say to people whose machine lacks something: one error, one hint, and nothing half done.

#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Programs every script may count on.
const PLAIN: [&str; 7] = ["bash", "dirname", "sort", "head", "cut", "id", "ls"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A machine that has the plain programs and these, each a line of shell; these go before.
fn machine(programs: &[(&str, &str)]) -> tempfile::TempDir {
    let bin = tempfile::tempdir().unwrap();
    for name in PLAIN.into_iter().filter(|name| programs.iter().all(|(own, _)| own != name)) {
        let places = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(name));
        symlink(places.iter().find(|place| place.exists()).unwrap(), bin.path().join(name)).unwrap();
    }
    for (name, does) in programs {
        let program = bin.path().join(name);
        fs::write(&program, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    bin
}

fn setup(machine: &tempfile::TempDir) -> Output {
    Command::new(root().join("scripts/setup"))
        .env_clear()
        .env("PATH", machine.path())
        .env("HOME", machine.path())
        .output()
        .unwrap()
}

fn told(output: &Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

#[test]
fn setup_without_a_rust_toolchain_gives_the_command_that_gets_one() {
    let one_line = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && . \"$HOME/.cargo/env\"";
    assert_eq!(
        told(&setup(&machine(&[]))),
        ["error: no Rust toolchain (cargo, rustc) on PATH".to_owned(), format!("hint: {one_line}")]
    );
    let old = [("cargo", "true"), ("rustc", "echo 'rustc 1.70.0 (90c541806 2023-05-31)'")];
    let too_old = "error: Rust 1.70.0 is too old, 1.88 or newer is needed".to_owned();
    assert_eq!(told(&setup(&machine(&old))), [too_old.clone(), format!("hint: {one_line}")]);
    // Whoever has rustup renews with it.
    let with_rustup = [old[0], old[1], ("rustup", "true")];
    let renew = "hint: rustup toolchain install stable && rustup default stable".to_owned();
    assert_eq!(told(&setup(&machine(&with_rustup))), [too_old, renew]);
}

#[test]
fn setup_without_root_says_what_an_administrator_does() {
    let nobody = [("cargo", "true"), ("rustc", "echo 'rustc 1.99.0 (x)'"), ("id", "echo 1000")];
    let lines = told(&setup(&machine(&nobody)));
    assert_eq!(lines[0], "error: missing here, and no root to install it: build-essential python3");
    assert!(
        lines[1].starts_with("hint: have an administrator run: apt-get install build-essential python3"),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn setup_says_so_when_packages_cannot_be_had() {
    // As root, where the package tool finds nothing.
    let fails = "echo 'E: Unable to locate package' >&2; exit 100";
    let root = [("id", "echo 0"), ("apt-get", "true"), ("env", fails)];
    let lines =
        told(&setup(&machine(&[&[("cargo", "true"), ("rustc", "echo 'rustc 1.99.0 (x)'")][..], &root].concat())));
    assert!(lines.contains(&"error: apt-get could not install build-essential python3".to_owned()), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("hint: see its lines above"), "{lines:?}");
}

#[test]
fn make_help_has_every_word_people_use() {
    let output = Command::new("make").arg("help").current_dir(root()).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in
        ["demo", "KEEP=1", "PATCH_OLD=", "PATCH_NEW=", "test", "setup", "install", "check", "sim", "fuzz", "clean"]
    {
        assert!(help.contains(word), "{word}: {help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 110), "{help}");
}

#[test]
fn the_verifier_without_its_libraries_says_in_one_line_what_to_install() {
    // -S: without the places where libraries are installed; -E: without the environment that names others.
    for script in ["verify_proof.py", "verify_evidence.py"] {
        let script = root().join("tests/interop").join(script);
        let output = Command::new("python3").args(["-S", "-E"]).arg(script).args(["a", "b"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.starts_with("error: no Python library ") && said.contains("python3 -m pip install"), "{said}");
    }
}

#[test]
fn the_cpp_library_of_clang_is_not_taken_for_libclang() {
    let root = tempfile::tempdir().unwrap();
    let libraries = root.path().join("usr/lib/llvm-14/lib");
    fs::create_dir_all(&libraries).unwrap();
    let libclang = || {
        let output = Command::new(self::root().join("scripts/libclang")).arg(root.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(libclang(), "");
    // Other packages bring this one alone.
    fs::write(libraries.join("libclang-cpp.so.14"), "").unwrap();
    assert_eq!(libclang(), "");
    let multiarch = root.path().join("usr/lib/x86_64-linux-gnu");
    fs::create_dir_all(&multiarch).unwrap();
    fs::write(multiarch.join("libclang-14.so.14.0.6"), "").unwrap();
    assert_eq!(libclang(), format!("{}\n", multiarch.join("libclang-14.so.14.0.6").display()));
    fs::write(libraries.join("libclang.so.1"), "").unwrap();
    assert_eq!(libclang(), format!("{}\n", libraries.join("libclang.so.1").display()));
}
