//! The pre-flight: what AT would do with the statements of a script, without running any of them.

use sqlx::{AssertSqlSafe, Pool, SqlSafeStr};

use super::cache::Ready;
use super::engine::{AtDatabase, CompiledRead};
use super::error::AtError;
use super::plan::{self, Refused};
use super::ready::make_ready;

/// A statement of a script, and what AT would do with it.
#[derive(Debug)]
pub struct CheckedStatement {
    /// The line of the script in which it begins, counted from 1.
    pub line: usize,
    /// The statement as it is written, without its semicolon.
    pub text: String,
    /// What AT would do with it.
    pub verdict: Verdict,
}

/// What AT would do with a statement.
#[derive(Debug)]
pub enum Verdict {
    /// It changes nothing, and runs as it is.
    Read,
    /// The rows that it reads are checked against the global locks.
    LockingRead {
        /// The table whose rows are locked.
        table: String,
    },
    /// It is undone exactly if the global transaction rolls back.
    Undoable {
        /// The table whose rows it changes.
        table: String,
    },
    /// AT refuses it, with why and what to do instead.
    Refused(Refused),
    /// The database itself refuses it, for this reason.
    Invalid(String),
}

/// Says for each statement of a script whether AT can undo it. Nothing is run: the statements are
/// parsed, compared with the tables that are there, and prepared by the database.
///
/// # Errors
/// [`AtError::Refused`] if the script cannot be split into statements; [`AtError::Database`] if the
/// database cannot be asked.
pub async fn check_sql<DB: AtDatabase>(
    pool: &Pool<DB>,
    script: &str,
) -> Result<Vec<CheckedStatement>, AtError> {
    let mut connection = pool.acquire().await.map_err(AtError::Database)?;
    let kind = DB::sql(&mut connection).kind();
    let statements = plan::statements(script, kind).map_err(|error| {
        Refused::new("script", format!("it cannot be read: {error}"), "mend it there")
    })?;
    let mut checked = Vec::with_capacity(statements.len());
    for (line, text) in statements {
        let verdict = check::<DB>(&mut connection, text).await?;
        checked.push(CheckedStatement { line, text: text.to_owned(), verdict });
    }
    Ok(checked)
}

async fn check<DB: AtDatabase>(
    connection: &mut DB::Connection,
    text: &str,
) -> Result<Verdict, AtError> {
    let ready = match make_ready::<DB>(connection, text).await {
        Ok(ready) => ready,
        Err(AtError::Refused(refused)) => return Ok(Verdict::Refused(refused)),
        Err(error) => return Err(error),
    };
    let (texts, verdict) = match &ready {
        Ready::Read => (vec![text], Verdict::Read),
        Ready::LockingRead(ready) => {
            let texts = match &ready.compiled {
                CompiledRead::Together(read) => vec![&**read],
                CompiledRead::Apart { keys, read } => vec![&**keys, &**read],
            };
            (texts, Verdict::LockingRead { table: ready.table.name.clone() })
        }
        Ready::Change(ready) => {
            let mut texts: Vec<&str> = ready.compiled.before.as_deref().into_iter().collect();
            texts.push(&ready.compiled.change);
            (texts, Verdict::Undoable { table: ready.table.name.clone() })
        }
    };
    for text in texts {
        let prepared = DB::prepare(connection, AssertSqlSafe(text).into_sql_str(), &[]).await;
        match prepared {
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) => {
                return Ok(Verdict::Invalid(error.message().to_owned()));
            }
            Err(error) => return Err(AtError::Database(error)),
        }
    }
    Ok(verdict)
}
