//! The state tree: `jmt` and our verifier against a naive reading of the document (sentences 5.1
//! to 5.7).

use crate::support::{Chance, key, name, product};
use ledger::bounded::List;
use ledger::encoding::encode;
use ledger::id::{Digest, PatchId, context, derive};
use ledger::state::root::{NotAscending, RunningRoot};
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::{self, StateProof, StateProofError, TreeHead};
use ledger::state::{RecordKey, StateKey};
use serde::Serialize;
use std::collections::BTreeMap;

const EMPTY: [u8; 32] = *b"SPARSE_MERKLE_PLACEHOLDER_HASH__";

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    derive(&context::STATE_TREE, &parts.concat())
}

fn leaf(key: &[u8; 32], value_hash: &[u8; 32]) -> [u8; 32] {
    hash(&[b"JMT::LeafNode", key, value_hash])
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    hash(&[b"JMT::IntrnalNode", left, right])
}

fn bit(key: &[u8; 32], place: usize) -> bool {
    key[place / 8] & (0x80 >> (place % 8)) != 0
}

/// Sentence 5.6 read aloud: nothing is `EMPTY`, one record is its leaf, more are two halves.
fn naive_root(records: &[(&[u8; 32], &Vec<u8>)], depth: usize) -> [u8; 32] {
    match records {
        [] => EMPTY,
        [(key, record)] => leaf(key, &hash(&[record])),
        _ => {
            let half = records.partition_point(|(key, _)| !bit(key, depth));
            node(&naive_root(&records[..half], depth + 1), &naive_root(&records[half..], depth + 1))
        }
    }
}

/// The same bytes as the proof type of the ledger: a second writing of its layout.
#[derive(Clone, Serialize)]
enum End {
    Present(Vec<u8>),
    Empty,
    Other([u8; 32], [u8; 32]),
}

#[derive(Clone, Serialize)]
struct Proof {
    end: End,
    siblings: Vec<Option<[u8; 32]>>,
}

fn naive_proof(records: &[(&[u8; 32], &Vec<u8>)], wanted: &[u8; 32], depth: usize) -> Proof {
    match records {
        [] => Proof { end: End::Empty, siblings: Vec::new() },
        [(key, record)] if *key == wanted => Proof { end: End::Present((*record).clone()), siblings: Vec::new() },
        [(key, record)] => Proof { end: End::Other(**key, hash(&[record])), siblings: Vec::new() },
        _ => {
            let half = records.partition_point(|(key, _)| !bit(key, depth));
            let (left, right) = records.split_at(half);
            let (on, off) = if bit(wanted, depth) { (right, left) } else { (left, right) };
            let mut proof = naive_proof(on, wanted, depth + 1);
            let sibling = naive_root(off, depth + 1);
            proof.siblings.push((sibling != EMPTY).then_some(sibling));
            proof
        }
    }
}

type Records = BTreeMap<[u8; 32], Vec<u8>>;

fn slice(records: &Records) -> Vec<(&[u8; 32], &Vec<u8>)> {
    records.iter().collect()
}

/// The root of records that come one by one and are not kept.
fn running_root(records: &Records) -> Digest {
    let mut running = RunningRoot::default();
    for (key, record) in records {
        running.take(&StateKey(*key), record).unwrap();
    }
    running.root()
}

/// Records under keys by chance, put into the tree in several blocks, some of them written twice.
struct Forest {
    storage: MemoryStorage,
    head: TreeHead,
    records: Records,
}

fn forest(seed: u64, blocks: usize, per_block: usize, shape: fn(&mut Chance) -> [u8; 32]) -> Forest {
    let mut chance = Chance(seed);
    let (mut storage, mut head, mut records) = (MemoryStorage::default(), None, Records::new());
    for _ in 0..blocks {
        let mut written = Records::new();
        for _ in 0..=chance.below(per_block) {
            let known: Vec<_> = records.keys().copied().collect();
            let again = !known.is_empty() && chance.below(4) == 0;
            let state_key = if again { chance.of(&known) } else { shape(&mut chance) };
            let record = chance.bytes()[..chance.below(32)].to_vec();
            written.insert(state_key, record);
        }
        let changes = written.iter().map(|(key, record)| (StateKey(*key), record.clone())).collect();
        let update = tree::update(&storage, head, changes).unwrap();
        storage.write_state(&update);
        head = Some(TreeHead { version: update.version, root: update.root });
        records.extend(written);
        assert_eq!(update.root.0, naive_root(&slice(&records), 0), "seed {seed}, {} records", records.len());
        assert_eq!(running_root(&records), update.root, "seed {seed}, {} records", records.len());
    }
    Forest { storage, head: head.unwrap(), records }
}

/// Keys all over the place.
fn anywhere(chance: &mut Chance) -> [u8; 32] {
    chance.bytes()
}

/// Keys that share long prefixes: deep paths, absent siblings, leaves of others.
fn close_together(chance: &mut Chance) -> [u8; 32] {
    let mut key = [0xa5; 32];
    let place = chance.below(32);
    key[place] = chance.next() as u8;
    key[31] = key[31].wrapping_add(chance.below(3) as u8);
    key
}

