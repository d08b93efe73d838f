//! Where the signatures of transactions are checked: away from the threads that serve streams, only so
//! many at once as there are cores, and the same bytes not twice.
//!
//! A transaction can reach a node three times: passed on by a peer, asked for when a proposal came
//! before it, and inside a finalised block. Checking it costs more than everything else that happens
//! to it together.
//!
//! Long batches of clients, and short ones of whoever sends many, are checked by threads that step back when the
//! machine is busy: what is final soon is what is in the pools already, and the votes for it must not wait for the
//! signatures of what comes after it. So are long batches that peers pass on. What a peer was asked for is in the block
//! that is voted for, and does not step back, as long as it is not more in a second than anybody asks for.

mod quick;

pub use quick::{QUICK_BATCH_MAX, QUICK_PER_ADDRESS, QUICK_PER_KEY, QUICK_PER_NETWORK, QUICK_PER_PEER};

use crate::crew::{Crew, Stopping};
use crate::origin::Origin;
use consensus::member::is_final;
use ledger::block::Block;
use ledger::certificate::Certificate;
use ledger::encoding::encode;
use ledger::id::{ChainId, Digest};
use ledger::key::PublicKey;
use ledger::transaction::{SignedTransaction, TransactionError, VerifiedTransaction};
use ledger::validators::ValidatorSet;
use quick::Quick;
use rayon::ThreadPoolBuildError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of transactions remembered in one generation; there are two.
const REMEMBERED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Checks signatures for one ledger.
#[derive(Clone)]
pub struct Verifier {
    chain: ChainId,
    quick: Crew,
    in_background: Crew,
    met: Arc<Mutex<Met>>,
    rates: Arc<Mutex<Quick>>,
}

/// How soon what a peer brings is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// As soon as anything else.
    Quick,
    /// When the machine has time.
    StepsBack,
}

/// Whether so many transactions weigh so much more than their number that they are never checked as fast as anything else
/// for want of room: honest nodes pass no such thing on.
pub(crate) fn is_heavy(weight: usize, transactions: usize) -> bool {
    weight - transactions > QUICK_BATCH_MAX
}

/// What came of a batch, in its order.
pub type Verdicts = Vec<Result<VerifiedTransaction, TransactionError>>;

/// Transactions checked lately, by the BLAKE3 of their bytes, signature included. Two generations:
/// when the young one is full, the old one is forgotten whole.
#[derive(Default)]
struct Met {
    young: HashMap<Digest, VerifiedTransaction>,
    old: HashMap<Digest, VerifiedTransaction>,
    young_bytes: usize,
}

