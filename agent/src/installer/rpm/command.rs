//! `rpm`, called in the one way this agent calls it.

use super::super::footprint::Root;
use super::super::install::Story;
use super::super::others::{self, Turn};
use super::super::packages::{Altered, Database, ManagerError, State};
use super::super::tool::{self, Tool, ToolError};
use super::examine::GHOST;
use crate::config;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The tool.
const RPM: &str = "rpm";
/// How long looking something up may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(300);
/// Variable that says on which root an rpm of this agent works.
const MARKER: &str = "COUNTERSIGN_RPM_ROOT";
/// Its lock, beside its database.
const LOCK: &str = ".rpm.lock";
/// Files one of which a database has.
const DATABASES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];
/// Largest listing of packages, of files, of what differs.
const LISTING_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One line per package.
const FORMAT: &str = "%{NAME}\t%{ARCH}\t%{EVR}\n";
/// The paths of installed packages: the name comes last, and nobody's name can make a line look like two.
const PATHS: &str = "[%{FILEFLAGS}\t%{FILENAMES}\n]";
/// What a package says of itself that is there once.
const INSTALLED: &str = "install ok installed";

/// Paths of packages.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    /// What packages have put there.
    pub(super) files: BTreeSet<String>,
    /// What is theirs by name only.
    pub(super) ghosts: BTreeSet<String>,
}

impl Paths {
    /// What rpm said by [`PATHS`]. Flags that are no number are not those of a ghost.
    fn parse(listing: &str) -> Self {
        let mut paths = Self::default();
        for (flags, path) in listing.lines().filter_map(|line| line.split_once('\t')) {
            let is_ghost = flags.parse::<u32>().is_ok_and(|flags| flags & GHOST != 0);
            let of = if is_ghost { &mut paths.ghosts } else { &mut paths.files };
            if path.starts_with('/') && !path.trim_matches('/').is_empty() {
                of.insert(path.trim_matches('/').to_owned());
            }
        }
        paths
    }
}

/// The host's rpm, working on one root.
pub(super) struct Rpm {
    root: PathBuf,
    database: PathBuf,
    lock_wait: Duration,
    deadline: Duration,
}

impl Rpm {
    pub(super) fn new(config: &config::Rpm) -> Self {
        let config::Rpm { root, database, lock_wait, deadline, .. } = config.clone();
        Self { root, database, lock_wait, deadline }
    }

    /// What this host lacks for RPM packages.
    pub(super) fn lacks(&self, root: &Root) -> Option<String> {
        if tool::find(RPM).is_none() {
            return Some(format!("there is no {RPM} here"));
        }
        if !self.has_database(root) {
            return Some(format!("{} has no package database in {}", self.root.display(), self.database.display()));
        }
        (!rustix::process::geteuid().is_root()).then(|| "only root may change packages".to_owned())
    }

    fn has_database(&self, root: &Root) -> bool {
        DATABASES.iter().any(|name| root.is_file(&self.beside_database(name)))
    }

    /// A file of the directory the database is in, by its path from the root.
    fn beside_database(&self, name: &str) -> String {
        format!("{}/{name}", self.database.to_string_lossy().trim_matches('/'))
    }

    pub(super) fn lock_path(&self) -> String {
        self.beside_database(LOCK)
    }

    fn rpm(&self, patience: Duration) -> Tool {
        let program = tool::find(RPM).unwrap_or_else(|| Path::new("/usr/bin").join(RPM));
        let tool = Tool::new(&program, patience).env(MARKER, &self.root);
        let tool = tool.args([OsString::from("--dbpath"), self.database.clone().into()]);
        match self.root == Path::new("/") {
            true => tool,
            false => tool.args([OsString::from("--root"), self.root.clone().into()]),
        }
    }

    /// Waits for whoever works with packages: also for what an agent that died left running.
    pub(super) fn wait_for_turn(&self) -> Result<(), ManagerError> {
        let (turn, directory) = (Turn::within(self.lock_wait), self.root.join(self.beside_database("")));
        drop(turn.lock(&directory.join(LOCK))?);
        Ok(turn.wait_for_left_behind(RPM, &others::marker(MARKER, &self.root), &directory)?)
    }

