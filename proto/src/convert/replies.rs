//! What callers hear, on the wire.

use bytes::Bytes;
use pactum_core::event::IdBlock;
use pactum_core::id::{Epoch, GroupName, ResourceId, StoreId, XidNumber};
use pactum_core::step::{Reply, ScopeOutcome, Task, TaskKind};

use super::error;
use crate::v1::{self, server_frame::Frame};

/// Who this coordinator is: part of many answers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The group.
    pub group: GroupName,
    /// The store.
    pub store: StoreId,
    /// The leadership.
    pub epoch: Epoch,
    store_bytes: Bytes,
}

impl Identity {
    /// An identity.
    #[must_use]
    pub fn new(group: GroupName, store: StoreId, epoch: Epoch) -> Self {
        let store_bytes = Bytes::copy_from_slice(&store.to_bytes());
        Identity { group, store, epoch, store_bytes }
    }

    /// The store's id as the wire carries it.
    #[must_use]
    pub fn store_bytes(&self) -> Bytes {
        self.store_bytes.clone()
    }

    /// A transaction's full id.
    #[must_use]
    pub fn xid(&self, number: XidNumber) -> String {
        format!("{}:{number}", self.group)
    }

    /// A begin's answer.
    #[must_use]
    pub fn begun(&self, reply: Reply) -> v1::BeginReply {
        let result = match self.frame(reply) {
            Frame::Begun(begun) => v1::begin_reply::Result::Begun(begun),
            other => v1::begin_reply::Result::Error(error_of(other)),
        };
        v1::BeginReply { result: Some(result) }
    }

    /// The answer to a commit, a rollback, a veto or a question.
    #[must_use]
    pub fn outcome(&self, reply: Reply) -> v1::OutcomeReply {
        let result = match self.frame(reply) {
            Frame::Outcome(outcome) => v1::outcome_reply::Result::Outcome(outcome),
            other => v1::outcome_reply::Result::Error(error_of(other)),
        };
        v1::OutcomeReply { result: Some(result) }
    }

    /// The answer to the rollback of a scope.
    #[must_use]
    pub fn scope(&self, reply: Reply) -> v1::ScopeReply {
        let result = match self.frame(reply) {
            Frame::Scope(scope) => v1::scope_reply::Result::Scope(scope),
            other => v1::scope_reply::Result::Error(error_of(other)),
        };
        v1::ScopeReply { result: Some(result) }
    }

    /// A registration's answer.
    #[must_use]
    pub fn registered(&self, reply: Reply) -> v1::RegisterReply {
        let result = match self.frame(reply) {
            Frame::Registered(registered) => v1::register_reply::Result::Registered(registered),
            other => v1::register_reply::Result::Error(error_of(other)),
        };
        v1::RegisterReply { result: Some(result) }
    }

    /// The answer to a report of phase one.
    #[must_use]
    pub fn phase_one(&self, reply: Reply) -> v1::PhaseOneReply {
        let result = match self.frame(reply) {
            Frame::PhaseOneRecorded(recorded) => v1::phase_one_reply::Result::Recorded(recorded),
            other => v1::phase_one_reply::Result::Error(error_of(other)),
        };
        v1::PhaseOneReply { result: Some(result) }
    }

    /// A reply as a frame of the session stream.
    #[must_use]
    pub fn frame(&self, reply: Reply) -> Frame {
        match reply {
            Reply::Begun { xid, remaining } => Frame::Begun(v1::Begun {
                xid: self.xid(xid),
                store_id: self.store_bytes(),
                remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
            }),
            Reply::Outcome(outcome) => Frame::Outcome(outcome.into()),
            Reply::Scope(scope) => Frame::Scope(scope.into()),
            Reply::Registered { sequence } => Frame::Registered(v1::Registered { sequence }),
            Reply::ClaimGranted(claim) => Frame::ClaimGranted(claim.0),
            Reply::KeysFree => Frame::ClaimGranted(0),
            Reply::PhaseOneRecorded => Frame::PhaseOneRecorded(true),
            Reply::BranchIds(block) => Frame::BranchIds(block.into()),
            Reply::Xids(block) => Frame::Xids(block.into()),
            // A frame names one resource.
            Reply::Attached(rows) => {
                let id = rows.first().map(|row| row.id.as_str().to_owned());
                Frame::Attached(v1::ResourceAttached { resource_id: id.unwrap_or_default() })
            }
            Reply::Rejected(rejection) => Frame::Error(error::rejection(&self.group, &rejection)),
            // An operator's answers never go over a session.
            Reply::Saga(standing) => Frame::Saga(self.saga(&standing)),
            Reply::SagaEnded(xid, outcome) => Frame::Saga(v1::Saga {
                xid: self.xid(xid),
                store_id: self.store_bytes(),
                outcome: Some(outcome.into()),
                ..v1::Saga::default()
            }),
            Reply::Retried(_) | Reply::Resolved | Reply::Forgotten | Reply::Defined(_) => {
                Frame::Error(error::internal("an operator's answer came to a session"))
            }
        }
    }

