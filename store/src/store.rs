//! The store: made once, opened by one process at a time, grown block by block.

use crate::column::{Column, numeric};
use crate::commit::{Batch, HASH_BYTES, PAGE_HASHES, block_batch, genesis_batch};
use crate::database::{Database, Purpose};
use crate::draft::{Draft, is_free};
use crate::error::StoreError;
use crate::hot::Hot;
use crate::lock::{Lock, file_error};
use crate::view::View;
use crate::{meta, tuning, wal};
use ledger::certificate::Certificate;
use ledger::execution::{ExecutedBlock, Tip};
use ledger::genesis::GenesisBlock;
use ledger::history::HistoryStorage;
use ledger::id::{ChainId, Digest, TransactionId};
use ledger::state::StateKey;
use ledger::state::storage::{StateStorage, StorageError};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

/// A chain on disk. Share it behind an `Arc`: one thread commits, any number reads.
///
/// Its own readers ([`StateStorage`], [`HistoryStorage`]) read the newest rows one by one: they are for the
/// thread that commits. Whoever needs several answers to fit together asks a [`View`].
pub struct Store {
    database: Database,
    chain_id: ChainId,
    genesis: Vec<u8>,
    tip: RwLock<Tip>,
    records: Hot,
    nodes: Hot,
    /// Held while a block is written; says whether an earlier one failed.
    stopped: Mutex<bool>,
    /// Given back after the database is closed: fields are dropped in this order.
    _lock: Lock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.database.path()).field("chain_id", &self.chain_id).finish()
    }
}

impl Store {
    /// Makes a store that begins with a genesis, and opens it. It is put together beside `path` and
    /// then moved there, so that a crash leaves a whole store or none.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when `path` is anything but missing or an empty directory; what else
    /// the disk says.
    pub fn create(path: impl AsRef<Path>, genesis: &GenesisBlock) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !is_free(path)? {
            return Err(StoreError::AlreadyExists { path: path.to_owned() });
        }
        let ((), lock) = Draft::begin(path)?.complete_locked(|draft| {
            let database = Database::create(draft, Purpose::Keep)?;
            database.write(genesis_batch(&database, genesis).into_rows())
        })?;
        Self::over(Database::open(path, Purpose::Keep)?, lock)
    }

    /// Opens a store. What an interrupted creation left beside it is removed.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`], [`StoreError::Locked`], [`StoreError::ReadOnly`],
    /// [`StoreError::Schema`], [`StoreError::Corrupt`]; what else the disk says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Err(StoreError::NotAStore { path: path.to_owned(), detail: "there is no such directory" });
        }
        if !path.join("CURRENT").is_file() {
            return Err(StoreError::NotAStore { path: path.to_owned(), detail: "there is no database in it" });
        }
        let lock = Lock::take(path)?;
        Draft::remove_left_behind(path)?;
        wal::check(path)?;
        Self::over(Database::open(path, Purpose::Keep)?, lock)
    }

    /// Makes an empty chain beside the one being checked, to derive that one again in.
    pub(crate) fn scratch(path: &Path, genesis: &GenesisBlock) -> Result<Self, StoreError> {
        if !is_free(path)? {
            return Err(StoreError::AlreadyExists { path: path.to_owned() });
        }
        fs::create_dir_all(path).map_err(|source| file_error(path, source))?;
        let lock = Lock::take(path)?;
        let database = Database::create(path, Purpose::Scratch)?;
        database.write(genesis_batch(&database, genesis).into_rows())?;
        Self::over(database, lock)
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    fn over(database: Database, lock: Lock) -> Result<Self, StoreError> {
        meta::check_schema(&database)?;
        let genesis = meta::required(&database, meta::GENESIS_KEY)?;
        let chain_id = meta::chain_id(&database, &genesis)?;
        let tip = meta::parse_tip(&meta::required(&database, meta::TIP_KEY)?)?;
        Ok(Self {
            database,
            chain_id,
            genesis,
            tip: RwLock::new(tip),
            records: Hot::of_read(tuning::HOT_RECORDS_BYTES),
            nodes: Hot::of_all(tuning::HOT_NODES_BYTES),
            stopped: Mutex::new(false),
            _lock: lock,
        })
    }

    /// The ledger's id.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// The bytes of the genesis file.
    #[must_use]
    pub fn genesis_bytes(&self) -> &[u8] {
        &self.genesis
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.database.path()
    }

    /// The newest end of the chain.
    #[must_use]
    pub fn tip(&self) -> Tip {
        self.tip.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The chain as it is now, to be asked any number of questions that fit together while blocks go on
    /// being committed. Holds old rows on disk as long as it lives: take one per request, not per
    /// program.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View::new(&self.database, Some(&self.nodes))
    }

    /// Adds a block: on disk, whole, when this returns.
    ///
    /// # Errors
    /// [`StoreError::NotNext`] and [`StoreError::OtherCertificate`] when block, tip and certificate do not
    /// belong together: nothing is written then. After any other error the block is on disk or not, and
    /// only opening the store again tells: [`StoreError::Stopped`] until then.
    pub fn commit(&self, executed: &ExecutedBlock, certificate: &Certificate) -> Result<(), StoreError> {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if *stopped {
            return Err(StoreError::Stopped);
        }
        check_place(&self.tip(), executed, certificate)?;
        let written = block_batch(&self.database, executed, certificate).and_then(|batch| self.database.write(batch));
        *stopped = written.is_err();
        written?;
        let update = &executed.state;
        self.records.commit(update.records.iter().map(|(key, record)| (&key.0[..], &record[..])), [].into_iter());
        self.nodes.commit(
            update.nodes.iter().map(|(key, node)| (&key[..], &node[..])),
            update.stale.iter().map(|key| &key[..]),
        );
        *self.tip.write().unwrap_or_else(PoisonError::into_inner) = executed.tip();
        Ok(())
    }
}

