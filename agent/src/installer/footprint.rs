//! What of a host an update touches: every path with its content, mode, owner, link target and
//! extended attributes, written down before, so that going back can be proven and, where something
//! differs, repaired.

mod mark;
mod mend;
mod root;
#[cfg(test)]
mod tests;

use super::deadline::Deadline;
use super::install::Story;
use super::record;
use super::room::Room;
use super::tree::io_refusal;
use super::unpack::{DEPTH_MAX, LIMITS};
use crate::files::{self, FileError, failed};
use crate::settled::{Refusal, chain};
use ledger::receipt::ReasonCode;
pub(super) use mark::Mark;
use mark::{Glance, Identity, Reach};
use mend::{Content, Mended};
pub(super) use mend::{own, write_beside};
pub(super) use root::{BESIDE, Root, WayError, beside, remove, split};
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;

/// Paths of one footprint: as many as a patch may bring, and as many that those before it brought.
pub(super) const PATHS_MAX: usize = 2 * LIMITS.entries_max;
/// Largest footprint file.
const FOOTPRINT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Paths relative to the root, and what was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Footprint {
    marks: BTreeMap<String, Mark>,
    /// Names of one file: each with the first of them.
    links: BTreeMap<String, String>,
    /// Endings of what a tool may leave beside a path. Where no mark says something else there was nothing.
    endings: Vec<String>,
}

/// A path that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference<'a> {
    pub(super) path: Cow<'a, str>,
    pub(super) wanted: &'a Mark,
    pub(super) there: Mark,
}

/// What a look at every path came to.
#[derive(Debug, Default)]
struct Seen<'a> {
    /// The paths of which something else is there now.
    differing: Vec<Difference<'a>>,
    /// The directories that are somebody else's now.
    left: Vec<String>,
    /// The paths that cannot be examined, and why.
    unseen: Vec<(String, io::Error)>,
}

/// What a repair came to.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// What is as it was again.
    pub(super) repaired: Vec<String>,
    /// Directories that would be gone, had nobody put something into them.
    pub(super) left: Vec<String>,
    /// What could not be repaired, and why.
    pub(super) failed: Vec<(String, io::Error)>,
}

impl Footprint {
    /// Writes down what is at these paths, and beside them.
    pub(super) fn take(
        root: &Root,
        paths: &BTreeSet<String>,
        endings: &[&str],
        deadline: Deadline,
    ) -> Result<Self, Refusal> {
        let (mut glance, mut first) = (Glance::beneath(root), HashMap::<Identity, String>::new());
        let mut footprint =
            Self { endings: endings.iter().map(|&ending| ending.to_owned()).collect(), ..Self::default() };
        for path in paths {
            deadline.check()?;
            let reach = Reach::Whole(Some(deadline));
            let mut look = |path: &str| glance.at(path, reach).map_err(failed("examine", &root.path().join(path)));
            for ending in endings {
                let beside = format!("{path}{ending}");
                let (mark, _) = look(&beside)?;
                if mark != Mark::Missing {
                    footprint.marks.insert(beside, mark);
                }
            }
            let (mark, identity) = look(path)?;
            footprint.marks.insert(path.clone(), mark);
            match identity.map(|identity| first.entry(identity).or_insert_with(|| path.clone())) {
                Some(first) if first != path => drop(footprint.links.insert(path.clone(), first.clone())),
                _ => {}
            }
        }
        Ok(footprint)
    }

    /// What was at a path.
    pub(super) fn get(&self, path: &str) -> &Mark {
        self.marks.get(path).unwrap_or(&Mark::Missing)
    }

    /// Whether a path is one of these, what is beside them apart.
    pub(super) fn has(&self, path: &str) -> bool {
        self.marks.contains_key(path)
    }

