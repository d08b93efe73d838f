//! Proof files: taken away, looked into, and verified without a network.

use crate::double::{Lie, Node};
use crate::fixture::LedgerInMemory;
use crate::hands::Hands;
use ledger::bounded::Text;
use ledger::id::{Digest, PatchId};
use ledger::receipt::ReasonCode;
use ledger::state::record::Role;
use ledger::transaction::{Payload, Verdict};
use serde_json::Value;
use tests::Scenario;

/// Time of the newest header of the ledger below.
const HEAD: &str = "2026-01-01T00:00:09.001Z";

/// A ledger on which bank and clinic approve one patch, every second something; seed 7.
fn ledger(payloads: impl FnOnce(PatchId) -> Vec<(&'static str, Role, Payload)>) -> (LedgerInMemory, PatchId) {
    let mut ledger = LedgerInMemory::new(Scenario::new(7));
    let manifest = ledger.scenario.manifest(1);
    let patch = manifest.id();
    let mut all = vec![("acme", Role::Publisher, Payload::Publish { manifest })];
    all.extend(payloads(patch));
    let start_ms = ledger.tip.header.time_ms;
    for (place, (organisation, role, payload)) in all.into_iter().enumerate() {
        let key = ledger.scenario.key(organisation, role);
        let transaction = ledger.scenario.transaction(&key, place as u64, start_ms, payload);
        ledger.finalise(vec![transaction], start_ms + 1_000 * (place as u64 + 1));
    }
    ledger.finalise(Vec::new(), start_ms + 9_000);
    (ledger, patch)
}

fn approve(organisation: &'static str, patch: PatchId) -> (&'static str, Role, Payload) {
    // One says why and by what, the other does not.
    let (evidence, note) = match organisation {
        "bank" => (Digest::blake3(b"all green"), "trial passed"),
        _ => (Digest::ZERO, ""),
    };
    let verdict = Verdict { patch, evidence, note: Text::cut(note) };
    (organisation, Role::Approver, Payload::Approve { verdict, urgent: false })
}

fn approved() -> (LedgerInMemory, PatchId) {
    ledger(|patch| vec![approve("bank", patch), approve("clinic", patch)])
}

/// Hands with a trust root and a proof file.
fn hands(ledger: &LedgerInMemory, patch: PatchId) -> Hands {
    let hands = Hands::new();
    hands.write("genesis", ledger.trust_root());
    hands.write("p.proof", ledger.prove(patch).bytes());
    hands
}

/// A text with `ID` for every 32 bytes in hexadecimal: they follow from the harness's keys.
fn without_ids(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    let plain = words.map(|word| match word.trim_end_matches(|c: char| !c.is_ascii_hexdigit()).len() {
        64 => format!("ID{}", &word[64..]),
        _ => word.to_owned(),
    });
    plain.collect()
}

#[test]
fn a_proof_says_what_it_proves() {
    let (ledger, patch) = approved();
    let hands = hands(&ledger, patch);
    let mut verified = hands.run(&["verify", "p.proof", "--trust", "genesis", "--at", HEAD]);
    verified.stdout = without_ids(&verified.stdout);
    verified.is(0, include_str!("verified.txt"), "");
    let view = hands.run(&["verify", "p.proof", "--genesis", "genesis", "--at", HEAD, "-o", "json"]).done().json();
    assert_eq!((&view["verified"], &view["patch"]), (&true.into(), &patch.to_string().into()));
    assert_eq!((&view["vendor"], &view["rule"]), (&"acme".into(), &"default".into()));
    assert_eq!(
        (&view["approvals"][0]["organisation"], &view["approvals"][1]["organisation"]),
        (&"bank".into(), &"clinic".into())
    );
    assert_eq!(
        (&view["approvals"][0]["note"], &view["approvals"][1]["evidence"]),
        (&"trial passed".into(), &Value::Null)
    );
    let shown = hands.run(&["proof", "show", "p.proof", "-o", "json"]).done().json();
    assert_eq!((&shown["approvals"], &shown["verdicts"][0]["note"]), (&2.into(), &"trial passed".into()));
    let header = &view["header"];
    assert_eq!((&header["height"], &header["signers"], &header["validators"]), (&8.into(), &3.into(), &4.into()));
    assert_eq!(header["quorum"], 3);
    assert_eq!(view["manifest"]["product"], "acme/widget");
}

#[test]
fn a_proof_leads_through_every_change_of_the_validators() {
    let (mut ledger, patch) = approved();
    let at_ms = ledger.tip.header.time_ms;
    for (times, words) in [(1, "1: the validators changed once"), (2, "2: the validators changed 2 times")] {
        ledger.rotate(at_ms);
        let hands = hands(&ledger, patch);
        let verified = hands.run(&["verify", "p.proof", "--trust", "genesis", "--at", HEAD]).done();
        let says = format!("epochs      {words} since the trust root\n");
        assert!(verified.stdout.contains(&says), "{}", verified.stdout);
        let view = hands.run(&["verify", "p.proof", "--trust", "genesis", "--at", HEAD, "-o", "json"]).done().json();
        assert_eq!((&view["epochs"], &view["header"]["signers"]), (&times.into(), &3.into()));
        let shown = hands.run(&["proof", "show", "p.proof"]).done();
        assert!(shown.stdout.contains(&says), "{}", shown.stdout);
        assert_eq!(hands.run(&["proof", "show", "p.proof", "-o", "json"]).done().json()["epochs"], times);
    }
}

#[test]
fn freshness_is_judged_by_the_moment_and_the_age_allowed() {
    let (ledger, patch) = approved();
    let hands = hands(&ledger, patch);
    let verify = |more: &[&str]| hands.run(&[&["verify", "p.proof", "--trust", "genesis"][..], more].concat());
    verify(&["--at", "1767225609001"]).done();
    verify(&["--at", "2026-01-01T23:00:00Z"]).done();
    verify(&["--at", "2026-01-03T00:00:00Z"]).is(
        1,
        "",
        "error: refused by check stale: header 8 is 1d 23h 59m 50s 999ms old, at most 1d allowed\n\
         hint: get a fresh proof, or verify as of an earlier moment with --at\n",
    );
    verify(&["--at", "2026-01-03T00:00:00Z", "--max-age", "3days"]).done();
    verify(&["--at", "2026-01-01T00:01:00Z", "--max-age", "30s"]).fails(1, "refused by check stale");
    verify(&["--at", "2026-01-01T00:00:00Z"]).fails(1, "refused by check clock-behind");
    // Months later, by the clock of this machine.
    verify(&[]).fails(1, "refused by check stale");
}

#[test]
fn every_reason_to_say_no_is_named() {
    let recall = |patch| ("acme", Role::Publisher, Payload::Recall { patch, reason: Text::cut("broken") });
    let negative = |organisation, patch, hold| {
        let verdict = Verdict { patch, evidence: Digest::ZERO, note: Text::cut("") };
        let payload = if hold { Payload::Hold { verdict } } else { Payload::Reject { verdict } };
        (organisation, Role::Approver, payload)
    };
    let cases = [
        (ledger(|_| vec![]), "approval-rule"),
        (ledger(|patch| vec![approve("bank", patch)]), "approval-rule"),
        (ledger(|patch| vec![approve("bank", patch), approve("clinic", patch), recall(patch)]), "recalled"),
        (
            ledger(|patch| vec![approve("bank", patch), approve("clinic", patch), negative("depot", patch, true)]),
            "held",
        ),
        (ledger(|patch| vec![approve("bank", patch), negative("depot", patch, false)]), "rejected"),
    ];
    for ((ledger, patch), check) in cases {
        let hands = hands(&ledger, patch);
        let refused = hands.run(&["verify", "p.proof", "--trust", "genesis", "--at", HEAD]);
        refused.fails(1, &format!("error: refused by check {check}: "));
        let view = hands.run(&["verify", "p.proof", "--trust", "genesis", "--at", HEAD, "-o", "json"]);
        assert_eq!((view.code, &view.json()["check"], &view.json()["verified"]), (1, &check.into(), &false.into()));
    }
}

#[test]
fn a_proof_of_another_ledger_is_refused() {
    let (ledger, patch) = approved();
    let hands = hands(&ledger, patch);
    hands.write("other", LedgerInMemory::new(Scenario::new(8)).trust_root());
    hands.run(&["verify", "p.proof", "--trust", "other", "--at", HEAD]).fails(1, "refused by check chain-id");
}

#[test]
fn files_that_cannot_be_read_are_no_refusal() {
    let (ledger, patch) = approved();
    let hands = hands(&ledger, patch);
    hands.run(&["verify", "absent", "--trust", "genesis"]).fails(2, "cannot read proof file absent");
    hands.run(&["verify", "p.proof", "--trust", "absent"]).fails(2, "cannot read trust root absent");
    hands.run(&["verify", "p.proof", "--trust", "p.proof"]).fails(2, "p.proof is no trust root");
    hands.run(&["verify", ".", "--trust", "genesis"]).fails(2, "cannot read proof file .");
}

/// What one trusts is not what is judged: a genesis file that was damaged is of another ledger, or is none, and then
/// nothing was refused.
#[test]
fn a_damaged_trust_root_is_no_refusal() {
    let (ledger, patch) = approved();
    let hands = hands(&ledger, patch);
    let genesis = std::fs::read(hands.path("genesis")).unwrap();
    let (mut none, mut other) = (0, 0);
    for place in (0..genesis.len()).step_by(genesis.len() / 40) {
        let mut changed = genesis.clone();
        changed[place] ^= 0x10;
        hands.write("changed", &changed);
        let ran = hands.run(&["verify", "p.proof", "--trust", "changed", "--at", HEAD]);
        match ran.code {
            1 => assert!(ran.stderr.contains("refused by check chain-id"), "byte {place}: {}", ran.stderr),
            code => assert!(code == 2 && ran.stderr.contains("is no trust root"), "byte {place}: {}", ran.stderr),
        }
        *if ran.code == 1 { &mut other } else { &mut none } += 1;
    }
    assert!(none > 5 && other > 5, "{none} none, {other} of another ledger");
}

/// One bit of every byte in turn would take too many processes; this many, spread over the whole file,
/// go through the program, and every byte goes through the verifier in the ledger's own tests.
const POSITIONS: usize = 160;

#[test]
fn one_byte_altered_anywhere_is_refused_and_the_check_named() {
    let (ledger, patch) = approved();
    let hands = hands(&ledger, patch);
    let honest = hands.read("p.proof");
    let mut named = std::collections::BTreeSet::new();
    for place in (0..POSITIONS).map(|step| step * honest.len() / POSITIONS) {
        let mut altered = honest.clone();
        altered[place] ^= 1 << (place % 8);
        hands.write("altered.proof", altered);
        let ran = hands.run(&["verify", "altered.proof", "--trust", "genesis", "--at", HEAD]);
        ran.fails(1, "refused by check ");
        let check = ran.stderr.split("refused by check ").nth(1).unwrap().split(':').next().unwrap().to_owned();
        assert!(ReasonCode::ALL.iter().any(|code| code.word() == check), "byte {place}: {check}");
        named.insert(check);
    }
    // The flips hit every part of the file, not one check in front of all others.
    for check in ["proof-malformed", "certificate", "inclusion", "state-proof"] {
        assert!(named.contains(check), "{check} is not among {named:?}");
    }
}

#[test]
fn cut_padded_and_oversized_files_are_refused_by_name() {
    let (ledger, patch) = approved();
    let hands = hands(&ledger, patch);
    let honest = hands.read("p.proof");
    let verify = |bytes: Vec<u8>| {
        hands.write("altered.proof", bytes);
        hands.run(&["verify", "altered.proof", "--trust", "genesis", "--at", HEAD])
    };
    verify(Vec::new()).fails(1, "refused by check proof-malformed");
    verify(honest[..honest.len() / 2].to_vec()).fails(1, "refused by check proof-malformed");
    verify([honest.as_slice(), &[0]].concat()).fails(1, "1 bytes after the end");
    verify(vec![0xff; 9]).fails(1, "refused by check proof-malformed");
    verify(vec![0; 1024 * 1024 + 1]).fails(1, "refused by check proof-size");
    let large = verify(vec![0; 3 * 1024 * 1024]);
    large.fails(1, "refused by check proof-size: a proof file is wanted, of at most 1048576 bytes: ");
    large.fails(1, "hint: the file is damaged or no proof file: `countersign proof get` writes one");
    let package = [b"!<arch>\n".to_vec(), vec![0; 2 * 1024 * 1024]].concat();
    verify(package).fails(1, "; this file is a Debian package\n");
}

#[test]
fn showing_is_not_believing() {
    let (ledger, patch) = approved();
    let hands = hands(&ledger, patch);
    let shown = hands.run(&["proof", "show", "p.proof"]).done();
    assert_eq!(shown.stderr, "Nothing of this is checked: `countersign verify` does that.\n");
    assert!(shown.stdout.starts_with("says        not checked\n"), "{}", shown.stdout);
    let view = hands.run(&["proof", "show", "p.proof", "-o", "json"]).done().json();
    assert_eq!(
        (&view["verified"], &view["patch"], &view["height"]),
        (&false.into(), &patch.to_string().into(), &8.into())
    );
    let parts = view["parts"].as_object().unwrap().values().map(|size| size.as_u64().unwrap()).sum::<u64>();
    // The rest is the version and the chain id.
    assert_eq!(parts + 2 + 32, view["size"].as_u64().unwrap());
    hands.write("no.proof", "no");
    hands.run(&["proof", "show", "no.proof"]).fails(2, "no.proof is no proof file");
}

#[test]
fn a_proof_is_taken_away_as_soon_as_it_is_there() {
    let node = Node::start();
    let hands = node.hands();
    let patches = node.publish([1, 2]);
    let id = patches[1].to_string();
    node.prove_later(3);
    let got = hands.run(&["proof", "get", &id[..8], "--out", "p.proof", "-o", "json"]).done().json();
    assert_eq!((&got["patch"], &got["file"]), (&id.as_str().into(), &"p.proof".into()));
    assert_eq!(got["size"], hands.read("p.proof").len());
    hands.run(&["verify", "p.proof"]).fails(1, "refused by check approval-rule");
    // A newer proof takes the place of the older.
    hands.run(&["proof", "get", &id, "--out", "p.proof"]).done();

    node.prove_later(1000);
    hands
        .run(&["proof", "get", &id, "--out", "q.proof", "--wait", "20ms"])
        .fails(1, "refused by check not-yet-provable");
    node.prove_later(0);
    node.lie(Lie::OtherPatch);
    hands.run(&["proof", "get", &id, "--out", "q.proof"]).fails(1, "it is of another patch");
    assert!(!hands.path("q.proof").exists());
}
