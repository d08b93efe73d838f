//! What was refused or went wrong: what, why, what to do.

use crate::{Format, escape, json};
use clap::error::ErrorKind;
use serde::Serialize;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// The code of a question that was not asked in a way it can be answered.
pub const USAGE: &str = "usage";

/// An error for programs: what `-o json` writes as `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorView {
    /// A stable word: of a refusal, the check that said no.
    pub code: String,
    /// What happened, one sentence.
    pub message: String,
    /// Its causes, the nearest first.
    pub because: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ErrorView {
    /// Of an error and its causes.
    #[must_use]
    pub fn of(error: &dyn Error, code: impl Into<String>, hint: Option<String>) -> Self {
        let message = error.to_string().trim_end().to_owned();
        let (mut because, mut told) = (Vec::new(), message.clone());
        let mut cause = error.source();
        while let Some(error) = cause {
            // What an error says of its cause is not said again.
            let says = error.to_string().trim_end().to_owned();
            if !told.ends_with(&says) {
                because.push(says.clone());
                told = says;
            }
            cause = error.source();
        }
        Self { code: code.into(), message, because, hint: hint.filter(|hint| !hint.is_empty()) }
    }

    /// Of a command line that could not be read.
    #[must_use]
    pub fn not_read(error: &clap::Error, program: &str) -> Self {
        let message = match error.kind() {
            // What clap says then is a list of commands, or the help.
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                "no command given".to_owned()
            }
            _ => {
                let told = error.to_string();
                let paragraph: Vec<&str> = told.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
                paragraph.join(" ").trim_start_matches("error: ").to_owned()
            }
        };
        let hint = Some(format!("`{program} --help` shows what is taken, with examples"));
        Self { code: USAGE.to_owned(), message, because: Vec::new(), hint }
    }

    /// `error:`, its causes and `hint:`, inert: a line each, but for causes that show a place in a file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("error: {}\n", escape(&self.message));
        for cause in &self.because {
            // Who reads TOML points at what is wrong, on lines of its own.
            for (place, line) in cause.lines().enumerate() {
                let start = if place == 0 { "  because: " } else { "    " };
                let _ = writeln!(text, "{start}{}", escape(line));
            }
        }
        text + &self.hint_text()
    }

    fn hint_text(&self) -> String {
        self.hint.as_ref().map(|hint| format!("hint: {}\n", escape(hint))).unwrap_or_default()
    }

    /// What to do, where somebody else has said what happened.
    pub(crate) fn tell_hint(&self) {
        // As in `tell`.
        let _ = io::stderr().lock().write_all(self.hint_text().as_bytes());
    }

    /// The one place where an error is told: to people on standard error, to programs where they wait for the answer.
    pub fn tell(&self, format: Format) {
        // Nothing is left to do when standard error is gone; the exit code still speaks.
        let _ = io::stderr().lock().write_all(self.text().as_bytes());
        if format == Format::Json {
            self.tell_programs();
        }
    }

    pub(crate) fn tell_programs(&self) {
        #[derive(Serialize)]
        struct View<'a> {
            error: &'a ErrorView,
        }
        // As above: whoever does not read has the exit code.
        let _ = io::stdout().lock().write_all(json(&View { error: self }).as_bytes());
    }
}
