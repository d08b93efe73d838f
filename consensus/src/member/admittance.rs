//! Which nodes are listened to.

use ledger::key::PublicKey;
use ledger::state::StateView;
use ledger::state::record::{KeyStatus, Role};
use ledger::state::storage::StorageError;
use std::collections::BTreeSet;

/// Whether the node with this key may be connected with, by the newest state here.
///
/// - A member's active node key may.
/// - So may the node of an organisation that has just left, as long as its validator's vote is still
///   needed: the set of the next two heights was fixed before.
/// - A key this state knows nothing of may when it is one of `told`, the nodes a person told this one of:
///   whoever slept while members changed must hear somebody to catch up, and believes nothing of what it
///   hears without a certificate.
///
/// # Errors
/// [`StorageError`] when the disk says no.
pub fn may_connect(state: &impl StateView, told: &BTreeSet<PublicKey>, key: PublicKey) -> Result<bool, StorageError> {
    let Some(owner) = state.key_owner(key)? else { return Ok(told.contains(&key)) };
    match (owner.role, owner.status) {
        (Role::Node, KeyStatus::Active) => Ok(true),
        (Role::Node, KeyStatus::Retired) => {
            let organisation = state.organisation(&owner.organisation)?;
            let replaced = organisation.is_some_and(|organisation| organisation.is_heard());
            let upcoming = state.upcoming_validators()?;
            let votes = upcoming.is_some_and(|upcoming| {
                let sets = [&upcoming.next, &upcoming.after_next];
                let mut validators = sets.into_iter().flat_map(|set| set.validators());
                validators.any(|validator| validator.organisation == owner.organisation)
            });
            Ok(votes && !replaced)
        }
        _ => Ok(false),
    }
}
