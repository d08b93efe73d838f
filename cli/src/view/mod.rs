//! What is shown of patches, endpoints, receipts, blocks, members and proposals: the JSON shapes scripts rely on, and the
//! same for people.
//!
//! Unless a type says otherwise its values are the node's word: convenient, and proof of nothing.

mod convictions;
mod governance;
mod inventory;
mod lists;
mod manifest;
mod patches;

pub use convictions::{ConvictionView, CulpritView, conviction_table};
pub use governance::{BallotView, MemberKeyView, MemberView, Owners, ProposalView, changes_in_words, member_table};
pub use governance::{proposal_table, signed_proposal_text};
pub(crate) use inventory::believed;
pub use inventory::{HostView, ShownInventory};
pub use lists::{BlockView, EndpointView, EnrolledView, ReceiptView};
pub(crate) use manifest::noun_of;
pub use manifest::{NO_HEALTH_CHECK, signed_patch_text};
pub use patches::{PatchView, Said, VerdictView, patch_table};

use crate::submit::PositionView;
use crate::time;

/// As much of a note as a table shows.
const LINE_CHARS_MAX: usize = 60;

/// A position for people.
#[must_use]
pub fn show_position(position: &PositionView) -> String {
    let PositionView { height, index, time_ms } = position;
    match time_ms {
        0 => format!("at height {height} (transaction {index})"),
        time_ms => format!("at height {height} (transaction {index}), {}", time::show(*time_ms)),
    }
}

/// As much of a text of many lines as a table shows.
pub(crate) fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(LINE_CHARS_MAX).collect();
    if shown.len() < text.len() && !shown.ends_with('…') {
        shown.push('…');
    }
    shown
}
