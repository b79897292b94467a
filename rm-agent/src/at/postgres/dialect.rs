//! How a restore speaks to PostgreSQL.
//!
//! Every value is bound as text and cast to its column's type, so that the database reads it as it
//! wrote it.

use async_trait::async_trait;

use super::table;
use crate::at::build::{Build, Spelling};
use crate::at::restore::{Dialect, Named, Spoken, Turn};
use crate::at::table::{Child, Column, Table};
use crate::db::{DbError, Row, Sql, Value};

/// The dialect.
pub(super) struct PostgresDialect;

/// What the protocol can count.
const PARAMETERS_MAX: usize = 65_535;

/// The plain table under a name, as lock keys name it; a NULL where it is a view, a partition or the
/// like, whose rows are also another table's.
const PLAIN_TABLE: &str = "SELECT CASE WHEN c.relkind = 'r' AND NOT c.relispartition AND NOT EXISTS \
     (SELECT FROM pg_catalog.pg_inherits h WHERE c.oid IN (h.inhrelid, h.inhparent)) \
     THEN format('%I.%I', n.nspname, c.relname) END \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid = to_regclass(?1)::oid";

/// A name, quoted so that it can be nothing but a name.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

const SPELLING: Spelling = Spelling { quote, value: spell };

/// Cast to what the column holds.
fn spell(column: &Column, _: &Value, parameter: &str) -> String {
    column.restore.around(parameter)
}

/// Rows with one of these keys. With one column PostgreSQL looks for all at once.
fn one_of(build: Build, table: &Table, key: &[usize], rows: &[&Row]) -> Build {
    let [place] = key else {
        return build
            .list(rows, " OR ", |build, row| build.push("(").key_of(table, key, row).push(")"));
    };
    let column = &table.columns[*place];
    build
        .name(&column.source)
        .push(" IN (")
        .list(rows, ", ", |build, row| build.value(column, &row[*place]))
        .push(")")
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
    Build::new(&SPELLING, "INSERT INTO ")
        .push(&table.name)
        .push(" (")
        .list(names, ", ", |build, column| build.name(&column.name))
        // A column GENERATED ALWAYS AS IDENTITY takes its old value too.
        .push(") OVERRIDING SYSTEM VALUE VALUES ")
        .list(rows, ", ", |build, row| {
            let values = build
                .push("(")
                .list(stored(*row), ", ", |build, (column, value)| build.value(column, value));
            values.push(")")
        })
        .finish()
}

#[async_trait]
impl Dialect for PostgresDialect {
    async fn load(&self, sql: &mut dyn Sql, name: &str) -> Result<Option<Table>, DbError> {
        table::load(sql, name).await
    }

    /// Phase two connects as this session did, whatever role it has taken on since.
    async fn may(&self, sql: &mut dyn Sql, table: &Table, turn: Turn) -> Result<bool, DbError> {
        let right = match turn {
            Turn::Come => "INSERT",
            Turn::Go => "DELETE",
        };
        let asked = "SELECT has_table_privilege(session_user, to_regclass(?1), ?2)";
        let rows = sql.query(asked, &[Value::text(&table.name), Value::text(right)]).await?;
        Ok(rows.first().is_some_and(|row| row[0].as_integer() == Some(1)))
    }

    /// The database itself keeps functions that are not volatile from changing rows. What is written
    /// in C is an extension's, and those make values.
    async fn writing_function(
        &self,
        sql: &mut dyn Sql,
        names: &[String],
    ) -> Result<Option<String>, DbError> {
        let names = Value::Text(serde_json::Value::from(names).to_string());
        let asked = "SELECT p.proname::text FROM pg_catalog.pg_proc p \
                     JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
                     WHERE p.proname IN (SELECT jsonb_array_elements_text(?1::jsonb)) \
                     AND p.provolatile = 'v' AND l.lanname NOT IN ('internal', 'c') \
                     AND p.pronamespace <> 'pg_catalog'::regnamespace ORDER BY 1 LIMIT 1";
        let rows = sql.query(asked, &[names]).await?;
        Ok(rows.first().and_then(|row| row[0].as_text()).map(str::to_owned))
    }

    async fn named(&self, sql: &mut dyn Sql, name: &str) -> Result<Named, DbError> {
        let found = sql.query(PLAIN_TABLE, &[Value::text(name)]).await?;
        Ok(match found.first().map(|row| row[0].as_text()) {
            None => Named::Nothing,
            Some(Some(table)) => Named::Table(table.to_owned()),
            Some(None) => Named::Unfit("is no plain table that could be locked".to_owned()),
        })
    }

    async fn begin_restore(&self, sql: &mut dyn Sql) -> Result<(), DbError> {
        // Rows of one statement may refer to each other, in an order that is not known here.
        sql.execute("SET CONSTRAINTS ALL DEFERRED", &[]).await.map(|_| ())
    }

    fn select(&self, table: &Table, key: &[usize], rows: &[&Row]) -> Spoken {
        let build = Build::new(&SPELLING, "SELECT ")
            .list(&table.columns, ", ", |build, column| build.push(&capture(column, None)))
            .push(" FROM ")
            .push(&table.name)
            .push(" WHERE ");
        one_of(build, table, key, rows).finish()
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
        let build = Build::new(&SPELLING, "UPDATE ").push(&table.name).push(" SET ");
        let build = build.list(changed, ", ", |build, (column, (_, value))| {
            build.name(&column.name).push(" = ").value(column, value)
        });
        Some(build.row_of(table, to).finish())
    }

    fn delete(&self, table: &Table, row: &Row) -> Spoken {
        Build::new(&SPELLING, "DELETE FROM ").push(&table.name).row_of(table, row).finish()
    }

    /// A foreign key that is not deferrable is looked at when a statement ends.
    fn together(&self, table: &Table, rows: &[&Row], turn: Turn) -> Option<Spoken> {
        if rows.len() * table.columns.len() > PARAMETERS_MAX {
            return None;
        }
        Some(match turn {
            Turn::Come => insert(table, rows),
            Turn::Go => {
                let build = Build::new(&SPELLING, "DELETE FROM ").push(&table.name);
                one_of(build.push(" WHERE "), table, &table.primary, rows).finish()
            }
        })
    }

    /// Rows are noted in the order in which they changed, so none of them has to be tried again.
    fn survives_refusals(&self) -> bool {
        false
    }

    fn referring(&self, table: &Table, child: &Child, row: &Row) -> Spoken {
        let build = Build::new(&SPELLING, "SELECT 1 FROM ").push(&child.table);
        let build =
            build.push(" WHERE ").list(&child.columns, " AND ", |build, (column, place)| {
                let build = build.name(column).push(" = ");
                build.value(&table.columns[*place], &row[*place])
            });
        build.push(" LIMIT 1").finish()
    }
}
