//! The bare limit of the store: the fewest rows that the protocol needs, and nothing else.
//!
//! The schema, the settings and the durability are the coordinator's; the statements are the
//! cheapest that write those rows. For a transaction with n branches:
//!
//! ```text
//! insert transaction + branch 1 │ insert branch 2 │ … │ update: decided │ update: ended
//! ```
//!
//! That is n + 3 rows, or one if there is no branch. Every transaction needs n + 2 batches, because
//! each answer in between depends on a durable one, so a batch holds the same part of the work of
//! n + 2 generations. There is one statement a kind of row, of always the same size, and the next batch
//! is put together while one is being written, as the coordinator does. Three things more of the coordinator are left out: whose lease it is, when
//! what ended is pruned, and all that is read.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pactum_migrations::coordinator::SQLITE;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _, SqlStr,
};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, Instant};

use crate::client::key_of;
use crate::latency::Latencies;
use crate::proc;
use crate::report::Line;

/// As in the coordinator's store.
const CHECKPOINT_PAGES: &str = "8192";
const CACHE: &str = "-65536";
/// Rows a statement at most: more gains nothing, and SQLite counts the parameters.
const ROWS_A_STATEMENT_MAX: usize = 256;
const COMMITTING: u8 = 2;
const COMMITTED: u8 = 10;

/// Row writes of one transaction.
pub(crate) fn rows_each(branches: usize) -> u64 {
    if branches == 0 { 1 } else { branches as u64 + 3 }
}

/// Writes batches of about `rows_a_batch` rows for `duration`.
pub(crate) async fn measure(
    directory: &Path,
    branches: usize,
    rows_a_batch: f64,
    duration: Duration,
) -> Result<Line> {
    let mut connection = open(&directory.join("rows.db")).await?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a batch is a positive number of rows, far below the limits of u64"
    )]
    let generation = (rows_a_batch / rows_each(branches) as f64).round().max(1.0) as u64;
    let plan = Plan::new(branches as u64, generation);
    let (ready, mut batches) = mpsc::channel(1);
    let preparing = spawn_blocking(move || {
        let mut numbers = 0..;
        while ready.blocking_send(plan.batch(numbers.next().unwrap_or_default())).is_ok() {}
    });
    // What a transaction waits for in all; a generation ends with every batch.
    let waits = u32::try_from(branches + 2).context("a handful of branches")?;
    let mut latencies = Latencies::new()?;
    let (mut written, mut batch_count) = (Duration::ZERO, 0_u32);
    let cpu_before = proc::cpu_time(std::process::id())?;
    let started = Instant::now();
    while started.elapsed() < duration {
        let batch = batches.recv().await.context("batches are prepared")?;
        let began = Instant::now();
        write(&mut connection, batch).await?;
        written += began.elapsed();
        batch_count += 1;
        let took = began.elapsed() * waits;
        (0..generation).for_each(|_| latencies.record(took));
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = proc::cpu_time(std::process::id())?.saturating_sub(cpu_before);
    drop(batches);
    preparing.await.context("prepare batches")?;
    connection.close().await.context("close the bare store")?;
    let mut line = Line::new("bare store", seconds, &latencies);
    line.cpu_us_each = Some((cpu.as_secs_f64() * 1e6 / latencies.count() as f64, 0.0));
    line.write_ms = Some(written.as_secs_f64() * 1e3 / f64::from(batch_count));
    line.rows_each = Some(rows_each(branches) as f64);
    line.rows_a_batch = Some((generation * rows_each(branches)) as f64);
    Ok(line)
}

async fn open(file: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("cache_size", CACHE)
        .disable_statement_logging();
    let mut connection = options.connect().await.context("open the bare store")?;
    for migration in SQLITE {
        let made = sqlx::raw_sql(migration.sql).execute(&mut connection).await;
        made.context("make the bare store's tables")?;
    }
    Ok(connection)
}

type Batch = Vec<(SqlStr, SqliteArguments)>;

async fn write(connection: &mut SqliteConnection, batch: Batch) -> Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (text, arguments) in batch {
        let done = sqlx::query_with(text, arguments).execute(&mut *transaction).await;
        done.context("write rows")?;
    }
    transaction.commit().await.context("commit a batch")
}

/// The statements of every batch.
struct Plan {
    branches: u64,
    generation: u64,
    put_transaction: Statement,
    put_branch: Statement,
    set_committing: Statement,
    set_committed: Statement,
}

