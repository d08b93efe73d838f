//! Where trees stand: `installs/NAMESPACE/NAME/CHANNEL/versions/ID/`, and beside them `current`, the
//! one symbolic link that says which is installed. It is replaced by one atomic rename; nothing else
//! makes a version the installed one.

use crate::files::{self, FileError, failed};
use ledger::bounded::{Name, Product, Version};
use ledger::id::{Digest, PatchId};
use ledger::patch::InstallerKind;
use policy::{Installed, Subscription};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Versions of one product kept: the installed one, and the one before for going back.
pub const VERSIONS_KEPT: usize = 2;
/// Largest description of a version.
const META_BYTES_MAX: usize = 4 * 1024;

/// Name of a version's directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionId(String);

impl VersionId {
    /// The version a patch brings.
    #[must_use]
    pub fn of_patch(patch: PatchId) -> Self {
        Self(format!("patch-{patch}"))
    }

    /// A version that was there before the ledger knew of it.
    #[must_use]
    pub fn of_baseline(tree: Digest) -> Self {
        Self(format!("baseline-{tree}"))
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<VersionId> for String {
    fn from(id: VersionId) -> Self {
        id.0
    }
}

impl TryFrom<String> for VersionId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match (1..=80).contains(&text.len()) && text.bytes().all(plain) {
            true => Ok(Self(text)),
            false => Err(format!("{text:?} is no version directory")),
        }
    }
}

/// What is known of a version, written beside its tree before it is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionMeta {
    /// As people know it.
    pub version: Version,
    /// Its release counter; 0 for a baseline without one.
    pub release: u64,
    /// The patch that brought it; none for a baseline.
    pub patch: Option<PatchId>,
    /// Digest of the tree as it was put there: content, modes and links.
    pub tree: Digest,
    /// How it was installed.
    #[serde(default = "directory_tree")]
    pub kind: InstallerKind,
    /// Where it runs from; its own tree when absent.
    #[serde(default)]
    pub runs_from: Option<PathBuf>,
}

/// What every version was before there were other kinds.
pub(super) fn directory_tree() -> InstallerKind {
    InstallerKind::DirectoryTree
}

/// The place of one product and channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(PathBuf);

impl Place {
    /// Below the directory of all installs.
    #[must_use]
    pub fn new(installs: &Path, of: &Subscription) -> Self {
        let (namespace, name) = (of.product.namespace(), of.product.name());
        Self(installs.join(namespace.as_str()).join(name.as_str()).join(of.channel.as_str()))
    }

    /// Makes the directories.
    pub(super) fn make(&self) -> Result<(), FileError> {
        files::private_dir(&self.versions())?;
        // The directories above are new, too, the first time.
        self.0.ancestors().take(4).try_for_each(files::sync_dir)
    }

    fn versions(&self) -> PathBuf {
        self.0.join("versions")
    }

    /// The tree of a version.
    #[must_use]
    pub fn tree(&self, id: &VersionId) -> PathBuf {
        self.versions().join(&id.0)
    }

    /// Where a tree grows before it has its name.
    pub(super) fn partial(&self, id: &VersionId) -> PathBuf {
        self.versions().join(format!("{id}.partial"))
    }

    /// The patches whose trees are here: what is installed, and what may be gone back to.
    fn patches(&self) -> Result<BTreeSet<PatchId>, FileError> {
        let names = files::names(&self.versions())?.into_iter();
        let ids = names.filter_map(|name| VersionId::try_from(name.strip_suffix(".json")?.to_owned()).ok());
        // What cannot be read of one hides no other.
        Ok(ids.filter_map(|id| self.meta(&id).ok()?.patch).collect())
    }

    fn meta_path(&self, id: &VersionId) -> PathBuf {
        self.versions().join(format!("{id}.json"))
    }

    /// The installed version.
    ///
    /// # Errors
    /// [`FileError`] when the link cannot be read or is none of this agent's.
    pub fn current(&self) -> Result<Option<VersionId>, FileError> {
        let path = self.0.join("current");
        let target = match fs::read_link(&path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read link", &path)(error)),
        };
        let id = target.strip_prefix("versions").ok().and_then(Path::to_str).map(str::to_owned);
        let id = id.and_then(|id| VersionId::try_from(id).ok());
        let strange = || io::Error::new(io::ErrorKind::InvalidData, format!("it leads to {}", target.display()));
        id.map(Some).ok_or_else(|| failed("understand", &path)(strange()))
    }

    /// Makes a version the installed one, or none: the one step that counts.
    pub(super) fn switch(&self, to: Option<&VersionId>) -> Result<(), FileError> {
        let current = self.0.join("current");
        match to {
            Some(id) => {
                let new = self.0.join("current.new");
                files::remove(&new)?;
                std::os::unix::fs::symlink(Path::new("versions").join(&id.0), &new).map_err(failed("link", &new))?;
                fs::rename(&new, &current).map_err(failed("replace", &current))?;
            }
            None => files::remove(&current)?,
        }
        files::sync_dir(&self.0)
    }

