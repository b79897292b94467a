//! Explicit handles: a transaction that its owner ends, one to look at, one that is in doubt.

use pactum_core::id::Xid;

use super::ending::Ending;
use super::hooks::HookList;
use super::options::{BeginError, BeginOptions, Wait};
use super::outcome::Outcome;
use crate::context::TransactionContext;
use crate::session::{CallError, Session};

/// A global transaction that this code began and must end.
///
/// Dropped without an end it is rolled back in the background.
#[derive(Debug)]
#[must_use = "a global transaction that is dropped is rolled back"]
pub struct GlobalTransaction {
    /// Taken when the end is asked for.
    ending: Option<Ending>,
}

impl GlobalTransaction {
    pub(crate) async fn begin(
        session: &Session,
        hooks: HookList,
        name: &str,
        options: BeginOptions,
        outer: Option<&Xid>,
    ) -> Result<Self, BeginError> {
        hooks.call("before begin", |hooks| hooks.before_begin(name));
        let begun = session.begin(name, options.timeout, outer).await.map_err(BeginError::from);
        hooks.call("after begin", |hooks| {
            hooks.after_begin(name, begun.as_ref().map(TransactionContext::xid));
        });
        let context = begun?;
        tracing::debug!(txn.xid = %context.xid(), name, "global transaction begun");
        let ending = Ending { session: session.clone(), context, wait: options.wait, hooks };
        Ok(GlobalTransaction { ending: Some(ending) })
    }

    /// The global transaction's id.
    #[must_use]
    pub fn xid(&self) -> &Xid {
        self.context().xid()
    }

    /// What travels: pass it to the code and the services that take part.
    #[must_use]
    pub fn context(&self) -> &TransactionContext {
        &self.ending().context
    }

    /// To look at the transaction after its end was asked for.
    #[must_use]
    pub fn handle(&self) -> TransactionHandle {
        TransactionHandle { ending: self.ending().clone() }
    }

    /// Asks for the commit, and answers what was decided: a commit may come back as rolled back, with
    /// the cause. A veto that came back from a participant is not overruled: then it rolls back.
    ///
    /// # Errors
    ///
    /// In doubt: the coordinator gave no definite answer within `answer_wait_max`. It may have
    /// committed, or will roll back; ask again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the request back: it is carried on in the background, and
    /// the outcome is what [`GlobalTransaction::handle`] says.
    pub async fn commit(mut self) -> Result<Outcome, InDoubt> {
        let mut asked = Asked::new(self.take(), End::Commit);
        let ended = asked.ending().end_by_commit().await;
        drop(asked.answered());
        ended
    }

    /// Asks for the rollback. If the coordinator does not answer, the transaction still rolls back,
    /// since nobody will ask for its commit; its branches then wait for the deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the request back: it is carried on in the background.
    pub async fn rollback(mut self) -> Outcome {
        roll_back(self.take(), None).await
    }

    /// As [`GlobalTransaction::rollback`], with cause *vetoed* and a reason for people.
    ///
    /// # Cancel safety
    ///
    /// That of [`GlobalTransaction::rollback`].
    pub async fn veto(mut self, reason: &str) -> Outcome {
        roll_back(self.take(), Some(reason.to_owned())).await
    }

    fn ending(&self) -> &Ending {
        self.ending.as_ref().expect("it is taken only by the methods that consume the transaction")
    }

    fn take(&mut self) -> Ending {
        self.ending.take().expect("it is taken only by the methods that consume the transaction")
    }
}

impl Drop for GlobalTransaction {
    fn drop(&mut self) {
        if let Some(ending) = self.ending.take() {
            tracing::debug!(txn.xid = %ending.context.xid(), "dropped unfinished: rolls back");
            drop(Asked::new(ending, End::Rollback(None)));
        }
    }
}

/// Which end was asked for.
#[derive(Debug)]
enum End {
    Commit,
    /// With the reason of a veto, for people.
    Rollback(Option<String>),
}

impl End {
    /// Asks again, for nobody.
    async fn carry_on(self, ending: &Ending) {
        match self {
            End::Commit => {
                let ended = ending.end_by_commit().await;
                tracing::debug!(?ended, "a commit ended without its caller");
            }
            End::Rollback(veto) => {
                let outcome = ending.end_by_rollback(veto.as_deref()).await;
                tracing::debug!(?outcome, "a rollback ended without its caller");
            }
        }
    }
}

