//! Clients: gRPC over TLS, with reflection and health.

mod admission;
mod answers;
mod artifacts;
mod connections;
mod convictions;
mod enrolment;
mod followers;
mod intake;
mod inventories;
mod ledger_service;
mod membership;
mod patches;
mod refusal;
mod refusing;
mod snapshot;
mod unread;
mod views;

use crate::artifacts::{Artifacts, TRANSFERS_MAX};
use crate::desk::Desk;
use crate::inventories::Inventories;
use crate::network::Network;
use crate::shares::Shares;
use crate::shell::Inbox;
use crate::verifier::Verifier;
pub use connections::{
    CONNECTIONS_MAX, Connections, FIRST_REQUEST_MAX, GREETING_GRACE, KNOWN_FOR, KNOWN_MAX, KNOWN_PER_COMPANY_MAX,
    REST_MAX, STREAMS_OF_ANSWERS_MAX,
};
pub use enrolment::Porter;
pub use followers::{ASK_AGAIN_MS_MAX, FOLLOWERS_MAX, FOLLOWERS_PER_ADDRESS_MAX, Followers, HEAD_QUESTIONS_PER_SECOND};
use intake::Counted;
pub use intake::{
    INTAKE_BYTES_MAX, INTAKE_PER_ADDRESS_BYTES_MAX, Intake, MESSAGE_BYTES_MAX, MESSAGE_BYTES_PER_SECOND,
    MESSAGE_PATIENCE, REPORT_MESSAGE_BYTES_MAX, REQUEST_BYTES, STREAM_MESSAGE_PATIENCE, UPLOAD_MESSAGE_BYTES_MAX,
};
use ledger::bounded::Name;
use ledger::id::ChainId;
use ledger::key::PublicKey;
use ledger::state::StateView as _;
use ledger::state::record::{KeyStatus, Role};
use proto::v1::artifacts_server::ArtifactsServer;
use proto::v1::enrolment_server::EnrolmentServer;
use proto::v1::inventories_server::InventoriesServer;
use proto::v1::ledger_server::LedgerServer;
use refusal::Refused;
pub use refusing::{REFUSAL_PAUSE_MAX, REFUSAL_PAUSE_MIN, REFUSED_PER_SECOND, Refusing};
pub use snapshot::{SNAPSHOTS_MAX, SNAPSHOTS_PER_ADDRESS_MAX, Snapshots};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Code;
use tonic::service::InterceptorLayer;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use unread::Bounded;
pub use unread::{
    ANSWERS_BYTES_MAX, ANSWERS_PER_ADDRESS_BYTES_MAX, ARTIFACT_PIECE_BYTES, HEAD_BYTES, OWN_ANSWERS_BYTES_MAX,
    OWN_ANSWERS_PER_ADDRESS_BYTES_MAX, PIECE_BYTES, ROOM_PATIENCE, SHORT_ANSWER_BYTES, SHORT_ANSWERS_BYTES_MAX,
    SHORT_ANSWERS_PER_ADDRESS_BYTES_MAX, Unread,
};

/// Requests one connection may have under way.
const REQUESTS_PER_CONNECTION_MAX: usize = 256;
/// Streams one connection may have open.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Bytes that one connection may have sent and that nobody has read, of one request or of all. Every connection
/// may have so much; and a far line needs it for an upload, whose pace is this in one way there and back.
pub const UNREAD_BYTES_MAX: u32 = 256 * 1024;
/// Bytes of request headers.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// A client that says nothing is asked whether it is there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long a client's TLS greeting may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that does not answer is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What the services stand on.
#[derive(Clone)]
pub struct Services {
    /// The chain, for reading.
    pub store: Arc<Store>,
    /// Artifacts.
    pub artifacts: Arc<Artifacts>,
    /// Who waits for what.
    pub desk: Arc<Desk>,
    /// Peers, for the status page.
    pub network: Network,
    /// To the core.
    pub events: Inbox,
    /// The ledger.
    pub chain_id: ChainId,
    /// What people call it.
    pub ledger_name: Name,
    /// The member this node belongs to.
    pub organisation: Name,
    /// This node's key.
    pub node_key: PublicKey,
    /// Its validating key.
    pub validator_key: Option<PublicKey>,
    /// Checks signatures.
    pub verifier: Verifier,
    /// How fast is refused.
    pub refusing: Refusing,
    /// Who is connected.
    pub connections: Connections,
    /// What requests take of the memory.
    pub intake: Intake,
    /// What answers take of the memory.
    pub unread: Unread,
    /// What addresses download.
    pub downloads: Downloads,
    /// Who follows the newest head.
    pub followers: Followers,
    /// Who reads a snapshot.
    pub snapshots: Snapshots,
    /// Who lets invited hosts in.
    pub porter: Porter,
    /// What hosts say is on them.
    pub inventories: Arc<Inventories>,
}

