//! The statements of a batch, by a connection without a thread of its own.
//!
//! ```text
//! BEGIN IMMEDIATE ─ lease? ─ deletes ─ upserts, one statement a kind and chunk ─ COMMIT (fsync)
//! ```
//!
//! sqlx runs SQLite on a thread of its own: each statement is a trip there and back, and each value is
//! packed twice. Here whoever writes calls SQLite itself. For a small batch that is the group's task: on a
//! quiet machine a wake-up takes as long as a third of the fsync that all of it is for. For a large one it
//! is the store's thread, beside which the next batch is decided.
//!
//! A statement for many rows costs less than as many statements. Their texts must be few, or SQLite would
//! parse more than it writes, so rows go in chunks of fixed sizes.
//!
//! Easy to get wrong: the group's thread also serves connections, so nothing here may wait for another
//! process. That a file is busy is said, and [`write`](super::write) tries again.

use std::path::Path;
use std::time::Duration;

use pactum_core::id::{Epoch, GroupName};
use pactum_core::saga::{DefinitionRow, SagaRow, StepRow};
use pactum_core::transaction::{BranchRow, ResourceRow, TransactionRow};
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params_from_iter};

use super::rows::{Table, ToRow, Values};
use crate::store::batch::Batch;

/// Rows a statement, largest first. SQLite gains nothing beyond 64.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];
/// All statements of all kinds, and the few others.
const CACHED_MAX: usize = 11 * CHUNKS.len() + 4;

const LEASE: &str = "SELECT 1 FROM lease WHERE group_name = ? AND epoch = ?";
const HORIZON: &str = "UPDATE lease SET horizon = max(horizon, ?) WHERE group_name = ?";

/// The connection that writes batches, with its statements.
#[derive(Debug)]
pub(super) struct Statements {
    connection: Connection,
    put_resources: Chunked,
    put_transactions: Chunked,
    put_branches: Chunked,
    put_definitions: Chunked,
    put_sagas: Chunked,
    put_steps: Chunked,
    delete_resources: Chunked,
    delete_transactions: Chunked,
    delete_branches: Chunked,
    delete_sagas: Chunked,
    delete_steps: Chunked,
}

/// What came of a batch.
#[derive(Debug)]
pub(super) enum Wrote {
    All,
    /// The lease is another epoch's: nothing.
    NotOurs,
    /// Somebody else has the file: nothing.
    Busy(rusqlite::Error),
}

impl Statements {
    pub(super) fn open(file: &Path, checkpoint_pages: u64, cache: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", checkpoint_pages.cast_signed())?;
        connection.pragma_update(None, "cache_size", cache)?;
        connection.set_prepared_statement_cache_capacity(CACHED_MAX);
        Ok(Statements {
            connection,
            put_resources: Chunked::put(ResourceRow::TABLE),
            put_transactions: Chunked::put(TransactionRow::TABLE),
            put_branches: Chunked::put(BranchRow::TABLE),
            put_definitions: Chunked::put(DefinitionRow::TABLE),
            put_sagas: Chunked::put(SagaRow::TABLE),
            put_steps: Chunked::put(StepRow::TABLE),
            delete_resources: Chunked::delete(ResourceRow::TABLE.name, "number"),
            delete_transactions: Chunked::delete(TransactionRow::TABLE.name, "xid"),
            delete_branches: Chunked::delete(BranchRow::TABLE.name, "xid"),
            delete_sagas: Chunked::delete(SagaRow::TABLE.name, "xid"),
            delete_steps: Chunked::delete(StepRow::TABLE.name, "xid"),
        })
    }

