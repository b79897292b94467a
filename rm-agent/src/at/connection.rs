//! The connection inside an AT transaction: what sqlx's queries run on.
//!
//! ```text
//! query ──▶ plan ──▶ reads pass through
//!                    changes:  before image ──▶ [dirty] change + after image ──▶ undo log, keys
//! ```
//!
//! Easy to get wrong: a future that is dropped, or a statement that fails, between the change and the
//! note of what it changed. From the moment a change is sent until its images are in the undo log the
//! connection is *dirty*, and a dirty connection can only be rolled back.

use std::fmt;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::TryStreamExt;
use pactum_core::lock::key::{EncodedKey, LockMode};
use sqlx::{Database, Execute, Executor, SqlStr};
use tokio::sync::OwnedSemaphorePermit;

use super::cache::Ready;
use super::engine::{Assumed, AtDatabase, Statement, Step};
use super::error::AtError;
use super::held::Held;
use super::keys::KeySet;
use super::locking::Hold;
use super::pool::Shared;
use super::ready::make_ready;
use super::savepoint::SavepointMark;
use super::table::Table;
use super::told::{Told, Watch};
use super::undo::UndoLog;
use crate::context::TransactionContext;
use crate::db::Failure;

/// The keys of a branch, as the coordinator takes them.
pub(super) type Locks = Vec<(EncodedKey, LockMode)>;

/// A connection in an AT transaction. Run queries on it as on a connection of sqlx:
/// `sqlx::query(…).execute(&mut *tx)`.
pub struct AtConnection<DB: AtDatabase> {
    pub(super) shared: Arc<Shared<DB>>,
    pub(super) context: Option<TransactionContext>,
    /// Before `turn`, so that a dropped transaction's rollback is queued before the next writer's
    /// turn.
    pub(super) local: Held<DB>,
    pub(super) turn: Turn,
    pub(super) gathered: Gathered,
    pub(super) health: Health,
    /// The keys that the last statement found taken: what a retry has to wait for.
    pub(super) conflict: Option<Locks>,
    /// The error of the last statement, if a new run may cure it.
    pub(super) again: Option<Watch>,
    pub(super) savepoints: u64,
    /// The first savepoint that is open in the database; those after it are inside of it.
    pub(super) outermost: Option<u64>,
    /// Whether nothing of the application's has run yet.
    pub(super) is_untouched: bool,
    /// A savepoint that was dropped unfinished, to be rolled back before anything else.
    pub(super) abandoned: Option<SavepointMark>,
}

/// The right to write to the database, and before that, to hold a connection while waiting for it.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) _writer: OwnedSemaphorePermit,
    pub(super) _entrant: OwnedSemaphorePermit,
}

/// What the statements so far amount to.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) undo: UndoLog,
    pub(super) undo_bytes: usize,
    pub(super) keys: KeySet,
    /// What the plans used here take for granted.
    pub(super) assumed: Assumed,
    /// Whether a statement ran that only the database can undo.
    pub(super) falls_back: bool,
}

/// Whether what was gathered is what was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Sound,
    OnlyRollback(&'static str),
}

pub(super) const CUT_SHORT: &str = "a statement was cut short";
const REFUSED: &str = "the database refused a statement, and accepts no other in this transaction";
pub(super) const LOST: &str =
    "a statement failed in a way that may have ended the local transaction";

impl<DB: AtDatabase> AtConnection<DB> {
    /// The global transaction this belongs to; `None` for a guarded local transaction.
    #[must_use]
    pub fn context(&self) -> Option<&TransactionContext> {
        self.context.as_ref()
    }

    /// The bare connection of sqlx. **What is changed through it is not undone**, not locked, and
    /// may make a rollback park. On MySQL and MariaDB see each of its futures through: one that is dropped
    /// early leaves a connection on which the driver may take one statement's answer for another's.
    pub fn bypass(&mut self) -> &mut DB::Connection {
        self.is_untouched = false;
        &mut self.local
    }

    /// Everything that has to be in order before a statement.
    pub(super) async fn ready(&mut self) -> Result<(), AtError> {
        // Whoever goes on has dealt with it: a later error is another one.
        self.conflict = None;
        self.again = None;
        self.check_lost()?;
        self.roll_back_abandoned().await?;
        match self.health {
            Health::Sound => Ok(()),
            Health::OnlyRollback(why) => Err(AtError::OnlyRollback { why }),
        }
    }

    /// Whether anything may be sent at all: not even a rollback to a savepoint may on a lost connection.
    pub(super) fn check_lost(&self) -> Result<(), AtError> {
        if self.local.is_lost() { Err(AtError::OnlyRollback { why: CUT_SHORT }) } else { Ok(()) }
    }

    async fn plan(&mut self, sql: &str) -> Result<Ready, AtError> {
        self.shared.cache.find_or(sql, make_ready::<DB>(&mut self.local, sql)).await
    }

