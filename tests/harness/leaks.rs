//! Looking for what must not be there: a secret, in every shape it may have been written in.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use std::fs;
use std::path::{Path, PathBuf};

/// Raw, in hexadecimal digits, and in both alphabets of base64 at each of the three places it may begin at.
fn shapes(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut shapes = vec![secret.to_vec(), hex::encode(secret).into_bytes(), hex::encode_upper(secret).into_bytes()];
    for before in 0..3 {
        let shifted = [&[0; 2][..before], secret].concat();
        // Of the digits at both ends some bits are the neighbours'.
        let (from, to) = (usize::from(before > 0) * 4, shifted.len() / 3 * 4);
        for text in [BASE64_STANDARD.encode(&shifted), BASE64_URL_SAFE_NO_PAD.encode(&shifted)] {
            shapes.push(text.as_bytes()[from..to].to_vec());
        }
    }
    shapes
}

/// Whether a secret of some length is in there in any shape.
#[must_use]
pub fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    assert!(secret.len() >= 16, "a shorter one may be there by chance");
    shapes(secret).iter().any(|shape| bytes.windows(shape.len()).any(|part| part == shape))
}

/// Files below a directory that have a secret in them, or in their names; and how many there were.
///
/// # Panics
/// When one cannot be read that is still there.
#[must_use]
pub fn leaks(directory: &Path, secret: &[u8]) -> (Vec<PathBuf>, usize) {
    let (mut found, mut looked_at, mut waiting) = (Vec::new(), 0, vec![directory.to_owned()]);
    while let Some(place) = waiting.pop() {
        for entry in fs::read_dir(&place).expect("a directory to search") {
            let path = entry.expect("a readable directory").path();
            let metadata = fs::symlink_metadata(&path).expect("nobody works here while it is searched");
            if metadata.is_dir() {
                waiting.push(path.clone());
            }
            let name = path.as_os_str().as_encoded_bytes();
            let is_in = metadata.is_file() && holds(&fs::read(&path).expect("a readable file"), secret);
            looked_at += usize::from(metadata.is_file());
            if is_in || holds(name, secret) {
                found.push(path);
            }
        }
    }
    (found, looked_at)
}
