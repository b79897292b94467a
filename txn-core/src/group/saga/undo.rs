//! Answers to the compensations of steps.

use std::sync::Arc;

use super::advance::row_of;
use crate::event::{Event, PhaseTwoAnswer};
use crate::group::Group;
use crate::id::{SessionId, XidNumber};
use crate::saga::{Attempt, LiveSaga, Slot, StepRow, StepState};
use crate::step::{Step, Write};
use crate::time::Now;

impl Group {
    pub(in crate::group) fn undo_answered(
        &self,
        (session, xid, slot): (SessionId, XidNumber, Slot),
        answer: &PhaseTwoAnswer,
        at: Now,
    ) -> Step {
        let mut step = Step::default();
        let Some((_, saga)) = self.saga(xid) else { return step };
        let Some((_, resource)) = self.action_at(saga, slot) else { return step };
        let proven = self.sessions.node_attached_to(session, resource).is_some();
        if !proven || !saga.run.is_undoing(slot) {
            return step;
        }
        match answer {
            PhaseTwoAnswer::Done => undone(&mut step, saga, slot),
            PhaseTwoAnswer::Later { .. } if is_parked(saga, slot) => {}
            PhaseTwoAnswer::Later { after, reason } => {
                let known = saga.attempts.get(&slot).cloned().unwrap_or_default();
                // It was sent, by an earlier process if not by this one.
                let sent = known.sent.max(1);
                let delay = self.back_off(slot.branch(), sent);
                let next_at = at.mono.after(delay.max(after.unwrap_or_default()));
                let last_reason = reason.clone();
                let attempt = Attempt { sent, under_way: false, next_at, last_reason, ..known };
                self.postpone(&mut step, xid, slot, attempt);
            }
            PhaseTwoAnswer::Parked { reason, report } => {
                let row = row_of(saga, slot, StepState::UndoParked(*reason));
                let row = StepRow { report: Some(Arc::clone(report)), ..row };
                if saga.run.row(slot).is_none_or(|known| **known != row) {
                    step.store(Write::PutStep(Arc::new(row)));
                    self.tell_saga_callers(&mut step, xid);
                }
            }
        }
        step
    }
}

fn is_parked(saga: &LiveSaga, slot: Slot) -> bool {
    let row = saga.run.row(slot);
    row.is_some_and(|row| matches!(row.state, StepState::UndoParked(_)))
}

/// The compensation of a step is done, or is passed over.
pub(super) fn undone(step: &mut Step, saga: &LiveSaga, slot: Slot) {
    step.store(Write::PutStep(Arc::new(row_of(saga, slot, StepState::Undone))));
    step.follow(Event::SagaMoved(saga.row.xid));
}
