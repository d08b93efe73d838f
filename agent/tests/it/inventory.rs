//! What is on a host, in the log of every attempt that changed it: what it was before, and what it is after.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, approved};
use crate::support::node::World;
use ledger::id::Digest;
use ledger::receipt::Outcome;
use std::fs;
use std::path::PathBuf;

/// Of a host whose packages are those of a directory.
fn inventory_of(root: &str) -> String {
    format!("[inventory]\nroot = {root:?}\ngather = [\"packages\"]\n")
}

/// The newest log.
fn log(endpoint: &Endpoint) -> PathBuf {
    fs::read_dir(endpoint.data().join("logs")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

/// What a log says that was on the host then.
#[track_caller]
fn said(log: &str, when: &str) -> String {
    let marked = format!(" inventory {when}: ");
    let line = log.lines().find_map(|line| line.split_once(&marked)).unwrap_or_else(|| panic!("no{marked}in {log}"));
    line.1.to_owned()
}

#[tokio::test]
async fn the_log_that_a_receipt_covers_names_what_was_on_the_host_before_and_after() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.configure(&inventory_of(&endpoint.path("root").display().to_string()));
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let first = approved(&world, 2, tree_of("1.0.2"), |_| {});
    assert_eq!(endpoint.apply(first).await.outcome, Outcome::Applied);
    let text = fs::read(log(&endpoint)).unwrap();
    let applied = String::from_utf8(text.clone()).unwrap();
    let (before, after) = (said(&applied, "before"), said(&applied, "after"));
    assert!(before != after && after.parse::<Digest>().is_ok(), "{applied}");
    let receipt = world.receipts().last().cloned().unwrap();
    assert_eq!(receipt.log_digest, Digest::blake3(&text));

    // What is refused changes nothing, and nobody looks for that.
    let second = approved(&world, 3, tree_of("1.0.3"), |manifest| manifest.health = ledger::bounded::List::default());
    endpoint
        .configure(&format!("{}[policy]\npaused = true\n", inventory_of(&endpoint.path("root").display().to_string())));
    assert_ne!(endpoint.apply(second).await.outcome, Outcome::Applied);
    let refused = fs::read_to_string(log(&endpoint)).unwrap();
    assert!(!refused.contains("inventory"), "{refused}");

    // Where none is wanted, that is what is said.
    endpoint.configure("[inventory]\nenabled = false\n");
    let third = approved(&world, 4, tree_of("1.0.4"), |_| {});
    assert_eq!(endpoint.apply(third).await.outcome, Outcome::Applied);
    assert_eq!(said(&fs::read_to_string(log(&endpoint)).unwrap(), "after"), "none was taken");
}
