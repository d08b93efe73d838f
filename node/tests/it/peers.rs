//! The door for peers: strangers, liars, and members that break the protocol.

use crate::support::peer::{ARTIFACT, BULK, Peer, URGENT, frame, receive, send};
use crate::support::site::{Node, Site, Transport, another_ledger};
use crate::support::world::{World, payload};
use crate::support::{PATIENCE, wait_for};
use consensus::member::{PEER_VERSION, PeerMessage};
use futures::{AsyncWriteExt as _, StreamExt as _};
use ledger::bounded::{Blob, List};
use ledger::encoding::encode;
use ledger::governance::Change;
use ledger::key::SecretKey;
use ledger::limits;
use ledger::state::record::Role;
use libp2p::StreamProtocol;
use proto::v1::GetTransactionRequest;
use store::Store;
use tokio::time::timeout;

/// A validator's node, and what a peer of it needs.
struct Stage {
    world: World,
    site: Site,
    node: Node,
}

impl Stage {
    async fn set(seed: u64) -> Self {
        let world = World::new(seed);
        let site = Site::validator(&world);
        let node = site.start().await;
        Self { world, site, node }
    }

    /// The bank's node.
    async fn member(&self) -> Peer {
        self.peer(&self.world.key("bank", Role::Node)).await
    }

    async fn peer(&self, key: &SecretKey) -> Peer {
        Peer::new(key, &self.site.key.public(), self.site.peer_address()).await
    }

    fn hello(&self) -> PeerMessage {
        let chain = self.world.scenario.chain_id();
        PeerMessage::Hello { version: PEER_VERSION, chain, height: 0, validator: None }
    }

    /// A member says these bytes: it is thrown out, the log has these words, everybody else goes on,
    /// and it may come back.
    async fn assert_thrown_out(&self, protocol: StreamProtocol, bytes: &[u8], words: &[&str]) {
        let peer = self.member().await;
        let mut stream = peer.open(protocol.clone()).await;
        send(&mut stream, bytes).await;
        peer.thrown_out().await;
        self.node.await_log(words).await;
    }
}

#[tokio::test]
async fn a_key_that_is_no_members_node_is_refused() {
    let stage = Stage::set(81).await;
    let strangers = [
        SecretKey::from_seed(&[9; 32]),
        // A member's key, but for another use.
        stage.world.key("bank", Role::Approver),
        another_ledger().key("bank", Role::Node),
    ];
    for key in strangers {
        let peer = stage.peer(&key).await;
        peer.thrown_out().await;
        let id = node::network::peer_id(&key.public()).unwrap().to_string();
        stage.node.await_log(&["not a member's node: refused", &id]).await;
    }
    assert!(stage.node.status().await.peers.is_empty());
    stage.node.assert_goes_on(&stage.world, 1).await;
    stage.node.stop();
}

#[tokio::test]
async fn a_member_of_another_version_or_ledger_is_disconnected() {
    let stage = Stage::set(82).await;
    let chain = stage.world.scenario.chain_id();
    let other = another_ledger().chain_id();
    let cases = [
        (PeerMessage::Hello { version: 2, chain, height: 0, validator: None }, "speaks version 2"),
        (PeerMessage::Hello { version: PEER_VERSION, chain: other, height: 0, validator: None }, "is on chain"),
    ];
    for (hello, why) in cases {
        let peer = stage.member().await;
        let _stream = peer.say(&hello).await;
        peer.thrown_out().await;
        stage.node.await_log(&["disconnecting a peer", why]).await;
    }
    // The same key with the right words is welcome.
    let peer = stage.member().await;
    let mut streams = peer.incoming(URGENT);
    let _stream = peer.say(&stage.hello()).await;
    let (_, mut stream) = streams.next().await.unwrap();
    assert!(matches!(receive(&mut stream).await, Some(PeerMessage::Hello { .. })));
    stage.node.assert_goes_on(&stage.world, 1).await;
    assert!(peer.is_connected());
    stage.node.stop();
}

