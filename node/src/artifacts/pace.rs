//! How fast a transfer must go: so much in every window of time, and all of it before a deadline. Places,
//! threads and files are held by transfers; who is slow may have them, who stands still may not.

use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What is expected of the other side.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Bytes in every window, without exception.
    pub bytes_per_window_min: u64,
    /// How long a window is.
    pub window: Duration,
    /// What the whole may take however small it is.
    pub allowance: Duration,
    /// Bytes a second, from which the deadline of the whole follows.
    pub bytes_per_second: u64,
}

/// Between members' nodes. Their lines carry megabytes a second; an eighth of one is a line in trouble, and
/// below that another source is the better choice. A slump is forgiven for 20 seconds, in which some bytes
/// must come; the largest artifact (16 GiB) has nine hours.
pub const OF_PEERS: Expected = Expected {
    bytes_per_window_min: 20 * 64 * 1024,
    window: Duration::from_secs(20),
    allowance: Duration::from_secs(60),
    bytes_per_second: 512 * 1024,
};

/// Of clients: an endpoint may hang on a modem of 128 kbit/s. One that reads nothing is out after 30 seconds;
/// it may go on later from where it stopped.
pub const OF_CLIENTS: Expected = Expected {
    bytes_per_window_min: 30 * 16 * 1024,
    window: Duration::from_secs(30),
    allowance: Duration::from_secs(60),
    bytes_per_second: 16 * 1024,
};

/// Why a transfer is given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooSlow {
    /// A window without enough in it.
    #[error("{moved} bytes moved in {} s, at least {least} must", window.as_secs())]
    Window {
        /// What moved.
        moved: u64,
        /// What must.
        least: u64,
        /// In how long.
        window: Duration,
    },
    /// All together took too long.
    #[error("it is not over after {} s, the most for so many bytes", most.as_secs())]
    Deadline {
        /// What it may take.
        most: Duration,
    },
}

/// The pace of one transfer.
#[derive(Debug)]
pub struct Pace {
    expected: Expected,
    /// Whether its size is not known, so that what has moved makes the time for the rest.
    is_open: bool,
    most: Duration,
    deadline: Instant,
    window_ends: Instant,
    moved: u64,
}

impl Pace {
    /// A transfer of so many bytes begins now.
    #[must_use]
    pub fn new(expected: Expected, size: u64) -> Self {
        let now = Instant::now();
        let most = expected.allowance + Duration::from_secs(size.div_ceil(expected.bytes_per_second));
        Self { expected, is_open: false, most, deadline: now + most, window_ends: now + expected.window, moved: 0 }
    }

    /// A transfer of nobody knows how many bytes begins now: whenever it is looked at, no more time may be over
    /// than a whole of the bytes moved until then might take.
    #[must_use]
    pub fn open(expected: Expected) -> Self {
        Self { is_open: true, ..Self::new(expected, 0) }
    }

    /// So many bytes have moved.
    ///
    /// # Errors
    /// [`TooSlow`].
    pub fn moved(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.moved = self.moved.saturating_add(bytes as u64);
        if self.is_open {
            let more = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.expected.bytes_per_second);
            self.most += more;
            self.deadline += more;
        }
        self.look()
    }

    /// Waits for the other side for as long as its pace allows.
    ///
    /// # Errors
    /// [`TooSlow`]; what was waited for is given up then.
    pub async fn keep<T>(&mut self, moving: impl Future<Output = T>) -> Result<T, TooSlow> {
        let mut moving = std::pin::pin!(moving);
        loop {
            match timeout_at(self.deadline.min(self.window_ends), &mut moving).await {
                Ok(moved) => return Ok(moved),
                Err(_) => self.look()?,
            }
        }
    }

    /// Waits for something of our own, a disk or a thread: that time is not the other side's.
    pub async fn excuse<T>(&mut self, ours: impl Future<Output = T>) -> T {
        let since = Instant::now();
        let done = ours.await;
        self.excused(since.elapsed());
        done
    }

    /// So much time was our own.
    pub fn excused(&mut self, took: Duration) {
        self.deadline += took;
        self.window_ends += took;
    }

    /// Whether the pace was kept until now.
    fn look(&mut self) -> Result<(), TooSlow> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(TooSlow::Deadline { most: self.most });
        }
        if now >= self.window_ends {
            let Expected { bytes_per_window_min: least, window, .. } = self.expected;
            if self.moved < least {
                return Err(TooSlow::Window { moved: self.moved, least, window });
            }
            (self.moved, self.window_ends) = (0, now + window);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const EXPECTED: Expected = Expected {
        bytes_per_window_min: 100,
        window: Duration::from_secs(10),
        allowance: Duration::from_secs(60),
        bytes_per_second: 50,
    };

    /// Moves so many bytes every second; after how many seconds and how it ends, if it does within a day.
    async fn move_on(mut pace: Pace, bytes: usize) -> Option<(u64, TooSlow)> {
        let since = Instant::now();
        for _ in 0..86_400 {
            let moved = pace.keep(sleep(Duration::from_secs(1))).await;
            if let Err(slow) = moved.and_then(|()| pace.moved(bytes)) {
                return Some((since.elapsed().as_secs(), slow));
            }
        }
        None
    }

    /// Whoever keeps up may read for as long as there is something; who only does not stand still may not.
    #[tokio::test(start_paused = true)]
    async fn a_transfer_of_unknown_size_has_the_time_its_bytes_make() {
        assert_eq!(move_on(Pace::open(EXPECTED), 50).await, None);
        // 60 s, and half a second for every second that passes.
        let (seconds, slow) = move_on(Pace::open(EXPECTED), 25).await.unwrap();
        assert!(seconds.abs_diff(120) <= 1 && matches!(slow, TooSlow::Deadline { .. }), "{seconds}: {slow}");
        let (seconds, slow) = move_on(Pace::open(EXPECTED), 9).await.unwrap();
        assert!(seconds == 10 && matches!(slow, TooSlow::Window { .. }), "{seconds}: {slow}");
        // What is our own time makes no difference.
        let mut pace = Pace::open(EXPECTED);
        pace.excused(Duration::from_secs(1_000));
        sleep(Duration::from_secs(1_000)).await;
        assert_eq!(pace.moved(1), Ok(()));
    }
}
