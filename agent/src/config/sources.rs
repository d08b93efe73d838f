//! Where artifacts come from, beside the nodes; and what this host gives to others.

use super::{Wrong, wrong};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tonic::transport::Uri;

/// Sources of one agent, its nodes apart.
pub const SOURCES_MAX: usize = 16;
/// Hosts a mirror may send an agent on to.
const REDIRECT_HOSTS_MAX: usize = 16;
/// What the address of a mirror looks like.
const MIRROR_EXAMPLE: &str = "https://mirror.example/countersign";
/// Least room for a cache: one that is smaller holds nothing anybody patches with.
const CACHE_MB_MIN: u64 = 1;
/// Connections of others at one time, if nobody says otherwise.
const CACHE_CONNECTIONS_DEFAULT: usize = 32;
/// And at most.
const CACHE_CONNECTIONS_MAX: usize = 1024;
/// Room for a cache, if nobody says otherwise.
const CACHE_MB_DEFAULT: u64 = 4096;

/// A source of artifacts. What comes from it is believed by nobody: it is checked against what the vendor signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactSource {
    /// Which.
    pub place: SourcePlace,
    /// Slower than this is too slow; without, what `[download]` says.
    pub minimum_bytes_per_s: Option<u64>,
}

/// Where a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourcePlace {
    /// The nodes of `[ledger]`, in turn.
    Nodes,
    /// A web server.
    Mirror(Box<MirrorAddress>),
    /// A directory of this host.
    Directory(PathBuf),
}

/// A web server with artifacts by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorAddress {
    /// What stands before the path of every artifact.
    pub url: Uri,
    /// PEM file with the roots its certificate leads to; without, those of the system.
    pub ca: Option<PathBuf>,
    /// The proxy to it; without, none is used, whatever the environment says.
    pub proxy: Option<Uri>,
    /// Hosts beside its own to which it may send the agent on.
    pub redirects_to: Vec<String>,
}

/// How an agent serves what it has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Most bytes on the disk; the oldest go first.
    pub bytes_max: u64,
    /// Connections at one time.
    pub connections_max: usize,
}

/// `[[sources]]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    pub(super) kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) proxy: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) redirects_to: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) minimum_bytes_per_s: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Node,
    Mirror,
    Directory,
}

/// `[cache]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCache {
    pub(super) listen: SocketAddr,
    #[serde(default = "cache_mb_default")]
    pub(super) disk_mb: u64,
    #[serde(default = "cache_connections_default")]
    pub(super) connections_max: usize,
}

fn cache_mb_default() -> u64 {
    CACHE_MB_DEFAULT
}

fn cache_connections_default() -> usize {
    CACHE_CONNECTIONS_DEFAULT
}

/// The sources in the order in which they are asked. Nodes that are not named come last: they are everybody's.
pub(super) fn parse(raw: &mut [RawSource], base: &Path, has_nodes: bool) -> Result<Vec<ArtifactSource>, Wrong> {
    if raw.len() > SOURCES_MAX {
        return wrong("sources", format!("{} sources, {SOURCES_MAX} at most", raw.len()));
    }
    let mut sources = Vec::new();
    for (place, raw) in raw.iter_mut().enumerate() {
        let field = |part: &str| format!("sources[{place}].{part}");
        [raw.path.as_mut(), raw.ca.as_mut()].into_iter().flatten().for_each(|path| *path = base.join(&*path));
        let source = one(raw, &field, has_nodes)?;
        if sources.iter().any(|known: &ArtifactSource| known.place == source.place) {
            return wrong(format!("sources[{place}]"), "occurs twice");
        }
        sources.push(source);
    }
    if has_nodes && !sources.iter().any(|source| source.place == SourcePlace::Nodes) {
        sources.push(ArtifactSource { place: SourcePlace::Nodes, minimum_bytes_per_s: None });
    }
    Ok(sources)
}

