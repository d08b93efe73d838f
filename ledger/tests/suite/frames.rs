//! Values one after the other, each with its length before it (sentences 10.5 and 13.1).

use crate::support::samples::full_manifest;
use ledger::encoding::{Canonical, DecodeError, encode};
use ledger::frame::{FrameError, LENGTH_BYTES, announced, frame, read};
use ledger::patch::PatchManifest;
use std::io::{self, Read};

#[test]
fn what_is_written_is_read_one_after_the_other() {
    let manifests = [full_manifest("acme/redis", 7), full_manifest("acme/nginx", 8)];
    let written: Vec<u8> = manifests.iter().flat_map(frame).collect();
    let mut rest = &written[..];
    for manifest in &manifests {
        assert_eq!(read::<PatchManifest>(&mut rest).unwrap(), *manifest);
    }
    assert!(rest.is_empty());
    let first = frame(&manifests[0]);
    assert_eq!(announced::<PatchManifest>(*first.first_chunk().unwrap()), Ok(encode(&manifests[0]).len()));
}

#[test]
fn one_that_breaks_off_is_none_wherever_it_does() {
    let whole = frame(&full_manifest("acme/redis", 7));
    for end in 0..whole.len() {
        match read::<PatchManifest>(&mut &whole[..end]) {
            Err(FrameError::Read(error)) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
            other => panic!("{other:?} after {end} bytes"),
        }
    }
}

#[test]
fn nobody_waits_for_more_than_there_can_be() {
    /// What would be read for ever.
    struct Endless(usize);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += buffer.len();
            buffer.fill(0xff);
            Ok(buffer.len())
        }
    }
    let mut endless = Endless(0);
    let limit = PatchManifest::LIMIT.bytes();
    let refused = DecodeError::TooLarge { name: PatchManifest::NAME, actual: u32::MAX as usize, limit };
    assert!(matches!(read::<PatchManifest>(&mut endless), Err(FrameError::Value(error)) if error == refused));
    assert_eq!(endless.0, LENGTH_BYTES);
    for (length, is_possible) in [(0, true), (limit, true), (limit + 1, false)] {
        let announced = announced::<PatchManifest>(u32::try_from(length).unwrap().to_le_bytes());
        assert_eq!(announced.is_ok(), is_possible, "{length} bytes");
    }
}
