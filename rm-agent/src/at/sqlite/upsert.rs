//! The rows that are in the way of an upsert, before it meets them.
//!
//! ```text
//! WITH source AS (the rows to be inserted)
//! SELECT the table's columns FROM source CROSS JOIN the table
//! WHERE a unique key of the table is equal to the source's
//! ```
//!
//! Nobody else writes meanwhile, so what is found is what is met. More may be found than is met: a
//! row that a REPLACE left alone is recognised when it is read again, and of an `ON CONFLICT DO
//! UPDATE` only those count that it returns. Fewer must never be found: a row that was there would
//! be taken for a new one, and deleted by a rollback.
//!
//! Easy to get wrong: a value is compared as the column would *store* it. The unary plus takes a
//! source column's own affinity away, so that the table's column decides, and a number may be stored
//! as a rounded one. A key column that gets no value, or for a REPLACE a NULL that it may not hold,
//! is filled with the column's default, which is not known here: where there is one, every row is
//! taken to be in the way.

use super::dialect::quote;
use crate::at::keys::Fold;
use crate::at::plan::{
    ConflictTarget, Insert, InsertSource, OnConflict, Refused, check_repeatable_query,
    check_repeatable_value,
};
use crate::at::table::{KeyColumn, Table};
use crate::db::Kind;

/// What the table is called in the query.
pub(super) const TABLE: &str = "`__pactum_table`";
const SOURCE: &str = "`__pactum_source`";

/// The query for `columns`; `None` where no row is ever changed that was there.
pub(super) fn before(
    insert: &Insert,
    table: &Table,
    columns: &str,
) -> Result<Option<String>, Refused> {
    let (keys, replaces) = match &insert.on_conflict {
        OnConflict::Fail | OnConflict::Skip => return Ok(None),
        OnConflict::Update { target, assigned: _ } => (keys(table, target)?, false),
        OnConflict::Replace => (keys(table, &ConflictTarget::Any)?, true),
    };
    let filled = filled(insert, table)?;
    let source = source(insert, &keys, &filled)?;
    let from = format!("FROM {SOURCE} CROSS JOIN main.{} AS {TABLE}", quote(&table.name));
    let with =
        insert.with.as_ref().map_or_else(|| "WITH".to_owned(), |with| format!("{},", with.sql));
    let mut sql = format!("{with} {source} SELECT {columns} {from} WHERE ");
    let equal: Vec<String> = keys.iter().filter_map(|key| equal(table, key, &filled)).collect();
    sql.push_str(if equal.is_empty() { "0" } else { "" });
    sql.push_str(&equal.join(" OR "));
    let filled_in = filled_in(table, &keys, &filled, replaces)?;
    if !filled_in.is_empty() {
        sql.push_str(&format!(
            " UNION ALL SELECT {columns} {from} WHERE {}",
            filled_in.join(" OR ")
        ));
    }
    Ok(Some(sql))
}

/// The unique keys that may be in the way.
fn keys<'t>(table: &'t Table, target: &ConflictTarget) -> Result<Vec<&'t [KeyColumn]>, Refused> {
    let all = std::iter::once(table.key.as_slice())
        .chain(table.uniques.iter().map(|unique| unique.columns.as_slice()));
    match target {
        ConflictTarget::Any if table.locks_whole_table => Err(Refused::new(
            format!("upsert of `{}`", table.name),
            "the table has a unique index on an expression, whose values are not known here",
            "name the conflict target: `ON CONFLICT (columns) DO UPDATE`",
        )),
        ConflictTarget::Any => Ok(all.collect()),
        ConflictTarget::Columns(names) => {
            let is_meant = |key: &&[KeyColumn]| {
                let has = |name: &String| {
                    key.iter().any(|key| table.columns[key.column].name.eq_ignore_ascii_case(name))
                };
                key.len() == names.len() && names.iter().all(has)
            };
            let keys: Vec<_> = all.filter(is_meant).collect();
            if keys.is_empty() {
                return Err(Refused::new(
                    format!("upsert of `{}`", table.name),
                    "no unique key of the table has exactly the columns of its conflict target",
                    "name all columns of one unique key",
                ));
            }
            Ok(keys)
        }
        ConflictTarget::Constraint(_) => Err(Refused::new(
            format!("upsert of `{}`", table.name),
            "SQLite knows no constraint by its name",
            "name the columns of a unique key",
        )),
    }
}