    /// Every package there is. One that is there more than once is at the middle of something, or is meant to be
    /// (kernels are): its versions are told together, and it has none to go back to.
    pub(super) fn database(&self) -> Result<Database, ManagerError> {
        Ok(parse(&self.listing()?))
    }

    fn listing(&self) -> Result<Vec<u8>, ToolError> {
        self.rpm(LOOK_PATIENCE).args(["--query", "--all", "--queryformat", FORMAT]).read(LISTING_BYTES_MAX)
    }

    /// Every path of packages that are there.
    pub(super) fn files_of(&self, packages: &[String]) -> Result<Paths, ManagerError> {
        if packages.is_empty() {
            return Ok(Paths::default());
        }
        let tool = self.rpm(LOOK_PATIENCE).args(["--query", "--queryformat", PATHS, "--"]).args(packages);
        Ok(Paths::parse(&String::from_utf8_lossy(&tool.read(LISTING_BYTES_MAX)?)))
    }

    /// What a package file says of itself. A name that is no text would be another one as text, and whatever is looked
    /// after by its name would be, too.
    pub(super) fn ask(&self, package: &Path, format: &str, limit: u64) -> Result<String, ManagerError> {
        let tool =
            self.rpm(LOOK_PATIENCE).args(["--query", "--package", "--queryformat", format, "--"]).args([package]);
        String::from_utf8(tool.read(limit)?).map_err(|_| ManagerError::NotText)
    }

    /// Whether a package file is whole. Whose it is the ledger says.
    pub(super) fn check_digests(&self, package: &Path) -> Result<(), ManagerError> {
        Ok(self.rpm(LOOK_PATIENCE).args(["--checksig", "--nosignature", "--"]).args([package]).run().0?)
    }

    /// Forced is only this: an older package may take the place of a newer one (for going back; whether a patch is
    /// newer is the ledger's release counter's word), and one that is there may be put there again.
    fn upgrade(&self, patience: Duration) -> Tool {
        self.rpm(patience).args(["--upgrade", "--oldpackage", "--replacepkgs"])
    }

    /// Tries an installation without doing it: what is needed, what is in the way, whose files they are.
    pub(super) fn try_install(&self, packages: &[PathBuf]) -> Result<(), ManagerError> {
        let (result, lines) = self.upgrade(LOOK_PATIENCE).args(["--test", "--"]).args(packages).run();
        let in_the_way = lines.iter().find(|line| line.contains(" conflicts with "));
        match (&result, in_the_way) {
            (Err(_), Some(line)) => Err(ManagerError::Extraneous(line.trim().to_owned())),
            _ => Ok(result?),
        }
    }

    /// Installs packages, all in one go.
    pub(super) fn install(&self, packages: &[PathBuf], left: Duration, story: &mut Story) -> Result<(), ManagerError> {
        act(self.upgrade(self.deadline.min(left)).args(["--"]).args(packages), story)
    }

    /// Takes packages away.
    pub(super) fn erase(&self, names: &[String], story: &mut Story) -> Result<(), ManagerError> {
        act(self.rpm(self.deadline).args(["--erase", "--nodeps", "--allmatches", "--"]).args(names), story)
    }

    /// The files that are not as their packages have them, in the time that is left: somebody may have put a file
    /// there that nobody reads to its end.
    pub(super) fn verify(&self, names: &[String], left: Duration) -> Result<Vec<Altered>, ManagerError> {
        let tool = self.rpm(LOOK_PATIENCE.min(left)).args(["--verify", "--nodeps", "--noscripts", "--"]).args(names);
        // It ends with a status of its own when something differs; what it says is what counts.
        let (ended, said) = tool.read_whatever(LISTING_BYTES_MAX)?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let altered: Vec<Altered> = said.lines().filter_map(altered).collect();
        match ended {
            Err(ToolError::Failed { .. }) if !altered.is_empty() => Ok(altered),
            ended => ended.map(|()| altered).map_err(Into::into),
        }
    }
}

