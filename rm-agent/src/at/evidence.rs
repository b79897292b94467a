//! The barrier rows of one global transaction, for people who look into a participant's database.

use pactum_core::id::BranchId;
use sqlx::Pool;

use super::engine::AtDatabase;
use super::error::AtError;
use super::undo::{UnreadableUndo, read_undo};
use crate::barrier::Mode;
use crate::db::Value;

/// What a participant's database knows of a branch.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The branch.
    pub branch: BranchId,
    /// `at`, `tcc`, `saga` or `xa`.
    pub mode: String,
    /// `open`, `undone`, `tombstone` or `spent`: see `docs/protocol.md`.
    pub state: String,
    /// What the row holds, as JSON for people: the undo log of AT, the context of TCC, input and
    /// output of a saga step; why it cannot be read otherwise.
    pub body: Result<String, UnreadableUndo>,
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
            "SELECT branch_id, mode, state, format, body FROM pactum_barrier WHERE xid = ?1 \
             ORDER BY branch_id",
            &[Value::text(xid)],
        )
        .await
        .map_err(AtError::from_db)?;
    let text = |value: &Value| value.as_text().unwrap_or_default().to_owned();
    let integer = |value: &Value| value.as_integer().unwrap_or_default();
    let evidence = rows.iter().map(|row| Evidence {
        branch: BranchId(integer(&row[0]).cast_unsigned()),
        mode: text(&row[1]),
        state: text(&row[2]),
        body: readable(&text(&row[1]), integer(&row[3]), &text(&row[4])),
    });
    Ok(evidence.collect())
}

/// Only AT writes undo logs; what the others write is the application's own JSON.
fn readable(mode: &str, format: i64, body: &str) -> Result<String, UnreadableUndo> {
    if mode == Mode::At.as_str() {
        return read_undo(format, body);
    }
    if body.is_empty() {
        return Err(UnreadableUndo::Empty);
    }
    let json: Result<serde_json::Value, _> = serde_json::from_str(body);
    // A person may make sense even of what is no JSON any more.
    Ok(json.map_or_else(|_| body.to_owned(), |json| format!("{json:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_action_kept_is_shown_as_it_is_and_not_taken_for_an_undo_log() {
        let shown = readable("tcc", 1, r#"{"account":7}"#).unwrap();
        assert_eq!(shown, "{\n  \"account\": 7\n}");
        assert_eq!(readable("saga", 1, "cut sh").unwrap(), "cut sh");
        assert!(matches!(readable("xa", 0, ""), Err(UnreadableUndo::Empty)));
        assert!(matches!(readable("at", 1, r#"{"account":7}"#), Err(UnreadableUndo::Malformed(_))));
    }
}
