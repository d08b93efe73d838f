//! Golden files that must be refused, each with the check that must do it.

use crate::support::world::World;
use crate::vectors::Vectors;
use crate::{forgeries, forks, proofs};
use ledger::encoding::encode;
use serde_json::json;

pub fn near_misses(vectors: &mut Vectors, world: &World) {
    let mut miss = |file: String, kind: &str, bytes: Vec<u8>, check: &str, about: &str, at_ms: u64| {
        vectors.put(
            "near_misses",
            &format!("near-misses/{file}"),
            bytes,
            json!({
                "kind": kind, "check": check, "about": about, "at_ms": at_ms,
            }),
        );
    };
    // Proofs, altered by somebody without keys.
    let (approved, id) = proofs::approved();
    let at_ms = approved.tip.header.time_ms;
    for (number, (about, check, alter)) in forgeries::WITHOUT_KEYS.iter().enumerate() {
        let mut bundle = approved.prove(id);
        alter(&approved, &mut bundle);
        miss(format!("proof-{number:02}.proof"), "proof", bundle.bytes(), check.word(), about, at_ms);
    }
    let bundle = approved.prove(id);
    let stale = "a proof is shown a day and a millisecond later";
    miss("proof-stale.proof".into(), "proof", bundle.bytes(), "stale", stale, at_ms + 86_400_001);
    let early = "the verifier's clock is more than two seconds behind the header";
    miss("proof-early.proof".into(), "proof", bundle.bytes(), "clock-behind", early, at_ms - 2_001);
    let bytes = bundle.bytes();
    let trailing = [&bytes[..], &[0]].concat();
    miss("proof-trailing.proof".into(), "proof", trailing, "proof-malformed", "a byte after the end", at_ms);
    let cut = bytes[..bytes.len() - 1].to_vec();
    miss("proof-cut.proof".into(), "proof", cut, "proof-malformed", "the last byte is missing", at_ms);
    let mut long = bytes.clone();
    long[34..42].copy_from_slice(&u64::MAX.to_le_bytes());
    let about = "the list of epochs claims 2^64 - 1 elements";
    miss("proof-bomb.proof".into(), "proof", long, "proof-malformed", about, at_ms);

    // Transactions at the door. The publish with the full manifest has one of everything.
    let publish = encode(&world.log[0]);
    let mut transaction = |file: &str, bytes: Vec<u8>, check: &str, about: &str| {
        miss(format!("transaction-{file}.bin"), "transaction", bytes, check, about, 0);
    };
    transaction("trailing", [&publish[..], &[0]].concat(), "trailing", "a byte after the end");
    transaction("cut", publish[..publish.len() - 1].to_vec(), "malformed", "the last byte is missing");
    transaction("empty", Vec::new(), "malformed", "no bytes at all");
    let with = |find: &[u8], put: &[u8]| {
        let place = publish.windows(find.len()).position(|window| window == find).expect("it is in there");
        [&publish[..place], put, &publish[place + find.len()..]].concat()
    };
    let text = |word: &str| [&(word.len() as u64).to_le_bytes()[..], word.as_bytes()].concat();
    let unsorted = with(
        &[text("CVE-2024-31449"), text("CVE-2024-46981")].concat(),
        &[text("CVE-2024-46981"), text("CVE-2024-31449")].concat(),
    );
    transaction("unsorted", unsorted, "malformed", "the list of advisories is not ascending");
    let twice = with(&text("CVE-2024-46981"), &text("CVE-2024-31449"));
    transaction("twice", twice, "malformed", "an advisory is listed twice");
    let name = with(&text("stable"), &text("Stable"));
    transaction("name", name, "malformed", "a name with a capital letter");
    let slash = with(&text("acme/redis"), &text("acme-redis"));
    transaction("product", slash, "malformed", "a product without a slash");
    let escape = with(b"Redis: remote", b"\x1b[2J: remote");
    transaction("escape", escape, "malformed", "a control character in a title");
    let utf8 = with("größer".as_bytes(), b"gr\xc3\xc3\xc3\xc3er");
    transaction("utf8", utf8, "malformed", "notes that are not UTF-8");
    let approve = encode(&world.log[6]);
    let flag = approve.len() - 64 - 1;
    for (word, value) in [("bool", 2u8), ("bool-ff", 0xff)] {
        let mut bytes = approve.clone();
        bytes[flag] = value;
        transaction(word, bytes, "malformed", "a truth value that is neither 0 nor 1");
    }
    let mut kind = approve.clone();
    kind[82..86].copy_from_slice(&11u32.to_le_bytes());
    transaction("kind", kind, "malformed", "a kind of transaction that does not exist");
    let recall = world.log.iter().find(|s| s.transaction.payload.kind() == "recall").map(encode).unwrap();
    let mut long = recall.clone();
    long[118..126].copy_from_slice(&u64::MAX.to_le_bytes());
    transaction("bomb", long, "malformed", "a text that claims 2^64 - 1 bytes");
    let large = [&recall[..], &vec![0; ledger::limits::TRANSACTION_BYTES_MAX]].concat();
    transaction("large", large[..=ledger::limits::TRANSACTION_BYTES_MAX].to_vec(), "size", "65,537 bytes");
    let mut version = recall.clone();
    version[0] = 2;
    transaction("version", version, "version", "a later version");
    let mut chain = recall.clone();
    chain[2] ^= 1;
    transaction("chain", chain, "chain-id", "for another ledger");
    let mut signature = recall.clone();
    *signature.last_mut().unwrap() ^= 1;
    transaction("signature", signature, "signature", "the last bit of the signature is another");
    let mut nonce = recall;
    nonce[66] ^= 1;
    transaction("nonce", nonce, "signature", "another nonce under the same signature");

    // Evidence files that convict nobody.
    for (number, (about, check, bytes)) in forks::near_misses().into_iter().enumerate() {
        miss(format!("evidence-{number:02}.evidence"), "evidence", bytes, check, about, 0);
    }
}
