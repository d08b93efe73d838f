//! Receipts on their way to the ledger: on the disk before anything is sent, and there until they are
//! final.
//!
//! `receipts/RUN-PATCH.json` waits; `receipts/RUN-PATCH.tx` are the bytes that were signed and sent for
//! it, so that an answer that got lost does not become a second receipt; `receipts/sent/` keeps the
//! last ones that are final. An update that could be neither kept nor taken back has two: one that says
//! so (`RUN-PATCH-open`), at once, because nobody knows how long it stays like that; and one of its end. A receipt's number is given when it is signed: the ledger wants exactly
//! one more than the last, and the last is what the ledger says.

mod patience;
mod signer;
mod told;

pub use told::{Told, told};

use crate::clock::now_ms;
use crate::enrolment::Enrolment;
use crate::files::{self, FileError, failed};
use crate::follow;
use crate::follow::heads::Heads;
use crate::follow::sources::{CallCause, CallError, Source, Sources};
use crate::settled::{Settled, chain};
use ledger::block::PROTOCOL_VERSION;
use ledger::bounded::Name;
use ledger::encoding::encode;
use ledger::id::{ChainId, Digest, PatchId};
use ledger::inclusion::InclusionProof;
use ledger::key::SecretKey;
use ledger::limits;
use ledger::receipt::Receipt;
use ledger::transaction::{Payload, SignedTransaction, Transaction};
use patience::{Patience, Wait};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Receipts that wait; the oldest is given up when there are more.
const WAITING_MAX: usize = 256;
/// Receipts kept after they are final.
const SENT_MAX: usize = 100;
/// What stands behind the name of a receipt whose update is not at its end.
const OPEN: &str = "-open";
/// Largest waiting receipt.
const WAITING_BYTES_MAX: usize = 16 * 1024;
/// How long a signed receipt stays valid. Counted from the ledger's own time: this host's clock may be
/// what is wrong.
const EXPIRY_MS: u64 = 24 * 60 * 60 * 1000;

/// How often a node is asked to prove that a receipt it took is final …
const CONFIRMATIONS_MAX: usize = 20;
/// … and how long between.
const CONFIRM_AFTER: Duration = Duration::from_millis(200);
/// How long one node may take for one receipt, whatever it answers meanwhile.
const NODE_PATIENCE: Duration = Duration::from_secs(30);
/// What is said of a node that names a receipt of this host and cannot show that it is final.
const UNPROVEN_ATTEMPT: &str = "a receipt of this host without a proof that it is final";
/// What a node is told of that cannot.
const UNPROVEN: &str = "its proof that the receipt is final does not hold";

/// The check by which a node says that there is no such patch.
const UNKNOWN_PATCH: &str = "unknown-patch";

/// Where receipts are that are final, within the queue.
const SENT: &str = "sent";
/// … and those that this program cannot read.
const UNREADABLE: &str = "unreadable";

/// A receipt that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    settled: Settled,
    log_digest: Digest,
    ended_at_ms: u64,
}

