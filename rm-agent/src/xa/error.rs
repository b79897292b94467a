//! What can go wrong in XA mode, and how it passes through sqlx.
//!
//! The executor's methods return `sqlx::Error`. What the database said passes unchanged; everything of
//! ours travels inside it, and [`XaError::of`] takes it out again.

use pactum_core::id::{BranchId, Malformed};
use pactum_proto::v1;

use crate::barrier::tables::TablesError;
use crate::db::{DbError, Failure, is_passing};
use crate::session::CallError;

/// An error of XA mode.
#[derive(Debug, thiserror::Error)]
pub enum XaError {
    /// There is no global transaction that the branch could belong to.
    #[error(
        "there is no global transaction here: begin one, or use `begin_in` with its context; for a \
         local transaction of its own use `bypass()`"
    )]
    NoGlobalTransaction,
    /// The statement would end or change the transaction that the agent keeps.
    #[error("{statement} is refused: {why}; {instead}")]
    Refused {
        /// What kind of statement it is.
        statement: String,
        /// Why.
        why: String,
        /// What to do instead.
        instead: String,
    },
    /// The coordinator refused, or could not be asked. Nothing was prepared.
    #[error("ask the coordinator")]
    Coordinator(#[source] CallError),
    /// The global transaction's deadline has passed: nothing may be prepared any more.
    #[error("the deadline of the global transaction has passed")]
    DeadlinePassed,
    /// The global transaction was rolled back before this branch began.
    #[error("the global transaction was rolled back before this branch began")]
    RolledBack,
    /// A statement waited for a lock for too long, and an earlier branch of the same global
    /// transaction is done in this database: it keeps its locks until the decision, so waiting
    /// for it would be for ever. Do all work on one database in one branch.
    #[error(
        "waited for a lock in vain, and branch {branch} of the same global transaction is done in \
         this database and keeps its locks until the decision: do all work on one database in one \
         local transaction"
    )]
    BlockedByOwnBranch {
        /// The earlier branch.
        branch: BranchId,
        /// What the database said.
        #[source]
        source: Box<sqlx::Error>,
    },
    /// An earlier statement failed in a way that leaves only a rollback.
    #[error("this branch can only be rolled back: {why}")]
    OnlyRollback {
        /// What happened.
        why: &'static str,
    },
    /// Nothing was prepared, for certain.
    #[error("the branch was not prepared, and is rolled back")]
    NotPrepared(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The prepare was sent, and its outcome could not be learned in time, or somebody else finished
    /// the branch. The global transaction was vetoed.
    #[error("whether the branch is prepared is not known; the global transaction was vetoed")]
    OutcomeUnknown,
    /// The pool handed out a connection with a transaction on it that somebody began and did not end.
    /// It is closed, which rolls that back; the branch did not begin.
    #[error(
        "a connection of the pool was not free: somebody began a transaction on it and did not end it"
    )]
    LeftOpen,
    /// Other local transactions keep what is needed here for too long.
    #[error("the database is busy")]
    Busy(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The resource's declared id is not one.
    #[error("{0}")]
    ResourceId(Malformed),
    /// The agent's tables are not as they must be; the message holds the DDL.
    #[error("{0}")]
    Tables(String),
    /// The database cannot be used for XA, and why.
    #[error("{0}")]
    Unsuitable(&'static str),
    /// The database refused a statement.
    #[error(transparent)]
    Database(sqlx::Error),
}

impl XaError {
    /// The error of ours inside an error of sqlx.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Option<&XaError> {
        match error {
            sqlx::Error::AnyDriverError(inner) => inner.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the same work may succeed when it is run again in a new branch.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            XaError::Busy(_) | XaError::LeftOpen => true,
            XaError::Coordinator(error) => error.is_retryable(),
            XaError::NotPrepared(source) => {
                source.downcast_ref::<DbError>().is_some_and(|error| error.failure == Failure::Busy)
            }
            XaError::Database(error) => is_passing(error),
            XaError::NoGlobalTransaction
            | XaError::Refused { .. }
            | XaError::DeadlinePassed
            | XaError::RolledBack
            | XaError::BlockedByOwnBranch { .. }
            | XaError::OnlyRollback { .. }
            | XaError::OutcomeUnknown
            | XaError::ResourceId(_)
            | XaError::Tables(_)
            | XaError::Unsuitable(_) => false,
        }
    }

    /// The coordinator's code; each has a page in `docs/errors`. `None` if the coordinator did not
    /// say it.
    #[must_use]
    pub fn code(&self) -> Option<v1::ErrorCode> {
        match self {
            XaError::Coordinator(error) => error.code(),
            XaError::NoGlobalTransaction
            | XaError::Refused { .. }
            | XaError::DeadlinePassed
            | XaError::RolledBack
            | XaError::BlockedByOwnBranch { .. }
            | XaError::OnlyRollback { .. }
            | XaError::NotPrepared(_)
            | XaError::OutcomeUnknown
            | XaError::LeftOpen
            | XaError::Busy(_)
            | XaError::ResourceId(_)
            | XaError::Tables(_)
            | XaError::Unsuitable(_)
            | XaError::Database(_) => None,
        }
    }

    pub(super) fn from_db(error: DbError) -> Self {
        match error.failure {
            Failure::Busy => XaError::Busy(Box::new(error)),
            Failure::Unique | Failure::Constraint | Failure::Statement | Failure::Other => {
                XaError::Database(error.into_sqlx())
            }
        }
    }
}

impl From<CallError> for XaError {
    fn from(error: CallError) -> Self {
        XaError::Coordinator(error)
    }
}

impl From<TablesError> for XaError {
    fn from(error: TablesError) -> Self {
        match error {
            TablesError::Db(error) => XaError::from_db(error),
            TablesError::Missing { .. }
            | TablesError::Version { .. }
            | TablesError::Malformed(_) => XaError::Tables(error.to_string()),
        }
    }
}

impl From<XaError> for sqlx::Error {
    fn from(error: XaError) -> Self {
        match error {
            XaError::Database(error) => error,
            error => sqlx::Error::AnyDriverError(Box::new(error)),
        }
    }
}

/// Takes an error of ours out of sqlx's again, so that `?` works on both in one function.
impl From<sqlx::Error> for XaError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::AnyDriverError(inner) => match inner.downcast::<XaError>() {
                Ok(error) => *error,
                Err(inner) => XaError::Database(sqlx::Error::AnyDriverError(inner)),
            },
            error => XaError::Database(error),
        }
    }
}