/// The columns that the source has values for, in its order.
fn filled(insert: &Insert, table: &Table) -> Result<Vec<usize>, Refused> {
    if insert.source == InsertSource::Defaults {
        return Ok(Vec::new());
    }
    if insert.columns.is_empty() {
        let stored = table.columns.iter().enumerate().filter(|(_, column)| !column.generated);
        return Ok(stored.map(|(place, _)| place).collect());
    }
    let place = |name: &String| {
        table.column(name).ok_or_else(|| {
            // The hidden row number is a unique key of its own.
            Refused::new(
                format!("upsert of `{}`", table.name),
                format!("`{name}` is not one of its columns"),
                "name columns of the table",
            )
        })
    };
    insert.columns.iter().map(place).collect()
}

/// The name of a source column.
fn name(place: usize) -> String {
    format!("`c{place}`")
}

/// The rows to be inserted, as a common table expression.
fn source(insert: &Insert, keys: &[&[KeyColumn]], filled: &[usize]) -> Result<String, Refused> {
    let is_key = |place: usize| keys.iter().any(|key| key.iter().any(|key| key.column == place));
    match &insert.source {
        InsertSource::Defaults => Ok(format!("{SOURCE} (`one`) AS (VALUES (1))")),
        InsertSource::Query(query) => {
            check_repeatable_query(query, Kind::Sqlite)?;
            let names: Vec<String> = filled.iter().map(|place| name(*place)).collect();
            Ok(format!("{SOURCE} ({}) AS ({})", names.join(", "), query.sql))
        }
        InsertSource::Values(rows) => {
            let mut names = vec!["`one`".to_owned()];
            names.extend(filled.iter().filter(|place| is_key(**place)).map(|place| name(*place)));
            let mut lists = Vec::with_capacity(rows.len());
            for row in rows {
                let mut cells = vec!["1"];
                for (place, cell) in filled.iter().zip(row).filter(|(place, _)| is_key(**place)) {
                    let Some(cell) = cell else { return Err(no_default(*place)) };
                    check_repeatable_value(cell, Kind::Sqlite)?;
                    cells.push(&cell.sql);
                }
                if row.len() != filled.len() {
                    return Err(Refused::new(
                        "upsert",
                        "its rows have not as many values as it has columns",
                        "give each column a value",
                    ));
                }
                lists.push(format!("({})", cells.join(", ")));
            }
            Ok(format!("{SOURCE} ({}) AS (VALUES {})", names.join(", "), lists.join(", ")))
        }
    }
}

fn no_default(place: usize) -> Refused {
    let why = format!("the value of column {} is DEFAULT, which SQLite does not know", place + 1);
    Refused::new("upsert", why, "leave the column out")
}

/// That a key of the table is equal to that of a row of the source; `None` if that has not all of
/// it.
fn equal(table: &Table, key: &[KeyColumn], filled: &[usize]) -> Option<String> {
    let terms: Option<Vec<String>> = key
        .iter()
        .map(|KeyColumn { column, fold }| {
            let value = filled.contains(column).then(|| format!("{SOURCE}.{}", name(*column)))?;
            let collation = match fold {
                Fold::Binary => "BINARY",
                Fold::NoCase => "NOCASE",
                Fold::RTrim => "RTRIM",
            };
            let column = quote(&table.columns[*column].name);
            Some(format!(
                "{TABLE}.{column} COLLATE {collation} IN (+{value}, CAST({value} AS REAL))"
            ))
        })
        .collect();
    Some(format!("({})", terms?.join(" AND ")))
}

/// The conditions under which a default comes to stand in a key.
fn filled_in(
    table: &Table,
    keys: &[&[KeyColumn]],
    filled: &[usize],
    replaces: bool,
) -> Result<Vec<String>, Refused> {
    let mut conditions = Vec::new();
    for key in keys.iter().copied().flatten() {
        let column = &table.columns[key.column];
        if column.generated {
            return Err(Refused::new(
                format!("upsert of `{}`", table.name),
                format!("`{}` of a unique key is generated, and not in the statement", column.name),
                "use UPDATE, and INSERT if it met no row",
            ));
        }
        let default = format!(
            "EXISTS (SELECT 1 FROM pragma_table_xinfo({}, 'main') WHERE name = {} \
             AND upper(dflt_value) <> 'NULL'",
            text(&table.name),
            text(&column.name)
        );
        if !filled.contains(&key.column) {
            conditions.push(format!("{default})"));
        } else if replaces {
            let value = name(key.column);
            conditions.push(format!("{SOURCE}.{value} IS NULL AND {default} AND \"notnull\")"));
        }
    }
    conditions.sort();
    conditions.dedup();
    Ok(conditions)
}

fn text(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}
