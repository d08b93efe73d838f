//! Getting every published artifact onto this node, from whichever peer has it.
//!
//! [`Plan`] decides what is asked of whom and when, by values alone; here it is done. A source that fails is
//! left alone for longer each time, one that lies for much longer, and the others are asked meanwhile.

mod plan;

pub use plan::{
    ABSENT_REST, Ended, FAILURE_REST, FETCHES_MAX, FETCHES_PER_ORGANISATION_MAX, FETCHES_PER_SOURCE_MAX, Job, LIE_REST,
    NO_ROOM_REST, Plan, Rest, WANTED_PER_ORGANISATION_MAX, Wanted,
};

use crate::artifacts::{ArtifactError, Artifacts, fetch_from_peer};
use crate::network::Network;
use futures::{AsyncRead, AsyncWrite, Stream, StreamExt as _};
use ledger::key::PublicKey;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// How often it is looked whether another source is there, while something is missing. No source is asked
/// because of it before its time.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a source may take to open a stream: far more than any line needs.
const OPEN_MAX: Duration = Duration::from_secs(20);

/// Where artifacts come from.
pub trait Sources: Clone + Send + Sync + 'static {
    /// What a question is put on, and answered.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Who can be asked now, in the order of their keys.
    fn connected(&self) -> Vec<PublicKey>;

    /// A stream to one of them.
    fn open(&self, source: PublicKey) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Sources for Network {
    type Stream = libp2p::Stream;

    fn connected(&self) -> Vec<PublicKey> {
        self.peers().into_iter().map(|peer| peer.key).collect()
    }

    async fn open(&self, source: PublicKey) -> io::Result<Self::Stream> {
        self.artifact_stream(&source).await
    }
}

/// Replicates until the node stops. `plan` knows what was published before; `published` brings artifacts as
/// they are published.
pub async fn run(
    mut plan: Plan,
    artifacts: Arc<Artifacts>,
    sources: impl Sources,
    mut published: impl Stream<Item = Wanted> + Unpin,
    mut stop: watch::Receiver<bool>,
) {
    let mut running: JoinSet<(Job, Result<(), ArtifactError>)> = JoinSet::new();
    loop {
        let connected = sources.connected();
        while let Some(job) = plan.next(Instant::now(), &connected) {
            running.spawn(fetch(artifacts.clone(), sources.clone(), job));
        }
        let look = plan.wake(Instant::now()).map(|due| due.min(Instant::now() + LOOK_INTERVAL));
        tokio::select! {
            _ = stop.changed() => return,
            wanted = published.next() => match wanted {
                Some(wanted) => want(&mut plan, &artifacts, wanted),
                None => return,
            },
            Some(ended) = running.join_next() => {
                // A fetch that panicked has said so; its place is taken until the next start.
                let Ok((job, result)) = ended else { continue };
                let ended = judge(&job, &result);
                plan.ended(Instant::now(), &job, ended);
            }
            () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {}
        }
    }
}

/// Notes an artifact that should be here, unless it is.
pub fn want(plan: &mut Plan, artifacts: &Artifacts, wanted: Wanted) {
    if matches!(artifacts.size(&wanted.blake3), Ok(Some(_))) {
        return;
    }
    let organisation = wanted.organisation.clone();
    let Some(Wanted { blake3, .. }) = plan.want(Instant::now(), wanted) else { return };
    let forgotten = plan.forgotten(&organisation);
    // Whoever publishes what nobody has does not write the log.
    if forgotten.is_power_of_two() {
        tracing::warn!(
            %organisation, %blake3, forgotten,
            "more than {WANTED_PER_ORGANISATION_MAX} artifacts of one organisation are missing: the oldest are forgotten until the next start"
        );
    }
}

async fn fetch(artifacts: Arc<Artifacts>, sources: impl Sources, job: Job) -> (Job, Result<(), ArtifactError>) {
    let Wanted { organisation, blake3, size } = &job.wanted;
    let result = async {
        if artifacts.size(blake3)?.is_some() {
            return Ok(());
        }
        let silent = |_| ArtifactError::Broken(io::ErrorKind::TimedOut.into());
        let opened = timeout(OPEN_MAX, sources.open(job.source)).await.map_err(silent)?;
        let stream = opened.map_err(ArtifactError::Broken)?;
        fetch_from_peer(&artifacts, stream, organisation, (*blake3, *size)).await?;
        tracing::info!(%blake3, peer = %job.source, "artifact replicated");
        Ok(())
    };
    let result = result.await;
    (job, result)
}

/// What came of a fetch, and who is to blame; a person reads it in the log.
fn judge(job: &Job, result: &Result<(), ArtifactError>) -> Ended {
    let Job { wanted: Wanted { organisation, blake3, .. }, source } = job;
    let Err(error) = result else { return Ended::Here };
    match error {
        // Another size than the manifest's: the manifest may be wrong as well as the peer.
        ArtifactError::Absent(_) | ArtifactError::Length { .. } => {
            tracing::debug!(%blake3, peer = %source, %error, "peer has no artifact");
            Ended::Absent
        }
        ArtifactError::Forged(_) | ArtifactError::Digest { .. } => {
            tracing::warn!(%blake3, peer = %source, %error, "a peer serves wrong bytes: it is left alone for a while");
            Ended::Lied
        }
        ArtifactError::Broken(_) | ArtifactError::Slow(_) => {
            tracing::info!(%blake3, peer = %source, %error, "a peer does not serve an artifact: others are asked first");
            Ended::Failed
        }
        ArtifactError::Quota { .. }
        | ArtifactError::Full { .. }
        | ArtifactError::DiskFull { .. }
        | ArtifactError::Range { .. }
        | ArtifactError::Damaged { .. }
        | ArtifactError::Io(_) => {
            tracing::warn!(%blake3, %organisation, %error, "an artifact cannot be stored here");
            Ended::NoRoom
        }
    }
}
