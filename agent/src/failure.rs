//! Errors at the program's edge: the chain printed once, a hint, an exit code.

use agent::config::ConfigError;
use agent::data::DataError;
use agent::follow::memory::MemoryError;
use agent::installer::AdoptError;
use agent::installer::journal::JournalError;
use agent::key::KeyError;
use agent::site::SiteError;
use agent::why::WhyError;
use agent::worker::AskError;
use agent::{FileError, control};
use std::error::Error;
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
}

impl Failure {
    pub(crate) fn new(error: impl Into<Box<dyn Error>>, hint: Option<String>, code: u8) -> Self {
        Self { error: error.into(), hint, code }
    }

    /// Prints the chain of causes, once, and says how the program ends.
    pub(crate) fn report(self) -> ExitCode {
        let mut text = format!("error: {}\n", self.error);
        let mut cause = self.error.source();
        while let Some(source) = cause {
            text.push_str(&format!("  because: {source}\n"));
            cause = source.source();
        }
        if let Some(hint) = self.hint.filter(|hint| !hint.is_empty()) {
            text.push_str(&format!("hint: {hint}\n"));
        }
        say(&text);
        ExitCode::from(self.code)
    }
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
        Self::new(error, Some(hint.to_owned()), USAGE)
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
        Self::new(error, hint, USAGE)
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let hint = match &error {
            DataError::InUse(_) => Some("stop the running agent first".to_owned()),
            DataError::File(_) => None,
        };
        Self::new(error, hint, NO_VERDICT)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(error, None, NO_VERDICT)
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
                Self::new(error, Some(hint), NO_VERDICT)
            }
            SiteError::Genesis { .. } => {
                Self::new(error, Some("take the genesis file from somebody you trust".to_owned()), USAGE)
            }
            SiteError::Sources(_) => Self::new(error, Some("see ledger.nodes and ledger.ca".to_owned()), USAGE),
            SiteError::Memory(MemoryError::OtherLedger { .. }) => {
                Self::new(error, Some("one data directory is for one ledger: use another".to_owned()), USAGE)
            }
            SiteError::Memory(_) => {
                let hint = "removing it lets older views of the ledger in: compare with another host first";
                Self::new(error, Some(hint.to_owned()), NO_VERDICT)
            }
        }
    }
}

impl From<WhyError> for Failure {
    fn from(error: WhyError) -> Self {
        let (hint, code) = match &error {
            WhyError::NotAnId(_) => ("ids are 64 hexadecimal digits; the beginning of one is enough", USAGE),
            WhyError::Ambiguous(_) => ("give more digits", USAGE),
            WhyError::Unknown(_) => (
                "the agent was offered none, by its own looking or by `apply`; a whole id is always answered",
                NO_VERDICT,
            ),
            WhyError::File(_) => ("", NO_VERDICT),
        };
        Self::new(error, Some(hint.to_owned()), code)
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let code = match error {
            AskError::NotAnId(_) | AskError::Ambiguous(_) => USAGE,
            _ => NO_VERDICT,
        };
        let hint = control::hint(&error).to_owned();
        Self::new(error, Some(hint), code)
    }
}

impl From<AdoptError> for Failure {
    fn from(error: AdoptError) -> Self {
        let hint = match &error {
            AdoptError::AlreadyInstalled { .. } => Some("from here on, patches change what is installed".to_owned()),
            AdoptError::Unpack(_) => Some(
                "what cannot be in a patch cannot be a baseline; repack it with `countersign patch pack`".to_owned(),
            ),
            AdoptError::Digest(_) | AdoptError::File(_) => None,
        };
        Self::new(error, hint, NO_VERDICT)
    }
}