/// The queue on the disk.
#[derive(Clone, Debug)]
pub struct Receipts {
    directory: PathBuf,
    added: Arc<Notify>,
    /// What the nodes said last of the key that signs them.
    enrolment: Arc<Mutex<Option<Enrolment>>>,
    /// Why those that wait were not taken last.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Receipts {
    /// Opens the queue.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(directory: &Path) -> Result<Self, FileError> {
        files::private_dir(&directory.join(SENT))?;
        // What another program could not read this one may: it waits again.
        let aside = directory.join(UNREADABLE);
        for name in files::names(&aside)? {
            let bytes = files::read(&aside.join(&name), WAITING_BYTES_MAX).unwrap_or_default();
            if serde_json::from_slice::<Waiting>(&bytes).is_ok() {
                std::fs::rename(aside.join(&name), directory.join(&name)).map_err(failed("take back", &aside))?;
            }
        }
        let (added, enrolment, trouble) = Default::default();
        Ok(Self { directory: directory.to_owned(), added, enrolment, trouble })
    }

    /// Why those that wait were not taken when they were sent last; nothing where they were.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Queues a receipt; on the disk when this returns. Doing it again for the same attempt does
    /// nothing, but that one whose update was `open` still has another one of its end.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn queue(&self, settled: &Settled, log_digest: Digest, open: bool) -> Result<(), FileError> {
        let name = format!("{:08}-{}{}", settled.run, settled.patch, if open { OPEN } else { "" });
        let waiting = self.directory.join(format!("{name}.json"));
        if waiting.exists() || self.directory.join(SENT).join(format!("{name}.tx")).exists() {
            return Ok(());
        }
        let receipt = Waiting { settled: settled.clone(), log_digest, ended_at_ms: now_ms() };
        files::replace(&waiting, &serde_json::to_vec_pretty(&receipt).unwrap_or_default())?;
        self.give_up_oldest()?;
        self.added.notify_one();
        Ok(())
    }

    /// How many wait.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn waiting(&self) -> Result<usize, FileError> {
        Self::waiting_in(&self.directory)
    }

    /// How many wait in a queue nobody has opened.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn waiting_in(directory: &Path) -> Result<usize, FileError> {
        Ok(names(directory)?.len())
    }

    /// The newest attempt that there is a receipt of, waiting, sent or put aside; 0 when there is none.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn newest_run(&self) -> Result<u64, FileError> {
        let mut newest = 0;
        for directory in [self.directory.clone(), self.directory.join(SENT), self.directory.join(UNREADABLE)] {
            let runs = files::names(&directory)?.into_iter().filter_map(|name| run_of(&name));
            newest = runs.fold(newest, u64::max);
        }
        Ok(newest)
    }

    /// Puts a receipt aside that this program cannot read: another one wrote it, and may send it some day.
    fn put_aside(&self, name: &str) -> Result<(), FileError> {
        let aside = self.directory.join(UNREADABLE);
        files::private_dir(&aside)?;
        let (from, to) = (self.directory.join(format!("{name}.json")), aside.join(format!("{name}.json")));
        std::fs::rename(&from, &to).map_err(failed("put aside", &from))?;
        let names = files::names(&aside)?;
        names[..names.len().saturating_sub(WAITING_MAX)].iter().try_for_each(|name| files::remove(&aside.join(name)))
    }

    fn names(&self) -> Result<Vec<String>, FileError> {
        names(&self.directory)
    }

    /// Gives up what is too much: refusals first, which changed nothing, and the oldest of them.
    fn give_up_oldest(&self) -> Result<(), FileError> {
        let mut names = self.names()?;
        let too_many = names.len().saturating_sub(WAITING_MAX);
        if too_many == 0 {
            return Ok(());
        }
        names.sort_by_cached_key(|name| !self.is_refusal(name));
        for name in &names[..too_many] {
            tracing::error!(receipt = name, "too many receipts wait, this one is given up");
            self.give_up(name)?;
        }
        Ok(())
    }

    fn give_up(&self, name: &str) -> Result<(), FileError> {
        files::remove(&self.directory.join(format!("{name}.json")))?;
        files::remove(&self.directory.join(format!("{name}.tx")))
    }

    /// Whether a receipt that waits says that nothing was changed.
    fn is_refusal(&self, name: &str) -> bool {
        let bytes = files::read(&self.directory.join(format!("{name}.json")), WAITING_BYTES_MAX).unwrap_or_default();
        serde_json::from_slice::<Waiting>(&bytes).is_ok_and(|waiting| waiting.settled.is_refusal())
    }

    /// Moves a receipt to those that are final.
    fn sent(&self, name: &str, transaction: &[u8]) -> Result<(), FileError> {
        let sent = self.directory.join(SENT);
        files::replace(&sent.join(format!("{name}.tx")), transaction)?;
        files::remove(&self.directory.join(format!("{name}.json")))?;
        files::remove(&self.directory.join(format!("{name}.tx")))?;
        let names = files::names(&sent)?;
        names[..names.len().saturating_sub(SENT_MAX)].iter().try_for_each(|name| files::remove(&sent.join(name)))
    }
}

/// The number of the attempt that a file of the queue is about.
pub(crate) fn run_of(name: &str) -> Option<u64> {
    name.split_once('-')?.0.parse().ok()
}

