//! Laying layers over each other: each is read twice, once for what it hides and once for what it brings, and both
//! times it must be the archive that the image's configuration names.

use super::layout::{Compression, Layer};
use super::rootfs::{Rights, RootFs};
use crate::files::failed;
use crate::installer::archive::{self, About, Counted};
use crate::installer::deadline::Deadline;
use crate::installer::packages::bytes_max;
use crate::installer::tree;
use crate::installer::unpack::{EntryProblem, Limits, Refused, UnpackError};
use crate::settled::Refusal;
use flate2::bufread::MultiGzDecoder;
use ledger::receipt::ReasonCode;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read};
use tar::{Entry, EntryType};

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Largest window of a zstd stream, as a power of two: what its decoder may take of memory.
const WINDOW_LOG_MAX: u32 = 23;
/// What an entry may take of an archive beside its content: headers and padding.
const ENTRY_OVERHEAD_BYTES: u64 = 16 * 1024;

/// Lays one layer over those below. Blocking.
///
/// # Errors
/// [`Refusal`] names the first entry that is not acceptable; what was laid before stays where it is, and the caller throws
/// the directory away.
pub fn lay(layer: &Layer, root: &mut RootFs, limits: Limits, deadline: Deadline) -> Result<(), Refusal> {
    root.begin_layer();
    pass(layer, limits, deadline, |about, _| root.hide(&about.path))?;
    pass(layer, limits, deadline, |about, entry| put(root, about, entry))
}

fn put(root: &mut RootFs, about: &About, entry: &mut Entry<'_, impl Read>) -> Result<(), Refused> {
    let About { path, link, uid, gid } = about;
    if RootFs::is_marker(path)? {
        return Ok(());
    }
    let header = entry.header();
    // Builders write numbers that the header has no room for into an extended one, and 0 into the header.
    let whose = |extended: &Option<u32>, field: io::Result<u64>| match extended {
        Some(number) => Ok(*number),
        None => archive::somebody(field.map_err(|_| EntryProblem::Extension)?),
    };
    let mode = header.mode().map_err(|_| EntryProblem::Extension)?;
    let rights = Rights { mode, uid: whose(uid, header.uid())?, gid: whose(gid, header.gid())? };
    let modified_s = header.mtime().ok();
    match header.entry_type() {
        EntryType::Directory => root.directory(path, rights),
        EntryType::Regular | EntryType::Continuous => {
            let size = entry.size();
            root.file(path, rights, size, modified_s, entry)
        }
        EntryType::Symlink => root.symlink(path, link, rights),
        EntryType::Link => root.hard_link(path, link),
        other => Err(EntryProblem::Kind(archive::kind(other)).into()),
    }
}

/// Goes through the entries of a layer.
fn pass(
    layer: &Layer,
    limits: Limits,
    deadline: Deadline,
    take: impl FnMut(&About, &mut Entry<'_, Counted<&mut Passing<'_>>>) -> Result<(), Refused>,
) -> Result<(), Refusal> {
    let file = File::open(&layer.path).map_err(failed("open", &layer.path))?;
    let packed = file.metadata().map_err(failed("examine", &layer.path))?.len();
    let file = BufReader::with_capacity(READ_BYTES, file);
    let broken = |error: io::Error| tree::refusal(UnpackError::archive(error));
    let from: Box<dyn Read> = match layer.compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(broken)?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
            Box::new(decoder)
        }
    };
    let overhead = ENTRY_OVERHEAD_BYTES.saturating_mul(limits.entries_max as u64);
    let left = limits.tree_bytes_max.saturating_add(overhead).min(bytes_max(packed));
    let mut passing = Passing { from, hasher: Sha256::new(), left, excess: false, deadline };
    let taken = archive::each(&mut passing, take);
    deadline.check()?;
    if passing.excess {
        let detail = format!("the image: a layer of {packed} bytes unpacks to more than {left}");
        return Err(Refusal::new(ReasonCode::ArchiveUnsafe, detail));
    }
    taken.map_err(tree::refusal)?;
    let actual = hex::encode(passing.hasher.finalize());
    match actual == layer.diff_sha256 {
        true => Ok(()),
        false => {
            let detail = format!(
                "the image: a layer unpacks to an archive that hashes to {actual}, the configuration says {}",
                layer.diff_sha256
            );
            Err(Refusal::new(ReasonCode::ArtifactDigest, detail))
        }
    }
}

