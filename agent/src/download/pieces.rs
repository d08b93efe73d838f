//! Bytes as they come from a source, piece by piece.

use super::directory;
use super::error::Disappointment;
use super::mirror::Answer;

/// What came at once.
pub(super) struct Piece {
    /// What of it was asked for.
    pub(super) data: Vec<u8>,
    /// Bytes that came, all in all: by these it is measured how fast a source is.
    pub(super) moved: u64,
}

impl From<Vec<u8>> for Piece {
    fn from(data: Vec<u8>) -> Self {
        Self { moved: data.len() as u64, data }
    }
}

/// What is coming.
pub(super) enum Incoming {
    /// From a node, in the self-checking form; and whom to ask what a refusal in the middle means.
    Node(tonic::Streaming<proto::v1::FetchResponse>),
    /// From a web server.
    Mirror(Answer),
    /// From a directory.
    Directory(directory::Pieces),
}

impl Incoming {
    /// The next piece; none when that was all.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Disappointment> {
        match self {
            Self::Node(stream) => match stream.message().await {
                Ok(message) => Ok(message.map(|message| message.data.into())),
                Err(status) => Err(refused(proto::refusal(&status), status.message())),
            },
            Self::Mirror(answer) => answer.next().await.map_err(|why| Disappointment::Cannot(why.to_string())),
            // A disk that cannot be read is a source that cannot: it is not ours that is written to.
            Self::Directory(pieces) => match pieces.recv().await.transpose() {
                Ok(piece) => Ok(piece.map(Piece::from)),
                Err(error) => Err(Disappointment::Cannot(error.to_string())),
            },
        }
    }
}

/// What a node's refusal says of it.
pub(super) fn refused(refusal: Option<proto::v1::Refusal>, otherwise: &str) -> Disappointment {
    match refusal {
        Some(refusal) => {
            let said = format!("refused: {}: {}", refusal.check, refusal.message);
            match refusal.check.as_str() {
                "artifact-length" => Disappointment::Length(said),
                "artifact-unavailable" => Disappointment::Absent(said),
                _ => Disappointment::Cannot(said),
            }
        }
        None => Disappointment::Cannot(otherwise.to_owned()),
    }
}
