//! Uploads under way: each has files of this process, of which the chain and the peers' door need some, too.

use ledger::bounded::Name;
use ledger::id::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Uploads at once.
pub const UPLOADS_MAX: usize = 64;
/// Uploads of one organisation at once: a quarter of all. It publishes a patch of few artifacts now and then.
pub const UPLOADS_PER_ORGANISATION_MAX: usize = UPLOADS_MAX / 4;

/// Why an upload cannot begin now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// All places are taken.
    #[error("{UPLOADS_MAX} uploads are under way, the limit of all organisations together")]
    Full,
    /// The organisation has its share.
    #[error("{UPLOADS_PER_ORGANISATION_MAX} uploads of {0} are under way, the limit of one organisation")]
    Share(Name),
    /// The same bytes are on their way.
    #[error("{organisation} is uploading artifact {blake3} already, which it does once at a time")]
    Twice {
        /// Whose.
        organisation: Name,
        /// Which.
        blake3: Digest,
    },
}

type UnderWay = BTreeMap<Name, BTreeSet<Digest>>;

/// Counts what is under way.
#[derive(Default)]
pub struct Uploads(Arc<Mutex<UnderWay>>);

/// A place among the uploads there may be at once, until it is dropped.
pub struct Upload {
    under_way: Arc<Mutex<UnderWay>>,
    organisation: Name,
    blake3: Digest,
}

impl Uploads {
    /// An organisation begins to upload an artifact.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn begin(&self, organisation: &Name, blake3: Digest) -> Result<Upload, NoPlace> {
        let mut under_way = locked(&self.0);
        let all: usize = under_way.values().map(BTreeSet::len).sum();
        let of = under_way.get(organisation);
        if of.is_some_and(|of| of.contains(&blake3)) {
            return Err(NoPlace::Twice { organisation: organisation.clone(), blake3 });
        }
        if of.is_some_and(|of| of.len() >= UPLOADS_PER_ORGANISATION_MAX) {
            return Err(NoPlace::Share(organisation.clone()));
        }
        if all >= UPLOADS_MAX {
            return Err(NoPlace::Full);
        }
        under_way.entry(organisation.clone()).or_default().insert(blake3);
        Ok(Upload { under_way: self.0.clone(), organisation: organisation.clone(), blake3 })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut under_way = locked(&self.under_way);
        if let Some(of) = under_way.get_mut(&self.organisation) {
            of.remove(&self.blake3);
            if of.is_empty() {
                under_way.remove(&self.organisation);
            }
        }
    }
}

/// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
fn locked(under_way: &Mutex<UnderWay>) -> MutexGuard<'_, UnderWay> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organisation_has_its_share_all_have_what_there_is_and_it_comes_back() {
        let uploads = Uploads::default();
        let names: Vec<_> = (0..5).map(|number| Name::new(format!("vendor-{number}")).unwrap()).collect();
        let begin = |name: usize, digest: u8| uploads.begin(&names[name], Digest([digest; 32]));
        let mut held = Vec::new();
        for (number, name) in names[..4].iter().enumerate() {
            for digest in 0..16 {
                held.push(begin(number, digest).unwrap());
            }
            assert_eq!(begin(number, 16).err(), Some(NoPlace::Share(name.clone())));
        }
        assert_eq!(begin(4, 0).err(), Some(NoPlace::Full));
        let twice = NoPlace::Twice { organisation: names[0].clone(), blake3: Digest([0; 32]) };
        assert_eq!(begin(0, 0).err(), Some(twice));
        // What one organisation uploads, another may as well.
        held.pop();
        let other = begin(4, 0).unwrap();
        drop((held, other));
        assert!(locked(&uploads.0).is_empty(), "organisations that upload nothing are forgotten");
    }
}
