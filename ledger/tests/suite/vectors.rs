//! Golden files: what this room writes, byte for byte, for verifiers written by others.
//!
//! `docs/vectors/` is made by `write_vectors` from seeds and compared with what is there;
//! `UPDATE_VECTORS=1` writes it. A difference that was not meant is a fork; one that was meant needs a
//! new protocol version.

use crate::certificate_vectors::certificates;
use crate::epochs;
use crate::near_misses::near_misses;
use crate::support::samples::*;
use crate::support::world::{VALIDATORS, World, organisation, rules, validator_set};
use crate::support::{digest, key, name, product};
use ledger::approval::ApprovalRules;
use ledger::artifact::UploadGrant;
use ledger::block::Block;
use ledger::bounded::{List, Notes, SortedList};
use ledger::certificate::VoteBody;
use ledger::encoding::encode;
use ledger::evidence::Charge;
use ledger::fork::EvidenceFile;
use ledger::governance::{Change, Choice, CountedProposal, CountedProposals, Proposal};
use ledger::history;
use ledger::id::{Digest, PatchId};
use ledger::key::{PublicKey, Purpose};
use ledger::proof::ProofBundle;
use ledger::receipt::Outcome;
use ledger::state::record::{Halt, HaltScope, Halts, KeyStatus, Parameters, Position, Role};
use ledger::state::{Record, RecordKey, read};
use ledger::transaction::{Payload, SignedTransaction};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files to be written, and what the index says about them.
#[derive(Default)]
pub struct Vectors {
    pub files: BTreeMap<String, Vec<u8>>,
    pub index: BTreeMap<&'static str, Vec<Value>>,
}

impl Vectors {
    pub fn put(&mut self, section: &'static str, file: &str, bytes: Vec<u8>, mut about: Value) {
        about["file"] = json!(file);
        about["bytes"] = json!(bytes.len());
        about["blake3"] = json!(Digest::blake3(&bytes).to_string());
        self.index.entry(section).or_default().push(about);
        assert!(self.files.insert(file.to_owned(), bytes).is_none(), "{file} is written once");
    }

    fn note(&mut self, section: &'static str, about: Value) {
        self.index.entry(section).or_default().push(about);
    }
}

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// The ledger of the vectors: six patches of acme that stand in every way, certified by three of four.
pub fn story() -> World {
    let mut world = World::new();
    world.signers = vec!["acme", "north", "west"];
    world.say("acme/publisher", publish(&full_manifest("acme/redis", 1)));
    for release in 2..=6 {
        world.say("acme/publisher", publish(&manifest("acme/redis", release)));
    }
    let said: [(u64, &[(&str, fn(PatchId) -> Payload)]); 6] = [
        (1, &[("north/approver", approve), ("south/approver", approve)]),
        (2, &[("north/approver", approve)]),
        (3, &[("north/approver", approve), ("south/approver", reject), ("west/approver", reject)]),
        (4, &[("north/approver", approve), ("south/approver", approve), ("west/approver", hold)]),
        (5, &[("north/approver", approve), ("south/approver", approve), ("acme/publisher", recall)]),
        (6, &[("west/approver", approve_urgently)]),
    ];
    for (release, said) in said {
        for (who, what) in said {
            world.say(who, what(patch(release)));
        }
    }
    let enrolled = world.transaction("acme/operator", enroll("host-1"));
    let second = world.transaction("north/operator", enroll("host-2"));
    world.block(vec![enrolled, second]);
    world.say("host-1", receive(receipt(patch(1), 1, Outcome::Refused)));
    world.say("host-1", receive(receipt(patch(1), 2, Outcome::Applied)));
    world.say("north/operator", retire("host-2"));
    govern(&mut world);
    world.block(Vec::new());
    world
}

