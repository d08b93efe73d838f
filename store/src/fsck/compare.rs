//! Two stores, row by row.

use super::{PROBLEMS_MAX, Progress, Report};
use crate::column::{Column, number};
use crate::database::Database;
use crate::error::{Corruption, StoreError};
use crate::store::Store;

/// Compares all columns of a store with those derived from its chain.
pub(super) fn compare(
    database: &Database,
    derived: &Store,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    for column in Column::ALL {
        let rows = one(column, database, derived.database(), report)?;
        report.rows += rows;
        progress(Progress::Compared { column: column.name(), rows });
    }
    Ok(())
}

/// Compares one column; gives the number of its rows.
pub(super) fn one(
    column: Column,
    database: &Database,
    derived: &Database,
    report: &mut Report,
) -> Result<u64, StoreError> {
    Comparison { column, derived, report }.run(database)
}

/// One column being compared.
struct Comparison<'a> {
    column: Column,
    derived: &'a Database,
    report: &'a mut Report,
}

impl Comparison<'_> {
    /// Walks along the rows that must be there; gives their number.
    fn run(mut self, database: &Database) -> Result<u64, StoreError> {
        let mut stored = database.scan_all(self.column);
        let mut next = stored.next();
        let mut rows = 0;
        for due in self.derived.scan_all(self.column) {
            let (key, expected) = due?;
            loop {
                match next {
                    Some(Err(error)) => return self.unreadable(error, &key).map(|()| rows),
                    Some(Ok((other, _))) if other < key => {
                        self.add(&other, "the row does not follow from the chain".to_owned())?;
                        next = stored.next();
                    }
                    Some(Ok((same, value))) if same == key => {
                        if value != expected {
                            self.add(&key, difference(&value, &expected))?;
                        }
                        next = stored.next();
                        break;
                    }
                    later => {
                        self.add(&key, "the row is missing".to_owned())?;
                        next = later;
                        break;
                    }
                }
            }
            rows += 1;
            if self.report.problems.len() == PROBLEMS_MAX {
                return Ok(rows);
            }
        }
        while let Some(row) = next {
            match row {
                Ok((key, _)) => self.add(&key, "the row does not follow from the chain".to_owned())?,
                Err(error) => return self.report.add_error(error).map(|()| rows),
            }
            next = stored.next().filter(|_| self.report.problems.len() < PROBLEMS_MAX);
        }
        Ok(rows)
    }

    fn add(&mut self, key: &[u8], detail: String) -> Result<(), StoreError> {
        let height = self.written_at(key)?;
        self.report.add_error(StoreError::row(self.column, key, height, detail))
    }

    /// What the disk cannot give back any more begins where this row is due.
    fn unreadable(&mut self, error: StoreError, due: &[u8]) -> Result<(), StoreError> {
        let StoreError::Corrupt(found) = error else { return Err(error) };
        let key = Some(format!("from {} on", self.column.describe(due)));
        let height = self.written_at(due)?;
        self.report.add(Corruption { key, height, ..*found });
        Ok(())
    }

    /// The block that wrote, or removed, a row last.
    fn written_at(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let row = self.derived.get(Column::Written, &self.column.tagged(key))?;
        Ok(row.and_then(|height| number(&height)))
    }
}

fn difference(value: &[u8], expected: &[u8]) -> String {
    let same = value.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let byte = |bytes: &[u8]| bytes.get(same).map_or("the end".to_owned(), |byte| format!("{byte:#04x}"));
    format!("byte {same} of the value is {}, must be {}", byte(value), byte(expected))
}
