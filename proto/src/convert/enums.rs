//! The enums of the wire and those of the core, both ways.

use pactum_core::event::{Direction, PhaseOneResult};
use pactum_core::lock::key::LockMode;
use pactum_core::step::Outcome;
use pactum_core::transaction::{
    BranchMode, ParkReason, PhaseOne, PhaseTwo, Resolution, RollbackCause, Status, Wait,
};

use crate::v1;

/// A number that is none of an enum's values, or its *unspecified*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` has the unknown value {value}")]
pub struct UnknownValue {
    /// The field.
    pub field: &'static str,
    /// What it held.
    pub value: i32,
}

impl From<Outcome> for v1::Outcome {
    fn from(outcome: Outcome) -> Self {
        let (status, cause) = status_to_wire(outcome.status);
        v1::Outcome { status: status.into(), cause: cause.into(), parked: outcome.parked }
    }
}

impl TryFrom<v1::Outcome> for Outcome {
    type Error = UnknownValue;

    fn try_from(outcome: v1::Outcome) -> Result<Self, UnknownValue> {
        let status = match outcome.status() {
            v1::TransactionStatus::Active => Status::Active,
            v1::TransactionStatus::Delegated => Status::Delegated,
            v1::TransactionStatus::Committing => Status::Committing,
            v1::TransactionStatus::Committed => Status::Committed,
            v1::TransactionStatus::RollingBack => Status::RollingBack(cause(outcome.cause)?),
            v1::TransactionStatus::RolledBack => Status::RolledBack(cause(outcome.cause)?),
            v1::TransactionStatus::Unspecified => {
                return Err(UnknownValue { field: "status", value: outcome.status });
            }
        };
        Ok(Outcome { status, parked: outcome.parked })
    }
}

fn status_to_wire(status: Status) -> (v1::TransactionStatus, v1::RollbackCause) {
    use v1::TransactionStatus as Wire;
    match status {
        Status::Active => (Wire::Active, v1::RollbackCause::Unspecified),
        Status::Delegated => (Wire::Delegated, v1::RollbackCause::Unspecified),
        Status::Committing => (Wire::Committing, v1::RollbackCause::Unspecified),
        Status::Committed => (Wire::Committed, v1::RollbackCause::Unspecified),
        Status::RollingBack(cause) => (Wire::RollingBack, cause.into()),
        Status::RolledBack(cause) => (Wire::RolledBack, cause.into()),
    }
}

fn cause(value: i32) -> Result<RollbackCause, UnknownValue> {
    let unknown = UnknownValue { field: "cause", value };
    match v1::RollbackCause::try_from(value).map_err(|_| unknown)? {
        v1::RollbackCause::Requested => Ok(RollbackCause::Requested),
        v1::RollbackCause::TimedOut => Ok(RollbackCause::TimedOut),
        v1::RollbackCause::Vetoed => Ok(RollbackCause::Vetoed),
        v1::RollbackCause::Deadlock => Ok(RollbackCause::Deadlock),
        v1::RollbackCause::PhaseOneUnknown => Ok(RollbackCause::PhaseOneUnknown),
        v1::RollbackCause::PhaseOneFailed => Ok(RollbackCause::PhaseOneFailed),
        v1::RollbackCause::ManagerLost => Ok(RollbackCause::ManagerLost),
        v1::RollbackCause::Unrecorded => Ok(RollbackCause::Unrecorded),
        v1::RollbackCause::ScopeNotUndone => Ok(RollbackCause::ScopeNotUndone),
        v1::RollbackCause::StepFailed => Ok(RollbackCause::StepFailed),
        v1::RollbackCause::Unspecified => Err(unknown),
    }
}

