//! The global transaction that the running code belongs to.
//!
//! A [`TransactionContext`] is what travels: the XID and the remaining time go with each call to
//! another service, the finished branches and a veto come back with its answer. Code passes it
//! explicitly, or lets [`TransactionContext::scope`] carry it with the task.
//!
//! Easy to get wrong: a task that is spawned does not inherit the context; hand it over.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pactum_core::id::{BranchId, ScopeId, StoreId, Xid};
use tokio::time::Instant;

tokio::task_local! {
    static CURRENT: TransactionContext;
}

/// A global transaction, as one participant or its manager sees it. Cheap to clone; all clones
/// share what they record.
#[derive(Clone, Debug)]
pub struct TransactionContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    xid: Xid,
    store_id: StoreId,
    scope: ScopeId,
    deadline: Instant,
    record: Mutex<Record>,
}

/// What is to be told to the transaction manager.
#[derive(Debug, Default)]
struct Record {
    done: Vec<BranchId>,
    veto: Option<String>,
}

impl TransactionContext {
    /// A context for a transaction whose remaining time is known.
    pub(crate) fn new(xid: Xid, store_id: StoreId, remaining: Duration) -> Self {
        TransactionContext(Arc::new(Inner {
            xid,
            store_id,
            scope: ScopeId(0),
            deadline: Instant::now() + remaining,
            record: Mutex::default(),
        }))
    }

    /// The context of the running task, if it has one.
    #[must_use]
    pub fn current() -> Option<TransactionContext> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `future` inside this global transaction: what it does through an agent's pool joins it.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Runs `work` inside this global transaction, without waiting.
    pub(crate) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// The global transaction's id.
    #[must_use]
    pub fn xid(&self) -> &Xid {
        &self.0.xid
    }

    /// The coordinator's store that made it.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.0.store_id
    }

    pub(crate) fn scope_id(&self) -> ScopeId {
        self.0.scope
    }

    /// When it rolls back unless it is decided.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.0.deadline
    }

    /// What remains until the deadline; zero once it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.deadline.saturating_duration_since(Instant::now())
    }

    /// Marks the global transaction as one that must not commit, with a reason for people. A
    /// participant's [`ServerLayer`](crate::web::ServerLayer) makes it durable before it answers;
    /// the transaction's manager then refuses to commit.
    pub fn mark_veto(&self, reason: &str) {
        self.record_veto(reason);
    }

    /// Notes a branch whose local commit is done, for the commit request to name.
    pub(crate) fn record_done(&self, branch: BranchId) {
        self.record(|record| {
            // A branch comes back twice: from this agent, and by a caller's way round.
            if !record.done.contains(&branch) {
                record.done.push(branch);
            }
        });
    }

    /// Notes that this participant vetoes, where the coordinator could not be told: the calling side
    /// then refuses to commit.
    pub(crate) fn record_veto(&self, reason: &str) {
        self.record(|record| {
            record.veto.get_or_insert_with(|| reason.to_owned());
        });
    }

    /// The branches noted so far.
    pub(crate) fn done_branches(&self) -> Vec<BranchId> {
        self.record(|record| record.done.clone())
    }

    /// The veto noted so far.
    pub(crate) fn veto(&self) -> Option<String> {
        self.record(|record| record.veto.clone())
    }

    fn record<T>(&self, access: impl FnOnce(&mut Record) -> T) -> T {
        access(&mut self.0.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
