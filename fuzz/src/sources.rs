//! What sources of artifacts send, and what others ask of a cache: hash trees with plain bytes, streams that check
//! themselves, deltas, paths and ranges.

use crate::choices::Choices;
use crate::doors::is_a_sentence;
use crate::memory::peak_of;
use agent::cache::request::{Part, named, part};
use agent::download::tree::{Woven, make};
use agent::download::{check_and_write, delta};
use ledger::artifact::{GROUP_BYTES, TREE_SUFFIX, shelf_path};
use ledger::bounded::Name;
use ledger::id::Digest;
use ledger::patch::{Artifact, PayloadEncoding};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Two groups and a part of a third.
const PAYLOAD_BYTES: usize = 40_000;
/// Memory for checking whatever it is: a group, and a way through the tree.
const TREE_BYTES_MAX: usize = 256 * 1024;
/// Memory for making something out of a delta: the decoder's window, and what it reads at a time.
const DELTA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is asked for, and its hash tree.
struct Wanted {
    payload: Vec<u8>,
    tree: Vec<u8>,
    blake3: Digest,
}

fn wanted() -> &'static Wanted {
    static WANTED: OnceLock<Wanted> = OnceLock::new();
    WANTED.get_or_init(|| {
        let payload: Vec<u8> = (0..PAYLOAD_BYTES).map(|place| (place / 7 % 251) as u8).collect();
        let (mut file, mut into) = (scratch("payload"), scratch("tree"));
        file.write_all(&payload).expect("a file can be written");
        let blake3 = make(&file, payload.len() as u64, &into).expect("a tree can be made");
        let mut tree = Vec::new();
        into.rewind().and_then(|()| into.read_to_end(&mut tree)).expect("it can be read");
        Wanted { payload, tree, blake3 }
    })
}

/// An empty file that has no name any more.
fn scratch(name: &str) -> File {
    let path: PathBuf = std::env::temp_dir().join(format!("countersign-fuzz-{}-{name}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    std::fs::remove_file(&path).expect("it is there");
    file.expect("a file can be made")
}

/// The true payload and the true tree, altered as the input says, or a stream that is the input: whatever is written is
/// the payload.
pub fn check_tree(bytes: &[u8]) {
    let Wanted { payload, tree, blake3 } = wanted();
    let (mut choices, size) = (Choices::new(bytes), payload.len() as u64);
    let is_stream = choices.yes();
    let offset = choices.below(3) as u64 * GROUP_BYTES;
    let begins = usize::try_from(offset).unwrap_or(0);
    let (mut sent, mut sent_tree) = (payload[begins..].to_vec(), tree.clone());
    while !is_stream && choices.any() {
        let altered = if choices.yes() { &mut sent } else { &mut sent_tree };
        match (choices.below(4), choices.below(altered.len())) {
            (0, place) => altered.truncate(place),
            (1, place) if !altered.is_empty() => drop(altered.remove(place)),
            (2, place) => altered.insert(place, choices.byte()),
            (_, place) => altered.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << (choices.byte() % 8)),
        }
    }
    let is_true = !is_stream && sent == payload[begins..] && sent_tree == *tree;
    let (file, mut tree_file) = (scratch("written"), scratch("sent"));
    file.write_all_at(&payload[..begins], 0).expect("a file can be written");
    tree_file.write_all(&sent_tree).and_then(|()| tree_file.rewind()).expect("a file can be written");
    let (done, taken) = peak_of(|| match is_stream {
        true => check_and_write(&file, *blake3, size, offset, bytes.get(2..).unwrap_or_default()),
        false => check_and_write(&file, *blake3, size, offset, Woven::new(Some(tree_file), &sent[..], size, offset)),
    });
    assert!(taken <= TREE_BYTES_MAX, "{taken} bytes of memory");
    let mut written = vec![0; payload.len() + 1];
    let count = file.read_at(&mut written, 0).expect("it can be read");
    assert!(count <= payload.len() && written[..count] == payload[..count], "something else was written");
    assert!(done.is_err() || count == payload.len(), "done, with {count} bytes");
    assert!(done.is_ok() || !is_true, "the truth is refused: {done:?}");
}

/// What a delta starts from, and what it should make.
fn of_a_delta() -> (Vec<u8>, Vec<u8>) {
    let base = wanted().payload.clone();
    let whole = [&base[..9_000], b"something new", &base[20_000..]].concat();
    (base, whole)
}

/// An honest delta, to begin with.
pub fn honest_delta() -> Vec<u8> {
    let (base, whole) = of_a_delta();
    let mut delta = Vec::new();
    let encoder = zstd::stream::write::Encoder::with_ref_prefix(&mut delta, 3, &base);
    let written = encoder.and_then(|mut encoder| encoder.write_all(&whole).and_then(|()| encoder.finish().map(drop)));
    written.expect("it is compressed in memory");
    delta
}

/// Whatever a delta says: what it makes is what was signed, or it lies.
pub fn decode_delta(bytes: &[u8]) {
    let (base, whole) = of_a_delta();
    let artifact = Artifact {
        name: Name::new("whole").expect("a name"),
        size: whole.len() as u64,
        blake3: Digest::blake3(&whole),
        sha256: Digest(Sha256::digest(&whole).into()),
        encoding: PayloadEncoding::Identity,
        delta_from: None,
    };
    let mut made = Vec::with_capacity(whole.len() + 1);
    let (done, taken) = peak_of(|| delta::decode(&base, bytes, &artifact, &mut made, Path::new("made")));
    assert!(taken <= DELTA_BYTES_MAX, "{taken} bytes of memory");
    assert!(made.len() <= whole.len() + 1, "{} bytes were written", made.len());
    match done {
        Ok(()) => assert!(made == whole, "something else was made"),
        Err(refusal) => is_a_sentence(&refusal.to_string()),
    }
}

/// A path, a line's end, a range: what is understood is what was said.
pub fn cache_request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, range) = text.split_once('\n').map_or((&*text, None), |(path, range)| (path, Some(range)));
    if let Some((blake3, is_tree)) = named(path) {
        let suffix = if is_tree { TREE_SUFFIX } else { "" };
        assert_eq!(path, format!("/{}{suffix}", shelf_path(&blake3)), "two paths for one thing");
    }
    for length in [0, 1, GROUP_BYTES, u64::MAX] {
        match part(range, length) {
            Part::Whole => {}
            Part::From(from, to) => {
                assert!(from < to && to <= length, "{from} to {to} of {length}");
                assert!(range.is_some_and(|range| range.starts_with("bytes=")), "{range:?}");
            }
            Part::Outside => assert!(range.is_some_and(|range| range.starts_with("bytes=")), "{range:?}"),
        }
    }
}
