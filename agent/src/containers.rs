//! Running what is in images: services and checks, in containers that end with the agent.
//!
//! A container must not outlive the agent, whatever either of them does. So everything of it lives in a namespace of
//! processes whose first one dies with the agent ([`crate::services::launch`]): then the kernel kills all the others.
//! The runtime's own notes lie in memory that only these processes see, and that is gone with them: there is never
//! anything to clear up after a container, and never a name that is still taken.

pub(crate) mod bundle;
mod calls;

use crate::config;
use crate::files::{self, FileError};
use crate::installer;
use crate::installer::tool::{self, Tool};
use crate::settled::chain;
use bundle::{CONFIG, ROOTFS};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program that runs containers.
pub(crate) const RUNTIME: &str = "crun";
/// The program that begins namespaces.
pub(crate) const UNSHARE: &str = "unshare";
/// How the surroundings of a container begin: namespaces in which all dies with the first process; memory, mounted where
/// the first of the words that follow says; then that process is what the other words say. Where a host has both kinds
/// of control groups the runtime wants to see one of them. It uses neither: the limits are those of the agent's own unit.
/// A kernel that has only the old kind shows only that.
pub(crate) const SURROUNDINGS: [&str; 9] = [
    "--mount",
    "--pid",
    "--mount-proc",
    "--kill-child",
    "--fork",
    "sh",
    "-c",
    "mount -t tmpfs -o mode=0700,size=1m,nosuid,nodev tmpfs \"$1\" || exit 125
    mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
    shift
    exec \"$@\"",
    "sh",
];
/// What `{tree}` stands for in words that are run in a container.
pub const TREE_INSIDE: &str = "/";
/// How long one call of a tool may take that is only asked whether it works, and where it mounts, which nobody else sees.
const TRY_PATIENCE: Duration = Duration::from_secs(5);
const TRY_AT: &str = "/tmp";
/// Largest description of a container.
const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// What this host lacks for running containers. Tried and not guessed: a host may have the programs, and not let the
/// agent begin namespaces.
pub(crate) fn lacks() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("the agent is not run by root".to_owned());
    }
    let (Some(runtime), Some(unshare)) = (tool::find(RUNTIME), tool::find(UNSHARE)) else {
        return Some(format!("{RUNTIME} or {UNSHARE} is not there"));
    };
    let version = Tool::new(&runtime, TRY_PATIENCE).args(["--version"]).run().0;
    let begin = Tool::new(&unshare, TRY_PATIENCE).args(SURROUNDINGS).args([TRY_AT, "true"]).run().0;
    version.and(begin).err().map(|error| chain(&error))
}

/// Why nothing is run in a container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The bundle, or the directory of what runs.
    #[error(transparent)]
    File(#[from] FileError),
    /// The bundle's description is none.
    #[error("the description of the container is not understood")]
    Config(#[source] serde_json::Error),
    /// Neither the image nor the configuration names a program.
    #[error("the image names no program, and the configuration neither")]
    NoProgram,
    /// A directory of the host that is not there.
    #[error("{}, which the configuration puts into containers, is no directory", .0.display())]
    NotOutside(PathBuf),
    /// The image was installed before the configuration named this directory.
    #[error("the image has no directory {0}: it is made when the next version is installed")]
    NotInside(String),
}

/// Runs what is in images.
#[derive(Clone, Debug)]
pub struct Containers {
    /// Descriptions of what runs, and where the runtime's notes are mounted.
    room: PathBuf,
    directories: BTreeMap<String, PathBuf>,
}

impl Containers {
    /// With `room` for what it notes.
    #[must_use]
    pub fn new(room: PathBuf, config: &config::Containers) -> Self {
        Self { room, directories: config.directories.clone() }
    }

    /// The words that run something in a container of an installed image, under a name that nothing else runs under:
    /// `words`, or what the image runs when there are none, with more environment. It can be started with them again and
    /// again.
    ///
    /// # Errors
    /// [`ContainerError`].
    pub fn words(
        &self,
        name: &str,
        image: &Path,
        words: &[String],
        environment: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, ContainerError> {
        let bytes = files::read(&image.join(CONFIG), CONFIG_BYTES_MAX)?;
        let mut config: Value = serde_json::from_slice(&bytes).map_err(ContainerError::Config)?;
        for (inside, outside) in &self.directories {
            if !outside.is_dir() {
                return Err(ContainerError::NotOutside(outside.clone()));
            }
            if !installer::has_directory(&image.join(ROOTFS), inside) {
                return Err(ContainerError::NotInside(inside.clone()));
            }
        }
        if !bundle::fill_in(&mut config, words, environment, &self.directories) {
            return Err(ContainerError::NoProgram);
        }
        files::private_dir(&self.room)?;
        let description = self.room.join(format!("{name}.json"));
        let bytes = serde_json::to_vec(&config).map_err(ContainerError::Config)?;
        // The same again and again, where something is asked now and then.
        if std::fs::read(&description).ok().as_ref() != Some(&bytes) {
            files::replace(&description, &bytes)?;
        }
        Ok(run_words(image, &self.room.join("notes"), &description, name)?)
    }
}

/// The words that run a bundle by a description, with the runtime's own notes at `notes`.
pub(crate) fn run_words(bundle: &Path, notes: &Path, description: &Path, name: &str) -> Result<Vec<String>, FileError> {
    files::private_dir(notes)?;
    let [bundle, notes, description] = [bundle, notes, description].map(|path| path.to_string_lossy().into_owned());
    let begin = [UNSHARE].into_iter().chain(SURROUNDINGS);
    let run = [RUNTIME, "--root", &notes, "--cgroup-manager", "disabled", "run", "--bundle", &bundle];
    let which = ["--config", &description, name];
    Ok(begin.chain([notes.as_str()]).chain(run).chain(which).map(str::to_owned).collect())
}
