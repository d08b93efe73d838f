//! One member on a stand: the other members are keys in the hands of the test, and its chain is in memory.

use crate::ledger_sim::cast::{Cast, Person};
use crate::ledger_sim::invariants::POOL;
use crate::ledger_sim::vault::{SharedVault, Vault};
use consensus::member::{Action, Event, Member, MemberConfig, Memory, Now, PEER_VERSION, Parting, PeerMessage, To};
use consensus::{
    Evidence, GuardRecord, LogEntry, Message, ProposalBody, SignedProposal, SignedVote, Timeouts, VoteKind, proposer,
};
use ledger::block::{Block, Header, PROTOCOL_VERSION};
use ledger::bounded::{List, Text};
use ledger::certificate::{Certificate, VoteBody};
use ledger::execution::{self, ExecutedBlock};
use ledger::governance::{Change, Choice, Proposal};
use ledger::id::BlockHash;
use ledger::key::{PublicKey, SecretKey};
use ledger::state::StateView as _;
use ledger::state::record::Role;
use ledger::transaction::{Payload, Transaction, VerifiedTransaction};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use tests::{APPROVERS, Scenario, VENDOR};

/// The first height.
pub(crate) const H: u64 = 1;

/// One member of four; the others are keys in the hands of the test.
pub(crate) struct Stand {
    pub(crate) cast: &'static Cast,
    pub(crate) member: Member<SharedVault>,
    pub(crate) vault: SharedVault,
    pub(crate) now: Now,
    /// How much the member's clock is behind that.
    pub(crate) behind_ms: u64,
    /// What it did when it started.
    pub(crate) began: Vec<Action>,
    nonce: u64,
}

/// What a member left on its disk.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) guard: Vec<GuardRecord>,
    pub(crate) log: Vec<LogEntry>,
    pub(crate) bodies: Vec<Block>,
    pub(crate) evidence: Vec<Evidence>,
    /// What is known of the guard.
    pub(crate) memory: Option<Memory>,
}

impl Stand {
    pub(crate) fn of(person: &Person, told: BTreeSet<PublicKey>) -> Self {
        Self::raise(person, told, Disk::default())
    }

    /// One that starts with what is on its disk.
    pub(crate) fn again(person: &Person, disk: Disk) -> Self {
        Self::raise(person, BTreeSet::new(), disk)
    }

    /// The same chain in the hands of one that has just started, with an empty guard.
    pub(crate) fn restarted(self, person: &Person, memory: Memory) -> Self {
        let disk = Disk { memory: Some(memory), ..Disk::default() };
        Self::over(self.vault, person, BTreeSet::new(), disk)
    }

    fn raise(person: &Person, told: BTreeSet<PublicKey>, disk: Disk) -> Self {
        let vault = SharedVault(Rc::new(RefCell::new(Vault::new(&Cast::of(4).genesis))));
        Self::over(vault, person, told, disk)
    }

    fn over(vault: SharedVault, person: &Person, told: BTreeSet<PublicKey>, disk: Disk) -> Self {
        let cast = Cast::of(4);
        let Disk { guard, log, bodies, evidence, memory } = disk;
        let config = MemberConfig {
            chain_id: cast.chain_id(),
            parameters: cast.genesis.genesis.parameters.clone(),
            validator: person.validator.clone(),
            told,
            node: person.node.clone(),
            guard,
            memory: memory.unwrap_or(Memory::Whole),
            evidence,
            timeouts: Timeouts::default(),
            mempool: POOL,
            batch_ms: 20,
            block_transactions: 24,
        };
        let now = Now { wall_ms: cast.genesis.header.time_ms + 10_000, steady_ms: 0 };
        let bodies = bodies.into_iter().map(|block| (block, Vec::new())).collect();
        let member = Member::new(config, vault.clone());
        let mut stand = Self { cast, member, vault, now, behind_ms: 0, nonce: 0, began: Vec::new() };
        stand.began = stand.step(Event::Start { log, bodies });
        stand
    }

    /// A validator who does not propose first, and the others in the order of their turns, all connected.
    pub(crate) fn in_a_circle() -> (Self, Vec<&'static Person>) {
        let mut stand = Self::of(in_turn(3), BTreeSet::new());
        let others: Vec<_> = (0..3).map(in_turn).collect();
        for person in &others {
            stand.greet(person, Some(public(person)));
        }
        (stand, others)
    }

