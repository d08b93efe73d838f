//! Image slots, where they are unlike everything else: two slots, a boot loader that counts, and hosts that come up as
//! something else than was meant.

use crate::crash::{child, child_takes_back};
use crate::restarts::{ask, awaits, shut_for_hours};
use crate::support::bench::{Bench, differences};
use crate::support::endpoint::{Endpoint, approved_set, hear};
use crate::support::images::{ImageSlots, image};
use crate::support::left_out;
use crate::support::node::{Node, World};
use agent::installer::journal::{Moment, Record};
use agent::installer::restarting::Awaited;
use agent::settled::{Settled, chain};
use agent::worker::Worker;
use ledger::bounded::{List, Name};
use ledger::id::PatchId;
use ledger::patch::{InstallerKind, PatchManifest, Reboot};
use ledger::receipt::{Outcome, ReasonCode};
use std::fs;
use std::process::Command;
use std::sync::Arc;

/// A reason that cannot be: no release is this one.
const NEVER: u64 = 99;

/// A host whose factory image runs from slot a.
pub(crate) struct House {
    world: Arc<World>,
    _node: Node,
    pub(crate) bench: ImageSlots,
    pub(crate) endpoint: Endpoint,
}

impl House {
    async fn new(config: impl Fn(&ImageSlots) -> String) -> Option<Self> {
        Self::on(|bench| bench, config).await
    }

    pub(crate) async fn on(
        place: impl FnOnce(ImageSlots) -> ImageSlots,
        config: impl Fn(&ImageSlots) -> String,
    ) -> Option<Self> {
        let mut bench = match ImageSlots::new() {
            Ok(bench) => place(bench),
            Err(why) => {
                left_out(&why);
                return None;
            }
        };
        let world = World::new();
        let node = world.node().await;
        let endpoint = Endpoint::new(&world, &[&node], &config(&bench)).patient();
        bench.build(&endpoint);
        Some(Self { world, _node: node, bench, endpoint })
    }

    pub(crate) async fn that_may_restart() -> Option<Self> {
        Self::new(ImageSlots::config).await
    }

    /// A release with these artifacts, healthy when it says what it is expected to.
    pub(crate) fn release(&self, number: u64, probe: u64, images: Vec<Vec<u8>>, reboot: Reboot) -> PatchId {
        let named = images.into_iter().enumerate().map(|(place, image)| (format!("image-{place}"), image)).collect();
        approved_set(&self.world, number, InstallerKind::ImageSlot, named, |manifest: &mut PatchManifest| {
            manifest.reboot = reboot;
            manifest.health = List::new(vec![self.bench.probe(probe)]).unwrap();
        })
    }

    pub(crate) fn good(&self, number: u64) -> PatchId {
        let [(_, image)] = self.bench.artifacts(number).try_into().unwrap();
        self.release(number, number, vec![image], Reboot::Required)
    }

    pub(crate) async fn begins(&self) -> (Worker, Option<Settled>) {
        let mut site = self.endpoint.open();
        let settled = site.recover().await.unwrap();
        hear(&site).await;
        (Worker::new(site), settled)
    }

    /// A patch is put in place, and the agent ends.
    async fn puts(&self, patch: PatchId) {
        let (mut worker, _) = self.begins().await;
        let answer = ask(&mut worker, patch).await;
        assert_eq!(awaits(&answer), Some(patch), "{answer:?}");
    }

    /// What an agent makes of it that begins now.
    async fn settles(&self) -> Settled {
        self.begins().await.1.expect("something comes to its end")
    }

    pub(crate) async fn installs(&self, patch: PatchId) {
        self.puts(patch).await;
        assert!(self.bench.starts());
        let settled = self.settles().await;
        assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    }

    pub(crate) fn is(&self, running: &str, chosen: &str) {
        assert_eq!((self.bench.running().as_str(), self.bench.chosen().as_str()), (running, chosen));
    }
}

pub(crate) fn code(settled: &Settled) -> ReasonCode {
    settled.reason.as_ref().unwrap_or_else(|| panic!("{settled}")).code
}

