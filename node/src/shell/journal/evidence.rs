//! Evidence against validators that is not on the ledger yet: one small file, written whole or not at all.

use consensus::Evidence;
use consensus::member::EVIDENCE_KEPT_MAX;
use ledger::encoding::{decode, encode};
use ledger::limits;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Length and checksum before each piece.
const HEADER_BYTES: usize = 8;
/// More than all pieces there can be have.
const FILE_BYTES_MAX: u64 = (EVIDENCE_KEPT_MAX * (HEADER_BYTES + limits::MESSAGE_BYTES_MAX)) as u64;

pub(super) struct EvidenceFile(pub(super) PathBuf);

impl EvidenceFile {
    /// What is in the file, up to the first doubt; nothing when there is none.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Vec<Evidence>)> {
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => drop(file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (mut evidence, mut rest) = (Vec::new(), bytes.as_slice());
        while let Some((piece, behind)) = piece(rest) {
            evidence.push(piece);
            rest = behind;
        }
        Ok((Self(path), evidence))
    }

    /// Keeps this and nothing else: durable when it returns.
    pub(super) fn write(&self, evidence: &[Evidence]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for piece in evidence {
            let piece = encode(piece);
            bytes.extend_from_slice(&super::length_of(&piece).to_le_bytes());
            bytes.extend_from_slice(&crc32fast::hash(&piece).to_le_bytes());
            bytes.extend_from_slice(&piece);
        }
        let beside = self.0.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &self.0)?;
        File::open(self.0.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn piece(bytes: &[u8]) -> Option<(Evidence, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (piece, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (crc32fast::hash(piece) == u32::from_le_bytes(*checksum)).then_some(())?;
    Some((decode(piece).ok()?, rest))
}
