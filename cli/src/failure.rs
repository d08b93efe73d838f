//! Why a command did not do what was asked, with the exit code and a way on.

use crate::commands::SnapshotError;
use crate::connection::NodeError;
use crate::description::SpecError;
use crate::files::FileError;
use crate::key_file::KeyFileError;
use crate::pack::PackError;
use crate::sign::SignError;
use crate::submit::SubmitError;
use crate::terminal::escape;
use crate::trust::TrustError;
use crate::{EXIT_REFUSED, EXIT_USAGE};
use clap::error::ErrorKind;
use serde::Serialize;
use std::error::Error;
use std::fmt::Write as _;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Asked for in a way that cannot be answered.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to write instead.
        hint: String,
    },
    /// Things that a command cannot do without and were not given: what each is, and how to say it.
    #[error("no {} given", and(.0.iter().map(|(what, _)| *what)))]
    Missing(Vec<(&'static str, &'static str)>),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A trust root.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The description of a ledger or of a proposal.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Packing.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Signing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The node, or the way to it.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Submitting.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// A snapshot that is too much.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// One side of a comparison cannot be looked at, or does not prove itself. That says nothing about the
    /// other, so it is no answer.
    #[error("cannot compare {side}")]
    Side {
        /// Which.
        side: String,
        /// Why.
        source: Box<Failure>,
    },
    /// Another program of the house that could not be run.
    #[error("cannot run {program}")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A word that is no command, here or beside.
    #[error("{command:?} is not a countersign command, and there is no program {program} beside it or on PATH")]
    UnknownCommand {
        /// The word.
        command: String,
        /// The program looked for.
        program: String,
    },
    /// The machinery to wait for a network.
    #[error("cannot prepare to use the network")]
    Runtime(#[source] std::io::Error),
    /// Standard output.
    #[error("cannot write the answer")]
    Output(#[source] std::io::Error),
}

impl Failure {
    /// A usage error.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// 1 when somebody or something said no, 2 when the question could not be asked.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let refused = match self {
            Self::Trust(error) => error.is_refusal(),
            Self::Spec(error) => error.is_refusal(),
            Self::Pack(error) => error.is_refusal(),
            Self::Node(error) => error.is_refusal(),
            Self::Submit(error) => error.is_refusal(),
            Self::Snapshot(error) => error.is_refusal(),
            Self::Usage { .. }
            | Self::Missing(_)
            | Self::File(_)
            | Self::Key(_)
            | Self::Sign(_)
            | Self::Side { .. }
            | Self::Program { .. }
            | Self::UnknownCommand { .. }
            | Self::Runtime(_)
            | Self::Output(_) => false,
        };
        if refused { EXIT_REFUSED } else { EXIT_USAGE }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => Some(hint.clone()),
            Self::Missing(missing) => {
                let hows: Vec<&str> = missing.iter().map(|(_, how)| *how).collect();
                Some(format!("say {}", hows.join("; ")))
            }
            Self::File(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Trust(error) => error.hint(),
            Self::Spec(error) => error.hint(),
            Self::Pack(error) => error.hint(),
            Self::Sign(error) => error.hint(),
            Self::Node(error) => error.hint(),
            Self::Submit(error) => error.hint(),
            Self::Snapshot(error) => error.hint(),
            Self::Side { source, .. } => source.hint(),
            Self::Program { program, .. } => Some(format!("install {program} beside countersign or on PATH")),
            Self::UnknownCommand { .. } => Some("`countersign --help` lists the commands".to_owned()),
            Self::Runtime(_) | Self::Output(_) => None,
        }
        .filter(|hint| !hint.is_empty())
    }

    /// A stable word for programs: of a refusal, the check.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Usage { .. } | Self::Missing(_) | Self::UnknownCommand { .. } => USAGE,
            Self::File(_) => "file",
            Self::Key(_) => "key-file",
            Self::Trust(_) => "trust-root",
            Self::Spec(_) => "description",
            Self::Pack(_) => "pack",
            Self::Sign(_) => "signing",
            Self::Node(error) => error.code(),
            Self::Submit(error) => error.code(),
            Self::Snapshot(_) => "snapshot",
            Self::Side { source, .. } => source.code(),
            Self::Program { .. } => "program",
            Self::Runtime(_) => "runtime",
            Self::Output(_) => "output",
        }
    }

    /// What went wrong, its causes and what to do, as values.
    #[must_use]
    pub fn view(&self) -> ErrorView {
        let message = self.to_string();
        let (mut because, mut told) = (Vec::new(), message.clone());
        let mut cause = self.source();
        while let Some(error) = cause {
            // Libraries wrap errors in errors that say the same.
            let says = error.to_string().trim_end().to_owned();
            if says != told {
                because.push(says.clone());
            }
            told = says;
            cause = error.source();
        }
        ErrorView { code: self.code().to_owned(), message, because, hint: self.hint() }
    }

    /// `error:`, its causes and `hint:`, escaped: a line each, but for causes that show a place in a file.
    #[must_use]
    pub fn report(&self) -> String {
        let ErrorView { message, because, hint, .. } = self.view();
        let mut text = format!("error: {}\n", escape(&message));
        for cause in because {
            // Who reads TOML points at what is wrong, on lines of its own.
            for (place, line) in cause.lines().enumerate() {
                let start = if place == 0 { "  because: " } else { "    " };
                let _ = writeln!(text, "{start}{}", escape(line));
            }
        }
        if let Some(hint) = hint {
            let _ = writeln!(text, "hint: {}", escape(&hint));
        }
        text
    }
}

/// The code of a question that was not asked in a way it can be answered.
const USAGE: &str = "usage";

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
    /// A command line that could not be read.
    #[must_use]
    pub fn usage(error: &clap::Error) -> Self {
        let hint = Some("`countersign COMMAND --help` shows what it takes".to_owned());
        let is_none = [ErrorKind::MissingSubcommand, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
        if is_none.contains(&error.kind()) {
            // What clap says then is a list of commands, or the help.
            let message = "no command given".to_owned();
            return Self { code: USAGE.to_owned(), message, because: Vec::new(), hint };
        }
        let told = error.to_string();
        let paragraph: Vec<&str> = told.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let message = paragraph.join(" ").trim_start_matches("error: ").to_owned();
        Self { code: USAGE.to_owned(), message, because: Vec::new(), hint }
    }
}

/// Names with commas and an "and".
fn and<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and no {last}", others.join(", no ")),
        _ => names.concat(),
    }
}
