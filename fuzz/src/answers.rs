//! What servers answer: web servers with artifacts, and nodes, of whose answers an endpoint reads what it needs.

use crate::doors::is_a_sentence;
use crate::memory::peak_of;
use agent::config::MirrorAddress;
use agent::download::answer::{judge, sent_on};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Uri};
use proto::lean::{self, Lean};

/// What is asked for: a file of so many bytes, from there on.
const SIZE: u64 = 1_000;
/// The one other host that may be sent on to.
const OTHER: &str = "other.example";
/// The fields that mean something.
const FIELDS: [&str; 4] = ["content-length", "content-range", "content-encoding", "location"];
/// Memory for what an answer is made of, besides twice its bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Two bytes of status, an offset, then fields in lines. What is believed stands there, word for word; and nobody is sent
/// where he must not go.
pub fn mirror(bytes: &[u8]) {
    let [a, b, offset, secure, fields @ ..] = bytes else { return };
    let Ok(status) = StatusCode::from_u16(100 + u16::from_le_bytes([*a, *b]) % 500) else { return };
    let offset = u64::from(*offset);
    let mut headers = HeaderMap::new();
    for (name, value) in FIELDS.iter().zip(fields.split(|byte| *byte == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(value)
            && !value.is_empty()
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match judge(status, &headers, SIZE, offset) {
        Ok(before) => {
            assert!(matches!(said("content-encoding"), "" | "identity"));
            match status {
                StatusCode::OK => {
                    assert_eq!(before, offset, "all of it comes");
                    let length = said("content-length");
                    assert!(length.parse().is_ok_and(|length: u64| length == SIZE) || length.parse::<u64>().is_err());
                }
                StatusCode::PARTIAL_CONTENT => {
                    assert_eq!(before, 0, "what was asked for comes");
                    let range = said("content-range").strip_prefix("bytes ").expect("a range is said in bytes");
                    assert_eq!(range.split('-').next().and_then(|from| from.parse().ok()), Some(offset));
                }
                status => panic!("{status} is no answer"),
            }
        }
        Err(refusal) => is_a_sentence(&refusal.to_string()),
    }
    let scheme = if secure & 1 == 1 { "https" } else { "http" };
    let url: Uri = format!("{scheme}://own.example:8080/patches").parse().expect("an address");
    let own = MirrorAddress { url: url.clone(), ca: None, proxy: None, redirects_to: vec![OTHER.to_owned()] };
    match sent_on(&own, &url, &headers) {
        Ok(to) => {
            assert!(to.scheme_str() == Some("https") || (to.scheme_str(), scheme) == (Some("http"), "http"), "{to}");
            let host = to.host().unwrap_or_default().to_ascii_lowercase();
            let is_itself = host == "own.example" && to.port_u16() == Some(8080);
            assert!(is_itself || host == OTHER, "sent on to {to}");
        }
        Err(refusal) => is_a_sentence(&refusal.to_string()),
    }
}

/// The first byte says to what it is an answer. What it takes is bounded by what it has.
pub fn of_a_node(bytes: &[u8]) {
    let Some((which, answer)) = bytes.split_first() else { return };
    match which % 5 {
        0 => read::<lean::Patches>(answer, |answer| answer.patches.len()),
        1 => read::<lean::Receipts>(answer, |answer| answer.receipts.len()),
        2 => read::<lean::Epochs>(answer, |answer| answer.links.len()),
        3 => read::<lean::Recalled>(answer, |_| 0),
        _ => read::<lean::NodeKey>(answer, |_| 0),
    }
}

fn read<A: Lean>(bytes: &[u8], entries: impl Fn(&A) -> usize) {
    let (answer, taken) = peak_of(|| lean::read::<A>(bytes));
    assert!(taken <= 2 * bytes.len() + ANSWER_BYTES_MAX, "{taken} bytes of memory for {}", bytes.len());
    match answer {
        Ok(answer) => {
            assert!(entries(&answer) <= A::FIELDS_MAX);
            // Whatever else stood there, what was read of it is written and read again.
            let again = lean::read::<A>(&answer.encode_to_vec()).expect("what was read is an answer");
            assert_eq!(again.encode_to_vec(), answer.encode_to_vec());
        }
        Err(refusal) => is_a_sentence(refusal.message()),
    }
}

/// As a node would write it that knows no more than what is read.
pub fn written<A: Lean>(answer: &A) -> Vec<u8> {
    answer.encode_to_vec()
}
