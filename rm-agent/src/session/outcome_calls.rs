//! What is answered by where a transaction or a nested scope of it stands: its end, a veto, or only
//! the question. And what participants think before anything is tried.

use std::time::Duration;

use pactum_core::id::{BranchId, ResourceId, ScopeId, StoreId, Xid};
use pactum_core::step::Outcome;
use pactum_core::transaction::{Action, BranchMode};
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use pactum_proto::v1::server_frame::Frame as Answer;
use tokio::time::Instant;

use super::calls::{Session, unexpected};
use super::link::Answered;
use super::outbox::Urgency;
use super::{CallError, wire};
use crate::context::TransactionContext;

/// How long a veto may hold up the answer that it belongs to. 2 s: the header carries it otherwise.
const VETO_WAIT_MAX: Duration = Duration::from_secs(2);
/// The longest reason of a veto that the wire takes.
pub(crate) const VETO_REASON_BYTES_MAX: usize = 512;

/// Where a nested scope stands that was to roll back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopeOutcome {
    /// Whether all of it is undone. If not yet, ask again.
    pub(crate) undone: bool,
    /// Where the transaction stands. If it is not active any more, it rolls back as a whole.
    pub(crate) transaction: Outcome,
}

/// Could this action succeed, as things are?
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) resource: ResourceId,
    pub(crate) mode: BranchMode,
    /// For TCC and saga.
    pub(crate) action: Option<Action>,
}

/// What participants think of the actions that were named. Advice: nothing is reserved by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opinion {
    /// Nobody sees what would stand in the way.
    Yes,
    /// This one cannot succeed.
    No { resource: String, action: String, reason: String },
    /// This one could not be asked, or did not answer in time. That is not a no.
    Unknown { resource: String, action: String, reason: String },
}

impl Session {
    /// Asks for the commit. With `delegate_to`, that the one-phase commit of this branch decides: the
    /// answer *delegated* means that this is durable, and the branch may commit. A refusal with
    /// [`v1::ErrorCode::NotDelegable`] changed nothing: prepare the branch, then commit without.
    pub(crate) async fn commit(
        &self,
        context: &TransactionContext,
        delegate_to: Option<BranchId>,
        wait: v1::Wait,
    ) -> Result<v1::Outcome, CallError> {
        let done = context.done_branches();
        let request = Request::Commit(v1::CommitRequest {
            xid: context.xid_here().to_string(),
            store_id: wire::store(context),
            done_branch_ids: done.into_iter().map(|branch| branch.0).collect(),
            wait: wait.into(),
            delegate_to: delegate_to.map_or(0, |branch| branch.0),
        });
        let until = Instant::now() + self.answer_wait_max();
        self.ask_outcome(context, request, until).await
    }

    /// Rolls back a nested scope durably, and with [`v1::Wait::Completed`] waits for it to be undone,
    /// as long as the coordinator waits. May be repeated.
    ///
    /// # Errors
    /// No answer means that the scope may be rolled back or not; a refusal with an outcome, that the
    /// transaction is decided to commit.
    pub(crate) async fn rollback_scope(
        &self,
        context: &TransactionContext,
        scope: ScopeId,
        wait: v1::Wait,
    ) -> Result<ScopeOutcome, CallError> {
        let request = Request::RollbackScope(v1::RollbackScopeRequest {
            xid: context.xid_here().to_string(),
            store_id: wire::store(context),
            scope: scope.0,
            wait: wait.into(),
        });
        let until = Instant::now() + self.answer_wait_max();
        let store = Some(context.store_id());
        let scope = match self.call(Urgency::Decision, request, store, until).await?.frame {
            Answer::Scope(scope) => scope,
            other => return Err(unexpected(&other)),
        };
        let undone = match scope.status() {
            v1::ScopeStatus::RolledBack => true,
            v1::ScopeStatus::RollingBack => false,
            v1::ScopeStatus::Unspecified => return Err(unclear()),
        };
        let transaction = Outcome::try_from(scope.transaction.unwrap_or_default());
        let transaction = transaction.map_err(|_| unclear())?;
        if transaction.status.is_decided() {
            self.shared().reports.decided(context.xid_here());
        }
        Ok(ScopeOutcome { undone, transaction })
    }

