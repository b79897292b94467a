//! Reading: the whole group at start, and single transactions for operators.
//!
//! The load decides how long a restart takes: a million unfinished transactions must be there in
//! seconds. So SQLite joins the texts of a page of rows into one value, and transactions and
//! branches are read side by side, on connections of their own. Rows with much in them come one by
//! one: a page of those would be longer than SQLite lets a value be.

use std::sync::Arc;

use pactum_core::id::XidNumber;
use pactum_core::recovery::{Ended, Found};
use pactum_core::transaction::{BranchRow, ResourceRow, TransactionRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqlSafeStr as _, SqlitePool};

use super::read_sagas;
use super::rows::{BRANCH, ENDED, Fields, RESOURCE, TRANSACTION};
use crate::store::{Error, Listed, Search, ended};

/// Rows that SQLite joins into one value.
const PAGE_ROWS: u32 = 1000;
/// A branch with more bytes than this in its locks, action and report is read by itself.
const SMALL_BYTES_MAX: u32 = 4096;

/// Everything of the group. Nobody writes meanwhile: its one writer is the caller.
pub(super) async fn load(options: &SqliteConnectOptions) -> Result<Found, Error> {
    let doing = "open the file to load the group";
    let (transactions, branches) = (options.connect(), options.connect());
    let mut transactions = transactions.await.map_err(reading(doing))?;
    let mut branches = branches.await.map_err(reading(doing))?;
    let transactions = async {
        let unfinished = unfinished(&mut transactions).await?;
        let history = history(&mut transactions).await?;
        Ok::<_, Error>((unfinished, history, resources(&mut transactions).await?))
    };
    let branches = async {
        let found = unfinished_branches(&mut branches).await?;
        let definitions = read_sagas::definitions(&mut branches).await?;
        Ok::<_, Error>((found, definitions, read_sagas::unfinished(&mut branches).await?))
    };
    let ((unfinished, history, resources), (branches, definitions, (sagas, steps))) =
        futures_util::try_join!(transactions, branches)?;
    Ok(Found { resources, unfinished, branches, history, definitions, sagas, steps })
}

async fn unfinished(connection: &mut SqliteConnection) -> Result<Vec<TransactionRow>, Error> {
    let sql = page(
        TRANSACTION.text,
        "FROM global_transaction WHERE status < 10 AND xid > ?1 ORDER BY xid",
    );
    let mut names: Arc<str> = "".into();
    let mut decode = |fields: &mut Fields<'_>| {
        let row = fields.transaction(&mut names)?;
        Ok(((row.number.0, 0), row))
    };
    let mut rows = pages(connection, "read the unfinished transactions", sql, &mut decode).await?;
    rows.sort_by_key(|row| row.number);
    Ok(rows)
}

async fn history(connection: &mut SqliteConnection) -> Result<Vec<Ended>, Error> {
    let sql = page(ENDED, "FROM global_transaction WHERE status >= 10 AND xid > ?1 ORDER BY xid");
    let mut decode = |fields: &mut Fields<'_>| {
        let ended = fields.ended()?;
        Ok(((ended.xid.0, 0), ended))
    };
    let mut history = pages(connection, "read the history", sql, &mut decode).await?;
    history.sort_by_key(|ended| (ended.at, ended.xid));
    Ok(history)
}

/// In the order of their sequence; the ids, by which they are stored, are the agents' choice.
async fn unfinished_branches(connection: &mut SqliteConnection) -> Result<Vec<BranchRow>, Error> {
    let doing = "read the unfinished branches";
    let size = "length(locks) + ifnull(length(action_payload), 0) + \
                ifnull(length(park_report), 0) + ifnull(length(resolutions), 0)";
    // The join begins at the index of the unfinished; a history of any length costs nothing.
    let from = "FROM global_transaction CROSS JOIN branch USING (xid) WHERE status < 10";
    let sql = page(
        BRANCH.text,
        &format!(
            "{from} AND global_transaction.xid >= ?1 AND (branch.xid > ?1 OR branch_id > ?2) \
             AND {size} <= {SMALL_BYTES_MAX} ORDER BY global_transaction.xid, branch_id"
        ),
    );
    let mut decode = |fields: &mut Fields<'_>| {
        let row = fields.branch()?;
        Ok(((row.xid.0, row.id.0), row))
    };
    let mut rows = pages(connection, doing, sql, &mut decode).await?;
    let sql = format!("SELECT {} {from} AND {size} > {SMALL_BYTES_MAX}", BRANCH.text);
    for row in
        sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.map_err(reading(doing))?
    {
        rows.push(Fields::of(text(&row, 0)?).branch()?);
    }
    rows.sort_by_key(|branch| (branch.xid, branch.sequence, branch.id));
    Ok(rows)
}

async fn resources(connection: &mut SqliteConnection) -> Result<Vec<ResourceRow>, Error> {
    let sql = page(RESOURCE.text, "FROM resource WHERE number > ?1 ORDER BY number");
    let mut decode = |fields: &mut Fields<'_>| {
        let row = fields.resource()?;
        Ok(((u64::from(row.number.0), 0), row))
    };
    let mut rows = pages(connection, "read the resources", sql, &mut decode).await?;
    rows.sort_by_key(|row| row.number);
    Ok(rows)
}