#[tokio::test]
async fn the_documented_script_counts_and_goes_back() {
    let Some(house) = House::that_may_restart().await else { return };
    for (active, trying, left, slot, left_then) in [
        ("a", "-", 0, "a", "0"),
        ("b", "-", 0, "b", "0"),
        ("b", "-", 3, "b", "3"),
        ("a", "b", 9, "b", "8"),
        ("a", "b", 1, "b", "0"),
        ("a", "b", 0, "a", "0"),
        ("b", "a", 2, "a", "1"),
        ("b", "b", 0, "b", "0"),
    ] {
        house.bench.set_environment(active, trying, left);
        let line = house.bench.loads(false);
        assert!(line.contains(&format!("root=PARTLABEL=slot-{slot} ")), "{active} {trying} {left}: {line}");
        assert!(line.trim_end().ends_with(&format!("countersign.slot={slot}")), "{line}");
        assert_eq!(house.bench.says("tries_left"), left_then, "{active} {trying} {left}");
    }
    // What cannot be counted is not tried; and of what says nothing a default is left.
    house.bench.set_environment("b", "a", 3);
    assert!(house.bench.loads(true).contains("slot=b"));
    fs::write(house.bench.environment(), vec![0; 1024]).unwrap();
    assert!(house.bench.loads(false).contains("slot=a"));
}

#[tokio::test]
async fn an_image_that_does_not_come_up_is_left_by_the_boot_loader_and_the_receipt_says_so() {
    let Some(house) = House::that_may_restart().await else { return };
    // It begins as an image does, and no kernel can use the rest.
    let mut broken = image("1.0.2", 100_000);
    broken[96..].fill(0xff);
    let patch = house.release(2, 2, vec![broken], Reboot::Required);
    house.puts(patch).await;
    house.is("a", "a b 3");
    let before = house.bench.started();
    assert!(house.bench.starts());
    assert_eq!(house.bench.started() - before, 4, "three times the new one, then the old one");
    house.is("a", "a b 0");
    let (worker, settled) = house.begins().await;
    let settled = settled.unwrap();
    assert_eq!((settled.outcome, code(&settled)), (Outcome::RolledBack, ReasonCode::HealthFailed), "{settled}");
    let expected = "slot b did not come up (0 tries are left): the host runs from slot a";
    assert!(settled.to_string().contains(expected), "{settled}");
    house.is("a", "a - 0");
    assert_eq!(fs::read(house.bench.slot("b")).unwrap()[..4096], [0; 4096], "what was taken back is no image any more");
    assert_eq!(worker.site().installer.awaited_restart().unwrap(), None, "the old one runs already");
    worker.site().sender().send_all().await.unwrap();
    assert_eq!(house.world.receipts().last().unwrap().outcome, Outcome::RolledBack);
    drop(worker);
    house.installs(house.good(3)).await;
    house.is("b", "b - 0");
}

#[tokio::test]
async fn an_image_that_comes_up_sick_is_taken_back_and_nothing_is_written_over_it_before_the_restart() {
    let Some(house) = House::that_may_restart().await else { return };
    let old = house.bench.snapshot(&house.endpoint);
    let sick = house.release(2, NEVER, vec![image("1.0.2", 1000)], Reboot::Required);
    house.puts(sick).await;
    assert!(house.bench.starts());
    house.is("b", "a b 2");
    let (mut worker, settled) = house.begins().await;
    let settled = settled.unwrap();
    assert_eq!((settled.outcome, code(&settled)), (Outcome::RolledBack, ReasonCode::HealthFailed), "{settled}");
    house.is("b", "a - 0");
    assert_eq!(worker.site().installer.awaited_restart().unwrap(), Some(Awaited::TakenBack { patch: sick }));
    let (next, there) = (house.good(3), fs::read(house.bench.slot("b")).unwrap());
    let settled = ask(&mut worker, next).await.unwrap();
    assert_eq!((settled.outcome, code(&settled)), (Outcome::Refused, ReasonCode::CannotRollBack), "{settled}");
    assert!(settled.to_string().contains("the host runs from slot b, slot a is the active one"), "{settled}");
    assert!(fs::read(house.bench.slot("b")).unwrap() == there, "what runs is not written to");
    drop(worker);
    assert!(house.bench.starts());
    let differences = differences(&old, &house.bench.snapshot(&house.endpoint));
    assert!(differences.is_empty(), "{differences:#?}");
    house.installs(next).await;
}

/// What runs is still the new image, and its service does not start there a second time either: the restart that brings
/// the old one is owed all the same.
#[tokio::test]
async fn an_image_whose_service_does_not_start_is_left() {
    let service = "[services.widget]\ncommand = [\"false\"]\nready_wait_ms = 100\nstop_timeout_ms = 2000\n";
    let Some(house) = House::new(|bench| format!("{}\n{service}", bench.config())).await else { return };
    let patch = house.good(2);
    house.puts(patch).await;
    assert!(house.bench.starts());
    let (worker, settled) = house.begins().await;
    let settled = settled.unwrap();
    assert_eq!((settled.outcome, code(&settled)), (Outcome::RolledBack, ReasonCode::ServiceFailed), "{settled}");
    house.is("b", "a - 0");
    assert_eq!(worker.site().installer.awaited_restart().unwrap(), Some(Awaited::TakenBack { patch }));
    worker.site().installer.services().stop_all().await;
}

