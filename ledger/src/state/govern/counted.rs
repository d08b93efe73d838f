//! How many proposals of one organisation there may be at one time (sentence 2.23).

use crate::bounded::{List, Name};
use crate::governance::{CountedProposal, CountedProposals, ProposalRecord, ProposalStanding};
use crate::id::TransactionId;
use crate::key::PublicKey;
use crate::limits;
use crate::state::apply::Written;
use crate::state::record::{KeyStatus, Position, Record, RecordKey};
use crate::state::rejection::{ApplyError, Rejection};
use crate::state::storage::{StateStorage, StorageError};
use crate::state::{State, StateView as _};

impl<S: StateStorage> State<'_, S> {
    /// Whether one more proposal of a key and its organisation may be.
    pub(super) fn may_propose(&self, key: PublicKey, organisation: &Name) -> Result<(), ApplyError> {
        let counted = self.that_count(organisation)?;
        if let Some(until_ms) = next_place(&counted, limits::PROPOSALS_PER_ORGANISATION_MAX) {
            return Err(Rejection::TooManyProposals { organisation: organisation.clone(), until_ms }.into());
        }
        let of_key: Vec<_> = counted.into_iter().filter(|counted| counted.key == key).collect();
        match next_place(&of_key, limits::PROPOSALS_PER_KEY_MAX) {
            Some(until_ms) => Err(Rejection::TooManyProposalsOfKey { key, until_ms }.into()),
            None => Ok(()),
        }
    }

    /// The proposals of an organisation that count now. Those of a key that is not active any more do not: they take
    /// nothing from who speaks for the organisation now.
    fn that_count(&self, organisation: &Name) -> Result<Vec<CountedProposal>, StorageError> {
        let mut counted = self.counted_proposals(organisation)?.unwrap_or_default().0.into_vec();
        counted.retain(|counted| counted.until_ms > self.block.time_ms);
        let mut active = Vec::with_capacity(counted.len());
        for counted in counted {
            let owner = self.key_owner(counted.key)?;
            active.extend(owner.is_some_and(|owner| owner.status == KeyStatus::Active).then_some(counted));
        }
        Ok(active)
    }

    /// Counts a proposal among those of its organisation, as it stands now: until it closes, or for a day after it was
    /// refused, but for a day at least; and no more once it has passed, or would have.
    pub(super) fn count_proposal(
        &self,
        id: TransactionId,
        record: &ProposalRecord,
        position: Position,
    ) -> Result<Written, StorageError> {
        let Some(owner) = self.key_owner(record.proposer)? else { return Ok(Written::new()) };
        let mut counted = self.that_count(&owner.organisation)?;
        let before = counted.iter().position(|counted| counted.proposal == id);
        let day = self.block.time_ms.saturating_add(limits::PROPOSAL_COUNTS_MS_MIN);
        match (record.standing, before) {
            (ProposalStanding::Open, _) if record.proposed == position => {
                let until_ms = day.max(record.proposal.closes_at_ms);
                counted.push(CountedProposal { proposal: id, key: record.proposer, until_ms });
            }
            (ProposalStanding::Refused, Some(place)) => counted[place].until_ms = counted[place].until_ms.min(day),
            (ProposalStanding::Passed | ProposalStanding::Void, Some(place)) => drop(counted.remove(place)),
            // It goes on as it was, or its proposer speaks no more.
            _ => return Ok(Written::new()),
        }
        let counted = List::new(counted)
            .map_err(|_| StorageError::new("state records", "more proposals than count at one time".to_owned()))?;
        let key = RecordKey::CountedProposals(owner.organisation);
        Ok(vec![(key, Record::CountedProposals(CountedProposals(counted)))])
    }
}

/// When there is a place again among so many, if there is none.
fn next_place(counted: &[CountedProposal], most: usize) -> Option<u64> {
    counted.iter().map(|counted| counted.until_ms).min().filter(|_| counted.len() >= most)
}
