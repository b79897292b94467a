//! AT on MySQL and MariaDB.
//!
//! ```text
//! UPDATE, DELETE    SELECT … FOR UPDATE with the user's own condition, then the statement as it is
//! INSERT            the statement as it is, then its rows by the keys that the text names
//! with RETURNING    one statement: what it returns is the image
//! ```
//!
//! A statement that returns rows tells no rows affected and no last insert id on this protocol, so
//! RETURNING is only used where the application wrote it.
//!
//! Parameters have no numbers here: a statement that is derived from the user's has all of them, in
//! their order, and those that it does not need are swallowed by `COALESCE(1, ?, …)`.

mod column;
mod dialect;
mod session;
mod table;

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::mysql::{MySqlArguments, MySqlQueryResult, MySqlRow};
use sqlx::{Executor, MySql, MySqlConnection, MySqlPool, Row as _, SqlStr};
use tokio::sync::Semaphore;

use super::engine::{Assumed, CompiledChange, CompiledRead, Engine, Statement, Step, Yields};
use super::error::AtError;
use super::options::AtOptions;
use super::plan::{self, Change, ChangeKind, LockingRead, Part, Plan, Refused, RowsRead, Source};
use super::restore::Dialect;
use super::table::{KeyColumn, Table};
use crate::db::{
    self, DbError, Failure, Kind, LocalDatabase, MySqlDatabase, MySqlSql, Row, Sql, Value,
};
use dialect::{MySqlDialect, capture};
pub(crate) use table::Facts;

#[allow(private_interfaces, reason = "sealed, see the trait")]
impl Engine for MySql {
    const WRITERS: usize = Semaphore::MAX_PERMITS;
    const SURVIVES_ERRORS: bool = true;
    const WAITS_INSIDE: bool = true;
    const BEGIN: &'static str = "START TRANSACTION";

    fn plan(sql: &str) -> Result<Plan, Refused> {
        plan::plan(sql, Kind::Mysql)
    }

    fn plan_locking_read(sql: &str) -> Result<LockingRead, Refused> {
        plan::plan_locking_read(sql, Kind::Mysql)
    }

    fn compile_change(change: &Change, table: &Table) -> Result<CompiledChange, Refused> {
        let places: Vec<usize> = (0..table.columns.len()).collect();
        let target = Some(change.target.as_str());
        let plain = CompiledChange {
            before: None,
            change: change.text.sql.as_str().into(),
            yields: Yields::Nothing,
            counted: true,
            repeatable_read: false,
        };
        Ok(match &change.kind {
            ChangeKind::Update(update) => {
                let rows = select(&captures(table, &places, target), &update.rows, &change.text);
                CompiledChange { before: Some(rows.into()), ..plain }
            }
            ChangeKind::Delete(_) => CompiledChange {
                change: change.returning(&captures(table, &places, None)).into(),
                yields: Yields::Before,
                counted: false,
                ..plain
            },
            ChangeKind::Insert(_) => CompiledChange {
                change: change.returning(&captures(table, &places, None)).into(),
                yields: Yields::After,
                counted: false,
                ..plain
            },
        })
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

    fn sql(connection: &mut MySqlConnection) -> Box<dyn Sql + '_> {
        Box::new(MySqlSql(connection))
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

    fn classify(error: &sqlx::Error) -> Failure {
        db::classify_mysql(error)
    }

    fn commit_condition(assumed: &Assumed, _first: usize) -> (String, Vec<Value>) {
        (session::condition(assumed), Vec::new())
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
            for table in &assumed.tables {
                if table::is_temporary(sql, table).await? {
                    return Ok(AtError::TemporaryObjects);
                }
            }
            Ok(AtError::SchemaChanged)
        })
    }

    fn dialect() -> &'static dyn Dialect {
        &MySqlDialect
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

    fn own_connections(
        pool: &MySqlPool,
        _writer: &Arc<Semaphore>,
        options: &AtOptions,
    ) -> Arc<dyn LocalDatabase> {
        Arc::new(MySqlDatabase { pool: session::own_pool(pool, options) })
    }
}

/// The columns as they are stored. Aliased, so that none of them hides a column that the user asks
/// for by name.
fn captures(table: &Table, places: &[usize], target: Option<&str>) -> String {
    let one = |place: &usize| {
        let captured = capture(&table.columns[*place], target);
        format!("{captured} AS `__pactum_{place}`")
    };
    places.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A condition that is always true and takes this many parameters.
fn swallow(parameters: usize) -> Option<String> {
    (parameters > 0).then(|| format!("COALESCE(1{})", ", ?".repeat(parameters)))
}

/// The rows of a statement, locked. `whole` is the statement, all of whose parameters are bound.
fn select(columns: &str, rows: &Source, whole: &Part) -> String {
    let Source { with, skipped, from, set: _, joined: _, condition, order, limit } = rows;
    let used = |part: &Option<Part>| part.as_ref().map_or(0, |part| part.parameters);
    let later = used(condition) + used(order) + used(limit);
    let earlier = used(with) + skipped + from.parameters;
    // Those of the assignments.
    let between = swallow(whole.parameters.saturating_sub(earlier + later));
    let mut sql = String::new();
    if let Some(with) = with {
        sql.push_str(&with.sql);
        sql.push(' ');
    }
    let skipped = swallow(*skipped).map(|skipped| skipped + ", ").unwrap_or_default();
    sql.push_str(&format!("SELECT {skipped}{columns} FROM {}", from.sql));
    let condition = condition.as_ref().map(|condition| format!("({})", condition.sql));
    let conditions: Vec<String> = between.into_iter().chain(condition).collect();
    if !conditions.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&conditions.join(" AND "));
    }
    for part in [order, limit].into_iter().flatten() {
        sql.push(' ');
        sql.push_str(&part.sql);
    }
    sql.push_str(" FOR UPDATE");
    sql
}
