//! A shadow: an oracle behind a replica of the simulation. It is given, one by one, what the replica is given in a height
//! (words, verdicts, timers, what to build), and must answer
//! each with the same proposals, votes and decisions.
//!
//! It knows nothing of what our replica does besides the paper: when a certificate of a height is shown to the replica,
//! the shadow leaves it until the next one begins. So it does when the replica restarts, with a guard file and a log that
//! the paper does not have, and where the replica does not validate. Beside replicas in worlds with liars it is only asked for
//! its decisions: of one who says two things in one place the two may count another.

use crate::lockstep::{Core as _, Deed, H, Step};
use crate::oracle::{Oracle, QUORUM, Word};
use crate::table::{Table, X, said};
use consensus::{
    Effect, Input, Message, ProposalBody, RoundVote, SignedVote, Skip, SkipReason, TimerKind, VoteKind, proposer,
};
use ledger::bounded::List;
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;
use std::collections::{BTreeMap, BTreeSet};

/// What a replica keeps of one sender for the next height, a proof weighing as much as so many votes.
const WEIGHT_PER_SENDER_MAX: usize = 24;
const PROOF_WEIGHT: usize = 8;

/// What is compared of a replica and its shadow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Say(Word),
    Decide(u32, BlockHash),
}

/// What the two must have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Every word, at the same moment.
    Words,
    /// What they decide, whenever both do.
    Decisions,
}

/// The two do not do the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("height {height}: after {input} the replica does {ours}, and the oracle {theirs}")]
pub(crate) struct Differs {
    height: u64,
    input: String,
    ours: String,
    theirs: String,
}

pub(crate) struct Shadow {
    compared: Compared,
    /// What the replica and the oracle decided in this height.
    decided: [Option<BlockHash>; 2],
    me: PublicKey,
    quorum: usize,
    height: u64,
    /// The height that is begun next was begun before.
    restarts: bool,
    /// None before the first height, and after somebody has shown a certificate of this one.
    oracle: Option<(Oracle, ValidatorSet)>,
    judged: BTreeSet<BlockHash>,
    /// Proposals of blocks without a verdict.
    unjudged: Vec<ProposalBody>,
    /// For the next height, as the replica keeps them: by sender.
    early: BTreeMap<PublicKey, Vec<Message>>,
    early_verdicts: Vec<BlockHash>,
    /// Words the replica has said in this height: it says them again.
    said: Vec<Word>,
    /// Decisions both came to.
    pub(crate) agreed: u64,
    /// … of them after the first round.
    pub(crate) late: u64,
}

impl Shadow {
    pub(crate) fn of(me: PublicKey, compared: Compared) -> Self {
        Self { compared, ..Self::with_quorum(me, QUORUM) }
    }

    /// One that counts otherwise than it should, or not.
    pub(crate) fn with_quorum(me: PublicKey, quorum: usize) -> Self {
        Self {
            compared: Compared::Words,
            decided: [None; 2],
            me,
            quorum,
            height: 0,
            restarts: false,
            oracle: None,
            judged: BTreeSet::new(),
            unjudged: Vec::new(),
            early: BTreeMap::new(),
            early_verdicts: Vec::new(),
            said: Vec::new(),
            agreed: 0,
            late: 0,
        }
    }

    /// The replica is made anew, and with it all it keeps of what came early.
    pub(crate) fn restart(&mut self) {
        self.restarts = true;
        self.early.clear();
        self.early_verdicts.clear();
    }

    /// What the replica was given, and what it did.
    pub(crate) fn follow(&mut self, input: &Input, effects: &[Effect]) -> Result<(), Differs> {
        let deeds = self.take(input);
        if self.compared == Compared::Decisions {
            return self.follow_decisions(effects, &deeds);
        }
        if self.oracle.is_none() {
            return Ok(());
        }
        let (mut ours, mut theirs) = (self.acts(effects), deeds.into_iter().filter_map(act).collect::<Vec<_>>());
        // All of it leaves together.
        ours.sort();
        theirs.sort();
        if ours != theirs {
            let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
            return Err(Differs { height: self.height, input: format!("{input:?}"), ours, theirs });
        }
        for act in ours {
            if let Act::Decide(round, _) = act {
                self.agreed += 1;
                self.late += u64::from(round > 0);
            }
        }
        Ok(())
    }

