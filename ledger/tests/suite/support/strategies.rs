//! Values by chance of every type that has a door.

use ledger::approval::{ApprovalRule, ApprovalRules, Decision, Quorum, Standing};
use ledger::artifact::{SignedUploadGrant, UploadGrant};
use ledger::block::{Block, Header};
use ledger::bounded::{List, Name, Product, SortedList, Text};
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::{Canonical, decode, encode};
use ledger::evidence::{CertifiedHeader, Evidence, Offence, OffenceKind, TwoCertificates};
use ledger::fork::{Branch, EvidenceFile, Exhibit, Fork, HeadFile};
use ledger::genesis::Genesis;
use ledger::governance::{
    Ballot, Change, Choice, CountedProposal, CountedProposals, Proposal, ProposalRecord, ProposalStanding,
};
use ledger::id::{BlockHash, ChainId, Digest, PatchId, TransactionId};
use ledger::key::{PublicKey, Signature};
use ledger::patch::{
    Artifact, Class, HealthCheck, InstallerKind, Label, PatchManifest, PayloadEncoding, Probe, Reboot, Relation,
    Severity, Target,
};
use ledger::proof::{EpochLink, ProofBundle, ProvenState, ProvenTransaction};
use ledger::receipt::{Health, Outcome, Reason, ReasonCode, Receipt};
use ledger::state::Record;
use ledger::state::record::{
    ConvictionRecord, EndpointRecord, Halt, HaltScope, Halts, KeyOwner, KeyStatus, MemberKey, Members, Organisation,
    Parameters, PatchRecord, Position, ProductRecord, ReceiptRecord, RecordedOffence, Role, UpcomingValidators,
    VerdictRecord,
};
use ledger::state::tree::StateProof;
use ledger::transaction::{Payload, SignedTransaction, Transaction, Verdict};
use ledger::validators::{Validator, ValidatorSet};
use ledger::vote::{ProposalBody, SignedProposal, SignedVote, VoteKind};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn bytes() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn digest() -> impl Strategy<Value = Digest> {
    bytes().prop_map(Digest)
}

fn public() -> impl Strategy<Value = PublicKey> {
    bytes().prop_map(PublicKey)
}

fn patch() -> impl Strategy<Value = PatchId> {
    bytes().prop_map(PatchId)
}

fn signature() -> impl Strategy<Value = Signature> {
    (bytes(), bytes()).prop_map(|(r, s)| Signature([r, s].concat().try_into().unwrap()))
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9][a-z0-9._+:-]{0,20}".prop_map(|text| Name::new(text).unwrap())
}

fn product() -> impl Strategy<Value = Product> {
    (name(), name()).prop_map(|(a, b)| Product::new(format!("{a}/{b}")).unwrap())
}

fn text<const MAX: usize>() -> impl Strategy<Value = Text<MAX>> {
    "[\\PC\n]{0,30}".prop_map(|text| Text::cut(&text))
}

fn list<T: std::fmt::Debug, const MAX: usize>(
    of: impl Strategy<Value = T>,
    most: usize,
) -> impl Strategy<Value = List<T, MAX>> {
    vec(of, 0..=most).prop_map(|elements| List::new(elements).unwrap())
}

fn sorted<T: Ord + std::fmt::Debug, const MAX: usize>(
    of: impl Strategy<Value = T>,
    most: usize,
) -> impl Strategy<Value = SortedList<T, MAX>> {
    vec(of, 0..=most).prop_map(|elements| SortedList::new(elements).unwrap())
}

fn class() -> impl Strategy<Value = Class> {
    select(vec![Class::Security, Class::Bugfix, Class::Performance, Class::Feature, Class::Firmware, Class::Content])
}

fn severity() -> impl Strategy<Value = Severity> {
    select(vec![Severity::Low, Severity::Moderate, Severity::Important, Severity::Critical])
}

fn label() -> impl Strategy<Value = Label> {
    (name(), name()).prop_map(|(key, value)| Label { key, value })
}