impl Store {
    /// Writes rows that no block writes. After a failure the store stops, as after that of a block.
    pub(crate) fn write_beside_blocks(&self, batch: Batch<'_>) -> Result<(), StoreError> {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if *stopped {
            return Err(StoreError::Stopped);
        }
        let written = self.database.write(batch.into_rows());
        *stopped = written.is_err();
        written
    }

    /// A row of a column that is asked for again and again.
    fn row(&self, hot: &Hot, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let moment = match hot.get(key) {
            Ok(row) => return Ok(Some(row)),
            Err(moment) => moment,
        };
        let Some(row) = self.database.get(column, key)? else { return Ok(None) };
        hot.fill(moment, key, &row);
        Ok(Some(row.to_vec()))
    }
}

/// That block, tip and certificate belong together. Not whether any of them is valid.
fn check_place(tip: &Tip, executed: &ExecutedBlock, certificate: &Certificate) -> Result<(), StoreError> {
    let header = &executed.block.header;
    let (height, parent, tip_hash) = (header.height, header.parent, tip.header.hash());
    if height != tip.header.height + 1 || parent != tip_hash {
        return Err(StoreError::NotNext { height, parent, tip_height: tip.header.height, tip: tip_hash });
    }
    let block = header.hash();
    if certificate.height != height || certificate.block != block {
        let (certified_height, certified) = (certificate.height, certificate.block);
        return Err(StoreError::OtherCertificate { height, block, certified_height, certified });
    }
    Ok(())
}

impl StateStorage for Store {
    fn record(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.row(&self.records, Column::Records, &key.0)?)
    }

    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.row(&self.nodes, Column::Nodes, key)?)
    }

    fn is_finalised(&self, id: &TransactionId) -> Result<bool, StorageError> {
        Ok(self.database.get(Column::TransactionIds, id.as_bytes())?.is_some())
    }
}

impl HistoryStorage for Store {
    fn history_hash(&self, index: u64) -> Result<Option<Digest>, StorageError> {
        let page = self.database.get(Column::History, &numeric(index / PAGE_HASHES))?;
        Ok(page.and_then(|page| hash_in(&page, index)))
    }
}

/// The hash with stored-hash index `index` in its page, if the page reaches that far.
pub(crate) fn hash_in(page: &[u8], index: u64) -> Option<Digest> {
    let from = (index % PAGE_HASHES) as usize * HASH_BYTES;
    let hash = page.get(from..from + HASH_BYTES)?;
    Some(Digest(hash.try_into().ok()?))
}
