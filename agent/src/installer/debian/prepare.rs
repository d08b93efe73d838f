//! Making the holding: the packages, those to go back to, and what the host is like before.

use super::super::footprint::{Footprint, PATHS_MAX};
use super::super::install::{Held, Job, Story};
use super::super::tree::copy_held;
use super::closure::{Before, Closure, INSTALLED, Package, State};
use super::command::DpkgError;
use super::database::Database;
use super::examine::{Contents, examine};
use super::{CLOSURE, Debian, FOOTPRINT, KEPT, NEW, OLD};
use crate::files::{self, failed};
use crate::settled::{Refusal, chain};
use ledger::receipt::ReasonCode;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Largest file list of an installed package.
const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Room that must stay free on the host's disk.
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// What dpkg calls a file while it replaces it, and what it leaves beside a configuration file.
const BESIDE: [&str; 4] = [".dpkg-new", ".dpkg-tmp", ".dpkg-dist", ".dpkg-old"];
/// Files in which dpkg keeps what it knows of a package.
const INFO: [&str; 12] = [
    "list",
    "md5sums",
    "conffiles",
    "preinst",
    "postinst",
    "prerm",
    "postrm",
    "config",
    "templates",
    "triggers",
    "shlibs",
    "symbols",
];

/// Packages in a directory of the holding, by file name.
type Files = BTreeMap<String, Contents>;

impl Debian {
    pub(super) fn prepare_holding(
        &self,
        job: &Job,
        held: Vec<Held>,
        holding: &Path,
        story: &mut Story,
    ) -> Result<(), Refusal> {
        let (new, mut old) = self.unload(job, held, holding)?;
        self.look_for_old(job, holding, &mut old)?;
        let database = self.dpkg.database().map_err(refusal)?;
        let closure = closure(&new, &old, &database)?;
        for Package { name, version, old, .. } in &closure.packages {
            let from = old.as_ref().map_or("not installed", |old| &old.version);
            story.tell(format!("package {name}: {from} → {version}"));
        }
        let changed: Vec<PathBuf> = closure.changes().map(|package| holding.join(NEW).join(&package.file)).collect();
        if !changed.is_empty() {
            self.dpkg.try_install(&changed).map_err(refusal)?;
        }
        self.check_set_id(&new)?;
        self.check_room(&closure, &new)?;
        let paths = self.paths(&closure, &new)?;
        let footprint = Footprint::take(&self.root, &paths, job.deadline)?;
        footprint.keep(&self.root, &holding.join(KEPT), job.deadline)?;
        footprint.write(&holding.join(FOOTPRINT))?;
        Ok(closure.write(&holding.join(CLOSURE))?)
    }

    /// Puts the artifacts where they belong, and looks into each.
    fn unload(&self, job: &Job, held: Vec<Held>, holding: &Path) -> Result<(Files, Files), Refusal> {
        let (mut new, mut old) = (Files::new(), Files::new());
        for directory in [NEW, OLD] {
            files::private_dir(&holding.join(directory))?;
        }
        for held in held {
            let name = held.artifact.name.as_str().to_owned();
            let to_go_back_to = held.artifact.is_to_go_back_to();
            let (directory, packages) = if to_go_back_to { (OLD, &mut old) } else { (NEW, &mut new) };
            let file = format!("{}.deb", name.trim_end_matches(".deb"));
            let path = holding.join(directory).join(&file);
            copy_held(held, &path, job.deadline)?;
            packages.insert(file, examine(&self.dpkg, &path, &name)?);
        }
        Ok((new, old))
    }

    /// Packages this agent installed before are packages to go back to.
    fn look_for_old(&self, job: &Job, holding: &Path, old: &mut Files) -> Result<(), Refusal> {
        let Some(before) = job.holding_before().map(|before| before.join(NEW)) else { return Ok(()) };
        for name in files::names(&before)? {
            let (from, file) = (before.join(&name), format!("kept-{name}"));
            let to = holding.join(OLD).join(&file);
            if !to.exists() {
                std::fs::copy(&from, &to).map_err(failed("keep", &to))?;
                old.insert(file, examine(&self.dpkg, &to, &name)?);
            }
        }
        Ok(())
    }

    /// What runs with somebody else's rights must have done so before, with no more of them.
    fn check_set_id(&self, new: &Files) -> Result<(), Refusal> {
        use super::super::footprint::Mark;
        for (file, (path, mode)) in new.iter().flat_map(|(file, of)| of.set_id().map(move |program| (file, program))) {
            let there = self.root.mark(path).map_err(failed("examine", &self.root.path().join(path)))?;
            if !matches!(there, Mark::File { mode: had, .. } if had & mode & 0o6000 == mode & 0o6000) {
                let detail =
                    format!("package {file}: entry {path:?} is setuid or setgid (mode {mode:o}), and new here");
                return Err(Refusal::new(ReasonCode::ArchiveUnsafe, detail));
            }
        }
        Ok(())
    }