impl Verifier {
    /// A verifier that uses as many threads as the machine has cores, and as many that step back.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(chain: ChainId) -> Result<Self, ThreadPoolBuildError> {
        let (quick, in_background) = (Crew::new("verify")?, Crew::in_background("verify-many")?);
        Ok(Self { chain, quick, in_background, met: Arc::default(), rates: Arc::default() })
    }

    /// Checks what a client offers, one verdict each.
    ///
    /// # Errors
    /// [`Stopping`].
    pub(crate) async fn offered(&self, origin: Origin, transactions: Vec<Vec<u8>>) -> Result<Verdicts, Stopping> {
        let is_quick = self.rates().admits(origin, &transactions);
        let crew = if is_quick { &self.quick } else { &self.in_background };
        let verdicts = self.each(crew, transactions).await?;
        if verdicts.iter().any(Result::is_err) {
            self.rates().forged(origin);
        }
        Ok(verdicts)
    }

    /// Checks what a peer brings, all or none: behind the first that does not verify nothing is looked at.
    ///
    /// # Errors
    /// [`Stopping`]; inside, the first transaction that does not verify.
    pub async fn passed_on(
        &self,
        transactions: Vec<Vec<u8>>,
        haste: Haste,
    ) -> Result<Result<Vec<VerifiedTransaction>, TransactionError>, Stopping> {
        let this = self.clone();
        let crew = match haste {
            Haste::Quick => &self.quick,
            Haste::StepsBack => &self.in_background,
        };
        crew.run(move || transactions.iter().map(|bytes| this.verify(bytes)).collect()).await
    }

    /// How soon transactions of this weight are checked that a peer brings: at once, what it was asked for and a few at a
    /// time, as long as these are not many in a second.
    #[must_use]
    pub fn haste_of(&self, peer: PublicKey, weight: usize, asked_for: bool) -> Haste {
        let may_be = asked_for || weight <= QUICK_BATCH_MAX;
        if may_be && self.rates().admits_of_peer(peer, weight) { Haste::Quick } else { Haste::StepsBack }
    }

    async fn each(&self, crew: &Crew, transactions: Vec<Vec<u8>>) -> Result<Verdicts, Stopping> {
        let this = self.clone();
        crew.run(move || transactions.iter().map(|bytes| this.verify(bytes)).collect()).await
    }

    /// Checks the transactions of a finalised block, all or none: none, where it is known who must have certified it and
    /// these have not, or have certified other transactions. Then the certificate says it all.
    ///
    /// # Errors
    /// [`Stopping`]; inside, the first transaction that does not verify.
    pub async fn block(
        &self,
        block: Block,
        certificate: Certificate,
        certifiers: Option<ValidatorSet>,
    ) -> Result<Result<Vec<VerifiedTransaction>, TransactionError>, Stopping> {
        let this = self.clone();
        let weight: usize = block.transactions.iter().map(|signed| signed.transaction.payload.weight()).sum();
        // Whoever lacks a block is behind already. But much evidence in one that nobody may have made final steps back.
        let is_quick = certifiers.is_some() || !is_heavy(weight, block.transactions.len());
        let crew = if is_quick { &self.quick } else { &self.in_background };
        crew.run(move || {
            if certifiers.is_some_and(|set| !is_final(&block, &certificate, &this.chain, &set)) {
                return Ok(Vec::new());
            }
            block.transactions.iter().map(|signed| this.verify(&encode(signed))).collect()
        })
        .await
    }

    fn verify(&self, bytes: &[u8]) -> Result<VerifiedTransaction, TransactionError> {
        let digest = Digest::blake3(bytes);
        if let Some(known) = self.met().get(&digest) {
            return Ok(known);
        }
        let verified = SignedTransaction::verify_bytes(bytes, &self.chain)?;
        self.met().insert(digest, &verified);
        Ok(verified)
    }

    /// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
    fn rates(&self) -> MutexGuard<'_, Quick> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock's holder only moves values, so a panic elsewhere cannot have left it half-way.
    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Met {
    fn get(&self, digest: &Digest) -> Option<VerifiedTransaction> {
        self.young.get(digest).or_else(|| self.old.get(digest)).cloned()
    }

    fn insert(&mut self, digest: Digest, verified: &VerifiedTransaction) {
        if self.young_bytes >= REMEMBERED_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += verified.bytes().len();
        self.young.insert(digest, verified.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::Scenario;
    use ledger::block::{Header, PROTOCOL_VERSION};
    use ledger::bounded::{List, Name, Sentence};
    use ledger::certificate::VoteBody;
    use ledger::id::PatchId;
    use ledger::key::SecretKey;
    use ledger::merkle;
    use ledger::transaction::{Payload, Transaction};
    use ledger::validators::Validator;
    use ledger::vote::{SignedVote, VoteKind};

    const CHAIN: ChainId = ChainId([7; 32]);

    fn recall(seed: u8) -> SignedTransaction {
        let key = SecretKey::from_seed(&[seed; 32]);
        let payload = Payload::Recall { patch: PatchId([seed; 32]), reason: Sentence::cut("broken") };
        let transaction = Transaction {
            version: PROTOCOL_VERSION,
            chain_id: CHAIN,
            signer: key.public(),
            nonce: 0,
            expires_at_ms: 1,
            payload,
        };
        transaction.sign(&key)
    }

    /// The second time is the same value, not a second check; and what was forged stays refused however
    /// often it comes and whatever was met before.
    #[tokio::test]
    async fn what_was_checked_is_remembered_and_what_was_forged_never_is() {
        let verifier = Verifier::new(CHAIN).expect("threads");
        let good = encode(&recall(1));
        let mut forged = good.clone();
        *forged.last_mut().expect("a transaction has bytes") ^= 1;
        for _ in 0..3 {
            let verdicts =
                verifier.offered(Origin::NOWHERE, vec![good.clone(), forged.clone()]).await.expect("not stopping");
            assert_eq!(verdicts[0].as_ref().map(VerifiedTransaction::bytes), Ok(good.as_slice()));
            assert!(matches!(verdicts[1], Err(TransactionError::Signature(_))), "{:?}", verdicts[1]);
        }
        let met = verifier.met();
        assert_eq!((met.young.len(), met.young_bytes), (1, good.len()));
    }

    #[tokio::test]
    async fn a_block_with_one_forged_transaction_is_refused_whole() {
        let verifier = Verifier::new(CHAIN).expect("threads");
        let mut forged = recall(2);
        forged.transaction.nonce = 1;
        let (block, certificate, certifiers) = finalised(vec![recall(1), forged]);
        let verdict = verifier.block(block.clone(), certificate.clone(), Some(certifiers)).await.expect("not stopping");
        assert!(matches!(verdict, Err(TransactionError::Signature(_))), "a quorum signed it");
        let verdict = verifier.block(block, certificate, None).await.expect("not stopping");
        assert!(matches!(verdict, Err(TransactionError::Signature(_))), "nobody knows who must have");
    }

    /// Whoever is to have made it final has not: no transaction of it is looked at, or else the forged one would be found.
    #[tokio::test]
    async fn of_a_block_that_is_not_final_no_transaction_is_looked_at() {
        let verifier = Verifier::new(CHAIN).expect("threads");
        let mut forged = recall(2);
        forged.transaction.nonce = 1;
        let (block, certificate, certifiers) = finalised(vec![recall(1), forged]);
        let none = Certificate::assemble(1, 0, block.header.hash(), &[], &certifiers);
        let verdict = verifier.block(block.clone(), none, Some(certifiers.clone())).await.expect("not stopping");
        assert_eq!(verdict, Ok(Vec::new()), "no certificate");
        let other = Block { header: finalised(vec![recall(1)]).0.header, ..block };
        let verdict = verifier.block(other, certificate, Some(certifiers)).await.expect("not stopping");
        assert_eq!(verdict, Ok(Vec::new()), "of another block");
        assert!(verifier.met().young.is_empty());
    }

    /// A block of these, and a set whose one validator signed it.
    fn finalised(transactions: Vec<SignedTransaction>) -> (Block, Certificate, ValidatorSet) {
        let key = SecretKey::from_seed(&[9; 32]);
        let validator = Validator { key: key.public(), organisation: Name::new("acme").expect("a name") };
        let set = ValidatorSet::new(vec![validator]).expect("a set");
        let leaves: Vec<_> = transactions.iter().map(encode).collect();
        let header = Header {
            height: 1,
            tx_count: u32::try_from(leaves.len()).expect("few"),
            tx_root: merkle::root(leaves.iter().map(Vec::as_slice)),
            validators_hash: set.hash(),
            ..Scenario::new(1).genesis().header.clone()
        };
        let body = VoteBody { height: 1, round: 0, block: Some(header.hash()) };
        let vote = SignedVote::sign(VoteKind::Precommit, body, &key, &CHAIN);
        let certificate = Certificate::assemble(1, 0, header.hash(), &[(vote.voter, vote.signature)], &set);
        (Block { header, transactions: List::new(transactions).expect("few") }, certificate, set)
    }

    /// Memory has a bound: however many come, two generations are kept.
    #[test]
    fn old_generations_are_forgotten() {
        let verified = recall(3).verify(&CHAIN).expect("well signed");
        let mut met = Met::default();
        let in_one_generation = REMEMBERED_BYTES_MAX.div_ceil(verified.bytes().len());
        for number in 0..3 * in_one_generation as u64 {
            met.insert(Digest::blake3(&number.to_le_bytes()), &verified);
        }
        assert!(met.young.len() + met.old.len() <= 2 * in_one_generation);
        assert_eq!(met.get(&Digest::blake3(&0u64.to_le_bytes())), None);
        let newest = Digest::blake3(&(3 * in_one_generation as u64 - 1).to_le_bytes());
        assert!(met.get(&newest).is_some());
    }
}
