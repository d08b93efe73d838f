//! Errors at the program's edge: the chain printed once, a hint, an exit code. Whoever asks for JSON has them as one
//! object on standard output, too, of the shape that `countersign -o json` gives them.

use crate::commands::Output;
use agent::FileError;
use agent::config::ConfigError;
use agent::control::{self, AMBIGUOUS, NOT_FOUND as NOT_FOUND_HERE};
use agent::data::DataError;
use agent::follow::memory::MemoryError;
use agent::installer::AdoptError;
use agent::installer::journal::JournalError;
use agent::key::KeyError;
use agent::site::SiteError;
use agent::why::WhyError;
use agent::worker::AskError;
use serde::Serialize;
use std::borrow::Cow;
use std::error::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// Applied, or simply done.
pub(crate) const OK: u8 = 0;
/// Refused, rolled back or failed: the verdict names the check.
pub(crate) const REFUSED: u8 = 1;
/// Wrong use: arguments, configuration, key file.
pub(crate) const USAGE: u8 = 2;
/// No verdict: no node answers, the disk says no, the agent is in the way.
pub(crate) const NO_VERDICT: u8 = 3;
/// What shells say when a program cannot be started.
const NOT_FOUND: u8 = 127;

/// Why a command did not do what it should.
pub(crate) struct Failure {
    error: Box<dyn Error>,
    hint: Option<String>,
    code: u8,
    word: Cow<'static, str>,
}

/// An error for programs: what `-o json` writes as `error`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ErrorView {
    /// A stable word.
    code: String,
    /// What happened, one sentence.
    message: String,
    /// Its causes, the nearest first.
    because: Vec<String>,
    /// What to do about it.
    hint: Option<String>,
}

/// The stable word of a question that was not asked in a way it can be answered.
const NOT_UNDERSTOOD: &str = "usage";
/// The one of what has no better.
const UNANSWERED: &str = "no-verdict";

impl Failure {
    /// Its stable word is `usage` where the exit code says that it was asked for in a wrong way, until somebody calls
    /// it something else.
    pub(crate) fn new(error: impl Into<Box<dyn Error>>, hint: Option<String>, code: u8) -> Self {
        let word = if code == USAGE { NOT_UNDERSTOOD } else { UNANSWERED }.into();
        Self { error: error.into(), hint: hint.filter(|hint| !hint.is_empty()), code, word }
    }

    /// What a running agent answered instead of what was asked for.
    pub(crate) fn answered(message: String, hint: String, word: String) -> Self {
        let code = if is_of_the_question(&word) { USAGE } else { NO_VERDICT };
        let failure = Self::new(message, Some(hint), code);
        if word.is_empty() { failure } else { failure.called(word) }
    }

    /// Gives it its stable word.
    pub(crate) fn called(self, word: impl Into<Cow<'static, str>>) -> Self {
        Self { word: word.into(), ..self }
    }

    pub(crate) fn with_hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    /// Prints the chain of causes, once, and says how the program ends.
    pub(crate) fn report(self, output: Output) -> ExitCode {
        let code = self.code;
        let view = self.view();
        let mut text = format!("error: {}\n", view.message);
        view.because.iter().for_each(|cause| text.push_str(&format!("  because: {cause}\n")));
        if let Some(hint) = &view.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        say(&text);
        if output == Output::Json {
            tell_programs(&view);
        }
        ExitCode::from(code)
    }

    fn view(self) -> ErrorView {
        let mut because = Vec::new();
        let mut cause = self.error.source();
        while let Some(source) = cause {
            because.push(source.to_string());
            cause = source.source();
        }
        ErrorView { code: self.word.into_owned(), message: self.error.to_string(), because, hint: self.hint }
    }
}

/// Whether it is the question that was wrong.
fn is_of_the_question(word: &str) -> bool {
    matches!(word, NOT_UNDERSTOOD | AMBIGUOUS)
}

/// A command line that could not be read, or asks for help.
pub(crate) fn not_read(error: &clap::Error, words: &[OsString]) -> ExitCode {
    // A reader that went away is nobody to tell.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::from(OK);
    }
    if asks_for_json(words) {
        let told = error.to_string();
        let paragraph: Vec<_> = told.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let message = paragraph.join(" ").trim_start_matches("error: ").to_owned();
        let hint = Some("`countersign-agent COMMAND --help` shows what it takes".to_owned());
        tell_programs(&ErrorView { code: NOT_UNDERSTOOD.to_owned(), message, because: Vec::new(), hint });
    }
    ExitCode::from(USAGE)
}

/// Whether a command line that could not be read asks for JSON.
fn asks_for_json(words: &[OsString]) -> bool {
    let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).collect();
    words.iter().any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]))
}

