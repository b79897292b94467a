//! What of a saga may be done now: begun, sent, ended.

use std::sync::Arc;
use std::time::Duration;

use super::{standing, tell};
use crate::event::{Event, Timer};
use crate::group::Group;
use crate::group::decision::with_status;
use crate::id::{NodeId, ResourceNumber, XidNumber};
use crate::saga::definition::{OnUnknown, Recovery};
use crate::saga::graph::{ActionNode, NodeKind, WaitFor};
use crate::saga::{
    Attempt, LiveSaga, Next, Slot, StepError, StepRow, StepState, Undo, next_steps, undo,
};
use crate::step::{Change, Command, Outcome, Step, Task, TaskKind, Volatile, Write};
use crate::time::{Now, Timestamp};
use crate::transaction::{
    Action, BranchMode, GlobalTransaction, ParkReason, RollbackCause, Status,
};

/// Of a step that nobody registered. Dispatch takes the next session of the resource.
const NO_NODE: NodeId = NodeId(0);

impl Group {
    /// Does what may be done. What has nobody to go to stays due, until somebody attaches.
    pub(in crate::group) fn saga_moved(&self, xid: XidNumber, at: Now) -> Step {
        let mut step = Step::default();
        let Some((txn, saga)) = self.saga(xid) else { return step };
        for next in next_steps(&saga.graph, &saga.run) {
            match next {
                Next::Complete => self.end_saga(&mut step, txn, saga, Status::Committed, at),
                Next::Undone => {
                    if let Status::RollingBack(cause) = txn.row.status {
                        let ended = Status::RolledBack(cause);
                        self.end_saga(&mut step, txn, saga, ended, at);
                    }
                }
                Next::Act { .. } | Next::BeginWait { .. } | Next::Fail { .. } | Next::Undo(_)
                    if saga.row.paused => {}
                Next::Act { slot, input } => self.send_act(&mut step, saga, slot, input, at),
                Next::BeginWait { slot, wait } => begin_wait(&mut step, saga, slot, wait, at),
                Next::Fail { slot, error } => {
                    self.fail_step(&mut step, txn, slot, (Arc::new(error), Certainty::Certain));
                }
                Next::Undo(undo) => self.begin_undo(&mut step, saga, undo, at),
            }
        }
        step
    }

    /// Sends an attempt of an action, if anybody can take it.
    pub(super) fn send_act(
        &self,
        step: &mut Step,
        saga: &LiveSaga,
        slot: Slot,
        input: Arc<[u8]>,
        at: Now,
    ) {
        let Some((node, resource)) = self.action_at(saga, slot) else { return };
        if self.sessions.attached_to(resource) == 0 {
            return;
        }
        let timeout = node.timeout;
        let task = task(saga, slot, (node, resource), TaskKind::Act { timeout }, (input, None));
        let over_at = at.mono.after(timeout + self.policy().attempt_grace);
        self.attempt(step, saga, task, slot, (at, over_at));
    }

    /// Sends a compensation, unless an attempt of its action may still be under way.
    fn begin_undo(&self, step: &mut Step, saga: &LiveSaga, undo: Undo, at: Now) {
        let known = saga.attempts.get(&undo.slot);
        if known.is_some_and(|attempt| !attempt.under_way && attempt.next_at > at.mono) {
            return;
        }
        let over_at = self.attempt_over_at(saga, undo.slot);
        if over_at <= at.mono || undo.took_place {
            return self.send_undo(step, saga, undo, at);
        }
        let attempt = Attempt { next_at: over_at, ..Attempt::default() };
        self.postpone(step, saga.row.xid, undo.slot, attempt);
    }

    /// Until when an attempt of an action that was not answered may be under way. Where there is a
    /// database the tombstone keeps a late one out, so only services are waited for.
    fn attempt_over_at(&self, saga: &LiveSaga, slot: Slot) -> Timestamp {
        let Some((node, resource)) = self.action_at(saga, slot) else { return Timestamp(0) };
        let mut services = self.bindings.iter().filter(|row| row.uid.is_none());
        if !services.any(|row| row.number == resource) {
            return Timestamp(0);
        }
        let under_way = saga.attempts.get(&slot).filter(|attempt| attempt.under_way);
        let sent_before = saga.run.may_have_been_sent_before(slot);
        match (under_way, saga.loaded_at.filter(|_| sent_before)) {
            (Some(attempt), _) => attempt.next_at,
            (None, Some(loaded_at)) => loaded_at.after(node.timeout),
            (None, None) => Timestamp(0),
        }
    }

