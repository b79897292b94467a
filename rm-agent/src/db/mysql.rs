//! MySQL and MariaDB behind the small trait, through sqlx.
//!
//! Values are read by what the driver says of their column, and only in the forms that captures have:
//! whole numbers, doubles, text and bytes. A date is refused here: the driver takes a zero date for
//! NULL, so captures ask for its text.
//!
//! Easy to get wrong: text and bytes have the same types on the wire and differ by collation only.

use async_trait::async_trait;
use sqlx::mysql::{MySqlArguments, MySqlDatabaseError, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::{
    Arguments, AssertSqlSafe, MySql, MySqlConnection, MySqlPool, Row as _, Transaction, Type,
    TypeInfo, ValueRef,
};

use super::{DbError, Failure, Kind, LocalDatabase, LocalTransaction, Row, Sql, Value};

/// A MySQL or MariaDB database, known to phase two.
#[derive(Debug)]
pub(crate) struct MySqlDatabase {
    pub(crate) pool: MySqlPool,
}

#[async_trait]
impl LocalDatabase for MySqlDatabase {
    async fn begin(&self) -> Result<Box<dyn LocalTransaction>, DbError> {
        let begun = self.pool.begin().await;
        let inner = begun.map_err(|error| failed("begin a local transaction", error))?;
        Ok(Box::new(MySqlTransaction { inner }))
    }

    async fn alone(&self) -> Result<Box<dyn Sql>, DbError> {
        let acquired = self.pool.acquire().await;
        Ok(Box::new(Alone(acquired.map_err(|error| failed("take a connection", error))?)))
    }
}

/// A connection outside of any local transaction.
struct Alone(PoolConnection<MySql>);

#[async_trait]
impl Sql for Alone {
    fn kind(&self) -> Kind {
        Kind::Mysql
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        MySqlSql(&mut self.0).execute(sql, values).await
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        MySqlSql(&mut self.0).query(sql, values).await
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        MySqlSql(&mut self.0).run(text).await
    }
}

struct MySqlTransaction {
    inner: Transaction<'static, MySql>,
}

#[async_trait]
impl Sql for MySqlTransaction {
    fn kind(&self) -> Kind {
        Kind::Mysql
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        MySqlSql(&mut self.inner).execute(sql, values).await
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        MySqlSql(&mut self.inner).query(sql, values).await
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        MySqlSql(&mut self.inner).run(text).await
    }
}

#[async_trait]
impl LocalTransaction for MySqlTransaction {
    async fn commit(self: Box<Self>) -> Result<(), DbError> {
        self.inner.commit().await.map_err(|error| failed("commit a local transaction", error))
    }

    async fn rollback(self: Box<Self>) {
        // A rollback that fails ends with the connection's: the server then rolls back by itself.
        if let Err(error) = self.inner.rollback().await {
            tracing::debug!(error = %error, "local rollback not confirmed");
        }
    }
}

/// A connection, for statements of our own.
pub(crate) struct MySqlSql<'c>(pub(crate) &'c mut MySqlConnection);

#[async_trait]
impl Sql for MySqlSql<'_> {
    fn kind(&self) -> Kind {
        Kind::Mysql
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DbError> {
        let done = if values.is_empty() {
            // As text: some statements (SAVEPOINT) cannot be prepared on every server.
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *self.0).await
        } else {
            let (sql, arguments) = positional(sql, values)?;
            sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *self.0).await
        };
        Ok(done.map_err(|error| failed("run a statement", error))?.rows_affected())
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DbError> {
        let (sql, arguments) = positional(sql, values)?;
        let rows = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(&mut *self.0).await;
        let rows = rows.map_err(|error| failed("run a query", error))?;
        let read = |row: &MySqlRow| {
            read_row(row, 0, row.len()).map_err(|error| failed("read a row", error))
        };
        rows.iter().map(read).collect()
    }

    async fn run(&mut self, text: &str) -> Result<Vec<Row>, DbError> {
        let rows = sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut *self.0).await;
        let rows = rows.map_err(|error| failed("run a statement", error))?;
        let read = |row: &MySqlRow| {
            read_row(row, 0, row.len()).map_err(|error| failed("read a row", error))
        };
        rows.iter().map(read).collect()
    }
}

/// Replaces numbered parameters by the only ones there are, in the order of the text. A number that
/// stands in quotes is text.
fn positional(sql: &str, values: &[Value]) -> Result<(String, MySqlArguments), DbError> {
    let failed = |source: sqlx::error::BoxDynError| DbError {
        failure: Failure::Other,
        doing: "bind a value",
        source,
    };
    let mut arguments = MySqlArguments::default();
    let mut out = String::with_capacity(sql.len());
    let mut quote = None;
    let mut rest = sql.chars().peekable();
    while let Some(next) = rest.next() {
        out.push(next);
        match (quote, next) {
            (Some(open), next) if open == next => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(next),
            (None, '?') => {
                let mut number = 0_usize;
                while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
                    number = number * 10 + digit as usize;
                    rest.next();
                }
                let value = number.checked_sub(1).and_then(|index| values.get(index));
                let value = value.ok_or_else(|| failed("a parameter has no value".into()))?;
                add_value(&mut arguments, value).map_err(failed)?;
            }
            (None, _) => {}
        }
    }
    Ok((out, arguments))
}

