//! Carrying a decision to every branch.
//!
//! Which branches may be told now is [`next`]: at a commit all of them, in the order XA, TCC, AT; at
//! a rollback, also of a scope, the newest of each resource, and of all sagas together the newest,
//! where a parked branch holds back the older ones. Tasks are hints: they are sent again after a back-off, the
//! moment a session of the resource attaches, and after a restart.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::Group;
use super::decision::with_status;
use crate::event::{Direction, PhaseTwoAnswer, Timer};
use crate::id::{BranchId, ResourceNumber, SessionId, XidNumber};
use crate::step::{Command, Outcome, Reply, Step, Task, TaskKind, Volatile, Write};
use crate::time::Now;
use crate::transaction::{
    Branch, BranchMode, BranchRow, GlobalTransaction, ParkReason, PhaseOne, PhaseTwo,
    RollbackCause, Status,
};

/// How many transactions are looked at in one step when a resource comes back.
const RESUMED_PER_STEP_MAX: usize = 2_000;
/// The pause between two such steps: others must get their turn.
const RESUME_PAUSE: Duration = Duration::from_millis(5);

/// The branches that may be told now, in the order in which they are sent.
pub(super) fn next(txn: &GlobalTransaction, status: Status) -> Vec<&Branch> {
    let waiting = txn.branches.iter().filter(|branch| branch.awaits_phase_two(status));
    let mut next: Vec<&Branch> = match status {
        Status::Committed | Status::RolledBack(_) => Vec::new(),
        Status::Delegated | Status::Committing => {
            waiting.filter(|branch| !branch.is_parked()).collect()
        }
        Status::Active | Status::RollingBack(_) => {
            let newest_first = waiting.rev();
            let mut held_back: BTreeSet<Line> = BTreeSet::new();
            let first_in_line = newest_first.filter(|branch| held_back.insert(Line::of(branch)));
            first_in_line.filter(|branch| !branch.is_parked()).collect()
        }
    };
    // XA first: its rows are locked in the database, and blocked readers wait for it.
    if status == Status::Committing {
        next.sort_by_key(|branch| match branch.row.mode {
            BranchMode::Xa => 0,
            BranchMode::Tcc => 1,
            BranchMode::At | BranchMode::Saga => 2,
        });
    }
    next
}

/// The branches that undo one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Resource(ResourceNumber),
    Saga,
}

impl Line {
    fn of(branch: &Branch) -> Line {
        match branch.row.mode {
            BranchMode::At | BranchMode::Tcc | BranchMode::Xa => {
                Line::Resource(branch.row.resource)
            }
            BranchMode::Saga => Line::Saga,
        }
    }
}

/// Whether a newer branch must be undone before this one.
fn is_held_back(txn: &GlobalTransaction, branch: &Branch) -> bool {
    let status = txn.row.status;
    let undoes = match status {
        Status::Active | Status::RollingBack(_) => true,
        Status::Delegated | Status::Committing | Status::Committed | Status::RolledBack(_) => false,
    };
    let newer = txn.branches.iter().rev().take_while(|other| other.row.id != branch.row.id);
    let mut before = newer.filter(|other| Line::of(other) == Line::of(branch));
    undoes && before.any(|other| other.awaits_phase_two(status))
}

impl Group {
    /// Sends what may be sent and is due. Whatever is not due has a timer of its own, and what cannot
    /// be reached is sent when a session attaches.
    pub(super) fn send_due(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        status: Status,
        at: Now,
    ) {
        for branch in next(txn, status) {
            let reachable = self.sessions.attached_to(branch.row.resource) > 0;
            if reachable && branch.next_attempt_at <= at.mono {
                self.send(step, branch, status, at);
            }
        }
    }

    fn send(&self, step: &mut Step, branch: &Branch, status: Status, at: Now) {
        let row = &branch.row;
        let kind = match status {
            Status::Committing => TaskKind::Commit,
            Status::Delegated => TaskKind::AskPhaseOne,
            Status::Active | Status::Committed | Status::RollingBack(_) | Status::RolledBack(_) => {
                TaskKind::Rollback { phase_one_done: row.phase_one == PhaseOne::Done }
            }
        };
        let attempt = branch.attempt.saturating_add(1);
        let next_attempt_at = at.mono.after(self.back_off(row.id, attempt));
        step.commands.push(Command::Send(self.task(branch, kind)));
        step.note(Volatile::Attempted { xid: row.xid, branch: row.id, next_attempt_at });
        step.timers.push((next_attempt_at, Timer::PhaseTwo(row.xid)));
    }

