//! A payload made out of one that is here and a delta (protocol.md 7.14): a way to fetch less, and no other way to
//! believe anything. What was made is checked as if it had been fetched.

use super::partial::hash;
use super::{Origins, Share, download, file_name, room, sibling};
use crate::files::{self, FileError, failed};
use ledger::artifact::{PayloadHasher, nothing};
use ledger::id::Digest;
use ledger::patch::Artifact;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use zstd::stream::read::Decoder;

/// What is added to the name of an artifact while it is being made.
const MADE_SUFFIX: &str = ".made";
/// Bytes decoded at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Smallest and largest window of zstd, as powers of two.
const WINDOW_LOG: (u32, u32) = (10, 31);
/// Largest window of what starts from nothing: what every decoder of zstd takes (RFC 8878, section 3.1.1.1.2).
const WINDOW_LOG_ALONE: u32 = 23;

/// Why a payload was not made; it is fetched whole then.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// What is called so here is something else.
    #[error("what it starts from is damaged here")]
    Base,
    /// The delta cannot be read, or makes something else.
    #[error("the delta does not make what it should: {0}")]
    Lies(String),
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Makes an artifact out of the smallest delta that may be used, so that nothing of it has to be fetched. What goes
/// wrong is told and no obstacle: the whole is fetched then. How many bytes of the delta came from whom, if it was.
pub async fn make(
    whole: &Artifact,
    deltas: &[&Artifact],
    origins: &Origins,
    first: usize,
    directory: &Path,
) -> Option<Vec<Share>> {
    let have = fs::symlink_metadata(directory.join(file_name(&whole.blake3))).map_or(0, |metadata| metadata.len());
    let missing = whole.size.saturating_sub(have);
    let budget = origins.patience().delta_bytes_max;
    // What it makes, or else the whole, needs room beside it.
    let is_room = |delta: &Artifact| room::is_for(delta.size.saturating_add(whole.size), directory);
    let may = |delta: &&&Artifact| delta.size < missing && !origins.is_lying(&delta.blake3) && is_room(delta);
    let mut fitting: Vec<_> = deltas
        .iter()
        .filter(may)
        .filter_map(|delta| {
            let (base, bytes) = base(directory, delta.delta_from?)?;
            (memory(bytes, whole.size) <= budget).then_some((*delta, base))
        })
        .collect();
    fitting.sort_by_key(|(delta, _)| delta.size);
    for (delta, base) in fitting {
        tracing::info!(delta = %delta.name, bytes = delta.size, instead_of = missing, "a delta is fetched");
        let fetched = match download(delta, origins, first, directory).await {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::warn!(delta = %delta.name, %error, "no delta");
                continue;
            }
        };
        let from = fetched.from.clone();
        let (whole, path) = (whole.clone(), directory.join(file_name(&whole.blake3)));
        let wanted = (delta.delta_from.unwrap_or(Digest::ZERO), base);
        let making = tokio::task::spawn_blocking(move || made(&whole, fetched.rewound(), &wanted, &path));
        match making.await {
            Ok(Ok(())) => return Some(from),
            Ok(Err(NotMade::Lies(why))) => {
                tracing::warn!(delta = %delta.name, why, "a delta lies; it is not used again, the whole is fetched");
                origins.lies(delta.blake3);
                // Whoever signed one that lies may have signed more: the whole is what cannot be in vain.
                return None;
            }
            Ok(Err(error)) => tracing::warn!(delta = %delta.name, %error, "a delta is not used"),
            Err(error) => tracing::warn!(delta = %delta.name, %error, "a delta is not used"),
        }
    }
    None
}

/// The payload a delta starts from, if it is here, and its size. Nothing is everywhere, and in no file.
fn base(directory: &Path, blake3: Digest) -> Option<(Option<PathBuf>, u64)> {
    if blake3 == nothing() {
        return Some((None, 0));
    }
    let path = directory.join(file_name(&blake3));
    let metadata = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
    Some((Some(path), metadata.len()))
}

