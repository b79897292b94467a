//! The undo log of a branch: what a rollback needs, and its stored form.
//!
//! Format 1 is JSON that a person can read:
//!
//! ```text
//! {"v":1,
//!  "tables":{"account":{"fingerprint":"1a2b3c4d","columns":["id","owner","balance"],"key":["id"]}},
//!  "changes":[{"table":"account","rows":[
//!     {"updated":{"before":[1,"A",100],"set":{"balance":70}}},
//!     {"inserted":[2,"B",0]},
//!     {"deleted":[3,"C",5]}]}]}
//! ```
//!
//! Format 2 is the same, packed (`undo/pack.rs`), which a person reads through [`read_undo`]. The
//! format says how the body is written, the version inside what the JSON means.
//!
//! Changes are in the order of the statements, rows in the order in which the database changed
//! them: undone backwards, each step meets the state that it was made in. Values are spelled as
//! `db::Value` says.
//!
//! Logs live in databases of released versions: a new form gets a new number, and the old ones are
//! read for ever (`undo/v1.json` and `undo/v2.txt` are the golden files).

mod pack;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::table::Table;
use crate::db::{Row, Value};

pub use pack::{UnreadableUndo, read_undo};

/// The version of the JSON that is written.
const VERSION: u8 = 1;
/// The JSON as it is.
const PLAIN: u8 = 1;
/// The JSON, packed.
const PACKED: u8 = 2;

/// What a branch changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UndoLog {
    pub(crate) tables: BTreeMap<String, Shape>,
    pub(crate) changes: Vec<TableChange>,
}

/// The columns that rows were captured with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    pub(crate) fingerprint: String,
    pub(crate) columns: Vec<String>,
    pub(crate) key: Vec<String>,
}

/// What one statement did to one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableChange {
    pub(crate) table: String,
    pub(crate) rows: Vec<RowChange>,
}

/// What it did to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowChange {
    Inserted(Row),
    Updated { before: Row, after: Row },
    Deleted(Row),
}

impl RowChange {
    pub(crate) fn before(&self) -> Option<&Row> {
        match self {
            RowChange::Inserted(_) => None,
            RowChange::Updated { before, after: _ } | RowChange::Deleted(before) => Some(before),
        }
    }

    pub(crate) fn after(&self) -> Option<&Row> {
        match self {
            RowChange::Inserted(after) | RowChange::Updated { before: _, after } => Some(after),
            RowChange::Deleted(_) => None,
        }
    }

    /// The newest image there is: it tells which row this is about.
    pub(crate) fn image(&self) -> &Row {
        match self {
            RowChange::Inserted(image)
            | RowChange::Updated { before: _, after: image }
            | RowChange::Deleted(image) => image,
        }
    }

    /// About how many bytes this takes in the stored form.
    pub(crate) fn size(&self) -> usize {
        let row = |row: &Row| row.iter().map(Value::size).sum::<usize>();
        24 + match self {
            RowChange::Inserted(row_image) | RowChange::Deleted(row_image) => row(row_image),
            RowChange::Updated { before, after } => {
                let changed = before.iter().zip(after).filter(|(before, after)| before != after);
                row(before) + changed.map(|(_, after)| after.size() + 16).sum::<usize>()
            }
        }
    }
}

impl Shape {
    pub(crate) fn of(table: &Table) -> Self {
        Shape {
            fingerprint: table.fingerprint.clone(),
            columns: table.columns.iter().map(|column| column.name.clone()).collect(),
            key: table.key.iter().map(|key| table.columns[key.column].name.clone()).collect(),
        }
    }
}

impl UndoLog {
    pub(crate) fn push(&mut self, table: &Table, rows: Vec<RowChange>) {
        self.tables.entry(table.name.clone()).or_insert_with(|| Shape::of(table));
        self.changes.push(TableChange { table: table.name.clone(), rows });
    }
}

/// A log as a barrier row holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) format: u8,
    pub(crate) body: String,
}

