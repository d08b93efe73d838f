//! The RocksDB behind the columns: how it is opened, and what its words mean.

use crate::column::Column;
use crate::error::{Corruption, StoreError};
use crate::tuning;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBIteratorWithThreadMode, DBPinnableSlice, Direction, ErrorKind,
    IteratorMode, ReadOptions, Snapshot, WriteBatch, WriteOptions,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To keep a chain: every batch is on disk before its write returns.
    Keep,
    /// To look at one, without changing a byte.
    Inspect,
    /// To derive one again: gone when the process is, so nothing is synced.
    Scratch,
}

/// An open database with all columns.
pub(crate) struct Database {
    db: DB,
    path: PathBuf,
    purpose: Purpose,
}

/// A row: key and value.
pub(crate) type Row = (Box<[u8]>, Box<[u8]>);

impl Database {
    /// Makes a database with empty columns where none is.
    pub(crate) fn create(path: &Path, purpose: Purpose) -> Result<Self, StoreError> {
        let mut options = tuning::database(purpose);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_error_if_exists(true);
        let scratch = (purpose == Purpose::Scratch).then_some(Column::Written);
        let db = DB::open_cf_descriptors(&options, path, descriptors(Column::ALL.into_iter().chain(scratch)));
        let db = db.map_err(|error| fault(path, None, &error))?;
        Ok(Self { db, path: path.to_owned(), purpose })
    }

    /// Opens a database that was made before.
    pub(crate) fn open(path: &Path, purpose: Purpose) -> Result<Self, StoreError> {
        if !path.join("CURRENT").is_file() {
            let detail = if path.is_dir() { "there is no database in it" } else { "there is no such directory" };
            return Err(StoreError::NotAStore { path: path.to_owned(), detail });
        }
        let options = tuning::database(purpose);
        let present = DB::list_cf(&options, path).map_err(|error| fault(path, None, &error))?;
        let present: BTreeSet<&str> = present.iter().map(String::as_str).collect();
        if !present.contains(Column::Meta.name()) {
            return Err(StoreError::NotAStore { path: path.to_owned(), detail: "its database is another program's" });
        }
        if let Some(missing) = Column::ALL.into_iter().find(|column| !present.contains(column.name())) {
            let detail = "the column is missing".to_owned();
            let column = Some(missing.name());
            return Err(StoreError::Corrupt(Box::new(Corruption {
                column,
                key: None,
                height: None,
                file: None,
                detail,
            })));
        }
        let columns = descriptors(Column::ALL);
        let db = match purpose {
            Purpose::Inspect => DB::open_cf_descriptors_read_only(&options, path, columns, false),
            Purpose::Keep | Purpose::Scratch => DB::open_cf_descriptors(&options, path, columns),
        };
        Ok(Self { db: db.map_err(|error| fault(path, None, &error))?, path: path.to_owned(), purpose })
    }

    /// Whether it is the scratch of a check.
    pub(crate) fn is_scratch(&self) -> bool {
        self.purpose == Purpose::Scratch
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The column, for batches.
    pub(crate) fn column(&self, column: Column) -> &ColumnFamily {
        self.db.cf_handle(column.name()).expect("a database is only ever opened with all columns")
    }

    /// The newest value of a row.
    pub(crate) fn get(&self, column: Column, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, StoreError> {
        self.db.get_pinned_cf(self.column(column), key).map_err(|error| self.fault(column, &error))
    }

    /// The value a row had when the snapshot was taken.
    pub(crate) fn get_at<'a>(
        &'a self,
        snapshot: &Snapshot<'a>,
        column: Column,
        key: &[u8],
    ) -> Result<Option<DBPinnableSlice<'a>>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_snapshot(snapshot);
        self.db.get_pinned_cf_opt(self.column(column), key, &options).map_err(|error| self.fault(column, &error))
    }

