//! Container images: an OCI image layout, unpacked beside the version that runs. The holding is the bundle that the
//! container runtime runs: the root file system and the description of the container. So there is nothing to put in
//! place: the engine's own switch of `current` is the one step, as with trees.

pub mod layers;
pub mod layout;
mod rootfs;
pub mod user;

pub use layout::{Compression, Layer};
pub use rootfs::RootFs;
pub(crate) use rootfs::has_directory;

use super::digest;
use super::install::{Held, Install, Job, Look, PutError, Story};
use super::installs::{Place, VersionId};
use super::record;
use super::tree;
use super::unpack::{LIMITS, Limits};
use crate::config;
use crate::containers::bundle::{self, CONFIG, OF_THE_HOST, OF_THE_KERNEL, Process, ROOTFS, SCRATCH};
use crate::containers::{self, TREE_INSIDE};
use crate::files::{self, FileError};
use crate::settled::{Refusal, chain};
use layout::Image;
use ledger::bounded::Sentence;
use ledger::id::Digest;
use ledger::patch::{InstallerKind, PatchManifest};
use ledger::receipt::{Reason, ReasonCode};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path};

/// The unpacked layout, in the holding while it grows.
const LAYOUT: &str = "layout";
/// What the bundle was made of, in the holding.
const IMAGE: &str = "image.json";
/// Largest record of an image.
const IMAGE_BYTES_MAX: usize = 4 * 1024;

/// What a bundle was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    /// Digest of the image's manifest, as registries have it.
    image: String,
    /// Digest of whose every file is: that of the tree does not say.
    owners: Digest,
}

/// Installs container images.
pub(super) struct Container {
    config: config::Containers,
    limits: Limits,
}

impl Container {
    pub(super) fn new(config: &config::Containers) -> Self {
        Self { config: config.clone(), limits: LIMITS }
    }

    /// Makes the root file system: the layers, and what is mounted over.
    fn grow(&self, job: &Job, image: &Image, at: &Path, story: &mut Story) -> Result<(), Refusal> {
        files::private_dir(at)?;
        let mut root = RootFs::beneath(at, self.limits).map_err(tree::refusal)?;
        root.directory(b"", rootfs::Rights::ROOTS).map_err(|refused| tree::refusal(refused.of(b"/")))?;
        for layer in &image.layers {
            layers::lay(layer, &mut root, self.limits, job.deadline)?;
        }
        let own = self.config.directories.keys().map(String::as_str);
        let wanted = image.directory().into_iter().chain(OF_THE_KERNEL).chain(SCRATCH).chain(own);
        for path in wanted {
            root.directory_for_mount(path).map_err(tree::refusal)?;
        }
        for path in OF_THE_HOST {
            root.file_for_mount(path).map_err(tree::refusal)?;
        }
        if root.bits_left_out() > 0 {
            story.tell(format!("{} files without their setuid and setgid bits", root.bits_left_out()));
        }
        Ok(())
    }

    /// What an image wants to keep must have a place outside of it, or it would be lost.
    fn check_volumes(&self, image: &Image) -> Result<(), Refusal> {
        let kept = self.config.directories.keys().map(String::as_str).chain(SCRATCH);
        let kept: Vec<&str> = kept.collect();
        // By a detour it could begin like a place that is kept, and be another.
        let is_plain = |volume: &str| {
            Path::new(volume).is_absolute() && Path::new(volume).components().all(|part| part != Component::ParentDir)
        };
        if let Some(odd) = image.volumes().into_iter().find(|volume| !is_plain(volume)) {
            let detail = format!(
                "the image keeps data in {:?}, which is no absolute path without `..`",
                Sentence::cut(odd).as_str()
            );
            return Err(Refusal::new(ReasonCode::ArchiveUnsafe, detail));
        }
        let is_kept = |volume: &str| kept.iter().any(|place| Path::new(volume).starts_with(place));
        match image.volumes().into_iter().find(|volume| !is_kept(volume)) {
            None => Ok(()),
            Some(volume) => {
                let volume = Sentence::cut(volume);
                let detail = format!(
                    "the image keeps data in {volume}: name a directory of the host for it in \
                     installers.containers.directories"
                );
                Err(Refusal::new(ReasonCode::InstallFailed, detail))
            }
        }
    }
}

impl Image {
    /// The directory its program begins in.
    fn directory(&self) -> Option<&str> {
        self.configuration.config().as_ref()?.working_dir().as_deref().filter(|directory| !directory.is_empty())
    }

