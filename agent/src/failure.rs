//! Errors at the program's edge: the chain printed once, a hint, an exit code. Whoever asks for JSON has them as one
//! object on standard output, too, of the shape that `countersign -o json` gives them.

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
use std::borrow::Cow;
use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;
use terminal::{ErrorView, Format, note};

/// Applied, or simply done.
pub(crate) const OK: u8 = 0;
/// Refused, rolled back or failed: the verdict names the check.
pub(crate) const REFUSED: u8 = 1;
/// Wrong use: arguments, configuration, key file.
pub(crate) const USAGE: u8 = 2;
/// No verdict: no node answers, the disk says no, the agent is in the way.
pub(crate) const NO_VERDICT: u8 = 3;

/// Why a command did not do what it should.
pub(crate) struct Failure {
    error: Box<dyn Error>,
    hint: Option<String>,
    code: u8,
    word: Cow<'static, str>,
}

/// The one of what has no better.
const UNANSWERED: &str = "no-verdict";

impl Failure {
    /// Its stable word is `usage` where the exit code says that it was asked for in a wrong way, until somebody calls
    /// it something else.
    pub(crate) fn new(error: impl Into<Box<dyn Error>>, hint: Option<String>, code: u8) -> Self {
        let word = if code == USAGE { terminal::USAGE } else { UNANSWERED }.into();
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

    /// Whether nobody answered, so that it is not known what was done.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.code == NO_VERDICT
    }

    pub(crate) fn with_hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    /// Tells it, to programs too where they wait for the answer, and says how the program ends.
    pub(crate) fn report(self, output: Format) -> ExitCode {
        ErrorView::of(&*self.error, self.word, self.hint).tell(output);
        ExitCode::from(self.code)
    }
}

/// Whether it is the question that was wrong.
fn is_of_the_question(word: &str) -> bool {
    matches!(word, terminal::USAGE | AMBIGUOUS)
}

/// What to do, beside an answer that is no failure; nothing where there is nothing to do.
pub(crate) fn hint(text: &str) {
    if !text.is_empty() {
        note(&format!("hint: {text}"));
    }
}

/// A program that could not be started in the agent's place.
pub(crate) fn not_launched(error: &std::io::Error) -> ExitCode {
    note(&format!("cannot start {error}"));
    ExitCode::from(agent::services::launch::NOT_LAUNCHED)
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::File(error) if error.source.kind() == ErrorKind::PermissionDenied => {
                "run this as the agent's user"
            }
            ConfigError::File(_) => {
                "`--config` or COUNTERSIGN_AGENT_CONFIG says where it is; `enroll` writes one, and so does `init`"
            }
            ConfigError::Syntax { .. } => {
                "unknown fields are errors; `countersign-agent init` writes all that are known"
            }
            ConfigError::Field { .. } => {
                "correct that field; the comments of `countersign-agent init` say what it may be"
            }
        };
        Self::new(error, Some(hint.to_owned()), USAGE).called("configuration")
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let hint = error.hint();
        Self::new(error, Some(hint), USAGE).called("key-file")
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
        let hint = match error.source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on that disk",
            ErrorKind::PermissionDenied if error.is_of_reading() => "run this as the agent's user",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "may this user write there? check the owner, the mode and the mount"
            }
            _ => "",
        };
        Self::new(error, Some(hint.to_owned()), NO_VERDICT).called(control::FILE)
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
            SiteError::Memory(MemoryError::File(error)) => error.into(),
            SiteError::Genesis { .. } => {
                let hint = "take the genesis file from somebody you trust";
                Self::new(error, Some(hint.to_owned()), USAGE).called("trust-root")
            }
            SiteError::Sources(_) => {
                Self::new(error, Some("see ledger.nodes and ledger.ca".to_owned()), USAGE).called("nodes")
            }
            SiteError::Mirror(_) => {
                Self::new(error, Some("see [[sources]] in the configuration".to_owned()), USAGE).called("sources")
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
                ("ids are 64 hexadecimal digits; the beginning of one is enough", USAGE, terminal::USAGE)
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
