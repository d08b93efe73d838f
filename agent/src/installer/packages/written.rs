//! What preparing wrote into the holding, for the steps after it.

use super::super::footprint::Footprint;
use super::closure::Closure;
use super::database::Database;
use crate::files::{self, FileError};
use crate::settled::Refusal;
use std::path::Path;

/// The closure.
const CLOSURE: &str = "closure.json";
/// What the paths were like before.
const FOOTPRINT: &str = "footprint.json";
/// What packages there were before.
const BEFORE: &str = "packages.json";
/// That all of the new was in place, and that nothing else was changed by it.
const IN_PLACE: &str = "in-place";

/// What is written down of an update.
pub(in crate::installer) struct Written {
    /// Which packages.
    pub(in crate::installer) closure: Closure,
    /// What the paths were like before.
    pub(in crate::installer) footprint: Footprint,
    /// What packages there were before.
    pub(in crate::installer) before: Database,
    /// All of the new was in place.
    pub(super) is_in_place: bool,
}

impl Written {
    /// Writes it; the closure last, because it says that the rest is there.
    pub(super) fn write(&self, holding: &Path) -> Result<(), Refusal> {
        self.footprint.write(&holding.join(FOOTPRINT))?;
        self.before.write(&holding.join(BEFORE))?;
        self.closure.write(&holding.join(CLOSURE))
    }

    pub(super) fn is_there(holding: &Path) -> bool {
        holding.join(CLOSURE).is_file()
    }

    pub(super) fn read(holding: &Path) -> Result<Self, FileError> {
        Ok(Self {
            closure: Closure::read(&holding.join(CLOSURE))?,
            footprint: Footprint::read(&holding.join(FOOTPRINT))?,
            before: Database::read(&holding.join(BEFORE))?,
            is_in_place: holding.join(IN_PLACE).exists(),
        })
    }

    /// From now on what others do to other packages is theirs.
    pub(super) fn is_in_place_now(holding: &Path) -> Result<(), FileError> {
        files::replace(&holding.join(IN_PLACE), b"")
    }
}
