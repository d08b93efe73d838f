//! Is every byte what it must be?
//!
//! A store is a function of its chain. So the check believes the genesis and, block by block, nothing but
//! signatures: it verifies every transaction and every certificate, executes every block again into a
//! scratch store, and then compares the two stores row by row. What differs was changed on disk.
//!
//! A store that began with a snapshot, or was pruned, has not got all its chain. It is taken down as a
//! snapshot of itself and examined like one of a stranger's: certificates, history and state must be what
//! its newest header says. What came of which receipt that is forgotten is its own word then.
//!
//! Every checksum of the database is verified on the way, with one exception: the filters that say which
//! keys a file does not have. They hold nothing of the chain, and a damaged one is read past.

mod based;
mod compare;
mod replay;

use crate::column::Column;
use crate::database::{Database, Purpose};
use crate::error::{Corruption, StoreError};
use crate::lock::{Lock, file_error};
use crate::meta;
use crate::store::Store;
use crate::view::View;
use crate::wal::{self, Torn};
use ledger::genesis::{Genesis, GenesisBlock};
use std::fs;
use std::path::Path;

/// Problems listed in one report. One is reason enough to sync a new store.
pub const PROBLEMS_MAX: usize = 100;

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Blocks executed again.
    Replayed {
        /// Height reached.
        height: u64,
        /// Height of the tip, as the store says.
        of: u64,
    },
    /// A column compared.
    Compared {
        /// Its name.
        column: &'static str,
        /// Rows in it.
        rows: u64,
    },
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Height of the tip, as the store says.
    pub height: u64,
    /// Height up to which every block was proven.
    pub proven: u64,
    /// Transactions in those blocks.
    pub transactions: u64,
    /// Rows compared; none when a block could not be proven, because what should follow is not known then.
    pub rows: u64,
    /// What is not as it must be, the cause first; at most [`PROBLEMS_MAX`].
    pub problems: Vec<Corruption>,
    /// What the log ends with, when that is no whole record: no problem, if a crash tore it.
    pub torn: Option<String>,
}

impl Report {
    /// Whether every byte is what it must be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: Corruption) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Takes corruption down as found; what else goes wrong ends the check.
    fn add_error(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Corrupt(problem) => self.add(*problem),
            StoreError::Unreadable(error) => {
                self.add(Corruption { column: None, key: None, height: None, file: None, detail: error.to_string() })
            }
            other => return Err(other),
        }
        Ok(())
    }
}

/// Checks a store that nobody has open, and changes nothing in it. `scratch` is a missing or empty
/// directory with as much room as the store takes; it is removed at the end.
///
/// # Errors
/// [`StoreError`] when the check itself cannot be made: the store is in use, it does not open (then the
/// error says why), the scratch is out of room. What is wrong *in* the store is in the report.
pub fn fsck(path: &Path, scratch: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Report, StoreError> {
    if !path.join("CURRENT").is_file() {
        return Err(StoreError::NotAStore { path: path.to_owned(), detail: "there is no database in it" });
    }
    let _lock = Lock::take_to_read(path)?;
    let mut report = Report::default();
    let logs = wal::check(path);
    let database = match Database::open(path, Purpose::Inspect) {
        Ok(database) => database,
        Err(error) => {
            logs.or_else(|error| report.add_error(error).map(|()| None))?;
            return report.add_error(unopened(error)).map(|()| report);
        }
    };
    let chain = View::new(&database, None);
    match logs {
        Ok(torn) => report.torn = torn.map(|torn| after(&chain, torn)),
        Err(error) => report.add_error(in_the_next_block(&chain, error))?,
    }
    if let Err(error) = meta::check_schema(&database) {
        return report.add_error(error).map(|()| report);
    }
    let Some(genesis) = genesis(&database, &mut report)? else { return Ok(report) };
    if database.get(Column::Meta, meta::FLOOR_KEY)?.is_some() {
        fs::create_dir_all(scratch).map_err(|source| file_error(scratch, source))?;
        let again = Database::create(scratch, Purpose::Scratch)?;
        let checked = based::check(&chain, &database, &again, &genesis, &mut report, progress);
        drop(again);
        fs::remove_dir_all(scratch).map_err(|source| file_error(scratch, source))?;
        return checked.map(|()| report);
    }
    let derived = Store::scratch(scratch, &genesis)?;
    let checked = replay::replay(&chain, &derived, &mut report, progress).and_then(|whole| match whole {
        true => compare::compare(&database, &derived, &mut report, progress),
        false => Ok(()),
    });
    drop(derived);
    fs::remove_dir_all(scratch).map_err(|source| file_error(scratch, source))?;
    checked.map(|()| report)
}

/// A database that does not open has no block that could be named.
fn unopened(error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(mut problem) => {
            problem.detail = format!("none of the blocks can be read, the database does not open: {}", problem.detail);
            StoreError::Corrupt(problem)
        }
        error => error,
    }
}

/// What a log has behind the last block that can be read of it was of the next one. Of a list of files nothing like that
/// is known: what it lost may be any of them.
fn in_the_next_block(chain: &View<'_>, error: StoreError) -> StoreError {
    let is_of_a_log =
        |problem: &Corruption| problem.column.is_none() && problem.file.as_deref().is_some_and(wal::is_log);
    match (error, chain.tip()) {
        (StoreError::Corrupt(mut problem), Ok(tip)) if is_of_a_log(&problem) => {
            problem.height = Some(tip.header.height + 1);
            StoreError::Corrupt(problem)
        }
        (error, _) => error,
    }
}

fn after(chain: &View<'_>, Torn { file, at }: Torn) -> String {
    let next = chain.tip().map_or_else(|_| "a block".to_owned(), |tip| format!("block {}", tip.header.height + 1));
    format!(
        "{next} is not there: the last record of {file}, at byte {at}, does not check out. A crash tore it while it was \
         written, or it was damaged since; the node gets that block from its peers"
    )
}

/// The genesis, if its bytes are still those the store was made from.
fn genesis(database: &Database, report: &mut Report) -> Result<Option<GenesisBlock>, StoreError> {
    let bytes = match meta::required(database, meta::GENESIS_KEY) {
        Ok(bytes) => bytes,
        Err(error) => return report.add_error(error).map(|()| None),
    };
    let problem = |detail: String| StoreError::row(Column::Meta, meta::GENESIS_KEY, Some(0), detail);
    let genesis = match Genesis::parse(&bytes) {
        Ok(genesis) => genesis,
        Err(error) => return report.add_error(problem(error.to_string())).map(|()| None),
    };
    // Two places name the chain. When both disagree with the genesis bytes, those are what changed; when
    // one does, the comparison will say which.
    let row = database.get(Column::Meta, meta::CHAIN_ID_KEY)?;
    let header = View::new(database, None).header(0);
    let named_by_row = row.is_some_and(|row| row[..] == genesis.chain_id.0);
    let named_by_header = header.is_ok_and(|header| header.is_some_and(|header| header.chain_id == genesis.chain_id));
    if !named_by_row && !named_by_header {
        let detail = format!("these bytes are the genesis of another ledger, {}", genesis.chain_id);
        return report.add_error(problem(detail)).map(|()| None);
    }
    Ok(Some(genesis))
}
