//! One replica: what happens to it goes in, what it asks for comes out.

use crate::desk::Desk;
use crate::early::Early;
use crate::effect::{Alarm, Effect, Input};
use crate::engine::Engine;
use crate::guard::{GuardRecord, SigningGuard};
use crate::height::Height;
use crate::kept::{self, Kept};
use crate::log::LogEntry;
use crate::message::Message;
use crate::past::Past;
use crate::running::Running;
use crate::timer::Timeouts;
use ledger::certificate::Certificate;
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, SecretKey};
use ledger::validators::ValidatorSet;
use std::fmt;

/// Verdicts on blocks of the next height that are kept until it starts.
pub(crate) const EARLY_VERDICTS_MAX: usize = 16;

/// What a replica is made with.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The chain it votes on.
    pub chain: ChainId,
    /// Its validating key.
    pub key: SecretKey,
    /// How long its timers run.
    pub timeouts: Timeouts,
}

/// One replica.
pub struct Replica {
    config: ReplicaConfig,
    guard: SigningGuard,
    /// None before the first height.
    running: Option<Running>,
    early: Early,
    early_verdicts: Vec<(u64, BlockHash, bool)>,
    past: Past,
}

impl Replica {
    /// A replica that has not begun any height. `guard` is whatever could be read of the guard file: a
    /// new key has none, and a key that has ever signed must not be used without it.
    #[must_use]
    pub fn new(config: ReplicaConfig, mut guard: Vec<GuardRecord>) -> Self {
        // A file may have been another key's.
        let me = config.key.public();
        guard.retain(|record| record.signed.author() == me);
        Self {
            config,
            guard: SigningGuard::new(guard),
            running: None,
            early: Early::default(),
            early_verdicts: Vec::new(),
            past: Past::default(),
        }
    }

    /// One input through the replica. The effects are to be performed in their order.
    #[must_use]
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::StartHeight { height, validators, log } => self.start_height(height, validators, log),
            Input::Message { from, message } => self.hear(from, message),
            Input::Judged { height, block, valid } if height == self.next_height() => {
                self.judged_early(height, block, valid);
            }
            Input::Judged { height, block, valid } => self.at(height, |running| running.judged(block, valid)),
            Input::Propose { height, round, block } => self.at(height, |running| running.propose(round, block)),
            Input::Compare { from, message } => self.compare(from, &message),
            Input::Timer(timer) => self.at(timer.height, |running| running.ring(timer)),
        }
        self.finish()
    }

    /// Our validating key.
    #[must_use]
    pub fn me(&self) -> PublicKey {
        self.config.key.public()
    }

    /// The height last started; 0 before the first.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.running.as_ref().map_or(0, Running::height)
    }

    /// The round we are in.
    #[must_use]
    pub fn round(&self) -> Option<u32> {
        self.running.as_ref().and_then(|running| running.engine.round())
    }

    /// The validators of this height.
    #[must_use]
    pub fn validators(&self) -> Option<&ValidatorSet> {
        self.running.as_ref().map(|running| &running.desk.now.validators)
    }

    /// Whether we have a vote in this height.
    #[must_use]
    pub fn is_validator(&self) -> bool {
        self.validators().is_some_and(|validators| validators.position(&self.me()).is_some())
    }

    /// What was decided in this height, once it is.
    #[must_use]
    pub fn decided(&self) -> Option<&Certificate> {
        self.running.as_ref().and_then(|running| running.desk.now.decided.as_ref())
    }

    /// How much it keeps of what others said. What the core keeps of the same votes is not in it, and cannot be seen.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        let now = self.running.iter().flat_map(|running| kept::of_height(&running.desk.now, running.round()));
        let next = kept::of_next(self.early.len(), self.early_verdicts.len());
        now.chain(kept::of_past(&self.past)).chain(next).collect()
    }

    fn next_height(&self) -> u64 {
        self.height().saturating_add(1)
    }

    /// Does something in a height that is going on and not decided. Everything that speaks of another
    /// height has come too late.
    fn at(&mut self, height: u64, act: impl FnOnce(&mut Running)) {
        if let Some(running) = self.running.as_mut().filter(|r| r.height() == height && !r.is_decided()) {
            act(running);
        }
    }

    fn start_height(&mut self, height: u64, validators: ValidatorSet, log: Vec<LogEntry>) {
        let running = self.running.get_or_insert_with(|| {
            let ReplicaConfig { chain, key, timeouts } = self.config.clone();
            let now = Height::new(height, validators.clone());
            let guard = std::mem::take(&mut self.guard);
            let engine = Engine::new(key.public(), height, validators.clone());
            Running { engine, desk: Desk::new(chain, key, timeouts, guard, now) }
        });
        if height < running.height() {
            running.desk.alarm(Alarm::HeightGoesBack { asked: height, running: running.height() });
            return;
        }
        running.start(height, validators, log);
        for (judged, block, valid) in std::mem::take(&mut self.early_verdicts) {
            if judged == height {
                self.at(height, |running| running.judged(block, valid));
            }
        }
        for (from, message) in self.early.take(height) {
            self.hear(from, message);
        }
    }

    fn hear(&mut self, from: PublicKey, message: Message) {
        let height = message.height();
        if height == self.next_height() {
            self.early.keep(height, from, message);
        } else if self.past.is_of(height) {
            self.compare(Some(from), &message);
            let answer = self.past.answer(from, &message);
            if let (Some(message), Some(running)) = (answer, &mut self.running) {
                running.desk.effects.push(Effect::SendTo { to: from, message });
            }
        } else {
            self.at(height, |running| running.hear(from, message));
        }
    }

    /// Looks at a message of this height, or of the one decided last, for nothing but contradictions.
    fn compare(&mut self, from: Option<PublicKey>, message: &Message) {
        let Some(running) = &mut self.running else { return };
        if self.past.is_of(message.height()) {
            let mut found = Vec::new();
            let compared = self.past.compare(&self.config.chain, from, message, &mut found);
            running.desk.effects.extend(found.into_iter().map(Effect::Evidence));
            let refused = from.zip(compared.err()).map(|(from, why)| Effect::Refused { from, why });
            running.desk.effects.extend(refused);
        } else if running.height() == message.height() {
            let refused = from.zip(running.desk.compare(message).err());
            running.desk.effects.extend(refused.map(|(from, why)| Effect::Refused { from, why }));
        }
    }

    fn judged_early(&mut self, height: u64, block: BlockHash, valid: bool) {
        if self.early_verdicts.len() < EARLY_VERDICTS_MAX {
            self.early_verdicts.push((height, block, valid));
        }
    }

    /// What a step leaves to do, and the effects of all of it.
    fn finish(&mut self) -> Vec<Effect> {
        let Some(running) = &mut self.running else { return Vec::new() };
        running.settle();
        let decided = running.desk.now.decided.as_ref();
        if let Some(certificate) = decided.filter(|certificate| !self.past.is_of(certificate.height)) {
            let now = &running.desk.now;
            self.past =
                Past::new(certificate.clone(), now.validators.clone(), now.ballots.clone(), now.accused.clone());
        }
        std::mem::take(&mut running.desk.effects)
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("me", &self.me())
            .field("height", &self.height())
            .field("round", &self.round())
            .field("decided", &self.decided())
            .finish_non_exhaustive()
    }
}
