//! Proposals: from a description to what a governor signs.

use crate::double::Node;
use crate::hands::{Hands, Ran};
use ledger::governance::{Change, Proposal};
use ledger::state::record::Role;
use ledger::transaction::{Payload, SignedTransaction};
use tests::Scenario;

const DAY_MS: u64 = 86_400_000;

/// A key that is nobody's, as a key file without its secret.
pub(crate) fn stranger(number: u64, role: &str, organisation: &str) -> (String, String) {
    let key = Scenario::new(7).endpoint(number).public().to_string();
    let file = format!("role = \"{role}\"\norganisation = \"{organisation}\"\npublic_key = \"{key}\"\n");
    (key, file)
}

/// Acme's governor proposes what `description` says.
pub(crate) fn propose(hands: &Hands, description: &str) -> Ran {
    hands.write("change.toml", description);
    hands.run(&["propose", "change.toml", "--key", "acme-governor.key", "-o", "json"])
}

/// Proposes a heartbeat and gives the id of the proposal.
pub(crate) fn heartbeat(hands: &Hands, heartbeat_ms: u64) -> String {
    let change = format!("[[change]]\nkind = \"set-parameters\"\nheartbeat_ms = {heartbeat_ms}\nseal_ms = 20\n");
    propose(hands, &change).done().json()["proposal"].as_str().unwrap().to_owned()
}

pub(crate) fn signed(hands: &Hands, file: &str) -> Payload {
    let signed: SignedTransaction = ledger::encoding::decode(&hands.read(file)).unwrap();
    signed.transaction.payload
}

fn proposed(hands: &Hands, file: &str) -> Proposal {
    match signed(hands, file) {
        Payload::Propose { proposal } => proposal,
        other => panic!("a {}", other.kind()),
    }
}

#[test]
fn the_example_has_every_kind_of_change_and_each_is_shown_in_words() {
    let node = Node::start();
    let hands = node.hands();
    let example = hands.run(&["propose", "--example"]).done();
    assert_eq!(example.stderr, "");
    assert_eq!(hands.run(&["propose", "--example", "-o", "json"]).done().json()["example"], example.stdout.as_str());
    hands.write("change.toml", &example.stdout);
    let offline = ["--key", "acme-governor.key", "--offline", "--out", "change.tx"];
    let mut ran = hands.run(&[&["propose", "change.toml"][..], &offline].concat()).done();
    let lines = ran.stderr.lines().filter(|line| !line.starts_with("closes "));
    ran.stderr = lines.map(|line| line.to_owned() + "\n").collect();
    let transaction = ran.stdout.lines().find_map(|line| line.strip_prefix("transaction  ")).unwrap();
    let stdout = format!(
        "done         signed, not submitted\nproposal     {transaction}\ntransaction  {transaction}\n\
         in           change.tx, for `countersign submit`\n"
    );
    ran.is(0, &stdout, include_str!("proposed.txt"));
    let kinds: Vec<_> = proposed(&hands, "change.tx").changes.iter().map(Change::kind).collect();
    let all = [
        "add-organisation",
        "remove-organisation",
        "add-key",
        "rotate-key",
        "retire-key",
        "revoke-key",
        "add-namespace",
        "remove-namespace",
        "set-validators",
        "set-approval-rules",
        "set-parameters",
    ];
    assert_eq!(kinds, all);
    assert_eq!(node.submissions(), 0);
}

#[test]
fn a_proposal_is_open_for_a_week_or_as_long_as_it_says() {
    let node = Node::start();
    let hands = node.hands();
    let change = "[[change]]\nkind = \"set-parameters\"\nheartbeat_ms = 1000\nseal_ms = 20\n";
    // The longest time is a little less: the newest block may be as old as the longest heartbeat.
    for (text, shortest_ms, longest_ms) in [
        ("", 7 * DAY_MS, 7 * DAY_MS),
        ("closes_in_days = 1\n", DAY_MS, DAY_MS),
        ("closes_in_days = 30\n", 30 * DAY_MS - 3_600_000, 30 * DAY_MS - 3_600_000),
    ] {
        let before = cli::time::now_ms();
        let id = propose(&hands, &(text.to_owned() + change)).done().json()["proposal"].as_str().unwrap().to_owned();
        let closes = node.proposal(&id).proposal.closes_at_ms;
        assert!((before + shortest_ms..=cli::time::now_ms() + longest_ms).contains(&closes), "{text}");
    }
}

