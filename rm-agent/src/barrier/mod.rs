//! The barrier row: one a branch, in every mode, inside the branch's own local transaction.
//!
//! ```text
//! none ──phase one──▶ Open ──commit──▶ deleted (AT), Spent (TCC), still Open (saga, XA)
//! none ──rollback──▶ Tombstone          Open ──rollback──▶ Undone (XA: gone, then Tombstone)
//! ```
//!
//! (xid, branch id) is the key, so a late phase one meets the tombstone and is refused, and a repeated
//! rollback meets Undone and does nothing. What is used up in AT and XA is purged by age. In TCC and
//! saga, and wherever a row is still open, the coordinator is asked first.
//!
//! Easy to get wrong: whose row it is. A coordinator whose store was created anew may issue the
//! same XID, so every question carries the store, and another store's row is never touched.

mod action;
mod committed;
pub(crate) mod leftovers;
pub(crate) mod purge;
pub(crate) mod sweep;
pub(crate) mod tables;

use pactum_core::id::StoreId;
use pactum_core::time::WallTime;

pub(crate) use action::{look, mark, replace_body, take_open};
pub(crate) use committed::{delete_open, delete_settled};

use crate::branch::BranchKey;
use crate::db::{DbError, Kind, LocalDatabase, Sql, Value};

/// Rows that one purge removes, so that it never holds the writer for long.
const PURGED_ROWS_MAX: i64 = 1000;

/// The format of a body that is always empty.
const BODILESS: i64 = 0;

/// Which mode wrote a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    At,
    Tcc,
    Saga,
    Xa,
}

impl Mode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Mode::At => "at",
            Mode::Tcc => "tcc",
            Mode::Saga => "saga",
            Mode::Xa => "xa",
        }
    }
}

/// Where a branch is, as its own database knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Phase one is committed.
    Open,
    /// Phase one was undone.
    Undone,
    /// A rollback found nothing, and nothing may come any more.
    Tombstone,
    /// Used up: the branch is confirmed (TCC).
    Spent,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Undone => "undone",
            State::Tombstone => "tombstone",
            State::Spent => "spent",
        }
    }

    fn parse(text: &str) -> Option<State> {
        match text {
            "open" => Some(State::Open),
            "undone" => Some(State::Undone),
            "tombstone" => Some(State::Tombstone),
            "spent" => Some(State::Spent),
            _ => None,
        }
    }
}

/// What phase one writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenRow {
    pub(crate) key: BranchKey,
    pub(crate) store: StoreId,
    pub(crate) mode: Mode,
    /// The version of the body's format.
    pub(crate) format: u8,
    pub(crate) body: String,
}

/// A row as it was found. The text is as read: nothing of it is trusted before
/// [`FoundRow::is_intact`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundRow {
    pub(crate) state: State,
    pub(crate) format: i64,
    pub(crate) body: String,
    store: String,
    mode: String,
    checksum: i64,
}

impl FoundRow {
    pub(crate) fn belongs_to(&self, store: StoreId, mode: Mode) -> bool {
        self.store == store.to_string() && self.mode == mode.as_str()
    }

    /// Whether body, key and owner are as phase one wrote them.
    pub(crate) fn is_intact(&self, key: &BranchKey) -> bool {
        let expected = checksum(key, &self.store, &self.mode, self.format, &self.body);
        self.checksum == expected
    }
}

/// Why a row could not be read.
#[derive(Debug)]
pub(crate) enum FindError {
    Db(DbError),
    /// The row is there but is none of ours: someone changed it.
    Malformed,
}

impl From<DbError> for FindError {
    fn from(error: DbError) -> Self {
        FindError::Db(error)
    }
}

/// Covers what makes the row mean what it means, each part with its length, so that a row that was
/// copied to another branch is noticed like one that was edited.
fn checksum(key: &BranchKey, store: &str, mode: &str, format: i64, body: &str) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    for part in
        [&key.xid.to_string(), &key.branch.to_string(), store, mode, &format.to_string(), body]
    {
        hasher.update(&part.len().to_be_bytes());
        hasher.update(part.as_bytes());
    }
    i64::from(hasher.finalize())
}

fn id(key: &BranchKey) -> [Value; 2] {
    [Value::text(key.xid.to_string()), Value::Integer(key.branch.0.cast_signed())]
}

fn wall_value(wall: WallTime) -> Value {
    Value::Integer(wall.0.cast_signed())
}

/// Writes the open row, if `condition` holds, in the local transaction of the branch. Its parameters
/// are numbered from `?9`. Returns whether it did; `Unique` means that a rollback was here before.
pub(crate) async fn insert_open(
    sql: &mut dyn Sql,
    row: &OpenRow,
    wall: WallTime,
    condition: (&str, &[Value]),
) -> Result<bool, DbError> {
    let store = row.store.to_string();
    let mode = row.mode.as_str();
    let checksum = checksum(&row.key, &store, mode, i64::from(row.format), &row.body);
    let [xid, branch] = id(&row.key);
    let mut values = vec![
        xid,
        branch,
        Value::Text(store),
        Value::text(mode),
        Value::Integer(i64::from(row.format)),
        Value::Integer(checksum),
        Value::text(&row.body),
        wall_value(wall),
    ];
    values.extend_from_slice(condition.1);
    let from = match sql.kind() {
        Kind::Sqlite | Kind::Postgres => "",
        // Older ones take no WHERE without a FROM.
        Kind::Mysql => " FROM DUAL",
    };
    let text = format!(
        "INSERT INTO pactum_barrier (xid, branch_id, store_id, mode, state, format, checksum, body, \
         created_at, changed_at) SELECT ?1, ?2, ?3, ?4, 'open', ?5, ?6, ?7, ?8, ?8{from} WHERE {}",
        condition.0
    );
    Ok(sql.execute(&text, &values).await? == 1)
}

