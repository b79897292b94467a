//! The barrier rows of TCC and saga branches: looked at, used up, and given another body.
//!
//! A row that is used up stays, with its body, until the purge: it keeps repeats from taking effect.

use pactum_core::fence;
use pactum_core::id::StoreId;
use pactum_core::time::WallTime;

use super::{FindError, FoundRow, Mode, State, checksum, find, id, wall_value};
use crate::branch::BranchKey;
use crate::db::{DbError, Driver, Sql, Value};

/// What the row says, as the fence understands it. It stays as it is until the local transaction ends.
pub(crate) async fn look(
    sql: &mut dyn Sql,
    key: &BranchKey,
    store: StoreId,
    mode: Mode,
) -> Result<(fence::Row, Option<FoundRow>), DbError> {
    match find(sql, key).await {
        Ok(None) => Ok((fence::Row::None, None)),
        Ok(Some(row)) => Ok((read(&row, key, store, mode), Some(row))),
        Err(FindError::Malformed) => Ok((fence::Row::Untrusted, None)),
        Err(FindError::Db(error)) => Err(error),
    }
}

/// The checksum counts while the body is still to be used, and no longer.
fn read(row: &FoundRow, key: &BranchKey, store: StoreId, mode: Mode) -> fence::Row {
    if !row.belongs_to(store, mode) {
        return fence::Row::Untrusted;
    }
    match row.state {
        State::Open if row.is_intact(key) => fence::Row::Open,
        State::Open => fence::Row::Untrusted,
        State::Spent => fence::Row::Spent,
        State::Undone => fence::Row::Undone,
        State::Tombstone => fence::Row::Tombstone,
    }
}

/// Takes the open row of a branch to use it up: marks it at once where the database can return what
/// it found, and otherwise locks it, to be marked by [`mark`]. Returns nothing if there is no open
/// and trusted row; the caller then rolls back and has a [`look`].
///
/// Easy to get wrong: under REPEATABLE READ a row that is not there is locked as a gap on MySQL, in
/// which nobody can insert until the local transaction ends. So nothing else may be waited for in it.
pub(crate) async fn take_open<DB: Driver>(
    sql: &mut dyn Sql,
    key: &BranchKey,
    store: StoreId,
    mode: Mode,
    (state, wall): (State, WallTime),
) -> Result<Option<FoundRow>, DbError> {
    if !DB::UPDATES_RETURN {
        let (row, found) = look(sql, key, store, mode).await?;
        return Ok(found.filter(|_| row == fence::Row::Open));
    }
    let [xid, branch] = id(key);
    let (store_text, mode_text) = (store.to_string(), mode.as_str());
    let values = [
        xid,
        branch,
        Value::text(&store_text),
        Value::text(mode_text),
        Value::text(state.as_str()),
        wall_value(wall),
    ];
    let rows = sql
        .query(
            "UPDATE pactum_barrier SET state = ?5, changed_at = ?6 WHERE xid = ?1 \
             AND branch_id = ?2 AND store_id = ?3 AND mode = ?4 AND state = 'open' \
             RETURNING format, checksum, body",
            &values,
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let found = || {
        Some(FoundRow {
            state: State::Open,
            format: row[0].as_integer()?,
            checksum: row[1].as_integer()?,
            body: row[2].as_text()?.to_owned(),
            store: store_text,
            mode: mode_text.to_owned(),
        })
    };
    Ok(found().filter(|row| row.is_intact(key)))
}

/// Marks the open row of a branch. Returns whether there was one.
pub(crate) async fn mark(
    sql: &mut dyn Sql,
    key: &BranchKey,
    state: State,
    wall: WallTime,
) -> Result<bool, DbError> {
    let [xid, branch] = id(key);
    let changed = sql
        .execute(
            "UPDATE pactum_barrier SET state = ?3, changed_at = ?4 \
             WHERE xid = ?1 AND branch_id = ?2 AND state = 'open'",
            &[xid, branch, Value::text(state.as_str()), wall_value(wall)],
        )
        .await?;
    Ok(changed == 1)
}

/// Gives the open row another body, in the local transaction that inserted it. Returns whether it is
/// still there: a handler that ended the local transaction by itself took it away.
pub(crate) async fn replace_body(
    sql: &mut dyn Sql,
    (key, store, mode): (&BranchKey, StoreId, Mode),
    format: u8,
    body: &str,
) -> Result<bool, DbError> {
    let [xid, branch] = id(key);
    let checksum = checksum(key, &store.to_string(), mode.as_str(), i64::from(format), body);
    let changed = sql
        .execute(
            "UPDATE pactum_barrier SET body = ?3, checksum = ?4 \
             WHERE xid = ?1 AND branch_id = ?2 AND state = 'open'",
            &[xid, branch, Value::text(body), Value::Integer(checksum)],
        )
        .await?;
    Ok(changed == 1)
}
