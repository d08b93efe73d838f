//! Every way in which `Submit` says no: code, word, hint; and nothing is changed by it.

use crate::support::now_ms;
use crate::support::site::{Node, Site, another_ledger};
use crate::support::world::World;
use ledger::bounded::{List, Product, SortedList};
use ledger::encoding::encode;
use ledger::id::PatchId;
use ledger::key::SecretKey;
use ledger::limits;
use ledger::receipt::Outcome;
use ledger::state::record::Role;
use ledger::transaction::{Payload, SignedTransaction, Transaction};
use proto::v1::{GetStatusResponse, SubmitRequest, TransactionState};
use tests::VENDOR;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

/// That a call was refused by this check, with the refusal inside.
pub(crate) fn assert_refused(status: &Status, code: Code, check: &str) -> proto::v1::Refusal {
    assert_eq!(status.code(), code, "{check}: {status:?}");
    let refusal = proto::refusal(status).unwrap_or_else(|| panic!("{check}: no refusal in {status:?}"));
    assert_eq!(refusal.check, check, "{refusal:?}");
    assert!(!refusal.message.is_empty(), "{check}: nothing is said");
    let retry = matches!(code, Code::ResourceExhausted | Code::Unavailable);
    assert_eq!(refusal.retry_after_ms > 0, retry, "{check}: {refusal:?}");
    refusal
}

/// What a refusal must leave as it is.
fn standing(status: &GetStatusResponse) -> (u64, u64, u64) {
    (status.height, status.transactions, status.pending)
}

/// A ledger in which something happened, so that everything can be done wrongly.
struct Stage {
    world: World,
    node: Node,
    _site: Site,
    /// Published, approved by the bank.
    open: PatchId,
    /// Recalled.
    recalled: PatchId,
}

/// Endpoints of the bank: one that is active, one that was retired.
const ACTIVE: u64 = 1;
const RETIRED: u64 = 2;

impl Stage {
    async fn set() -> Self {
        let world = World::new(31);
        let site = Site::validator(&world);
        let node = site.start().await;
        let (open, recalled) = (world.scenario.manifest(2).id(), world.scenario.manifest(1).id());
        node.finalise(&world.publish(world.scenario.manifest(1))).await;
        node.finalise(&world.publish(world.scenario.manifest(2))).await;
        node.finalise(&world.approve("bank", open)).await;
        let reason = ledger::bounded::Text::cut("broken");
        node.finalise(&world.sign(&world.publisher(), Payload::Recall { patch: recalled, reason })).await;
        node.finalise(&world.enroll(ACTIVE)).await;
        node.finalise(&world.enroll(RETIRED)).await;
        let endpoint = world.scenario.endpoint(RETIRED).public();
        node.finalise(&world.sign(&world.key("bank", Role::Operator), Payload::Retire { endpoint })).await;
        Self { world, node, _site: site, open, recalled }
    }

    fn by(&self, key: &SecretKey, payload: Payload) -> Vec<u8> {
        self.world.sign(key, payload).bytes().to_vec()
    }

    /// A good transaction, changed before it is signed.
    fn changed(&self, change: impl FnOnce(&mut Transaction)) -> Vec<u8> {
        let mut transaction = self.world.enroll(90).transaction().clone();
        change(&mut transaction);
        encode(&transaction.sign(&self.world.key("bank", Role::Operator)))
    }

    fn published(&self, change: impl FnOnce(&mut ledger::patch::PatchManifest)) -> Vec<u8> {
        let mut manifest = self.world.scenario.manifest(3);
        change(&mut manifest);
        self.world.publish(manifest).bytes().to_vec()
    }

    fn receipt(&self, endpoint: u64, receipt: ledger::receipt::Receipt) -> Vec<u8> {
        self.by(&self.world.scenario.endpoint(endpoint), Payload::Receipt { receipt })
    }

