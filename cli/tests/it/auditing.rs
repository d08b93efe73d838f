//! Two histories of one ledger: where they part, and exactly who signed both.

use crate::double::{Lie, Node};
use crate::hands::Hands;
use ledger::evidence::Evidence;
use ledger::fork::EvidenceFile;
use ledger::key::{PublicKey, SecretKey};
use ledger::state::StateView as _;
use ledger::state::record::Role;
use ledger::vote::{ProposalBody, SignedProposal};
use serde_json::Value;
use tests::Scenario;

/// Two nodes with the same blocks up to a height, and `blocks` publications of their own after it: A's are signed
/// by the first three of the set, B's by the last three; each in these rounds.
struct Split {
    a: Node,
    b: Node,
    hands: Hands,
    /// The first height at which they differ.
    height: u64,
}

impl Split {
    fn new(common: u64, rounds: &[(u32, u32)]) -> Self {
        let a = Node::start();
        a.publish(1..=common);
        let b = a.another();
        let height = a.height() + 1;
        for (release, (one, other)) in (common + 1..).zip(rounds) {
            a.decided(*one, &[0, 1, 2]);
            b.decided(*other, &[1, 2, 3]);
            a.publish([release]);
            // Another release: what is said differs, not only when.
            b.publish([release + 100]);
        }
        let hands = a.hands();
        Self { a, b, hands, height }
    }

    fn audit(&self, more: &[&str]) -> crate::hands::Ran {
        let sides = ["audit", "fork", self.a.address(), self.b.address(), "--trust", "genesis"];
        self.hands.run(&[&sides, more].concat())
    }
}

fn keys(view: &Value) -> Vec<String> {
    let named = view["equivocators"].as_array().unwrap();
    let mut keys: Vec<String> = named.iter().map(|named| named["key"].as_str().unwrap().to_owned()).collect();
    keys.sort();
    keys
}

fn sorted(keys: &[PublicKey]) -> Vec<String> {
    let mut keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    keys.sort();
    keys
}

#[test]
fn one_history_is_no_fork_whoever_shows_it() {
    let node = Node::start();
    let hands = node.hands();
    let audit = |one: &str, other: &str| hands.run(&["audit", "fork", one, other, "-o", "json"]).done().json();
    // Nothing is final yet but the trust root.
    assert_eq!(audit(node.address(), node.address())["same_up_to"], 0);
    node.publish(1..=3);
    let behind = node.another();
    node.publish([4]);
    let (ahead, tip) = (node.address(), behind.height());
    let view = audit(ahead, behind.address());
    assert_eq!((&view["fork"], &view["same_up_to"]), (&false.into(), &tip.into()));
    hands.run(&["chain", "show", "3", "--out", "three.head"]).done();
    hands.run(&["chain", "show", "--out", "tip.head"]).done();
    assert_eq!(audit("three.head", ahead)["same_up_to"], 3);
    assert_eq!(audit(ahead, "three.head")["same_up_to"], 3);
    let text = hands.run(&["audit", "fork", "three.head", behind.address()]).done().stdout;
    assert_eq!(text, "No fork: both sides have the same blocks, as far as they can be compared: up to height 3.\n");
    // Two files of two heights say nothing about each other; a node that is behind, nothing about a file.
    hands.run(&["audit", "fork", "three.head", "tip.head"]).fails(2, "no height in common");
    hands.run(&["audit", "fork", "tip.head", behind.address()]).fails(2, "no height in common");
}

#[test]
fn a_fork_is_found_at_its_first_height_and_names_exactly_those_who_signed_both() {
    for (common, own) in [(0, 1), (1, 1), (3, 2), (7, 3)] {
        let split = Split::new(common, &vec![(0, 0); own]);
        let culprits = sorted(&split.a.validators(&[1, 2]));
        let ran = split.audit(&["--out", "fork.evidence", "-o", "json"]);
        let view = ran.json();
        assert_eq!((ran.code, &view["fork"]), (1, &true.into()), "{}", ran.stderr);
        assert_eq!((&view["height"], &view["shown_height"]), (&split.height.into(), &split.height.into()));
        assert_eq!((keys(&view), &view["why_nobody"]), (culprits.clone(), &Value::Null));
        for (place, name) in [split.a.address(), split.b.address()].into_iter().enumerate() {
            let side = &view["sides"][place];
            assert_eq!((side["side"].as_str().unwrap(), side["signers"].as_array().unwrap().len()), (name, 3));
        }
        // The file needs no node, and says the same.
        let offline = Hands::new();
        offline.write("genesis", split.hands.read("genesis"));
        offline.write("fork.evidence", split.hands.read("fork.evidence"));
        let checked =
            offline.run(&["audit", "check", "fork.evidence", "--trust", "genesis", "-o", "json"]).done().json();
        assert_eq!((&checked["verified"], keys(&checked["fork"])), (&true.into(), culprits.clone()));
        let text = offline.run(&["audit", "check", "fork.evidence", "--trust", "genesis"]).done().stdout;
        assert!(culprits.iter().all(|key| text.contains(&format!("(key {key}) signed both"))), "{text}");
    }
}