fn names(directory: &Path) -> Result<Vec<String>, FileError> {
    let names = files::names(directory)?.into_iter();
    let mut names: Vec<_> = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
    // What was open comes before its end.
    names.sort_by_key(|name| (name.trim_end_matches(OPEN).to_owned(), !name.ends_with(OPEN)));
    Ok(names)
}

/// Sends what waits.
pub struct Sender {
    receipts: Receipts,
    sources: Sources,
    heads: Arc<Heads>,
    key: SecretKey,
    name: Name,
    chain_id: ChainId,
}

/// Why a receipt still waits.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No node took it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The queue.
    #[error(transparent)]
    File(#[from] FileError),
    /// A node took it, and it is not final yet.
    #[error("taken, and not final yet")]
    NotFinal,
    /// There is no node, or none that did not ask to be left alone.
    #[error("no node")]
    NoNode,
}

impl Sender {
    /// Prepares. The `name` is what people call the host, for what is said to them.
    #[must_use]
    pub fn new(
        receipts: Receipts,
        sources: Sources,
        heads: Arc<Heads>,
        (key, name): (SecretKey, Name),
        chain_id: ChainId,
    ) -> Self {
        Self { receipts, sources, heads, key, name, chain_id }
    }

    /// Sends what waits, and what comes, for ever.
    pub async fn run(self) {
        let mut patience = Patience::default();
        loop {
            self.ask_enrolment(|node| patience.may_ask(node, Instant::now())).await;
            let sent = self.send_with(&mut patience).await;
            self.receipts.note_trouble(sent.as_ref().err().map(|error| chain(error)));
            match sent {
                Ok(()) if self.receipts.enrolment() == Some(Enrolment::Enrolled) => {
                    patience.went_well();
                    self.receipts.added.notified().await;
                }
                // Nothing waits, and nobody who knew could be asked, or the key is to be enrolled yet.
                Ok(()) => {
                    let _ = tokio::time::timeout(patience.retry(), self.receipts.added.notified()).await;
                }
                // This host's own disk: asking nodes does not help.
                Err(SendError::File(error)) => {
                    let again_in = patience.retry();
                    tracing::warn!(error = chain(&error), ?again_in, "a receipt waits");
                    tokio::time::sleep(again_in).await;
                }
                Err(error) => {
                    let hint = self.hint_at(&error);
                    let nodes = self.sources.all().iter().map(Source::node);
                    let Wait { at_least, at_most } = patience.wait(nodes, Instant::now());
                    let hint = Some(hint.as_str()).filter(|hint| !hint.is_empty());
                    tracing::warn!(%error, again_in = ?at_most, hint, "a receipt waits");
                    tokio::time::sleep(at_least).await;
                    let added = tokio::time::timeout(at_most - at_least, self.receipts.added.notified()).await;
                    if added.is_ok() {
                        patience.something_new(Instant::now());
                    }
                }
            }
        }
    }

    /// Sends everything that waits, oldest first. A receipt that is not taken holds up only those for
    /// the same patch.
    ///
    /// # Errors
    /// [`SendError`]: the first thing that went wrong; what could be sent was.
    pub async fn send_all(&self) -> Result<(), SendError> {
        self.send_with(&mut Patience::default()).await
    }

    async fn send_with(&self, patience: &mut Patience) -> Result<(), SendError> {
        let (mut held_up, mut vain, mut trouble) = (BTreeSet::new(), BTreeSet::new(), None);
        for name in self.receipts.names()? {
            // The power went between the two.
            if self.receipts.directory.join(SENT).join(format!("{name}.tx")).exists() {
                self.receipts.give_up(&name)?;
                continue;
            }
            let path = self.receipts.directory.join(format!("{name}.json"));
            let bytes = files::read(&path, WAITING_BYTES_MAX)?;
            let Ok(waiting) = serde_json::from_slice::<Waiting>(&bytes) else {
                tracing::error!(receipt = name, "not readable, put aside");
                self.receipts.put_aside(&name)?;
                continue;
            };
            if held_up.contains(&waiting.settled.patch) {
                continue;
            }
            if let Err(error) = self.send(&name, &waiting, patience, &mut vain).await {
                held_up.insert(waiting.settled.patch);
                trouble.get_or_insert(error);
            }
        }
        // What a node says against one receipt is no reason to keep another one from it: they wait for the next time.
        vain.iter().for_each(|node| patience.was_vain(node, Instant::now()));
        trouble.map_or(Ok(()), Err)
    }

