//! A second judge of certificates, written from docs/protocol.md 1.12 to 1.17 and 3.1 to 3.12 and from nothing
//! else: its own layouts, its own counting, a signature library asked directly.

use crate::parts::CertificateParts;
use ed25519_dalek::{Signature, VerifyingKey};
use ledger::block::Header;
use ledger::id::ChainId;

/// A validator as the document knows it: key and organisation.
pub type Validator = ([u8; 32], String);

/// 3.1.
pub fn header_bytes(header: &Header) -> Vec<u8> {
    let mut bytes = header.version.to_le_bytes().to_vec();
    bytes.extend(header.chain_id.0);
    bytes.extend(header.height.to_le_bytes());
    bytes.extend(header.time_ms.to_le_bytes());
    bytes.extend(header.parent.0);
    bytes.extend(header.tx_root.0);
    bytes.extend(header.tx_count.to_le_bytes());
    bytes.extend(header.history_root.0);
    bytes.extend(header.history_size.to_le_bytes());
    bytes.extend(header.state_root.0);
    bytes.extend(header.validators_hash.0);
    bytes.extend(header.next_validators_hash.0);
    bytes.extend(header.proposer.0);
    assert_eq!(bytes.len(), 286);
    bytes
}

/// 3.1.
pub fn block_hash(header: &Header) -> [u8; 32] {
    blake3::derive_key("countersign/v1/block-hash", &header_bytes(header))
}

/// 3.12.
pub fn validators_hash(validators: &[Validator]) -> [u8; 32] {
    let mut bytes = (validators.len() as u64).to_le_bytes().to_vec();
    for (key, organisation) in validators {
        bytes.extend(key);
        bytes.extend((organisation.len() as u64).to_le_bytes());
        bytes.extend(organisation.as_bytes());
    }
    blake3::derive_key("countersign/v1/validators-hash", &bytes)
}

/// 1.15 and 3.10: the bytes under a precommit.
pub fn precommit_message(chain: &ChainId, height: u64, round: u32, block: &[u8; 32]) -> Vec<u8> {
    let mut message = b"countersign/v1/precommit\0".to_vec();
    message.extend(chain.0);
    message.extend(height.to_le_bytes());
    message.extend(round.to_le_bytes());
    message.push(1);
    message.extend(block);
    message
}

/// 3.8: the places of those who made the header final; none when it is not proven.
pub fn signers(
    parts: &CertificateParts,
    header: &Header,
    chain: &ChainId,
    validators: &[Validator],
) -> Option<Vec<usize>> {
    let hash = block_hash(header);
    let n = validators.len();
    if parts.height != header.height || parts.block.0 != hash {
        return None;
    }
    if header.validators_hash.0 != validators_hash(validators) || parts.signers.len() != n.div_ceil(8) {
        return None;
    }
    let marked: Vec<usize> =
        (0..parts.signers.len() * 8).filter(|i| parts.signers[i / 8] & (1u8 << (i % 8)) != 0).collect();
    if marked.iter().any(|i| *i >= n) || marked.len() != parts.signatures.len() {
        return None;
    }
    if 3 * marked.len() <= 2 * n {
        return None;
    }
    let message = precommit_message(chain, parts.height, parts.round, &hash);
    let all_hold = marked.iter().zip(&parts.signatures).all(|(i, signature)| {
        let key = VerifyingKey::from_bytes(&validators[*i].0);
        key.is_ok_and(|key| key.verify_strict(&message, &Signature::from_bytes(&signature.0)).is_ok())
    });
    all_hold.then_some(marked)
}
