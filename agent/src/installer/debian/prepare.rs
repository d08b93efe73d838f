//! Making the holding: the packages, those to go back to, and what the host is like before.

use super::super::footprint::{Footprint, Mark, PATHS_MAX};
use super::super::install::{Held, Job, Story};
use super::super::room::Room;
use super::super::tree::copy_held;
use super::bystanders::{Diversions, INFO_DIRECTORY, LIST_BYTES_MAX};
use super::closure::{Before, Closure, INSTALLED, Package, State};
use super::command::DpkgError;
use super::database::Database;
use super::examine::{Contents, examine};
use super::order::{self, Relations};
use super::{BEFORE, CLOSURE, Debian, FOOTPRINT, KEPT, NEW, OLD, RESERVE};
use crate::files::{self, failed};
use crate::settled::{Refusal, chain};
use ledger::receipt::ReasonCode;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Room that must stay free on the disk of the package database.
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Where that is.
const DATABASE: &str = "var/lib/dpkg/status";
/// What dpkg calls a file while it replaces it, and what it leaves beside a configuration file.
pub(super) const BESIDE: [&str; 4] = [".dpkg-new", ".dpkg-tmp", ".dpkg-dist", ".dpkg-old"];
/// Files that people changed and that are said to be replaced, at most.
const REPLACED_TOLD_MAX: usize = 50;
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
pub(super) type Files = BTreeMap<String, Contents>;

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
        for (place, go) in closure.new_goes(holding).iter().enumerate() {
            self.dpkg.try_install(go, place == 0).map_err(refusal)?;
        }
        self.check_set_id(&new)?;
        let diversions = Diversions::read(&self.root)?;
        self.check_bystanders(&closure, &new, &diversions)?;
        self.tell_replaced(&closure, story)?;
        let paths = self.paths(&closure, &new, &diversions)?;
        let footprint = Footprint::take(&self.root, &paths, &BESIDE, job.deadline)?;
        self.check_room(&closure, &new, &old, &footprint, holding)?;
        footprint.keep(&self.root, &holding.join(KEPT), job.deadline)?;
        footprint.write(&holding.join(FOOTPRINT))?;
        database.write(&holding.join(BEFORE))?;
        closure.write(&holding.join(CLOSURE))
    }

    /// Says which files that people changed are about to be replaced.
    fn tell_replaced(&self, closure: &Closure, story: &mut Story) -> Result<(), Refusal> {
        let old = closure.changes().filter(|package| package.old.is_some());
        let old: Vec<_> = old.map(Package::instance).collect();
        // Without a name dpkg would look at every package there is.
        if old.is_empty() {
            return Ok(());
        }
        let altered = self.dpkg.verify(&old).map_err(refusal)?;
        for altered in altered.iter().filter(|altered| !altered.is_configuration).take(REPLACED_TOLD_MAX) {
            story.tell(format!("/{} was changed on this host, and is replaced", altered.path));
        }
        Ok(())
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

    /// Asks every disk for room, and has as much kept on each as going back needs.
    fn check_room(
        &self,
        closure: &Closure,
        new: &Files,
        old: &Files,
        footprint: &Footprint,
        holding: &Path,
    ) -> Result<(), Refusal> {
        let (mut back, mut all) = (Room::beneath(&self.root), Room::beneath(&self.root));
        // There, if anywhere: the disk of the database is the one that is always needed.
        back.need_at(DATABASE, 1)?;
        all.need_at(DATABASE, FREE_BYTES_MIN)?;
        for package in closure.changes() {
            let before = package.old.as_ref().and_then(|old| old.file.as_ref());
            let (old, new) = (before.and_then(|file| old.get(file)), new.get(&package.file));
            for (path, bytes) in old.into_iter().flat_map(Contents::files) {
                back.need_at(path, bytes)?;
                all.need_at(path, bytes)?;
            }
            for (path, bytes) in new.into_iter().flat_map(Contents::files) {
                all.need_at(path, bytes)?;
            }
        }
        footprint.need_room(&mut all, holding)?;
        all.check()?;
        back.to_reserve().write(&holding.join(RESERVE))
    }

    /// Every path the packages have or had, where they end, and what dpkg knows of them.
    fn paths(&self, closure: &Closure, new: &Files, to: &Diversions) -> Result<BTreeSet<String>, Refusal> {
        let mut paths = BTreeSet::new();
        for package in closure.changes() {
            let mut add = |path: &str| {
                // The root itself is no package's, though all of them name it (`/.`).
                if !path.is_empty() && path != "." {
                    paths.insert(to.landing(path, &package.name).to_owned());
                    paths.insert(path.to_owned());
                }
            };
            for name in [package.name.clone(), package.instance()] {
                INFO.iter().for_each(|info| add(&format!("{INFO_DIRECTORY}/{name}.{info}")));
                let list = self.root.path().join(INFO_DIRECTORY).join(format!("{name}.list"));
                let list = files::read_if_there(&list, LIST_BYTES_MAX)?.unwrap_or_default();
                let had = String::from_utf8_lossy(&list).into_owned();
                had.lines().for_each(|path| add(path.trim_start_matches('/')));
            }
            if let Some(contents) = new.get(&package.file) {
                contents.entries.keys().for_each(|path| add(path));
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
                Some(Before { version: had, file: None, go: 0 })
            }
            Some(State { version: had, status }) if status == INSTALLED => {
                let same = |contents: &&Contents| {
                    contents.name == *name && contents.version == had && contents.architecture == *architecture
                };
                let Some((file, _)) = old.iter().find(|(_, contents)| same(contents)) else {
                    let why =
                        format!("{name} {had} is installed, and neither the patch nor this agent has that package");
                    return no_way_back(why);
                };
                Some(Before { version: had, file: Some(file.clone()), go: 0 })
            }
            state => {
                let state = State::shown(&state);
                return no_way_back(format!("{name} is {state}: that is no state to go back to"));
            }
        };
        let (name, architecture, version) = (name.clone(), architecture.clone(), version.clone());
        closure.packages.push(Package { name, architecture, version, file: file.clone(), go: 0, old });
    }
    set_goes(&mut closure, new, old);
    Ok(closure)
}

/// In which go each package is installed, there and back.
fn set_goes(closure: &mut Closure, new: &Files, old: &Files) {
    let mut changes: Vec<_> = closure.packages.iter_mut().filter(|package| package.changes()).collect();
    let relations: Vec<&Relations> = changes.iter().map(|package| &new[&package.file].relations).collect();
    let goes = order::goes(&relations);
    changes.iter_mut().zip(goes).for_each(|(package, go)| package.go = go);
    let back = changes.into_iter().filter_map(|package| package.old.as_mut());
    let mut back: Vec<_> =
        back.filter_map(|before| Some((&old[before.file.as_ref()?].relations, &mut before.go))).collect();
    let goes = order::goes(&back.iter().map(|(relations, _)| *relations).collect::<Vec<_>>());
    back.iter_mut().zip(goes).for_each(|((_, place), go)| **place = go);
}
