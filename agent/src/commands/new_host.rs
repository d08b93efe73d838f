//! A new host: its key, its configuration and what that names, all of it or nothing.

use crate::failure::{Failure, USAGE};
use agent::config::template::Template;
use agent::key::{self, KeyError};
use agent::{FileError, files};
use clap::Args;
use keyring::{CredentialName, Secret, SecretError, SecretPlace};
use ledger::bounded::Name;
use ledger::key::SecretKey;
use std::fs::{self, DirBuilder};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

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
    pub(super) seal: Option<&'a Sealing>,
}

impl<'a> NewHost<'a> {
    /// Makes it; what was made stays only when it is kept.
    pub(super) fn make(self) -> Result<(Made<'a>, SecretKey), Failure> {
        check_is_new(self.dir)?;
        let mut made = Made::in_directory(self.dir)?;
        let secret = key::generate()?;
        if let Some(Sealing { new: Some((path, text)), .. }) = self.seal {
            made.file(path, |path| files::create_new(path, text.as_bytes(), files::PRIVATE_FILE_MODE))?;
        }
        made.file(KEY, |path| key::write(path, &secret, self.seal.map(|seal| &seal.secret)))?;
        let genesis = self.genesis.map(|bytes| made.copy("genesis", &bytes)).transpose()?;
        let ca = self.ca.map(|bytes| made.copy("ca.pem", &bytes)).transpose()?;
        let template = Template {
            name: self.name.as_str(),
            nodes: self.nodes,
            ca: ca.as_deref(),
            genesis: genesis.as_deref(),
            mirrors: self.mirrors,
            directories: self.directories,
            unseal: self.seal.map(|seal| &seal.place),
        };
        made.copy(CONFIG, template.text().as_bytes())?;
        Ok((made, secret))
    }
}

/// What the key of a new host is sealed with.
pub(super) struct Sealing {
    secret: Secret,
    /// Where the agent finds it again.
    place: SecretPlace,
    /// Its file and what is in it, where it is made with the host.
    new: Option<(PathBuf, Zeroizing<String>)>,
}

/// How the key of a new host is sealed.
#[derive(Debug, Args)]
pub(super) struct SealWith {
    /// Seal the key with the machine's secret in this file, which is made if it is not there
    #[arg(long, value_name = "FILE")]
    seal_with: Option<PathBuf>,
    /// The agent finds that secret in this credential of systemd, and not in the file
    #[arg(long, value_name = "NAME", requires = "seal_with")]
    credential: Option<CredentialName>,
}

impl SealWith {
    /// Reads the secret, or thinks of one.
    pub(super) fn sealing(&self) -> Result<Option<Sealing>, Failure> {
        let Some(given) = &self.seal_with else { return Ok(None) };
        let wrong = |error: SecretError| {
            let hint = error.hint();
            Failure::new(error, hint, USAGE).called("key-file")
        };
        let path = std::path::absolute(given).unwrap_or_else(|_| given.clone());
        let place = match &self.credential {
            Some(name) => SecretPlace::Credential(name.clone()),
            None => SecretPlace::File(path.clone()),
        };
        if fs::symlink_metadata(&path).is_ok() {
            if self.credential.is_none() && !path.is_file() {
                let hint = "say with --credential where the agent finds the secret";
                let text = format!("{} is no file that the agent finds again", path.display());
                return Err(Failure::new(text, Some(hint.to_owned()), USAGE));
            }
            // The same that the agent takes.
            let secret = SecretPlace::File(path).secret().map_err(wrong)?;
            return Ok(Some(Sealing { secret, place, new: None }));
        }
        let new = Secret::generate();
        Ok(Some(Sealing { secret: Secret::parse(&new).map_err(wrong)?, place, new: Some((path, new)) }))
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
    fn file<E>(&mut self, name: impl AsRef<Path>, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), Failure>
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
