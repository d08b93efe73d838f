//! Which bound one more would meet, and what clients are told of that beforehand.

use super::Mempool;
use super::long::{LONG_PER_KEY_MAX, LONG_PER_ORGANISATION_MAX};
use super::queue::{Item, Queue};
use super::room::{Crowd, NoRoom, OWN_PLACES_BYTES_MAX, OWN_PLACES_MAX, Places, Source};
use ledger::bounded::Name;
use ledger::key::PublicKey;

/// Places that a key may have of its organisation's, however few it leaves.
const KEY_PLACES_MIN: usize = OWN_PLACES_MAX;

impl Mempool {
    /// Which bound one more of an organisation would meet.
    pub(super) fn room(&self, organisation: &Name, item: &Item, source: Source) -> Option<NoRoom> {
        let size = item.bytes;
        if let Some(queue) = self.queues.get(organisation) {
            let most = self.most_of(organisation, &self.last_with_little(), source);
            let of_key = || room_of(queue, &item.key, size, most);
            let for_long = || room_for_long(queue, organisation, item, source);
            if let Some(bound) = room_in(queue, organisation, size, most).or_else(of_key).or_else(for_long) {
                return Some(bound);
            }
        }
        let (places, bytes) = self.of(organisation);
        let is_own = places < OWN_PLACES_MAX && bytes + size <= OWN_PLACES_BYTES_MAX;
        if is_own { None } else { self.room_in_all(size, source) }
    }

    /// Which bound of the whole pool so many bytes more would meet.
    fn room_in_all(&self, size: usize, source: Source) -> Option<NoRoom> {
        let (pending, most) = (self.len(), source.share(self.limits.transactions_max));
        if pending >= most {
            return Some(NoRoom::Full { pending, most });
        }
        let (bytes, most) = (self.bytes, source.share(self.limits.bytes_max));
        (bytes + size > most).then_some(NoRoom::FullOfBytes { bytes, most })
    }

    /// What clients are told before anything of theirs is looked at: any transaction has a byte.
    #[must_use]
    pub fn crowd(&self) -> Crowd {
        let most = Source::Client.share(self.limits.transactions_max);
        let all = match self.room_in_all(1, Source::Client) {
            Some(bound) => Places { left: 0, own: 0, bound },
            None => Places { left: most - self.len(), own: 0, bound: NoRoom::Full { pending: most, most } },
        };
        let is_short = all.left <= most / 2;
        let little = self.last_with_little();
        let left = self.queues.iter().filter_map(|(organisation, queue)| {
            let (most, bytes_most) = self.most_of(organisation, &little, Source::Client);
            let places = Places {
                left: most.saturating_sub(queue.len()),
                own: OWN_PLACES_MAX.saturating_sub(queue.len()),
                bound: NoRoom::Quota { organisation: organisation.clone(), pending: most, most },
            };
            let places = match room_in(queue, organisation, 1, (most, bytes_most)) {
                Some(bound) => Places { left: 0, own: 0, bound },
                None if queue.bytes() >= OWN_PLACES_BYTES_MAX => Places { own: 0, ..places },
                None => places,
            };
            (is_short || places.left <= most / 2).then(|| (organisation.clone(), places))
        });
        let organisations = left.collect();
        let keys =
            self.queues.iter().flat_map(|(organisation, queue)| self.pressing_keys(organisation, queue, &little));
        Crowd { pending: self.len(), all, organisations, keys: keys.collect() }
    }

    /// Keys that have half of what they may, or more.
    fn pressing_keys(
        &self,
        organisation: &Name,
        queue: &Queue,
        little: &[Option<(u64, &Name)>; 2],
    ) -> Vec<(PublicKey, Places)> {
        let (most, _) = self.most_of(organisation, little, Source::Client);
        let left = most.saturating_sub(queue.len());
        let keys = queue.keys_with((left / 2).max(KEY_PLACES_MIN));
        let places = |(key, pending): (PublicKey, usize)| {
            let bound = NoRoom::QuotaOfKey { key, pending, left };
            // Each one that comes is one less that is left, too.
            (key, Places { left: left.saturating_sub(pending).div_ceil(2), own: 0, bound })
        };
        keys.map(places).collect()
    }
}

/// Which bound of one organisation, of so many places and bytes, so many bytes more would meet.
fn room_in(queue: &Queue, organisation: &Name, size: usize, (most, bytes_most): (usize, usize)) -> Option<NoRoom> {
    let (pending, bytes) = (queue.len(), queue.bytes());
    if pending >= most {
        return Some(NoRoom::Quota { organisation: organisation.clone(), pending, most });
    }
    let is_met = bytes + size > bytes_most;
    is_met.then(|| NoRoom::QuotaOfBytes { organisation: organisation.clone(), bytes, most: bytes_most })
}

/// Which bound of one key they would meet: it has no more than it leaves to the others of its organisation.
fn room_of(queue: &Queue, key: &PublicKey, size: usize, (most, bytes_most): (usize, usize)) -> Option<NoRoom> {
    let (pending, bytes) = queue.of(key);
    let left = most.saturating_sub(queue.len());
    if pending >= left.max(KEY_PLACES_MIN) {
        return Some(NoRoom::QuotaOfKey { key: *key, pending, left });
    }
    let left = bytes_most.saturating_sub(queue.bytes());
    let is_met = bytes + size > left.max(OWN_PLACES_BYTES_MAX);
    is_met.then_some(NoRoom::QuotaOfKeyOfBytes { key: *key, bytes, left })
}

/// Which bound one more would meet that takes long.
fn room_for_long(queue: &Queue, organisation: &Name, item: &Item, source: Source) -> Option<NoRoom> {
    let (pending, of_key) = queue.long(&item.key);
    let (most, most_of_key) = (source.share(LONG_PER_ORGANISATION_MAX), source.share(LONG_PER_KEY_MAX));
    let is_met = pending >= most || of_key >= most_of_key;
    let (organisation, key) = (organisation.clone(), item.key);
    (item.long && is_met).then_some(NoRoom::QuotaOfLong { organisation, pending, most, key, of_key, most_of_key })
}
