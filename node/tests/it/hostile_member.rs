//! One member of four does what it likes to the other three, all at once: each of them is needed for every block, and every
//! block comes.

use crate::support::peer::{BULK, URGENT, frame};
use crate::support::quorum::Quorum;
use crate::support::site::{Node, Site};
use consensus::member::PeerMessage;
use consensus::{Message, SignedVote, VoteKind};
use futures::future::join_all;
use futures::{AsyncWriteExt as _, StreamExt as _};
use ledger::bounded::{Blob, List};
use ledger::certificate::VoteBody;
use ledger::encoding::encode;
use ledger::id::BlockHash;
use libp2p::StreamProtocol;
use std::time::Duration;

/// Transactions that must be final at each node meanwhile.
const FINAL_MEANWHILE: u64 = 8;

/// How often one that says nothing opens a new stream.
const REOPENED: Duration = Duration::from_secs(3);

/// What it says without end, and on which stream.
struct Flood {
    protocol: StreamProtocol,
    bytes: Vec<u8>,
}

impl Flood {
    fn of(messages: &[PeerMessage], times: usize) -> Self {
        let protocol = if messages[0].is_urgent() { URGENT } else { BULK };
        let bytes: Vec<u8> = messages.iter().flat_map(|message| frame(&encode(message))).collect();
        Self { protocol, bytes: bytes.repeat(times) }
    }
}

impl Quorum {
    /// Says it until it is thrown out.
    async fn flood(&self, site: &Site, flood: &Flood) {
        let (peer, mut urgent) = self.speak_to(site).await;
        let mut bulk = peer.open(BULK).await;
        let stream = if flood.protocol == URGENT { &mut urgent } else { &mut bulk };
        while stream.write_all(&flood.bytes).await.is_ok() && stream.flush().await.is_ok() {}
        peer.thrown_out().await;
    }

    /// Every node finalises what is submitted to it, also when it is over.
    async fn goes_on(&self, nodes: &[Node], from: u64) {
        for number in from..from + FINAL_MEANWHILE {
            for (place, node) in (0..).zip(nodes) {
                node.assert_goes_on(&self.world, 1_000 * place + number).await;
            }
        }
    }

    /// Floods all three until each has thrown it out, while everybody goes on.
    async fn bear(&self, nodes: &[Node], from: u64, flood: &Flood) {
        let floods = join_all(self.sites.iter().map(|site| self.flood(site, flood)));
        tokio::join!(floods, self.goes_on(nodes, from));
        for node in nodes {
            node.await_log(&["disconnecting a peer", "it says more than anybody has to say"]).await;
        }
        self.goes_on(nodes, from + FINAL_MEANWHILE).await;
    }
}

/// Words that cost a look each.
#[tokio::test]
async fn one_that_says_heights_without_end_is_thrown_out_by_everybody_and_finality_goes_on() {
    let quorum = Quorum::set(401);
    let nodes = quorum.start().await;
    let flood = Flood::of(&[PeerMessage::Status { height: 0 }], 512);
    quorum.bear(&nodes, 0, &flood).await;
    nodes.into_iter().for_each(|node| drop(node.stop()));
}

/// Votes in the names of others, which cost the check of a signature each: the first is reason enough.
#[tokio::test]
async fn one_that_forges_votes_is_thrown_out_by_everybody_and_finality_goes_on() {
    let quorum = Quorum::set(402);
    let nodes = quorum.start().await;
    let chain = quorum.world.scenario.chain_id();
    let forged = |height: u64| {
        let body = VoteBody { height, round: 0, block: Some(BlockHash([7; 32])) };
        let mut vote = SignedVote::sign(VoteKind::Prevote, body, quorum.fourth(), &chain);
        vote.voter = quorum.world.scenario.validators()[0].public();
        PeerMessage::Consensus(Message::Vote(vote))
    };
    let flood = Flood::of(&(1..=64).map(forged).collect::<Vec<_>>(), 8);
    let floods = join_all(quorum.sites.iter().map(|site| quorum.flood(site, &flood)));
    tokio::join!(floods, quorum.goes_on(&nodes, 0));
    quorum.goes_on(&nodes, FINAL_MEANWHILE).await;
    nodes.into_iter().for_each(|node| drop(node.stop()));
}

/// Transactions whose signatures are not right, as many as go into a message.
#[tokio::test]
async fn one_that_passes_garbage_on_is_thrown_out_by_everybody_and_finality_goes_on() {
    let quorum = Quorum::set(403);
    let nodes = quorum.start().await;
    let garbage = |number: u64| {
        let mut bytes = quorum.world.enroll(10_000 + number).bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Blob::new(bytes).unwrap()
    };
    let list = List::new((0..2_000).map(garbage).collect()).unwrap();
    let flood = Flood::of(&[PeerMessage::Transactions(list)], 1);
    let floods = join_all(quorum.sites.iter().map(|site| quorum.flood(site, &flood)));
    tokio::join!(floods, quorum.goes_on(&nodes, 0));
    quorum.goes_on(&nodes, FINAL_MEANWHILE).await;
    nodes.into_iter().for_each(|node| drop(node.stop()));
}

/// It is connected, reads nothing and says nothing more than hello; but its library answers for it, so that no connection is
/// silent, and it opens another stream now and then.
#[tokio::test]
async fn one_that_stalls_is_dropped_by_everybody_and_finality_goes_on() {
    let quorum = Quorum::set(404);
    let nodes = quorum.start().await;
    let stalls = join_all(quorum.sites.iter().map(async |site| {
        let (peer, _urgent) = quorum.speak_to(site).await;
        let mut streams = peer.incoming(URGENT);
        // Held, and never read.
        let _unread = streams.next().await.unwrap();
        let opening = async {
            while let Ok(stream) = peer.try_open(URGENT).await {
                tokio::time::sleep(REOPENED).await;
                drop(stream);
            }
        };
        tokio::join!(opening, peer.thrown_out());
    }));
    tokio::join!(stalls, quorum.goes_on(&nodes, 0));
    for node in &nodes {
        node.await_log(&["disconnecting a peer: it says nothing"]).await;
    }
    quorum.goes_on(&nodes, FINAL_MEANWHILE).await;
    nodes.into_iter().for_each(|node| drop(node.stop()));
}
