//! A validator whose signing guard is not the one it last wrote.

use crate::support::site::Site;
use crate::support::world::World;
use proto::v1::TransactionState;
use std::fs;

/// How long finality is waited for that must not come.
const WAIT_MS: u64 = 500;

#[tokio::test]
async fn a_guard_that_is_gone_damaged_or_older_than_the_chain_is_noticed() {
    let world = World::new(95);
    let site = Site::validator(&world);
    let guard = site.data().join("signing.guard");
    let node = site.start().await;
    node.finalise(&world.enroll(1)).await;
    node.stop();
    let older = fs::read(&guard).unwrap();
    let node = site.start().await;
    for number in 2..30 {
        node.finalise(&world.enroll(number)).await;
    }
    node.stop();
    let a_block_old = fs::read(&guard).unwrap();
    let node = site.start().await;
    node.finalise(&world.enroll(30)).await;
    node.stop();
    let right = fs::read(&guard).unwrap();
    let rubbish: Vec<u8> = (0..right.len()).map(|place| (place * 31 % 251) as u8).collect();
    let others: [(&str, Option<&[u8]>); 6] = [
        ("gone", None),
        ("empty", Some(&[])),
        ("cut", Some(&right[..100])),
        ("rubbish", Some(&rubbish)),
        ("out of a backup", Some(&older)),
        ("a block old", Some(&a_block_old)),
    ];
    for (what, bytes) in others {
        match bytes {
            Some(bytes) => fs::write(&guard, bytes).unwrap(),
            None => fs::remove_file(&guard).unwrap(),
        }
        // It runs, and signs nothing; alone it would wait for ever.
        let node = site.start().await;
        assert!(node.log().contains("signing guard was lost, or is an older one"), "{what}: {}", node.log());
        let height = node.status().await.height;
        let submitted = node.submit(world.enroll(31).bytes(), WAIT_MS).await.unwrap();
        assert_eq!(submitted.state(), TransactionState::Pending, "{what}");
        node.stop();
        assert_eq!(fs::read(&guard).unwrap().len(), right.len(), "{what}: made whole again");
        // Whatever the guard is by now: the silence is not over because the node was started again.
        fs::write(&guard, &right).unwrap();
        let node = site.start().await;
        assert!(node.log().contains("was silent when the node ended"), "{what}: {}", node.log());
        let submitted = node.submit(world.enroll(31).bytes(), WAIT_MS).await.unwrap();
        assert_eq!(submitted.state(), TransactionState::Pending, "{what}");
        assert_eq!(node.status().await.height, height, "{what}");
        node.stop();
        fs::remove_file(site.data().join("signing.silence")).unwrap();
    }
    // Who takes it on himself goes on, and ends a silence of before; and the guard that comes of it is right.
    fs::remove_file(&guard).unwrap();
    site.start().await.stop();
    let mut command = site.command();
    command.arg("--accept-lost-guard");
    let node = site.start_as(command).await;
    assert!(node.log().contains("vote at once, whatever its signing guard lacks"), "{}", node.log());
    node.finalise(&world.enroll(31)).await;
    node.stop();
    let node = site.start().await;
    assert!(!node.log().contains("silent") && !node.log().contains("was lost"), "{}", node.log());
    node.finalise(&world.enroll(32)).await;
}
