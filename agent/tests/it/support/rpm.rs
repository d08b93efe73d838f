//! RPM packages made for a test by `rpmbuild`, and roots to install them into.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// A package in the making.
#[derive(Clone)]
pub(crate) struct Rpm {
    header: String,
    install: String,
    files: String,
    scripts: String,
}

/// What was built already: one and the same package for one and the same description.
static BUILT: Mutex<Option<HashMap<String, Vec<u8>>>> = Mutex::new(None);

impl Rpm {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        let header = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: made for a test\nLicense: none\nBuildArch: noarch\n\
             AutoReqProv: no\n"
        );
        Self { header, install: String::new(), files: String::new(), scripts: String::new() }
    }

    pub(crate) fn field(mut self, field: &str) -> Self {
        self.header = format!("{}{field}\n", self.header);
        self
    }

    /// A line of the script that puts files into `$B`, the root in the making.
    pub(crate) fn making(mut self, line: &str) -> Self {
        self.install = format!("{}{line}\n", self.install);
        self
    }

    pub(crate) fn having(mut self, line: &str) -> Self {
        self.files = format!("{}{line}\n", self.files);
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        let directory = path.rsplit_once('/').unwrap().0;
        self.making(&format!("mkdir -p $B{directory}; printf '%%s' '{content}' > $B{path}")).having(path)
    }

    pub(crate) fn script(mut self, section: &str, text: &str) -> Self {
        self.scripts = format!("{}%{section}\n{text}\n", self.scripts);
        self
    }

    /// Built by the real tool, once.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let Self { header, install, files, scripts } = self;
        let text = format!(
            "{header}%description\nmade for a test\n%install\nB=%{{buildroot}}\nmkdir -p $B\n{install}{scripts}%files\n\
             %defattr(-,root,root)\n{files}"
        );
        let mut built = BUILT.lock().unwrap();
        built.get_or_insert_default().entry(text.clone()).or_insert_with(|| build(&text)).clone()
    }
}

fn build(spec: &str) -> Vec<u8> {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("made.spec");
    fs::write(&path, spec).unwrap();
    let built = Command::new("rpmbuild")
        .args(["-bb", "--quiet", "--define", &format!("_topdir {}", room.path().display())])
        .args(["--define", "_build_name_fmt made.rpm", "--define", "_build_id_links none"])
        .arg(&path)
        .env("HOME", room.path())
        .output()
        .unwrap();
    assert!(built.status.success(), "{spec}\n{}", String::from_utf8_lossy(&built.stderr));
    fs::read(room.path().join("RPMS/made.rpm")).unwrap()
}

/// A package of which something in its header is something else, of the same length, with digests that are right again:
/// `rpmbuild` makes no such package, but whoever wants to can.
pub(crate) fn altered(package: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let header = header(package);
    let found: Vec<_> = package[header.clone()].windows(from.len()).enumerate().filter(|(_, it)| *it == from).collect();
    let [(place, _)] = found[..] else { panic!("{from:?} is there {} times", found.len()) };
    let mut altered = package.to_owned();
    altered[header.start + place..][..to.len()].copy_from_slice(to);
    assert_eq!(from.len(), to.len());
    for (program, covered) in
        [("sha256sum", header.clone()), ("sha1sum", header.clone()), ("md5sum", header.start..package.len())]
    {
        let [before, after] = [package, &altered].map(|bytes| digest(program, &bytes[covered.clone()]));
        // In hexadecimal, or as it is.
        let ways = [
            (before.clone().into_bytes(), after.clone().into_bytes()),
            (hex::decode(before).unwrap(), hex::decode(after).unwrap()),
        ];
        for (before, after) in ways {
            while let Some(place) = altered[..header.start].windows(before.len()).position(|it| it == before) {
                altered[place..][..after.len()].copy_from_slice(&after);
            }
        }
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &altered).unwrap();
    let checked = Command::new("rpm").args(["--checksig", "--nosignature"]).arg(file.path()).output().unwrap();
    assert!(checked.status.success(), "or it would be refused for its digests alone");
    altered
}