    fn volumes(&self) -> Vec<&str> {
        let volumes = self.configuration.config().as_ref().and_then(|config| config.volumes().as_ref());
        let mut volumes: Vec<&str> = volumes.into_iter().flatten().map(String::as_str).collect();
        // They come out of a map without order.
        volumes.sort_unstable();
        volumes
    }

    /// What it runs, as whom.
    fn process(&self, root: &Path) -> Result<Process, Refusal> {
        let config = self.configuration.config().clone().unwrap_or_default();
        let user = user::find(root, config.user().as_deref().unwrap_or_default())?;
        let all = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
        let arguments = [all(config.entrypoint()), all(config.cmd())].concat();
        let environment = all(config.env());
        let directory = self.directory().unwrap_or(TREE_INSIDE).to_owned();
        let is_odd = |text: &String| text.contains('\0');
        let odd = environment
            .iter()
            .find(|variable| !variable.contains('='))
            .or_else(|| arguments.iter().chain(&environment).chain([&directory]).find(|text| is_odd(text)));
        if let Some(odd) = odd {
            let detail =
                format!("the image's configuration has {:?}, which nothing can be run with", Sentence::cut(odd));
            return Err(Refusal::new(ReasonCode::ArchiveUnsafe, detail));
        }
        let user::User { uid, gid, more_groups } = user;
        Ok(Process { uid, gid, more_groups, arguments, environment, directory })
    }
}

/// Makes sure that a version's bundle is what was once put there.
fn check(place: &Place, id: &VersionId) -> Result<(), String> {
    tree::check(place, id)?;
    let holding = place.tree(id);
    let made: Made = record::read(&holding.join(IMAGE), IMAGE_BYTES_MAX).map_err(|error| chain(&error))?;
    let owners = digest::owners(&holding.join(ROOTFS)).map_err(|error| chain(&error))?;
    match owners == made.owners {
        true => Ok(()),
        false => Err(format!("the files of {id} belong to others than they did: digest {owners}, was {}", made.owners)),
    }
}

impl Install for Container {
    fn kind(&self) -> InstallerKind {
        InstallerKind::Container
    }

    fn lacks(&self) -> Option<String> {
        if !self.config.enabled {
            return Some("not enabled in [installers.containers]".to_owned());
        }
        containers::lacks()
    }

    fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal> {
        match manifest.payloads().len() {
            1 => Ok(()),
            count => {
                let detail = format!("a container image is one archive, this patch has {count}");
                Err(Refusal::new(ReasonCode::InstallerMissing, detail))
            }
        }
    }

    fn prepare(&self, job: &Job, held: Vec<Held>, holding: &Path, story: &mut Story) -> Result<(), Refusal> {
        let (layout, root) = (holding.join(LAYOUT), holding.join(ROOTFS));
        files::private_dir(&layout)?;
        held.into_iter().try_for_each(|held| tree::unpack(held, &layout, self.limits, job.deadline))?;
        let image = layout::read(&layout, job.deadline)?;
        self.check_volumes(&image)?;
        self.grow(job, &image, &root, story)?;
        let process = image.process(&root)?;
        files::remove_tree(&layout)?;
        story.tell(format!("image {}: {} layers, runs as user {}", image.digest, image.layers.len(), process.uid));
        let description = serde_json::to_vec(&bundle::describe(process)).unwrap_or_default();
        files::replace(&holding.join(CONFIG), &description)?;
        let owners = digest::owners(&root).map_err(|error| tree::io_refusal(&error.to_string(), &error.source))?;
        record::write(&holding.join(IMAGE), &Made { image: image.digest, owners }, IMAGE_BYTES_MAX)
    }

    fn put(&self, _: &Job, _: &mut Story) -> Result<(), PutError> {
        Ok(())
    }

    fn look(&self, job: &Job) -> Result<Look, FileError> {
        // Bundles are never changed in place: which one is installed is all there is to see.
        let way_back = job.begun.from.as_ref().is_none_or(|from| job.place.has(from));
        Ok(Look { old: true, new: job.place.has(&job.begun.to), way_back, ..Look::default() })
    }

    fn prove_new(&self, job: &Job) -> Result<(), Reason> {
        check(&job.place, &job.begun.to).map_err(|differs| crate::settled::reason(ReasonCode::InstallFailed, differs))
    }

    fn restore(&self, _: &Job, _: &mut Story) -> Result<(), String> {
        Ok(())
    }

    fn prove_old(&self, job: &Job) -> Result<(), String> {
        job.begun.from.as_ref().map_or(Ok(()), |from| check(&job.place, from))
    }

    fn settle(&self, _: &Job) -> Result<(), FileError> {
        Ok(())
    }

    fn runs_in_containers(&self) -> bool {
        true
    }
}
