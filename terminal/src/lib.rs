//! Answer people and programs.
//!
//! What every program of the house says, it says in one way. An [`Answer`] goes to standard output, as text or, with
//! `-o json`, as one JSON object; everything else goes to standard error ([`note`]). What was refused or went wrong is
//! an [`ErrorView`]: `error:`, `because:` and `hint:` for people and, with `-o json`, the object
//! `{"error": {"code", "message", "because", "hint"}}` where the answer would be. Whatever a stranger wrote is inert
//! before it reaches a terminal ([`escape`], [`lines`], [`json`]).
//!
//! Nobody has to read it: a closed pipe ends nothing, and the exit code still speaks.

mod answer;
mod command_line;
mod error;
mod inert;

pub use answer::{Answer, Format, note, print};
pub use command_line::{OUTPUT_VARIABLE, asks_for_json, mute_commands, not_read};
pub use error::{ErrorView, USAGE};
pub use inert::{escape, json, lines};

/// Everything done.
pub const EXIT_DONE: u8 = 0;
/// Refused, or a negative answer: something came out otherwise than asked for.
pub const EXIT_REFUSED: u8 = 1;
/// Wrong usage, or an environment in which the question cannot be asked.
pub const EXIT_USAGE: u8 = 2;
