//! Putting proof files together: the node assembles and believes nothing; whoever gets the file checks
//! it.

use ledger::approval::Decision;
use ledger::block::Header;
use ledger::bounded::{List, Name};
use ledger::certificate::Certificate;
use ledger::encoding::decode;
use ledger::history::{self, HistoryStorage};
use ledger::id::PatchId;
use ledger::inclusion::InclusionProof;
use ledger::limits;
use ledger::proof::{EpochLink, PROOF_VERSION, ProofBundle, ProvenState, ProvenTransaction};
use ledger::state::record::{KeyStatus, PatchRecord, Position};
use ledger::state::storage::{StateStorage, StorageError};
use ledger::state::tree::{self, TreeHead};
use ledger::state::{RecordKey, StateView as _};
use ledger::transaction::SignedTransaction;
use std::collections::BTreeSet;

/// The newest state and history, consistent with one header.
pub trait ProofSource: StateStorage + HistoryStorage {
    /// The newest header, its certificate, and the state tree's head under it. `None` at genesis: its
    /// header has no certificate.
    ///
    /// # Errors
    /// [`StorageError`].
    fn head(&self) -> Result<Option<(Header, Certificate, TreeHead)>, StorageError>;

    /// The changes of the validator set, the oldest first, up to this header; one more than a proof file
    /// holds is enough.
    ///
    /// # Errors
    /// [`StorageError`].
    fn epochs_before(&self, header: &Header) -> Result<Vec<EpochLink>, StorageError>;

    /// The signed bytes of the transaction at a history index.
    ///
    /// # Errors
    /// [`StorageError`].
    fn transaction_bytes(&self, index: u64) -> Result<Option<Vec<u8>>, StorageError>;
}

/// Why there is no proof file.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// Nobody published it.
    #[error("patch {0} is not published")]
    UnknownPatch(PatchId),
    /// The block that makes its newest transaction provable is not there yet.
    #[error("patch {patch} is provable from the next block on")]
    NotYet {
        /// The patch.
        patch: PatchId,
    },
    /// The validators changed more often than a proof file from genesis can show.
    #[error("the validators changed more than {} times; a proof file shows no more", limits::EPOCHS_MAX)]
    TooManyEpochs,
    /// What there is to show does not fit a proof file.
    #[error("the proof of patch {patch} has {bytes} bytes, more than the {} of a proof file", limits::PROOF_BYTES_MAX)]
    TooLarge {
        /// The patch.
        patch: PatchId,
        /// What it would have.
        bytes: usize,
    },
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The proof file of a patch at the newest header.
///
/// # Errors
/// [`AssemblyError`].
pub fn assemble(source: &impl ProofSource, id: PatchId) -> Result<Vec<u8>, AssemblyError> {
    let patch = source.patch(id)?.ok_or(AssemblyError::UnknownPatch(id))?;
    let Some((header, certificate, head)) = source.head()? else {
        return Err(AssemblyError::NotYet { patch: id });
    };
    let approving = |decision| matches!(decision, Decision::Approve | Decision::ApproveUrgently);
    let mut approvals: Vec<Position> = Vec::new();
    for verdict in patch.verdicts.iter().filter(|verdict| approving(verdict.decision)) {
        // What a revoked key signed counts no more, and a file that shows it is refused (6.14).
        let owner = source.key_owner(verdict.key)?;
        if owner.is_some_and(|owner| owner.status != KeyStatus::Revoked) {
            approvals.push(verdict.position);
        }
    }
    approvals.sort_by_key(|position| position.index);
    if approvals.iter().chain([&patch.published]).any(|position| position.index >= header.history_size) {
        return Err(AssemblyError::NotYet { patch: id });
    }
    let proven = |position: &Position| prove_transaction(source, header.history_size, position.index);
    let publish = proven(&patch.published)?;
    let approvals = approvals.iter().map(proven).collect::<Result<Vec<_>, _>>()?;
    let state = prove_state(source, head, id, &patch)?;
    let bundle = ProofBundle {
        version: PROOF_VERSION,
        chain_id: header.chain_id,
        epochs: List::new(source.epochs_before(&header)?).map_err(|_| AssemblyError::TooManyEpochs)?,
        header,
        certificate,
        publish,
        approvals: bounded(approvals)?,
        state,
    };
    let bytes = bundle.bytes();
    match bytes.len() > limits::PROOF_BYTES_MAX {
        true => Err(AssemblyError::TooLarge { patch: id, bytes: bytes.len() }),
        false => Ok(bytes),
    }
}

/// Proves a transaction at the newest header; `None` before the block after its own.
///
/// # Errors
/// [`StorageError`].
pub fn include(source: &impl ProofSource, index: u64) -> Result<Option<InclusionProof>, StorageError> {
    let Some((header, certificate, _)) = source.head()? else { return Ok(None) };
    if index >= header.history_size {
        return Ok(None);
    }
    let path = bounded(history::prove(source, header.history_size, index)?)?;
    Ok(Some(InclusionProof { header, certificate, index, path }))
}

fn prove_transaction(
    source: &impl ProofSource,
    history_size: u64,
    index: u64,
) -> Result<ProvenTransaction, StorageError> {
    let bytes = source
        .transaction_bytes(index)?
        .ok_or_else(|| StorageError::new("transactions", format!("no transaction at {index}")))?;
    let transaction: SignedTransaction =
        decode(&bytes).map_err(|error| StorageError::new("transactions", error.to_string()))?;
    let path = bounded(history::prove(source, history_size, index)?)?;
    Ok(ProvenTransaction { transaction, index, path })
}

fn prove_state(
    source: &impl ProofSource,
    head: TreeHead,
    id: PatchId,
    patch: &PatchRecord,
) -> Result<ProvenState, StorageError> {
    let prove = |key: RecordKey| tree::prove(source, head, &key.state_key());
    let approvers = patch.verdicts.iter().map(|verdict| verdict.organisation.clone());
    let organisations: BTreeSet<Name> = approvers.chain([patch.organisation.clone()]).collect();
    let organisations = organisations
        .into_iter()
        .map(|name| Ok((name.clone(), prove(RecordKey::Organisation(name))?)))
        .collect::<Result<Vec<_>, StorageError>>()?;
    Ok(ProvenState {
        patch: prove(RecordKey::Patch(id))?,
        rules: prove(RecordKey::ApprovalRules)?,
        halts: prove(RecordKey::Halts)?,
        organisations: bounded(organisations)?,
    })
}

fn bounded<T, const MAX: usize>(elements: Vec<T>) -> Result<List<T, MAX>, StorageError> {
    List::new(elements).map_err(|error| StorageError::new("proof", error.to_string()))
}
