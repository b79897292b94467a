//! How a global transaction is begun, and how long its end is waited for.

use std::time::Duration;

use pactum_core::id::Xid;
use pactum_proto::v1;

use crate::session::CallError;

/// How long the answer to a commit or rollback waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Until the decision is durable; the branches follow.
    Decided,
    /// Until every branch has confirmed, at most the coordinator's `completion_wait` (2 s).
    #[default]
    Completed,
}

impl Wait {
    pub(crate) fn to_wire(self) -> v1::Wait {
        match self {
            Wait::Decided => v1::Wait::Decided,
            Wait::Completed => v1::Wait::Completed,
        }
    }
}

/// How a global transaction is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginOptions {
    /// After this time it rolls back unless it is decided. Default 60 s: far longer than a healthy
    /// transaction, and short enough that what a dead caller locked comes free. The coordinator
    /// refuses more than its `transaction_timeout_max`.
    pub timeout: Duration,
    /// How long the answers to `commit` and `rollback` wait. Default [`Wait::Completed`].
    pub wait: Wait,
}

impl Default for BeginOptions {
    fn default() -> Self {
        BeginOptions { timeout: Duration::from_secs(60), wait: Wait::default() }
    }
}

/// Why no global transaction was begun. Nothing was done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BeginError {
    /// The coordinator refused, or did not answer.
    #[error("begin a global transaction")]
    Call(#[from] CallError),
    /// [`Propagation::Never`](crate::Propagation::Never): the work must not run inside a global
    /// transaction.
    #[error("the running code is inside global transaction `{0}`, where this work must never run")]
    InsideAnother(Xid),
    /// [`Propagation::Mandatory`](crate::Propagation::Mandatory): the work runs only as a part of a
    /// global transaction.
    #[error("the running code is in no global transaction, and this work runs only inside one")]
    Outside,
    /// One nested scope too many: a recursion without an end, or without need.
    #[error(
        "global transaction `{xid}` has {depth_max} nested scopes in each other: that is the most"
    )]
    TooDeep {
        /// The transaction.
        xid: Xid,
        /// The most that there may be.
        depth_max: usize,
    },
}

impl BeginError {
    /// The refusal's code; each has a page in `docs/errors`.
    #[must_use]
    pub fn code(&self) -> Option<v1::ErrorCode> {
        match self {
            BeginError::Call(error) => error.code(),
            BeginError::InsideAnother(_) | BeginError::Outside | BeginError::TooDeep { .. } => None,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            BeginError::Call(error) => error.is_retryable(),
            BeginError::InsideAnother(_) | BeginError::Outside | BeginError::TooDeep { .. } => {
                false
            }
        }
    }
}
