//! The global transaction that the running code belongs to.
//!
//! A [`TransactionContext`] is what travels: the XID, the remaining time and the path of nested
//! scopes go with each call to another service, the finished branches and a veto come back with its
//! answer. Code passes it explicitly, or lets [`TransactionContext::scope`] carry it with the task.
//!
//! ```text
//! current.rs    which one the running task is in, and being in none: suspended
//! nested.rs     a context inside a context: what it recorded joins the outer one's if it is kept
//! one_phase.rs  a branch that the manager beside it may commit by itself
//! ```
//!
//! Easy to get wrong: a task that is spawned does not inherit the context; hand it over.

mod current;
mod nested;
mod one_phase;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pactum_core::id::{BranchId, ScopeId, StoreId, Xid};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::session::Riding;

pub use current::Suspended;
pub(crate) use current::waiting_xid;
pub(crate) use nested::{OpenScope, Undoing};
pub(crate) use one_phase::{Closing, Delegatable, OnePhase, OnePhaseEnd};

/// A global transaction, as one participant or its manager sees it. Cheap to clone; all clones
/// share what they record.
#[derive(Clone, Debug)]
pub struct TransactionContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transaction: Arc<Transaction>,
    /// The nested scopes around the work, outermost first.
    scopes: Arc<[ScopeId]>,
    /// The context around this nested scope, where that is in this process too.
    outer: Option<TransactionContext>,
    /// Whether the transaction was begun here, and this is no nested scope of it.
    managed_here: bool,
    record: Mutex<Record>,
}

/// What all contexts of one global transaction in this process share.
#[derive(Debug)]
struct Transaction {
    xid: Xid,
    store_id: StoreId,
    deadline: Instant,
    /// The begin, if it waits for the first request that names the transaction.
    begin: Option<Riding>,
    /// How many nested scopes are being undone without anyone who waits for it.
    undoing: watch::Sender<usize>,
    /// How many nested scopes were neither kept nor rolled back.
    open_scopes: AtomicUsize,
}

/// What is to be told to the transaction manager.
#[derive(Debug, Default)]
struct Record {
    done: Vec<BranchId>,
    veto: Option<String>,
    delegatable: Vec<Delegatable>,
    /// How far the manager has gone in ending; `None` before.
    ending: Option<one_phase::Ending>,
    /// Whether this is a nested scope that became a part of the outer one.
    is_kept: bool,
}

impl TransactionContext {
    /// A context for a transaction whose remaining time is known.
    pub(crate) fn new(xid: Xid, store_id: StoreId, remaining: Duration) -> Self {
        Self::outermost(xid, store_id, remaining, Arc::default(), false, None)
    }

    /// The context of a transaction that this process began.
    pub(crate) fn managed(xid: Xid, store_id: StoreId, remaining: Duration) -> Self {
        Self::outermost(xid, store_id, remaining, Arc::default(), true, None)
    }

    /// The same, of one whose begin is still here.
    pub(crate) fn named(xid: Xid, store_id: StoreId, timeout: Duration, begin: Riding) -> Self {
        Self::outermost(xid, store_id, timeout, Arc::default(), true, Some(begin))
    }

    /// The context that a caller in another process sent.
    pub(crate) fn received(
        xid: Xid,
        store_id: StoreId,
        remaining: Duration,
        scopes: Arc<[ScopeId]>,
    ) -> Self {
        Self::outermost(xid, store_id, remaining, scopes, false, None)
    }

    fn outermost(
        xid: Xid,
        store_id: StoreId,
        remaining: Duration,
        scopes: Arc<[ScopeId]>,
        managed_here: bool,
        begin: Option<Riding>,
    ) -> Self {
        let transaction = Transaction {
            xid,
            store_id,
            deadline: Instant::now() + remaining,
            begin,
            undoing: watch::Sender::new(0),
            open_scopes: AtomicUsize::new(0),
        };
        TransactionContext(Arc::new(Inner {
            transaction: Arc::new(transaction),
            scopes,
            outer: None,
            managed_here,
            record: Mutex::default(),
        }))
    }

    /// The global transaction's id. Whoever reads it may hand it to somebody else, who asks the
    /// coordinator for the transaction; so if that was not told of it yet, it is now.
    #[must_use]
    pub fn xid(&self) -> &Xid {
        if let Some(begin) = &self.0.transaction.begin {
            begin.leave();
        }
        self.xid_here()
    }

    /// The same, for what is sent to the coordinator by this agent, behind the begin, or stays here.
    pub(crate) fn xid_here(&self) -> &Xid {
        &self.0.transaction.xid
    }

    /// Whether its begin waits for the first request that names it.
    #[cfg(test)]
    pub(crate) fn waits_to_begin(&self) -> bool {
        self.0.transaction.begin.is_some()
    }

    /// The coordinator's store that made it.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.0.transaction.store_id
    }

    /// When it rolls back unless it is decided.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.0.transaction.deadline
    }

    /// What remains until the deadline; zero once it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// Marks the work as one that must not commit, with a reason for people: the global transaction,
    /// or inside a nested scope that scope. A participant's
    /// [`ServerLayer`](crate::web::ServerLayer) makes it durable before it answers; the
    /// transaction's manager then refuses to commit, and the scope's rolls it back.
    pub fn mark_veto(&self, reason: &str) {
        self.record_veto(reason);
    }

    /// Notes a branch whose local commit is done, for the commit request to name.
    pub(crate) fn record_done(&self, branch: BranchId) {
        self.lasting(|record| {
            // A branch comes back twice: from this agent, and by a caller's way round.
            if !record.done.contains(&branch) {
                record.done.push(branch);
            }
        });
    }

    /// Notes that this participant vetoes, where the coordinator could not be told: the calling side
    /// then refuses to commit.
    pub(crate) fn record_veto(&self, reason: &str) {
        self.lasting(|record| {
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
