//! A nested scope: a part of a global transaction that can be rolled back by itself.
//!
//! A scope has a context of its own. What is recorded in it becomes the outer one's only when the
//! scope is kept: no commit names the branches of one that was undone.
//!
//! Easy to get wrong: code of the scope may still run when the scope has ended (a spawned task, an
//! answer that comes late). What it records after a kept scope belongs to the outer one at once.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use pactum_core::id::{BranchId, ScopeId};
use pactum_core::transaction::SCOPE_DEPTH_MAX;

use super::{Inner, Record, TransactionContext};

impl TransactionContext {
    /// The nested scopes around the work, outermost first.
    pub(crate) fn scopes(&self) -> &Arc<[ScopeId]> {
        &self.0.scopes
    }

    /// The innermost nested scope; zero outside of all.
    pub(crate) fn scope_id(&self) -> ScopeId {
        self.0.scopes.last().copied().unwrap_or(ScopeId(0))
    }

    /// A context for a new scope inside this one; `None` if that would be one too many.
    pub(crate) fn nested(&self, scope: ScopeId) -> Option<Self> {
        let scopes: Arc<[ScopeId]> = self.0.scopes.iter().copied().chain([scope]).collect();
        (scopes.len() <= SCOPE_DEPTH_MAX).then(|| {
            TransactionContext(Arc::new(Inner {
                transaction: Arc::clone(&self.0.transaction),
                scopes,
                outer: Some(self.clone()),
                managed_here: false,
                record: Mutex::default(),
            }))
        })
    }

    /// Ends the scope: its records become the outer one's. `Err` with a veto that it has, and then it
    /// has not ended.
    pub(crate) fn keep_scope(&self) -> Result<(), String> {
        let done = self.record(|record| match &record.veto {
            Some(reason) => Err(reason.clone()),
            None => {
                record.is_kept = true;
                Ok(std::mem::take(&mut record.done))
            }
        })?;
        if let Some(outer) = &self.0.outer {
            done.into_iter().for_each(|branch: BranchId| outer.record_done(branch));
        }
        Ok(())
    }

    /// Vetoes what is around this scope, because it could not be undone: that contains it.
    pub(crate) fn veto_outer(&self, reason: &str) {
        if let Some(outer) = &self.0.outer {
            outer.record_veto(reason);
        }
    }

    /// Says that this scope is open, until the answer is dropped.
    pub(crate) fn open_scope(&self) -> OpenScope {
        self.0.transaction.open_scopes.fetch_add(1, Ordering::SeqCst);
        OpenScope(self.clone())
    }

    /// Vetoes if a scope is open, in a task that nobody waited for: what it did would be decided
    /// before its owner could say whether to keep it.
    pub(crate) fn veto_if_a_scope_is_open(&self) {
        if self.0.transaction.open_scopes.load(Ordering::SeqCst) > 0 {
            self.record_veto("a nested scope of it is still open: keep it or roll it back before");
        }
    }

    /// Says that this scope is being undone and nobody waits for it, until the answer is dropped.
    pub(crate) fn undoing(&self) -> Undoing {
        self.0.transaction.undoing.send_modify(|count| *count += 1);
        Undoing { scope: self.clone(), is_settled: false }
    }

    /// Waits until no scope is being undone in the background: what follows must not be decided, or
    /// built on their rows, before. Each ends within twice the agent's `answer_wait_max`.
    pub(crate) async fn undone(&self) {
        let mut undoing = self.0.transaction.undoing.subscribe();
        // It cannot be closed: the sender is ours.
        let _closed = undoing.wait_for(|count| *count == 0).await;
    }

    /// Accesses the record that counts: this one's, or that of the scope it became part of.
    pub(super) fn lasting(&self, access: impl FnOnce(&mut Record)) {
        let mut context = self;
        let mut access = Some(access);
        loop {
            let is_kept = context.record(|record| {
                if !record.is_kept
                    && let Some(access) = access.take()
                {
                    access(record);
                }
                record.is_kept
            });
            match &context.0.outer {
                Some(outer) if is_kept => context = outer,
                Some(_) | None => return,
            }
        }
    }
}

/// A scope that was neither kept nor rolled back.
#[derive(Debug)]
pub(crate) struct OpenScope(TransactionContext);

impl Drop for OpenScope {
    fn drop(&mut self) {
        self.0.0.transaction.open_scopes.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A scope that is being undone in the background. Its transaction waits with its end for it; given
/// up, what is around it is vetoed.
#[derive(Debug)]
pub(crate) struct Undoing {
    scope: TransactionContext,
    is_settled: bool,
}

impl Undoing {
    /// The scope is undone, or the veto is made.
    pub(crate) fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Undoing {
    fn drop(&mut self) {
        if !self.is_settled {
            self.scope.veto_outer("the rollback of a nested scope of it was given up");
        }
        self.scope.0.transaction.undoing.send_modify(|count| *count -= 1);
    }
}