/// A proposal with every kind of change, which passes and leaves nobody else than before in power.
fn govern(world: &mut World) {
    let zenith = organisation("zenith", &[("second approver", Role::Approver, KeyStatus::Active)]);
    let public = |called: &str| key(called).public();
    let changes = vec![
        Change::AddOrganisation { organisation: zenith },
        Change::AddKey { organisation: name("zenith"), key: public("zenith/third approver"), role: Role::Approver },
        Change::RotateKey { old: public("zenith/approver"), new: public("zenith/next approver") },
        Change::RetireKey { key: public("zenith/second approver") },
        Change::RevokeKey { key: public("zenith/third approver") },
        Change::AddNamespace { organisation: name("zenith"), namespace: name("web") },
        Change::RemoveNamespace { organisation: name("zenith"), namespace: name("web") },
        Change::SetValidators { validators: validator_set(&VALIDATORS) },
        Change::SetApprovalRules { rules: ApprovalRules(List::new(rules()).unwrap()) },
        Change::SetParameters { parameters: Parameters { heartbeat_ms: 30_000, seal_ms: 200 } },
        Change::RemoveOrganisation { name: name("zenith") },
    ];
    let proposal = Proposal {
        changes: List::new(changes).unwrap(),
        note: Notes::new("every kind of change").unwrap(),
        closes_at_ms: world.next_ms() + 3_600_000,
    };
    let proposed = world.transaction("acme/governor", Payload::Propose { proposal });
    let proposal = proposed.id();
    world.block(vec![proposed]);
    world.say("north/governor", Payload::Ballot { proposal, choice: Choice::For });
}

/// The patch with this release counter.
pub fn patch(release: u64) -> PatchId {
    if release == 1 { full_manifest("acme/redis", 1).id() } else { manifest("acme/redis", release).id() }
}

/// Everything, in memory.
pub fn write_vectors() -> Vectors {
    let world = story();
    let mut vectors = Vectors::default();
    keys(&mut vectors);
    genesis_and_blocks(&mut vectors, &world);
    transactions(&mut vectors, &world);
    records(&mut vectors, &world);
    trees(&mut vectors, &world);
    honest_proofs(&mut vectors, &world);
    accountability(&mut vectors);
    certificates(&mut vectors);
    near_misses(&mut vectors, &world);
    vectors
}

fn keys(vectors: &mut Vectors) {
    for who in ["acme/publisher", "north/approver", "south/approver", "west/approver", "acme/validator", "host-1"] {
        let key = key(who);
        vectors.note(
            "keys",
            json!({
                "name": who, "seed": hex_of(&*key.seed()), "public": key.public().to_string(),
            }),
        );
    }
}

fn genesis_and_blocks(vectors: &mut Vectors, world: &World) {
    let header = &world.genesis.header;
    vectors.put(
        "genesis",
        "genesis.bin",
        world.genesis.genesis.bytes(),
        json!({
            "chain_id": world.chain().to_string(),
            "header": hex_of(&encode(header)),
            "header_hash": header.hash().to_string(),
            "state_root": header.state_root.to_string(),
        }),
    );
    let set = validator_set(&world.validators);
    vectors.put("validators", "validator-set.bin", encode(&set), json!({ "hash": set.hash().to_string() }));
    let block = world.blocks.iter().find(|block| block.transactions.len() == 2).expect("the story has one");
    let header = &block.header;
    vectors.put(
        "blocks",
        "header.bin",
        encode(header),
        json!({
            "hash": header.hash().to_string(), "height": header.height, "time_ms": header.time_ms,
        }),
    );
    let certificate = world.certify(header, &world.signers, &set);
    vectors.put("blocks", "certificate.bin", encode(&certificate), json!({ "of": header.hash().to_string() }));
    vectors.put("blocks", "block.bin", encode(block), json!({ "hash": header.hash().to_string() }));
    let votes = [
        (Purpose::Prevote, None),
        (Purpose::Prevote, Some(header.hash())),
        (Purpose::Precommit, None),
        (Purpose::Precommit, Some(header.hash())),
    ];
    for (purpose, block) in votes {
        let body = VoteBody { height: header.height, round: 3, block }.bytes();
        let voter = key("acme/validator");
        vectors.note(
            "votes",
            json!({
                "tag": purpose.tag(), "body": hex_of(&body), "signer": voter.public().to_string(),
                "message": hex_of(&purpose.message(&world.chain(), &body)),
                "signature": voter.sign(purpose, &world.chain(), &body).to_string(),
            }),
        );
    }
    let grant = UploadGrant {
        chain_id: world.chain(),
        publisher: PublicKey([0; 32]),
        blake3: digest("tree.tar"),
        size: 1_234_567,
        expires_at_ms: 1_700_000_600_000,
    };
    let grant = grant.sign(&key("acme/publisher"));
    vectors.put(
        "grants",
        "upload-grant.bin",
        encode(&grant),
        json!({ "publisher": grant.grant.publisher.to_string() }),
    );
    let invitation = crate::invitations::example(world.chain(), &key("acme/operator"));
    let (text, label) = (invitation.to_string(), invitation.label());
    vectors.put(
        "invitations",
        "invitation.bin",
        encode(&invitation),
        json!({
            "operator": invitation.invitation.operator.to_string(), "digest": invitation.digest().to_string(),
            "text": text, "label": format!("{}={}", label.key, label.value),
        }),
    );
    let inventory = crate::inventories::example();
    vectors.put(
        "inventories",
        "inventory.bin",
        encode(&inventory),
        json!({
            "digest": inventory.digest().to_string(), "inventory": serde_json::to_value(&inventory).expect("words"),
        }),
    );
    let report = crate::inventories::report(world.chain(), &key("host-1"));
    let about = json!({
        "endpoint": report.report.endpoint.to_string(), "of": report.report.inventory.to_string(),
        "at_ms": report.report.at_ms,
    });
    vectors.put("inventories", "inventory-report.bin", encode(&report), about);
    let read = crate::inventories::read(world.chain(), &key("acme/operator"));
    let about = json!({
        "reader": read.read.reader.to_string(), "node": read.read.node.to_string(),
        "expires_at_ms": read.read.expires_at_ms,
    });
    vectors.put("inventories", "inventory-read.bin", encode(&read), about);
}

