//! Rolling back a nested scope while its transaction goes on.
//!
//! ```text
//! RollbackScope(s) ─▶ s is undone: durable ─▶ its branches, newest first ─▶ all undone: answered
//!                      │                           └ one parks ─▶ the whole rolls back
//!                      └ nobody joins s any more; a commit waits until it is undone
//! ```
//!
//! The decision is one write of the transaction's row. Which branches it means follows from their
//! paths, so nothing else is stored, and a restart goes on where the rows stand.
//!
//! Easy to get wrong: a participant's veto of its scope may never reach the transaction manager. What
//! only a participant rolled back, the manager must ask for as well, or a commit rolls back the whole;
//! it would otherwise commit a part of what it believes to be one piece.

use super::Group;
use super::lookup::Found;
use crate::decide::{Request, Verdict, decide};
use crate::event::{Target, Timer};
use crate::id::{ScopeId, XidNumber};
use crate::rejection::{Limit, Rejection};
use crate::step::{Outcome, Reply, ScopeOutcome, Step, Volatile, Write};
use crate::time::Now;
use crate::transaction::{
    Caller, GlobalTransaction, RollbackCause, Status, UNDONE_SCOPES_MAX, UndoneScope, Wait,
};

impl Group {
    /// A transaction manager wants a scope rolled back.
    pub(super) fn scope_rollback_requested(
        &self,
        target: Target,
        scope: ScopeId,
        caller: Caller,
        at: Now,
    ) -> Step {
        let mut step = Step::default();
        let txn = match self.find(target) {
            Ok(Found::Live(txn)) => txn,
            Ok(found) => {
                step.reply(caller.reply, ended_scope(found.outcome()));
                return step;
            }
            Err(rejection) => return Step::rejected(caller.reply, rejection),
        };
        let cause = RollbackCause::Requested;
        match decide(txn, Request::RollbackScope(scope, cause), at.mono) {
            Verdict::UndoScope => match self.undo_scope(&mut step, txn, &[scope], cause, at) {
                Ok(known) => self.answer_scope(&mut step, &known, scope, caller, at),
                Err(rejection) => step.reject(caller.reply, rejection),
            },
            Verdict::RollBack(cause) => {
                let status = self.roll_back(&mut step, txn, cause, &[], at);
                let outcome = scope_outcome(txn, scope, status);
                step.reply(caller.reply, Reply::Scope(outcome));
            }
            Verdict::Commit
            | Verdict::AwaitPhaseOne
            | Verdict::Delegate
            | Verdict::RefuseDelegation
            | Verdict::EndDelegated
            | Verdict::Admit
            | Verdict::Refuse
            | Verdict::Stand => self.answer_scope(&mut step, txn, scope, caller, at),
        }
        step
    }

    /// A participant vetoes its scope, the last one of `path`. It hears where the transaction stands.
    pub(super) fn scope_vetoed(
        &self,
        target: Target,
        path: &[ScopeId],
        caller: Caller,
        at: Now,
    ) -> Step {
        let mut step = Step::default();
        let txn = match self.find(target) {
            Ok(Found::Live(txn)) => txn,
            Ok(found) => {
                step.reply(caller.reply, Reply::Outcome(found.outcome()));
                return step;
            }
            Err(rejection) => return Step::rejected(caller.reply, rejection),
        };
        let scope = *path.last().expect("a path names its scope");
        let cause = RollbackCause::Vetoed;
        match decide(txn, Request::RollbackScope(scope, cause), at.mono) {
            Verdict::UndoScope => match self.undo_scope(&mut step, txn, path, cause, at) {
                Ok(known) => self.answer(&mut step, &known, caller, at),
                Err(rejection) => step.reject(caller.reply, rejection),
            },
            Verdict::RollBack(cause) => {
                self.roll_back(&mut step, txn, cause, &[caller], at);
            }
            Verdict::Commit
            | Verdict::AwaitPhaseOne
            | Verdict::Delegate
            | Verdict::RefuseDelegation
            | Verdict::EndDelegated
            | Verdict::Admit
            | Verdict::Refuse
            | Verdict::Stand => self.answer(&mut step, txn, caller, at),
        }
        step
    }

    /// Decides that the last scope of `path` rolls back, and begins to undo it. Returns the
    /// transaction as it is from then on.
    fn undo_scope(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        path: &[ScopeId],
        cause: RollbackCause,
        at: Now,
    ) -> Result<GlobalTransaction, Rejection> {
        let mut known = txn.clone();
        let undone = &mut known.row.undone_scopes;
        let requested = cause == RollbackCause::Requested;
        let full = undone.len() >= UNDONE_SCOPES_MAX;
        match undone.iter_mut().find(|undone| Some(&undone.scope()) == path.last()) {
            Some(undone) => undone.requested |= requested,
            None if full => {
                let max = UNDONE_SCOPES_MAX as u64;
                return Err(Rejection::Limit { limit: Limit::UndoneScopes, max });
            }
            None => undone.push(UndoneScope { path: path.to_vec(), requested }),
        }
        for branch in &mut known.branches {
            branch.scope_undone = known.row.has_undone(&branch.row.scopes);
        }
        step.store(Write::PutTransaction(known.row.clone()));
        self.end_waits_of_scope(step, &known);
        for (before, after) in txn.branches.iter().zip(&known.branches) {
            if before.holds_locks(Status::Active) && !after.holds_locks(Status::Active) {
                let row = &after.row;
                self.wake(step, self.locks.waited_for(row.resource, &row.locks));
            }
        }
        self.turn_away_waiters(step, &known, Status::Active);
        self.send_due(step, &known, Status::Active, at);
        Ok(known)
    }

