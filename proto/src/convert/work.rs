//! What a participant answers to a task.

use std::sync::Arc;
use std::time::Duration;

use pactum_core::event::{
    Direction, Event, PhaseOneReport, PhaseOneResult, PhaseTwoAnswer, Target,
};
use pactum_core::id::{BranchId, NodeId, ResourceId, SessionId, XidNumber};
use prost::Message as _;

use super::enums::{self, Answered};
use super::error::invalid;
use super::questions::Said;
use super::requests::{RequestReader, branch_id};
use super::sagas;
use crate::v1::{self, work_result::Result as Wire};

/// The largest park report that is kept, in bytes; a larger one keeps its reason and message.
pub const PARK_REPORT_BYTES_MAX: usize = 64 * 1024;
/// The longest message of a park report whose rows did not fit, in bytes.
const PARK_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// The longest reason of a *later* that is kept, in bytes; a longer one is cut.
const LATER_REASON_BYTES_MAX: usize = 1024;

/// A participant's answer to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkAnswer {
    /// To phase two, or to the action of a step: ready to be handled.
    PhaseTwo(Event),
    /// To *how did phase one end*; `None` if it could not tell.
    PhaseOne(XidNumber, BranchId, Option<PhaseOneResult>),
    /// To the question of this number: not for the group.
    CanCommit(u64, Said),
}

impl WorkAnswer {
    /// The event, with what a question about phase one was asked of; `None` if there is nothing to
    /// tell the group. The core asks again by itself.
    #[must_use]
    pub fn into_event(
        self,
        node: NodeId,
        asked: impl FnOnce(XidNumber, BranchId) -> Option<ResourceId>,
    ) -> Option<Event> {
        match self {
            WorkAnswer::PhaseTwo(event) => Some(event),
            WorkAnswer::PhaseOne(_, _, None) | WorkAnswer::CanCommit(..) => None,
            WorkAnswer::PhaseOne(xid, branch, Some(result)) => {
                let resource = asked(xid, branch)?;
                let target = Target { xid, store_named: true };
                Some(Event::PhaseOneReported(Box::new(PhaseOneReport {
                    target,
                    branch,
                    node,
                    resource,
                    result,
                    reply: None,
                })))
            }
        }
    }
}

impl RequestReader {
    /// A participant's answer to a task.
    ///
    /// # Errors
    /// The typed refusal of the first field at fault.
    pub fn work_result(
        &self,
        result: v1::WorkResult,
        session: SessionId,
    ) -> Result<WorkAnswer, v1::Error> {
        let xid = self.operator_xid(&result.xid)?;
        let question = result.branch_id;
        let branch = || branch_id("branch_id", question);
        let answered = enums::answered(result.kind)?;
        let answer = result
            .result
            .ok_or_else(|| invalid("result", "`result` is missing; send done, later or parked"))?;
        match answered {
            Answered::PhaseTwo(direction) => {
                phase_two((session, xid, branch()?), direction, answer)
            }
            Answered::PhaseOne => Ok(WorkAnswer::PhaseOne(xid, branch()?, phase_one(&answer))),
            Answered::CanCommit => Ok(WorkAnswer::CanCommit(question, said(answer))),
            Answered::Act => {
                let event = sagas::act_answered(session, (xid, branch()?), answer)?;
                Ok(WorkAnswer::PhaseTwo(event))
            }
        }
    }
}

fn phase_two(
    (session, xid, branch): (SessionId, XidNumber, BranchId),
    direction: Direction,
    answer: Wire,
) -> Result<WorkAnswer, v1::Error> {
    let answer = match answer {
        Wire::Done(v1::Done {}) => PhaseTwoAnswer::Done,
        Wire::Later(v1::Later { after_ms, reason }) => PhaseTwoAnswer::Later {
            after: (after_ms != 0).then(|| Duration::from_millis(u64::from(after_ms))),
            reason: (!reason.is_empty()).then(|| cut(&reason, LATER_REASON_BYTES_MAX).into()),
        },
        Wire::Parked(report) => PhaseTwoAnswer::Parked {
            reason: enums::park_reason(report.reason)?,
            report: encoded(report),
        },
        Wire::Failed(_)
        | Wire::StepDone(_)
        | Wire::StepFailed(_)
        | Wire::StepOngoing(_)
        | Wire::StepUnknown(_) => {
            return Err(invalid(
                "result",
                "phase two is answered with done, later or parked; send one of these",
            ));
        }
    };
    Ok(WorkAnswer::PhaseTwo(Event::PhaseTwoAnswered { session, xid, branch, direction, answer }))
}

/// A participant that cannot tell (later, or parked) has said nothing about phase one.
fn phase_one(answer: &Wire) -> Option<PhaseOneResult> {
    match answer {
        Wire::Done(v1::Done {}) => Some(PhaseOneResult::Done),
        Wire::Failed(v1::Failed {}) => Some(PhaseOneResult::Failed),
        Wire::Later(_)
        | Wire::Parked(_)
        | Wire::StepDone(_)
        | Wire::StepFailed(_)
        | Wire::StepOngoing(_)
        | Wire::StepUnknown(_) => None,
    }
}

/// Whatever a participant says to *can this commit*, nothing follows from it here.
fn said(answer: Wire) -> Said {
    let reason = |reason: &str| cut(reason, LATER_REASON_BYTES_MAX).to_owned();
    match answer {
        Wire::Done(v1::Done {}) => Said::Yes,
        Wire::Failed(v1::Failed {}) => Said::No(String::new()),
        Wire::Parked(report) => Said::No(reason(&report.message)),
        Wire::Later(later) => Said::Nothing(reason(&later.reason)),
        Wire::StepDone(_) | Wire::StepFailed(_) | Wire::StepOngoing(_) | Wire::StepUnknown(_) => {
            Said::Nothing("it answered another question".to_owned())
        }
    }
}

/// The report as it is kept. That the branch is parked must not be lost over a report that is too
/// large, so the rows are left out of such a one.
fn encoded(mut report: v1::ParkReport) -> Arc<[u8]> {
    if report.encoded_len() > PARK_REPORT_BYTES_MAX {
        let rows = u32::try_from(report.rows.len()).unwrap_or(u32::MAX);
        report.rows_left_out = report.rows_left_out.saturating_add(rows);
        report.rows.clear();
        report.message = cut(&report.message, PARK_MESSAGE_BYTES_MAX).to_owned();
    }
    report.encode_to_vec().into()
}

pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
