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
//! output, too: `{"error": {"code", "message", "because", "hint"}}` ([`failure::ErrorView`]). The `Serialize` types in [`view`] and beside each
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
pub mod key_file;
mod kinds;
pub mod options;
pub mod pack;
pub mod proposal_spec;
pub mod sign;
pub mod submit;
pub mod terminal;
pub mod time;
pub mod trust;
mod unfinished;
pub mod view;

use failure::{ErrorView, Failure};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use terminal::Format;

/// Everything done.
pub const EXIT_DONE: u8 = 0;
/// Refused, or a negative answer.
pub const EXIT_REFUSED: u8 = 1;
/// Wrong usage, or an environment in which the question cannot be asked.
pub const EXIT_USAGE: u8 = 2;

/// Runs one command line, the program's name first, and says how it ended.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let line = match options::CommandLine::read(&words) {
        Ok(line) => line,
        Err(error) => {
            // Help and version are answers; everything else clap says is a usage error. A reader that
            // went away is nobody to tell.
            let code = if error.use_stderr() { EXIT_USAGE } else { EXIT_DONE };
            let _ = error.print();
            if error.use_stderr() && terminal::asks_for_json(&words) {
                tell_programs(&ErrorView::usage(&error));
            }
            return ExitCode::from(code);
        }
    };
    let format = match &line.command {
        // What stands behind a strange word is for its program; when there is none it was meant for us.
        commands::Command::External(_) if terminal::asks_for_json(&words) => Format::Json,
        _ => line.global.output,
    };
    match commands::run(line).and_then(|answer| answer.print(format)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            report(&failure, format);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The one place where a failure is told: what, why, what to do. To people on standard error, to programs
/// where they wait for the answer.
fn report(failure: &Failure, format: Format) {
    let mut told = io::stderr().lock();
    // Nothing is left to do when standard error is gone; the exit code still speaks.
    let _ = told.write_all(failure.report().as_bytes());
    if format == Format::Json {
        tell_programs(&failure.view());
    }
}

fn tell_programs(error: &ErrorView) {
    #[derive(Serialize)]
    struct View<'a> {
        error: &'a ErrorView,
    }
    // As above: whoever does not read has the exit code.
    let _ = io::stdout().lock().write_all(terminal::json(&View { error }).as_bytes());
}
