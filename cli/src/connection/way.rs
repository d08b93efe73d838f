//! The way to a node: TLS to a certificate that is known; plain only within this machine. When it leads nowhere,
//! why.

use super::error::NodeError;
use super::{CONNECT_TIMEOUT, KEEP_ALIVE};
use crate::files;
use rustls::CertificateError;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use terminal::escape;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

/// Largest file of root certificates.
const CA_BYTES_MAX: usize = 1024 * 1024;

/// An address and how it is to be believed.
pub(super) struct Way {
    pub(super) endpoint: Endpoint,
    url: String,
    /// The roots; absent without TLS.
    ca: Option<PathBuf>,
}

impl Way {
    /// The way to an address.
    pub(super) fn new(url: &str, ca: Option<&PathBuf>) -> Result<Self, NodeError> {
        let bad = |detail: &str| NodeError::BadAddress { url: url.to_owned(), detail: escape(detail) };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| bad("not a URL"))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let (endpoint, ca) = match endpoint.uri().scheme_str() {
            Some("https") => {
                let ca = ca.ok_or_else(|| NodeError::NoCa { url: url.to_owned() })?;
                (with_roots(endpoint, url, ca)?, Some(ca.clone()))
            }
            Some("http") if is_here => (endpoint, None),
            Some("http") => return Err(bad("plain http is for this machine itself only")),
            _ => return Err(bad("neither https nor http")),
        };
        Ok(Self { endpoint, url: url.to_owned(), ca })
    }

    /// Why a connection could not be made.
    pub(super) fn refused(&self, source: tonic::transport::Error) -> NodeError {
        let url = self.url.clone();
        match (tls_error(&source), &self.ca) {
            (Some(rustls::Error::InvalidCertificate(error)), Some(ca)) => match error {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    NodeError::OtherRoots { url, ca: ca.clone() }
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    NodeError::OtherName { url, source }
                }
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => NodeError::OtherTime { url, source },
                _ => NodeError::Unreachable { url, source },
            },
            (Some(rustls::Error::InvalidMessage(_)), _) => NodeError::NotTls { url },
            _ => NodeError::Unreachable { url, source },
        }
    }

    /// Why a first call failed: a node that wants TLS hangs up on whoever speaks without.
    pub(super) async fn failed(&self, error: NodeError) -> NodeError {
        match (&error, &self.ca) {
            (NodeError::Failed { .. }, None) if wants_tls(&self.url).await => {
                NodeError::OnlyTls { url: self.url.clone() }
            }
            _ => error,
        }
    }
}

fn with_roots(endpoint: Endpoint, url: &str, ca: &Path) -> Result<Endpoint, NodeError> {
    let pem = files::read(ca, "root certificates", CA_BYTES_MAX)?;
    if !proto::are_certificates(&pem) {
        return Err(NodeError::NoCertificate { ca: ca.to_owned() });
    }
    proto::install_tls_provider();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    endpoint.tls_config(tls).map_err(|source| NodeError::Unreachable { url: url.to_owned(), source })
}

/// Greets with TLS and no roots at all: who answers with a certificate speaks it.
async fn wants_tls(url: &str) -> bool {
    proto::install_tls_provider();
    let url = url.replacen("http://", "https://", 1);
    let endpoint = Endpoint::from_shared(url).ok().map(|endpoint| endpoint.connect_timeout(CONNECT_TIMEOUT));
    let Some(Ok(endpoint)) = endpoint.map(|endpoint| endpoint.tls_config(ClientTlsConfig::new())) else { return false };
    let Err(error) = endpoint.connect().await else { return false };
    matches!(tls_error(&error), Some(rustls::Error::InvalidCertificate(_)))
}

/// What TLS said, somewhere among the causes.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An I/O error hides what it was made of from `source`.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let said = error.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref()));
        if said.is_some() {
            return said;
        }
        cause = error.source();
    }
    None
}