    pub(super) fn send_undo(&self, step: &mut Step, saga: &LiveSaga, undo: Undo, at: Now) {
        let Some((node, resource)) = self.action_at(saga, undo.slot) else { return };
        if self.sessions.attached_to(resource) == 0 {
            return;
        }
        let forward_only = !node.compensable;
        let kind = TaskKind::Compensate { took_place: undo.took_place, forward_only };
        let task = task(saga, undo.slot, (node, resource), kind, (undo.input, undo.result));
        let delay = self.back_off(undo.slot.branch(), task.attempt);
        let over_at = at.mono.after(delay.max(self.policy().attempt_grace));
        self.attempt(step, saga, task, undo.slot, (at, over_at));
    }

    fn attempt(
        &self,
        step: &mut Step,
        saga: &LiveSaga,
        task: Task,
        slot: Slot,
        (at, next_at): (Now, Timestamp),
    ) {
        let known = saga.attempts.get(&slot).cloned().unwrap_or_default();
        let sent = known.sent.saturating_add(1);
        let attempt = Attempt { sent, under_way: true, sent_at: at.mono, next_at, ..known };
        let xid = saga.row.xid;
        step.commands.push(Command::Send(task));
        step.note(Volatile::StepAttempted(xid, slot, attempt));
        step.timers.push((next_at, Timer::Step(xid, slot)));
    }

    /// A step is looked at again at `attempt.next_at`.
    pub(super) fn postpone(&self, step: &mut Step, xid: XidNumber, slot: Slot, attempt: Attempt) {
        if attempt.next_at < Timestamp(u64::MAX) {
            step.timers.push((attempt.next_at, Timer::Step(xid, slot)));
        }
        step.note(Volatile::StepAttempted(xid, slot, attempt));
    }

    /// The action behind a slot, and its resource's number.
    pub(super) fn action_at<'s>(
        &self,
        saga: &'s LiveSaga,
        slot: Slot,
    ) -> Option<(&'s ActionNode, ResourceNumber)> {
        let node = saga.graph.action(slot)?;
        Some((node, self.bindings.by_id(&node.resource)?.number))
    }

    /// A step has failed for good: the saga rolls back, or the step is parked for a person.
    pub(super) fn fail_step(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        slot: Slot,
        (error, certainty): (Arc<StepError>, Certainty),
    ) {
        let Some(saga) = &txn.saga else { return };
        let recovery = saga.graph.locate(slot).map(|place| place.node().recovery());
        let state = match recovery.unwrap_or(Recovery::Backward) {
            Recovery::Forward => StepState::Parked(ParkReason::HandlerFatal),
            Recovery::Backward => StepState::Failed { certain: certainty == Certainty::Certain },
        };
        let row = StepRow { error: Some(error), ..row_of(saga, slot, state) };
        step.store(Write::PutStep(Arc::new(row)));
        if let StepState::Failed { .. } = state {
            step.follow(Event::RollbackDue(txn.row.number, RollbackCause::StepFailed));
        }
    }

    /// The decision to roll a saga back. Its compensations follow in a step of their own.
    pub(in crate::group) fn turn_saga_back(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        cause: RollbackCause,
        at: Now,
    ) -> Status {
        let status = Status::RollingBack(cause);
        step.store(Write::PutTransaction(with_status(&txn.row, status, at)));
        step.follow(Event::SagaMoved(txn.row.number));
        status
    }

    fn end_saga(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        saga: &LiveSaga,
        ended: Status,
        at: Now,
    ) {
        step.store(Write::PutTransaction(with_status(&txn.row, ended, at)));
        for reply in &txn.awaiting {
            tell(step, *reply, saga.standing(Outcome { status: ended, parked: 0 }));
        }
    }

    /// Sends again what a saga waits for at a resource that is back: whoever had it is gone.
    pub(in crate::group) fn resume_saga(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        back: ResourceNumber,
        at: Now,
    ) {
        let Some(saga) = txn.saga.as_deref().filter(|saga| !saga.row.paused) else { return };
        step.follow(Event::SagaMoved(txn.row.number));
        for (slot, attempt) in &saga.attempts {
            let Some((node, resource)) = self.action_at(saga, *slot) else { continue };
            // What must not be repeated is not: its time says what became of it.
            let repeated = saga.run.is_back() || node.unknown == OnUnknown::Retry;
            // Where others were attached already, one of them may have it; what came due while nobody was
            // there waits for this.
            let alone = self.sessions.attached_to(resource) == 1;
            let lost = attempt.under_way && repeated && alone && attempt.sent_at < at.mono;
            let due = !attempt.under_way && attempt.next_at <= at.mono;
            if resource == back && (lost || due) {
                self.send_again(step, txn, saga, *slot, at);
            }
        }
    }

    /// Sends a step again whose attempt was lost, postponed, or is wanted by an operator.
    pub(super) fn send_again(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        saga: &LiveSaga,
        slot: Slot,
        at: Now,
    ) {
        if saga.run.is_back() {
            if saga.run.is_undoing(slot) {
                self.send_undo(step, saga, undo(&saga.graph, &saga.run, slot), at);
            }
        } else if saga.run.is_running(&saga.graph, slot) {
            match saga.run.input(&saga.graph, slot) {
                Ok(input) => self.send_act(step, saga, slot, input, at),
                Err(error) => {
                    let failed = (Arc::new(error), Certainty::Unclear);
                    self.fail_step(step, txn, slot, failed);
                }
            }
        }
    }

    /// Whoever waits for a saga hears where it stands.
    pub(in crate::group) fn tell_saga_callers(&self, step: &mut Step, xid: XidNumber) {
        let Some((txn, saga)) = self.saga(xid) else { return };
        for reply in &txn.awaiting {
            step.note(Volatile::CompletionTold(xid, *reply));
            tell(step, *reply, standing(txn, saga));
        }
    }
}

