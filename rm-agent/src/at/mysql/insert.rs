//! INSERT, upserts and REPLACE: by which keys their rows are found.
//!
//! ```text
//! the text gives the values of a unique key   rows joined to these values
//! the database makes the primary key          LAST_INSERT_ID() and those that follow
//! neither                                     refused, with RETURNING as the way out
//! ```
//!
//! What decides about a row that is in the way is any unique key, so an upsert needs to know of each
//! of them: its values are in the text, or one of them is NULL or a number that the database makes
//! anew. That the images are complete is then the count's to say: a row counts once that was
//! inserted or stayed as it was, and twice that was changed. So that nothing makes up in it for a row
//! that was stored otherwise than it was written (99.6 as 100) and not found, no written row may find
//! two.
//!
//! Easy to get wrong: an expression is evaluated once more for the image, so it must give the same
//! value again: parameters, literals and a few functions do ([`literal`](super::literal)).

use super::compile::{all, captures, plain, returning, swallow};
use super::dialect::quote;
use super::literal::{is_nothing, is_stable, stored};
use super::query;
use super::table::Facts;
use crate::at::engine::CompiledChange;
use crate::at::plan::{Change, Insert, InsertSource, OnConflict, Part, Refused};
use crate::at::table::Table;

/// The derived table that holds the written values.
pub(super) const WRITTEN: &str = "`__pactum_written`";

pub(super) fn insert(
    change: &Change,
    table: &Table,
    insert: &Insert,
) -> Result<CompiledChange, Refused> {
    let facts = table.mysql.as_deref().ok_or_else(|| refuse(table, "its keys are not known"))?;
    let returns = change.returning.is_some();
    match insert.on_conflict {
        OnConflict::Fail | OnConflict::Skip if returns => Ok(returning(change, table)),
        OnConflict::Fail | OnConflict::Skip if let InsertSource::Query(query) = &insert.source => {
            query::insert(change, table, facts, insert, query)
        }
        OnConflict::Fail => {
            let after = written(change, table, facts, insert)?;
            Ok(CompiledChange { after: Some(after.into()), numbered: true, ..plain(change) })
        }
        OnConflict::Skip | OnConflict::Update { .. } | OnConflict::Replace => {
            let found = in_the_way(change, table, facts, insert)?;
            let before = Some(found.as_str().into());
            let base = if returns {
                returning(change, table)
            } else {
                // What IGNORE skipped may have had two rows in its way.
                let numbered = insert.on_conflict != OnConflict::Skip;
                CompiledChange { after: Some(found.into()), numbered, ..plain(change) }
            };
            let counts_changes_twice = matches!(insert.on_conflict, OnConflict::Update { .. });
            Ok(CompiledChange { before, counts_changes_twice, repeatable_read: true, ..base })
        }
    }
}

pub(super) fn refuse(table: &Table, why: &'static str) -> Refused {
    let key: Vec<&str> =
        table.primary.iter().map(|place| table.columns[*place].name.as_str()).collect();
    let returns_rows = table.mysql.as_deref().is_some_and(|facts| facts.returning);
    let instead = if returns_rows {
        format!("end it with `RETURNING {}`, or bind a unique key's values", key.join(", "))
    } else {
        "bind a unique key's values as parameters".to_owned()
    };
    Refused::new(format!("INSERT into `{}`", table.name), why, instead)
}

fn refuse_upsert(table: &Table, why: &'static str) -> Refused {
    Refused::new(
        format!("upsert, REPLACE or INSERT IGNORE into `{}`", table.name),
        why,
        "bind the values of every unique key that is not left to NULL or AUTO_INCREMENT, or use an \
         UPDATE, and an INSERT if it changed no row",
    )
}

fn refuse_partly_numbered(table: &Table, place: usize) -> Refused {
    let column = &table.columns[place].name;
    Refused::new(
        format!("INSERT into `{}`", table.name),
        format!("it gives some of its rows a `{column}` and leaves others to AUTO_INCREMENT"),
        "send one INSERT for those with a number and one for those without",
    )
}

