//! The embedded store: one SQLite file in the data directory, written by one process.
//!
//! ```text
//! data directory ── LOCK          held by the process that uses it: this is the lease
//!                ├─ pactum.db      the rows
//!                └─ pactum.db-wal  what was committed since the last checkpoint
//! ```
//!
//! - `open`: the directory, the lock, the schema, and the checkpoint before the first answer.
//! - `write`: the lease, the ids, batches; `statements`: a batch as few statements, without SQLite's thread.
//! - `read`: the group at start, and searches beside the writes.
//! - `rows`: columns and values.
//!
//! **To ensure correctness:** WAL with `synchronous = FULL`: a commit returns when the log is
//! synced. A file that somebody else keeps busy is waited for (30 s). If a write fails, nothing more may
//! be read or answered from this process: [`AfterUnknown::EndProcess`].

mod open;
mod read;
mod read_sagas;
mod rows;
mod saga_rows;
mod statements;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};

use pactum_core::event::IdBlock;
use pactum_core::id::{Epoch, GroupName, StoreId, XidNumber};
use pactum_core::recovery::Found;
use pactum_core::saga::{SagaRow, StepRow};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{BranchRow, TransactionRow};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::Mutex;

use super::{AfterUnknown, Error, Lease, Listed, Search, Seed, Store};
pub use open::OpenError;
use write::Writer;

/// The embedded store.
#[derive(Debug)]
pub struct SqliteStore {
    directory: PathBuf,
    store_id: StoreId,
    writer: Mutex<Writer>,
    /// For searches, which never stand before a write.
    readers: SqlitePool,
    reading: SqliteConnectOptions,
    /// Held while the store is open, and given up by the system if the process dies.
    _lock: File,
}

impl SqliteStore {
    /// Opens the store of a group in `directory`; both are created if they are not there, and only
    /// then is the seed used.
    ///
    /// # Errors
    /// [`OpenError`]: most of all if another process uses the directory.
    pub async fn open(directory: &Path, group: &GroupName, seed: Seed) -> Result<Self, OpenError> {
        open::open(directory, group, seed).await
    }

    /// The directory that it lives in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its identity, random from its creation.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// Writes what is in the log into the file and closes both. A store that is only dropped loses
    /// nothing; the next start has a little more to do.
    pub async fn close(self) {
        self.readers.close().await;
        self.writer.into_inner().close().await;
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn lead(&self) -> Result<Lease, Error> {
        self.writer.lock().await.lead().await
    }

    async fn reserve_ids(
        &self,
        epoch: Epoch,
        wall: WallTime,
        xids: u64,
        branches: u64,
    ) -> Result<(IdBlock, IdBlock), Error> {
        self.writer.lock().await.reserve_ids(epoch, wall, xids, branches).await
    }

    /// Keeps the thread until the batch is durable; waits only while somebody else has the file. Dropped
    /// then, nothing is written.
    async fn write(&self, epoch: Epoch, batch: Vec<Write>) -> Result<(), Error> {
        self.writer.lock().await.write(epoch, batch).await
    }

    fn after_unknown(&self) -> AfterUnknown {
        AfterUnknown::EndProcess
    }

    async fn load(&self) -> Result<Found, Error> {
        read::load(&self.reading).await
    }

    async fn search(&self, search: Search) -> Result<Vec<Listed>, Error> {
        read::search(&self.readers, search).await
    }

    async fn transaction(
        &self,
        xid: XidNumber,
    ) -> Result<Option<(TransactionRow, Vec<BranchRow>)>, Error> {
        read::transaction(&self.readers, xid).await
    }

    async fn saga(&self, xid: XidNumber) -> Result<Option<(SagaRow, Vec<StepRow>)>, Error> {
        read_sagas::saga(&self.readers, xid).await
    }
}

#[cfg(test)]
mod tests;