    /// Bytes, and what must be said to them.
    fn cases(&self) -> Vec<(Vec<u8>, Code, &'static str)> {
        let (world, open) = (&self.world, self.open);
        let good = world.enroll(90).bytes().to_vec();
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            bytes
        };
        let stranger = SecretKey::from_seed(&[99; 32]);
        let operator = world.key("bank", Role::Operator);
        let foreign = another_ledger().transaction(&operator, 1, now_ms(), world.enroll(90).payload().clone());
        let retire = |number: u64| Payload::Retire { endpoint: world.scenario.endpoint(number).public() };
        let wrong = Code::InvalidArgument;
        let (denied, state, exists) = (Code::PermissionDenied, Code::FailedPrecondition, Code::AlreadyExists);
        let mut unreasoned = World::receipt(open, 1, Outcome::Refused);
        unreasoned.reason = None;
        let twice = world.scenario.manifest(2);
        vec![
            (Vec::new(), wrong, "malformed"),
            (good[..good.len() - 1].to_vec(), wrong, "malformed"),
            (with(&|bytes| bytes.push(0)), wrong, "trailing"),
            (vec![0; limits::TRANSACTION_BYTES_MAX + 1], wrong, "size"),
            (self.changed(|transaction| transaction.version = 2), wrong, "version"),
            (foreign.bytes().to_vec(), wrong, "chain-id"),
            (with(&|bytes| *bytes.last_mut().unwrap() ^= 1), wrong, "signature"),
            (with(&|bytes| bytes[40] ^= 1), wrong, "signature"),
            (self.by(&stranger, world.enroll(90).payload().clone()), denied, "unknown-key"),
            (self.by(&world.publisher(), world.enroll(90).payload().clone()), denied, "wrong-role"),
            (self.by(&world.scenario.endpoint(ACTIVE), retire(ACTIVE)), denied, "wrong-role"),
            (self.receipt(RETIRED, World::receipt(open, 1, Outcome::Refused)), denied, "key-not-active"),
            (self.published(|m| m.product = Product::new("bank/widget").unwrap()), denied, "namespace"),
            (self.published(|m| m.artifacts = List::default()), wrong, "manifest"),
            (self.changed(|transaction| transaction.expires_at_ms = 1), state, "expired"),
            (self.changed(|t| t.expires_at_ms = now_ms() + 40 * 86_400_000), wrong, "expires-too-late"),
            (self.by(&world.publisher(), Payload::Publish { manifest: twice }), exists, "already-published"),
            (self.published(|m| m.release = 1), state, "release"),
            (self.published(|m| m.release = 2 + limits::RELEASE_STEP_MAX + 1), state, "release"),
            (world.approve("bank", PatchId([9; 32])).bytes().to_vec(), state, "unknown-patch"),
            (world.approve("bank", self.recalled).bytes().to_vec(), state, "recalled"),
            (world.approve(VENDOR, open).bytes().to_vec(), denied, "not-an-approver"),
            (world.approve("bank", open).bytes().to_vec(), exists, "verdict-unchanged"),
            (world.enroll(ACTIVE).bytes().to_vec(), exists, "key-in-use"),
            (self.by(&operator, retire(77)), state, "unknown-endpoint"),
            (self.by(&world.key("clinic", Role::Operator), retire(ACTIVE)), denied, "not-your-endpoint"),
            (self.receipt(ACTIVE, World::receipt(open, 2, Outcome::Refused)), state, "attempt"),
            (self.receipt(ACTIVE, World::receipt(open, 1, Outcome::Applied)), state, "never-approved"),
            (self.receipt(ACTIVE, unreasoned), wrong, "reason"),
        ]
    }
}

#[tokio::test]
async fn every_refusal_names_its_check_and_changes_nothing() {
    let stage = Stage::set().await;
    // The block that seals the last one may still be on its way; after it nothing happens by itself.
    let before = crate::support::wait_for("a quiet ledger", async || {
        let status = stage.node.status().await;
        let block = proto::v1::GetBlockRequest { height: status.height };
        let block = stage.node.ledger().get_block(block).await.unwrap().into_inner().block;
        let block = ledger::block::Block::parse(&block).unwrap();
        (block.header.tx_count == 0).then(|| standing(&status))
    })
    .await;
    for wait_ms in [0, 5_000] {
        for (bytes, code, check) in stage.cases() {
            let status = stage.node.submit(&bytes, wait_ms).await.unwrap_err();
            assert_refused(&status, code, check);
        }
    }
    assert_eq!(standing(&stage.node.status().await), before);
    stage.node.assert_goes_on(&stage.world, 5).await;
}

