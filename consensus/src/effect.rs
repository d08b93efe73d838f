//! All that can happen to a replica, and all it can ask for.

use crate::guard::{GuardRecord, Signed, SignedKind};
use crate::log::LogEntry;
use crate::message::Message;
use crate::timer::Timer;
use ledger::certificate::{Certificate, CertificateError};
use ledger::evidence::Evidence;
use ledger::id::BlockHash;
use ledger::key::{PublicKey, SignatureError};
use ledger::validators::ValidatorSet;

/// All that can happen to a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin a height, whatever was going on before. The block below it must be durable already: what
    /// was signed in lower heights may be forgotten from now on.
    StartHeight {
        /// The height.
        height: u64,
        /// Its validators.
        validators: ValidatorSet,
        /// What the vote log holds for exactly this height; empty unless we crashed in it.
        log: Vec<LogEntry>,
    },
    /// A message from another replica.
    Message {
        /// The authenticated sender's validating key.
        from: PublicKey,
        /// What it says.
        message: Message,
    },
    /// Our block, asked for by [`Effect::Build`]. The node holds its body and finds it good.
    Propose {
        /// As asked.
        height: u64,
        /// As asked.
        round: u32,
        /// Hash of the block built.
        block: BlockHash,
    },
    /// What the node found about a block: the answer to [`Effect::Judge`], or unasked when a body came
    /// before the proposal that names it. The verdict must depend on nothing but the block and the chain
    /// below it: a block is not called bad because its body is late.
    Judged {
        /// Height of the block.
        height: u64,
        /// The block.
        block: BlockHash,
        /// Whether it may be appended to the chain.
        valid: bool,
    },
    /// A message that came too late to be heard, or a certificate that came another way. It is compared with
    /// what is known of its height, for evidence; nothing else comes of it.
    Compare {
        /// Who sent it, if it came from its author's side; nobody, if it came some other way.
        from: Option<PublicKey>,
        /// What.
        message: Message,
    },
    /// A timer ran out.
    Timer(Timer),
}

/// All a replica can ask for, in the order in which it must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this to the vote log. It must be durable before anything asked for later (in this list or
    /// another) is sent.
    Append(LogEntry),
    /// Write this to the guard file, into its slot. It must be durable before anything asked for later
    /// is sent.
    Guard(GuardRecord),
    /// A peer knows something that our key said, and the guard does not: it is not the last one. Nothing that comes after
    /// this, in this list or another, may be sent or written before a height that began later.
    Forgotten {
        /// Height of what was said.
        height: u64,
    },
    /// Send to every other validator.
    Send(Message),
    /// Send to one peer.
    SendTo {
        /// The peer's validating key.
        to: PublicKey,
        /// What to send.
        message: Message,
    },
    /// It is our turn: build a block and answer [`Input::Propose`].
    Build {
        /// Height of the block.
        height: u64,
        /// Round it is for.
        round: u32,
        /// Later than this, the others give up on us.
        within_ms: u64,
    },
    /// A proposal names this block: get its body, execute it, answer [`Input::Judged`].
    Judge {
        /// Height of the block.
        height: u64,
        /// Round it is proposed in.
        round: u32,
        /// The block.
        block: BlockHash,
        /// Who proposed it, and so who has the body.
        proposer: PublicKey,
    },
    /// The verdict on this block is still out, and these peers voted for it, so they have its body. Ask
    /// them, unless it is here already.
    Fetch {
        /// Height of the block.
        height: u64,
        /// The block.
        block: BlockHash,
        /// Who has it.
        from: Vec<PublicKey>,
    },
    /// Start a timer, or move it if it runs.
    Schedule {
        /// To be handed back in [`Input::Timer`].
        timer: Timer,
        /// How long from now.
        after_ms: u64,
    },
    /// Stop a timer.
    Cancel(Timer),
    /// Stop every timer.
    CancelAll,
    /// The height is decided. The certificate has passed `Certificate::check`.
    Decide(Certificate),
    /// Somebody said two things where one may say one. Checks out offline, see [`Evidence::check`].
    Evidence(Evidence),
    /// A peer sent something no honest replica sends.
    Refused {
        /// The peer. It need not be the author: messages are passed on.
        from: PublicKey,
        /// What was wrong.
        why: Refusal,
    },
    /// Something a person should see. The replica goes on, safely.
    Alarm(Alarm),
}

