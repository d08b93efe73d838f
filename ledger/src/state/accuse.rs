//! Accountability: what an accusation needs and does (sentence 2.27).

use super::apply::Written;
use super::record::{ConvictionRecord, Position, Record, RecordKey, RecordedOffence, Role};
use super::rejection::{ApplyError, Rejection};
use super::storage::StateStorage;
use super::{State, StateView as _};
use crate::bounded::List;
use crate::evidence::{Charge, Evidence};

impl<S: StateStorage> State<'_, S> {
    /// Convicts the validating keys that evidence names, as far as this is not recorded yet. That it holds was
    /// checked with the transaction's own signature (sentence 2.8).
    pub(super) fn accuse(&self, evidence: &Evidence, position: Position) -> Result<Written, ApplyError> {
        // What was checked names somebody.
        let Ok(Charge { offence, keys }) = evidence.charge() else {
            return Err(Rejection::NoValidatorNamed(Vec::new()).into());
        };
        let (mut known, mut written) = (0, Written::new());
        for key in &keys {
            // Somebody may put keys of his own into a set of his own; that is nobody's business here.
            let owner = self.key_owner(*key)?.filter(|owner| owner.role == Role::Validator);
            let Some(owner) = owner else { continue };
            known += 1;
            let record = self.conviction(*key)?;
            if record.as_ref().is_some_and(|record| record.covers(&offence)) {
                continue;
            }
            let mut offences = record.map(|record| record.offences.into_vec()).unwrap_or_default();
            offences.push(RecordedOffence { offence, position });
            let offences = List::new(offences).expect("a record that is full covers every offence");
            let record = ConvictionRecord { organisation: owner.organisation, offences };
            written.push((RecordKey::Conviction(*key), Record::Conviction(record)));
        }
        if known == 0 {
            return Err(Rejection::NoValidatorNamed(keys).into());
        }
        if written.is_empty() {
            return Err(Rejection::AlreadyConvicted { keys, offence }.into());
        }
        Ok(written)
    }
}
