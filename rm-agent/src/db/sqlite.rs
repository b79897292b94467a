//! SQLite behind the small trait, through sqlx.
//!
//! Every value is read by its own storage class, never by the column's declared type, so what is
//! captured is what is stored. Text is read as bytes first: SQLite does not promise UTF-8.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    Arguments, AssertSqlSafe, Decode, Row as _, Sqlite, SqliteConnection, SqlitePool, Transaction,
    TypeInfo, ValueRef,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{DbError, Failure, Kind, LocalDatabase, LocalTransaction, Row, Sql, Value};

/// A SQLite database, known to phase two.
#[derive(Debug)]
pub(crate) struct SqliteDatabase {
    pub(crate) pool: SqlitePool,
    /// The database has one writer: whoever wants to write queues here first, in order. SQLite's own
    /// queue is a poll with growing sleeps, in which the unlucky starve.
    pub(crate) writer: Arc<Semaphore>,
    pub(crate) local_lock_wait_max: Duration,
}

#[async_trait]
impl LocalDatabase for SqliteDatabase {
    async fn begin(&self) -> Result<Box<dyn LocalTransaction>, DbError> {
        let doing = "begin a local transaction";
        let turn = self.turn(doing).await?;
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await;
        let inner = begun.map_err(|error| failed(doing, error))?;
        Ok(Box::new(SqliteTransaction { inner, _turn: turn }))
    }

    async fn alone(&self) -> Result<Box<dyn Sql>, DbError> {
        let doing = "take a connection";
        let turn = self.turn(doing).await?;
        let connection = self.pool.acquire().await.map_err(|error| failed(doing, error))?;
        Ok(Box::new(Alone { connection, _turn: turn }))
    }
}

impl SqliteDatabase {
    /// The right to write.
    async fn turn(&self, doing: &'static str) -> Result<OwnedSemaphorePermit, DbError> {
        let turn = tokio::time::timeout(
            self.local_lock_wait_max,
            Arc::clone(&self.writer).acquire_owned(),
        );
        let busy =
            || DbError { failure: Failure::Busy, doing, source: "the writer is busy".into() };
        turn.await.map_err(|_| busy())?.map_err(|_| busy())
    }
}

/// A connection outside of any local transaction, in its turn.
struct Alone {
    connection: PoolConnection<Sqlite>,
    _turn: OwnedSemaphorePermit,
}

#[async_trait]
impl Sql for Alone {
    fn kind(&self) -> Kind {
        Kind::Sqlite
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        SqliteSql(&mut self.connection).execute(sql, values).await
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        SqliteSql(&mut self.connection).query(sql, values).await
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        SqliteSql(&mut self.connection).run(text).await
    }
}

/// Field order is drop order: the rollback is queued before the next writer has its turn.
struct SqliteTransaction {
    inner: Transaction<'static, Sqlite>,
    _turn: OwnedSemaphorePermit,
}

#[async_trait]
impl Sql for SqliteTransaction {
    fn kind(&self) -> Kind {
        Kind::Sqlite
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        SqliteSql(&mut self.inner).execute(sql, values).await
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        SqliteSql(&mut self.inner).query(sql, values).await
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        SqliteSql(&mut self.inner).run(text).await
    }
}

#[async_trait]
impl LocalTransaction for SqliteTransaction {
    async fn commit(self: Box<Self>) -> Result<(), DbError> {
        self.inner.commit().await.map_err(|error| failed("commit a local transaction", error))
    }

    async fn rollback(self: Box<Self>) {
        // A rollback that fails ends with the connection's: SQLite then rolls back by itself.
        if let Err(error) = self.inner.rollback().await {
            tracing::debug!(error = %error, "local rollback not confirmed");
        }
    }
}

/// A SQLite connection, for statements of our own.
pub(crate) struct SqliteSql<'c>(pub(crate) &'c mut SqliteConnection);

