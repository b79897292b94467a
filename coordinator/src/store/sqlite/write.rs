//! Writing: each batch is one transaction of a few statements.
//!
//! ```text
//! BEGIN IMMEDIATE ─ lease? ─ deletes ─ upserts, one statement a kind and chunk ─ COMMIT (fsync)
//! ```
//!
//! A statement for many rows costs a tenth of as many statements. Their texts must be few, or
//! SQLite would parse more than it writes, so rows go in chunks of fixed sizes.
//!
//! A small batch, which is what a quiet coordinator writes, goes by a connection without a thread of
//! its own (`small`): each trip to SQLite's thread and back costs more than the work it is made for.

use pactum_core::event::IdBlock;
use pactum_core::id::{Epoch, GroupName, StoreId, XidNumber};
use pactum_core::saga::{DefinitionRow, SagaRow, StepRow};
use pactum_core::step::Write;
use pactum_core::time::WallTime;
use pactum_core::transaction::{BranchRow, ResourceRow, TransactionRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{
    AssertSqlSafe, Connection as _, Row as _, SqlSafeStr as _, SqlStr, Sqlite, Transaction,
};

use super::rows::{Table, ToRow, Values};
use super::small::Small;
use crate::store::batch::Batch;
use crate::store::{Error, Lease, ids};

/// Rows a statement, largest first. SQLite itself gains nothing beyond 64, but every statement is a
/// trip to its thread and back, which on busy cores waits for its turn. By halves from 256 on, the
/// rows of a large batch take five or six trips; with [64, 16, 4, 1] it was ten. The figures are in
/// docs/performance.md.
const CHUNKS: [usize; 9] = [256, 128, 64, 32, 16, 8, 4, 2, 1];

/// The two connections that write, never at the same time.
#[derive(Debug)]
pub(super) struct Writer {
    connection: SqliteConnection,
    group: GroupName,
    store_id: StoreId,
    statements: Statements,
    small: Small,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        small: Small,
        group: GroupName,
        store_id: StoreId,
    ) -> Self {
        Writer { connection, group, store_id, statements: Statements::new(), small }
    }

    pub(super) async fn close(self) {
        drop(self.small);
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

    pub(super) async fn write(&mut self, epoch: Epoch, writes: Vec<Write>) -> Result<(), Error> {
        let batch = Batch::new(writes);
        if let Some(written) = self.small.write(&self.group, epoch, &batch) {
            return written;
        }
        let mut transaction = begin(&mut self.connection).await?;
        // BEGIN IMMEDIATE has taken the lock that every change of the lease needs.
        if !leads(&mut transaction, &self.group, epoch).await? {
            return Err(Error::Refused(epoch));
        }
        let group = self.group.as_str();
        let written = self.statements.write(&mut transaction, group, &batch).await;
        written.map_err(unknown)?;
        transaction.commit().await.map_err(unknown)
    }
}

/// Begins the one transaction that may write now. SQLite takes its lock here, after it has waited
/// for whoever has opened the file by hand, so no later statement can find the file busy.
async fn begin(connection: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>, Error> {
    connection.begin_with("BEGIN IMMEDIATE").await.map_err(unknown)
}

/// Whether the lease is still of this epoch.
async fn leads(
    connection: &mut SqliteConnection,
    group: &GroupName,
    epoch: Epoch,
) -> Result<bool, Error> {
    let ours = sqlx::query("SELECT 1 FROM lease WHERE group_name = ? AND epoch = ?");
    let ours = ours.bind(group.as_str()).bind(epoch.0.cast_signed());
    Ok(ours.fetch_optional(connection).await.map_err(unknown)?.is_some())
}

fn unknown(error: sqlx::Error) -> Error {
    Error::Unknown(Box::new(error))
}

fn unsigned(row: &SqliteRow, column: usize) -> Result<u64, Error> {
    let number: i64 = row.try_get(column).map_err(unknown)?;
    u64::try_from(number).map_err(|_| Error::Corrupt(format!("number {number} in the lease")))
}

/// The statements that change rows.
#[derive(Debug)]
struct Statements {
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

impl Statements {
    fn new() -> Self {
        Statements {
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
        }
    }

    async fn write(
        &self,
        connection: &mut SqliteConnection,
        group: &str,
        batch: &Batch,
    ) -> sqlx::Result<()> {
        if let Some(horizon) = batch.horizon {
            sqlx::query("UPDATE lease SET horizon = max(horizon, ?) WHERE group_name = ?")
                .bind(horizon.0.cast_signed())
                .bind(group)
                .execute(&mut *connection)
                .await?;
        }
        let pruned = || batch.pruned.iter().map(|xid| xid.0);
        let dropped = batch.dropped.iter().map(|number| u64::from(number.0));
        self.delete_branches.run(connection, pruned(), |id, values| values.number(id)).await?;
        self.delete_sagas.run(connection, pruned(), |id, values| values.number(id)).await?;
        self.delete_steps.run(connection, pruned(), |id, values| values.number(id)).await?;
        self.delete_transactions.run(connection, pruned(), |id, values| values.number(id)).await?;
        self.delete_resources.run(connection, dropped, |id, values| values.number(id)).await?;
        self.put_resources.run(connection, batch.resources.values(), ToRow::to_row).await?;
        self.put_transactions.run(connection, batch.transactions.values(), ToRow::to_row).await?;
        self.put_branches.run(connection, batch.branches.values(), ToRow::to_row).await?;
        self.put_definitions.run(connection, batch.definitions.iter(), ToRow::to_row).await?;
        self.put_sagas.run(connection, batch.sagas.values(), ToRow::to_row).await?;
        let steps = batch.steps.values().map(|row| &**row);
        self.put_steps.run(connection, steps, ToRow::to_row).await
    }
}

/// A statement for many rows: its text for each chunk size.
#[derive(Debug)]
struct Chunked {
    /// Values a row.
    width: usize,
    texts: [SqlStr; CHUNKS.len()],
}

impl Chunked {
    fn put(table: Table) -> Self {
        let width = table.columns.len();
        Chunked { width, texts: CHUNKS.map(|rows| put(&table, rows)).map(safe) }
    }

    /// Deletes the rows with these values in `column`.
    fn delete(table: &str, column: &str) -> Self {
        let text =
            |rows| format!("DELETE FROM {table} WHERE {column} IN ({})", repeated("?", rows));
        Chunked { width: 1, texts: CHUNKS.map(text).map(safe) }
    }

    async fn run<R>(
        &self,
        connection: &mut SqliteConnection,
        rows: impl ExactSizeIterator<Item = R>,
        bind: impl Fn(R, &mut Values),
    ) -> sqlx::Result<()> {
        let mut rows = rows;
        for (size, text) in CHUNKS.iter().zip(&self.texts) {
            while rows.len() >= *size {
                let mut values = Values::with_capacity(size * self.width);
                rows.by_ref().take(*size).for_each(|row| bind(row, &mut values));
                sqlx::query_with(text.clone(), values.into_arguments())
                    .execute(&mut *connection)
                    .await?;
            }
        }
        Ok(())
    }
}

/// Puts this many rows: new ones are inserted, those that are there get every value anew.
pub(super) fn put(table: &Table, rows: usize) -> String {
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

/// Only names and placeholders of ours go into these texts.
fn safe(text: String) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
}
