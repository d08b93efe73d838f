//! From a description to a trust root, and what a trust root says.

use crate::hands::Hands;

const SPEC: &str = r#"
name = "test"
time_ms = 1767225600000

[parameters]
heartbeat_ms = 5000
seal_ms = 50

[[organisation]]
name = "acme"
namespaces = ["acme"]
keys = [{ role = "publisher", public_key = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c" }]

[[organisation]]
name = "bank"
keys = [{ key_file = "bank.pub" }]

[[validator]]
organisation = "bank"
public_key = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"

[[rule]]
name = "default"
approvers = ["bank"]
approvals = 1
organisations = 1
emergency = { approvals = 1, organisations = 1 }
"#;

const CHAIN: &str = "33f027e68a0bf828f045b65e5540d7eabcdc6fe53232462c9c58e9674020fd25";
const BANK: &str = "role = \"approver\"\norganisation = \"bank\"\n\
    public_key = \"ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1\"\n";

#[test]
fn the_example_makes_a_ledger() {
    let hands = Hands::new();
    let example = hands.run(&["init", "--example"]).done();
    assert_eq!(example.stderr, "");
    hands.write("ledger.toml", &example.stdout);
    let made = hands.run(&["init", "--spec", "ledger.toml", "--out", "genesis"]).done();
    let shown = hands.run(&["trust", "show", "genesis", "-o", "json"]).done().json();
    assert_eq!(made.stdout, format!("{}\n", shown["chain_id"].as_str().unwrap()));
    assert_eq!(shown["genesis"]["rules"][0]["name"], "critical-security");
}

#[test]
fn the_same_description_makes_the_same_ledger() {
    let hands = Hands::new();
    hands.write("d/ledger.toml", SPEC);
    hands.write("d/bank.pub", BANK);
    let made = hands.run(&["init", "--spec", "d/ledger.toml", "--out", "genesis"]);
    made.is(0, &format!("{CHAIN}\n"), "The genesis of ledger test is in genesis. Its chain id:\n");
    let again = hands.run(&["init", "--spec", "d/ledger.toml", "--out", "again", "-o", "json"]).done().json();
    assert_eq!(again["chain_id"], CHAIN);
    assert_eq!((&again["ledger"], &again["file"]), (&"test".into(), &"again".into()));
    assert_eq!(hands.read("genesis"), hands.read("again"));
    let shown = hands.run(&["trust", "show", "genesis"]).done();
    shown.is(0, include_str!("trust.txt"), "");
}

#[test]
fn a_genesis_file_is_never_overwritten() {
    let hands = Hands::new();
    hands.write("ledger.toml", SPEC);
    hands.write("bank.pub", BANK);
    hands.write("genesis", "precious");
    hands.run(&["init", "--spec", "ledger.toml", "--out", "genesis"]).fails(2, "genesis exists");
    assert_eq!(hands.read("genesis"), b"precious");
}

#[test]
fn a_description_that_is_wrong_is_refused_by_what_is_wrong() {
    let example = "hint: `countersign init --example` prints a description with everything in it\n";
    for (code, from, to, says) in [
        (2, "name = \"test\"", "nam = \"test\"", "unknown field `nam`"),
        (2, "name = \"test\"", "name = \"te\"st\"", "is no genesis description"),
        (2, "heartbeat_ms = 5000", "heartbeat_ms = -1", "is no genesis description"),
        (2, "bank.pub", "absent.pub", "cannot read key file ./absent.pub"),
        (1, "heartbeat_ms = 5000", "heartbeat_ms = 5", "heartbeat_ms is 5, at least 100 is needed"),
        (1, "{ key_file = \"bank.pub\" }", "{ role = \"node\" }", example),
        (
            1,
            "{ key_file = \"bank.pub\" }",
            "{ role = \"node\", key_file = \"bank.pub\" }",
            "role approver does not belong",
        ),
        (1, "role = \"publisher\"", "role = \"endpoint\"", "endpoints are enrolled later"),
        (
            1,
            "organisation = \"bank\"",
            "organisation = \"nobody\"",
            "validator of nobody: no organisation has that name",
        ),
        (1, "\"bank.pub\"", "\"clinic.pub\"", "organisation bank: clinic.pub is a key of clinic"),
        (1, "approvals = 1\n", "approvals = 0\n", "the ledger refuses this genesis\n  because: approval rule default"),
        (1, "namespaces = [\"acme\"]", "namespaces = [\"acme\"]\n[[organisation]]\nname = \"acme\"", "occurs twice"),
    ] {
        let hands = Hands::new();
        assert!(SPEC.contains(from), "{from}");
        hands.write("ledger.toml", SPEC.replacen(from, to, 1));
        hands.write("bank.pub", BANK);
        hands.write("clinic.pub", BANK.replace("bank", "clinic"));
        hands.run(&["init", "--spec", "ledger.toml", "--out", "genesis"]).fails(code, says);
        assert!(!hands.path("genesis").exists());
    }
}

#[test]
fn what_a_parser_points_at_stands_on_lines_of_its_own() {
    let hands = Hands::new();
    hands.write("ledger.toml", "name = \"x\"\nbogus = 1\n");
    let ran = hands.run(&["init", "--spec", "ledger.toml", "--out", "genesis"]);
    ran.fails(2, "  because: TOML parse error at line 2, column 1\n      |\n    2 | bogus = 1\n");
    assert!(ran.stderr.contains("\n    unknown field `bogus`") && !ran.stderr.contains("\\n"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("unknown field").count(), 1, "{}", ran.stderr);
}

#[test]
fn what_cannot_be_written_is_named_and_not_what_stands_for_it_meanwhile() {
    let hands = Hands::new();
    hands.write("file", "");
    for (out, hint) in [("absent/x.key", "make the directory first"), ("file/x.key", "part of the path is a file")] {
        let ran = hands.run(&["key", "new", "--role", "node", "--organisation", "acme", "--out", out]);
        ran.fails(2, &format!("error: cannot write {out}\n"));
        assert!(!ran.stderr.contains(".countersign-") && ran.stderr.contains(hint), "{}", ran.stderr);
    }
}

#[test]
fn what_is_no_trust_root_is_not_shown() {
    let hands = Hands::new();
    hands.run(&["trust", "show", "absent"]).fails(2, "cannot read trust root absent");
    hands.write("empty", "");
    hands.run(&["trust", "show", "empty"]).fails(2, "empty is no trust root\n  because: genesis file: malformed");
    hands.run(&["trust", "show", "empty"]).fails(2, "byte for byte; this file is empty\n");
    hands.run(&["key", "new", "--role", "node", "--organisation", "acme", "--out", "n.key"]).done();
    hands.run(&["trust", "show", "n.key"]).fails(2, "; this file is a key file\n");
    hands.write("large", vec![0; 1024 * 1024 + 1]);
    hands.run(&["trust", "show", "large"]).fails(2, "at most 1048576 bytes");
    let mut other = crate::fixture::LedgerInMemory::new(tests::Scenario::new(1)).trust_root();
    other[0] = 9;
    hands.write("version", other);
    hands.run(&["trust", "show", "version"]).fails(2, "genesis has version 9");
}
