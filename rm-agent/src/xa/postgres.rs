//! The words of PostgreSQL: `PREPARE TRANSACTION` and what follows.
//!
//! A prepared transaction belongs to no connection: the one that prepared it is free at once, and any
//! other one in the same database finishes it, of the same role or a superuser.
//!
//! Easy to get wrong: `PREPARE TRANSACTION` and `COMMIT` of a transaction that has failed, or that is
//! none, say that all is well and do nothing. So a probe goes before them in the same message: it fails
//! unless the barrier row is there and was written by this very transaction.

use sqlx::error::DatabaseError;

use super::dialect::{Limits, Refusal};
use super::name::Name;
use crate::db::{DbError, POSTGRES_ALONE as ALONE, Row};

/// The longest time that the server takes as a limit, in milliseconds.
const TIMEOUT_MS_MAX: u128 = i32::MAX as u128;

/// The names in this database. A prepared transaction can only be finished in its own.
pub(super) const LIST: &str = "SELECT name FROM pg_catalog.pg_prepared_xacts \
     AS prepared (number, name, prepared_at, owner, place) WHERE place = current_database()";

pub(super) const BARRIER_TABLE: &str = "SELECT format('%I.%I', n.nspname, c.relname) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid = to_regclass('pactum_barrier')";

pub(super) fn read_listed(row: &Row) -> Option<Name> {
    row.first()?.as_text().and_then(Name::from_postgres)
}

pub(super) fn begin(limits: Limits, row: &str) -> String {
    let lock_wait = at_most("lock_timeout", limits.lock_wait.as_millis());
    // Rounded up, so that the deadline has passed when the limit has.
    let left = at_most("statement_timeout", limits.left.as_millis() + 1);
    format!("{ALONE}; BEGIN; {lock_wait}; {left}; {row}")
}

/// Sets a limit for the rest of the transaction, where the session has no shorter one.
fn at_most(setting: &str, milliseconds: u128) -> String {
    let milliseconds = milliseconds.clamp(1, TIMEOUT_MS_MAX);
    format!(
        "SELECT set_config('{setting}', '{milliseconds}', true) WHERE \
         extract(epoch FROM current_setting('{setting}')::interval) * 1000 \
         NOT BETWEEN 1 AND {milliseconds}"
    )
}

/// A row that was written after a savepoint that is still open bears a number of the savepoint's own, so
/// the probe refuses it.
pub(super) fn prepare(name: &Name, table: &str) -> String {
    format!("{}; PREPARE TRANSACTION '{}'", probe(name, table), name.postgres())
}

pub(super) fn commit_one_phase(name: &Name, table: &str) -> String {
    format!("{}; COMMIT", probe(name, table))
}

/// Fails unless the branch's row was written by this very transaction, which can still commit.
fn probe(name: &Name, table: &str) -> String {
    format!(
        "SELECT 1 / count(*)::int FROM {table} WHERE xid = '{}' AND branch_id = {} \
         AND xmin = pg_current_xact_id()::xid",
        name.key.xid,
        name.key.branch.0.cast_signed(),
    )
}

pub(super) fn refusal(error: &DbError) -> Refusal {
    match code(error).as_deref() {
        Some("42704") => Refusal::Unknown,
        // It is being finished by another session; it is another role's; the server is busy.
        _ => Refusal::Passing,
    }
}

fn code(error: &DbError) -> Option<String> {
    let error: &sqlx::Error = error.source.downcast_ref()?;
    error.as_database_error().and_then(DatabaseError::code).map(|code| code.into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn limits_are_never_zero_which_would_mean_none() {
        let limits = Limits { lock_wait: Duration::ZERO, left: Duration::MAX };
        let text = begin(limits, "INSERT");
        assert!(text.contains("set_config('lock_timeout', '1', true)"), "{text}");
        assert!(text.contains("set_config('statement_timeout', '2147483647', true)"), "{text}");
    }
}
