//! Submitting: once, whatever happens on the way. A transaction's id is known before it is sent, so a
//! lost answer is no lost transaction.

use crate::connection::{Connection, NodeError, id};
use crate::time;
use ledger::id::TransactionId;
use ledger::transaction::VerifiedTransaction;
use proto::v1::{CheckRequest, GetTransactionRequest, SubmitRequest, TransactionState};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How often a transaction is offered to a node that is full, or to one that was lost and forgot it.
pub const OFFERS_MAX: u32 = 10;
/// Longest pause between two offers.
const PAUSE_MS_MAX: u64 = 5_000;
/// Pause when the node names none.
const PAUSE_MS: u64 = 250;
/// Longest time one call waits for finality.
const WAIT_MS_MAX: u64 = 60_000;

/// Where a transaction was finalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PositionView {
    /// Height of its block.
    pub height: u64,
    /// Index of its leaf in the history.
    pub index: u64,
    /// Time of the block; 0 when the node did not say.
    pub time_ms: u64,
}

impl From<proto::v1::Position> for PositionView {
    fn from(position: proto::v1::Position) -> Self {
        Self { height: position.height, index: position.index, time_ms: position.time_ms }
    }
}

/// Why a transaction is not known to be finalised.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The node refused it: it is not finalised, and will not be.
    #[error(transparent)]
    Refused(Box<NodeError>),
    /// The node was lost: nobody knows.
    #[error("transaction {id} may or may not be finalised")]
    Lost {
        /// The transaction.
        id: TransactionId,
        /// How it was lost.
        source: Box<NodeError>,
    },
    /// The time to wait is over.
    #[error("transaction {id} is not finalised after {}", time::show_duration(*waited_ms))]
    NotYet {
        /// The transaction.
        id: TransactionId,
        /// How long it was waited for.
        waited_ms: u64,
    },
}

impl SubmitError {
    fn new(id: TransactionId, error: NodeError) -> Self {
        let source = Box::new(error);
        if source.is_refusal() { Self::Refused(source) } else { Self::Lost { id, source } }
    }

    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::Lost { .. })
    }

    /// A stable word for programs.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused(source) => source.code(),
            Self::Lost { .. } => "lost",
            Self::NotYet { .. } => "not-yet",
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(source) => source.hint(),
            Self::Lost { id, .. } | Self::NotYet { id, .. } => Some(format!(
                "it may still be finalised: `countersign get transaction {id}` tells, and `countersign status` whether a \
                 quorum of the validators is there"
            )),
        }
    }
}

/// What came of one offer.
enum Offer {
    Finalised(PositionView),
    /// Taken, not finalised within the time of the call.
    Pending,
    /// Not now.
    Later(u64, NodeError),
    /// No answer: it may or may not have been taken.
    Lost(NodeError),
}

/// Asks what the rules say of a transaction, before anything large is sent for it. A node that cannot say, or
/// cannot say now, is no refusal: it is asked again by submitting.
///
/// # Errors
/// [`SubmitError::Refused`].
pub async fn check(connection: &mut Connection, transaction: &VerifiedTransaction) -> Result<(), SubmitError> {
    let Err(status) = connection.ledger.check(CheckRequest { transaction: transaction.bytes().to_vec() }).await else {
        return Ok(());
    };
    match NodeError::from(status) {
        NodeError::Failed { .. } | NodeError::Refused { retry_after_ms: Some(_), .. } => Ok(()),
        // Submitting twice is harmless.
        NodeError::Refused { check, .. } if check == "already-finalised" => Ok(()),
        error => Err(SubmitError::new(transaction.id(), error)),
    }
}

/// Submits a transaction and waits until it is finalised.
///
/// # Errors
/// [`SubmitError`] says whether it was refused, or is merely not known to be finalised.
pub async fn submit(
    connection: &mut Connection,
    transaction: &VerifiedTransaction,
    wait_ms: u64,
) -> Result<PositionView, SubmitError> {
    let id = transaction.id();
    let refused = |error| SubmitError::new(id, error);
    let started = Instant::now();
    let left = || wait_ms.saturating_sub(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    let mut offers = 0;
    loop {
        offers += 1;
        let again = offers < OFFERS_MAX && left() > 0;
        let pause_ms = match offer(connection, transaction, left()).await.map_err(refused)? {
            Offer::Finalised(position) => return Ok(position),
            Offer::Pending => return await_finality(connection, id, left(), wait_ms).await,
            Offer::Later(after_ms, _) if again => after_ms,
            Offer::Later(_, error) => return Err(refused(error)),
            // Nobody knows whether it arrived: ask before offering it again.
            Offer::Lost(error) => match find(connection, id).await {
                Ok(Some((TransactionState::Finalised, Some(position)))) => return Ok(position),
                Ok(Some((TransactionState::Pending, _))) => {
                    return await_finality(connection, id, left(), wait_ms).await;
                }
                _ if again => PAUSE_MS,
                _ => return Err(refused(error)),
            },
        };
        tokio::time::sleep(Duration::from_millis(pause_ms.clamp(1, PAUSE_MS_MAX).min(left()))).await;
    }
}

async fn offer(
    connection: &mut Connection,
    transaction: &VerifiedTransaction,
    wait_ms: u64,
) -> Result<Offer, NodeError> {
    let request = SubmitRequest { transaction: transaction.bytes().to_vec(), wait_ms: wait_ms.min(WAIT_MS_MAX) };
    let answer = match connection.ledger.submit(request).await.map_err(NodeError::from) {
        Ok(answer) => answer.into_inner(),
        Err(error) => {
            return match error {
                NodeError::Refused { retry_after_ms: Some(after_ms), .. } => {
                    Ok(Offer::Later(if after_ms == 0 { PAUSE_MS } else { after_ms }, error))
                }
                NodeError::Failed { .. } => Ok(Offer::Lost(error)),
                refused => Err(refused),
            };
        }
    };
    if TransactionId(id(&answer.id, "transaction id")?) != transaction.id() {
        return Err(NodeError::Unbelievable("it answers for another transaction".to_owned()));
    }
    Ok(match (answer.state(), answer.position) {
        (TransactionState::Finalised, Some(position)) => Offer::Finalised(position.into()),
        _ => Offer::Pending,
    })
}

/// Asks again and again until the transaction is finalised or the time is over.
async fn await_finality(
    connection: &mut Connection,
    id: TransactionId,
    left_ms: u64,
    wait_ms: u64,
) -> Result<PositionView, SubmitError> {
    for _ in 0..=left_ms / PAUSE_MS {
        match find(connection, id).await {
            Ok(Some((TransactionState::Finalised, Some(position)))) => return Ok(position),
            Ok(_) | Err(NodeError::Failed { .. }) => {}
            Err(error) => return Err(SubmitError::new(id, error)),
        }
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
    Err(SubmitError::NotYet { id, waited_ms: wait_ms })
}

/// Where a transaction is, as the node says; `None` when it does not know it.
async fn find(
    connection: &mut Connection,
    id: TransactionId,
) -> Result<Option<(TransactionState, Option<PositionView>)>, NodeError> {
    let request = GetTransactionRequest { id: id.as_bytes().to_vec() };
    match connection.ledger.get_transaction(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            Ok(match answer.state() {
                TransactionState::Unknown => None,
                state => Some((state, answer.position.map(PositionView::from))),
            })
        }
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}
