//! A nested scope: a part of a global transaction that can be rolled back by itself.
//!
//! A scope has a context of its own. What is recorded in it becomes the outer one's when the scope
//! is kept, and is forgotten when it is undone: then no commit names its branches.
//!
//! Easy to get wrong: code of the scope may still run when the scope has ended (a spawned task, an
//! answer that comes late). What it records after a kept scope belongs to the outer one at once.

use std::sync::{Arc, Mutex};

use pactum_core::id::{BranchId, ScopeId};

use super::{Inner, Record, TransactionContext};

/// How many scopes may lie in each other, over all services. 16: more is a recursion without an end.
pub(crate) const SCOPES_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScopeEnd {
    /// Part of the outer scope or transaction from now on.
    Kept,
    /// Rolled back.
    Undone,
}

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
        (scopes.len() <= SCOPES_MAX).then(|| {
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
                record.scope_end = Some(ScopeEnd::Kept);
                Ok(std::mem::take(&mut record.done))
            }
        })?;
        if let Some(outer) = &self.0.outer {
            done.into_iter().for_each(|branch: BranchId| outer.record_done(branch));
        }
        Ok(())
    }

    /// Ends the scope: nothing that is recorded in it counts any more.
    pub(crate) fn forget_scope(&self) {
        self.record(|record| {
            record.scope_end = Some(ScopeEnd::Undone);
            record.done.clear();
        });
    }

    /// Vetoes what is around this scope, because it could not be undone: that contains it.
    pub(crate) fn veto_outer(&self, reason: &str) {
        if let Some(outer) = &self.0.outer {
            outer.record_veto(reason);
        }
    }

    /// Says that this scope is being undone and nobody waits for it, until the answer is dropped.
    pub(crate) fn undoing(&self) -> Undoing {
        self.0.transaction.undoing.send_modify(|count| *count += 1);
        Undoing(self.clone())
    }

    /// Waits until no scope is being undone in the background: what follows must not be decided, or
    /// built on their rows, before. Each ends within the agent's `answer_wait_max`.
    pub(crate) async fn undone(&self) {
        let mut undoing = self.0.transaction.undoing.subscribe();
        // It cannot be closed: the sender is ours.
        let _closed = undoing.wait_for(|count| *count == 0).await;
    }

    /// Accesses the record that counts: this one's, or that of the scope it became part of. A scope
    /// that was undone has none.
    pub(super) fn lasting(&self, access: impl FnOnce(&mut Record)) {
        let mut context = self;
        let mut access = Some(access);
        loop {
            let end = context.record(|record| {
                if record.scope_end.is_none()
                    && let Some(access) = access.take()
                {
                    access(record);
                }
                record.scope_end
            });
            match (end, &context.0.outer) {
                (Some(ScopeEnd::Kept), Some(outer)) => context = outer,
                (None | Some(ScopeEnd::Kept | ScopeEnd::Undone), _) => return,
            }
        }
    }
}

/// A scope that is being undone in the background. Its transaction waits with its end for it.
#[derive(Debug)]
pub(crate) struct Undoing(TransactionContext);

impl Drop for Undoing {
    fn drop(&mut self) {
        self.0.0.transaction.undoing.send_modify(|count| *count -= 1);
    }
}
