//! Writing a small batch where it was decided: SQLite called by the group's task itself.
//!
//! ```text
//! BEGIN IMMEDIATE ─ lease? ─ put transactions, branches, sagas, steps ─ COMMIT (fsync)   one thread, no trip
//! ```
//!
//! sqlx runs SQLite on a thread of its own, so a statement is two wake-ups, and on a quiet machine a
//! wake-up takes as long as a third of the fsync that all of it is for. Nobody could use the group's
//! thread meanwhile but for the next batch, of which a quiet coordinator has none.
//!
//! Easy to get wrong: this thread also serves connections, so nothing here may wait for another
//! process. A file that is busy is left to the other connection, which waits for it elsewhere.

use std::path::Path;
use std::time::Duration;

use pactum_core::id::{Epoch, GroupName};
use rusqlite::{CachedStatement, Connection, ErrorCode, TransactionBehavior, params_from_iter};

use super::rows::{BRANCH, TRANSACTION, ToRow, Values};
use super::saga_rows::{SAGA, STEP};
use super::write::put;
use crate::store::Error;
use crate::store::batch::Batch;

/// The most rows. 64: half a millisecond, and more are written by another thread anyhow.
const ROWS_MAX: usize = 64;

const LEASE: &str = "SELECT 1 FROM lease WHERE group_name = ? AND epoch = ?";

/// The connection of small batches.
#[derive(Debug)]
pub(super) struct Small {
    connection: Connection,
    put_transaction: String,
    put_branch: String,
    put_saga: String,
    put_step: String,
}

impl Small {
    pub(super) fn open(file: &Path, checkpoint_pages: u64, cache: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", checkpoint_pages.cast_signed())?;
        connection.pragma_update(None, "cache_size", cache)?;
        Ok(Small {
            connection,
            put_transaction: put(&TRANSACTION, 1),
            put_branch: put(&BRANCH, 1),
            put_saga: put(&SAGA, 1),
            put_step: put(&STEP, 1),
        })
    }

    /// Writes the batch if it is small; `None` if it is not, or not only rows, or the file is busy.
    pub(super) fn write(
        &mut self,
        group: &GroupName,
        epoch: Epoch,
        batch: &Batch,
    ) -> Option<Result<(), Error>> {
        let Batch { pruned, horizon, dropped, resources, definitions, .. } = batch;
        let Batch { transactions, branches, sagas, steps, .. } = batch;
        let only_rows = horizon.is_none()
            && pruned.is_empty()
            && dropped.is_empty()
            && resources.is_empty()
            && definitions.is_empty()
            && transactions.len() + branches.len() + sagas.len() + steps.len() <= ROWS_MAX;
        if !only_rows {
            return None;
        }
        match self.write_rows(group, epoch, batch) {
            Ok(Wrote::All) => Some(Ok(())),
            Ok(Wrote::NotOurs) => Some(Err(Error::Refused(epoch))),
            Ok(Wrote::Busy) => None,
            Err(error) => Some(Err(Error::Unknown(Box::new(error)))),
        }
    }

    /// What is not committed when this returns is rolled back.
    fn write_rows(
        &mut self,
        group: &GroupName,
        epoch: Epoch,
        batch: &Batch,
    ) -> rusqlite::Result<Wrote> {
        let Small { connection, put_transaction, put_branch, put_saga, put_step } = self;
        // Takes the lock that every change of the lease needs.
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = match begun {
            Ok(transaction) => transaction,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                return Ok(Wrote::Busy);
            }
            Err(error) => return Err(error),
        };
        let lease = (group.as_str(), epoch.0.cast_signed());
        if !transaction.prepare_cached(LEASE)?.exists(lease)? {
            return Ok(Wrote::NotOurs);
        }
        put_all(transaction.prepare_cached(put_transaction)?, batch.transactions.values())?;
        put_all(transaction.prepare_cached(put_branch)?, batch.branches.values())?;
        put_all(transaction.prepare_cached(put_saga)?, batch.sagas.values())?;
        let steps = batch.steps.values().map(|row| &**row);
        put_all(transaction.prepare_cached(put_step)?, steps)?;
        transaction.commit()?;
        Ok(Wrote::All)
    }
}

enum Wrote {
    All,
    /// The lease is another epoch's: nothing.
    NotOurs,
    /// Somebody else has the file: nothing.
    Busy,
}

fn put_all<'a, R: ToRow + 'a>(
    mut put: CachedStatement<'_>,
    rows: impl Iterator<Item = &'a R>,
) -> rusqlite::Result<()> {
    let mut values = Values::with_capacity(R::TABLE.columns.len());
    for row in rows {
        values.clear();
        row.to_row(&mut values);
        put.execute(params_from_iter(values.iter()))?;
    }
    Ok(())
}
