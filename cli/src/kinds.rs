//! What a file is that is not what was asked for: people who gave the wrong one know at once.

use crate::files;
use ledger::encoding::decode;
use ledger::fork::{EvidenceFile, HeadFile};
use ledger::frame;
use ledger::genesis::Genesis;
use ledger::proof::ProofBundle;
use ledger::snapshot::SnapshotPart;
use ledger::transaction::SignedTransaction;
use std::path::Path;

/// As much of a file as is looked at: what is longer is none of those that are read as a whole.
const LOOK_BYTES: usize = ledger::limits::PROOF_BYTES_MAX;
/// How kinds of files are told that begin in their own way.
const BEGINNINGS: [(&[u8], &str); 8] = [
    (b"-----BEGIN CERTIFICATE", "a file of certificates (PEM)"),
    (b"-----BEGIN", "a file in PEM format"),
    (b"!<arch>\n", "a Debian package"),
    (&[0xed, 0xab, 0xee, 0xdb], "an RPM package"),
    (&[0x1f, 0x8b], "a file compressed with gzip"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "a file compressed with xz"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "a file compressed with zstd"),
    (b"\x7fELF", "a program"),
];

/// What the file at a path is, as far as it can be told.
pub(crate) fn kind_of(path: &Path) -> Option<&'static str> {
    let bytes = files::beginning(path, LOOK_BYTES).ok()?;
    kind(&bytes)
}

fn kind(bytes: &[u8]) -> Option<&'static str> {
    if let Some((_, kind)) = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
        return Some(kind);
    }
    match bytes {
        [] => Some("empty"),
        _ if ProofBundle::parse(bytes).is_ok() => Some("a proof file (`countersign verify` checks it)"),
        _ if decode::<HeadFile>(bytes).is_ok() => Some("a head file (`countersign audit fork` compares it)"),
        _ if decode::<EvidenceFile>(bytes).is_ok() => Some("an evidence file (`countersign audit check` checks it)"),
        _ if Genesis::parse(bytes).is_ok() => Some("a genesis file (`countersign trust show` shows it)"),
        _ if decode::<SignedTransaction>(bytes).is_ok() => Some("a signed transaction (`countersign submit` takes it)"),
        _ if is_snapshot(bytes) => Some("a snapshot (`countersign-node restore` takes it)"),
        _ => std::str::from_utf8(bytes).ok().map(kind_of_text),
    }
}

/// A snapshot is parts with their lengths before them; the first says what it is.
fn is_snapshot(bytes: &[u8]) -> bool {
    matches!(frame::read(&mut &*bytes), Ok(SnapshotPart::Begin { .. }))
}

fn kind_of_text(text: &str) -> &'static str {
    let has = |word: &str| text.lines().any(|line| line.trim_start().starts_with(word));
    match text {
        _ if has("secret_key") && has("public_key") => "a key file",
        _ if has("public_key") && has("role") => "the public part of a key file",
        _ if has("\"installer\"") && has("\"artifacts\"") => "the manifest of a packed patch",
        _ => "a text file",
    }
}
