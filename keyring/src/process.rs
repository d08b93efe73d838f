//! The process that holds keys.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// From now on this process leaves no image of its memory on the disk when it crashes, and no other process of its user
/// looks into it. Programs it starts are not concerned. Where the system does not know how, nothing is different.
pub fn no_core_dumps() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
