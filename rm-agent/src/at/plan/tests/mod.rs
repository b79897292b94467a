//! What the planner takes and what it refuses, as tables: one file a database. `docs/at.md` lists
//! the same.

mod hostile;
mod mysql;
mod postgres;
mod sqlite;

use super::*;
use crate::db::Kind;

/// A part, with the number of its anonymous parameters where it has any.
fn part(part: &Part) -> String {
    match part.parameters {
        0 => part.sql.clone(),
        count => format!("{} #{count}", part.sql),
    }
}

fn parts(label: &str, optional: Option<&Part>) -> String {
    optional.map_or_else(String::new, |found| format!(" {label} {{{}}}", part(found)))
}

fn source(source: &Source) -> String {
    let Source { with, skipped, from, set, joined, condition, order, limit, head: _ } = source;
    let mut shown = format!("{{{}}}", part(from));
    if *skipped > 0 {
        shown.push_str(&format!(" skipped {skipped}"));
    }
    for (label, optional) in [
        ("with", with),
        ("set", set),
        ("joined", joined),
        ("where", condition),
        ("order", order),
        ("limit", limit),
    ] {
        shown.push_str(&parts(label, optional.as_ref()));
    }
    shown
}

fn insert(insert: &Insert) -> String {
    let Insert { with, columns, source, on_conflict, conflict_parameters } = insert;
    let source = match source {
        InsertSource::Defaults => "defaults".to_owned(),
        InsertSource::Query(query) => format!("query {{{}}}", part(query)),
        InsertSource::Values(rows) => {
            let cell = |cell: &Option<Part>| cell.as_ref().map_or_else(|| "DEFAULT".into(), part);
            let row =
                |row: &Vec<Option<Part>>| row.iter().map(cell).collect::<Vec<_>>().join(" | ");
            format!("values {{{}}}", rows.iter().map(row).collect::<Vec<_>>().join(" // "))
        }
    };
    let conflict = match on_conflict {
        OnConflict::Fail => String::new(),
        OnConflict::Skip => " or skip".to_owned(),
        OnConflict::Replace => " or replace".to_owned(),
        OnConflict::Update { target, assigned } => {
            let target = match target {
                ConflictTarget::Any => "any".to_owned(),
                ConflictTarget::Columns(columns) => columns.join(","),
                ConflictTarget::Constraint(name) => format!("constraint {name}"),
            };
            format!(" or update [{}] on ({target})", assigned.join(","))
        }
    };
    let parameters = match conflict_parameters {
        0 => String::new(),
        count => format!(" then #{count}"),
    };
    let with = parts("with", with.as_ref());
    format!("insert [{}]{with} {source}{conflict}{parameters}", columns.join(","))
}

/// The plan, in one line.
fn show(sql: &str, kind: Kind) -> String {
    match plan(sql, kind) {
        Ok(Plan::Read) => "read".to_owned(),
        Ok(Plan::LockingRead(read)) => {
            let of = match &read.rows {
                RowsRead::Returned { .. } => String::new(),
                RowsRead::Matching(rows) => format!(" of {}", source(rows)),
            };
            let text = read.returning("K").unwrap_or_else(|| read.text.sql.clone());
            format!("lock {} as {}{of} by {}: {text}", read.table, read.target, read.locking)
        }
        Ok(Plan::Change(change)) => {
            let kind = match &change.kind {
                ChangeKind::Insert(rows) => insert(rows),
                ChangeKind::Delete(rows) => format!("delete {}", source(rows)),
                ChangeKind::Update(Update { assigned, rows }) => {
                    format!("update [{}] {}", assigned.join(","), source(rows))
                }
            };
            let returning = parts("returning", change.returning.as_ref());
            format!("{} as {}: {kind}{returning}", change.table, change.target)
        }
        Err(refused) => format!("refused {refused}"),
    }
}

#[track_caller]
fn check(kind: Kind, cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        assert_eq!(show(sql, kind), *expected, "{sql}");
    }
}

#[track_caller]
fn check_reads(kind: Kind, cases: &[&str]) {
    for sql in cases {
        assert_eq!(show(sql, kind), "read", "{sql}");
    }
}

#[track_caller]
fn check_refused(kind: Kind, cases: &[(&str, &str)]) {
    for (sql, why) in cases {
        let refused = match plan(sql, kind) {
            Err(refused) => refused,
            Ok(plan) => panic!("{sql:?} is not refused: {plan:?}"),
        };
        assert!(refused.to_string().contains(why), "{sql:?}: {refused}");
        assert!(!refused.instead.is_empty(), "{sql:?}");
    }
}