/// The statement for one page: one value, the texts of the rows after the keys `?1` and `?2`.
pub(super) fn page(text: &str, from: &str) -> String {
    format!("SELECT group_concat(line, ';') FROM (SELECT {text} AS line {from} LIMIT {PAGE_ROWS})")
}

/// What a text means, and the key that the next page starts after.
pub(super) type Decode<'a, T> =
    &'a mut (dyn FnMut(&mut Fields<'_>) -> Result<((u64, u64), T), Error> + Send);

pub(super) async fn pages<T>(
    connection: &mut SqliteConnection,
    doing: &'static str,
    sql: String,
    decode: Decode<'_, T>,
) -> Result<Vec<T>, Error> {
    let sql = AssertSqlSafe(sql).into_sql_str();
    let mut decoded = Vec::new();
    let mut after = (0_u64, 0_u64);
    loop {
        let query = sqlx::query(sql.clone());
        let query = query.bind(after.0.cast_signed()).bind(after.1.cast_signed());
        let page = query.fetch_one(&mut *connection).await.map_err(reading(doing))?;
        let page: Option<&str> = page.try_get(0).map_err(reading(doing))?;
        let Some(page) = page else { return Ok(decoded) };
        let mut fields = Fields::of(page);
        for line in page.split(';') {
            fields.restart(line);
            let (key, row) = decode(&mut fields)?;
            // SQLite promises no order inside a joined value.
            after = after.max(key);
            decoded.push(row);
        }
    }
}

/// Newest first.
pub(super) async fn search(readers: &SqlitePool, search: Search) -> Result<Vec<Listed>, Error> {
    let doing = "search transactions";
    let unfinished = if search.unfinished { "AND status < 10" } else { "" };
    let parked = if search.parked {
        "AND status < 10 AND (xid IN (SELECT xid FROM branch WHERE park_reason IS NOT NULL) \
         OR xid IN (SELECT xid FROM saga_step WHERE park_reason IS NOT NULL))"
    } else {
        ""
    };
    let sql = format!(
        "SELECT {}, \
         (SELECT count(*) FROM branch WHERE branch.xid = global_transaction.xid) \
         + (SELECT count(*) FROM saga_step WHERE saga_step.xid = global_transaction.xid), \
         (SELECT count(*) FROM branch WHERE branch.xid = global_transaction.xid \
          AND park_reason IS NOT NULL AND status < 10) \
         + (SELECT count(*) FROM saga_step WHERE saga_step.xid = global_transaction.xid \
          AND park_reason IS NOT NULL AND status < 10) \
         FROM global_transaction WHERE xid < ? {unfinished} {parked} ORDER BY xid DESC LIMIT ?",
        TRANSACTION.text
    );
    let before = search.before.unwrap_or(XidNumber::MAX).0.min(XidNumber::MAX.0);
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(before.cast_signed()).bind(search.max);
    let rows = rows.fetch_all(readers).await.map_err(reading(doing))?;
    rows.iter().map(listed).collect()
}

fn listed(row: &SqliteRow) -> Result<Listed, Error> {
    let count = |column| row.try_get(column).map_err(reading("count the branches"));
    let (branches, parked) = (count(1)?, count(2)?);
    let row = Fields::of(text(row, 0)?).transaction(&mut "".into())?;
    Ok(Listed { row, branches, parked })
}

pub(super) async fn transaction(
    readers: &SqlitePool,
    xid: XidNumber,
) -> Result<Option<(TransactionRow, Vec<BranchRow>)>, Error> {
    let doing = "read a transaction";
    let Ok(number) = i64::try_from(xid.0) else { return Ok(None) };
    // One snapshot for both: the end of the transaction must not fall between them.
    let mut reader = readers.begin().await.map_err(reading(doing))?;
    let sql = format!("SELECT {} FROM global_transaction WHERE xid = ?", TRANSACTION.text);
    let row = sqlx::query(AssertSqlSafe(sql)).bind(number).fetch_optional(&mut *reader).await;
    let Some(row) = row.map_err(reading(doing))? else { return Ok(None) };
    let row = Fields::of(text(&row, 0)?).transaction(&mut "".into())?;
    let branch = BRANCH.text;
    let sql = format!("SELECT {branch} FROM branch WHERE xid = ? ORDER BY sequence, branch_id");
    let branches = sqlx::query(AssertSqlSafe(sql)).bind(number).fetch_all(&mut *reader).await;
    let mut found = Vec::new();
    for branch in branches.map_err(reading(doing))? {
        let mut branch = Fields::of(text(&branch, 0)?).branch()?;
        ended::fill_in(&mut branch, &row);
        found.push(branch);
    }
    Ok(Some((row, found)))
}

pub(super) fn text(row: &SqliteRow, column: usize) -> Result<&str, Error> {
    row.try_get(column).map_err(reading("read a row"))
}

pub(super) fn reading(doing: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |error| Error::Read { doing, source: Box::new(error) }
}