    /// The delay after this attempt.
    pub(super) fn back_off(&self, branch: BranchId, attempt: u32) -> Duration {
        // Any number that differs from branch to branch spreads them.
        let jitter = branch.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        self.policy().phase_two_retry.delay(attempt, jitter)
    }

    pub(super) fn task(&self, branch: &Branch, kind: TaskKind) -> Task {
        let row = &branch.row;
        Task {
            kind,
            xid: row.xid,
            branch: row.id,
            resource: row.resource,
            node: row.node,
            mode: row.mode,
            attempt: branch.attempt.saturating_add(1),
            action: row.action.clone(),
            resolution: row.resolution(),
            result: None,
        }
    }

    pub(super) fn phase_two_due(&self, xid: XidNumber, at: Now) -> Step {
        let mut step = Step::default();
        if let Some(txn) = self.live(xid) {
            self.send_due(&mut step, txn, txn.row.status, at);
        }
        step
    }

    pub(super) fn phase_two_answered(
        &self,
        (session, xid, branch): (SessionId, XidNumber, BranchId),
        direction: Direction,
        answer: &PhaseTwoAnswer,
        at: Now,
    ) -> Step {
        let mut step = Step::default();
        let Some(txn) = self.live(xid) else { return step };
        let expected = match txn.row.status {
            Status::Committing => Some(Direction::Commit),
            Status::Active | Status::RollingBack(_) => Some(Direction::Rollback),
            Status::Delegated | Status::Committed | Status::RolledBack(_) => None,
        };
        let waiting = txn.branch(branch).filter(|branch| branch.awaits_phase_two(txn.row.status));
        // Late answers, answers to what was never asked, and those of a session that never proved
        // the resource, change nothing.
        let proven = |branch: &&Branch| {
            self.sessions.node_attached_to(session, branch.row.resource).is_some()
        };
        let asked = waiting.filter(|_| expected == Some(direction)).filter(proven);
        let Some(branch) = asked else { return step };
        match answer {
            PhaseTwoAnswer::Done => self.branch_done(&mut step, txn, branch, at),
            PhaseTwoAnswer::Later { .. } if branch.is_parked() => {}
            PhaseTwoAnswer::Later { after, reason } => {
                let delay =
                    self.back_off(branch.row.id, branch.attempt).max(after.unwrap_or_default());
                let next_attempt_at = at.mono.after(delay);
                let (branch, reason) = (branch.row.id, reason.clone());
                step.note(Volatile::Postponed { xid, branch, next_attempt_at, reason });
                step.timers.push((next_attempt_at, Timer::PhaseTwo(xid)));
            }
            // Answered before a wider rollback was decided: what stood in its way may be undone by
            // that, so it is tried again in its turn.
            PhaseTwoAnswer::Parked { .. } if branch.scope_undone && is_held_back(txn, branch) => {}
            PhaseTwoAnswer::Parked { reason, report } if txn.row.status.is_undecided_here() => {
                let cause = RollbackCause::ScopeNotUndone;
                let status = self.roll_back(&mut step, txn, cause, &[], at);
                let mut known = txn.clone();
                known.row.status = status;
                if !is_held_back(&known, branch) {
                    self.park(&mut step, &known, branch, *reason, report);
                }
            }
            PhaseTwoAnswer::Parked { reason, report } => {
                self.park(&mut step, txn, branch, *reason, report);
            }
        }
        step
    }

