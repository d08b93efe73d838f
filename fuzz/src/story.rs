//! A small ledger in memory, with everything that can be said of a patch said of one: what honest proof files
//! are made of, and what is true.

use ledger::block::{Block, Header};
use ledger::bounded::{Blob, List, Name, SortedList, Text};
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::{decode, encode};
use ledger::genesis::GenesisBlock;
use ledger::governance::Change;
use ledger::history;
use ledger::id::{BlockHash, ChainId, Digest, PatchId};
use ledger::key::{PublicKey, Purpose, SecretKey, Signature};
use ledger::proof::{EpochLink, PROOF_VERSION, ProofBundle, ProvenState, ProvenTransaction, TrustRoot};
use ledger::snapshot::{SNAPSHOT_VERSION, SnapshotPart};
use ledger::state::record::{Halt, HaltScope, Halts, PatchRecord, Position, Role};
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::{self, StateProof, TreeHead};
use ledger::state::{Record, RecordKey, StateKey, StateView as _};
use ledger::transaction::{Payload, SignedTransaction, Verdict};
use ledger::validators::ValidatorSet;
use std::collections::{BTreeMap, BTreeSet};
use tests::{APPROVERS, Chain, ORGANISATIONS, VENDOR};

/// A proof file as an honest node makes it, and what must come of it.
#[derive(Clone)]
pub struct Honest {
    /// What it is about.
    pub about: &'static str,
    /// Its contents.
    pub bundle: ProofBundle,
    /// The word of the check that refuses it; empty when it is proven.
    pub check: &'static str,
    /// What the state says of the patch.
    pub record: PatchRecord,
}

/// What is true at a final header.
pub struct Certified {
    /// Proofs of all organisations, by name.
    pub organisations: BTreeMap<Name, StateProof>,
}

/// All of it.
pub struct Story {
    chain: ChainId,
    validators: ValidatorSet,
    keys: Vec<SecretKey>,
    /// What verifiers start from.
    pub trust: TrustRoot,
    /// The genesis file.
    pub genesis: Vec<u8>,
    /// Honest proof files.
    pub honest: Vec<Honest>,
    /// Headers there are proof files at.
    pub certified: BTreeMap<BlockHash, Certified>,
    /// Every final header.
    finals: BTreeSet<BlockHash>,
    /// Every transaction, proven at the newest header.
    pub transactions: Vec<ProvenTransaction>,
    /// Signatures that are somewhere in a certificate.
    pub signatures: Vec<Signature>,
    /// Keys an attacker may have stolen: the vendor's and the approvers', but no quorum of validators.
    pub stolen: Vec<SecretKey>,
    /// Blocks, all there are after genesis.
    pub blocks: Vec<(Vec<u8>, Certificate)>,
    /// What its nodes begin with.
    pub begun: GenesisBlock,
    /// Leaf hashes of the history, the newest block's included.
    pub leaves: Vec<Digest>,
    /// The honest snapshot of the newest block.
    pub snapshot: Vec<SnapshotPart>,
}

/// The story, told once.
pub fn get() -> &'static Story {
    thread_local! {
        static STORY: &'static Story = Box::leak(Box::new(Telling::tell()));
    }
    STORY.with(|story| *story)
}

impl Story {
    /// Its ledger.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// The validators of its genesis.
    pub fn validators(&self) -> ValidatorSet {
        self.validators.clone()
    }

    /// Whether a quorum made this header final.
    pub fn is_final(&self, header: &Header) -> bool {
        self.finals.contains(&header.hash())
    }

    /// Another honest certificate for a header of the story: of this round, without this validator.
    pub fn another_certificate(&self, header: &Header, set: &ValidatorSet, round: u32, without: usize) -> Certificate {
        let body = VoteBody { height: header.height, round, block: Some(header.hash()) }.bytes();
        let keys = self.keys.iter().filter(|key| set.position(&key.public()).is_some_and(|place| place != without));
        let signed = |key: &SecretKey| (key.public(), key.sign(Purpose::Precommit, &self.chain, &body));
        let precommits: Vec<(PublicKey, Signature)> = keys.map(signed).collect();
        Certificate::assemble(header.height, round, header.hash(), &precommits, set)
    }

