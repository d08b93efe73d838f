//! Sealed keys in people's hands: made, asked for, opened, changed, and never shown.

use crate::double::Node;
use crate::hands::{Hands, Ran, mode, set_mode};

const PASSPHRASE: &str = "correct horse battery staple";

/// Hands with a passphrase and a machine's secret in files of their own.
fn hands(hands: Hands) -> Hands {
    set_mode(&hands.write("words", format!("{PASSPHRASE}\n")), 0o600);
    set_mode(&hands.write("others", "another passphrase\n"), 0o600);
    hands.run(&["key", "secret", "--out", "machine.secret"]).is(0, "", "");
    assert_eq!(mode(&hands.path("machine.secret")), 0o600);
    hands
}

fn new(hands: &Hands, more: &[&str]) -> Ran {
    let line = ["key", "new", "--role", "approver", "--organisation", "bank", "--out", "a.key", "--seal"];
    hands.run(&[&line, more].concat())
}

/// The seed in a key file as it is.
fn seed(hands: &Hands, file: &str) -> String {
    let text = String::from_utf8(hands.read(file)).unwrap();
    text.split("secret_key = \"").nth(1).unwrap_or_else(|| panic!("{text}")).get(..64).unwrap().to_owned()
}

#[test]
fn a_key_is_sealed_from_the_start_and_shows_its_public_parts_to_anybody() {
    let hands = hands(Hands::new());
    let made = new(&hands, &["--passphrase-file", "words"]).done();
    let text = String::from_utf8(hands.read("a.key")).unwrap();
    assert!(!text.contains("secret_key") && text.contains("sealed_key") && text.contains("BEGIN AGE"), "{text}");
    assert_eq!(mode(&hands.path("a.key")), 0o600);
    hands.run(&["key", "show", "a.key"]).is(0, &made.stdout, "");
    // It is the same key that comes out.
    let opened = hands.run(&["key", "unseal", "a.key", "--passphrase-file", "words", "-o", "json"]).done().json();
    assert_eq!((&opened["sealed"], &opened["overwritten"]), (&false.into(), &true.into()), "{opened}");
    assert!(made.stdout.contains(opened["public_key"].as_str().unwrap()));
    hands.run(&["key", "show", "a.key"]).is(0, &made.stdout, "");
}

#[test]
fn existing_keys_are_sealed_opened_and_sealed_anew_where_they_lie() {
    let hands = hands(Hands::new());
    let line = ["key", "new", "--role", "node", "--organisation", "bank", "--out", "a.key"];
    let made = hands.run(&line).done();
    let (plain, secret) = (hands.read("a.key"), seed(&hands, "a.key"));
    let said = hands.run(&["key", "seal", "a.key", "--passphrase-file", "words"]).done();
    assert!(said.stdout.starts_with("a.key is sealed: ") && said.stderr.is_empty(), "{said:?}");
    hands.run(&["key", "seal", "a.key", "--passphrase-file", "words"]).is(
        2,
        "",
        "error: a.key is sealed already\nhint: `countersign key change-passphrase` seals it anew\n",
    );
    let change = ["key", "change-passphrase", "a.key", "--passphrase-file", "words"];
    hands.run(&[&change[..], &["--new-passphrase-file", "machine.secret"]].concat()).done();
    assert!(!String::from_utf8(hands.read("a.key")).unwrap().contains(&secret));
    // What sealed it before opens it no more, and the reason is not told apart from a changed file.
    hands.run(&["key", "unseal", "a.key", "--passphrase-file", "words"]).fails(2, "sealed with a machine's secret");
    hands
        .run(&[&change[..3], &["--passphrase-file", "machine.secret", "--new-passphrase-file", "others"]].concat())
        .done();
    hands
        .run(&["key", "unseal", "a.key", "--passphrase-file", "words", "-o", "json"])
        .fails(2, "error: a.key is not opened by what was given, or was changed\n");
    hands.run(&["key", "unseal", "a.key", "--passphrase-file", "others"]).done();
    assert_eq!(hands.read("a.key"), plain);
    hands.run(&["key", "unseal", "a.key", "--passphrase-file", "others"]).fails(2, "a.key is not sealed");
    hands.run(&["key", "show", "a.key"]).is(0, &made.stdout, "");
}

