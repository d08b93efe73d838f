//! Answers, on standard output; and what is no answer, on standard error.

use crate::{EXIT_DONE, ErrorView, escape, json};
use serde::Serialize;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For programs: one JSON object.
    Json,
}

/// What a command has to say: text for people, one JSON object for programs, and an exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    text: String,
    json: String,
    code: u8,
}

impl Answer {
    /// A positive answer; a text without a line feed at its end gets one.
    #[must_use]
    pub fn new(text: impl Into<String>, view: &impl Serialize) -> Self {
        let mut text = text.into();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        Self { text, json: json(view), code: EXIT_DONE }
    }

    /// With another exit code than 0.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Nothing to say, to nobody.
    #[must_use]
    pub fn silent(code: u8) -> Self {
        Self { text: String::new(), json: String::new(), code }
    }

    /// Writes it to standard output, and ends the program with its exit code; where it cannot be written, that is told,
    /// and the exit code is `unwritten`.
    #[must_use]
    pub fn end(&self, format: Format, unwritten: u8) -> ExitCode {
        let text = match format {
            Format::Table => &self.text,
            Format::Json => &self.json,
        };
        match print(text) {
            Ok(()) => self.code.into(),
            Err(error) => {
                // Programs wait for it where nothing can be written.
                let hint = "what was asked may have been done: look before asking again; is there room where standard output goes?".to_owned();
                ErrorView::of(&NotWritten(error), "output", Some(hint)).tell(Format::Table);
                unwritten.into()
            }
        }
    }
}

/// Standard output said no.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the answer")]
struct NotWritten(#[source] io::Error);

/// Writes a part of an answer to standard output, as it is.
///
/// # Errors
/// What the operating system says, but that the reader went away: who has seen enough (`| head`) is no failure.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Tells the person at the terminal something that is not data, inert.
pub fn note(text: &str) {
    let mut told = io::stderr().lock();
    for line in text.lines() {
        // A closed standard error is no reason to stop.
        let _ = writeln!(told, "{}", escape(line));
    }
}
