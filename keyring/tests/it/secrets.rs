//! What opens keys: passphrases, and secrets of machines.

use crate::Drawer;
use keyring::{SECRET_FILE_BYTES_MAX, Secret, SecretError, SecretPlace};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_secret_is_one_line_or_what_age_keygen_writes() {
    let made = Secret::generate();
    for text in [&*made, made.trim_end(), &format!("# created: today\n# public key: age1x\n{}", &*made)] {
        assert!(Secret::parse(text).unwrap().is_a_machines());
    }
    for text in ["a", "a b", " a ", "a\n", "a\r\n", "# a", "pässphrase"] {
        assert!(!Secret::parse(text).unwrap().is_a_machines(), "{text:?}");
    }
    let (twice, cut) = (format!("{}{}", &*made, &*made), made.trim_end()[..60].to_owned());
    for (text, what) in [
        ("", "it is empty"),
        ("\n", "it is empty"),
        ("a\nb", "more than one line"),
        ("a\n\n", "more than one line"),
        (&twice, "looks like a machine's secret"),
        (&cut, "looks like a machine's secret"),
        ("AGE-PLUGIN-YUBIKEY-1XXX", "looks like a machine's secret"),
        (&"a".repeat(SECRET_FILE_BYTES_MAX + 1), "longer than"),
    ] {
        let error = Secret::parse(text).unwrap_err();
        assert!(error.to_string().contains(what) && error.hint().is_some(), "{what}: {error}");
        assert!(!error.to_string().contains("AGE-"), "{error}");
    }
}

#[test]
fn a_machine_takes_no_passphrase_and_nothing_that_others_can_read() {
    let drawer = Drawer::new();
    let place = |text: &[u8]| SecretPlace::File(drawer.put("secret", text)).secret();
    assert!(place(Secret::generate().as_bytes()).unwrap().is_a_machines());
    for (text, what) in
        [(&b"correct horse battery staple"[..], "it is a passphrase"), (b"\xff\xfe", "not text"), (b"", "is empty")]
    {
        let error = place(text).unwrap_err();
        let SecretError::Of { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains(what) && error.hint().is_some(), "{what}: {source}");
    }
    let path = drawer.put("secret", Secret::generate().as_bytes());
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let error = SecretPlace::File(path).secret().unwrap_err();
    assert!(matches!(error, SecretError::Exposed { mode: 0o644, .. }), "{error}");
    let error = SecretPlace::File(drawer.path("nowhere")).secret().unwrap_err();
    assert!(matches!(error, SecretError::Read { .. }), "{error}");
}
