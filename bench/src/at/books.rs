//! Two banks: a database each, with accounts.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use sqlx::pool::PoolOptions;
use sqlx::{AssertSqlSafe, Pool, SqlSafeStr as _, SqlStr, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ground::Places;
use super::speak::{Bind, Speaks};

/// More than there are workers: each has its own.
const ACCOUNTS: i64 = 1_000;
const BALANCE: i64 = 1_000_000_000;
/// Twice what the workers need, because the agent lets half of a pool into local transactions.
const CONNECTIONS: u32 = 32;

/// What a transfer moves.
pub(super) const AMOUNT: i64 = 30;

/// A bank.
#[derive(Debug)]
pub(super) struct Bank<DB: Speaks> {
    pub(super) pool: Pool<DB>,
    /// The queue for the database's writers.
    writers: Arc<Semaphore>,
}

/// Both, in places of their own.
#[derive(Debug)]
pub(super) struct Books<DB: Speaks> {
    pub(super) from: Bank<DB>,
    pub(super) to: Bank<DB>,
    pub(super) places: Places,
}

impl<DB: Speaks> Books<DB> {
    pub(super) async fn open(places: Places) -> Result<Self> {
        let [from, to] = &places.urls;
        Ok(Books { from: Bank::open(from).await?, to: Bank::open(to).await?, places })
    }

    /// What was taken was given, `transfers` times.
    pub(super) async fn close(self, transfers: u64) -> Result<()> {
        let (taken, given) = (self.from.moved().await?, self.to.moved().await?);
        let expected = i64::try_from(transfers).context("count the transfers")? * AMOUNT;
        ensure!(taken == -expected && given == expected, "{taken} taken, {given} given");
        self.from.pool.close().await;
        self.to.pool.close().await;
        self.places.give_back().await
    }
}

impl<DB: Speaks> Clone for Bank<DB> {
    fn clone(&self) -> Self {
        Bank { pool: self.pool.clone(), writers: Arc::clone(&self.writers) }
    }
}

impl<DB: Speaks> Bank<DB> {
    async fn open(url: &str) -> Result<Self> {
        let pool = PoolOptions::new().max_connections(CONNECTIONS).connect(url).await;
        let writers = Arc::new(Semaphore::new(DB::TEXTS.writers));
        let bank = Bank { pool: pool.context("open a bank")?, writers };
        for statement in DB::TEXTS.tables {
            bank.ask(SqlStr::from_static(statement), vec![]).await?;
        }
        let accounts = (1..=ACCOUNTS).map(|id| format!("({id}, 'owner {id}', {BALANCE})"));
        let accounts = accounts.collect::<Vec<_>>().join(", ");
        let accounts = format!("INSERT INTO account (id, owner, balance) VALUES {accounts}");
        bank.ask(AssertSqlSafe(accounts).into_sql_str(), vec![]).await?;
        Ok(bank)
    }

    /// Makes the agent's own tables.
    pub(super) async fn make_undo_tables(&self) -> Result<()> {
        let lines = DB::TEXTS.undo_tables.lines().filter(|line| !line.trim().starts_with("--"));
        let script = lines.collect::<Vec<_>>().join("\n");
        for statement in script.split(';').filter(|statement| !statement.trim().is_empty()) {
            let statement = AssertSqlSafe(statement.to_owned()).into_sql_str();
            self.ask(statement, vec![]).await.context("make the undo table")?;
        }
        Ok(())
    }

    /// Begins a local transaction that will write. The turn is to be kept until it ends.
    pub(super) async fn begin(&self) -> Result<(OwnedSemaphorePermit, Transaction<'static, DB>)> {
        let turn = Arc::clone(&self.writers).acquire_owned().await;
        let turn = turn.context("queue for the database")?;
        Ok((turn, self.pool.begin_with(DB::TEXTS.begin).await.context("begin")?))
    }

    /// How many barrier rows there are.
    pub(super) async fn barrier_rows(&self) -> Result<i64> {
        self.number("SELECT count(*) FROM pactum_barrier").await
    }

    async fn moved(&self) -> Result<i64> {
        self.number(DB::TEXTS.total).await.map(|total| total - ACCOUNTS * BALANCE)
    }

    async fn number(&self, sql: &'static str) -> Result<i64> {
        let rows = self.ask(SqlStr::from_static(sql), vec![]).await?;
        DB::number(rows.first().context("a sum has a row")?, 0)
    }

    async fn ask(&self, sql: SqlStr, values: Vec<Bind>) -> Result<Vec<DB::Row>> {
        let mut connection = self.pool.acquire().await.context("have a connection")?;
        DB::run(&mut connection, sql, values).await
    }
}
