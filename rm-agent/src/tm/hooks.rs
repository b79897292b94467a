//! Code of the application that hears of begins and ends.
//!
//! Hooks watch; they decide nothing. One that panics is logged and passed over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pactum_core::id::Xid;

use super::options::BeginError;
use super::outcome::Outcome;
use super::transaction::InDoubt;

/// Hears when global transactions are begun and ended by this process: all of an agent's by
/// [`Agent::with_hooks`](crate::Agent::with_hooks), one by [`Global::hooks`](crate::Global::hooks).
///
/// A run that joins, nests or runs without a transaction begins and ends none, so nothing is heard of
/// it. The methods are called where the transaction is begun or ended and must not block; if its
/// caller is gone, they are called in the background. A panic is logged, and changes nothing.
pub trait Hooks: Send + Sync + 'static {
    /// One is about to be begun under this name.
    fn before_begin(&self, name: &str) {
        let _ = name;
    }

    /// It was begun, or not.
    fn after_begin(&self, name: &str, begun: Result<&Xid, &BeginError>) {
        let _ = (name, begun);
    }

    /// Its commit is about to be asked for.
    fn before_commit(&self, xid: &Xid) {
        let _ = xid;
    }

    /// The commit was asked for: what was decided, which may be a rollback, or that it is in doubt.
    fn after_commit(&self, xid: &Xid, ended: Result<&Outcome, &InDoubt>) {
        let _ = (xid, ended);
    }

    /// Its rollback is about to be asked for, with the reason of a veto.
    fn before_rollback(&self, xid: &Xid, veto: Option<&str>) {
        let _ = (xid, veto);
    }

    /// The rollback was asked for.
    fn after_rollback(&self, xid: &Xid, outcome: &Outcome) {
        let _ = (xid, outcome);
    }
}

/// Hooks in the order in which they hear.
#[derive(Clone, Default)]
pub(crate) struct HookList(Vec<Arc<dyn Hooks>>);

impl HookList {
    pub(crate) fn push(&mut self, hooks: impl Hooks) {
        self.0.push(Arc::new(hooks));
    }

    pub(super) fn call(&self, moment: &'static str, call: impl Fn(&dyn Hooks)) {
        for hooks in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| call(&**hooks))).is_err() {
                tracing::error!(moment, "a hook panicked: it is passed over");
            }
        }
    }
}

impl std::fmt::Debug for HookList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HookList({})", self.0.len())
    }
}
