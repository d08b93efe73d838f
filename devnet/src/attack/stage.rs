//! The stage: a ledger of its own, the people of its organisations, and what they publish.

use super::error::AttackError;
use super::files::{Files, files_of};
use super::forge::{self, Stolen};
use super::judge::Ending;
use super::relay::Relay;
use super::tool;
use crate::client;
use crate::layout::{Devnet, Node};
use crate::processes::ToolError;
use crate::raise::{self, Plan, SITE};
use ledger::artifact::PayloadHasher;
use ledger::encoding::encode;
use ledger::id::{ChainId, PatchId};
use ledger::patch::PatchManifest;
use ledger::proof::ProofBundle;
use proto::v1::{GetHeadRequest, GetProofRequest, Head};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Validators: two vendors, two approvers.
const VALIDATORS: usize = 4;
/// At least one block in this time.
const HEARTBEAT_MS: u64 = 500;
/// How long a block with transactions waits for the one that makes them provable.
const SEAL_MS: u64 = 50;
/// The line all releases are on.
pub(super) const CHANNEL: &str = "stable";
/// Lines of the text in every release: some groups of an artifact.
const LINES: u32 = 4_000;
/// How long anything observable is waited for: says only that it does not come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(30);

/// Asks until there is an answer.
pub(super) async fn wait_for<T>(
    what: &str,
    ask: impl AsyncFnMut() -> Result<Option<T>, AttackError>,
) -> Result<T, AttackError> {
    wait_closely(what, LOOK_INTERVAL, ask).await
}

/// The same, looking this often.
pub(super) async fn wait_closely<T>(
    what: &str,
    interval: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>, AttackError>,
) -> Result<T, AttackError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(AttackError::GaveUp(what.to_owned()));
        }
        tokio::time::sleep(interval).await;
    }
}

/// A proof file that a node gave.
pub(super) fn parsed(proof: &[u8]) -> Result<ProofBundle, AttackError> {
    ProofBundle::parse(proof).map_err(|error| AttackError::Stage(format!("a node's proof is none: {error}")))
}

/// The head of a node that knows nothing newer than a proof.
pub(super) fn head_of(proof: &ProofBundle) -> Head {
    Head {
        height: proof.header.height,
        hash: proof.header.hash().0.to_vec(),
        header: encode(&proof.header),
        certificate: encode(&proof.certificate),
        poll_after_ms: 0,
    }
}

/// A ledger to be attacked.
pub struct Stage {
    pub(super) devnet: Devnet,
    /// Where drills put what they make.
    work: PathBuf,
    /// Hosts made so far.
    pub(super) hosts: u32,
    /// What a drill draws or spreads, it plays so many times as often.
    pub(super) times: usize,
}

/// A patch, packed.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Its id, 64 hexadecimal digits.
    pub patch: String,
    /// What was packed, and where.
    directory: PathBuf,
}

impl Stage {
    /// Raises a ledger in a directory.
    pub(super) async fn raise(dir: &Path, work: &Path) -> Result<Self, AttackError> {
        let plan = Plan {
            dir: dir.to_owned(),
            validators: VALIDATORS,
            agents: 0,
            subscriptions: Vec::new(),
            heartbeat_ms: HEARTBEAT_MS,
            seal_ms: SEAL_MS,
            addresses: Vec::new(),
        };
        Self::over(raise::up(&plan, &mut |_| {}).await?, work)
    }

    /// Over a ledger that runs already.
    ///
    /// # Errors
    /// [`AttackError`] when there is no place for what drills make.
    pub fn over(devnet: Devnet, work: &Path) -> Result<Self, AttackError> {
        fs::create_dir_all(work).map_err(AttackError::io(format!("cannot make {}", work.display())))?;
        let work = work.canonicalize().map_err(AttackError::io("cannot resolve the directory"))?;
        Ok(Self { devnet, work, hosts: 0, times: 1 })
    }

