//! Taking a decision and telling of it: commit, rollback, veto, deadline, deadlock.
//!
//! A decision is one write of the transaction's row. What follows from it in the same step: AT locks
//! are freed (commit), waits and claims of the transaction end, branches are sent to phase two,
//! callers are answered. A transaction without branches that need phase two ends at once.

use super::Group;
use super::lookup::Found;
use super::scope::scope_outcome;
use crate::decide::{Request, Verdict, decide};
use crate::event::{Target, Timer};
use crate::id::{BranchId, XidNumber};
use crate::lock::ResourceKey;
use crate::rejection::Rejection;
use crate::step::{Command, Outcome, Reply, ReplyTo, Step, TaskKind, Volatile, Write};
use crate::time::Now;
use crate::transaction::{
    Branch, Caller, GlobalTransaction, PhaseOne, RollbackCause, Status, TransactionRow, Wait,
};

impl Group {
    pub(super) fn commit_requested(
        &self,
        target: Target,
        done: &[BranchId],
        delegate_to: Option<BranchId>,
        caller: Caller,
        at: Now,
    ) -> Step {
        let mut named = done.iter().chain(&delegate_to);
        let txn = match (self.find(target), named.clone().next()) {
            (Ok(Found::Live(txn)), _) => txn,
            // The caller knows of branches, and this store never saw the transaction.
            (Ok(Found::Unrecorded), Some(id)) => {
                return Step::rejected(caller.reply, Rejection::LostState(*id));
            }
            (Ok(found), _) => return self.told(caller.reply, found.outcome()),
            (Err(rejection), _) => return Step::rejected(caller.reply, rejection),
        };
        let unknown = named.clone().find(|id| txn.branch(**id).is_none());
        if let (Status::Active, Some(id)) = (txn.row.status, unknown) {
            return Step::rejected(caller.reply, Rejection::LostState(*id));
        }
        let mut step = Step::default();
        let mut known = txn.clone();
        if txn.row.status == Status::Active {
            learn_done(&mut step, &mut known, done);
        }
        let names_failed = named.any(|id| txn.has_failed(*id));
        let request = match delegate_to {
            Some(to) => Request::Delegate { to, names_failed },
            None => Request::Commit { names_failed },
        };
        match decide(&known, request, at.mono) {
            Verdict::Delegate => self.delegate(&mut step, &known, caller, at),
            Verdict::RefuseDelegation => self.refuse_delegation(&mut step, delegate_to, caller),
            Verdict::Commit => self.commit(&mut step, &known, &[caller], at),
            Verdict::RollBack(cause) => {
                self.roll_back(&mut step, &known, cause, &[caller], at);
            }
            Verdict::AwaitPhaseOne => self.await_phase_one(&mut step, &known, caller, at),
            Verdict::Stand if delegate_to.is_some() && txn.row.status == Status::Delegated => {
                step.reply(caller.reply, Reply::Outcome(txn.outcome()));
            }
            Verdict::Stand
            | Verdict::Admit
            | Verdict::Refuse
            | Verdict::EndDelegated
            | Verdict::UndoScope => self.answer(&mut step, txn, caller, at),
        }
        step
    }

    pub(super) fn rollback_requested(
        &self,
        target: Target,
        caller: Caller,
        cause: RollbackCause,
        at: Now,
    ) -> Step {
        let txn = match self.find(target) {
            Ok(Found::Live(txn)) => txn,
            Ok(found) => return self.told(caller.reply, found.outcome()),
            Err(rejection) => return Step::rejected(caller.reply, rejection),
        };
        let mut step = Step::default();
        match decide(txn, Request::Rollback(cause), at.mono) {
            Verdict::RollBack(cause) => {
                self.roll_back(&mut step, txn, cause, &[caller], at);
            }
            Verdict::Commit
            | Verdict::AwaitPhaseOne
            | Verdict::Delegate
            | Verdict::RefuseDelegation
            | Verdict::EndDelegated
            | Verdict::UndoScope
            | Verdict::Admit
            | Verdict::Refuse
            | Verdict::Stand => self.answer(&mut step, txn, caller, at),
        }
        step
    }

