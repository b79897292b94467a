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
//! n + 2 generations. Three things more of the coordinator are left out: whose lease it is, when
//! what ended is pruned, and all that is read.

use std::path::Path;

use anyhow::{Context as _, Result};
use pactum_migrations::coordinator::SQLITE;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _, SqlStr,
};
use tokio::time::{Duration, Instant};

use crate::client::key_of;
use crate::latency::Latencies;
use crate::proc;
use crate::report::Line;

/// As in the coordinator's store.
const CHECKPOINT_PAGES: &str = "8192";
const CACHE: &str = "-65536";
/// Rows a statement: more gains nothing.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];
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
    let mut store = Store::open(&directory.join("rows.db")).await?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a batch is a positive number of rows, far below the limits of u64"
    )]
    let generation = (rows_a_batch / rows_each(branches) as f64).round().max(1.0) as u64;
    let mut latencies = Latencies::new()?;
    let mut batches = 0;
    let cpu_before = proc::cpu_time(std::process::id())?;
    let started = Instant::now();
    while started.elapsed() < duration {
        let began = Instant::now();
        store.write(branches as u64, generation, batches).await?;
        // What a transaction waits for in all; its generation ends with every batch.
        let took =
            began.elapsed() * u32::try_from(branches + 2).context("a handful of branches")?;
        (0..generation).for_each(|_| latencies.record(took));
        batches += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    store.connection.close().await.context("close the bare store")?;
    let cpu = proc::cpu_time(std::process::id())?.saturating_sub(cpu_before);
    let mut line = Line::new("bare store", seconds, &latencies);
    line.cpu_us_each = Some((cpu.as_secs_f64() * 1e6 / latencies.count() as f64, 0.0));
    line.rows_each = Some(rows_each(branches) as f64);
    line.rows_a_batch = Some((generation * rows_each(branches)) as f64);
    Ok(line)
}

struct Store {
    connection: SqliteConnection,
    put_transaction: Texts,
    put_branch: Texts,
    set_committing: Texts,
    set_committed: Texts,
}

type Texts = [SqlStr; CHUNKS.len()];

impl Store {
    async fn open(file: &Path) -> Result<Self> {
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
        Ok(Store {
            connection,
            put_transaction: insert(
                "global_transaction (xid, name, node, status, timeout_ms, begun_at)",
                "(?, 'bench', ?, 1, 3600000, 1800000000000)",
            ),
            put_branch: insert(
                "branch (xid, branch_id, sequence, node, resource, mode, scope, lock_only, locks, \
                 phase_one, phase_two)",
                "(?, ?, 1, ?, 1, 1, 0, 0, ?, 1, 1)",
            ),
            set_committing: update(COMMITTING, ""),
            set_committed: update(COMMITTED, ", ended_at = 1800000000000"),
        })
    }

    /// One batch: each of the generations under way comes one step further.
    async fn write(&mut self, branches: u64, generation: u64, batch: u64) -> Result<()> {
        let first_of = |age: u64| batch.checked_sub(age).map(|number| 1 + number * generation);
        let members = |age: u64| first_of(age).map_or(0..0, |first| first..first + generation);
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        run(&mut transaction, &self.put_transaction, members(0), put_transaction).await?;
        if branches == 0 {
            return transaction.commit().await.context("commit a batch");
        }
        // All branches of a batch go as the rows of the same statements.
        let ages = (0..branches).flat_map(|age| members(age).map(move |xid| (xid, age)));
        let rows: Vec<_> = ages.collect();
        run(&mut transaction, &self.put_branch, rows, put_branch).await?;
        run(&mut transaction, &self.set_committing, members(branches), put_number).await?;
        run(&mut transaction, &self.set_committed, members(branches + 1), put_number).await?;
        transaction.commit().await.context("commit a batch")
    }
}

fn insert(into: &str, row: &str) -> Texts {
    texts(|rows| format!("INSERT INTO {into} VALUES {}", vec![row; rows].join(", ")))
}

fn update(status: u8, more: &str) -> Texts {
    texts(|rows| {
        let numbers = vec!["?"; rows].join(", ");
        format!("UPDATE global_transaction SET status = {status}{more} WHERE xid IN ({numbers})")
    })
}

fn texts(text: impl Fn(usize) -> String) -> Texts {
    CHUNKS.map(|rows| AssertSqlSafe(text(rows)).into_sql_str())
}

async fn run<R>(
    connection: &mut SqliteConnection,
    texts: &Texts,
    rows: impl IntoIterator<Item = R>,
    bind: impl Fn(&mut SqliteArguments, R),
) -> Result<()> {
    let mut rows: std::collections::VecDeque<R> = rows.into_iter().collect();
    for (size, text) in CHUNKS.iter().zip(texts) {
        while rows.len() >= *size {
            let mut arguments = SqliteArguments::default();
            rows.drain(..*size).for_each(|row| bind(&mut arguments, row));
            let done = sqlx::query_with(text.clone(), arguments).execute(&mut *connection).await;
            done.context("write rows")?;
        }
    }
    Ok(())
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
        let mut store = Store::open(&directory.path().join("rows.db")).await.unwrap();
        for batch in 0..10 {
            store.write(2, 3, batch).await.unwrap();
        }
        let text = "SELECT count(*), sum(status = 10), sum(status = 2), \
                    (SELECT count(*) FROM branch) FROM global_transaction";
        let counts = sqlx::query(text).fetch_one(&mut store.connection).await.unwrap();
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
