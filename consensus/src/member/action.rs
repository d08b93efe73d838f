//! What a member asks of whoever runs it.

use super::{Alarm, NoRoom, PeerMessage, Ticket};
use crate::{Evidence, GuardRecord, LogEntry};
use ledger::execution::ExecutedBlock;
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::state::Rejection;
use std::sync::Arc;

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// One node.
    Peer(PublicKey),
    /// Every connected node.
    All,
    /// Every connected node that says it validates.
    Validators,
}

/// What a node does.
#[derive(Debug)]
pub enum Action {
    /// Append to the vote log; durable before any send of this or a later step.
    AppendLog(LogEntry),
    /// Write to the signing guard; durable likewise.
    WriteGuard(GuardRecord),
    /// Note whether this node's key is silent because of what it has forgotten, for the next start; durable likewise.
    KeepSilence(bool),
    /// Keep a judged block until its height is decided; durable before anything that comes after it is written: a word
    /// that outlives the body it is for binds to a block that perhaps nobody has.
    KeepBody(Arc<ExecutedBlock>),
    /// The height before this one is decided: vote log and kept bodies start over.
    BeginLog {
        /// The new height.
        height: u64,
    },
    /// Send.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: PeerMessage,
    },
    /// Send finalised blocks from the chain.
    SendBlocks {
        /// To whom.
        to: PublicKey,
        /// From this height on.
        from: u64,
        /// So many at most.
        count: u32,
    },
    /// Wake me.
    Schedule {
        /// For what. An equal alarm set before is moved.
        alarm: Alarm,
        /// In how long.
        after_ms: u64,
    },
    /// Do not wake me for this.
    Cancel(Alarm),
    /// Do not wake me for anything of the replica's.
    CancelConsensus,
    /// Answer a client.
    Answer {
        /// Whom.
        ticket: Ticket,
        /// Admitted, or why not.
        result: Result<(), OfferError>,
    },
    /// A transaction is in the pool now.
    Admitted {
        /// Which.
        id: TransactionId,
    },
    /// A block is final and written.
    Finalised(Arc<ExecutedBlock>),
    /// A transaction that was admitted turned out wrong and left the pool.
    Dropped {
        /// Which.
        id: TransactionId,
        /// Why.
        rejection: Rejection,
    },
    /// End the connection.
    Disconnect {
        /// With whom.
        peer: PublicKey,
        /// Why.
        why: Parting,
    },
    /// A validator was caught: it signed two things where it may sign one. For people; what becomes of it is
    /// seen to by [`Action::KeepEvidence`].
    Evidence(Evidence),
    /// Keep this, and nothing else, for the next start ([`super::MemberConfig::evidence`]): what the ledger has
    /// not recorded yet. At most [`super::EVIDENCE_KEPT_MAX`] pieces; durable before any send of this step.
    KeepEvidence(Vec<Evidence>),
    /// Something a person should see.
    Alarm(String),
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Parting {
    /// The peer lied, or speaks another language: what it did.
    #[error("{0}")]
    Fault(String),
    /// The peer said more than it may, and not long ago.
    #[error("it said too much, not long ago")]
    TooSoon,
    /// By this node's state, the peer is not talked to.
    #[error("its key is no member's node")]
    Stranger,
    /// The peer's key was retired, and it has the block that says so.
    #[error("its key was retired, and it knows")]
    Taught,
    /// This node's own key was retired or revoked.
    #[error("this node's own key is no member's any more")]
    Left,
}

impl Parting {
    /// Whether the peer is to blame.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Fault(_))
    }
}

/// Why an offered transaction was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The rules forbid it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No room; try again.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}
