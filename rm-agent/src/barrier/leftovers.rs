//! Barrier rows that have been there for long: what the sweep and the purge look through.
//!
//! Age alone says nothing: a transaction may wait for a resource that is away, or for a person.

use pactum_core::id::{BranchId, StoreId, Xid};
use pactum_core::time::WallTime;

use super::{Mode, State, wall_value};
use crate::branch::BranchKey;
use crate::db::{DbError, Row, Sql, Value};

/// Some rows, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) rows: Vec<OldRow>,
    /// No younger row follows.
    pub(crate) is_last: bool,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldRow {
    pub(crate) place: Place,
    /// Whose it is; `None` if somebody changed it so that it cannot be told.
    pub(crate) owner: Option<(BranchKey, StoreId)>,
}

/// Where a row stands among all in its state, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    since: i64,
    xid: String,
    branch: i64,
}

/// The branch, as the row names it.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.xid, self.branch.cast_unsigned())
    }
}

/// The open rows of a mode that are older than `before`, the oldest first, at most `most`; from the
/// one that follows `after`.
pub(crate) async fn open_before(
    sql: &mut dyn Sql,
    mode: Mode,
    before: WallTime,
    after: Option<&Place>,
    most: usize,
) -> Result<Page, DbError> {
    old(sql, (mode, State::Open), before, after, most).await
}

/// The rows of a mode in a state, in the same way.
pub(crate) async fn old(
    sql: &mut dyn Sql,
    (mode, state): (Mode, State),
    before: WallTime,
    after: Option<&Place>,
    most: usize,
) -> Result<Page, DbError> {
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let mut values = vec![Value::text(mode.as_str()), wall_value(before), Value::Integer(limit)];
    // Written out, for an index on the open rows alone.
    let mut condition = format!("state = '{}' AND mode = ?1 AND changed_at < ?2", state.as_str());
    if let Some(Place { since, xid, branch }) = after {
        condition.push_str(
            " AND (changed_at > ?4 OR changed_at = ?4 AND (xid > ?5 OR xid = ?5 AND branch_id > ?6))",
        );
        values.extend([Value::Integer(*since), Value::text(xid), Value::Integer(*branch)]);
    }
    let text = format!(
        "SELECT changed_at, xid, branch_id, store_id FROM pactum_barrier WHERE {condition} \
         ORDER BY changed_at, xid, branch_id LIMIT ?3"
    );
    let rows = sql.query(&text, &values).await?;
    let is_last = rows.len() < most;
    // What has no place in the order is none of ours: the tables of the server databases do not even
    // let it in.
    Ok(Page { rows: rows.iter().filter_map(old_row).collect(), is_last })
}

fn old_row(row: &Row) -> Option<OldRow> {
    let (since, xid, branch) = (row[0].as_integer()?, row[1].as_text()?, row[2].as_integer()?);
    let owner = || {
        let key =
            BranchKey { xid: xid.parse::<Xid>().ok()?, branch: BranchId(branch.cast_unsigned()) };
        let store = row[3].as_text().filter(|text| text.len() == 32)?;
        Some((key, StoreId(u128::from_str_radix(store, 16).ok()?)))
    };
    let owner = owner();
    Some(OldRow { place: Place { since, xid: xid.to_owned(), branch }, owner })
}
