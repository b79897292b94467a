//! The barrier rows of one global transaction, for people who look into a participant's database.

use pactum_core::id::BranchId;
use sqlx::Pool;

use super::engine::AtDatabase;
use super::error::AtError;
use super::undo::{UnreadableUndo, read_undo};
use crate::db::Value;

/// What a participant's database knows of a branch.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The branch.
    pub branch: BranchId,
    /// `open`, `undone`, `tombstone` or `spent`: see `docs/protocol.md`.
    pub state: String,
    /// The undo log as JSON for people; why it cannot be read otherwise.
    pub undo: Result<String, UnreadableUndo>,
}

/// Reads the barrier rows of a global transaction, in the order of its branches. Nothing is locked
/// or changed.
///
/// # Errors
/// [`AtError::Database`] if the database, or the agent's table in it, cannot be read.
pub async fn evidence<DB: AtDatabase>(
    pool: &Pool<DB>,
    xid: &str,
) -> Result<Vec<Evidence>, AtError> {
    let mut connection = pool.acquire().await.map_err(AtError::Database)?;
    let rows = DB::sql(&mut connection)
        .query(
            "SELECT branch_id, state, format, body FROM pactum_barrier WHERE xid = ?1 \
             ORDER BY branch_id",
            &[Value::text(xid)],
        )
        .await
        .map_err(AtError::from_db)?;
    let text = |value: &Value| value.as_text().unwrap_or_default().to_owned();
    let integer = |value: &Value| value.as_integer().unwrap_or_default();
    let evidence = rows.iter().map(|row| Evidence {
        branch: BranchId(integer(&row[0]).cast_unsigned()),
        state: text(&row[1]),
        undo: read_undo(integer(&row[2]), &text(&row[3])),
    });
    Ok(evidence.collect())
}
