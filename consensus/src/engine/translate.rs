//! Between our words and the core's. Nothing is decided here.

use super::context::{Address, Candidate, Context, Height, Proposal, Vote};
use super::core::{self, NilOrVal, Round, VoteType};
use crate::message::{Polka, ProposalBody, RoundVote, SignedProposal, SignedVote, Skip, SkipReason, VoteKind};
use crate::timer::TimerKind;
use ledger::bounded::List;
use ledger::certificate::{Certificate, CertificateError, VoteBody};
use ledger::id::BlockHash;
use ledger::validators::ValidatorSet;

/// Certificates of the core hold one vote of a validator at most.
const FITS: &str = "a certificate has no more votes than there are validators";

/// The core's round of ours; "no round" is its own word.
pub(super) fn round_in(round: u32) -> Round {
    Round::new(round)
}

/// Our round of the core's. Only votes and proposals of real rounds come out of it.
pub(super) fn round_out(round: Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

fn block_in(block: Option<BlockHash>) -> NilOrVal<BlockHash> {
    block.map_or(NilOrVal::Nil, NilOrVal::Val)
}

fn block_out(block: NilOrVal<BlockHash>) -> Option<BlockHash> {
    match block {
        NilOrVal::Nil => None,
        NilOrVal::Val(block) => Some(block),
    }
}

fn kind_in(kind: VoteKind) -> VoteType {
    match kind {
        VoteKind::Prevote => VoteType::Prevote,
        VoteKind::Precommit => VoteType::Precommit,
    }
}

pub(super) fn kind_out(kind: VoteType) -> VoteKind {
    match kind {
        VoteType::Prevote => VoteKind::Prevote,
        VoteType::Precommit => VoteKind::Precommit,
    }
}

pub(super) fn vote_in(vote: &SignedVote) -> core::SignedVote<Context> {
    let message = Vote {
        kind: kind_in(vote.kind),
        height: Height(vote.body.height),
        round: round_in(vote.body.round),
        block: block_in(vote.body.block),
        voter: Address(vote.voter),
    };
    core::SignedVote::new(message, vote.signature)
}

pub(super) fn vote_body_out(vote: &Vote) -> VoteBody {
    VoteBody { height: vote.height.0, round: round_out(vote.round), block: block_out(vote.block) }
}

pub(super) fn vote_out(vote: &core::SignedVote<Context>) -> SignedVote {
    SignedVote {
        kind: kind_out(vote.message.kind),
        body: vote_body_out(&vote.message),
        voter: vote.message.voter.0,
        signature: vote.signature,
    }
}

pub(super) fn proposal_in(proposal: &SignedProposal) -> core::SignedProposal<Context> {
    let message = Proposal {
        height: Height(proposal.body.height),
        round: round_in(proposal.body.round),
        candidate: Candidate(proposal.body.block),
        pol_round: proposal.body.pol_round.map_or(Round::Nil, round_in),
        proposer: Address(proposal.proposer),
    };
    core::SignedProposal::new(message, proposal.signature)
}

pub(super) fn proposal_body_out(proposal: &Proposal) -> ProposalBody {
    ProposalBody {
        height: proposal.height.0,
        round: round_out(proposal.round),
        pol_round: proposal.pol_round.as_u32(),
        block: proposal.candidate.0,
    }
}

pub(super) fn proposal_out(proposal: &core::SignedProposal<Context>) -> SignedProposal {
    SignedProposal {
        body: proposal_body_out(&proposal.message),
        proposer: proposal.message.proposer.0,
        signature: proposal.signature,
    }
}

pub(super) fn polka_in(polka: &Polka) -> core::PolkaCertificate<Context> {
    let signed = |(voter, signature): &(_, _)| core::PolkaSignature::new(Address(*voter), *signature);
    core::PolkaCertificate {
        height: Height(polka.height),
        round: round_in(polka.round),
        value_id: polka.block,
        polka_signatures: polka.prevotes.iter().map(signed).collect(),
    }
}

pub(super) fn polka_out(polka: &core::PolkaCertificate<Context>) -> Polka {
    let prevotes = polka.polka_signatures.iter().map(|signed| (signed.address.0, signed.signature));
    Polka {
        height: polka.height.0,
        round: round_out(polka.round),
        block: polka.value_id,
        prevotes: List::new(prevotes.collect()).expect(FITS),
    }
}

pub(super) fn skip_in(skip: &Skip) -> core::RoundCertificate<Context> {
    let signed = |vote: &RoundVote| {
        core::RoundSignature::new(kind_in(vote.kind), block_in(vote.block), Address(vote.voter), vote.signature)
    };
    core::RoundCertificate {
        height: Height(skip.height),
        round: round_in(skip.round),
        cert_type: match skip.reason {
            SkipReason::Ahead => core::RoundCertificateType::Skip,
            SkipReason::Over => core::RoundCertificateType::Precommit,
        },
        round_signatures: skip.votes.iter().map(signed).collect(),
    }
}

pub(super) fn skip_out(skip: &core::RoundCertificate<Context>) -> Skip {
    let votes = skip.round_signatures.iter().map(|signed| RoundVote {
        kind: kind_out(signed.vote_type),
        block: block_out(signed.value_id),
        voter: signed.address.0,
        signature: signed.signature,
    });
    Skip {
        height: skip.height.0,
        round: round_out(skip.round),
        reason: match skip.cert_type {
            core::RoundCertificateType::Skip => SkipReason::Ahead,
            core::RoundCertificateType::Precommit => SkipReason::Over,
        },
        votes: List::new(votes.collect()).expect(FITS),
    }
}

pub(super) fn certificate_in(
    certificate: &Certificate,
    validators: &ValidatorSet,
) -> Result<core::ExtendedCommitCertificate<Context>, CertificateError> {
    let signers = certificate.signers(validators)?;
    let signed = |(key, signature)| core::ExtendedCommitSignature::new(Address(key), signature, None);
    Ok(core::ExtendedCommitCertificate {
        height: Height(certificate.height),
        round: round_in(certificate.round),
        value_id: certificate.block,
        commit_signatures: signers.into_iter().map(signed).collect(),
    })
}

pub(super) fn certificate_out(
    certificate: &core::CommitCertificate<Context>,
    validators: &ValidatorSet,
) -> Certificate {
    let precommits: Vec<_> =
        certificate.commit_signatures.iter().map(|signed| (signed.address.0, signed.signature)).collect();
    Certificate::assemble(
        certificate.height.0,
        round_out(certificate.round),
        certificate.value_id,
        &precommits,
        validators,
    )
}

/// `None` for the one timer of the core that we never let it start (it needs a clock).
pub(super) fn timer_out(kind: core::TimeoutKind) -> Option<TimerKind> {
    match kind {
        core::TimeoutKind::Propose => Some(TimerKind::Propose),
        core::TimeoutKind::Prevote => Some(TimerKind::Prevote),
        core::TimeoutKind::Precommit => Some(TimerKind::Precommit),
        core::TimeoutKind::Rebroadcast => Some(TimerKind::Rebroadcast),
        core::TimeoutKind::FinalizeHeight(_) => None,
    }
}

pub(super) fn timer_in(kind: TimerKind, round: u32) -> core::Timeout {
    let kind = match kind {
        TimerKind::Propose => core::TimeoutKind::Propose,
        TimerKind::Prevote => core::TimeoutKind::Prevote,
        TimerKind::Precommit => core::TimeoutKind::Precommit,
        TimerKind::Rebroadcast => core::TimeoutKind::Rebroadcast,
    };
    core::Timeout::new(round_in(round), kind)
}
