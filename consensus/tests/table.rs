//! One replica on a table: the other validators are keys in the hands of the test.

use crate::sim::block::{CHAIN, secret, set_of};
use consensus::{
    Effect, GuardRecord, Input, LogEntry, Message, Polka, ProposalBody, Replica, ReplicaConfig, RoundVote,
    SignedProposal, SignedVote, Skip, SkipReason, Timeouts, Timer, TimerKind, VoteKind, proposer,
};
use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::id::BlockHash;
use ledger::key::{PublicKey, SecretKey};
use ledger::validators::ValidatorSet;

pub(crate) const X: BlockHash = BlockHash([1; 32]);
pub(crate) const Y: BlockHash = BlockHash([2; 32]);

pub(crate) struct Table {
    /// In the order of the set.
    pub(crate) keys: Vec<SecretKey>,
    pub(crate) set: ValidatorSet,
    pub(crate) me: usize,
    pub(crate) replica: Replica,
}

impl Table {
    /// `count` validators, the replica being the one at place `me` of the set. Nothing is started.
    pub(crate) fn of(count: usize, me: usize) -> Self {
        Self::with_guard(count, me, Vec::new())
    }

    pub(crate) fn with_guard(count: usize, me: usize, guard: Vec<GuardRecord>) -> Self {
        let mut keys: Vec<_> = (0..count).map(secret).collect();
        keys.sort_by_key(SecretKey::public);
        let set = set_of(&keys);
        let config = ReplicaConfig { chain: CHAIN, key: keys[me].clone(), timeouts: Timeouts::default() };
        Self { keys, set, me, replica: Replica::new(config, guard) }
    }

    pub(crate) fn key(&self, n: usize) -> PublicKey {
        self.keys[n].public()
    }

    pub(crate) fn start(&mut self, height: u64) -> Vec<Effect> {
        self.restart(height, Vec::new())
    }

    pub(crate) fn restart(&mut self, height: u64, log: Vec<LogEntry>) -> Vec<Effect> {
        self.replica.step(Input::StartHeight { height, validators: self.set.clone(), log })
    }

    pub(crate) fn hear(&mut self, from: usize, message: Message) -> Vec<Effect> {
        let from = self.key(from);
        self.replica.step(Input::Message { from, message })
    }

    pub(crate) fn hear_vote(&mut self, vote: SignedVote) -> Vec<Effect> {
        self.replica.step(Input::Message { from: vote.voter, message: Message::Vote(vote) })
    }

    pub(crate) fn hear_proposal(&mut self, proposal: SignedProposal) -> Vec<Effect> {
        self.replica.step(Input::Message { from: proposal.proposer, message: Message::Proposal(proposal) })
    }

    pub(crate) fn judged(&mut self, height: u64, block: BlockHash, valid: bool) -> Vec<Effect> {
        self.replica.step(Input::Judged { height, block, valid })
    }

    pub(crate) fn propose(&mut self, height: u64, round: u32, block: BlockHash) -> Vec<Effect> {
        self.replica.step(Input::Propose { height, round, block })
    }

    pub(crate) fn ring(&mut self, height: u64, round: u32, kind: TimerKind) -> Vec<Effect> {
        self.replica.step(Input::Timer(Timer { height, round, kind }))
    }

    pub(crate) fn vote(
        &self,
        n: usize,
        kind: VoteKind,
        height: u64,
        round: u32,
        block: Option<BlockHash>,
    ) -> SignedVote {
        SignedVote::sign(kind, VoteBody { height, round, block }, &self.keys[n], &CHAIN)
    }

    pub(crate) fn prevote(&self, n: usize, height: u64, round: u32, block: Option<BlockHash>) -> SignedVote {
        self.vote(n, VoteKind::Prevote, height, round, block)
    }

    pub(crate) fn precommit(&self, n: usize, height: u64, round: u32, block: Option<BlockHash>) -> SignedVote {
        self.vote(n, VoteKind::Precommit, height, round, block)
    }

