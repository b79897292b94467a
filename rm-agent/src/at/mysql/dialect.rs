//! How a restore speaks to MySQL.
//!
//! Reads lock: between the look at a row and the statement that restores it nobody else may change
//! it, and a read of a consistent snapshot could show an older row than the one that was changed.

use async_trait::async_trait;
use sqlx::mysql::MySqlDatabaseError;

use super::{named, table};
use crate::at::build::{Build, Spelling};
use crate::at::restore::{Dialect, Named, Spoken, Turn};
use crate::at::table::{Child, Column, Table};
use crate::db::{DbError, Row, Sql, Value};

/// The dialect.
pub(super) struct MySqlDialect;

/// A name, quoted so that it can be nothing but a name.
pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A column as it is captured, of the table as the statement calls it.
pub(super) fn capture(column: &Column, target: Option<&str>) -> String {
    let name = quote(&column.source);
    let name = target.map_or_else(|| name.clone(), |target| format!("{target}.{name}"));
    column.capture.around(&name)
}

/// Whether the account lacks a right on a table or a column.
fn is_denied(error: &DbError) -> bool {
    let error = error.source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    let number = error.and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    number.is_some_and(|error| matches!(error.number(), 1142 | 1143))
}

const SPELLING: Spelling = Spelling { quote, value: spell };

/// Text that is not UTF-8 can only be bound as bytes, and must become text again.
pub(super) fn spell(column: &Column, value: &Value, parameter: &str) -> String {
    match value {
        Value::RawText(_) => format!("CONVERT({parameter} USING utf8mb4)"),
        Value::Null => parameter.to_owned(),
        Value::Integer(_)
        | Value::Unsigned(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Bytes(_) => column.restore.around(parameter),
    }
}

#[async_trait]
impl Dialect for MySqlDialect {
    async fn load(&self, sql: &mut dyn Sql, name: &str) -> Result<Option<Table>, DbError> {
        table::load(sql, name).await
    }

    /// Rights come by roles, patterns and columns, so the server is asked to plan what an undo does.
    async fn may(&self, sql: &mut dyn Sql, table: &Table, turn: Turn) -> Result<bool, DbError> {
        let name = quote(&table.name);
        let stored = table.columns.iter().filter(|column| !column.generated);
        let columns: Vec<String> = stored.map(|column| quote(&column.name)).collect();
        let columns = columns.join(", ");
        let plan = match turn {
            Turn::Come => {
                format!(
                    "EXPLAIN INSERT INTO {name} ({columns}) SELECT {columns} FROM {name} LIMIT 0"
                )
            }
            Turn::Go => format!("EXPLAIN DELETE FROM {name} WHERE FALSE"),
        };
        match sql.query(&plan, &[]).await {
            Ok(_) => Ok(true),
            Err(error) if is_denied(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a function says of itself is not checked there, so its word is taken; the default is that
    /// it may do anything.
    async fn writing_function(
        &self,
        sql: &mut dyn Sql,
        names: &[String],
    ) -> Result<Option<String>, DbError> {
        let places: Vec<String> = (1..=names.len()).map(|place| format!("?{place}")).collect();
        let asked = format!(
            "SELECT routine_name FROM information_schema.routines \
             WHERE routine_type = 'FUNCTION' AND routine_name IN ({}) \
             AND sql_data_access NOT IN ('READS SQL DATA', 'NO SQL') LIMIT 1",
            places.join(", ")
        );
        let names: Vec<Value> = names.iter().map(Value::text).collect();
        let rows = sql.query(&asked, &names).await?;
        Ok(rows.first().and_then(|row| row[0].as_text()).map(str::to_owned))
    }

    async fn named(&self, sql: &mut dyn Sql, name: &str) -> Result<Named, DbError> {
        named::named(sql, name).await
    }

    /// Everything that a restore needs is set when its connection is opened.
    async fn begin_restore(&self, _sql: &mut dyn Sql) -> Result<(), DbError> {
        Ok(())
    }

    fn select(&self, table: &Table, key: &[usize], rows: &[&Row]) -> Spoken {
        let build = Build::new(&SPELLING, "SELECT ");
        let build =
            build.list(&table.columns, ", ", |build, column| build.push(&capture(column, None)));
        build
            .push(" FROM ")
            .name(&table.name)
            .push(" WHERE ")
            .list(rows, " OR ", |build, row| build.push("(").key_of(table, key, row).push(")"))
            .push(" FOR UPDATE")
            .finish()
    }

    fn insert(&self, table: &Table, row: &Row) -> Spoken {
        let stored = || table.columns.iter().zip(row).filter(|(column, _)| !column.generated);
        Build::new(&SPELLING, "INSERT INTO ")
            .name(&table.name)
            .push(" (")
            .list(stored(), ", ", |build, (column, _)| build.name(&column.name))
            .push(") VALUES (")
            .list(stored(), ", ", |build, (column, value)| build.value(column, value))
            .push(")")
            .finish()
    }

    fn update(&self, table: &Table, from: &Row, to: &Row) -> Option<Spoken> {
        let stored = |place: &usize| !table.columns[*place].generated;
        let differs = |place: &usize| stored(place) && from[*place] != to[*place];
        let places = 0..table.columns.len();
        if !places.clone().any(|place| differs(&place)) {
            return None;
        }
        // What sets itself at an update is set here although it stays the same.
        let by_itself = |place: &usize| {
            let facts = table.mysql.as_deref();
            facts.is_some_and(|facts| facts.updated_by_themselves.contains(place))
        };
        let changed = places.filter(|place| differs(place) || by_itself(place));
        let build = Build::new(&SPELLING, "UPDATE ").name(&table.name).push(" SET ");
        let build = build.list(changed, ", ", |build, place| {
            let column = &table.columns[place];
            build.name(&column.name).push(" = ").value(column, &to[place])
        });
        Some(build.row_of(table, to).finish())
    }

    fn delete(&self, table: &Table, row: &Row) -> Spoken {
        let build = Build::new(&SPELLING, "DELETE FROM ").name(&table.name);
        build.row_of(table, row).finish()
    }

    fn referring(&self, table: &Table, child: &Child, row: &Row) -> Spoken {
        let build = Build::new(&SPELLING, "SELECT 1 FROM ").name(&child.table);
        let build =
            build.push(" WHERE ").list(&child.columns, " AND ", |build, (column, place)| {
                build.name(column).push(" = ").value(&table.columns[*place], &row[*place])
            });
        build.push(" LIMIT 1 FOR UPDATE").finish()
    }
}
