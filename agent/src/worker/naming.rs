//! Which patch somebody means, and its proof.

use super::AskError;
use crate::follow::heads::Heads;
use crate::follow::sources::{CallError, Sources};
use crate::proofs::{self, NOT_YET, Offer};
use ledger::id::PatchId;
use ledger::proof::TrustRoot;

/// The proof of a patch, from the nodes in turn, for somebody who only wants to look at it.
///
/// # Errors
/// [`AskError`].
pub async fn look_up(patch: &str, sources: &Sources, heads: &Heads, trust: &TrustRoot) -> Result<Offer, AskError> {
    let found = match full_id(patch) {
        Ok(found) => found,
        Err(_) => {
            let (prefix, mut trouble) = (as_prefix(patch)?, None);
            let mut named = None;
            for source in sources.all() {
                match source.named(&prefix).await {
                    Ok(answer) => {
                        named = Some(answer);
                        break;
                    }
                    Err(error) => trouble = Some(error),
                }
            }
            the_one(&named.ok_or(AskError::NoNode(trouble))?, prefix)?
        }
    };
    proofs::obtain(found, true, sources, heads, trust).await.map_err(|error| not_obtained(found, error))
}

pub(super) fn not_obtained(patch: PatchId, error: Option<CallError>) -> AskError {
    match error {
        Some(error) if error.check() == Some("not-found") => AskError::UnknownPatch(patch.to_string()),
        Some(error) if error.check() == Some(NOT_YET) => AskError::NotYet(patch, error.into()),
        error => AskError::NoNode(error),
    }
}

pub(super) fn as_prefix(text: &str) -> Result<String, AskError> {
    match (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(AskError::NotAnId(text.chars().take(80).collect())),
    }
}

pub(super) fn the_one(named: &[PatchId], prefix: String) -> Result<PatchId, AskError> {
    let found: Vec<_> = named.iter().filter(|patch| patch.to_string().starts_with(&prefix)).collect();
    match found[..] {
        [patch] => Ok(*patch),
        [] => Err(AskError::UnknownPatch(prefix)),
        _ => Err(AskError::Ambiguous(prefix)),
    }
}

pub(super) fn full_id(text: &str) -> Result<PatchId, AskError> {
    text.parse().map_err(|_| AskError::NotAnId(text.chars().take(80).collect()))
}
