//! A validator that signs two things is on the ledger for it: once, whoever saw it, and whatever became of
//! those who did.

use crate::refusals::assert_refused;
use crate::support::peer::{Peer, frame, send};
use crate::support::quorum::Quorum;
use crate::support::site::{Node, Site};
use crate::support::wait_for;
use consensus::member::PeerMessage;
use consensus::{Message, SignedVote, VoteKind};
use ledger::certificate::VoteBody;
use ledger::encoding::encode;
use ledger::evidence::Evidence;
use ledger::id::BlockHash;
use ledger::key::SecretKey;
use ledger::state::record::Role;
use ledger::transaction::{Payload, SignedTransaction};
use proto::v1::{Conviction, GetTransactionRequest, ListConvictionsRequest};
use tests::ORGANISATIONS;
use tonic::Code;

impl Quorum {
    fn prevote(&self, height: u64, block: u8) -> SignedVote {
        let body = VoteBody { height, round: 0, block: Some(BlockHash([block; 32])) };
        SignedVote::sign(VoteKind::Prevote, body, self.fourth(), &self.world.scenario.chain_id())
    }

    /// The fourth validator tells a node that it prevotes for one block, and for another.
    async fn lie(&self, site: &Site, height: u64) -> Peer {
        let (peer, mut stream) = self.speak_to(site).await;
        for block in [1, 2] {
            let message = PeerMessage::Consensus(Message::Vote(self.prevote(height, block)));
            send(&mut stream, &frame(&encode(&message))).await;
        }
        peer
    }

    /// That this is the one conviction there is, and that its evidence convicts without anybody's word.
    async fn assert_convicted_once(&self, node: &Node, height: u64) -> Conviction {
        let convictions = wait_for("a conviction", async || {
            let answer = convictions(node).await;
            (!answer.is_empty()).then_some(answer)
        })
        .await;
        let [conviction] = convictions.as_slice() else { panic!("{convictions:?}") };
        assert_eq!((conviction.kind.as_str(), conviction.height, conviction.round), ("prevote", height, 0));
        let [culprit] = conviction.culprits.as_slice() else { panic!("{conviction:?}") };
        assert_eq!(culprit.key, self.fourth().public().0);
        assert_eq!((culprit.organisation.as_str(), culprit.status.as_str()), (ORGANISATIONS[3], "active"));
        let request = GetTransactionRequest { id: conviction.transaction_id.clone() };
        let bytes = node.ledger().get_transaction(request).await.unwrap().into_inner().transaction;
        let chain = self.world.scenario.chain_id();
        let accusation = SignedTransaction::verify_bytes(&bytes, &chain).unwrap();
        let Payload::Accuse { evidence } = accusation.payload() else { panic!("an accusation") };
        assert_eq!(evidence.check(&chain).unwrap().keys, vec![self.fourth().public()]);
        assert_eq!(accusation.signer().0.to_vec(), conviction.accuser);
        conviction.clone()
    }
}

async fn convictions(node: &Node) -> Vec<Conviction> {
    let request = ListConvictionsRequest::default();
    node.ledger().list_convictions(request).await.unwrap().into_inner().convictions
}

#[tokio::test]
async fn two_votes_of_one_key_end_as_one_conviction_however_many_nodes_saw_them() {
    let stage = Quorum::set(301);
    let nodes = stage.start().await;
    let _to_one = stage.lie(&stage.sites[0], 1).await;
    let _to_another = stage.lie(&stage.sites[1], 1).await;
    let told = stage.assert_convicted_once(&nodes[0], 1).await;
    for node in &nodes[1..] {
        assert_eq!(stage.assert_convicted_once(node, 1).await, told);
    }
    // Nothing comes after it, and the ledger goes on.
    for (number, node) in nodes.iter().enumerate() {
        node.assert_goes_on(&stage.world, number as u64).await;
    }
    stage.assert_convicted_once(&nodes[2], 1).await;

    // The same again, by hand, is refused by name; and what convicts nobody.
    let node_key = stage.world.key(ORGANISATIONS[1], Role::Node);
    let accuse = |one, other| {
        let payload = Payload::Accuse { evidence: Evidence::Votes(one, other) };
        stage.world.signed(&node_key, payload)
    };
    let again = accuse(stage.prevote(1, 2), stage.prevote(1, 1));
    assert_refused(&nodes[0].submit(&again, 0).await.unwrap_err(), Code::AlreadyExists, "already-convicted");
    let honest = accuse(stage.prevote(1, 1), stage.prevote(2, 2));
    assert_refused(&nodes[0].submit(&honest, 0).await.unwrap_err(), Code::InvalidArgument, "evidence");

    // By whom it may not be brought is looked at before its evidence, which proves nothing here.
    let stranger = SecretKey::from_seed(&[77; 32]);
    let payload = Payload::Accuse { evidence: Evidence::Votes(stage.prevote(1, 1), stage.prevote(2, 2)) };
    let strange = stage.world.signed(&stranger, payload.clone());
    assert_refused(&nodes[0].submit(&strange, 0).await.unwrap_err(), Code::PermissionDenied, "unknown-key");
    let governor = stage.world.signed(&stage.world.key(ORGANISATIONS[1], Role::Governor), payload);
    assert_refused(&nodes[0].submit(&governor, 0).await.unwrap_err(), Code::PermissionDenied, "wrong-role");

    // Filters and pages.
    let of = |key: Vec<u8>| ListConvictionsRequest { key, page_size: 1, ..Default::default() };
    let mut ledger = nodes[0].ledger();
    let page = ledger.list_convictions(of(stage.fourth().public().0.to_vec())).await.unwrap().into_inner();
    assert_eq!((page.convictions.len(), page.next_page_token.as_str()), (1, ""));
    let honest = stage.world.scenario.validators()[0].public();
    assert!(ledger.list_convictions(of(honest.0.to_vec())).await.unwrap().into_inner().convictions.is_empty());
    let wrong = ledger.list_convictions(of(vec![1; 31])).await.unwrap_err();
    assert_refused(&wrong, Code::InvalidArgument, "malformed");
    nodes.into_iter().for_each(|node| drop(node.stop()));
}

/// One node is alone when it sees it, so nothing can be finalised; it is killed, and its vote log is gone when
/// it comes back. What it kept is enough.
#[tokio::test]
async fn evidence_survives_a_kill_and_the_loss_of_the_vote_log() {
    let stage = Quorum::set(302);
    // Whoever hears no quorum has not begun a height, and compares nothing; another one makes it three of four.
    let other = stage.sites[1].start().await;
    let alone = stage.sites[0].start().await;
    let peer = stage.lie(&stage.sites[0], 1).await;
    alone.await_log(&["a validator signed two things", &stage.fourth().public().to_string()]).await;
    drop(peer);
    other.stop();
    alone.kill();
    let kept = std::fs::metadata(stage.sites[0].data().join("evidence.kept")).unwrap().len();
    assert!(kept > 200, "{kept} bytes kept");
    std::fs::remove_file(stage.sites[0].data().join("vote.log")).unwrap();

    let nodes = stage.start().await;
    let conviction = stage.assert_convicted_once(&nodes[2], 1).await;
    assert_eq!(conviction.accuser, stage.sites[0].key.public().0);
    // It is forgotten once it is on the ledger.
    wait_for("an empty file", async || {
        let kept = std::fs::metadata(stage.sites[0].data().join("evidence.kept")).unwrap().len();
        (kept == 0).then_some(())
    })
    .await;
    nodes.into_iter().for_each(|node| drop(node.stop()));
}
