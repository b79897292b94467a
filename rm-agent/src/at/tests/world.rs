//! A bank's database in a file, attached to the coordinator in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pactum_core::id::{ResourceUid, StoreId, Xid, XidNumber};
use pactum_core::time::WallTime;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool};

use super::fake::{Fake, STORE};
use crate::at::options::Environment;
use crate::at::{AtError, AtOptions, AtPool};
use crate::context::TransactionContext;
use crate::db::{Row, Sql, SqliteSql};

/// The wall clock of the tests, in milliseconds.
pub(super) const NOW: u64 = 1_700_000_000_000;

pub(super) struct World {
    _dir: tempfile::TempDir,
    pub(super) pool: SqlitePool,
    pub(super) at: AtPool<Sqlite>,
    pub(super) fake: Arc<Fake>,
    next_xid: AtomicU64,
}

pub(super) fn options() -> AtOptions {
    let environment = Environment { wall: || WallTime(NOW), random_uid: || ResourceUid(0xfeed) };
    AtOptions { environment, ..AtOptions::default().create_tables(true) }
}

/// A pool on a file, durable only as far as tests need.
pub(super) async fn file_pool(dir: &tempfile::TempDir) -> SqlitePool {
    let connect = SqliteConnectOptions::new()
        .filename(dir.path().join("bank.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .busy_timeout(Duration::from_secs(2));
    SqlitePoolOptions::new().max_connections(5).connect_with(connect).await.unwrap()
}

impl World {
    /// A database with this schema and content.
    pub(super) async fn new(schema: &str) -> World {
        World::with(schema, options()).await
    }

    pub(super) async fn with(schema: &str, options: AtOptions) -> World {
        let dir = tempfile::tempdir().unwrap();
        let pool = file_pool(&dir).await;
        sqlx::raw_sql(AssertSqlSafe(schema)).execute(&pool).await.unwrap();
        let fake = Arc::new(Fake::default());
        let link = Arc::clone(&fake);
        let at = AtPool::attach_over(link, "bank-a".parse().unwrap(), pool.clone(), options);
        let at = at.await.unwrap();
        World { _dir: dir, pool, at, fake, next_xid: AtomicU64::new(1) }
    }

    pub(super) fn context(&self) -> TransactionContext {
        self.context_for(Duration::from_secs(60))
    }

    pub(super) fn context_for(&self, remaining: Duration) -> TransactionContext {
        TransactionContext::new(self.xid(), STORE, remaining)
    }

    pub(super) fn foreign_context(&self) -> TransactionContext {
        TransactionContext::new(self.xid(), StoreId(0xbad), Duration::from_secs(60))
    }

    fn xid(&self) -> Xid {
        let number = XidNumber(self.next_xid.fetch_add(1, Ordering::Relaxed));
        Xid { group: "default".parse().unwrap(), number }
    }

    /// Runs statements as one branch of `context`.
    pub(super) async fn run(
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
    pub(super) async fn behind(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&self.pool).await.unwrap();
    }

    pub(super) async fn query(&self, sql: &str) -> Vec<Row> {
        let mut connection = self.pool.acquire().await.unwrap();
        SqliteSql(&mut connection).query(sql, &[]).await.unwrap()
    }

    /// One value, as text.
    pub(super) async fn value(&self, sql: &str) -> String {
        let rows = self.query(sql).await;
        rows.first().map_or_else(|| "none".to_owned(), |row| row[0].to_string())
    }

    /// Every value of every table of the application, with its storage class: sorted, since a
    /// restored row may lie elsewhere.
    pub(super) async fn dump(&self) -> Vec<String> {
        let tables = self
            .query(
                "SELECT name FROM sqlite_schema WHERE type = 'table' \
                 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                 AND name NOT LIKE 'pactum\\_%' ESCAPE '\\'",
            )
            .await;
        let mut dump = Vec::new();
        for table in tables {
            let name = table[0].as_text().unwrap().replace('`', "``");
            let rows = self.query(&format!("SELECT * FROM `{name}`")).await;
            dump.extend(rows.into_iter().map(|row| format!("{name} {row:?}")));
        }
        dump.sort();
        dump
    }

    /// The barrier's rows: state and body.
    pub(super) async fn barrier(&self) -> Vec<String> {
        let rows = self.query("SELECT state FROM pactum_barrier ORDER BY branch_id").await;
        rows.iter().map(|row| row[0].as_text().unwrap().to_owned()).collect()
    }

    /// Runs the statements as a branch, rolls it back, and expects everything to be as before.
    pub(super) async fn undo(&self, statements: &[&str]) {
        let before = self.dump().await;
        let context = self.context();
        self.run(&context, statements).await.unwrap();
        assert_ne!(self.dump().await, before, "{statements:?} changed nothing");
        let answers = self.fake.roll_back(context.xid()).await;
        assert_eq!(answers, vec![crate::branch::Answer::Done], "{statements:?}");
        assert_eq!(self.dump().await, before, "{statements:?}");
        assert_eq!(self.fake.locks(context.xid()), Vec::<String>::new());
    }
}

/// Our error out of sqlx's.
pub(super) fn take(error: sqlx::Error) -> AtError {
    match error {
        sqlx::Error::AnyDriverError(inner) => match inner.downcast::<AtError>() {
            Ok(error) => *error,
            Err(inner) => AtError::Database(sqlx::Error::AnyDriverError(inner)),
        },
        error => AtError::Database(error),
    }
}