    /// Who has the turn in a round of the first height.
    pub(crate) fn in_turn(&self, round: u32) -> &'static Person {
        in_turn(round)
    }

    /// The same, before there is a stand.
    pub(crate) fn in_turn_of_all(round: u32) -> &'static Person {
        in_turn(round)
    }

    pub(crate) fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.step_once(event);
        while self.member.waits_for_disk() {
            actions.extend(self.step_once(Event::Written));
        }
        actions
    }

    /// One step, whatever it waits for.
    pub(crate) fn step_once(&mut self, event: Event) -> Vec<Action> {
        let now = Now { wall_ms: self.now.wall_ms - self.behind_ms, ..self.now };
        self.member.step(now, event).unwrap()
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now = Now { wall_ms: self.now.wall_ms + ms, steady_ms: self.now.steady_ms + ms };
    }

    pub(crate) fn say(&mut self, person: &Person, message: PeerMessage) -> Vec<Action> {
        self.step(Event::Said { peer: person.node.public(), message })
    }

    pub(crate) fn greet(&mut self, person: &Person, validator: Option<PublicKey>) -> Vec<Action> {
        self.greet_from(person, validator, 0)
    }

    /// A node comes, and says how far it is.
    pub(crate) fn greet_from(&mut self, person: &Person, validator: Option<PublicKey>, height: u64) -> Vec<Action> {
        let mut actions = self.step(Event::Connected { peer: person.node.public() });
        let chain = self.cast.chain_id();
        actions.extend(self.say(person, PeerMessage::Hello { version: PEER_VERSION, chain, height, validator }));
        actions
    }

    pub(crate) fn vote(&self, person: &Person, kind: VoteKind, block: impl Into<Option<BlockHash>>) -> SignedVote {
        let body = VoteBody { height: H, round: 0, block: block.into() };
        SignedVote::sign(kind, body, person.validator.as_ref().unwrap(), &self.cast.chain_id())
    }

    pub(crate) fn hear_vote(
        &mut self,
        person: &Person,
        kind: VoteKind,
        block: impl Into<Option<BlockHash>>,
    ) -> Vec<Action> {
        let vote = self.vote(person, kind, block);
        self.say(person, PeerMessage::Consensus(Message::Vote(vote)))
    }

    /// The body of a block and the proposal that names it, of whoever has the turn.
    pub(crate) fn hear_block(
        &mut self,
        person: &Person,
        header: &Header,
        transactions: &[VerifiedTransaction],
    ) -> Vec<Action> {
        let mut actions = self.hear_body(person, header, transactions);
        actions.extend(self.hear_proposal(person, 0, header.hash()));
        actions
    }

    pub(crate) fn hear_body(
        &mut self,
        person: &Person,
        header: &Header,
        transactions: &[VerifiedTransaction],
    ) -> Vec<Action> {
        let ids = transactions.iter().map(VerifiedTransaction::id).collect();
        self.say(person, PeerMessage::Body { header: header.clone(), transactions: List::new(ids).unwrap() })
    }

    pub(crate) fn hear_proposal(&mut self, person: &Person, round: u32, block: BlockHash) -> Vec<Action> {
        let body = ProposalBody { height: H, round, pol_round: None, block };
        let proposal = SignedProposal::sign(body, person.validator.as_ref().unwrap(), &self.cast.chain_id());
        self.say(person, PeerMessage::Consensus(Message::Proposal(proposal)))
    }

    /// A good, empty block of this proposer and time.
    pub(crate) fn block(&self, person: &Person, time_ms: u64) -> ExecutedBlock {
        self.block_of(person, time_ms, Vec::new())
    }

    /// A good block of these transactions.
    pub(crate) fn block_of(
        &self,
        person: &Person,
        time_ms: u64,
        transactions: Vec<VerifiedTransaction>,
    ) -> ExecutedBlock {
        let tip = self.vault.look().tip.clone();
        let (executed, dropped) = execution::propose(&self.vault, &tip, transactions, time_ms, public(person)).unwrap();
        assert!(dropped.is_empty(), "{dropped:?}");
        executed
    }

    /// The governors decide: one proposes, and two are for it.
    pub(crate) fn decision(&mut self, change: Change) -> Vec<VerifiedTransaction> {
        self.decision_of(vec![change])
    }

    /// The same, of several changes at once.
    pub(crate) fn decision_of(&mut self, changes: Vec<Change>) -> Vec<VerifiedTransaction> {
        let people = Scenario::with_validators(1, 4);
        let keys = [VENDOR, APPROVERS[0], APPROVERS[1]].map(|name| people.key(name, Role::Governor));
        let proposed = self.propose(&keys[0], changes);
        let ballot = Payload::Ballot { proposal: proposed.id(), choice: Choice::For };
        let ballots: Vec<_> = keys[1..].iter().map(|key| self.sign(key, ballot.clone())).collect();
        std::iter::once(proposed).chain(ballots).collect()
    }

    /// One proposes, whatever the others think of it.
    pub(crate) fn propose(&mut self, key: &SecretKey, changes: Vec<Change>) -> VerifiedTransaction {
        let closes_at_ms = self.now.wall_ms + 60_000;
        let proposal = Proposal { changes: List::new(changes).unwrap(), note: Text::cut("Others."), closes_at_ms };
        self.sign(key, Payload::Propose { proposal })
    }

    pub(crate) fn sign(&mut self, key: &SecretKey, payload: Payload) -> VerifiedTransaction {
        self.nonce += 1;
        let transaction = Transaction {
            version: PROTOCOL_VERSION,
            chain_id: self.cast.chain_id(),
            signer: key.public(),
            nonce: self.nonce,
            expires_at_ms: self.now.wall_ms + 60_000,
            payload,
        };
        transaction.sign(key).verify(&self.cast.chain_id()).unwrap()
    }

    /// The next block, made of these by those who validate, comes by sync.
    pub(crate) fn finalise(&mut self, transactions: Vec<VerifiedTransaction>) -> Vec<Action> {
        self.wait(1_000);
        self.finalise_by(transactions, |_| true)
    }

    /// The same, and one of them neither makes nor signs it.
    pub(crate) fn finalise_without(&mut self, key: PublicKey, transactions: Vec<VerifiedTransaction>) -> Vec<Action> {
        self.wait(1_000);
        self.finalise_by(transactions, |other| other != key)
    }

    /// The same, now, by those who take part.
    pub(crate) fn finalise_by(
        &mut self,
        transactions: Vec<VerifiedTransaction>,
        takes_part: impl Fn(PublicKey) -> bool,
    ) -> Vec<Action> {
        let tip = self.vault.look().tip.clone();
        let set = self.vault.upcoming_validators().unwrap().unwrap().next;
        let height = tip.header.height + 1;
        let turn = (0..).map(|round| proposer(&set, height, round)).find(|key| takes_part(*key)).unwrap();
        let (executed, dropped) = execution::propose(&self.vault, &tip, transactions, self.now.wall_ms, turn).unwrap();
        assert!(dropped.is_empty(), "{dropped:?}");
        let body = VoteBody { height, round: 0, block: Some(executed.block.header.hash()) };
        let voters = self
            .cast
            .validators
            .iter()
            .filter(|person| set.position(&public(person)).is_some() && takes_part(public(person)));
        let key = |person: &Person| person.validator.clone().unwrap();
        let votes = voters.map(|p| SignedVote::sign(VoteKind::Precommit, body, &key(p), &self.cast.chain_id()));
        let signed: Vec<_> = votes.map(|vote| (vote.voter, vote.signature)).collect();
        let certificate = Certificate::assemble(height, 0, executed.block.header.hash(), &signed, &set);
        let (peer, block) = (self.cast.observers[0].node.public(), executed.block.clone());
        let actions =
            self.step(Event::Synced { peer, block, transactions: executed.transactions.clone(), certificate });
        assert_eq!(self.vault.look().height(), height, "{actions:?}");
        actions
    }

    pub(crate) fn certificate(&self, signers: &[&Person], block: BlockHash) -> Certificate {
        let votes = signers.iter().map(|person| self.vote(person, VoteKind::Precommit, block));
        let signed: Vec<_> = votes.map(|vote| (vote.voter, vote.signature)).collect();
        Certificate::assemble(H, 0, block, &signed, self.cast.set())
    }
}

