//! A directory with artifacts by digest: a stick, a share, another program's store. Whoever fills it is a stranger, and
//! it may hang for ever, as a share does whose server is gone: it has a thread of its own, and never more than one.

use super::error::Disappointment;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// How long it may take until a file is open, and until an earlier file is let go.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Pieces that are read ahead.
const AHEAD_MAX: usize = 1;

/// Bytes of a file, piece by piece.
pub(super) type Pieces = mpsc::Receiver<io::Result<Vec<u8>>>;

/// The directory.
pub(super) struct Directory {
    path: PathBuf,
    /// The one thread that works in it.
    hand: Arc<Semaphore>,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, hand: Arc::new(Semaphore::new(1)) }
    }

    /// A plain file of a length beneath the directory, from an offset on.
    ///
    /// # Errors
    /// [`Disappointment`]: what is there instead, or that it hangs.
    pub(super) async fn get(&self, name: &str, length: u64, offset: u64) -> Result<Pieces, Disappointment> {
        let hangs = || Disappointment::Cannot(format!("{} does not answer", self.path.display()));
        let hand = timeout(OPEN_TIMEOUT, self.hand.clone().acquire_owned()).await;
        let hand = hand.map_err(|_| hangs())?.map_err(|_| hangs())?;
        let (opened, opens) = oneshot::channel();
        let (pieces, taken) = mpsc::channel(AHEAD_MAX);
        let (directory, name) = (self.path.clone(), PathBuf::from(name));
        let work = move || {
            // Given back when the disk has let go of the thread, and not before.
            let _hand = hand;
            match open(&directory, &name, length, offset) {
                Ok(file) => {
                    // Whoever does not wait any more takes no pieces either.
                    let _ = opened.send(Ok(()));
                    read(file, &pieces);
                }
                Err(disappointment) => drop(opened.send(Err(disappointment))),
            }
        };
        let begun = thread::Builder::new().name("directory".to_owned()).spawn(work);
        begun.map_err(|error| Disappointment::Cannot(error.to_string()))?;
        timeout(OPEN_TIMEOUT, opens).await.map_err(|_| hangs())?.map_err(|_| hangs())??;
        Ok(taken)
    }
}

/// Hands on what is in a file until nobody wants more.
fn read(mut file: File, pieces: &mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(READ_BYTES);
        let read = (&mut file).take(READ_BYTES as u64).read_to_end(&mut piece);
        let (is_over, piece) = (!matches!(read, Ok(1..)), read.map(|_| piece));
        if matches!(&piece, Ok(none) if none.is_empty()) || pieces.blocking_send(piece).is_err() || is_over {
            return;
        }
    }
}

/// Opens a plain file of a length, at an offset. Nothing that waits, gives for ever or leads elsewhere is opened: only
/// the directory itself, which the configuration names, may be a link.
fn open(directory: &Path, name: &Path, length: u64, offset: u64) -> Result<File, Disappointment> {
    let path = directory.join(name);
    let mut file = match open_beneath(directory, name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Disappointment::Absent("has no such file".to_owned()));
        }
        Err(error) => return Err(Disappointment::Cannot(format!("{}: {error}", path.display()))),
    };
    let metadata = file.metadata().map_err(|error| Disappointment::Cannot(error.to_string()))?;
    if !metadata.is_file() {
        return Err(Disappointment::Cannot(format!("{} is no plain file", path.display())));
    }
    if metadata.len() != length {
        return Err(Disappointment::Length(format!("{} has {} bytes", path.display(), metadata.len())));
    }
    file.seek(SeekFrom::Start(offset)).map_err(|error| Disappointment::Cannot(error.to_string()))?;
    Ok(file)
}

/// Opens what lies beneath a directory, step by step, no step of which is a link.
fn open_beneath(directory: &Path, name: &Path) -> io::Result<File> {
    let above = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(directory, above, Mode::empty())?;
    for step in name.parent().into_iter().flat_map(Path::components) {
        at = rustix::fs::openat(&at, step.as_os_str(), above | OFlags::NOFOLLOW, Mode::empty())?;
    }
    let plain = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let name = name.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(File::from(rustix::fs::openat(&at, name, plain, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A share whose server is gone takes a thread and keeps it. Whoever asks again waits for a while, and takes none.
    #[tokio::test(start_paused = true)]
    async fn a_share_that_hangs_has_one_thread_and_no_more() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a"), "artifact").unwrap();
        let directory = Directory::new(place.path().to_owned());
        let hung = directory.hand.clone().acquire_owned().await.unwrap();
        let asked = tokio::time::Instant::now();
        let told = directory.get("a", 8, 0).await.unwrap_err();
        assert!(matches!(&told, Disappointment::Cannot(why) if why.contains("does not answer")), "{told:?}");
        assert_eq!(asked.elapsed(), OPEN_TIMEOUT);
        drop(hung);
        tokio::time::resume();
        let mut pieces = directory.get("a", 8, 3).await.unwrap();
        assert_eq!(pieces.recv().await.unwrap().unwrap(), b"ifact");
        assert!(pieces.recv().await.is_none());
        assert!(matches!(directory.get("a", 9, 0).await, Err(Disappointment::Length(_))));
        assert!(matches!(directory.get("b", 9, 0).await, Err(Disappointment::Absent(_))));
        // Whoever takes nothing more lets the thread go.
        drop(directory.get("a", 8, 0).await.unwrap());
        assert!(directory.get("a", 8, 0).await.is_ok());
    }
}