/// The text that writes an open row without a body into `table`, for one round trip with what comes
/// before it. `Unique` means that a rollback was here before.
pub(crate) fn insert_open_text(
    table: &str,
    key: &BranchKey,
    store: StoreId,
    mode: Mode,
    wall: WallTime,
) -> String {
    let (xid, branch) = (key.xid.to_string(), key.branch.0.cast_signed());
    let (store, mode) = (store.to_string(), mode.as_str());
    let checksum = checksum(key, &store, mode, BODILESS, "");
    let wall = wall.0.cast_signed();
    // Nothing in it needs escaping: digits, and the letters of group names and modes.
    format!(
        "INSERT INTO {table} (xid, branch_id, store_id, mode, state, format, checksum, body, \
         created_at, changed_at) VALUES ('{xid}', {branch}, '{store}', '{mode}', 'open', {BODILESS}, \
         {checksum}, '', {wall}, {wall})"
    )
}

/// The row of a branch, if there is one. It stays as it is until the local transaction ends.
pub(crate) async fn find(
    sql: &mut dyn Sql,
    key: &BranchKey,
) -> Result<Option<FoundRow>, FindError> {
    let locking = match sql.kind() {
        // Who has begun to write there keeps everybody else away.
        Kind::Sqlite => "",
        Kind::Postgres | Kind::Mysql => " FOR UPDATE",
    };
    let text = format!(
        "SELECT store_id, mode, state, format, checksum, body FROM pactum_barrier \
         WHERE xid = ?1 AND branch_id = ?2{locking}"
    );
    let rows = sql.query(&text, &id(key)).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let text = |index: usize| row[index].as_text().map(str::to_owned);
    let found = || {
        Some(FoundRow {
            store: text(0)?,
            mode: text(1)?,
            state: State::parse(row[2].as_text()?)?,
            format: row[3].as_integer()?,
            checksum: row[4].as_integer()?,
            body: text(5)?,
        })
    };
    found().map(Some).ok_or(FindError::Malformed)
}

/// Leaves a tombstone, so that a phase one that is still to come is refused.
pub(crate) async fn insert_tombstone(
    sql: &mut dyn Sql,
    key: &BranchKey,
    store: StoreId,
    mode: Mode,
    wall: WallTime,
) -> Result<(), DbError> {
    let [xid, branch] = id(key);
    let values =
        [xid, branch, Value::text(store.to_string()), Value::text(mode.as_str()), wall_value(wall)];
    sql.execute(
        "INSERT INTO pactum_barrier (xid, branch_id, store_id, mode, state, format, checksum, body, \
         created_at, changed_at) VALUES (?1, ?2, ?3, ?4, 'tombstone', 0, 0, '', ?5, ?5)",
        &values,
    )
    .await?;
    Ok(())
}

/// Open becomes Undone. The body has done its work and goes.
pub(crate) async fn mark_undone(
    sql: &mut dyn Sql,
    key: &BranchKey,
    wall: WallTime,
) -> Result<bool, DbError> {
    let [xid, branch] = id(key);
    let changed = sql
        .execute(
            "UPDATE pactum_barrier SET state = 'undone', body = '', changed_at = ?3 \
             WHERE xid = ?1 AND branch_id = ?2 AND state = 'open'",
            &[xid, branch, wall_value(wall)],
        )
        .await?;
    Ok(changed == 1)
}

/// Removes Undone rows, tombstones and spent rows that are older than `before`, some in each local
/// transaction, and returns how many. Those of TCC and saga stay: for them the coordinator is asked, by
/// [`purge::Purger`].
pub(crate) async fn purge(database: &dyn LocalDatabase, before: WallTime) -> Result<u64, DbError> {
    let mut purged = 0;
    loop {
        let mut local = database.begin().await?;
        let count = purge_some(&mut *local, before).await?;
        local.commit().await?;
        purged += count;
        if count == 0 {
            return Ok(purged);
        }
    }
}

async fn purge_some(sql: &mut dyn Sql, before: WallTime) -> Result<u64, DbError> {
    let text = match sql.kind() {
        Kind::Sqlite | Kind::Postgres => {
            "DELETE FROM pactum_barrier WHERE (xid, branch_id) IN (SELECT xid, branch_id \
             FROM pactum_barrier WHERE state <> 'open' AND mode NOT IN ('tcc', 'saga') \
             AND changed_at < ?1 LIMIT ?2)"
        }
        Kind::Mysql => {
            "DELETE FROM pactum_barrier WHERE state IN ('spent', 'tombstone', 'undone') \
             AND mode NOT IN ('tcc', 'saga') AND changed_at < ?1 LIMIT ?2"
        }
    };
    sql.execute(text, &[wall_value(before), Value::Integer(PURGED_ROWS_MAX)]).await
}