    /// A place for something a drill makes.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Writes something a drill made.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, AttackError> {
        let path = self.place(name);
        fs::write(&path, bytes).map_err(AttackError::io(format!("cannot write {}", path.display())))?;
        Ok(path)
    }

    /// The ledger attacked.
    pub(super) fn chain(&self) -> Result<ChainId, AttackError> {
        let unlike = |_| AttackError::Stage(format!("{} is no chain id", self.devnet.chain_id));
        self.devnet.chain_id.parse().map_err(unlike)
    }

    /// The node where everybody signs: what one has published the next can approve at once.
    pub(super) fn site(&self) -> Result<&Node, AttackError> {
        self.devnet.node(SITE).ok_or_else(|| AttackError::Stage("there is no site".to_owned()))
    }

    fn as_somebody(&self, organisation: &str, role: &str, command: &[&str]) -> Result<Vec<String>, AttackError> {
        let nobody = || ToolError::Nobody { organisation: organisation.to_owned(), role: role.to_owned() };
        let key = self.devnet.key(organisation, role).ok_or_else(nobody)?;
        let mut words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        words.extend(self.devnet.connection(&self.site()?.grpc));
        words.extend(["--key".to_owned(), key.file.display().to_string(), "-o".to_owned(), "json".to_owned()]);
        Ok(words)
    }

    /// Somebody does something that the rules allow.
    pub(super) async fn sign(&self, organisation: &str, role: &str, command: &[&str]) -> Result<Value, AttackError> {
        let words = self.as_somebody(organisation, role, command)?;
        tool::answer("countersign", &words.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Somebody tries something that the rules may forbid.
    pub(super) async fn attempt(
        &self,
        organisation: &str,
        role: &str,
        command: &[&str],
    ) -> Result<Ending, AttackError> {
        let words = self.as_somebody(organisation, role, command)?;
        tool::attempt(&words.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// The key of somebody, in the wrong hands.
    pub(super) fn steal(&self, organisation: &str, role: &str) -> Result<Stolen, AttackError> {
        let nobody = || ToolError::Nobody { organisation: organisation.to_owned(), role: role.to_owned() };
        forge::steal(&self.devnet.key(organisation, role).ok_or_else(nobody)?.file)
    }

    /// Packs a release of a product: a tree with a text that says which it is.
    ///
    /// # Errors
    /// [`AttackError`].
    pub async fn pack(&self, product: &str, release: u64, more: &[&str]) -> Result<Packed, AttackError> {
        let name = product.replace('/', "-");
        let source = self.place(&format!("{name}-{release}-source"));
        let failed = |what: &str| AttackError::io(what.to_owned());
        fs::create_dir_all(source.join("share")).map_err(failed("cannot make a release"))?;
        let text: String = (0..LINES).map(|line| format!("{product} {release}, line {line}\n")).collect();
        fs::write(source.join("share/text"), text).map_err(failed("cannot write a release"))?;
        let directory = self.place(&format!("{name}-{release}"));
        let (version, counter) = (format!("1.{release}"), release.to_string());
        let (out, source) = (directory.display().to_string(), source.display().to_string());
        let mut command = vec!["patch", "pack", "--product", product, "--channel", CHANNEL, "--version", &version];
        command.extend(["--release", &counter, "--class", "bugfix", "--severity", "moderate", "--out", &out]);
        command.extend(more.iter().copied().chain(["-o", "json", &source]));
        let patch = tool::text(&tool::answer("countersign", &command).await?, "patch");
        Ok(Packed { patch, directory })
    }

    /// What a release packs, file by file.
    pub(super) fn packed_files(&self, product: &str, release: u64) -> Result<Files, AttackError> {
        files_of(&self.place(&format!("{}-{release}-source", product.replace('/', "-"))))
    }

    /// Packs a release whose archive is this, whatever a packer would say of it.
    pub(super) async fn pack_archive(
        &self,
        product: &str,
        release: u64,
        archive: &[u8],
    ) -> Result<Packed, AttackError> {
        let packed = self.pack(product, release, &[]).await?;
        let mut hasher = PayloadHasher::default();
        hasher.update(archive);
        let digests = hasher.finish();
        packed.rewrite("/artifacts/0", |artifact| {
            (artifact["size"], artifact["blake3"]) = (json!(digests.size), json!(digests.blake3.to_string()));
            artifact["sha256"] = json!(digests.sha256.to_string());
        })?;
        let place = packed.directory.join("artifacts").join(digests.blake3.to_string());
        fs::write(place, archive).map_err(AttackError::io("cannot write an artifact"))?;
        Ok(packed)
    }

    /// The vendor publishes what was packed. Gives the patch: its manifest may be another by now.
    ///
    /// # Errors
    /// [`AttackError`].
    pub async fn publish(&self, packed: &Packed) -> Result<String, AttackError> {
        let answer = self.sign("vendor-a", "publisher", &["patch", "publish", &packed.path()]).await?;
        Ok(tool::text(&answer, "patch"))
    }

    /// An approver approves.
    ///
    /// # Errors
    /// [`AttackError`].
    pub async fn approve(&self, patch: &str, organisation: &str) -> Result<(), AttackError> {
        self.sign(organisation, "approver", &["approve", patch]).await.map(drop)
    }

    /// A release with everything it needs.
    ///
    /// # Errors
    /// [`AttackError`].
    pub async fn release(&self, product: &str, release: u64, more: &[&str]) -> Result<String, AttackError> {
        self.approved(&self.pack(product, release, more).await?).await
    }

    /// Publishes what was packed, and has it approved.
    pub(super) async fn approved(&self, packed: &Packed) -> Result<String, AttackError> {
        let patch = self.publish(packed).await?;
        self.approve(&patch, "approver-a").await?;
        self.approve(&patch, "approver-b").await?;
        Ok(patch)
    }

    /// The newest head.
    pub(super) async fn head(&self) -> Result<Head, AttackError> {
        let mut client = client::connect(&self.site()?.grpc, &self.devnet.ca).await?;
        Ok(client.get_head(GetHeadRequest {}).await.map_err(AttackError::refused)?.into_inner())
    }

    /// Waits until the ledger is above a height.
    pub(super) async fn head_above(&self, height: u64) -> Result<Head, AttackError> {
        wait_for("a new block", async || Ok(Some(self.head().await?).filter(|head| head.height > height))).await
    }

    /// The proof of a patch, as the site's node has it.
    pub(super) async fn proof(&self, patch: &str) -> Result<Vec<u8>, AttackError> {
        let id: PatchId = patch.parse().map_err(|_| AttackError::Stage(format!("{patch} is no patch")))?;
        let mut client = client::connect(&self.site()?.grpc, &self.devnet.ca).await?;
        wait_for("a proof", async || match client.get_proof(GetProofRequest { patch: id.0.to_vec() }).await {
            Ok(answer) => Ok(Some(answer.into_inner().proof)),
            // The next block proves it.
            Err(status) if proto::refusal(&status).is_some_and(|refusal| refusal.check == "not-yet-provable") => {
                Ok(None)
            }
            Err(status) => Err(AttackError::refused(status)),
        })
        .await
    }

    /// What the verifier of auditors says of a proof file.
    pub(super) async fn verify(&self, proof: &Path) -> Result<Ending, AttackError> {
        let (proof, trust) = (proof.display().to_string(), self.devnet.genesis.display().to_string());
        tool::attempt(&["verify", &proof, "--trust", &trust, "-o", "json"]).await
    }

    /// A compromised node before the site's.
    pub(super) async fn relay(&self) -> Result<Relay, AttackError> {
        self.relay_before(SITE).await
    }

    /// A compromised node before that of a member.
    pub(super) async fn relay_before(&self, name: &str) -> Result<Relay, AttackError> {
        Relay::before(&self.devnet, name).await
    }
}

impl Packed {
    /// Where it lies.
    pub(super) fn path(&self) -> String {
        self.directory.display().to_string()
    }

    /// Writes a part of its manifest anew, whatever a packer would say of it.
    pub(super) fn rewrite(&self, part: &str, change: impl FnOnce(&mut Value)) -> Result<(), AttackError> {
        let manifest = self.directory.join("manifest.json");
        let read = fs::read(&manifest).map_err(AttackError::io("cannot read a packed manifest"))?;
        let unlike =
            |what: &str| AttackError::Answer { from: "countersign patch pack".to_owned(), answer: what.to_owned() };
        let mut document: Value = serde_json::from_slice(&read).map_err(|_| unlike("no JSON"))?;
        change(document.pointer_mut(part).ok_or_else(|| unlike("not all of a manifest"))?);
        fs::write(&manifest, document.to_string()).map_err(AttackError::io("cannot write a packed manifest"))
    }

    /// What a vendor would sign.
    pub(super) fn manifest(&self) -> Result<PatchManifest, AttackError> {
        let read = fs::read(self.directory.join("manifest.json")).map_err(AttackError::io("nothing was packed"))?;
        serde_json::from_slice(&read).map_err(|error| AttackError::Stage(format!("a packed manifest is none: {error}")))
    }

    /// The length of what is fetched for it.
    pub(super) fn artifact_bytes(&self) -> Result<u64, AttackError> {
        let entries = fs::read_dir(self.directory.join("artifacts")).map_err(AttackError::io("nothing was packed"))?;
        let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len());
        sizes.max().ok_or_else(|| AttackError::Stage("nothing was packed".to_owned()))
    }
}