#[tokio::test]
async fn frames_that_are_none_end_the_connection_and_nothing_else() {
    let stage = Stage::set(83).await;
    let broke = "a peer broke the protocol";
    let too_long = u32::try_from(limits::FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
    let hello = encode(&stage.hello());
    let mut forged = stage.world.enroll(1).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let transactions =
        |bytes: Vec<u8>| encode(&PeerMessage::Transactions(List::new(vec![Blob::new(bytes).unwrap()]).unwrap()));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (too_long.to_vec(), "peer message: 2097153 bytes"),
        (u32::MAX.to_le_bytes().to_vec(), "peer message: 4294967295 bytes"),
        (frame(&[]), "peer message"),
        (frame(&payload(1, 1_000)), "peer message"),
        (frame(&hello[..hello.len() - 1]), "peer message"),
        (frame(&[hello.as_slice(), &[0]].concat()), "peer message"),
        (frame(&[0xFF; 64]), "peer message"),
        (frame(&transactions(forged)), "does not verify"),
        (frame(&transactions(b"no transaction".to_vec())), "does not verify"),
    ];
    for protocol in [URGENT, BULK] {
        for (bytes, word) in &cases {
            stage.assert_thrown_out(protocol.clone(), bytes, &[broke, word]).await;
        }
    }
    stage.node.assert_goes_on(&stage.world, 2).await;
    stage.node.stop();
}

/// Long batches wait aside for a while, and short ones overtake them; but not what the same key said before. Or else the
/// last word of somebody would be heard first.
#[tokio::test]
async fn what_one_key_said_is_heard_in_its_order_however_it_was_passed_on() {
    let stage = Stage::set(92).await;
    let peer = stage.member().await;
    let _urgent = peer.say(&stage.hello()).await;
    let mut stream = peer.open(BULK).await;
    let many: Vec<_> = (0..600).map(|number| stage.world.enroll(number)).collect();
    let last = stage.world.enroll(600);
    for batch in [&many[..], std::slice::from_ref(&last)] {
        let list = batch.iter().map(|transaction| Blob::new(transaction.bytes().to_vec()).unwrap()).collect();
        send(&mut stream, &frame(&encode(&PeerMessage::Transactions(List::new(list).unwrap())))).await;
    }
    let mut ledger = stage.node.ledger();
    let mut places = Vec::new();
    for transaction in many.iter().chain([&last]) {
        let id = transaction.id().0.to_vec();
        let place = wait_for("a transaction that was passed on", async || {
            ledger.get_transaction(GetTransactionRequest { id: id.clone() }).await.unwrap().into_inner().position
        });
        places.push(place.await.index);
    }
    assert!(places.is_sorted(), "{places:?}");
    stage.node.stop();
}

/// A peer that loses its connection in the middle of a frame broke nothing: it may go on with another stream.
#[tokio::test]
async fn a_frame_cut_off_by_the_end_of_its_stream_is_dropped() {
    let stage = Stage::set(84).await;
    let peer = stage.member().await;
    let mut streams = peer.incoming(URGENT);
    let mut torn = peer.open(URGENT).await;
    send(&mut torn, &frame(&encode(&stage.hello()))[..20]).await;
    torn.close().await.unwrap();
    let _stream = peer.say(&stage.hello()).await;
    let (_, mut stream) = streams.next().await.unwrap();
    assert!(matches!(receive(&mut stream).await, Some(PeerMessage::Hello { .. })));
    stage.node.assert_goes_on(&stage.world, 1).await;
    assert!(peer.is_connected());
}

/// A member that does not know who speaks on a stream takes nothing in that comes on it.
#[tokio::test]
async fn a_stream_that_broke_begins_again_with_hello() {
    let stage = Stage::set(90).await;
    let peer = stage.member().await;
    let mut streams = peer.incoming(URGENT);
    let _stream = peer.say(&stage.hello()).await;
    for round in 0..3 {
        let submitting = async {
            // Every block is a reason to speak.
            for number in 0.. {
                stage.node.assert_goes_on(&stage.world, 1_000 * round + number).await;
            }
        };
        let (_, mut stream) = tokio::select! {
            stream = streams.next() => stream.unwrap(),
            () = submitting => unreachable!(),
        };
        let first = receive(&mut stream).await;
        assert!(matches!(first, Some(PeerMessage::Hello { .. })), "round {round}: {first:?}");
    }
    stage.node.stop();
}

