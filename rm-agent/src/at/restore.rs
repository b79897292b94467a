//! The rollback of a branch: every row back to its before image, exactly, or nothing at all.
//!
//! ```text
//! 1. the tables are still those that the rows were captured from      else: schema changed
//! 2. each row equals what the branch left, or what it found           else: dirty write
//! 3. the changes are reversed, newest first
//! 4. each row, read again, equals what the branch found               else: invariant
//! ```
//!
//! Everything happens in one local transaction, which the caller commits or rolls back.
//!
//! A row that a branch changed twice is judged by what it was before the first change and after the
//! last: were each step judged by itself, a foreign write that happens to equal a step in between
//! would pass unnoticed.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use pactum_core::lock::key::KeyValue;
use pactum_core::restore::{RowRestore, plan_restore};
use pactum_proto::v1::{ParkReason, ParkReport};

use super::keys::{KeyProblem, identity};
use super::report::{Images, Report};
use super::table::{Child, Table};
use super::undo::{RowChange, Shape, TableChange, UndoLog};
use crate::db::{DbError, Failure, Row, Sql, Value};

/// A statement of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spoken {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

/// How a restore speaks to a database. Rows are complete: one value for each of the table's columns.
#[async_trait]
pub(crate) trait Dialect: Send + Sync {
    /// Reads what must be known about a table; `None` if there is none.
    async fn load(&self, sql: &mut dyn Sql, name: &str) -> Result<Option<Table>, DbError>;

    /// Prepares a local transaction for restoring.
    async fn begin_restore(&self, sql: &mut dyn Sql) -> Result<(), DbError>;

    /// Reads the rows with the keys of `rows`, as captured, in any order.
    fn select(&self, table: &Table, rows: &[&Row]) -> Spoken;
    fn insert(&self, table: &Table, row: &Row) -> Spoken;
    /// Makes the row `from` the row `to`; `None` if nothing that is stored differs.
    fn update(&self, table: &Table, from: &Row, to: &Row) -> Option<Spoken>;
    fn delete(&self, table: &Table, row: &Row) -> Spoken;
    /// Looks for rows of a child table that refer to the row.
    fn referring(&self, table: &Table, child: &Child, row: &Row) -> Spoken;
}

/// Why a restore stopped. Nothing of it may be committed.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The database did not do what it was asked; it may another time.
    Db(DbError),
    /// Repeating cannot cure it.
    Parked(Box<ParkReport>),
}

impl From<DbError> for Stopped {
    fn from(error: DbError) -> Self {
        Stopped::Db(error)
    }
}

/// A row by its table and its key, in the form in which the database compares keys.
type RowId<'l> = (&'l str, Vec<KeyValue>);

/// What a branch did to a row in all.
#[derive(Clone, Copy, Debug)]
struct Net<'l> {
    before: Option<&'l Row>,
    after: Option<&'l Row>,
}

/// Undoes what `log` says.
pub(crate) async fn restore(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    log: &UndoLog,
) -> Result<(), Stopped> {
    dialect.begin_restore(sql).await?;
    let tables = load_tables(sql, dialect, log).await?;
    let net = net_changes(&tables, log)?;
    let restored = judge(sql, dialect, &tables, &net).await?;
    for change in log.changes.iter().rev() {
        reverse(sql, dialect, &tables[change.table.as_str()], change, &restored).await?;
    }
    verify(sql, dialect, &tables, &net).await
}

fn park(reason: ParkReason, message: String) -> Stopped {
    Stopped::Parked(Box::new(Report::new(reason, message).finish()))
}

async fn load_tables<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    log: &'l UndoLog,
) -> Result<BTreeMap<&'l str, Table>, Stopped> {
    let mut tables = BTreeMap::new();
    for (name, shape) in &log.tables {
        let changed = |what: String| Err(park(ParkReason::SchemaChanged, what));
        let Some(table) = dialect.load(sql, name).await? else {
            return changed(format!("table `{name}` is gone"));
        };
        let now = Shape::of(&table);
        if now != *shape {
            return changed(format!(
                "table `{name}` has changed since phase one: it was {} ({}), and is {} ({})",
                shape.fingerprint,
                shape.columns.join(", "),
                now.fingerprint,
                now.columns.join(", ")
            ));
        }
        if let Some(refused) = &table.refusal {
            return changed(format!("table `{name}` can no longer be restored: {}", refused.why));
        }
        tables.insert(name.as_str(), table);
    }
    Ok(tables)
}

fn row_id<'l>(
    tables: &BTreeMap<&'l str, Table>,
    name: &'l str,
    row: &Row,
) -> Result<RowId<'l>, Stopped> {
    let id = identity(&tables[name], row).map_err(|problem| {
        let why = match problem {
            KeyProblem::NullKey => "a NULL in its key".to_owned(),
            KeyProblem::Encoding(error) => error.to_string(),
        };
        park(ParkReason::EvidenceTampered, format!("a row of `{name}` in the undo log has {why}"))
    })?;
    Ok((name, id))
}