    /// A proposal of whoever has the turn.
    pub(crate) fn proposal(&self, height: u64, round: u32, pol_round: Option<u32>, block: BlockHash) -> SignedProposal {
        let turn = proposer(&self.set, height, round);
        let key = self.keys.iter().find(|key| key.public() == turn).unwrap();
        SignedProposal::sign(ProposalBody { height, round, pol_round, block }, key, &CHAIN)
    }

    pub(crate) fn polka(&self, who: &[usize], height: u64, round: u32, block: BlockHash) -> Polka {
        let votes = who.iter().map(|n| self.prevote(*n, height, round, Some(block)));
        let prevotes = List::new(votes.map(|vote| (vote.voter, vote.signature)).collect()).unwrap();
        Polka { height, round, block, prevotes }
    }

    pub(crate) fn skip(&self, who: &[usize], kind: VoteKind, reason: SkipReason, height: u64, round: u32) -> Skip {
        let votes = who.iter().map(|n| self.vote(*n, kind, height, round, None));
        let votes = votes.map(|vote| RoundVote { kind, block: None, voter: vote.voter, signature: vote.signature });
        Skip { height, round, reason, votes: List::new(votes.collect()).unwrap() }
    }

    pub(crate) fn certificate(&self, who: &[usize], height: u64, round: u32, block: BlockHash) -> Certificate {
        let votes = who.iter().map(|n| self.precommit(*n, height, round, Some(block)));
        let signed: Vec<_> = votes.map(|vote| (vote.voter, vote.signature)).collect();
        Certificate::assemble(height, round, block, &signed, &self.set)
    }

    /// Everybody except the replica.
    pub(crate) fn others(&self) -> Vec<usize> {
        (0..self.keys.len()).filter(|n| *n != self.me).collect()
    }

    /// Others who do not propose in this round: their votes say nothing but what the vote says.
    pub(crate) fn decide(&mut self, height: u64, block: BlockHash) -> Certificate {
        let mut effects = self.hear_proposal(self.proposal(height, 0, None, block));
        effects.extend(self.judged(height, block, true));
        for kind in [VoteKind::Prevote, VoteKind::Precommit] {
            for n in self.others() {
                effects.extend(self.hear_vote(self.vote(n, kind, height, 0, Some(block))));
            }
        }
        decisions(&effects).pop().expect("a proposal, a verdict and everybody's votes decide")
    }
}

/// The votes a list of effects sends.
pub(crate) fn votes(effects: &[Effect]) -> Vec<SignedVote> {
    let vote = |effect: &Effect| match effect {
        Effect::Send(Message::Vote(vote)) => Some(*vote),
        _ => None,
    };
    effects.iter().filter_map(vote).collect()
}

/// Kind, round and block of the votes a list of effects sends.
pub(crate) fn said(effects: &[Effect]) -> Vec<(VoteKind, u32, Option<BlockHash>)> {
    votes(effects).into_iter().map(|vote| (vote.kind, vote.body.round, vote.body.block)).collect()
}

pub(crate) fn proposals(effects: &[Effect]) -> Vec<SignedProposal> {
    let proposal = |effect: &Effect| match effect {
        Effect::Send(Message::Proposal(proposal)) => Some(*proposal),
        _ => None,
    };
    effects.iter().filter_map(proposal).collect()
}

pub(crate) fn decisions(effects: &[Effect]) -> Vec<Certificate> {
    let decision = |effect: &Effect| match effect {
        Effect::Decide(certificate) => Some(certificate.clone()),
        _ => None,
    };
    effects.iter().filter_map(decision).collect()
}

/// What a list of effects writes to the vote log.
pub(crate) fn logged(effects: &[Effect]) -> Vec<LogEntry> {
    let entry = |effect: &Effect| match effect {
        Effect::Append(entry) => Some(entry.clone()),
        _ => None,
    };
    effects.iter().filter_map(entry).collect()
}

/// What a list of effects writes to the guard file.
pub(crate) fn guarded(effects: &[Effect]) -> Vec<GuardRecord> {
    let record = |effect: &Effect| match effect {
        Effect::Guard(record) => Some(record.clone()),
        _ => None,
    };
    effects.iter().filter_map(record).collect()
}