    /// The set that certified a header of the story: the genesis set, or that of the newest link before it.
    pub fn set_of(&self, bundle: &ProofBundle) -> ValidatorSet {
        bundle.epochs.last().map_or_else(|| self.validators.clone(), |link| link.validators.clone())
    }
}

/// The story while it is told.
struct Telling {
    chain: Chain,
    log: Vec<SignedTransaction>,
    links: Vec<EpochLink>,
    head: Certificate,
    rotations: usize,
    records: BTreeMap<StateKey, Vec<u8>>,
    story: Story,
}

impl Telling {
    fn tell() -> Story {
        let mut telling = Self::begin();
        let patches: Vec<PatchId> = (0..7).map(|_| telling.chain.publish()).collect();
        telling.block();
        let [approved, pending, recalled, held, rejected, urgent, calmer] = patches[..] else {
            unreachable!("seven patches")
        };
        for patch in [approved, recalled, held, rejected] {
            APPROVERS[..2].iter().for_each(|who| telling.chain.approve(who, patch));
        }
        telling.chain.approve(APPROVERS[0], pending);
        telling.say(APPROVERS[0], Role::Approver, Payload::Approve { verdict: verdict(calmer), urgent: true });
        telling.block();
        telling.chain.approve(APPROVERS[2], approved);
        APPROVERS[..2].iter().for_each(|who| telling.chain.approve(who, calmer));
        telling.say(APPROVERS[2], Role::Approver, Payload::Hold { verdict: verdict(held) });
        telling.say(APPROVERS[2], Role::Approver, Payload::Reject { verdict: verdict(rejected) });
        telling.say(APPROVERS[1], Role::Approver, Payload::Approve { verdict: verdict(urgent), urgent: true });
        telling.block();
        telling.block();
        telling.prove("three of three approved", approved, "");
        telling.prove("two of three approved, not recalled yet", recalled, "");
        telling.say(VENDOR, Role::Publisher, Payload::Recall { patch: recalled, reason: Text::cut("It melts.") });
        telling.block();
        telling.block();
        for (about, patch, check) in [
            ("three of three approved, later", approved, ""),
            ("one of two approvals", pending, "approval-rule"),
            ("recalled by its vendor", recalled, "recalled"),
            ("held by the third", held, "held"),
            ("rejected by the third", rejected, "rejected"),
            ("one says it is urgent", urgent, ""),
            ("two approved, one of them urgently at first", calmer, ""),
        ] {
            telling.prove(about, patch, check);
        }
        for _ in 0..2 {
            telling.chain.rotate_validator();
            telling.rotations += 1;
            (0..4).for_each(|_| telling.block());
        }
        let revoked = telling.chain.scenario().key(APPROVERS[0], Role::Approver).public();
        telling.chain.govern(vec![Change::RevokeKey { key: revoked }]);
        telling.block();
        telling.block();
        telling.prove("through two changes of validators, an approver's key revoked", approved, "");
        telling.prove("the only approver left is revoked", pending, "approval-rule");
        telling.impose_a_halt();
        telling.prove("everything is halted", approved, "halted");
        telling.finish()
    }

    fn begin() -> Self {
        let chain = Chain::new(17);
        let scenario = chain.scenario();
        let genesis = scenario.genesis().genesis.bytes();
        let stolen = ORGANISATIONS.iter().map(|who| scenario.key(who, Role::Approver));
        let stolen = stolen.chain([scenario.key(VENDOR, Role::Publisher)]).collect();
        let head = scenario.certificate(&scenario.genesis().header);
        let story = Story {
            chain: scenario.chain_id(),
            validators: scenario.genesis().genesis.validators.clone(),
            keys: scenario.validating_keys(2),
            trust: TrustRoot::parse(&genesis).expect("the harness's genesis is one"),
            genesis,
            honest: Vec::new(),
            certified: BTreeMap::new(),
            finals: BTreeSet::new(),
            transactions: Vec::new(),
            signatures: Vec::new(),
            stolen,
            blocks: Vec::new(),
            begun: scenario.genesis().clone(),
            leaves: Vec::new(),
            snapshot: Vec::new(),
        };
        let records = scenario.genesis().state.records.iter().cloned().collect();
        Self { chain, log: Vec::new(), links: Vec::new(), head, rotations: 0, records, story }
    }

