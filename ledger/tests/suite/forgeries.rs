//! Forgeries of proof files: by somebody without keys, and by a quorum of traitors (sentences 6.4 to
//! 6.16).

use crate::proofs::{approved, code, told, verify};
use crate::support::samples::*;
use crate::support::world::{World, organisation, validator_set};
use crate::support::{digest, name};
use ledger::approval::Standing;
use ledger::bounded::{List, SortedList};
use ledger::encoding::{decode, encode};
use ledger::id::{ChainId, PatchId};
use ledger::proof::{AuthorityError, FinalizedPatch, ProofBundle, ProofError, ProvenTransaction};
use ledger::receipt::ReasonCode;
use ledger::state::StateView as _;
use ledger::state::record::{KeyStatus, PatchRecord, Position, Record, RecordKey, Role};

/// One sentence of the table: how a bundle is altered, and the check that must say no.
pub type Attack = (&'static str, ReasonCode, fn(&World, &mut ProofBundle));

/// Attacks on the bytes of an honest proof. None of them has a signing key.
pub const WITHOUT_KEYS: &[Attack] = &[
    ("another chain is named", ReasonCode::ChainId, |_, bundle| bundle.chain_id = ChainId([9; 32])),
    ("the header is another chain's", ReasonCode::ChainId, |_, bundle| bundle.header.chain_id = ChainId([9; 32])),
    ("the header is altered", ReasonCode::Certificate, |_, bundle| bundle.header.time_ms += 1),
    ("the header is of genesis", ReasonCode::EpochChain, |world, bundle| bundle.header = world.genesis.header.clone()),
    ("the certificate is another block's", ReasonCode::Certificate, |world, bundle| {
        let set = validator_set(&world.validators);
        bundle.certificate = world.certify(&world.blocks[0].header, &world.validators, &set);
    }),
    ("two of four validators signed", ReasonCode::Certificate, |world, bundle| {
        bundle.certificate = world.certify(&bundle.header, &["acme", "north"], &validator_set(&world.validators));
    }),
    ("strangers signed as a set of their own", ReasonCode::Certificate, |world, bundle| {
        bundle.certificate = world.certify(&bundle.header, &["mallory"], &validator_set(&["mallory"]));
    }),
    ("an older certified header is under newer records", ReasonCode::Inclusion, |world, bundle| {
        bundle.header = world.blocks[1].header.clone();
        world.recertify(bundle);
    }),
    ("the publishing transaction is another one", ReasonCode::Inclusion, |world, bundle| {
        bundle.publish.transaction = world.log[1].clone();
    }),
    ("the publishing transaction is an approval, well proven", ReasonCode::Authority, |world, bundle| {
        bundle.publish = world.prove_transaction(1);
    }),
    ("the manifest is altered", ReasonCode::Inclusion, |_, bundle| {
        let ledger::transaction::Payload::Publish { manifest } = &mut bundle.publish.transaction.transaction.payload
        else {
            panic!("a publish")
        };
        manifest.release += 1;
    }),
    ("the index is another one", ReasonCode::Inclusion, |_, bundle| bundle.publish.index += 1),
    ("the index is far outside", ReasonCode::Inclusion, |_, bundle| bundle.publish.index = u64::MAX),
    ("the path is empty", ReasonCode::Inclusion, |_, bundle| bundle.publish.path = List::default()),
    ("the path is longer", ReasonCode::Inclusion, |_, bundle| {
        let mut path = bundle.publish.path.to_vec();
        path.push(digest("more"));
        bundle.publish.path = List::new(path).unwrap();
    }),
    ("an approval is left out", ReasonCode::ApprovalRule, |_, bundle| {
        bundle.approvals = List::new(vec![bundle.approvals[0].clone()]).unwrap();
    }),
    ("all approvals are left out", ReasonCode::ApprovalRule, |_, bundle| bundle.approvals = List::default()),
    ("one approval is shown twice", ReasonCode::ProofMalformed, |_, bundle| {
        bundle.approvals = List::new(vec![bundle.approvals[0].clone(), bundle.approvals[0].clone()]).unwrap();
    }),
    ("the approvals are in another order", ReasonCode::ProofMalformed, |_, bundle| {
        bundle.approvals = List::new(vec![bundle.approvals[1].clone(), bundle.approvals[0].clone()]).unwrap();
    }),
    ("the publish is shown as an approval", ReasonCode::Authority, |_, bundle| {
        let approvals = [bundle.publish.clone()].into_iter().chain(bundle.approvals.to_vec()).collect();
        bundle.approvals = List::new(approvals).unwrap();
    }),
    ("the signature of an approval is another one's", ReasonCode::Inclusion, |world, bundle| {
        let mut approvals = bundle.approvals.to_vec();
        approvals[0].transaction.signature = world.log[2].signature;
        bundle.approvals = List::new(approvals).unwrap();
    }),
    ("the patch record is an earlier block's", ReasonCode::StateProof, |_, bundle| {
        let (world, id) = told(&full_manifest("acme/redis", 7), &[("north/approver", approve)]);
        bundle.state.patch = world.prove_record(&RecordKey::Patch(id));
    }),
    ("the patch record is shown absent", ReasonCode::StateProof, |world, bundle| {
        bundle.state.patch = world.prove_record(&RecordKey::Patch(PatchId([3; 32])));
    }),
    ("the patch record is another record", ReasonCode::StateProof, |_, bundle| {
        bundle.state.patch = bundle.state.rules.clone();
    }),
    ("the rules are the halts", ReasonCode::StateProof, |_, bundle| bundle.state.rules = bundle.state.halts.clone()),
    ("the halts are shown absent", ReasonCode::StateProof, |world, bundle| {
        bundle.state.halts = world.prove_record(&RecordKey::Organisation(name("nobody")));
    }),
    ("the vendor's organisation is left out", ReasonCode::Authority, |_, bundle| {
        bundle.state.organisations = List::new(bundle.state.organisations[1..].to_vec()).unwrap();
    }),
    ("an approver's organisation is left out", ReasonCode::Authority, |_, bundle| {
        bundle.state.organisations = List::new(bundle.state.organisations[..2].to_vec()).unwrap();
    }),
    ("an organisation's record is another's", ReasonCode::StateProof, |_, bundle| {
        let mut organisations = bundle.state.organisations.to_vec();
        organisations[0].1 = organisations[1].1.clone();
        bundle.state.organisations = List::new(organisations).unwrap();
    }),
    ("an organisation that does not exist is shown absent", ReasonCode::StateProof, |world, bundle| {
        let mut organisations = bundle.state.organisations.to_vec();
        organisations.push((name("zeus"), world.prove_record(&RecordKey::Organisation(name("zeus")))));
        bundle.state.organisations = List::new(organisations).unwrap();
    }),
    ("an organisation is shown twice", ReasonCode::ProofMalformed, |_, bundle| {
        let first = bundle.state.organisations[0].clone();
        let organisations = [first].into_iter().chain(bundle.state.organisations.to_vec()).collect();
        bundle.state.organisations = List::new(organisations).unwrap();
    }),
    ("the organisations are in another order", ReasonCode::ProofMalformed, |_, bundle| {
        let organisations = bundle.state.organisations.iter().rev().cloned().collect();
        bundle.state.organisations = List::new(organisations).unwrap();
    }),
    ("the version is another one", ReasonCode::ProofMalformed, |_, bundle| bundle.version = 2),
];

#[test]
fn every_altered_proof_is_refused_by_the_check_that_is_there_for_it() {
    let (world, id) = approved();
    for (attack, expected, alter) in WITHOUT_KEYS {
        let mut bundle = world.prove(id);
        alter(&world, &mut bundle);
        assert_eq!(code(verify(&world, &bundle)), expected.word(), "{attack}");
    }
}

/// Changes the record of an organisation under an approved patch.
fn with_member(called: &str, more: &[(&str, Role, KeyStatus)], without: &str) -> (World, PatchId) {
    let (mut world, id) = approved();
    let mut record = organisation(called, more);
    let gone = crate::support::key(&format!("{called}/{without}")).public();
    record.keys = SortedList::new(record.keys.iter().filter(|m| m.key != gone).cloned().collect()).unwrap();
    for (word, role, status) in more {
        let key = crate::support::key(&format!("{called}/{word}")).public();
        let member = ledger::state::record::MemberKey { key, role: *role, status: *status };
        let keys = record.keys.iter().filter(|m| m.key != key).cloned().chain([member]).collect();
        record.keys = SortedList::new(keys).unwrap();
    }
    world.impose(&RecordKey::Organisation(name(called)), &Record::Organisation(record));
    (world, id)
}

#[test]
fn keys_speak_in_their_role_until_they_are_revoked() {
    let cases: &[(&str, &str, Role, KeyStatus, &str)] = &[
        ("north", "approver", Role::Approver, KeyStatus::Active, ""),
        ("north", "approver", Role::Approver, KeyStatus::Retired, ""),
        ("north", "approver", Role::Approver, KeyStatus::Revoked, "authority"),
        ("north", "approver", Role::Publisher, KeyStatus::Active, "authority"),
        ("north", "approver", Role::Governor, KeyStatus::Active, "authority"),
        ("acme", "publisher", Role::Publisher, KeyStatus::Active, ""),
        ("acme", "publisher", Role::Publisher, KeyStatus::Retired, ""),
        ("acme", "publisher", Role::Publisher, KeyStatus::Revoked, "authority"),
        ("acme", "publisher", Role::Approver, KeyStatus::Active, "authority"),
    ];
    for (who, word, role, status, expected) in cases {
        let (world, id) = with_member(who, &[(word, *role, *status)], "");
        let result = verify(&world, &world.prove(id));
        let actual = result.as_ref().map_or_else(|error| error.code().word(), |_| "");
        assert_eq!(actual, *expected, "{who}/{word} as {status:?} {role}: {result:?}");
    }
    let (world, id) = with_member("south", &[], "approver");
    assert_eq!(code(verify(&world, &world.prove(id))), "authority", "a key its organisation does not know");
}

#[test]
fn a_namespace_that_went_to_somebody_else_takes_the_patch_with_it() {
    let (mut world, id) = approved();
    let mut acme = world.storage.organisation(&name("acme")).unwrap().unwrap();
    acme.namespaces = names(&["acme-2"]);
    world.impose(&RecordKey::Organisation(name("acme")), &Record::Organisation(acme));
    let error = verify(&world, &world.prove(id)).unwrap_err();
    assert!(matches!(error, ProofError::Authority(AuthorityError::NamespaceNotOwned { .. })), "{error}");
}

/// Changes the record of the patch as a quorum of traitors could: signatures are still asked for.
fn with_record(change: fn(&mut PatchRecord)) -> Result<FinalizedPatch, ProofError> {
    let (mut world, id) = approved();
    let honest = world.storage.patch(id).unwrap().unwrap();
    let mut record = honest.clone();
    change(&mut record);
    world.impose(&RecordKey::Patch(id), &Record::Patch(record));
    verify(&world, &world.prove_with(id, &honest, vec![1, 2]))
}

#[test]
fn a_quorum_alone_cannot_make_a_patch() {
    let cases: &[(&str, &str, fn(&mut PatchRecord))] = &[
        ("a verdict nobody signed is in the record, and not shown", "", |record| {
            let mut verdicts = record.verdicts.to_vec();
            verdicts.push(ledger::state::record::VerdictRecord {
                key: ledger::key::PublicKey([5; 32]),
                ..verdicts[0].clone()
            });
            record.verdicts = List::new(verdicts).unwrap();
        }),
        ("another key is said to have published", "authority", |record| {
            record.publisher = ledger::key::PublicKey([5; 32]);
        }),
        ("it is said to be published elsewhere", "authority", |record| record.published.index = 2),
        ("another organisation is said to be the vendor", "authority", |record| record.organisation = name("south")),
        ("a verdict is said to be elsewhere", "authority", |record| {
            let mut verdicts = record.verdicts.to_vec();
            verdicts[1].position.index = 9;
            record.verdicts = List::new(verdicts).unwrap();
        }),
        ("a verdict is said to be another organisation's", "authority", |record| {
            let mut verdicts = record.verdicts.to_vec();
            verdicts[1].organisation = name("west");
            record.verdicts = List::new(verdicts).unwrap();
        }),
        ("a verdict is gone", "authority", |record| {
            record.verdicts = List::new(vec![record.verdicts[0].clone()]).unwrap();
        }),
        ("the record says pending: the arithmetic says approved", "", |record| {
            (record.standing, record.approved) = (Standing::Pending, None);
        }),
        ("the record says it was withdrawn", "recalled", |record| {
            record.recalled = Some(Position { height: 3, index: 2 });
        }),
    ];
    for (about, expected, change) in cases {
        let result = with_record(*change);
        let actual = result.as_ref().map_or_else(|error| error.code().word(), |_| "");
        assert_eq!(actual, *expected, "{about}: {result:?}");
    }
}

#[test]
fn a_record_that_says_approved_without_approvals_is_not_believed() {
    let (mut world, id) = told(&manifest("acme/redis", 1), &[]);
    let mut record = world.storage.patch(id).unwrap().unwrap();
    (record.standing, record.approved) = (Standing::Approved, Some(Position { height: 1, index: 0 }));
    world.impose(&RecordKey::Patch(id), &Record::Patch(record.clone()));
    assert_eq!(code(verify(&world, &world.prove_with(id, &record, Vec::new()))), "approval-rule");
}

/// A history that contains a transaction nobody signed: what a quorum of traitors could do.
#[test]
fn the_endpoint_checks_signatures_itself() {
    let (mut world, id) = approved();
    let mut forged = world.log[2].clone();
    forged.signature = world.log[1].signature;
    let bytes = encode(&forged);
    let leaves: Vec<Vec<u8>> = [&world.log[0], &world.log[1], &forged].into_iter().map(encode).collect();
    assert_eq!(leaves[2], bytes);
    let update = ledger::history::append(&Nothing, 0, leaves.iter().map(Vec::as_slice)).unwrap();
    world.storage.write_history(&update);
    let mut bundle = world.prove(id);
    bundle.header.history_root = update.root;
    let prove = |index: u64, transaction| {
        let path = ledger::history::prove(&world.storage, 3, index).unwrap();
        ProvenTransaction { transaction, index, path: List::new(path).unwrap() }
    };
    bundle.publish = prove(0, world.log[0].clone());
    bundle.approvals = List::new(vec![prove(1, world.log[1].clone()), prove(2, forged)]).unwrap();
    world.recertify(&mut bundle);
    assert_eq!(code(verify(&world, &bundle)), "signature");
}

struct Nothing;

impl ledger::history::HistoryStorage for Nothing {
    fn history_hash(&self, _: u64) -> Result<Option<ledger::id::Digest>, ledger::state::storage::StorageError> {
        Ok(None)
    }
}

/// Sentence 5.7: an empty subtree has one spelling, or one proof would have many files.
#[test]
fn an_empty_subtree_spelled_out_is_refused() {
    let (world, id) = approved();
    let bundle = world.prove(id);
    let bytes = bundle.bytes();
    let absent = encode(&bundle.state.patch);
    let start = bytes.windows(absent.len()).position(|window| window == absent).expect("the proof is in the file");
    // Every absent sibling in turn: its 0 becomes 1 and the hash of nothing.
    let mut spelled = 0;
    for place in start..start + absent.len() {
        if bytes[place] != 0 {
            continue;
        }
        let mut altered = bytes.clone();
        altered[place] = 1;
        altered.splice(place + 1..place + 1, *b"SPARSE_MERKLE_PLACEHOLDER_HASH__");
        let Ok(bundle) = decode::<ProofBundle>(&altered) else { continue };
        spelled += 1;
        assert_eq!(code(verify(&world, &bundle)), "state-proof", "byte {place}");
    }
    assert!(spelled > 0, "the path has an empty sibling to spell out");
}