    /// Neither waits for the other, and they never decide two blocks.
    fn follow_decisions(&mut self, effects: &[Effect], deeds: &[Deed<Word>]) -> Result<(), Differs> {
        let ours = effects.iter().find_map(|effect| match effect {
            Effect::Decide(Certificate { height, round, block, .. }) if *height == self.height => {
                Some((*round, *block))
            }
            _ => None,
        });
        let theirs = deeds.iter().find_map(|deed| match deed {
            Deed::Decide(round, block) => Some((*round, *block)),
            _ => None,
        });
        for (place, decision) in [ours, theirs].into_iter().enumerate() {
            self.decided[place] = self.decided[place].or(decision.map(|(_, block)| block));
        }
        let ([Some(ours_is), Some(theirs_is)], Some((round, _))) = (self.decided, ours.or(theirs)) else {
            return Ok(());
        };
        if ours_is != theirs_is {
            let (ours, theirs) = (format!("decides {ours_is}"), format!("decides {theirs_is}"));
            return Err(Differs { height: self.height, input: "all it heard".to_owned(), ours, theirs });
        }
        self.agreed += 1;
        self.late += u64::from(round > 0);
        Ok(())
    }

    /// What is new in what the replica does.
    fn acts(&mut self, effects: &[Effect]) -> Vec<Act> {
        let mut acts = Vec::new();
        for effect in effects {
            let word = match effect {
                Effect::Send(Message::Vote(vote)) => word(vote),
                Effect::Send(Message::Proposal(proposal)) => {
                    let ProposalBody { round, pol_round, block, .. } = proposal.body;
                    Word::Proposal { round, value: block, valid_round: pol_round }
                }
                Effect::Decide(certificate) => {
                    acts.push(Act::Decide(certificate.round, certificate.block));
                    continue;
                }
                _ => continue,
            };
            if !self.said.contains(&word) {
                self.said.push(word);
                acts.push(Act::Say(word));
            }
        }
        acts
    }

