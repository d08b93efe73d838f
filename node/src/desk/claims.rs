//! Places in the pool that are spoken for: by transactions whose signatures are being checked, or that are on
//! their way to the core. Of a flood, no more signatures are checked than it will get places.
//!
//! A claim is made before anything is known of it but what it says itself. So no address claims more than it leaves
//! to others, nor does one key of what its organisation has; and what an address brought that was not signed counts
//! as claimed by it for a while.

use crate::origin::Origin;
use consensus::member::{Crowd, NoRoom, OWN_PLACES_MAX};
use ledger::bounded::Name;
use ledger::key::PublicKey;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a transaction that was not what it says is held against the address it came from.
pub const FORGERY_COST: Duration = Duration::from_secs(1);
/// How many of them: no more than this is lost to others behind the address while the pool has room.
pub const FORGERIES_MAX: usize = 1_024;
/// Addresses of which such a thing is remembered: as many as there may be connections.
const FORGERS_MAX: usize = 1_024;

/// Who claims a place, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct Claimant {
    /// Where the transaction comes from.
    pub(crate) origin: Origin,
    /// Who signed it, as it says.
    pub(crate) signer: Option<PublicKey>,
    /// Whose key that is, as far as it matters.
    pub(crate) organisation: Option<Name>,
}

/// Why no place is given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoClaim {
    /// The pool, or what an organisation has of it, is full, or will be.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The address has as much as it leaves.
    #[error(
        "transactions of address {origin} that are not admitted yet have, or wasted, {claimed} places, and it leaves \
         {left} to others"
    )]
    Address {
        /// Where they come from.
        origin: Origin,
        /// How many it has.
        claimed: usize,
        /// How many are left.
        left: usize,
    },
    /// The key has as much as it leaves.
    #[error(
        "transactions of key {key} that are not admitted yet have {claimed} places, and it leaves {left} to others"
    )]
    Key {
        /// Who signed them, as they say.
        key: PublicKey,
        /// How many it has.
        claimed: usize,
        /// How many are left.
        left: usize,
    },
}

/// Who claims how many places.
#[derive(Default)]
pub(super) struct Claims {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    by_address: HashMap<Origin, usize>,
    /// By organisation, as far as it mattered whose they are; none is empty.
    of: BTreeMap<Name, OfOrganisation>,
    /// When an address brought what was not signed, oldest first.
    forged: HashMap<Origin, VecDeque<Instant>>,
}

#[derive(Default)]
struct OfOrganisation {
    all: usize,
    by_address: HashMap<Origin, usize>,
    by_key: HashMap<PublicKey, usize>,
}

/// One place, until this is dropped.
pub(crate) struct Claim {
    claims: Arc<Claims>,
    claimant: Claimant,
}

impl Claims {
    /// Claims a place of what a crowd leaves.
    ///
    /// # Errors
    /// [`NoClaim`] when all that are left are spoken for, or as many by one address or key as it leaves to others.
    pub(super) fn claim(self: &Arc<Self>, crowd: &Crowd, claimant: Claimant) -> Result<Claim, NoClaim> {
        let mut held = self.held();
        held.may_claim(crowd, &claimant)?;
        held.add(&claimant);
        Ok(Claim { claims: self.clone(), claimant })
    }

    /// An address brought something that was not what it said.
    pub(super) fn forged(&self, origin: Origin) {
        let now = Instant::now();
        let mut held = self.held();
        if held.forged.len() >= FORGERS_MAX {
            held.forged.retain(|_, times| times.back().is_some_and(|last| now < *last + FORGERY_COST));
        }
        if held.forged.len() < FORGERS_MAX || held.forged.contains_key(&origin) {
            let times = held.forged.entry(origin).or_default();
            if times.len() == FORGERIES_MAX {
                times.pop_front();
            }
            times.push_back(now);
        }
    }

    /// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether there is a place, and not too many are claimed by one.
    fn may_claim(&mut self, crowd: &Crowd, claimant: &Claimant) -> Result<(), NoClaim> {
        let Claimant { origin, signer, organisation } = claimant;
        let forged = self.forgeries(*origin);
        let of = organisation.as_ref().and_then(|organisation| self.of.get(organisation));
        let of_it = of.map_or(0, |of| of.all);
        crowd.room_for(organisation.as_ref(), self.all, of_it)?;

        let left_to_all = crowd.all.left.saturating_sub(self.all);
        let address = |claimed: usize, left| NoClaim::Address { origin: *origin, claimed, left };
        let by_address = count(&self.by_address, origin) + forged;
        let Some(organisation) = organisation else {
            return if by_address < left_to_all { Ok(()) } else { Err(address(by_address, left_to_all)) };
        };
        let places = crowd.organisations.get(organisation);
        let left = places.map_or(usize::MAX, |places| places.left).saturating_sub(of_it);
        let own = places.map_or(OWN_PLACES_MAX, |places| places.own).saturating_sub(of_it);
        // Its own places are there whatever others take.
        let left = left.min(left_to_all.max(own));
        let by_address_of_it = of.map_or(0, |of| count(&of.by_address, origin)) + forged;
        if by_address_of_it >= left {
            return Err(address(by_address_of_it, left));
        }
        if own == 0 && by_address >= left_to_all {
            return Err(address(by_address, left_to_all));
        }
        let Some(key) = *signer else { return Ok(()) };
        let claimed = of.map_or(0, |of| count(&of.by_key, &key));
        crowd.room_of(&key, claimed)?;
        // Something of what its address may have is for the other keys behind it.
        let left = left - by_address_of_it;
        if claimed < left { Ok(()) } else { Err(NoClaim::Key { key, claimed, left }) }
    }

    fn add(&mut self, claimant: &Claimant) {
        let Claimant { origin, signer, organisation } = claimant;
        self.all += 1;
        *self.by_address.entry(*origin).or_default() += 1;
        let Some(organisation) = organisation else { return };
        let of = self.of.entry(organisation.clone()).or_default();
        of.all += 1;
        *of.by_address.entry(*origin).or_default() += 1;
        if let Some(signer) = signer {
            *of.by_key.entry(*signer).or_default() += 1;
        }
    }

    fn remove(&mut self, claimant: &Claimant) {
        let Claimant { origin, signer, organisation } = claimant;
        self.all -= 1;
        one_less(&mut self.by_address, origin);
        let Some(organisation) = organisation else { return };
        let Some(of) = self.of.get_mut(organisation) else { return };
        of.all -= 1;
        one_less(&mut of.by_address, origin);
        if let Some(signer) = signer {
            one_less(&mut of.by_key, signer);
        }
        if of.all == 0 {
            self.of.remove(organisation);
        }
    }

    /// What is held against an address; what is long ago is forgotten.
    fn forgeries(&mut self, origin: Origin) -> usize {
        let Some(times) = self.forged.get_mut(&origin) else { return 0 };
        let now = Instant::now();
        while times.front().is_some_and(|first| now >= *first + FORGERY_COST) {
            times.pop_front();
        }
        let count = times.len();
        if count == 0 {
            self.forged.remove(&origin);
        }
        count
    }
}

fn count<K: Eq + Hash>(counts: &HashMap<K, usize>, of: &K) -> usize {
    counts.get(of).copied().unwrap_or(0)
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.held().remove(&self.claimant);
    }
}

#[cfg(test)]
mod tests;
