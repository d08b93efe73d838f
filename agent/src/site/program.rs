//! What an endpoint does about its own program, beside what the installer does.

use super::Site;
use crate::clock::now_ms;
use crate::files::FileError;
use crate::follow::heads::{Freshness, NodeView};
use crate::settled::{Settled, chain};
use std::time::Duration;

/// How often a program on trial looks whether it has heard of the ledger.
const HEARD_LOOK: Duration = Duration::from_millis(100);

impl Site {
    /// Waits until a node has shown something fresh of the ledger, where nodes are followed: a program that cannot hear
    /// of it would never hear of the next one either. Whoever tries it does not wait for ever.
    pub(super) async fn hear(&self) {
        let heard = || {
            let height = self.heads.newest().height;
            let shows = |node: &NodeView| node.reachable && node.height > 0 && node.height >= height;
            self.config.ledger.nodes.is_empty() || self.heads.nodes().iter().any(shows)
        };
        while !(heard() && self.heads.freshness(now_ms()) == Freshness::Fresh) {
            tokio::time::sleep(HEARD_LOOK).await;
        }
    }

    /// Takes back a program of the agent that was kept, and does not come up any more: the one before runs already.
    pub(super) async fn take_back_fallen(&mut self) -> Result<Option<Settled>, FileError> {
        let Some((patch, against)) = self.installer.fallen() else { return Ok(None) };
        let (run, mut log) = self.begin(patch)?;
        self.look_before(&mut log).await;
        match self.installer.take_back_because(run, patch, against, &mut log).await {
            Ok(settled) => {
                tracing::error!(%settled, %patch, "the agent's program was kept, and does not come up any more");
                self.write_receipt(&settled, log, false).await?;
                Ok(Some(settled))
            }
            Err(error) => {
                tracing::error!(error = chain(&error), %patch, "the agent's program is not taken back");
                Ok(None)
            }
        }
    }
}
