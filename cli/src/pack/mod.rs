//! Packing: from what a vendor has (a directory, a tar archive, Debian packages) to a manifest and its
//! artifact, the same for the same input wherever and whenever it is packed.
//!
//! The result is a directory:
//!
//! ```text
//! DIR/manifest.json        the manifest, as the ledger's types write themselves in JSON
//! DIR/artifacts/<blake3>   one file per artifact, named by its content
//! ```

mod archive;
mod compressed;
mod debian;
mod deltas;
mod directory;
mod error;
mod image;
pub mod limits;
pub mod manifest;
mod output;
mod packages;
mod rpm;
mod tree;

pub use debian::{Package, STATUS_DIRECTORY};
pub use deltas::Deltas;
pub use error::{EntryProblem, OutOfProportion, PackError};
pub use image::{IMAGE_NAME, pack_image};
pub use limits::{LIMITS, Limits};
pub(crate) use output::artifact_file;
pub use output::{ARTIFACTS_DIRECTORY, MANIFEST_FILE, PackedPatch, read_packed};
pub use packages::{PackageFormat, pack_packages};

use crate::files::{self, FileError};
use ledger::artifact::PayloadDigests;
use ledger::patch::PatchManifest;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use tree::Tree;

/// What a packing made.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The manifest written.
    pub manifest: PatchManifest,
    /// Files, directories and links in the tree.
    pub entries: usize,
    /// Content of all files together.
    pub tree_bytes: u64,
    /// The packages merged, or kept as they are, by name; empty for other inputs.
    pub packages: Vec<Package>,
}

/// What a packed tree is called within its patch.
pub const TREE_NAME: &str = "tree.tar";
/// What a packed file set is called within its patch.
pub const FILE_SET_NAME: &str = "files.tar";

/// What a packed container image is called within its patch.
pub const CONTAINER_NAME: &str = "image.tar";

/// What a packed script is called within its patch.
pub const SCRIPT_NAME: &str = "script.tar";
/// The program of a script's archive that hosts run.
const SCRIPT_PROGRAM: &str = "run";

/// What inputs are packed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A tree that is put somewhere as a whole.
    Tree,
    /// Files that are put in their places one by one.
    FileSet,
    /// The layout of a container image, which the host looks into.
    Container,
    /// A program, and the files it works with.
    Script,
}

/// How names begin that agents use for what is theirs.
const AGENTS_PREFIX: &str = ".countersign-";

/// Packs inputs as one tree into `out`, which must not be there yet. `describe` makes the manifest once
/// length and digests of the artifact are known. Deltas are put beside it.
///
/// # Errors
/// [`PackError`] names the input, the entry, and what is wrong with it; nothing is left behind then.
pub fn pack(
    inputs: &[PathBuf],
    out: &Path,
    limits: Limits,
    shape: Shape,
    beside: Deltas<'_>,
    describe: impl FnOnce(PayloadDigests) -> Result<PatchManifest, PackError>,
) -> Result<Packed, PackError> {
    check_places(inputs, out)?;
    let staging = output::Staging::begin(out)?;
    let mut tree = staging.spool(limits)?;
    let packages = read_inputs(&mut tree, inputs, &limits)?;
    match shape {
        Shape::Tree => {}
        Shape::FileSet => check_file_set(&tree, &inputs[0])?,
        Shape::Container => check_layout(&tree, &inputs[0])?,
        Shape::Script => check_script(&tree, &inputs[0])?,
    }
    if tree.entries() == 0 {
        return Err(PackError::Empty(inputs[0].clone()));
    }
    let artifact = staging.write_artifact(&tree)?;
    let manifest = deltas::add(&staging, describe(artifact)?, beside)?;
    let (entries, tree_bytes) = (tree.entries(), tree.bytes());
    staging.finish(&manifest)?;
    Ok(Packed { manifest, entries, tree_bytes, packages })
}

/// What no agent would put in place is not packed.
fn check_file_set(tree: &Tree, input: &Path) -> Result<(), PackError> {
    for (path, node) in tree.nodes() {
        let name = path.rsplit('/').next().unwrap_or(path);
        let problem = match node {
            tree::Node::Link { .. } => EntryProblem::LinkInSet,
            _ if name.starts_with(AGENTS_PREFIX) => EntryProblem::AgentsName,
            tree::Node::Directory { mode, .. } if mode & 0o022 != 0 => EntryProblem::OthersMayChange(*mode),
            _ => continue,
        };
        return Err(PackError::Entry { input: input.to_owned(), entry: path.to_owned(), problem });
    }
    Ok(())
}

