//! One node's disk: full, or not to be written to.

use crate::support::clients::{Crowd, Operator, finalise};
use crate::support::invariants::{
    all_chains_are_equal, nobody_panicked, nothing_finalised_is_lost, the_chain_is_sound,
};
use crate::support::ledger::{Ledger, NODES};
use crate::support::storage::{SmallDisk, copy};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

/// The node whose disk it is.
const VICTIM: &str = "vendor-b";
/// What its disk has left: enough to start and to go on for a while.
const ROOM_BYTES: u64 = 12 << 20;
/// Everybody else.
const OTHERS: [&str; 4] = ["vendor-a", "approver-a", "approver-b", "site"];

/// Writes until there is no room.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4_096, 1] {
        let piece = vec![1; size];
        while file.write_all(&piece).is_ok() {}
    }
}

/// That a node's last words are an error that names the disk, with a hint.
fn assert_last_words(ledger: &Ledger, words: &[&str]) {
    let said = ledger.last_words(VICTIM);
    assert!(said.contains("error: ") && said.contains("hint: "), "{said}");
    assert!(words.iter().any(|word| said.contains(word)), "nothing is said of {words:?}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_one_node_and_nothing_else() {
    let mut ledger = Ledger::raise().await;
    let operator = Arc::new(Operator::of(&ledger));
    finalise(&ledger, VICTIM, &operator.sign()).await;
    ledger.stop(VICTIM);
    let data = ledger.node(VICTIM).data_dir.clone();
    let kept = ledger.beside("kept");
    fs::create_dir(&kept).unwrap();
    copy(&data, &kept);
    let Some(disk) = SmallDisk::over(&data, "96m") else { return };
    copy(&kept, &data);
    // Little is left before it starts: the database would take room for its log beforehand, and be long in filling it.
    let ballast = data.join("ballast");
    fill(&ballast);
    let filled = fs::metadata(&ballast).unwrap().len();
    File::options().write(true).open(&ballast).unwrap().set_len(filled - ROOM_BYTES).unwrap();
    ledger.start(VICTIM);
    let before = finalise(&ledger, VICTIM, &operator.sign()).await;

    let crowd = Crowd::gather(&ledger, &operator, 8);
    ledger.await_end(VICTIM).await;
    assert_last_words(&ledger, &["No space left", "disk is full", "disk-full", "no room"]);
    crowd.await_more(&ledger, 20).await;

    // Starting it again does not help, and harms nothing.
    ledger.start(VICTIM);
    ledger.await_end(VICTIM).await;
    assert_last_words(&ledger, &["No space left", "disk is full", "disk-full", "no room"]);
    crowd.await_more(&ledger, 20).await;
    let noted = crowd.dismiss().await;
    for name in OTHERS {
        assert!(ledger.is_running(name), "{name} ended: {}", ledger.last_words(name));
    }

    fs::remove_file(&ballast).unwrap();
    ledger.start(VICTIM);
    let last = finalise(&ledger, "site", &operator.sign()).await;
    assert!(last.height > before.height);
    ledger.await_height(VICTIM, last.height).await;
    nothing_finalised_is_lost(&ledger, &[VICTIM], &noted).await;

    // The same disk, not to be written to any more.
    ledger.stop(VICTIM);
    disk.set_writable(false);
    ledger.start(VICTIM);
    ledger.await_end(VICTIM).await;
    assert_last_words(&ledger, &["Read-only", "read-only", "cannot be written"]);
    let after = finalise(&ledger, "site", &operator.sign()).await;
    disk.set_writable(true);
    ledger.start(VICTIM);
    ledger.await_height(VICTIM, after.height).await;

    all_chains_are_equal(&ledger, &NODES).await;
    nobody_panicked(&ledger, &NODES);
    ledger.stop(VICTIM);
    the_chain_is_sound(&ledger, VICTIM);
}