/// Where the header of a package is: behind its lead and its signatures.
fn header(package: &[u8]) -> std::ops::Range<usize> {
    const LEAD: usize = 96;
    let length = |begin: usize| {
        let word = |at: usize| u32::from_be_bytes(package[begin + at..][..4].try_into().unwrap()) as usize;
        assert_eq!(package[begin..][..3], [0x8e, 0xad, 0xe8]);
        16 + 16 * word(8) + word(12)
    };
    let begin = LEAD + length(LEAD).next_multiple_of(8);
    begin..begin + length(begin)
}

/// What a program of coreutils says of these bytes.
fn digest(program: &str, bytes: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    let said = Command::new(program).arg(file.path()).output().unwrap();
    String::from_utf8(said.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// A program and its library, each in exactly the other's version, with a bit of everything a package may have.
pub(crate) fn pair(version: &str) -> [Vec<u8>; 2] {
    let app = Rpm::new("app", version)
        .field(&format!("Requires: libapp = {version}"))
        .making(&format!("mkdir -p $B/etc/app $B/usr/bin $B/usr/share/app/{version}"))
        .making(&format!("echo made-by = {version} > $B/etc/app/app.conf"))
        .making(&format!("printf '#!/bin/sh\\necho {version}\\n' > $B/usr/bin/app"))
        .making("ln $B/usr/bin/app $B/usr/bin/also-app")
        .making(&format!("echo {version} > $B/usr/share/app/{version}/only-here"))
        .making(&format!("echo {version} > $B/usr/share/app/secret"))
        .having("%dir /etc/app\n%config(noreplace) /etc/app/app.conf\n%dir /usr/share/app")
        .having("%attr(0755,root,root) /usr/bin/app\n%attr(0755,root,root) /usr/bin/also-app")
        .having(&format!("/usr/share/app/{version}\n%attr(0640,root,root) /usr/share/app/secret"));
    let library = Rpm::new("libapp", version)
        .making(&format!(
            "mkdir -p $B/usr/lib; printf '%{{name}}{version}%%.0s' $(seq 5000) > $B/usr/lib/libapp.so.{version}"
        ))
        .making(&format!("ln -s libapp.so.{version} $B/usr/lib/libapp.so"))
        .having(&format!("/usr/lib/libapp.so.{version}\n/usr/lib/libapp.so"));
    [app.bytes(), library.bytes()]
}

/// A package that no patch names.
pub(crate) fn bystander(version: &str) -> Vec<u8> {
    Rpm::new("bystander", version).file("/etc/by", version).bytes()
}

/// Where the database is within a root.
pub(crate) const DATABASE: &str = "var/lib/rpm";

fn rpm(root: &Path) -> Command {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(root).args(["--dbpath", "/var/lib/rpm"]).env("HOME", "/");
    command
}

/// A root with nothing in it but an empty package database: enough for packages without scripts.
pub(crate) fn bare_root(root: &Path) {
    for directory in [DATABASE, "etc", "usr/bin", "usr/lib", "usr/share", "var/tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    assert!(rpm(root).arg("--initdb").status().unwrap().success());
}

/// Installs packages that are in memory, outside of any agent.
pub(crate) fn install(root: &Path, packages: &[Vec<u8>]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let file = |(place, bytes): (usize, &Vec<u8>)| {
        let path = directory.path().join(format!("{place}.rpm"));
        fs::write(&path, bytes).unwrap();
        path
    };
    let files: Vec<_> = packages.iter().enumerate().map(file).collect();
    let mut command = rpm(root);
    command.args(["--upgrade", "--oldpackage"]).args(files).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// Every package of a root, and its version.
pub(crate) fn packages(root: &Path) -> String {
    let asked = rpm(root).args(["-qa", "--queryformat", "%{NAME} %{EVR} %{ARCH}\n"]).output().unwrap();
    let mut lines: Vec<_> = String::from_utf8(asked.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

/// Why packages cannot be installed in a test here.
pub(crate) fn lacking() -> Result<(), String> {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    match ["rpm", "rpmbuild"].into_iter().find(|program| !has(program)) {
        Some(missing) => Err(format!("there is no {missing} here (scripts/setup installs it)")),
        None if !super::disk::is_root() => Err("only root may install packages".to_owned()),
        None => Ok(()),
    }
}
