//! AT on SQLite.
//!
//! ```text
//! INSERT, DELETE    one statement: RETURNING gives the image
//! UPDATE            SELECT … FROM … WHERE <the user's condition>, then UPDATE … RETURNING
//! upsert, REPLACE   SELECT … of the rows in the way, then INSERT … RETURNING
//! ```
//!
//! A local transaction that will write begins IMMEDIATE, so from its first statement on nobody else
//! writes to the database: what was read before a change is what the change meets, and what a lock
//! check said stays true until the local commit.
//!
//! Columns are quoted with backticks. A name in double quotes that is no column would be read as a
//! text by SQLite, without an error.

mod dialect;
mod table;
mod upsert;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::sqlite::{SqliteArguments, SqliteQueryResult, SqliteRow};
use sqlx::{Executor, Row as _, SqlStr, Sqlite, SqliteConnection};

use super::engine::{Assumed, CompiledChange, CompiledRead, Engine, Statement, Step, Yields};
use super::error::AtError;
use super::plan::{
    self, Change, ChangeKind, LockingRead, OnConflict, Plan, Refused, RowsRead, Source,
};
use super::restore::Dialect;
use super::table::{KeyColumn, Table};
use super::told::Told;
use crate::db::{self, DbError, Kind, Row, Sql, Value};
use dialect::{SqliteDialect, quote};

#[allow(private_interfaces, reason = "sealed, see the trait")]
impl Engine for Sqlite {
    const SURVIVES_ERRORS: bool = true;
    const SURVIVES_DROPS: bool = true;
    const WAITS_INSIDE: bool = false;

    fn plan(sql: &str) -> Result<Plan, Refused> {
        plan::plan(sql, Kind::Sqlite)
    }

    fn plan_locking_read(sql: &str) -> Result<LockingRead, Refused> {
        plan::plan_locking_read(sql, Kind::Sqlite)
    }

    fn compile_change(change: &Change, table: &Table) -> Result<CompiledChange, Refused> {
        let places: Vec<usize> = (0..table.columns.len()).collect();
        let columns = captures(table, &places, None);
        let before = match &change.kind {
            ChangeKind::Update(update) => {
                let columns = captures(table, &places, Some(&change.target));
                Some(select(&columns, &update.rows))
            }
            ChangeKind::Insert(insert) => {
                let columns = captures(table, &places, Some(upsert::TABLE));
                upsert::before(insert, table, &columns)?
            }
            ChangeKind::Delete(_) => None,
        };
        let yields = match &change.kind {
            ChangeKind::Delete(_) => Yields::Before,
            ChangeKind::Insert(_) | ChangeKind::Update(_) => Yields::After,
        };
        // An upsert may meet one row several times.
        let counted = match &change.kind {
            ChangeKind::Update(_) | ChangeKind::Delete(_) => true,
            ChangeKind::Insert(insert) => match insert.on_conflict {
                OnConflict::Fail | OnConflict::Skip => true,
                OnConflict::Update { .. } | OnConflict::Replace => false,
            },
        };
        Ok(CompiledChange {
            written: None,
            restricted: None,
            before: before.map(Into::into),
            change: change.returning(&columns).into(),
            yields,
            after: None,
            counted,
            counts_changes_twice: false,
            numbered: false,
            repeatable_read: false,
        })
    }

    fn compile_read(read: &LockingRead, table: &Table) -> Result<CompiledRead, Refused> {
        let places: Vec<usize> = table.key.iter().map(|key: &KeyColumn| key.column).collect();
        let columns = captures(table, &places, Some(&read.target));
        Ok(match &read.rows {
            RowsRead::Returned { items_end: _ } => CompiledRead::Together(
                read.returning(&columns).unwrap_or_else(|| read.text.sql.clone()).into(),
            ),
            RowsRead::Matching(rows) => CompiledRead::Apart {
                keys: select(&columns, rows).into(),
                read: read.text.sql.as_str().into(),
            },
        })
    }

    fn run<'e>(
        connection: &'e mut SqliteConnection,
        statement: Statement<Sqlite>,
    ) -> BoxStream<'e, Result<Step<Sqlite>, sqlx::Error>> {
        connection.fetch_many(statement)
    }

    fn prepare<'e>(
        connection: &'e mut SqliteConnection,
        sql: SqlStr,
        parameters: &'e [Self::TypeInfo],
    ) -> BoxFuture<'e, Result<Self::Statement, sqlx::Error>> {
        connection.prepare_with(sql, parameters)
    }

    fn describe(
        connection: &mut SqliteConnection,
        sql: SqlStr,
    ) -> BoxFuture<'_, Result<sqlx::Describe<Sqlite>, sqlx::Error>> {
        connection.describe(sql)
    }

    fn copy_arguments(arguments: &SqliteArguments) -> SqliteArguments {
        arguments.clone()
    }

    fn last_values(row: &SqliteRow, count: usize) -> Result<Row, sqlx::Error> {
        let first = row
            .len()
            .checked_sub(count)
            .ok_or(sqlx::Error::ColumnIndexOutOfBounds { index: count, len: row.len() })?;
        db::read_row(row, first, count)
    }

    fn rows_affected(result: &SqliteQueryResult) -> u64 {
        result.rows_affected()
    }

    fn commit_condition(assumed: &Assumed, first: usize) -> (String, Vec<Value>) {
        let mut condition = "NOT EXISTS (SELECT 1 FROM temp.sqlite_schema)".to_owned();
        let mut values = Vec::new();
        // All tables share the version of the one schema, unless it changed between two plans.
        for table in &assumed.tables {
            let number = first + values.len();
            condition.push_str(&format!(
                " AND CAST((SELECT schema_version FROM pragma_schema_version) AS TEXT) = ?{number}"
            ));
            values.push(Value::text(&table.version));
        }
        (condition, values)
    }

    fn broken_assumption<'e>(
        sql: &'e mut dyn Sql,
        _assumed: &'e Assumed,
    ) -> BoxFuture<'e, Result<AtError, DbError>> {
        Box::pin(async move {
            let found = sql.query("SELECT 1 FROM temp.sqlite_schema LIMIT 1", &[]).await?;
            Ok(if found.is_empty() {
                AtError::SchemaChanged(Told::default())
            } else {
                AtError::TemporaryObjects
            })
        })
    }

    fn dialect() -> &'static dyn Dialect {
        &SqliteDialect
    }
}

/// The columns as they are stored. Aliased, so that none of them hides a column that the user asks
/// for by name.
fn captures(table: &Table, places: &[usize], qualifier: Option<&str>) -> String {
    let qualifier = qualifier.map_or_else(String::new, |qualifier| format!("{qualifier}."));
    let capture = |place: &usize| {
        format!("{qualifier}{} AS `__pactum_{place}`", quote(&table.columns[*place].name))
    };
    places.iter().map(capture).collect::<Vec<_>>().join(", ")
}

fn select(columns: &str, rows: &Source) -> String {
    let Source { with, skipped: _, from, set: _, joined, condition, order: _, limit: _, head: _ } =
        rows;
    let mut sql = String::new();
    if let Some(with) = with {
        sql.push_str(&with.sql);
        sql.push(' ');
    }
    sql.push_str(&format!("SELECT {columns} FROM {}", from.sql));
    if let Some(joined) = joined {
        sql.push_str(&format!(", {}", joined.sql));
    }
    if let Some(condition) = condition {
        sql.push_str(&format!(" WHERE {}", condition.sql));
    }
    sql
}
