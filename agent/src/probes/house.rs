//! What a house asks of its own hosts: web servers, units, disks and memory. Every attempt has an end
//! in time and in bytes.

use super::{Prober, connect_to};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use policy::health::{HouseProbe, Observation};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::Uri;

/// Bytes of a web server's answer kept.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest head of its answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Largest `/proc/meminfo`.
const MEMINFO_BYTES_MAX: usize = 64 * 1024;

impl Prober {
    /// Makes one attempt.
    pub(super) async fn observe_house(&self, probe: &HouseProbe, tree: &Path, patience: Duration) -> Observation {
        let parameters = self.parameters.with_tree(&tree.to_string_lossy());
        let expand = |text: &str| parameters.expand(text).map_err(|unknown| unknown.to_string());
        let observation = match probe {
            HouseProbe::Command { arguments, .. } => {
                match arguments.iter().map(|argument| expand(argument)).collect::<Result<Vec<_>, _>>() {
                    Ok(words) => return self.run(&words, tree, patience).await,
                    Err(unknown) => Err(unknown),
                }
            }
            HouseProbe::Tcp { port } => match expand(port) {
                Ok(port) => return connect_to(&port, patience).await,
                Err(unknown) => Err(unknown),
            },
            HouseProbe::Http { url, .. } => match expand(url) {
                Ok(url) => return timeout(patience, get(&url)).await.unwrap_or(Observation::TimedOut),
                Err(unknown) => Err(unknown),
            },
            HouseProbe::Unit { unit } => return self.unit(unit, patience).await,
            HouseProbe::PackageVersion { package, .. } => return self.package(package, tree, patience).await,
            HouseProbe::DiskFree { path, .. } => match expand(path) {
                Ok(path) => {
                    let about = format!("disk {path}");
                    let look = move || disk_free(&path).map(|bytes| Observation::Free { bytes });
                    return self.looks.look(&about, patience, look).await;
                }
                Err(unknown) => Err(unknown),
            },
            HouseProbe::MemoryFree { .. } => memory_free().map(|bytes| Observation::Free { bytes }),
        };
        observation.unwrap_or_else(Observation::Impossible)
    }

    /// What the service manager says of a unit. Its exit status says less than its word.
    async fn unit(&self, unit: &str, patience: Duration) -> Observation {
        let words = [&self.health.systemctl, "is-active", "--", unit].map(str::to_owned);
        match self.run(&words, Path::new("/"), patience).await {
            Observation::Exited { output, truncated: false, status: Some(status) } => {
                let state = String::from_utf8_lossy(&output).trim().to_owned();
                match state.is_empty() {
                    true => Observation::Impossible(format!("{} says nothing, exit status {status}", words[0])),
                    false => Observation::Unit(state),
                }
            }
            Observation::Exited { .. } => Observation::Impossible(format!("{} ended by a signal", words[0])),
            other => other,
        }
    }
}

/// The loopback address and port of a URL; nothing else is ever asked.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn loopback(url: &str) -> Result<(Uri, SocketAddr), String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
    let host = uri.host().unwrap_or_default();
    let address = match host {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        host => host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>(),
    };
    match address {
        Ok(address) if address.is_loopback() && uri.scheme_str() == Some("http") => {
            let port = uri.port_u16().unwrap_or(80);
            Ok((uri, SocketAddr::new(address, port)))
        }
        _ => Err(format!("{url:?}: only http:// and a loopback address (127.0.0.1, [::1], localhost) are asked")),
    }
}

/// Asks a web server once; no redirect is followed.
async fn get(url: &str) -> Observation {
    let (uri, address) = match loopback(url) {
        Ok(found) => found,
        Err(problem) => return Observation::Impossible(problem),
    };
    exchange(&uri, address).await.unwrap_or_else(|why| Observation::Impossible(format!("{address}: {why}")))
}

async fn exchange(uri: &Uri, address: SocketAddr) -> Result<Observation, String> {
    let stream = tokio::net::TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let opened = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| error.to_string())?;
    let host = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = hyper::Request::get(path).header("host", host).header("connection", "close");
    let request = request.body(Empty::<hyper::body::Bytes>::new()).map_err(|error| error.to_string())?;
    let ask = async {
        let mut answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (status, mut body) = (answer.status().as_u16(), Vec::new());
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let room = BODY_BYTES_MAX - body.len();
            let bytes = frame.data_ref().map(|bytes| &bytes[..bytes.len().min(room)]).unwrap_or_default();
            body.extend_from_slice(bytes);
            if body.len() >= BODY_BYTES_MAX {
                break; // What answers without end has answered.
            }
        }
        Ok(Observation::Answered { status, body })
    };
    let mut ask = std::pin::pin!(ask);
    // The connection does the work; it may end before the last of the answer was taken from it.
    tokio::select! {
        answered = &mut ask => answered,
        ended = connection => match ended {
            Ok(()) => ask.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

pub(crate) fn disk_free(path: &str) -> Result<u64, String> {
    let stat = rustix::fs::statvfs(path).map_err(|error| format!("{path}: {error}"))?;
    // What a service may use, and not what is kept for root.
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What the kernel thinks can be given out without swapping.
pub(crate) fn memory_free() -> Result<u64, String> {
    let path = Path::new("/proc/meminfo");
    let text = crate::files::read(path, MEMINFO_BYTES_MAX).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib.saturating_mul(1024)).ok_or_else(|| "/proc/meminfo says nothing of it".to_owned())
}
