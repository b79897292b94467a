//! What a run answers: its value or its error, and what became of the work.

use std::convert::Infallible;

use super::options::BeginError;
use super::outcome::Outcome;
use super::scope::{ScopeUndo, ScopeVetoed};
use super::transaction::{InDoubt, TransactionHandle};

/// A run whose closure succeeded, and whose work stands as far as the run can say.
#[derive(Debug)]
pub struct Finished<T> {
    /// What the closure returned.
    pub value: T,
    /// What that means.
    pub ended: Ended,
}

/// How a successful run ended.
#[derive(Debug)]
pub enum Ended {
    /// Its own transaction committed.
    Committed {
        /// The decision, which is committed, and whether every branch has confirmed it.
        outcome: Outcome,
        /// To wait for the branches that have not.
        transaction: TransactionHandle,
    },
    /// It is a part of the transaction that it joined, or in which it was nested: whose manager
    /// decides, later.
    Joined,
    /// It ran without a transaction: what it did is done.
    NoTransaction,
}

impl<T> Finished<T> {
    /// What was decided of the run's own transaction; `None` if it had none.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.ended {
            Ended::Committed { outcome, .. } => Some(*outcome),
            Ended::Joined | Ended::NoTransaction => None,
        }
    }

    /// To look at the run's own transaction; `None` if it had none.
    #[must_use]
    pub fn transaction(&self) -> Option<&TransactionHandle> {
        match &self.ended {
            Ended::Committed { transaction, .. } => Some(transaction),
            Ended::Joined | Ended::NoTransaction => None,
        }
    }
}

/// Why a closure's work does not stand, or is not known to; or that it failed and yet stands.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E> {
    /// No transaction was begun or joined, and the closure did not run.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The closure failed.
    #[error("the work failed{}: {error}", .fate.in_words())]
    Work {
        /// What the closure returned.
        error: E,
        /// What becomes of what it did before it failed.
        fate: Fate,
    },
    /// The closure succeeded, and its transaction rolls back all the same: a veto, the deadline, a
    /// deadlock.
    #[error("the work is rolled back: {:?}", .0.decision)]
    RolledBack(Outcome),
    /// The closure succeeded, and its nested scope is rolled back all the same.
    #[error(transparent)]
    ScopeVetoed(#[from] ScopeVetoed),
    /// The closure succeeded, and whether its transaction committed is not known.
    #[error(transparent)]
    InDoubt(#[from] InDoubt),
}

/// What a run adds of its own to the errors of its closure. An error type that is `From` it can be
/// returned by [`RunError::flatten`] and by a function with
/// [`#[global_transaction]`](macro@crate::global_transaction).
pub type TransactionError = RunError<Infallible>;

/// What becomes of the work of a closure that failed.
#[derive(Debug)]
pub enum Fate {
    /// Its own transaction rolls back.
    RolledBack(Outcome),
    /// A rule of the run let its own transaction commit in spite of the error.
    Committed(Outcome),
    /// Its nested scope was rolled back.
    Scope(ScopeUndo),
    /// The transaction or scope that it joined is vetoed, and will not commit.
    OuterVetoed,
    /// A rule of the run let it stand, as a part of the transaction that it joined.
    Joined,
    /// It ran without a transaction: what it did is done.
    NoTransaction,
    /// A rule of the run was to let it stand, and it rolls back all the same or is in doubt.
    DoesNotStand(Box<TransactionError>),
}

impl Fate {
    fn in_words(&self) -> &'static str {
        match self {
            Fate::RolledBack(_) | Fate::Scope(ScopeUndo::Undone) => " and is rolled back",
            Fate::Committed(_) => ", and what it did is committed by rule",
            Fate::OuterVetoed | Fate::Scope(ScopeUndo::OuterVetoed { .. }) => {
                ", and the transaction around it rolls back"
            }
            Fate::Joined => ", and what it did stands by rule",
            Fate::NoTransaction => " outside of any global transaction",
            Fate::DoesNotStand(_) => ", and what was to stand by rule does not",
        }
    }
}

impl<E> RunError<E> {
    /// Whether running the whole again may succeed and cannot do the work twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            RunError::Begin(error) => error.is_retryable(),
            RunError::RolledBack(_) => true,
            RunError::ScopeVetoed(vetoed) => vetoed.undo == ScopeUndo::Undone,
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
            RunError::Work { .. } | RunError::RolledBack(_) | RunError::ScopeVetoed(_) => None,
        }
    }

    /// One error type for both: the closure's own error as it is, and what the transaction adds
    /// converted. If a rule was to let the failed work stand and it does not, this is what is returned
    /// in place of the closure's error.
    #[must_use]
    pub fn flatten(self) -> E
    where
        E: From<TransactionError>,
    {
        match self {
            RunError::Work { fate: Fate::DoesNotStand(why), .. } => (*why).into(),
            RunError::Work { error, .. } => error,
            RunError::Begin(error) => TransactionError::Begin(error).into(),
            RunError::RolledBack(outcome) => TransactionError::RolledBack(outcome).into(),
            RunError::ScopeVetoed(vetoed) => TransactionError::ScopeVetoed(vetoed).into(),
            RunError::InDoubt(in_doubt) => TransactionError::InDoubt(in_doubt).into(),
        }
    }
}