impl Plan {
    fn new(branches: u64, generation: u64) -> Self {
        Plan {
            branches,
            generation,
            put_transaction: insert(
                "global_transaction (xid, name, node, status, timeout_ms, begun_at)",
                "(?, 'bench', ?, 1, 3600000, 1800000000000)",
            ),
            put_branch: insert(
                "branch (xid, branch_id, sequence, node, resource, mode, lock_only, locks, \
                 phase_one, phase_two)",
                "(?, ?, 1, ?, 1, 1, 0, ?, 1, 1)",
            ),
            set_committing: update(COMMITTING, ""),
            set_committed: update(COMMITTED, ", ended_at = 1800000000000"),
        }
    }

    /// One batch: each of the generations under way comes one step further.
    fn batch(&self, number: u64) -> Batch {
        let first_of =
            |age: u64| number.checked_sub(age).map(|number| 1 + number * self.generation);
        let members = |age: u64| {
            let range = first_of(age).map_or(0..0, |first| first..first + self.generation);
            range.collect::<Vec<u64>>()
        };
        let mut batch = Vec::new();
        self.put_transaction.add(&mut batch, &members(0), put_transaction);
        if self.branches > 0 {
            // All branches of a batch go as the rows of the same statements.
            let ages = 0..self.branches;
            let rows = ages.flat_map(|age| members(age).into_iter().map(move |xid| (xid, age)));
            self.put_branch.add(&mut batch, &rows.collect::<Vec<_>>(), put_branch);
            self.set_committing.add(&mut batch, &members(self.branches), put_number);
            self.set_committed.add(&mut batch, &members(self.branches + 1), put_number);
        }
        batch
    }
}

/// A statement for any number of rows.
#[derive(Clone)]
struct Statement(Arc<dyn Fn(usize) -> String + Send + Sync>);

impl Statement {
    fn add<R: Copy>(&self, batch: &mut Batch, rows: &[R], bind: impl Fn(&mut SqliteArguments, R)) {
        for rows in rows.chunks(ROWS_A_STATEMENT_MAX) {
            let mut arguments = SqliteArguments::default();
            rows.iter().for_each(|row| bind(&mut arguments, *row));
            batch.push((AssertSqlSafe((self.0)(rows.len())).into_sql_str(), arguments));
        }
    }
}

fn insert(into: &'static str, row: &'static str) -> Statement {
    let text = move |rows| format!("INSERT INTO {into} VALUES {}", vec![row; rows].join(", "));
    Statement(Arc::new(text))
}

fn update(status: u8, more: &'static str) -> Statement {
    Statement(Arc::new(move |rows| {
        let numbers = vec!["?"; rows].join(", ");
        format!("UPDATE global_transaction SET status = {status}{more} WHERE xid IN ({numbers})")
    }))
}

fn add<'t, T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(
    arguments: &mut SqliteArguments,
    value: T,
) {
    arguments.add(value).expect("numbers and bytes always encode");
}

fn put_number(arguments: &mut SqliteArguments, xid: u64) {
    add(arguments, xid.cast_signed());
}

fn put_transaction(arguments: &mut SqliteArguments, xid: u64) {
    put_number(arguments, xid);
    add(arguments, vec![7_u8; 16]);
}

fn put_branch(arguments: &mut SqliteArguments, (xid, age): (u64, u64)) {
    put_number(arguments, xid);
    put_number(arguments, xid * 8 + age);
    add(arguments, vec![7_u8; 16]);
    add(arguments, key_of(xid * 8 + age));
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;

    #[tokio::test]
    async fn every_generation_ends_and_leaves_its_branches() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = open(&directory.path().join("rows.db")).await.unwrap();
        let plan = Plan::new(2, 3);
        for number in 0..10 {
            write(&mut connection, plan.batch(number)).await.unwrap();
        }
        let text = "SELECT count(*), sum(status = 10), sum(status = 2), \
                    (SELECT count(*) FROM branch) FROM global_transaction";
        let counts = sqlx::query(text).fetch_one(&mut connection).await.unwrap();
        let count = |column| counts.get::<i64, _>(column);
        // Ten generations of three have begun; those of the last batches are still under way.
        assert_eq!((count(0), count(1), count(2)), (30, 21, 3));
        assert_eq!(count(3), 30 + 27);
    }

    #[test]
    fn a_transaction_with_two_branches_needs_five_rows() {
        assert_eq!(rows_each(2), 5);
        assert_eq!(rows_each(0), 1);
    }
}
