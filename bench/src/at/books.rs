//! Two banks: a SQLite file each, with accounts.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::Options;

/// More than there are workers: each has its own.
const ACCOUNTS: i64 = 1_000;
const BALANCE: i64 = 1_000_000_000;
/// Twice what the workers need, because the agent lets half of a pool into local transactions.
const CONNECTIONS: u32 = 32;

pub(super) const CHANGE: &str = "UPDATE account SET balance = balance + ?1 WHERE id = ?2";
/// What a transfer moves.
pub(super) const AMOUNT: i64 = 30;

/// A bank.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    pub(super) pool: SqlitePool,
    /// The queue for the file's one writer.
    pub(super) writer: Arc<Semaphore>,
}

/// Both, on a folder of their own.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) from: Bank,
    pub(super) to: Bank,
    _folder: TempDir,
}

impl Books {
    pub(super) async fn open(options: &Options) -> Result<Self> {
        let folder = options.folder()?;
        let from = bank(&folder, "from.db").await?;
        let to = bank(&folder, "to.db").await?;
        Ok(Books { from, to, _folder: folder })
    }

    /// What was taken was given, `transfers` times.
    pub(super) async fn close(self, transfers: u64) -> Result<()> {
        let (taken, given) = (moved(&self.from).await?, moved(&self.to).await?);
        let expected = i64::try_from(transfers).context("count the transfers")? * AMOUNT;
        ensure!(taken == -expected && given == expected, "{taken} taken, {given} given");
        self.from.pool.close().await;
        self.to.pool.close().await;
        Ok(())
    }
}

async fn bank(folder: &TempDir, file: &str) -> Result<Bank> {
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join(file))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await;
    let pool = pool.with_context(|| format!("open {file}"))?;
    let table = "CREATE TABLE account (id INTEGER NOT NULL PRIMARY KEY, owner TEXT NOT NULL, \
                 balance INTEGER NOT NULL)";
    sqlx::query(table).execute(&pool).await.context("make the accounts' table")?;
    let accounts = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?1) \
                    INSERT INTO account SELECT id, 'owner ' || id, ?2 FROM n";
    let made = sqlx::query(accounts).bind(ACCOUNTS).bind(BALANCE).execute(&pool).await;
    made.context("make the accounts")?;
    Ok(Bank { pool, writer: Arc::new(Semaphore::new(1)) })
}

async fn moved(bank: &Bank) -> Result<i64> {
    let sum = sqlx::query_scalar("SELECT sum(balance - ?1) FROM account").bind(BALANCE);
    sum.fetch_one(&bank.pool).await.context("add up the accounts")
}
