//! Programs that start others end them, however they end themselves.

use crate::layout::Devnet;
use crate::processes;
use std::error::Error;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// As shells have it: 128 and the number of SIGINT.
pub const INTERRUPTED_CODE: u8 = 130;

/// Somebody has ended this program.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Does something until somebody ends this program.
///
/// # Errors
/// [`Interrupted`], or what was done says.
pub async fn until_interrupted<T, E: From<Interrupted> + From<std::io::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(Interrupted.into()),
        _ = terminate.recv() => Err(Interrupted.into()),
    }
}

/// Does something that starts processes; when it fails, or somebody ends this program, what was started ends
/// too.
///
/// # Errors
/// [`Interrupted`], or what was done says.
pub async fn ended_with_it<T>(
    ledger: &Path,
    say: &mut dyn FnMut(&str),
    work: impl Future<Output = Result<T, Box<dyn Error>>>,
) -> Result<T, Box<dyn Error>> {
    // One that was there before is somebody else's.
    let is_new = Devnet::load(ledger).is_err();
    let result = until_interrupted(work).await;
    if result.is_err()
        && is_new
        && let Ok(mut devnet) = Devnet::load(ledger)
    {
        let ended = processes::down(&mut devnet)?;
        say(&format!("ended what was started: {}", ended.join(", ")));
    }
    result
}

/// Ends every process of the ledger in a directory when it is dropped, unless it was let go.
#[derive(Debug)]
pub struct EndsWithUs {
    ledger: Option<PathBuf>,
}

impl EndsWithUs {
    /// Of a ledger that is there, or is going to be.
    #[must_use]
    pub fn over(ledger: &Path) -> Self {
        Self { ledger: Some(ledger.to_owned()) }
    }

    /// Leaves everything running.
    pub fn let_go(mut self) {
        self.ledger = None;
    }
}

impl Drop for EndsWithUs {
    fn drop(&mut self) {
        // Without its file nothing was started yet.
        if let Some(mut devnet) = self.ledger.take().and_then(|ledger| Devnet::load(&ledger).ok()) {
            // The processes are ended before the file is written; there is nobody left to tell of the file.
            let _ = processes::down(&mut devnet);
        }
    }
}
