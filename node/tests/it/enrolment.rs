//! Hosts that an operator invited: who is let in, as what, how often, and who is not.

use crate::support::now_ms;
use crate::support::site::{Node, Site};
use crate::support::world::World;
use ledger::bounded::{List, Name, SortedList};
use ledger::encoding::encode;
use ledger::invitation::{Arrival, Invitation, SignedInvitation};
use ledger::key::{PublicKey, SecretKey};
use ledger::patch::Label;
use ledger::state::record::Role;
use node::config::RawEnrolment;
use proto::v1::enrolment_client::EnrolmentClient;
use proto::v1::{Endpoint, JoinRequest, JoinResponse, ListEndpointsRequest};
use tests::VENDOR;
use tonic::{Code, Status};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A ledger of one node, which enrols in the name of the vendor's operator.
fn enrolling(world: &World) -> Site {
    let mut site = Site::validator(world);
    site.write_key("operator.key", "operator", &world.key(VENDOR, Role::Operator));
    site.raw.enrolment = Some(RawEnrolment { operator_key: site.path("operator.key") });
    site.configured()
}

fn invitation(world: &World, hosts_max: u32) -> Invitation {
    Invitation {
        chain_id: world.scenario.chain_id(),
        operator: PublicKey([0; 32]),
        nonce: u64::from(hosts_max),
        name: None,
        group: name("web"),
        labels: SortedList::new(vec![Label { key: name("site"), value: name("hamburg") }]).unwrap(),
        hosts_max,
        expires_at_ms: now_ms() + 3_600_000,
        nodes: List::default(),
        roots: List::default(),
    }
}

