//! SQLite: one writer, in turns.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{SqlStr, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::Semaphore;

use super::{Driver, OwnConnections};
use crate::db::{DbError, Failure, LocalDatabase, Sql, SqliteDatabase, SqliteSql, Value, classify};

/// Phase two writes from one connection at a time; the second is for looking up what became of a
/// local commit.
const OWN_CONNECTIONS: u32 = 2;

#[allow(private_interfaces, reason = "sealed, see the trait")]
impl Driver for Sqlite {
    const WRITERS: usize = 1;
    const UPDATES_RETURN: bool = true;

    /// Nobody waits for a lock once the local transaction has begun.
    fn begin(_left: Option<Duration>) -> SqlStr {
        SqlStr::from_static("BEGIN IMMEDIATE")
    }

    /// The database has no code for it; or sqlx itself knows of one.
    fn was_left_open(error: &sqlx::Error) -> bool {
        match error.as_database_error() {
            Some(error) => error.message().contains("within a transaction"),
            None => matches!(error, sqlx::Error::InvalidSavePointStatement),
        }
    }

    fn sql(connection: &mut SqliteConnection) -> Box<dyn Sql + '_> {
        Box::new(SqliteSql(connection))
    }

    fn classify(error: &sqlx::Error) -> Failure {
        classify(error)
    }

    fn check_suitable<'e>(
        sql: &'e mut dyn Sql,
    ) -> BoxFuture<'e, Result<Result<(), &'static str>, DbError>> {
        Box::pin(async move {
            let rows = sql.query("PRAGMA encoding", &[]).await?;
            let is_utf8 = rows.first().is_some_and(|row| row[0].as_text() == Some("UTF-8"));
            if !is_utf8 {
                let why =
                    "the database's encoding is not UTF-8: images of its text would not be exact";
                return Ok(Err(why));
            }
            let main = "SELECT 1 FROM pragma_database_list WHERE name = 'main' AND file <> ''";
            let in_a_file = !sql.query(main, &[]).await?.is_empty();
            let why = "the database is in memory, where each connection has its own: phase two needs \
                       connections of its own to the same data, so use a file";
            Ok(if in_a_file { Ok(()) } else { Err(why) })
        })
    }

    /// A temporary table would stand in for the barrier unnoticed.
    fn at_the_barrier(_place: Option<&str>, _first: usize) -> (String, Vec<Value>) {
        let condition =
            "NOT EXISTS (SELECT 1 FROM temp.sqlite_schema WHERE lower(name) = 'pactum_barrier')";
        (condition.to_owned(), Vec::new())
    }

    fn own_connections(
        pool: &SqlitePool,
        writer: &Arc<Semaphore>,
        own: &OwnConnections,
    ) -> Arc<dyn LocalDatabase> {
        let connect = (*pool.connect_options()).clone().busy_timeout(own.local_lock_wait_max);
        let pool = SqlitePoolOptions::new()
            .max_connections(OWN_CONNECTIONS)
            .acquire_timeout(own.local_lock_wait_max)
            .connect_lazy_with(connect);
        Arc::new(SqliteDatabase {
            pool,
            writer: Arc::clone(writer),
            local_lock_wait_max: own.local_lock_wait_max,
        })
    }
}