fn put_transaction(vectors: &mut Vectors, world: &World, file: &str, signed: &SignedTransaction) {
    let bytes = encode(signed);
    let verified = signed.clone().verify(&world.chain()).expect("the story is well signed");
    vectors.put(
        "transactions",
        &format!("transactions/{file}.bin"),
        bytes,
        json!({
            "kind": signed.transaction.payload.kind(),
            "id": verified.id().to_string(),
            "signer": signed.transaction.signer.to_string(),
            "patch": signed.transaction.payload.patch().map(|patch| patch.to_string()),
        }),
    );
}

fn transactions(vectors: &mut Vectors, world: &World) {
    let by_kind = |kind: &str, nth: usize| {
        let all: Vec<_> = world.log.iter().filter(|signed| signed.transaction.payload.kind() == kind).collect();
        all[nth].clone()
    };
    let kinds = [
        ("publish-full", "publish", 0),
        ("publish", "publish", 1),
        ("approve", "approve", 0),
        ("reject", "reject", 0),
        ("hold", "hold", 0),
        ("recall", "recall", 0),
        ("enroll", "enroll", 0),
        ("retire", "retire", 0),
        ("receipt-refused", "receipt", 0),
        ("receipt-applied", "receipt", 1),
        ("propose", "propose", 0),
        ("ballot", "ballot", 0),
    ];
    for (file, kind, nth) in kinds {
        put_transaction(vectors, world, file, &by_kind(kind, nth));
    }
    let urgent = world.log.iter().find(|s| matches!(s.transaction.payload, Payload::Approve { urgent: true, .. }));
    put_transaction(vectors, world, "approve-urgently", urgent.expect("the story has one"));
}

fn records(vectors: &mut Vectors, world: &World) {
    let host = key("host-1").public();
    let proposal = world.log.iter().find_map(|signed| match &signed.transaction.payload {
        Payload::Ballot { proposal, .. } => Some(*proposal),
        _ => None,
    });
    let proposal = proposal.expect("the story has one");
    let keys = [
        ("parameters", RecordKey::Parameters),
        ("validators", RecordKey::Validators),
        ("approval-rules", RecordKey::ApprovalRules),
        ("halts-none", RecordKey::Halts),
        ("organisation", RecordKey::Organisation(name("acme"))),
        ("key", RecordKey::Key(key("acme/publisher").public())),
        ("product", RecordKey::Product(product("acme/redis"), name("stable"))),
        ("patch", RecordKey::Patch(patch(1))),
        ("patch-recalled", RecordKey::Patch(patch(5))),
        ("endpoint", RecordKey::Endpoint(host)),
        ("receipt", RecordKey::Receipt(host, patch(1))),
        ("members", RecordKey::Members),
        ("proposal", RecordKey::Proposal(proposal)),
        ("counted-proposals-none", RecordKey::CountedProposals(name("acme"))),
    ];
    let mut put = |file: &str, key: &RecordKey, record: &Record| {
        vectors.put(
            "records",
            &format!("records/{file}.bin"),
            encode(record),
            json!({
                "key": hex_of(&encode(key)), "state_key": hex_of(&key.state_key().0),
            }),
        );
    };
    for (file, key) in keys {
        put(file, &key, &read(&world.storage, &key).unwrap().expect("the story wrote it"));
    }
    put("halts", &RecordKey::Halts, &Record::Halts(halts()));
    let counted = CountedProposal { proposal, key: key("acme/governor").public(), until_ms: world.next_ms() };
    let counted = CountedProposals(List::new(vec![counted]).unwrap());
    put("counted-proposals", &RecordKey::CountedProposals(name("acme")), &Record::CountedProposals(counted));
}