    /// A task as a participant gets it.
    #[must_use]
    pub fn work(&self, task: &Task, resource: &ResourceId) -> v1::Work {
        let (kind, phase_one_done) = match task.kind {
            // A commit is decided only when phase one is known to be done.
            TaskKind::Commit => (v1::WorkKind::Commit, true),
            TaskKind::Rollback { phase_one_done } => (v1::WorkKind::Rollback, phase_one_done),
            TaskKind::AskPhaseOne => (v1::WorkKind::AskPhaseOne, false),
            TaskKind::Act { .. } => (v1::WorkKind::Act, false),
            TaskKind::Compensate { took_place, .. } => (v1::WorkKind::Rollback, took_place),
        };
        let xid = self.xid(task.xid);
        let token = || format!("{xid}/{}", task.branch);
        let (timeout_ms, token) = match task.kind {
            TaskKind::Act { timeout } => {
                let timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
                (timeout, token())
            }
            TaskKind::Compensate { .. } => (0, token()),
            TaskKind::Commit | TaskKind::Rollback { .. } | TaskKind::AskPhaseOne => {
                Default::default()
            }
        };
        let (action, payload) = task.action.as_ref().map_or_else(Default::default, |action| {
            (action.name.as_ref().to_owned(), Bytes::copy_from_slice(&action.payload))
        });
        v1::Work {
            kind: kind.into(),
            xid,
            branch_id: task.branch.0,
            resource_id: resource.as_str().to_owned(),
            mode: v1::BranchMode::from(task.mode).into(),
            phase_one_done,
            attempt: task.attempt,
            action,
            payload,
            resolution: task
                .resolution
                .map_or(v1::Resolution::Unspecified, v1::Resolution::from)
                .into(),
            result: task.result.as_deref().map(Bytes::copy_from_slice).unwrap_or_default(),
            timeout_ms,
            token,
            forward_only: matches!(task.kind, TaskKind::Compensate { forward_only: true, .. }),
        }
    }
}

impl From<ScopeOutcome> for v1::ScopeOutcome {
    fn from(scope: ScopeOutcome) -> Self {
        let status = match scope.undone {
            true => v1::ScopeStatus::RolledBack,
            false => v1::ScopeStatus::RollingBack,
        };
        let transaction = Some(scope.transaction.into());
        v1::ScopeOutcome { status: status.into(), transaction }
    }
}

impl From<IdBlock> for v1::IdBlock {
    fn from(block: IdBlock) -> Self {
        v1::IdBlock { first: block.first, end: block.end }
    }
}

/// The error in a frame that is not the answer that was due.
fn error_of(frame: Frame) -> v1::Error {
    match frame {
        Frame::Error(error) => error,
        Frame::Welcome(_)
        | Frame::Begun(_)
        | Frame::Outcome(_)
        | Frame::Registered(_)
        | Frame::ClaimGranted(_)
        | Frame::Attached(_)
        | Frame::BranchIds(_)
        | Frame::Xids(_)
        | Frame::Work(_)
        | Frame::Pong(_)
        | Frame::Ping(_)
        | Frame::Goodbye(_)
        | Frame::PhaseOneRecorded(_)
        | Frame::Scope(_)
        | Frame::Opinion(_)
        | Frame::Saga(_) => error::internal("the group gave another kind of answer"),
    }
}
