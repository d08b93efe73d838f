//! Certificates: a quorum's signatures under one block hash, and what they prove.

use crate::block::Header;
use crate::bounded::List;
use crate::encoding::{Canonical, Limit, encode};
use crate::id::{BlockHash, ChainId};
use crate::key::{PublicKey, Purpose, Signature, SignatureError};
use crate::limits;
use crate::validators::ValidatorSet;
use serde::{Deserialize, Serialize};

/// Bytes of the largest signer bitmap.
const BITMAP_BYTES_MAX: usize = limits::VALIDATORS_MAX.div_ceil(8);

/// What a validator signs when it votes (docs/protocol.md §3). The signer is not inside: every
/// precommit for one block in one round is over the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteBody {
    /// Height voted on.
    pub height: u64,
    /// Round within the height.
    pub round: u32,
    /// The block, or none: "no block in this round".
    pub block: Option<BlockHash>,
}

impl VoteBody {
    /// The bytes under the signature, after tag and chain id.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        encode(self)
    }
}

/// Proof that a quorum committed to a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Height of the block.
    pub height: u64,
    /// Round in which it was decided.
    pub round: u32,
    /// Hash of its header.
    pub block: BlockHash,
    /// Bit `i % 8` (least significant first) of byte `i / 8` says that validator `i` signed.
    signers: List<u8, BITMAP_BYTES_MAX>,
    /// One signature per set bit, in the order of the validator set.
    signatures: List<Signature, { limits::VALIDATORS_MAX }>,
}

impl Canonical for Certificate {
    const NAME: &'static str = "certificate";
    const LIMIT: Limit = Limit::Message;
}

/// Why a certificate does not prove its block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Speaks about another height than the header beside it.
    #[error("certificate is for height {certificate}, header has height {header}")]
    WrongHeight {
        /// Height in the certificate.
        certificate: u64,
        /// Height in the header.
        header: u64,
    },
    /// Speaks about another block than the header beside it.
    #[error("certificate is for block {certificate}, header hashes to {header}")]
    WrongBlock {
        /// Hash in the certificate.
        certificate: BlockHash,
        /// Hash of the header.
        header: BlockHash,
    },
    /// The header was made under another validator set.
    #[error("header names another validator set than the one known for height {height}")]
    WrongValidators {
        /// Height of the header.
        height: u64,
    },
    /// Bitmap and signatures do not belong together.
    #[error("{bits} signers marked, {signatures} signatures given, {validators} validators in the set")]
    Malformed {
        /// Bits set.
        bits: usize,
        /// Signatures given.
        signatures: usize,
        /// Validators in the set.
        validators: usize,
    },
    /// Too few signers.
    #[error("{signers} of {validators} validators signed, at least {quorum} needed")]
    NoQuorum {
        /// Signers.
        signers: usize,
        /// Validators in the set.
        validators: usize,
        /// The smallest quorum.
        quorum: usize,
    },
    /// A signature does not verify.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Certificate {
    /// Puts precommits together. Signatures of keys outside the set are left out, and of one key the
    /// first counts.
    #[must_use]
    pub fn assemble(
        height: u64,
        round: u32,
        block: BlockHash,
        precommits: &[(PublicKey, Signature)],
        validators: &ValidatorSet,
    ) -> Self {
        let mut bitmap = vec![0u8; validators.len().div_ceil(8)];
        let mut signatures = Vec::new();
        for (place, validator) in validators.validators().iter().enumerate() {
            if let Some((_, signature)) = precommits.iter().find(|(key, _)| *key == validator.key) {
                bitmap[place / 8] |= 1 << (place % 8);
                signatures.push(*signature);
            }
        }
        let fits = "a validator set is within its bound";
        Self {
            height,
            round,
            block,
            signers: List::new(bitmap).expect(fits),
            signatures: List::new(signatures).expect(fits),
        }
    }

    /// How many signatures it has; proof of nothing before [`Certificate::check`].
    #[must_use]
    pub fn signer_count(&self) -> usize {
        self.signatures.len()
    }

    /// Who signed, with the signatures, in the order of the set.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`] when bitmap, signatures and set do not fit together.
    pub fn signers<'a>(
        &'a self,
        validators: &'a ValidatorSet,
    ) -> Result<Vec<(PublicKey, Signature)>, CertificateError> {
        let places: Vec<usize> =
            (0..self.signers.len() * 8).filter(|place| self.signers[place / 8] >> (place % 8) & 1 == 1).collect();
        let fits = self.signers.len() == validators.len().div_ceil(8)
            && places.len() == self.signatures.len()
            && places.last().is_none_or(|last| *last < validators.len());
        if !fits {
            return Err(CertificateError::Malformed {
                bits: places.len(),
                signatures: self.signatures.len(),
                validators: validators.len(),
            });
        }
        let keys = places.into_iter().map(|place| validators.validators()[place].key);
        Ok(keys.zip(self.signatures.iter().copied()).collect())
    }

    /// Checks quorum and signatures, without a header: for consensus and sync, which hold the hash.
    ///
    /// # Errors
    /// [`CertificateError`] names the first rule broken.
    pub fn check(&self, chain: &ChainId, validators: &ValidatorSet) -> Result<(), CertificateError> {
        let signers = self.signers(validators)?;
        if !validators.is_quorum(signers.len()) {
            return Err(CertificateError::NoQuorum {
                signers: signers.len(),
                validators: validators.len(),
                quorum: validators.quorum(),
            });
        }
        let body = VoteBody { height: self.height, round: self.round, block: Some(self.block) }.bytes();
        for (key, signature) in signers {
            key.verify(Purpose::Precommit, chain, &body, &signature)?;
        }
        Ok(())
    }

    /// Proves a header final: it was made under `validators`, and a quorum of them signed its hash.
    ///
    /// # Errors
    /// [`CertificateError`] names the first rule broken.
    pub fn verify(
        &self,
        header: &Header,
        chain: &ChainId,
        validators: &ValidatorSet,
    ) -> Result<FinalizedHeader, CertificateError> {
        if self.height != header.height {
            return Err(CertificateError::WrongHeight { certificate: self.height, header: header.height });
        }
        let hash = header.hash();
        if self.block != hash {
            return Err(CertificateError::WrongBlock { certificate: self.block, header: hash });
        }
        if header.validators_hash != validators.hash() {
            return Err(CertificateError::WrongValidators { height: header.height });
        }
        self.check(chain, validators)?;
        Ok(FinalizedHeader { header: header.clone(), hash, certificate: self.clone() })
    }
}

/// A header that a quorum made final. Made only by [`Certificate::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalizedHeader {
    header: Header,
    hash: BlockHash,
    certificate: Certificate,
}

impl FinalizedHeader {
    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its hash.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// The proof.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}
