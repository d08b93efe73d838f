//! The `Enrolment` service: hosts that an operator has invited enrol themselves (docs/protocol.md, section 14).
//!
//! Their node signs in the operator's stead, under a key that its configuration names: nothing but enrolments that an
//! invitation allows, each once. By which invitation a host came stands in a label of its record, so the ledger itself
//! says how many came; and the node need not remember anything.

use super::connections::Client;
use super::refusal::Refused;
use super::{Services, bytes32, views, wall_ms};
use crate::origin::Origin;
use ledger::block::PROTOCOL_VERSION;
use ledger::bounded::Name;
use ledger::encoding::{decode, encode};
use ledger::invitation::{Arrival, InvitationError, SignedInvitation};
use ledger::key::{PublicKey, SecretKey, Signature};
use ledger::patch::Label;
use ledger::state::StateView as _;
use ledger::state::record::{EndpointRecord, KeyStatus, Role};
use ledger::transaction::{Payload, Transaction};
use proto::v1::{self, enrolment_server};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Cursor, Store};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

/// How long the transaction of an enrolment is valid.
const EXPIRY_MS: u64 = 10 * 60 * 1000;
/// How long a host waits in one call until it is enrolled.
const WAIT_MS: u64 = 10_000;
/// How long it waits until the one before it is done with.
const TURN: Duration = Duration::from_secs(10);
/// When to try again when it was not its turn.
const RETRY_AFTER_MS: u64 = 1_000;
/// Endpoints read at a time to count who came.
const COUNTED_AT_ONCE: usize = 1_000;

/// Whoever lets invited hosts in: one after the other, so that no more come than may.
#[derive(Clone, Default)]
pub struct Porter(Option<Arc<Inner>>);

struct Inner {
    key: SecretKey,
    book: Arc<Mutex<Book>>,
}

/// Who came by which invitation.
#[derive(Default)]
struct Book {
    /// Up to here the ledger's endpoints are counted.
    counted: Option<Cursor>,
    /// By the label that names the invitation.
    came: HashMap<Label, u64>,
    /// Signed for, and not on the ledger yet.
    under_way: HashMap<PublicKey, UnderWay>,
}

/// An enrolment that may still get on the ledger.
struct UnderWay {
    label: Label,
    until_ms: u64,
    transaction: Vec<u8>,
}

impl Porter {
    /// Enrols in the name of this operator; nobody without one.
    #[must_use]
    pub fn new(operator: Option<SecretKey>) -> Self {
        Self(operator.map(|key| Arc::new(Inner { key, book: Arc::default() })))
    }
}

impl Book {
    /// How many came by an invitation, and are on their way.
    fn count(&mut self, store: &Store, organisation: &Name, of: &Label, now_ms: u64) -> Result<u64, Refused> {
        loop {
            let page = store.endpoints(self.counted, COUNTED_AT_ONCE).map_err(Refused::internal)?;
            for (endpoint, record) in &page.rows {
                self.counted = Some(Cursor::behind(record.enrolled));
                self.under_way.remove(endpoint);
                // Another organisation may give its own hosts any label.
                let is_ours = record.organisation == *organisation;
                for label in record.labels.iter().filter(|label| is_ours && label.key == of.key) {
                    *self.came.entry(label.clone()).or_default() += 1;
                }
            }
            if page.next.is_none() {
                break;
            }
        }
        self.under_way.retain(|_, way| way.until_ms > now_ms);
        let under_way = self.under_way.values().filter(|way| way.label == *of).count() as u64;
        Ok(self.came.get(of).copied().unwrap_or_default() + under_way)
    }
}

#[tonic::async_trait]
impl enrolment_server::Enrolment for Services {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let Some(porter) = self.porter.0.clone() else { return Err(no_porter().into()) };
        let origin = Client::origin_of(Client::of(request.extensions()));
        let (signed, arrival) = self.invited(request.into_inner())?;
        let label = signed.label();
        if let Some(answer) = self.is_here(&label, &arrival)? {
            return Ok(Response::new(answer));
        }
        let turn = timeout(TURN, porter.book.clone().lock_owned()).await;
        let book = turn.map_err(|_| Refused::busy("others are being enrolled").retry_after(RETRY_AFTER_MS))?;
        // Gone through with, also when the host does not wait: it asks again, and has to be told what came of it.
        let (services, host) = (self.clone(), Host { origin, signed, arrival });
        let letting_in = tokio::spawn(async move { services.let_in(&porter.key, book, host).await });
        Ok(Response::new(letting_in.await.map_err(|_| Refused::stopping())??))
    }
}

/// A host whose turn it is.
struct Host {
    origin: Origin,
    signed: SignedInvitation,
    arrival: Arrival,
}

