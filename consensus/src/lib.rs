//! Agree on the next block.
//!
//! A [`Replica`] is a value: an [`Input`] goes in, a list of [`Effect`]s comes out, and nothing else
//! happens. It does not know what a patch is, what is in a block, or what makes one good: it orders
//! hashes, and asks ([`Effect::Build`], [`Effect::Judge`]) about the rest. It knows no clock, no socket,
//! no disk, no thread and no runtime; whoever runs it brings those, so the same inputs give the same
//! effects everywhere, and a whole cluster can be simulated from a seed. What surrounds it in a
//! member of the ledger (pool, bodies, block sync) is [`member`], a value too.
//!
//! Read first: [`Input`] and [`Effect`], then [`Replica::step`]. The protocol is Tendermint's
//! (<https://arxiv.org/abs/1807.04938>); its core is behind `engine.rs`, and no name of it is public.
//! What we do not leave to the core:
//!
//! - signing ([`GuardRecord`]: never two things in one place, even when the vote log is lost);
//! - checking certificates (`ledger::certificate`, the same predicate an endpoint uses);
//! - asking for lost proposals and bodies (at once, of those who voted for them);
//! - reading the log again ([`log`]: to its end, before anything new is said).
//!
//! # How to run one
//!
//! 1. Open the vote log ([`log::scan`]), overwrite with zeros what lies behind its tail, read the guard
//!    file, make the replica ([`Replica::new`]).
//! 2. Begin the height above the last durable block ([`Input::StartHeight`]), with the entries the log
//!    holds for it. When it holds none, let it start over ([`log::Tail::start_over`]).
//! 3. Feed inputs, and perform the effects of each in their order. Before anything is sent, all that was
//!    to be written before must be durable: entries ([`Effect::Append`]), guard records
//!    ([`Effect::Guard`]), and the bodies of blocks that were called good ([`Input::Propose`],
//!    [`Input::Judged`]). One sync for all of it is enough, and none is needed when nothing is sent.
//! 4. On [`Effect::Decide`], make block and certificate durable. When there is a reason for another
//!    block, or a message speaks of the next height, let the log start over and begin that height. A
//!    height that finds no decision goes on writing: the log must be able to grow.
//! 5. Blocks of heights that were missed are fetched elsewhere; a height may be begun at any time.
//!
//! The guard file has [`GuardRecord::SLOTS`] slots of [`records::SLOT_BYTES`] bytes; how what is in them, judged bodies and
//! evidence are written and read is [`records`].

mod ballots;
mod desk;
mod early;
mod effect;
mod engine;
mod guard;
mod height;
mod kept;
pub mod log;
pub mod member;
mod message;
mod missing;
mod past;
mod proposer;
pub mod records;
mod replica;
mod running;
mod timer;

pub use effect::{Alarm, Effect, Input, Refusal};
pub use guard::{Binding, GuardRecord, Signed, SignedKind};
pub use kept::Kept;
pub use ledger::evidence::{Evidence, EvidenceError};
pub use log::LogEntry;
pub use message::{Message, Polka, ProposalBody, RoundVote, SignedProposal, SignedVote, Skip, SkipReason, VoteKind};
pub use proposer::proposer;
pub use replica::{Replica, ReplicaConfig};
pub use timer::{Timeouts, Timer, TimerKind};
