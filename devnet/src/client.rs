//! Asking nodes, as any client would.

use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetStatusRequest, GetStatusResponse};
use std::path::Path;
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A node that does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The root certificates cannot be read.
    #[error("cannot read {0}: {1}")]
    Roots(String, std::io::Error),
    /// No connection.
    #[error("cannot reach {url}")]
    Connect {
        /// The node.
        url: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// It said no.
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
}

/// Connects to a node.
///
/// # Errors
/// [`ClientError`].
pub async fn connect(url: &str, ca: &Path) -> Result<LedgerClient<Channel>, ClientError> {
    Ok(LedgerClient::new(channel(url, ca).await?)
        .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(proto::MESSAGE_BYTES_MAX))
}

/// A connection to a node, for any of its services.
///
/// # Errors
/// [`ClientError`].
pub async fn channel(url: &str, ca: &Path) -> Result<Channel, ClientError> {
    proto::install_tls_provider();
    let pem = std::fs::read(ca).map_err(|error| ClientError::Roots(ca.display().to_string(), error))?;
    let failed = |source| ClientError::Connect { url: url.to_owned(), source };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(failed)?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    let endpoint = endpoint.tls_config(tls).map_err(failed)?.tcp_nodelay(true).timeout(CALL_TIMEOUT);
    endpoint.connect().await.map_err(failed)
}

/// Asks a node where it stands.
///
/// # Errors
/// [`ClientError`].
pub async fn status(url: &str, ca: &Path) -> Result<GetStatusResponse, ClientError> {
    let mut client = connect(url, ca).await?;
    let status = client.get_status(GetStatusRequest {}).await;
    status.map(tonic::Response::into_inner).map_err(|status| ClientError::Refused(Box::new(status)))
}
