//! Keep the chain on disk.
//!
//! A store is one RocksDB directory: blocks with their certificates, the state and its tree, the
//! history, and the indexes people ask by. What a block writes is written in one atomic, synced batch,
//! so that after a crash at any point the store is exactly the chain up to the last block acknowledged,
//! or one more. This room does not know whether a block is valid, how it became final, or that there is
//! a network: it is handed an executed block and a certificate.
//!
//! Read first: [`Store`] (create, open, commit), [`View`] (ask, at one moment), [`fsck`] (is every
//! byte what it must be).

mod column;
mod commit;
mod database;
mod draft;
mod error;
mod fsck;
mod hot;
mod index;
mod lock;
mod meta;
mod prune;
mod query;
mod restore;
mod snapshot;
mod store;
mod tuning;
mod view;
mod wal;

pub use error::{Corruption, StoreError};
pub use fsck::{PROBLEMS_MAX, Progress, Report, fsck};
pub use prune::Pruned;
pub use query::{Cursor, Located, PAGE_ROWS_MAX, Page, ParseCursorError, ReceiptEntry, ReceiptFilter};
pub use restore::{RestoreError, Restored};
pub use snapshot::Whole;
pub use store::Store;
pub use view::View;