fn one(raw: &RawSource, field: &dyn Fn(&str) -> String, has_nodes: bool) -> Result<ArtifactSource, Wrong> {
    if raw.minimum_bytes_per_s == Some(0) {
        return wrong(field("minimum_bytes_per_s"), "must be at least 1: a source may hang");
    }
    if raw.path.is_some() && raw.kind != Kind::Directory {
        return wrong(field("path"), "belongs to a directory");
    }
    let of_a_mirror = [
        ("url", raw.url.is_some()),
        ("ca", raw.ca.is_some()),
        ("proxy", raw.proxy.is_some()),
        ("redirects_to", !raw.redirects_to.is_empty()),
    ];
    if let Some((part, _)) = of_a_mirror.into_iter().find(|(_, is_set)| *is_set && raw.kind != Kind::Mirror) {
        return wrong(field(part), "belongs to a mirror");
    }
    let place = match raw.kind {
        Kind::Node if has_nodes => SourcePlace::Nodes,
        Kind::Node => return wrong(field("kind"), "there are no nodes: ledger.nodes names them"),
        Kind::Directory => match &raw.path {
            Some(path) => SourcePlace::Directory(path.clone()),
            None => return wrong(field("path"), "missing: the directory"),
        },
        Kind::Mirror => {
            let Some(url) = &raw.url else { return wrong(field("url"), format!("missing: as in {MIRROR_EXAMPLE}")) };
            let url = check_mirror(url).or_else(|problem| wrong(field("url"), problem))?;
            if raw.ca.is_some() && url.scheme_str() != Some("https") {
                return wrong(field("ca"), "belongs to https://");
            }
            let proxy = raw.proxy.as_deref().map(check_proxy).transpose();
            let proxy = proxy.or_else(|problem| wrong(field("proxy"), problem))?;
            if raw.redirects_to.len() > REDIRECT_HOSTS_MAX {
                let problem = format!("{} hosts, {REDIRECT_HOSTS_MAX} at most", raw.redirects_to.len());
                return wrong(field("redirects_to"), problem);
            }
            let redirects_to = raw.redirects_to.iter().map(|host| host.to_ascii_lowercase()).collect();
            SourcePlace::Mirror(Box::new(MirrorAddress { url, ca: raw.ca.clone(), proxy, redirects_to }))
        }
    };
    Ok(ArtifactSource { place, minimum_bytes_per_s: raw.minimum_bytes_per_s })
}

/// Whether this can be the address of a mirror.
///
/// # Errors
/// What is wrong with it, with an example.
pub fn check_mirror(url: &str) -> Result<Uri, String> {
    let no_address = || format!("{url:?} is no address of a mirror: one looks like {MIRROR_EXAMPLE}");
    let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| no_address())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    // A password would stand in logs; a question is none a mirror of files answers.
    let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) && uri.query().is_none();
    if is_web && has_host && is_plain { Ok(uri) } else { Err(no_address()) }
}

fn check_proxy(url: &str) -> Result<Uri, String> {
    match url.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.port_u16().is_some() => Ok(uri),
        _ => Err(format!("{url:?} is no proxy: one looks like http://proxy.example:3128")),
    }
}

/// The cache, if there is one.
pub(super) fn parse_cache(raw: Option<&RawCache>) -> Result<Option<Cache>, Wrong> {
    let Some(raw) = raw else { return Ok(None) };
    if raw.disk_mb < CACHE_MB_MIN {
        return wrong("cache.disk_mb", format!("must be at least {CACHE_MB_MIN}"));
    }
    if !(1..=CACHE_CONNECTIONS_MAX).contains(&raw.connections_max) {
        return wrong("cache.connections_max", format!("must be 1 to {CACHE_CONNECTIONS_MAX}"));
    }
    let bytes_max = raw.disk_mb.saturating_mul(1024 * 1024);
    Ok(Some(Cache { listen: raw.listen, bytes_max, connections_max: raw.connections_max }))
}
