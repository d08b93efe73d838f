//! What the programs here say: answers on standard output, everything else on standard error. Nobody has to read it:
//! a closed pipe ends nothing.

use clap::error::ErrorKind;
use serde::Serialize;
use serde_json::{Value, json};
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Something came out otherwise than promised.
pub const EXIT_REFUSED: u8 = 1;
/// Wrong usage, or an environment in which nothing can be done.
pub const EXIT_USAGE: u8 = 2;

/// The code of a command line that could not be read.
const USAGE: &str = "usage";

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON object.
    Json,
}

/// What a command has to say: text for people, one JSON object for programs, and an exit code.
#[derive(Debug)]
pub struct Answer {
    text: String,
    view: Value,
    code: u8,
}

impl Answer {
    /// A positive answer; text without a line feed at its end gets one.
    #[must_use]
    pub fn new(text: impl Into<String>, view: Value) -> Self {
        Self { text: text.into(), view, code: 0 }
    }

    /// With another exit code than 0.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Writes it, and gives its exit code.
    #[must_use]
    pub fn print(&self, format: Format) -> ExitCode {
        match format {
            Format::Table if self.text.is_empty() => {}
            Format::Table => print(self.text.trim_end_matches('\n')),
            Format::Json => print_json(&self.view),
        }
        ExitCode::from(self.code)
    }
}

/// A line, or several, of an answer.
pub fn print(text: &str) {
    // When nobody reads any more, the exit code is all that is left.
    let _ = io::stdout().lock().write_all(format!("{text}\n").as_bytes());
}

/// An answer for programs.
pub fn print_json(view: &impl Serialize) {
    print(&format!("{:#}", json!(view)));
}

/// A line that is no answer.
pub fn say(line: &str) {
    // As above.
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// The one place where an error is told: what, why, what to do. To programs where they wait for the answer, too.
pub fn report(error: &dyn Error, code: &str, hint: &str, format: Format) {
    let message = error.to_string();
    let (mut because, mut told) = (Vec::new(), message.clone());
    let mut cause = error.source();
    while let Some(error) = cause {
        let says = error.to_string();
        // Libraries wrap errors in errors that say the same.
        if says != told {
            because.push(says.clone());
        }
        told = says;
        cause = error.source();
    }
    say(&format!("error: {message}"));
    because.iter().for_each(|cause| say(&format!("  because: {cause}")));
    say(&format!("hint: {hint}"));
    if format == Format::Json {
        print_json(&json!({ "error": { "code": code, "message": message, "because": because, "hint": hint } }));
    }
}

/// Says what clap says of a command line it does not take: help and version are answers, everything else an error.
#[must_use]
pub fn not_a_command(error: &clap::Error, words: &[OsString]) -> ExitCode {
    // As above.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if asks_for_json(words) {
        let told = error.to_string();
        let paragraph: Vec<&str> = told.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let message = match error.kind() {
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                "no command given".to_owned()
            }
            _ => paragraph.join(" ").trim_start_matches("error: ").to_owned(),
        };
        let (because, hint) = (Value::Array(Vec::new()), "`--help` shows what is taken, with examples");
        print_json(&json!({ "error": { "code": USAGE, "message": message, "because": because, "hint": hint } }));
    }
    ExitCode::from(EXIT_USAGE)
}

/// Whether a command line that could not be read asks for JSON.
fn asks_for_json(words: &[OsString]) -> bool {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    words.iter().any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
}
