//! `countersign-node init`: a directory with keys, certificates and a commented configuration.

use crate::artifacts::ArtifactLimits;
use crate::inventories::InventoryLimits;
use keyring::{KeyFile, KeyFileError, KeyRole, Secret, SecretPlace};
use ledger::bounded::Name;
use ledger::key::PublicKey;
use libp2p::Multiaddr;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What a new node is to be.
pub struct NewNode {
    /// Its directory; must not exist, or be empty.
    pub directory: PathBuf,
    /// The member it belongs to.
    pub organisation: Name,
    /// Whether it gets a validating key.
    pub validator: bool,
    /// Where peers find it.
    pub listen: Vec<Multiaddr>,
    /// Where clients are served.
    pub grpc: SocketAddr,
    /// Names and addresses clients will call it by.
    pub hosts: Vec<String>,
    /// What its keys are sealed with, if they are.
    pub seal: Option<Sealing>,
}

/// What seals the keys of a new node.
pub struct Sealing {
    /// A machine's secret.
    pub secret: Secret,
    /// Where the node finds it again.
    pub place: SecretPlace,
}

/// The public halves of what was made.
pub struct MadeNode {
    /// Node key.
    pub node: PublicKey,
    /// Validating key.
    pub validator: Option<PublicKey>,
}

/// Why a directory was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is something already.
    #[error("{} is not empty; if that is left of an `init` that was interrupted, remove it", .0.display())]
    NotEmpty(PathBuf),
    /// The operating system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// No certificate.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Makes the directory: all of it, or nothing.
///
/// # Errors
/// [`InitError`]; what was made is taken away again, so that it can be tried once more.
pub fn init(new: &NewNode) -> Result<MadeNode, InitError> {
    let directory = &new.directory;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| InitError::Io { path, source }
    };
    let is_new = match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => false,
        Ok(false) => return Err(InitError::NotEmpty(directory.clone())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        // What is in it cannot be told: it may be a node.
        Err(source) => return Err(io(directory)(source)),
    };
    let mut made = Made { directory, paths: Vec::new(), is_whole: false };
    if is_new {
        fs::create_dir_all(directory).map_err(io(directory))?;
        made.paths.push(directory.clone());
    }
    let data = made.path("data");
    fs::create_dir(&data).map_err(io(&data))?;
    made.paths.push(data);

    let node = new_key(&mut made, "node.key", KeyRole::Node, new)?;
    let validator = match new.validator {
        true => Some(new_key(&mut made, "validator.key", KeyRole::Validator, new)?),
        false => None,
    };
    let tls = certificates(&new.organisation, &new.hosts)?;
    made.file("ca.pem", tls.authority.as_bytes(), 0o644)?;
    made.file("tls.pem", tls.certificate.as_bytes(), 0o644)?;
    made.file("tls.key", tls.private_key.as_bytes(), 0o600)?;
    made.file("node.toml", configuration(new).as_bytes(), 0o644)?;
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(io(directory))?;
    made.is_whole = true;
    Ok(MadeNode { node, validator })
}

/// What this call made of a directory that had nothing in it. Unless it became whole, that is taken away again, and
/// nothing that somebody else made meanwhile: half of it could neither be run nor be made anew.
struct Made<'a> {
    directory: &'a Path,
    /// In the order in which they were made.
    paths: Vec<PathBuf>,
    is_whole: bool,
}

impl Made<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes a file that nobody has made.
    fn file(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<(), InitError> {
        let path = self.path(name);
        let failed = |source| InitError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).map_err(failed)?;
        self.paths.push(path.clone());
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        for path in self.paths.iter().rev() {
            // What cannot be taken away is named when it is in the way. A directory goes only if nobody put anything
            // into it.
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

fn new_key(made: &mut Made<'_>, name: &str, role: KeyRole, new: &NewNode) -> Result<PublicKey, InitError> {
    let key = KeyFile::generate(role, Some(new.organisation.clone()))?;
    let text = key.text(&made.path(name), new.seal.as_ref().map(|seal| &seal.secret))?;
    made.file(name, text.as_bytes(), 0o600)?;
    Ok(key.public.public_key)
}

struct Tls {
    authority: String,
    certificate: String,
    private_key: String,
}

/// A certificate for the hosts, signed by an authority whose key is forgotten at once: it can never
/// sign anything else, and clients trust exactly this node by holding `ca.pem`.
fn certificates(organisation: &Name, hosts: &[String]) -> Result<Tls, InitError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, format!("Countersign node of {organisation}: authority"));
    let authority_key = KeyPair::generate()?;
    let authority = params.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(params, authority_key);

    let mut params = CertificateParams::new(hosts.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, format!("Countersign node of {organisation}"));
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    Ok(Tls { authority, certificate, private_key: key.serialize_pem() })
}