#[tokio::test]
async fn a_stream_answers_each_transaction_for_itself_and_in_order() {
    let stage = Stage::set().await;
    let mut cases = stage.cases();
    // Good ones between the bad ones.
    let good: Vec<_> = (100..105).map(|number| stage.world.enroll(number)).collect();
    let mut expected: Vec<(Vec<u8>, String)> = Vec::new();
    for transaction in &good {
        expected.push((transaction.bytes().to_vec(), String::new()));
        for (bytes, _, check) in cases.drain(..5) {
            expected.push((bytes, check.to_owned()));
        }
    }
    // The same twice in one stream is one transaction.
    expected.push((good[0].bytes().to_vec(), String::new()));
    let requests: Vec<_> =
        expected.iter().map(|(bytes, _)| SubmitRequest { transaction: bytes.clone(), wait_ms: 0 }).collect();
    let answers = stage.node.ledger().submit_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    let checks: Vec<_> =
        answers.iter().map(|answer| answer.refusal.as_ref().map(|refusal| refusal.check.clone())).collect();
    // Finalised by then, or still in the pool: the one that came twice is answered as before.
    let wanted: Vec<_> = expected.iter().map(|(_, check)| (!check.is_empty()).then(|| check.clone())).collect();
    assert_eq!(checks, wanted);
    for transaction in &good {
        assert!(answers.iter().any(|answer| answer.id == transaction.id().0));
        stage.node.finalise(transaction).await;
    }
    let again = SubmitRequest { transaction: good[0].bytes().to_vec(), wait_ms: 0 };
    let mut answers = stage.node.ledger().submit_stream(tokio_stream::iter([again])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap();
    assert_eq!((answer.id, answer.refusal), (good[0].id().0.to_vec(), None), "final already");
}

#[tokio::test]
async fn the_same_transaction_again_answers_with_the_same_place() {
    let world = World::new(32);
    let site = Site::validator(&world);
    let node = site.start().await;
    let transaction = world.enroll(1);
    let place = node.finalise(&transaction).await;
    for wait_ms in [0, 1_000] {
        let again = node.submit(transaction.bytes(), wait_ms).await.unwrap();
        assert_eq!((again.state(), again.position), (TransactionState::Finalised, Some(place)));
        assert_eq!(again.id, transaction.id().0);
    }
    // Many at once, before it is finalised: one place for all.
    let transaction = world.enroll(2);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (mut ledger, bytes) = (node.ledger(), transaction.bytes().to_vec());
        waiting.spawn(async move { ledger.submit(SubmitRequest { transaction: bytes, wait_ms: 60_000 }).await });
    }
    let mut places = Vec::new();
    while let Some(answer) = waiting.join_next().await {
        places.push(answer.unwrap().unwrap().into_inner().position.unwrap());
    }
    places.dedup();
    assert_eq!(places.len(), 1, "{places:?}");
    // And after a restart.
    node.stop();
    let node = site.start().await;
    assert_eq!(node.submit(transaction.bytes(), 0).await.unwrap().position, Some(places[0]));
    let status = node.status().await;
    assert_eq!(status.transactions, 2);
}

#[tokio::test]
async fn a_full_pool_says_so_and_when_to_come_back() {
    let world = World::new(33);
    // Nobody finalises anything here: everything stays in the pool.
    let mut site = Site::observer(&world, "bank");
    site.raw.mempool.transactions_max = 40;
    site.raw.mempool.per_organisation_max = 60;
    let site = site.configured();
    let node = site.start().await;
    // Clients get three quarters of each bound: forty-five of the bank's, of which one key has no more than it leaves,
    // thirty altogether; and sixteen places are everybody's own.
    let clinic = |number: u64| {
        let mut transaction = world.enroll(number).transaction().clone();
        transaction.nonce = 1_000 + number;
        let signed: SignedTransaction = transaction.sign(&world.key("clinic", Role::Operator));
        encode(&signed)
    };
    let banks: Vec<_> = (0..23).map(|number| world.enroll(number)).collect();
    for transaction in &banks {
        assert_eq!(node.submit(transaction.bytes(), 0).await.unwrap().state(), TransactionState::Pending);
    }
    let status = node.submit(world.enroll(23).bytes(), 0).await.unwrap_err();
    assert_refused(&status, Code::ResourceExhausted, "quota");
    for number in 100..116 {
        node.submit(&clinic(number), 0).await.unwrap();
    }
    let status = node.submit(&clinic(116), 0).await.unwrap_err();
    assert_refused(&status, Code::ResourceExhausted, "mempool-full");
    // Whoever hands in again what waits already is answered for it, and needs no room.
    for transaction in &banks {
        assert_eq!(node.submit(transaction.bytes(), 0).await.unwrap().state(), TransactionState::Pending);
    }
    crate::support::wait_for("all that wait", async || (node.status().await.pending == 39).then_some(())).await;

    // Waiting for what does not come ends when it was asked to, and leaves it pending.
    let id = banks[0].id().0.to_vec();
    let answer = node.ledger().get_transaction(proto::v1::GetTransactionRequest { id }).await.unwrap().into_inner();
    assert_eq!((answer.state(), answer.position), (TransactionState::Pending, None));
}

#[tokio::test]
async fn waiting_for_finality_ends_in_time_and_says_pending() {
    let world = World::new(34);
    let site = Site::observer(&world, "bank");
    let node = site.start().await;
    let answer = node.submit(world.enroll(1).bytes(), 200).await.unwrap();
    assert_eq!((answer.state(), answer.position), (TransactionState::Pending, None));
    assert_eq!(node.status().await.height, 0);
}

#[tokio::test]
async fn labels_and_other_lists_beyond_their_bounds_are_malformed() {
    let world = World::new(35);
    let site = Site::validator(&world);
    let node = site.start().await;
    // An enrolment whose list of labels claims 2^60 elements: nothing is reserved for them.
    let transaction = world.enroll(1);
    let Payload::Enroll { labels, .. } = transaction.payload() else { panic!("an enrolment") };
    assert_eq!(*labels, SortedList::default());
    let mut bytes = transaction.bytes().to_vec();
    let place = bytes.len() - 64 - 8;
    bytes[place..place + 8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    assert_refused(&node.submit(&bytes, 0).await.unwrap_err(), Code::InvalidArgument, "malformed");
    node.finalise(&transaction).await;
}
