//! How a transaction is ended: what is asked, and what the answers mean.
//!
//! Two sides that must not be mixed up. Once a commit was *asked for*, only the coordinator knows:
//! silence is in doubt. As long as it was not, nobody else can commit, so it will roll back whatever
//! is lost; silence then costs time, not certainty.

use pactum_core::transaction::RollbackCause;
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use tokio::time::{Instant, sleep};

use super::options::Wait;
use super::outcome::Outcome;
use crate::context::TransactionContext;
use crate::session::{CallError, Session, wire};

/// The pause between two questions for an end that the coordinator itself already waited for.
const COMPLETION_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// A transaction, and the session to its coordinator.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) session: Session,
    pub(super) context: TransactionContext,
    pub(super) wait: Wait,
}

impl Ending {
    /// Asks for the commit until there is an answer or the patience ends. An error is *in doubt*.
    pub(super) async fn commit(&self) -> Result<Outcome, CallError> {
        let done = self.context.done_branches();
        let request = Request::Commit(v1::CommitRequest {
            xid: self.context.xid().to_string(),
            store_id: wire::store(&self.context),
            done_branch_ids: done.into_iter().map(|branch| branch.0).collect(),
            wait: self.wait.to_wire().into(),
            delegate_to: 0,
        });
        self.decided(request).await
    }

    /// Asks for the rollback. Only for a transaction whose commit was never asked for.
    pub(super) async fn roll_back(&self) -> Outcome {
        let request = Request::Rollback(v1::RollbackRequest {
            xid: self.context.xid().to_string(),
            store_id: wire::store(&self.context),
            wait: self.wait.to_wire().into(),
        });
        let answer = self.decided(request).await;
        self.or_without_commit(answer, RollbackCause::Requested)
    }

    /// Asks for the rollback because of a veto. Only for a transaction whose commit was never asked
    /// for.
    pub(super) async fn veto(&self, reason: &str) -> Outcome {
        self.context.record_veto(reason);
        let until = Instant::now() + self.session.answer_wait_max();
        let answer = self.session.ask_veto(&self.context, reason, until).await.and_then(decided);
        self.or_without_commit(answer, RollbackCause::Vetoed)
    }

    /// Where it stands; `None` while it is not decided.
    pub(super) async fn look(&self, wait: Wait) -> Result<Option<Outcome>, CallError> {
        let request = Request::Get(v1::GetRequest {
            xid: self.context.xid().to_string(),
            store_id: wire::store(&self.context),
            wait: wait.to_wire().into(),
        });
        let until = Instant::now() + self.session.answer_wait_max();
        let outcome = self.session.ask_outcome(&self.context, request, until).await?;
        Ok(Outcome::from_wire(outcome))
    }

    /// Waits until every branch has confirmed, for as long as the coordinator answers.
    pub(super) async fn completed(&self) -> Result<Outcome, CallError> {
        loop {
            if let Some(outcome) = self.look(Wait::Completed).await?
                && outcome.completed
            {
                return Ok(outcome);
            }
            sleep(COMPLETION_PAUSE).await;
        }
    }

    async fn decided(&self, request: Request) -> Result<Outcome, CallError> {
        let until = Instant::now() + self.session.answer_wait_max();
        self.session.ask_outcome(&self.context, request, until).await.and_then(decided)
    }

    fn or_without_commit(
        &self,
        answer: Result<Outcome, CallError>,
        cause: RollbackCause,
    ) -> Outcome {
        answer.unwrap_or_else(|error| {
            tracing::warn!(
                txn.xid = %self.context.xid(), %error,
                "the coordinator was not told of a rollback: its deadline does it"
            );
            Outcome::without_commit(cause)
        })
    }
}

fn decided(wire: v1::Outcome) -> Result<Outcome, CallError> {
    let missing = || CallError::NoAnswer("it named no decision that this agent knows".to_owned());
    Outcome::from_wire(wire).ok_or_else(missing)
}