    /// The rows as they were when the snapshot was taken, from `from` on in `direction`.
    pub(crate) fn scan_at<'a>(
        &'a self,
        snapshot: &Snapshot<'a>,
        column: Column,
        from: &[u8],
        direction: Direction,
    ) -> impl Iterator<Item = Result<Row, StoreError>> + use<'a> {
        let mut options = ReadOptions::default();
        options.set_snapshot(snapshot);
        self.scan(options, column, IteratorMode::From(from, direction))
    }

    /// All rows, read from disk and past the cache: for checking.
    pub(crate) fn scan_all(&self, column: Column) -> impl Iterator<Item = Result<Row, StoreError>> + '_ {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_readahead_size(tuning::SCAN_READAHEAD_BYTES);
        self.scan(options, column, IteratorMode::Start)
    }

    fn scan<'a>(
        &'a self,
        options: ReadOptions,
        column: Column,
        mode: IteratorMode<'_>,
    ) -> impl Iterator<Item = Result<Row, StoreError>> + use<'a> {
        let rows: DBIteratorWithThreadMode<'a, DB> = self.db.iterator_cf_opt(self.column(column), options, mode);
        rows.map(move |row| row.map_err(|error| self.fault(column, &error)))
    }

    /// The rows as they are now, to be read together.
    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        self.db.snapshot()
    }

    /// Writes all of a batch or nothing; on disk when this returns.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        // Rows of one column come in key order for the most part: each is looked for beside the one before.
        options.set_memtable_insert_hint_per_batch(true);
        match self.purpose {
            Purpose::Keep => options.set_sync(true),
            Purpose::Inspect | Purpose::Scratch => options.disable_wal(true),
        }
        self.db.write_opt(batch, &options).map_err(|error| fault(&self.path, None, &error))
    }

    fn fault(&self, column: Column, error: &rocksdb::Error) -> StoreError {
        fault(&self.path, Some(column), error)
    }
}

fn descriptors(columns: impl IntoIterator<Item = Column>) -> Vec<ColumnFamilyDescriptor> {
    let memory = tuning::Memory::new();
    let descriptor = |column: Column| ColumnFamilyDescriptor::new(column.name(), tuning::column(column, &memory));
    columns.into_iter().map(descriptor).collect()
}

/// RocksDB says what happened in words only; these are the words, in one place. The system's own come
/// out of `strerror` and are the same everywhere we run.
fn fault(path: &Path, column: Option<Column>, error: &rocksdb::Error) -> StoreError {
    let words: &str = error.as_ref();
    let (path, detail) = (path.to_owned(), words.to_owned());
    let says = |any: &[&str]| any.iter().any(|phrase| words.contains(phrase));
    if says(&["No space left on device", "Disk quota exceeded", "File too large"]) {
        return StoreError::DiskFull { path, detail };
    }
    if says(&["Read-only file system", "Permission denied", "Operation not permitted"]) {
        return StoreError::ReadOnly { path, detail };
    }
    if says(&["/LOCK: "]) {
        return StoreError::Locked { path };
    }
    // A file that should be there and is not was deleted, or its name was: the lists of files are files.
    if error.kind() == ErrorKind::Corruption || says(&["No such file or directory", "checksum", "orrupt"]) {
        let column = column.map(Column::name);
        return StoreError::Corrupt(Box::new(Corruption {
            column,
            key: None,
            height: None,
            file: file_in(words),
            detail,
        }));
    }
    StoreError::Database { detail }
}

/// The database file a message names.
fn file_in(words: &str) -> Option<String> {
    let names = words.split(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | '(' | ')' | '"'));
    let names = names.filter_map(|word| word.rsplit('/').next());
    let mut files =
        names.filter(|name| name.ends_with(".sst") || name.ends_with(".log") || name.starts_with("MANIFEST-"));
    files.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::file_in;

    #[test]
    fn the_file_is_found_in_the_message() {
        let words = "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in /a/b/000012.sst offset 0 size 9";
        assert_eq!(file_in(words).as_deref(), Some("000012.sst"));
        assert_eq!(
            file_in("IO error: No such file or directory: While open: /a/MANIFEST-000005: x").as_deref(),
            Some("MANIFEST-000005")
        );
        assert_eq!(file_in("Corruption: nothing named"), None);
    }
}
