//! Which nodes are listened to, and which may listen.

use ledger::key::PublicKey;
use ledger::state::StateView;
use ledger::state::record::{KeyStatus, Role, UpcomingValidators};
use ledger::state::storage::StorageError;
use ledger::validators::Validator;
use std::collections::BTreeSet;

/// What a node may do here, by its key and the newest state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admittance {
    /// It is listened to.
    Heard,
    /// It may ask for blocks, and nothing else that it says counts: its key was retired, and it may not know
    /// that yet. Once it has the block that says so, it goes.
    Taught,
    /// It is not connected with.
    Refused,
}

impl Admittance {
    /// What a node may do at the node with the `own` key: who has left hears nobody, and teaches, for the block with which
    /// it left may have been decided by its own vote, and be nowhere else.
    ///
    /// # Errors
    /// [`StorageError`] when the disk says no.
    pub fn by(
        own: PublicKey,
        state: &impl StateView,
        told: &BTreeSet<PublicKey>,
        key: PublicKey,
    ) -> Result<Self, StorageError> {
        let admittance = Self::of(state, told, key)?;
        let is_taught = admittance == Self::Heard && has_left(state, own)?;
        Ok(if is_taught { Self::Taught } else { admittance })
    }

    /// By the newest state here:
    ///
    /// - A member's active node key is heard.
    /// - So is a retired one in whose organisation there is no active one, as long as the organisation has a validator in the
    ///   sets of the next two heights: they were fixed before.
    /// - So is any retired one of an organisation whose validator is in the next height for the last time: where both keys
    ///   are replaced at once, only the node that was before has the one that is needed there.
    /// - A key this state knows nothing of is heard when it is one of `told`, the nodes a person told this one
    ///   of: whoever slept while members changed must hear somebody to catch up, and believes nothing of what
    ///   it hears without a certificate.
    /// - A key that was retired is taught. One that was revoked is somebody else's, and refused.
    ///
    /// # Errors
    /// [`StorageError`] when the disk says no.
    pub fn of(state: &impl StateView, told: &BTreeSet<PublicKey>, key: PublicKey) -> Result<Self, StorageError> {
        let Some(owner) = state.key_owner(key)? else {
            return Ok(if told.contains(&key) { Self::Heard } else { Self::Refused });
        };
        match (owner.role, owner.status) {
            (Role::Node, KeyStatus::Active) => Ok(Self::Heard),
            (Role::Node, KeyStatus::Retired) => {
                let organisation = state.organisation(&owner.organisation)?;
                let replaced = organisation.is_some_and(|organisation| organisation.is_heard());
                let upcoming = state.upcoming_validators()?;
                let is_needed = upcoming.is_some_and(|UpcomingValidators { next, after_next }| {
                    let is_ours = |validator: &&Validator| validator.organisation == owner.organisation;
                    let mut ours = next.validators().iter().filter(is_ours);
                    let ends = ours.clone().any(|validator| after_next.position(&validator.key).is_none());
                    // Who leaves is in the next set at most. The one after it is for who comes into it with the block that
                    // retires its last node key.
                    let votes = ours.next().is_some() || after_next.validators().iter().any(|one| is_ours(&one));
                    ends || (votes && !replaced)
                });
                Ok(if is_needed { Self::Heard } else { Self::Taught })
            }
            _ => Ok(Self::Refused),
        }
    }
}

/// Whether a node's own key is one of the past: nobody listens to it any more, and it dials nobody. A key the
/// state knows nothing of is rather one of the future.
///
/// # Errors
/// [`StorageError`] when the disk says no.
pub fn has_left(state: &impl StateView, key: PublicKey) -> Result<bool, StorageError> {
    let is_known = state.key_owner(key)?.is_some();
    Ok(is_known && Admittance::of(state, &BTreeSet::new(), key)? != Admittance::Heard)
}
