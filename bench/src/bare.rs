//! The bare limit of the store: given rows, written as cheaply as the coordinator's store can write them.
//!
//! The schema, the settings and the durability are the coordinator's. There is one statement a kind of
//! row, of always the same size, and the next batch is put together while one is being written, as the
//! coordinator does. Three things more of the coordinator are left out: whose lease it is, when what
//! ended is pruned, and all that is read. Which rows, and in how many batches, is for each user to say:
//! a batch holds the same part of the work of as many generations as a transaction needs batches,
//! because each answer in between depends on a durable one.

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

use crate::latency::Latencies;
use crate::proc;
use crate::report::Line;

/// As in the coordinator's store.
const CHECKPOINT_PAGES: &str = "8192";
const CACHE: &str = "-65536";
/// Rows a statement at most: more gains nothing, and SQLite counts the parameters.
const ROWS_A_STATEMENT_MAX: usize = 256;

/// What a transaction needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Each {
    pub(crate) rows: u64,
    /// Durable writes, one after the other.
    pub(crate) batches: u32,
}

/// Writes batches of about `rows_a_batch` rows for `duration`. `plan` is told how many transactions
/// begin with each batch, and makes one batch after the other.
pub(crate) async fn measure<B>(
    directory: &Path,
    each: Each,
    rows_a_batch: f64,
    duration: Duration,
    plan: impl FnOnce(u64) -> B,
) -> Result<Line>
where
    B: Fn(u64) -> Batch + Send + 'static,
{
    let mut connection = open(&directory.join("rows.db")).await?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a batch is a positive number of rows, far below the limits of u64"
    )]
    let generation = (rows_a_batch / each.rows as f64).round().max(1.0) as u64;
    let batch = plan(generation);
    let (ready, mut batches) = mpsc::channel(1);
    let preparing = spawn_blocking(move || {
        let mut numbers = 0..;
        while ready.blocking_send(batch(numbers.next().unwrap_or_default())).is_ok() {}
    });
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
        // What a transaction waits for in all; a generation ends with every batch.
        let took = began.elapsed() * each.batches;
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
    line.rows_each = Some(each.rows as f64);
    line.rows_a_batch = Some((generation * each.rows) as f64);
    Ok(line)
}

pub(crate) async fn open(file: &Path) -> Result<SqliteConnection> {
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

/// Statements with their values.
pub(crate) type Batch = Vec<(SqlStr, SqliteArguments)>;

pub(crate) async fn write(connection: &mut SqliteConnection, batch: Batch) -> Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for (text, arguments) in batch {
        let done = sqlx::query_with(text, arguments).execute(&mut *transaction).await;
        done.context("write rows")?;
    }
    transaction.commit().await.context("commit a batch")
}

/// A statement for any number of rows.
#[derive(Clone)]
pub(crate) struct Statement(Arc<dyn Fn(usize) -> String + Send + Sync>);

impl Statement {
    pub(crate) fn add<R: Copy>(
        &self,
        batch: &mut Batch,
        rows: &[R],
        bind: impl Fn(&mut SqliteArguments, R),
    ) {
        for rows in rows.chunks(ROWS_A_STATEMENT_MAX) {
            let mut arguments = SqliteArguments::default();
            rows.iter().for_each(|row| bind(&mut arguments, *row));
            batch.push((AssertSqlSafe((self.0)(rows.len())).into_sql_str(), arguments));
        }
    }
}

pub(crate) fn insert(into: &'static str, row: &'static str) -> Statement {
    let text = move |rows| format!("INSERT INTO {into} VALUES {}", vec![row; rows].join(", "));
    Statement(Arc::new(text))
}

/// Gives transactions a new status.
pub(crate) fn update(status: u8, more: &'static str) -> Statement {
    Statement(Arc::new(move |rows| {
        let numbers = vec!["?"; rows].join(", ");
        format!("UPDATE global_transaction SET status = {status}{more} WHERE xid IN ({numbers})")
    }))
}

pub(crate) fn add<'t, T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(
    arguments: &mut SqliteArguments,
    value: T,
) {
    arguments.add(value).expect("numbers and bytes always encode");
}

pub(crate) fn put_number(arguments: &mut SqliteArguments, xid: u64) {
    add(arguments, xid.cast_signed());
}