impl From<RollbackCause> for v1::RollbackCause {
    fn from(cause: RollbackCause) -> Self {
        match cause {
            RollbackCause::Requested => v1::RollbackCause::Requested,
            RollbackCause::TimedOut => v1::RollbackCause::TimedOut,
            RollbackCause::Vetoed => v1::RollbackCause::Vetoed,
            RollbackCause::Deadlock => v1::RollbackCause::Deadlock,
            RollbackCause::PhaseOneUnknown => v1::RollbackCause::PhaseOneUnknown,
            RollbackCause::PhaseOneFailed => v1::RollbackCause::PhaseOneFailed,
            RollbackCause::ManagerLost => v1::RollbackCause::ManagerLost,
            RollbackCause::Unrecorded => v1::RollbackCause::Unrecorded,
            RollbackCause::ScopeNotUndone => v1::RollbackCause::ScopeNotUndone,
            RollbackCause::StepFailed => v1::RollbackCause::StepFailed,
        }
    }
}

impl From<BranchMode> for v1::BranchMode {
    fn from(mode: BranchMode) -> Self {
        match mode {
            BranchMode::At => v1::BranchMode::At,
            BranchMode::Tcc => v1::BranchMode::Tcc,
            BranchMode::Saga => v1::BranchMode::Saga,
            BranchMode::Xa => v1::BranchMode::Xa,
        }
    }
}

/// A branch mode from the wire.
///
/// # Errors
/// [`UnknownValue`] for *unspecified* and for numbers that a later version may know.
pub fn mode(value: i32) -> Result<BranchMode, UnknownValue> {
    let unknown = UnknownValue { field: "mode", value };
    match v1::BranchMode::try_from(value).map_err(|_| unknown)? {
        v1::BranchMode::At => Ok(BranchMode::At),
        v1::BranchMode::Tcc => Ok(BranchMode::Tcc),
        v1::BranchMode::Saga => Ok(BranchMode::Saga),
        v1::BranchMode::Xa => Ok(BranchMode::Xa),
        v1::BranchMode::Unspecified => Err(unknown),
    }
}

impl From<LockMode> for v1::LockMode {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Shared => v1::LockMode::Shared,
            LockMode::Exclusive => v1::LockMode::Exclusive,
        }
    }
}

pub(super) fn lock_mode(value: i32) -> Result<LockMode, UnknownValue> {
    let unknown = UnknownValue { field: "locks.mode", value };
    match v1::LockMode::try_from(value).map_err(|_| unknown)? {
        v1::LockMode::Shared => Ok(LockMode::Shared),
        v1::LockMode::Exclusive => Ok(LockMode::Exclusive),
        v1::LockMode::Unspecified => Err(unknown),
    }
}

impl From<ParkReason> for v1::ParkReason {
    fn from(reason: ParkReason) -> Self {
        match reason {
            ParkReason::DirtyWrite => v1::ParkReason::DirtyWrite,
            ParkReason::EvidenceLost => v1::ParkReason::EvidenceLost,
            ParkReason::EvidenceTampered => v1::ParkReason::EvidenceTampered,
            ParkReason::SchemaChanged => v1::ParkReason::SchemaChanged,
            ParkReason::HandlerFatal => v1::ParkReason::HandlerFatal,
            ParkReason::Heuristic => v1::ParkReason::Heuristic,
            ParkReason::Invariant => v1::ParkReason::Invariant,
        }
    }
}

/// A park reason from the wire.
///
/// # Errors
/// [`UnknownValue`] for *unspecified* and for numbers that a later version may know.
pub fn park_reason(value: i32) -> Result<ParkReason, UnknownValue> {
    let unknown = UnknownValue { field: "parked.reason", value };
    match v1::ParkReason::try_from(value).map_err(|_| unknown)? {
        v1::ParkReason::DirtyWrite => Ok(ParkReason::DirtyWrite),
        v1::ParkReason::EvidenceLost => Ok(ParkReason::EvidenceLost),
        v1::ParkReason::EvidenceTampered => Ok(ParkReason::EvidenceTampered),
        v1::ParkReason::SchemaChanged => Ok(ParkReason::SchemaChanged),
        v1::ParkReason::HandlerFatal => Ok(ParkReason::HandlerFatal),
        v1::ParkReason::Heuristic => Ok(ParkReason::Heuristic),
        v1::ParkReason::Invariant => Ok(ParkReason::Invariant),
        v1::ParkReason::Unspecified => Err(unknown),
    }
}

