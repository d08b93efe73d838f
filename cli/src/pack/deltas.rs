//! Deltas: for hosts that have an earlier patch, what of a payload is new; and for all others the payload compressed, which
//! is a delta from nothing. They stand beside the payload and are never instead of it (protocol.md 7.14).

use super::error::PackError;
use super::limits::{DELTA_BYTES_MAX, DELTA_LEVEL};
use super::manifest::check;
use super::output::{PackedPatch, Staging, read_packed};
use crate::files::{self, FileError};
use ledger::artifact::nothing;
use ledger::bounded::{List, Name};
use ledger::id::Digest;
use ledger::patch::{Artifact, PatchManifest, PayloadEncoding};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use zstd::stream::write::Encoder;

/// A delta that saves less than one of so many parts of the payload is left out: it would cost more memory than line.
const SAVED_PARTS: u64 = 8;
/// Smallest and largest window of zstd, as powers of two.
const WINDOW_LOG: (u32, u32) = (10, 31);
/// Largest window of what starts from nothing, which takes little memory on every host (RFC 8878, section 3.1.1.1.2).
const WINDOW_LOG_ALONE: u32 = 23;

/// What is added to the name of a payload that is compressed.
const COMPRESSED_SUFFIX: &str = ".zst";

/// What is put beside payloads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deltas<'a> {
    /// Directories of earlier patches: what differs from them.
    pub from: &'a [PathBuf],
    /// Each payload compressed.
    pub compressed: bool,
}

/// Adds deltas from payloads of earlier patches, and from nothing, each after what it makes: those that save something. A
/// payload starts from the one of the same name.
pub(super) fn add(staging: &Staging, manifest: PatchManifest, deltas: Deltas<'_>) -> Result<PatchManifest, PackError> {
    let earlier = deltas.from.iter().map(|directory| read_packed(directory)).collect::<Result<Vec<_>, _>>()?;
    if earlier.is_empty() && !deltas.compressed {
        return Ok(manifest);
    }
    let mut artifacts: Vec<Artifact> = Vec::new();
    for whole in manifest.artifacts.iter() {
        artifacts.push(whole.clone());
        for packed in &earlier {
            let delta = match base(packed, whole) {
                Some(base) => delta(staging, whole, packed, base)?,
                None => None,
            };
            // Two earlier patches may have had the same payload.
            artifacts.extend(delta.filter(|delta| !artifacts.iter().any(|known| known.name == delta.name)));
        }
        if deltas.compressed && !whole.is_to_go_back_to() {
            artifacts.extend(made_from(staging, whole, &[], (nothing(), named(whole, COMPRESSED_SUFFIX)?))?);
        }
    }
    let artifacts = List::new(artifacts).map_err(|error| PackError::Bound { field: "artifacts".to_owned(), error })?;
    let manifest = PatchManifest { artifacts, ..manifest };
    check(&manifest)?;
    Ok(manifest)
}

/// What of an earlier patch a payload is a successor of. What is there to go back to is nobody's successor.
fn base<'a>(packed: &'a PackedPatch, whole: &Artifact) -> Option<&'a Artifact> {
    let fits = |base: &&Artifact| base.name == whole.name && base.blake3 != whole.blake3;
    let is_payload = !whole.is_to_go_back_to() && whole.size <= DELTA_BYTES_MAX;
    let mut payloads = packed.manifest.payloads().into_iter().map(|(base, _)| base);
    payloads.find(fits).filter(|base| is_payload && base.size <= DELTA_BYTES_MAX)
}

fn delta(
    staging: &Staging,
    whole: &Artifact,
    packed: &PackedPatch,
    base: &Artifact,
) -> Result<Option<Artifact>, PackError> {
    let path = packed.artifact(&base.blake3);
    let unread = |source| FileError::Read { what: "artifact", path: path.clone(), source };
    let mut bytes = Vec::new();
    files::open(&path, "artifact")?.take(base.size).read_to_end(&mut bytes).map_err(unread)?;
    let name = named(whole, &format!(".delta-{}", &base.blake3.to_string()[..16]))?;
    made_from(staging, whole, &bytes, (base.blake3, name))
}

/// A delta from these bytes, if it saves something.
fn made_from(
    staging: &Staging,
    whole: &Artifact,
    bytes: &[u8],
    (from, name): (Digest, Name),
) -> Result<Option<Artifact>, PackError> {
    let new = files::open(&staging.artifact(&whole.blake3), "artifact")?;
    let digests = staging.write(|sink| encode(bytes, new, whole.size, sink))?;
    if whole.size.saturating_sub(digests.size) < whole.size / SAVED_PARTS {
        staging.remove(&digests.blake3)?;
        return Ok(None);
    }
    let (encoding, delta_from) = (PayloadEncoding::Identity, Some(from));
    let (size, blake3, sha256) = (digests.size, digests.blake3, digests.sha256);
    Ok(Some(Artifact { name, size, blake3, sha256, encoding, delta_from }))
}

/// As `zstd --patch-from` does it: the whole of what it starts from is in the window, however long ago.
fn encode(base: &[u8], mut new: File, size: u64, sink: impl io::Write) -> io::Result<()> {
    let largest = size.max(base.len() as u64).max(1);
    let mut encoder = Encoder::with_ref_prefix(sink, DELTA_LEVEL, base)?;
    let most = if base.is_empty() { WINDOW_LOG_ALONE } else { WINDOW_LOG.1 };
    encoder.window_log((largest.ilog2() + 1).clamp(WINDOW_LOG.0, most))?;
    encoder.long_distance_matching(!base.is_empty())?;
    encoder.set_pledged_src_size(Some(size))?;
    io::copy(&mut new, &mut encoder)?;
    encoder.finish().map(drop)
}

/// What a delta is called: after what it makes, and what from.
fn named(whole: &Artifact, suffix: &str) -> Result<Name, PackError> {
    let most = ledger::limits::NAME_BYTES_MAX.saturating_sub(suffix.len());
    let kept: String = whole.name.as_str().chars().take(most).collect();
    Name::new(kept + suffix).map_err(|error| PackError::Bound { field: "artifact".to_owned(), error })
}
