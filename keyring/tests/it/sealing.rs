//! Sealed key files: what they show, what opens them, and that nobody changes them unseen.

use crate::{Drawer, PASSPHRASE, SEED, approver, machine, open, passphrase};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use keyring::{KeyFileError, PASSPHRASE_WORK_LOG2, PASSPHRASE_WORK_LOG2_MAX, PublicPart, Secret, Stored};
use std::process::{Command, Stdio};
use tests::holds;

#[test]
fn a_sealed_key_shows_whose_it_is_and_opens_with_what_sealed_it_and_with_nothing_else() {
    let (drawer, key) = (Drawer::new(), approver());
    let others = [machine(), passphrase("another passphrase")];
    for secret in [machine(), passphrase(PASSPHRASE)] {
        let path = drawer.put("a.key", key.sealed(&drawer.path("a.key"), &secret).unwrap());
        assert_eq!(PublicPart::read(&path).unwrap(), key.public);
        assert_eq!(*open(&path, Some(&secret)).unwrap().secret.seed(), SEED);
        assert!(matches!(open(&path, None).unwrap_err(), KeyFileError::Sealed { .. }));
        for other in &others {
            let error = open(&path, Some(other)).unwrap_err();
            let is_told = match other.is_a_machines() == secret.is_a_machines() {
                true => matches!(error, KeyFileError::NotOpened { .. }),
                false => matches!(error, KeyFileError::OtherKind { .. }),
            };
            assert!(is_told, "{secret:?} with {other:?}: {error}");
        }
    }
}

#[test]
fn no_shape_of_the_secret_is_in_a_sealed_file() {
    let (drawer, key, machine) = (Drawer::new(), approver(), machine());
    assert!(holds(key.plain().as_bytes(), &SEED), "the search finds what is there");
    assert!(holds(BASE64_STANDARD.encode([&[7; 4][..], &SEED, &[7; 4]].concat()).as_bytes(), &SEED));
    let sealed = key.sealed(&drawer.path("a.key"), &machine).unwrap();
    let inside: Vec<u8> =
        sealed.lines().filter(|line| !line.contains(['-', '=', '#', '"'])).flat_map(str::bytes).collect();
    let inside = BASE64_STANDARD.decode(&inside[..inside.len() / 4 * 4]).unwrap();
    assert!(!holds(sealed.as_bytes(), &SEED) && !holds(&inside, &SEED));
    assert!(!format!("{machine:?} {:?}", passphrase(PASSPHRASE)).contains("horse"));
}

/// Role and organisation stand outside for people; what is believed was sealed.
#[test]
fn what_stands_on_a_sealed_file_is_what_was_sealed_in_it() {
    let (drawer, key, secret) = (Drawer::new(), approver(), machine());
    let sealed = key.sealed(&drawer.path("a.key"), &secret).unwrap();
    let other = ledger::key::SecretKey::from_seed(&[2; 32]).public().to_string();
    for (from, to) in [
        ("\"approver\"", "\"governor\""),
        ("\"bank\"", "\"acme\""),
        (key.public.public_key.to_string().as_str(), other.as_str()),
    ] {
        let path = drawer.put("a.key", sealed.replace(from, to));
        let error = open(&path, Some(&secret)).unwrap_err();
        assert!(matches!(error, KeyFileError::NotWhatItSays { .. }), "{from}: {error}");
    }
    let twice = format!("{sealed}secret_key = \"{}\"\n", hex::encode(SEED));
    let error = open(&drawer.put("a.key", twice), Some(&secret)).unwrap_err();
    assert!(matches!(error, KeyFileError::Format { .. }) && !error.to_string().contains("0101"), "{error}");
}