/// A read of the rows that were inserted.
fn written(
    change: &Change,
    table: &Table,
    facts: &Facts,
    insert: &Insert,
) -> Result<String, Refused> {
    let rows = Rows::of(table, facts, insert)?;
    let columns = captures(table, &all(table), Some(&quote(&table.name)));
    if let Some(place) = facts.auto_increment
        && facts.unique_keys.contains(&Some(vec![place]))
        && rows.is_left_to_database(place)
    {
        if change.text.sql.to_ascii_lowercase().contains("last_insert_id") {
            return Err(refuse(table, "it sets the number by which its rows would be found"));
        }
        let number = |row: usize| match row {
            0 => "LAST_INSERT_ID()".to_owned(),
            row => format!("LAST_INSERT_ID() + {row} * @@auto_increment_increment"),
        };
        let numbers = (0..rows.count()).map(number).collect::<Vec<_>>().join(", ");
        let column = quote(&table.columns[place].source);
        let ours = format!("{}.{column} IN ({numbers})", quote(&table.name));
        let conditions: Vec<String> =
            swallow(change.text.parameters).into_iter().chain([ours]).collect();
        return Ok(format!(
            "SELECT {column} AS n, {columns} FROM {} WHERE {} FOR UPDATE",
            quote(&table.name),
            conditions.join(" AND ")
        ));
    }
    let numbered = facts.auto_increment.filter(|place| rows.is_partly_left(*place));
    let known = |key: &&Vec<usize>| {
        let is_known = |place: &usize| rows.is_written(*place) && numbered != Some(*place);
        key.iter().all(is_known)
    };
    if let Some(place) =
        numbered.filter(|_| !facts.unique_keys.iter().flatten().any(|key| known(&key)))
    {
        return Err(refuse_partly_numbered(table, place));
    }
    let key = facts.unique_keys.iter().flatten().find(known).ok_or_else(|| {
        refuse(table, "the keys of its rows are not known before the database makes them")
    })?;
    Ok(rows.joined(change, table, facts, insert, &columns, &[key]))
}

/// A read of the rows that are, or would be, in the way: those with a written unique value.
fn in_the_way(
    change: &Change,
    table: &Table,
    facts: &Facts,
    insert: &Insert,
) -> Result<String, Refused> {
    if insert.with.is_some() || matches!(insert.source, InsertSource::Query(_)) {
        return Err(Refused::new(
            format!("upsert, REPLACE or INSERT IGNORE into `{}`", table.name),
            "a query decides which rows it writes",
            "read its rows with a SELECT … FOR UPDATE first, and write their values",
        ));
    }
    let rows = Rows::of(table, facts, insert)?;
    // A new row with the number that it gets is found by another key, if there is one.
    if let Some(place) = facts.auto_increment.filter(|place| rows.is_partly_left(*place)) {
        let is_other = |key: &&Vec<usize>| {
            !key.contains(&place) && key.iter().all(|place| rows.is_written(*place))
        };
        if !facts.unique_keys.iter().flatten().any(|key| is_other(&key)) {
            return Err(refuse_partly_numbered(table, place));
        }
    }
    let mut keys = Vec::new();
    for key in &facts.unique_keys {
        let key = key.as_ref().ok_or_else(|| {
            refuse_upsert(table, "a unique key holds an expression or the beginning of a column")
        })?;
        if key.iter().all(|place| rows.is_written(*place)) {
            keys.push(key);
        } else if !key.iter().any(|place| rows.is_nobodys(*place, facts)) {
            return Err(refuse_upsert(table, "the values of a unique key are not in its text"));
        }
    }
    if keys.is_empty() {
        return Err(refuse_upsert(table, "it names the values of no unique key"));
    }
    let columns = captures(table, &all(table), Some(&quote(&table.name)));
    Ok(rows.joined(change, table, facts, insert, &columns, &keys))
}

/// The rows that an INSERT writes, value by value.
struct Rows<'i> {
    /// The place of each written column.
    places: Vec<usize>,
    values: &'i [Vec<Option<Part>>],
}

impl<'i> Rows<'i> {
    fn of(table: &Table, facts: &Facts, insert: &'i Insert) -> Result<Self, Refused> {
        let values = match &insert.source {
            InsertSource::Values(values) if insert.with.is_none() => values.as_slice(),
            InsertSource::Values(_) | InsertSource::Query(_) => {
                return Err(refuse(table, "a query decides which rows it writes"));
            }
            InsertSource::Defaults => &[],
        };
        let places: Option<Vec<usize>> = if insert.columns.is_empty() {
            Some(if values.is_empty() { Vec::new() } else { facts.visible.clone() })
        } else {
            insert.columns.iter().map(|name| table.column(name)).collect()
        };
        let places = places.ok_or_else(|| refuse(table, "it names a column that is not there"))?;
        if values.iter().any(|row| row.len() != places.len()) {
            return Err(refuse(table, "it has more or fewer values than columns"));
        }
        Ok(Rows { places, values })
    }

