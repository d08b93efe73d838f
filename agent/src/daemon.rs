//! The agent as it runs all day: who follows, who works, who sends, who answers.

use crate::cache;
use crate::config::Config;
use crate::control::{ASKED_MAX, Control, Listening};
use crate::follow::{self, Pace};
use crate::health::Monitor;
use crate::installer::journal::Observer;
use crate::own_program::{self, Launched, Running};
use crate::settled::chain;
use crate::site::{Site, SiteError};
use crate::status::Shown;
use crate::waits;
use crate::worker::Worker;
use ledger::id::Digest;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a program must have run to count as come up: one that dies of its first pass, or of its first look at what is
/// installed, has not.
const UP_AFTER: Duration = Duration::from_secs(5 * 60);

/// How an agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// Another program is to be the agent.
    Leaves,
}

/// Runs an agent until `stop`, or until another program is to run. Its services are stopped then; an update under way is brought to its end
/// when the agent runs again. One that cannot be brought to its end does not end the agent: it is said,
/// and tried again.
///
/// # Errors
/// [`SiteError`] when it cannot begin.
pub async fn run(
    config: Config,
    program: PathBuf,
    observer: Observer,
    stop: impl Future<Output = ()>,
) -> Result<Ended, SiteError> {
    let mut stop = pin!(stop);
    let (mut site, listening) = Site::open_and(config, program, observer, Listening::on)?;
    // Until the last service has ended: whoever finds it free kills what was left running.
    let _lock = site.lock();
    let endpoint = site.key().public();
    tracing::info!(%endpoint, ledger = %site.trust.name(), chain = %site.trust.chain_id(), "agent runs");
    let kinds = site.installer.kinds().clone();
    for kind in kinds.statuses().iter().filter(|kind| kind.is_of_interest()) {
        tracing::info!("installs {kind}");
    }
    let (services, running) = (site.installer.services().clone(), site.installer.running().clone());
    let cannot_update = own_program(&site);
    let programs = site.data().programs();
    let mut others = JoinSet::new();
    // Before anything slow: a host whose agent judges an update for an hour is not asleep.
    others.spawn(waits::keep_notes(site.waits.clone(), site.heads.clone()));
    // A program on trial takes up what was begun when it hears of the ledger, and can be asked: that is tried, too.
    let on_trial = site.installer.is_on_trial();
    tokio::select! {
        recovered = site.recover(), if !on_trial => if let Err(error) = recovered {
            tracing::error!(error = chain(&error), "an update cannot be brought to its end; it is tried again");
        },
        // What is left of it is taken up when the agent runs again, as after a power cut.
        () = &mut stop => {
            services.stop_all().await;
            return Ok(Ended::Stopped);
        }
        () = std::future::ready(()), if on_trial => {}
    }

    for place in 0..site.sources.all().len() {
        // Each follower strays in its own way, on every host in another.
        let seed = Digest::blake3(&[endpoint.as_bytes().as_slice(), &place.to_le_bytes()].concat());
        let pace = Pace::new(&site.config.ledger, seed);
        others.spawn(follow::follow(place, site.sources.clone(), site.heads.clone(), pace));
    }
    if let (Some(cache), Some(bounds)) = (&site.cache, &site.config.cache) {
        others.spawn(cache::serve(cache.clone(), bounds.clone()));
    }
    others.spawn(follow::alarm(site.heads.clone()));
    others.spawn(site.sender().run());
    let seed = Digest::blake3(&[endpoint.as_bytes().as_slice(), b"health"].concat());
    let watched = Monitor::of(&site).run(seed);
    if let Some(inventory) = &site.config.inventory {
        others.spawn(site.teller().run(inventory.clone()));
    }

    let worker = Worker::new(site);
    let (ask, asked) = mpsc::channel(ASKED_MAX);
    let shown = Shown {
        config: worker.site().config.clone(),
        endpoint,
        heads: worker.site().heads.clone(),
        services: services.clone(),
        vitals: worker.site().inventory.vitals.clone(),
        receipts: worker.site().receipts.clone(),
        work: worker.watch(),
        origins: worker.site().origins.clone(),
        cache: worker.site().cache.clone(),
        kinds,
        running: running.clone(),
        cannot_update,
    };
    let control = Control::new(listening, shown, ask);
    others.spawn(come_up(running.clone(), programs.clone()));
    tokio::select! {
        () = worker.run(asked) => {}
        () = control.serve() => {}
        () = watched => {}
        () = &mut stop => tracing::info!("stopping"),
    }
    control.finish().await;
    // Whoever asks from here on is not to wait for the last service; nor does he get the directory before.
    drop(control);
    others.shutdown().await;
    services.stop_all().await;
    if running.leaves() {
        tracing::warn!("this program ends, another one is the agent");
        return Ok(Ended::Leaves);
    }
    note_up(&running, &programs);
    Ok(Ended::Stopped)
}

/// Says whether this agent updates itself; why it cannot, if it should.
fn own_program(site: &Site) -> Option<String> {
    let own = site.config.own_program.as_ref()?;
    let lacks = own_program::lacks(site.data().path());
    match &lacks {
        None => tracing::info!(product = %own.of.product, channel = %own.of.channel, "updates itself"),
        Some(lacks) => tracing::error!(lacks, "cannot update itself"),
    }
    lacks
}

/// Has the launcher know that this program comes up, once it has run for a while.
async fn come_up(running: Arc<Running>, programs: PathBuf) {
    loop {
        tokio::time::sleep(UP_AFTER).await;
        note_up(&running, &programs);
    }
}

/// Takes note that this program came up, where a launcher counts that.
pub fn note_up(running: &Running, programs: &Path) {
    if running.launched() != Launched::Not
        && let Err(error) = running.came_up(programs)
    {
        tracing::warn!(error = chain(&error), "it cannot be noted that this program came up");
    }
}
