//! What is dropped when, and what goes first.

use super::*;
use ledger::key::SecretKey;

fn peer(seed: u8) -> PublicKey {
    SecretKey::from_seed(&[seed; 32]).public()
}

/// Frames of a kind, each with its number in it.
fn put(queues: &Queues, inlet: &Inlet, kind: Kind, size: usize, numbers: std::ops::Range<u32>) {
    for number in numbers {
        inlet.put(frame(queues, kind, size, number));
    }
}

fn frame(queues: &Queues, kind: Kind, size: usize, number: u32) -> Arc<Frame> {
    let mut bytes = vec![0; size];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    queues.frame(kind, bytes.into())
}

/// What comes out now, in order.
fn taken(inlet: &Inlet, way: Way) -> Vec<(Kind, u32)> {
    let frames = std::iter::from_fn(|| inlet.outlet().try_next(way));
    frames.map(|frame| (frame.kind, u32::from_le_bytes(frame.bytes[..4].try_into().unwrap()))).collect()
}

fn waiting(queues: &Queues, inlet: &Inlet, kind: Kind) -> (usize, usize, Dropped) {
    let open = queues.lock();
    let queue = &open.queues[&inlet.0.number];
    let lane = queue.lane(kind);
    (lane.frames.len(), lane.bytes, lane.dropped)
}

/// A peer that takes nothing holds so many bytes, however large its frames are, and has the newest of them.
#[test]
fn a_peer_that_takes_nothing_holds_bounded_bytes_and_the_newest_frames() {
    for (kind, size) in [(Kind::Consensus, 60_000), (Kind::Body, 160_000), (Kind::Transactions, 1_000_000)] {
        let queues = Queues::default();
        let inlet = queues.open(peer(1));
        put(&queues, &inlet, kind, size, 0..5_000);
        let (frames, bytes, _) = waiting(&queues, &inlet, kind);
        assert_eq!(frames, kind.bytes_max() / size, "{kind:?}");
        assert!(bytes <= kind.bytes_max() && queues.all_bytes() == bytes, "{kind:?}: {bytes}");
        let newest: Vec<u32> = taken(&inlet, kind.way()).into_iter().map(|(_, number)| number).collect();
        assert_eq!(newest, (5_000 - u32::try_from(frames).unwrap()..5_000).collect::<Vec<_>>(), "{kind:?}");
        assert_eq!(queues.all_bytes(), 0, "what nobody holds is not counted");
    }
    // Small frames are bounded by their number.
    let queues = Queues::default();
    let inlet = queues.open(peer(1));
    put(&queues, &inlet, Kind::Consensus, 200, 0..10_000);
    assert_eq!(waiting(&queues, &inlet, Kind::Consensus).0, Kind::Consensus.frames_max());
}

/// However much of the load waits, and though it came first, no consensus message is lost to it or behind it.
#[test]
fn the_load_never_takes_the_place_of_consensus() {
    let queues = Queues::default();
    let inlet = queues.open(peer(1));
    put(&queues, &inlet, Kind::Consensus, 200, 0..100);
    put(&queues, &inlet, Kind::Transactions, 1_000_000, 0..100);
    put(&queues, &inlet, Kind::Body, 160_000, 0..100);
    put(&queues, &inlet, Kind::Consensus, 200, 100..200);
    let urgent = taken(&inlet, Way::Urgent);
    let votes: Vec<_> = (0..200).map(|number| (Kind::Consensus, number)).collect();
    assert_eq!(urgent[..200], votes, "votes go first, all of them");
    assert!(urgent[200..].iter().all(|(kind, _)| *kind == Kind::Body));
    assert_eq!(waiting(&queues, &inlet, Kind::Consensus).2, Dropped::default());
    assert!(taken(&inlet, Way::Bulk).iter().all(|(kind, _)| *kind == Kind::Transactions));
}

/// To a peer that keeps up a body goes before the proposal that names it: it need not be asked for.
#[test]
fn one_body_keeps_its_place_before_its_proposal() {
    let queues = Queues::default();
    let inlet = queues.open(peer(1));
    put(&queues, &inlet, Kind::Consensus, 200, 0..1);
    put(&queues, &inlet, Kind::Body, 160_000, 1..2);
    put(&queues, &inlet, Kind::Consensus, 200, 2..3);
    let order: Vec<u32> = taken(&inlet, Way::Urgent).into_iter().map(|(_, number)| number).collect();
    assert_eq!(order, [0, 1, 2]);
}

