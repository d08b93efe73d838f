//! `countersign chain snapshot`: take a snapshot of a ledger away.

mod taking;

use crate::connection::{Connection, NodeError};
use crate::failure::Failure;
use crate::options::Global;
use crate::tables::facts;
use clap::Args;
use ledger::id::ChainId;
use proto::v1::GetSnapshotRequest;
use serde::Serialize;
use std::path::PathBuf;
pub use taking::SnapshotError;
use taking::{Patience, Taking};
use terminal::Answer;
use tokio::signal::unix::{SignalKind, signal};

/// Bytes of a snapshot, unless somebody allows more: with 30 days of full blocks every second it is larger, and
/// then a person should know.
const BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;

/// Take a snapshot.
#[derive(Debug, Args)]
#[command(after_help = "\
A snapshot is everything a new node needs to begin at the newest height instead of the first block: certificates, the \
hashes of the history, the state, the blocks of the last 30 days and, of older ones, all transactions but receipts. \
It is written down as the node sends it; `countersign-node restore` believes nothing of it and checks everything \
against the genesis file. So a node that lies could send for ever: the command stops at --max-bytes, when the node \
sends less than a mebibyte in a minute, and when a sixteenth of the disk, or 1 GiB where that is less, is all that is \
free. The file has its name when it is whole, and what came of one that is not is removed.
JSON: {\"file\", \"chain_id\", \"height\", \"first_whole_height\", \"bytes\", \"parts\"}

Examples:
  countersign chain snapshot --out ledger.snapshot
  countersign chain snapshot --out ledger.snapshot \\
      --max-bytes 200000000000
  countersign-node restore --config node/node.toml --from ledger.snapshot")]
pub struct Snapshot {
    /// Where to write it; never over another file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Give up when it has more bytes
    #[arg(long, value_name = "BYTES", default_value_t = BYTES_MAX)]
    max_bytes: u64,
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
        let mut taking = Taking::begin(&self.out, connection.chain_id, self.max_bytes)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
        let mut terminated = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
        let stopped = tokio::select! {
            taken = take(&mut connection, &mut taking) => { taken?; false }
            _ = interrupted.recv() => true,
            _ = terminated.recv() => true,
        };
        if stopped {
            return Err(SnapshotError::Interrupted { bytes: taking.bytes }.into());
        }
        let (bytes, parts) = (taking.bytes, taking.parts);
        let (height, first_whole_height) = taking.begun.unwrap_or_default();
        taking.keep()?;
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

/// Takes everything the node sends.
async fn take(connection: &mut Connection, taking: &mut Taking) -> Result<(), Failure> {
    let stream = connection.ledger.get_snapshot(GetSnapshotRequest {}).await.map_err(NodeError::from)?;
    let (mut stream, mut patience) = (stream.into_inner(), Patience::new());
    while let Some(piece) = patience.next(&mut stream).await? {
        taking.take(&piece.map_err(NodeError::from)?)?;
    }
    Ok(())
}