/// Why a message was refused. Late, early and repeated messages are not refused, only ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its author has no vote in this height.
    #[error("{0} is not a validator of this height")]
    NotAValidator(PublicKey),
    /// Its signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A proof of a round that no height ever gets to.
    #[error("round {0} is out of reach")]
    RoundOutOfReach(u32),
    /// A proposal out of turn.
    #[error("{proposer} proposed in round {round}, where it is the turn of {expected}")]
    OutOfTurn {
        /// The round.
        round: u32,
        /// Who proposed.
        proposer: PublicKey,
        /// Whose turn it is.
        expected: PublicKey,
    },
    /// A proposal that calls on a quorum of a round that was not over.
    #[error("a proposal of round {round} calls on prevotes of round {pol_round}")]
    PolRoundNotEarlier {
        /// Its round.
        round: u32,
        /// The round it calls on.
        pol_round: u32,
    },
    /// Two votes of one validator in a proof that counts validators.
    #[error("{0} is counted twice")]
    CountedTwice(PublicKey),
    /// Votes of another kind than what they shall prove is made of.
    #[error("a prevote of {0} among precommits")]
    WrongKind(PublicKey),
    /// Too few votes for what they shall prove.
    #[error("{votes} votes, at least {needed} needed")]
    TooFewVotes {
        /// Votes given.
        votes: usize,
        /// Votes needed.
        needed: usize,
    },
    /// A certificate that proves nothing.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Something a person should see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    /// The guard stopped us from signing something that contradicts what we signed before. What was
    /// signed before is said again. Expected after a crash that lost or tore the vote log, and never otherwise.
    #[error("refused to sign {block:?} as {:?} of height {}, round {}: signed {:?} before", signed.kind(), signed.height(), signed.round(), signed.block())]
    ConflictRefused {
        /// The block we were about to sign for.
        block: Option<BlockHash>,
        /// What we signed before.
        signed: Signed,
    },
    /// The guard stopped us from signing in a round that we have left. Expected after a
    /// crash that lost or tore the vote log, and never otherwise.
    #[error("refused to sign a {kind:?} of height {height}, round {round}: signed for a later round before")]
    BackwardsRefused {
        /// Height of the message.
        height: u64,
        /// Round of the message.
        round: u32,
        /// What it was.
        kind: SignedKind,
    },
    /// The guard turned a prevote into one for no block, because we are bound to another block. Expected
    /// after a crash that lost or tore the vote log, and never otherwise.
    #[error("refused to prevote {block} in height {height}, round {round}: bound to {bound_to} since round {since}")]
    BoundElsewhere {
        /// Height of the vote.
        height: u64,
        /// Round of the vote.
        round: u32,
        /// The block we were about to vote for.
        block: BlockHash,
        /// The block we precommitted.
        bound_to: BlockHash,
        /// When.
        since: u32,
    },
    /// A quorum decided on a block that this node calls bad: either it is wrong, or they are. The height
    /// stays undecided here.
    #[error("block {block} of height {height} is certified by a quorum, and this node calls it invalid")]
    CertifiedButInvalid {
        /// Height of the block.
        height: u64,
        /// The block.
        block: BlockHash,
    },
    /// The node called a block bad that it called good before.
    #[error("the verdict on block {block} of height {height} changed from valid to invalid")]
    VerdictChanged {
        /// Height of the block.
        height: u64,
        /// The block.
        block: BlockHash,
    },
    /// What the core decided does not pass our own check. Nothing is decided.
    #[error("the core decided height {height} with a certificate that does not check")]
    Undecidable {
        /// The height.
        height: u64,
        /// What is wrong with it.
        #[source]
        error: CertificateError,
    },
    /// Something in the vote log or the guard file is not what a replica writes. It was left out.
    #[error("an entry of the vote log or the guard file was left out")]
    LogEntryRefused {
        /// What is wrong with it.
        #[source]
        why: Refusal,
    },
    /// The node asked to go back to a lower height. Nothing was done.
    #[error("asked to start height {asked} while at height {running}")]
    HeightGoesBack {
        /// The height asked for.
        asked: u64,
        /// The height we are at.
        running: u64,
    },
    /// The core broke off in the middle of a step, for a reason of its own.
    #[error("the consensus core broke off: {0}")]
    CoreBrokeOff(String),
}
