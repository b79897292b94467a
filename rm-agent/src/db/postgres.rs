//! PostgreSQL behind the small trait, through sqlx.
//!
//! Values travel as text, 64-bit integers or bytes, and the statements cast them. A NULL is bound as
//! a text: sqlx prepares by the text of a statement alone, so one text must always have parameters of
//! the same types.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow, PgValueRef};
use sqlx::{
    Arguments, AssertSqlSafe, Decode, PgConnection, PgPool, Postgres, Row as _, Transaction,
    TypeInfo, ValueRef,
};

use super::{DbError, Failure, Kind, LocalDatabase, LocalTransaction, Row, Sql, Value};

/// The longest time that PostgreSQL takes as a timeout, in milliseconds.
const TIMEOUT_MS_MAX: u128 = i32::MAX as u128;

/// A PostgreSQL database, known to phase two.
#[derive(Debug)]
pub(crate) struct PostgresDatabase {
    pub(crate) pool: PgPool,
    /// How many connections the pool may hold, and so how many may have gone stale.
    pub(crate) connections: u32,
    begin: String,
}

impl PostgresDatabase {
    /// Every local transaction of our own begins with the same settings, whatever the role, the
    /// database or the server has for defaults: images are compared as text.
    pub(crate) fn new(pool: PgPool, connections: u32, local_lock_wait_max: Duration) -> Self {
        let milliseconds = local_lock_wait_max.as_millis().clamp(1, TIMEOUT_MS_MAX);
        // One message, so one round trip.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
             SET LOCAL lock_timeout = {milliseconds}; \
             SET LOCAL statement_timeout = {}; \
             SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL TimeZone = 'UTC'; \
             SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 3; \
             SET LOCAL bytea_output = 'hex'; SET LOCAL xmloption = 'content'; \
             SET LOCAL array_nulls = on; SET LOCAL standard_conforming_strings = on",
            (milliseconds * STATEMENT_TO_LOCK_WAIT).min(TIMEOUT_MS_MAX)
        );
        PostgresDatabase { pool, connections, begin }
    }
}

/// A statement may wait for locks of several rows, one after another, and for the disk.
const STATEMENT_TO_LOCK_WAIT: u128 = 4;

#[async_trait]
impl LocalDatabase for PostgresDatabase {
    async fn begin(&self) -> Result<Box<dyn LocalTransaction>, DbError> {
        // Connections are not tested before they are used. Each stale one costs a try.
        let mut tries = 0;
        loop {
            match self.pool.begin_with(AssertSqlSafe(self.begin.clone())).await {
                Ok(inner) => return Ok(Box::new(PostgresTransaction { inner })),
                Err(error) if tries < self.connections && is_stale(&error) => tries += 1,
                Err(error) => return Err(failed("begin a local transaction", error)),
            }
        }
    }

    async fn alone(&self) -> Result<Box<dyn Sql>, DbError> {
        let acquired = self.pool.acquire().await;
        Ok(Box::new(Alone(acquired.map_err(|error| failed("take a connection", error))?)))
    }
}

/// A connection outside of any local transaction.
struct Alone(PoolConnection<Postgres>);

#[async_trait]
impl Sql for Alone {
    fn kind(&self) -> Kind {
        Kind::Postgres
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        PostgresSql(&mut self.0).execute(sql, values).await
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        PostgresSql(&mut self.0).query(sql, values).await
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        PostgresSql(&mut self.0).run(text).await
    }
}

/// Whether the connection, which lay in the pool, was gone before it was used.
fn is_stale(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(database) => {
            database.code().is_some_and(|code| code.starts_with("57P"))
        }
        _ => false,
    }
}

struct PostgresTransaction {
    inner: Transaction<'static, Postgres>,
}

#[async_trait]
impl Sql for PostgresTransaction {
    fn kind(&self) -> Kind {
        Kind::Postgres
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        PostgresSql(&mut self.inner).execute(sql, values).await
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        PostgresSql(&mut self.inner).query(sql, values).await
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        PostgresSql(&mut self.inner).run(text).await
    }
}

#[async_trait]
impl LocalTransaction for PostgresTransaction {
    /// COMMIT of a transaction in which a statement failed rolls back and says that all is well, so
    /// whoever got an error before must not come here.
    async fn commit(self: Box<Self>) -> Result<(), DbError> {
        self.inner.commit().await.map_err(|error| failed("commit a local transaction", error))
    }

    async fn rollback(self: Box<Self>) {
        // A rollback that fails ends with the connection's.
        if let Err(error) = self.inner.rollback().await {
            tracing::debug!(error = %error, "local rollback not confirmed");
        }
    }
}

/// A PostgreSQL connection, for statements of our own.
pub(crate) struct PostgresSql<'c>(pub(crate) &'c mut PgConnection);

