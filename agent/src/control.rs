//! The control socket: how a person at this host talks to the running agent.
//!
//! `control.sock` in the data directory, for the owner alone. One request per connection, one line of
//! JSON; one line of JSON back:
//!
//! ```json
//! {"status":{}}
//! {"apply":{"patch":"66c5…","proof":"hexadecimal digits of a proof file"}}
//! {"rollback":{"patch":"66c5…"}}
//! ```
//!
//! `proof` may be left out; with `"now":true` the patch waits for no window. Answers are `{"status":…}`, `{"verdict":…}`,
//! `{"no-attempt":…}` (it is installed already, or its hour has not come) or
//! `{"error":{"code":…,"message":…,"hint":…}}`.
//!
//! The socket is there as soon as the data directory is locked. Who asks before the agent has found out
//! how it left the host is answered when it has.

use crate::data::DataDir;
use crate::files::{self, FileError, failed};
use crate::installer::by_hand::ByHandError;
use crate::proofs::NOT_YET;
use crate::settled::{Settled, chain};
use crate::status::{Shown, Status};
use crate::worker::{AskError, Asked, NoAttempt, Wish};
use ledger::limits;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Longest request: a proof file in hexadecimal digits, and some words.
const REQUEST_BYTES_MAX: u64 = 2 * limits::PROOF_BYTES_MAX as u64 + 1024;
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// How long a request may take to arrive, and an answer to leave.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an agent that ends waits for those who were answered last.
const FINISH_WAIT: Duration = Duration::from_secs(1);
/// Connections at one time.
const CONNECTIONS_MAX: usize = 8;
/// Updates that may be asked for while one is under way.
pub const ASKED_MAX: usize = 4;

/// A request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the agent stands.
    Status {},
    /// Bring a patch onto this host now.
    Apply {
        /// Its id, or the beginning of it.
        patch: String,
        /// Its proof file, in hexadecimal digits; without one, the nodes are asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<String>,
        /// Whether it waits for no window.
        #[serde(default)]
        now: bool,
    },
    /// Take back the last update.
    Rollback {
        /// The patch: its id, or the beginning of it.
        patch: String,
    },
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How the agent stands.
    Status(Box<Status>),
    /// How the update ended.
    Verdict(Settled),
    /// Why nothing was begun, though nothing went wrong.
    NoAttempt(NoAttempt),
    /// Why there is no answer.
    Error {
        /// A stable word; an older agent says none.
        #[serde(default)]
        code: String,
        /// What happened.
        message: String,
        /// What to do about it; may be empty.
        hint: String,
    },
}

impl Answer {
    fn error(code: &str, message: impl Into<String>, hint: &str) -> Self {
        Self::Error { code: code.to_owned(), message: message.into(), hint: hint.to_owned() }
    }
}

/// The socket, where people may already ask.
pub struct Listening(UnixListener);

/// The running agent's end.
pub struct Control {
    listener: UnixListener,
    shown: Shown,
    asked: mpsc::Sender<Asked>,
    connections: Arc<Semaphore>,
}

impl Listening {
    /// Listens. To be called with the lock held: a socket that is there is a dead agent's.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn on(data: &DataDir) -> Result<Self, FileError> {
        let path = data.path().join(DataDir::CONTROL);
        files::remove(&path)?;
        let (_held, short) = data.control().map_err(failed("open", data.path()))?;
        // The directory is the owner's alone, so nobody gets in before the mode is set.
        let listener = UnixListener::bind(&short).map_err(failed("listen on", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(files::PRIVATE_FILE_MODE))
            .map_err(failed("make private", &path))?;
        Ok(Self(listener))
    }
}

