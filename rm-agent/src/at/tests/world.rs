//! A participant's database, attached to the coordinator in memory. What differs from database to
//! database is a [`TestDatabase`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pactum_core::id::{ResourceUid, StoreId, Xid, XidNumber};
use pactum_core::time::WallTime;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Executor, IntoArguments, Pool, Sqlite, SqlitePool};

use crate::at::connection::AtConnection;
use crate::at::{AtDatabase, AtError, AtOptions, AtPool};
use crate::branch::Environment;
use crate::context::TransactionContext;
use crate::db::Row;
use crate::link::fake::{Fake, STORE};

/// The wall clock of the tests, in milliseconds.
pub(in crate::at) const NOW: u64 = 1_700_000_000_000;

/// A world of SQLite.
pub(in crate::at) type World = WorldOn<Sqlite>;

pub(in crate::at) struct WorldOn<DB: TestDatabase> {
    _guard: DB::Guard,
    pub(in crate::at) pool: Pool<DB>,
    pub(in crate::at) at: AtPool<DB>,
    pub(in crate::at) fake: Arc<Fake>,
    next_xid: AtomicU64,
}

pub(in crate::at) fn options() -> AtOptions {
    let environment = Environment { wall: || WallTime(NOW), random_uid: || ResourceUid(0xfeed) };
    AtOptions { environment, ..AtOptions::default().create_tables(true) }
}

