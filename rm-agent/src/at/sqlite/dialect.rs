//! How a restore speaks to SQLite.

use async_trait::async_trait;

use super::table;
use crate::at::build::{Build, Spelling};
use crate::at::restore::{Dialect, Spoken};
use crate::at::table::{Child, Column, Table};
use crate::db::{DbError, Row, Sql, Value};

/// The dialect.
pub(super) struct SqliteDialect;

/// A name, quoted so that it can be nothing but a name.
pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

const SPELLING: Spelling = Spelling { quote, value: spell };

/// Text that is not UTF-8 can only be bound as bytes, and must become text again.
fn spell(_: &Column, value: &Value, parameter: &str) -> String {
    match value {
        Value::RawText(_) => format!("CAST({parameter} AS TEXT)"),
        Value::Null
        | Value::Integer(_)
        | Value::Unsigned(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Bytes(_) => parameter.to_owned(),
    }
}

#[async_trait]
impl Dialect for SqliteDialect {
    async fn load(&self, sql: &mut dyn Sql, name: &str) -> Result<Option<Table>, DbError> {
        table::load(sql, name).await
    }

    async fn begin_restore(&self, sql: &mut dyn Sql) -> Result<(), DbError> {
        // Rows of one statement may refer to each other, in an order that is not known here.
        sql.execute("PRAGMA defer_foreign_keys = ON", &[]).await.map(|_| ())
    }

    fn select(&self, table: &Table, key: &[usize], rows: &[&Row]) -> Spoken {
        let build = Build::new(&SPELLING, "SELECT ");
        let build = build.list(&table.columns, ", ", |build, column| build.name(&column.name));
        build
            .push(" FROM main.")
            .name(&table.name)
            .push(" WHERE ")
            .list(rows, " OR ", |build, row| build.push("(").key_of(table, key, row).push(")"))
            .finish()
    }

    fn insert(&self, table: &Table, row: &Row) -> Spoken {
        let stored = || table.columns.iter().zip(row).filter(|(column, _)| !column.generated);
        Build::new(&SPELLING, "INSERT INTO main.")
            .name(&table.name)
            .push(" (")
            .list(stored(), ", ", |build, (column, _)| build.name(&column.name))
            .push(") VALUES (")
            .list(stored(), ", ", |build, (column, value)| build.value(column, value))
            .push(")")
            .finish()
    }

    fn update(&self, table: &Table, from: &Row, to: &Row) -> Option<Spoken> {
        let changed: Vec<_> = table
            .columns
            .iter()
            .zip(from.iter().zip(to))
            .filter(|(column, (from, to))| !column.generated && from != to)
            .collect();
        if changed.is_empty() {
            return None;
        }
        let build = Build::new(&SPELLING, "UPDATE main.").name(&table.name).push(" SET ");
        let build = build.list(changed, ", ", |build, (column, (_, value))| {
            build.name(&column.name).push(" = ").value(column, value)
        });
        Some(build.row_of(table, to).finish())
    }

    fn delete(&self, table: &Table, row: &Row) -> Spoken {
        let build = Build::new(&SPELLING, "DELETE FROM main.").name(&table.name);
        build.row_of(table, row).finish()
    }

    fn referring(&self, table: &Table, child: &Child, row: &Row) -> Spoken {
        let build = Build::new(&SPELLING, "SELECT 1 FROM main.").name(&child.table);
        let build =
            build.push(" WHERE ").list(&child.columns, " AND ", |build, (column, place)| {
                build.name(column).push(" = ").value(&table.columns[*place], &row[*place])
            });
        build.push(" LIMIT 1").finish()
    }
}