#[test]
fn a_fork_of_two_rounds_names_nobody_and_says_why() {
    let split = Split::new(2, &[(0, 1)]);
    let ran = split.audit(&["--out", "fork.evidence"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("nobody can be named") && !ran.stdout.contains("signed both\n"), "{}", ran.stdout);
    let view = split.audit(&["-o", "json"]).json();
    assert_eq!((&view["height"], keys(&view)), (&split.height.into(), vec![]));
    assert!(view["why_nobody"].as_str().unwrap().contains("an honest validator may have signed both"));
    let checked = split.hands.run(&["audit", "check", "fork.evidence", "-o", "json"]).done().json();
    assert_eq!(keys(&checked["fork"]), Vec::<String>::new());
    split
        .hands
        .run(&["audit", "accuse", "fork.evidence", "--key", "node.key"])
        .fails(2, "proves a fork, and convicts nobody");
}

#[test]
fn where_the_first_blocks_name_nobody_later_ones_may() {
    let split = Split::new(2, &[(0, 1), (4, 2), (3, 3)]);
    let view = split.audit(&["-o", "json"]).json();
    // Each publication is a block and one that seals it.
    assert_eq!((&view["height"], &view["shown_height"]), (&split.height.into(), &(split.height + 4).into()));
    assert_eq!(keys(&view), sorted(&split.a.validators(&[1, 2])));
    let text = split.audit(&[]).stdout;
    assert!(text.contains("the first after it whose certificates are of one round"), "{text}");
}

#[test]
fn files_taken_from_both_sides_tell_the_same_as_the_nodes() {
    let split = Split::new(3, &[(0, 0)]);
    let culprits = sorted(&split.a.validators(&[1, 2]));
    let height = split.height.to_string();
    for (side, name) in [(&split.a, "a.head"), (&split.b, "b.head")] {
        split.hands.run(&["chain", "show", &height, "--node", side.address(), "--out", name]).done();
    }
    let listed = split.hands.run(&["get", "patches", "-o", "json"]).done().json();
    let patch = &listed["patches"][0]["id"];
    split.hands.run(&["proof", "get", patch.as_str().unwrap(), "--out", "a.proof"]).done();
    for (one, other) in [
        ("a.head", "b.head"),
        ("a.head", split.b.address()),
        (split.a.address(), "b.head"),
        ("a.proof", split.b.address()),
    ] {
        let ran = split.hands.run(&["audit", "fork", one, other, "-o", "json"]);
        assert_eq!((ran.code, keys(&ran.json())), (1, culprits.clone()), "{one} {other}: {}", ran.stderr);
    }
}

#[test]
fn a_fork_after_changes_of_the_validators_is_proven_through_them() {
    let a = Node::start();
    a.rotate(2);
    let b = a.another();
    let height = a.height() + 1;
    a.decided(0, &[0, 1, 2]);
    b.decided(0, &[0, 2, 3]);
    a.publish([1]);
    b.publish([2]);
    let hands = a.hands();
    let ran = hands.run(&["audit", "fork", a.address(), b.address(), "--out", "fork.evidence", "-o", "json"]);
    let view = ran.json();
    assert_eq!((ran.code, &view["height"]), (1, &height.into()), "{}", ran.stderr);
    assert_eq!(keys(&view).len(), 2);
    hands.run(&["audit", "check", "fork.evidence"]).done();
    // The change itself on one side only.
    let c = b.another();
    c.rotate(1);
    b.publish([3, 4, 5]);
    let ran = hands.run(&["audit", "fork", b.address(), c.address(), "-o", "json"]);
    assert_eq!((ran.code, keys(&ran.json()).len()), (1, 3), "{}", ran.stderr);
}

/// What is asked about at a fork is the newest blocks, and these are there whatever a node has forgotten.
#[test]
fn a_fork_is_told_by_nodes_that_forgot_the_blocks_before_it() {
    let split = Split::new(5, &[(0, 0), (0, 0), (0, 0)]);
    let culprits = sorted(&split.a.validators(&[1, 2]));
    let tip = split.a.height();
    // Where each side begins, what is found, and whether it may not be the first.
    for (a, b, height, may_be_earlier) in [
        (0, split.height + 2, split.height + 2, true),
        (split.height + 3, split.height + 2, split.height + 3, true),
        (tip, tip, tip, true),
        (split.height, 0, split.height, true),
        (split.height - 1, split.height - 3, split.height, false),
        (0, 2, split.height, false),
    ] {
        split.a.forgets_below(a);
        split.b.forgets_below(b);
        let file = format!("{a}-{b}.evidence");
        let ran = split.audit(&["--out", &file, "-o", "json"]);
        let view = ran.json();
        assert_eq!((ran.code, &view["fork"], &view["height"]), (1, &true.into(), &height.into()), "{}", ran.stderr);
        assert_eq!((&view["may_be_earlier"], keys(&view)), (&may_be_earlier.into(), culprits.clone()), "{a} {b}");
        assert_eq!(split.audit(&[]).stdout.contains("they may part earlier"), may_be_earlier);
        split.hands.run(&["audit", "check", &file]).done();
    }
    // Evidence takes no other evidence's place; but it may be asked for again.
    let (first, other) = (split.hands.read("0-2.evidence"), format!("{tip}-{tip}.evidence"));
    assert_eq!(split.audit(&["--out", "0-2.evidence"]).code, 1);
    split.audit(&["--out", &other]).fails(2, "exists");
    assert_eq!(split.hands.read("0-2.evidence"), first);
    // One history, of which one of them knows the end only.
    let other = split.a.another();
    other.forgets_below(tip);
    let ran = split.hands.run(&["audit", "fork", split.a.address(), other.address(), "-o", "json"]).done();
    assert_eq!(ran.json()["same_up_to"], tip);
}

#[test]
fn an_old_file_is_compared_with_a_node_as_far_as_both_go_back() {
    let a = Node::start();
    a.rotate(1);
    a.publish([1, 2]);
    let (b, old) = (a.another(), a.height());
    let hands = a.hands();
    hands.run(&["chain", "show", "--out", "old.head"]).done();
    b.publish([3]);
    b.forgets_below(old + 1);
    // The header that changed the validators is kept for ever.
    let ran = hands.run(&["audit", "fork", "old.head", b.address(), "-o", "json"]).done();
    let same = ran.json()["same_up_to"].as_u64().unwrap();
    assert!(0 < same && same < old, "{same}");
    // And without such a one there is nothing.
    let c = Node::start();
    c.publish([1]);
    let hands = c.hands();
    hands.run(&["chain", "show", "--out", "old.head"]).done();
    c.publish([2]);
    c.forgets_below(c.height());
    hands.run(&["audit", "fork", "old.head", c.address()]).fails(2, "no height in common");
}

#[test]
fn a_side_that_proves_nothing_is_no_fork() {
    let split = Split::new(1, &[(0, 0)]);
    let (hands, a) = (&split.hands, split.a.address());
    split.b.lie(Lie::Altered);
    split.audit(&[]).fails(2, "cannot compare");
    hands.run(&["audit", "fork", a, "http://127.0.0.1:1"]).fails(2, "cannot reach the node");
    hands.run(&["audit", "fork", a, "nowhere.head"]).fails(2, "cannot read");
    hands.write("strange.head", b"no head at all");
    hands.run(&["audit", "fork", a, "strange.head"]).fails(2, "neither a head file nor a proof file");
    hands.run(&["chain", "show", "--out", "a.head"]).done();
    let mut forged = hands.read("a.head");
    let last = forged.len() - 1;
    forged[last] ^= 1;
    hands.write("a.head", &forged);
    hands.run(&["audit", "fork", a, "a.head"]).fails(2, "refused by check certificate");
    hands.write("other", crate::fixture::LedgerInMemory::new(Scenario::new(8)).trust_root());
    hands.run(&["audit", "fork", a, a, "--trust", "other"]).fails(2, "refused by check chain-id");
    Hands::new().run(&["audit", "fork", a, a]).fails(2, "no trust root given");
    hands.run(&["chain", "show", "0", "--out", "zero.head"]).fails(2, "nobody signed block 0");
}

#[test]
fn an_evidence_file_that_was_changed_is_refused_by_name() {
    let split = Split::new(1, &[(0, 0)]);
    split.audit(&["--out", "fork.evidence"]);
    let whole = split.hands.read("fork.evidence");
    let last = whole.len() - 1;
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        bytes
    };
    for (bytes, check) in [
        (whole[..last].to_vec(), "malformed"),
        ([&whole[..], &[0]].concat(), "trailing"),
        (flipped(0), "version"),
        (flipped(2), "chain-id"),
        (flipped(last), "certificate"),
        (vec![0; 1024 * 1024 + 1], "size"),
    ] {
        split.hands.write("changed.evidence", bytes);
        let ran = split.hands.run(&["audit", "check", "changed.evidence", "-o", "json"]);
        assert_eq!((ran.code, ran.json()["check"].as_str().unwrap()), (1, check), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("refused by check {check}")), "{}", ran.stderr);
    }
    split.hands.run(&["audit", "check", "nowhere.evidence"]).fails(2, "cannot read evidence file");
    // A file of another kind is called by its name.
    for (file, is) in [
        ("a.head", "a head file (`countersign audit fork` compares it)"),
        ("genesis", "a genesis file (`countersign trust show` shows it)"),
    ] {
        if file == "a.head" {
            split.hands.run(&["chain", "show", "--out", file]).done();
        }
        let ran = split.hands.run(&["audit", "check", file, "-o", "json"]);
        let error = &ran.json()["error"];
        let message = error["message"].as_str().unwrap();
        assert_eq!((ran.code, error["code"].as_str()), (1, Some("malformed")), "{error}");
        assert!(message.ends_with(&format!("; this file is {is}")), "{message}");
        assert!(error["hint"].as_str().unwrap().contains("audit fork --out"), "{error}");
    }
}