#[async_trait]
impl Sql for PostgresSql<'_> {
    fn kind(&self) -> Kind {
        Kind::Postgres
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        let query = sqlx::query_with(AssertSqlSafe(numbered(sql)), arguments(values)?);
        let done = query.execute(&mut *self.0).await;
        Ok(done.map_err(|error| failed("run a statement", error))?.rows_affected())
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        let query = sqlx::query_with(AssertSqlSafe(numbered(sql)), arguments(values)?);
        let rows = query.fetch_all(&mut *self.0).await;
        let rows = rows.map_err(|error| failed("run a query", error))?;
        let read = |row: &PgRow| {
            read_pg_row(row, 0, row.len()).map_err(|error| failed("read a row", error))
        };
        rows.iter().map(read).collect()
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        let rows = sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut *self.0).await;
        let rows = rows.map_err(|error| failed("run a statement", error))?;
        let read = |row: &PgRow| {
            read_pg_row(row, 0, row.len()).map_err(|error| failed("read a row", error))
        };
        rows.iter().map(read).collect()
    }
}

/// Our `?1` as PostgreSQL's `$1`. What stands in quotes is left alone.
fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quote = None;
    let mut letters = sql.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            // A doubled quote ends and begins again, which comes to the same.
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
        let is_parameter = letter == '?'
            && quote.is_none()
            && letters.peek().is_some_and(|next| next.is_ascii_digit());
        out.push(if is_parameter { '$' } else { letter });
    }
    out
}

fn arguments(values: &[Value]) -> Result<PgArguments, DbError> {
    let mut arguments = PgArguments::default();
    for value in values {
        add_value(&mut arguments, value).map_err(|source| DbError {
            failure: Failure::Other,
            doing: "bind a value",
            source,
        })?;
    }
    Ok(arguments)
}

fn add_value(arguments: &mut PgArguments, value: &Value) -> Result<(), sqlx::error::BoxDynError> {
    match value {
        Value::Null => arguments.add(None::<&str>),
        Value::Integer(value) => arguments.add(*value),
        Value::Unsigned(value) => arguments.add(i64::try_from(*value)?),
        Value::Float(bits) => arguments.add(f64::from_bits(*bits)),
        Value::Text(text) => arguments.add(text.as_str()),
        Value::RawText(bytes) | Value::Bytes(bytes) => arguments.add(bytes.as_slice()),
    }
}

/// Reads `count` values of a row: texts, whole numbers, truth values (as 0 and 1) and bytes, which is
/// all that our own statements ask for.
pub(crate) fn read_pg_row(row: &PgRow, first: usize, count: usize) -> Result<Row, sqlx::Error> {
    (first..first + count).map(|index| read_value(row.try_get_raw(index)?)).collect()
}

fn read_value(raw: PgValueRef<'_>) -> Result<Value, sqlx::Error> {
    fn decode<'r, T: Decode<'r, Postgres>>(raw: PgValueRef<'r>) -> Result<T, sqlx::Error> {
        T::decode(raw).map_err(sqlx::Error::Decode)
    }
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let name = raw.type_info().name().to_owned();
    Ok(match name.as_str() {
        "TEXT" | "VARCHAR" | "NAME" => Value::Text(decode::<String>(raw)?),
        "BOOL" => Value::Integer(i64::from(decode::<bool>(raw)?)),
        "INT2" => Value::Integer(i64::from(decode::<i16>(raw)?)),
        "INT4" => Value::Integer(i64::from(decode::<i32>(raw)?)),
        "INT8" => Value::Integer(decode::<i64>(raw)?),
        "BYTEA" => Value::Bytes(decode::<Vec<u8>>(raw)?),
        // What a function returns that has nothing to say.
        "VOID" => Value::Null,
        other => return Err(sqlx::Error::Protocol(format!("a value of unexpected type {other}"))),
    })
}

/// What an error of PostgreSQL means, by its SQLSTATE.
pub(crate) fn classify_pg(error: &sqlx::Error) -> Failure {
    let sqlx::Error::Database(database) = error else {
        return if matches!(error, sqlx::Error::PoolTimedOut) {
            Failure::Busy
        } else {
            Failure::Other
        };
    };
    let code = database.code().unwrap_or_default();
    match (code.as_ref(), code.get(..2).unwrap_or_default()) {
        ("23505" | "23P01", _) => Failure::Unique,
        (_, "23") => Failure::Constraint,
        // A lock was not to be had, the statement was cancelled, a deadlock, a conflict of versions.
        ("55P03" | "57014" | "40P01" | "40001", _) => Failure::Busy,
        // No connection, no resources, the server goes down.
        (_, "08" | "53") => Failure::Busy,
        (code, "57") if code.starts_with("57P") => Failure::Busy,
        // The statement itself: its syntax, its names, its rights, its values, what it asks for.
        (_, "42" | "22" | "0A" | "21" | "2B" | "3F" | "44" | "54") => Failure::Statement,
        _ => Failure::Other,
    }
}

fn failed(doing: &'static str, error: sqlx::Error) -> DbError {
    DbError { failure: classify_pg(&error), doing, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_renumbered_and_quoted_text_is_not() {
        for (ours, theirs) in [
            ("SELECT ?1, ?12", "SELECT $1, $12"),
            ("SELECT '?1', \"?1\", ?1", "SELECT '?1', \"?1\", $1"),
            ("SELECT 'it''s ?1', \"a\"\"?1\", ?2", "SELECT 'it''s ?1', \"a\"\"?1\", $2"),
            ("SELECT a ? 'b', ?1", "SELECT a ? 'b', $1"),
        ] {
            assert_eq!(numbered(ours), theirs);
        }
    }
}