impl Control {
    /// Whoever asks sees this, and is heard there.
    #[must_use]
    pub fn new(Listening(listener): Listening, shown: Shown, asked: mpsc::Sender<Asked>) -> Self {
        Self { listener, shown, asked, connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }

    /// Waits, but not for long, until whoever asked has his answer.
    pub async fn finish(&self) {
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        // Whoever does not take it in time goes without.
        let _ = timeout(FINISH_WAIT, self.connections.acquire_many(all)).await;
    }

    /// Answers for ever, each connection by itself.
    pub async fn serve(&self) {
        loop {
            let Ok(permit) = self.connections.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (shown, asked) = (self.shown.clone(), self.asked.clone());
                    tokio::spawn(async move {
                        if let Err(error) = serve_one(stream, &shown, &asked).await {
                            tracing::debug!(%error, "control connection");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve_one(stream: UnixStream, shown: &Shown, asked: &mpsc::Sender<Asked>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let line = timeout(LINE_TIMEOUT, read_line(reader, REQUEST_BYTES_MAX)).await;
    let answer = match line {
        Err(_) => Answer::error(REQUEST, "no request in time", ""),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Answer::error(REQUEST, error.to_string(), ""),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(line)) => match serde_json::from_slice(&line) {
            Ok(request) => answer(request, shown, asked).await,
            Err(error) => {
                Answer::error(REQUEST, format!("not a request: {error}"), "one line of JSON: {\"status\":{}}")
            }
        },
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    timeout(LINE_TIMEOUT, writer.write_all(&line)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn read_line(from: impl tokio::io::AsyncRead + Unpin, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(from).take(bytes_max + 1).read_until(b'\n', &mut line).await?;
    match line.len() as u64 > bytes_max {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line of more than {bytes_max} bytes"))),
        false => Ok(line),
    }
}

async fn answer(request: Request, shown: &Shown, asked: &mpsc::Sender<Asked>) -> Answer {
    match request {
        Request::Status {} => Answer::Status(Box::new(shown.status())),
        Request::Apply { patch, proof, now } => {
            let proof = match proof.map(hex::decode).transpose() {
                Ok(proof) => proof,
                Err(error) => return Answer::error(REQUEST, format!("proof: {error}"), "hexadecimal digits"),
            };
            fulfil(Wish::Apply { patch, proof, now }, asked).await
        }
        Request::Rollback { patch } => fulfil(Wish::TakeBack { patch }, asked).await,
    }
}

async fn fulfil(wish: Wish, asked: &mpsc::Sender<Asked>) -> Answer {
    let (answer, verdict) = oneshot::channel();
    if asked.try_send(Asked { wish, answer }).is_err() {
        return Answer::error("busy", "too many updates are asked for", "wait until one is over");
    }
    match verdict.await {
        Ok(Ok(settled)) => Answer::Verdict(settled),
        Ok(Err(AskError::NoAttempt(no_attempt))) => Answer::NoAttempt(no_attempt),
        Ok(Err(error)) => Answer::error(code(&error), chain(&error), hint(&error)),
        Err(_) => Answer::error("stopping", "the agent is stopping", "see the receipt when it runs again"),
    }
}

/// The stable word of a request that cannot be read.
const REQUEST: &str = "request";
/// Of an id that more than one patch begins with.
pub const AMBIGUOUS: &str = "ambiguous";
/// Of a patch that nobody knows.
pub const NOT_FOUND: &str = "not-found";
/// Of a file that the operating system says no about.
pub const FILE: &str = "file";

/// The stable word of why there is no verdict.
#[must_use]
pub fn code(error: &AskError) -> &'static str {
    match error {
        AskError::NotAnId(_) => "usage",
        AskError::UnknownPatch(_) => NOT_FOUND,
        AskError::Ambiguous(_) => AMBIGUOUS,
        AskError::NotYet(..) => NOT_YET,
        AskError::NoNode(_) => "unreachable",
        AskError::NoAttempt(_) => "no-attempt",
        AskError::AwaitsRestart(_) => "awaits-restart",
        AskError::HandedOver(_) => "handed-over",
        AskError::ByHand(ByHandError::InPlace(_) | ByHandError::NoWayBack(_)) => "no-way-back",
        AskError::ByHand(ByHandError::Open(_)) => "not-over",
        AskError::ByHand(ByHandError::NotInstalled { .. }) => "not-installed",
        AskError::ByHand(ByHandError::Recalled { .. }) => "recalled",
        AskError::ByHand(ByHandError::NoUpdate | ByHandError::NotTheLast { .. }) => "not-the-last",
        AskError::ByHand(ByHandError::File(_)) | AskError::File(_) => FILE,
    }
}

/// What to do when there is no verdict.
#[must_use]
pub fn hint(error: &AskError) -> &'static str {
    match error {
        AskError::NoAttempt(no_attempt) => no_attempt.hint(),
        AskError::NotAnId(_) => "ids are 64 hexadecimal digits; the beginning of one is enough",
        AskError::UnknownPatch(_) => "`countersign patch list` shows what there is",
        AskError::Ambiguous(_) => "give more digits",
        AskError::NotYet(..) => {
            "try again; if it stays so, `countersign status` says whether a quorum of the validators is there"
        }
        AskError::NoNode(None) => "bring its proof: `apply --from FILE.proof`; or follow a node: ledger.nodes",
        AskError::NoNode(Some(_)) => {
            "see ledger.nodes and ledger.ca in the configuration, and `countersign-agent status`"
        }
        AskError::AwaitsRestart(_) => {
            "`countersign-agent status` says for what the restart waits; nothing else is installed before"
        }
        AskError::HandedOver(_) => "`countersign-agent status` says which program runs, and what came of it",
        AskError::ByHand(ByHandError::Recalled { .. }) => {
            "install another version: a newer release, once it is approved"
        }
        AskError::ByHand(ByHandError::InPlace(_) | ByHandError::NoWayBack(_)) => {
            "have the version before published as a new release; it goes the way of every patch"
        }
        AskError::ByHand(ByHandError::Open(_)) => "`countersign-agent status` says what it waits for",
        AskError::ByHand(_) => "`countersign-agent status` shows what is installed",
        AskError::File(_) => "",
    }
}

/// Asks the running agent; `None` when none runs on this data directory.
///
/// # Errors
/// [`FileError`] when it cannot be asked, or does not answer.
pub async fn ask(data: &DataDir, request: &Request) -> Result<Option<Answer>, FileError> {
    let Some(line) = ask_line(data, request).await? else { return Ok(None) };
    let path = data.path().join(DataDir::CONTROL);
    serde_json::from_slice(&line).map(Some).map_err(|error| failed("understand the agent on", &path)(error.into()))
}

/// The same, for whoever can read more than one version of an agent's answer.
///
/// # Errors
/// [`FileError`] when it cannot be asked, or does not answer.
pub async fn ask_line(data: &DataDir, request: &Request) -> Result<Option<Vec<u8>>, FileError> {
    let path = data.path().join(DataDir::CONTROL);
    let stream = match connect(data).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(failed("connect to", &path)(error)),
    };
    exchange(stream, request).await.map(Some).map_err(failed("talk to the agent on", &path))
}

async fn connect(data: &DataDir) -> io::Result<UnixStream> {
    let (_held, short) = data.control()?;
    UnixStream::connect(&short).await
}

async fn exchange(stream: UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    let (reader, mut writer) = stream.into_split();
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    // However long the update takes.
    let answer = read_line(reader, ANSWER_BYTES_MAX).await?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it went away before it answered"));
    }
    Ok(answer)
}