fn in_turn(round: u32) -> &'static Person {
    let cast = Cast::of(4);
    let key = proposer(cast.set(), H, round);
    cast.validators.iter().find(|person| public(person) == key).unwrap()
}

pub(crate) fn public(person: &Person) -> PublicKey {
    person.validator.as_ref().unwrap().public()
}

/// The blocks whose bodies are sent.
pub(crate) fn bodies_said(actions: &[Action]) -> Vec<BlockHash> {
    let body = |action: &Action| match action {
        Action::Send { message: PeerMessage::Body { header, .. }, .. } => Some(header.hash()),
        _ => None,
    };
    actions.iter().filter_map(body).collect()
}

/// Who is asked for blocks.
pub(crate) fn asked_for_blocks(actions: &[Action]) -> Vec<PublicKey> {
    let asked = |action: &Action| match action {
        Action::Send { to: To::Peer(peer), message: PeerMessage::WantBlocks { .. } } => Some(*peer),
        _ => None,
    };
    actions.iter().filter_map(asked).collect()
}

pub(crate) fn votes(actions: &[Action]) -> Vec<SignedVote> {
    let vote = |action: &Action| match action {
        Action::Send { message: PeerMessage::Consensus(Message::Vote(vote)), .. } => Some(*vote),
        _ => None,
    };
    actions.iter().filter_map(vote).collect()
}

pub(crate) fn said(actions: &[Action]) -> Vec<(VoteKind, Option<BlockHash>)> {
    votes(actions).into_iter().map(|vote| (vote.kind, vote.body.block)).collect()
}

/// Whom a list of actions catches; what is shown to people is kept, too.
pub(crate) fn caught(actions: &[Action]) -> Vec<PublicKey> {
    let chain = Cast::of(4).chain_id();
    let shown = actions.iter().filter_map(|a| if let Action::Evidence(e) = a { Some(e.clone()) } else { None });
    let shown: Vec<_> = shown.collect();
    let kept =
        actions.iter().rev().find_map(|a| if let Action::KeepEvidence(kept) = a { Some(kept.clone()) } else { None });
    assert_eq!(shown, kept.unwrap_or_default());
    shown.iter().flat_map(|evidence| evidence.check(&chain).unwrap().keys).collect()
}

pub(crate) fn parting(actions: &[Action]) -> Option<&Parting> {
    actions.iter().find_map(|action| if let Action::Disconnect { why, .. } = action { Some(why) } else { None })
}