    /// Asks the participants of actions whether these have a chance, before any of them is tried.
    pub(crate) async fn can_commit(
        &self,
        context: &TransactionContext,
        questions: &[Question],
    ) -> Result<Opinion, CallError> {
        let request = Request::CanCommit(v1::CanCommitRequest {
            xid: context.xid_here().to_string(),
            store_id: wire::store(context),
            questions: questions.iter().map(wire::question).collect(),
        });
        let until = Instant::now() + self.answer_wait_max();
        let store = Some(context.store_id());
        match self.call(Urgency::Entry, request, store, until).await?.frame {
            Answer::Opinion(opinion) => wire::opinion(opinion).ok_or_else(unclear),
            other => Err(unexpected(&other)),
        }
    }

    /// Vetoes the global transaction, durably if the coordinator can be told in time. Notes it in
    /// `context` in any case, for the caller: the calling side then refuses to commit.
    pub(crate) async fn veto(&self, context: &TransactionContext, reason: &str) {
        context.record_veto(reason);
        let until = Instant::now() + VETO_WAIT_MAX;
        if let Err(error) = self.ask_veto(context, reason, until).await {
            tracing::warn!(
                txn.xid = %context.xid_here(), %error,
                "the coordinator could not be told of a veto: the caller is"
            );
        }
    }

    /// Asks for the veto, and answers where the transaction stands.
    pub(crate) async fn ask_veto(
        &self,
        context: &TransactionContext,
        reason: &str,
        until: Instant,
    ) -> Result<v1::Outcome, CallError> {
        let request = Request::Veto(v1::VetoRequest {
            xid: context.xid_here().to_string(),
            store_id: wire::store(context),
            scopes: wire::scopes(context),
            reason: reason[..reason.floor_char_boundary(VETO_REASON_BYTES_MAX)].to_owned(),
        });
        self.ask_outcome(context, request, until).await
    }

    /// Asks what is answered by an outcome: a decision, or where a transaction stands.
    pub(crate) async fn ask_outcome(
        &self,
        context: &TransactionContext,
        request: Request,
        until: Instant,
    ) -> Result<v1::Outcome, CallError> {
        self.ask_outcome_in(context.xid_here(), context.store_id(), request, until).await
    }

    /// Asks where a transaction stands that nobody here may have the context of. An answer that this
    /// agent does not understand is no answer.
    pub(crate) async fn outcome_of(&self, xid: &Xid, store: StoreId) -> Result<Outcome, CallError> {
        let request = Request::Get(v1::GetRequest {
            xid: xid.to_string(),
            store_id: store.to_bytes().to_vec().into(),
            wait: v1::Wait::Decided.into(),
        });
        let until = Instant::now() + self.answer_wait_max();
        let outcome = self.ask_outcome_in(xid, store, request, until).await?;
        Outcome::try_from(outcome).map_err(|_| unclear())
    }

    async fn ask_outcome_in(
        &self,
        xid: &Xid,
        store: StoreId,
        request: Request,
        until: Instant,
    ) -> Result<v1::Outcome, CallError> {
        let outcome = match self.call(Urgency::Decision, request, Some(store), until).await {
            Ok(Answered { frame: Answer::Outcome(outcome), .. }) => outcome,
            Ok(other) => return Err(unexpected(&other.frame)),
            // A refusal that says where the transaction stands answers the question.
            Err(CallError::Refused(v1::Error { outcome: Some(outcome), .. })) => outcome,
            Err(error) => return Err(error),
        };
        if Outcome::try_from(outcome).is_ok_and(|outcome| outcome.status.is_decided()) {
            self.shared().reports.decided(xid);
        }
        Ok(outcome)
    }
}

fn unclear() -> CallError {
    CallError::NoAnswer("it named a status that is not known here".to_owned())
}