/// A ledger of its own, so that what the story says stays as it is.
fn accountability(vectors: &mut Vectors) {
    use crate::support::offences::{accuse, two_certificates, two_proposals, two_votes};
    let mut world = World::new();
    let three = (["acme", "north", "south"], ["acme", "north", "west"]);
    let all = [
        ("votes", two_votes("acme/validator", 7)),
        ("proposals", two_proposals("acme/validator", 7)),
        ("certificates", two_certificates((2, 2), &three.0, &three.1)),
    ];
    for (file, evidence) in all {
        let Charge { offence, keys } = evidence.check(&world.chain()).expect("it convicts");
        let culprits: Vec<_> = keys.iter().map(ToString::to_string).collect();
        vectors.put(
            "evidence",
            &format!("evidence/{file}.bin"),
            encode(&evidence),
            json!({
                "kind": offence.kind.to_string(), "height": offence.height, "round": offence.round,
                "culprits": culprits,
            }),
        );
        world.say("south/node", accuse(evidence));
        let signed = world.log.last().expect("it was said just now").clone();
        put_transaction(vectors, &world, &format!("accuse-{file}"), &signed);
    }
    let record_key = RecordKey::Conviction(key("acme/validator").public());
    let record = read(&world.storage, &record_key).unwrap().expect("it was convicted");
    vectors.put(
        "records",
        "records/conviction.bin",
        encode(&record),
        json!({ "key": hex_of(&encode(&record_key)), "state_key": hex_of(&record_key.state_key().0) }),
    );
    for (file, about, fork) in crate::forks::forks() {
        let proven = fork.verify(&world.trust()).expect("it is a fork");
        let mut culprits: Vec<_> = proven.culprits().iter().map(|culprit| culprit.key.to_string()).collect();
        culprits.sort();
        let height = proven.one().header().height;
        let bytes = EvidenceFile::fork(world.chain(), fork).bytes();
        let about = json!({ "about": about, "height": height, "culprits": culprits });
        vectors.put("forks", &format!("forks/{file}.evidence"), bytes, about);
    }
    let head = crate::forks::head_file();
    let about =
        json!({ "about": "a final header after a change of the validators", "height": head.head.header.height });
    vectors.put("forks", "forks/head.head", head.bytes(), about);
}

fn halts() -> Halts {
    let halt = |scope| Halt {
        scope,
        by: key("acme/operator").public(),
        since: Position { height: 9, index: 8 },
        reason: sentence("smoke in the machine room"),
    };
    let scopes = [
        HaltScope::Organisation(name("globex")),
        HaltScope::Product(product("acme/redis")),
        HaltScope::Rollout(digest("a rollout")),
    ];
    Halts(SortedList::new(scopes.map(halt).to_vec()).unwrap())
}

