//! Container images as their vendors pack them: the documents of a layout, and the lists of accounts in a root.

use crate::doors::is_a_sentence;
use crate::memory::peak_of;
use crate::places::directory;
use agent::installer::container::layout::{LAYERS_MAX, read};
use agent::installer::container::user::{GROUPS_MAX, find};
use agent::installer::deadline::Deadline;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Memory for each byte of the documents …
const BYTES_PER_BYTE_MAX: usize = 64;
/// … and for reading them at all: there is a buffer.
const BYTES_BEGUN_MAX: usize = 1024 * 1024;
/// Files of a layout here: its index, and blobs.
const FILES_MAX: usize = 10;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("it is text in memory");
        digits
    })
}

/// Files, with zeros between them: the index, then blobs. Where one says `@3` or `#3` there is the digest, or the length,
/// of the third, which comes after it: so documents lead to each other however they are altered.
pub fn read_layout(bytes: &[u8]) {
    let root = directory("layout");
    let blobs = root.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory can be made");
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file can be written");
    let mut files: Vec<Vec<u8>> = bytes.splitn(FILES_MAX, |byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let mut written = 0;
    for place in (0..files.len()).rev() {
        let (file, behind) = files[place..].split_first_mut().expect("there is one at this place");
        *file = filled_in(file, behind, place);
        let path = if place == 0 { root.join("index.json") } else { blobs.join(sha256(file)) };
        written += file.len();
        fs::write(path, file).expect("a file can be written");
    }
    let deadline = Deadline::begin("reading a layout", Duration::MAX);
    let (image, taken) = peak_of(|| read(&root, deadline));
    assert!(taken <= written * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory for {written}");
    match image {
        Ok(image) => {
            assert!((1..=LAYERS_MAX).contains(&image.layers.len()));
            for layer in &image.layers {
                assert_eq!(layer.path.parent(), Some(&*blobs), "a layer from elsewhere");
                let blob = fs::read(&layer.path).expect("it is there");
                assert_eq!(layer.path.file_name().and_then(|name| name.to_str()), Some(&*sha256(&blob)));
                assert!(layer.diff_sha256.len() == 64 && layer.diff_sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            }
            let manifest = image.digest.strip_prefix("sha256:").expect("a digest of this kind");
            assert!(files[1..].iter().any(|file| sha256(file) == manifest), "an image from nowhere");
        }
        Err(refusal) => is_a_sentence(refusal.reason.detail.as_str()),
    }
}

/// Digests and lengths of the files behind one, put in where it names them.
fn filled_in(file: &[u8], behind: &[Vec<u8>], place: usize) -> Vec<u8> {
    let mut filled = Vec::with_capacity(file.len());
    let mut rest = file;
    while let Some((first, more)) = rest.split_first() {
        let named = more.first().filter(|_| matches!(first, b'@' | b'#')).and_then(|digit| {
            let number = usize::from(digit.wrapping_sub(b'0'));
            behind.get(number.checked_sub(place + 1)?)
        });
        match named {
            Some(blob) if *first == b'@' => filled.extend(sha256(blob).bytes()),
            Some(blob) => filled.extend(blob.len().to_string().bytes()),
            None => filled.push(*first),
        }
        rest = if named.is_some() { &more[1..] } else { more };
    }
    filled
}

/// Words for a user, a list of users, a list of groups, with zeros between them: numbers are what they say, names are in
/// the lists.
pub fn find_user(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let words = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (users, groups) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let root = directory("root");
    put(&root, "etc/passwd", users);
    put(&root, "etc/group", groups);
    let (found, taken) = peak_of(|| find(&root, &words));
    assert!(taken <= bytes.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory");
    let (user, group) = words.split_once(':').map_or((&*words, None), |(user, group)| (user, Some(group)));
    match found {
        Ok(found) => {
            assert!(found.more_groups.len() <= GROUPS_MAX);
            assert!(group.is_none() || found.more_groups.is_empty(), "whoever names a group is in that one");
            if let Ok(uid) = user.parse::<u32>() {
                assert_eq!(found.uid, uid);
            } else if !user.is_empty() {
                let lists = String::from_utf8_lossy(users);
                assert!(lists.lines().any(|line| line.starts_with(&format!("{user}:"))), "{user:?} is nobody");
            }
            if let Some(Ok(gid)) = group.map(str::parse::<u32>) {
                assert_eq!(found.gid, gid);
            }
        }
        Err(refusal) => is_a_sentence(refusal.reason.detail.as_str()),
    }
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap_or(root)).expect("a directory can be made");
    fs::write(path, bytes).expect("a file can be written");
}
