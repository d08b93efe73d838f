//! Disks that are full, or cannot be written.

use super::{Case, Disk};
use crate::support::bench::Bench;
use crate::support::disk::Squeeze;
use crate::support::endpoint::hear;
use crate::support::left_out;
use agent::installer::journal::{Moment, Record};
use agent::worker::{AskError, Worker};
use ledger::receipt::Outcome;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A disk that is full, or read-only, from some step on. When it is well again, so is the host.
pub(super) async fn on_a_bad_disk<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    let mut host = case.host::<B>(true).await;
    if host.mount.is_none() {
        return left_out("only root may mount a small disk");
    }
    type At = fn(&Record) -> bool;
    let steps: [(&str, At); 2] = [
        ("from the beginning", |record| matches!(record, Record::Begun(_))),
        ("when all is prepared", |record| *record == Record::Switching),
    ];
    let squeezes = [0, 16 << 10, 64 << 10, 256 << 10].map(Squeeze::FullBut).into_iter().chain([Squeeze::ReadOnly]);
    for (squeeze, (when, at)) in squeezes.flat_map(|squeeze| steps.map(|step| (squeeze, step))) {
        let what = format!("{squeeze:?} {when}");
        let receipts = case.world.receipts().len();
        let (disk, done) = (host.bench.target(&host.endpoint), Arc::new(AtomicBool::new(false)));
        let (on, squeezed) = (disk.clone(), done.clone());
        let site = host.endpoint.open_observed(Box::new(move |moment, record| {
            if moment == Moment::After && at(record) && !squeezed.load(Ordering::SeqCst) {
                squeezed.store(squeeze.on(&on), Ordering::SeqCst);
            }
        }));
        hear(&site).await;
        let mut worker = Worker::new(site);
        let verdict = worker.apply(&case.healthy.to_string(), None).await;
        assert!(done.load(Ordering::SeqCst), "{what}");
        squeeze.off(&disk);
        drop(worker);
        host.check(&case, &states, receipts, &format!("{what}: {verdict:?}")).await;
        if host.snapshot() != states.0 {
            drop(host);
            host = case.host::<B>(true).await;
        }
    }
    let settled = host.apply(case.healthy).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    host.is(&states.1, "the disk is well again");
}

/// What patches change is full, or read-only, from when an update is judged and found unhealthy: going back may not be
/// possible then. It is as soon as the disk is well again, and it is all of it.
pub(super) async fn going_back_on_a_bad_disk<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    let host = case.host::<B>(true).await;
    if host.mount.is_none() {
        return left_out("only root may mount a small disk");
    }
    for squeeze in [0, 64 << 10].map(Squeeze::FullBut).into_iter().chain([Squeeze::ReadOnly]) {
        let what = format!("{squeeze:?} when it is judged");
        host.send_receipts().await;
        let receipts = case.world.receipts().len();
        let (disk, done) = (host.bench.target(&host.endpoint), Arc::new(AtomicBool::new(false)));
        let (on, squeezed) = (disk.clone(), done.clone());
        let site = host.endpoint.open_observed(Box::new(move |moment, record| {
            if moment == Moment::After && matches!(record, Record::Judged { .. }) && !squeezed.load(Ordering::SeqCst) {
                squeezed.store(squeeze.on(&on), Ordering::SeqCst);
            }
        }));
        hear(&site).await;
        let mut worker = Worker::new(site);
        let verdict = worker.apply(&case.sick.to_string(), None).await;
        worker.site().installer.services().stop_all().await;
        if done.load(Ordering::SeqCst) {
            squeeze.off(&disk);
        } else {
            // It waits for a restart of the host and is judged behind that; or nothing lets the disk be made so.
            let is_read_only = squeeze == Squeeze::ReadOnly;
            assert!(is_read_only || matches!(verdict, Err(AskError::AwaitsRestart(_))), "{what}: {verdict:?}");
        }
        drop(worker);
        let outcome = host.check_end(&case, &states, receipts, &format!("{what}: {verdict:?}")).await;
        assert_eq!(outcome, Outcome::RolledBack, "{what}");
        host.is(&states.0, &what);
    }
    let settled = host.apply(case.healthy).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    host.is(&states.1, "the disk is well again");
}

/// The disk with everything of the agent's own is full from some step on: its journal, what it prepares, its receipts. As
/// soon as there is room again, the next start brings to an end what could not be. (It cannot be made read-only under an
/// agent that has its journal open for writing: the kernel says no.)
pub(super) async fn with_no_room_of_its_own<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    let mut host = case.host_with::<B>(Some(Disk::Data)).await;
    if host.mount.is_none() {
        return left_out("only root may mount a small disk");
    }
    type At = fn(&Record) -> bool;
    let steps: [(&str, At); 3] = [
        ("from the beginning", |record| matches!(record, Record::Begun(_))),
        ("when all is prepared", |record| *record == Record::Switching),
        ("when it is judged", |record| matches!(record, Record::Judged { .. })),
    ];
    for (left, (when, at)) in [0, 8 << 10, 64 << 10].into_iter().flat_map(|left| steps.map(|step| (left, step))) {
        for patch in [case.sick, case.healthy] {
            let what = format!("full but {left} {when}, {}", if patch == case.sick { "sick" } else { "healthy" });
            host.send_receipts().await;
            let receipts = case.world.receipts().len();
            let (disk, done) = (host.endpoint.data(), Arc::new(AtomicBool::new(false)));
            let (on, squeezed, squeeze) = (disk.clone(), done.clone(), Squeeze::FullBut(left));
            let site = host.endpoint.open_observed(Box::new(move |moment, record| {
                if moment == Moment::After && at(record) && !squeezed.load(Ordering::SeqCst) {
                    squeezed.store(squeeze.on(&on), Ordering::SeqCst);
                }
            }));
            hear(&site).await;
            let mut worker = Worker::new(site);
            let verdict = worker.apply(&patch.to_string(), None).await;
            worker.site().installer.services().stop_all().await;
            drop(worker);
            if !done.load(Ordering::SeqCst) {
                // It waits for a restart of the host, and is judged behind that.
                assert!(matches!(verdict, Err(AskError::AwaitsRestart(_))), "{what}: {verdict:?}");
            } else {
                squeeze.off(&disk);
            }
            let outcome = host.check(&case, &states, receipts, &format!("{what}: {verdict:?}")).await;
            assert!(patch == case.healthy || outcome != Outcome::Applied, "{what}: what is not healthy is not kept");
            if host.snapshot() != states.0 {
                drop(host);
                host = case.host_with::<B>(Some(Disk::Data)).await;
            }
        }
    }
    let settled = host.apply(case.healthy).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    host.is(&states.1, "there is room again");
}
