//! Answers to the actions of steps, what comes from outside, and times that are over.

use std::sync::Arc;
use std::time::Duration;

use super::advance::{Certainty, row_of};
use super::{FoundSaga, tell_after};
use crate::event::{ActAnswer, Event, Target};
use crate::group::Group;
use crate::id::{SessionId, XidNumber};
use crate::rejection::Rejection;
use crate::saga::definition::{Expired, OnUnknown};
use crate::saga::graph::{ActionNode, NodeKind, WaitFor};
use crate::saga::{Attempt, LiveSaga, Slot, StepError, StepRow, StepState, UNKNOWN_CODE};
use crate::step::{ReplyTo, Step, Write};
use crate::time::{Now, Timestamp};
use crate::transaction::{GlobalTransaction, Status};

/// The code of a wait whose event did not come.
const EXPIRED_CODE: &str = "pactum-expired";
/// The least pause before an action is asked again that said *later*.
const LATER_MIN: Duration = Duration::from_millis(10);

impl Group {
    /// Late answers, answers to what was never asked, and those of a session that never proved the
    /// resource, change nothing.
    pub(in crate::group) fn step_answered(
        &self,
        (session, xid, slot): (SessionId, XidNumber, Slot),
        answer: &ActAnswer,
        at: Now,
    ) -> Step {
        let mut step = Step::default();
        let Some((txn, saga)) = self.saga(xid) else { return step };
        let Some((node, resource)) = self.action_at(saga, slot) else { return step };
        let proven = self.sessions.node_attached_to(session, resource).is_some();
        if txn.row.status != Status::Active || !proven || !is_open(saga, slot) {
            return step;
        }
        // A repeat of what was heard, or the answer to an attempt that was given up: only success counts.
        let awaited = saga.attempts.get(&slot).is_some_and(|attempt| attempt.under_way);
        match answer {
            ActAnswer::Failed { .. }
            | ActAnswer::Unknown { .. }
            | ActAnswer::Later { .. }
            | ActAnswer::Ongoing { .. }
                if !awaited => {}
            ActAnswer::Done { result } => step_done(&mut step, saga, slot, Arc::clone(result)),
            ActAnswer::Failed { error, is_final } => {
                let listed = node.finals.iter().any(|code| **code == *error.code);
                let outcome =
                    if *is_final || listed { Attempted::Final } else { Attempted::Failed };
                self.attempt_failed(&mut step, txn, (saga, node), slot, (error, outcome), at);
            }
            ActAnswer::Unknown { error } => {
                let unknown = (error, Attempted::Unknown);
                self.attempt_failed(&mut step, txn, (saga, node), slot, unknown, at);
            }
            ActAnswer::Later { after, reason } => {
                let known = saga.attempts.get(&slot).cloned().unwrap_or_default();
                let pause = after.unwrap_or(node.backoff).max(LATER_MIN);
                let next_at = at.mono.after(pause);
                let last_reason = reason.clone();
                // The attempt is over, and none of it is left.
                let attempt = Attempt { under_way: false, next_at, last_reason, ..known };
                self.postpone(&mut step, xid, slot, attempt);
            }
            ActAnswer::Ongoing { ask_after } => {
                let row = saga.run.row(slot).map(|row| row.state);
                if !matches!(row, Some(StepState::Waiting { .. })) {
                    let row = row_of(saga, slot, StepState::Waiting { since: at.wall });
                    step.store(Write::PutStep(Arc::new(row)));
                }
                let known = saga.attempts.get(&slot).cloned().unwrap_or_default();
                let never = Timestamp(u64::MAX);
                let next_at = ask_after.map_or(never, |after| at.mono.after(after.max(LATER_MIN)));
                let attempt = Attempt { under_way: false, next_at, last_reason: None, ..known };
                self.postpone(&mut step, xid, slot, attempt);
            }
        }
        step
    }

