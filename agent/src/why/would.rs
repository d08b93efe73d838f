//! What an update would do, from its manifest and this host: nothing of it is done.

use super::{Checked, Verdict};
use crate::config::Config;
use crate::data::DataDir;
use crate::download::Room;
use crate::files::FileError;
use crate::installer::installs;
use crate::installer::kinds::Kinds;
use ledger::moment::Span;
use ledger::patch::{Artifact, PatchManifest, Reboot};
use policy::{Restart, Subscription};
use std::time::Duration;
use terminal::escape;

/// Whether the manifest can be what it says it is.
pub(super) fn plan(manifest: &PatchManifest, kinds: &Kinds) -> Checked {
    let (verdict, said) = match kinds.plan(manifest) {
        Ok(()) => (Verdict::Yes, counted(manifest.payloads().len(), "artifact")),
        Err(refusal) => (Verdict::No, refusal.reason.to_string()),
    };
    Checked { part: "host", check: "plan", verdict, said }
}

/// Whether there is the room that is asked for before anything is fetched. Whether there is enough on the disks that
/// are changed is found out when the patch is prepared.
pub(super) fn room(manifest: &PatchManifest, data: &DataDir) -> Result<Checked, FileError> {
    let room = Room::reckon(data, &manifest.artifacts)?;
    let (verdict, said) = match room.check() {
        Ok(()) => (Verdict::Yes, room.to_string()),
        Err(refusal) => (Verdict::No, refusal.reason.detail.to_string()),
    };
    Ok(Checked { part: "host", check: "room", verdict, said })
}

/// What would be done, in its order.
pub(super) fn steps(manifest: &PatchManifest, config: &Config) -> Result<Vec<String>, FileError> {
    let of = Subscription { product: manifest.product.clone(), channel: manifest.channel.clone() };
    let installed = installs::installed(&DataDir::at(config.data_dir.clone()).installs(), &of)?;
    let from = installed.map_or_else(|| "nothing".to_owned(), |installed| escape(installed.meta.version.as_str()));
    let fetch = |(artifact, deltas): (&Artifact, Vec<&Artifact>)| {
        let or = if deltas.is_empty() { "" } else { ", or a delta, where it is of use" };
        format!("fetch {} ({} bytes){or}", artifact.name, artifact.size)
    };
    let mut steps: Vec<_> = manifest.payloads().into_iter().map(fetch).collect();
    let kind = policy::kind_words(manifest.installer);
    steps.push(format!("install {kind}: {} {from} → {}", of.product, escape(manifest.version.as_str())));
    steps.extend(restart(manifest.reboot, config.policy.restart));
    let named = |service: &&crate::config::Service| service.of == of || manifest.services.contains(&service.name);
    let services = config.services.iter().filter(named);
    steps.extend(services.map(|service| format!("restart service {}", service.name)));
    steps.push(asked(manifest.health.len(), config.health.checks.len(), config.health.soak));
    steps.push(format!("keep it if all of them pass, else go back to {from}; and write a receipt"));
    Ok(steps)
}

/// What would be asked, and for how long.
fn asked(checks: usize, house: usize, soak: Duration) -> String {
    let asked = format!("ask {} of the patch and {house} of this house", counted(checks, "check"));
    match u64::try_from(soak.as_millis()).unwrap_or(u64::MAX) {
        0 => asked,
        soak_ms => format!("{asked}, and again for {} after they passed", Span(soak_ms)),
    }
}

/// So many of something.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What would become of the restart that it may need.
fn restart(reboot: Reboot, may: Restart) -> Option<String> {
    let when = match may {
        Restart::Never => return None,
        Restart::Window => "in a window",
        Restart::Now => "at once",
    };
    match reboot {
        Reboot::Never => None,
        Reboot::IfNeeded => Some(format!("restart the host {when}, if it asks for that, before what follows")),
        Reboot::Required => Some(format!("restart the host {when}, before what follows")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_asked_is_said_as_people_count() {
        assert_eq!(asked(1, 0, Duration::ZERO), "ask 1 check of the patch and 0 of this house");
        let soaking = "ask 2 checks of the patch and 3 of this house, and again for 1m 30s after they passed";
        assert_eq!(asked(2, 3, Duration::from_secs(90)), soaking);
    }
}
