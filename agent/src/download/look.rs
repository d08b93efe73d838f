//! Looking at a source without taking anything from it: is somebody there, is it he, and does he answer as a source does?

use super::answer::MirrorError;
use super::mirror::{Mirror, MirrorSetup};
use crate::config::{MirrorAddress, SourcePlace};
use ledger::artifact::shelf_path;
use ledger::id::Digest;
use rustix::fs::Access;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a directory may take to answer: it may be a share whose server is gone.
const DIRECTORY_TIMEOUT: Duration = Duration::from_secs(10);
/// A length no artifact has: what is asked for is under a name that nothing has.
const NO_BYTES: u64 = 0;

/// Why a source is of no use as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoUse {
    /// It cannot even be asked.
    #[error(transparent)]
    Setup(#[from] MirrorSetup),
    /// It does not answer, is somebody else, or cannot.
    #[error(transparent)]
    Mirror(MirrorError),
    /// It has something under the digest of nothing: it gives the same for every address.
    #[error("it has something under a digest that nothing has")]
    Anything,
    /// There is no such directory, or nobody may read it.
    #[error("{}: {error}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        error: rustix::io::Errno,
    },
    /// It hangs.
    #[error("{} does not answer within {} s", .0.display(), DIRECTORY_TIMEOUT.as_secs())]
    Hangs(PathBuf),
}

/// Looks at a source; nodes are not looked at here.
///
/// # Errors
/// [`NoUse`].
pub(crate) async fn look(place: &SourcePlace) -> Result<(), NoUse> {
    match place {
        SourcePlace::Nodes => Ok(()),
        SourcePlace::Directory(path) => {
            let looked = path.clone();
            let (tell, told) = oneshot::channel();
            // A thread of its own, which is left to itself when it hangs.
            thread::spawn(move || tell.send(look_at_directory(&looked)));
            let hangs = || NoUse::Hangs(path.clone());
            timeout(DIRECTORY_TIMEOUT, told).await.map_err(|_| hangs())?.map_err(|_| hangs())?
        }
        SourcePlace::Mirror(address) => {
            let mirror = Mirror::new(MirrorAddress::clone(address))?;
            match mirror.get(&shelf_path(&Digest::ZERO), NO_BYTES, 0).await {
                Err(MirrorError::Absent(_)) => Ok(()),
                Ok(_) | Err(MirrorError::Length { .. }) => Err(NoUse::Anything),
                Err(error) => Err(NoUse::Mirror(error)),
            }
        }
    }
}

fn look_at_directory(path: &Path) -> Result<(), NoUse> {
    let failed = |error| NoUse::Directory { path: path.to_owned(), error };
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(failed)?;
    rustix::fs::access(path, Access::READ_OK | Access::EXEC_OK).map_err(failed)
}
