//! From a statement's text to what is run for it.

use std::sync::Arc;

use super::cache::{Ready, ReadyChange, ReadyRead};
use super::engine::AtDatabase;
use super::error::AtError;
use super::plan::{LockingRead, Plan, Refused};
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
