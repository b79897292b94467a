//! The books of a bank, read from its database as anybody could: not through the agent, whose work
//! they are to judge.
//!
//! A bank's URL says which database it is. What is asked here is the same text for all three; numbers
//! stand in the text, because only their placeholders differ.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use sqlx::any::install_default_drivers;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

/// A bank's tables. Nothing in them knows of global transactions. The ledger has a row for each
/// account's part in a transfer.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS account (
        id      BIGINT NOT NULL PRIMARY KEY,
        balance BIGINT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS ledger (
        transfer VARCHAR(64) NOT NULL,
        account  BIGINT      NOT NULL,
        amount   BIGINT      NOT NULL,
        PRIMARY KEY (transfer, account)
    )",
];
/// How many accounts one statement opens.
const ACCOUNTS_PER_STATEMENT: u32 = 1000;

/// What a bank's database holds.
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
    pub(crate) async fn read(bank: &str, url: &str) -> Result<Self> {
        let mut connection = connect(url).await?;
        let mut snapshot = match url.starts_with("postgres") {
            true => connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await,
            // As they do by themselves.
            false => connection.begin().await,
        }
        .context("begin to read")?;
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

/// Opens a bank: its tables, its accounts. Does nothing to a bank that is open already.
pub(crate) async fn open_accounts(url: &str, accounts: u32, opening: i64) -> Result<()> {
    let mut connection = connect(url).await?;
    if url.starts_with("sqlite") {
        run(&mut connection, "PRAGMA journal_mode = WAL")
            .await
            .context("prepare the bank's file")?;
    }
    for table in TABLES {
        run(&mut connection, table).await.context("make the bank's tables")?;
    }
    // All or none: a bank that is killed here begins anew.
    let mut all = connection.begin().await.context("begin to open the accounts")?;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM account")
        .fetch_one(&mut *all)
        .await
        .context("count the accounts")?;
    if count == 0 {
        for first in (1..=accounts).step_by(ACCOUNTS_PER_STATEMENT as usize) {
            let last = accounts.min(first + ACCOUNTS_PER_STATEMENT - 1);
            let rows: Vec<String> = (first..=last).map(|id| format!("({id}, {opening})")).collect();
            let sql = format!("INSERT INTO account (id, balance) VALUES {}", rows.join(", "));
            run(&mut all, &sql).await.context("open the accounts")?;
        }
    }
    all.commit().await.context("open the accounts")?;
    connection.close().await.context("leave the bank's database")
}

/// How many undo rows are open in a bank's database.
pub(crate) async fn open_undo_rows(url: &str) -> Result<u64> {
    count_open(&mut connect(url).await?).await
}

/// The balance of one account.
pub(crate) async fn balance(url: &str, account: i64) -> Result<i64> {
    let sql = format!("SELECT balance FROM account WHERE id = {account}");
    let query = sqlx::query_scalar(AssertSqlSafe(sql));
    query.fetch_one(&mut connect(url).await?).await.context("read a balance")
}

/// Writes a balance past the agent and its locks, as someone with the database's password may.
pub(crate) async fn overwrite_balance(url: &str, account: i64, balance: i64) -> Result<()> {
    let mut connection = connect(url).await?;
    let sql = format!("UPDATE account SET balance = {balance} WHERE id = {account}");
    run(&mut connection, &sql).await.context("write past the agent")?;
    connection.close().await.context("leave the bank's database")
}

async fn count_open(connection: &mut AnyConnection) -> Result<u64> {
    let query = sqlx::query_scalar("SELECT count(*) FROM pactum_barrier WHERE state = 'open'");
    let count: i64 = query.fetch_one(connection).await.context("count open undo rows")?;
    u64::try_from(count).context("a count is not below zero")
}

async fn run(connection: &mut AnyConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await?;
    Ok(())
}

async fn connect(url: &str) -> Result<AnyConnection> {
    install_default_drivers();
    AnyConnection::connect(url).await.context("connect to the bank's database")
}