fn target() -> impl Strategy<Value = Target> {
    (sorted(name(), 3), sorted(name(), 3), sorted(name(), 3), sorted(label(), 3), sorted(text(), 3)).prop_map(
        |(os, architectures, hardware, labels, from_versions)| Target {
            os,
            architectures,
            hardware,
            labels,
            from_versions,
        },
    )
}

fn relation() -> impl Strategy<Value = Relation> {
    (product(), any::<u64>(), any::<u64>()).prop_map(|(product, release_min, release_max)| Relation {
        product,
        release_min,
        release_max,
    })
}

fn artifact() -> impl Strategy<Value = Artifact> {
    (name(), any::<u64>(), digest(), digest(), option::of(digest())).prop_map(
        |(name, size, blake3, sha256, delta_from)| Artifact {
            name,
            size,
            blake3,
            sha256,
            encoding: PayloadEncoding::Identity,
            delta_from,
        },
    )
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let probe = prop_oneof![
        (list(text(), 3), option::of(text())).prop_map(|(arguments, expect)| Probe::Command { arguments, expect }),
        text().prop_map(|port| Probe::Tcp { port }),
        (name(), text()).prop_map(|(package, version)| Probe::PackageVersion { package, version }),
    ];
    (probe, any::<u32>(), any::<u16>(), any::<u32>())
        .prop_map(|(probe, timeout_ms, attempts, interval_ms)| HealthCheck { probe, timeout_ms, attempts, interval_ms })
}