    pub(super) fn outcome_requested(&self, target: Target, caller: Caller, at: Now) -> Step {
        let mut step = Step::default();
        match self.find(target) {
            Ok(Found::Live(txn)) => self.answer(&mut step, txn, caller, at),
            Ok(found) => step.reply(caller.reply, Reply::Outcome(found.outcome())),
            Err(rejection) => step.reject(caller.reply, rejection),
        }
        step
    }

    pub(super) fn deadline_passed(&self, xid: XidNumber, at: Now) -> Step {
        self.settle(xid, Request::DeadlinePassed, at)
    }

    pub(super) fn closing_passed(&self, xid: XidNumber, at: Now) -> Step {
        let Some(txn) = self.live(xid) else { return Step::default() };
        // The timer of an earlier closing of the same transaction cannot be: it closes once.
        let due = txn.closing.as_ref().is_some_and(|closing| closing.until <= at.mono);
        if due { self.settle(xid, Request::ClosingPassed, at) } else { Step::default() }
    }

    pub(super) fn rollback_due(&self, xid: XidNumber, cause: RollbackCause, at: Now) -> Step {
        self.settle(xid, Request::Rollback(cause), at)
    }

    /// Decides what nobody asked for and nobody waits for.
    pub(super) fn settle(&self, xid: XidNumber, request: Request, at: Now) -> Step {
        let mut step = Step::default();
        let Some(txn) = self.live(xid) else { return step };
        self.settle_as(&mut step, txn, request, at);
        step
    }

    /// As [`Group::settle`], on a transaction of which this very step has learned more.
    pub(super) fn settle_as(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        request: Request,
        at: Now,
    ) {
        match decide(txn, request, at.mono) {
            Verdict::Commit => self.commit(step, txn, &[], at),
            Verdict::RollBack(cause) => {
                self.roll_back(step, txn, cause, &[], at);
            }
            Verdict::EndDelegated => self.end_delegated(step, txn, at),
            Verdict::AwaitPhaseOne
            | Verdict::Delegate
            | Verdict::RefuseDelegation
            | Verdict::UndoScope
            | Verdict::Admit
            | Verdict::Refuse
            | Verdict::Stand => {}
        }
    }

    fn commit(&self, step: &mut Step, txn: &GlobalTransaction, callers: &[Caller], at: Now) {
        self.take_decision(step, txn, (Status::Committing, Status::Committed), callers, at);
    }

    pub(super) fn roll_back(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        cause: RollbackCause,
        callers: &[Caller],
        at: Now,
    ) -> Status {
        if txn.saga.is_some() {
            let status = self.turn_saga_back(step, txn, cause, at);
            let outcome = Outcome { status, parked: 0 };
            for caller in callers {
                self.answer_with(step, txn.row.number, outcome, *caller, at);
            }
            return status;
        }
        let statuses = (Status::RollingBack(cause), Status::RolledBack(cause));
        let status = self.take_decision(step, txn, statuses, callers, at);
        if !status.is_ended() {
            self.turn_away_waiters(step, txn, status);
        }
        status
    }

    /// Writes the decision and does all that follows from it. Returns the new status: the second of
    /// `(decided, ended)` if no branch needs phase two.
    fn take_decision(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        (decided, ended): (Status, Status),
        callers: &[Caller],
        at: Now,
    ) -> Status {
        let status = if txn.is_complete_in(decided) { ended } else { decided };
        step.store(Write::PutTransaction(with_status(&txn.row, status, at)));
        self.end_waits_of(step, txn, status);
        self.free_keys(step, txn, status);

        let outcome = Outcome { status, parked: 0 };
        let closing = txn.closing.iter().flat_map(|closing| closing.callers.iter());
        for caller in closing.chain(callers) {
            self.answer_with(step, txn.row.number, outcome, *caller, at);
        }
        self.tell_scope_callers(step, txn, status);
        if !status.is_ended() {
            self.send_due(step, txn, status, at);
        }
        status
    }

    /// Closes the transaction: no branch joins, its waiting registrations fail, and whoever asks
    /// joins the wait. Agents report phase one by themselves; only for nodes that are gone somebody
    /// else must look.
    fn await_phase_one(&self, step: &mut Step, txn: &GlobalTransaction, caller: Caller, at: Now) {
        let xid = txn.row.number;
        let first = txn.closing.is_none();
        let wait_max = at.mono.after(self.policy().phase_one_wait_max);
        let until = wait_max.min(txn.deadline);
        step.note(Volatile::CloseRequested { xid, until, caller });
        if !first {
            return;
        }
        step.timers.push((until, Timer::Closing(xid)));
        self.end_waits_of(step, txn, Status::Active);
        self.ask_phase_one(step, txn, |branch| !self.sessions.is_present(branch.row.node));
    }