#[test]
fn whoever_changes_one_byte_of_a_sealed_file_changes_nothing_unseen() {
    let (drawer, key, secret) = (Drawer::new(), approver(), machine());
    let sealed = key.sealed(&drawer.path("a.key"), &secret).unwrap().into_bytes();
    let (mut refused, comment) = (0, sealed.iter().position(|byte| *byte == b'\n').unwrap());
    for place in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        match open(&drawer.put("a.key", &changed), Some(&secret)) {
            // A comment, or the white space that an armour may have more of.
            Ok(opened) => {
                assert_eq!((*opened.secret.seed(), opened.public), (SEED, key.public.clone()), "byte {place}")
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > (sealed.len() - comment) * 9 / 10, "{refused} of {}", sealed.len());
    for length in 0..sealed.len() - "\"\"\"\n".len() {
        open(&drawer.put("a.key", &sealed[..length]), Some(&secret)).unwrap_err();
    }
}

/// Whoever can write the file could otherwise have its owner's machine busy for hours.
#[test]
fn no_file_makes_anybody_do_more_than_so_much_work() {
    let (drawer, secret) = (Drawer::new(), passphrase(PASSPHRASE));
    let sealed = approver().sealed(&drawer.path("a.key"), &secret).unwrap();
    let inside: String = sealed
        .lines()
        .skip_while(|line| !line.contains("BEGIN"))
        .skip(1)
        .take_while(|line| !line.contains("END"))
        .collect();
    let mut inside = BASE64_STANDARD.decode(inside).unwrap();
    let work = format!(" {PASSPHRASE_WORK_LOG2}\n");
    let place = inside.windows(work.len()).position(|part| part == work.as_bytes()).unwrap();
    for log2 in [PASSPHRASE_WORK_LOG2_MAX + 1, 63, 99] {
        let harder = format!(" {log2}\n");
        inside[place..place + work.len()].copy_from_slice(harder.as_bytes());
        let (text, start) = (BASE64_STANDARD.encode(&inside), approver().public.toml());
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let armour =
            format!("-----BEGIN AGE ENCRYPTED FILE-----\n{}\n-----END AGE ENCRYPTED FILE-----\n", lines.join("\n"));
        let path = drawer.put("a.key", format!("{start}sealed_key = \"\"\"\n{armour}\"\"\"\n"));
        let error = open(&path, Some(&secret)).unwrap_err();
        assert!(matches!(error, KeyFileError::TooMuchWork { log2: said, .. } if said == log2), "{log2}: {error}");
    }
}

#[test]
fn what_the_age_tool_sealed_is_opened_here() {
    let drawer = Drawer::new();
    let secret = Secret::parse(include_str!("vectors/machine.secret")).unwrap();
    let path = drawer.put("a.key", include_str!("vectors/machine.key"));
    assert_eq!(*open(&path, Some(&secret)).unwrap().secret.seed(), SEED);
    let path = drawer.put("a.key", include_str!("vectors/passphrase.key"));
    assert_eq!(*open(&path, Some(&passphrase(PASSPHRASE))).unwrap().secret.seed(), SEED);
}

/// With the line that docs/protocol.md gives.
#[test]
fn what_is_sealed_here_is_opened_by_the_age_tool() {
    if Command::new("age").arg("--version").output().is_err() {
        return tests::left_out(&["age"], "there is no age tool here");
    }
    let (drawer, text) = (Drawer::new(), Secret::generate());
    let secret = Secret::parse(&text).unwrap();
    let sealed = approver().sealed(&drawer.path("a.key"), &secret).unwrap();
    let (key, secret) = (drawer.put("a.key", sealed), drawer.put("machine.secret", &*text));
    let mut cut =
        Command::new("sed").args(["-n", "/BEGIN AGE/,/END AGE/p"]).arg(key).stdout(Stdio::piped()).spawn().unwrap();
    let age =
        Command::new("age").args(["--decrypt", "--identity"]).arg(secret).stdin(cut.stdout.take().unwrap()).output();
    cut.wait().unwrap();
    assert_eq!(String::from_utf8(age.unwrap().stdout).unwrap(), *approver().plain());
}

#[test]
fn what_is_short_seals_nothing_and_a_key_that_others_can_read_is_not_opened() {
    let (drawer, key, secret) = (Drawer::new(), approver(), machine());
    let path = drawer.path("a.key");
    for weak in ["a", "1234567", "äöüäöüä"] {
        let error = key.sealed(&path, &passphrase(weak)).unwrap_err();
        assert!(matches!(error, KeyFileError::Secret { .. }) && error.hint().is_some(), "{weak}: {error}");
    }
    drawer.put("a.key", key.sealed(&path, &secret).unwrap());
    for mode in [0o640, 0o604, 0o660] {
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let error = open(&path, Some(&secret)).unwrap_err();
        assert!(matches!(error, KeyFileError::Exposed { mode: said, .. } if said == mode), "{error}");
        assert_eq!(PublicPart::read(&path).unwrap(), key.public);
    }
}

/// The words of the parser quote what it stumbled over, and what is quoted may have quotes in it.
#[test]
fn no_refusal_repeats_a_part_of_a_key_file() {
    let drawer = Drawer::new();
    let digits = "0123456789abcdef".repeat(2);
    for text in [
        format!("role = \"approver\"\npublic_key = \"a`{digits}\"\n"),
        format!("role = \"approver\"\npublic_key = 'a\"{digits}'\n"),
        format!("role = \"a`{digits}\"\n"),
        format!("role = \"approver\"\n\"a`{digits}`b\" = 1\n"),
        format!("role = \"approver\"\nsecret_key = \"a`{digits}\"x\n"),
    ] {
        let error = Stored::read(&drawer.put("key", text.as_bytes())).unwrap_err();
        assert!(matches!(error, KeyFileError::Format { .. }), "{error:?}");
        assert!(!error.to_string().contains(&digits[..8]), "{error}");
    }
}
