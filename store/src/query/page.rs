//! Pages and where they go on.

use ledger::state::record::Position;
use std::fmt;
use std::str::FromStr;

/// Rows in one page, at most; whoever asks for more gets this many.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// Where the next page goes on. Valid for ever: what is in the chain keeps its place. Opaque, also as
/// text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub(crate) u64);

impl Cursor {
    /// Behind the entry of a list that was recorded there.
    #[must_use]
    pub fn behind(position: Position) -> Self {
        Self(position.index)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Text that is not a cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a page token")]
pub struct ParseCursorError;

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let parsed = u64::from_str_radix(text, 16).map(Self).map_err(|_| ParseCursorError)?;
        // One text for one cursor: no signs, no short forms, no capitals.
        if parsed.to_string() == text { Ok(parsed) } else { Err(ParseCursorError) }
    }
}

/// Some rows of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Where the next page goes on; `None` when this was the last.
    pub next: Option<Cursor>,
}
