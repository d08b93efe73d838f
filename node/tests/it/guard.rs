//! A validator that lost its signing guard, or has an old copy of it: it is silent until it cannot sign two things.

use crate::support::site::Site;
use crate::support::wait_for;
use crate::support::world::World;
use ledger::certificate::Certificate;
use ledger::encoding::decode;
use proto::v1::GetBlockRequest;
use proto::v1::TransactionState;
use std::fs;
use std::path::PathBuf;

/// What it says of it.
const LOST: [&str; 2] = ["ERROR", "the signing guard is lost"];

fn guard(site: &Site) -> PathBuf {
    site.data().join("signing.guard")
}

/// Whether a node finalises something, alone and in two seconds.
async fn votes(site: &Site, world: &World, number: u64) -> bool {
    let node = site.start().await;
    let answer = node.submit(world.enroll(number).bytes(), 2_000).await.unwrap();
    node.stop();
    answer.state() == TransactionState::Finalised
}

/// Alone, it waits for ever: only a person can know that nobody else has its votes.
#[tokio::test]
async fn a_validator_without_its_guard_is_silent_until_a_person_takes_it_upon_himself() {
    let world = World::new(161);
    let site = Site::validator(&world);
    assert!(votes(&site, &world, 1).await);
    assert!(votes(&site, &world, 2).await, "with its guard it goes on");

    fs::remove_file(guard(&site)).unwrap();
    assert!(!votes(&site, &world, 3).await, "without it does not");
    assert!(!votes(&site, &world, 4).await, "and has not forgotten that when it is started again");
    let node = site.start().await;
    node.await_log(&LOST).await;
    node.stop();

    let node = site.start_unguarded().await;
    node.finalise(&world.enroll(5)).await;
    node.stop();
    assert!(votes(&site, &world, 6).await, "it was said once, and is so");
}

/// A copy of an hour ago is a guard with votes missing: the chain knows of them.
#[tokio::test]
async fn an_old_copy_of_the_guard_is_found_out_by_the_chain() {
    let world = World::new(162);
    let site = Site::validator(&world);
    assert!(votes(&site, &world, 1).await);
    let copy = fs::read(guard(&site)).unwrap();
    assert!(votes(&site, &world, 2).await);
    fs::write(guard(&site), copy).unwrap();
    let node = site.start().await;
    node.await_log(&LOST).await;
    node.await_log(&["carries a signature of this key"]).await;
    assert_ne!(node.submit(world.enroll(3).bytes(), 2_000).await.unwrap().state(), TransactionState::Finalised);
    node.stop();
}

/// Of four, three go on; the fourth, which lost everything but its key, votes again when a block is final that
/// was made after its start. Then the ledger goes on without one of the three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_four_one_loses_its_guard_and_the_ledger_never_stands_still() {
    let world = World::of_four(163);
    let mut sites: Vec<Site> = Vec::new();
    for (place, organisation) in ::tests::ORGANISATIONS.iter().enumerate() {
        let known: Vec<_> = sites.iter().map(|site| (site.key.public(), site.peer_address())).collect();
        let site = Site::validating(&world, organisation, place);
        sites.push(known.iter().fold(site, |site, (key, address)| site.knowing(key, address)));
    }
    let mut nodes = Vec::new();
    for site in &sites {
        nodes.push(site.start().await);
    }
    // Three signatures make a block final. One of those that last has the fourth's.
    let (key, set) = (world.scenario.validators()[3].public(), &world.scenario.genesis().genesis.validators);
    let (mut number, mut height) = (1, 1);
    wait_for("a certificate with the fourth's signature", async || {
        nodes[0].assert_goes_on(&world, number).await;
        number += 1;
        let block = nodes[0].ledger().get_block(GetBlockRequest { height }).await.unwrap().into_inner();
        height += 1;
        let certificate: Certificate = decode(&block.certificate).unwrap();
        certificate.is_signed_by(set, &key).then_some(())
    })
    .await;
    nodes.pop().unwrap().stop();
    fs::remove_dir_all(sites[3].data()).unwrap();
    let fourth = sites[3].start().await;
    // It gets the chain from the others, and finds its own signature there or in what they decide.
    wait_for("the fourth to vote again", async || {
        nodes[0].assert_goes_on(&world, number).await;
        number += 1;
        let log = fourth.log();
        let found = log.contains(LOST[1]);
        (found && log.contains("the signing guard is whole again")).then_some(())
    })
    .await;
    nodes.remove(1).stop();
    nodes[0].assert_goes_on(&world, number).await;
    fourth.stop();
}