/// A library that has no room for a stream at that moment drops it unread. What was on it comes on the next one, however often
/// that happens.
#[tokio::test]
async fn what_was_on_a_stream_that_nobody_took_comes_again() {
    let stage = Stage::set(93).await;
    stage.node.assert_goes_on(&stage.world, 1).await;
    let peer = stage.member().await;
    let (mut urgent, mut bulk) = (peer.incoming(URGENT), peer.incoming(BULK));
    let _stream = peer.say(&stage.hello()).await;
    for _ in 0..3 {
        drop(timeout(PATIENCE, urgent.next()).await.expect("a stream").unwrap());
    }
    let (_, mut stream) = timeout(PATIENCE, urgent.next()).await.expect("another stream").unwrap();
    assert!(matches!(receive(&mut stream).await, Some(PeerMessage::Hello { .. })));
    let _asking = peer.say(&PeerMessage::WantBlocks { from: 1, count: 1 }).await;
    for _ in 0..3 {
        drop(timeout(PATIENCE, bulk.next()).await.expect("a stream").unwrap());
    }
    let (_, mut stream) = timeout(PATIENCE, bulk.next()).await.expect("another stream").unwrap();
    let block = timeout(PATIENCE, receive(&mut stream)).await.expect("what was on the others");
    assert!(matches!(block, Some(PeerMessage::FinalisedBlock { .. })), "{block:?}");
    stage.node.stop();
}

/// A peer that only hears may end its direction of a stream: it is spoken to on the same one.
#[tokio::test]
async fn a_peer_that_ends_its_direction_of_a_stream_is_spoken_to_on() {
    let stage = Stage::set(94).await;
    stage.node.assert_goes_on(&stage.world, 1).await;
    let peer = stage.member().await;
    let (mut urgent, mut bulk) = (peer.incoming(URGENT), peer.incoming(BULK));
    let mut asking = peer.say(&stage.hello()).await;
    let (_, mut stream) = timeout(PATIENCE, urgent.next()).await.expect("a stream").unwrap();
    stream.close().await.unwrap();
    for _ in 0..3 {
        assert!(matches!(receive(&mut stream).await, Some(PeerMessage::Hello { .. } | PeerMessage::Status { .. })));
    }
    send(&mut asking, &frame(&encode(&PeerMessage::WantBlocks { from: 1, count: 2 }))).await;
    let (_, mut stream) = timeout(PATIENCE, bulk.next()).await.expect("a stream").unwrap();
    stream.close().await.unwrap();
    let mut heights = Vec::new();
    while !heights.contains(&2) {
        let Some(PeerMessage::FinalisedBlock { block, .. }) = receive(&mut stream).await else { panic!("no block") };
        heights.push(block.header.height);
    }
    assert!(heights.contains(&1), "{heights:?}");
    stage.node.stop();
}

/// One that takes nothing in and says nothing, and keeps its connection, keeps it for some seconds only.
#[tokio::test]
async fn a_member_that_stalls_is_dropped_and_may_come_back() {
    let stage = Stage::set(91).await;
    for round in 0..2 {
        let peer = stage.member().await;
        let mut streams = peer.incoming(URGENT);
        let _stream = peer.say(&stage.hello()).await;
        // Held, and never read.
        let _unread = streams.next().await.unwrap();
        stage.node.assert_goes_on(&stage.world, 10 * round).await;
        assert!(peer.is_connected());
        peer.thrown_out().await;
        stage.node.await_log(&["a peer is gone", "nothing was heard"]).await;
        stage.node.assert_goes_on(&stage.world, 10 * round + 1).await;
    }
    stage.node.stop();
}

/// One that says without end what costs others a look each is sent away, finality goes on, and blocks later it may come
/// back.
#[tokio::test]
async fn a_member_that_floods_is_dropped_and_may_come_back() {
    let stage = Stage::set(92).await;
    let peer = stage.member().await;
    let mut stream = peer.say(&stage.hello()).await;
    let many = frame(&encode(&PeerMessage::Status { height: 0 })).repeat(512);
    // However much of it: it ends when the node ends it.
    while peer.is_connected() {
        let _ = stream.write_all(&many).await;
        let _ = stream.flush().await;
    }
    stage.node.await_log(&["disconnecting a peer", "it says more than anybody has to say"]).await;
    stage.node.assert_goes_on(&stage.world, 1).await;
    // It comes too soon.
    stage.member().await.thrown_out().await;
    // Blocks that make it good.
    for number in 2..130 {
        stage.node.assert_goes_on(&stage.world, number).await;
    }
    let back = stage.member().await;
    let mut heard = back.incoming(URGENT);
    let _stream = back.say(&stage.hello()).await;
    let (_, mut stream) = heard.next().await.unwrap();
    assert!(matches!(receive(&mut stream).await, Some(PeerMessage::Hello { .. })));
    stage.node.assert_goes_on(&stage.world, 130).await;
    assert!(back.is_connected());
    stage.node.stop();
}

