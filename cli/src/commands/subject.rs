//! The patch a command is about, as its vendor signed it.

use crate::connection::{Connection, NodeError, only};
use crate::failure::Failure;
use crate::files;
use crate::sign::SignedPatch;
use crate::trust::Trust;
use ledger::id::{ChainId, PatchId};
use ledger::limits;
use ledger::proof::{ProofBundle, ProofError};
use ledger::transaction::Payload;
use std::path::Path;

/// The patch named by an id or a prefix: from a proof file when one is given, from the node otherwise.
/// Either way signature and patch id are checked here.
pub(super) async fn subject(
    connection: Option<&mut Connection>,
    trust: &Trust,
    named: &str,
    proof: Option<&Path>,
) -> Result<SignedPatch, Failure> {
    match (proof, connection) {
        (Some(path), _) => from_proof(path, named, &trust.chain_id()),
        (None, Some(connection)) => {
            let id = connection.resolve_patch(named).await?;
            let patch = connection.patch(id).await?;
            Ok(signed_patch(&patch, id, &trust.chain_id())?)
        }
        (None, None) => Err(Failure::usage(
            "without a node there is nothing to show of this patch",
            "nobody should sign what they have not seen: give a proof file of the patch with --proof FILE",
        )),
    }
}

/// Checks what a node shows as the publishing transaction of a patch.
pub(super) fn signed_patch(
    patch: &proto::v1::Patch,
    asked: PatchId,
    chain: &ChainId,
) -> Result<SignedPatch, NodeError> {
    SignedPatch::verify_bytes(&patch.publish_transaction, asked, chain)
        .map_err(|source| NodeError::NotThePatch { asked, source })
}

fn from_proof(path: &Path, named: &str, chain: &ChainId) -> Result<SignedPatch, Failure> {
    let bytes = files::read(path, "proof file", limits::PROOF_BYTES_MAX)?;
    let unusable = |error: ProofError| {
        Failure::usage(format!("{}: {error}", path.display()), "`countersign proof get` writes proof files")
    };
    let bundle = ProofBundle::parse(&bytes).map_err(unusable)?;
    let Payload::Publish { manifest } = &bundle.publish.transaction.transaction.payload else {
        return Err(Failure::usage(format!("{}: it publishes nothing", path.display()), ""));
    };
    let asked = only("patch", "patches", named, &[manifest.id()])?;
    let not_the_patch = |source| NodeError::NotThePatch { asked, source };
    let transaction = bundle.publish.transaction.clone().verify(chain).map_err(|error| not_the_patch(error.into()))?;
    Ok(SignedPatch::of(transaction, asked).map_err(not_the_patch)?)
}
