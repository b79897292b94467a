//! Writing a small batch as one text, in one trip to SQLite's thread and back.
//!
//! ```text
//! both kinds of row   BEGIN IMMEDIATE; lease? else fail; put transactions; put branches; COMMIT
//! one kind            put rows where lease?
//! ```
//!
//! A trip is two wake-ups, and a batch of one event in six trips spends far more time on them than on
//! its rows. Each statement of a text wakes whoever waits for it as well, so rows of one kind, which is
//! what a decision is and most registrations are, go as one statement that is its own transaction.
//! Only common batches go this way, so that the texts stay few.
//!
//! Easy to get wrong: what a text leaves behind that does not come to its end, because a statement
//! failed or nobody waited for it any more: an open transaction, into which the next batch would
//! write. So whoever writes next first asks for it to be rolled back.

use pactum_core::id::{Epoch, GroupName};
use sqlx::SqlStr;
use sqlx::sqlite::SqliteConnection;

use super::rows::{BRANCH, TRANSACTION, ToRow as _, Values};
use super::write::{leads, put, put_where, safe, unknown};
use crate::store::Error;
use crate::store::batch::Batch;

/// The most rows of each kind. 8: 80 texts, and what sixteen callers at a time bring about.
const ROWS_MAX: usize = 8;

/// Whether the lease is of our epoch, as a condition. Its parameters come last.
const HOLDS: &str = "EXISTS (SELECT 1 FROM lease WHERE group_name = ? AND epoch = ?)";
/// The same as a statement of its own. Its parameters come first. `json` refuses what is no JSON, and nothing after it is run.
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
        let text = |transactions, branches| match (transactions, branches) {
            (rows, 0) => safe(put_where(&TRANSACTION, rows, HOLDS)),
            (0, rows) => safe(put_where(&BRANCH, rows, HOLDS)),
            (transactions, branches) => {
                let (transactions, branches) =
                    (put(&TRANSACTION, transactions), put(&BRANCH, branches));
                safe(format!("BEGIN IMMEDIATE; {LEASE}; {transactions}; {branches}; COMMIT"))
            }
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
        let Batch { pruned, horizon, dropped, resources, transactions, branches } = batch;
        let only_rows = horizon.is_none()
            && pruned.is_empty()
            && dropped.is_empty()
            && resources.is_empty()
            && !(transactions.is_empty() && branches.is_empty());
        let text = self.texts.get(transactions.len())?.get(branches.len())?;
        if !only_rows {
            return None;
        }
        let one_kind = transactions.is_empty() || branches.is_empty();
        let width =
            TRANSACTION.columns.len() * transactions.len() + BRANCH.columns.len() * branches.len();
        let mut values = Values::with_capacity(width + 2);
        let lease = |values: &mut Values| {
            values.text(Some(group.as_str()));
            values.number(epoch.0);
        };
        if !one_kind {
            lease(&mut values);
        }
        transactions.values().for_each(|row| row.to_row(&mut values));
        branches.values().for_each(|row| row.to_row(&mut values));
        if one_kind {
            lease(&mut values);
        }
        self.unfinished = !one_kind;
        let written = sqlx::query_with(text.clone(), values.0).execute(&mut *connection).await;
        Some(match written {
            Ok(done) if one_kind && done.rows_affected() == 0 => Err(Error::Refused(epoch)),
            Ok(_) => {
                self.unfinished = false;
                Ok(())
            }
            Err(error) => self.failed(connection, group, epoch, error).await,
        })
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