    /// An attempt came to nothing, or nobody knows what it came to.
    fn attempt_failed(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        (saga, node): (&LiveSaga, &ActionNode),
        slot: Slot,
        (error, outcome): (&Arc<StepError>, Attempted),
        at: Now,
    ) {
        let known = saga.attempts.get(&slot).cloned().unwrap_or_default();
        let counted = known.counted.saturating_add(1);
        let again = match outcome {
            Attempted::Final => false,
            Attempted::Failed => counted < node.attempts,
            Attempted::Unknown => counted < node.attempts && node.unknown == OnUnknown::Retry,
        };
        if again {
            let doubled = 2_u32.saturating_pow(counted - 1);
            let pause = node.backoff.saturating_mul(doubled).min(node.backoff_max);
            let last_reason = Some(Arc::clone(&error.message));
            let next_at = at.mono.after(pause);
            let attempt = Attempt { counted, under_way: false, next_at, last_reason, ..known };
            return self.postpone(step, txn.row.number, slot, attempt);
        }
        // Only the one attempt that there ever was can vouch for the step.
        let only = known.sent <= 1 && !saga.run.may_have_been_sent_before(slot);
        let certain = only && outcome != Attempted::Unknown && saga.run.row(slot).is_none();
        let certainty = if certain { Certainty::Certain } else { Certainty::Unclear };
        self.fail_step(step, txn, slot, (Arc::clone(error), certainty));
    }

    /// A time that a step was given is over.
    pub(in crate::group) fn step_due(&self, xid: XidNumber, slot: Slot, at: Now) -> Step {
        let mut step = Step::default();
        let Some((txn, saga)) = self.saga(xid) else { return step };
        let Some(place) = saga.graph.locate(slot) else { return step };
        match &place.node().kind {
            NodeKind::Wait(wait) => self.wait_over(&mut step, txn, (saga, *wait), slot),
            NodeKind::Action(node) => {
                let due = saga.attempts.get(&slot).filter(|one| one.next_at <= at.mono);
                let Some(attempt) = due else { return step };
                // Paused: what was asked may still be answered, and nothing new is asked.
                if !saga.row.paused {
                    self.attempt_over(&mut step, txn, (saga, node), (slot, attempt), at);
                }
            }
            NodeKind::Choice(_) | NodeKind::Each(_) | NodeKind::Saga(_) => {}
        }
        step
    }

    /// The time of an attempt is over, or the pause after it.
    pub(super) fn attempt_over(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        (saga, node): (&LiveSaga, &ActionNode),
        (slot, attempt): (Slot, &Attempt),
        at: Now,
    ) {
        let waits_for_answer = attempt.under_way && !saga.run.is_back();
        if waits_for_answer && is_open(saga, slot) {
            let message = "no attempt of it was answered in time";
            let error = StepError { code: UNKNOWN_CODE.into(), message: message.into() };
            let unknown = (&Arc::new(error), Attempted::Unknown);
            self.attempt_failed(step, txn, (saga, node), slot, unknown, at);
        } else {
            self.send_again(step, txn, saga, slot, at);
        }
    }

    fn wait_over(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        (saga, wait): (&LiveSaga, WaitFor),
        slot: Slot,
    ) {
        let waits = saga.run.row(slot).map(|row| row.state);
        let waits = matches!(waits, Some(StepState::Waiting { .. }));
        if !waits || txn.row.status != Status::Active {
            return;
        }
        match wait {
            WaitFor::Time(_) => step_done(step, saga, slot, Arc::from(*b"null")),
            WaitFor::Event { expired: Expired::Continue, .. } => {
                step.store(Write::PutStep(Arc::new(row_of(saga, slot, StepState::Skipped))));
                step.follow(Event::SagaMoved(saga.row.xid));
            }
            WaitFor::Event { expired: Expired::Fail, .. } => {
                let message = "its event did not come in time";
                let error = StepError { code: EXPIRED_CODE.into(), message: message.into() };
                self.fail_step(step, txn, slot, (Arc::new(error), Certainty::Certain));
            }
        }
    }

