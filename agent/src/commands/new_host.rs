//! A new host: its key, its configuration and what that names, all of it or nothing.

use crate::failure::{Failure, USAGE};
use agent::config::template::Template;
use agent::key::{self, KeyError};
use agent::{FileError, files};
use ledger::bounded::Name;
use ledger::key::SecretKey;
use std::fs::{self, DirBuilder};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The host's key.
const KEY: &str = "endpoint.key";
/// The configuration.
pub(super) const CONFIG: &str = "agent.toml";

/// What a new host is made from.
pub(super) struct NewHost<'a> {
    pub(super) dir: &'a Path,
    pub(super) name: &'a Name,
    pub(super) nodes: &'a [String],
    pub(super) mirrors: &'a [String],
    pub(super) directories: &'a [PathBuf],
    pub(super) ca: Option<Vec<u8>>,
    pub(super) genesis: Option<Vec<u8>>,
}

impl<'a> NewHost<'a> {
    /// Makes it; what was made stays only when it is kept.
    pub(super) fn make(self) -> Result<(Made<'a>, SecretKey), Failure> {
        check_is_new(self.dir)?;
        let mut made = Made::in_directory(self.dir)?;
        let secret = key::generate()?;
        made.file(KEY, |path| key::write(path, &secret))?;
        let genesis = self.genesis.map(|bytes| made.copy("genesis", &bytes)).transpose()?;
        let ca = self.ca.map(|bytes| made.copy("ca.pem", &bytes)).transpose()?;
        let template = Template {
            name: self.name.as_str(),
            nodes: self.nodes,
            ca: ca.as_deref(),
            genesis: genesis.as_deref(),
            mirrors: self.mirrors,
            directories: self.directories,
        };
        made.copy(CONFIG, template.text().as_bytes())?;
        Ok((made, secret))
    }
}

/// Neither a configuration nor a key is there: another host's, or those of an `init` whose end nobody saw.
pub(super) fn check_is_new(dir: &Path) -> Result<(), Failure> {
    let there = |name: &str| Some(dir.join(name)).filter(|path| fs::symlink_metadata(path).is_ok());
    let is_there = |path: &Path, hint: &str| {
        Err(Failure::new(format!("{} is there already", path.display()), Some(hint.to_owned()), USAGE))
    };
    if let Some(config) = there(CONFIG) {
        return is_there(&config, "remove it, or choose another --dir");
    }
    match there(KEY) {
        Some(key) => is_there(
            &key,
            "choose another --dir; or remove it, if it is left of an `init` that was interrupted and its public \
                 key was enrolled nowhere",
        ),
        None => Ok(()),
    }
}

/// What was made of the directory so far. Unless it is kept it is taken away again: a host with half of it could
/// neither be used nor be made anew.
pub(super) struct Made<'a> {
    directory: &'a Path,
    /// The directory itself was made.
    is_new: bool,
    files: Vec<PathBuf>,
}

impl<'a> Made<'a> {
    fn in_directory(directory: &'a Path) -> Result<Self, Failure> {
        let is_new = !directory.exists();
        let made = DirBuilder::new().recursive(true).mode(files::PRIVATE_DIR_MODE).create(directory);
        made.map_err(|source| failed(FileError { act: "create", path: directory.to_owned(), source }))?;
        Ok(Self { directory, is_new, files: Vec::new() })
    }

    /// Makes a file of the directory.
    fn file<E>(&mut self, name: &str, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), Failure>
    where
        KeyError: From<E>,
    {
        let path = self.directory.join(name);
        write(&path).map_err(|error| match KeyError::from(error) {
            KeyError::File(error) => failed(error),
            error => error.into(),
        })?;
        self.files.push(path);
        Ok(())
    }

    /// Makes a file of the directory that anybody may read; its name. One that is there already and says the same
    /// stays as it is.
    fn copy(&mut self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        if !fs::File::open(&path).is_ok_and(|file| is_same(file, bytes).unwrap_or(false)) {
            self.file(name, |path| files::create_new(path, bytes, files::PUBLIC_FILE_MODE))?;
        }
        Ok(PathBuf::from(name))
    }

    /// What was made stays.
    pub(super) fn keep(mut self) {
        self.files.clear();
        self.is_new = false;
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for path in &self.files {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "left behind");
            }
        }
        if self.is_new {
            // Somebody may have put something there meanwhile: that is his.
            let _ = fs::remove_dir(self.directory);
        }
    }
}

fn is_same(file: fs::File, bytes: &[u8]) -> io::Result<bool> {
    let mut there = Vec::new();
    file.take(bytes.len() as u64 + 1).read_to_end(&mut there)?;
    Ok(there == bytes)
}

fn failed(error: FileError) -> Failure {
    let hint = match error.source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that disk; nothing was left behind",
        io::ErrorKind::AlreadyExists => "move it away, or choose another --dir",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "choose a --dir you may write to",
        _ => "nothing was left behind",
    };
    Failure::from(error).with_hint(hint)
}
