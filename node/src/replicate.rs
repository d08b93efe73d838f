//! Getting every published artifact onto this node, from whichever peer has it.

use crate::artifacts::{Artifacts, fetch_from_peer};
use crate::network::Network;
use ledger::patch::Artifact;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long before peers that did not have an artifact are asked again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Replicates until the node stops. `wanted` brings artifacts as they are published.
pub async fn run(
    artifacts: Arc<Artifacts>,
    network: Network,
    mut wanted: mpsc::UnboundedReceiver<Artifact>,
    mut stop: watch::Receiver<bool>,
) {
    let mut missing: VecDeque<Artifact> = VecDeque::new();
    loop {
        if missing.is_empty() {
            tokio::select! {
                _ = stop.changed() => return,
                artifact = wanted.recv() => match artifact {
                    Some(artifact) => missing.push_back(artifact),
                    None => return,
                }
            }
        }
        while let Ok(artifact) = wanted.try_recv() {
            missing.push_back(artifact);
        }
        let Some(artifact) = missing.pop_front() else { continue };
        if !fetch(&artifacts, &network, &artifact).await {
            missing.push_back(artifact);
            tokio::select! {
                _ = stop.changed() => return,
                () = tokio::time::sleep(RETRY_DELAY) => {}
            }
        }
    }
}

/// Whether the artifact is here now.
async fn fetch(artifacts: &Arc<Artifacts>, network: &Network, artifact: &Artifact) -> bool {
    if matches!(artifacts.size(&artifact.blake3), Ok(Some(_))) {
        return true;
    }
    for peer in network.peers() {
        let Ok(stream) = network.artifact_stream(&peer.key).await else { continue };
        match fetch_from_peer(artifacts, stream, artifact.blake3, artifact.size).await {
            Ok(()) => {
                tracing::info!(blake3 = %artifact.blake3, peer = %peer.key, "artifact replicated");
                return true;
            }
            Err(error) => tracing::debug!(blake3 = %artifact.blake3, peer = %peer.key, %error, "peer has no artifact"),
        }
    }
    false
}

/// Fetches what was published before this start and is missing here, then goes on with `after`.
pub async fn run_first(
    published: Vec<Artifact>,
    artifacts: Arc<Artifacts>,
    network: Network,
    after: impl Future<Output = ()>,
) {
    let catching_up = async {
        let mut missing: VecDeque<Artifact> = published.into();
        while let Some(artifact) = missing.pop_front() {
            if !fetch(&artifacts, &network, &artifact).await {
                missing.push_back(artifact);
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    };
    tokio::join!(catching_up, after);
}