#[tokio::test]
async fn an_image_takes_a_restart_as_the_house_allows_it() {
    let window = shut_for_hours();
    for (when, allowed, waits) in [("never", false, false), ("window", true, true), ("now", true, false)] {
        let config =
            |bench: &ImageSlots| format!("{}\n[schedule]\nurgent = [\"important\"]\n{window}", bench.config_with(when));
        let Some(house) = House::new(config).await else { return };
        // Whatever the vendor thinks of restarts: an image runs after one.
        for (number, reboot) in [(2, Reboot::IfNeeded), (3, Reboot::Required)] {
            let patch = house.release(number, number, vec![image(&format!("1.0.{number}"), 1000)], reboot);
            let (mut worker, _) = house.begins().await;
            let answer = ask(&mut worker, patch).await;
            let what = format!("{when}, {reboot:?}: {answer:?}");
            if !allowed {
                assert_eq!(answer.unwrap().outcome, Outcome::Refused, "{what}");
                house.is("a", "a - 0");
                continue;
            }
            assert_eq!(awaits(&answer), Some(patch), "{what}");
            let why = worker.watch().borrow().restart.clone().unwrap().why;
            assert_eq!(why.contains("because no window is open"), waits, "{what}: {why}");
            assert_eq!(why.contains("asked for at"), !waits, "{what}: {why}");
            drop(worker);
            assert!(house.bench.starts());
            assert_eq!(house.settles().await.outcome, Outcome::Applied, "{what}");
        }
    }
}

#[tokio::test]
async fn the_last_image_is_taken_back_by_hand_to_what_the_other_slot_still_has() {
    let Some(house) = House::that_may_restart().await else { return };
    house.installs(house.good(1)).await;
    let old = house.bench.snapshot(&house.endpoint);
    let patch = house.good(2);
    house.installs(patch).await;
    house.is("a", "a - 0");

    // Killed anywhere it is gone through with; before the first record nothing was begun.
    let mut places = 0;
    while child_takes_back(&house.endpoint, patch, places).await {
        let (worker, _) = house.begins().await;
        let expected = (places > 0).then_some(Awaited::TakenBack { patch });
        assert_eq!(worker.site().installer.awaited_restart().unwrap(), expected, "place {places}");
        drop(worker);
        if places > 0 {
            house.is("a", "b - 0");
            assert!(house.bench.starts());
            let differences = differences(&old, &house.bench.snapshot(&house.endpoint));
            assert!(differences.is_empty(), "place {places}: {differences:#?}");
            house.installs(patch).await;
        }
        places += 1;
    }
    assert_eq!(places, 8, "begun, judged, restored, done: before and after each");
    house.is("a", "b - 0");
    assert_eq!(house.endpoint.version().as_deref(), Some("1.0.1"));
}

/// Of a delta an image may be made, of two products the slots cannot be.
#[tokio::test]
async fn the_slots_are_one_products() {
    let Some(house) = House::that_may_restart().await else { return };
    house.installs(house.good(1)).await;
    let other = approved_set(
        &house.world,
        2,
        InstallerKind::ImageSlot,
        vec![("image".to_owned(), image("1.0.2", 1000))],
        |manifest: &mut PatchManifest| {
            manifest.reboot = Reboot::Required;
            manifest.channel = Name::new("beta").unwrap();
        },
    );
    house.endpoint.configure("[[subscriptions]]\nproduct = \"acme/widget\"\nchannel = \"beta\"");
    let (mut worker, _) = house.begins().await;
    let settled = ask(&mut worker, other).await.unwrap();
    assert_eq!((settled.outcome, code(&settled)), (Outcome::Refused, ReasonCode::InstallerMissing), "{settled}");
    assert!(settled.to_string().contains("the image slots of this host are those of"), "{settled}");
    house.is("b", "b - 0");
}

#[tokio::test]
async fn a_slot_that_somebody_wrote_to_is_not_gone_back_to() {
    let Some(house) = House::that_may_restart().await else { return };
    let patch = house.good(2);
    house.installs(patch).await;
    house.bench.fill("a", &image("somebody's", 1000));
    let (mut worker, _) = house.begins().await;
    let error = chain(&worker.take_back(&patch.to_string()).await.unwrap_err());
    assert!(error.contains("what is in slot a is not what was there"), "{error}");
    house.is("b", "b - 0");
}

