//! The types the core is generic over, as thin wrappers around ours.

use super::core::{self, NilOrVal, Round, VoteType};
use crate::proposer::place;
use ledger::id::BlockHash;
use ledger::key::{PublicKey, Signature};
use ledger::validators::ValidatorSet;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

/// Ties the types below together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Height(pub(super) u64);

/// A validator is addressed by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address(pub(super) PublicKey);

/// What is agreed upon: the hash of a block, never its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(pub(super) BlockHash);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    address: Address,
}

/// Shared, because the core clones the set several times in a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members(Arc<Vec<Member>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vote {
    pub(super) kind: VoteType,
    pub(super) height: Height,
    pub(super) round: Round,
    pub(super) block: NilOrVal<BlockHash>,
    pub(super) voter: Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) height: Height,
    pub(super) round: Round,
    pub(super) candidate: Candidate,
    pub(super) pol_round: Round,
    pub(super) proposer: Address,
}

/// Bodies of blocks do not pass through here, so proposals have no parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoPart;

/// Signing and verifying happen in our own hands; the core only carries signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheme;

impl Members {
    pub(super) fn new(validators: &ValidatorSet) -> Self {
        let members = validators.validators().iter().map(|validator| Member { address: Address(validator.key) });
        Self(Arc::new(members.collect()))
    }
}

impl core::Context for Context {
    type Address = Address;
    type Height = Height;
    type ProposalPart = NoPart;
    type Proposal = Proposal;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = core::LinearTimeouts;
    type Value = Candidate;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = Scheme;

    fn select_proposer<'a>(&self, members: &'a Members, height: Height, round: Round) -> &'a Member {
        let round = round.as_u32().unwrap_or(0);
        &members.0[place(members.0.len(), height.0, round)]
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        candidate: Candidate,
        pol_round: Round,
        proposer: Address,
    ) -> Proposal {
        Proposal { height, round, candidate, pol_round, proposer }
    }

    fn new_prevote(&self, height: Height, round: Round, block: NilOrVal<BlockHash>, voter: Address) -> Vote {
        Vote { kind: VoteType::Prevote, height, round, block, voter }
    }

    fn new_precommit(&self, height: Height, round: Round, block: NilOrVal<BlockHash>, voter: Address) -> Vote {
        Vote { kind: VoteType::Precommit, height, round, block, voter }
    }
}

impl core::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl core::Address for Address {}

impl core::Value for Candidate {
    type Id = BlockHash;

    fn id(&self) -> BlockHash {
        self.0
    }
}

impl core::Validator<Context> for Member {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.address.0
    }

    /// One each: equal organisations, and no sums that could overflow (the core panics on those).
    fn voting_power(&self) -> u64 {
        1
    }
}

impl core::ValidatorSet<Context> for Members {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.len() as u64
    }

    fn get_by_address(&self, address: &Address) -> Option<&Member> {
        let place = self.0.binary_search_by(|member| member.address.cmp(address)).ok()?;
        self.0.get(place)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.get(index)
    }
}

impl core::Vote<Context> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockHash> {
        &self.block
    }

    fn take_value(self) -> NilOrVal<BlockHash> {
        self.block
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.voter
    }

    fn extension(&self) -> Option<&core::SignedExtension<Context>> {
        None
    }

    fn take_extension(&mut self) -> Option<core::SignedExtension<Context>> {
        None
    }

    fn extend(self, _extension: core::SignedExtension<Context>) -> Self {
        self
    }
}

impl core::Proposal<Context> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Candidate {
        &self.candidate
    }

    fn take_value(self) -> Candidate {
        self.candidate
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

impl core::ProposalPart<Context> for NoPart {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

impl core::SigningScheme for Scheme {
    type DecodingError = Infallible;
    type Signature = Signature;
    type PublicKey = PublicKey;
    type PrivateKey = ();

    /// Never called: bytes become signatures in `ledger::encoding` only. Zero bytes verify under no key.
    fn decode_signature(bytes: &[u8]) -> Result<Signature, Infallible> {
        Ok(Signature(bytes.try_into().unwrap_or([0; 64])))
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }

    /// Never called: bytes become keys in `ledger::encoding` only. Zero bytes are no usable key.
    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, Infallible> {
        Ok(PublicKey(bytes.try_into().unwrap_or([0; 32])))
    }

    fn encode_public_key(key: &PublicKey) -> Vec<u8> {
        key.0.to_vec()
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
