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
//! An operator may decide that the rows are overwritten whatever is in them now: then 2 only looks, and
//! all the rest holds.
//!
//! A row that a branch changed twice is judged by what it was before the first change and after the
//! last: were each step judged by itself, a foreign write that happens to equal a step in between
//! would pass unnoticed.
//!
//! Easy to get wrong: a row that came out of the branch as it went in is undone step by step like all
//! others. In between another row may have had its unique value, and wants it back on the way.

use std::collections::BTreeMap;

use async_trait::async_trait;
use pactum_core::lock::key::KeyValue;
use pactum_core::restore::{RowRestore, plan_restore};
use pactum_proto::v1::{ParkReason, ParkReport};

use super::keys::{KeyProblem, identity};
use super::report::{Images, Report};
use super::reverse::reverse;
use super::table::{Child, Table};
use super::undo::{Shape, UndoLog};
use crate::db::{DbError, Row, Sql, Value};

/// Rows that are read by one statement: far below every limit on parameters, and enough to amortise
/// it.
const ROWS_PER_STATEMENT: usize = 200;

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

    /// Whether the agent's account may make rows of the table come, or go, as an undo would.
    async fn may(&self, _sql: &mut dyn Sql, _table: &Table, _turn: Turn) -> Result<bool, DbError> {
        Ok(true)
    }

    /// The first of these names that is a function of the users' own which may change rows.
    async fn writing_function(
        &self,
        _sql: &mut dyn Sql,
        _names: &[String],
    ) -> Result<Option<String>, DbError> {
        Ok(None)
    }

    /// What a name in a statement that falls back stands for. Asked only where one can.
    async fn named(&self, _sql: &mut dyn Sql, _name: &str) -> Result<Named, DbError> {
        Ok(Named::Nothing)
    }

    /// Prepares a local transaction for restoring.
    async fn begin_restore(&self, sql: &mut dyn Sql) -> Result<(), DbError>;

    /// Reads the rows that have in the columns of `key` what one of `rows` has, as captured, in any
    /// order.
    fn select(&self, table: &Table, key: &[usize], rows: &[&Row]) -> Spoken;
    fn insert(&self, table: &Table, row: &Row) -> Spoken;
    /// Makes the row `from` the row `to`; `None` if nothing that is stored differs.
    fn update(&self, table: &Table, from: &Row, to: &Row) -> Option<Spoken>;
    fn delete(&self, table: &Table, row: &Row) -> Spoken;
    /// Makes rows of a table come, or go, that may refer to each other: by one statement, where the
    /// database looks at references at the end of each. `None` where it can be told to look later.
    fn together(&self, _table: &Table, _rows: &[&Row], _turn: Turn) -> Option<Spoken> {
        None
    }
    /// Whether a local transaction goes on after the database refused a statement of it.
    fn survives_refusals(&self) -> bool {
        true
    }
    /// Looks for rows of a child table that refer to the row.
    fn referring(&self, table: &Table, child: &Child, row: &Row) -> Spoken;
}

/// What a name in a statement stands for, where its table is to be locked as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A table, as lock keys name it.
    Table(String),
    /// What cannot be locked, or not be undone, and why.
    Unfit(String),
    /// No table: a name of the statement's own (`WITH …`), or one that the database does not know and will
    /// say so.
    Nothing,
}

/// What becomes of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Come,
    Go,
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

/// What to do with a row that equals neither image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirtyRows {
    /// Touch nothing, and let a person look.
    Park,
    /// A person has looked: the before image counts.
    Overwrite,
}

/// A row by its table and its key, in the form in which the database compares keys.
pub(super) type RowId<'l> = (&'l str, Vec<KeyValue>);

/// The rows that are to be reversed, each as it is now.
pub(super) type Present<'l> = BTreeMap<RowId<'l>, Option<Row>>;

/// What a branch did to its rows.
type NetChanges<'l> = BTreeMap<RowId<'l>, Net<'l>>;

/// What a branch did to a row in all.
#[derive(Clone, Copy, Debug)]
struct Net<'l> {
    before: Option<&'l Row>,
    after: Option<&'l Row>,
    /// An image of it, whatever became of it: its key is in there.
    image: &'l Row,
}

/// Undoes what `log` says.
pub(crate) async fn restore(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    log: &UndoLog,
    dirty: DirtyRows,
) -> Result<(), Stopped> {
    dialect.begin_restore(sql).await?;
    let tables = load_tables(sql, dialect, log).await?;
    let mut net = net_changes(&tables, log)?;
    let current = read(sql, dialect, &tables, &net).await?;
    // Of a row that came and went nothing is to be restored: whoever has its key now has taken
    // nothing from the branch.
    net.retain(|id, net| net.before.is_some() || net.after.is_some() || !current.contains_key(id));
    if net.iter().all(|(id, net)| current.get(id) == net.before) {
        return Ok(());
    }
    let mut present = judge(&tables, &net, current, dirty)?;
    for change in log.changes.iter().rev() {
        reverse(sql, dialect, &tables[change.table.as_str()], change, &mut present).await?;
    }
    let current = read(sql, dialect, &tables, &net).await?;
    verify(&tables, &net, &current)
}