/// Whether a failed step surely did not take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    Certain,
    /// An attempt of it may have taken place, or be under way.
    Unclear,
}

/// The row of a step in a new state.
pub(super) fn row_of(saga: &LiveSaga, slot: Slot, state: StepState) -> StepRow {
    match saga.run.row(slot) {
        Some(row) => StepRow { state, ..StepRow::clone(row) },
        None => StepRow {
            xid: saga.row.xid,
            slot,
            state,
            took_place: false,
            result: None,
            error: None,
            report: None,
        },
    }
}

fn begin_wait(step: &mut Step, saga: &LiveSaga, slot: Slot, wait: WaitFor, at: Now) {
    let row = row_of(saga, slot, StepState::Waiting { since: at.wall });
    step.store(Write::PutStep(Arc::new(row)));
    if let Some(span) = wait.ends_after() {
        step.timers.push((at.mono.after(span), Timer::Step(saga.row.xid, slot)));
    }
}

fn task(
    saga: &LiveSaga,
    slot: Slot,
    (node, resource): (&ActionNode, ResourceNumber),
    kind: TaskKind,
    (input, result): (Arc<[u8]>, Option<Arc<[u8]>>),
) -> Task {
    let sent = saga.attempts.get(&slot).map_or(0, |attempt| attempt.sent);
    Task {
        kind,
        xid: saga.row.xid,
        branch: slot.branch(),
        resource,
        node: NO_NODE,
        mode: BranchMode::Saga,
        attempt: sent.saturating_add(1),
        action: Some(Arc::new(Action { name: Arc::clone(&node.action), payload: input })),
        resolution: None,
        result,
    }
}

/// What remains of a wait that has begun, after a restart: never more than all of it.
fn remaining_wait(saga: &LiveSaga, slot: Slot, at: Now) -> Option<Duration> {
    let StepState::Waiting { since } = saga.run.row(slot)?.state else { return None };
    let NodeKind::Wait(wait) = &saga.graph.locate(slot)?.node().kind else { return None };
    let passed = Duration::from_millis(at.wall.0.saturating_sub(since.0));
    Some(wait.ends_after()?.saturating_sub(passed))
}

impl Group {
    /// The end of recovery: waits get their timers, and what has nobody to be sent to is due.
    pub(in crate::group) fn load_sagas(&mut self, step: &mut Step, at: Now) {
        for xid in self.sagas.clone() {
            self.apply(&Change::Volatile(Volatile::SagaLoaded(xid, at.mono)));
            let Some((_, saga)) = self.saga(xid) else { continue };
            let mut ongoing = Vec::new();
            for row in saga.run.rows() {
                if let Some(remaining) = remaining_wait(saga, row.slot, at) {
                    step.timers.push((at.mono.after(remaining), Timer::Step(xid, row.slot)));
                }
                let waits = matches!(row.state, StepState::Waiting { .. });
                if waits && saga.graph.action(row.slot).is_some() {
                    ongoing.push(row.slot);
                }
            }
            // When they were to be asked again is not stored: now.
            for slot in ongoing {
                let attempt = Attempt { next_at: at.mono, ..Attempt::default() };
                self.apply(&Change::Volatile(Volatile::StepAttempted(xid, slot, attempt)));
                step.timers.push((at.mono, Timer::Step(xid, slot)));
            }
            // What goes on by itself, as the beginning of a wait, does so at once.
            step.timers.push((at.mono, Timer::Saga(xid)));
        }
    }
}
