//! The unpacker of archives, in memory's file system, with something beside the tree that must not be touched.

use crate::doors::is_a_sentence;
use crate::memory::peak_of;
use agent::installer::archive;
use agent::installer::unpack::Limits;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Small, so that they are met.
pub const LIMITS: Limits = Limits { entries_max: 48, entry_bytes_max: 4 * 1024, tree_bytes_max: 16 * 1024 };
/// Memory for unpacking whatever it is: a buffer, names, and what is known of the entries.
const BYTES_MAX: usize = 512 * 1024;
/// What must not be touched.
const CANARY: &str = "Nobody writes here.";
/// One block of a tar archive.
const BLOCK: usize = 512;

thread_local! {
    /// Where this process unpacks.
    pub static PLACE: Place = Place::new();
}

/// A directory with the tree in it, and its neighbours.
pub struct Place {
    /// All of it.
    pub all: PathBuf,
    /// Where the tree will be.
    pub tree: PathBuf,
}

impl Place {
    fn new() -> Self {
        // `scripts/fuzz` sees to it that this is in memory, and cleans up.
        let all = std::env::temp_dir().join(format!("countersign-fuzz-{}", std::process::id()));
        fs::remove_dir_all(&all).unwrap_or_default();
        fs::create_dir_all(all.join("outside")).expect("a directory can be made");
        fs::write(all.join("canary"), CANARY).expect("a file can be written");
        Self { tree: all.join("tree"), all }
    }

    fn names(&self, of: &str) -> Vec<String> {
        let listed = fs::read_dir(self.all.join(of)).expect("it is there");
        let mut names: Vec<_> =
            listed.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Nothing beside the tree is other than it was.
    pub fn is_untouched(&self) {
        assert_eq!(self.names(""), ["canary", "outside", "tree"], "beside the tree");
        assert!(self.names("outside").is_empty(), "in a directory beside the tree");
        let canary = self.all.join("canary");
        assert_eq!(fs::read_to_string(&canary).expect("the canary lives"), CANARY);
        assert_eq!(fs::metadata(&canary).expect("the canary lives").nlink(), 1, "a hard link out of the tree");
    }
}

/// The first byte says whether the checksums of headers are made to fit.
pub fn unpack(bytes: &[u8]) {
    let Some((repaired, bytes)) = bytes.split_first() else { return };
    let mut file = bytes.to_vec();
    if repaired & 1 == 1 {
        repair(&mut file);
    }
    PLACE.with(|place| {
        fs::create_dir(&place.tree).expect("a directory can be made");
        let (done, taken) = peak_of(|| archive::unpack(&file[..], &place.tree, LIMITS));
        assert!(taken <= BYTES_MAX, "{taken} bytes of memory");
        place.is_untouched();
        let mut found = Found::default();
        found.look(&place.tree, &place.tree);
        match done {
            Ok(()) => {
                assert!(found.entries <= LIMITS.entries_max, "{} entries", found.entries);
                assert!(found.bytes <= LIMITS.tree_bytes_max, "{} bytes", found.bytes);
            }
            Err(refusal) => is_a_sentence(&refusal.to_string()),
        }
        fs::remove_dir_all(&place.tree).expect("the owner can always clean up");
    });
}

/// What came of an archive.
#[derive(Default)]
struct Found {
    entries: usize,
    bytes: u64,
}

impl Found {
    fn look(&mut self, directory: &Path, tree: &Path) {
        for entry in fs::read_dir(directory).expect("the owner can read every directory") {
            let path = entry.expect("readable").path();
            let about = fs::symlink_metadata(&path).expect("it is there");
            self.entries += 1;
            if about.is_symlink() {
                // Wherever it leads, it does not lead out; nowhere is a place too.
                if let Ok(end) = fs::canonicalize(&path) {
                    assert!(end.starts_with(tree), "{} leads out of the tree", path.display());
                }
                continue;
            }
            assert_eq!(about.permissions().mode() & 0o6000, 0, "{} runs with another's rights", path.display());
            if about.is_dir() {
                self.look(&path, tree);
            } else {
                assert!(about.is_file(), "{} is no file", path.display());
                assert!(about.len() <= LIMITS.entry_bytes_max, "{} is too large", path.display());
                self.bytes += about.len() / about.nlink().max(1);
            }
        }
    }
}

/// Makes the checksum of every header fit, so that mutations get beyond it.
pub fn repair(file: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = file.get_mut(at..at + BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            return;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits: String = header[124..136].iter().map(|byte| char::from(*byte)).collect();
        let size = usize::from_str_radix(digits.trim_matches([' ', '\0']), 8).unwrap_or(0);
        at = at.saturating_add(BLOCK).saturating_add(size.min(file.len()).div_ceil(BLOCK) * BLOCK);
    }
}
