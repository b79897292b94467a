//! A restore's writing: each step of the undo log backwards, row by row; together only the rows of one
//! statement that may refer to each other.
//!
//! A step is taken from what is there *now* to what was before it. Where nobody interfered that is the
//! step's own after image; where an operator decided to overwrite, it is whatever somebody wrote.
//!
//! Easy to get wrong: what the database does by itself. A row that goes, or a referenced value that
//! changes, may take rows of another table along, and nobody would bring those back.

use pactum_proto::v1::ParkReason;

use super::keys::identity;
use super::report::{Images, Report};
use super::restore::{Dialect, Present, Spoken, Stopped, Turn, park, stopped};
use super::table::{Child, Table};
use super::undo::{RowChange, TableChange};
use crate::db::{DbError, Failure, Row, Sql};

/// Undoes one statement's changes, the last row first. Rows that are not in `present` are restored
/// already.
pub(super) async fn reverse<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &'l Table,
    change: &'l TableChange,
    present: &mut Present<'l>,
) -> Result<(), Stopped> {
    let rows: Vec<&RowChange> = change.rows.iter().rev().collect();
    if !table.children.iter().any(|child| child.table == table.name) {
        return reverse_in_turn(sql, dialect, table, rows, present).await;
    }
    // Rows that may refer to each other: those that came or went by one statement in one piece.
    let kind = |row: &RowChange| (row.before().is_some(), row.after().is_some());
    for run in rows.chunk_by(|a, b| kind(a) == kind(b)) {
        if !reverse_together(sql, dialect, table, run, present).await? {
            reverse_in_turn(sql, dialect, table, run.to_vec(), present).await?;
        }
    }
    Ok(())
}

/// Reverses rows of one statement, one by one. Where they were read apart from the statement, they may
/// have changed in another order than that in which they were read, so one of them may want a unique
/// value that another still has: it gets its turn after the others.
async fn reverse_in_turn<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &'l Table,
    mut rows: Vec<&'l RowChange>,
    present: &mut Present<'l>,
) -> Result<(), Stopped> {
    loop {
        let mut refused = Vec::new();
        let mut why = None;
        let count = rows.len();
        for row in rows {
            match reverse_one(sql, dialect, table, row, present).await {
                Ok(()) => {}
                Err(NotReversed::Taken(stopped)) if dialect.survives_refusals() => {
                    refused.push(row);
                    why = Some(stopped);
                }
                Err(NotReversed::Taken(stopped) | NotReversed::Stopped(stopped)) => {
                    return Err(stopped);
                }
            }
        }
        match why {
            None => return Ok(()),
            Some(stopped) if refused.len() == count => return Err(stopped),
            Some(_) => rows = refused,
        }
    }
}

/// Why a row is not reversed.
enum NotReversed {
    /// Another row has a key or a unique value that it wants; what is to be said if it stays so.
    Taken(Stopped),
    Stopped(Stopped),
}

impl<E: Into<Stopped>> From<E> for NotReversed {
    fn from(error: E) -> Self {
        NotReversed::Stopped(error.into())
    }
}

/// Whether the rows were reversed, all of them by one statement.
async fn reverse_together<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &'l Table,
    run: &[&'l RowChange],
    present: &mut Present<'l>,
) -> Result<bool, Stopped> {
    let [first, _, ..] = run else { return Ok(false) };
    let mut ids = Vec::with_capacity(run.len());
    let mut rows = Vec::with_capacity(run.len());
    let (turn, mut stands_alone) = match first {
        RowChange::Inserted(_) => (Turn::Go, true),
        RowChange::Deleted(_) => (Turn::Come, true),
        RowChange::Updated { .. } => return Ok(false),
    };
    for row in run {
        let id = (table.name.as_str(), identity(table, row.image()).unwrap_or_default());
        match (turn, present.get(&id)) {
            (_, None) => continue,
            (Turn::Go, Some(Some(now))) => rows.push(now.clone()),
            (Turn::Come, Some(None)) => rows.extend(row.before().cloned()),
            (Turn::Go, Some(None)) | (Turn::Come, Some(Some(_))) => stands_alone = false,
        }
        ids.push(id);
    }
    let all: Vec<&Row> = rows.iter().collect();
    let spoken = dialect.together(table, &all, turn).filter(|_| stands_alone && !all.is_empty());
    let Some(spoken) = spoken else { return Ok(false) };
    if turn == Turn::Go {
        for row in &all {
            check_children(sql, dialect, table, row, |child| child.acts_on_delete).await?;
        }
    }
    match sql.execute(&spoken.sql, &spoken.values).await {
        Ok(count) if usize::try_from(count) == Ok(all.len()) => {}
        Ok(count) => {
            let what =
                format!("a restore changed {count} rows of `{}`, not {}", table.name, all.len());
            return Err(park(ParkReason::Invariant, what));
        }
        Err(error) => return Err(refused_by_database(table, first, None, error)),
    }
    for (id, row) in ids.into_iter().zip(rows) {
        present.insert(id, (turn == Turn::Come).then_some(row));
    }
    Ok(true)
}