/// Binds a value. A [`Value::RawText`] is bound as bytes: its statement converts it.
pub(crate) fn add_value(
    arguments: &mut MySqlArguments,
    value: &Value,
) -> Result<(), sqlx::error::BoxDynError> {
    match value {
        Value::Null => Arguments::add(arguments, None::<i64>),
        Value::Integer(value) => Arguments::add(arguments, *value),
        Value::Unsigned(value) => Arguments::add(arguments, *value),
        Value::Float(bits) => Arguments::add(arguments, f64::from_bits(*bits)),
        Value::Text(text) => Arguments::add(arguments, text.as_str()),
        Value::RawText(bytes) | Value::Bytes(bytes) => Arguments::add(arguments, bytes.as_slice()),
    }
}

/// Reads `count` values of a row.
pub(crate) fn read_row(row: &MySqlRow, first: usize, count: usize) -> Result<Row, sqlx::Error> {
    (first..first + count).map(|index| read_value(row, index)).collect()
}

fn read_value(row: &MySqlRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    let info = raw.type_info().into_owned();
    let name = info.name();
    // Before the question for NULL, which a zero date is taken for.
    if matches!(name, "DATE" | "DATETIME" | "TIMESTAMP" | "TIME" | "YEAR" | "BIT" | "FLOAT") {
        let why = format!("a value of type {name} can only be captured in another form");
        return Err(sqlx::Error::Protocol(why));
    }
    if raw.is_null() {
        return Ok(Value::Null);
    }
    if <u64 as Type<MySql>>::compatible(&info) {
        let value: u64 = row.try_get_unchecked(index)?;
        return Ok(i64::try_from(value).map_or(Value::Unsigned(value), Value::Integer));
    }
    if <i64 as Type<MySql>>::compatible(&info) {
        return Ok(Value::Integer(row.try_get_unchecked(index)?));
    }
    if name == "DOUBLE" {
        let value: f64 = row.try_get_unchecked(index)?;
        return Ok(Value::Float(value.to_bits()));
    }
    let bytes: Vec<u8> = row.try_get_unchecked(index)?;
    let is_text = <str as Type<MySql>>::compatible(&info)
        || matches!(name, "DECIMAL" | "ENUM" | "SET" | "JSON");
    if is_text {
        return Ok(String::from_utf8(bytes)
            .map_or_else(|error| Value::RawText(error.into_bytes()), Value::Text));
    }
    Ok(Value::Bytes(bytes))
}

/// What an error of the server means.
pub(crate) fn classify(error: &sqlx::Error) -> Failure {
    let sqlx::Error::Database(database) = error else {
        return if matches!(error, sqlx::Error::PoolTimedOut) {
            Failure::Busy
        } else {
            Failure::Other
        };
    };
    let Some(database) = database.try_downcast_ref::<MySqlDatabaseError>() else {
        return Failure::Other;
    };
    let class = database.code().and_then(|code| code.get(..2)).unwrap_or_default();
    match (database.number(), class) {
        // Duplicate keys, in their several wordings.
        (1022 | 1062 | 1169 | 1586 | 1859, _) => Failure::Unique,
        // NULL or nothing for NOT NULL, foreign keys, checks.
        (1048 | 1216 | 1217 | 1451 | 1452 | 1557 | 1761 | 1762 | 3819 | 4025, _) => {
            Failure::Constraint
        }
        // Lock wait timeouts, deadlocks, too many locks or connections, NOWAIT, and under snapshot
        // isolation a row that somebody else has changed.
        (1020 | 1040 | 1203 | 1205 | 1206 | 1213 | 1226 | 1614 | 3572, _) => Failure::Busy,
        // A value that does not fit, without a class of its own.
        (1364 | 1366 | 1411 | 1525, _) | (_, "21" | "22" | "42") => Failure::Statement,
        (_, "23") => Failure::Constraint,
        _ => Failure::Other,
    }
}

fn failed(doing: &'static str, error: sqlx::Error) -> DbError {
    DbError { failure: classify(&error), doing, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_parameters_become_positional_and_quoted_text_stays() {
        let values: Vec<Value> = (1..=12).map(Value::Integer).collect();
        let (sql, arguments) =
            positional("SELECT ?2, '?1 it''s', `?3`, \"?\", ?12, ?2", &values).unwrap();
        assert_eq!(sql, "SELECT ?, '?1 it''s', `?3`, \"?\", ?, ?");
        assert_eq!(arguments.len(), 3);
        assert!(positional("SELECT ?", &values).is_err());
        assert!(positional("SELECT ?13", &values).is_err());
    }
}
