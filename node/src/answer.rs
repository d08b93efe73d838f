//! What this program says: answers on standard output, everything else on standard error. Nobody has to read it: a
//! closed pipe ends nothing.

use clap::error::ErrorKind;
use serde_json::{Value, json};
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Refused, or damaged.
pub(crate) const EXIT_REFUSED: u8 = 1;
/// Wrong usage, or an environment in which nothing can be done.
pub(crate) const EXIT_USAGE: u8 = 2;

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON object.
    Json,
}

/// What a command has to say: text for people, one JSON object for programs, and an exit code.
pub(crate) struct Answer {
    text: String,
    view: Value,
    code: u8,
}

impl Answer {
    /// A positive answer.
    pub(crate) fn new(text: impl Into<String>, view: Value) -> Self {
        Self { text: text.into(), view, code: 0 }
    }

    /// With another exit code than 0.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Nothing to say.
    pub(crate) fn silent() -> Self {
        Self::new("", Value::Null)
    }

    /// Writes it, and gives its exit code.
    pub(crate) fn print(&self, format: Format) -> ExitCode {
        match format {
            _ if self.view.is_null() => {}
            Format::Table => print(&self.text),
            Format::Json => print(&format!("{:#}", self.view)),
        }
        ExitCode::from(self.code)
    }
}

fn print(text: &str) {
    // When nobody reads any more, the exit code is all that is left.
    let _ = io::stdout().lock().write_all(format!("{text}\n").as_bytes());
}

/// Progress and hints, apart from the answer.
pub(crate) fn note(line: &str) {
    // As above.
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// The error, its causes, and what to do; to programs where they wait for the answer, too.
pub(crate) fn report(error: &dyn Error, (code, hint): (&str, &str), format: Format) {
    let message = error.to_string().trim_end().to_owned();
    let (mut because, mut told) = (Vec::new(), message.clone());
    let mut cause = error.source();
    while let Some(error) = cause {
        let says = error.to_string().trim_end().to_owned();
        // What an error says of its cause is not said again.
        if !told.ends_with(&says) {
            because.push(says.clone());
            told = says;
        }
        cause = error.source();
    }
    note(&format!("error: {message}"));
    because.iter().for_each(|cause| note(&format!("  because: {cause}")));
    note(&format!("hint: {hint}"));
    if format == Format::Json {
        let error = json!({ "code": code, "message": message, "because": because, "hint": hint });
        print(&format!("{:#}", json!({ "error": error })));
    }
}

/// Says what clap says of a command line it does not take: help and version are answers, everything else an error.
pub(crate) fn not_a_command(error: &clap::Error, words: &[OsString]) -> ExitCode {
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
        let hint = "`countersign-node COMMAND --help` shows what it takes";
        let error = json!({ "code": "usage", "message": message, "because": [], "hint": hint });
        print(&format!("{:#}", json!({ "error": error })));
    }
    ExitCode::from(EXIT_USAGE)
}

/// Whether a command line that could not be read asks for JSON.
fn asks_for_json(words: &[OsString]) -> bool {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    words.iter().any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
}
