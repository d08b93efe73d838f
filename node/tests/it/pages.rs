//! Asking: what is there, what is not, page by page, and with tokens of somebody else.

use crate::refusals::assert_refused;
use crate::support::site::Site;
use crate::support::world::World;
use ledger::bounded::{Name, Notes, Sentence, SortedList};
use ledger::governance::Change;
use ledger::id::{Digest, TransactionId};
use ledger::proof::ProofBundle;
use ledger::state::record::{KeyStatus, MemberKey, Organisation, Role};
use ledger::transaction::{Payload, Verdict};
use proto::v1::{
    CheckRequest, GetBlockRequest, GetPatchRequest, GetProofRequest, GetProposalRequest, GetTransactionRequest,
    ListBlocksRequest, ListEndpointsRequest, ListPatchesRequest, ListProposalsRequest, ListReceiptsRequest,
    TransactionState, WatchHeadsRequest,
};
use tokio_stream::StreamExt as _;
use tonic::Code;

#[tokio::test]
async fn a_transaction_is_unknown_then_finalised_and_its_bytes_come_back() {
    let world = World::new(41);
    let site = Site::validator(&world);
    let node = site.start().await;
    let transaction = world.enroll(1);
    let ask = async || {
        let request = GetTransactionRequest { id: transaction.id().0.to_vec() };
        node.ledger().get_transaction(request).await.unwrap().into_inner()
    };
    let before = ask().await;
    assert_eq!((before.state(), before.position, before.transaction.len()), (TransactionState::Unknown, None, 0));
    let place = node.finalise(&transaction).await;
    let after = ask().await;
    assert_eq!((after.state(), after.position), (TransactionState::Finalised, Some(place)));
    assert_eq!(after.transaction, transaction.bytes());
}

