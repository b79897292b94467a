//! The closure form: begin, run, and commit or roll back by what the closure returns.

use std::time::Duration;

use super::options::{BeginError, BeginOptions, Wait};
use super::outcome::Outcome;
use super::transaction::{GlobalTransaction, InDoubt, TransactionHandle};
use crate::context::TransactionContext;
use crate::session::Session;

/// A global transaction to be run: see [`Agent::global`](crate::Agent::global).
#[derive(Debug)]
#[must_use = "nothing happens before `run`"]
pub struct Global<'a> {
    session: &'a Session,
    name: &'a str,
    options: BeginOptions,
}

/// A transaction that committed.
#[derive(Debug)]
pub struct Finished<T> {
    /// What the closure returned.
    pub value: T,
    /// The decision, which is committed, and whether every branch has confirmed it.
    pub outcome: Outcome,
    /// To wait for the branches that have not.
    pub transaction: TransactionHandle,
}

/// Why a closure's work does not stand, or is not known to.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E> {
    /// No transaction was begun, and the closure did not run.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The closure failed, and its transaction rolls back.
    #[error("the work failed and is rolled back: {error}")]
    Work {
        /// What the closure returned.
        error: E,
        /// How far the rollback is.
        outcome: Outcome,
    },
    /// The closure succeeded, and its transaction rolls back all the same: a veto, the deadline, a
    /// deadlock.
    #[error("the work is rolled back: {:?}", .0.decision)]
    RolledBack(Outcome),
    /// The closure succeeded, and whether its transaction committed is not known.
    #[error(transparent)]
    InDoubt(#[from] InDoubt),
}

impl<E> RunError<E> {
    /// Whether running the whole again may succeed and cannot do the work twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            RunError::Begin(error) => error.is_retryable(),
            RunError::RolledBack(_) => true,
            // The first is for the caller to judge by its error, the second to be asked about first.
            RunError::Work { .. } | RunError::InDoubt(_) => false,
        }
    }

    /// The coordinator's refusal, where there was one; each code has a page in `docs/errors`.
    #[must_use]
    pub fn code(&self) -> Option<pactum_proto::v1::ErrorCode> {
        match self {
            RunError::Begin(error) => error.code(),
            RunError::InDoubt(error) => error.code(),
            RunError::Work { .. } | RunError::RolledBack(_) => None,
        }
    }
}

impl<'a> Global<'a> {
    pub(crate) fn new(session: &'a Session, name: &'a str) -> Self {
        Global { session, name, options: BeginOptions::default() }
    }

    /// After this time it rolls back unless it is decided. Default 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// How long the answer waits. Default [`Wait::Completed`].
    pub fn wait(mut self, wait: Wait) -> Self {
        self.options.wait = wait;
        self
    }

    /// Begins, runs `work` inside the transaction, and commits if it returns `Ok`. `Err`, a panic and
    /// dropping this future roll back.
    ///
    /// # Errors
    ///
    /// See [`RunError`]: only [`RunError::InDoubt`] leaves open what happened.
    pub async fn run<T, E, F>(
        self,
        work: impl FnOnce(TransactionContext) -> F,
    ) -> Result<Finished<T>, RunError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        if let Some(outer) = TransactionContext::current() {
            return Err(BeginError::InsideAnother(outer.xid().clone()).into());
        }
        let begun = GlobalTransaction::begin(self.session, self.name, self.options, None);
        let transaction = begun.await?;
        let handle = transaction.handle();
        let context = transaction.context().clone();
        let worked = context.clone().scope(async move { work(context).await }).await;
        match worked {
            Err(error) => Err(RunError::Work { error, outcome: transaction.rollback().await }),
            Ok(value) => {
                let outcome = transaction.commit().await?;
                if outcome.is_committed() {
                    Ok(Finished { value, outcome, transaction: handle })
                } else {
                    Err(RunError::RolledBack(outcome))
                }
            }
        }
    }
}
