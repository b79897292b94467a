//! PostgreSQL, from version 14.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use sqlx::postgres::{PgPoolOptions, PgTransactionManager};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, SqlSafeStr, SqlStr};
use sqlx_core::transaction::TransactionManager as _;
use tokio::sync::Semaphore;

use super::{Driver, OwnConnections};
use crate::db::{DbError, Failure, LocalDatabase, PostgresDatabase, PostgresSql, Sql, Value};

/// The longest time that the server takes as a limit, in milliseconds.
const TIMEOUT_MS_MAX: u128 = i32::MAX as u128;

/// Which table the session's `search_path` finds under the barrier's name.
pub(crate) const BARRIER_PLACE: &str = "to_regclass('pactum_barrier')::oid::text";

/// Fails inside a transaction that somebody left open on the connection, which began before this message
/// did: BEGIN only warns of it.
pub(crate) const ALONE: &str = "SELECT 1 / (now() = statement_timestamp())::int";

#[allow(private_interfaces, reason = "sealed, see the trait")]
impl Driver for Postgres {
    const WRITERS: usize = Semaphore::MAX_PERMITS;
    const UPDATES_RETURN: bool = true;

    /// The limit holds for waiting too, and ends with the local transaction. A shorter one of the
    /// session's stays; that this is asked settles the isolation, which must be the default anyway.
    /// It is parsed each time, so it says as little as it can.
    fn begin(left: Option<Duration>) -> SqlStr {
        let limit = left.map_or_else(String::new, |left| {
            // Rounded up, so that the deadline has passed when the limit has.
            let milliseconds = (left.as_millis() + 1).min(TIMEOUT_MS_MAX);
            format!(
                ", CASE WHEN current_setting('statement_timeout')::interval NOT BETWEEN '1ms' AND \
                 '{milliseconds}ms' THEN set_config('statement_timeout', '{milliseconds}', true) END"
            )
        });
        AssertSqlSafe(format!("BEGIN; {ALONE}{limit}")).into_sql_str()
    }

    /// Nothing else at a begin divides; one in which a statement failed takes no other; or sqlx itself
    /// knows of one.
    fn was_left_open(error: &sqlx::Error) -> bool {
        match error.as_database_error() {
            Some(error) => matches!(error.code().as_deref(), Some("22012" | "25P02")),
            None => matches!(error, sqlx::Error::InvalidSavePointStatement),
        }
    }

    /// COMMIT of a transaction in which a statement failed rolls back and says that all is well, so a
    /// question goes before it, in the same message. Chained, it also refuses where no transaction is;
    /// the empty one that it leaves is rolled back as the connection goes home.
    fn commit(connection: &mut PgConnection) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            sqlx::raw_sql("SELECT 1; COMMIT AND CHAIN").execute(&mut *connection).await?;
            PgTransactionManager::start_rollback(connection);
            Ok(())
        })
    }

    fn sql(connection: &mut PgConnection) -> Box<dyn Sql + '_> {
        Box::new(PostgresSql(connection))
    }

    fn classify(error: &sqlx::Error) -> Failure {
        crate::db::classify_pg(error)
    }

    fn check_suitable<'e>(
        sql: &'e mut dyn Sql,
    ) -> BoxFuture<'e, Result<Result<(), &'static str>, DbError>> {
        Box::pin(async move {
            let found = sql
                .query(
                    "SELECT current_setting('server_version_num')::int >= 140000, \
                     current_setting('server_encoding') = 'UTF8', NOT pg_is_in_recovery(), \
                     current_setting('synchronous_commit') <> 'off'",
                    &[],
                )
                .await?;
            let found = found.first().map(Vec::as_slice).unwrap_or_default();
            let faults = [
                "the server is older than PostgreSQL 14",
                "the database's encoding is not UTF8: images of its text would not be exact",
                "the server is a standby, on which nothing can be written",
                "`synchronous_commit` is off: a local commit could be lost after it was reported",
            ];
            let fault = faults.into_iter().zip(found).find(|(_, holds)| !is_true(holds));
            Ok(fault.map_or(Ok(()), |(why, _)| Err(why)))
        })
    }

    fn barrier_place<'e>(sql: &'e mut dyn Sql) -> BoxFuture<'e, Result<Option<Arc<str>>, DbError>> {
        Box::pin(async move {
            let rows = sql.query(&format!("SELECT {BARRIER_PLACE}"), &[]).await?;
            Ok(rows.first().and_then(|row| row[0].as_text()).map(Into::into))
        })
    }

    fn at_the_barrier(place: Option<&str>, first: usize) -> (String, Vec<Value>) {
        let durable = "current_setting('synchronous_commit') <> 'off'";
        match place {
            None => (durable.to_owned(), Vec::new()),
            Some(place) => {
                (format!("{durable} AND {BARRIER_PLACE} = ?{first}"), vec![Value::text(place)])
            }
        }
    }

    fn own_connections(
        pool: &PgPool,
        _writer: &Arc<Semaphore>,
        own: &OwnConnections,
    ) -> Arc<dyn LocalDatabase> {
        let pool = PgPoolOptions::new()
            .max_connections(own.count)
            .acquire_timeout(own.local_lock_wait_max)
            .test_before_acquire(false)
            .connect_lazy_with((*pool.connect_options()).clone());
        Arc::new(PostgresDatabase::new(pool, own.count, own.local_lock_wait_max))
    }
}

fn is_true(value: &Value) -> bool {
    value.as_integer() == Some(1)
}
