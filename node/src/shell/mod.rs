//! The impure part of a node: one thread that wakes the member, and performs what it asks for, what must
//! be durable first.

mod inbox;
mod journal;
mod perform;
mod timers;

pub use inbox::{
    BATCH_BYTES, BULK_OF_CLIENTS_BYTES_MAX, BULK_PER_PEER_BYTES_MAX, Closed, Events, Inbox, URGENT_PER_PEER_BYTES_MAX,
    inbox,
};
pub use journal::{Journal, JournalError, Recovered};
pub use perform::Durable;

use crate::desk::Desk;
use crate::network::Network;
use consensus::member::{Action, Chain, Event, Fatal, Member, Now, Parting, To};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use timers::Timers;
use tokio::sync::watch;
use tokio::time::Instant;

/// Urgent events taken up at once: their actions share one sync of the disk.
const URGENT_AT_ONCE_MAX: usize = 256;

/// Why a node stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The chain failed.
    #[error(transparent)]
    Chain(#[from] Fatal),
    /// The journal failed. Without it nothing may be signed.
    #[error("the vote journal failed")]
    Journal(#[from] JournalError),
}

/// The thread's belongings.
pub struct Shell<C> {
    member: Member<C>,
    journal: Journal,
    timers: Timers,
    network: Network,
    desk: Arc<Desk>,
    epoch: Instant,
}

impl<C: Chain> Shell<C> {
    /// Puts a node together.
    pub fn new(member: Member<C>, journal: Journal, network: Network, desk: Arc<Desk>) -> Self {
        Self { member, journal, timers: Timers::default(), network, desk, epoch: Instant::now() }
    }

    /// Runs until `stop` changes or the events end: the node's main loop.
    ///
    /// # Errors
    /// [`ShellError`] when chain or journal fail: a node that cannot write must not go on.
    pub async fn run(
        mut self,
        first: Event,
        mut events: Events,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ShellError> {
        let mut actions = Vec::new();
        self.step(first, &mut actions)?;
        loop {
            self.perform(std::mem::take(&mut actions))?;
            self.step(Event::Written, &mut actions)?;
            let event = tokio::select! {
                biased;
                _ = stop.changed() => return Ok(()),
                event = self.next_event(&mut events) => event,
            };
            let Some(event) = event else { return Ok(()) };
            self.step(event, &mut actions)?;
            for _ in 1..URGENT_AT_ONCE_MAX {
                let Some(event) = events.urgent() else { break };
                self.step(event, &mut actions)?;
            }
            if let Some(event) = events.bulk() {
                self.step(event, &mut actions)?;
            }
            self.desk.set_crowd(self.member.mempool().crowd());
        }
    }

    /// Has something happen to the member, and adds what it asks for. Where it waits for the disk, all of it is done at once.
    fn step(&mut self, event: Event, actions: &mut Vec<Action>) -> Result<(), ShellError> {
        actions.extend(self.member.step(self.now(), event)?);
        while self.member.waits_for_disk() {
            self.perform(std::mem::take(actions))?;
            actions.extend(self.member.step(self.now(), Event::Written)?);
        }
        Ok(())
    }

    async fn next_event(&mut self, events: &mut Events) -> Option<Event> {
        loop {
            if let Some(alarm) = self.timers.pop_due(Instant::now()) {
                return Some(Event::Due(alarm));
            }
            let Some(due) = self.timers.next() else { return events.recv().await };
            tokio::select! {
                biased;
                event = events.recv() => return event,
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let milliseconds = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Now { wall_ms: milliseconds(wall), steady_ms: milliseconds(self.epoch.elapsed()) }
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<(), ShellError> {
        for action in perform::make_durable(&mut self.journal, actions)? {
            self.show(action);
        }
        Ok(())
    }

    fn show(&mut self, action: Action) {
        match action {
            // Done before anything is shown.
            Action::AppendLog(_)
            | Action::WriteGuard(_)
            | Action::KeepSilence(true)
            | Action::KeepBody(_)
            | Action::BeginLog { .. }
            | Action::KeepEvidence(_) => {}
            Action::KeepSilence(false) => tracing::info!("this validator has kept silent long enough: it votes again"),
            Action::Send { to: To::Peer(peer), message } => self.network.send(&peer, &message),
            Action::Send { to: To::All, message } => self.network.broadcast(&message, |_| true),
            Action::Send { to: To::Validators, message } => {
                let member = &self.member;
                self.network.broadcast(&message, |peer| member.is_validator_node(peer));
            }
            Action::SendBlocks { to, from, count } => self.network.send_blocks(&to, from, count),
            Action::Schedule { alarm, after_ms } => {
                self.timers.set(alarm, Instant::now() + std::time::Duration::from_millis(after_ms));
            }
            Action::Cancel(alarm) => self.timers.cancel(alarm),
            Action::CancelConsensus => self.timers.cancel_consensus(),
            Action::Answer { ticket, result } => self.desk.answer(ticket, result),
            Action::Admitted { id } => self.desk.admitted(id),
            Action::Finalised(executed) => self.desk.finalised(&executed),
            Action::Dropped { id, rejection } => self.desk.dropped(id, &rejection),
            Action::Disconnect { peer, why } => {
                match why {
                    Parting::Fault(_) => tracing::warn!(%peer, %why, "disconnecting a peer"),
                    // It may come as often as it likes.
                    Parting::TooSoon => tracing::debug!(%peer, %why, "disconnecting a peer"),
                    Parting::Stranger | Parting::Taught | Parting::Left => {
                        tracing::info!(%peer, %why, "disconnecting a peer");
                    }
                }
                self.network.disconnect(peer);
            }
            Action::Evidence(evidence) => {
                if let Ok(charge) = evidence.charge() {
                    let culprit = charge.keys.first().map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%culprit, offence = %charge.offence, "a validator signed two things: accusing it");
                }
            }
            Action::Alarm(what) => tracing::warn!("{what}"),
        }
    }
}
