//! Between the wire's messages and what the agent works with.

use std::time::Duration;

use pactum_core::id::{BranchId, ResourceId, StoreId, Xid};
use pactum_core::lock::key::{EncodedKey, LockMode};
use pactum_core::saga::limits::{MESSAGE_BYTES_MAX, NAME_BYTES_MAX};
use pactum_core::transaction::Action;
use pactum_proto::v1;
use pactum_proto::v1::opinion::Opinion as WireOpinion;
use pactum_proto::v1::work_result::Result as WireResult;
use tokio::time::Instant;

use super::Registration;
use super::outcome_calls::{Opinion, Question};
use crate::branch::{Answer, BranchKey, StepAnswer, StepWork, Task, Work};
use crate::context::TransactionContext;

/// The longest reason of a *later*: enough for a paragraph.
const REASON_BYTES_MAX: usize = 4096;

/// The name by which a participant is asked; a result names it back.
fn task(wire: &v1::Work) -> Option<Task> {
    let phase_one_done = wire.phase_one_done;
    match wire.kind() {
        v1::WorkKind::Commit => Some(Task::Commit),
        v1::WorkKind::Rollback => Some(Task::Rollback { phase_one_done }),
        v1::WorkKind::AskPhaseOne => Some(Task::AskPhaseOne),
        v1::WorkKind::CanCommit => Some(Task::CanCommit),
        v1::WorkKind::Act if wire.mode() == v1::BranchMode::Saga => Some(Task::Act),
        v1::WorkKind::Act | v1::WorkKind::Unspecified => None,
    }
}

/// Work as the participant of its resource understands it, or why this agent cannot do it.
pub(super) fn work(wire: &v1::Work, store: StoreId) -> Result<(ResourceId, Work), &'static str> {
    let task = task(wire).ok_or("this kind of work is not known")?;
    let xid: Xid = wire.xid.parse().map_err(|_| "its XID is malformed")?;
    let resource: ResourceId =
        wire.resource_id.parse().map_err(|_| "its resource id is malformed")?;
    let mode = pactum_proto::convert::mode(wire.mode).map_err(|_| "its mode is not known")?;
    let action = (!wire.action.is_empty()).then(|| Action {
        name: wire.action.as_str().into(),
        payload: wire.payload.to_vec().into(),
    });
    let branch = BranchId(wire.branch_id);
    let step = (!wire.token.is_empty()).then(|| StepWork {
        until: Instant::now() + Duration::from_millis(wire.timeout_ms.into()),
        key: wire.token.clone(),
        result: wire.result.clone(),
        forward_only: wire.forward_only,
    });
    let key = BranchKey { xid, branch };
    // Acting as if nobody had decided would only park the branch again.
    let resolution = pactum_proto::convert::resolution(wire.resolution)
        .map_err(|_| "the operator's resolution is not known")?;
    Ok((resource, Work { key, store, task, attempt: wire.attempt, mode, action, resolution, step }))
}

pub(super) fn work_kind(task: Task) -> v1::WorkKind {
    match task {
        Task::Commit => v1::WorkKind::Commit,
        Task::Rollback { .. } => v1::WorkKind::Rollback,
        Task::AskPhaseOne => v1::WorkKind::AskPhaseOne,
        Task::CanCommit => v1::WorkKind::CanCommit,
        Task::Act => v1::WorkKind::Act,
    }
}

pub(super) fn work_result(work: &Work, answer: Answer) -> v1::WorkResult {
    result_of(work.key.xid.to_string(), work.key.branch.0, work_kind(work.task), answer)
}

/// The answer to work that no participant here can do: somebody else may, later.
pub(super) fn not_here(wire: &v1::Work, reason: &str) -> v1::WorkResult {
    let answer = Answer::Later { after: None, reason: reason.to_owned() };
    result_of(wire.xid.clone(), wire.branch_id, wire.kind(), answer)
}

