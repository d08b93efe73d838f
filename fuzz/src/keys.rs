//! Key files, as they are and sealed, and what opens them.

use crate::doors::is_a_sentence;
use crate::memory::peak_of;
use crate::places::{path, written};
use keyring::{KEY_FILE_BYTES_MAX, KeyFileError, PublicPart, SECRET_FILE_BYTES_MAX, Secret, Stored};
use std::error::Error;

/// What opens the sealed key file that this begins with.
const MACHINE: &str = include_str!("../../keyring/tests/it/vectors/machine.secret");
/// Memory for reading a key file and opening what is sealed in it: age has its own buffers.
const KEY_BYTES_MAX: usize = 1024 * 1024;
/// So many digits are part of a secret, and not a word that happens to look so.
const DIGITS: usize = 16;

/// What a key file says in clear is what it is opened as, and no refusal repeats what may be a secret.
pub fn read_key_file(bytes: &[u8]) {
    let file = written("key", bytes);
    let (opened, taken) = peak_of(|| {
        let stored = match Stored::read(&file) {
            Ok(stored) => stored,
            Err(refusal) => return Err(refusal),
        };
        let public = stored.public().clone();
        assert_eq!(PublicPart::read(&file).ok().as_ref(), Some(&public));
        let machine = Secret::parse(MACHINE).expect("a machine's secret");
        let is_sealed = stored.is_sealed();
        let opened = stored.open(|| {
            assert!(is_sealed, "nobody is asked for what is not sealed");
            Ok::<_, KeyFileError>(machine)
        })?;
        assert!(opened.public == public && opened.secret.public() == public.public_key, "another key than it says");
        Ok((opened, public))
    });
    assert!(taken <= KEY_BYTES_MAX, "{taken} bytes of memory");
    match opened {
        Err(refusal) => tells_nothing(&refusal, bytes),
        Ok((key, public)) => {
            assert!(bytes.len() <= KEY_FILE_BYTES_MAX);
            let again = Stored::read(&written("key", key.plain().as_bytes())).expect("what it writes it reads");
            assert!(!again.is_sealed() && again.public() == &public);
            let shown = PublicPart::read(&written("key", public.toml().as_bytes()));
            assert_eq!(shown.ok(), Some(public), "what is shown around is read");
        }
    }
}

/// What is given to open a key: read or refused, and in no case repeated.
pub fn read_secret(bytes: &[u8]) {
    let file = written("secret", bytes);
    let text = std::str::from_utf8(bytes);
    match Secret::read(&file) {
        Ok(secret) => {
            let text = text.expect("a secret is text");
            assert!(bytes.len() <= SECRET_FILE_BYTES_MAX);
            let shown = if secret.is_a_machines() { "Secret::Machine" } else { "Secret::Passphrase" };
            assert_eq!(format!("{secret:?}"), shown, "more than its kind is shown");
            let is_marked = text.lines().any(|line| line.trim().starts_with("AGE-"));
            assert_eq!(secret.is_a_machines(), is_marked, "one kind is taken for the other");
        }
        Err(refusal) => tells_nothing(&refusal, bytes),
    }
}

/// All that a refusal says, with its causes, is one line, and has nothing in it that may be of a secret.
fn tells_nothing(refusal: &dyn Error, bytes: &[u8]) {
    let mut cause = Some(refusal);
    while let Some(error) = cause {
        let said = error.to_string();
        is_a_sentence(&said);
        // The path has numbers, too.
        let said = said.replace(&*path("").to_string_lossy(), "");
        for digits in bytes.split(|byte| !byte.is_ascii_hexdigit()).filter(|digits| digits.len() >= DIGITS) {
            let digits = String::from_utf8_lossy(digits);
            assert!(!said.contains(&*digits), "a refusal repeats {digits}: {said}");
        }
        cause = error.source();
    }
}