fn act(tool: Tool, story: &mut Story) -> Result<(), ManagerError> {
    let (result, lines) = tool.run();
    lines.iter().filter(|line| !line.is_empty()).for_each(|line| story.tell(format!("rpm: {line}")));
    Ok(result?)
}

fn parse(listing: &[u8]) -> Database {
    let listing = String::from_utf8_lossy(listing);
    let mut all = std::collections::BTreeMap::<(String, String), Vec<String>>::new();
    for line in listing.lines() {
        if let [name, architecture, version] = line.split('\t').collect::<Vec<_>>()[..] {
            all.entry((name.to_owned(), architecture.to_owned())).or_default().push(version.to_owned());
        }
    }
    let state = |mut versions: Vec<String>| match versions.len() {
        1 => State { version: versions.remove(0), status: INSTALLED.to_owned() },
        count => {
            versions.sort();
            State { version: String::new(), status: format!("install ok {count} times: {}", versions.join(", ")) }
        }
    };
    all.into_iter().map(|(instance, versions)| (instance, state(versions))).collect::<Vec<_>>().into()
}

/// `S.5....T.  c /etc/…`, `missing     /usr/…`: the letter says that it is a configuration file, or one that is the
/// package's only by name.
fn altered(line: &str) -> Option<Altered> {
    let (flags, path) = line.split_once(" /")?;
    let flags = flags.trim_end();
    let is_configuration = flags.ends_with(" c") || flags.ends_with(" g");
    Some(Altered { path: path.to_owned(), is_configuration, told: line.trim().to_owned() })
}

/// The version of a package by the database of the root whose RPM packages are changed; `None` when it has no such
/// package. Of another tree none is asked: to ask it is to write into it.
pub(crate) fn version(config: &config::Rpm, package: &str) -> Result<Option<String>, String> {
    let database = Rpm::new(config).database().map_err(|error| crate::settled::chain(&error))?;
    let mut versions = database.all().filter(|((name, _), _)| name == package).map(|(_, state)| state.version.clone());
    Ok(versions.next())
}

/// Every package of a root, one line each as [`FORMAT`] has it; `None` where there is no rpm, or no database of its:
/// to ask for one that is not there is to make it.
pub(crate) fn listing(config: &config::Rpm) -> Result<Option<Vec<u8>>, ToolError> {
    let rpm = Rpm::new(config);
    if tool::find(RPM).is_none() || !rpm.has_database(&Root::of_packages(&config.root)) {
        return Ok(None);
    }
    rpm.listing().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rpm_says_is_understood() {
        for (line, path, is_configuration) in [
            ("S.5....T.  c /etc/app/app.conf", "etc/app/app.conf", true),
            ("S.5....T.    /usr/bin/app", "usr/bin/app", false),
            ("missing     /usr/bin/app with spaces", "usr/bin/app with spaces", false),
            ("missing   c /etc/app/app.conf", "etc/app/app.conf", true),
            ("missing   g /var/log/app", "var/log/app", true),
            ("..5......  d /usr/share/doc/app c", "usr/share/doc/app c", false),
        ] {
            let found = altered(line).unwrap();
            assert_eq!((found.path.as_str(), found.is_configuration), (path, is_configuration), "{line}");
        }
        assert_eq!(altered("package app is not installed"), None);
        let paths = Paths::parse("64\t/var/log/app\n17\t/etc/app.conf\n0\t/\n(none)\t/usr/a\tb\n81\t/etc/g\nnoise\n");
        assert_eq!(paths.files, ["etc/app.conf", "usr/a\tb"].map(str::to_owned).into());
        assert_eq!(paths.ghosts, ["etc/g", "var/log/app"].map(str::to_owned).into());
        let listing = "app\tnoarch\t1:1.0-1\nkernel\tx86_64\t6-2\nkernel\tx86_64\t6-1\ngpg-pubkey\t(none)\tabc-def\n";
        let database = parse(listing.as_bytes());
        let said = |name: &str, of: &str| State::shown(&database.state(name, of));
        assert_eq!(said("app", "noarch"), "1:1.0-1 (install ok installed)");
        assert_eq!(said("kernel", "x86_64"), " (install ok 2 times: 6-1, 6-2)");
    }
}
