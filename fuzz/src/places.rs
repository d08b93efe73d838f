//! Paths for what reads a file and not bytes: in memory, as `scripts/fuzz` sees to it, and of this process alone.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// A path that nobody else has.
pub fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("countersign-fuzz-{}-{name}", std::process::id()))
}

/// A file with these bytes, which its owner alone can read. It is a new one each time.
pub fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = path(name);
    fs::remove_file(&path).unwrap_or_default();
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(bytes)).expect("a file can be written");
    path
}

/// An empty directory.
pub fn directory(name: &str) -> PathBuf {
    let path = path(name);
    fs::remove_dir_all(&path).unwrap_or_default();
    fs::create_dir_all(&path).expect("a directory can be made");
    path
}
