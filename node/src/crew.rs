//! Threads for long computations.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::sync::Arc;

/// How far threads that step back do so: beside a busy thread of its process, one gets a tenth of a core.
/// `setpriority(2)`; the unit is the kernel's "nice value", 0 being the usual and 19 the least.
const STEP_BACK: i32 = 10;

/// As many threads as the machine has cores.
#[derive(Clone)]
pub struct Crew(Arc<ThreadPool>);

/// The work was not done, and will not be.
#[derive(Debug, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopping;

impl Crew {
    /// Threads like any other.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(name: &'static str) -> Result<Self, ThreadPoolBuildError> {
        Self::build(name, || {})
    }

    /// Threads that leave the cores to others while there is not enough for all.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn in_background(name: &'static str) -> Result<Self, ThreadPoolBuildError> {
        Self::build(name, || {
            // On Linux, of this thread only. Where it is not allowed, these are threads like any other.
            let _ = rustix::process::setpriority_process(None, STEP_BACK);
        })
    }

    fn build(name: &'static str, begin: impl Fn() + Send + Sync + 'static) -> Result<Self, ThreadPoolBuildError> {
        let threads = ThreadPoolBuilder::new()
            .thread_name(move |number| format!("{name}-{number}"))
            .start_handler(move |_| begin())
            // Said by the program's panic hook; whoever waits for the result is told that there is none.
            .panic_handler(|_| {});
        Ok(Self(Arc::new(threads.build()?)))
    }

    /// Does this on one of them, those first that came first.
    ///
    /// # Errors
    /// [`Stopping`].
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stopping> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.0.spawn_fifo(move || {
            // Whoever asked may have gone away.
            let _ = done.send(work());
        });
        result.await.map_err(|_| Stopping)
    }
}
