//! What a command has begun to write and not finished: nothing of it is left when somebody ends the command.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::thread;
use terminal::note;
use tokio::signal::unix::{SignalKind, signal};

/// What shells add to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;
/// How often something is removed that is still being written to.
const REMOVALS_MAX: usize = 100;

/// Names that stand only until what is under them is whole.
static BEGUN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A name that stands only until what is under it is whole. Whoever holds it removes or renames what is there; a
/// signal that ends the program does so before it ends.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    /// Notes a name, before there is anything under it.
    pub(crate) fn note(path: &Path) -> Self {
        watch();
        begun().insert(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        begun().remove(&self.0);
    }
}

fn begun() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the first name on, the signals that end programs are waited for, on a thread of its own: whoever writes may be
/// waiting for a disk.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (listens, listening) = mpsc::channel();
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Some(number) = ended_by(listens) {
                remove();
                note("interrupted: nothing of what was begun is left");
                std::process::exit(SIGNALLED + number);
            }
        });
        // Where nobody can listen, a signal ends the command as it ends every program.
        if thread.is_ok() {
            let _ = listening.recv();
        }
    });
}

/// The signal that is to end this program; tells as soon as it listens.
fn ended_by(listens: mpsc::Sender<()>) -> Option<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().ok()?;
    runtime.block_on(async {
        let (of_a_person, of_a_service, of_a_terminal) =
            (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
        let mut interrupted = signal(of_a_person).ok()?;
        let mut terminated = signal(of_a_service).ok()?;
        let mut hung_up = signal(of_a_terminal).ok()?;
        listens.send(()).ok()?;
        let kind = tokio::select! {
            _ = interrupted.recv() => of_a_person,
            _ = terminated.recv() => of_a_service,
            _ = hung_up.recv() => of_a_terminal,
        };
        Some(kind.as_raw_value())
    })
}

/// Removes everything begun. Somebody may be writing there until we end: then it is removed again.
fn remove() {
    for path in begun().iter() {
        for _ in 0..REMOVALS_MAX {
            let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            if removed.is_ok() || !path.exists() {
                break;
            }
        }
    }
}