    /// Writes a batch. What is not committed when this returns is rolled back.
    pub(super) fn write(
        &mut self,
        group: &GroupName,
        epoch: Epoch,
        batch: &Batch,
    ) -> rusqlite::Result<Wrote> {
        // Takes the lock that every change of the lease needs, so no later statement finds the file busy.
        let behavior = TransactionBehavior::Immediate;
        let transaction = match rusqlite::Transaction::new(&mut self.connection, behavior) {
            Ok(transaction) => transaction,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                return Ok(Wrote::Busy(error));
            }
            Err(error) => return Err(error),
        };
        let lease = (group.as_str(), epoch.0.cast_signed());
        if !transaction.prepare_cached(LEASE)?.exists(lease)? {
            return Ok(Wrote::NotOurs);
        }
        if let Some(horizon) = batch.horizon {
            let horizon = (horizon.0.cast_signed(), group.as_str());
            transaction.prepare_cached(HORIZON)?.execute(horizon)?;
        }
        let pruned = || batch.pruned.iter().map(|xid| xid.0);
        let dropped = batch.dropped.iter().map(|number| u64::from(number.0));
        let id = |id, values: &mut Values<'_>| values.number(id);
        self.delete_branches.run(&transaction, pruned(), id)?;
        self.delete_sagas.run(&transaction, pruned(), id)?;
        self.delete_steps.run(&transaction, pruned(), id)?;
        self.delete_transactions.run(&transaction, pruned(), id)?;
        self.delete_resources.run(&transaction, dropped, id)?;
        self.put_resources.run(&transaction, batch.resources.values(), ToRow::to_row)?;
        self.put_transactions.run(&transaction, batch.transactions.values(), ToRow::to_row)?;
        self.put_branches.run(&transaction, batch.branches.values(), ToRow::to_row)?;
        self.put_definitions.run(&transaction, batch.definitions.iter(), ToRow::to_row)?;
        self.put_sagas.run(&transaction, batch.sagas.values(), ToRow::to_row)?;
        let steps = batch.steps.values().map(|row| &**row);
        self.put_steps.run(&transaction, steps, ToRow::to_row)?;
        transaction.commit()?;
        Ok(Wrote::All)
    }
}

/// A statement for many rows: its text for each chunk size.
#[derive(Debug)]
struct Chunked {
    /// Values a row.
    width: usize,
    texts: [String; CHUNKS.len()],
}

impl Chunked {
    fn put(table: Table) -> Self {
        let width = table.columns.len();
        Chunked { width, texts: CHUNKS.map(|rows| put(&table, rows)) }
    }

    /// Deletes the rows with these values in `column`.
    fn delete(table: &str, column: &str) -> Self {
        let text =
            |rows| format!("DELETE FROM {table} WHERE {column} IN ({})", repeated("?", rows));
        Chunked { width: 1, texts: CHUNKS.map(text) }
    }

    fn run<'r, R>(
        &self,
        connection: &Connection,
        rows: impl ExactSizeIterator<Item = R>,
        bind: impl Fn(R, &mut Values<'r>),
    ) -> rusqlite::Result<()> {
        let mut rows = rows;
        let mut values = Values::with_capacity(self.width * rows.len().min(CHUNKS[0]));
        for (size, text) in CHUNKS.iter().zip(&self.texts) {
            if rows.len() < *size {
                continue;
            }
            let mut statement = connection.prepare_cached(text)?;
            while rows.len() >= *size {
                values.clear();
                rows.by_ref().take(*size).for_each(|row| bind(row, &mut values));
                statement.execute(params_from_iter(values.iter()))?;
            }
        }
        Ok(())
    }
}

/// Puts this many rows: new ones are inserted, those that are there get every value anew.
fn put(table: &Table, rows: usize) -> String {
    let Table { name, key, columns, text: _ } = table;
    let row = format!("({})", repeated("?", columns.len()));
    let rows = repeated(&row, rows);
    let set: Vec<_> = columns
        .iter()
        .filter(|column| !key.split(", ").any(|part| part == **column))
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let (columns, set) = (columns.join(", "), set.join(", "));
    format!("INSERT INTO {name} ({columns}) VALUES {rows} ON CONFLICT ({key}) DO UPDATE SET {set}")
}

fn repeated(part: &str, times: usize) -> String {
    vec![part; times].join(", ")
}