pub fn manifest() -> impl Strategy<Value = PatchManifest> {
    let installer = select(vec![
        InstallerKind::DirectoryTree,
        InstallerKind::Debian,
        InstallerKind::Rpm,
        InstallerKind::ImageSlot,
        InstallerKind::FileSet,
        InstallerKind::Container,
        InstallerKind::Script,
    ]);
    let reboot = select(vec![Reboot::Never, Reboot::IfNeeded, Reboot::Required]);
    let identity = (product(), name(), text(), any::<u64>(), class(), severity());
    let words = (sorted(text(), 3), text(), text());
    let relations = (list(target(), 2), sorted(relation(), 2), sorted(relation(), 2), sorted(relation(), 2));
    let how = (installer, list(artifact(), 3), sorted(name(), 3), list(health_check(), 3), reboot);
    (identity, words, relations, how).prop_map(
        |(
            (product, channel, version, release, class, severity),
            (advisories, title, notes),
            (targets, depends, conflicts, supersedes),
            (installer, artifacts, services, health, reboot),
        )| PatchManifest {
            product,
            channel,
            version,
            release,
            class,
            severity,
            advisories,
            title,
            notes,
            targets,
            depends,
            conflicts,
            supersedes,
            installer,
            artifacts,
            services,
            health,
            reboot,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    select(vec![Outcome::Applied, Outcome::RolledBack, Outcome::Failed, Outcome::Refused, Outcome::NotApplicable])
}

fn receipt() -> impl Strategy<Value = Receipt> {
    let reason = (select(ReasonCode::ALL.to_vec()), text()).prop_map(|(code, detail)| Reason { code, detail });
    let health = select(vec![Health::NotRun, Health::Passed, Health::Failed]);
    let what = (patch(), option::of(digest()), any::<u32>(), text(), text());
    (what, outcome(), option::of(reason), health, digest(), any::<u64>()).prop_map(
        |((patch, rollout, attempt, from_version, to_version), outcome, reason, health, log_digest, ended_at_ms)| {
            Receipt {
                patch,
                rollout,
                attempt,
                from_version,
                to_version,
                outcome,
                reason,
                health,
                log_digest,
                ended_at_ms,
            }
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    let verdict = || (patch(), digest(), text()).prop_map(|(patch, evidence, note)| Verdict { patch, evidence, note });
    prop_oneof![
        manifest().prop_map(|manifest| Payload::Publish { manifest }),
        (verdict(), any::<bool>()).prop_map(|(verdict, urgent)| Payload::Approve { verdict, urgent }),
        verdict().prop_map(|verdict| Payload::Reject { verdict }),
        verdict().prop_map(|verdict| Payload::Hold { verdict }),
        (patch(), text()).prop_map(|(patch, reason)| Payload::Recall { patch, reason }),
        (public(), name(), name(), sorted(label(), 3)).prop_map(|(endpoint, name, group, labels)| Payload::Enroll {
            endpoint,
            name,
            group,
            labels
        }),
        public().prop_map(|endpoint| Payload::Retire { endpoint }),
        receipt().prop_map(|receipt| Payload::Receipt { receipt }),
        proposal().prop_map(|proposal| Payload::Propose { proposal }),
        (bytes(), choice())
            .prop_map(|(proposal, choice)| Payload::Ballot { proposal: TransactionId(proposal), choice }),
        evidence().prop_map(|evidence| Payload::Accuse { evidence }),
    ]
}

fn vote() -> impl Strategy<Value = SignedVote> {
    let body = (any::<u64>(), any::<u32>(), option::of(bytes().prop_map(BlockHash)))
        .prop_map(|(height, round, block)| VoteBody { height, round, block });
    (select(vec![VoteKind::Prevote, VoteKind::Precommit]), body, public(), signature())
        .prop_map(|(kind, body, voter, signature)| SignedVote { kind, body, voter, signature })
}

fn signed_proposal() -> impl Strategy<Value = SignedProposal> {
    let body = (any::<u64>(), any::<u32>(), option::of(any::<u32>()), bytes()).prop_map(
        |(height, round, pol_round, block)| ProposalBody { height, round, pol_round, block: BlockHash(block) },
    );
    (body, public(), signature()).prop_map(|(body, proposer, signature)| SignedProposal { body, proposer, signature })
}

fn certified() -> impl Strategy<Value = CertifiedHeader> {
    (header(), certificate()).prop_map(|(header, certificate)| CertifiedHeader { header, certificate })
}

pub fn evidence() -> impl Strategy<Value = Evidence> {
    let two = (validators(), certified(), certified()).prop_map(|(validators, one, other)| TwoCertificates {
        validators,
        one,
        other,
    });
    prop_oneof![
        (vote(), vote()).prop_map(|(one, other)| Evidence::Votes(one, other)),
        (signed_proposal(), signed_proposal()).prop_map(|(one, other)| Evidence::Proposals(one, other)),
        two.prop_map(|two| Evidence::Certificates(Box::new(two))),
    ]
}

fn epoch_link() -> impl Strategy<Value = EpochLink> {
    (header(), certificate(), validators()).prop_map(|(header, certificate, validators)| EpochLink {
        header,
        certificate,
        validators,
    })
}

pub fn head_file() -> impl Strategy<Value = HeadFile> {
    (any::<u16>(), bytes(), list(epoch_link(), 2), certified()).prop_map(|(version, chain, epochs, head)| HeadFile {
        version,
        chain_id: ChainId(chain),
        epochs,
        head,
    })
}

pub fn evidence_file() -> impl Strategy<Value = EvidenceFile> {
    let branch = || (list(epoch_link(), 2), certified()).prop_map(|(epochs, head)| Branch { epochs, head });
    let fork = (list(epoch_link(), 2), branch(), branch()).prop_map(|(epochs, one, other)| Fork { epochs, one, other });
    let exhibit = prop_oneof![fork.prop_map(Exhibit::Fork), evidence().prop_map(Exhibit::Evidence),];
    (any::<u16>(), bytes(), exhibit).prop_map(|(version, chain, exhibit)| EvidenceFile {
        version,
        chain_id: ChainId(chain),
        exhibit,
    })
}

fn conviction() -> impl Strategy<Value = ConvictionRecord> {
    let kind = select(vec![OffenceKind::Prevote, OffenceKind::Precommit, OffenceKind::Proposal]);
    let offence = (any::<u64>(), any::<u32>(), kind).prop_map(|(height, round, kind)| Offence { height, round, kind });
    let recorded = (offence, position()).prop_map(|(offence, position)| RecordedOffence { offence, position });
    (name(), list(recorded, 4)).prop_map(|(organisation, offences)| ConvictionRecord { organisation, offences })
}

fn choice() -> impl Strategy<Value = Choice> {
    select(vec![Choice::For, Choice::Against])
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        organisation().prop_map(|organisation| Change::AddOrganisation { organisation }),
        name().prop_map(|name| Change::RemoveOrganisation { name }),
        (name(), public(), role()).prop_map(|(organisation, key, role)| Change::AddKey { organisation, key, role }),
        (public(), public()).prop_map(|(old, new)| Change::RotateKey { old, new }),
        public().prop_map(|key| Change::RetireKey { key }),
        public().prop_map(|key| Change::RevokeKey { key }),
        (name(), name()).prop_map(|(organisation, namespace)| Change::AddNamespace { organisation, namespace }),
        (name(), name()).prop_map(|(organisation, namespace)| Change::RemoveNamespace { organisation, namespace }),
        validators().prop_map(|validators| Change::SetValidators { validators }),
        list(rule(), 3).prop_map(|rules| Change::SetApprovalRules { rules: ApprovalRules(rules) }),
        parameters().prop_map(|parameters| Change::SetParameters { parameters }),
    ]
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (list(change(), 3), text(), any::<u64>()).prop_map(|(changes, note, closes_at_ms)| Proposal {
        changes,
        note,
        closes_at_ms,
    })
}

fn proposal_record() -> impl Strategy<Value = ProposalRecord> {
    use ProposalStanding::{Open, Passed, Refused, Void};
    let ballot =
        (name(), public(), choice()).prop_map(|(organisation, key, choice)| Ballot { organisation, key, choice });
    let standing = select(vec![Open, Passed, Refused, Void]);
    (proposal(), public(), position(), sorted(ballot, 3), standing, option::of(position())).prop_map(
        |(proposal, proposer, proposed, ballots, standing, settled)| ProposalRecord {
            proposal,
            proposer,
            proposed,
            ballots,
            standing,
            settled,
        },
    )
}

pub fn transaction() -> impl Strategy<Value = SignedTransaction> {
    (any::<u16>(), bytes(), public(), any::<u64>(), any::<u64>(), payload(), signature()).prop_map(
        |(version, chain, signer, nonce, expires_at_ms, payload, signature)| SignedTransaction {
            transaction: Transaction { version, chain_id: ChainId(chain), signer, nonce, expires_at_ms, payload },
            signature,
        },
    )
}

pub fn header() -> impl Strategy<Value = Header> {
    let numbers = (any::<u16>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u64>());
    (numbers, vec(bytes(), 8)).prop_map(|((version, height, time_ms, tx_count, history_size), hashes)| Header {
        version,
        chain_id: ChainId(hashes[0]),
        height,
        time_ms,
        parent: BlockHash(hashes[1]),
        tx_root: Digest(hashes[2]),
        tx_count,
        history_root: Digest(hashes[3]),
        history_size,
        state_root: Digest(hashes[4]),
        validators_hash: Digest(hashes[5]),
        next_validators_hash: Digest(hashes[6]),
        proposer: PublicKey(hashes[7]),
    })
}

pub fn block() -> impl Strategy<Value = Block> {
    (header(), list(transaction(), 4)).prop_map(|(header, transactions)| Block { header, transactions })
}

/// By its parts, because only signatures make one otherwise.
pub fn certificate() -> impl Strategy<Value = Certificate> {
    (any::<u64>(), any::<u32>(), bytes(), vec(any::<u8>(), 0..=16), vec(signature(), 0..5))
        .prop_map(|parts| decode(&encode(&parts)).unwrap())
}

pub fn validators() -> impl Strategy<Value = ValidatorSet> {
    let validator = (public(), name()).prop_map(|(key, organisation)| Validator { key, organisation });
    vec(validator, 1..6).prop_map(|validators| ValidatorSet::new(validators).unwrap())
}

fn status() -> impl Strategy<Value = KeyStatus> {
    select(vec![KeyStatus::Active, KeyStatus::Retired, KeyStatus::Revoked])
}

fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Publisher, Role::Approver, Role::Operator, Role::Node, Role::Validator, Role::Governor])
}

