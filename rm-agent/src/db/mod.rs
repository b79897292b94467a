//! How phase two, the barrier and the restore know a database: one small trait, our own values.
//!
//! ```text
//! LocalDatabase ──begin──▶ LocalTransaction ──commit / rollback
//!                              │ is a
//!                             Sql: execute and query, one statement at a time
//! ```
//!
//! Phase one uses [`Sql`] too, on the connection that holds the user's own local transaction.
//! Statements number their parameters (`?1`, `?2`), so that one value may be used twice; another
//! database's implementor rewrites them.

mod driver;
mod mysql;
mod postgres;
mod sqlite;
mod value;

use std::error::Error;

use async_trait::async_trait;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;

pub(crate) use driver::{
    Driver, OwnConnections, POSTGRES_ALONE, POSTGRES_BARRIER_PLACE, in_mysql_database,
};
pub(crate) use mysql::{
    MySqlDatabase, MySqlSql, add_value as add_mysql_value, classify as classify_mysql,
    read_row as read_mysql_row,
};
pub(crate) use postgres::{PostgresDatabase, PostgresSql, classify_pg, read_pg_row};
pub(crate) use sqlite::{SqliteDatabase, SqliteSql, classify, read_row};
pub(crate) use value::Value;
#[cfg(test)]
pub(crate) use value::test_values;

/// Which database it is: what a few statements must know, and every log line may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

/// A row, as captured: one value a column asked for.
pub(crate) type Row = Vec<Value>;

/// What a failed statement means for what we do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Somebody else holds the database's own lock: try again later.
    Busy,
    /// A key is there already.
    Unique,
    /// Another constraint: a foreign key, a check.
    Constraint,
    /// The statement itself is wrong, for instance because a table is missing. Nothing was changed.
    Statement,
    /// Anything else. The local transaction may be gone.
    Other,
}

/// A statement that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub(crate) struct DbError {
    pub(crate) failure: Failure,
    pub(crate) doing: &'static str,
    #[source]
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

impl DbError {
    /// What sqlx said.
    pub(crate) fn into_sqlx(self) -> sqlx::Error {
        match self.source.downcast::<sqlx::Error>() {
            Ok(error) => *error,
            Err(source) => sqlx::Error::AnyDriverError(source),
        }
    }

    /// What went wrong, with every cause, in one line.
    pub(crate) fn chain(&self) -> String {
        format!("{}: {}", self.doing, self.source)
    }
}

/// Whether the database ended a statement or a local commit for the sake of another one, for certain
/// without effect: a deadlock, a conflict of versions, a lock that was not to be had in time.
pub(crate) fn is_passing(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return matches!(error.number(), 1020 | 1205 | 1213 | 3572);
    }
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        return matches!(code.as_ref(), "40001" | "40P01" | "55P03");
    }
    // An extended code of SQLite carries its primary one in the low byte: BUSY, LOCKED.
    code.parse().is_ok_and(|code: i32| matches!(code & 0xff, 5 | 6))
}

/// A connection that runs statements.
#[async_trait]
pub(crate) trait Sql: Send {
    fn kind(&self) -> Kind;

    /// Runs a statement and returns how many rows it changed.
    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError>;

    /// Runs a statement and returns its rows.
    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError>;

    /// Runs a text of one or more statements without parameters, unprepared and in one round trip, and
    /// returns their rows. For what a database does not prepare, or what is never run twice.
    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError>;
}

/// A local transaction. Dropped unfinished, it rolls back.
#[async_trait]
pub(crate) trait LocalTransaction: Sql {
    /// The local commit. An error does not say that nothing was committed.
    async fn commit(self: Box<Self>) -> Result<(), DbError>;

    /// Ends it without a trace.
    async fn rollback(self: Box<Self>);
}

/// A participant's database, with connections of its own.
#[async_trait]
pub(crate) trait LocalDatabase: Send + Sync + 'static {
    /// Begins a local transaction that may write. `Busy` if somebody else writes for too long.
    async fn begin(&self) -> Result<Box<dyn LocalTransaction>, DbError>;

    /// A connection on which every statement commits by itself: a third of the round trips where one
    /// statement is all there is to do, and may be done twice.
    async fn alone(&self) -> Result<Box<dyn Sql>, DbError>;
}