/// First before, last after, of each row.
fn net_changes<'l>(
    tables: &BTreeMap<&'l str, Table>,
    log: &'l UndoLog,
) -> Result<BTreeMap<RowId<'l>, Net<'l>>, Stopped> {
    let mut net: BTreeMap<RowId<'l>, Net<'l>> = BTreeMap::new();
    for change in &log.changes {
        // The key borrows from the log's tables, which outlives the loaded ones.
        let (name, _) = tables.get_key_value(change.table.as_str()).ok_or_else(|| {
            let what = format!("the undo log changes `{}`, and does not describe it", change.table);
            park(ParkReason::EvidenceTampered, what)
        })?;
        for row in &change.rows {
            let (before, after) = (row.before(), row.after());
            let id = row_id(tables, name, row.image())?;
            net.entry(id).and_modify(|net| net.after = after).or_insert(Net { before, after });
        }
    }
    Ok(net)
}

async fn read(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &Table,
    net: &Net<'_>,
) -> Result<Option<Row>, DbError> {
    let Some(key) = net.after.or(net.before) else { return Ok(None) };
    let spoken = dialect.select(table, &[key]);
    Ok(sql.query(&spoken.sql, &spoken.values).await?.into_iter().next())
}

/// Looks at every row before anything is written. Returns those that are restored already.
async fn judge<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    tables: &BTreeMap<&'l str, Table>,
    net: &BTreeMap<RowId<'l>, Net<'l>>,
) -> Result<BTreeSet<RowId<'l>>, Stopped> {
    let mut restored = BTreeSet::new();
    let mut report = Report::new(
        ParkReason::DirtyWrite,
        "rows were changed behind the global lock since phase one; nothing was restored".to_owned(),
    );
    for (id, change) in net {
        let table = &tables[id.0];
        let current = read(sql, dialect, table, change).await?;
        match plan_restore(change.before, change.after, current.as_ref()) {
            RowRestore::Restore => {}
            RowRestore::AlreadyRestored => {
                restored.insert(id.clone());
            }
            RowRestore::DirtyWrite => {
                report.add(table, &images(change, current.as_ref()));
            }
        }
    }
    if report.has_rows() {
        return Err(Stopped::Parked(Box::new(report.finish())));
    }
    Ok(restored)
}

fn images<'a>(net: &Net<'a>, current: Option<&'a Row>) -> Images<'a> {
    Images { before: net.before, after: net.after, current }
}

/// Undoes one statement's changes, the last row first.
async fn reverse(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &Table,
    change: &TableChange,
    restored: &BTreeSet<RowId<'_>>,
) -> Result<(), Stopped> {
    for row in change.rows.iter().rev() {
        let id = identity(table, row.image()).unwrap_or_default();
        if restored.contains(&(change.table.as_str(), id)) {
            continue;
        }
        let spoken = match row {
            RowChange::Inserted(after) => {
                check_children(sql, dialect, table, after).await?;
                Some(dialect.delete(table, after))
            }
            RowChange::Updated { before, after } => dialect.update(table, after, before),
            RowChange::Deleted(before) => Some(dialect.insert(table, before)),
        };
        let Some(spoken) = spoken else { continue };
        match sql.execute(&spoken.sql, &spoken.values).await {
            Ok(1) => {}
            Ok(count) => {
                let what = format!("a restore changed {count} rows of `{}`, not one", table.name);
                return Err(park(ParkReason::Invariant, what));
            }
            Err(error) => return Err(refused_by_database(table, row, error)),
        }
    }
    Ok(())
}

/// A row that is to be deleted must have no children left that the database would change with it:
/// they were written behind the global lock, and nobody would undo their change. Those of the
/// branch itself came later and are gone by now.
async fn check_children(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &Table,
    row: &Row,
) -> Result<(), Stopped> {
    for child in table.children.iter().filter(|child| child.acts_on_delete) {
        let spoken = dialect.referring(table, child, row);
        if sql.query(&spoken.sql, &spoken.values).await?.is_empty() {
            continue;
        }
        let message = format!(
            "rows of `{}` refer to a row of `{}` that the rollback would delete; nothing was \
             restored",
            child.table, table.name
        );
        let mut report = Report::new(ParkReason::DirtyWrite, message);
        report.add(table, &Images { before: None, after: Some(row), current: Some(row) });
        return Err(Stopped::Parked(Box::new(report.finish())));
    }
    Ok(())
}

/// A constraint stands in the way: rows that the branch never saw hold what it gave up.
fn refused_by_database(table: &Table, row: &RowChange, error: DbError) -> Stopped {
    match error.failure {
        Failure::Unique | Failure::Constraint => {
            let message = format!(
                "the database refuses to restore a row of `{}` ({}); nothing was restored",
                table.name,
                error.chain()
            );
            let mut report = Report::new(ParkReason::DirtyWrite, message);
            let images = Images { before: row.before(), after: row.after(), current: row.after() };
            report.add(table, &images);
            Stopped::Parked(Box::new(report.finish()))
        }
        Failure::Busy | Failure::Statement | Failure::Other => Stopped::Db(error),
    }
}

async fn verify<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    tables: &BTreeMap<&'l str, Table>,
    net: &BTreeMap<RowId<'l>, Net<'l>>,
) -> Result<(), Stopped> {
    let mut report = Report::new(
        ParkReason::Invariant,
        "rows did not come out as they were before; nothing was restored".to_owned(),
    );
    for (id, change) in net {
        let table = &tables[id.0];
        let current = read(sql, dialect, table, change).await?;
        if current.as_ref() != change.before {
            report.add(table, &images(change, current.as_ref()));
        }
    }
    if report.has_rows() { Err(Stopped::Parked(Box::new(report.finish()))) } else { Ok(()) }
}
