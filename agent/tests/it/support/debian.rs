//! Packages made for a test, and roots to install them into.

use super::archive::Archive;
use super::disk::Mount;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tar::EntryType;

/// A package in the making.
pub(crate) struct Deb {
    pub(crate) control: String,
    pub(crate) control_files: Vec<(&'static str, u32, String)>,
    pub(crate) data: Archive,
}

impl Deb {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Tests <tests@example.com>\n\
             Description: made for a test\n"
        );
        Self { control, control_files: Vec::new(), data: Archive::new() }
    }

    pub(crate) fn field(mut self, field: &str) -> Self {
        self.control = format!("{}{field}\n", self.control);
        self
    }

    pub(crate) fn control_file(mut self, name: &'static str, mode: u32, text: &str) -> Self {
        self.control_files.push((name, mode, text.to_owned()));
        self
    }

    pub(crate) fn data(mut self, data: Archive) -> Self {
        self.data = data;
        self
    }

    /// An `ar` archive of a version, a control archive and a data archive (deb(5)), none compressed.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut control = Archive::new().file("./control", &self.control);
        for (name, mode, text) in &self.control_files {
            let name = format!("./{name}");
            control = control.entry(EntryType::Regular, name.as_bytes(), *mode, b"", text.as_bytes());
        }
        let members =
            [("debian-binary", b"2.0\n".to_vec()), ("control.tar", control.bytes()), ("data.tar", self.data.bytes())];
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in members {
            writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, content.len()).unwrap();
            bytes.extend_from_slice(&content);
            if content.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }
}

/// A program and its library, each in exactly the other's version, with a bit of everything a package
/// may have: as `jq` and `libjq1` are.
pub(crate) fn pair(version: &str) -> [Vec<u8>; 2] {
    let app = Archive::new()
        .directory("./etc/")
        .directory("./etc/app/")
        .file("./etc/app/app.conf", &format!("made-by = {version}\n"))
        .directory("./usr/")
        .directory("./usr/bin/")
        .program("./usr/bin/app", &format!("#!/bin/sh\necho {version}\n"))
        .hard_link("./usr/bin/also-app", "./usr/bin/app")
        .directory("./usr/share/")
        .directory("./usr/share/app/")
        .directory(&format!("./usr/share/app/{version}/"))
        .file(&format!("./usr/share/app/{version}/only-here"), version)
        .entry(EntryType::Regular, b"./usr/share/app/secret", 0o640, b"", version.as_bytes());
    let library = Archive::new()
        .directory("./usr/")
        .directory("./usr/lib/")
        .file(&format!("./usr/lib/libapp.so.{version}"), &version.repeat(10_000))
        .link("./usr/lib/libapp.so", &format!("libapp.so.{version}"));
    [
        Deb::new("app", version)
            .field(&format!("Depends: libapp (= {version})"))
            .control_file("conffiles", 0o644, "/etc/app/app.conf\n")
            .data(app)
            .bytes(),
        Deb::new("libapp", version).data(library).bytes(),
    ]
}

/// A root with nothing in it but a package database that is empty: enough for packages without scripts.
pub(crate) fn bare_root(root: &Path) {
    for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc", "usr/bin", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
        fs::write(root.join(file), "").unwrap();
    }
}

/// `dpkg` on a root, outside of any agent.
pub(crate) fn dpkg(root: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new("dpkg");
    command.arg(format!("--root={}", root.display())).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Installs a package that is in memory, outside of any agent.
pub(crate) fn dpkg_install(root: &Path, packages: &[Vec<u8>]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let file = |(place, bytes): (usize, &Vec<u8>)| {
        let path = directory.path().join(format!("{place}.deb"));
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let files: Vec<String> = packages.iter().enumerate().map(file).collect();
    dpkg(root, &[&["--install"][..], &files.iter().map(String::as_str).collect::<Vec<_>>()].concat())
}

/// Every package of a root: version and status.
pub(crate) fn packages(root: &Path) -> String {
    let mut command = Command::new("dpkg-query");
    command.arg(format!("--admindir={}", root.join("var/lib/dpkg").display()));
    command.args(["--show", "--showformat", "${Package}:${Architecture} ${Version} ${Status}\n"]);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// Why packages cannot be installed in a test here.
pub(crate) fn lacking() -> Result<(), String> {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    match ["dpkg", "dpkg-deb", "dpkg-query"].into_iter().find(|program| !has(program)) {
        Some(missing) => Err(format!("there is no {missing} here")),
        None if !super::disk::is_root() => Err("only root may install packages".to_owned()),
        None => Ok(()),
    }
}

/// A real Debian, and two real pairs of `jq` and `libjq1`: see scripts/debian-root.
pub(crate) struct Real {
    pub(crate) root: PathBuf,
    packages: PathBuf,
}

impl Real {
    /// Made once and kept.
    pub(crate) fn new() -> Result<Self, String> {
        lacking()?;
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let made = Command::new(repository.join("scripts/debian-root")).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        if !made.status.success() {
            return Err(said.lines().last().unwrap_or_default().to_owned());
        }
        let place = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        Ok(Self { root: place.join("root"), packages: place.join("packages") })
    }

    /// The pair as it was released at first (1) and as its security update has it (2).
    pub(crate) fn pair(&self, release: u64) -> Vec<(String, Vec<u8>)> {
        let directory = self.packages.join(if release == 1 { "old" } else { "new" });
        let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let artifact = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().split('_').next().unwrap();
            (format!("{name}.deb"), fs::read(path).unwrap())
        };
        paths.iter().map(artifact).collect()
    }

    /// A root of its own, which starts as the real one.
    pub(crate) fn mount(&self, room: &Path, at: &Path) -> Option<Mount> {
        Mount::over(&self.root, room, at)
    }
}