#[async_trait]
impl Sql for SqliteSql<'_> {
    fn kind(&self) -> Kind {
        Kind::Sqlite
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
        let done = query.execute(&mut *self.0).await;
        Ok(done.map_err(|error| failed("run a statement", error))?.rows_affected())
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
        let rows = query.fetch_all(&mut *self.0).await;
        let rows = rows.map_err(|error| failed("run a query", error))?;
        let read = |row: &SqliteRow| {
            read_row(row, 0, row.len()).map_err(|error| failed("read a row", error))
        };
        rows.iter().map(read).collect()
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        let rows = sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut *self.0).await;
        let rows = rows.map_err(|error| failed("run a statement", error))?;
        let read = |row: &SqliteRow| {
            read_row(row, 0, row.len()).map_err(|error| failed("read a row", error))
        };
        rows.iter().map(read).collect()
    }
}

fn arguments(values: &[Value]) -> Result<SqliteArguments, DbError> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        add_value(&mut arguments, value).map_err(|source| DbError {
            failure: Failure::Other,
            doing: "bind a value",
            source,
        })?;
    }
    Ok(arguments)
}

/// Binds a value. A [`Value::RawText`] is bound as bytes: its statement casts it.
fn add_value(
    arguments: &mut SqliteArguments,
    value: &Value,
) -> Result<(), sqlx::error::BoxDynError> {
    match value {
        Value::Null => arguments.add(None::<i64>),
        Value::Integer(value) => arguments.add(*value),
        Value::Unsigned(value) => arguments.add(i64::try_from(*value)?),
        Value::Float(bits) => arguments.add(f64::from_bits(*bits)),
        Value::Text(text) => arguments.add(text.as_str()),
        Value::RawText(bytes) | Value::Bytes(bytes) => arguments.add(bytes.as_slice()),
    }
}

/// Reads `count` values of a row, each by its own storage class.
pub(crate) fn read_row(row: &SqliteRow, first: usize, count: usize) -> Result<Row, sqlx::Error> {
    (first..first + count).map(|index| read_value(row, index)).collect()
}

fn read_value(row: &SqliteRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let class = raw.type_info().name().to_owned();
    match class.as_str() {
        "INTEGER" => {
            Ok(Value::Integer(Decode::<Sqlite>::decode(raw).map_err(sqlx::Error::Decode)?))
        }
        "REAL" => {
            let value: f64 = Decode::<Sqlite>::decode(raw).map_err(sqlx::Error::Decode)?;
            Ok(Value::Float(value.to_bits()))
        }
        "TEXT" => {
            let bytes: Vec<u8> = Decode::<Sqlite>::decode(raw).map_err(sqlx::Error::Decode)?;
            Ok(String::from_utf8(bytes)
                .map_or_else(|error| Value::RawText(error.into_bytes()), Value::Text))
        }
        "BLOB" => Ok(Value::Bytes(Decode::<Sqlite>::decode(raw).map_err(sqlx::Error::Decode)?)),
        other => Err(sqlx::Error::Protocol(format!("a value of unknown storage class {other}"))),
    }
}

/// What an error of SQLite means.
pub(crate) fn classify(error: &sqlx::Error) -> Failure {
    let sqlx::Error::Database(database) = error else {
        return if matches!(error, sqlx::Error::PoolTimedOut) {
            Failure::Busy
        } else {
            Failure::Other
        };
    };
    let code: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or(0);
    // An extended code carries its primary one in the low byte.
    match (code, code & 0xff) {
        (1555 | 2067 | 2579, _) => Failure::Unique,
        (_, 19) => Failure::Constraint,
        (_, 5 | 6) => Failure::Busy,
        // ERROR, TOOBIG, MISMATCH, RANGE.
        (_, 1 | 18 | 20 | 25) => Failure::Statement,
        _ => Failure::Other,
    }
}

fn failed(doing: &'static str, error: sqlx::Error) -> DbError {
    DbError { failure: classify(&error), doing, source: Box::new(error) }
}