#[test]
fn a_sealed_key_signs_with_a_file_from_the_option_or_the_environment_and_with_nothing_else() {
    let node = Node::start();
    let hands = hands(node.hands());
    let id = node.publish([1])[0].to_string();
    hands.run(&["key", "seal", "bank.key", "--passphrase-file", "words"]).done();
    let approve = ["approve", &id, "--key", "bank.key"];
    let with = |file: &str| hands.run(&[&approve[..], &["--passphrase-file", file]].concat());
    // There is no terminal here.
    let ran = hands.run(&approve);
    ran.fails(2, "there is no terminal to ask for a passphrase at");
    assert!(ran.stderr.contains("--passphrase-file FILE or COUNTERSIGN_PASSPHRASE_FILE"), "{}", ran.stderr);
    with("others").fails(2, "bank.key is not opened by what was given, or was changed");
    with("absent").fails(2, "cannot read the secret in absent");
    set_mode(&hands.path("words"), 0o640);
    with("words").fails(2, "the secret in words can be read by others: its mode is 640");
    set_mode(&hands.path("words"), 0o600);
    let wrong = hands.run(&[&approve[..], &["--passphrase-file", "others", "-o", "json"]].concat());
    assert_eq!((wrong.code, &wrong.json()["error"]["code"]), (2, &"key-file".into()));
    for said in [&wrong.stdout, &wrong.stderr] {
        assert!(!said.contains("another passphrase"), "{said}");
    }
    let words = hands.path("words");
    let hands = hands.with("COUNTERSIGN_PASSPHRASE_FILE", words.to_str().unwrap());
    hands.run(&approve).done();
    let shown = hands.run(&["patch", "show", &id, "-o", "json"]).done().json();
    assert_eq!(shown["patch"]["verdicts"][0]["organisation"], "bank");
}

/// Whoever only looks at what waits for him, or has taken the wrong key, types nothing for nothing.
#[test]
fn nobody_is_asked_for_a_passphrase_that_is_not_needed() {
    let node = Node::start();
    let hands = hands(node.hands());
    hands.run(&["key", "seal", "bank.key", "--passphrase-file", "words"]).done();
    hands.run(&["review", "--key", "bank.key"]).done();
    let line = ["propose", "change.toml", "--key", "bank.key"];
    hands.write("change.toml", hands.run(&["propose", "--example"]).stdout);
    hands.run(&line).fails(2, "this needs a key with role governor, the key file's role is approver");
}

#[test]
fn at_a_terminal_a_passphrase_is_asked_for_and_not_shown() {
    let hands = hands(Hands::new());
    let new = |typed: &str| {
        let line = ["key", "new", "--role", "approver", "--organisation", "bank", "--out", "a.key", "--seal"];
        hands.run_at_terminal(&line, typed)
    };
    for (typed, says) in [
        ("short\n", "a passphrase has 8 characters or more"),
        ("\n", "it is empty"),
        ("correct horse\ncorrect house\n", "the two passphrases are not the same"),
    ] {
        let ran = new(typed);
        assert!(ran.code == 2 && ran.stdout.contains(says), "{says}: {}", ran.stdout);
        assert!(!hands.path("a.key").exists());
    }
    let ran = new(&format!("{PASSPHRASE}\n{PASSPHRASE}\n"));
    assert!(
        ran.code == 0 && ran.stdout.contains("New passphrase for a.key:") && !ran.stdout.contains("horse"),
        "{ran:?}"
    );
    let ran = hands.run_at_terminal(&["key", "unseal", "a.key"], "not the passphrase\n");
    assert!(ran.code == 2 && ran.stdout.contains("is not opened by what was given"), "{ran:?}");
    let ran = hands.run_at_terminal(&["key", "unseal", "a.key"], &format!("{PASSPHRASE}\n"));
    assert!(ran.code == 0 && ran.stdout.contains("Passphrase of a.key:") && !ran.stdout.contains("horse"), "{ran:?}");
    assert_eq!(seed(&hands, "a.key").len(), 64);
}

#[test]
fn what_was_never_asked_for_changes_nothing() {
    let hands = hands(Hands::new());
    new(&hands, &["--passphrase-file", "machine.secret"]).done();
    let before = hands.read("a.key");
    set_mode(&hands.write("weak", "1234567\n"), 0o600);
    let change = ["key", "change-passphrase", "a.key", "--passphrase-file", "machine.secret", "--new-passphrase-file"];
    hands.run(&[&change[..], &["weak"]].concat()).fails(2, "a passphrase has 8 characters or more");
    hands.run(&[&change[..], &["absent"]].concat()).fails(2, "cannot read the secret in absent");
    new(&hands, &["--passphrase-file", "words"]).fails(2, "a.key exists");
    hands.run(&["key", "secret", "--out", "machine.secret"]).fails(2, "machine.secret exists");
    assert_eq!(hands.read("a.key"), before);
    std::fs::hard_link(hands.path("a.key"), hands.path("b.key")).unwrap();
    hands
        .run(&["key", "unseal", "a.key", "--passphrase-file", "machine.secret"])
        .fails(2, "is no file of one name: it has 2");
    assert_eq!(hands.read("b.key"), before);
}