    fn take(&mut self, input: &Input) -> Vec<Deed<Word>> {
        match input {
            Input::StartHeight { height, validators, .. } => self.start(*height, validators),
            Input::Message { from, message } if message.height() == self.height + 1 => {
                self.keep(*from, message);
                Vec::new()
            }
            Input::Message { message, .. } if message.height() == self.height => self.hear(message),
            Input::Judged { height, block, valid: true } if *height == self.height + 1 => {
                self.early_verdicts.push(*block);
                Vec::new()
            }
            Input::Judged { height, block, valid: true } if *height == self.height => self.judged(*block),
            Input::Propose { height, round, block } if *height == self.height => {
                let mut deeds =
                    self.oracle.as_mut().map(|(oracle, _)| oracle.propose(*round, *block)).unwrap_or_default();
                deeds.extend(self.judged(*block));
                deeds
            }
            Input::Timer(timer) if timer.height == self.height && timer.kind != TimerKind::Rebroadcast => {
                self.oracle.as_mut().map(|(oracle, _)| oracle.ring(timer.round, timer.kind)).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// As much of one sender as the replica keeps.
    fn keep(&mut self, from: PublicKey, message: &Message) {
        let weight = |message: &Message| match message {
            Message::Vote(_) | Message::Proposal(_) => 1,
            _ => PROOF_WEIGHT,
        };
        let kept = self.early.entry(from).or_default();
        let is_of_use = !matches!(message, Message::WantProposal { .. }) && !kept.contains(message);
        if is_of_use && kept.iter().map(weight).sum::<usize>() + weight(message) <= WEIGHT_PER_SENDER_MAX {
            kept.push(message.clone());
        }
    }

    fn start(&mut self, height: u64, validators: &ValidatorSet) -> Vec<Deed<Word>> {
        let place = |key: &PublicKey| validators.position(key);
        let turn = |round| place(&proposer(validators, height, round)).expect("a proposer is of the set");
        let count = u32::try_from(validators.len()).expect("few");
        let is_next = height == self.height + 1;
        (self.height, self.oracle, self.decided) = (height, None, [None; 2]);
        (self.judged, self.unjudged, self.said) = (BTreeSet::new(), Vec::new(), Vec::new());
        let (early, verdicts) = (std::mem::take(&mut self.early), std::mem::take(&mut self.early_verdicts));
        let restarts = std::mem::take(&mut self.restarts);
        let Some(me) = place(&self.me).filter(|_| !restarts) else { return Vec::new() };
        let mut oracle = Oracle::new(me, self.quorum, (0..count).map(turn).collect()).waiting_for_values();
        let mut deeds = oracle.start();
        self.oracle = Some((oracle, validators.clone()));
        if is_next {
            verdicts.into_iter().for_each(|block| deeds.extend(self.judged(block)));
            early.into_values().flatten().for_each(|message| deeds.extend(self.hear(&message)));
        }
        deeds
    }

    fn hear(&mut self, message: &Message) -> Vec<Deed<Word>> {
        match message {
            Message::Vote(vote) => self.tell(vote.voter, word(vote)),
            Message::Polka(polka) => polka.votes().flat_map(|vote| self.tell(vote.voter, word(&vote))).collect(),
            // The core looks at no proof of a round that it has entered, or left, or knows to be over; and then nobody remembers
            // what is in it.
            Message::Skip(skip) if !self.is_looked_at(skip) => Vec::new(),
            Message::Skip(skip) => skip.votes().flat_map(|vote| self.tell(vote.voter, word(&vote))).collect(),
            Message::Proposal(proposal) if self.judged.contains(&proposal.body.block) => self.propose(proposal.body),
            Message::Proposal(proposal) => {
                self.unjudged.push(proposal.body);
                Vec::new()
            }
            Message::Decided(_) => {
                self.oracle = None;
                Vec::new()
            }
            Message::WantProposal { .. } => Vec::new(),
        }
    }

    fn is_looked_at(&self, skip: &Skip) -> bool {
        self.oracle.as_ref().is_some_and(|(oracle, _)| match skip.reason {
            SkipReason::Ahead => skip.round > oracle.round(),
            SkipReason::Over if skip.round == oracle.round() => !oracle.has_heard_that_it_is_over(),
            SkipReason::Over => skip.round > oracle.round(),
        })
    }

    fn judged(&mut self, block: BlockHash) -> Vec<Deed<Word>> {
        self.judged.insert(block);
        let (known, unjudged): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unjudged).into_iter().partition(|body| body.block == block);
        self.unjudged = unjudged;
        known.into_iter().flat_map(|body| self.propose(body)).collect()
    }

    fn propose(&mut self, body: ProposalBody) -> Vec<Deed<Word>> {
        let ProposalBody { height, round, pol_round, block } = body;
        let Some((_, set)) = &self.oracle else { return Vec::new() };
        let author = proposer(set, height, round);
        self.tell(author, Word::Proposal { round, value: block, valid_round: pol_round })
    }

    fn tell(&mut self, from: PublicKey, word: Word) -> Vec<Deed<Word>> {
        let Some((oracle, set)) = &mut self.oracle else { return Vec::new() };
        // The replica heeds nobody else either.
        let Some(place) = set.position(&from) else { return Vec::new() };
        oracle.hear(place, word)
    }
}

fn word(vote: &SignedVote) -> Word {
    let step = if vote.kind == VoteKind::Prevote { Step::Prevote } else { Step::Precommit };
    Word::Vote { step, round: vote.body.round, value: vote.body.block }
}

fn act(deed: Deed<Word>) -> Option<Act> {
    match deed {
        Deed::Say(word) => Some(Act::Say(word)),
        Deed::Decide(round, block) => Some(Act::Decide(round, block)),
        Deed::Tell(..) | Deed::Schedule(..) | Deed::Cancel(..) | Deed::CancelAll => None,
    }
}

/// Votes are remembered as known however they come, and are not heard again: so those in a proof must count at once, or
/// else nobody's repeating them would help whoever came into a round with it.
#[test]
fn votes_that_came_in_a_proof_count_like_others() {
    let mut table = Table::of(4, 1);
    table.start(H);
    table.hear_proposal(table.proposal(H, 2, None, X));
    table.judged(H, X, true);
    let votes = [0, 3].map(|n| table.prevote(n, H, 2, Some(X)));
    let votes = votes.map(|SignedVote { kind, body, voter, signature }| RoundVote {
        kind,
        block: body.block,
        voter,
        signature,
    });
    let votes = List::new(votes.to_vec()).unwrap();
    let skip = Skip { height: H, round: 2, reason: SkipReason::Ahead, votes };
    let effects = table.hear(0, Message::Skip(skip));
    let expected = [(VoteKind::Prevote, 2, Some(X)), (VoteKind::Precommit, 2, Some(X))];
    let mut said = said(&effects);
    said.sort();
    assert_eq!(said, expected, "two of others and its own are a quorum");
}