    fn check_room(&self, closure: &Closure, new: &Files) -> Result<(), Refusal> {
        let root = self.root.path();
        let stat = rustix::fs::statvfs(root).map_err(|error| failed("examine", root)(error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let new: u64 = new.values().map(|contents| contents.bytes).fold(0, u64::saturating_add);
        let needed = new.saturating_add(closure.old_bytes()).saturating_add(FREE_BYTES_MIN);
        match needed > free {
            true => {
                let detail = format!("{} has {free} bytes free, {needed} are needed", root.display());
                Err(Refusal::new(ReasonCode::DiskFull, detail))
            }
            false => Ok(()),
        }
    }

    /// Every path the packages have or had, and what dpkg may leave there or know of it.
    fn paths(&self, closure: &Closure, new: &Files) -> Result<BTreeSet<String>, Refusal> {
        let mut paths = BTreeSet::new();
        for package in closure.changes() {
            let names = [package.name.clone(), package.instance()];
            for name in &names {
                paths.extend(INFO.iter().map(|info| format!("var/lib/dpkg/info/{name}.{info}")));
                let list = self.root.path().join(format!("var/lib/dpkg/info/{name}.list"));
                let list = files::read_if_there(&list, LIST_BYTES_MAX)?.unwrap_or_default();
                let had = String::from_utf8_lossy(&list).into_owned();
                add(&mut paths, had.lines().map(|path| path.trim_start_matches('/')));
            }
            if let Some(contents) = new.get(&package.file) {
                add(&mut paths, contents.entries.keys().map(String::as_str));
            }
        }
        match paths.len() > PATHS_MAX {
            true => {
                Err(Refusal::new(ReasonCode::ArchiveUnsafe, format!("the packages have more than {PATHS_MAX} paths")))
            }
            false => Ok(paths),
        }
    }
}

fn add<'a>(paths: &mut BTreeSet<String>, all: impl Iterator<Item = &'a str>) {
    // The root itself is no package's, though all of them name it (`/.`).
    for path in all.filter(|path| !path.is_empty() && *path != ".") {
        paths.extend(BESIDE.iter().map(|beside| format!("{path}{beside}")));
        paths.insert(path.to_owned());
    }
}

fn refusal(error: DpkgError) -> Refusal {
    let code = match &error {
        DpkgError::Extraneous(_) => ReasonCode::Conflict,
        error if error.is_disk_full() => ReasonCode::DiskFull,
        _ => ReasonCode::InstallFailed,
    };
    Refusal::new(code, chain(&error))
}

/// What the patch brings against what is there; refuses what could not be taken back.
fn closure(new: &Files, old: &Files, database: &Database) -> Result<Closure, Refusal> {
    let mut closure = Closure { unfinished: database.unfinished().collect(), ..Closure::default() };
    for (file, Contents { name, version, architecture, .. }) in new {
        let no_way_back = |why: String| Err(Refusal::new(ReasonCode::CannotRollBack, why));
        if closure.packages.iter().any(|package| package.name == *name) {
            return Err(Refusal::new(ReasonCode::ArchiveUnsafe, format!("package {name} is in the patch twice")));
        }
        if let Some(other) = database.elsewhere(name, architecture) {
            return no_way_back(format!("{name} is here for {other}, the patch brings it for {architecture}"));
        }
        let old = match database.state(name, architecture) {
            None => None,
            Some(State { version: had, status }) if status == INSTALLED && had == *version => {
                Some(Before { version: had, file: None, bytes: 0 })
            }
            Some(State { version: had, status }) if status == INSTALLED => {
                let same = |contents: &&Contents| {
                    contents.name == *name && contents.version == had && contents.architecture == *architecture
                };
                let Some((file, contents)) = old.iter().find(|(_, contents)| same(contents)) else {
                    let why =
                        format!("{name} {had} is installed, and neither the patch nor this agent has that package");
                    return no_way_back(why);
                };
                Some(Before { version: had, file: Some(file.clone()), bytes: contents.bytes })
            }
            state => {
                let state = State::shown(&state);
                return no_way_back(format!("{name} is {state}: that is no state to go back to"));
            }
        };
        let (name, architecture, version) = (name.clone(), architecture.clone(), version.clone());
        closure.packages.push(Package { name, architecture, version, file: file.clone(), old });
    }
    Ok(closure)
}
