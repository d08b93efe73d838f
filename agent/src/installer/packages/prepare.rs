//! Making the holding: the packages, those to go back to, and what the host is like before.

use super::super::footprint::{Footprint, PATHS_MAX};
use super::super::install::{Held, Job, Story};
use super::super::room::Room;
use super::super::tree::copy_held;
use super::super::unpack::EntryProblem;
use super::closure::{Before, Closure, INSTALLED, Package, State};
use super::contents::{Brings, Contents};
use super::database::Database;
use super::order::{self, Relations};
use super::rights::Accounts;
use super::written::Written;
use super::{KEPT, Manager, NEW, OLD, RESERVE};
use crate::files::{self, failed};
use crate::settled::Refusal;
use ledger::receipt::ReasonCode;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Room that must stay free on the disk of the package database.
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Files that people changed and that are said to be replaced, at most.
const REPLACED_TOLD_MAX: usize = 50;

/// Packages in a directory of the holding, by file name.
pub(in crate::installer) type Files = BTreeMap<String, Contents>;

/// Makes it.
pub(super) fn prepare<M: Manager>(
    manager: &M,
    job: &Job,
    held: Vec<Held>,
    holding: &Path,
    story: &mut Story,
) -> Result<(), Refusal> {
    let (new, mut old) = unload(manager, job, held, holding)?;
    check_ways(&new)?;
    look_for_old(manager, job, holding, &mut old)?;
    let before = manager.database()?;
    let closure = closure(&new, &old, &before)?;
    for Package { name, version, old, .. } in &closure.packages {
        let from = old.as_ref().map_or("not installed", |old| &old.version);
        story.tell(format!("package {name}: {from} → {version}"));
    }
    manager.try_install(&closure.new_goes(holding))?;
    check_privileged(manager, &new, job)?;
    manager.check_bystanders(&closure, &new, &before)?;
    tell_replaced(manager, &closure, job, story)?;
    let paths = manager.paths(&closure, &new)?;
    if paths.len() > PATHS_MAX {
        return Err(Refusal::new(ReasonCode::ArchiveUnsafe, format!("the packages have more than {PATHS_MAX} paths")));
    }
    let footprint = Footprint::take(manager.root(), &paths, M::ENDINGS, job.deadline)?;
    keep_room(manager, &closure, (&new, &old), &footprint, holding)?;
    footprint.keep(manager.root(), &holding.join(KEPT), job.deadline)?;
    Written { closure, footprint, before, is_in_place: false }.write(holding)
}

/// Puts the artifacts where they belong, and looks into each.
fn unload<M: Manager>(manager: &M, job: &Job, held: Vec<Held>, holding: &Path) -> Result<(Files, Files), Refusal> {
    let (mut new, mut old) = (Files::new(), Files::new());
    for directory in [NEW, OLD] {
        files::private_dir(&holding.join(directory))?;
    }
    for held in held {
        let name = held.artifact.name.as_str().to_owned();
        let to_go_back_to = held.artifact.is_to_go_back_to();
        let (directory, packages) = if to_go_back_to { (OLD, &mut old) } else { (NEW, &mut new) };
        let file = format!("{}.{}", name.trim_end_matches(&format!(".{}", M::EXTENSION)), M::EXTENSION);
        let path = holding.join(directory).join(&file);
        copy_held(held, &path, job.deadline)?;
        packages.insert(file, manager.examine(&path, &name)?);
    }
    Ok((new, old))
}

/// Packages this agent installed before are packages to go back to.
fn look_for_old<M: Manager>(manager: &M, job: &Job, holding: &Path, old: &mut Files) -> Result<(), Refusal> {
    let Some(before) = job.holding_before().map(|before| before.join(NEW)) else { return Ok(()) };
    for name in files::names(&before)? {
        let (from, file) = (before.join(&name), format!("kept-{name}"));
        let to = holding.join(OLD).join(&file);
        if !to.exists() {
            std::fs::copy(&from, &to).map_err(failed("keep", &to))?;
            old.insert(file, manager.examine(&to, &name)?);
        }
    }
    Ok(())
}

