//! MySQL and MariaDB.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use sqlx::mysql::{MySqlDatabaseError, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Executor, MySql, MySqlConnection, MySqlPool, SqlStr};
use tokio::sync::Semaphore;

use super::{Driver, OwnConnections};
use crate::db::{DbError, Failure, LocalDatabase, MySqlDatabase, MySqlSql, Sql, Value};

/// The condition that the session is in the database that holds the agent's tables.
pub(crate) fn in_database(parameter: usize) -> String {
    format!("CAST(database() AS BINARY) = CAST(?{parameter} AS BINARY)")
}

#[allow(private_interfaces, reason = "sealed, see the trait")]
impl Driver for MySql {
    const WRITERS: usize = Semaphore::MAX_PERMITS;
    const UPDATES_RETURN: bool = false;

    /// A limit could only be set for the session, and would stay when its connection goes back to the
    /// pool. START TRANSACTION commits what is open; what goes before it, in the same message, is refused
    /// there, and otherwise says what holds for a transaction that writes.
    fn begin(_left: Option<Duration>) -> SqlStr {
        SqlStr::from_static("SET TRANSACTION READ WRITE; START TRANSACTION")
    }

    fn was_left_open(error: &sqlx::Error) -> bool {
        let number = error.as_database_error().and_then(|error| {
            error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
        });
        match number {
            // Characteristics of a transaction that is under way; `XAER_OUTSIDE`, of a branch.
            Some(1568 | 1400) => true,
            Some(_) => false,
            // sqlx itself knows of one.
            None => matches!(error, sqlx::Error::InvalidSavePointStatement),
        }
    }

    fn sql(connection: &mut MySqlConnection) -> Box<dyn Sql + '_> {
        Box::new(MySqlSql(connection))
    }

    fn classify(error: &sqlx::Error) -> Failure {
        crate::db::classify_mysql(error)
    }

    fn check_suitable<'e>(
        sql: &'e mut dyn Sql,
    ) -> BoxFuture<'e, Result<Result<(), &'static str>, DbError>> {
        Box::pin(async move {
            let asked = "SELECT coalesce(database(), ''), @@log_bin = 1 AND \
                         @@binlog_format = 'STATEMENT'";
            let rows = sql.query(asked, &[]).await?;
            let Some(row) = rows.first() else { return Ok(Err("the server said nothing")) };
            if row[0].as_text() == Some("") {
                return Ok(Err("no database is selected: name one in the pool's URL"));
            }
            if row[1].as_integer() == Some(1) {
                let why = "the server's binlog_format is STATEMENT, with which InnoDB takes no \
                           changes under READ COMMITTED, and phase two needs it: use MIXED or ROW";
                return Ok(Err(why));
            }
            Ok(Ok(()))
        })
    }

    fn barrier_place<'e>(sql: &'e mut dyn Sql) -> BoxFuture<'e, Result<Option<Arc<str>>, DbError>> {
        Box::pin(async move {
            let rows = sql.query("SELECT database()", &[]).await?;
            Ok(rows.first().and_then(|row| row[0].as_text()).map(Into::into))
        })
    }

    fn at_the_barrier(place: Option<&str>, first: usize) -> (String, Vec<Value>) {
        match place {
            None => ("1 = 1".to_owned(), Vec::new()),
            Some(place) => (in_database(first), vec![Value::text(place)]),
        }
    }

    fn own_connections(
        pool: &MySqlPool,
        _writer: &Arc<Semaphore>,
        own: &OwnConnections,
    ) -> Arc<dyn LocalDatabase> {
        Arc::new(MySqlDatabase { pool: own_pool(pool, own) })
    }
}

/// The same database, over connections that write what a table can hold.
///
/// READ COMMITTED, because gap locks of phase two would only be in everybody's way: whatever it reads
/// it locks, and a barrier row that is not there is kept away by the tombstone's own key.
fn own_pool(pool: &MySqlPool, own: &OwnConnections) -> MySqlPool {
    let wait = own.local_lock_wait_max;
    // Whole seconds, and no less than one.
    let seconds = wait.as_secs().max(1);
    let settings = format!(
        "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', \
         time_zone = '+00:00', foreign_key_checks = 1, unique_checks = 1, autocommit = 1, \
         innodb_lock_wait_timeout = {seconds}, NAMES utf8mb4; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
    );
    MySqlPoolOptions::new()
        .max_connections(own.count)
        .acquire_timeout(wait.max(Duration::from_secs(1)))
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                connection.execute(sqlx::raw_sql(AssertSqlSafe(settings))).await.map(|_| ())
            })
        })
        .connect_lazy_with((*pool.connect_options()).clone())
}
