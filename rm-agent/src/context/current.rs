//! Which global transaction the running task is in.
//!
//! It is bound for the time of a future, never set and unset: so it ends with the future however that
//! ends, and nothing leaks into what a thread does next.

use std::future::Future;

use pactum_core::id::Xid;

use super::TransactionContext;

tokio::task_local! {
    static CURRENT: Current;
}

#[derive(Clone, Debug)]
enum Current {
    In(TransactionContext),
    /// In none, and this one goes on when the code that runs has ended.
    Suspended(Suspended),
}

/// The global transaction that is suspended while code runs outside of it: see
/// [`TransactionContext::suspended`].
#[derive(Clone, Debug)]
pub struct Suspended(Option<TransactionContext>);

impl Suspended {
    /// The suspended transaction; `None` if there was none.
    #[must_use]
    pub fn context(&self) -> Option<&TransactionContext> {
        self.0.as_ref()
    }

    /// Runs `future` inside the suspended transaction, in the midst of what runs outside; if there was
    /// none, without one.
    pub async fn resume<F: Future>(&self, future: F) -> F::Output {
        match &self.0 {
            Some(context) => context.clone().scope(future).await,
            None => future.await,
        }
    }
}

impl TransactionContext {
    /// The context of the running task, if it has one.
    #[must_use]
    pub fn current() -> Option<TransactionContext> {
        CURRENT
            .try_with(|current| match current {
                Current::In(context) => Some(context.clone()),
                Current::Suspended(_) => None,
            })
            .ok()
            .flatten()
    }

    /// Runs `future` inside this global transaction: what it does through an agent's pool joins it.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(Current::In(self), future).await
    }

    /// Runs `work` outside of every global transaction: the running task's, if it has one, is
    /// suspended, and resumed when the future ends, panics or is dropped. The suspended one keeps its
    /// locks meanwhile: to wait for one of them from here is to wait for oneself.
    ///
    /// ```
    /// # use pactum_agent::TransactionContext;
    /// # async fn example() {
    /// let audit = TransactionContext::suspended(async |outer| {
    ///     assert!(TransactionContext::current().is_none());
    ///     // … what is written here stays, whatever becomes of `outer` …
    ///     outer.resume(async { TransactionContext::current() }).await
    /// });
    /// # audit.await;
    /// # }
    /// ```
    pub async fn suspended<F: Future>(work: impl FnOnce(Suspended) -> F) -> F::Output {
        let outer = Suspended(TransactionContext::current().or_else(suspended));
        CURRENT.scope(Current::Suspended(outer.clone()), async move { work(outer).await }).await
    }

    /// Runs `work` inside this global transaction, without waiting.
    pub(crate) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(Current::In(self), work)
    }
}

fn suspended() -> Option<TransactionContext> {
    CURRENT
        .try_with(|current| match current {
            Current::In(_) => None,
            Current::Suspended(outer) => outer.0.clone(),
        })
        .ok()
        .flatten()
}

/// The transaction that goes on only when the running code has ended: to wait for its locks from a
/// transaction begun here would be to wait for oneself.
pub(crate) fn waiting_xid() -> Option<Xid> {
    TransactionContext::current().or_else(suspended).map(|outer| outer.xid().clone())
}
