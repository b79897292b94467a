//! What a branch of any mode asks of the coordinator: the session's calls, as a seam.
//!
//! The session is one implementor; the other is an in-memory coordinator for tests and, later, the
//! simulator.

#[cfg(test)]
pub(crate) mod fake;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pactum_core::id::{BranchId, ResourceId, ResourceUid, StoreId, Xid};
use pactum_core::lock::key::{EncodedKey, LockMode};
use pactum_core::step::Outcome;
use pactum_core::transaction::BranchMode;

use crate::context::TransactionContext;
use crate::session::{CallError, Claim, Participant, Registration, Session};

/// See the methods of the same names of [`Session`].
#[async_trait]
pub(crate) trait Link: Debug + Send + Sync + 'static {
    async fn attach(
        &self,
        resource: ResourceId,
        uid: ResourceUid,
        modes: Vec<(BranchMode, Arc<dyn Participant>)>,
    ) -> Result<(), CallError>;
    fn offer(&self, resource: &ResourceId);
    async fn next_branch_id(&self) -> Result<BranchId, CallError>;
    async fn register(
        &self,
        context: &TransactionContext,
        registration: &Registration,
    ) -> Result<(), CallError>;
    async fn claim(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
    ) -> Result<Claim, CallError>;
    fn release_claim(&self, claim: Claim);
    async fn check(
        &self,
        context: Option<&TransactionContext>,
        resource: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
        holds_local_locks: bool,
    ) -> Result<(), CallError>;
    fn phase_one_done(&self, context: &TransactionContext, resource: &ResourceId, branch: BranchId);
    fn phase_one_failed(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        branch: BranchId,
    );
    async fn veto(&self, context: &TransactionContext, reason: &str);
    async fn outcome_of(&self, xid: &Xid, store: StoreId) -> Result<Outcome, CallError>;
}

#[async_trait]
impl Link for Session {
    async fn attach(
        &self,
        resource: ResourceId,
        uid: ResourceUid,
        modes: Vec<(BranchMode, Arc<dyn Participant>)>,
    ) -> Result<(), CallError> {
        Session::attach_modes(self, resource, Some(uid), modes).await
    }

    fn offer(&self, resource: &ResourceId) {
        Session::offer(self, resource);
    }

    async fn next_branch_id(&self) -> Result<BranchId, CallError> {
        Session::next_branch_id(self).await
    }

    async fn register(
        &self,
        context: &TransactionContext,
        registration: &Registration,
    ) -> Result<(), CallError> {
        Session::register(self, context, registration).await
    }

    async fn claim(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
    ) -> Result<Claim, CallError> {
        Session::claim(self, context, resource, locks, wait).await
    }

    fn release_claim(&self, claim: Claim) {
        Session::release_claim(self, claim);
    }

    async fn check(
        &self,
        context: Option<&TransactionContext>,
        resource: &ResourceId,
        locks: &[(EncodedKey, LockMode)],
        wait: Duration,
        holds_local_locks: bool,
    ) -> Result<(), CallError> {
        Session::check(self, context, resource, locks, wait, holds_local_locks).await
    }

    fn phase_one_done(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        branch: BranchId,
    ) {
        Session::phase_one_done(self, context, resource, branch);
    }

    fn phase_one_failed(
        &self,
        context: &TransactionContext,
        resource: &ResourceId,
        branch: BranchId,
    ) {
        Session::phase_one_failed(self, context, resource, branch);
    }

    async fn veto(&self, context: &TransactionContext, reason: &str) {
        Session::veto(self, context, reason).await;
    }

    async fn outcome_of(&self, xid: &Xid, store: StoreId) -> Result<Outcome, CallError> {
        Session::outcome_of(self, xid, store).await
    }
}