    /// One for `VALUES ()`.
    fn count(&self) -> usize {
        self.values.len().max(1)
    }

    fn written(&self, place: usize) -> Option<usize> {
        self.places.iter().position(|written| *written == place)
    }

    /// Whether each row has a value for the column that stays the same if it is asked for again.
    fn is_written(&self, place: usize) -> bool {
        self.written(place).is_some_and(|index| {
            self.values.iter().all(|row| row[index].as_ref().is_some_and(is_stable))
        })
    }

    /// Whether no row has a value for the column.
    fn is_left_to_database(&self, place: usize) -> bool {
        self.written(place)
            .is_none_or(|index| self.values.iter().all(|row| is_nothing(row[index].as_ref())))
    }

    /// Whether some rows have a value for the column, and others none.
    fn is_partly_left(&self, place: usize) -> bool {
        self.written(place).is_some_and(|index| {
            let some = self.values.iter().any(|row| is_nothing(row[index].as_ref()));
            some && !self.is_left_to_database(place)
        })
    }

    /// Whether the column's values can be in no other row's way: NULLs, or numbers never used.
    fn is_nobodys(&self, place: usize, facts: &Facts) -> bool {
        match self.written(place) {
            None => facts.nobodys_if_absent[place],
            Some(_) => facts.auto_increment == Some(place) && self.is_left_to_database(place),
        }
    }

    /// The rows of the table that have the written values of one of these keys.
    fn joined(
        &self,
        change: &Change,
        table: &Table,
        facts: &Facts,
        insert: &Insert,
        columns: &str,
        keys: &[&Vec<usize>],
    ) -> String {
        let in_key = |index: &usize| keys.iter().any(|key| key.contains(&self.places[*index]));
        let rows = self.values.iter().enumerate().map(|(number, row)| {
            let item = |index: usize| {
                let part = row[index].as_ref();
                let sql = match part {
                    Some(part) if in_key(&index) => stored(part, facts.whole[self.places[index]]),
                    // Not asked for, but its parameters have their places.
                    Some(part) => swallow(part.parameters).unwrap_or_else(|| "1".to_owned()),
                    None => "1".to_owned(),
                };
                format!("{sql} AS c{index}")
            };
            let items = (0..row.len()).map(item).collect::<Vec<_>>().join(", ");
            format!("SELECT {number} AS n, {items}")
        });
        let rows = rows.collect::<Vec<_>>().join(" UNION ALL ");
        let name = quote(&table.name);
        let equal = |place: &usize| {
            let index = self.written(*place).unwrap_or_default();
            let value = facts.compared[*place].around(&format!("{WRITTEN}.c{index}"));
            // A single row's NULL becomes the number that the database made.
            let is_number = facts.auto_increment == Some(*place);
            let value = match insert.on_conflict {
                OnConflict::Fail if is_number && self.values.len() == 1 => {
                    format!("COALESCE({value}, LAST_INSERT_ID())")
                }
                OnConflict::Fail
                | OnConflict::Skip
                | OnConflict::Update { .. }
                | OnConflict::Replace => value,
            };
            format!("{name}.{} = {value}", quote(&table.columns[*place].source))
        };
        let same = |key: &&Vec<usize>| {
            format!("({})", key.iter().map(equal).collect::<Vec<_>>().join(" AND "))
        };
        let same = keys.iter().map(same).collect::<Vec<_>>().join(" OR ");
        let of_values: usize =
            self.values.iter().flatten().flatten().map(|part| part.parameters).sum();
        let rest = swallow(change.text.parameters.saturating_sub(of_values));
        let rest = rest.map(|rest| format!(" WHERE {rest}")).unwrap_or_default();
        format!(
            "SELECT {WRITTEN}.n, {columns} FROM ({rows}) {WRITTEN} STRAIGHT_JOIN {name} ON \
             {same}{rest} FOR UPDATE"
        )
    }
}
