//! A nested scope: what is done in it can be undone without the rest of its global transaction.
//!
//! To open one costs nothing, and to keep it neither: the coordinator hears of it with the branches.
//! To undo it is a durable decision of the coordinator, and the caller waits until the rows are
//! restored, because it may go on with the very same ones.
//!
//! Easy to get wrong: a scope that was left and cannot be undone must not be committed with the rest.
//! So what is around it is vetoed then; and where nobody can wait, the transaction's end does.

use pactum_core::transaction::SCOPE_DEPTH_MAX;
use pactum_proto::v1;
use tokio::time::{Instant, sleep};

use super::ending::COMPLETION_PAUSE;
use super::options::BeginError;
use crate::context::{OpenScope, TransactionContext, Undoing};
use crate::session::Session;

/// A part of a global transaction that its owner keeps or rolls back.
///
/// Dropped without either it is rolled back in the background; the transaction's commit waits for it.
#[derive(Debug)]
#[must_use = "a nested scope that is dropped is rolled back"]
pub struct NestedScope {
    session: Session,
    context: TransactionContext,
    /// Whether it has ended.
    ended: bool,
    /// Dropped after what `drop` starts is counted.
    _open: OpenScope,
}

/// What became of a scope that was rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeUndo {
    /// Its rows are as before; the transaction around it goes on.
    Undone,
    /// Not within the agent's `answer_wait_max`, so what is around it is vetoed and cannot commit.
    OuterVetoed {
        /// For people.
        reason: String,
    },
}

/// A scope was to be kept, and a veto in it rolled it back.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a nested scope is rolled back: {reason}")]
pub struct ScopeVetoed {
    /// The reason of the veto, for people.
    pub reason: String,
    /// How far that is.
    pub undo: ScopeUndo,
}

impl NestedScope {
    pub(crate) fn open(session: &Session, outer: &TransactionContext) -> Result<Self, BeginError> {
        let context = outer.nested(session.new_scope_id()).ok_or_else(|| BeginError::TooDeep {
            xid: outer.xid().clone(),
            depth_max: SCOPE_DEPTH_MAX,
        })?;
        let open = context.open_scope();
        Ok(NestedScope { session: session.clone(), context, ended: false, _open: open })
    }

    /// What travels: pass it to the code and the services whose work belongs to the scope.
    #[must_use]
    pub fn context(&self) -> &TransactionContext {
        &self.context
    }

    /// Makes the scope's work a part of what is around it. Asks nobody.
    ///
    /// # Errors
    ///
    /// A participant of the scope vetoed, so it is rolled back.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future rolls the scope back.
    pub async fn keep(mut self) -> Result<(), ScopeVetoed> {
        self.context.undone().await;
        match self.context.keep_scope() {
            Ok(()) => {
                self.ended = true;
                Ok(())
            }
            Err(reason) => Err(ScopeVetoed { reason, undo: self.rollback().await }),
        }
    }

    /// Rolls back what was done in the scope, and waits until it is undone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the request back: it is carried on in the background.
    pub async fn rollback(mut self) -> ScopeUndo {
        let undo = undo(&self.session, &self.context).await;
        self.ended = true;
        undo
    }
}

impl Drop for NestedScope {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (session, context) = (self.session.clone(), self.context.clone());
        // Counted before anyone can ask for the commit.
        let undoing: Undoing = context.undoing();
        self.session.spawn("scope-dropped", async move {
            undo(&session, &context).await;
            undoing.settle();
        });
    }
}

async fn undo(session: &Session, context: &TransactionContext) -> ScopeUndo {
    let until = Instant::now() + session.answer_wait_max();
    let scope = context.scope_id();
    let reason = loop {
        match session.rollback_scope(context, scope, v1::Wait::Completed).await {
            Ok(answer) if answer.transaction.status.is_decided() => {
                break "the global transaction rolls back".to_owned();
            }
            Ok(answer) if answer.undone => return ScopeUndo::Undone,
            Ok(_) if Instant::now() < until => sleep(COMPLETION_PAUSE).await,
            Ok(_) => break "it was not undone in time".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    tracing::warn!(
        txn.xid = %context.xid(), error = %reason,
        "a nested scope is not undone: what is around it must not commit"
    );
    let reason = format!("a nested scope could not be rolled back: {reason}");
    context.veto_outer(&reason);
    ScopeUndo::OuterVetoed { reason }
}
