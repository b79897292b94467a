//! Writing: the lease, the ids, and each batch as one transaction.
//!
//! Batches go by a connection without a thread of its own ([`statements`](super::statements)); the lease and
//! the ids, which are rare, by sqlx. The two never write at the same time.

use std::time::Duration;

use pactum_core::event::IdBlock;
use pactum_core::id::{Epoch, GroupName, StoreId, XidNumber};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection as _, Row as _, Sqlite, Transaction};
use tokio::time::{Instant, sleep};

use super::open::BUSY_TIMEOUT;
use super::statements::{Statements, Wrote};
use crate::store::batch::Batch;
use crate::store::{Error, Lease, ids};

/// How long to wait before a busy file is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The two connections that write, never at the same time.
#[derive(Debug)]
pub(super) struct Writer {
    connection: SqliteConnection,
    group: GroupName,
    store_id: StoreId,
    statements: Statements,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        statements: Statements,
        group: GroupName,
        store_id: StoreId,
    ) -> Self {
        Writer { connection, group, store_id, statements }
    }

    pub(super) async fn close(self) {
        drop(self.statements);
        // What is not closed in order is recovered at the next start.
        let _ = self.connection.close().await;
    }

    pub(super) async fn lead(&mut self) -> Result<Lease, Error> {
        let mut transaction = begin(&mut self.connection).await?;
        let raised = sqlx::query(
            "UPDATE lease SET epoch = epoch + 1 WHERE group_name = ? RETURNING epoch, horizon",
        );
        let lease = raised.bind(self.group.as_str()).fetch_one(&mut *transaction).await;
        let lease = lease.map_err(unknown)?;
        let epoch = Epoch(unsigned(&lease, 0)?);
        let horizon = XidNumber(unsigned(&lease, 1)?);
        transaction.commit().await.map_err(unknown)?;
        Ok(Lease { store_id: self.store_id, epoch, horizon })
    }

    pub(super) async fn reserve_ids(
        &mut self,
        epoch: Epoch,
        wall: WallTime,
        xids: u64,
        branches: u64,
    ) -> Result<(IdBlock, IdBlock), Error> {
        let mut transaction = begin(&mut self.connection).await?;
        let ends =
            sqlx::query("SELECT xid_end, branch_end FROM lease WHERE group_name = ? AND epoch = ?");
        let ends = ends.bind(self.group.as_str()).bind(epoch.0.cast_signed());
        let ends = ends.fetch_optional(&mut *transaction).await.map_err(unknown)?;
        let ends = ends.ok_or(Error::Refused(epoch))?;
        let mut ends = ids::Ends { xid: unsigned(&ends, 0)?, branch: unsigned(&ends, 1)? };
        let blocks = ends.reserve(wall, xids, branches)?;
        sqlx::query("UPDATE lease SET xid_end = ?, branch_end = ? WHERE group_name = ?")
            .bind(ends.xid.cast_signed())
            .bind(ends.branch.cast_signed())
            .bind(self.group.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(unknown)?;
        transaction.commit().await.map_err(unknown)?;
        Ok(blocks)
    }

    /// Dropped while it waits for a busy file, nothing is written.
    pub(super) async fn write(&mut self, epoch: Epoch, writes: Vec<Write>) -> Result<(), Error> {
        let batch = Batch::new(writes);
        let until = Instant::now() + BUSY_TIMEOUT;
        loop {
            match self.statements.write(&self.group, epoch, &batch) {
                Ok(Wrote::All) => return Ok(()),
                Ok(Wrote::NotOurs) => return Err(Error::Refused(epoch)),
                Ok(Wrote::Busy(_)) if Instant::now() < until => sleep(BUSY_PAUSE).await,
                Ok(Wrote::Busy(error)) | Err(error) => {
                    return Err(Error::Unknown(Box::new(error)));
                }
            }
        }
    }
}

/// Begins the one transaction that may write now. SQLite takes its lock here, after it has waited
/// for whoever has opened the file by hand, so no later statement can find the file busy.
async fn begin(connection: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>, Error> {
    connection.begin_with("BEGIN IMMEDIATE").await.map_err(unknown)
}

fn unknown(error: sqlx::Error) -> Error {
    Error::Unknown(Box::new(error))
}

fn unsigned(row: &SqliteRow, column: usize) -> Result<u64, Error> {
    let number: i64 = row.try_get(column).map_err(unknown)?;
    u64::try_from(number).map_err(|_| Error::Corrupt(format!("number {number} in the lease")))
}
