//! Decoders: whatever comes in, one value has one encoding, and what it takes is bounded.

use crate::memory::peak_of;
use crate::story;
use consensus::Message;
use ledger::bounded::List;
use ledger::encoding::{Canonical, Limit, decode, encode};
use ledger::evidence::Evidence;
use ledger::fork::{EvidenceFile, Exhibit, HeadFile};
use ledger::genesis::Genesis;
use ledger::id::Digest;
use ledger::inclusion::InclusionProof;
use ledger::limits;
use ledger::proof::{ProofBundle, TrustRoot};
use ledger::transaction::SignedTransaction;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Memory for one decoded value: so many bytes for each byte given …
const BYTES_PER_BYTE_MAX: usize = 24;
/// … so many for what was begun and did not arrive: serde reserves a list of bytes before it is there, up to a
/// mebibyte …
const BYTES_BEGUN_MAX: usize = 1024 * 1024;
/// … and so many for everything else.
const BYTES_ELSE_MAX: usize = 256 * 1024;
/// A refusal is a sentence, also when what it speaks about is long.
const REFUSAL_BYTES_MAX: usize = 1024;
/// … and one that quotes a line of a file is no longer than a person reads.
const QUOTED_BYTES_MAX: usize = 16 * 1024;

/// What has no door of its own, because it comes inside of other things only.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Carried<T>(pub T);

impl<T: Serialize + for<'de> Deserialize<'de>> Canonical for Carried<T> {
    const NAME: &'static str = "carried value";
    const LIMIT: Limit = Limit::Message;
}

/// As in a proof file.
pub type HistoryPath = List<Digest, { limits::HISTORY_PATH_MAX }>;

/// The value, when the bytes are one; and whatever they are, what sentences 1.4 and 1.5 say.
pub fn through_the_door<T: Canonical + Debug + PartialEq>(bytes: &[u8]) -> Option<T> {
    let (decoded, taken) = peak_of(|| decode::<T>(bytes));
    let allowed = bytes.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX + BYTES_ELSE_MAX;
    assert!(taken <= allowed, "{}: {taken} bytes of memory for {} bytes", T::NAME, bytes.len());
    match decoded {
        Ok(value) => {
            assert!(bytes.len() <= T::LIMIT.bytes(), "{} is over its limit", T::NAME);
            let again = encode(&value);
            assert!(again == bytes, "{}: one value, two encodings", T::NAME);
            assert_eq!(decode::<T>(&again).as_ref(), Ok(&value), "what was encoded is what is read");
            Some(value)
        }
        Err(refusal) => {
            is_a_sentence(&refusal.to_string());
            None
        }
    }
}

/// Refusals end in logs and terminals: nothing of what they quote may be a control character.
pub fn is_a_sentence(refusal: &str) {
    assert!(refusal.len() <= REFUSAL_BYTES_MAX, "a refusal of {} bytes", refusal.len());
    assert!(!refusal.chars().any(char::is_control), "a control character in {refusal:?}");
}

/// What is said of a file of one's own, or by the command line: it may quote anything, and has no effect on a terminal
/// once it is told.
pub fn is_made_inert(refusal: &str) {
    let told = terminal::escape(refusal);
    assert!(!told.chars().any(char::is_control), "a control character in {told:?}");
    assert!(refusal.len() <= QUOTED_BYTES_MAX, "a refusal of {} bytes", refusal.len());
}

/// Any type with a door.
pub fn read<T: Canonical + Debug + PartialEq>(bytes: &[u8]) {
    through_the_door::<T>(bytes);
}

/// A transaction, and what is said of its bytes before they are believed.
pub fn read_transaction(bytes: &[u8]) {
    let (signer, id) = (SignedTransaction::claimed_signer(bytes), SignedTransaction::claimed_id(bytes));
    let verdict = SignedTransaction::verify_bytes(bytes, &story::get().chain());
    let Some(signed) = through_the_door::<SignedTransaction>(bytes) else {
        return assert!(verdict.is_err(), "verified, and cannot be read");
    };
    assert_eq!(signer, Some(signed.transaction.signer));
    assert_eq!(SignedTransaction::claimed_weight(bytes), signed.transaction.payload.weight());
    let parsed = signed.clone().verify(&story::get().chain());
    match (verdict, parsed) {
        (Ok(by_bytes), Ok(by_value)) => {
            assert!(by_bytes == by_value && by_bytes.signed() == &signed && by_bytes.bytes() == bytes);
            assert_eq!(id, Some(by_bytes.id()));
        }
        (by_bytes, by_value) => assert_eq!(by_bytes.err(), by_value.err(), "bytes and value are judged alike"),
    }
}

