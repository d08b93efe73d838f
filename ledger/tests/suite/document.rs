//! docs/protocol.md is the law; where it can be held against the code, it is.

use crate::support::samples::*;
use crate::support::world::World;
use ledger::encoding::encode;
use ledger::id::{Context, PatchId, context};
use ledger::key::Purpose;
use ledger::limits;
use ledger::receipt::{Outcome, ReasonCode};
use ledger::transaction::Payload;
use std::collections::BTreeSet;
use std::path::Path;

fn document() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md")).unwrap()
}

/// `12.34` as two numbers; anything else is none.
fn number(text: &str) -> Option<(u32, u32)> {
    let (section, sentence) = text.split_once('.')?;
    Some((section.parse().ok()?, sentence.parse().ok()?))
}

/// The numbers of all sentences, in their order.
fn sentences(document: &str) -> Vec<(u32, u32)> {
    let marked = document.lines().filter_map(|line| line.strip_prefix("**")?.split_once("**"));
    marked.filter_map(|(mark, _)| number(mark)).collect()
}

/// A number as the document writes it: 65,536.
fn written(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(",")
}

#[test]
fn sentences_are_numbered_without_gaps() {
    let sentences = sentences(&document());
    assert!(sentences.len() > 100);
    for pair in sentences.windows(2) {
        let ((section, sentence), next) = (pair[0], pair[1]);
        assert!(next == (section, sentence + 1) || next == (section + 1, 1), "{next:?} after {:?}", pair[0]);
    }
}

#[test]
fn every_sentence_quoted_is_there() {
    let known: BTreeSet<_> = sentences(&document()).into_iter().collect();
    let room = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = vec![room.join("src"), room.join("tests"), room.join("../tests/interop")];
    let mut quoted = 0;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for line in text.lines() {
                let lower = line.to_lowercase();
                let Some((_, after)) = lower.split_once("sentence").filter(|_| lower.contains("//")) else { continue };
                for word in after.split(|c: char| !c.is_ascii_digit() && c != '.') {
                    if let Some(sentence) = number(word.trim_matches('.')) {
                        assert!(known.contains(&sentence), "{}: {line}", path.display());
                        quoted += 1;
                    }
                }
            }
        }
    }
    assert!(quoted > 20, "{quoted} quotations");
}

#[test]
fn contexts_and_tags_are_those_of_the_document() {
    let contexts = [
        &context::CHAIN_ID,
        &context::TRANSACTION_ID,
        &context::BLOCK_HASH,
        &context::PATCH_ID,
        &context::VALIDATORS_HASH,
        &context::BLOCK_LEAF,
        &context::BLOCK_NODE,
        &context::BLOCK_EMPTY,
        &context::STATE_KEY,
        &context::STATE_TREE,
    ];
    let purposes = [
        Purpose::Transaction,
        Purpose::Proposal,
        Purpose::Prevote,
        Purpose::Precommit,
        Purpose::Upload,
        Purpose::Invitation,
        Purpose::Arrival,
        Purpose::Inventory,
        Purpose::InventoryRead,
    ];
    let used: BTreeSet<&str> = contexts.map(Context::name).into_iter().chain(purposes.map(Purpose::tag)).collect();
    assert_eq!(used.len(), 19, "no two uses share a word");
    let document = document();
    let written: BTreeSet<&str> =
        document.split(['`', '"']).filter(|word| word.starts_with("countersign/v1/")).collect();
    assert_eq!(written, used);
}

#[test]
fn reason_codes_have_the_numbers_of_the_document() {
    let document = document();
    for (number, code) in ReasonCode::ALL.iter().enumerate() {
        assert!(document.contains(&format!("| {number} `{}` |", code.word())), "{number} {code}");
        assert_eq!(encode(code), (number as u32).to_le_bytes());
    }
}

#[test]
fn kinds_of_transactions_have_the_numbers_of_the_document() {
    let document = document();
    let id = PatchId([0; 32]);
    let kinds: [Payload; 8] = [
        publish(&manifest("acme/redis", 1)),
        approve(id),
        reject(id),
        hold(id),
        recall(id),
        enroll("host"),
        retire("host"),
        receive(receipt(id, 1, Outcome::Applied)),
    ];
    for (number, payload) in kinds.iter().enumerate() {
        assert_eq!(encode(payload)[..4], (number as u32).to_le_bytes());
        assert!(document.contains(&format!("| {number} | `{}` |", payload.kind())), "{number} {}", payload.kind());
    }
    let accuse = crate::support::offences::accuse(crate::support::offences::two_votes("acme/validator", 1));
    assert_eq!(encode(&accuse)[..4], 10u32.to_le_bytes());
    assert!(document.contains("| 10 | `accuse` |"));
}

