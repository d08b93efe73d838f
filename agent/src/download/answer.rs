//! What a web server's answer is taken for: how little of its head is believed, and where it may send an agent on.

use crate::config::MirrorAddress;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{StatusCode, Uri};
use std::time::Duration;

/// How long the head of an answer may take.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a mirror may send an agent on, for one artifact.
pub(super) const REDIRECTS_MAX: usize = 4;
/// Longest address it may send it on to.
const LOCATION_BYTES_MAX: usize = 4 * 1024;
/// The port of a server where its address names none …
const HTTP_PORT: u16 = 80;
/// … and with TLS.
const HTTPS_PORT: u16 = 443;

/// Why a mirror does not give what it was asked for. What stands before the colon is a stable word.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// It has not got it.
    #[error("absent: answered {0}")]
    Absent(StatusCode),
    /// It answers something else.
    #[error("status: answered {0}")]
    Status(StatusCode),
    /// Nobody is there, or it is not who it should be.
    #[error("connection: {0}")]
    Connection(String),
    /// No head of an answer in time.
    #[error("timeout: no answer within {} s", HEAD_TIMEOUT.as_secs())]
    Silent,
    /// The head is no head, or too large.
    #[error("head: {0}")]
    Head(String),
    /// It sends the agent on and on.
    #[error("redirects: more than {REDIRECTS_MAX}")]
    Redirects,
    /// It sends the agent where it must not go.
    #[error("redirect: {0}")]
    Redirect(String),
    /// Another part than was asked for.
    #[error("range: {0}")]
    Range(String),
    /// A file of another length.
    #[error("length: it has {actual} bytes")]
    Length {
        /// What it says.
        actual: u64,
    },
    /// It is compressed, which was not asked for.
    #[error("encoding: {0}")]
    Encoding(String),
    /// The body broke off.
    #[error("broken: {0}")]
    Broken(String),
}

/// How much of a body stands before what was asked for: a part of a file of a known size, from an offset on.
///
/// # Errors
/// [`MirrorError`] when it is not what was asked for.
pub fn judge(status: StatusCode, headers: &HeaderMap, size: u64, offset: u64) -> Result<u64, MirrorError> {
    if let Some(encoding) = text(headers, &header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(MirrorError::Encoding(encoding.chars().take(40).flat_map(char::escape_debug).collect()));
    }
    match status {
        StatusCode::OK => match text(headers, &header::CONTENT_LENGTH).map(str::parse::<u64>) {
            Some(Ok(actual)) if actual != size => Err(MirrorError::Length { actual }),
            _ => Ok(offset),
        },
        StatusCode::PARTIAL_CONTENT => {
            let range = text(headers, &header::CONTENT_RANGE).unwrap_or_default();
            let wrong = || {
                MirrorError::Range(format!("{:?} where {offset} is due", range.chars().take(80).collect::<String>()))
            };
            let (part, total) = range.strip_prefix("bytes ").and_then(|it| it.split_once('/')).ok_or_else(wrong)?;
            if let Ok(actual) = total.parse::<u64>()
                && actual != size
            {
                return Err(MirrorError::Length { actual });
            }
            match part.split_once('-').and_then(|(from, _)| from.parse::<u64>().ok()) {
                Some(from) if from == offset => Ok(0),
                _ => Err(wrong()),
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => Err(MirrorError::Range("it has no such range".to_owned())),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(MirrorError::Absent(status)),
        _ => Err(MirrorError::Status(status)),
    }
}

/// Where it sends the agent: to itself, or to a host it was given leave to; and never from TLS to none.
///
/// # Errors
/// [`MirrorError::Redirect`].
pub fn sent_on(mirror: &MirrorAddress, from: &Uri, headers: &HeaderMap) -> Result<Uri, MirrorError> {
    let wrong = |why: String| MirrorError::Redirect(why);
    let location = text(headers, &header::LOCATION).ok_or_else(|| wrong("it says not where to".to_owned()))?;
    if location.len() > LOCATION_BYTES_MAX {
        return Err(wrong(format!("more than {LOCATION_BYTES_MAX} bytes of address")));
    }
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let to = match location.starts_with('/') && !location.starts_with("//") {
        true => parse(&format!("{}://{authority}{location}", from.scheme_str().unwrap_or_default()))?,
        false => parse(location)?,
    };
    match (from.scheme_str(), to.scheme_str()) {
        (Some("https"), Some("https")) | (Some("http"), Some("http" | "https")) => {}
        _ => return Err(wrong(format!("to {:?}", to.scheme_str().unwrap_or_default()))),
    }
    let host = to.host().unwrap_or_default().to_ascii_lowercase();
    let own = &mirror.url;
    // Another port is another server, but for TLS where there was none.
    let is_own_port = port(&to) == port(own) || (port(own), port(&to)) == (HTTP_PORT, HTTPS_PORT);
    let is_itself = is_own_port && host == own.host().unwrap_or_default().to_ascii_lowercase();
    if !is_itself && !mirror.redirects_to.contains(&host) {
        return Err(wrong(format!("to {host:?}, port {}, which redirects_to does not name", port(&to))));
    }
    Ok(to)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(super) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { HTTPS_PORT } else { HTTP_PORT })
}

pub(super) fn parse(address: &str) -> Result<Uri, MirrorError> {
    let uri = address.parse::<Uri>().ok().filter(|uri| uri.host().is_some() && uri.scheme().is_some());
    uri.ok_or_else(|| MirrorError::Redirect("to what is no address".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn what_a_server_says_of_its_encoding_is_no_more_than_words() {
        for (said, told) in [("gzip", "encoding: gzip"), ("a\tb", "encoding: a\\tb")] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(said));
            assert_eq!(judge(StatusCode::OK, &headers, 1, 0).unwrap_err().to_string(), told);
        }
    }
}