fn trees(vectors: &mut Vectors, world: &World) {
    let root = world.tip.header.state_root;
    let mut absent: BTreeMap<&str, RecordKey> = BTreeMap::new();
    for number in 0..64u8 {
        let record_key = RecordKey::Patch(PatchId([number; 32]));
        let kind = match encode(&world.prove_record(&record_key))[0] {
            1 => "empty",
            2 => "other-leaf",
            _ => continue,
        };
        absent.entry(kind).or_insert(record_key);
    }
    let present = RecordKey::Organisation(name("north"));
    for (kind, record_key) in absent.into_iter().chain([("present", present)]) {
        let proof = world.prove_record(&record_key);
        let found = proof.verify(&root, &record_key.state_key()).unwrap().map(hex_of);
        vectors.put(
            "state_proofs",
            &format!("state-proofs/{kind}.bin"),
            encode(&proof),
            json!({
                "kind": kind, "root": root.to_string(), "key": hex_of(&encode(&record_key)),
                "state_key": hex_of(&record_key.state_key().0), "record": found,
            }),
        );
    }
    // Every leaf of a history and of a block's tree of seven.
    let leaves: Vec<Vec<u8>> = (0..7u8).map(|n| vec![n; usize::from(n)]).collect();
    let slices = || leaves.iter().map(Vec::as_slice);
    let mut storage = ledger::state::storage::MemoryStorage::default();
    let update = history::append(&storage, 0, slices()).unwrap();
    storage.write_history(&update);
    let block_root = ledger::merkle::root(slices());
    let hexes = |path: Vec<Digest>| path.iter().map(ToString::to_string).collect::<Vec<_>>();
    for index in 0..7u64 {
        let path = hexes(history::prove(&storage, 7, index).unwrap());
        let leaf = hex_of(&leaves[index as usize]);
        let root = update.root.to_string();
        vectors.note("history_paths", json!({ "root": root, "size": 7, "index": index, "leaf": leaf, "path": path }));
        let path = hexes(ledger::merkle::path(slices(), index as usize).unwrap());
        let root = block_root.to_string();
        vectors.note("block_paths", json!({ "root": root, "count": 7, "index": index, "leaf": leaf, "path": path }));
    }
}

fn put_proof(vectors: &mut Vectors, file: &str, bundle: &ProofBundle, at_ms: u64, check: &str, about: &str) {
    vectors.put(
        "proofs",
        &format!("proofs/{file}.proof"),
        bundle.bytes(),
        json!({
            "about": about, "at_ms": at_ms, "height": bundle.header.height,
            "verdict": if check.is_empty() { "proven" } else { "refused" }, "check": check,
        }),
    );
}

fn honest_proofs(vectors: &mut Vectors, world: &World) {
    let at_ms = world.tip.header.time_ms;
    let stories = [
        (1, "approved", "", "two of three approvers approved"),
        (2, "pending", "approval-rule", "one of two approvals is there"),
        (3, "rejected", "rejected", "two organisations rejected"),
        (4, "held", "held", "two approved, a third says not yet"),
        (5, "recalled", "recalled", "two approved, then the vendor recalled"),
        (6, "urgent", "", "one approver said it is urgent"),
    ];
    for (release, file, check, about) in stories {
        put_proof(vectors, file, &world.prove(patch(release)), at_ms, check, about);
    }
    let mut halted = world.clone();
    halted.impose(&RecordKey::Halts, &Record::Halts(halts()));
    let now = halted.tip.header.time_ms;
    put_proof(vectors, "halted", &halted.prove(patch(1)), now, "halted", "approved, and a halt names its product");
    let (changed, bundle) = epochs::through_two_changes();
    let now = changed.tip.header.time_ms;
    put_proof(vectors, "epochs", &bundle, now, "", "the validator set changed twice since genesis");
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors")
}

/// The index, for people and programs.
fn index(vectors: &Vectors) -> Vec<u8> {
    let text = serde_json::to_string_pretty(&vectors.index).expect("plain values");
    (text + "\n").into_bytes()
}

