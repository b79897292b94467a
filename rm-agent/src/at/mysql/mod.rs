//! AT on MySQL and MariaDB.
//!
//! ```text
//! UPDATE, DELETE    SELECT … FOR UPDATE with the user's own condition, then the statement as it is,
//!                   or where it could choose other rows than its image, for the image's keys alone
//! INSERT            the statement as it is, then its rows by the keys that its text names
//! INSERT … SELECT   the keys that its query gives, the statement as it is, the rows of these keys
//! upserts           the rows of these keys before and after
//! with RETURNING    what it returns is the image
//! ```
//!
//! A statement that returns rows tells no rows affected and no last insert id on this protocol, so
//! RETURNING is only used where the application wrote it.
//!
//! Parameters have no numbers here: a statement that is derived from the user's has all of them, in
//! their order, and those that it does not need are swallowed by `COALESCE(1, ?, …)`.

mod around;
mod column;
mod compile;
mod dialect;
mod insert;
mod literal;
mod named;
mod own;
mod query;
mod raw;
mod restrict;
mod session;
mod shape;
mod table;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::mysql::{MySqlArguments, MySqlQueryResult, MySqlRow};
use sqlx::{Executor, MySql, MySqlConnection, Row as _, SqlStr};

use super::engine::{Assumed, CompiledChange, CompiledRead, Engine, Statement, Step};
use super::error::AtError;
use super::plan::{self, Change, LockingRead, Plan, Refused, RowsRead};
use super::restore::Dialect;
use super::table::{KeyColumn, Table};
use super::told::Told;
use crate::db::{self, DbError, Kind, Row, Sql, Value};
use compile::{captures, select};
use dialect::MySqlDialect;
pub(crate) use table::Facts;

#[allow(private_interfaces, reason = "sealed, see the trait")]
impl Engine for MySql {
    const SURVIVES_ERRORS: bool = true;
    /// Nothing is noted of a PREPARE that was sent and whose answer was not read.
    const SURVIVES_DROPS: bool = false;
    const WAITS_INSIDE: bool = true;

    fn plan(sql: &str) -> Result<Plan, Refused> {
        plan::plan(sql, Kind::Mysql)
    }

    fn plan_locking_read(sql: &str) -> Result<LockingRead, Refused> {
        plan::plan_locking_read(sql, Kind::Mysql)
    }

    fn compile_change(change: &Change, table: &Table) -> Result<CompiledChange, Refused> {
        compile::change(change, table)
    }

    fn compile_read(read: &LockingRead, table: &Table) -> Result<CompiledRead, Refused> {
        let places: Vec<usize> = table.key.iter().map(|key: &KeyColumn| key.column).collect();
        let columns = captures(table, &places, Some(&read.target));
        // The database's own lock keeps the answer true until the local transaction ends.
        let locking = if read.locking.is_empty() { "FOR UPDATE" } else { &read.locking };
        let locked = |sql: &str| format!("{sql} {locking}");
        Ok(match &read.rows {
            RowsRead::Returned { items_end: _ } => {
                let sql = read.returning(&columns).unwrap_or_else(|| read.text.sql.clone());
                CompiledRead::Together(locked(&sql).into())
            }
            RowsRead::Matching(rows) => CompiledRead::Apart {
                keys: select(&columns, rows, &read.text).into(),
                read: locked(&read.text.sql).into(),
            },
        })
    }

    fn change_to_send(
        statement: &Statement<MySql>,
        compiled: &CompiledChange,
        table: &Table,
        before: &[Row],
    ) -> Result<Statement<MySql>, AtError> {
        match &compiled.restricted {
            None => Ok(statement.with_sql(&compiled.change)),
            Some(gap) => restrict::statement(statement, gap, table, before),
        }
    }

    fn run<'e>(
        connection: &'e mut MySqlConnection,
        statement: Statement<MySql>,
    ) -> BoxStream<'e, Result<Step<MySql>, sqlx::Error>> {
        connection.fetch_many(statement)
    }

    fn prepare<'e>(
        connection: &'e mut MySqlConnection,
        sql: SqlStr,
        parameters: &'e [Self::TypeInfo],
    ) -> BoxFuture<'e, Result<Self::Statement, sqlx::Error>> {
        connection.prepare_with(sql, parameters)
    }

    fn describe(
        connection: &mut MySqlConnection,
        sql: SqlStr,
    ) -> BoxFuture<'_, Result<sqlx::Describe<MySql>, sqlx::Error>> {
        connection.describe(sql)
    }

    fn copy_arguments(arguments: &MySqlArguments) -> MySqlArguments {
        arguments.clone()
    }

    fn last_values(row: &MySqlRow, count: usize) -> Result<Row, sqlx::Error> {
        let first = row
            .len()
            .checked_sub(count)
            .ok_or(sqlx::Error::ColumnIndexOutOfBounds { index: count, len: row.len() })?;
        db::read_mysql_row(row, first, count)
    }

    fn rows_affected(result: &MySqlQueryResult) -> u64 {
        result.rows_affected()
    }

    fn commit_condition(assumed: &Assumed, first: usize) -> (String, Vec<Value>) {
        let condition = session::condition(assumed);
        match &assumed.barrier {
            None => (condition, Vec::new()),
            Some(database) => (
                format!("{condition} AND {}", session::in_database(first)),
                vec![Value::text(&**database)],
            ),
        }
    }

    /// Since the first statement on a table its definition cannot change until the local transaction
    /// ends, so one look at it, at any time before the end, proves it for the whole.
    fn confirm<'e>(
        sql: &'e mut dyn Sql,
        assumed: &'e Assumed,
    ) -> BoxFuture<'e, Result<bool, DbError>> {
        Box::pin(async move {
            for table in &assumed.tables {
                if !table::is_unchanged(sql, table).await? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn broken_assumption<'e>(
        sql: &'e mut dyn Sql,
        assumed: &'e Assumed,
    ) -> BoxFuture<'e, Result<AtError, DbError>> {
        Box::pin(async move {
            let (query, meanings) = session::demands(assumed);
            let rows = sql.query(&query, &[]).await?;
            let holds = rows.first().map(Vec::as_slice).unwrap_or_default();
            let broken =
                holds.iter().zip(meanings).find(|(holds, _)| holds.as_integer() != Some(1));
            if let Some((_, meaning)) = broken {
                return Ok(AtError::SessionSetting(meaning));
            }
            if let Some(database) = &assumed.barrier {
                let here = format!("SELECT {}", session::in_database(1));
                let rows = sql.query(&here, &[Value::text(&**database)]).await?;
                if rows.first().and_then(|row| row[0].as_integer()) != Some(1) {
                    return Ok(AtError::SessionSetting(session::ELSEWHERE));
                }
            }
            for table in &assumed.tables {
                if table::is_temporary(sql, table).await? {
                    return Ok(AtError::TemporaryObjects);
                }
            }
            Ok(AtError::SchemaChanged(Told::default()))
        })
    }

    fn dialect() -> &'static dyn Dialect {
        &MySqlDialect
    }
}