    fn say(&mut self, who: &str, role: Role, payload: Payload) {
        let key = self.chain.scenario().key(who, role);
        self.chain.add(&key, payload);
    }

    fn block(&mut self) {
        let finalised = self.chain.finalise();
        let block = &finalised.executed.block;
        self.log.extend(block.transactions.iter().cloned());
        self.records.extend(finalised.executed.state.records.iter().cloned());
        self.story.blocks.push((encode(block), finalised.certificate.clone()));
        self.head = finalised.certificate;
        let header = block.header.clone();
        self.story.finals.insert(header.hash());
        if header.validators_hash != header.next_validators_hash {
            let upcoming = self.chain.storage().upcoming_validators().expect("memory does not fail");
            let validators = upcoming.expect("genesis names validators").next;
            assert_eq!(validators.hash(), header.next_validators_hash);
            self.links.push(EpochLink { header, certificate: self.head.clone(), validators });
        }
    }

    /// A halt in force, at a header of its own: no transaction makes one yet (5.14), verifiers obey it.
    fn impose_a_halt(&mut self) {
        self.block();
        let halt = Halt {
            scope: HaltScope::Everything,
            by: PublicKey([7; 32]),
            since: Position { height: 1, index: 0 },
            reason: Text::cut("Smoke."),
        };
        let halts = Record::Halts(Halts(SortedList::new(vec![halt]).expect("one is within the bound")));
        let mut storage = self.chain.storage().clone();
        let records = vec![(RecordKey::Halts.state_key(), encode(&halts))];
        let update = tree::update(&storage, Some(self.chain.tip().tree), records).expect("memory does not fail");
        storage.write_state(&update);
        let mut header = self.chain.tip().header.clone();
        (header.height, header.time_ms, header.state_root) = (header.height + 1, header.time_ms + 1, update.root);
        let set = self.links.last().map(|link| link.validators.clone()).expect("the validators changed");
        let certificate = self.story.another_certificate(&header, &set, 0, usize::MAX);
        let head = TreeHead { version: update.version, root: update.root };
        let patch = self.chain.patches().next().expect("the story has patches");
        self.prove_at("everything is halted", patch, "halted", &storage, header, head, certificate);
    }

    fn prove(&mut self, about: &'static str, patch: PatchId, check: &'static str) {
        if check == "halted" {
            return; // Told by `impose_a_halt`, whose header is not the chain's.
        }
        let (storage, tip) = (self.chain.storage().clone(), self.chain.tip().clone());
        self.prove_at(about, patch, check, &storage, tip.header, tip.tree, self.head.clone());
    }