#[test]
fn what_people_found_is_brought_onto_the_ledger_and_listed() {
    let split = Split::new(1, &[(0, 0)]);
    let hands = &split.hands;
    hands.run(&["get", "convictions"]).is(0, "", "no convictions\n");
    split.audit(&["--out", "fork.evidence"]);
    let accuse = ["audit", "accuse", "fork.evidence", "--key", "node.key", "-o", "json"];
    let view = hands.run(&accuse).done().json();
    assert_eq!((view["accused"].as_array().unwrap().len(), &view["known"]), (1, &0.into()));
    let convicted = |key: PublicKey| split.a.state(|state| state.conviction(key).unwrap().is_some());
    let all = split.a.validators(&[0, 1, 2, 3]);
    assert_eq!(all.iter().map(|key| convicted(*key)).collect::<Vec<_>>(), [false, true, true, false]);
    let again = hands.run(&accuse).done();
    assert_eq!((again.json()["known"].as_u64(), again.json()["accused"].as_array().unwrap().len()), (Some(1), 0));

    let view = hands.run(&["get", "convictions", "--out", "taken.evidence", "-o", "json"]).done().json();
    let conviction = &view["convictions"][0];
    assert_eq!(
        (view["convictions"].as_array().unwrap().len(), &conviction["offence"]["kind"]),
        (1, &"precommit".into())
    );
    assert_eq!(conviction["offence"]["height"], split.height);
    assert_eq!(conviction["culprits"].as_array().unwrap().len(), 2);
    let checked = hands.run(&["audit", "check", "taken.evidence", "-o", "json"]).done().json();
    assert_eq!(keys(&checked["evidence"]), sorted(&all[1..3]));
    let text = hands.run(&["get", "convictions"]).done().stdout;
    assert!(text.contains(&format!("two precommits in height {}, round 0", split.height)), "{text}");
    let of = |key: PublicKey| {
        let view = hands.run(&["get", "convictions", "--of", &key.to_string(), "-o", "json"]).done().json();
        view["convictions"].as_array().unwrap().len()
    };
    assert_eq!((of(all[0]), of(all[1])), (0, 1));
    split.a.lie(Lie::OtherCulprit);
    hands.run(&["get", "convictions"]).fails(1, "its evidence says something else");
}