async fn roll_back(ending: Ending, veto: Option<String>) -> Outcome {
    let mut asked = Asked::new(ending, End::Rollback(veto.clone()));
    let outcome = asked.ending().end_by_rollback(veto.as_deref()).await;
    drop(asked.answered());
    outcome
}

/// An end that was asked for. Dropped before its answer, it goes on without its caller: the request
/// may not even be on its way, and half of an intention must not be left to the deadline.
struct Asked(Option<(Ending, End)>);

impl Asked {
    fn new(ending: Ending, end: End) -> Self {
        Asked(Some((ending, end)))
    }

    fn ending(&self) -> &Ending {
        &self.0.as_ref().expect("it is taken only once, by `answered`").0
    }

    fn answered(&mut self) -> Ending {
        self.0.take().expect("it is taken only once, by `answered`").0
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some((ending, end)) = self.0.take().filter(|(ending, _)| !ending.context.is_left()) {
            let session = ending.session.clone();
            session.spawn("end-dropped", async move {
                end.carry_on(&Ending { wait: Wait::Decided, ..ending }).await;
            });
        }
    }
}

/// To look at a global transaction. Cheap to clone; ends nothing.
#[derive(Clone, Debug)]
pub struct TransactionHandle {
    ending: Ending,
}

impl TransactionHandle {
    /// The global transaction's id.
    #[must_use]
    pub fn xid(&self) -> &Xid {
        self.ending.context.xid()
    }

    /// Where it stands now; `None` while it is not decided.
    ///
    /// # Errors
    ///
    /// The coordinator did not answer, or does not know any more.
    pub async fn outcome(&self) -> Result<Option<Outcome>, CallError> {
        self.ending.look(Wait::Decided).await
    }

    /// Waits until every branch has confirmed the decision; as long as that takes, so a parked
    /// branch keeps it waiting for a person.
    ///
    /// # Errors
    ///
    /// The coordinator did not answer for `answer_wait_max`, or does not know any more.
    pub async fn completed(&self) -> Result<Outcome, CallError> {
        self.ending.completed().await
    }
}

/// A commit was asked for, and no definite answer came: it may have committed, or will roll back.
/// It is not *failed*: do not do the work again before [`InDoubt::ask`] has answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the outcome of global transaction `{}` is in doubt", .handle.xid())]
pub struct InDoubt {
    handle: TransactionHandle,
    #[source]
    reason: Box<CallError>,
}

impl InDoubt {
    pub(super) fn new(ending: Ending, reason: CallError) -> Self {
        tracing::warn!(txn.xid = %ending.context.xid(), error = %reason, "a commit is in doubt");
        InDoubt { handle: TransactionHandle { ending }, reason: Box::new(reason) }
    }

    /// The global transaction's id.
    #[must_use]
    pub fn xid(&self) -> &Xid {
        self.handle.xid()
    }

    /// To look at the transaction without repeating the request.
    #[must_use]
    pub fn handle(&self) -> &TransactionHandle {
        &self.handle
    }

    /// Why there is no answer.
    #[must_use]
    pub fn reason(&self) -> &CallError {
        &self.reason
    }

    /// The refusal's code; each has a page in `docs/errors`.
    #[must_use]
    pub fn code(&self) -> Option<pactum_proto::v1::ErrorCode> {
        self.reason.code()
    }

    /// Whether asking again may help: not if the coordinator lost or expired the transaction.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.reason.is_retryable()
    }

    /// Asks again. It repeats the request for the commit, which answers the decision that stands and
    /// otherwise takes it; so an answer is always definite.
    ///
    /// # Errors
    ///
    /// Still in doubt.
    pub async fn ask(&self) -> Result<Outcome, InDoubt> {
        let ending = &self.handle.ending;
        let reason = match ending.commit().await {
            Ok(outcome) => return Ok(outcome),
            Err(reason) => reason,
        };
        // A coordinator that refuses the request may still know how it ended, say by its deadline.
        if let CallError::Refused(_) = reason
            && let Ok(Some(outcome)) = ending.look(Wait::Decided).await
        {
            return Ok(outcome);
        }
        Err(InDoubt::new(ending.clone(), reason))
    }

    /// As [`InDoubt::ask`], then waits until every branch has confirmed.
    ///
    /// # Errors
    ///
    /// Still in doubt, or decided and the coordinator stopped answering.
    pub async fn completed(&self) -> Result<Outcome, InDoubt> {
        let outcome = self.ask().await?;
        if outcome.completed {
            return Ok(outcome);
        }
        let completed = self.handle.completed().await;
        completed.map_err(|reason| InDoubt::new(self.handle.ending.clone(), reason))
    }
}