/// What making takes: the base, and the window of the decoder.
fn memory(base: u64, whole: u64) -> u64 {
    base.saturating_add(1_u64 << window_log(base, whole))
}

/// The window that reaches from the end of the payload to the beginning of what it starts from.
fn window_log(base: u64, whole: u64) -> u32 {
    let largest = base.max(whole).max(1);
    let most = if base == 0 { WINDOW_LOG_ALONE } else { WINDOW_LOG.1 };
    (largest.ilog2() + 1).clamp(WINDOW_LOG.0, most)
}

/// Makes it, checks it, and gives it its name. Blocking.
fn made(
    whole: &Artifact,
    delta: io::Result<File>,
    (from, base): &(Digest, Option<PathBuf>),
    path: &Path,
) -> Result<(), NotMade> {
    let bytes = base.as_ref().map_or(Ok(Vec::new()), |base| read_base(base, *from))?;
    let new = sibling(path, MADE_SUFFIX);
    files::remove(&new)?;
    let done = delta.map_err(failed("read", path)).map_err(NotMade::from).and_then(|delta| {
        let mut to = File::create_new(&new).map_err(failed("create", &new))?;
        decode(&bytes, io::BufReader::new(delta), whole, &mut to, &new)?;
        fs::rename(&new, path).map_err(failed("name", path))?;
        Ok(())
    });
    if done.is_err() {
        files::remove(&new)?;
    }
    done
}

/// All of what a delta starts from, if it is that.
fn read_base(path: &Path, from: Digest) -> Result<Vec<u8>, NotMade> {
    let mut file = File::open(path).map_err(failed("open", path))?;
    let mut hasher = PayloadHasher::default();
    hash(&file, &mut hasher).map_err(failed("read", path))?;
    let digests = hasher.finish();
    if digests.blake3 != from {
        return Err(NotMade::Base);
    }
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file).map_err(failed("read", path))?;
    // Not one byte more than was reckoned with, whatever became of the file meanwhile.
    file.take(digests.size).read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(bytes)
}

/// Decodes: the signed length and one byte more at the most, within the window reckoned with; and checks both digests.
/// `path` is what people are told is written to.
///
/// # Errors
/// [`NotMade`]; what was written before is of no use then.
pub fn decode(
    base: &[u8],
    delta: impl io::BufRead,
    whole: &Artifact,
    to: &mut impl io::Write,
    path: &Path,
) -> Result<(), NotMade> {
    let lies = |error: io::Error| NotMade::Lies(error.to_string());
    let mut decoder = Decoder::with_ref_prefix(delta, base).map_err(lies)?;
    decoder.window_log_max(window_log(base.len() as u64, whole.size)).map_err(lies)?;
    let mut from = decoder.take(whole.size.saturating_add(1));
    let (mut hasher, mut piece) = (PayloadHasher::default(), vec![0; PIECE_BYTES]);
    loop {
        let count = from.read(&mut piece).map_err(lies)?;
        if count == 0 {
            break;
        }
        hasher.update(&piece[..count]);
        to.write_all(&piece[..count]).map_err(failed("write", path))?;
    }
    let digests = hasher.finish();
    match (digests.size, digests.blake3, digests.sha256) == (whole.size, whole.blake3, whole.sha256) {
        true => Ok(()),
        false => Err(NotMade::Lies(format!("{} bytes, BLAKE3 {}", digests.size, digests.blake3))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// What is compressed by itself takes eight mebibytes at most, whatever its length; a delta from a payload takes
    /// that payload and a window that reaches over it.
    #[test]
    fn memory_is_bounded_by_the_window_that_what_is_compressed_may_have() {
        assert_eq!(memory(0, 4 * 1024 * MIB), 8 * MIB);
        assert_eq!(memory(0, MIB), 2 * MIB);
        assert_eq!(memory(0, 0), 1 << WINDOW_LOG.0);
        assert_eq!(memory(MIB, 4 * 1024 * MIB), MIB + (1 << WINDOW_LOG.1));
    }
}