#[test]
fn evidence_of_votes_and_proposals_is_checked_and_signed_for_later() {
    let node = Node::start();
    let hands = node.hands();
    let scenario = Scenario::new(7);
    let (chain, liar) = (scenario.chain_id(), &scenario.validators()[2]);
    let proposal = |block: u8| {
        let body = ProposalBody { height: 9, round: 1, pol_round: None, block: ledger::id::BlockHash([block; 32]) };
        SignedProposal::sign(body, liar, &chain)
    };
    let file = |one, other| EvidenceFile::evidence(chain, Evidence::Proposals(one, other)).bytes();
    hands.write("lie.evidence", file(proposal(1), proposal(2)));
    let text = hands.run(&["audit", "check", "lie.evidence"]).done().stdout;
    assert!(text.contains("two proposals in height 9, round 1"), "{text}");
    assert!(text.contains(&format!("clinic (key {}) signed both", liar.public())), "{text}");
    hands.write("truth.evidence", file(proposal(1), proposal(1)));
    let ran = hands.run(&["audit", "check", "truth.evidence", "-o", "json"]);
    assert_eq!((ran.code, &ran.json()["check"]), (1, &"evidence".into()));
    hands.run(&["audit", "accuse", "truth.evidence", "--key", "node.key"]).fails(2, "refused by check evidence");
    // Only a node's key may, and it may without a network.
    hands.run(&["audit", "accuse", "lie.evidence", "--key", "bank.key"]).fails(2, "role node");
    let offline = ["audit", "accuse", "lie.evidence", "--key", "node.key", "--offline", "--out", "accuse.tx"];
    hands.run(&offline).done();
    hands.run(&["submit", "accuse.tx"]).done();
    assert!(node.state(|state| state.conviction(liar.public()).unwrap().is_some()));
}