    /// Sends one receipt through the first node that takes it and proves that it is final. What one node says
    /// against it the others may say or not: none of them can hold it back. Who asked for patience is left alone.
    async fn send(
        &self,
        name: &str,
        waiting: &Waiting,
        patience: &mut Patience,
        vain: &mut BTreeSet<String>,
    ) -> Result<(), SendError> {
        let (mut trouble, mut unknown) = (SendError::NoNode, 0);
        for source in self.sources.from(self.heads.newest_from()) {
            if !patience.may_ask(source.node(), Instant::now()) {
                continue;
            }
            let sent = tokio::time::timeout(NODE_PATIENCE, self.send_through(source, name, waiting)).await;
            match sent.unwrap_or_else(|_| Err(source.error("Submit", CallCause::TimedOut).into())) {
                Ok(transaction) => {
                    tracing::info!(receipt = name, node = source.node(), "receipt is final");
                    return Ok(self.receipts.sent(name, &transaction)?);
                }
                Err(error @ SendError::File(_)) => return Err(error),
                Err(error) => {
                    let call = if let SendError::Call(call) = &error { Some(call) } else { None };
                    unknown += usize::from(call.is_some_and(|call| call.check() == Some(UNKNOWN_PATCH)));
                    match call.and_then(CallError::retry_after) {
                        Some(hint) => patience.asked_for(source.node(), hint, Instant::now()),
                        // Whoever says nothing to one says nothing to the next, and takes as long for it.
                        None if call.is_some_and(CallError::is_silence) => {
                            patience.was_vain(source.node(), Instant::now());
                        }
                        None => drop(vain.insert(source.node().to_owned())),
                    }
                    trouble = error;
                }
            }
        }
        // Nothing was changed, for a patch that is none: somebody mistook an id. No node ever takes that.
        if waiting.settled.is_refusal() && unknown == self.sources.all().len() {
            tracing::warn!(receipt = name, patch = %waiting.settled.patch, "no node knows the patch: the refusal is kept in its log alone");
            return Ok(self.receipts.give_up(name)?);
        }
        Err(trouble)
    }

    /// What this host told the ledger last of the patch is looked at before anything is signed anew: what was signed first
    /// may have become final meanwhile, through another node, and a word of this one that it cannot is no proof.
    async fn send_through(&self, source: &Source, name: &str, waiting: &Waiting) -> Result<Vec<u8>, SendError> {
        let path = self.receipts.directory.join(format!("{name}.tx"));
        if let Some(signed) = files::read_if_there(&path, limits::TRANSACTION_BYTES_MAX)? {
            match self.submit(source, &signed).await {
                Err(SendError::Call(error)) if must_be_signed_again(&error) => {}
                result => return result.map(|()| signed),
            }
        }
        let told = self.last_told(source, waiting.settled.patch).await?;
        if let Some(told) = told.as_ref().filter(|told| told.is_of(waiting)) {
            return Ok(told.bytes.clone());
        }
        let signed = self.sign(waiting, told.map_or(0, |told| told.receipt.attempt));
        files::replace(&path, &signed)?;
        self.submit(source, &signed).await.map(|()| signed)
    }

    /// Submits, and has it proven that it is final: a node that only says so may have thrown it away.
    async fn submit(&self, source: &Source, signed: &[u8]) -> Result<(), SendError> {
        let said = source.submit(signed.to_vec()).await;
        let not_yet = match said {
            Ok(true) => SendError::NotFinal,
            Ok(false) => return Err(SendError::NotFinal),
            // It may have become final before, and by that itself have taken its number.
            Err(error) if matches!(error.check(), Some("already-finalised" | "attempt")) => error.into(),
            Err(error) => return Err(error.into()),
        };
        match self.confirm(source, signed).await? {
            true => Ok(()),
            false => Err(not_yet),
        }
    }

