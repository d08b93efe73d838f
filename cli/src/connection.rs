//! The way to a node, and what its refusals mean. What a node says is believed only as far as it can be
//! checked.

mod error;
mod way;

pub use error::NodeError;

use crate::failure::Failure;
use crate::options::Global;
use crate::trust::Trust;
use ledger::bounded::Name;
use ledger::id::{ChainId, PatchId};
use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::inventories_client::InventoriesClient;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetStatusRequest, GetStatusResponse, ListPatchesRequest, Patch};
use std::time::Duration;
use tonic::transport::Channel;
use way::Way;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one call to the ledger service may take; longer than any wait it is asked for.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a silent peer is asked whether it is there, and how long it has to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Shortest patch prefix a node is asked about.
const PREFIX_DIGITS_MIN: usize = 4;

/// A node that answers, of the ledger that is trusted.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its ledger service.
    pub ledger: LedgerClient<Channel>,
    /// Its service of inventories.
    pub inventories: InventoriesClient<Channel>,
    /// Its artifact service.
    pub artifacts: ArtifactsClient<Channel>,
    /// What it said of itself when the connection was made.
    pub status: GetStatusResponse,
    /// The chain: the trust root's when there is one, the node's word otherwise.
    pub chain_id: ChainId,
}

impl Connection {
    /// Connects to the node given, and makes sure that it is of the ledger trusted.
    ///
    /// # Errors
    /// [`Failure::Node`].
    pub async fn open(global: &Global, trust: Option<&Trust>) -> Result<Self, Failure> {
        let way = Way::new(global.node()?, global.ca.as_ref())?;
        let channel = way.endpoint.clone().timeout(CALL_TIMEOUT).connect().await;
        let channel = channel.map_err(|error| way.refused(error))?;
        let inventories = InventoriesClient::new(channel.clone()).max_decoding_message_size(proto::MESSAGE_BYTES_MAX);
        let mut ledger = LedgerClient::new(channel)
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
        // A large artifact takes as long as it takes; keep-alive notices a dead peer.
        let artifacts = ArtifactsClient::new(way.endpoint.connect_lazy());
        let status = match ledger.get_status(GetStatusRequest {}).await {
            Ok(status) => status.into_inner(),
            Err(status) => return Err(way.failed(NodeError::from(status)).await.into()),
        };
        let claimed = ChainId(id(&status.chain_id, "chain id")?);
        match trust.map(Trust::chain_id) {
            Some(expected) if expected != claimed => {
                Err(NodeError::WrongChain { actual: claimed.to_string(), expected }.into())
            }
            _ => Ok(Self { ledger, inventories, artifacts, status, chain_id: claimed }),
        }
    }

    /// The one patch whose id is this, or begins so.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn resolve_patch(&mut self, text: &str) -> Result<PatchId, NodeError> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let request = ListPatchesRequest { id_prefix: text.to_owned(), page_size: 5, ..Default::default() };
        let found = self.ledger.list_patches(request).await?.into_inner().patches;
        let ids = found.iter().map(|patch| id(&patch.id, "patch id").map(PatchId)).collect::<Result<Vec<_>, _>>()?;
        only("patch", "patches", text, &ids)
    }

    /// What the node says of a patch.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn patch(&mut self, patch: PatchId) -> Result<Patch, NodeError> {
        let request = proto::v1::GetPatchRequest { id: patch.as_bytes().to_vec() };
        let answer = self.ledger.get_patch(request).await?.into_inner();
        if answer.id != patch.as_bytes() {
            return Err(NodeError::Unbelievable(format!("asked for patch {patch}, it speaks of another")));
        }
        Ok(answer)
    }
}

/// The one id that begins with what was typed.
pub(crate) fn only<T: Copy + ToString>(
    one: &'static str,
    many: &'static str,
    prefix: &str,
    ids: &[T],
) -> Result<T, NodeError> {
    let prefix = prefix.to_owned();
    let matching: Vec<&T> = ids.iter().filter(|id| id.to_string().starts_with(&prefix)).collect();
    match matching.as_slice() {
        [] => Err(NodeError::NoneBeginsWith { what: one, prefix }),
        [id] => Ok(**id),
        several => {
            let among = several.iter().take(5).map(|id| crate::tables::short(*id)).collect();
            Err(NodeError::SeveralBeginWith { what: many, prefix, among })
        }
    }
}

/// What a person typed for an id: hexadecimal digits, all 64 or enough to tell it from others.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_prefix(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits || text.len() > 64 || text.len() < PREFIX_DIGITS_MIN {
        return Err(format!("expected {PREFIX_DIGITS_MIN} to 64 hexadecimal digits"));
    }
    Ok(text.to_ascii_lowercase())
}

/// What a person typed for an endpoint: digits of its key, as [`parse_prefix`] takes them, or its name.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_endpoint(text: &str) -> Result<String, String> {
    parse_prefix(text).or_else(|wrong| match Name::new(text) {
        Ok(name) => Ok(name.to_string()),
        Err(_) => Err(format!("{wrong}, or a name")),
    })
}

/// Thirty-two bytes from a node.
pub(crate) fn id(bytes: &[u8], what: &str) -> Result<[u8; 32], NodeError> {
    bytes.try_into().map_err(|_| NodeError::Unbelievable(format!("a {what} of {} bytes", bytes.len())))
}