    /// Asks how phase one of these branches ended, where it is not known: any session of the
    /// resource can look. Asked when a commit is waiting for it and again whenever that may help: a
    /// node goes while a commit waits, or a session comes that can look.
    pub(super) fn ask_phase_one(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        of: impl Fn(&Branch) -> bool,
    ) {
        for branch in txn.branches.iter().filter(|branch| of(branch)) {
            if branch.row.phase_one == PhaseOne::Unknown && !branch.scope_undone {
                step.commands.push(Command::Send(self.task(branch, TaskKind::AskPhaseOne)));
            }
        }
    }

    /// The keys that the transaction's branches hold now and not in `status`, if anyone waits for
    /// them, go to the first in line.
    pub(super) fn free_keys(&self, step: &mut Step, txn: &GlobalTransaction, status: Status) {
        let freed = txn
            .branches
            .iter()
            .filter(|branch| branch.holds_locks(txn.row.status) && !branch.holds_locks(status));
        let mut keys: Vec<ResourceKey> = Vec::new();
        for branch in freed {
            keys.extend(self.locks.waited_for(branch.row.resource, &branch.row.locks));
        }
        self.wake(step, keys);
    }

    /// Answers with the outcome as it stands, or waits for completion.
    pub(super) fn answer(&self, step: &mut Step, txn: &GlobalTransaction, caller: Caller, at: Now) {
        self.answer_with(step, txn.row.number, txn.outcome(), caller, at);
    }

    fn answer_with(
        &self,
        step: &mut Step,
        xid: XidNumber,
        outcome: Outcome,
        caller: Caller,
        at: Now,
    ) {
        let on_its_way = !outcome.status.is_undecided_here() && !outcome.status.is_ended();
        // A person's pace is not a caller's: with a parked branch nobody waits.
        let waits = on_its_way && outcome.parked == 0 && caller.wait == Wait::Completed;
        if waits {
            step.note(Volatile::CompletionAwaited(xid, caller.reply));
            let until = at.mono.after(self.policy().completion_wait);
            step.timers.push((until, Timer::Completion(xid, caller.reply)));
        } else {
            step.reply(caller.reply, Reply::Outcome(outcome));
        }
    }

    pub(super) fn completion_wait_passed(&self, xid: XidNumber, reply: ReplyTo) -> Step {
        let mut step = Step::default();
        let Some(txn) = self.live(xid) else { return step };
        if txn.awaiting.contains(&reply) {
            step.note(Volatile::CompletionTold(xid, reply));
            let stands = match &txn.saga {
                Some(saga) => Reply::Saga(Box::new(saga.standing(txn.outcome()))),
                None => Reply::Outcome(txn.outcome()),
            };
            step.reply(reply, stands);
        }
        for (scope, waiting) in txn.awaiting_scope.iter().filter(|(_, waiting)| *waiting == reply) {
            step.note(Volatile::ScopeTold(xid, *waiting));
            step.reply(*waiting, Reply::Scope(scope_outcome(txn, *scope, txn.row.status)));
        }
        step
    }

    fn told(&self, reply: ReplyTo, outcome: Outcome) -> Step {
        let mut step = Step::default();
        step.reply(reply, Reply::Outcome(outcome));
        step
    }
}

/// The row with its new status; the end gets its time.
pub(super) fn with_status(row: &TransactionRow, status: Status, at: Now) -> TransactionRow {
    let ended_at = status.is_ended().then_some(at.wall);
    TransactionRow { status, ended_at, ..row.clone() }
}

/// Notes the branches that a commit request names as done.
fn learn_done(step: &mut Step, txn: &mut GlobalTransaction, done: &[BranchId]) {
    for branch in &mut txn.branches {
        if branch.row.phase_one == PhaseOne::Unknown && done.contains(&branch.row.id) {
            branch.row.phase_one = PhaseOne::Done;
            step.note(Volatile::PhaseOneDone(txn.row.number, branch.row.id));
        }
    }
}
