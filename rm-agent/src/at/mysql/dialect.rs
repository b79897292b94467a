//! How a restore speaks to MySQL.
//!
//! Reads lock: between the look at a row and the statement that restores it nobody else may change
//! it, and a read of a consistent snapshot could show an older row than the one that was changed.

use async_trait::async_trait;

use super::table;
use crate::at::restore::{Dialect, Spoken};
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

/// A statement in the making: its text, and the values of its parameters.
#[derive(Default)]
struct Build(Spoken);

impl Build {
    fn push(mut self, text: &str) -> Self {
        self.0.sql.push_str(text);
        self
    }

    /// Text that is not UTF-8 can only be bound as bytes, and must become text again.
    fn value(mut self, column: &Column, value: &Value) -> Self {
        self.0.values.push(value.clone());
        let parameter = format!("?{}", self.0.values.len());
        match value {
            Value::RawText(_) => self.push(&format!("CONVERT({parameter} USING utf8mb4)")),
            Value::Null => self.push(&parameter),
            Value::Integer(_)
            | Value::Unsigned(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Bytes(_) => self.push(&column.restore.around(&parameter)),
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
            let column = &table.columns[*place];
            build.push(&quote(&column.source)).push(" = ").value(column, &row[*place])
        })
    }
}

#[async_trait]
impl Dialect for MySqlDialect {
    async fn load(&self, sql: &mut dyn Sql, name: &str) -> Result<Option<Table>, DbError> {
        table::load(sql, name).await
    }

    /// Everything that a restore needs is set when its connection is opened.
    async fn begin_restore(&self, _sql: &mut dyn Sql) -> Result<(), DbError> {
        Ok(())
    }

    fn select(&self, table: &Table, key: &[usize], rows: &[&Row]) -> Spoken {
        let build = Build::default().push("SELECT ");
        let build =
            build.list(&table.columns, ", ", |build, column| build.push(&capture(column, None)));
        build
            .push(" FROM ")
            .push(&quote(&table.name))
            .push(" WHERE ")
            .list(rows, " OR ", |build, row| build.push("(").key_of(table, key, row).push(")"))
            .push(" FOR UPDATE")
            .0
    }

    fn insert(&self, table: &Table, row: &Row) -> Spoken {
        let stored = || table.columns.iter().zip(row).filter(|(column, _)| !column.generated);
        Build::default()
            .push("INSERT INTO ")
            .push(&quote(&table.name))
            .push(" (")
            .list(stored(), ", ", |build, (column, _)| build.push(&quote(&column.name)))
            .push(") VALUES (")
            .list(stored(), ", ", |build, (column, value)| build.value(column, value))
            .push(")")
            .0
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
        let build = Build::default().push("UPDATE ").push(&quote(&table.name)).push(" SET ");
        let build = build.list(changed, ", ", |build, place| {
            let column = &table.columns[place];
            build.push(&quote(&column.name)).push(" = ").value(column, &to[place])
        });
        Some(build.row_of(table, to).0)
    }

    fn delete(&self, table: &Table, row: &Row) -> Spoken {
        let build = Build::default().push("DELETE FROM ").push(&quote(&table.name));
        build.row_of(table, row).0
    }

    fn referring(&self, table: &Table, child: &Child, row: &Row) -> Spoken {
        let build = Build::default().push("SELECT 1 FROM ").push(&quote(&child.table));
        let build =
            build.push(" WHERE ").list(&child.columns, " AND ", |build, (column, place)| {
                build.push(&quote(column)).push(" = ").value(&table.columns[*place], &row[*place])
            });
        build.push(" LIMIT 1 FOR UPDATE").0
    }
}
