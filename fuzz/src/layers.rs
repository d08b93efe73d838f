//! Layers of container images, laid over each other in memory's file system, with something beside that must not be
//! touched.

use crate::archives::{LIMITS, PLACE, repair};
use crate::doors::is_a_sentence;
use crate::memory::peak_of;
use agent::installer::container::layers::lay;
use agent::installer::container::{Compression, Layer, RootFs};
use agent::installer::deadline::Deadline;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

/// Memory for laying whatever it is: buffers, names, and what is known of a layer's own entries.
const BYTES_MAX: usize = 1024 * 1024;
/// One block of a tar archive.
const BLOCK: usize = 512;

/// The first byte says whether the checksums of headers are made to fit, the second after how many blocks the second layer
/// begins.
pub fn lay_over(bytes: &[u8]) {
    let [repaired, cut, bytes @ ..] = bytes else { return };
    let (below, above) = bytes.split_at(bytes.len().min(usize::from(*cut) * BLOCK));
    PLACE.with(|place| {
        fs::create_dir(&place.tree).expect("a directory can be made");
        let blob = place.all.with_extension("layer");
        let (refusal, taken) = peak_of(|| {
            let mut root = RootFs::beneath(&place.tree, LIMITS).expect("the directory is there");
            let deadline = Deadline::begin("laying layers", Duration::MAX);
            [below, above].into_iter().find_map(|layer| {
                let mut layer = layer.to_vec();
                if repaired & 1 == 1 {
                    repair(&mut layer);
                }
                fs::write(&blob, &layer).expect("a file can be written");
                let diff_sha256 = Sha256::digest(&layer).iter().fold(String::new(), |mut digits, byte| {
                    write!(digits, "{byte:02x}").expect("it is text in memory");
                    digits
                });
                let layer = Layer { path: blob.clone(), compression: Compression::None, diff_sha256 };
                lay(&layer, &mut root, LIMITS, deadline).err()
            })
        });
        fs::remove_file(&blob).unwrap_or_default();
        assert!(taken <= BYTES_MAX, "{taken} bytes of memory");
        place.is_untouched();
        let mut found = (0, 0);
        look(&place.tree, &mut found);
        let (entries, bytes) = found;
        // The one that is too many is noticed when it is there.
        assert!(entries <= LIMITS.entries_max + 1, "{entries} entries");
        assert!(bytes <= LIMITS.tree_bytes_max, "{bytes} bytes");
        if let Some(refusal) = refusal {
            is_a_sentence(refusal.reason.detail.as_str());
        }
        fs::remove_dir_all(&place.tree).expect("the owner can clean up");
    });
}

/// What came of the layers: entries, and bytes of files. Directories are opened for whoever cleans up, on the way.
fn look(directory: &Path, found: &mut (usize, u64)) {
    fs::set_permissions(directory, Permissions::from_mode(0o700)).expect("the owner can open it");
    for entry in fs::read_dir(directory).expect("the owner can read every directory") {
        let path = entry.expect("readable").path();
        let about = fs::symlink_metadata(&path).expect("it is there");
        found.0 += 1;
        if about.is_symlink() {
            continue;
        }
        assert_eq!(about.permissions().mode() & 0o6000, 0, "{} runs with another's rights", path.display());
        if about.is_dir() {
            look(&path, found);
        } else {
            assert!(about.is_file(), "{} is no file", path.display());
            assert!(about.len() <= LIMITS.entry_bytes_max, "{} is too large", path.display());
            found.1 += about.len() / std::os::unix::fs::MetadataExt::nlink(&about).max(1);
        }
    }
}