    pub(in crate::group) fn signal_received(
        &self,
        target: Target,
        path: &Arc<str>,
        payload: &Arc<[u8]>,
        reply: ReplyTo,
    ) -> Step {
        let refused =
            |why| Step::rejected(reply, Rejection::StepState { step: Arc::clone(path), why });
        let (txn, saga) = match self.find_saga(target) {
            Err(rejection) => return Step::rejected(reply, rejection),
            Ok(FoundSaga::Ended(_)) => return refused("its saga has ended"),
            Ok(FoundSaga::Live(txn, saga)) => (txn, saga),
        };
        let slot = saga.graph.slot(path);
        let place = slot.and_then(|slot| saga.graph.locate(slot));
        let kind = place.map(|place| &place.node().kind);
        let (Some(slot), Some(NodeKind::Wait(WaitFor::Event { .. }))) = (slot, kind) else {
            return refused("the saga has no step of this path that waits for an event");
        };
        let mut step = Step::default();
        match saga.run.row(slot).map(|row| row.state) {
            // The first one counts, and a repeat of it is no mistake.
            Some(StepState::Done) => {}
            _ if txn.row.status != Status::Active => return refused("its saga rolls back"),
            None | Some(StepState::Waiting { .. } | StepState::Open | StepState::Parked(_)) => {
                step_done(&mut step, saga, slot, Arc::clone(payload));
            }
            Some(
                StepState::Failed { .. }
                | StepState::Skipped
                | StepState::UndoParked(_)
                | StepState::Undone,
            ) => return refused("its wait is over"),
        }
        tell_after(&mut step, target, reply);
        step
    }

    pub(in crate::group) fn step_completed(
        &self,
        target: Target,
        slot: Slot,
        result: &Result<Arc<[u8]>, Arc<StepError>>,
        reply: ReplyTo,
        at: Now,
    ) -> Step {
        let (txn, saga) = match self.find_saga(target) {
            Err(rejection) => return Step::rejected(reply, rejection),
            Ok(FoundSaga::Ended(_)) => {
                let step = format!("step {slot}").into();
                let why = "its saga has ended";
                return Step::rejected(reply, Rejection::StepState { step, why });
            }
            Ok(FoundSaga::Live(txn, saga)) => (txn, saga),
        };
        let refused = |why| {
            let step = saga.graph.path(slot).into();
            Step::rejected(reply, Rejection::StepState { step, why })
        };
        let mut step = Step::default();
        let state = saga.run.row(slot).map(|row| row.state);
        match (self.action_at(saga, slot), state) {
            (None, _) => return refused("it is no step that runs an action"),
            (Some(_), Some(StepState::Done)) => {}
            (Some(_), _) if txn.row.status != Status::Active => {
                return refused("its saga rolls back");
            }
            (Some((node, _)), Some(StepState::Waiting { .. })) => match result {
                Ok(result) => step_done(&mut step, saga, slot, Arc::clone(result)),
                Err(error) => {
                    let failed = (error, Attempted::Final);
                    self.attempt_failed(&mut step, txn, (saga, node), slot, failed, at);
                }
            },
            (Some(_), _) => return refused("it has not answered *ongoing*"),
        }
        tell_after(&mut step, target, reply);
        step
    }
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempted {
    Failed,
    /// No other attempt can succeed.
    Final,
    Unknown,
}

/// Whether an answer to a step still says something new.
fn is_open(saga: &LiveSaga, slot: Slot) -> bool {
    let row = saga.run.row(slot).map(|row| row.state);
    let decided = matches!(row, Some(StepState::Failed { .. } | StepState::Skipped));
    saga.run.is_running(&saga.graph, slot) && !decided
}

/// A step took place.
pub(super) fn step_done(step: &mut Step, saga: &LiveSaga, slot: Slot, result: Arc<[u8]>) {
    let row = row_of(saga, slot, StepState::Done);
    let row = StepRow { took_place: true, result: Some(result), error: None, ..row };
    step.store(Write::PutStep(Arc::new(row)));
    step.follow(Event::SagaMoved(saga.row.xid));
}