/// Every file under the directory, by its path in it.
fn written(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn the_golden_files_are_what_this_room_writes() {
    let mut vectors = write_vectors();
    let index = index(&vectors);
    vectors.files.insert("index.json".to_owned(), index);
    let directory = directory();
    // Written by the test of signatures, and by hand.
    let others = ["signatures.json", "README.md"];
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        for file in written(&directory).keys().filter(|file| !others.contains(&file.as_str())) {
            std::fs::remove_file(directory.join(file)).unwrap();
        }
        for (file, bytes) in &vectors.files {
            let path = directory.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    let mut there = written(&directory);
    there.retain(|file, _| !others.contains(&file.as_str()));
    let names: Vec<_> = vectors.files.keys().collect();
    assert_eq!(there.keys().collect::<Vec<_>>(), names, "the files of docs/vectors: UPDATE_VECTORS=1 writes them");
    for (file, bytes) in &vectors.files {
        assert!(there[file] == *bytes, "docs/vectors/{file} differs: UPDATE_VECTORS=1 writes it");
    }
}

#[test]
fn the_proofs_of_the_golden_files_are_judged_as_their_index_says() {
    let vectors = write_vectors();
    let trust = ledger::proof::TrustRoot::parse(&vectors.files["genesis.bin"]).unwrap();
    let judge = |entry: &Value| {
        let bytes = &vectors.files[entry["file"].as_str().unwrap()];
        let clock = ledger::proof::HostClock::at(entry["at_ms"].as_u64().unwrap());
        let verdict = ProofBundle::parse(bytes).and_then(|bundle| bundle.verify(&trust, clock));
        verdict.map_or_else(|error| error.code().word(), |_| "")
    };
    for entry in &vectors.index["proofs"] {
        assert_eq!(judge(entry), entry["check"], "{}", entry["file"]);
    }
    for entry in vectors.index["near_misses"].iter().filter(|entry| entry["kind"] == "proof") {
        assert_eq!(judge(entry), entry["check"], "{}: {}", entry["file"], entry["about"]);
    }
}

#[test]
fn the_transactions_of_the_golden_files_are_judged_as_their_index_says() {
    use ledger::transaction::TransactionError;
    let vectors = write_vectors();
    let chain = story().chain();
    let judge = |entry: &Value| match SignedTransaction::verify_bytes(
        &vectors.files[entry["file"].as_str().unwrap()],
        &chain,
    ) {
        Ok(_) => "",
        Err(TransactionError::Decode(error)) => error.check(),
        Err(TransactionError::Version(_)) => "version",
        Err(TransactionError::WrongChain { .. }) => "chain-id",
        Err(TransactionError::Signature(_)) => "signature",
        Err(TransactionError::Evidence(_)) => "evidence",
    };
    for entry in &vectors.index["transactions"] {
        assert_eq!(judge(entry), "", "{}", entry["file"]);
    }
    for entry in vectors.index["near_misses"].iter().filter(|entry| entry["kind"] == "transaction") {
        assert_eq!(judge(entry), entry["check"], "{}: {}", entry["file"], entry["about"]);
    }
}

#[test]
fn the_evidence_of_the_golden_files_names_whom_their_index_says() {
    use ledger::encoding::decode;
    use ledger::evidence::Evidence;
    use ledger::fork::Exhibit;
    let vectors = write_vectors();
    let trust = ledger::proof::TrustRoot::parse(&vectors.files["genesis.bin"]).unwrap();
    let judge = |bytes: &[u8]| -> Result<Vec<String>, &'static str> {
        let exhibit = EvidenceFile::parse(bytes, &trust).map_err(|error| error.check())?;
        let mut culprits: Vec<String> = match exhibit {
            Exhibit::Fork(fork) => {
                let proven = fork.verify(&trust).map_err(|error| error.check())?;
                proven.culprits().iter().map(|culprit| culprit.key.to_string()).collect()
            }
            Exhibit::Evidence(evidence) => {
                let charge = evidence.check(&trust.chain_id()).map_err(|_| "evidence")?;
                charge.keys.iter().map(ToString::to_string).collect()
            }
        };
        culprits.sort();
        Ok(culprits)
    };
    let bytes = |entry: &Value| vectors.files[entry["file"].as_str().unwrap()].clone();
    for entry in &vectors.index["evidence"] {
        let evidence: Evidence = decode(&bytes(entry)).unwrap();
        let named = judge(&EvidenceFile::evidence(trust.chain_id(), evidence).bytes());
        assert_eq!(json!(named.unwrap()), entry["culprits"], "{}", entry["file"]);
    }
    for entry in vectors.index["forks"].iter().filter(|entry| !entry["culprits"].is_null()) {
        assert_eq!(json!(judge(&bytes(entry)).unwrap()), entry["culprits"], "{}", entry["file"]);
    }
    let misses: Vec<_> = vectors.index["near_misses"].iter().filter(|entry| entry["kind"] == "evidence").collect();
    assert!(misses.len() > 10);
    for entry in misses {
        let check = judge(&bytes(entry)).map_or_else(|check| check, |_| "");
        assert_eq!(check, entry["check"], "{}: {}", entry["file"], entry["about"]);
    }
}

#[test]
fn the_golden_block_reads_back() {
    let vectors = write_vectors();
    let block = Block::parse(&vectors.files["block.bin"]).unwrap();
    assert_eq!(encode(&block.header), vectors.files["header.bin"]);
    assert_eq!(block.transactions.len(), 2);
    let _: List<SignedTransaction, { ledger::limits::BLOCK_TRANSACTIONS_MAX }> = block.transactions;
}
