//! What the simulation of whole members has found, each kept in its shortest form.

use crate::adversaries::dripper::Dripper;
use crate::adversaries::flooder::Flooder;
use crate::adversaries::impostor::Impostor;
use crate::adversaries::spammer::Spammer;
use crate::ledger_sim::world::World;
use ledger::transaction::VerifiedTransaction;

/// Nobody needs longer than this when nothing is in the way.
const SOON_US: u64 = 8_000_000;

/// Who signs may sign the same body twice, with two signatures that both hold. A transaction's id does
/// not cover its signature, bodies travel as ids, and so members with the one called blocks with the
/// other invalid: the ledger stood still until the transaction expired, up to thirty days.
#[test]
fn a_transaction_signed_twice_stops_nothing() {
    let mut world = World::new(4, 1);
    world.boot(100_000);
    world.run(1_500_000, |_| false);
    let (one, other) = &world.cast.signed_twice[0];
    assert!(one.id() == other.id() && one.bytes() != other.bytes());
    for host in 0..4 {
        world.offer(host, if host < 2 { one.clone() } else { other.clone() });
    }
    world.run(1_600_000, |_| false);
    world.expect_progress(3, SOON_US);
    assert_eq!(world.around.watch.all(), vec![]);
    assert!(world.around.watch.finalised.contains_key(&one.id()));
}

/// Good blocks that no proposal names, of one member, took all the room for bodies and candidates: no
/// honest proposal could be judged any more, in any height.
#[test]
fn bodies_that_nobody_asked_for_take_no_room_from_others() {
    let mut world = World::new(4, 1);
    world.add_adversary(0, Box::<Flooder>::default());
    world.submit_every_us = 50_000;
    world.boot(100_000);
    world.run(1_500_000, |_| false);
    world.expect_progress(10, SOON_US);
    assert_eq!(world.around.watch.all(), vec![]);
}

/// A member that votes far ahead, and never has the blocks, was asked for them again and again; whoever
/// was behind waited three seconds each time.
#[test]
fn who_boasts_of_blocks_holds_up_nobody_for_long() {
    let mut world = World::new(4, 1);
    world.add_adversary(0, Box::<Spammer>::default());
    world.submit_every_us = 50_000;
    world.boot(6_000_000);
    let mut behind_us = 0;
    for step in 0..1_000 {
        world.run(step * 10_000, |_| false);
        let observer = world.hosts[4].height();
        behind_us += if observer + 3 < world.highest() { 10_000 } else { 0 };
    }
    assert_eq!(world.around.watch.all(), vec![]);
    assert!(behind_us < 4_000_000, "an observer was more than three blocks behind for {behind_us} of 10,000,000 us");
}

/// A member that says it is further than everybody, and gives one block whenever the patience of who asked is about
/// to end, was asked for ever: whoever came back late caught up with one block in three seconds, and so never.
#[test]
fn who_drips_blocks_keeps_nobody_from_catching_up() {
    let mut world = World::new(4, 1);
    world.add_adversary(0, Box::<Dripper>::default());
    world.submit_every_us = 50_000;
    world.boot(100_000);
    let late = 4;
    world.run(1_000_000, |_| false);
    world.switch_off(late, 19_000_000);
    world.run(20_000_000, |_| false);
    let goal = world.highest();
    assert!(goal > world.hosts[late].height() + 20, "{goal}, {}", world.hosts[late].height());
    world.run(world.around.now_us + 2 * SOON_US, |world| world.hosts[late].height() >= goal);
    assert!(world.hosts[late].height() >= goal, "{} of {goal}", world.hosts[late].height());
    assert_eq!(world.around.watch.all(), vec![]);
}

/// Gossip is not answered. What it lost was never said again, and stayed in the pool of a node that does
/// not validate.
#[test]
fn a_transaction_whose_gossip_was_lost_is_told_again() {
    let mut world = World::new(4, 1);
    world.boot(100_000);
    world.run(1_500_000, |_| false);
    let observer = 4;
    world.network.part(&[observer].into_iter().collect(), 6, true);
    let transaction = world.cast.jobs[0].transaction.clone();
    world.offer(observer, transaction.clone());
    world.run(1_700_000, |_| false);
    world.network.heal();
    world.expect_progress(1, 2 * SOON_US);
    assert_eq!(world.around.watch.all(), vec![]);
    assert!(world.around.watch.finalised.contains_key(&transaction.id()));
}

/// Two nodes of one organisation may say that they speak for one validator. What the one said was held
/// against the other, whichever came first by its key.
#[test]
fn who_speaks_in_the_name_of_another_gets_nobody_else_disconnected() {
    for (impostor, victim) in [(4, 0), (0, 4), (5, 1), (1, 5)] {
        let mut world = World::new(7, 1);
        let victim = world.hosts[victim].person.validator.as_ref().unwrap().public();
        world.add_adversary(impostor, Box::new(Impostor { victim }));
        world.submit_every_us = 50_000;
        world.boot(100_000);
        world.run(1_500_000, |_| false);
        world.expect_progress(3, SOON_US);
        assert_eq!(world.around.watch.all(), vec![]);
    }
}

/// The members whose nodes decided first closed their doors at once to the node whose key the block retires, which
/// had not seen the block: it never heard that it is no member's node any more, and its clients waited.
#[test]
fn a_node_whose_key_is_retired_still_hears_of_it() {
    let mut world = World::new(4, 1);
    world.boot(100_000);
    world.run(1_500_000, |_| false);
    let (retired, asked) = (0, 1);
    let (last, before) = world.cast.farewell.split_last().unwrap();
    let decide = |world: &mut World, transaction: &VerifiedTransaction| {
        world.offer(asked, transaction.clone());
        let height = world.hosts[asked].height() + 1;
        world.run(world.around.now_us + SOON_US, |world| world.hosts[asked].height() >= height);
        assert!(world.around.watch.finalised.contains_key(&transaction.id()));
    };
    for transaction in before {
        decide(&mut world, transaction);
    }
    world.network.part(&[retired].into_iter().collect(), 6, false);
    decide(&mut world, last);
    let height = world.highest();
    assert!(world.hosts[retired].height() < height, "it has not seen the block");
    world.network.heal();
    world.run(20_000_000, |world| world.hosts[retired].height() >= height);
    assert_eq!(world.hosts[retired].height(), height);
    // Now it knows, and goes. Nobody misses it.
    world.run(world.around.now_us + SOON_US, |world| world.network.links_of(retired).is_empty());
    assert_eq!(world.network.links_of(retired), vec![]);
    let goal = world.highest() + 3;
    world.run(world.around.now_us + SOON_US, |world| world.highest() >= goal);
    assert!(world.highest() >= goal && world.hosts[retired].height() < goal);
    assert_eq!(world.around.watch.all(), vec![]);
}
