//! Hosts whose files scripts change: a directory with files of its own, and scripts that make a release of them.

use super::archive::Archive;
use super::bench::{ATTRIBUTE, Bench, InPlace, Snapshot, snapshot};
use super::endpoint::{Endpoint, says};
use ledger::patch::{HealthCheck, InstallerKind};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The archive of a script.
pub(crate) fn script(text: &str) -> Archive {
    Archive::new().program("run", text)
}

/// The configuration of a host whose scripts may change `/etc/acme` beneath a root.
pub(crate) fn enabled(root: &Path) -> String {
    let root = root.display();
    format!("[installers.scripts]\nenabled = true\nroot = \"{root}\"\ndirectories = [\"/etc/acme\"]\n")
}

/// A host with files that scripts change.
pub(crate) struct Scripts(pub(crate) TempDir);

impl Scripts {
    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    pub(crate) fn place(&self) -> PathBuf {
        self.root().join("etc/acme")
    }
}

impl Bench for Scripts {
    fn new() -> Result<Self, String> {
        super::containers::lacking()?;
        let room = tempfile::tempdir().unwrap();
        fs::create_dir_all(room.path().join("root/etc/acme")).unwrap();
        Ok(Self(room))
    }

    fn kind(&self) -> InstallerKind {
        InstallerKind::Script
    }

    fn config(&self) -> String {
        enabled(&self.root())
    }

    fn target(&self, _: &Endpoint) -> PathBuf {
        self.root()
    }

    fn build(&mut self, _: &Endpoint) {
        let place = self.place();
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("by"), "not of the script").unwrap();
        fs::write(place.join("main.conf"), "# made by hand\nrelease = none\n").unwrap();
        fs::write(place.join("to-be-removed"), "by a release that is never the first").unwrap();
        std::os::unix::fs::symlink("by", place.join("link")).unwrap();
        std::os::unix::fs::chown(place.join("main.conf"), Some(1234), Some(4321)).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        // Where the file system keeps such attributes.
        let _ = rustix::fs::lsetxattr(place.join("main.conf"), ATTRIBUTE, b"kept", flags);
    }

    fn artifacts(&self, release: u64) -> Vec<(String, Vec<u8>)> {
        // What a script is for: to change what is there, and not to replace it.
        let text = format!(
            "#!/bin/sh\nset -eu\ncd /etc/acme\nsed -i 's/^release = .*/release = {release}/' main.conf\n\
             chmod 640 main.conf\nmkdir -p conf.{release}\ncp /patch/filler conf.{release}/only-here.conf\n\
             [ {release} = 1 ] || rm -f to-be-removed\n\
             printf '#!/bin/sh\\necho {release}\\n' > version\nchmod 755 version\n"
        );
        vec![("script.tar".to_owned(), script(&text).file("filler", &"x".repeat(20_000)).bytes())]
    }

    fn probe(&self, release: u64) -> HealthCheck {
        says("{tree}/etc/acme/version", &release.to_string())
    }

    fn snapshot(&self, _: &Endpoint) -> Snapshot {
        snapshot(&self.root(), &[])
    }
}

impl InPlace for Scripts {
    fn new_directory(&self, release: u64) -> String {
        format!("etc/acme/conf.{release}")
    }
}
