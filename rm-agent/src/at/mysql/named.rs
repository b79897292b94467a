//! What a name stands for in a statement that only the database can undo: the statement locks the tables
//! that it names as a whole.
//!
//! Easy to get wrong: what does not roll back. InnoDB undoes what it stores, and nothing else does.

use super::table::{Server, find, in_database, text};
use crate::at::restore::Named;
use crate::db::{DbError, Sql};

/// See [`Dialect::named`](crate::at::restore::Dialect::named).
pub(super) async fn named(sql: &mut dyn Sql, written: &str) -> Result<Named, DbError> {
    let server = Server::load(sql).await?;
    let Some(plain) = in_database(written, &server) else {
        return Ok(Named::Unfit("is in another database, which is not this resource".to_owned()));
    };
    let Some(found) = find(sql, &server, plain).await? else { return Ok(Named::Nothing) };
    let (name, kind, engine) = (text(&found[0]), text(&found[1]), text(&found[2]));
    Ok(match kind.as_str() {
        "BASE TABLE" | "SYSTEM VERSIONED" if engine.eq_ignore_ascii_case("InnoDB") => {
            Named::Table(server.lock_name(&name))
        }
        "BASE TABLE" | "SYSTEM VERSIONED" => {
            Named::Unfit(format!("has the engine {engine}, which cannot roll back"))
        }
        _ => Named::Unfit("is no plain table that could be locked".to_owned()),
    })
}