    /// The paths, without what is beside them.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.marks.keys().map(String::as_str)
    }

    /// Every path, and what was there.
    fn wanted(&self) -> impl Iterator<Item = (Cow<'_, str>, &Mark)> {
        self.marks.iter().flat_map(|(path, mark)| {
            let beside = self.endings.iter().map(move |ending| format!("{path}{ending}"));
            let beside = beside.filter(|beside| !self.marks.contains_key(beside));
            let beside = beside.map(|beside| (Cow::Owned(beside), &Mark::Missing));
            std::iter::once((Cow::Borrowed(path.as_str()), mark)).chain(beside)
        })
    }

    /// Whether a path is one of these.
    fn covers(&self, path: &str) -> bool {
        let beside = |ending: &String| path.strip_suffix(ending.as_str()).is_some_and(|of| self.marks.contains_key(of));
        self.marks.contains_key(path) || self.endings.iter().any(beside)
    }

    /// The paths of which something else is there now. A directory that was not there and holds what
    /// somebody else put into it since is none of them: it is his now.
    pub(super) fn differences(&self, root: &Root) -> Result<Vec<Difference<'_>>, FileError> {
        let Seen { differing, unseen, .. } = self.compare(root);
        match unseen.into_iter().next() {
            None => Ok(differing),
            Some((path, error)) => Err(failed("examine", &root.path().join(path))(error)),
        }
    }

    /// Looks at every path. One that cannot be examined stops nothing else.
    fn compare(&self, root: &Root) -> Seen<'_> {
        let (mut glance, mut seen) = (Glance::beneath(root), Seen::default());
        let mut identities = HashMap::<&str, Option<Identity>>::new();
        for (path, wanted) in self.wanted() {
            let first = match self.links.get(&*path).map(|first| (first, identities.get(first.as_str()))) {
                // Names of one file are still that; the first of them comes first.
                Some((_, Some(first))) => Some(*first),
                Some((first, None)) => {
                    let said = format!("it was one file with /{first}, which cannot be examined");
                    seen.unseen.push((path.into_owned(), io::Error::other(said)));
                    continue;
                }
                None => None,
            };
            let looked = glance.at(&path, Reach::As(wanted)).and_then(|(there, identity)| {
                let may_stay = *wanted == Mark::Missing && matches!(there, Mark::Directory { .. });
                Ok((may_stay && self.is_somebodys(root, &path, 0)?, there, identity))
            });
            let (stays, there, identity) = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    seen.unseen.push((path.into_owned(), error));
                    continue;
                }
            };
            if let Cow::Borrowed(path) = path {
                identities.insert(path, identity);
            }
            if stays {
                seen.left.push(path.into_owned());
            } else if there != *wanted || first.is_some_and(|first| first != identity) {
                seen.differing.push(Difference { path, wanted, there });
            }
        }
        seen
    }

    /// Whether there is something in a directory that is not of this footprint.
    fn is_somebodys(&self, root: &Root, path: &str, depth: usize) -> io::Result<bool> {
        for name in root.names(path)? {
            let inner = format!("{path}/{name}");
            let is_directory = || Ok::<_, io::Error>(root.kind(&inner)? == Some(FileType::Directory));
            if !self.covers(&inner)
                || depth < DEPTH_MAX
                    && *self.get(&inner) == Mark::Missing
                    && is_directory()?
                    && self.is_somebodys(root, &inner, depth + 1)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes that copies of all files take.
    pub(super) fn need_room(&self, room: &mut Room, holding: &Path) -> Result<(), FileError> {
        let bytes = self.marks.values().map(|mark| if let Mark::File { size, .. } = mark { *size } else { 0 });
        room.need_in(holding, bytes.fold(0, u64::saturating_add))
    }

    /// Keeps the content of every file in a directory, by its place in the footprint.
    pub(super) fn keep(&self, root: &Root, directory: &Path, deadline: Deadline) -> Result<(), Refusal> {
        files::private_dir(directory)?;
        for (place, (path, mark)) in self.marks.iter().enumerate() {
            deadline.check()?;
            let Mark::File { blake3, size, .. } = mark else { continue };
            if self.links.contains_key(path) {
                continue;
            }
            let copied = root.copy_out(path, &directory.join(place.to_string()), *size, deadline);
            let (_, copied) = copied.map_err(|error| io_refusal(&format!("keep a copy of {path}"), &error))?;
            if copied != *blake3 {
                return Err(meanwhile(path));
            }
        }
        Ok(())
    }

    /// Refuses to go on when something is not what it was when this was taken.
    pub(super) fn check_unchanged(&self, root: &Root) -> Result<(), Refusal> {
        match self.differences(root)?.first() {
            None => Ok(()),
            Some(Difference { path, .. }) => Err(meanwhile(path)),
        }
    }

    /// Makes everything that differs what it was, from what [`Footprint::keep`] kept. What cannot be
    /// examined or repaired stops nothing else.
    pub(super) fn repair(&self, root: &Root, kept: &Path) -> Repair {
        let places: HashMap<&str, usize> =
            self.marks.keys().enumerate().map(|(place, path)| (path.as_str(), place)).collect();
        let Seen { mut differing, left, unseen } = self.compare(root);
        // What must go goes from the inside out; what must be there comes from the outside in, and a further
        // name of a file after the file.
        let order = |difference: &Difference<'_>| {
            let (is_wanted, length) = (*difference.wanted != Mark::Missing, difference.path.len());
            let is_link = self.links.contains_key(&*difference.path);
            (is_wanted, is_link, if is_wanted { length } else { usize::MAX - length })
        };
        differing.sort_by_cached_key(order);
        let mut repair = Repair { left, failed: unseen, ..Repair::default() };
        for Difference { path, wanted, .. } in differing {
            let kept = places.get(&*path).map(|place| kept.join(place.to_string())).unwrap_or_default();
            let content = match self.links.get(&*path) {
                Some(first) => Content::Same(first),
                None => Content::Kept(&kept),
            };
            match root.mend(&path, wanted, content) {
                Ok(Mended::Whole) => repair.repaired.push(path.into_owned()),
                Ok(Mended::Left) => repair.left.push(path.into_owned()),
                Err(error) => repair.failed.push((path.into_owned(), error)),
            }
        }
        repair
    }

    /// Writes it down.
    pub(super) fn write(&self, path: &Path) -> Result<(), Refusal> {
        record::write(path, self, FOOTPRINT_BYTES_MAX)
    }

    /// Reads what was written down.
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        record::read(path, FOOTPRINT_BYTES_MAX)
    }
}

/// What somebody changed meanwhile is not overwritten.
pub(super) fn meanwhile(path: &str) -> Refusal {
    Refusal::new(ReasonCode::InstallFailed, format!("/{path} was changed meanwhile"))
}

impl Difference<'_> {
    /// In words.
    pub(super) fn told(&self) -> String {
        format!("/{} is {:?}, was {:?}", self.path, self.there, self.wanted)
    }
}

impl Repair {
    /// Says what was done, and fails when something could not be.
    pub(super) fn tell(self, story: &mut Story) -> Result<(), String> {
        self.repaired.iter().for_each(|path| story.tell(format!("repaired /{path}")));
        for path in self.left {
            story.tell(format!("directory /{path} stays: somebody put something into it that is not of the patch"));
        }
        let failed: Vec<_> =
            self.failed.iter().map(|(path, error)| format!("cannot repair /{path}: {}", chain(error))).collect();
        failed.iter().for_each(|line| story.tell(line.clone()));
        match failed.first() {
            None => Ok(()),
            Some(first) if failed.len() == 1 => Err(first.clone()),
            Some(first) => Err(format!("{first} (and {} more)", failed.len() - 1)),
        }
    }
}