fn result_of(xid: String, branch_id: u64, kind: v1::WorkKind, answer: Answer) -> v1::WorkResult {
    let result = match answer {
        Answer::Done => WireResult::Done(v1::Done {}),
        Answer::Failed => WireResult::Failed(v1::Failed {}),
        Answer::Later { after, reason } => {
            let reason = cut(reason, REASON_BYTES_MAX);
            WireResult::Later(v1::Later { after_ms: after.map_or(0, millis_u32), reason })
        }
        Answer::Parked(report) => WireResult::Parked(report),
        Answer::Step(answer) => step_result(answer),
    };
    v1::WorkResult { xid, branch_id, kind: kind.into(), result: Some(result) }
}

/// What handlers say of themselves is cut: a frame that is too large would end the session of everybody.
fn step_result(answer: StepAnswer) -> WireResult {
    match answer {
        StepAnswer::Done(result) => WireResult::StepDone(v1::StepDone { result: result.into() }),
        StepAnswer::Failed { code, message, is_final } => {
            let (code, message) = (cut(code, NAME_BYTES_MAX), cut(message, MESSAGE_BYTES_MAX));
            WireResult::StepFailed(v1::StepFailed { code, message, r#final: is_final })
        }
        StepAnswer::Unknown(message) => {
            let message = cut(message, MESSAGE_BYTES_MAX);
            WireResult::StepUnknown(v1::StepUnknown { message })
        }
        StepAnswer::Ongoing { ask_after } => {
            let ask_after_ms = ask_after.map_or(0, |after| millis_u32(after).max(1));
            WireResult::StepOngoing(v1::StepOngoing { ask_after_ms })
        }
    }
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

pub(super) fn register(
    context: &TransactionContext,
    registration: &Registration,
) -> v1::RegisterRequest {
    v1::RegisterRequest {
        xid: context.xid_here().to_string(),
        store_id: store(context),
        branch_id: registration.branch.0,
        resource_id: registration.resource.to_string(),
        mode: v1::BranchMode::from(registration.mode).into(),
        scopes: scopes(context),
        locks: locks(&registration.locks),
        wait_ms: millis_u32(registration.wait),
        holds_local_locks: registration.holds_local_locks,
        lock_only: registration.lock_only,
        claim_id: registration.claim.map_or(0, |claim| claim.0),
        action: registration
            .action
            .as_ref()
            .map_or_else(String::new, |action| action.name.to_string()),
        payload: registration
            .action
            .as_ref()
            .map_or_else(Default::default, |action| action.payload.to_vec().into()),
        ..v1::RegisterRequest::default()
    }
}

pub(super) fn question(question: &Question) -> v1::Question {
    let Question { resource, mode, action } = question;
    let (action, payload) = action.as_ref().map_or_else(Default::default, |action| {
        (action.name.to_string(), action.payload.to_vec().into())
    });
    let mode = v1::BranchMode::from(*mode).into();
    v1::Question { resource_id: resource.to_string(), mode, action, payload }
}

/// What participants think; `None` for an answer that a later version may know.
pub(super) fn opinion(opinion: v1::Opinion) -> Option<Opinion> {
    Some(match opinion.opinion? {
        WireOpinion::Yes(v1::Yes {}) => Opinion::Yes,
        WireOpinion::No(v1::No { resource_id: resource, action, reason }) => {
            Opinion::No { resource, action, reason }
        }
        WireOpinion::Unknown(v1::Unknown { resource_id: resource, action, reason }) => {
            Opinion::Unknown { resource, action, reason }
        }
    })
}

/// The nested scopes of a context, as requests carry them.
pub(super) fn scopes(context: &TransactionContext) -> Vec<u64> {
    context.scopes().iter().map(|scope| scope.0).collect()
}

pub(super) fn locks(locks: &[(EncodedKey, LockMode)]) -> Vec<v1::Lock> {
    let lock = |(key, mode): &(EncodedKey, LockMode)| v1::Lock {
        key: key.as_bytes().to_vec().into(),
        mode: v1::LockMode::from(*mode).into(),
    };
    locks.iter().map(lock).collect()
}

/// The store of a context, as requests carry it.
pub(crate) fn store<B: From<Vec<u8>>>(context: &TransactionContext) -> B {
    context.store_id().to_bytes().to_vec().into()
}

/// Milliseconds for the wire, rounded up: a wait of a microsecond is not "do not wait".
pub(crate) fn millis_u32(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
