//! From a statement's text to what is run for it.

use std::sync::Arc;

use super::cache::{Ready, ReadyChange, ReadyRead};
use super::engine::AtDatabase;
use super::error::AtError;
use super::plan::{ChangeKind, LockingRead, Plan, Refused};
use super::restore::Turn;
use super::table::Table;

/// Plans a statement, and makes it ready for the schema as it is now.
///
/// # Errors
/// [`AtError::Refused`] if it cannot be undone, or is not understood.
pub(super) async fn make_ready<DB: AtDatabase>(
    connection: &mut DB::Connection,
    sql: &str,
) -> Result<Ready, AtError> {
    Ok(match DB::plan(sql)? {
        Plan::Read => Ready::Read,
        Plan::LockingRead(read) => {
            Ready::LockingRead(Arc::new(make_read_ready::<DB>(connection, &read).await?))
        }
        Plan::Change(change) => {
            let table = load_table::<DB>(connection, &change.table).await?;
            table.check(&change.kind)?;
            check_rights::<DB>(connection, &table, &change.kind).await?;
            let compiled = DB::compile_change(&change, &table)?;
            Ready::Change(Arc::new(ReadyChange {
                table,
                kind: change.kind,
                returning: change.returning.is_some(),
                compiled,
            }))
        }
    })
}

/// The same for a read whose locks are asked for by a call.
pub(super) async fn make_read_ready<DB: AtDatabase>(
    connection: &mut DB::Connection,
    read: &LockingRead,
) -> Result<ReadyRead, AtError> {
    let table = load_table::<DB>(connection, &read.table).await?;
    if let Some(refused) = &table.refusal {
        return Err(refused.clone().into());
    }
    let compiled = DB::compile_read(read, &table)?;
    Ok(ReadyRead { table, compiled })
}

/// An undo that the account may not do would be tried for ever, and its locks stay.
async fn check_rights<DB: AtDatabase>(
    connection: &mut DB::Connection,
    table: &Table,
    kind: &ChangeKind,
) -> Result<(), AtError> {
    let (statement, turn, right) = match kind {
        ChangeKind::Insert(_) => ("INSERT", Turn::Go, "DELETE"),
        ChangeKind::Delete(_) => ("DELETE", Turn::Come, "INSERT"),
        // It takes what the statement itself takes.
        ChangeKind::Update(_) => return Ok(()),
    };
    let may = DB::dialect().may(&mut *DB::sql(connection), table, turn).await;
    if may.map_err(AtError::from_db)? {
        return Ok(());
    }
    let name = &table.name;
    let refused = Refused::new(
        format!("{statement} on `{name}`"),
        format!(
            "the account of the pool lacks the right to {right}, with which it would be undone"
        ),
        format!("GRANT {right} ON {name} to it"),
    );
    Err(refused.into())
}

async fn load_table<DB: AtDatabase>(
    connection: &mut DB::Connection,
    name: &str,
) -> Result<Arc<Table>, AtError> {
    let found = DB::dialect().load(&mut *DB::sql(connection), name).await;
    let missing = || {
        Refused::new(
            format!("statement on `{name}`"),
            "the resource's database has no such table",
            "name a table of the resource's own database",
        )
    };
    Ok(Arc::new(found.map_err(AtError::from_db)?.ok_or_else(missing)?))
}
