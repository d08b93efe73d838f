//! How RocksDB is set up. Four nodes may share one machine: everything that grows has a bound here.

use crate::column::Column;
use crate::database::Purpose;
use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, DataBlockIndexType, LogLevel, Options};

/// Blocks of all columns kept in memory together.
const BLOCK_CACHE_BYTES: usize = 64 << 20;
/// Tree nodes kept for the next blocks: all inner nodes over half a million records.
pub(crate) const HOT_NODES_BYTES: usize = 48 << 20;
/// Records kept for the next blocks.
pub(crate) const HOT_RECORDS_BYTES: usize = 24 << 20;
/// Rows of all columns in memory and not yet in sorted files, together.
const MEMTABLES_BYTES: usize = 64 << 20;
/// Rows of one busy column before a sorted file is made of them.
const MEMTABLE_BYTES: usize = 16 << 20;
/// The same for a column that gets few bytes per block.
const SMALL_MEMTABLE_BYTES: usize = 4 << 20;
/// Log written before the columns that hold it up are made into sorted files: bounds the time it takes
/// to open after a crash.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// Logs kept to be written over. A log written over keeps its size and its place on the disk, so that
/// syncing it is syncing data only; one that grows makes the file system journal as well.
const WAL_FILES_RECYCLED: usize = 4;
/// Files open at once.
const OPEN_FILES_MAX: i32 = 512;
/// Files are handed to the disk in portions of this size while they are written, so that finishing one
/// does not hold up the next commit's sync.
const BYTES_PER_SYNC: u64 = 1 << 20;
/// Threads that make and merge sorted files.
const BACKGROUND_JOBS: i32 = 2;
/// RocksDB's own log: warnings only, two files.
const INFO_LOG_BYTES_MAX: usize = 1 << 20;
const INFO_LOG_FILES_MAX: usize = 2;
/// Ten bits a key: one lookup in a hundred for a key that is not there reads for nothing.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Share of a memtable that says which keys it does not have.
const MEMTABLE_BLOOM_RATIO: f64 = 0.02;
/// What a whole-column scan reads at once.
pub(crate) const SCAN_READAHEAD_BYTES: usize = 2 << 20;

/// What all columns share.
pub(crate) struct Memory {
    cache: Cache,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { cache: Cache::new_lru_cache(BLOCK_CACHE_BYTES) }
    }
}

/// Options of the whole database.
pub(crate) fn database(purpose: Purpose) -> Options {
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(MEMTABLES_BYTES);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    // A torn last batch is cut off; that nothing but the last is torn, `wal` checks first.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_recycle_log_file_num(if purpose == Purpose::Keep { WAL_FILES_RECYCLED } else { 0 });
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_keep_log_file_num(INFO_LOG_FILES_MAX);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// Options of one column.
pub(crate) fn column(column: Column, memory: &Memory) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&memory.cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(if is_busy(column) { MEMTABLE_BYTES } else { SMALL_MEMTABLE_BYTES });
    if is_filtered(column) {
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
        options.set_memtable_whole_key_filtering(true);
    }
    if is_asked_by_key(column) {
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    }
    options.set_block_based_table_factory(&table);
    options
}

/// Gets many bytes with every block.
const fn is_busy(column: Column) -> bool {
    matches!(column, Column::Transactions | Column::TransactionIds | Column::Records | Column::Nodes | Column::History)
}

/// Has filters that say what is not there: every new transaction is asked for before it is there; every
/// first receipt and every enrolment asks for a record that is not there.
const fn is_filtered(column: Column) -> bool {
    matches!(column, Column::TransactionIds | Column::Records)
}

const fn is_asked_by_key(column: Column) -> bool {
    matches!(column, Column::TransactionIds | Column::Records | Column::Nodes | Column::Outcomes)
}
