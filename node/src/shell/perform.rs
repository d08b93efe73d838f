//! What must be durable is, before anything is shown.

use super::JournalError;
use consensus::member::Action;
use consensus::{Evidence, GuardRecord, LogEntry};
use ledger::block::Block;

/// What survives a crash: a [`super::Journal`]. Each of these is durable after [`Durable::sync`], evidence at once.
///
/// # Errors
/// [`JournalError`] when a file cannot be written: then nothing may be signed any more.
pub trait Durable {
    /// Appends to the vote log.
    fn append(&mut self, entry: &LogEntry) -> Result<(), JournalError>;
    /// Writes a guard record into its slot.
    fn guard(&mut self, record: &GuardRecord) -> Result<(), JournalError>;
    /// Notes whether the key is silent because of what it has forgotten.
    fn keep_silence(&mut self, is_silent: bool) -> Result<(), JournalError>;
    /// Keeps a judged block; durable after [`Durable::sync_bodies`].
    fn keep_body(&mut self, block: &Block) -> Result<(), JournalError>;
    /// Keeps this evidence, and no other.
    fn keep_evidence(&self, evidence: &[Evidence]) -> Result<(), JournalError>;
    /// Makes the judged blocks durable.
    fn sync_bodies(&mut self) -> Result<(), JournalError>;
    /// A height begins: vote log and bodies start over at their beginning.
    fn start_over(&mut self);
    /// Makes everything written so far durable.
    fn sync(&mut self) -> Result<(), JournalError>;
}

/// Writes what is to be written, makes it durable, and gives back all actions: only now may they be seen from outside.
///
/// # Errors
/// [`JournalError`]: then nothing may be shown.
pub(super) fn make_durable(journal: &mut impl Durable, actions: Vec<Action>) -> Result<Vec<Action>, JournalError> {
    for action in &actions {
        // No word may outlive the body of the block it is for: where power goes everywhere at once, all would be bound to a
        // block that nobody has.
        if matches!(action, Action::AppendLog(_) | Action::WriteGuard(_)) {
            journal.sync_bodies()?;
        }
        match action {
            Action::AppendLog(entry) => journal.append(entry)?,
            Action::WriteGuard(record) => journal.guard(record)?,
            Action::KeepSilence(is_silent) => journal.keep_silence(*is_silent)?,
            Action::KeepBody(executed) => journal.keep_body(&executed.block)?,
            Action::BeginLog { .. } => journal.start_over(),
            // No vote hangs on it: a node that cannot write it says so and goes on.
            Action::KeepEvidence(evidence) => {
                if let Err(error) = journal.keep_evidence(evidence) {
                    tracing::error!(error = %error.source, "{error}: evidence is not kept for the next start");
                }
            }
            _ => {}
        }
    }
    journal.sync()?;
    Ok(actions)
}

#[cfg(test)]
mod tests;
