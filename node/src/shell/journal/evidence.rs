//! Evidence against validators that is not on the ledger yet: one small file, written whole or not at all.

use consensus::Evidence;
use consensus::records;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

pub(super) struct EvidenceFile(pub(super) PathBuf);

impl EvidenceFile {
    /// What is in the file, up to the first doubt; nothing when there is none.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Vec<Evidence>)> {
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => drop(file.take(records::EVIDENCE_BYTES_MAX as u64).read_to_end(&mut bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok((Self(path), records::read_evidence(&bytes)))
    }

    /// Keeps this and nothing else: durable when it returns.
    pub(super) fn write(&self, evidence: &[Evidence]) -> io::Result<()> {
        let beside = self.0.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&records::evidence(evidence))?;
        file.sync_all()?;
        fs::rename(&beside, &self.0)?;
        File::open(self.0.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}
