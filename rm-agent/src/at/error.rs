//! What can go wrong in AT mode, and how it passes through sqlx.
//!
//! The executor's methods return `sqlx::Error`. What the database said passes unchanged; everything
//! of ours travels inside it, and [`AtError::of`] takes it out again.

use std::time::Duration;

use pactum_core::id::Malformed;
use pactum_core::lock::key::KeyError;
use pactum_proto::v1;

use super::keys::KeyProblem;
use super::plan::Refused;
use super::told::{self, Told, Watch};
use crate::barrier::tables::TablesError;
use crate::context::TransactionContext;
use crate::db::{DbError, Failure, is_passing};
use crate::session::CallError;
use crate::xa::XaError;

/// An error of AT mode.
#[derive(Debug, thiserror::Error)]
pub enum AtError {
    /// The statement cannot be undone. Nothing of it ran.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another global transaction holds a lock that this one needs. Nothing was committed: roll
    /// back and run it again.
    #[error("global transaction `{holder}` holds a lock that is needed here")]
    LockConflict {
        /// The XID that holds it.
        holder: String,
        /// When to try again; zero where that is not known.
        retry_after: Duration,
        /// That this error is still there.
        told: Told,
    },
    /// The coordinator refused for another reason, or could not be asked. Nothing was committed.
    #[error("ask the coordinator")]
    Coordinator(#[source] CallError),
    /// The global transaction's deadline has passed: nothing may be committed any more.
    #[error("the deadline of the global transaction has passed")]
    DeadlinePassed,
    /// The global transaction was rolled back before this branch committed locally.
    #[error("the global transaction was rolled back before this branch was committed")]
    RolledBack,
    /// The local commit was sent and its outcome could not be learned in time. The global
    /// transaction was vetoed.
    #[error("the outcome of the local commit is not known; the global transaction was vetoed")]
    OutcomeUnknown,
    /// The local commit of a transaction outside any global one was sent, and the connection broke
    /// before its answer: it took place or not. Look at the rows before it is run again.
    #[error(
        "the outcome of the local commit is not known: look at the rows before it is run again"
    )]
    GuardedOutcomeUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The local commit failed, for certain.
    #[error("the local commit failed")]
    LocalCommit(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Somebody else held the database's own lock for too long.
    #[error("the database is busy")]
    Busy(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The pool handed out a connection with a transaction on it that somebody began and did not end.
    /// It is closed, which rolls that back; nothing began.
    #[error(
        "a connection of the pool was not free: somebody began a transaction on it and did not end it"
    )]
    LeftOpen,
    /// The undo log would be larger than allowed.
    #[error(
        "the undo log of this branch would be larger than {limit} bytes: change fewer rows in one \
         transaction, or raise `undo_log_bytes_max`"
    )]
    UndoLogTooLarge {
        /// `undo_log_bytes_max`.
        limit: usize,
    },
    /// An earlier statement of this local transaction was cut short or failed in a way that leaves
    /// its effect unknown; only a rollback is possible.
    #[error("this local transaction can only be rolled back: {why}")]
    OnlyRollback {
        /// What happened.
        why: &'static str,
    },
    /// Rows came or changed between the image of a statement and the statement: somebody else
    /// committed in between. Only a rollback is possible: roll back and run it again.
    #[error(
        "a statement changed other rows than its image showed: somebody changed them meanwhile"
    )]
    Drifted(Told),
    /// The schema changed while the statement was prepared. Nothing was committed: run it again.
    #[error("the schema changed under this local transaction")]
    SchemaChanged(Told),
    /// The connection has temporary tables, views or triggers, which could stand in for the real
    /// ones unnoticed.
    #[error(
        "the connection has temporary objects, and they could stand in for real ones: drop them"
    )]
    TemporaryObjects,
    /// A setting of the connection is not as AT mode needs it.
    #[error("{0}")]
    SessionSetting(&'static str),
    /// A row's primary key holds a NULL, so that nothing could find the row again.
    #[error("a row of `{table}` has a NULL in its primary key: declare the key NOT NULL")]
    NullKey {
        /// The table.
        table: String,
    },
    /// A lock key does not fit its encoding.
    #[error("a lock key of `{table}` cannot be encoded")]
    Key {
        /// The table.
        table: String,
        /// What does not fit.
        #[source]
        source: KeyError,
    },
    /// The resource's declared id is not one.
    #[error("{0}")]
    ResourceId(Malformed),
    /// The agent's tables are not as they must be; the message holds the DDL.
    #[error("{0}")]
    Tables(String),
    /// The database cannot be used for AT mode.
    #[error("{0}")]
    Unsuitable(&'static str),
    /// The database refused a statement. [`AtError::is_retryable`] tells a deadlock or the like from
    /// the rest.
    #[error(transparent)]
    Database(sqlx::Error),
}

impl AtError {
    /// The error of ours inside an error of sqlx.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Option<&AtError> {
        match error {
            sqlx::Error::AnyDriverError(inner) => inner.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the same local transaction may succeed when it is run again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            AtError::LockConflict { .. }
            | AtError::Busy(_)
            | AtError::LeftOpen
            | AtError::Drifted(_)
            | AtError::SchemaChanged(_) => true,
            AtError::Coordinator(error) => error.is_retryable(),
            AtError::LocalCommit(source) => source.downcast_ref().is_some_and(is_passing),
            AtError::Database(error) => is_passing(error),
            AtError::Refused(_)
            | AtError::DeadlinePassed
            | AtError::RolledBack
            | AtError::OutcomeUnknown
            | AtError::GuardedOutcomeUnknown(_)
            | AtError::UndoLogTooLarge { .. }
            | AtError::OnlyRollback { .. }
            | AtError::TemporaryObjects
            | AtError::SessionSetting(_)
            | AtError::NullKey { .. }
            | AtError::Key { .. }
            | AtError::ResourceId(_)
            | AtError::Tables(_)
            | AtError::Unsuitable(_) => false,
        }
    }

    /// Whether the database had the better of this local transaction, for certain without effect, so
    /// that running it again soon may cure it.
    pub(super) fn is_setback(&self) -> bool {
        match self {
            AtError::Drifted(_) | AtError::SchemaChanged(_) => true,
            AtError::Busy(_) | AtError::LocalCommit(_) | AtError::Database(_) => {
                self.is_retryable()
            }
            AtError::LockConflict { .. }
            | AtError::Coordinator(_)
            | AtError::Refused(_)
            | AtError::DeadlinePassed
            | AtError::RolledBack
            | AtError::OutcomeUnknown
            | AtError::GuardedOutcomeUnknown(_)
            | AtError::LeftOpen
            | AtError::UndoLogTooLarge { .. }
            | AtError::OnlyRollback { .. }
            | AtError::TemporaryObjects
            | AtError::SessionSetting(_)
            | AtError::NullKey { .. }
            | AtError::Key { .. }
            | AtError::ResourceId(_)
            | AtError::Tables(_)
            | AtError::Unsuitable(_) => false,
        }
    }

    /// The same error, and what sees whether it is still there, if a new run may cure it or begin with
    /// waiting for a lock.
    pub(super) fn watched(self) -> (AtError, Option<Watch>) {
        if !self.is_setback() && !matches!(self, AtError::LockConflict { .. }) {
            return (self, None);
        }
        match self {
            AtError::LockConflict { ref told, .. }
            | AtError::Drifted(ref told)
            | AtError::SchemaChanged(ref told) => {
                let watch = told.watch();
                (self, Some(watch))
            }
            AtError::Busy(error) => {
                let (error, watch) = told::watched(error);
                (AtError::Busy(error), Some(watch))
            }
            AtError::Database(sqlx::Error::Database(error)) => {
                let (error, watch) = told::watched_by_database(error);
                (AtError::Database(sqlx::Error::Database(error)), Some(watch))
            }
            AtError::Refused(_)
            | AtError::Coordinator(_)
            | AtError::DeadlinePassed
            | AtError::RolledBack
            | AtError::OutcomeUnknown
            | AtError::GuardedOutcomeUnknown(_)
            | AtError::LeftOpen
            | AtError::LocalCommit(_)
            | AtError::UndoLogTooLarge { .. }
            | AtError::OnlyRollback { .. }
            | AtError::TemporaryObjects
            | AtError::SessionSetting(_)
            | AtError::NullKey { .. }
            | AtError::Key { .. }
            | AtError::ResourceId(_)
            | AtError::Tables(_)
            | AtError::Unsuitable(_)
            | AtError::Database(_) => (self, None),
        }
    }

    /// What it is for one whose time is over: nobody waits any more for what kept it.
    pub(super) fn or_late(self, context: Option<&TransactionContext>) -> Self {
        let is_late = context.is_some_and(|context| context.remaining().is_zero());
        if is_late && matches!(self, AtError::Busy(_)) { AtError::DeadlinePassed } else { self }
    }

    /// The coordinator's code; each has a page in `docs/errors`. `None` if the coordinator did not
    /// say it.
    #[must_use]
    pub fn code(&self) -> Option<v1::ErrorCode> {
        match self {
            AtError::LockConflict { .. } => Some(v1::ErrorCode::LockConflict),
            AtError::Coordinator(error) => error.code(),
            AtError::Refused(_)
            | AtError::DeadlinePassed
            | AtError::RolledBack
            | AtError::OutcomeUnknown
            | AtError::GuardedOutcomeUnknown(_)
            | AtError::LeftOpen
            | AtError::LocalCommit(_)
            | AtError::Busy(_)
            | AtError::UndoLogTooLarge { .. }
            | AtError::OnlyRollback { .. }
            | AtError::Drifted(_)
            | AtError::SchemaChanged(_)
            | AtError::TemporaryObjects
            | AtError::SessionSetting(_)
            | AtError::NullKey { .. }
            | AtError::Key { .. }
            | AtError::ResourceId(_)
            | AtError::Tables(_)
            | AtError::Unsuitable(_)
            | AtError::Database(_) => None,
        }
    }

    pub(crate) fn from_db(error: DbError) -> Self {
        match error.failure {
            Failure::Busy => AtError::Busy(Box::new(error)),
            Failure::Unique | Failure::Constraint | Failure::Statement | Failure::Other => {
                AtError::Database(error.into_sqlx())
            }
        }
    }

    /// What keeps a database from XA, where AT would fall back to it.
    pub(crate) fn from_xa(error: XaError) -> Self {
        match error {
            XaError::Coordinator(error) => error.into(),
            XaError::Database(error) => AtError::Database(error),
            XaError::Busy(source) => AtError::Busy(source),
            XaError::Unsuitable(why) => AtError::Unsuitable(why),
            other => AtError::Tables(other.to_string()),
        }
    }

    pub(crate) fn from_key(problem: KeyProblem, table: &str) -> Self {
        let table = table.to_owned();
        match problem {
            KeyProblem::NullKey => AtError::NullKey { table },
            KeyProblem::Encoding(source) => AtError::Key { table, source },
        }
    }
}

