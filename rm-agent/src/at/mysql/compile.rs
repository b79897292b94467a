//! A change made ready: which statement reads its rows before, and what is sent.
//!
//! Easy to get wrong: an image and the statement choose their rows one after the other. What may choose
//! others the second time is sent for the image's rows alone.

use std::fmt::Write as _;

use super::dialect::{capture, quote};
use super::{insert, query, restrict};
use crate::at::engine::{CompiledChange, Yields};
use crate::at::plan::{Change, ChangeKind, Part, Refused, Source};
use crate::at::table::Table;

pub(super) fn change(change: &Change, table: &Table) -> Result<CompiledChange, Refused> {
    let returns_rows = table.mysql.as_deref().is_some_and(|facts| facts.returning);
    if change.returning.is_some() && !returns_rows {
        return Err(Refused::new(
            format!("change of `{}` with RETURNING", table.name),
            "this server returns no rows from a change",
            "leave RETURNING out, and read the rows in a statement of its own",
        ));
    }
    match &change.kind {
        ChangeKind::Update(update) => rows(change, table, &update.rows),
        ChangeKind::Delete(_) if change.returning.is_some() => {
            Ok(CompiledChange { yields: Yields::Before, ..returning(change, table) })
        }
        ChangeKind::Delete(deleted) => rows(change, table, deleted),
        ChangeKind::Insert(written) => insert::insert(change, table, written),
    }
}

/// The statement as it is, with nothing known of its rows.
pub(super) fn plain(change: &Change) -> CompiledChange {
    CompiledChange {
        written: None,
        before: None,
        change: change.text.sql.as_str().into(),
        restricted: None,
        after: None,
        yields: Yields::Nothing,
        counted: true,
        counts_changes_twice: false,
        repeatable_read: false,
    }
}

/// The statement, returning every column after what the user asked for. What returns rows counts
/// none.
pub(super) fn returning(change: &Change, table: &Table) -> CompiledChange {
    let sql = change.returning(&captures(table, &all(table), None));
    CompiledChange { change: sql.into(), yields: Yields::After, counted: false, ..plain(change) }
}

/// An UPDATE or DELETE whose rows its own condition finds.
fn rows(change: &Change, table: &Table, rows: &Source) -> Result<CompiledChange, Refused> {
    let choosing = [&rows.with, &rows.joined, &rows.condition, &rows.order, &rows.limit];
    let choosing = choosing.into_iter().flatten().chain([&rows.from]);
    if choosing.into_iter().any(query::is_unstable) {
        return Err(Refused::new(
            format!("change of `{}`", table.name),
            "a function that gives another value each time chooses its rows, and they are chosen \
             twice: for their image and for the change",
            "choose the rows with a SELECT first, and change them by their keys",
        ));
    }
    let columns = captures(table, &all(table), Some(&change.target));
    let order = rows.limit.as_ref().map(|_| total_order(change, table, rows.order.as_ref()));
    let imaged = Source { order: order.or_else(|| rows.order.clone()), ..rows.clone() };
    let restricted = if restrict::is_chosen_by_itself(rows) {
        None
    } else {
        Some(restrict::restricted(change, rows, imaged.order.as_ref())?)
    };
    let before = Some(select(&columns, &imaged, &change.text).into());
    Ok(CompiledChange { before, restricted, ..plain(change) })
}

/// What a limit cuts off is then the same each time, and rows change in the order of their image.
fn total_order(change: &Change, table: &Table, order: Option<&Part>) -> Part {
    let name =
        |place: &usize| format!("{}.{}", change.target, quote(&table.columns[*place].source));
    let primary = table.primary.iter().map(name).collect::<Vec<_>>().join(", ");
    match order {
        Some(order) => Part { sql: format!("{}, {primary}", order.sql), ..order.clone() },
        None => Part { sql: format!("ORDER BY {primary}"), parameters: 0 },
    }
}

/// The places of all columns.
pub(super) fn all(table: &Table) -> Vec<usize> {
    (0..table.columns.len()).collect()
}

/// The columns as they are stored. Aliased, so that none of them hides a column that the user asks
/// for by name.
pub(super) fn captures(table: &Table, places: &[usize], target: Option<&str>) -> String {
    let one = |place: &usize| {
        let captured = capture(&table.columns[*place], target);
        format!("{captured} AS `__pactum_{place}`")
    };
    places.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A condition that is always true and takes this many parameters.
pub(super) fn swallow(parameters: usize) -> Option<String> {
    (parameters > 0).then(|| format!("COALESCE(1{})", ", ?".repeat(parameters)))
}

/// The rows of a statement, locked. `whole` is the statement, all of whose parameters are bound.
pub(super) fn select(columns: &str, rows: &Source, whole: &Part) -> String {
    let Source { with, skipped, from, set: _, joined: _, condition, order, limit, head: _ } = rows;
    let used = |part: &Option<Part>| part.as_ref().map_or(0, |part| part.parameters);
    let later = used(condition) + used(order) + used(limit);
    let earlier = used(with) + skipped + from.parameters;
    // Those of the assignments.
    let between = swallow(whole.parameters.saturating_sub(earlier + later));
    let mut sql = String::new();
    if let Some(with) = with {
        sql.push_str(&with.sql);
        sql.push(' ');
    }
    let skipped = swallow(*skipped).map(|skipped| skipped + ", ").unwrap_or_default();
    let _ = write!(sql, "SELECT {skipped}{columns} FROM {}", from.sql);
    let condition = condition.as_ref().map(|condition| format!("({})", condition.sql));
    let conditions: Vec<String> = between.into_iter().chain(condition).collect();
    if !conditions.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&conditions.join(" AND "));
    }
    for part in [order, limit].into_iter().flatten() {
        sql.push(' ');
        sql.push_str(&part.sql);
    }
    sql.push_str(" FOR UPDATE");
    sql
}
