//! Leaving the decision to the one-phase commit of the only branch.
//!
//! ```text
//! Active ── commit, delegated to b: durable ──▶ Delegated ── b is done ───▶ Committed
//!                                                   └────── b did nothing ─▶ RolledBack
//! ```
//!
//! It saves the branch its prepare. From the moment that it is durable the branch may have committed,
//! so no deadline, veto or rollback decides any more: the branch's own result does. Its agent reports
//! that; if it does not, any session of the resource is asked to look, again and again, because
//! nothing else can end the transaction.

use super::Group;
use super::decision::with_status;
use crate::event::Timer;
use crate::id::BranchId;
use crate::rejection::Rejection;
use crate::step::{Outcome, Reply, Step, Volatile, Write};
use crate::time::Now;
use crate::transaction::{Branch, Caller, GlobalTransaction, RollbackCause, Status};

impl Group {
    /// Leaves the decision to the branch that [`GlobalTransaction::delegable`] names.
    pub(super) fn delegate(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        caller: Caller,
        at: Now,
    ) {
        let xid = txn.row.number;
        step.store(Write::PutTransaction(with_status(&txn.row, Status::Delegated, at)));
        self.end_waits_of(step, txn, Status::Delegated);
        // However far the caller wants to wait: the branch waits for this answer.
        let outcome = Outcome { status: Status::Delegated, parked: 0 };
        step.reply(caller.reply, Reply::Outcome(outcome));
        // Its agent has so long to report by itself.
        let next_attempt_at = at.mono.after(self.policy().phase_one_wait_max);
        if let Some(branch) = txn.delegable().map(|branch| branch.row.id) {
            step.note(Volatile::Postponed { xid, branch, next_attempt_at, reason: None });
        }
        step.timers.push((next_attempt_at, Timer::PhaseTwo(xid)));
    }

    pub(super) fn refuse_delegation(&self, step: &mut Step, to: Option<BranchId>, caller: Caller) {
        let to = to.expect("only a request that delegates is refused so");
        step.reject(caller.reply, Rejection::NotDelegable(to));
    }

    /// The branch has said how its one phase ended: that is the outcome, and there is no phase two.
    pub(super) fn end_delegated(&self, step: &mut Step, known: &GlobalTransaction, at: Now) {
        let done = known.branches.iter().any(Branch::counts);
        let status = match done {
            true => Status::Committed,
            false => Status::RolledBack(RollbackCause::PhaseOneFailed),
        };
        step.store(Write::PutTransaction(with_status(&known.row, status, at)));
        self.free_keys(step, known, status);
        for reply in &known.awaiting {
            step.reply(*reply, Reply::Outcome(Outcome { status, parked: 0 }));
        }
    }
}