#[test]
fn a_header_has_the_offsets_of_the_document() {
    let document = document();
    let header = World::new().genesis.header;
    let bytes = encode(&header);
    assert_eq!(bytes.len(), 286);
    let fields: [(&str, &[u8]); 13] = [
        ("version", &header.version.to_le_bytes()),
        ("chain_id", &header.chain_id.0),
        ("height", &header.height.to_le_bytes()),
        ("time_ms", &header.time_ms.to_le_bytes()),
        ("parent", &header.parent.0),
        ("tx_root", &header.tx_root.0),
        ("tx_count", &header.tx_count.to_le_bytes()),
        ("history_root", &header.history_root.0),
        ("history_size", &header.history_size.to_le_bytes()),
        ("state_root", &header.state_root.0),
        ("validators_hash", &header.validators_hash.0),
        ("next_validators_hash", &header.next_validators_hash.0),
        ("proposer", &header.proposer.0),
    ];
    let mut offset = 0;
    for (name, value) in fields {
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` | `")) && line.contains(&format!("` | {offset} |")));
        assert!(row.is_some(), "{name} at {offset}");
        assert_eq!(&bytes[offset..offset + value.len()], value, "{name}");
        offset += value.len();
    }
    assert_eq!(offset, bytes.len());
}

#[test]
fn limits_are_those_of_the_document() {
    let document = document();
    let (_, section) = document.split_once("## 11 Limits").unwrap();
    let (section, _) = section.split_once("## 12").unwrap();
    let rows: [(&str, &[u64]); 27] = [
        ("proof file", &[limits::PROOF_BYTES_MAX as u64, limits::BLOCK_BYTES_MAX as u64]),
        ("signed transaction", &[limits::TRANSACTION_BYTES_MAX as u64]),
        ("record, certificate", &[limits::MESSAGE_BYTES_MAX as u64]),
        ("peer message", &[limits::FRAME_BYTES_MAX as u64]),
        ("transactions in a block", &[limits::BLOCK_TRANSACTIONS_MAX as u64]),
        ("validators in a set", &[limits::VALIDATORS_MAX as u64]),
        ("epoch links", &[limits::EPOCHS_MAX as u64]),
        ("organisations", &[limits::ORGANISATIONS_MAX as u64]),
        ("keys of an organisation", &[limits::KEYS_PER_ORGANISATION_MAX as u64]),
        ("namespaces", &[limits::NAMESPACES_PER_ORGANISATION_MAX as u64]),
        ("approval rules", &[limits::APPROVAL_RULES_MAX as u64]),
        ("approval rules; halts", &[limits::HALTS_MAX as u64, limits::VERDICTS_PER_PATCH_MAX as u64]),
        ("name / product", &[limits::NAME_BYTES_MAX as u64]),
        ("name / product", &[limits::PRODUCT_BYTES_MAX as u64, limits::VERSION_BYTES_MAX as u64]),
        ("sentence", &[limits::SENTENCE_BYTES_MAX as u64, limits::ARGUMENT_BYTES_MAX as u64]),
        ("sentence", &[limits::NOTES_BYTES_MAX as u64]),
        ("advisories", &[limits::ADVISORIES_MAX as u64]),
        (
            "targets",
            &[limits::TARGETS_MAX as u64, limits::SELECTOR_VALUES_MAX as u64, limits::HEALTH_CHECKS_MAX as u64],
        ),
        ("relations", &[limits::RELATIONS_MAX as u64, limits::ARTIFACTS_MAX as u64]),
        ("arguments", &[limits::ARGUMENTS_MAX as u64]),
        ("artifact", &[limits::ARTIFACT_BYTES_MAX]),
        ("siblings", &[limits::HISTORY_PATH_MAX as u64, limits::STATE_PATH_MAX as u64]),
        ("offences recorded", &[limits::OFFENCES_PER_KEY_MAX as u64]),
        (
            "proposals of one organisation",
            &[limits::PROPOSALS_PER_ORGANISATION_MAX as u64, limits::PROPOSALS_PER_KEY_MAX as u64],
        ),
        ("a proposal counts", &[limits::PROPOSAL_COUNTS_MS_MIN / 86_400_000]),
        ("step of a release", &[limits::RELEASE_STEP_MAX]),
        ("header time", &[limits::CLOCK_AHEAD_MS_MAX]),
    ];
    for (begins, values) in rows {
        let row = section.lines().find(|line| line.starts_with(&format!("| {begins}")));
        let row = row.unwrap_or_else(|| panic!("a row that begins with {begins}"));
        for value in values {
            let stands = row.split(|c: char| !c.is_ascii_digit() && c != ',').any(|word| word == written(*value));
            assert!(stands, "{row} has no {}", written(*value));
        }
    }
    assert!(document.contains(&written(limits::EXPIRY_AHEAD_MS_MAX)));
    assert!(document.contains(&written(ledger::proof::MAX_AGE_MS_DEFAULT)));
    assert!(document.contains(&written(ledger::artifact::GROUP_BYTES)));
}