fn organisation() -> impl Strategy<Value = Organisation> {
    let member = (public(), role(), status()).prop_map(|(key, role, status)| MemberKey { key, role, status });
    (name(), sorted(name(), 3), sorted(member, 4)).prop_map(|(name, namespaces, keys)| Organisation {
        name,
        namespaces,
        keys,
    })
}

fn rule() -> impl Strategy<Value = ApprovalRule> {
    let quorum =
        || (any::<u16>(), any::<u16>()).prop_map(|(approvals, organisations)| Quorum { approvals, organisations });
    let is_for = (sorted(name(), 3), sorted(class(), 6), sorted(severity(), 4), sorted(name(), 3));
    (name(), is_for, quorum(), option::of(quorum()), any::<u16>(), any::<u16>()).prop_map(
        |(name, (namespaces, classes, severities, approvers), quorum, emergency, rejections, recalls)| ApprovalRule {
            name,
            namespaces,
            classes,
            severities,
            approvers,
            quorum,
            emergency,
            rejections,
            recalls,
        },
    )
}

fn parameters() -> impl Strategy<Value = Parameters> {
    (any::<u64>(), any::<u64>()).prop_map(|(heartbeat_ms, seal_ms)| Parameters { heartbeat_ms, seal_ms })
}

pub fn genesis() -> impl Strategy<Value = Genesis> {
    let lists = (sorted(organisation(), 3), validators(), list(rule(), 3));
    (any::<u16>(), name(), any::<u64>(), parameters(), lists).prop_map(
        |(version, name, time_ms, parameters, (organisations, validators, rules))| Genesis {
            version,
            name,
            time_ms,
            parameters,
            organisations,
            validators,
            rules,
        },
    )
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u64>()).prop_map(|(height, index)| Position { height, index })
}