#[test]
fn a_description_that_is_wrong_is_refused_by_what_is_wrong() {
    let node = Node::start();
    let hands = node.hands();
    let example = "hint: `countersign propose --example` prints a proposal with everything in it\n";
    let (key, _) = stranger(1, "node", "bank");
    hands.write("bank-node.pub", stranger(1, "node", "bank").1);
    hands.write("clinic-node.pub", stranger(2, "node", "clinic").1);
    hands.write("host.pub", format!("role = \"endpoint\"\npublic_key = \"{key}\"\n"));
    let bank_approver = Scenario::new(7).key("bank", Role::Approver).public();
    let change = |kind: &str, fields: &str| format!("[[change]]\nkind = \"{kind}\"\n{fields}\n");
    let rule = "[[change.rule]]\nname = \"r\"\napprovals = 1\norganisations = 2\n";
    let sound =
        rule.replace("\"r\"", &format!("\"{}\"", "r".repeat(64))).replace("organisations = 2", "organisations = 1");
    for (code, description, says) in [
        (2, "nope".to_owned(), "change.toml is no proposal"),
        (2, "not = 1".to_owned(), "unknown field `not`"),
        (2, change("remove-organisation", "name = \"bank\"\nwhy = 1"), "unknown field `why`"),
        (2, change("end-the-world", ""), "unknown variant `end-the-world`"),
        (2, change("set-approval-rules", ""), "missing field `rule`"),
        (
            2,
            change("add-key", "organisation = \"bank\"\nkey_file = \"absent.pub\""),
            "cannot read key file ./absent.pub",
        ),
        (1, String::new(), "a proposal needs at least one change"),
        (1, String::new(), example),
        (1, "closes_in_days = 0".to_owned(), "closes_in_days is 0, 1 to 30 is possible"),
        (1, "closes_in_days = 31".to_owned(), "closes_in_days is 31, 1 to 30 is possible"),
        (1, change("add-key", "organisation = \"bank\""), "give either key_file, or public_key with its role"),
        (1, change("add-key", &format!("organisation = \"bank\"\npublic_key = \"{key}\"")), example),
        (1, change("add-key", "organisation = \"acme\"\nkey_file = \"bank-node.pub\""), "is a key of bank"),
        (1, change("retire-key", ""), "change 0: give either key_file, or public_key\n"),
        (1, change("retire-key", "key_file = \"host.pub\""), "endpoints are enrolled later"),
        (1, change("rotate-key", &format!("old = \"{key}\"")), "change 0: give either new_key_file, or new\n"),
        (
            1,
            change("rotate-key", "old_key_file = \"bank-node.pub\"\nnew_key_file = \"clinic-node.pub\""),
            "change 0: the new key is made for node of clinic, the old one is node of bank",
        ),
        (
            // What the old key is, the trust root knows.
            1,
            change("rotate-key", &format!("old = \"{bank_approver}\"\nnew_key_file = \"bank-node.pub\"")),
            "change 0: the new key is made for node of bank, the old one is approver of bank",
        ),
        (1, change("set-validators", "validator = []"), "needs at least one validator"),
        (
            1,
            change("set-validators", "validator = [{ organisation = \"bank\", key_file = \"bank-node.pub\" }]"),
            "a key with role node does not belong here",
        ),
        (1, change("set-approval-rules", rule), "because: change 0 (set-approval-rules): approval rule r is not sound"),
        (1, change("set-parameters", "heartbeat_ms = 5\nseal_ms = 5"), "heartbeat_ms is 5, at least 100 is needed"),
        (1, change("set-parameters", "heartbeat_ms = 500\nseal_ms = 0"), "seal_ms must be 1 to 3600000"),
        (1, change("add-namespace", "organisation = \"bank\"\nnamespace = \"n\"").repeat(65), "at most 64 allowed"),
        (
            1,
            // Three times all the rules there can be, and a long note.
            format!("note = \"{}\"\n", "x".repeat(16_000))
                + &(change("set-approval-rules", "") + &sound.repeat(64)).repeat(3),
            "at most 32768 allowed",
        ),
    ] {
        propose(&hands, &description).fails(code, says);
    }
    assert_eq!(node.submissions(), 0);
}

#[test]
fn what_the_ledger_refuses_says_why() {
    let node = Node::start();
    let hands = node.hands();
    let refused = propose(&hands, "[[change]]\nkind = \"remove-organisation\"\nname = \"nobody\"\n");
    refused.fails(1, "change 0 (remove-organisation): nobody is no member");
}
