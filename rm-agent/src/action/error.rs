//! What can go wrong with an action, told in its own words.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use pactum_core::id::Malformed;
use pactum_proto::v1;

use crate::barrier::tables::TablesError;
use crate::branch::phase_one::Unregistered;
use crate::db::{DbError, Failure, is_passing};
use crate::session::CallError;

/// Why a try or a saga step's action did not take place. Unless it says otherwise, nothing of it is
/// left: its local transaction was rolled back.
#[derive(Debug)]
pub enum PhaseOneError<E> {
    /// The handler's own error.
    Handler(E),
    /// Everything else.
    Action(ActionError),
}

impl<E> PhaseOneError<E> {
    /// The handler's own error, if that is what it is.
    pub fn handler(self) -> Option<E> {
        match self {
            PhaseOneError::Handler(error) => Some(error),
            PhaseOneError::Action(_) => None,
        }
    }

    /// Whether the same call may succeed when it is made again. What a handler's own error means
    /// only the application knows.
    pub fn is_retryable(&self) -> bool {
        match self {
            PhaseOneError::Handler(_) => false,
            PhaseOneError::Action(error) => error.is_retryable(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for PhaseOneError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PhaseOneError::Handler(error) => error.fmt(f),
            PhaseOneError::Action(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> Error for PhaseOneError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            PhaseOneError::Handler(_) => None,
            PhaseOneError::Action(error) => error.source(),
        }
    }
}

impl<E> From<ActionError> for PhaseOneError<E> {
    fn from(error: ActionError) -> Self {
        PhaseOneError::Action(error)
    }
}

/// Why an action could not be registered, tried or run.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The coordinator refused the branch, or did not answer.
    #[error("the coordinator did not register the branch")]
    Coordinator(#[source] CallError),
    /// The running task belongs to no global transaction.
    #[error(
        "there is no global transaction to join: call it inside of one, or hand its context over"
    )]
    NoTransaction,
    /// The global transaction's deadline has passed, or the step's own time is over.
    #[error("its time is over: nothing new begins after the deadline")]
    DeadlinePassed,
    /// The branch was rolled back before its phase one came.
    #[error("the branch was rolled back already, so a late `{action}` is refused")]
    RolledBack {
        /// The action's name.
        action: &'static str,
    },
    /// The branch has a barrier row that this call did not write.
    #[error("`{action}` has run for this branch already, or its barrier row is none of its own")]
    Duplicate {
        /// The action's name.
        action: &'static str,
    },
    /// The local commit was sent and its outcome could not be learned in time. The global
    /// transaction was vetoed.
    #[error("the outcome of the local commit is not known; the global transaction was vetoed")]
    OutcomeUnknown,
    /// The local commit failed, for certain.
    #[error("the local commit failed")]
    LocalCommit(#[source] Box<dyn Error + Send + Sync>),
    /// Somebody else held the database for too long.
    #[error("the database is busy")]
    Busy(#[source] Box<dyn Error + Send + Sync>),
    /// The pool handed out a connection with a transaction on it that somebody began and did not end.
    /// It is closed, which rolls that back.
    #[error(
        "a connection of the pool was not free: somebody began a transaction on it and did not end it"
    )]
    LeftOpen,
    /// The handler panicked.
    #[error("`{action}` panicked: {message}")]
    Panicked {
        /// The action's name.
        action: &'static str,
        /// What it said.
        message: String,
    },
    /// The handler took too long.
    #[error("`{action}` did not end within {limit:?}")]
    TimedOut {
        /// The action's name.
        action: &'static str,
        /// `handler_wait_max`, the step's own limit, or what was left until the deadline.
        limit: Duration,
    },
    /// The barrier row was gone when the handler returned.
    #[error(
        "`{action}` ended the local transaction that it was given: its handler must not run COMMIT, \
         ROLLBACK or, on MySQL, any DDL"
    )]
    LocalTransactionEnded {
        /// The action's name.
        action: &'static str,
    },
    /// The context is too large.
    #[error(
        "the context of `{action}` has {bytes} bytes, more than {limit}: keep what is large in a \
         table of your own, or raise `context_bytes_max`"
    )]
    ContextTooLarge {
        /// The action's name.
        action: &'static str,
        /// How large it is as JSON.
        bytes: usize,
        /// `context_bytes_max`.
        limit: usize,
    },
    /// A context or result cannot be written as JSON.
    #[error("the context or result of `{action}` cannot be written as JSON")]
    Encode {
        /// The action's name.
        action: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A step ran before, and its kept result cannot be read as what the step returns now.
    #[error("the kept result of `{action}` cannot be read: {why}")]
    UnreadableResult {
        /// The action's name.
        action: &'static str,
        /// Why.
        why: String,
    },
    /// The connection finds another barrier than the agent's own connections.
    #[error(
        "the connection finds another `pactum_barrier` than the agent's own, or what it commits is \
         not durable: leave `search_path`, the selected database and `synchronous_commit` as the \
         pool's connect options set them, and have no temporary table of that name"
    )]
    Elsewhere,
    /// The name of an action is used already, or cannot be one.
    #[error("`{name}` cannot be registered: {why}")]
    Name {
        /// The action's name.
        name: &'static str,
        /// Why.
        why: &'static str,
    },
    /// The options are wrong.
    #[error("{0}")]
    Options(&'static str),
    /// The resource's declared id is not one.
    #[error("{0}")]
    ResourceId(Malformed),
    /// The agent's tables are not as they must be; the message holds the DDL.
    #[error("{0}")]
    Tables(String),
    /// The database cannot be used.
    #[error("{0}")]
    Unsuitable(&'static str),
    /// The database refused a statement of the agent's.
    #[error("the database refused a statement")]
    Database(#[source] Box<dyn Error + Send + Sync>),
}

impl ActionError {
    /// Whether the same call may succeed when it is made again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            ActionError::Coordinator(error) => error.is_retryable(),
            ActionError::Busy(_) | ActionError::LeftOpen | ActionError::TimedOut { .. } => true,
            ActionError::LocalCommit(source) | ActionError::Database(source) => {
                source.downcast_ref().is_some_and(is_passing)
            }
            ActionError::NoTransaction
            | ActionError::DeadlinePassed
            | ActionError::RolledBack { .. }
            | ActionError::Duplicate { .. }
            | ActionError::OutcomeUnknown
            | ActionError::Panicked { .. }
            | ActionError::LocalTransactionEnded { .. }
            | ActionError::ContextTooLarge { .. }
            | ActionError::Encode { .. }
            | ActionError::UnreadableResult { .. }
            | ActionError::Elsewhere
            | ActionError::Name { .. }
            | ActionError::Options(_)
            | ActionError::ResourceId(_)
            | ActionError::Tables(_)
            | ActionError::Unsuitable(_) => false,
        }
    }

    /// The coordinator's code; each has a page in `docs/errors`. `None` if the coordinator did not
    /// say it.
    #[must_use]
    pub fn code(&self) -> Option<v1::ErrorCode> {
        match self {
            ActionError::Coordinator(error) => error.code(),
            ActionError::NoTransaction
            | ActionError::DeadlinePassed
            | ActionError::RolledBack { .. }
            | ActionError::Duplicate { .. }
            | ActionError::OutcomeUnknown
            | ActionError::LocalCommit(_)
            | ActionError::Busy(_)
            | ActionError::LeftOpen
            | ActionError::Panicked { .. }
            | ActionError::TimedOut { .. }
            | ActionError::LocalTransactionEnded { .. }
            | ActionError::ContextTooLarge { .. }
            | ActionError::Encode { .. }
            | ActionError::UnreadableResult { .. }
            | ActionError::Elsewhere
            | ActionError::Name { .. }
            | ActionError::Options(_)
            | ActionError::ResourceId(_)
            | ActionError::Tables(_)
            | ActionError::Unsuitable(_)
            | ActionError::Database(_) => None,
        }
    }

    pub(crate) fn from_db(error: DbError) -> Self {
        match error.failure {
            Failure::Busy => ActionError::Busy(Box::new(error)),
            Failure::Unique | Failure::Constraint | Failure::Statement | Failure::Other => {
                ActionError::Database(error.source)
            }
        }
    }
}

impl From<CallError> for ActionError {
    fn from(error: CallError) -> Self {
        ActionError::Coordinator(error)
    }
}

impl From<Unregistered> for ActionError {
    fn from(error: Unregistered) -> Self {
        match error {
            Unregistered::Call(error) => ActionError::Coordinator(error),
            Unregistered::DeadlinePassed => ActionError::DeadlinePassed,
        }
    }
}

impl From<TablesError> for ActionError {
    fn from(error: TablesError) -> Self {
        match error {
            TablesError::Db(error) => ActionError::from_db(error),
            TablesError::Missing { .. }
            | TablesError::Version { .. }
            | TablesError::Malformed(_) => ActionError::Tables(error.to_string()),
        }
    }
}
