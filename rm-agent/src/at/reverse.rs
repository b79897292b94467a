//! A restore's writing: each step of the undo log backwards, row by row.
//!
//! A step is taken from what is there *now* to what was before it. Where nobody interfered that is the
//! step's own after image; where an operator decided to overwrite, it is whatever somebody wrote.
//!
//! Easy to get wrong: what the database does by itself. A row that goes, or a referenced value that
//! changes, may take rows of another table along, and nobody would bring those back.

use pactum_proto::v1::ParkReason;

use super::keys::identity;
use super::report::{Images, Report};
use super::restore::{Dialect, Present, Spoken, Stopped, park, stopped};
use super::table::{Child, Table};
use super::undo::{RowChange, TableChange};
use crate::db::{DbError, Failure, Row, Sql};

/// Undoes one statement's changes, the last row first. Rows that are not in `present` are restored
/// already.
pub(super) async fn reverse<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &Table,
    change: &'l TableChange,
    present: &mut Present<'l>,
) -> Result<(), Stopped> {
    for row in change.rows.iter().rev() {
        let id = identity(table, row.image()).unwrap_or_default();
        let Some(now) = present.get_mut(&(change.table.as_str(), id)) else { continue };
        let to = row.before();
        if let Some(spoken) = step(sql, dialect, table, now.as_ref(), to).await? {
            match sql.execute(&spoken.sql, &spoken.values).await {
                Ok(1) => {}
                Ok(count) => {
                    let what =
                        format!("a restore changed {count} rows of `{}`, not one", table.name);
                    return Err(park(ParkReason::Invariant, what));
                }
                Err(error) => return Err(refused_by_database(table, row, now.as_ref(), error)),
            }
        }
        *now = to.cloned();
    }
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
