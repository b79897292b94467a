//! From a statement's text to what is run for it.

use std::sync::Arc;

use super::cache::{Ready, ReadyChange, ReadyRead};
use super::engine::AtDatabase;
use super::error::AtError;
use super::plan::{self, ChangeKind, LockingRead, Plan, Refused};
use super::restore::Turn;
use super::table::Table;
use crate::db::Kind;

/// Plans a statement, and makes it ready for the schema as it is now.
///
/// # Errors
/// [`AtError::Refused`] if it cannot be undone, or is not understood.
pub(super) async fn make_ready<DB: AtDatabase>(
    connection: &mut DB::Connection,
    sql: &str,
) -> Result<Ready, AtError> {
    let plan = DB::plan(sql)?;
    let kind = DB::sql(connection).kind();
    check_functions::<DB>(connection, &plan::called(sql, kind)).await?;
    Ok(match plan {
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

/// What a function of the users' own changes would be neither undone nor locked.
async fn check_functions<DB: AtDatabase>(
    connection: &mut DB::Connection,
    called: &[String],
) -> Result<(), AtError> {
    if called.is_empty() {
        return Ok(());
    }
    let found = DB::dialect().writing_function(&mut *DB::sql(connection), called).await;
    let Some(name) = found.map_err(AtError::from_db)? else { return Ok(()) };
    let instead = match DB::sql(connection).kind() {
        Kind::Postgres => {
            "declare the function STABLE or IMMUTABLE if it only reads, or send what it does as \
             statements"
        }
        Kind::Mysql | Kind::Sqlite => {
            "declare the function READS SQL DATA or NO SQL if it only reads, or send what it does as \
             statements"
        }
    };
    let why = format!("its function `{name}` may change rows, which no image would show");
    Err(Refused::new("statement", why, instead).into())
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
