//! How a transaction is ended: what is asked, and what the answers mean.
//!
//! Two sides that must not be mixed up. Once a commit was *asked for*, only the coordinator knows:
//! silence is in doubt. As long as it was not, nobody else can commit, so it will roll back whatever
//! is lost; silence then costs time, not certainty.

use pactum_core::transaction::RollbackCause;
use pactum_proto::v1;
use pactum_proto::v1::client_frame::Frame as Request;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::hooks::HookList;
use super::options::Wait;
use super::outcome::Outcome;
use super::transaction::InDoubt;
use crate::context::{Closing, TransactionContext};
use crate::session::{CallError, Session, wire};

/// The pause between two questions for an end that the coordinator itself already waited for.
pub(super) const COMPLETION_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// A transaction, and the session to its coordinator.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) session: Session,
    pub(super) context: TransactionContext,
    pub(super) wait: Wait,
    pub(super) hooks: HookList,
}

impl Ending {
    /// Ends the transaction by a commit, or by a rollback if something vetoed. It may be dropped and
    /// called again.
    pub(super) async fn end_by_commit(&self) -> Result<Outcome, InDoubt> {
        // A scope that is being undone may turn out not to be, and is a veto then.
        self.context.undone().await;
        self.context.veto_if_a_scope_is_open();
        let open = match self.context.close() {
            Closing::Vetoed(reason) => return Ok(self.end_by_rollback(Some(&reason)).await),
            Closing::Plain => Vec::new(),
            Closing::WithOpenBranches(open) => open,
            Closing::Left => return Err(self.in_doubt("its end goes on by itself")),
        };
        self.hooks.call("before commit", |hooks| hooks.before_commit(self.context.xid()));
        if open.is_empty() {
            return self
                .told(self.commit().await.map_err(|reason| InDoubt::new(self.clone(), reason)));
        }
        let (answer, answered) = oneshot::channel();
        let ending = self.clone();
        self.session.spawn("one-phase-commit", async move {
            // The caller may be gone; the end is not.
            let _ = answer.send(ending.told(ending.commit_with(open).await));
        });
        answered.await.unwrap_or_else(|_| Err(self.in_doubt("its end did not come to its end")))
    }

    fn in_doubt(&self, reason: &str) -> InDoubt {
        InDoubt::new(self.clone(), CallError::NoAnswer(reason.to_owned()))
    }

    /// Lets the hooks hear how a commit ended.
    fn told(&self, ended: Result<Outcome, InDoubt>) -> Result<Outcome, InDoubt> {
        self.hooks.call("after commit", |hooks| {
            hooks.after_commit(self.context.xid(), ended.as_ref());
        });
        ended
    }

    /// Ends the transaction by a rollback. It may be dropped and called again.
    pub(super) async fn end_by_rollback(&self, veto: Option<&str>) -> Outcome {
        self.hooks.call("before rollback", |hooks| {
            hooks.before_rollback(self.context.xid(), veto);
        });
        for open in self.context.take_delegatable() {
            open.executor.roll_back().await;
        }
        let outcome = match veto {
            Some(reason) => self.veto(reason).await,
            None => self.roll_back().await,
        };
        self.hooks.call("after rollback", |hooks| {
            hooks.after_rollback(self.context.xid(), &outcome);
        });
        outcome
    }

    /// Asks for the commit until there is an answer or the patience ends. An error is *in doubt*.
    pub(super) async fn commit(&self) -> Result<Outcome, CallError> {
        self.session.commit(&self.context, None, self.wait.to_wire()).await.and_then(decided)
    }

    /// Asks for the rollback. Only for a transaction whose commit was never asked for.
    pub(super) async fn roll_back(&self) -> Outcome {
        let request = Request::Rollback(v1::RollbackRequest {
            xid: self.context.xid_here().to_string(),
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
        // A veto is answered at once, whatever is to be waited for.
        if answer.as_ref().is_ok_and(|outcome| !outcome.completed)
            && self.wait == Wait::Completed
            && let Ok(Some(outcome)) = self.look(self.wait).await
        {
            return outcome;
        }
        self.or_without_commit(answer, RollbackCause::Vetoed)
    }

    /// Where it stands; `None` while it is not decided.
    pub(super) async fn look(&self, wait: Wait) -> Result<Option<Outcome>, CallError> {
        let request = Request::Get(v1::GetRequest {
            xid: self.context.xid_here().to_string(),
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
                txn.xid = %self.context.xid_here(), %error,
                "the coordinator was not told of a rollback: its deadline does it"
            );
            Outcome::without_commit(cause)
        })
    }
}

/// The decision in an answer that must have one.
pub(super) fn decided(wire: v1::Outcome) -> Result<Outcome, CallError> {
    let missing = || CallError::NoAnswer("it named no decision that this agent knows".to_owned());
    Outcome::from_wire(wire).ok_or_else(missing)
}