/// All together have a bound. Who has most waiting loses; who keeps up loses nothing.
#[test]
fn all_queues_together_are_bounded_and_the_fullest_loses() {
    let queues = Queues::default();
    let (size, stuck) = (1_000_000, 40);
    // Forty peers take nothing of what was made for each of them alone.
    let slow: Vec<Inlet> = (0..stuck).map(|seed| queues.open(peer(seed))).collect();
    let healthy = queues.open(peer(100));
    for round in 0..20 {
        for inlet in &slow {
            put(&queues, inlet, Kind::Consensus, 200, round..round + 1);
            put(&queues, inlet, Kind::Transactions, size, round..round + 1);
            assert!(queues.all_bytes() <= ALL_BYTES_MAX, "{} bytes", queues.all_bytes());
        }
        put(&queues, &healthy, Kind::Transactions, size, round..round + 1);
        assert_eq!(taken(&healthy, Way::Bulk), [(Kind::Transactions, round)], "who keeps up loses nothing");
    }
    let of = |inlet: &Inlet| waiting(&queues, inlet, Kind::Transactions).0;
    let (most, least) = (slow.iter().map(of).max().unwrap(), slow.iter().map(of).min().unwrap());
    assert!(most - least <= 1 && least >= 3, "the room is shared evenly: {least} to {most} frames");
    for inlet in &slow {
        assert_eq!(waiting(&queues, inlet, Kind::Consensus).0, 20, "consensus messages are not what is dropped");
    }
}

/// A frame for everybody is in memory once, and counts once: a burst to many peers drops nothing.
#[test]
fn a_frame_for_many_counts_once() {
    let queues = Queues::default();
    let inlets: Vec<Inlet> = (0..200).map(|seed| queues.open(peer(seed))).collect();
    for number in 0..5 {
        let shared = frame(&queues, Kind::Transactions, 1_000_000, number);
        inlets.iter().for_each(|inlet| inlet.put(shared.clone()));
    }
    assert_eq!(queues.all_bytes(), 5_000_000);
    for inlet in &inlets {
        assert_eq!(taken(inlet, Way::Bulk).len(), 5);
    }
    assert_eq!(queues.all_bytes(), 0);
}

/// Blocks are made as they are taken, and take turns with transactions.
#[tokio::test]
async fn blocks_wait_for_room_and_are_never_dropped() {
    let queues = Queues::default();
    let inlet = queues.open(peer(1));
    let outlet = inlet.outlet();
    let queues_of_writer = queues.clone();
    put(&queues, &inlet, Kind::Transactions, 1_000, 0..20);
    let serving = tokio::spawn(async move {
        for number in 0..20 {
            assert!(outlet.room_for_block().await);
            outlet.put(frame(&queues_of_writer, Kind::Block, 1_000_000, number));
        }
        outlet
    });
    let (outlet, mut blocks, mut transactions) = (inlet.outlet(), Vec::new(), Vec::new());
    while blocks.len() < 20 {
        let frame = outlet.next(Way::Bulk).await.unwrap();
        let number = u32::from_le_bytes(frame.bytes[..4].try_into().unwrap());
        if frame.kind == Kind::Block {
            blocks.push(number)
        } else {
            transactions.push(number)
        }
        assert!(waiting(&queues, &inlet, Kind::Block).0 <= 1);
    }
    assert_eq!(blocks, (0..20).collect::<Vec<_>>());
    assert!(transactions.is_sorted());
    let outlet = serving.await.unwrap();
    drop(inlet);
    assert!(!outlet.room_for_block().await && outlet.next(Way::Bulk).await.is_none() && outlet.is_closed());
}

/// What was dropped is told once in a while, not once for each frame.
#[tokio::test(start_paused = true)]
async fn what_was_dropped_is_counted_until_it_is_told() {
    let queues = Queues::default();
    let inlet = queues.open(peer(1));
    let most = u32::try_from(Kind::Transactions.frames_max()).unwrap();
    put(&queues, &inlet, Kind::Transactions, 1_000, 0..most + 1);
    assert_eq!(waiting(&queues, &inlet, Kind::Transactions).2, Dropped::default(), "the first is told at once");
    put(&queues, &inlet, Kind::Transactions, 1_000, 0..9);
    assert_eq!(waiting(&queues, &inlet, Kind::Transactions).2, Dropped { frames: 9, bytes: 9_000 });
    tokio::time::advance(REPORT_INTERVAL).await;
    put(&queues, &inlet, Kind::Transactions, 1_000, 0..1);
    assert_eq!(waiting(&queues, &inlet, Kind::Transactions).2, Dropped::default());
}
