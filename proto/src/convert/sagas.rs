//! What is asked of declared sagas, as events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pactum_core::event::{ActAnswer, Event, Offer, Operate, Submit, Target};
use pactum_core::id::{BranchId, SessionId};
use pactum_core::saga::limits::{INPUT_BYTES_MAX, MESSAGE_BYTES_MAX, RESULT_BYTES_MAX};
use pactum_core::saga::{SagaVerb, Slot, StepError, UNKNOWN_CODE};
use pactum_core::step::ReplyTo;

use super::enums::UnknownValue;
use super::error::{invalid, invalid_over};
use super::operator::RESOLUTION_REASON_BYTES_MAX;
use super::requests::{
    IDEMPOTENCY_KEY_BYTES_MAX, NAME_BYTES_MAX, RequestReader, bounded, check_count, check_length,
    required,
};
use super::work::cut;
use crate::v1;

/// The longest path of a step, in bytes: the deepest nesting of the longest names.
const PATH_BYTES_MAX: usize = 1024;
/// The longest name of an action and of an error.
const ACTION_BYTES_MAX: usize = 64;
/// How many actions one resource may offer.
const OFFERS_MAX: usize = 1_000;
/// How long an answer may wait for the end of a saga.
const WAIT_MS_MAX: u32 = 60_000;

impl RequestReader {
    /// A saga that is to start, by its name.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn submit_saga(
        &self,
        request: v1::SubmitSagaRequest,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        use v1::submit_saga_request::Definition;
        let saga = match request.definition {
            Some(Definition::Saga(saga)) => saga,
            Some(Definition::Inline(_)) => {
                let message = "an inline definition is submitted by a unary call";
                return Err(invalid("inline", message));
            }
            None => return Err(invalid("saga", "`saga` is missing; name a saga that is defined")),
        };
        let name = required("saga.name", saga.name, NAME_BYTES_MAX)?.into();
        let key = bounded("idempotency_key", request.idempotency_key, IDEMPOTENCY_KEY_BYTES_MAX)?;
        Ok(Event::SubmitRequested(Box::new(Submit {
            name,
            version: (saga.version != 0).then_some(saga.version),
            input: json("input", &request.input, INPUT_BYTES_MAX)?,
            idempotency_key: (!key.is_empty()).then(|| Arc::from(key)),
            wait: wait(request.wait_ms)?,
            reply,
        })))
    }

    /// A question where a saga stands.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn get_saga(
        &self,
        request: &v1::GetSagaRequest,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        let target = self.target(&request.xid, &request.store_id)?;
        Ok(Event::SagaRequested { target, wait: wait(request.wait_ms)?, reply })
    }

    /// An event that came for a step.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn signal_saga(
        &self,
        request: v1::SignalSagaRequest,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        let target = Target { xid: self.operator_xid(&request.xid)?, store_named: false };
        let payload = json("payload", &request.payload, RESULT_BYTES_MAX)?;
        let path = required("step", request.step, PATH_BYTES_MAX)?.into();
        Ok(Event::SignalReceived { target, path, payload, reply })
    }

    /// How an ongoing action ended.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn complete_step(
        &self,
        request: v1::CompleteStepRequest,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        use v1::complete_step_request::Result as Wire;
        let malformed = || invalid("token", "`token` is none that a step was given");
        let (xid, branch) = request.token.rsplit_once('/').ok_or_else(malformed)?;
        let target = Target { xid: self.operator_xid(xid)?, store_named: false };
        let branch = branch.parse().map(BranchId).map_err(|_| malformed())?;
        let slot = Slot::of_branch(branch).ok_or_else(malformed)?;
        let result = match request.result {
            Some(Wire::Done(done)) => Ok(json("result", &done.result, RESULT_BYTES_MAX)?),
            Some(Wire::Failed(failed)) => Err(step_error(&failed)?),
            None => return Err(invalid("result", "`result` is missing; send done or failed")),
        };
        Ok(Event::StepCompleted { target, slot, result, reply })
    }

    /// An operator's word.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn operate_saga(
        &self,
        request: &v1::OperateSagaRequest,
        reply: ReplyTo,
    ) -> Result<Event, v1::Error> {
        let target = Target { xid: self.operator_xid(&request.xid)?, store_named: false };
        let verb = match request.verb() {
            v1::SagaVerb::Pause => SagaVerb::Pause,
            v1::SagaVerb::Resume => SagaVerb::Resume,
            v1::SagaVerb::Retry => SagaVerb::Retry,
            v1::SagaVerb::Skip => SagaVerb::Skip,
            v1::SagaVerb::Force => SagaVerb::Force,
            v1::SagaVerb::Cancel => SagaVerb::Cancel,
            v1::SagaVerb::Unspecified => {
                return Err(UnknownValue { field: "verb", value: request.verb }.into());
            }
        };
        check_length("step", request.step.len(), PATH_BYTES_MAX)?;
        check_length("reason", request.reason.len(), RESOLUTION_REASON_BYTES_MAX)?;
        if request.reason.trim().is_empty() {
            let message = "`reason` is missing; say why, for whoever looks at the history";
            return Err(invalid("reason", message));
        }
        Ok(Event::OperateRequested(Box::new(Operate {
            target,
            verb,
            step: (!request.step.is_empty()).then(|| request.step.as_str().into()),
            result: json("result", &request.result, RESULT_BYTES_MAX)?,
            reason: request.reason.as_str().into(),
            reply,
        })))
    }
}

