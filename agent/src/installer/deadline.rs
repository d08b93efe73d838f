//! How long a step of an update may take. A step looks at the clock between what it does, and stops.

use std::io;
use std::time::{Duration, Instant};

/// The end of a step, counted from when it was announced.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    step: &'static str,
    at: Instant,
    patience: Duration,
}

/// A step took too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step} was not over after {patience:?}")]
pub struct Late {
    step: &'static str,
    patience: Duration,
}

impl From<Late> for io::Error {
    fn from(late: Late) -> Self {
        Self::new(io::ErrorKind::TimedOut, late)
    }
}

impl Deadline {
    /// From now on.
    #[must_use]
    pub fn begin(step: &'static str, patience: Duration) -> Self {
        let now = Instant::now();
        // Later than any clock can say is never.
        let at = now.checked_add(patience).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        Self { step, at, patience }
    }

    /// Whether there is time left.
    ///
    /// # Errors
    /// [`Late`].
    pub fn check(&self) -> Result<(), Late> {
        match self.left().is_zero() {
            true => Err(Late { step: self.step, patience: self.patience }),
            false => Ok(()),
        }
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}