/// A genesis file; whoever trusts it and whoever starts from it understand the same.
pub fn read_genesis(bytes: &[u8]) {
    let (trusted, started) = (TrustRoot::parse(bytes), Genesis::parse(bytes));
    match (trusted, started) {
        (Ok(root), Ok(block)) => {
            assert_eq!((root.chain_id(), root.name()), (block.chain_id, &block.genesis.name));
            assert!(block.genesis.bytes() == bytes, "one value, two encodings");
            let again = block.genesis.build().expect("it was built once");
            assert_eq!((again.header.hash(), again.state.root), (block.header.hash(), block.state.root));
        }
        (Err(trusted), Err(started)) => {
            is_a_sentence(&trusted.to_string());
            assert_eq!(trusted, started);
        }
        _ => panic!("a trust root that is no genesis, or the other way round"),
    }
    through_the_door::<Genesis>(bytes);
}

/// A proof file as it is read; that it is believed is for `verify-proof-file`.
pub fn read_proof(bytes: &[u8]) {
    let parsed = ProofBundle::parse(bytes);
    let bundle = through_the_door::<ProofBundle>(bytes);
    match parsed {
        Ok(parsed) => assert!(Some(&parsed) == bundle.as_ref() && parsed.bytes() == bytes),
        Err(refusal) => is_a_sentence(&refusal.to_string()),
    }
}

/// What carries signatures that are judged without anything else being known.
pub trait Convictable {
    /// Judges it.
    fn judge(&self);
}

impl Convictable for Message {
    fn judge(&self) {
        let (chain, height) = (story::get().chain(), self.height());
        match self {
            Self::Vote(vote) => drop(vote.verify(&chain)),
            Self::Proposal(proposal) => drop(proposal.verify(&chain)),
            Self::Polka(polka) => assert!(polka.votes().all(|vote| vote.body.height == height)),
            Self::Skip(skip) => assert!(skip.votes().all(|vote| vote.body.height == height)),
            Self::WantProposal { .. } => {}
            Self::Decided(certificate) => drop(certificate.check(&chain, &story::get().validators())),
        }
    }
}

impl Convictable for Evidence {
    fn judge(&self) {
        let (charged, checked) = (self.charge(), self.check(&story::get().chain()));
        match checked {
            Ok(charge) => {
                assert!(!charge.keys.is_empty() && charge.keys.is_sorted(), "somebody, and in order");
                assert_eq!(charged, Ok(charge), "what is proven was charged");
            }
            Err(refusal) => is_a_sentence(&refusal.to_string()),
        }
    }
}

impl Convictable for HeadFile {
    fn judge(&self) {
        let story = story::get();
        match self.verify(&story.trust) {
            Ok(head) => assert!(story.is_final(head.header()), "a header is believed that no quorum signed"),
            Err(refusal) => is_a_sentence(&refusal.to_string()),
        }
    }
}

impl Convictable for EvidenceFile {
    fn judge(&self) {
        let story = story::get();
        match EvidenceFile::parse(&self.bytes(), &story.trust) {
            Ok(Exhibit::Fork(fork)) => match fork.verify(&story.trust) {
                Ok(_) => panic!("a fork of a ledger that has none"),
                Err(refusal) => is_a_sentence(&refusal.to_string()),
            },
            Ok(Exhibit::Evidence(evidence)) => evidence.judge(),
            Err(refusal) => is_a_sentence(&refusal.to_string()),
        }
    }
}

impl Convictable for InclusionProof {
    fn judge(&self) {
        let story = story::get();
        let Ok(header) = self.certificate.verify(&self.header, &story.chain(), &story.validators()) else { return };
        assert!(story.is_final(header.header()), "a header is believed that no quorum signed");
        for proven in &story.transactions {
            match self.verify(&header, &encode(&proven.transaction)) {
                Ok(()) => assert_eq!(self.index, proven.index, "a transaction is proven where it is not"),
                Err(refusal) => is_a_sentence(&refusal.to_string()),
            }
        }
    }
}

/// Decoded, then judged.
pub fn read_and_judge<T: Canonical + Debug + PartialEq + Convictable>(bytes: &[u8]) {
    if let Some(value) = through_the_door::<T>(bytes) {
        value.judge();
    }
}

/// A packed inventory, on none and on itself: what comes of it is no more than an inventory may be.
pub fn unpack_inventory(bytes: &[u8]) {
    for base in [&[][..], bytes] {
        match proto::packed::unpack(bytes, base) {
            Ok(unpacked) => assert!(unpacked.len() <= limits::INVENTORY_BYTES_MAX),
            Err(refusal) => is_a_sentence(&refusal.to_string()),
        }
    }
}