    fn branch_done(&self, step: &mut Step, txn: &GlobalTransaction, branch: &Branch, at: Now) {
        let xid = txn.row.number;
        let mut known = txn.clone();
        let same = known.branches.iter_mut().filter(|other| other.row.id == branch.row.id);
        same.for_each(|branch| branch.row.phase_two = PhaseTwo::Done);
        let status = txn.row.status;
        let frees_keys = branch.holds_locks(status) && !branch.row.locks.is_empty();
        // With the last branch of a scope nothing else ends.
        let ends = !status.is_undecided_here() && known.is_complete_in(status);
        if ends {
            // The end of the transaction implies the end of its branches: one row, not two.
            step.note(Volatile::PhaseTwoConfirmed(xid, branch.row.id));
        } else if frees_keys || branch.is_parked() || status != Status::Committing {
            let row = BranchRow { phase_two: PhaseTwo::Done, ..branch.row.clone() };
            step.store(Write::PutBranch(row));
        } else {
            step.note(Volatile::PhaseTwoConfirmed(xid, branch.row.id));
        }
        if frees_keys {
            self.wake(step, self.locks.waited_for(branch.row.resource, &branch.row.locks));
        }
        self.end_or_go_on(step, &known, at);
    }

    /// Ends the transaction if nothing is left to do, or sends what may go next.
    pub(super) fn end_or_go_on(&self, step: &mut Step, known: &GlobalTransaction, at: Now) {
        let status = known.row.status;
        if status.is_undecided_here() {
            return self.undone_further(step, known, at);
        }
        if !known.is_complete_in(status) {
            return self.send_due(step, known, status, at);
        }
        let ended = match status {
            Status::Committing => Status::Committed,
            Status::RollingBack(cause) => Status::RolledBack(cause),
            Status::Active | Status::Delegated | Status::Committed | Status::RolledBack(_) => {
                return;
            }
        };
        step.store(Write::PutTransaction(with_status(&known.row, ended, at)));
        let outcome = Outcome { status: ended, parked: 0 };
        for reply in &known.awaiting {
            step.reply(*reply, Reply::Outcome(outcome));
        }
    }

    fn park(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        branch: &Branch,
        reason: ParkReason,
        report: &Arc<[u8]>,
    ) {
        let row = BranchRow {
            phase_two: PhaseTwo::Parked(reason),
            park_report: Some(report.clone()),
            ..branch.row.clone()
        };
        if row == branch.row {
            return;
        }
        step.store(Write::PutBranch(row));
        let parked = txn.parked_count() + u32::from(!branch.is_parked());
        let outcome = Outcome { status: txn.row.status, parked };
        for reply in &txn.awaiting {
            step.note(Volatile::CompletionTold(txn.row.number, *reply));
            step.reply(*reply, Reply::Outcome(outcome));
        }
    }

    /// Sends what waits for a resource that is back, some transactions at a time.
    pub(super) fn resume(&self, resource: ResourceNumber, from: XidNumber, at: Now) -> Step {
        let mut step = Step::default();
        let bounds = (Bound::Included(from), Bound::Unbounded);
        // Of each list enough to see that there is more.
        let first = |list: &'_ BTreeSet<XidNumber>| -> Vec<XidNumber> {
            list.range(bounds).take(RESUMED_PER_STEP_MAX + 1).copied().collect()
        };
        let lists = [&self.decided, &self.undoing, &self.sagas];
        let rest: BTreeSet<XidNumber> = lists.into_iter().flat_map(first).collect();
        for (count, xid) in rest.iter().enumerate() {
            if count == RESUMED_PER_STEP_MAX {
                let again = at.mono.after(RESUME_PAUSE);
                step.timers.push((again, Timer::Resume(resource, *xid)));
                break;
            }
            let Some(txn) = self.live(*xid) else { continue };
            if txn.saga.is_some() {
                self.resume_saga(&mut step, txn, resource, at);
                continue;
            }
            let status = txn.row.status;
            for branch in next(txn, status) {
                if branch.row.resource == resource {
                    self.send(&mut step, branch, status, at);
                }
            }
        }
        // Once is enough: a commit waits for phase one no longer than a few seconds.
        if from == XidNumber(0) {
            for txn in self.closing.iter().filter_map(|xid| self.live(*xid)) {
                self.ask_phase_one(&mut step, txn, |branch| {
                    let row = &branch.row;
                    row.resource == resource && !self.sessions.is_present(row.node)
                });
            }
        }
        step
    }
}
