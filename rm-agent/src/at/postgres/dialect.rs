//! How a restore speaks to PostgreSQL.
//!
//! Every value is bound as text and cast to its column's type, so that the database reads it as it
//! wrote it.

use async_trait::async_trait;

use super::table;
use crate::at::restore::{Dialect, Spoken, Turn};
use crate::at::table::{Child, Column, Table};
use crate::db::{DbError, Row, Sql, Value};

/// The dialect.
pub(super) struct PostgresDialect;

/// What the protocol can count.
const PARAMETERS_MAX: usize = 65_535;

/// A name, quoted so that it can be nothing but a name.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A statement in the making: its text, and the values of its parameters.
#[derive(Default)]
struct Build(Spoken);

impl Build {
    fn push(mut self, text: &str) -> Self {
        self.0.sql.push_str(text);
        self
    }

    /// A value, cast to what `column` holds.
    fn value(mut self, column: &Column, value: &Value) -> Self {
        self.0.values.push(value.clone());
        let parameter = format!("?{}", self.0.values.len());
        self.push(&column.restore.around(&parameter))
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

    /// Rows with one of these keys. With one column PostgreSQL looks for all at once.
    fn one_of(self, table: &Table, key: &[usize], rows: &[&Row]) -> Self {
        let [place] = key else {
            return self.list(rows, " OR ", |build, row| {
                build.push("(").key_of(table, key, row).push(")")
            });
        };
        let column = &table.columns[*place];
        self.push(&quote(&column.source))
            .push(" IN (")
            .list(rows, ", ", |build, row| build.value(column, &row[*place]))
            .push(")")
    }
}

/// A column as it is captured; qualified where there is more than one table in sight.
pub(super) fn capture(column: &Column, qualifier: Option<&str>) -> String {
    let name = quote(&column.source);
    let name = qualifier.map_or_else(|| name.clone(), |table| format!("{table}.{name}"));
    column.capture.around(&name)
}

fn insert(table: &Table, rows: &[&Row]) -> Spoken {
    let stored = |row| table.columns.iter().zip(row).filter(|(column, _)| !column.generated);
    let names = table.columns.iter().filter(|column| !column.generated);
    Build::default()
        .push("INSERT INTO ")
        .push(&table.name)
        .push(" (")
        .list(names, ", ", |build, column| build.push(&quote(&column.name)))
        // A column GENERATED ALWAYS AS IDENTITY takes its old value too.
        .push(") OVERRIDING SYSTEM VALUE VALUES ")
        .list(rows, ", ", |build, row| {
            let values = build
                .push("(")
                .list(stored(*row), ", ", |build, (column, value)| build.value(column, value));
            values.push(")")
        })
        .0
}

#[async_trait]
impl Dialect for PostgresDialect {
    async fn load(&self, sql: &mut dyn Sql, name: &str) -> Result<Option<Table>, DbError> {
        table::load(sql, name).await
    }

    async fn begin_restore(&self, sql: &mut dyn Sql) -> Result<(), DbError> {
        // Rows of one statement may refer to each other, in an order that is not known here.
        sql.execute("SET CONSTRAINTS ALL DEFERRED", &[]).await.map(|_| ())
    }

    fn select(&self, table: &Table, key: &[usize], rows: &[&Row]) -> Spoken {
        Build::default()
            .push("SELECT ")
            .list(&table.columns, ", ", |build, column| build.push(&capture(column, None)))
            .push(" FROM ")
            .push(&table.name)
            .push(" WHERE ")
            .one_of(table, key, rows)
            .0
    }

    fn insert(&self, table: &Table, row: &Row) -> Spoken {
        insert(table, &[row])
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
        let build = Build::default().push("UPDATE ").push(&table.name).push(" SET ");
        let build = build.list(changed, ", ", |build, (column, (_, value))| {
            build.push(&quote(&column.name)).push(" = ").value(column, value)
        });
        Some(build.row_of(table, to).0)
    }

    fn delete(&self, table: &Table, row: &Row) -> Spoken {
        Build::default().push("DELETE FROM ").push(&table.name).row_of(table, row).0
    }

    /// A foreign key that is not deferrable is looked at when a statement ends.
    fn together(&self, table: &Table, rows: &[&Row], turn: Turn) -> Option<Spoken> {
        if rows.len() * table.columns.len() > PARAMETERS_MAX {
            return None;
        }
        Some(match turn {
            Turn::Come => insert(table, rows),
            Turn::Go => {
                let build = Build::default().push("DELETE FROM ").push(&table.name);
                build.push(" WHERE ").one_of(table, &table.primary, rows).0
            }
        })
    }

    /// Rows are noted in the order in which they changed, so none of them has to be tried again.
    fn survives_refusals(&self) -> bool {
        false
    }

    fn referring(&self, table: &Table, child: &Child, row: &Row) -> Spoken {
        let build = Build::default().push("SELECT 1 FROM ").push(&child.table);
        let build =
            build.push(" WHERE ").list(&child.columns, " AND ", |build, (column, place)| {
                let build = build.push(&quote(column)).push(" = ");
                build.value(&table.columns[*place], &row[*place])
            });
        build.push(" LIMIT 1").0
    }
}