#[tokio::test]
async fn pages_add_up_to_the_whole_and_foreign_tokens_are_refused_or_harmless() {
    let world = World::new(42);
    let site = Site::validator(&world);
    let node = site.start().await;
    for number in 0..7 {
        node.finalise(&world.enroll(number)).await;
        node.finalise(&world.publish(world.scenario.manifest(number + 1))).await;
    }
    let mut ledger = node.ledger();
    let enrolled: Vec<_> = (0..7).map(|number| world.scenario.endpoint(number).public().0.to_vec()).collect();
    let (mut token, mut keys, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let request = ListEndpointsRequest { page_size: 3, page_token: token, ..Default::default() };
        let page = ledger.list_endpoints(request).await.unwrap().into_inner();
        keys.extend(page.endpoints.into_iter().map(|endpoint| endpoint.key));
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(keys, enrolled, "in the order of their enrolment");
    assert!(pages >= 3, "{pages} pages");

    let (mut token, mut releases) = (String::new(), Vec::new());
    loop {
        let request = ListPatchesRequest { page_size: 2, page_token: token, ..Default::default() };
        let page = ledger.list_patches(request).await.unwrap().into_inner();
        releases.extend(page.patches.into_iter().map(|patch| patch.release));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(releases, [7, 6, 5, 4, 3, 2, 1]);

    let mut tokens = vec!["x".to_owned(), "0".repeat(63), "ff".repeat(2_000), "-1".to_owned(), "ü".to_owned()];
    let mut dice = tests::Dice::new(5);
    tokens.extend((0..60).map(|_| {
        let length = dice.below(40);
        (0..length).map(|_| char::from(b'!' + u8::try_from(dice.below(90)).unwrap())).collect::<String>()
    }));
    let mut refused = 0;
    for page_token in tokens {
        let patches = ListPatchesRequest { page_token: page_token.clone(), ..Default::default() };
        let endpoints = ListEndpointsRequest { page_token: page_token.clone(), ..Default::default() };
        let receipts = ListReceiptsRequest { page_token: page_token.clone(), ..Default::default() };
        let answers = [
            ledger.list_patches(patches).await.map(|page| page.into_inner().patches.len()),
            ledger.list_endpoints(endpoints).await.map(|page| page.into_inner().endpoints.len()),
            ledger.list_receipts(receipts).await.map(|page| page.into_inner().receipts.len()),
        ];
        for answer in answers {
            match answer {
                Ok(rows) => assert!(rows <= 7),
                Err(status) => {
                    assert_refused(&status, Code::InvalidArgument, "page-token");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 100, "{refused} refused");
}

#[tokio::test]
async fn verdicts_and_recalls_come_with_what_their_signers_wrote() {
    let world = World::new(45);
    let site = Site::validator(&world);
    let node = site.start().await;
    let manifest = world.scenario.manifest(1);
    let patch = manifest.id();
    node.finalise(&world.publish(manifest)).await;
    let (evidence, long) = (Digest::blake3(b"trial"), "ö".repeat(8_000));
    let verdict = |note: &str| Verdict { patch, evidence, note: Notes::new(note).unwrap() };
    let rejected = world.sign(&world.key("bank", Role::Approver), Payload::Reject { verdict: verdict(&long) });
    node.finalise(&rejected).await;
    node.finalise(&world.approve("clinic", patch)).await;
    let ask = async || {
        let whole = node.ledger().get_patch(GetPatchRequest { id: patch.0.to_vec() }).await.unwrap().into_inner();
        let listed = node.ledger().list_patches(ListPatchesRequest::default()).await.unwrap().into_inner().patches;
        (whole, listed.into_iter().next().unwrap())
    };
    let (whole, listed) = ask().await;
    assert_eq!((whole.verdicts[0].note.as_str(), &whole.verdicts[0].evidence), (&long[..], &evidence.0.to_vec()));
    assert_eq!(whole.verdicts[0].transaction_id, rejected.id().0.to_vec());
    assert_eq!((whole.verdicts[1].evidence.len(), whole.recall), (0, None));
    // A list has the beginning.
    let begun = listed.verdicts[0].note.strip_suffix('…').unwrap();
    assert!(long.starts_with(begun) && (400..=509).contains(&begun.len()), "{}", begun.len());

    let reason = Sentence::new("loses writes").unwrap();
    let recall = world.sign(&world.publisher(), Payload::Recall { patch, reason });
    let place = node.finalise(&recall).await;
    let (whole, listed) = ask().await;
    for told in [whole.recall.unwrap(), listed.recall.unwrap()] {
        assert_eq!((told.organisation.as_str(), told.decision.as_str()), ("acme", "recall"));
        assert_eq!((told.note.as_str(), told.position), ("loses writes", Some(place)));
        assert_eq!((told.key, told.transaction_id), (world.publisher().public().0.to_vec(), recall.id().0.to_vec()));
    }
    node.stop();
}

#[tokio::test]
async fn a_proposal_that_is_over_shows_who_voted_and_not_todays_arithmetic() {
    let world = World::new(46);
    let site = Site::validator(&world);
    let node = site.start().await;
    let joins = |name: &str, number: u64| {
        let key = world.scenario.endpoint(number).public();
        let key = MemberKey { key, role: Role::Governor, status: KeyStatus::Active };
        let (name, keys) = (Name::new(name).unwrap(), SortedList::new(vec![key]).unwrap());
        vec![Change::AddOrganisation { organisation: Organisation { name, namespaces: SortedList::default(), keys } }]
    };
    let ask = async |id: TransactionId| {
        let request = GetProposalRequest { id: id.0.to_vec() };
        node.ledger().get_proposal(request).await.unwrap().into_inner()
    };
    let mut proposals = Vec::new();
    for (number, name, voters, needed) in [(1, "first", 4, 3), (2, "second", 5, 4)] {
        let agreed = world.scenario.agreed(number, crate::support::now_ms(), joins(name, 70 + number));
        proposals.push(agreed[0].id());
        for (place, transaction) in agreed.iter().enumerate() {
            node.finalise(transaction).await;
            let told = ask(agreed[0].id()).await;
            if told.standing == "open" {
                assert_eq!(told.count, format!("{} of {voters} organisations for it, {needed} needed", place + 1));
            }
        }
    }
    // Five have a voice now; of the count of four nobody reads "3 of 5".
    let told = ask(proposals[0]).await;
    assert_eq!((told.standing.as_str(), told.count.as_str()), ("passed", "for it acme, bank, clinic"));
    assert!(told.settled.unwrap().height > told.proposed.unwrap().height);
    assert_eq!(ask(proposals[1]).await.standing, "open");
    node.stop();
}

#[tokio::test]
async fn what_submit_would_say_can_be_asked_and_nothing_is_taken() {
    let world = World::new(47);
    let site = Site::validator(&world);
    let node = site.start().await;
    let check = async |bytes: &[u8]| {
        let request = CheckRequest { transaction: bytes.to_vec() };
        node.ledger().check(request).await.map(|answer| answer.into_inner().id)
    };
    let publish = world.publish(world.scenario.manifest(1));
    assert_eq!(check(publish.bytes()).await.unwrap(), publish.id().0.to_vec());
    let find = GetTransactionRequest { id: publish.id().0.to_vec() };
    let found = node.ledger().get_transaction(find).await.unwrap().into_inner();
    assert_eq!((found.state(), node.status().await.pending), (TransactionState::Unknown, 0), "nothing was taken");
    node.finalise(&publish).await;
    assert_refused(&check(publish.bytes()).await.unwrap_err(), Code::AlreadyExists, "already-finalised");
    let later = crate::support::now_ms() + 1_000;
    let again = world.scenario.transaction(&world.publisher(), 99, later, publish.payload().clone());
    assert_refused(&check(again.bytes()).await.unwrap_err(), Code::AlreadyExists, "already-published");
    let stranger = world.sign(&world.scenario.endpoint(9), publish.payload().clone());
    assert_refused(&check(stranger.bytes()).await.unwrap_err(), Code::PermissionDenied, "unknown-key");
    let mut altered = publish.bytes().to_vec();
    *altered.last_mut().unwrap() ^= 1;
    assert_refused(&check(&altered).await.unwrap_err(), Code::InvalidArgument, "signature");
    assert_refused(&check(&[]).await.unwrap_err(), Code::InvalidArgument, "malformed");
    // Alone, it is its own quorum.
    let status = node.status().await;
    assert_eq!((status.validators, status.validators_connected, status.quorum), (1, 1, 1));
    assert!(status.heartbeat_ms > 0);
    node.stop();
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_no_id_is_malformed() {
    let world = World::new(43);
    let site = Site::validator(&world);
    let node = site.start().await;
    let mut ledger = node.ledger();
    let unknown = vec![7; 32];
    let status = ledger.get_patch(GetPatchRequest { id: unknown.clone() }).await.unwrap_err();
    assert_refused(&status, Code::NotFound, "not-found");
    let status = ledger.get_proof(GetProofRequest { patch: unknown }).await.unwrap_err();
    assert_refused(&status, Code::NotFound, "not-found");
    let status = ledger.get_block(GetBlockRequest { height: u64::MAX }).await.unwrap_err();
    assert_refused(&status, Code::NotFound, "not-found");
    for length in [0, 31, 33, 1_000] {
        let status = ledger.get_patch(GetPatchRequest { id: vec![1; length] }).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, "malformed");
        let status = ledger.get_transaction(GetTransactionRequest { id: vec![1; length] }).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, "malformed");
    }
    for standing in ["bogus", "Approved", "approved "] {
        let patches = ListPatchesRequest { standing: standing.to_owned(), ..Default::default() };
        let status = ledger.list_patches(patches).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, "malformed");
        let hint = proto::refusal(&status).unwrap().hint;
        assert_eq!(hint, "leave it empty for all, or give one of these");
        let proposals = ListProposalsRequest { standing: standing.to_owned(), ..Default::default() };
        assert_refused(&ledger.list_proposals(proposals).await.unwrap_err(), Code::InvalidArgument, "malformed");
    }
    for id_prefix in ["0x12".to_owned(), "g".to_owned(), "0".repeat(65)] {
        let patches = ListPatchesRequest { id_prefix, ..Default::default() };
        assert_refused(&ledger.list_patches(patches).await.unwrap_err(), Code::InvalidArgument, "malformed");
    }
    let blocks = ListBlocksRequest { from_height: u64::MAX, page_size: u32::MAX };
    let blocks = ledger.list_blocks(blocks).await.unwrap().into_inner();
    assert_eq!(blocks.next_height, 0);
}

#[tokio::test]
async fn blocks_heads_and_proofs_are_what_a_verifier_needs() {
    let world = World::new(44);
    let site = Site::validator(&world);
    let node = site.start().await;
    let manifest = world.scenario.manifest(1);
    let patch = manifest.id();
    node.finalise(&world.publish(manifest)).await;
    node.finalise(&world.approve("bank", patch)).await;
    node.finalise(&world.approve("clinic", patch)).await;
    let proof = crate::support::wait_for("a proof", async || {
        let request = GetProofRequest { patch: patch.0.to_vec() };
        node.ledger().get_proof(request).await.ok().map(|answer| answer.into_inner().proof)
    })
    .await;
    let genesis = node.ledger().get_genesis(proto::v1::GetGenesisRequest {}).await.unwrap().into_inner().genesis;
    assert_eq!(genesis, world.scenario.genesis().genesis.bytes());
    let trust = ledger::proof::TrustRoot::parse(&genesis).unwrap();
    let bundle = ProofBundle::parse(&proof).unwrap();
    let clock = ledger::proof::HostClock::at(crate::support::now_ms());
    assert_eq!(bundle.verify(&trust, clock).unwrap().id(), patch);

    // Heads follow each other, each with the certificate of the one validator.
    let mut heads = node.ledger().watch_heads(WatchHeadsRequest {}).await.unwrap().into_inner();
    let first = heads.next().await.unwrap().unwrap();
    node.finalise(&world.enroll(9)).await;
    // The same one may come twice; an older one never.
    let second = loop {
        let head = heads.next().await.unwrap().unwrap();
        assert!(head.height >= first.height);
        if head.height > first.height {
            break head;
        }
    };
    let certificate: ledger::certificate::Certificate = ledger::encoding::decode(&second.certificate).unwrap();
    let header: ledger::block::Header = ledger::encoding::decode(&second.header).unwrap();
    let validators = &world.scenario.genesis().genesis.validators;
    certificate.verify(&header, &world.scenario.chain_id(), validators).unwrap();
}