fn verify(proof: &StateProof, root: &Digest, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StateProofError> {
    proof.verify(root, &StateKey(*key)).map(|found| found.map(<[u8]>::to_vec))
}

/// A proof by its parts, as an attacker writes it.
fn forged(proof: &Proof) -> StateProof {
    // The type is part of a proof file; alone it has no door, so it travels as one of its users.
    #[derive(Serialize, serde::Deserialize)]
    struct Carrier(StateProof);
    impl ledger::encoding::Canonical for Carrier {
        const NAME: &'static str = "state proof";
        const LIMIT: ledger::encoding::Limit = ledger::encoding::Limit::Message;
    }
    ledger::encoding::decode::<Carrier>(&encode(proof)).unwrap().0
}

#[test]
fn presence_and_both_kinds_of_absence_are_proven_as_the_naive_tree_says() {
    for seed in 0..24 {
        let shape = if seed % 2 == 0 { anywhere } else { close_together };
        let forest = forest(seed, 1 + seed as usize % 6, 1 + seed as usize * 2, shape);
        let records = slice(&forest.records);
        let root = forest.head.root;
        for (key, record) in &forest.records {
            let proof = tree::prove(&forest.storage, forest.head, &StateKey(*key)).unwrap();
            assert_eq!(encode(&proof), encode(&naive_proof(&records, key, 0)), "seed {seed}");
            assert_eq!(verify(&proof, &root, key), Ok(Some(record.clone())));
        }
        let mut chance = Chance(1_000 + seed);
        let (mut empty, mut other) = (0, 0);
        for _ in 0..60 {
            let key = shape(&mut chance);
            if forest.records.contains_key(&key) {
                continue;
            }
            let proof = tree::prove(&forest.storage, forest.head, &StateKey(key)).unwrap();
            let naive = naive_proof(&records, &key, 0);
            assert_eq!(encode(&proof), encode(&naive), "seed {seed}");
            assert_eq!(verify(&proof, &root, &key), Ok(None));
            match naive.end {
                End::Empty => empty += 1,
                _ => other += 1,
            }
        }
        assert!(seed < 6 || other > 0, "seed {seed}: {empty} empty places, {other} leaves of others");
    }
}

#[test]
fn a_running_root_is_that_of_the_records_so_far_and_takes_them_in_order_only() {
    for seed in 200..212 {
        let records = forest(seed, 3, 20, if seed % 2 == 0 { anywhere } else { close_together }).records;
        let (mut running, mut so_far) = (RunningRoot::default(), Records::new());
        assert_eq!(running.root().0, EMPTY);
        for (key, record) in &records {
            running.take(&StateKey(*key), record).unwrap();
            so_far.insert(*key, record.clone());
            assert_eq!(running.root().0, naive_root(&slice(&so_far), 0), "seed {seed}, {} records", so_far.len());
        }
        let (first, last) = (records.keys().next().unwrap(), records.keys().last().unwrap());
        for key in [first, last] {
            let again = running.clone().take(&StateKey(*key), b"again");
            assert_eq!(again, Err(NotAscending(StateKey(*key))), "seed {seed}");
        }
    }
}

#[test]
fn every_altered_part_of_a_proof_is_refused() {
    let forest = forest(77, 5, 60, close_together);
    let records = slice(&forest.records);
    let root = forest.head.root;
    let mut chance = Chance(78);
    let absent: Vec<_> = (0..10).map(|_| close_together(&mut chance)).collect();
    let mut ends = [0; 3];
    for key in forest.records.keys().step_by(9).chain(&absent) {
        let honest = naive_proof(&records, key, 0);
        let truth = verify(&forged(&honest), &root, key).unwrap();
        let refused = |proof: &Proof, about: &str| {
            assert!(verify(&forged(proof), &root, key).is_err(), "{about}");
        };
        for place in 0..honest.siblings.len() {
            let mut proof = honest.clone();
            proof.siblings[place] = match proof.siblings[place] {
                Some(mut hash) => {
                    hash[place % 32] ^= 1;
                    Some(hash)
                }
                None => Some([0; 32]),
            };
            refused(&proof, "a sibling altered");
            proof.siblings[place] = if honest.siblings[place].is_some() { None } else { Some(EMPTY) };
            refused(&proof, "a sibling taken away, or nothing spelled out");
            proof = honest.clone();
            proof.siblings.remove(place);
            refused(&proof, "a sibling left out");
            proof = honest.clone();
            proof.siblings.insert(place, proof.siblings[place]);
            refused(&proof, "a sibling twice");
            if place > 0 && honest.siblings[place] != honest.siblings[place - 1] {
                proof = honest.clone();
                proof.siblings.swap(place, place - 1);
                refused(&proof, "siblings swapped");
            }
        }
        let with_end = |end: End| Proof { end, ..honest.clone() };
        match &honest.end {
            End::Present(record) => {
                ends[0] += 1;
                assert_eq!(truth.as_ref(), Some(record));
                refused(&with_end(End::Empty), "a record hidden as nothing");
                refused(&with_end(End::Other(*key, hash(&[record]))), "a record hidden behind itself");
                refused(&with_end(End::Present([&record[..], b"x"].concat())), "a record with more in it");
            }
            End::Empty => {
                ends[1] += 1;
                refused(&with_end(End::Present(Vec::new())), "nothing shown as a record");
                refused(&with_end(End::Other([0xa4; 32], [0; 32])), "nothing shown as a leaf");
            }
            End::Other(other, value_hash) => {
                ends[2] += 1;
                refused(&with_end(End::Empty), "a leaf hidden as nothing");
                refused(&with_end(End::Present(forest.records[other].clone())), "another's record");
                let mut near = *other;
                near[31] ^= 1;
                refused(&with_end(End::Other(near, *value_hash)), "a leaf under another key");
            }
        }
    }
    assert!(ends.iter().all(|count| *count > 0), "present, empty and other were all met: {ends:?}");
}

#[test]
fn a_record_is_never_shown_absent_by_a_leaf_from_elsewhere() {
    let forest = forest(5, 4, 40, anywhere);
    let records = slice(&forest.records);
    for key in forest.records.keys() {
        for other in forest.records.keys().filter(|other| *other != key) {
            // A true path to another leaf, shown as the reason why there is nothing under this key.
            let path = naive_proof(&records, other, 0);
            let shown = Proof { end: End::Other(*other, hash(&[&forest.records[other]])), ..path };
            assert_eq!(verify(&forged(&shown), &forest.head.root, key), Err(StateProofError::UnrelatedLeaf));
        }
    }
}

#[test]
fn a_proof_is_for_one_key_and_one_root() {
    let forest = forest(6, 3, 30, anywhere);
    let older = Digest(naive_root(&slice(&forest.records)[1..], 0));
    for key in forest.records.keys() {
        let proof = tree::prove(&forest.storage, forest.head, &StateKey(*key)).unwrap();
        assert!(matches!(verify(&proof, &older, key), Err(StateProofError::WrongRoot { .. })));
        for other in forest.records.keys().filter(|other| *other != key) {
            assert!(verify(&proof, &forest.head.root, other).is_err());
        }
    }
}

#[test]
fn a_path_is_at_most_as_long_as_a_key() {
    type Siblings = List<Option<Digest>, { ledger::limits::STATE_PATH_MAX }>;
    assert!(Siblings::new(vec![None; 256]).is_ok() && Siblings::new(vec![None; 257]).is_err());
    // Two keys that differ in their last bit make the longest path there is.
    let (mut a, mut b) = ([0x5a; 32], [0x5a; 32]);
    (a[31], b[31]) = (0, 1);
    let records = vec![(StateKey(a), vec![1]), (StateKey(b), vec![2])];
    let mut storage = MemoryStorage::default();
    let update = tree::update(&storage, None, records).unwrap();
    storage.write_state(&update);
    let head = TreeHead { version: update.version, root: update.root };
    let proof = tree::prove(&storage, head, &StateKey(a)).unwrap();
    assert_eq!(encode(&proof).len(), 4 + 8 + 1 + 8 + 255 + 33);
    assert_eq!(verify(&proof, &update.root, &a), Ok(Some(vec![1])));
}

#[test]
fn keys_begin_with_the_number_of_their_kind() {
    let somebody = key("somebody").public();
    let patch = PatchId([7; 32]);
    let keys = [
        (RecordKey::Parameters, 0, "00000000"),
        (RecordKey::Validators, 0, "01000000"),
        (RecordKey::ApprovalRules, 0, "02000000"),
        (RecordKey::Halts, 0, "03000000"),
        (RecordKey::Organisation(name("acme")), 1, "04000000040000000000000061636d65"),
        (RecordKey::Key(somebody), 2, &format!("05000000{somebody}")),
        (RecordKey::Product(product("a/b"), name("c")), 3, "060000000300000000000000612f62010000000000000063"),
        (RecordKey::Patch(patch), 4, &format!("07000000{patch}")),
        (RecordKey::Endpoint(somebody), 5, &format!("08000000{somebody}")),
        (RecordKey::Receipt(somebody, patch), 6, &format!("09000000{somebody}{patch}")),
    ];
    for (record_key, kind, encoded) in keys {
        assert_eq!(hex::encode(encode(&record_key)), encoded, "{record_key:?}");
        let state_key = record_key.state_key();
        let mut hashed = derive(&context::STATE_KEY, &encode(&record_key));
        hashed[0] = kind << 4 | hashed[0] & 0x0f;
        assert_eq!(state_key.0, hashed, "{record_key:?}");
        assert_eq!(record_key.kind(), kind);
    }
}

#[test]
fn a_block_that_changes_nothing_makes_no_new_version() {
    let forest = forest(9, 2, 5, anywhere);
    let update = tree::update(&forest.storage, Some(forest.head), Vec::new()).unwrap();
    assert_eq!((update.version, update.root), (forest.head.version, forest.head.root));
    assert!(update.nodes.is_empty() && update.stale.is_empty());
}