fn tell_programs(error: &ErrorView) {
    #[derive(Serialize)]
    struct View<'a> {
        error: &'a ErrorView,
    }
    // Texts and lists of them cannot fail to be JSON. Whoever does not read has the exit code.
    let text = serde_json::to_string_pretty(&View { error }).unwrap_or_default();
    let _ = std::io::stdout().write_all(format!("{text}\n").as_bytes());
}

/// What to do, beside an answer that is no failure; nothing where there is nothing to do.
pub(crate) fn hint(text: &str) {
    if !text.is_empty() {
        say(&format!("hint: {text}\n"));
    }
}

/// A program that could not be started in the agent's place.
pub(crate) fn not_launched(error: &std::io::Error) -> ExitCode {
    say(&format!("cannot start {error}\n"));
    ExitCode::from(NOT_FOUND)
}

fn say(text: &str) {
    // When nobody listens any more, the exit code is all that is left.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::File(_) => "`countersign-agent init` writes a configuration",
            ConfigError::Syntax { .. } => {
                "unknown fields are errors; `countersign-agent init` writes all that are known"
            }
            ConfigError::Field { .. } => "",
        };
        Self::new(error, Some(hint.to_owned()), USAGE).called("configuration")
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let hint = match &error {
            KeyError::Exposed { path, .. } => {
                Some(format!("chmod 600 {}; if others could read it, make a new key", path.display()))
            }
            KeyError::Format { .. } => Some("`countersign-agent init` writes key files".to_owned()),
            KeyError::File(_) | KeyError::Randomness(_) => None,
        };
        Self::new(error, hint, USAGE).called("key-file")
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error {
            DataError::InUse(_) => {
                Self::new(error, Some("stop the running agent first".to_owned()), NO_VERDICT).called("in-use")
            }
            DataError::File(error) => error.into(),
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(error, None, NO_VERDICT).called(control::FILE)
    }
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::Config(error) => error.into(),
            SiteError::Key(error) => error.into(),
            SiteError::Data(error) => error.into(),
            SiteError::File(error) => error.into(),
            SiteError::Journal(JournalError::File(error)) => error.into(),
            SiteError::Journal(error) => {
                let hint = format!("what was begun cannot be told: {}", JournalError::PUT_RIGHT);
                Self::new(error, Some(hint), NO_VERDICT).called("journal")
            }
            SiteError::Genesis { .. } => {
                let hint = "take the genesis file from somebody you trust";
                Self::new(error, Some(hint.to_owned()), USAGE).called("trust-root")
            }
            SiteError::Sources(_) => {
                Self::new(error, Some("see ledger.nodes and ledger.ca".to_owned()), USAGE).called("nodes")
            }
            SiteError::Memory(MemoryError::OtherLedger { .. }) => {
                let hint = "one data directory is for one ledger: use another";
                Self::new(error, Some(hint.to_owned()), USAGE).called("other-ledger")
            }
            SiteError::Memory(_) => {
                let hint = "removing it lets older views of the ledger in: compare with another host first";
                Self::new(error, Some(hint.to_owned()), NO_VERDICT).called("memory")
            }
        }
    }
}

impl From<WhyError> for Failure {
    fn from(error: WhyError) -> Self {
        let (hint, code, word) = match error {
            WhyError::NotAnId(_) => {
                ("ids are 64 hexadecimal digits; the beginning of one is enough", USAGE, NOT_UNDERSTOOD)
            }
            WhyError::Ambiguous(_) => ("give more digits", USAGE, AMBIGUOUS),
            WhyError::Unknown(_) => (
                "the agent was offered none, by its own looking or by `apply`; a whole id is always answered",
                NO_VERDICT,
                NOT_FOUND_HERE,
            ),
            WhyError::File(error) => return error.into(),
        };
        Self::new(error, Some(hint.to_owned()), code).called(word)
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let word = control::code(&error);
        let code = if is_of_the_question(word) { USAGE } else { NO_VERDICT };
        let hint = control::hint(&error).to_owned();
        Self::new(error, Some(hint), code).called(word)
    }
}

impl From<AdoptError> for Failure {
    fn from(error: AdoptError) -> Self {
        let (hint, word) = match error {
            AdoptError::AlreadyInstalled { .. } => {
                ("from here on, patches change what is installed", "already-installed")
            }
            AdoptError::Unpack(_) => {
                ("what cannot be in a patch cannot be a baseline; repack it with `countersign patch pack`", "tree")
            }
            AdoptError::Digest(_) => ("", "tree"),
            AdoptError::File(error) => return error.into(),
        };
        Self::new(error, Some(hint.to_owned()), NO_VERDICT).called(word)
    }
}
