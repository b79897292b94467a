//! How a restore speaks to SQLite.

use async_trait::async_trait;

use super::table;
use crate::at::restore::{Dialect, Spoken};
use crate::at::table::{Child, Table};
use crate::db::{DbError, Row, Sql, Value};

/// The dialect.
pub(super) struct SqliteDialect;

/// A name, quoted so that it can be nothing but a name.
pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A statement in the making: its text, and the values of its parameters.
#[derive(Default)]
struct Build(Spoken);

impl Build {
    fn push(mut self, text: &str) -> Self {
        self.0.sql.push_str(text);
        self
    }

    /// Text that is not UTF-8 can only be bound as bytes, and must become text again.
    fn value(mut self, value: &Value) -> Self {
        self.0.values.push(value.clone());
        let number = self.0.values.len();
        match value {
            Value::RawText(_) => self.push(&format!("CAST(?{number} AS TEXT)")),
            Value::Null
            | Value::Integer(_)
            | Value::Unsigned(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Bytes(_) => self.push(&format!("?{number}")),
        }
    }

    fn list<T>(
        mut self,
        items: impl IntoIterator<Item = T>,
        joint: &str,
        each: impl Fn(Self, T) -> Self,
    ) -> Self {
        for (index, item) in items.into_iter().enumerate() {
            self = if index == 0 { self } else { self.push(joint) };
            self = each(self, item);
        }
        self
    }

    /// The row with this primary key.
    fn row_of(self, table: &Table, row: &Row) -> Self {
        self.push(" WHERE ").key_of(table, &table.primary, row)
    }

    fn key_of(self, table: &Table, key: &[usize], row: &Row) -> Self {
        self.list(key, " AND ", |build, place| {
            let column = quote(&table.columns[*place].source);
            build.push(&column).push(" = ").value(&row[*place])
        })
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
        let build = Build::default().push("SELECT ");
        let build =
            build.list(&table.columns, ", ", |build, column| build.push(&quote(&column.name)));
        build
            .push(" FROM main.")
            .push(&quote(&table.name))
            .push(" WHERE ")
            .list(rows, " OR ", |build, row| build.push("(").key_of(table, key, row).push(")"))
            .0
    }

    fn insert(&self, table: &Table, row: &Row) -> Spoken {
        let stored = || table.columns.iter().zip(row).filter(|(column, _)| !column.generated);
        Build::default()
            .push("INSERT INTO main.")
            .push(&quote(&table.name))
            .push(" (")
            .list(stored(), ", ", |build, (column, _)| build.push(&quote(&column.name)))
            .push(") VALUES (")
            .list(stored(), ", ", |build, (_, value)| build.value(value))
            .push(")")
            .0
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
        let build = Build::default().push("UPDATE main.").push(&quote(&table.name)).push(" SET ");
        let build = build.list(changed, ", ", |build, (column, (_, value))| {
            build.push(&quote(&column.name)).push(" = ").value(value)
        });
        Some(build.row_of(table, to).0)
    }

    fn delete(&self, table: &Table, row: &Row) -> Spoken {
        let build = Build::default().push("DELETE FROM main.").push(&quote(&table.name));
        build.row_of(table, row).0
    }

    fn referring(&self, _table: &Table, child: &Child, row: &Row) -> Spoken {
        let build = Build::default().push("SELECT 1 FROM main.").push(&quote(&child.table));
        let build =
            build.push(" WHERE ").list(&child.columns, " AND ", |build, (column, place)| {
                build.push(&quote(column)).push(" = ").value(&row[*place])
            });
        build.push(" LIMIT 1").0
    }
}
