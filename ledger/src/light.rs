//! A light client: from the genesis file to today's validators, and nothing believed without a
//! quorum's signatures.

use crate::block::Header;
use crate::certificate::{Certificate, CertificateError, FinalizedHeader};
use crate::encoding::{DecodeError, decode};
use crate::genesis::GenesisBlock;
use crate::id::ChainId;
use crate::proof::{ChangeSeen, EpochError, EpochLink};
use crate::validators::ValidatorSet;

/// Why a head is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not bytes of a header and its certificate.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of another ledger.
    #[error("header of chain {actual}, the trust root is {expected}")]
    WrongChain {
        /// Chain of the header.
        actual: ChainId,
        /// Chain trusted.
        expected: ChainId,
    },
    /// No quorum of the validators known for its height signed it.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A chain of validator sets that does not hold.
    #[error("epoch link {link}: {problem}")]
    Epoch {
        /// Which link.
        link: usize,
        /// What is wrong with it.
        problem: EpochError,
    },
    /// The validators are known to have changed below its height, and nobody has shown yet who they are since.
    #[error(
        "the validators changed at height {above}, which was seen here before; who they are since is not known yet"
    )]
    ChangeNotShown {
        /// Height of the change.
        above: u64,
    },
}

/// One era: the set that certifies headers above a height, until the next era begins.
#[derive(Clone, Debug)]
struct Era {
    above: u64,
    validators: ValidatorSet,
    /// What proved it; the first needs no proof.
    link: Option<EpochLink>,
}

/// Knows which validators certify which heights, from the genesis set on.
#[derive(Clone, Debug)]
pub struct LightClient {
    chain_id: ChainId,
    /// Ascending; never empty.
    eras: Vec<Era>,
    /// What it knew before it was started last.
    seen: Option<ChangeSeen>,
}

impl LightClient {
    /// Starts from the trust root, with the newest change of the validators that was seen before.
    #[must_use]
    pub fn new(genesis: &GenesisBlock, seen: Option<ChangeSeen>) -> Self {
        let first = Era { above: 0, validators: genesis.genesis.validators.clone(), link: None };
        Self { chain_id: genesis.chain_id, eras: vec![first], seen }
    }

    /// Believes a head, if a quorum of the validators of its height signed it. A set of the past
    /// cannot speak for heights after it.
    ///
    /// # Errors
    /// [`HeadError`]. With [`HeadError::is_of_a_later_set`], a proof's epochs may help.
    pub fn verify(&self, header: &[u8], certificate: &[u8]) -> Result<FinalizedHeader, HeadError> {
        self.verify_parsed(&decode::<Header>(header)?, &decode::<Certificate>(certificate)?)
    }

    /// The same, of what has been read.
    ///
    /// # Errors
    /// As [`LightClient::verify`].
    pub fn verify_parsed(&self, header: &Header, certificate: &Certificate) -> Result<FinalizedHeader, HeadError> {
        if header.chain_id != self.chain_id {
            return Err(HeadError::WrongChain { actual: header.chain_id, expected: self.chain_id });
        }
        // Whoever was replaced by then does not speak for it, also after a restart.
        if let Some(ChangeSeen { above, .. }) = self.seen.filter(|seen| self.newest_epoch() < seen.above)
            && header.height > above
        {
            return Err(HeadError::ChangeNotShown { above });
        }
        Ok(certificate.verify(header, &self.chain_id, self.validators_of(header.height))?)
    }

    /// The validators of a height, as far as is known here.
    #[must_use]
    pub fn validators_of(&self, height: u64) -> &ValidatorSet {
        let era = self.eras.iter().rev().find(|era| era.above < height).unwrap_or(&self.eras[0]);
        &era.validators
    }

    /// The changes of the validators that lead to a height.
    #[must_use]
    pub fn epochs_before(&self, height: u64) -> Vec<EpochLink> {
        let eras = self.eras.iter().filter(|era| era.above < height);
        eras.filter_map(|era| era.link.clone()).collect()
    }

    /// The height above which the newest set known here is in force.
    #[must_use]
    pub fn newest_epoch(&self) -> u64 {
        self.eras[self.eras.len() - 1].above
    }

    /// The newest change of the validators that was seen, now or before.
    #[must_use]
    pub fn change_seen(&self) -> Option<ChangeSeen> {
        let newest = self.eras[self.eras.len() - 1].link.as_ref().map(ChangeSeen::of);
        newest.into_iter().chain(self.seen).max_by_key(|change| change.above)
    }

    /// Follows changes of the validator set, the oldest first; those that are known already are passed
    /// over. Each is certified by the set before; the number of new sets is returned.
    ///
    /// # Errors
    /// [`HeadError::Epoch`]; then nothing is kept.
    pub fn learn(&mut self, epochs: &[EpochLink]) -> Result<usize, HeadError> {
        let (known, before) = (self.newest_epoch(), self.eras.len());
        for (link, epoch) in epochs.iter().enumerate().filter(|(_, epoch)| epoch.header.height > known) {
            let last = &self.eras[self.eras.len() - 1];
            let goes_past = |seen: &ChangeSeen| last.above < seen.above && seen.above <= epoch.header.height;
            let checked = epoch.check(&self.chain_id, &last.validators, last.above);
            let checked = checked.and_then(|()| match self.seen.filter(goes_past) {
                Some(seen) if !seen.is(epoch) => Err(EpochError::PastSeen { above: seen.above }),
                _ => Ok(()),
            });
            if let Err(problem) = checked {
                self.eras.truncate(before);
                return Err(HeadError::Epoch { link, problem });
            }
            let (above, validators) = (epoch.header.height, epoch.validators.clone());
            self.eras.push(Era { above, validators, link: Some(epoch.clone()) });
        }
        Ok(self.eras.len() - before)
    }
}

impl HeadError {
    /// Whether the header may be certified by a set this client has not heard of yet.
    #[must_use]
    pub fn is_of_a_later_set(&self) -> bool {
        matches!(self, Self::ChangeNotShown { .. } | Self::Certificate(CertificateError::WrongValidators { .. }))
    }
}
