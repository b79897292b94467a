//! Writing a small batch as one text, in one trip to SQLite's thread and back.
//!
//! ```text
//! several kinds of row   BEGIN IMMEDIATE; lease? else fail; put transactions; put branches; …; COMMIT
//! one kind               put rows where lease?
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
use rustc_hash::FxHashMap;
use sqlx::SqlStr;
use sqlx::sqlite::SqliteConnection;

use super::rows::{BRANCH, TRANSACTION, Table, ToRow as _, Values};
use super::saga_rows::{SAGA, STEP};
use super::write::{leads, put, put_where, safe, unknown};
use crate::store::Error;
use crate::store::batch::Batch;

/// The most rows of each kind. 8: what sixteen callers at a time bring about, in a few dozen texts.
const ROWS_MAX: usize = 8;

/// Whether the lease is of our epoch, as a condition. Its parameters come last.
const HOLDS: &str = "EXISTS (SELECT 1 FROM lease WHERE group_name = ? AND epoch = ?)";
/// The same as a statement of its own. Its parameters come first. `json` refuses what is no JSON, and nothing after it is run.
const LEASE: &str = "SELECT json(iif(EXISTS (SELECT 1 FROM lease WHERE group_name = ? AND \
                     epoch = ?), '1', 'the lease is another epoch''s'))";

/// The kinds of row that small batches have.
const KINDS: [Table; 4] = [TRANSACTION, BRANCH, SAGA, STEP];

/// The texts of small batches, made when they are first needed.
#[derive(Debug, Default)]
pub(super) struct Small {
    /// By the number of rows of each kind.
    texts: FxHashMap<[usize; KINDS.len()], SqlStr>,
    /// Whether a text may have been left unfinished.
    unfinished: bool,
}

impl Small {
    fn text(&mut self, counts: [usize; KINDS.len()]) -> SqlStr {
        let make = || {
            let kinds = KINDS.iter().zip(counts).filter(|(_, rows)| *rows > 0);
            let kinds: Vec<_> = kinds.collect();
            safe(match kinds.as_slice() {
                [(table, rows)] => put_where(table, *rows, HOLDS),
                several => {
                    let puts = several.iter().map(|(table, rows)| put(table, *rows));
                    let puts = puts.collect::<Vec<_>>().join("; ");
                    format!("BEGIN IMMEDIATE; {LEASE}; {puts}; COMMIT")
                }
            })
        };
        self.texts.entry(counts).or_insert_with(make).clone()
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
        let Batch { pruned, horizon, dropped, resources, definitions, .. } = batch;
        let Batch { transactions, branches, sagas, steps, .. } = batch;
        let only_rows = horizon.is_none()
            && pruned.is_empty()
            && dropped.is_empty()
            && resources.is_empty()
            && definitions.is_empty();
        let counts = [transactions.len(), branches.len(), sagas.len(), steps.len()];
        let one_kind = match counts.iter().filter(|rows| **rows > 0).count() {
            0 => return None,
            kinds => kinds == 1,
        };
        if !only_rows || counts.iter().any(|rows| *rows > ROWS_MAX) {
            return None;
        }
        let text = self.text(counts);
        let widths = KINDS.iter().zip(counts).map(|(table, rows)| table.columns.len() * rows);
        let mut values = Values::with_capacity(widths.sum::<usize>() + 2);
        let lease = |values: &mut Values| {
            values.text(Some(group.as_str()));
            values.number(epoch.0);
        };
        if !one_kind {
            lease(&mut values);
        }
        transactions.values().for_each(|row| row.to_row(&mut values));
        branches.values().for_each(|row| row.to_row(&mut values));
        sagas.values().for_each(|row| row.to_row(&mut values));
        steps.values().for_each(|row| row.to_row(&mut values));
        if one_kind {
            lease(&mut values);
        }
        self.unfinished = !one_kind;
        let written = sqlx::query_with(text, values.0).execute(&mut *connection).await;
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