    /// All plans of one local transaction must be made for the same state of a table.
    pub(super) fn use_table(&mut self, table: &Arc<Table>) -> Result<(), AtError> {
        let tables = &mut self.gathered.assumed.tables;
        match tables.iter().find(|used| used.name == table.name && used.written == table.written) {
            None => tables.push(Arc::clone(table)),
            Some(used) if used.version == table.version => {}
            Some(_) => {
                self.shared.cache.clear();
                return Err(AtError::SchemaChanged(Told::default()));
            }
        }
        Ok(())
    }

    /// Runs a read to its end.
    pub(super) async fn collect(
        &mut self,
        statement: Statement<DB>,
    ) -> Result<Vec<Step<DB>>, AtError> {
        let steps = DB::run(&mut self.local, statement).try_collect().await;
        steps.map_err(|error| {
            self.note_failure(&error);
            self.refused(error)
        })
    }

    /// What the caller is told of a statement that failed. What the database gave up waiting for after
    /// the deadline is nobody's any more.
    pub(super) fn refused(&self, error: sqlx::Error) -> AtError {
        let is_late = self.context.as_ref().is_some_and(|context| context.remaining().is_zero());
        if is_late && DB::classify(&error) == Failure::Busy {
            return AtError::DeadlinePassed;
        }
        AtError::Database(error)
    }

    /// An error on its way to the caller, who may deal with it or fail on it.
    pub(super) fn told(&mut self, error: AtError) -> AtError {
        let (error, watch) = error.or_late(self.context.as_ref()).watched();
        self.again = watch;
        error
    }

    /// A failure that may have ended the local transaction in the database.
    pub(super) fn note_failure(&mut self, error: &sqlx::Error) {
        self.shared.cache.clear();
        match DB::classify(error) {
            Failure::Unique | Failure::Constraint | Failure::Statement if DB::SURVIVES_ERRORS => {}
            Failure::Unique | Failure::Constraint | Failure::Statement => {
                self.health = Health::OnlyRollback(REFUSED);
            }
            Failure::Busy | Failure::Other => self.health = Health::OnlyRollback(LOST),
        }
    }

    /// Runs a statement to its end, whatever it is.
    pub(super) async fn run_to_end(
        &mut self,
        statement: &mut Statement<DB>,
    ) -> Result<Vec<Step<DB>>, AtError> {
        let planned = self.planned(statement.sql.as_str()).await;
        self.run_planned(planned, statement).await
    }

    /// Puts everything in order for a statement, and plans it.
    async fn planned(&mut self, sql: &str) -> Result<Ready, AtError> {
        let planned = match self.ready().await {
            Ok(()) => {
                self.local.sending();
                let planned = self.plan(sql).await;
                self.local.answered();
                planned
            }
            Err(error) => Err(error),
        };
        self.is_untouched &= planned.is_err();
        planned.map_err(|error| self.told(error))
    }

    async fn run_planned(
        &mut self,
        planned: Result<Ready, AtError>,
        statement: &mut Statement<DB>,
    ) -> Result<Vec<Step<DB>>, AtError> {
        let planned = match planned {
            Ok(ready) => Ok(ready),
            Err(AtError::Refused(refused)) => Err(refused),
            Err(error) => return Err(error),
        };
        self.local.sending();
        let ran = match planned {
            Ok(Ready::Read) => self.collect(statement.again()).await,
            Ok(Ready::LockingRead(ready)) => {
                self.locking_read(&ready, statement, Hold::Checked).await
            }
            Ok(Ready::Change(ready)) => self.change(&ready, statement).await,
            Err(refused) => self.fall_back(refused, statement.again()).await,
        };
        self.local.answered();
        ran.map_err(|error| self.told(error))
    }
}

impl<DB: AtDatabase> fmt::Debug for AtConnection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtConnection")
            .field("resource", &self.shared.resource)
            .field("xid", &self.context.as_ref().map(TransactionContext::xid))
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

impl<'c, DB: AtDatabase> Executor<'c> for &'c mut AtConnection<DB> {
    type Database = DB;

    /// Dropping the stream of a SELECT between its rows is harmless, and so is dropping a future of it,
    /// but on MySQL and MariaDB: there, and after dropping the stream of a change before its end, the
    /// local transaction can only be rolled back.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step<DB>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let statement = Statement::take(query);
        Box::pin(async_stream::try_stream! {
            let mut statement = statement?;
            let planned = self.planned(statement.sql.as_str()).await;
            if !matches!(planned, Ok(Ready::Read)) {
                for step in self.run_planned(planned, &mut statement).await? {
                    yield step;
                }
                return;
            }
            let mut steps = self.local.read(statement);
            let failed = loop {
                match steps.try_next().await {
                    Ok(Some(step)) => yield step,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            drop(steps);
            if let Some(error) = failed {
                self.note_failure(&error);
                let error = self.refused(error);
                Err(self.told(error))?;
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
        let mut rows = self.fetch(query);
        Box::pin(async move { rows.try_next().await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<<DB as Database>::Statement, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            self.check_lost()?;
            self.local.sending();
            let prepared = DB::prepare(&mut self.local, sql, parameters).await;
            self.local.answered();
            prepared
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<DB>, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            self.check_lost()?;
            self.local.sending();
            let described = DB::describe(&mut self.local, sql).await;
            self.local.answered();
            described
        })
    }
}