fn patch_record() -> impl Strategy<Value = PatchRecord> {
    let decision =
        select(vec![Decision::Approve, Decision::ApproveUrgently, Decision::Reject, Decision::Hold, Decision::Recall]);
    let standing =
        select(vec![Standing::Pending, Standing::Approved, Standing::Rejected, Standing::Held, Standing::Recalled]);
    let verdict = (public(), name(), decision, position())
        .prop_map(|(key, organisation, decision, position)| VerdictRecord { key, organisation, decision, position });
    let identity = (product(), name(), text(), any::<u64>(), class(), severity(), name(), public());
    let story = (position(), list(verdict, 4), option::of(position()), option::of(position()), standing);
    (identity, story).prop_map(
        |(
            (product, channel, version, release, class, severity, organisation, publisher),
            (published, verdicts, approved, recalled, standing),
        )| PatchRecord {
            product,
            channel,
            version,
            release,
            class,
            severity,
            organisation,
            publisher,
            published,
            verdicts,
            approved,
            recalled,
            standing,
        },
    )
}

pub fn record() -> impl Strategy<Value = Record> {
    let scope = prop_oneof![
        Just(HaltScope::Everything),
        name().prop_map(HaltScope::Organisation),
        product().prop_map(HaltScope::Product),
        digest().prop_map(HaltScope::Rollout),
    ];
    let halt =
        (scope, public(), position(), text()).prop_map(|(scope, by, since, reason)| Halt { scope, by, since, reason });
    let endpoint = (name(), name(), name(), sorted(label(), 3), status(), position()).prop_map(
        |(organisation, name, group, labels, status, enrolled)| EndpointRecord {
            organisation,
            name,
            group,
            labels,
            status,
            enrolled,
        },
    );
    let receipt = (any::<u32>(), outcome(), option::of(select(ReasonCode::ALL.to_vec())), position())
        .prop_map(|(attempt, outcome, reason, position)| ReceiptRecord { attempt, outcome, reason, position });
    let counted = (bytes(), public(), any::<u64>()).prop_map(|(proposal, key, until_ms)| CountedProposal {
        proposal: TransactionId(proposal),
        key,
        until_ms,
    });
    prop_oneof![
        parameters().prop_map(Record::Parameters),
        (validators(), validators())
            .prop_map(|(next, after_next)| Record::Validators(UpcomingValidators { next, after_next })),
        list(rule(), 3).prop_map(|rules| Record::ApprovalRules(ApprovalRules(rules))),
        sorted(halt, 3).prop_map(|halts| Record::Halts(Halts(halts))),
        organisation().prop_map(Record::Organisation),
        (name(), role(), status()).prop_map(|(organisation, role, status)| Record::Key(KeyOwner {
            organisation,
            role,
            status
        })),
        (any::<u64>(), patch()).prop_map(|(release, patch)| Record::Product(ProductRecord { release, patch })),
        patch_record().prop_map(Record::Patch),
        endpoint.prop_map(Record::Endpoint),
        receipt.prop_map(Record::Receipt),
        sorted(name(), 3).prop_map(|names| Record::Members(Members(names))),
        proposal_record().prop_map(Record::Proposal),
        conviction().prop_map(Record::Conviction),
        list(counted, 3).prop_map(|counted| Record::CountedProposals(CountedProposals(counted))),
    ]
}