    /// What is known of a version.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn meta(&self, id: &VersionId) -> Result<VersionMeta, FileError> {
        let path = self.meta_path(id);
        let bytes = files::read(&path, META_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|error| failed("understand", &path)(io::Error::other(error)))
    }

    /// Gives a grown tree its name, with its description beside it.
    pub(super) fn name(&self, id: &VersionId, meta: &VersionMeta) -> Result<(), FileError> {
        let bytes = serde_json::to_vec_pretty(meta).unwrap_or_default();
        files::replace(&self.meta_path(id), &bytes)?;
        let (partial, tree) = (self.partial(id), self.tree(id));
        fs::rename(&partial, &tree).map_err(failed("rename", &partial))?;
        files::sync_dir(&self.versions())
    }

    /// Whether a version's tree is there.
    pub(super) fn has(&self, id: &VersionId) -> bool {
        self.tree(id).is_dir()
    }

    /// Removes a version and whatever was left of it. It loses its name first: what bears one is whole.
    pub(super) fn discard(&self, id: &VersionId) -> Result<(), FileError> {
        let (partial, tree) = (self.partial(id), self.tree(id));
        files::remove_tree(&partial)?;
        match fs::rename(&tree, &partial) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(failed("rename", &tree))?,
        }
        files::remove_tree(&partial)?;
        files::remove(&self.meta_path(id))?;
        match self.versions().is_dir() {
            true => files::sync_dir(&self.versions()),
            false => Ok(()),
        }
    }

    /// Removes every version but these.
    pub(super) fn prune(&self, kept: &[&VersionId]) -> Result<(), FileError> {
        for name in files::names(&self.versions())? {
            let id = name.trim_end_matches(".json").trim_end_matches(".partial").to_owned();
            let Ok(id) = VersionId::try_from(id) else { continue };
            if !kept.contains(&&id) {
                self.discard(&id)?;
            }
        }
        Ok(())
    }
}

/// A tree that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledTree {
    /// Where it runs from: its own tree, or the place in the host that it was put into.
    pub tree: PathBuf,
    /// Its version's name.
    pub id: VersionId,
    /// What is known of it.
    pub meta: VersionMeta,
}

/// What is installed of one subscription.
///
/// # Errors
/// [`FileError`].
pub fn installed(installs: &Path, of: &Subscription) -> Result<Option<InstalledTree>, FileError> {
    let place = Place::new(installs, of);
    let Some(id) = place.current()? else { return Ok(None) };
    let meta = place.meta(&id)?;
    let tree = meta.runs_from.clone().unwrap_or_else(|| place.tree(&id));
    Ok(Some(InstalledTree { tree, meta, id }))
}

/// Everything that is installed, as house law looks at it.
///
/// # Errors
/// [`FileError`].
pub fn all_installed(installs: &Path) -> Result<BTreeMap<(Product, Name), Installed>, FileError> {
    let facts = |meta: VersionMeta| Installed { release: meta.release, version: meta.version };
    let all = all_trees(installs)?.into_iter();
    Ok(all.map(|(of, InstalledTree { meta, .. })| ((of.product, of.channel), facts(meta))).collect())
}

/// Everything that is installed, also of what is no longer subscribed: it can still be depended on, or
/// be in conflict.
///
/// # Errors
/// [`FileError`].
pub fn all_trees(installs: &Path) -> Result<BTreeMap<Subscription, InstalledTree>, FileError> {
    let mut all = BTreeMap::new();
    for (of, found) in each(installs)? {
        if let Some(installed) = found? {
            all.insert(of, installed);
        }
    }
    Ok(all)
}

/// The patches that are installed, and those that may be gone back to.
///
/// # Errors
/// [`FileError`] when not even the places can be listed.
pub fn patches_kept(installs: &Path) -> Result<BTreeSet<PatchId>, FileError> {
    each(installs)?.iter().try_fold(BTreeSet::new(), |mut all, (of, _)| {
        all.extend(Place::new(installs, of).patches()?);
        Ok(all)
    })
}

/// One that has a place, and what is found there.
pub type Found = (Subscription, Result<Option<InstalledTree>, FileError>);

/// Everything that has a place, each with what is found there: what is wrong with one hides no other.
///
/// # Errors
/// [`FileError`] when not even the places can be listed.
pub fn each(installs: &Path) -> Result<Vec<Found>, FileError> {
    let mut all = Vec::new();
    for namespace in files::names(installs)? {
        for name in files::names(&installs.join(&namespace))? {
            let Ok(product) = Product::new(format!("{namespace}/{name}")) else { continue };
            for channel in files::names(&installs.join(&namespace).join(&name))? {
                let Ok(channel) = Name::new(channel) else { continue };
                let of = Subscription { product: product.clone(), channel };
                let found = installed(installs, &of);
                all.push((of, found));
            }
        }
    }
    Ok(all)
}
