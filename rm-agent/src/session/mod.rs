//! The agent's stream to the coordinator. (Contract only so far: the bodies are being written.)

use std::time::Duration;

use pactum_core::id::{BranchId, ResourceId, ResourceUid};
use pactum_core::lock::key::{EncodedKey, LockMode};
use pactum_proto::v1;

use crate::branch::{Answer, BranchKey, Work};
use crate::context::TransactionContext;

/// What the coordinator refused, or that it could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The coordinator's typed refusal: nothing was changed.
    #[error("{}", .0.message)]
    Refused(v1::Error),
    /// No answer: it may have happened or not.
    #[error("no answer from the coordinator: {0}")]
    NoAnswer(String),
}

/// A branch to be registered.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) branch: BranchId,
    pub(crate) resource: ResourceId,
    pub(crate) mode: v1::BranchMode,
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

/// A participant's phase two, as the session calls it: one a resource.
#[async_trait::async_trait]
pub(crate) trait Participant: Send + Sync + 'static {
    /// Does the work of one batch and answers each. Called one batch at a time per resource and
    /// task kind; may be dropped at any await, and then asked again.
    async fn work(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)>;
}

/// The session of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Session;

#[allow(clippy::unused_async, clippy::todo, unused_variables, dead_code, reason = "contract only")]
impl Session {
    /// Attaches a database; repeated by itself after each reconnect. Refused if the binding is
    /// another one.
    pub(crate) async fn attach(
        &self,
        resource: ResourceId,
        uid: ResourceUid,
        participant: std::sync::Arc<dyn Participant>,
    ) -> Result<(), CallError> {
        todo!()
    }

    /// The next branch id from this session's block.
    pub(crate) async fn next_branch_id(&self) -> Result<BranchId, CallError> {
        todo!()
    }

    /// Registers a branch with its locks. Waits at most `registration.wait` for taken keys.
    ///
    /// Dropping the future gives up the wait; whether the branch was registered is then unknown, and
    /// the caller reports it as failed. `NoAnswer` means the same.
    pub(crate) async fn register(
        &self,
        context: &TransactionContext,
        registration: &Registration,
    ) -> Result<(), CallError> {
        todo!()
    }

    /// Waits in the queue for keys without a branch.
    pub(crate) async fn claim(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
    ) -> Result<Claim, CallError> {
        todo!()
    }

    /// Gives a claim back early. One-way.
    pub(crate) fn release_claim(&self, claim: Claim) {
        todo!()
    }

    /// Are these keys free, or held by `context`? Takes nothing.
    pub(crate) async fn check(
        &self,
        context: Option<&TransactionContext>,
        resource: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
        holds_local_locks: bool,
    ) -> Result<(), CallError> {
        todo!()
    }

    /// Says that a branch's local commit is done. One-way, sent at once, and repeated after each
    /// re-attach until phase two of the branch arrives. Also notes the branch in `context`.
    pub(crate) fn phase_one_done(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        branch: BranchId,
    ) {
        todo!()
    }

    /// Says that nothing of a branch was committed, for certain: its locks go. One-way, repeated
    /// like [`Session::phase_one_done`] until it is acknowledged.
    pub(crate) fn phase_one_failed(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        branch: BranchId,
    ) {
        todo!()
    }

    /// Vetoes the global transaction; if the coordinator cannot be told, notes it in `context` for the
    /// caller.
    pub(crate) async fn veto(&self, context: &TransactionContext, reason: &str) {
        todo!()
    }
}