async fn reverse_one<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &'l Table,
    row: &RowChange,
    present: &mut Present<'l>,
) -> Result<(), NotReversed> {
    let id = identity(table, row.image()).unwrap_or_default();
    let Some(now) = present.get_mut(&(table.name.as_str(), id)) else { return Ok(()) };
    let to = row.before();
    if let Some(spoken) = step(sql, dialect, table, now.as_ref(), to).await? {
        match sql.execute(&spoken.sql, &spoken.values).await {
            Ok(1) => {}
            Ok(count) => {
                let what = format!("a restore changed {count} rows of `{}`, not one", table.name);
                return Err(park(ParkReason::Invariant, what).into());
            }
            Err(error) => {
                let is_taken = error.failure == Failure::Unique;
                let stopped = refused_by_database(table, row, now.as_ref(), error);
                return Err(if is_taken { NotReversed::Taken(stopped) } else { stopped.into() });
            }
        }
    }
    *now = to.cloned();
    Ok(())
}

/// The statement that makes the row `now` the row `to`.
async fn step(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &Table,
    now: Option<&Row>,
    to: Option<&Row>,
) -> Result<Option<Spoken>, Stopped> {
    Ok(match (now, to) {
        (None, None) => None,
        (None, Some(to)) => Some(dialect.insert(table, to)),
        (Some(now), None) => {
            let dragged = |child: &Child| child.acts_on_delete;
            check_children(sql, dialect, table, now, dragged).await?;
            Some(dialect.delete(table, now))
        }
        (Some(now), Some(to)) => {
            let moves = |(_, place): &(String, usize)| now[*place] != to[*place];
            let dragged = |child: &Child| child.acts_on_update && child.columns.iter().any(moves);
            check_children(sql, dialect, table, now, dragged).await?;
            dialect.update(table, now, to)
        }
    })
}

/// A row must have no children left that the database would change with it: they were written behind
/// the global lock, and nobody would undo their change. Those of the branch itself came later and are
/// gone by now.
async fn check_children(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &Table,
    row: &Row,
    dragged: impl Fn(&Child) -> bool,
) -> Result<(), Stopped> {
    for child in table.children.iter().filter(|child| dragged(child)) {
        let spoken = dialect.referring(table, child, row);
        if sql.query(&spoken.sql, &spoken.values).await?.is_empty() {
            continue;
        }
        let message = format!(
            "rows of `{}` refer to a row of `{}`, and the database would change them with it; \
             nothing was restored",
            child.table, table.name
        );
        let mut report = Report::new(ParkReason::DirtyWrite, message);
        report.add(table, &Images { before: None, after: Some(row), current: Some(row) });
        return Err(stopped(report));
    }
    Ok(())
}

/// A constraint stands in the way: rows that the branch never saw hold what it gave up.
fn refused_by_database(
    table: &Table,
    row: &RowChange,
    now: Option<&Row>,
    error: DbError,
) -> Stopped {
    match error.failure {
        Failure::Unique | Failure::Constraint => {
            let message = format!(
                "the database refuses to restore a row of `{}` ({}); nothing was restored",
                table.name,
                error.chain()
            );
            let mut report = Report::new(ParkReason::DirtyWrite, message);
            report.add(table, &Images { before: row.before(), after: row.after(), current: now });
            stopped(report)
        }
        Failure::Busy | Failure::Statement | Failure::Other => Stopped::Db(error),
    }
}
