//! Writing a small batch as one text, in one trip to SQLite's thread and back.
//!
//! ```text
//! BEGIN IMMEDIATE; lease? else fail; put transactions; put branches; COMMIT
//! ```
//!
//! A trip is two wake-ups, and a batch of one event in six trips spends far more time on them than on
//! its rows. Only common batches go this way, so that the texts stay few.
//!
//! Easy to get wrong: what a text leaves behind that does not come to its end, because a statement
//! failed or nobody waited for it any more: an open transaction, into which the next batch would
//! write. So whoever writes next first asks for it to be rolled back.

use pactum_core::id::{Epoch, GroupName};
use sqlx::SqlStr;
use sqlx::sqlite::SqliteConnection;

use super::rows::{BRANCH, TRANSACTION, Table, ToRow as _, Values};
use super::write::{leads, put, safe, unknown};
use crate::store::Error;
use crate::store::batch::Batch;

/// The most rows of each kind. 8: 80 texts, and what sixteen callers at a time bring about.
const ROWS_MAX: usize = 8;

/// `json` refuses what is no JSON, and nothing after it is run.
const LEASE: &str = "SELECT json(iif(EXISTS (SELECT 1 FROM lease WHERE group_name = ? AND \
                     epoch = ?), '1', 'the lease is another epoch''s'))";

/// The texts of small batches.
#[derive(Debug)]
pub(super) struct Small {
    /// By the number of transactions, then of branches.
    texts: Vec<Vec<SqlStr>>,
    /// Whether a text may have been left unfinished.
    unfinished: bool,
}

impl Small {
    pub(super) fn new() -> Self {
        let text = |transactions, branches| {
            let put = |table: &Table, rows: usize| match rows {
                0 => String::new(),
                rows => put(table, rows) + "; ",
            };
            let puts = put(&TRANSACTION, transactions) + &put(&BRANCH, branches);
            safe(format!("BEGIN IMMEDIATE; {LEASE}; {puts}COMMIT"))
        };
        let texts =
            |transactions| (0..=ROWS_MAX).map(move |rows| text(transactions, rows)).collect();
        let texts = (0..=ROWS_MAX).map(texts).collect();
        Small { texts, unfinished: false }
    }

    /// Rolls back what a text may have left open.
    pub(super) async fn leave_nothing(&mut self, connection: &mut SqliteConnection) {
        if self.unfinished {
            // Refused if nothing is open, which is as good.
            let _ = sqlx::raw_sql("ROLLBACK").execute(connection).await;
            self.unfinished = false;
        }
    }

    /// Writes the batch if it is small; `None` if it is not, or not only rows.
    ///
    /// Dropped before it returns, the batch is rolled back or lands as a whole.
    pub(super) async fn write(
        &mut self,
        connection: &mut SqliteConnection,
        group: &GroupName,
        epoch: Epoch,
        batch: &Batch,
    ) -> Option<Result<(), Error>> {
        let only_rows = batch.horizon.is_none()
            && batch.pruned.is_empty()
            && batch.dropped.is_empty()
            && batch.resources.is_empty();
        let text = self.texts.get(batch.transactions.len())?.get(batch.branches.len())?;
        if !only_rows {
            return None;
        }
        let width = TRANSACTION.columns.len() * batch.transactions.len()
            + BRANCH.columns.len() * batch.branches.len();
        let mut values = Values::with_capacity(width + 2);
        values.text(Some(group.as_str()));
        values.number(epoch.0);
        batch.transactions.values().for_each(|row| row.to_row(&mut values));
        batch.branches.values().for_each(|row| row.to_row(&mut values));
        self.unfinished = true;
        let written = sqlx::query_with(text.clone(), values.0).execute(&mut *connection).await;
        let Err(error) = written else {
            self.unfinished = false;
            return Some(Ok(()));
        };
        Some(self.failed(connection, group, epoch, error).await)
    }

    /// Whether the lease was the reason, seen once nothing is open any more.
    async fn failed(
        &mut self,
        connection: &mut SqliteConnection,
        group: &GroupName,
        epoch: Epoch,
        error: sqlx::Error,
    ) -> Result<(), Error> {
        self.leave_nothing(connection).await;
        match leads(connection, group, epoch).await {
            Ok(false) => Err(Error::Refused(epoch)),
            Ok(true) | Err(_) => Err(unknown(error)),
        }
    }
}
