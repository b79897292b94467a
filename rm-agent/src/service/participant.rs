//! What the coordinator asks of a service's steps: the action, or the compensation.
//!
//! Whatever goes wrong in an action leaves *unknown* behind, unless the handler itself knows better: there
//! is no local transaction to roll back.

use std::sync::Arc;

use async_trait::async_trait;
use pactum_core::saga::limits::RESULT_BYTES_MAX;
use pactum_proto::v1::OfferedAction;

use super::attached::ServiceOptions;
use super::erased::Handler;
use crate::action::{
    Call, Registry, call, handled_answer, later, parked, stopped_answer, too_late, unknown,
};
use crate::branch::{Answer, BranchKey, StepAnswer, Task, Work};
use crate::saga::{Acted, StepCall};
use crate::session::Participant;

/// The steps of a service, as the session calls them.
pub(super) struct ServiceParticipant {
    pub(super) steps: Arc<Registry<dyn Handler>>,
    pub(super) options: ServiceOptions,
}

#[async_trait]
impl Participant for ServiceParticipant {
    fn rollbacks_at_once(&self) -> usize {
        usize::try_from(self.options.handlers_at_once).unwrap_or(1)
    }

    fn actions_at_once(&self) -> usize {
        self.rollbacks_at_once()
    }

    fn offers(&self) -> Vec<OfferedAction> {
        self.steps.tell(|name, handler| OfferedAction {
            name: name.to_owned(),
            compensable: handler.is_compensable(),
        })
    }

    async fn commit(&self, batch: Vec<Work>) -> Vec<(BranchKey, Answer)> {
        // A saga has no phase two at commit, and a service no branches of other modes.
        batch.into_iter().map(|work| (work.key, Answer::Done)).collect()
    }

    async fn settle(&self, work: Work) -> Answer {
        match work.task {
            Task::Act => self.act(&work).await,
            Task::Rollback { .. } => self.compensate(&work).await,
            Task::Commit | Task::AskPhaseOne | Task::CanCommit => {
                later(None, "a service without a database has no such branches")
            }
        }
    }
}

impl ServiceParticipant {
    async fn act(&self, work: &Work) -> Answer {
        let name = work.action_name();
        let Some(handler) = self.steps.find_soon(name).await else { return unknown(name) };
        let time_left = work.time_left();
        if time_left.is_zero() {
            return too_late();
        }
        let step_call = StepCall::new(work, time_left);
        Answer::Step(match call(time_left, handler.act(&step_call, work.payload())).await {
            Call::Returned(Ok(Acted::Done(output))) if output.len() <= RESULT_BYTES_MAX => {
                StepAnswer::Done(output)
            }
            Call::Returned(Ok(Acted::Done(output))) => {
                let bytes = output.len();
                let message = format!(
                    "it took place, and its result of {bytes} bytes is more than {RESULT_BYTES_MAX}: \
                     return the key of what is large"
                );
                StepAnswer::Unknown(message)
            }
            Call::Returned(Ok(Acted::Ongoing { ask_after })) => StepAnswer::Ongoing { ask_after },
            Call::Returned(Err(error)) => return error.into_answer(),
            Call::Panicked(message) => StepAnswer::Unknown(format!("it panicked: {message}")),
            Call::TimedOut => StepAnswer::Unknown("it did not end within its time".to_owned()),
        })
    }

    async fn compensate(&self, work: &Work) -> Answer {
        let name = work.action_name();
        let Some(handler) = self.steps.find_soon(name).await else { return unknown(name) };
        if work.is_forward_only() || !handler.is_compensable() {
            let why = format!("`{name}` has no compensation: settle it by hand, and skip the step");
            return parked(pactum_proto::v1::ParkReason::HandlerFatal, &why);
        }
        let limit = self.options.handler_wait_max;
        let step_call = StepCall::new(work, limit);
        let called = handler.compensate(&step_call, work.payload(), work.told());
        match call(limit, called).await {
            Call::Returned(Ok(handled)) => handled_answer(name, handled),
            Call::Returned(Err(stopped)) => stopped_answer(name, &stopped),
            Call::Panicked(message) => later(None, &format!("`{name}` panicked: {message}")),
            Call::TimedOut => later(None, &format!("`{name}` did not end within {limit:?}")),
        }
    }
}