fn check_script(tree: &Tree, input: &Path) -> Result<(), PackError> {
    let is_it = |(path, node): (&str, &tree::Node)| {
        path == SCRIPT_PROGRAM && matches!(node, tree::Node::File { mode, .. } if mode & 0o100 != 0)
    };
    match tree.nodes().any(is_it) {
        true => Ok(()),
        false => Err(PackError::Inputs(format!("{} has no program {SCRIPT_PROGRAM:?}", input.display()))),
    }
}

/// The marks of an OCI image layout. What else is wrong with one the host says that looks into it.
fn check_layout(tree: &Tree, input: &Path) -> Result<(), PackError> {
    let has = |wanted: &str| tree.nodes().any(|(path, node)| path == wanted && matches!(node, tree::Node::File { .. }));
    match ["oci-layout", "index.json"].into_iter().find(|file| !has(file)) {
        None => Ok(()),
        Some(file) => {
            Err(PackError::Inputs(format!("{} is no OCI image layout: there is no {file} in it", input.display())))
        }
    }
}

/// Nothing is overwritten, and the result is not packed into itself.
fn check_places(inputs: &[PathBuf], out: &Path) -> Result<(), PackError> {
    if files::exists(out) {
        return Err(FileError::Exists { path: out.to_owned() }.into());
    }
    if inputs.is_empty() || inputs.len() > limits::INPUTS_MAX {
        return Err(PackError::Inputs(format!("{} inputs: 1 to {} are possible", inputs.len(), limits::INPUTS_MAX)));
    }
    let resolve = |path: &Path, what| {
        path.canonicalize().map_err(|source| FileError::Read { what, path: path.to_owned(), source })
    };
    let parent = resolve(files::directory_of(out), "directory")?;
    for input in inputs {
        if parent.starts_with(resolve(input, "input")?) {
            return Err(PackError::Inputs(format!("{} is inside {}", out.display(), input.display())));
        }
    }
    Ok(())
}

/// What an input is, by itself and not by its name.
enum Kind {
    Directory,
    Package,
    Archive,
}

fn kind_of(input: &Path) -> Result<Kind, PackError> {
    let failed = |source| FileError::Read { what: "input", path: input.to_owned(), source };
    if std::fs::metadata(input).map_err(failed)?.is_dir() {
        return Ok(Kind::Directory);
    }
    Ok(if debian::is_package_file(input)? { Kind::Package } else { Kind::Archive })
}

fn read_inputs(tree: &mut Tree, inputs: &[PathBuf], limits: &Limits) -> Result<Vec<Package>, PackError> {
    let mut packages: Vec<Package> = Vec::new();
    for input in inputs {
        match kind_of(input)? {
            Kind::Package => {
                let package = debian::read(tree, input, limits)?;
                check_package(input, &package, &packages)?;
                packages.push(package);
            }
            Kind::Directory | Kind::Archive if inputs.len() > 1 => {
                return Err(PackError::Inputs(format!("{} is no Debian package", input.display())));
            }
            Kind::Directory => directory::read(tree, input)?,
            Kind::Archive => {
                let file = files::open(input, "archive")?;
                let broken = |source| archive::broken(input, source);
                let length = file.metadata().map_err(broken)?.len();
                let from = compressed::open(BufReader::new(file), length, limits).map_err(broken)?;
                archive::read(tree, input, from)?;
            }
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// Packages of one tree run on one machine, and none is there twice.
fn check_package(input: &Path, package: &Package, earlier: &[Package]) -> Result<(), PackError> {
    if earlier.iter().any(|known| known.name == package.name) {
        return Err(PackError::Inputs(format!("package {} is given twice", package.name)));
    }
    let own = |package: &&Package| package.architecture != "all" && package.architecture != "noarch";
    match earlier.iter().find(own) {
        Some(known) if own(&package) && known.architecture != package.architecture => Err(PackError::Architecture {
            input: input.to_owned(),
            actual: package.architecture.clone(),
            expected: known.architecture.clone(),
        }),
        _ => Ok(()),
    }
}