/// Anybody can sign two things with keys that are nobody's, and call them a set.
#[test]
fn keys_that_are_not_known_to_validate_convict_nobody() {
    let node = Node::start();
    node.rotate(1);
    let hands = node.hands();
    let scenario = Scenario::new(7);
    let chain = scenario.chain_id();
    let proposal = |block: u8, key: &SecretKey| {
        let body = ProposalBody { height: 9, round: 1, pol_round: None, block: ledger::id::BlockHash([block; 32]) };
        SignedProposal::sign(body, key, &chain)
    };
    let file = |key: &SecretKey| {
        EvidenceFile::evidence(chain, Evidence::Proposals(proposal(1, key), proposal(2, key))).bytes()
    };
    hands.run(&["chain", "show", "--out", "now.head"]).done();
    // A stranger's, and a member's that is for something else.
    for key in [SecretKey::from_seed(&[9; 32]), scenario.key("acme", Role::Publisher)] {
        hands.write("strange.evidence", file(&key));
        for more in [&[][..], &["--head", "now.head"]] {
            let ran = hands.run(&[&["audit", "check", "strange.evidence", "-o", "json"], more].concat());
            let view = ran.json();
            assert_eq!((ran.code, &view["verified"], &view["check"]), (1, &false.into(), &"unknown-key".into()));
            assert!(view["message"].as_str().unwrap().contains(&key.public().to_string()), "{view}");
        }
    }
    // Who came later is known to a head file only.
    let later = scenario
        .validating_keys(1)
        .into_iter()
        .find(|key| scenario.validators().iter().all(|known| known.public() != key.public()));
    let later = later.unwrap();
    hands.write("later.evidence", file(&later));
    let ran = hands.run(&["audit", "check", "later.evidence"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("refused by check unknown-key") && ran.stderr.contains("--head"), "{}", ran.stderr);
    let text = hands.run(&["audit", "check", "later.evidence", "--head", "now.head"]).done().stdout;
    assert!(text.contains(&format!("(key {}) signed both", later.public())) && !text.contains("not known"), "{text}");
    hands.write("forged.head", &hands.read("now.head")[..40]);
    hands.run(&["audit", "check", "later.evidence", "--head", "forged.head"]).fails(2, "refused by check malformed");
}