    /// The registrations that wait for keys and would join a scope that was rolled back.
    fn end_waits_of_scope(&self, step: &mut Step, known: &GlobalTransaction) {
        for waiter in self.waiting.of_transaction(known.row.number) {
            let scopes = waiter.scopes();
            let undone = |scope: &&ScopeId| known.row.has_undone(std::slice::from_ref(*scope));
            if let Some(scope) = scopes.iter().find(undone) {
                self.end_wait_with(step, waiter, Rejection::ScopeRolledBack(*scope));
            }
        }
    }

    fn answer_scope(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        scope: ScopeId,
        caller: Caller,
        at: Now,
    ) {
        let status = txn.row.status;
        let rolls_back = match status {
            Status::Active | Status::RollingBack(_) | Status::RolledBack(_) => true,
            Status::Delegated | Status::Committing | Status::Committed => {
                txn.row.has_undone(&[scope])
            }
        };
        if !rolls_back {
            return step.reject(caller.reply, Rejection::NotActive(txn.outcome()));
        }
        let outcome = scope_outcome(txn, scope, status);
        let waits = status == Status::Active && !outcome.undone && caller.wait == Wait::Completed;
        if waits {
            let xid = txn.row.number;
            step.note(Volatile::ScopeAwaited(xid, scope, caller.reply));
            let until = at.mono.after(self.policy().completion_wait);
            step.timers.push((until, Timer::Completion(xid, caller.reply)));
        } else {
            step.reply(caller.reply, Reply::Scope(outcome));
        }
    }

    /// A branch of a scope is undone, or turned out to have done nothing: those who wait hear of it,
    /// the next in line is sent, a commit that waited goes on.
    pub(super) fn undone_further(&self, step: &mut Step, known: &GlobalTransaction, at: Now) {
        let mut known = known.clone();
        let waiting = std::mem::take(&mut known.awaiting_scope);
        for (scope, reply) in waiting {
            let outcome = scope_outcome(&known, scope, Status::Active);
            if outcome.undone {
                step.note(Volatile::ScopeTold(known.row.number, reply));
                step.reply(reply, Reply::Scope(outcome));
            } else {
                known.awaiting_scope.push((scope, reply));
            }
        }
        match decide(&known, Request::PhaseOneLearned, at.mono) {
            Verdict::Stand => self.send_due(step, &known, Status::Active, at),
            Verdict::Commit
            | Verdict::RollBack(_)
            | Verdict::AwaitPhaseOne
            | Verdict::Delegate
            | Verdict::RefuseDelegation
            | Verdict::EndDelegated
            | Verdict::UndoScope
            | Verdict::Admit
            | Verdict::Refuse => self.settle_as(step, &known, Request::PhaseOneLearned, at),
        }
    }

    /// The whole is decided: nobody waits for a part of it.
    pub(super) fn tell_scope_callers(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        status: Status,
    ) {
        for (scope, reply) in &txn.awaiting_scope {
            step.note(Volatile::ScopeTold(txn.row.number, *reply));
            step.reply(*reply, Reply::Scope(scope_outcome(txn, *scope, status)));
        }
    }

    /// Whether an active transaction has a scope that is being undone.
    pub(crate) fn is_undoing_scope(&self, xid: XidNumber) -> bool {
        self.undoing.contains(&xid)
    }
}

/// Where a scope stands that is to roll back, with its transaction in `status`.
pub(super) fn scope_outcome(
    txn: &GlobalTransaction,
    scope: ScopeId,
    status: Status,
) -> ScopeOutcome {
    let mut inside = txn.branches.iter().filter(|branch| branch.row.scopes.contains(&scope));
    let undone = !inside.any(|branch| branch.awaits_phase_two(status));
    let parked = if status == txn.row.status { txn.parked_count() } else { 0 };
    ScopeOutcome { undone, transaction: Outcome { status, parked } }
}

/// What is said of a scope whose transaction has ended.
fn ended_scope(outcome: Outcome) -> Reply {
    match outcome.status {
        Status::RolledBack(_) => Reply::Scope(ScopeOutcome { undone: true, transaction: outcome }),
        Status::Active
        | Status::Delegated
        | Status::Committing
        | Status::Committed
        | Status::RollingBack(_) => Reply::Rejected(Rejection::NotActive(outcome)),
    }
}
