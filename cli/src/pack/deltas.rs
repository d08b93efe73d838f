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
use ledger::limits::ARTIFACTS_MAX;
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

/// Adds deltas from payloads of earlier patches, and from nothing, each after what it makes: those that save something, as
/// long as the patch has places. A payload starts from the one of the same name.
pub(super) fn add(staging: &Staging, manifest: PatchManifest, deltas: Deltas<'_>) -> Result<PatchManifest, PackError> {
    let earlier = deltas.from.iter().map(|directory| read_packed(directory)).collect::<Result<Vec<_>, _>>()?;
    if earlier.is_empty() && !deltas.compressed {
        return Ok(manifest);
    }
    let mut artifacts: Vec<Artifact> = Vec::new();
    let mut places = ARTIFACTS_MAX.saturating_sub(manifest.artifacts.len());
    for whole in manifest.artifacts.iter() {
        artifacts.push(whole.clone());
        for start in starts(whole, &earlier, deltas.compressed)? {
            // Two earlier patches may have had the same payload.
            let is_named = |known: &Artifact| known.name == start.name;
            if places == 0 || artifacts.iter().chain(manifest.artifacts.iter()).any(is_named) {
                continue;
            }
            if let Some(delta) = delta(staging, whole, start)? {
                artifacts.push(delta);
                places -= 1;
            }
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

/// What a delta starts from, and what it is called.
struct Start {
    from: Digest,
    /// Where the payload is, and how long; nothing is in no file.
    base: Option<(PathBuf, u64)>,
    name: Name,
}

/// All that deltas of a payload start from here.
fn starts(whole: &Artifact, earlier: &[PackedPatch], compressed: bool) -> Result<Vec<Start>, PackError> {
    let of_earlier = earlier.iter().filter_map(|packed| {
        let base = base(packed, whole)?;
        let name = named(whole, &format!(".delta-{}", &base.blake3.to_string()[..16]));
        let path = packed.artifact(&base.blake3);
        Some(name.map(|name| Start { from: base.blake3, base: Some((path, base.size)), name }))
    });
    let alone = (compressed && !whole.is_to_go_back_to())
        .then(|| named(whole, COMPRESSED_SUFFIX).map(|name| Start { from: nothing(), base: None, name }));
    of_earlier.chain(alone).collect()
}

/// A delta from there, if it saves something.
fn delta(staging: &Staging, whole: &Artifact, start: Start) -> Result<Option<Artifact>, PackError> {
    let mut base = Vec::new();
    if let Some((path, size)) = start.base {
        let mut from = files::open(&path, "artifact")?.take(size);
        let unread = |source| FileError::Read { what: "artifact", path, source };
        from.read_to_end(&mut base).map_err(unread)?;
    }
    let new = files::open(&staging.artifact(&whole.blake3), "artifact")?;
    let digests = staging.write(|sink| encode(&base, new, whole.size, sink))?;
    if whole.size.saturating_sub(digests.size) < whole.size / SAVED_PARTS {
        staging.remove(&digests.blake3)?;
        return Ok(None);
    }
    let (size, blake3, sha256, encoding) = (digests.size, digests.blake3, digests.sha256, PayloadEncoding::Identity);
    Ok(Some(Artifact { name: start.name, size, blake3, sha256, encoding, delta_from: Some(start.from) }))
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