/// A pool on a file, durable only as far as tests need.
pub(in crate::at) async fn file_pool(dir: &tempfile::TempDir) -> SqlitePool {
    let connect = SqliteConnectOptions::new()
        .filename(dir.path().join("bank.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .busy_timeout(Duration::from_secs(2));
    SqlitePoolOptions::new().max_connections(5).connect_with(connect).await.unwrap()
}

/// A database that tests make and look into.
#[allow(async_fn_in_trait, reason = "for tests, on one task")]
pub(in crate::at) trait TestDatabase: AtDatabase {
    /// What keeps the database alive.
    type Guard;
    /// A new, empty database.
    async fn open() -> (Self::Guard, Pool<Self>);
    /// Runs statements past the agent.
    async fn script(pool: &Pool<Self>, sql: &str);
    /// Every value of every table of the application, exactly as it is stored; sorted, since a
    /// restored row may lie elsewhere.
    async fn dump(world: &WorldOn<Self>) -> Vec<String>;
}

impl TestDatabase for Sqlite {
    type Guard = tempfile::TempDir;

    async fn open() -> (tempfile::TempDir, SqlitePool) {
        let dir = tempfile::tempdir().unwrap();
        let pool = file_pool(&dir).await;
        (dir, pool)
    }

    async fn script(pool: &SqlitePool, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }

    /// With the storage class of each value.
    async fn dump(world: &WorldOn<Self>) -> Vec<String> {
        let tables = world
            .query(
                "SELECT name FROM sqlite_schema WHERE type = 'table' \
                 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                 AND name NOT LIKE 'pactum\\_%' ESCAPE '\\'",
            )
            .await;
        let mut dump = Vec::new();
        for table in tables {
            let name = table[0].as_text().unwrap().replace('`', "``");
            let rows = world.query(&format!("SELECT * FROM `{name}`")).await;
            dump.extend(rows.into_iter().map(|row| format!("{name} {row:?}")));
        }
        dump.sort();
        dump
    }
}

impl<DB: TestDatabase> WorldOn<DB>
where
    for<'c> &'c mut AtConnection<DB>: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    /// A database with this schema and content.
    pub(in crate::at) async fn new(schema: &str) -> Self {
        WorldOn::with(schema, options()).await
    }

    pub(in crate::at) async fn with(schema: &str, options: AtOptions) -> Self {
        let (guard, pool) = DB::open().await;
        WorldOn::over(guard, pool, schema, options).await
    }

    /// In a database that is there.
    pub(in crate::at) async fn over(
        guard: DB::Guard,
        pool: Pool<DB>,
        schema: &str,
        options: AtOptions,
    ) -> Self {
        DB::script(&pool, schema).await;
        let fake = Arc::new(Fake::default());
        if DB::WAITS_INSIDE {
            fake.let_wait_inside();
        }
        let link = Arc::clone(&fake);
        let at = AtPool::attach_over(link, "bank-a".parse().unwrap(), pool.clone(), options);
        let at = at.await.unwrap();
        WorldOn { _guard: guard, pool, at, fake, next_xid: AtomicU64::new(1) }
    }

    pub(in crate::at) fn context(&self) -> TransactionContext {
        self.context_for(Duration::from_secs(60))
    }

    pub(in crate::at) fn context_for(&self, remaining: Duration) -> TransactionContext {
        TransactionContext::new(self.xid(), STORE, remaining)
    }

    pub(in crate::at) fn foreign_context(&self) -> TransactionContext {
        TransactionContext::new(self.xid(), StoreId(0xbad), Duration::from_secs(60))
    }

    fn xid(&self) -> Xid {
        let number = XidNumber(self.next_xid.fetch_add(1, Ordering::Relaxed));
        Xid { group: "default".parse().unwrap(), number }
    }

    /// Runs statements as one branch of `context`.
    pub(in crate::at) async fn run(
        &self,
        context: &TransactionContext,
        statements: &[&str],
    ) -> Result<(), AtError> {
        let mut transaction = self.at.begin_in(context).await?;
        for statement in statements {
            let query = sqlx::query(AssertSqlSafe(*statement));
            query.execute(&mut *transaction).await.map_err(take)?;
        }
        transaction.commit().await
    }

    /// Runs a statement past the agent.
    pub(in crate::at) async fn behind(&self, statement: &str) {
        DB::script(&self.pool, statement).await;
    }

    pub(in crate::at) async fn query(&self, sql: &str) -> Vec<Row> {
        let mut connection = self.pool.acquire().await.unwrap();
        DB::sql(&mut connection).query(sql, &[]).await.unwrap()
    }

    /// One value, as text.
    pub(in crate::at) async fn value(&self, sql: &str) -> String {
        let rows = self.query(sql).await;
        rows.first().map_or_else(|| "none".to_owned(), |row| row[0].to_string())
    }

    pub(in crate::at) async fn dump(&self) -> Vec<String> {
        DB::dump(self).await
    }

    /// The barrier's rows: state and body.
    pub(in crate::at) async fn barrier(&self) -> Vec<String> {
        let rows = self.query("SELECT state FROM pactum_barrier ORDER BY branch_id").await;
        rows.iter().map(|row| row[0].as_text().unwrap().to_owned()).collect()
    }

    /// Runs the statements as a branch, rolls it back, and expects everything to be as before.
    pub(in crate::at) async fn undo(&self, statements: &[&str]) {
        let before = self.dump().await;
        let context = self.context();
        let run = self.run(&context, statements).await;
        run.unwrap_or_else(|error| panic!("{statements:?}: {error}"));
        assert_ne!(self.dump().await, before, "{statements:?} changed nothing");
        let answers = self.fake.roll_back(context.xid()).await;
        assert_eq!(answers, vec![crate::branch::Answer::Done], "{statements:?}");
        assert_eq!(self.dump().await, before, "{statements:?}");
        assert_eq!(self.fake.locks(context.xid()), Vec::<String>::new());
    }
}

/// Our error out of sqlx's.
pub(in crate::at) fn take(error: sqlx::Error) -> AtError {
    match error {
        sqlx::Error::AnyDriverError(inner) => match inner.downcast::<AtError>() {
            Ok(error) => *error,
            Err(inner) => AtError::Database(sqlx::Error::AnyDriverError(inner)),
        },
        error => AtError::Database(error),
    }
}