/// By its parts, because only trees make one otherwise: written as an enum of the same shape.
fn state_proof() -> impl Strategy<Value = StateProof> {
    #[derive(Clone, Debug, serde::Serialize)]
    enum End {
        Present(Vec<u8>),
        Empty,
        Other([u8; 32], [u8; 32]),
    }
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Carrier(StateProof);
    impl Canonical for Carrier {
        const NAME: &'static str = "state proof";
        const LIMIT: ledger::encoding::Limit = ledger::encoding::Limit::Proof;
    }
    let end = prop_oneof![
        vec(any::<u8>(), 0..60).prop_map(End::Present),
        Just(End::Empty),
        (bytes(), bytes()).prop_map(|(key, value_hash)| End::Other(key, value_hash)),
    ];
    (end, vec(option::of(bytes()), 0..12)).prop_map(|parts| decode::<Carrier>(&encode(&parts)).unwrap().0)
}

pub fn proof() -> impl Strategy<Value = ProofBundle> {
    let proven = || {
        (transaction(), any::<u64>(), list(digest(), 5)).prop_map(|(transaction, index, path)| ProvenTransaction {
            transaction,
            index,
            path,
        })
    };
    let state = (state_proof(), state_proof(), state_proof(), list((name(), state_proof()), 3))
        .prop_map(|(patch, rules, halts, organisations)| ProvenState { patch, rules, halts, organisations });
    let head = (any::<u16>(), bytes(), list(epoch_link(), 2), header(), certificate());
    (head, proven(), list(proven(), 2), state).prop_map(
        |((version, chain, epochs, header, certificate), publish, approvals, state)| ProofBundle {
            version,
            chain_id: ChainId(chain),
            epochs,
            header,
            certificate,
            publish,
            approvals,
            state,
        },
    )
}

pub fn grant() -> impl Strategy<Value = SignedUploadGrant> {
    (bytes(), public(), digest(), any::<u64>(), any::<u64>(), signature()).prop_map(
        |(chain, publisher, blake3, size, expires_at_ms, signature)| {
            let grant = UploadGrant { chain_id: ChainId(chain), publisher, blake3, size, expires_at_ms };
            SignedUploadGrant { grant, signature }
        },
    )
}
