//! A participant's database in XA mode, attached to the coordinator in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pactum_core::id::{BranchId, Xid, XidNumber};
use pactum_core::time::WallTime;
use pactum_testkit::server::{self, Kind};
use pactum_testkit::wait::wait_for;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor, IntoArguments, MySql, Pool, Postgres};

use crate::at::AtDatabase;
use crate::branch::Environment;
use crate::context::TransactionContext;
use crate::db::Row;
use crate::link::fake::{Fake, STORE};
use crate::xa::name::Name;
use crate::xa::{XaConnection, XaError, XaOptions, XaPool, XaTransaction};

/// The wall clock of the tests, in milliseconds.
pub(super) const NOW: u64 = 1_700_000_000_000;

pub(super) struct World<DB: TestDatabase> {
    _guard: server::Database,
    pub(super) pool: Pool<DB>,
    pub(super) xa: XaPool<DB>,
    pub(super) fake: Arc<Fake>,
    next_xid: AtomicU64,
}

/// A server that tests make databases in.
#[allow(async_fn_in_trait, reason = "for tests, on one task")]
pub(super) trait TestDatabase: AtDatabase {
    async fn open() -> (server::Database, Pool<Self>);
    /// Runs statements past the agent.
    async fn script(pool: &Pool<Self>, sql: &str) -> Result<(), sqlx::Error>;
    /// Ends the session of a connection from outside, as a crash of its client would.
    async fn end_session(pool: &Pool<Self>, session: i64);
    const SESSION: &'static str;
}

impl TestDatabase for Postgres {
    async fn open() -> (server::Database, Pool<Self>) {
        let database = server::database(Kind::Postgres, "xa").await.unwrap();
        let pool = PgPoolOptions::new().max_connections(5).connect(&database.url()).await.unwrap();
        (database, pool)
    }

    async fn script(pool: &Pool<Self>, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(drop)
    }

    async fn end_session(pool: &Pool<Self>, session: i64) {
        let sql = format!("SELECT pg_terminate_backend({session})");
        Self::script(pool, &sql).await.unwrap();
    }

    const SESSION: &'static str = "SELECT pg_backend_pid()";
}

impl TestDatabase for MySql {
    async fn open() -> (server::Database, Pool<Self>) {
        let database = server::database(Kind::Mysql, "xa").await.unwrap();
        let pool =
            MySqlPoolOptions::new().max_connections(5).connect(&database.url()).await.unwrap();
        (database, pool)
    }

    async fn script(pool: &Pool<Self>, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(drop)
    }

    async fn end_session(pool: &Pool<Self>, session: i64) {
        Self::script(pool, &format!("KILL {session}")).await.unwrap();
    }

    const SESSION: &'static str = "SELECT connection_id()";
}

pub(super) const ACCOUNTS: &str = "CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL); \
     INSERT INTO account VALUES (1, 100), (2, 20)";
pub(super) const TAKE: &str = "UPDATE account SET balance = balance - 30 WHERE id = 1";

pub(super) fn options() -> XaOptions {
    // A server's prepared transactions are all in one list, so each database needs a mark of its own.
    let environment = Environment { wall: || WallTime(NOW), ..Environment::real() };
    XaOptions { environment, ..XaOptions::default() }
        .create_tables(true)
        .local_lock_wait_max(Duration::from_secs(1))
}

impl<DB: TestDatabase> World<DB>
where
    for<'c> &'c mut XaConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    pub(super) async fn new() -> Self {
        let (guard, pool) = DB::open().await;
        DB::script(&pool, ACCOUNTS).await.unwrap();
        let fake = Arc::new(Fake::default());
        let link = Arc::clone(&fake);
        let xa = XaPool::attach_over(link, "bank-a".parse().unwrap(), pool.clone(), options());
        let xa = xa.await.unwrap();
        World { _guard: guard, pool, xa, fake, next_xid: AtomicU64::new(1) }
    }

    pub(super) fn context(&self) -> TransactionContext {
        let number = XidNumber(self.next_xid.fetch_add(1, Ordering::Relaxed));
        let xid = Xid { group: "default".parse().unwrap(), number };
        TransactionContext::new(xid, STORE, Duration::from_secs(60))
    }

    /// A branch that has taken money, not prepared.
    pub(super) async fn begun(&self, context: &TransactionContext) -> XaTransaction<DB> {
        let mut transaction = self.xa.begin_in(context).await.unwrap();
        self.execute(&mut transaction, TAKE).await.unwrap();
        transaction
    }

    /// A branch that has taken money, prepared.
    pub(super) async fn prepared(&self, context: &TransactionContext) -> BranchId {
        let transaction = self.begun(context).await;
        let branch = transaction.connection.name.key.branch;
        transaction.commit().await.unwrap();
        branch
    }

    pub(super) async fn execute(
        &self,
        transaction: &mut XaTransaction<DB>,
        sql: &str,
    ) -> Result<(), XaError> {
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut **transaction).await;
        done.map(drop).map_err(XaError::from)
    }

    pub(super) fn name(&self, context: &TransactionContext, branch: BranchId) -> Name {
        let key = crate::branch::BranchKey { xid: context.xid().clone(), branch };
        Name { key, store: STORE, database: self.xa.0.support.prepared.mark }
    }

    pub(super) async fn behind(&self, sql: &str) {
        DB::script(&self.pool, sql).await.unwrap();
    }

    /// What an operator does to a prepared branch: as soon as the server has let go of the session that
    /// prepared it.
    pub(super) async fn by_hand(&self, sql: &str) {
        let done = async || DB::script(&self.pool, sql).await.ok();
        wait_for("finished by hand", Duration::from_secs(20), done).await.unwrap();
    }

    /// How many branches of ours are prepared.
    pub(super) async fn listed(&self) -> usize {
        self.xa.0.support.prepared.listed().await.unwrap().len()
    }

    pub(super) async fn query(&self, sql: &str) -> Vec<Row> {
        let mut connection = self.pool.acquire().await.unwrap();
        DB::sql(&mut connection).query(sql, &[]).await.unwrap()
    }

    pub(super) async fn balance(&self) -> i64 {
        self.query("SELECT balance FROM account WHERE id = 1").await[0][0].as_integer().unwrap()
    }

    pub(super) async fn barrier(&self) -> Vec<String> {
        let rows = self.query("SELECT state FROM pactum_barrier ORDER BY branch_id").await;
        rows.iter().map(|row| row[0].as_text().unwrap().to_owned()).collect()
    }
}