pub(super) fn park(reason: ParkReason, message: String) -> Stopped {
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
) -> Result<NetChanges<'l>, Stopped> {
    let mut net = NetChanges::new();
    for change in &log.changes {
        // The key borrows from the log's tables, which outlives the loaded ones.
        let (name, _) = tables.get_key_value(change.table.as_str()).ok_or_else(|| {
            let what = format!("the undo log changes `{}`, and does not describe it", change.table);
            park(ParkReason::EvidenceTampered, what)
        })?;
        for row in &change.rows {
            let (before, after) = (row.before(), row.after());
            let id = row_id(tables, name, row.image())?;
            let new = Net { before, after, image: row.image() };
            net.entry(id).and_modify(|net| net.after = after).or_insert(new);
        }
    }
    Ok(net)
}

/// What lies under the keys of the rows now; a row that is not there is not in it.
async fn read<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    tables: &BTreeMap<&'l str, Table>,
    net: &NetChanges<'l>,
) -> Result<BTreeMap<RowId<'l>, Row>, DbError> {
    let wanted: Vec<(RowId<'l>, &Row)> =
        net.iter().map(|(id, net)| (id.clone(), net.image)).collect();
    let mut current = BTreeMap::new();
    for of_table in wanted.chunk_by(|(a, _), (b, _)| a.0 == b.0) {
        let table = &tables[of_table[0].0.0];
        for chunk in of_table.chunks(ROWS_PER_STATEMENT) {
            if let Some(found) = read_together(sql, dialect, table, chunk).await? {
                current.extend(found);
                continue;
            }
            for one in chunk {
                let spoken = dialect.select(table, &table.primary, &[one.1]);
                let row = sql.query(&spoken.sql, &spoken.values).await?.into_iter().next();
                current.extend(row.map(|row| (one.0.clone(), row)));
            }
        }
    }
    Ok(current)
}

/// Reads rows with one statement; `None` if one of those that came cannot be told to be one of those
/// that were asked for: the database may hold keys equal that we do not.
async fn read_together<'l>(
    sql: &mut dyn Sql,
    dialect: &dyn Dialect,
    table: &Table,
    wanted: &[(RowId<'l>, &Row)],
) -> Result<Option<Vec<(RowId<'l>, Row)>>, DbError> {
    let keys: Vec<&Row> = wanted.iter().map(|(_, key)| *key).collect();
    let spoken = dialect.select(table, &table.primary, &keys);
    let mut missing: BTreeMap<&[KeyValue], &RowId<'l>> =
        wanted.iter().map(|(id, _)| (id.1.as_slice(), id)).collect();
    let mut found = Vec::with_capacity(wanted.len());
    for row in sql.query(&spoken.sql, &spoken.values).await? {
        let id = identity(table, &row).ok().and_then(|key| missing.remove(key.as_slice()));
        let Some(id) = id else { return Ok(None) };
        found.push((id.clone(), row));
    }
    Ok(Some(found))
}

/// Looks at every row before anything is written. Returns those that are not restored already.
fn judge<'l>(
    tables: &BTreeMap<&'l str, Table>,
    net: &NetChanges<'l>,
    mut current: BTreeMap<RowId<'l>, Row>,
    dirty: DirtyRows,
) -> Result<Present<'l>, Stopped> {
    let mut present = Present::new();
    let mut report = Report::new(
        ParkReason::DirtyWrite,
        "rows were changed behind the global lock since phase one; nothing was restored".to_owned(),
    );
    for (id, change) in net {
        let now = current.remove(id);
        let plan = plan_restore(change.before, change.after, now.as_ref());
        match (plan, dirty) {
            (RowRestore::AlreadyRestored, DirtyRows::Park | DirtyRows::Overwrite) => {}
            (RowRestore::Restore, DirtyRows::Park | DirtyRows::Overwrite)
            | (RowRestore::DirtyWrite, DirtyRows::Overwrite) => {
                present.insert(id.clone(), now);
            }
            (RowRestore::DirtyWrite, DirtyRows::Park) => {
                report.add(&tables[id.0], &images(change, now.as_ref()));
            }
        }
    }
    if report.has_rows() { Err(stopped(report)) } else { Ok(present) }
}

fn images<'a>(net: &Net<'a>, current: Option<&'a Row>) -> Images<'a> {
    Images { before: net.before, after: net.after, current }
}

fn verify(
    tables: &BTreeMap<&str, Table>,
    net: &NetChanges<'_>,
    current: &BTreeMap<RowId<'_>, Row>,
) -> Result<(), Stopped> {
    let mut report = Report::new(
        ParkReason::Invariant,
        "rows did not come out as they were before; nothing was restored".to_owned(),
    );
    for (id, change) in net {
        let now = current.get(id);
        if now != change.before {
            report.add(&tables[id.0], &images(change, now));
        }
    }
    if report.has_rows() { Err(stopped(report)) } else { Ok(()) }
}

pub(super) fn stopped(report: Report) -> Stopped {
    Stopped::Parked(Box::new(report.finish()))
}
