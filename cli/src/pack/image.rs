//! Packing a squashfs image as it is, for hosts that have two slots for one.

use super::error::PackError;
use super::output::Staging;
use super::{Packed, check_places};
use crate::files::{self, FileError};
use ledger::artifact::PayloadDigests;
use ledger::patch::PatchManifest;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What an image is called within its patch.
pub const IMAGE_NAME: &str = "image.squashfs";
/// How a squashfs image begins. What else is wrong with one the host says that looks at it.
const MAGIC: &[u8] = b"hsqs";

/// Packs one image into `out`, which must not be there yet.
///
/// # Errors
/// [`PackError`] says what is wrong with it; nothing is left behind then.
pub fn pack_image(
    inputs: &[PathBuf],
    out: &Path,
    describe: impl FnOnce(PayloadDigests) -> Result<PatchManifest, PackError>,
) -> Result<Packed, PackError> {
    check_places(inputs, out)?;
    let [input] = inputs else {
        return Err(PackError::Inputs(format!("a slot takes one image, {} are given", inputs.len())));
    };
    let mut head = Vec::new();
    let read = files::open(input, "image")?.take(MAGIC.len() as u64).read_to_end(&mut head);
    read.map_err(|source| FileError::Read { what: "image", path: input.clone(), source })?;
    if head != MAGIC {
        return Err(PackError::Inputs(format!("{} is no squashfs image", input.display())));
    }
    let staging = Staging::begin(out)?;
    let manifest = describe(staging.copy_artifact(input)?)?;
    staging.finish(&manifest)?;
    Ok(Packed { manifest, entries: 0, tree_bytes: 0, packages: Vec::new() })
}
