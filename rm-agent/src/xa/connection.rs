//! The connection inside an XA branch: what sqlx's queries run on.
//!
//! Statements run as they are, since the database itself undoes them. Refused is only what would end
//! the branch behind the agent's back. It is noted whether anything but a plain read ran: a branch that
//! only read needs no second phase.

use std::fmt;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::TryStreamExt as _;
use pactum_core::id::BranchId;
use sqlx::{Database, Execute, Executor, SqlStr};

use super::error::XaError;
use super::held::Held;
use super::name::Name;
use super::pool::Shared;
use super::prepared::Prepared;
use crate::at::{AtDatabase, Statement, Step};
use crate::context::TransactionContext;
use crate::db::{Failure, is_passing};

/// A connection in an XA branch. Run queries on it as on a connection of sqlx:
/// `sqlx::query(…).execute(&mut *tx)`.
pub struct XaConnection<DB: AtDatabase> {
    pub(super) shared: Arc<Shared<DB>>,
    pub(super) context: TransactionContext,
    pub(super) name: Name,
    pub(super) held: Held<DB>,
    /// Whether every statement so far certainly changed and locked nothing.
    pub(super) only_read: bool,
    /// Why only a rollback is possible.
    pub(super) broken: Option<&'static str>,
}

const CUT_SHORT: &str = "a statement was cut short, so its effect is not known";
const REFUSED: &str = "the database refused a statement, and accepts no other in this transaction";
const LOST: &str = "a statement failed in a way that may have ended the local transaction";

impl<DB: AtDatabase> XaConnection<DB> {
    /// The global transaction this belongs to.
    #[must_use]
    pub fn context(&self) -> &TransactionContext {
        &self.context
    }

    pub(super) fn ready(&self) -> Result<(), XaError> {
        match self.broken {
            None => Ok(()),
            Some(why) => Err(XaError::OnlyRollback { why }),
        }
    }

    /// Everything that has to be in order before a statement.
    fn admit(&mut self, sql: &str) -> Result<(), XaError> {
        self.ready()?;
        if !self.shared.texts.only_reads(sql)? {
            self.only_read = false;
            self.broken = Some(CUT_SHORT);
        }
        Ok(())
    }

    /// Notes a failure, and finds the error that says most about it.
    async fn failed(&mut self, error: sqlx::Error) -> XaError {
        self.broken = match DB::classify(&error) {
            Failure::Unique | Failure::Constraint | Failure::Statement if DB::SURVIVES_ERRORS => {
                None
            }
            Failure::Unique | Failure::Constraint | Failure::Statement => Some(REFUSED),
            Failure::Busy | Failure::Other => Some(LOST),
        };
        if DB::classify(&error) != Failure::Busy {
            return XaError::Database(error);
        }
        if self.context.remaining().is_zero() {
            return XaError::DeadlinePassed;
        }
        let branch = match self.shared.open.beside(&self.name) {
            Some(branch) => Some(branch),
            None => {
                let prepared = Arc::clone(&self.shared.support.prepared);
                own_branch(&prepared, self.name.clone()).await
            }
        };
        match branch {
            Some(branch) if is_passing(&error) => {
                XaError::BlockedByOwnBranch { branch, source: Box::new(error) }
            }
            Some(_) | None => XaError::Database(error),
        }
    }

    /// Ends the branch without a trace: where the database does not confirm it, by closing the
    /// connection.
    pub(super) async fn abandon(self) {
        let XaConnection { shared, name, mut held, .. } = self;
        let text = shared.support.prepared.dialect.abandon(&name);
        let ended = DB::sql(&mut held).run(&text).await;
        match ended {
            Ok(_) => held.free(),
            Err(error) => {
                held.close().await;
                tracing::debug!(error = %error.chain(), "local rollback not confirmed: closed");
            }
        }
    }
}

/// A branch of the same global transaction that is prepared in the same database.
async fn own_branch(prepared: &Prepared, ours: Name) -> Option<BranchId> {
    // Where the list cannot be read, what the database said has to do.
    let listed = prepared.listed().await.ok()?;
    listed.iter().find(|name| name.is_beside(&ours)).map(|name| name.key.branch)
}

impl<DB: AtDatabase> fmt::Debug for XaConnection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XaConnection")
            .field("name", &self.name)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl<'c, DB: AtDatabase> Executor<'c> for &'c mut XaConnection<DB> {
    type Database = DB;

    /// Dropping the stream before its end leaves the branch to be rolled back, unless the statement is
    /// a plain read.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step<DB>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let statement = Statement::take(query);
        Box::pin(async_stream::try_stream! {
            let statement = statement?;
            self.admit(statement.sql.as_str())?;
            let mut steps = DB::run(&mut self.held, statement);
            let failed = loop {
                match steps.try_next().await {
                    Ok(Some(step)) => yield step,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            drop(steps);
            match failed {
                None => self.broken = None,
                Some(error) => Err(self.failed(error).await)?,
            }
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<DB::Row>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        // To its end: a change is done only when the database has said so.
        let mut rows = self.fetch(query);
        Box::pin(async move {
            let mut first = None;
            while let Some(row) = rows.try_next().await? {
                first.get_or_insert(row);
            }
            Ok(first)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<<DB as Database>::Statement, sqlx::Error>>
    where
        'c: 'e,
    {
        DB::prepare(&mut self.held, sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<DB>, sqlx::Error>>
    where
        'c: 'e,
    {
        DB::describe(&mut self.held, sql)
    }
}