#[tokio::test]
async fn what_is_neither_here_nor_there_waits_for_a_person() {
    let Some(house) = House::that_may_restart().await else { return };
    let patch = house.good(2);
    house.puts(patch).await;
    // Both of them: nothing that is there is what anybody approved.
    house.bench.fill("a", &image("somebody's", 1000));
    house.bench.fill("b", &image("somebody else's", 1000));
    assert!(house.bench.starts());
    let (worker, settled) = house.begins().await;
    let settled = settled.unwrap();
    assert_eq!(settled.outcome, Outcome::Failed, "{settled}");
    assert!(settled.to_string().contains("the way back is gone"), "{settled}");
    assert!(worker.site().installer.is_unfinished(), "and nothing else is begun");
    house.is("b", "a b 2");
}

#[tokio::test]
async fn a_slot_that_is_gone_stands_in_nobodys_way_back() {
    let Some(house) = House::that_may_restart().await else { return };
    house.puts(house.good(2)).await;
    fs::remove_file(house.bench.slot("b")).unwrap();
    assert!(house.bench.starts());
    let settled = house.settles().await;
    assert_eq!((settled.outcome, code(&settled)), (Outcome::RolledBack, ReasonCode::HealthFailed), "{settled}");
    house.is("a", "a - 0");
}

#[tokio::test]
async fn what_cannot_be_made_to_stay_is_taken_back() {
    let Some(house) = House::that_may_restart().await else { return };
    let patch = house.good(2);
    house.puts(patch).await;
    assert!(house.bench.starts());
    // The partition of the boot loader goes away right before the verdict, and comes back.
    let (there, away) = (house.bench.environment(), house.bench.room.path().join("away"));
    let (from, to) = (there.clone(), away.clone());
    let mut site = house.endpoint.open_observed(Box::new(move |moment, record| {
        if moment == Moment::After && *record == Record::Restarted {
            fs::rename(&from, &to).unwrap();
        }
    }));
    let settled = site.recover().await.unwrap().unwrap();
    assert_eq!(settled.outcome, Outcome::Failed, "healthy, and neither kept nor back yet: {settled}");
    assert!(site.installer.is_unfinished());
    drop(site);
    fs::rename(&away, &there).unwrap();
    let (worker, settled) = house.begins().await;
    assert_eq!(settled.unwrap().outcome, Outcome::RolledBack);
    house.is("b", "a - 0");
    assert_eq!(worker.site().installer.awaited_restart().unwrap(), Some(Awaited::TakenBack { patch }));
}

#[tokio::test]
async fn a_damaged_boot_environment_is_mended_on_the_way_back() {
    let Some(house) = House::that_may_restart().await else { return };
    let old = house.bench.snapshot(&house.endpoint);
    let header = b"# GRUB Environment Block\n".to_vec();
    let damages = [vec![0; 1024], vec![0xff; 1024], header, Vec::new(), vec![b'#'; 1025]];
    for (number, damage) in (2..).zip(damages) {
        let patch = house.good(number);
        house.puts(patch).await;
        fs::write(house.bench.environment(), damage).unwrap();
        // It says nothing: what is left is the default.
        assert!(house.bench.starts());
        let settled = house.settles().await;
        assert_eq!((settled.outcome, code(&settled)), (Outcome::RolledBack, ReasonCode::HealthFailed), "{settled}");
        let differences = differences(&old, &house.bench.snapshot(&house.endpoint));
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

#[tokio::test]
async fn power_that_fails_while_a_slot_is_written_leaves_no_image_in_it() {
    let Some(house) = House::that_may_restart().await else { return };
    let old = house.bench.snapshot(&house.endpoint);
    house.bench.fill("b", &image("of long ago", 300_000));
    let patch = house.good(2);
    // Begun, and not prepared; of the image there is what a write of it leaves that was cut off.
    assert!(child(&house.endpoint, Some(patch), 1).await);
    let [(_, whole)] = house.bench.artifacts(2).try_into().unwrap();
    house.bench.fill("b", &[0; 4096]);
    let mut half = whole[..whole.len() / 2].to_vec();
    half[..4096].fill(0);
    house.bench.fill("b", &half);
    let unpacks =
        |name: &str| Command::new("unsquashfs").arg("-s").arg(house.bench.slot(name)).output().unwrap().status;
    assert!(unpacks("a").success() && !unpacks("b").success());
    assert!(house.bench.starts());
    let settled = house.settles().await;
    assert_eq!((settled.outcome, code(&settled)), (Outcome::RolledBack, ReasonCode::Interrupted), "{settled}");
    let differences = differences(&old, &house.bench.snapshot(&house.endpoint));
    assert!(differences.is_empty(), "{differences:#?}");
    house.installs(patch).await;
}