/// The actions that a session offers at a resource.
pub(super) fn offers(actions: &[v1::OfferedAction]) -> Result<Vec<Offer>, v1::Error> {
    check_count("actions", actions.len(), OFFERS_MAX)?;
    let offer = |action: &v1::OfferedAction| {
        let name = required("actions.name", action.name.clone(), ACTION_BYTES_MAX)?;
        Ok(Offer { action: name.into(), compensable: action.compensable })
    };
    actions.iter().map(offer).collect()
}

/// What a participant says to an attempt of a step. A result that is none is refused, so it is as if no
/// answer had come: the attempt may have taken place.
pub(super) fn act_answered(
    session: SessionId,
    (xid, branch): (pactum_core::id::XidNumber, BranchId),
    answer: v1::work_result::Result,
) -> Result<Event, v1::Error> {
    use v1::work_result::Result as Wire;
    let after = |ms: u32| (ms != 0).then(|| Duration::from_millis(u64::from(ms)));
    let slot = Slot::of_branch(branch)
        .ok_or_else(|| invalid("branch_id", "no step of a saga has this branch id"))?;
    let answer = match answer {
        Wire::StepDone(done) => {
            ActAnswer::Done { result: json("result", &done.result, RESULT_BYTES_MAX)? }
        }
        Wire::StepFailed(failed) => {
            ActAnswer::Failed { error: step_error(&failed)?, is_final: failed.r#final }
        }
        Wire::StepUnknown(unknown) => {
            let message = cut(&unknown.message, MESSAGE_BYTES_MAX).into();
            ActAnswer::Unknown { error: Arc::new(StepError { code: UNKNOWN_CODE.into(), message }) }
        }
        Wire::Later(later) => ActAnswer::Later {
            after: after(later.after_ms),
            reason: (!later.reason.is_empty())
                .then(|| cut(&later.reason, MESSAGE_BYTES_MAX).into()),
        },
        Wire::StepOngoing(ongoing) => ActAnswer::Ongoing { ask_after: after(ongoing.ask_after_ms) },
        Wire::Done(_) | Wire::Failed(_) | Wire::Parked(_) => {
            let message = "an action is answered with step_done, step_failed, step_unknown, \
                           step_ongoing or later";
            return Err(invalid("result", message));
        }
    };
    Ok(Event::StepAnswered { session, xid, slot, answer })
}

fn step_error(failed: &v1::StepFailed) -> Result<Arc<StepError>, v1::Error> {
    check_length("code", failed.code.len(), ACTION_BYTES_MAX)?;
    let code = if failed.code.is_empty() { "failed" } else { &failed.code };
    let message = cut(&failed.message, MESSAGE_BYTES_MAX).into();
    Ok(Arc::new(StepError { code: code.into(), message }))
}

fn wait(wait_ms: u32) -> Result<Option<Duration>, v1::Error> {
    if wait_ms > WAIT_MS_MAX {
        let message = format!("`wait_ms` is {wait_ms}; send at most {WAIT_MS_MAX}, and ask again");
        return Err(invalid_over("wait_ms", u64::from(WAIT_MS_MAX), message));
    }
    Ok((wait_ms != 0).then(|| Duration::from_millis(u64::from(wait_ms))))
}

/// A field that holds JSON; empty is null.
fn json(field: &str, bytes: &Bytes, bytes_max: usize) -> Result<Arc<[u8]>, v1::Error> {
    check_length(field, bytes.len(), bytes_max)?;
    if bytes.is_empty() {
        return Ok(Arc::from(*b"null"));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
        Ok(_) => Ok(Arc::from(&bytes[..])),
        Err(error) => Err(invalid(field, format!("`{field}` is not JSON: {error}"))),
    }
}
