//! The agent's stream to the coordinator.
//!
//! One bidirectional stream a process carries everything: requests of transaction managers and
//! branches, their answers, phase two, heartbeats. It is re-opened whenever it ends; what was under
//! way is asked again on the next stream, because every request may arrive more than once.
//!
//! ```text
//! calls.rs        what the rest of the agent calls; asks again until an answer or the caller's end
//! branch_calls.rs, outcome_calls.rs   the parts of it that branches call, and that ask for an outcome
//! saga_calls.rs   the part of it that starts declared sagas, and asks about them
//!   shared.rs     what callers and connection share: which link is up
//!   link.rs       one stream that is up: correlation, window, cancellation
//!     outbox.rs   the two queues to the stream, and their batches
//!   connect.rs    opens, settles and reads streams; heartbeats; back-off
//!   attachments.rs, lanes.rs   from pushed work to the participants, in batches
//!   reports.rs    phase-one reports, kept until they cannot matter any more
//!   ids.rs        branch ids, from blocks
//!   names.rs      numbers for transactions, from blocks
//!   offers.rs     what is offered to declared sagas, and not told yet
//!   wire.rs       conversions          environment.rs  randomness and the way to the coordinator
//!   tasks.rs      what runs beside its callers
//! ```

mod attachments;
mod branch_calls;
mod calls;
mod connect;
mod environment;
mod ids;
mod lanes;
mod link;
mod names;
mod offers;
mod outbox;
mod outcome_calls;
mod reports;
mod saga_calls;
mod shared;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod wire;

use std::time::Duration;

use pactum_core::id::{BranchId, ResourceId};
use pactum_core::lock::key::{EncodedKey, LockMode};
use pactum_core::transaction::{Action, BranchMode};
use pactum_proto::v1;

use crate::branch::{Answer, BranchKey, Work};

pub(crate) use calls::Session;
pub(crate) use environment::{DialEndpoint, Environment};
pub(crate) use outbox::Riding;
pub(crate) use outcome_calls::VETO_REASON_BYTES_MAX;
pub(crate) use outcome_calls::{Opinion, Question};

/// What the coordinator refused, or that it could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The coordinator's typed refusal: nothing was changed.
    #[error("{}", .0.message)]
    Refused(v1::Error),
    /// No answer: it may have happened or not.
    #[error("no answer from the coordinator: {0}")]
    NoAnswer(String),
}

impl CallError {
    /// The refusal's code; each has a page in `docs/errors`. `None` if there was no answer.
    #[must_use]
    pub fn code(&self) -> Option<v1::ErrorCode> {
        match self {
            CallError::Refused(error) => Some(error.code()),
            CallError::NoAnswer(_) => None,
        }
    }

    /// Whether the same call may succeed later, after local work was rolled back.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            CallError::NoAnswer(_) => true,
            CallError::Refused(error) => match error.code() {
                v1::ErrorCode::LimitReached
                | v1::ErrorCode::LockConflict
                | v1::ErrorCode::OutcomeUnknown
                | v1::ErrorCode::Unavailable => true,
                v1::ErrorCode::Unspecified
                | v1::ErrorCode::InvalidArgument
                | v1::ErrorCode::NotActive
                | v1::ErrorCode::UnknownTransaction
                | v1::ErrorCode::Expired
                | v1::ErrorCode::Foreign
                | v1::ErrorCode::UnknownBranch
                | v1::ErrorCode::BranchMismatch
                | v1::ErrorCode::NotAttached
                | v1::ErrorCode::ResourceBound
                | v1::ErrorCode::LostState
                | v1::ErrorCode::Internal
                | v1::ErrorCode::ProtocolVersion
                | v1::ErrorCode::ResourceBusy
                | v1::ErrorCode::NotResolvable
                | v1::ErrorCode::ScopeRolledBack
                | v1::ErrorCode::NotDelegable
                | v1::ErrorCode::InvalidDefinition
                | v1::ErrorCode::UnknownSaga
                | v1::ErrorCode::DefinitionTaken
                | v1::ErrorCode::UnknownAction
                | v1::ErrorCode::StepState => false,
            },
        }
    }
}

/// A branch to be registered.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) branch: BranchId,
    pub(crate) resource: ResourceId,
    pub(crate) mode: BranchMode,
    /// For TCC and saga: what phase two calls, and with what.
    pub(crate) action: Option<Action>,
    pub(crate) locks: Vec<(EncodedKey, LockMode)>,
    /// Zero: fail at once on a taken key.
    pub(crate) wait: Duration,
    pub(crate) holds_local_locks: bool,
    pub(crate) lock_only: bool,
    /// The claim this registration uses up.
    pub(crate) claim: Option<Claim>,
}

/// Keys that the coordinator keeps for a transaction that will run its local work again.
/// Released by the coordinator after `claim_keep_max`; by [`Session::release_claim`] at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim(pub(crate) u64);

/// A participant's phase two, as the session calls it: one a resource and mode. Every future may be dropped at
/// any await, and its work is then asked for again.
#[async_trait::async_trait]
pub(crate) trait Participant: Send + Sync + 'static {
    /// How much of what is neither a commit nor an action may run side by side.
    fn rollbacks_at_once(&self) -> usize;

    /// How many actions of declared sagas may run side by side; zero where there are none.
    fn actions_at_once(&self) -> usize {
        0
    }

    /// The actions that it offers to declared sagas, as long as nothing else is registered.
    fn offers(&self) -> Vec<v1::OfferedAction> {
        Vec::new()
    }

    /// Does a batch of commits and answers each. Called for one batch at a time.
    async fn commit(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)>;

    /// Does a rollback, runs an action, or answers how phase one ended. Never called for a branch of
    /// which the same is still under way.
    async fn settle(&self, work: Work) -> Answer;
}