#[tokio::test]
async fn a_false_finalised_block_is_named_and_its_sender_disconnected() {
    let stage = Stage::set(85).await;
    let mut chain = tests::Chain::of(stage.world.scenario.clone(), 1);
    chain.publish();
    let block = chain.finalise();
    let (header, scenario) = (&block.executed.block.header, &stage.world.scenario);
    let nobody = scenario.certificate_by(header, &[]);
    // Signed by the validator, but the body is another one.
    let mut other = block.executed.block.clone();
    other.transactions = List::default();
    let mut other_state = block.executed.block.clone();
    other_state.header.state_root.0[0] ^= 1;
    let signed = scenario.certificate(&other_state.header);
    let lies = [(block.executed.block.clone(), nobody), (other, block.certificate.clone()), (other_state, signed)];
    for (block, certificate) in lies {
        let message = encode(&PeerMessage::FinalisedBlock { block, certificate });
        stage.assert_thrown_out(BULK, &frame(&message), &["disconnecting a peer", "it sent a false block 1"]).await;
    }
    assert_eq!(stage.node.status().await.height, 0);
    // The last one was signed with this validator's own key, which said no such thing here: somebody else has it.
    stage.node.await_log(&["validating key signed something at height 1"]).await;
    stage.node.stop();
}

/// One stream of each peer is read, the newest, and few are open at once: hundreds of half-sent frames are not kept.
#[tokio::test]
async fn hundreds_of_streams_cost_no_more_than_one() {
    let stage = Stage::set(86).await;
    stage.node.assert_goes_on(&stage.world, 1).await;
    let before = stage.node.resident_bytes();
    // What no node honours any more, and what it has not begun to read.
    for (number, protocol) in (2..).zip([URGENT, ARTIFACT]) {
        let peer = stage.member().await;
        let mut streams = Vec::new();
        while streams.len() < 300 && peer.is_connected() {
            let Ok(mut stream) = peer.try_open(protocol.clone()).await else { break };
            // All but the last byte of a large frame.
            let mut bytes = u32::try_from(limits::FRAME_BYTES_MAX).unwrap().to_le_bytes().to_vec();
            bytes.extend(vec![1; 200_000]);
            send(&mut stream, &bytes).await;
            streams.push(stream);
        }
        stage.node.assert_goes_on(&stage.world, number).await;
        let grown = stage.node.resident_bytes().saturating_sub(before);
        assert!(grown < 64 * 1024 * 1024, "{grown} bytes for {} streams of one peer", streams.len());
    }
    let peer = stage.member().await;
    let mut heard = peer.incoming(URGENT);
    let _stream = peer.say(&stage.hello()).await;
    let (_, mut stream) = heard.next().await.unwrap();
    assert!(matches!(receive(&mut stream).await, Some(PeerMessage::Hello { .. })));
    stage.node.stop();
}

#[tokio::test]
async fn thousands_of_requests_for_blocks_are_answered_within_bounds() {
    let stage = Stage::set(87).await;
    for number in 0..80 {
        stage.node.assert_goes_on(&stage.world, number).await;
    }
    let height = stage.node.status().await.height;
    assert!(height >= 80);
    let peer = stage.member().await;
    let mut bulk = peer.incoming(BULK);
    let want = frame(&encode(&PeerMessage::WantBlocks { from: 1, count: u32::MAX }));
    let mut stream = peer.open(URGENT).await;
    let before = stage.node.resident_bytes();
    for _ in 0..100 {
        send(&mut stream, &want.repeat(50)).await;
    }
    stage.node.assert_goes_on(&stage.world, 100).await;
    let grown = stage.node.resident_bytes().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes for one peer's requests");
    // It is served in order, and each request with no more than the most there is in one.
    let (_, mut stream) = bulk.next().await.unwrap();
    for expected in 1..=u64::from(consensus::member::BLOCKS_PER_REQUEST_MAX) {
        let Some(PeerMessage::FinalisedBlock { block, .. }) = receive(&mut stream).await else { panic!("no block") };
        assert_eq!(block.header.height, expected);
    }
    // Requests beyond the end, and for nothing, are answered with nothing.
    for (from, count) in [(u64::MAX, u32::MAX), (height + 100, 5), (0, 0)] {
        let _stream = peer.say(&PeerMessage::WantBlocks { from, count }).await;
    }
    stage.node.assert_goes_on(&stage.world, 101).await;
    assert!(peer.is_connected());
    stage.node.stop();
}

