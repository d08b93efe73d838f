//! Transactions in the wrong hands: signed with a key that was stolen, and offered to a node.

use super::error::AttackError;
use super::judge::Ending;
use super::stage::Stage;
use crate::client;
use ledger::block::PROTOCOL_VERSION;
use ledger::encoding::encode;
use ledger::id::ChainId;
use ledger::key::SecretKey;
use ledger::transaction::{Payload, SignedTransaction, Transaction};
use proto::v1::{CheckRequest, SubmitRequest, TransactionState};
use rand::RngExt as _;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a transaction is valid.
const VALID_MS: u64 = 60 * 60 * 1000;
/// How long a node may take to have it finalised.
const WAIT_MS: u64 = 5_000;

/// A stolen key.
pub(super) struct Stolen(pub(super) SecretKey);

/// Takes the key out of a key file.
pub(super) fn steal(file: &Path) -> Result<Stolen, AttackError> {
    let text = fs::read_to_string(file).map_err(AttackError::io(format!("cannot read {}", file.display())))?;
    let unlike = || AttackError::Stage(format!("{} is no key file", file.display()));
    let table: toml::Table = text.parse().map_err(|_| unlike())?;
    let mut seed = [0; 32];
    let secret = table.get("secret_key").and_then(toml::Value::as_str).ok_or_else(unlike)?;
    hex::decode_to_slice(secret, &mut seed).map_err(|_| unlike())?;
    Ok(Stolen(SecretKey::from_seed(&seed)))
}

/// Bytes in which a part is written otherwise, once.
pub(super) fn rewritten(bytes: &[u8], part: &[u8], otherwise: &[u8]) -> Result<Vec<u8>, AttackError> {
    let unlike = || AttackError::Stage("what is to be written otherwise is not there".to_owned());
    let at = bytes.windows(part.len()).position(|window| window == part).ok_or_else(unlike)?;
    Ok([&bytes[..at], otherwise, &bytes[at + part.len()..]].concat())
}

/// This machine's clock.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Stolen {
    /// A transaction as its owner would sign it.
    pub(super) fn transaction(&self, chain_id: ChainId, payload: Payload) -> Transaction {
        Transaction {
            version: PROTOCOL_VERSION,
            chain_id,
            signer: self.0.public(),
            nonce: rand::rng().random(),
            expires_at_ms: now_ms().saturating_add(VALID_MS),
            payload,
        }
    }

    /// Signs.
    pub(super) fn sign(&self, transaction: Transaction) -> SignedTransaction {
        transaction.sign(&self.0)
    }
}

impl Stage {
    /// Offers a transaction to the site's node.
    pub(super) async fn submit(&self, transaction: &SignedTransaction) -> Result<Ending, AttackError> {
        self.submit_bytes(transaction.transaction.payload.noun(), encode(transaction)).await
    }

    /// Offers bytes that are said to be a transaction.
    pub(super) async fn submit_bytes(&self, noun: &str, transaction: Vec<u8>) -> Result<Ending, AttackError> {
        let mut client = client::connect(&self.site()?.grpc, &self.devnet.ca).await?;
        match client.submit(SubmitRequest { transaction, wait_ms: WAIT_MS }).await {
            Ok(answer) if answer.get_ref().state() == TransactionState::Finalised => {
                Ok(Ending::Done { what: format!("{noun} was finalised") })
            }
            Ok(answer) => Ok(Ending::Neither { what: format!("it is {:?}", answer.get_ref().state()) }),
            Err(status) => refused(status),
        }
    }

    /// Asks the site's node what the rules say of a transaction now.
    pub(super) async fn check(&self, transaction: &SignedTransaction) -> Result<Ending, AttackError> {
        let mut client = client::connect(&self.site()?.grpc, &self.devnet.ca).await?;
        match client.check(CheckRequest { transaction: encode(transaction) }).await {
            Ok(_) => Ok(Ending::Done { what: "the rules would take it".to_owned() }),
            Err(status) => refused(status),
        }
    }
}

/// The check that refused a call.
fn refused(status: tonic::Status) -> Result<Ending, AttackError> {
    match proto::refusal(&status) {
        Some(refusal) => Ok(Ending::Refused { check: refusal.check, detail: refusal.message }),
        None => Err(AttackError::refused(status)),
    }
}
