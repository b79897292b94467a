//! The words of MySQL and MariaDB: `XA …`.
//!
//! On MariaDB, and on MySQL before 8.0.29, the connection that prepared a branch keeps it: it accepts
//! nothing that changes anything, and nobody else can finish the branch before it is closed. So it is
//! closed, and never goes back to its pool.
//!
//! Easy to get wrong: `XA COMMIT` of a branch that another session still keeps is refused in the same
//! words as one of a branch that never was.

use sqlx::mysql::MySqlDatabaseError;

use super::dialect::{Limits, Refusal};
use super::name::Name;
use crate::db::{DbError, Row, Value};

/// All prepared branches of the server. Names of ours are ASCII, so their bytes are text.
pub(super) const LIST: &str = "XA RECOVER";

pub(super) const BARRIER_TABLE: &str =
    "SELECT concat('`', replace(database(), '`', '``'), '`.pactum_barrier')";

/// `XAER_NOTA`: no branch of that name, or none that this session may have.
const UNKNOWN: u16 = 1397;
/// `XA_RBROLLBACK`, `XA_RBTIMEOUT`, `XA_RBDEADLOCK`: the server has rolled it back.
const ROLLED_BACK: [u16; 3] = [1402, 1613, 1614];

pub(super) fn read_listed(row: &Row) -> Option<Name> {
    let [format, first, _, data] = row.as_slice() else { return None };
    let data = match data {
        Value::Text(text) => text.as_str(),
        Value::Bytes(bytes) | Value::RawText(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::Null | Value::Integer(_) | Value::Unsigned(_) | Value::Float(_) => return None,
    };
    Name::from_mysql(format.as_integer()?, first.as_integer()?, data)
}

pub(super) fn begin(name: &Name, limits: Limits, row: &str) -> String {
    format!("{}; {row}", begin_bare(name, limits))
}

/// The lock wait is the session's, and is given back with the connection where that is free again. A
/// shorter one of the session's stays.
pub(super) fn begin_bare(name: &Name, limits: Limits) -> String {
    // Whole seconds; zero would not wait at all.
    let seconds = limits.lock_wait.min(limits.left).as_secs().max(1);
    format!(
        "SET @pactum_lock_wait = @@SESSION.innodb_lock_wait_timeout, SESSION \
         innodb_lock_wait_timeout = least(@@SESSION.innodb_lock_wait_timeout, {seconds}); XA START {}",
        name.mysql()
    )
}

pub(super) fn prepare(name: &Name) -> String {
    let name = name.mysql();
    format!("XA END {name}; XA PREPARE {name}")
}

pub(super) fn commit_one_phase(name: &Name) -> String {
    let name = name.mysql();
    format!("XA END {name}; XA COMMIT {name} ONE PHASE; {GIVE_BACK}")
}

pub(super) fn abandon(name: &Name) -> String {
    let name = name.mysql();
    format!("XA END {name}; XA ROLLBACK {name}; {GIVE_BACK}")
}

/// Makes a connection that goes back to its pool as it was.
pub(super) const GIVE_BACK: &str =
    "SET SESSION innodb_lock_wait_timeout = coalesce(@pactum_lock_wait, 50)";

pub(super) fn refusal(error: &DbError) -> Refusal {
    match number(error) {
        Some(number) if number == UNKNOWN || ROLLED_BACK.contains(&number) => Refusal::Unknown,
        _ => Refusal::Passing,
    }
}

fn number(error: &DbError) -> Option<u16> {
    let error: &sqlx::Error = error.source.downcast_ref()?;
    error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>().map(|e| e.number())
}

/// Whether the account lacks a privilege.
pub(super) fn is_denied(error: &DbError) -> bool {
    // XAER_RMERR is what MySQL 8 says of an account that may not list.
    matches!(number(error), Some(1227 | 1142 | 1401))
}