impl Services {
    async fn let_in(
        self,
        key: &SecretKey,
        mut book: OwnedMutexGuard<Book>,
        Host { origin, signed, arrival }: Host,
    ) -> Result<v1::JoinResponse, Refused> {
        let (label, endpoint) = (signed.label(), arrival.endpoint);
        // While it waited for its turn, what it asked for before may have come about.
        if let Some(answer) = self.is_here(&label, &arrival)? {
            return Ok(answer);
        }
        let now_ms = wall_ms();
        let again = book.under_way.get(&endpoint).filter(|way| way.until_ms > now_ms && way.label == label);
        let transaction = match again.map(|way| way.transaction.clone()) {
            Some(transaction) => transaction,
            None => {
                let (store, of, organisation) = (self.store.clone(), label.clone(), self.organisation.clone());
                let counting = tokio::task::spawn_blocking(move || {
                    book.count(&store, &organisation, &of, now_ms).map(|came| (book, came))
                });
                let came;
                (book, came) = counting.await.map_err(|_| Refused::stopping())??;
                let hosts_max = signed.invitation.hosts_max;
                if came >= u64::from(hosts_max) {
                    return Err(used_up(hosts_max));
                }
                let until_ms = now_ms.saturating_add(EXPIRY_MS);
                let transaction = encode(&self.enrolment(&signed, &arrival, until_ms).sign(key));
                let way = UnderWay { label: label.clone(), until_ms, transaction: transaction.clone() };
                book.under_way.insert(endpoint, way);
                transaction
            }
        };
        match self.take_in(origin, transaction, WAIT_MS).await {
            Ok(v1::SubmitResponse { id, position, .. }) => Ok(v1::JoinResponse { transaction: id, position }),
            Err(refused) => {
                book.under_way.remove(&endpoint);
                self.is_here(&label, &arrival)?.ok_or(refused)
            }
        }
    }
}

impl Services {
    /// What was asked, once the invitation holds, is an operator's of this organisation, and is for this host.
    fn invited(&self, request: v1::JoinRequest) -> Result<(SignedInvitation, Arrival), Refused> {
        let v1::JoinRequest { invitation, endpoint, name, signature } = request;
        let signed: SignedInvitation = decode(&invitation)?;
        let name = Name::new(name).map_err(|error| Refused::invalid("malformed", format!("name: {error}")))?;
        let endpoint = PublicKey(bytes32("endpoint", &endpoint)?);
        let signature = signature.try_into().map(Signature).map_err(|bytes: Vec<u8>| {
            Refused::invalid("malformed", format!("signature: {} bytes, must be 64", bytes.len()))
        })?;
        let invitation = signed.check(&self.chain_id, wall_ms())?;
        self.check_member(invitation.operator, &[Role::Operator], "signed the invitation", NOT_INVITED)?;
        let arrival = Arrival { invitation: signed.digest(), endpoint, name };
        arrival.check(invitation, &signature)?;
        Ok((signed, arrival))
    }

    /// Whether the host came by this invitation already.
    fn is_here(&self, label: &Label, arrival: &Arrival) -> Result<Option<v1::JoinResponse>, Refused> {
        let there = self.store.endpoint(arrival.endpoint).map_err(Refused::internal)?;
        let came = |record: &EndpointRecord| {
            record.status == KeyStatus::Active
                && record.organisation == self.organisation
                && record.labels.contains(label)
        };
        let Some(record) = there.filter(came) else { return Ok(None) };
        Ok(Some(v1::JoinResponse { transaction: Vec::new(), position: Some(views::position(self, record.enrolled)?) }))
    }

    fn enrolment(&self, signed: &SignedInvitation, arrival: &Arrival, expires_at_ms: u64) -> Transaction {
        let (Arrival { endpoint, name, .. }, group) = (arrival.clone(), signed.invitation.group.clone());
        let payload = Payload::Enroll { endpoint, name, group, labels: signed.labels() };
        Transaction {
            version: PROTOCOL_VERSION,
            chain_id: self.chain_id,
            // Set to the key's own when it is signed.
            signer: endpoint,
            nonce: signed.invitation.nonce,
            expires_at_ms,
            payload,
        }
    }
}

/// What to do without an invitation.
const NOT_INVITED: &str = "ask an operator of this organisation for a new invitation: `countersign endpoint invite`";

fn no_porter() -> Refused {
    let hint = "an operator enrols hosts: `countersign endpoint enroll`; or sets `enrolment.operator_key` of this node";
    Refused::new(Code::FailedPrecondition, "no-enrolment", "this node enrols nobody", hint)
}

fn used_up(hosts_max: u32) -> Refused {
    let message = format!("{hosts_max} hosts came by this invitation, as many as may");
    Refused::new(Code::PermissionDenied, "invitation-used", message, NOT_INVITED)
}

impl From<InvitationError> for Refused {
    fn from(error: InvitationError) -> Self {
        let code = match error {
            InvitationError::Name { .. } => Code::PermissionDenied,
            _ => Code::InvalidArgument,
        };
        Self::new(code, error.check(), error, NOT_INVITED)
    }
}
