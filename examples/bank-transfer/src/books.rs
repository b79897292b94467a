//! The books of a bank, read from its file as anybody could: not through the agent, whose work they
//! are to judge.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _, SqlitePool};

/// A bank's tables. Nothing in them knows of global transactions.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS account (
        id      INTEGER PRIMARY KEY,
        balance INTEGER NOT NULL
    );
    -- One row for each account's part in a transfer.
    CREATE TABLE IF NOT EXISTS ledger (
        transfer TEXT    NOT NULL,
        account  INTEGER NOT NULL,
        amount   INTEGER NOT NULL,
        PRIMARY KEY (transfer, account)
    );
";

/// What a bank's file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    pub(crate) bank: String,
    /// Balances by account.
    pub(crate) accounts: BTreeMap<i64, i64>,
    /// Amounts by transfer and account.
    pub(crate) ledger: BTreeMap<(String, i64), i64>,
    /// Barrier rows of branches that have not ended, in any mode.
    pub(crate) open_undo_rows: u64,
}

impl Book {
    /// Reads the whole book, as of one moment.
    pub(crate) async fn read(bank: &str, file: &Path) -> Result<Self> {
        let mut connection = open(file).await?;
        let mut snapshot = connection.begin().await.context("begin to read")?;
        let accounts: Vec<(i64, i64)> =
            sqlx::query_as("SELECT id, balance FROM account").fetch_all(&mut *snapshot).await?;
        let ledger: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT transfer, account, amount FROM ledger")
                .fetch_all(&mut *snapshot)
                .await?;
        let open_undo_rows = count_open(&mut snapshot).await?;
        Ok(Book {
            bank: bank.to_owned(),
            accounts: accounts.into_iter().collect(),
            ledger: ledger.into_iter().map(|(id, at, amount)| ((id, at), amount)).collect(),
            open_undo_rows,
        })
    }

    /// All the money the bank holds.
    pub(crate) fn sum(&self) -> i64 {
        self.accounts.values().sum()
    }
}

/// Opens a bank: its file, its tables, its accounts. Does nothing to a bank that is open already.
pub(crate) async fn open_accounts(file: &Path, accounts: u32, opening: i64) -> Result<()> {
    let options = options(file).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    let mut connection = options.connect().await.context("open the bank's file")?;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.context("make the bank's tables")?;
    sqlx::query(
        "WITH RECURSIVE number(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM number WHERE id < ?)
         INSERT OR IGNORE INTO account SELECT id, ? FROM number",
    )
    .bind(accounts)
    .bind(opening)
    .execute(&mut connection)
    .await
    .context("open the accounts")?;
    connection.close().await.context("close the bank's file")
}

/// The pool that a bank works with.
pub(crate) async fn pool(file: &Path) -> Result<SqlitePool> {
    SqlitePool::connect_with(options(file)).await.context("open the bank's file")
}

/// How many undo rows are open in a bank's file.
pub(crate) async fn open_undo_rows(file: &Path) -> Result<u64> {
    count_open(&mut open(file).await?).await
}

/// The balance of one account.
pub(crate) async fn balance(file: &Path, account: i64) -> Result<i64> {
    let query = sqlx::query_scalar("SELECT balance FROM account WHERE id = ?").bind(account);
    query.fetch_one(&mut open(file).await?).await.context("read a balance")
}

/// Writes a balance past the agent and its locks, as someone with the database's password may.
pub(crate) async fn overwrite_balance(file: &Path, account: i64, balance: i64) -> Result<()> {
    let mut connection = options(file).connect().await.context("open the bank's file")?;
    sqlx::query("UPDATE account SET balance = ? WHERE id = ?")
        .bind(balance)
        .bind(account)
        .execute(&mut connection)
        .await
        .context("write past the agent")?;
    connection.close().await.context("close the bank's file")
}

async fn count_open(connection: &mut SqliteConnection) -> Result<u64> {
    let query = sqlx::query_scalar("SELECT count(*) FROM pactum_barrier WHERE state = 'open'");
    let count: i64 = query.fetch_one(connection).await.context("count open undo rows")?;
    u64::try_from(count).context("a count is not below zero")
}

async fn open(file: &Path) -> Result<SqliteConnection> {
    let opened = options(file).read_only(true).connect().await;
    opened.with_context(|| format!("open the bank's file `{}`", file.display()))
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(file).disable_statement_logging()
}
