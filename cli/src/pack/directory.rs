//! Reading a directory into the tree. Links are kept, never followed.

use super::archive;
use super::error::{EntryProblem, PackError};
use super::tree::Tree;
use crate::files;
use std::fs::{self, FileType};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

/// Reads everything beneath `root` into the tree.
pub(super) fn read(tree: &mut Tree, root: &Path) -> Result<(), PackError> {
    let failed = |path: &Path, source| files::FileError::Read { what: "directory", path: path.to_owned(), source };
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).map_err(|source| failed(&directory, source))? {
            let path = entry.map_err(|source| failed(&directory, source))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(|source| failed(&path, source))?;
            let name = path.strip_prefix(root).unwrap_or(&path).as_os_str().as_bytes();
            let (kind, mode) = (metadata.file_type(), metadata.permissions().mode());
            let taken = if kind.is_dir() {
                waiting.push(path.clone());
                tree.add_directory(name, mode)
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(|source| failed(&path, source))?;
                tree.add_link(name, target.as_os_str().as_bytes())
            } else if kind.is_file() {
                let file = files::open(&path, "file")?;
                tree.add_file(name, mode, metadata.len(), file)
            } else {
                Err(EntryProblem::Kind(special(kind)).into())
            };
            taken.map_err(|refused| archive::refuse(root, name, refused))?;
        }
    }
    Ok(())
}

fn special(kind: FileType) -> &'static str {
    if kind.is_char_device() {
        "character device"
    } else if kind.is_block_device() {
        "block device"
    } else if kind.is_fifo() {
        "named pipe"
    } else {
        "socket"
    }
}