/// No package may bring anything through a link that another one brings: a package manager would follow it, once it is
/// there, to a place that is in nobody's footprint.
fn check_ways(new: &Files) -> Result<(), Refusal> {
    let all = || new.iter().flat_map(|(file, of)| of.entries.iter().map(move |(path, brings)| (file, path, brings)));
    let no_ways: HashMap<&str, &String> = all()
        .filter(|(.., brings)| **brings != Brings::Directory)
        .map(|(file, path, _)| (path.as_str(), file))
        .collect();
    for (file, path, _) in all() {
        let by = path.match_indices('/').find_map(|(end, _)| no_ways.get(&path[..end]));
        if let Some(by) = by {
            let detail = format!("package {file}: entry {path:?} {}, as {by} has it", EntryProblem::BeneathNoDirectory);
            return Err(Refusal::new(ReasonCode::ArchiveUnsafe, detail));
        }
    }
    Ok(())
}

/// What runs with more rights than its user's must have done so before, with no more of them.
fn check_privileged<M: Manager>(manager: &M, new: &Files, job: &Job) -> Result<(), Refusal> {
    let root = manager.root();
    let accounts = OnceCell::new();
    for (file, (path, rights)) in new.iter().flat_map(|(file, of)| of.rights.iter().map(move |one| (file, one))) {
        let there = root.mark_within(path, job.deadline).map_err(failed("examine", &root.path().join(path)))?;
        if let Err(problem) = rights.check(&there, accounts.get_or_init(|| Accounts::of(root))) {
            let detail = format!("package {file}: entry {path:?} {problem}");
            return Err(Refusal::new(ReasonCode::ArchiveUnsafe, detail));
        }
    }
    Ok(())
}

/// Says which files that people changed are about to be replaced.
fn tell_replaced<M: Manager>(manager: &M, closure: &Closure, job: &Job, story: &mut Story) -> Result<(), Refusal> {
    let old: Vec<_> = closure.changes().filter(|package| package.old.is_some()).collect();
    // Without a name a manager would look at every package there is.
    if old.is_empty() {
        return Ok(());
    }
    let altered = manager.altered(&old, job.deadline.left())?;
    for altered in altered.iter().filter(|altered| !altered.is_configuration).take(REPLACED_TOLD_MAX) {
        story.tell(format!("/{} was changed on this host, and is replaced", altered.path));
    }
    Ok(())
}

/// Asks every disk for room, and has as much kept on each as going back needs.
fn keep_room<M: Manager>(
    manager: &M,
    closure: &Closure,
    (new, old): (&Files, &Files),
    footprint: &Footprint,
    holding: &Path,
) -> Result<(), Refusal> {
    let (mut back, mut all) = (Room::beneath(manager.root()), Room::beneath(manager.root()));
    // Room is kept beside the database, where it can be.
    let database = manager.database_path();
    back.need_at(&database, M::DATABASE_BYTES)?;
    all.need_at(&database, FREE_BYTES_MIN)?;
    for package in closure.changes() {
        let before = package.old.as_ref().and_then(|old| old.file.as_ref());
        let (old, new) = (before.and_then(|file| old.get(file)), new.get(&package.file));
        for (path, bytes) in old.into_iter().flat_map(Contents::files) {
            back.need_at(path, bytes)?;
            all.need_at(path, bytes)?;
        }
        for (path, bytes) in new.into_iter().flat_map(Contents::files) {
            back.need_at(path, 0)?;
            all.need_at(path, bytes)?;
        }
    }
    footprint.need_room(&mut all, holding)?;
    all.check()?;
    back.to_reserve().write(&holding.join(RESERVE))
}

/// What the patch brings against what is there; refuses what could not be taken back.
fn closure(new: &Files, old: &Files, database: &Database) -> Result<Closure, Refusal> {
    let mut closure = Closure::default();
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