    #[allow(clippy::too_many_arguments, reason = "a header and all that belongs to it")]
    fn prove_at(
        &mut self,
        about: &'static str,
        patch: PatchId,
        check: &'static str,
        storage: &MemoryStorage,
        header: Header,
        head: TreeHead,
        certificate: Certificate,
    ) {
        let record = storage.patch(patch).expect("memory does not fail").expect("a published patch");
        let proof = |key: &RecordKey| tree::prove(storage, head, &key.state_key()).expect("memory does not fail");
        let names = ORGANISATIONS.iter().map(|name| Name::new(*name).expect("the harness uses names"));
        let all: BTreeMap<Name, StateProof> =
            names.map(|name| (name.clone(), proof(&RecordKey::Organisation(name)))).collect();
        let approves = |verdict: &&ledger::state::record::VerdictRecord| {
            use ledger::approval::Decision;
            let owner = storage.key_owner(verdict.key).expect("memory does not fail").expect("a member's key");
            let speaks = owner.status != ledger::state::record::KeyStatus::Revoked;
            speaks && matches!(verdict.decision, Decision::Approve | Decision::ApproveUrgently)
        };
        let mut approvals: Vec<u64> =
            record.verdicts.iter().filter(approves).map(|verdict| verdict.position.index).collect();
        approvals.sort_unstable();
        let mut shown: Vec<Name> = record.verdicts.iter().map(|verdict| verdict.organisation.clone()).collect();
        shown.push(record.organisation.clone());
        shown.sort();
        shown.dedup();
        let organisations = shown.into_iter().map(|name| (name.clone(), all[&name].clone())).collect();
        let bundle = ProofBundle {
            version: PROOF_VERSION,
            chain_id: self.story.chain,
            epochs: List::new(self.links.clone()).expect("two links are within the bound"),
            publish: self.proven(storage, &header, record.published.index),
            approvals: List::new(approvals.iter().map(|index| self.proven(storage, &header, *index)).collect())
                .expect("three approvals are within the bound"),
            state: ProvenState {
                patch: proof(&RecordKey::Patch(patch)),
                rules: proof(&RecordKey::ApprovalRules),
                halts: proof(&RecordKey::Halts),
                organisations: List::new(organisations).expect("four organisations are within the bound"),
            },
            header: header.clone(),
            certificate,
        };
        self.story.signatures.extend(crate::parts::CertificateParts::of(&bundle.certificate).signatures);
        self.story.finals.insert(header.hash());
        self.story.certified.entry(header.hash()).or_insert(Certified { organisations: all });
        self.story.honest.push(Honest { about, bundle, check, record });
    }

    fn proven(&self, storage: &MemoryStorage, header: &Header, index: u64) -> ProvenTransaction {
        let path = history::prove(storage, header.history_size, index).expect("it is in the history");
        let transaction = self.log[usize::try_from(index).expect("a short history")].clone();
        ProvenTransaction { transaction, index, path: List::new(path).expect("a short path") }
    }

    fn finish(mut self) -> Story {
        let (storage, header) = (self.chain.storage().clone(), self.chain.tip().header.clone());
        self.story.transactions = (0..header.history_size).map(|index| self.proven(&storage, &header, index)).collect();
        self.story.leaves = self.log.iter().map(|signed| history::leaf_hash(&encode(signed))).collect();
        self.story.snapshot = self.snapshot(&header);
        self.story
    }

    /// Sentence 13.2, of a ledger younger than thirty days in which nobody wrote a receipt.
    fn snapshot(&self, header: &Header) -> Vec<SnapshotPart> {
        let fits = "a short story is within every bound";
        let (newest, certificate) = self.story.blocks.last().expect("the story has blocks");
        assert_eq!(&decode::<Block>(newest).expect("it was encoded").header, header);
        let before = self.story.begun.header.clone();
        let begin = SnapshotPart::Begin {
            version: SNAPSHOT_VERSION,
            header: header.clone(),
            certificate: certificate.clone(),
            before,
        };
        let leaves = self.story.leaves[..usize::try_from(header.history_size).expect(fits)].to_vec();
        let links = self.links.iter().filter(|link| link.header.height < header.height).cloned();
        let whole = self.story.blocks.iter().map(|(block, certificate)| SnapshotPart::Whole {
            block: decode(block).expect("it was encoded"),
            certificate: certificate.clone(),
        });
        let records = self.records.iter().map(|(key, record)| (*key, Blob::new(record.clone()).expect(fits)));
        let mut parts = vec![begin];
        parts.extend(links.map(SnapshotPart::Epoch));
        parts.push(SnapshotPart::Leaves(List::new(leaves).expect(fits)));
        parts.extend(whole);
        parts.push(SnapshotPart::Records(List::new(records.collect()).expect(fits)));
        parts.push(SnapshotPart::End);
        parts
    }
}

fn verdict(patch: PatchId) -> Verdict {
    Verdict { patch, evidence: Digest::ZERO, note: Text::cut("Said in the story.") }
}