fn configuration(new: &NewNode) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let listen: Vec<String> = new.listen.iter().map(|address| quoted(&address.to_string())).collect();
    let validator = match new.validator {
        true => {
            "# Signs consensus messages. Never run two nodes with one validating key.\nvalidator_key = \"validator.key\"\n"
        }
        false => "# validator_key = \"validator.key\"   # only for a node that votes\n",
    };
    let unseal = match new.seal.as_ref().map(|seal| &seal.place) {
        Some(SecretPlace::Credential(name)) => format!("unseal = {{ credential = {} }}", quoted(&name.to_string())),
        Some(SecretPlace::File(path)) => format!("unseal = {{ file = {} }}", quoted(&path.to_string_lossy())),
        None => "# unseal = { credential = \"countersign-unseal\" }".to_owned(),
    };
    let (limits, inventories) = (ArtifactLimits::default(), InventoryLimits::default());
    format!(
        "# A Countersign node. Relative paths are relative to this file. Unknown fields are errors.\n\
         # `countersign-node run --print-config` shows every value in force.\n\
         \n\
         # The member this node belongs to.\n\
         organisation = {organisation}\n\
         # Trust root: copy the ledger's genesis file here.\n\
         genesis = \"genesis.trust\"\n\
         # Chain, vote journal and artifacts.\n\
         data_dir = \"data\"\n\
         # Key this node is known by to its peers.\n\
         node_key = \"node.key\"\n\
         {validator}\
         # Where the secret is that opens these keys, if they are sealed (`countersign key seal`): a credential of systemd,\n\
         # or a file that only this node's user can read.\n\
         {unseal}\n\
         \n\
         [network]\n\
         # libp2p multiaddresses: TCP, or QUIC as /ip4/…/udp/…/quic-v1.\n\
         listen = [{listen}]\n\
         # One block per peer to stay connected with:\n\
         # [[network.peers]]\n\
         # key = \"64 hexadecimal digits: its node key\"\n\
         # address = \"/ip4/192.0.2.1/tcp/7000\"\n\
         \n\
         [grpc]\n\
         # Clients: gRPC over TLS. They trust this node by its ca.pem.\n\
         listen = {grpc}\n\
         certificate = \"tls.pem\"\n\
         private_key = \"tls.key\"\n\
         # The more ask for the newest head, the longer they are told to wait before they ask again; no longer than this.\n\
         # ask_again_ms_max = {ask_again}\n\
         \n\
         # Patches' files, in data_dir. Bytes; these figures are those in force without this section. Of the disk a\n\
         # sixteenth is left free for the chain, and no more than left_free_bytes_max.\n\
         # [artifacts]\n\
         # bytes_max = {artifacts}\n\
         # per_organisation_bytes_max = {artifacts_of_one}\n\
         # left_free_bytes_max = {left_free}\n\
         \n\
         # What this organisation's hosts say is on them, in data_dir. Bytes, and how many of each host are kept.\n\
         # [inventories]\n\
         # bytes_max = {inventories}\n\
         # per_endpoint_bytes_max = {inventories_of_one}\n\
         # history_max = {history}\n\
         \n\
         # Receipts older than so many days are forgotten, 30 at least; without this section all are kept. Everything else is\n\
         # kept in any case, and what hosts did last.\n\
         # [chain]\n\
         # receipts_days = 400\n\
         \n\
         # Hosts that an operator has invited (`countersign endpoint invite`) are enrolled by this node, in the name of this\n\
         # operator's key and of this organisation. Without this section nobody is.\n\
         # [enrolment]\n\
         # operator_key = \"operator.key\"\n",
        artifacts = limits.bytes_max,
        artifacts_of_one = limits.per_organisation_bytes_max,
        left_free = limits.left_free_bytes_max,
        ask_again = crate::grpc::ASK_AGAIN_MS_MAX,
        inventories = inventories.bytes_max,
        inventories_of_one = inventories.per_endpoint_bytes_max,
        history = inventories.history_max,
        organisation = quoted(new.organisation.as_str()),
        listen = listen.join(", "),
        grpc = quoted(&new.grpc.to_string()),
    )
}
