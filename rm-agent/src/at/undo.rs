//! The undo log of a branch: what a rollback needs, and its stored form.
//!
//! Version 1 is JSON that a person can read:
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
//! Changes are in the order of the statements, rows in the order in which the database changed
//! them: undone backwards, each step meets the state that it was made in. Values are spelled as
//! `db::Value` says.
//!
//! Logs live in databases of released versions: a new form gets a new number, and the old ones are
//! read for ever (`undo/v1.json` is the golden file).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::table::Table;
use crate::db::{Row, Value};

/// The version that is written.
pub(crate) const VERSION: u8 = 1;

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

/// The stored form.
pub(crate) fn encode(log: &UndoLog) -> String {
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

/// Reads a stored form of the given version.
pub(crate) fn decode(version: i64, body: &str) -> Result<UndoLog, Unreadable> {
    if version != i64::from(VERSION) {
        return Err(Unreadable::Version(version));
    }
    let stored: StoredLog =
        serde_json::from_str(body).map_err(|error| Unreadable::Malformed(error.to_string()))?;
    if stored.v != VERSION {
        return Err(Unreadable::Version(i64::from(stored.v)));
    }
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
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::db::test_values::value;

    fn row() -> impl Strategy<Value = Row> {
        vec(value(), 3)
    }

    fn row_change() -> impl Strategy<Value = RowChange> {
        prop_oneof![
            row().prop_map(RowChange::Inserted),
            row().prop_map(RowChange::Deleted),
            (row(), row()).prop_map(|(before, after)| RowChange::Updated { before, after }),
        ]
    }

    fn log() -> impl Strategy<Value = UndoLog> {
        let change = (prop_oneof![Just("a"), Just("b \"é\"")], vec(row_change(), 0..4));
        vec(change, 0..4).prop_map(|changes| {
            let mut log = UndoLog::default();
            for (table, rows) in changes {
                let columns = ["id", "x", "y"].map(str::to_owned).to_vec();
                let shape = Shape { fingerprint: "00".into(), columns, key: vec!["id".to_owned()] };
                log.tables.insert(table.to_owned(), shape);
                log.changes.push(TableChange { table: table.to_owned(), rows });
            }
            log
        })
    }

    proptest! {
        #[test]
        fn a_log_survives_its_stored_form(log in log()) {
            prop_assert_eq!(decode(1, &encode(&log)), Ok(log));
        }

        #[test]
        fn a_log_that_is_cut_short_is_refused(log in log(), part in 0.0..1.0_f64) {
            let body = encode(&log);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss,
                clippy::cast_precision_loss, reason = "a place in a short text")]
            let end = (body.len() as f64 * part) as usize;
            if body.is_char_boundary(end) {
                prop_assert!(matches!(decode(1, &body[..end]), Err(Unreadable::Malformed(_))));
            }
        }
    }

    fn golden() -> UndoLog {
        let mut log = UndoLog::default();
        let columns = ["id", "owner", "balance"].map(str::to_owned).to_vec();
        let shape = Shape { fingerprint: "1a2b3c4d".into(), columns, key: vec!["id".to_owned()] };
        log.tables.insert("account".to_owned(), shape);
        let row = |id: i64, owner: Value, balance: Value| vec![Value::Integer(id), owner, balance];
        log.changes.push(TableChange {
            table: "account".to_owned(),
            rows: vec![
                RowChange::Updated {
                    before: row(1, Value::text("A"), Value::Integer(100)),
                    after: row(1, Value::text("A"), Value::Integer(70)),
                },
                RowChange::Inserted(row(2, Value::Null, Value::Float(1.5_f64.to_bits()))),
                RowChange::Deleted(row(3, Value::Bytes(vec![0, 255]), Value::Unsigned(u64::MAX))),
                RowChange::Inserted(row(4, Value::RawText(vec![0x61, 0xff]), Value::Integer(0))),
            ],
        });
        log
    }

    #[test]
    fn version_1_is_read_and_written_as_released() {
        let body = include_str!("undo/v1.json").trim_end();
        assert_eq!(encode(&golden()), body);
        assert_eq!(decode(1, body), Ok(golden()));
    }

    #[test]
    fn what_no_agent_writes_is_refused() {
        let table = r#""tables":{"t":{"fingerprint":"","columns":["id"],"key":["id"]}}"#;
        let with = |changes: &str| format!(r#"{{"v":1,{table},"changes":[{changes}]}}"#);
        for body in [
            String::new(),
            "{}".to_owned(),
            with(r#"{"table":"u","rows":[]}"#),
            with(r#"{"table":"t","rows":[{"inserted":[1,2]}]}"#),
            with(r#"{"table":"t","rows":[{"deleted":[]}]}"#),
            with(r#"{"table":"t","rows":[{"updated":{"before":[1],"set":{"x":1}}}]}"#),
            with(r#"{"table":"t","rows":[{"moved":[1]}]}"#),
        ] {
            assert!(matches!(decode(1, &body), Err(Unreadable::Malformed(_))), "{body}");
        }
        assert_eq!(decode(2, &with("")), Err(Unreadable::Version(2)));
        assert_eq!(decode(1, &with("").replace(":1,", ":9,")), Err(Unreadable::Version(9)));
    }
}
