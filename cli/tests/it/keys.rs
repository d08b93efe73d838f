//! Key files: for their owner's eyes, never overwritten, never quoted.

use crate::hands::{Hands, mode, set_mode};

fn new(hands: &Hands, role: &str, out: &str) -> crate::hands::Ran {
    hands.run(&["key", "new", "--role", role, "--organisation", "acme", "--out", out])
}

#[test]
fn a_new_key_is_its_owners_and_shows_its_public_parts_only() {
    for role in ["publisher", "approver", "operator", "node", "validator", "governor", "endpoint"] {
        let hands = Hands::new();
        let made = new(&hands, role, "a.key").done();
        assert_eq!(mode(&hands.path("a.key")), 0o600);
        let text = String::from_utf8(hands.read("a.key")).unwrap();
        let secret = text.split("secret_key = \"").nth(1).unwrap().get(..64).unwrap();
        assert!(!made.stdout.contains(secret) && !made.stderr.contains(secret));
        assert!(text.contains(&made.stdout), "the file has what is printed");

        let shown = hands.run(&["key", "show", "a.key"]).done();
        assert_eq!(shown.stdout, made.stdout);
        let json = hands.run(&["key", "show", "a.key", "-o", "json"]).done().json();
        assert_eq!(json["role"], role);
        assert_eq!(json["organisation"], "acme");
        assert!(shown.stdout.contains(json["public_key"].as_str().unwrap()));
        assert_eq!(json.as_object().unwrap().len(), 3);
    }
}

#[test]
fn two_new_keys_are_different() {
    let hands = Hands::new();
    assert_ne!(new(&hands, "node", "a").done().stdout, new(&hands, "node", "b").done().stdout);
}

#[test]
fn a_key_file_is_never_overwritten() {
    let hands = Hands::new();
    new(&hands, "node", "a.key").done();
    let before = hands.read("a.key");
    new(&hands, "node", "a.key").is(
        2,
        "",
        "error: a.key exists\nhint: nothing is ever overwritten: choose another name, or move it away\n",
    );
    assert_eq!(hands.read("a.key"), before);
    // Not through a link that leads elsewhere, either.
    std::os::unix::fs::symlink("nowhere", hands.path("link.key")).unwrap();
    new(&hands, "node", "link.key").fails(2, "link.key exists");
    assert!(!hands.path("nowhere").exists());
}

#[test]
fn a_key_that_others_can_read_does_not_sign() {
    let hands = Hands::new();
    new(&hands, "approver", "a.key").done();
    set_mode(&hands.path("a.key"), 0o640);
    let to_file = ["--offline", "--out", "a.tx", "--genesis", "genesis"];
    hands.run(&[&["approve", "abcd", "--key", "a.key"][..], &to_file].concat()).is(
        2,
        "",
        "error: a.key can be read by others: its mode is 640\nhint: chmod 600 a.key\n",
    );
    // Its public parts are nobody's secret.
    hands.run(&["key", "show", "a.key"]).done();
}

#[test]
fn a_key_with_another_role_does_not_sign() {
    let hands = Hands::new();
    new(&hands, "publisher", "a.key").done();
    hands.write("genesis", crate::fixture::LedgerInMemory::new(tests::Scenario::new(1)).trust_root());
    let line = ["approve", "abcd", "--key", "a.key", "--genesis", "genesis", "--node", "http://127.0.0.1:1"];
    hands.run(&line).is(
        2,
        "",
        "error: this needs a key with role approver, the key file's role is publisher\n\
         hint: a key has one use: give the key made for this one with --key\n",
    );
}

#[test]
fn what_is_no_key_file_is_refused_and_not_quoted() {
    let hands = Hands::new();
    let public = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    let secret = "0101010101010101010101010101010101010101010101010101010101010101";
    let other = "0202020202020202020202020202020202020202020202020202020202020202";
    let start = "role = \"node\"\norganisation = \"acme\"\n";
    for (text, says) in [
        (format!("{start}public_key = \"{public}\"\nsecret_key = \"{other}\"\n"), "not that of the secret key"),
        (format!("{start}public_key = \"{public}\"\nsecret_key = {secret}\n"), "is not a key file"),
        (format!("{start}public_key = \"{public}\"\nsecret_key = \"{secret}00\"\n"), "is not 64 hexadecimal digits"),
        (format!("{start}public_key = \"{public}\"\nsecret_kez = \"{secret}\"\n"), "unknown field"),
        (format!("role = \"node\"\npublic_key = \"{public}\"\nsecret_key = \"{secret}\"\n"), "needs its organisation"),
        (format!("{start}public_key = \"{secret}\nsecret_key = \"{secret}\"\n"), "is not a key file"),
        (format!("{start}{}", "#".repeat(5000)), "at most 4096 bytes"),
        (String::new(), "is not a key file"),
    ] {
        set_mode(&hands.write("a.key", &text), 0o600);
        let ran = hands.run(&["key", "show", "a.key"]);
        ran.fails(2, says);
        assert!(!ran.stderr.contains(secret) && !ran.stderr.contains(other), "{}", ran.stderr);
    }
    hands.run(&["key", "show", "absent.key"]).is(
        2,
        "",
        "error: cannot read key file absent.key\n  because: No such file or directory (os error 2)\n\
         hint: check the path; it begins in the directory you are in\n",
    );
    let whole = format!("{start}public_key = \"{public}\"\nsecret_key = \"{secret}\"\n");
    set_mode(&hands.write("a.key", whole), 0o600);
    hands.run(&["key", "show", "a.key"]).is(0, &format!("{start}public_key = \"{public}\"\n"), "");
}

#[test]
fn a_host_makes_its_key_before_it_has_an_organisation() {
    let hands = Hands::new();
    let key = "public_key = \"8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c\"\n";
    hands.write("host.pub", format!("role = \"endpoint\"\n{key}"));
    hands.run(&["key", "show", "host.pub"]).is(0, &format!("role = \"endpoint\"\n{key}"), "");
}