fn host(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

/// What a host sends that is called so.
fn request(signed: &SignedInvitation, key: &SecretKey, called: &str) -> JoinRequest {
    let arrival = Arrival { invitation: signed.digest(), endpoint: key.public(), name: name(called) };
    JoinRequest {
        invitation: encode(signed),
        endpoint: arrival.endpoint.0.to_vec(),
        name: called.to_owned(),
        signature: arrival.sign(&signed.invitation.chain_id, key).0.to_vec(),
    }
}

async fn join(node: &Node, request: JoinRequest) -> Result<JoinResponse, Status> {
    Ok(EnrolmentClient::new(node.channel()).join(request).await?.into_inner())
}

#[track_caller]
fn refused(answer: Result<JoinResponse, Status>, code: Code, check: &str) {
    let status = answer.unwrap_err();
    let refusal = proto::refusal(&status).unwrap_or_else(|| panic!("{status}"));
    assert_eq!((status.code(), refusal.check.as_str()), (code, check), "{refusal:?}");
    assert!(!refusal.hint.is_empty(), "{refusal:?}");
}

async fn endpoints(node: &Node) -> Vec<Endpoint> {
    node.ledger().list_endpoints(ListEndpointsRequest::default()).await.unwrap().into_inner().endpoints
}

#[tokio::test]
async fn as_many_hosts_as_are_invited_come_and_are_what_the_invitation_says() {
    let world = World::new(91);
    let site = enrolling(&world);
    let node = site.start().await;
    let signed = invitation(&world, 2).sign(&world.key(VENDOR, Role::Operator));
    let first = join(&node, request(&signed, &host(1), "web-1")).await.unwrap();
    assert!(first.position.is_some() && first.transaction.len() == 32, "{first:?}");
    let [there] = endpoints(&node).await.try_into().unwrap();
    assert_eq!((there.key, there.name.as_str()), (host(1).public().0.to_vec(), "web-1"));
    assert_eq!((there.group.as_str(), there.organisation.as_str(), there.status.as_str()), ("web", VENDOR, "active"));
    let label = signed.label();
    assert_eq!(there.labels[label.key.as_str()], label.value.as_str());
    assert_eq!((there.labels["site"].as_str(), there.labels.len()), ("hamburg", 2));

    // Whoever asks again is told where he stands, and is not one more; nor are those a restarted node did not see come.
    let again = join(&node, request(&signed, &host(1), "web-1")).await.unwrap();
    assert_eq!((again.transaction.len(), again.position), (0, first.position));
    node.stop();
    let node = site.start().await;
    join(&node, request(&signed, &host(2), "web-2")).await.unwrap();
    refused(join(&node, request(&signed, &host(3), "web-3")).await, Code::PermissionDenied, "invitation-used");
    // Another invitation of the same operator counts for itself.
    let other = invitation(&world, 1).sign(&world.key(VENDOR, Role::Operator));
    join(&node, request(&other, &host(3), "web-3")).await.unwrap();
    assert_eq!(endpoints(&node).await.len(), 3);
}

#[tokio::test]
async fn hosts_that_come_at_once_are_no_more_than_are_invited() {
    let world = World::new(92);
    let site = enrolling(&world);
    let node = site.start().await;
    let signed = invitation(&world, 3).sign(&world.key(VENDOR, Role::Operator));
    let came = futures::future::join_all((1..=9).map(|number| {
        let request = request(&signed, &host(number), &format!("web-{number}"));
        join(&node, request)
    }))
    .await;
    assert_eq!(came.iter().filter(|answer| answer.is_ok()).count(), 3);
    came.into_iter()
        .filter(Result::is_err)
        .for_each(|answer| refused(answer, Code::PermissionDenied, "invitation-used"));
    assert_eq!(endpoints(&node).await.len(), 3);
}

#[tokio::test]
async fn nobody_else_is_let_in_and_each_is_told_why() {
    let world = World::new(93);
    let site = enrolling(&world);
    let node = site.start().await;
    let operator = world.key(VENDOR, Role::Operator);
    let good = invitation(&world, 9).sign(&operator);
    let with = |change: &dyn Fn(&mut Invitation)| {
        let mut invitation = invitation(&world, 9);
        change(&mut invitation);
        invitation.sign(&operator)
    };
    let of = |signed: &SignedInvitation| request(signed, &host(1), "web-1");
    let (invalid, denied) = (Code::InvalidArgument, Code::PermissionDenied);
    for (request, code, check) in [
        (of(&with(&|invitation| invitation.expires_at_ms = 1)), invalid, "expired"),
        (of(&with(&|invitation| invitation.chain_id.0[0] ^= 1)), invalid, "chain-id"),
        (of(&with(&|invitation| invitation.name = Some(name("web-2")))), denied, "name"),
        (
            of(&with(&|invitation| {
                let label = Label { key: name("invitation"), value: name("mine") };
                invitation.labels = SortedList::new(vec![label]).unwrap();
            })),
            invalid,
            "labels",
        ),
        // Signed by somebody else.
        (of(&invitation(&world, 9).sign(&SecretKey::from_seed(&[9; 32]))), denied, "unknown-key"),
        (of(&invitation(&world, 9).sign(&world.key(VENDOR, Role::Governor))), denied, "wrong-role"),
        (of(&invitation(&world, 9).sign(&world.key("bank", Role::Operator))), denied, "organisation"),
        // Not what the host signed.
        (JoinRequest { name: "web-2".to_owned(), ..of(&good) }, invalid, "signature"),
        (JoinRequest { endpoint: host(2).public().0.to_vec(), ..of(&good) }, invalid, "signature"),
        (
            JoinRequest { invitation: encode(&with(&|invitation| invitation.nonce = 7)), ..of(&good) },
            invalid,
            "signature",
        ),
        // Not what it should be at all.
        (JoinRequest { name: "Not a name".to_owned(), ..of(&good) }, invalid, "malformed"),
        (JoinRequest { endpoint: vec![1; 31], ..of(&good) }, invalid, "malformed"),
        (JoinRequest { signature: vec![1; 65], ..of(&good) }, invalid, "malformed"),
        (JoinRequest { invitation: vec![0; 70_000], ..of(&good) }, invalid, "size"),
        (JoinRequest { invitation: encode(&good)[1..].to_vec(), ..of(&good) }, invalid, "malformed"),
        (JoinRequest { invitation: [encode(&good), vec![0]].concat(), ..of(&good) }, invalid, "trailing"),
    ] {
        refused(join(&node, request).await, code, check);
    }
    // A member's key is none of a host's.
    let governor = world.key(VENDOR, Role::Governor);
    refused(join(&node, request(&good, &governor, "web-1")).await, Code::AlreadyExists, "key-in-use");
    assert!(endpoints(&node).await.is_empty());
    join(&node, of(&good)).await.unwrap();
}

#[tokio::test]
async fn a_node_without_an_operators_key_enrols_nobody() {
    let world = World::new(94);
    let site = Site::validator(&world);
    let node = site.start().await;
    let signed = invitation(&world, 2).sign(&world.key(VENDOR, Role::Operator));
    refused(join(&node, request(&signed, &host(1), "web-1")).await, Code::FailedPrecondition, "no-enrolment");
}