    /// Waits for the next block, with which it can be proven that a receipt is final.
    async fn confirm(&self, source: &Source, signed: &[u8]) -> Result<bool, SendError> {
        let Ok(transaction) = SignedTransaction::verify_bytes(signed, &self.chain_id) else {
            return Ok(false);
        };
        for _ in 0..CONFIRMATIONS_MAX {
            if let Some(proof) = source.inclusion(transaction.id()).await?
                && self.is_proven(source, &proof, signed).await?
            {
                return Ok(true);
            }
            tokio::time::sleep(CONFIRM_AFTER).await;
        }
        Ok(false)
    }

    /// Whether a node has proven that these bytes are final; not yet, where it is to be asked once more because it showed
    /// what is after a change of the validators.
    async fn is_proven(&self, source: &Source, proof: &InclusionProof, signed: &[u8]) -> Result<bool, CallError> {
        match self.heads.certified(&proof.header, &proof.certificate) {
            Ok(header) if proof.verify(&header, signed).is_ok() => Ok(true),
            Err(error) if error.is_of_a_later_set() => {
                follow::learn(source, &self.heads).await;
                Ok(false)
            }
            _ => Err(source.error("GetTransaction", CallCause::Malformed(UNPROVEN))),
        }
    }

    /// The newest receipt of this host for a patch, of which the node has to have the proof: a number too high, signed,
    /// could be brought in behind the right one, and one end of an update would be two.
    async fn last_told(&self, source: &Source, patch: PatchId) -> Result<Option<Final>, CallError> {
        let unproven = || source.error("ListReceipts", CallCause::Malformed(UNPROVEN_ATTEMPT));
        let Some((attempt, id)) = source.last_attempt(self.key.public(), patch).await? else { return Ok(None) };
        let (bytes, proof) = source.transaction(id).await?;
        let proof = proof.ok_or_else(unproven)?;
        if !self.is_proven(source, &proof, &bytes).await? && !self.is_proven(source, &proof, &bytes).await? {
            return Err(unproven());
        }
        let shown = SignedTransaction::verify_bytes(&bytes, &self.chain_id).map_err(|_| unproven())?;
        match shown.payload() {
            Payload::Receipt { receipt }
                if (shown.signer(), receipt.patch, receipt.attempt) == (self.key.public(), patch, attempt) =>
            {
                let (receipt, run) = (receipt.clone(), shown.transaction().nonce);
                Ok(Some(Final { receipt, run, bytes }))
            }
            _ => Err(unproven()),
        }
    }

    /// Signs a receipt with the number that comes after the last.
    fn sign(&self, waiting: &Waiting, last: u32) -> Vec<u8> {
        let Waiting { settled, log_digest, ended_at_ms } = waiting.clone();
        let ledger_ms = match self.heads.ledger_time_ms() {
            0 => now_ms(),
            ledger_ms => ledger_ms,
        };
        let receipt = Receipt {
            patch: settled.patch,
            rollout: None,
            attempt: last.saturating_add(1),
            from_version: settled.from_version,
            to_version: settled.to_version,
            outcome: settled.outcome,
            reason: settled.reason,
            health: settled.health,
            log_digest,
            ended_at_ms,
        };
        let transaction = Transaction {
            version: PROTOCOL_VERSION,
            chain_id: self.chain_id,
            signer: self.key.public(),
            nonce: settled.run,
            expires_at_ms: ledger_ms.saturating_add(EXPIRY_MS),
            payload: Payload::Receipt { receipt },
        };
        encode(&transaction.sign(&self.key))
    }
}

/// A receipt of this host that is final.
struct Final {
    receipt: Receipt,
    /// The number of the attempt among all of this host.
    run: u64,
    /// As it was signed.
    bytes: Vec<u8>,
}

impl Final {
    /// Whether this is what waits.
    fn is_of(&self, waiting: &Waiting) -> bool {
        let Waiting { settled, ended_at_ms, .. } = waiting;
        (self.run, self.receipt.ended_at_ms, self.receipt.outcome) == (settled.run, *ended_at_ms, settled.outcome)
    }
}

/// Whether a node says that the bytes that were signed can never become final any more.
fn must_be_signed_again(error: &CallError) -> bool {
    matches!(error.check(), Some("attempt" | "expired" | "expires-too-late"))
}