/// Hashes what passes, as long as there is time, and no more than there may be.
struct Passing<'a> {
    from: Box<dyn Read + 'a>,
    hasher: Sha256,
    left: u64,
    /// There was more than what was left.
    excess: bool,
    deadline: Deadline,
}

impl Read for Passing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.check()?;
        let count = self.from.read(buffer)?;
        let left = self.left.checked_sub(count as u64);
        self.excess = left.is_none();
        self.left = left.ok_or_else(|| io::Error::other("it unpacks without end"))?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installer::unpack::LIMITS;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;
    use std::time::Duration;
    use tar::{Builder, Header};

    const NAMES: [&str; 16] = [
        "a",
        "b",
        "a/b",
        "a/c",
        "b/a",
        "a/b/c",
        ".wh.a",
        "a/.wh.b",
        "a/.wh..wh..opq",
        ".wh..wh..opq",
        "./a//b",
        "../a",
        "a/../../b",
        "/a",
        ".wh...",
        "",
    ];
    const KINDS: [EntryType; 6] = [
        EntryType::Regular,
        EntryType::Directory,
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Fifo,
    ];
    /// Where links lead: into the image, up, and to the directory beside it by its whole path (`!`).
    const TARGETS: [&str; 6] = ["a", "a/b", "..", "../../outside", "!", "!/x"];

    fn archive(entries: &[(usize, usize, usize)], outside: &Path) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (kind, name, target) in entries {
            let mut header = Header::new_gnu();
            let target = TARGETS[*target].replace('!', &outside.to_string_lossy());
            let fields = header.as_gnu_mut().unwrap();
            fields.name[..NAMES[*name].len()].copy_from_slice(NAMES[*name].as_bytes());
            fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_entry_type(KINDS[*kind]);
            header.set_mode(0o6777);
            header.set_uid(1);
            header.set_gid(2);
            header.set_mtime(0);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// A layer that is this archive, as it is.
    fn layer(archive: &[u8], room: &Path) -> Layer {
        let path = room.join("layer");
        fs::write(&path, archive).unwrap();
        Layer { path, compression: Compression::None, diff_sha256: hex::encode(Sha256::digest(archive)) }
    }

    /// A layer of nothing but zeros, and packed as it is in an image; with `content`, they are a file's.
    fn bomb(room: &Path, zeros: u64, content: bool) -> Layer {
        let path = room.join("layer");
        let packed = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        let mut packed = io::BufWriter::new(packed);
        if content {
            let mut header = Header::new_gnu();
            header.set_path("zeros").unwrap();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(zeros);
            header.set_cksum();
            io::Write::write_all(&mut packed, header.as_bytes()).unwrap();
        }
        io::copy(&mut io::repeat(0).take(zeros), &mut packed).unwrap();
        packed.into_inner().unwrap().finish().unwrap();
        let mut hasher = Sha256::new();
        io::copy(&mut MultiGzDecoder::new(BufReader::new(File::open(&path).unwrap())), &mut hasher).unwrap();
        Layer { path, compression: Compression::Gzip, diff_sha256: hex::encode(hasher.finalize()) }
    }

    /// As many zeros as would fill a disk take next to nothing when they are packed.
    #[test]
    fn a_layer_that_is_out_of_proportion_is_refused_before_anything_of_it_is_on_the_disk() {
        for content in [true, false] {
            let room = tempfile::tempdir().unwrap();
            let at = room.path().join("root");
            fs::create_dir(&at).unwrap();
            // The most that nobody asks about, and some more.
            let layer = bomb(room.path(), bytes_max(0) + (1 << 20), content);
            let mut root = RootFs::beneath(&at, LIMITS).unwrap();
            let refusal = lay(&layer, &mut root, LIMITS, Deadline::begin("laying layers", Duration::MAX)).unwrap_err();
            assert_eq!(refusal.reason.code, ReasonCode::ArchiveUnsafe);
            let says = refusal.reason.detail.to_string();
            assert!(says.ends_with(&format!("unpacks to more than {}", bytes_max(0))), "{says}");
            assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
        }
    }

    /// Many layers, each of them in proportion: it is the whole that counts.
    #[test]
    fn layers_are_bounded_together() {
        if !rustix::process::geteuid().is_root() {
            return ::tests::left_out(&["containers"], "only root gives files away");
        }
        let room = tempfile::tempdir().unwrap();
        let at = room.path().join("root");
        fs::create_dir(&at).unwrap();
        let limits = Limits { tree_bytes_max: 3 << 20, ..LIMITS };
        let mut root = RootFs::beneath(&at, limits).unwrap();
        let layer = bomb(room.path(), 1 << 20, true);
        let deadline = Deadline::begin("laying layers", Duration::MAX);
        for _ in 0..3 {
            lay(&layer, &mut root, limits, deadline).unwrap();
        }
        let refusal = lay(&layer, &mut root, limits, deadline).unwrap_err();
        let says = refusal.reason.detail.to_string();
        assert!(says.contains("is too large: 3145728 bytes"), "{says}");
        assert_eq!(refusal.reason.code, ReasonCode::ArchiveUnsafe);
    }

    /// A file of a layer below makes way for what replaces it, and then there is nothing that a link could lead to.
    #[test]
    fn a_link_to_what_it_replaces_itself_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return ::tests::left_out(&["containers"], "only root gives files away");
        }
        let (file, link) = (0, 3);
        for (below, above) in [((file, 0, 0), (link, 0, 0)), ((file, 2, 0), (link, 0, 1))] {
            let room = tempfile::tempdir().unwrap();
            let at = room.path().join("root");
            fs::create_dir(&at).unwrap();
            let mut root = RootFs::beneath(&at, LIMITS).unwrap();
            let deadline = Deadline::begin("laying layers", Duration::MAX);
            lay(&layer(&archive(&[below], room.path()), room.path()), &mut root, LIMITS, deadline).unwrap();
            let above = layer(&archive(&[above], room.path()), room.path());
            let refusal = lay(&above, &mut root, LIMITS, deadline).unwrap_err();
            assert_eq!(refusal.reason.code, ReasonCode::ArchiveUnsafe, "{refusal:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        #[test]
        fn whatever_layers_say_nothing_beside_the_image_is_touched(
            layers in prop::collection::vec(prop::collection::vec((0..6_usize, 0..16_usize, 0..6_usize), 0..6), 1..4)
        ) {
            if !rustix::process::geteuid().is_root() {
                ::tests::left_out(&["containers"], "only root gives files away");
                return Ok(());
            }
            let room = tempfile::tempdir().unwrap();
            let (at, outside, canary) = (room.path().join("root"), room.path().join("outside"), room.path().join("canary"));
            fs::create_dir(&at).unwrap();
            fs::create_dir(&outside).unwrap();
            fs::write(&canary, "untouched").unwrap();
            let mut root = RootFs::beneath(&at, LIMITS).unwrap();
            let deadline = Deadline::begin("laying layers", Duration::MAX);
            for (place, entries) in layers.iter().enumerate() {
                let layer = layer(&archive(entries, &outside), room.path());
                let laid = lay(&layer, &mut root, LIMITS, deadline);
                fs::remove_file(&layer.path).unwrap();
                if let Err(refusal) = laid {
                    prop_assert_eq!(refusal.reason.code, ReasonCode::ArchiveUnsafe, "layer {}: {:?}", place, refusal);
                    break;
                }
            }
            prop_assert_eq!(fs::read_dir(room.path()).unwrap().count(), 3);
            prop_assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
            prop_assert_eq!(fs::read_to_string(&canary).unwrap(), "untouched");
            prop_assert_eq!(fs::metadata(&canary).unwrap().nlink(), 1);
            let mut waiting = vec![at];
            while let Some(directory) = waiting.pop() {
                for entry in fs::read_dir(directory).unwrap() {
                    let entry = entry.unwrap();
                    let metadata = entry.metadata().unwrap();
                    prop_assert!(metadata.is_dir() || metadata.is_file() || metadata.is_symlink());
                    prop_assert!(metadata.is_symlink() || metadata.mode() & 0o6000 == 0, "{:?}", entry.path());
                    if metadata.is_dir() {
                        waiting.push(entry.path());
                    }
                }
            }
        }
    }
}
