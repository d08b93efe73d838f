//! `countersign chain snapshot`: take a snapshot of a ledger away.

use crate::connection::{Connection, NodeError};
use crate::failure::Failure;
use crate::files::{self, FileError};
use crate::options::Global;
use crate::terminal::{Answer, facts};
use clap::Args;
use ledger::encoding::decode;
use ledger::id::ChainId;
use ledger::limits;
use ledger::snapshot::SnapshotPart;
use proto::v1::GetSnapshotRequest;
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;
use tokio_stream::StreamExt as _;

/// Bytes before a part: its length.
const LENGTH_BYTES: usize = 4;

/// Take a snapshot.
#[derive(Debug, Args)]
#[command(after_help = "\
A snapshot is everything a new node needs to begin at the newest height instead of the first block: certificates, the \
hashes of the history, the state, the blocks of the last 30 days and, of older ones, all transactions but receipts. \
It is written down as the node sends it; `countersign-node restore` believes nothing of it and checks everything \
against the genesis file.
JSON: {\"file\", \"chain_id\", \"height\", \"first_whole_height\", \"bytes\", \"parts\"}

Examples:
  countersign chain snapshot --out ledger.snapshot
  countersign-node restore --config node/node.toml --from ledger.snapshot")]
pub struct Snapshot {
    /// Where to write it; never over another file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct View {
    file: PathBuf,
    chain_id: ChainId,
    height: u64,
    first_whole_height: u64,
    bytes: u64,
    parts: u64,
}

impl Snapshot {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let trust = global.trust()?;
        let mut connection = Connection::open(global, trust.as_ref()).await?;
        let mut file = files::New::begin(&self.out)?;
        let stream = connection.ledger.get_snapshot(GetSnapshotRequest {}).await.map_err(NodeError::from)?;
        let mut stream = stream.into_inner();
        let (mut bytes, mut parts, mut begun, mut is_over) = (0, 0, None, false);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(NodeError::from)?.part;
            let part = parse(&piece, parts)?;
            is_over = part == SnapshotPart::End;
            if let SnapshotPart::Begin { header, before, .. } = part {
                if header.chain_id != connection.chain_id {
                    let what = format!("a snapshot of chain {}", header.chain_id);
                    return Err(NodeError::Unbelievable(what).into());
                }
                begun = Some((header.height, before.height + 1));
            }
            let failed = |source| FileError::Write { path: self.out.clone(), source };
            file.write_all(&piece).map_err(failed)?;
            bytes += piece.len() as u64;
            parts += 1;
        }
        let (Some((height, first_whole_height)), true) = (begun, is_over) else {
            return Err(NodeError::Unbelievable(format!("a snapshot that breaks off after {parts} parts")).into());
        };
        file.keep()?;
        let file = self.out.clone();
        let view = View { file, chain_id: connection.chain_id, height, first_whole_height, bytes, parts };
        let text = facts(&[
            ("snapshot", view.file.display().to_string()),
            ("chain", view.chain_id.to_string()),
            ("height", view.height.to_string()),
            ("blocks", format!("whole from height {} on", view.first_whole_height)),
            ("size", format!("{} bytes", view.bytes)),
        ]);
        Ok(Answer::new(text, &view))
    }
}

fn parse(piece: &[u8], number: u64) -> Result<SnapshotPart, NodeError> {
    let wrong = |detail: String| NodeError::Unbelievable(format!("part {number} of a snapshot: {detail}"));
    let (length, part) = piece.split_first_chunk::<LENGTH_BYTES>().ok_or_else(|| wrong("no length".to_owned()))?;
    if u32::from_le_bytes(*length) as usize != part.len() || part.len() > limits::FRAME_BYTES_MAX {
        return Err(wrong(format!("{} bytes are not what its length says", part.len())));
    }
    decode(part).map_err(|error| wrong(error.to_string()))
}
