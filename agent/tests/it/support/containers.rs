//! Container images, made without any tool of those who make them: OCI image layouts, honest ones and hostile ones.

use super::archive::Archive;
use super::bench::{Bench, Snapshot, snapshot};
use super::endpoint::{Endpoint, says};
use ledger::patch::{HealthCheck, InstallerKind};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Why containers cannot be run in a test here.
pub(crate) fn lacking() -> Result<(), String> {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    match ["crun", "unshare"].into_iter().find(|tool| !has(tool)) {
        Some(tool) => Err(format!("no {tool} here")),
        None if !super::disk::is_root() => Err("only root may run containers as the agent does".to_owned()),
        None => Ok(()),
    }
}

/// This machine, in the words of images.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image in the making.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) layers: Vec<Value>,
    pub(crate) diffs: Vec<String>,
    pub(crate) config: Value,
    pub(crate) architecture: String,
}

impl Image {
    pub(crate) fn new() -> Self {
        let config = json!({ "Entrypoint": ["/bin/serve"] });
        let architecture = architecture().to_owned();
        Self { blobs: BTreeMap::new(), layers: Vec::new(), diffs: Vec::new(), config, architecture }
    }

    /// Adds a blob; its descriptor.
    pub(crate) fn blob(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let (size, digest) = (bytes.len(), sha256(&bytes));
        self.blobs.insert(digest.clone(), bytes);
        json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size })
    }

    /// Adds a layer, compressed as its media type says: "", "+gzip", "+zstd".
    pub(crate) fn layer(mut self, compression: &str, archive: Vec<u8>) -> Self {
        self.diffs.push(format!("sha256:{}", sha256(&archive)));
        let bytes = match compression {
            "+gzip" => gzip(&archive),
            "+zstd" => zstd::encode_all(&archive[..], 1).unwrap(),
            _ => archive,
        };
        let descriptor = self.blob(&format!("{LAYER}{compression}"), bytes);
        self.layers.push(descriptor);
        self
    }

    pub(crate) fn config(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// Adds configuration and manifest; the manifest's descriptor.
    pub(crate) fn manifest(&mut self) -> Value {
        let configuration = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": self.diffs },
        });
        let kind = "application/vnd.oci.image.config.v1+json";
        let config = self.blob(kind, serde_json::to_vec(&configuration).unwrap());
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": self.layers });
        self.blob(MANIFEST, serde_json::to_vec(&manifest).unwrap())
    }

    /// The layout as an archive, with an index of these.
    pub(crate) fn layout(self, manifests: &[Value]) -> Vec<u8> {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let marker = json!({ "imageLayoutVersion": "1.0.0" });
        let archive = Archive::new().file("oci-layout", &marker.to_string()).file("index.json", &index.to_string());
        let archive = archive.directory("blobs/").directory("blobs/sha256/");
        let blob = |archive: Archive, (digest, bytes): (&String, &Vec<u8>)| {
            let name = format!("blobs/sha256/{digest}");
            archive.entry(tar::EntryType::Regular, name.as_bytes(), 0o644, b"", bytes)
        };
        self.blobs.iter().fold(archive, blob).bytes()
    }

    /// The archive of a layout that has this image and no other.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let manifest = self.manifest();
        self.layout(&[manifest])
    }
}

/// A layer with a shell: this machine's own, and what it is linked to.
pub(crate) fn shell() -> Vec<u8> {
    static SHELL: OnceLock<Vec<u8>> = OnceLock::new();
    SHELL.get_or_init(make_shell).clone()
}

fn make_shell() -> Vec<u8> {
    let programs = programs(&["/bin/sh", "/bin/cat", "/bin/sleep", "/bin/touch"]);
    let base = Archive::new().directory("etc/").file("etc/only-in-the-base", "hidden by the layer above\n");
    let mut bytes = base.bytes();
    // Where the one ends the other begins: what is between is how an archive ends.
    bytes.truncate(bytes.len() - 1024);
    [bytes, programs].concat()
}

/// A layer with programs of this machine, and what they are linked to.
pub(crate) fn programs(programs: &[&str]) -> Vec<u8> {
    let linked = Command::new("ldd").args(programs).output().expect("ldd is part of libc");
    let linked = String::from_utf8(linked.stdout).unwrap();
    let is_path = |word: &&str| word.starts_with('/') && !word.ends_with(':');
    let mut files: Vec<&str> = linked.split_whitespace().filter(is_path).chain(programs.iter().copied()).collect();
    files.sort_unstable();
    files.dedup();
    let file = |archive: Archive, path: &str| {
        let name = path.trim_start_matches('/').as_bytes();
        archive.entry(tar::EntryType::Regular, name, 0o755, b"", &fs::read(path).unwrap())
    };
    files.into_iter().fold(Archive::new(), file).bytes()
}

/// What every image of the product has that a layer brings above the shell.
pub(crate) fn product(version: &str) -> Archive {
    // A first process that does not ask for a signal does not get it.
    let serve = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do /bin/sleep 0.05; done\n";
    Archive::new()
        .program("bin/version", &format!("#!/bin/sh\necho {version}\n"))
        .program("bin/serve", serve)
        .link("bin/absolute", "/bin/version")
        .file("etc/.wh.only-in-the-base", "")
        .entry(tar::EntryType::Directory, b"share/", 0o1777, b"", b"")
        .file(&format!("share/only-in-{version}"), version)
}

/// An image of the product.
pub(crate) fn image(version: &str) -> Image {
    Image::new().layer("+gzip", shell()).layer("+zstd", product(version).bytes())
}

/// Hosts that run containers.
pub(crate) struct Images;

/// Enabled, and nothing more.
pub(crate) const ENABLED: &str = "[installers.containers]\nenabled = true\n";

impl Bench for Images {
    fn new() -> Result<Self, String> {
        lacking().map(|()| Self)
    }

    fn kind(&self) -> InstallerKind {
        InstallerKind::Container
    }

    fn config(&self) -> String {
        ENABLED.to_owned()
    }

    fn target(&self, endpoint: &Endpoint) -> PathBuf {
        endpoint.data().join("installs")
    }

    /// Of what an image is unpacked onto, 64 stay free.
    const MEGABYTES: usize = 192;

    fn artifacts(&self, release: u64) -> Vec<(String, Vec<u8>)> {
        vec![("image.tar".to_owned(), image(&format!("1.0.{release}")).bytes())]
    }

    fn probe(&self, release: u64) -> HealthCheck {
        says("/bin/version", &format!("1.0.{release}"))
    }

    fn snapshot(&self, endpoint: &Endpoint) -> Snapshot {
        endpoint.installed().map(|installed| snapshot(&installed.tree, &[])).unwrap_or_default()
    }
}