/// How many downloads each address has under way.
#[derive(Clone)]
pub struct Downloads(Arc<Shares>);

impl Default for Downloads {
    fn default() -> Self {
        Self(Shares::of_all(TRANSFERS_MAX, artifacts::DOWNLOADS_PER_ADDRESS_MAX))
    }
}

/// Why clients cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The address cannot be listened on.
    #[error("cannot listen for clients on {address}: {detail}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What was said.
        detail: String,
    },
    /// Certificate, reflection, transport.
    #[error("cannot serve clients: {0}")]
    Serve(String),
}

/// Serves clients until `stop` changes, then lets requests under way finish.
///
/// # Errors
/// [`GrpcError`].
pub async fn serve(
    services: Services,
    address: SocketAddr,
    identity: Identity,
    mut stop: watch::Receiver<bool>,
) -> Result<impl Future<Output = Result<(), GrpcError>>, GrpcError> {
    let failed = |error: &dyn std::error::Error| GrpcError::Serve(error.to_string());
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<LedgerServer<Services>>().await;
    health.set_serving::<ArtifactsServer<Services>>().await;
    health.set_serving::<EnrolmentServer<Services>>().await;
    health.set_serving::<InventoriesServer<Services>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let reflection_v1 = reflection.build_v1().map_err(|error| failed(&error))?;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let reflection_alpha = reflection.build_v1alpha().map_err(|error| failed(&error))?;

    let (intake, unread) = (services.intake.clone(), services.unread.clone());
    let connections = services.connections.clone();
    let ledger = LedgerServer::new(services.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    let enrolment = EnrolmentServer::new(services.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    let inventories = InventoriesServer::new(services.clone())
        .max_decoding_message_size(REPORT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    let artifacts = ArtifactsServer::new(services)
        .max_decoding_message_size(UPLOAD_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| GrpcError::Listen { address, detail: error.to_string() })?;
    let router = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity).timeout(GREETING_TIMEOUT))
        .map_err(|error| failed(&error))?
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION_MAX)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_connection_window_size(UNREAD_BYTES_MAX)
        .initial_stream_window_size(UNREAD_BYTES_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(InterceptorLayer::new(connections::note_request))
        .layer(tower_layer::layer_fn(move |services| Counted::new(services, intake.clone())))
        .layer(tower_layer::layer_fn(move |services| Bounded::new(services, unread.clone())))
        .add_service(health_service)
        .add_service(reflection_v1)
        .add_service(reflection_alpha)
        .add_service(ledger)
        .add_service(artifacts)
        .add_service(enrolment)
        .add_service(inventories);
    tracing::info!(%address, "serving clients");
    Ok(async move {
        let stopped = async move {
            // An error means that the sender is gone, and with it the node.
            let _ = stop.changed().await;
        };
        let served = router.serve_with_incoming_shutdown(connections::incoming(listener, connections), stopped).await;
        served.map_err(|error| GrpcError::Serve(error.to_string()))
    })
}

impl Services {
    /// Whether a key is an active one of this organisation, with one of these roles; what it does is said of it.
    fn check_member(&self, key: PublicKey, roles: &[Role], does: &str, hint: &str) -> Result<(), Refused> {
        let denied = |check, message: String| Err(Refused::new(Code::PermissionDenied, check, message, hint));
        let owner = self.store.key_owner(key).map_err(Refused::internal)?;
        match owner {
            None => denied("unknown-key", format!("key {key}, which {does}, is no member's")),
            Some(owner) if !roles.contains(&owner.role) => {
                let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
                let message = format!("key {key}, which {does}, has role {}, not {}", owner.role, roles.join(" or "));
                denied("wrong-role", message)
            }
            Some(owner) if owner.status != KeyStatus::Active => {
                denied("key-not-active", format!("key {key}, which {does}, is not active any more"))
            }
            Some(owner) if owner.organisation != self.organisation => {
                let (theirs, ours) = (owner.organisation, &self.organisation);
                denied("organisation", format!("key {key}, which {does}, is of {theirs}, and this is a node of {ours}"))
            }
            Some(_) => Ok(()),
        }
    }
}

/// A field that must be 32 bytes.
fn bytes32(field: &str, bytes: &[u8]) -> Result<[u8; 32], Refused> {
    bytes.try_into().map_err(|_| Refused::invalid("malformed", format!("{field}: {} bytes, must be 32", bytes.len())))
}

/// The wall clock in milliseconds.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
