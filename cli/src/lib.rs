//! Give people hands.
//!
//! The `countersign` command, as a library so that its tests can ask its parts. This room does not
//! know databases, how agreement is reached, or how a patch is installed: it signs, asks nodes over
//! gRPC, and checks what they answer with the words of `ledger`.
//!
//! # What scripts may rely on
//!
//! Exit codes: 0 done, 1 refused or a negative answer, 2 usage or environment. Data goes to standard
//! output and everything else to standard error. With `-o json` the data is one JSON object whose
//! fields are only ever added to: ids, keys and digests in lower-case hex, times in milliseconds since
//! 1970-01-01 UTC in fields that end in `_ms`. What was refused or went wrong is one JSON object on standard
//! output, too: `{"error": {"code", "message", "because", "hint"}}` ([`terminal::ErrorView`]). The `Serialize` types in [`view`] and beside each
//! command are the reference.
//!
//! Everything a stranger wrote (titles, notes, names, refusals) is escaped before it reaches a
//! terminal: see [`terminal::escape`].

pub mod commands;
pub mod connection;
pub mod description;
pub mod failure;
pub mod files;
pub mod genesis_spec;
mod kinds;
pub mod options;
pub mod pack;
pub mod proposal_spec;
pub mod shelf;
pub mod sign;
pub mod submit;
pub mod tables;
pub mod time;
pub mod trust;
mod unfinished;
pub mod unlock;
pub mod view;

use std::ffi::OsString;
use std::process::ExitCode;
use terminal::{EXIT_USAGE, Format};

/// Runs one command line, the program's name first, and says how it ended.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    keyring::no_core_dumps();
    let words: Vec<OsString> = arguments.into_iter().collect();
    let line = match options::CommandLine::read(&words) {
        Ok(line) => line,
        Err(error) => return terminal::not_read(&error, &words, "countersign COMMAND"),
    };
    let format = match &line.command {
        // What stands behind a strange word is for its program; when there is none it was meant for us.
        commands::Command::External(_) if terminal::asks_for_json(&words) => Format::Json,
        _ => line.global.output,
    };
    match commands::run(line) {
        Ok(answer) => answer.end(format, EXIT_USAGE),
        Err(failure) => {
            failure.view().tell(format);
            ExitCode::from(failure.exit_code())
        }
    }
}
