//! The agent as it runs all day: who follows, who works, who sends, who answers.

use crate::cache;
use crate::config::Config;
use crate::control::{ASKED_MAX, Control, Listening};
use crate::follow::{self, Pace};
use crate::installer::journal::Observer;
use crate::settled::chain;
use crate::site::{Site, SiteError};
use crate::status::Shown;
use crate::waits;
use crate::worker::Worker;
use ledger::id::Digest;
use std::path::PathBuf;
use std::pin::pin;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Runs an agent until `stop`. Its services are stopped then; an update under way is brought to its end
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
) -> Result<(), SiteError> {
    let mut stop = pin!(stop);
    let (mut site, listening) = Site::open_and(config, program, observer, Listening::on)?;
    let endpoint = site.key().public();
    tracing::info!(%endpoint, ledger = %site.trust.name(), chain = %site.trust.chain_id(), "agent runs");
    let kinds = site.installer.kinds().statuses();
    for kind in kinds.iter().filter(|kind| kind.is_of_interest()) {
        tracing::info!("installs {kind}");
    }
    let services = site.installer.services().clone();
    let mut others = JoinSet::new();
    // Before anything slow: a host whose agent judges an update for an hour is not asleep.
    others.spawn(waits::keep_notes(site.waits.clone(), site.heads.clone()));
    tokio::select! {
        recovered = site.recover() => if let Err(error) = recovered {
            tracing::error!(error = chain(&error), "an update cannot be brought to its end; it is tried again");
        },
        // What is left of it is taken up when the agent runs again, as after a power cut.
        () = &mut stop => {
            services.stop_all().await;
            return Ok(());
        }
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
        receipts: worker.site().receipts.clone(),
        work: worker.watch(),
        origins: worker.site().origins.clone(),
        cache: worker.site().cache.clone(),
        kinds,
    };
    let control = Control::new(listening, shown, ask);
    tokio::select! {
        () = worker.run(asked) => {}
        () = control.serve() => {}
        () = &mut stop => tracing::info!("stopping"),
    }
    others.shutdown().await;
    services.stop_all().await;
    Ok(())
}