impl From<CallError> for AtError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) if error.code() == v1::ErrorCode::LockConflict => {
                AtError::LockConflict {
                    holder: error.holder,
                    retry_after: Duration::from_millis(u64::from(error.retry_after_ms)),
                    told: Told::default(),
                }
            }
            CallError::Refused(_) | CallError::NoAnswer(_) => AtError::Coordinator(error),
        }
    }
}

impl From<TablesError> for AtError {
    fn from(error: TablesError) -> Self {
        match error {
            TablesError::Db(error) => AtError::from_db(error),
            TablesError::Missing { .. }
            | TablesError::Version { .. }
            | TablesError::Malformed(_) => AtError::Tables(error.to_string()),
        }
    }
}

impl From<AtError> for sqlx::Error {
    fn from(error: AtError) -> Self {
        match error {
            AtError::Database(error) => error,
            error => sqlx::Error::AnyDriverError(Box::new(error)),
        }
    }
}

/// Takes an error of ours out of sqlx's again, so that `?` works on both in one function.
impl From<sqlx::Error> for AtError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::AnyDriverError(inner) => match inner.downcast::<AtError>() {
                Ok(error) => *error,
                Err(inner) => AtError::Database(sqlx::Error::AnyDriverError(inner)),
            },
            error => AtError::Database(error),
        }
    }
}
