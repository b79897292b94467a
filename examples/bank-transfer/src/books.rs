//! The books of a bank, read from its database as anybody could: not through the agent, whose work
//! they are to judge.
//!
//! A bank's URL says which database it is. What is asked here is the same text for all three; numbers
//! stand in the text, because only their placeholders differ.

mod prepared;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use sqlx::any::install_default_drivers;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use crate::services::order::Holding;

/// A bank's tables. Nothing in them knows of global transactions. What is `reserved` is part of the
/// balance, and not to be taken. The ledger has a row for each account's part in a transfer.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS account (
        id       BIGINT NOT NULL PRIMARY KEY,
        balance  BIGINT NOT NULL,
        reserved BIGINT NOT NULL DEFAULT 0
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
    /// What of them is reserved.
    pub(crate) reserved: i64,
    /// Amounts by transfer and account.
    pub(crate) ledger: BTreeMap<(String, i64), i64>,
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
        let accounts: Vec<(i64, i64, i64)> =
            sqlx::query_as("SELECT id, balance, reserved FROM account")
                .fetch_all(&mut *snapshot)
                .await?;
        let ledger: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT transfer, account, amount FROM ledger")
                .fetch_all(&mut *snapshot)
                .await?;
        Ok(Book {
            bank: bank.to_owned(),
            reserved: accounts.iter().map(|(_, _, reserved)| reserved).sum(),
            accounts: accounts.into_iter().map(|(id, balance, _)| (id, balance)).collect(),
            ledger: ledger.into_iter().map(|(id, at, amount)| ((id, at), amount)).collect(),
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

/// What a bank's branches have not brought to an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open {
    /// Open barrier rows of AT and TCC: they are of branches whose transaction has not ended.
    pub(crate) rows: u64,
    /// The XIDs of the open barrier rows of sagas and XA: after a commit they stay open until they are
    /// purged, after a rollback they do not.
    pub(crate) kept: Vec<String>,
    /// Prepared transactions.
    pub(crate) prepared: u64,
    /// What is reserved, over all accounts.
    pub(crate) reserved: i64,
}

impl Open {
    pub(crate) async fn read(url: &str) -> Result<Self> {
        let mut connection = connect(url).await?;
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT xid, mode FROM pactum_barrier WHERE state = 'open'")
                .fetch_all(&mut connection)
                .await
                .context("read the open barrier rows")?;
        let reserved: Vec<i64> =
            sqlx::query_scalar("SELECT reserved FROM account WHERE reserved <> 0")
                .fetch_all(&mut connection)
                .await
                .context("read what is reserved")?;
        let stays = |mode: &str| matches!(mode, "saga" | "xa");
        let kept = rows.iter().filter(|(_, mode)| stays(mode)).map(|(xid, _)| xid.clone());
        let kept: Vec<String> = kept.collect();
        Ok(Open {
            rows: u64::try_from(rows.len() - kept.len()).context("count the open rows")?,
            kept,
            prepared: prepared::count(url).await?,
            reserved: reserved.iter().sum(),
        })
    }

    /// How many branches can still be undone, of which `xid` is the only transaction under way.
    pub(crate) fn waiting(&self, xid: &str) -> u64 {
        let kept = self.kept.iter().any(|kept| kept == xid);
        self.rows + self.prepared + u64::from(kept)
    }
}

/// What one account holds, as anybody may read it.
pub(crate) async fn holding(url: &str, account: i64) -> Result<Holding> {
    let sql = format!("SELECT balance, reserved FROM account WHERE id = {account}");
    let query = sqlx::query_as(AssertSqlSafe(sql));
    let (balance, reserved) =
        query.fetch_one(&mut connect(url).await?).await.context("read an account")?;
    Ok(Holding { balance, reserved })
}

/// Writes a balance past the agent and its locks, as someone with the database's password may.
pub(crate) async fn overwrite_balance(url: &str, account: i64, balance: i64) -> Result<()> {
    let mut connection = connect(url).await?;
    let sql = format!("UPDATE account SET balance = {balance} WHERE id = {account}");
    run(&mut connection, &sql).await.context("write past the agent")?;
    connection.close().await.context("leave the bank's database")
}

async fn run(connection: &mut AnyConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await?;
    Ok(())
}

async fn connect(url: &str) -> Result<AnyConnection> {
    install_default_drivers();
    AnyConnection::connect(url).await.context("connect to the bank's database")
}