/// A body that is not an undo log of a known version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Written by another version of the agent.
    Version(i64),
    /// Not what an agent writes.
    Malformed(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredLog {
    v: u8,
    tables: BTreeMap<String, Shape>,
    changes: Vec<StoredChange>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredChange {
    table: String,
    rows: Vec<StoredRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum StoredRow {
    Inserted(Row),
    Updated { before: Row, set: BTreeMap<String, Value> },
    Deleted(Row),
}

/// The stored form; `None` if the log is larger than `bytes_max`, which is its size before it is
/// packed: a rollback holds it in memory like that.
pub(crate) fn store(log: &UndoLog, bytes_max: usize) -> Option<Stored> {
    let json = encode(log);
    if json.len() > bytes_max {
        return None;
    }
    Some(match pack::pack(&json) {
        Some(body) => Stored { format: PACKED, body },
        None => Stored { format: PLAIN, body: json },
    })
}

fn encode(log: &UndoLog) -> String {
    let changes = log.changes.iter().map(|change| {
        let columns = &log.tables[&change.table].columns;
        let rows = change.rows.iter().map(|row| store_row(row, columns)).collect();
        StoredChange { table: change.table.clone(), rows }
    });
    let stored = StoredLog { v: VERSION, tables: log.tables.clone(), changes: changes.collect() };
    serde_json::to_string(&stored).expect("text keys and plain values make JSON")
}

fn store_row(row: &RowChange, columns: &[String]) -> StoredRow {
    match row {
        RowChange::Inserted(after) => StoredRow::Inserted(after.clone()),
        RowChange::Deleted(before) => StoredRow::Deleted(before.clone()),
        RowChange::Updated { before, after } => {
            let changed = columns.iter().zip(before.iter().zip(after));
            let changed = changed.filter(|(_, (before, after))| before != after);
            let set = changed.map(|(column, (_, after))| (column.clone(), after.clone()));
            StoredRow::Updated { before: before.clone(), set: set.collect() }
        }
    }
}

/// Reads a stored form. A packed one is never unpacked to more than `bytes_max`.
pub(crate) fn decode(format: i64, body: &str, bytes_max: usize) -> Result<UndoLog, Unreadable> {
    let stored = parse(&json(format, body, bytes_max)?)?;
    let malformed = |what: &str| Unreadable::Malformed(what.to_owned());
    let mut changes = Vec::with_capacity(stored.changes.len());
    for change in stored.changes {
        let shape = stored
            .tables
            .get(&change.table)
            .ok_or_else(|| malformed("a change names a table that the log does not describe"))?;
        let rows: Option<Vec<RowChange>> =
            change.rows.into_iter().map(|row| load_row(row, &shape.columns)).collect();
        let rows = rows.ok_or_else(|| malformed("a row does not fit its table's columns"))?;
        changes.push(TableChange { table: change.table, rows });
    }
    Ok(UndoLog { tables: stored.tables, changes })
}

/// The JSON of a body.
fn json(format: i64, body: &str, bytes_max: usize) -> Result<Cow<'_, str>, Unreadable> {
    match u8::try_from(format) {
        Ok(PLAIN) => Ok(Cow::Borrowed(body)),
        Ok(PACKED) => pack::unpack(body, bytes_max).map(Cow::Owned).map_err(Unreadable::Malformed),
        Ok(_) | Err(_) => Err(Unreadable::Version(format)),
    }
}

fn parse(json: &str) -> Result<StoredLog, Unreadable> {
    let stored: StoredLog =
        serde_json::from_str(json).map_err(|error| Unreadable::Malformed(error.to_string()))?;
    if stored.v != VERSION {
        return Err(Unreadable::Version(i64::from(stored.v)));
    }
    Ok(stored)
}

fn load_row(row: StoredRow, columns: &[String]) -> Option<RowChange> {
    let row = match row {
        StoredRow::Inserted(after) => RowChange::Inserted(after),
        StoredRow::Deleted(before) => RowChange::Deleted(before),
        StoredRow::Updated { before, set } => {
            let mut after = before.clone();
            for (column, value) in set {
                let place = columns.iter().position(|name| *name == column)?;
                *after.get_mut(place)? = value;
            }
            RowChange::Updated { before, after }
        }
    };
    let fits = |image: Option<&Row>| image.is_none_or(|image| image.len() == columns.len());
    (fits(row.before()) && fits(row.after())).then_some(row)
}

#[cfg(test)]
mod tests;
