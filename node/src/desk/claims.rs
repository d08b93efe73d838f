//! Places in the pool that are spoken for: by transactions whose signatures are being checked, or that are on
//! their way to the core. Of a flood, no more signatures are checked than it will get places.

use consensus::member::{Crowd, NoRoom};
use ledger::bounded::Name;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who claims how many places.
#[derive(Default)]
pub(super) struct Claims {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    /// By organisation, as far as it mattered whose they are; none is zero.
    of: BTreeMap<Name, usize>,
}

/// One place, until this is dropped.
pub struct Claim {
    claims: Arc<Claims>,
    organisation: Option<Name>,
}

impl Claims {
    /// Claims a place of what a crowd leaves.
    ///
    /// # Errors
    /// [`NoRoom`] when all that are left are spoken for.
    pub(super) fn claim(self: &Arc<Self>, crowd: &Crowd, organisation: Option<Name>) -> Result<Claim, NoRoom> {
        let mut held = self.held();
        let of_it = organisation.as_ref().and_then(|organisation| held.of.get(organisation)).copied().unwrap_or(0);
        crowd.room_for(organisation.as_ref(), held.all, of_it)?;
        if let Some(organisation) = &organisation {
            held.of.insert(organisation.clone(), of_it + 1);
        }
        held.all += 1;
        Ok(Claim { claims: self.clone(), organisation })
    }

    /// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.claims.held();
        held.all -= 1;
        let Some(organisation) = &self.organisation else { return };
        if let Some(claimed) = held.of.get_mut(organisation) {
            *claimed -= 1;
            if *claimed == 0 {
                held.of.remove(organisation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::member::Places;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    /// Two places are left for the depot and four for all: what is claimed beyond that is refused by the bound
    /// it meets, and what is dropped is there again.
    #[test]
    fn no_more_is_claimed_than_is_left() {
        let quota = NoRoom::Quota { organisation: name("depot"), pending: 6, most: 6 };
        let full = NoRoom::Full { pending: 12, most: 12 };
        let crowd = Crowd {
            pending: 8,
            all: Places { left: 4, own: 0, bound: full.clone() },
            organisations: BTreeMap::from([(name("depot"), Places { left: 2, own: 2, bound: quota.clone() })]),
        };
        let claims = Arc::new(Claims::default());
        let claim = |owner: Option<&str>| claims.claim(&crowd, owner.map(name));
        let first = claim(Some("depot")).expect("room");
        let second = claim(Some("depot")).expect("room");
        assert_eq!(claim(Some("depot")).err(), Some(quota));
        let others = [claim(None).expect("room"), claim(None).expect("room")];
        assert_eq!(claim(None).err(), Some(full));
        let bank = claim(Some("bank")).expect("a place of its own");
        drop(first);
        let again = claim(Some("depot")).expect("the place that was given back");
        drop((again, second, others, bank));
        let held = claims.held();
        assert_eq!((held.all, held.of.len()), (0, 0), "nothing is left behind");
    }
}
