//! House law and the facts it looks at, as they are now.

use crate::clock::now_ms;
use crate::config::Config;
use crate::data::DataDir;
use crate::files::FileError;
use crate::follow::heads::Heads;
use crate::follow::split;
use crate::installer::installs;
use crate::waits::Waited;
use ledger::bounded::Name;
use ledger::patch::InstallerKind;
use policy::schedule::Schedule;
use policy::{Host, Offered, Pause, Policy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The facts about a host, as they are now.
///
/// # Errors
/// [`FileError`].
pub(crate) fn host(
    config: &Config,
    installers: BTreeMap<InstallerKind, Offered>,
    waited: Waited,
) -> Result<Host, FileError> {
    Ok(Host {
        os: host_name(std::env::consts::OS),
        architecture: host_name(std::env::consts::ARCH),
        hardware: config.hardware.clone(),
        labels: config.labels.clone(),
        installed: installs::all_installed(&DataDir::at(config.data_dir.clone()).installs())?,
        installers,
        awake_since_ms: waited.awake_since_ms,
        due_since_ms: waited.due_since_ms,
    })
}

/// House law, with what it hangs on.
pub(crate) struct Law {
    pub(crate) policy: Policy,
    /// Somebody at the host said that it waits for no window.
    pub(crate) schedule_lifted: bool,
    pub(crate) heads: Arc<Heads>,
}

impl Law {
    pub(crate) fn policy(&self) -> Policy {
        let mut policy = self.policy.clone();
        if self.schedule_lifted {
            policy.schedule = Schedule::default();
        }
        if let Some(evidence) = self.heads.split() {
            let reason =
                format!("the ledger was split: {}; remove it when that is cleared up", split::advice(&evidence));
            policy.pause = Some(Pause { reason, until_ms: None });
        }
        policy
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.heads.believed_ms(now_ms())
    }
}

/// What the compiler calls this machine, as selectors do.
fn host_name(text: &str) -> Name {
    Name::new(text).expect("operating systems and architectures are named in lower-case letters, digits and _")
}