/// A peer that claims to be far ahead has nothing to show for it: the node asks, waits, and goes on.
#[tokio::test]
async fn a_peer_that_boasts_of_a_height_does_not_stop_finality() {
    let stage = Stage::set(88).await;
    let peer = stage.member().await;
    let chain = stage.world.scenario.chain_id();
    let hello = PeerMessage::Hello { version: PEER_VERSION, chain, height: u64::MAX, validator: None };
    let mut stream = peer.say(&hello).await;
    for height in [u64::MAX, u64::MAX - 1, 1 << 62] {
        send(&mut stream, &frame(&encode(&PeerMessage::Status { height }))).await;
    }
    for number in 0..5 {
        stage.node.assert_goes_on(&stage.world, number).await;
    }
    stage.node.stop();
}

#[tokio::test]
async fn nodes_meet_over_tcp_and_over_quic() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let world = World::new(89);
        let first = Site::validator(&world).speaking(transport);
        let second = Site::observer(&world, "bank").speaking(transport);
        let second = second.knowing(&first.key.public(), &first.peer_address());
        let (one, other) = (first.start().await, second.start().await);
        let place = one.finalise(&world.enroll(1)).await;
        wait_for(&format!("the block over {transport:?}"), async || {
            (other.status().await.height >= place.height).then_some(())
        })
        .await;
        // What a client offers to the one that does not vote is finalised by the one that does.
        assert!(other.finalise(&world.enroll(2)).await.index > place.index);
        let peers = other.status().await.peers;
        let protocol = match transport {
            Transport::Tcp => "/tcp/",
            Transport::Quic => "/quic-v1",
        };
        assert!(peers.len() == 1 && peers[0].address.contains(protocol), "{peers:?}");
        other.stop();
        one.stop();
        first.assert_sound();
        second.assert_sound();
    }
}

/// A node whose key was retired may learn that. What it says besides costs nobody the checking of signatures.
#[tokio::test]
async fn what_a_retired_node_sends_is_dropped_unchecked_and_it_may_still_learn() {
    let world = World::new(91);
    let site = Site::validator(&world);
    let retired = world.key("bank", Role::Node);
    let mut chain = tests::Chain::of(world.scenario.clone(), 91);
    let store = Store::create(site.data().join("chain"), world.scenario.genesis()).unwrap();
    let successor = SecretKey::from_seed(&[91; 32]).public();
    chain.govern(vec![Change::RotateKey { old: retired.public(), new: successor }]);
    for _ in 0..3 {
        let block = chain.finalise();
        store.commit(&block.executed, &block.certificate).unwrap();
    }
    drop(store);
    let stage = Stage { node: site.start_with_given_chain().await, site, world };

    let peer = stage.peer(&retired).await;
    let mut blocks = peer.incoming(BULK);
    let mut forged = stage.world.enroll(1).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let transactions = PeerMessage::Transactions(List::new(vec![Blob::new(forged).unwrap()]).unwrap());
    let mut block = chain.finalise();
    block.executed.block.transactions =
        List::new(vec![stage.world.enroll(2).transaction().clone().sign(&retired)]).unwrap();
    let false_block = PeerMessage::FinalisedBlock { block: block.executed.block, certificate: block.certificate };
    let mut stream = peer.open(BULK).await;
    // On one stream, so that what is asked last is answered last.
    for message in [stage.hello(), transactions, false_block, PeerMessage::WantBlocks { from: 1, count: 3 }] {
        send(&mut stream, &frame(&encode(&message))).await;
    }
    let answers = async {
        let (_, mut stream) = blocks.next().await.unwrap();
        for expected in 1..=3 {
            let Some(PeerMessage::FinalisedBlock { block, .. }) = receive(&mut stream).await else {
                panic!("no block")
            };
            assert_eq!(block.header.height, expected);
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answers).await;
    assert!(answered.is_ok() && peer.is_connected(), "{}", stage.node.log());
    assert!(!stage.node.log().contains("a peer broke the protocol"), "{}", stage.node.log());
    stage.node.assert_goes_on(&stage.world, 3).await;
    stage.node.stop();
}