impl From<Resolution> for v1::Resolution {
    fn from(resolution: Resolution) -> Self {
        match resolution {
            Resolution::Retry => v1::Resolution::Retry,
            Resolution::Restore => v1::Resolution::Restore,
            Resolution::Keep => v1::Resolution::Keep,
        }
    }
}

/// What an operator decided, from the wire; `None` where nobody did.
///
/// # Errors
/// [`UnknownValue`] for numbers that a later version may know.
pub fn resolution(value: i32) -> Result<Option<Resolution>, UnknownValue> {
    let unknown = UnknownValue { field: "resolution", value };
    match v1::Resolution::try_from(value).map_err(|_| unknown)? {
        v1::Resolution::Retry => Ok(Some(Resolution::Retry)),
        v1::Resolution::Restore => Ok(Some(Resolution::Restore)),
        v1::Resolution::Keep => Ok(Some(Resolution::Keep)),
        v1::Resolution::Unspecified => Ok(None),
    }
}

/// *Unspecified* means completed, as the protocol says.
pub(super) fn wait(value: i32) -> Result<Wait, UnknownValue> {
    match v1::Wait::try_from(value).map_err(|_| UnknownValue { field: "wait", value })? {
        v1::Wait::Decided => Ok(Wait::Decided),
        v1::Wait::Completed | v1::Wait::Unspecified => Ok(Wait::Completed),
    }
}

pub(super) fn phase_one_result(value: i32) -> Result<PhaseOneResult, UnknownValue> {
    let unknown = UnknownValue { field: "result", value };
    match v1::PhaseOneResult::try_from(value).map_err(|_| unknown)? {
        v1::PhaseOneResult::Done => Ok(PhaseOneResult::Done),
        v1::PhaseOneResult::Failed => Ok(PhaseOneResult::Failed),
        v1::PhaseOneResult::Unspecified => Err(unknown),
    }
}

/// What a work result answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    PhaseTwo(Direction),
    PhaseOne,
    CanCommit,
    Act,
}

pub(super) fn answered(value: i32) -> Result<Answered, UnknownValue> {
    let unknown = UnknownValue { field: "kind", value };
    match v1::WorkKind::try_from(value).map_err(|_| unknown)? {
        v1::WorkKind::Commit => Ok(Answered::PhaseTwo(Direction::Commit)),
        v1::WorkKind::Rollback => Ok(Answered::PhaseTwo(Direction::Rollback)),
        v1::WorkKind::AskPhaseOne => Ok(Answered::PhaseOne),
        v1::WorkKind::CanCommit => Ok(Answered::CanCommit),
        v1::WorkKind::Act => Ok(Answered::Act),
        v1::WorkKind::Unspecified => Err(unknown),
    }
}

impl From<PhaseOne> for v1::PhaseOneKnowledge {
    fn from(phase_one: PhaseOne) -> Self {
        match phase_one {
            PhaseOne::Unknown => v1::PhaseOneKnowledge::Unknown,
            PhaseOne::Done => v1::PhaseOneKnowledge::Done,
            PhaseOne::Failed => v1::PhaseOneKnowledge::Failed,
        }
    }
}

impl From<PhaseTwo> for v1::PhaseTwoState {
    fn from(phase_two: PhaseTwo) -> Self {
        match phase_two {
            PhaseTwo::Pending => v1::PhaseTwoState::Pending,
            PhaseTwo::Done => v1::PhaseTwoState::Done,
            PhaseTwo::Parked(_) => v1::PhaseTwoState::Parked,
        }
    }
}
