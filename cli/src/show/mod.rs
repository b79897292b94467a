//! How answers look: as text for people, as JSON for programs.
//!
//! The words of the wire's enums are here once, for both.

pub(crate) mod json;
pub(crate) mod text;

use std::time::{Duration, UNIX_EPOCH};

use pactum_proto::v1::{
    Branch, BranchMode, Outcome, ParkReason, PhaseOneKnowledge, PhaseTwoState, Resolution,
    ResourceKind, RollbackCause, TransactionStatus,
};

/// What a newer coordinator may say and this build does not know.
pub(crate) const UNKNOWN: &str = "unknown";

pub(crate) fn status(outcome: &Outcome) -> &'static str {
    match outcome.status() {
        TransactionStatus::Unspecified => UNKNOWN,
        TransactionStatus::Active => "active",
        TransactionStatus::Delegated => "delegated",
        TransactionStatus::Committing => "committing",
        TransactionStatus::Committed => "committed",
        TransactionStatus::RollingBack => "rolling back",
        TransactionStatus::RolledBack => "rolled back",
    }
}

/// Why it rolls back; `None` if it does not.
pub(crate) fn cause(outcome: &Outcome) -> Option<&'static str> {
    Some(match outcome.cause() {
        RollbackCause::Unspecified => return None,
        RollbackCause::Requested => "requested",
        RollbackCause::TimedOut => "timed out",
        RollbackCause::Vetoed => "vetoed",
        RollbackCause::Deadlock => "deadlock",
        RollbackCause::PhaseOneUnknown => "phase one unknown",
        RollbackCause::PhaseOneFailed => "phase one failed",
        RollbackCause::ManagerLost => "manager lost",
        RollbackCause::Unrecorded => "unrecorded",
        RollbackCause::ScopeNotUndone => "scope not undone",
        RollbackCause::StepFailed => "step failed",
    })
}

/// A nested scope: a random number, so short and of one width.
pub(crate) fn shown_scope(scope: u64) -> String {
    format!("{scope:016x}")
}

pub(crate) fn mode(branch: &Branch) -> &'static str {
    match branch.mode() {
        BranchMode::Unspecified => UNKNOWN,
        BranchMode::At => "AT",
        BranchMode::Tcc => "TCC",
        BranchMode::Saga => "saga",
        BranchMode::Xa => "XA",
    }
}

pub(crate) fn phase_one(branch: &Branch) -> &'static str {
    match branch.phase_one() {
        PhaseOneKnowledge::Unspecified | PhaseOneKnowledge::Unknown => UNKNOWN,
        PhaseOneKnowledge::Done => "done",
        PhaseOneKnowledge::Failed => "failed",
    }
}

pub(crate) fn phase_two(branch: &Branch) -> &'static str {
    match branch.phase_two() {
        PhaseTwoState::Unspecified => UNKNOWN,
        PhaseTwoState::Pending => "pending",
        PhaseTwoState::Done => "done",
        PhaseTwoState::Parked => "parked",
    }
}

pub(crate) fn park_reason(reason: ParkReason) -> &'static str {
    match reason {
        ParkReason::Unspecified => UNKNOWN,
        ParkReason::DirtyWrite => "dirty write",
        ParkReason::EvidenceLost => "evidence lost",
        ParkReason::EvidenceTampered => "evidence tampered",
        ParkReason::SchemaChanged => "schema changed",
        ParkReason::HandlerFatal => "handler fatal",
        ParkReason::Heuristic => "heuristic",
        ParkReason::Invariant => "invariant",
    }
}

pub(crate) fn resolution(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::Unspecified => UNKNOWN,
        Resolution::Retry => "retry",
        Resolution::Restore => "restore",
        Resolution::Keep => "keep",
    }
}

pub(crate) fn resource_kind(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Unspecified => UNKNOWN,
        ResourceKind::Database => "database",
        ResourceKind::Service => "service",
    }
}

/// `2026-01-31T12:00:00.000Z`; empty for a moment that has not come.
pub(crate) fn moment(unix_ms: u64) -> String {
    let moment = (unix_ms > 0).then(|| UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)));
    moment.flatten().map_or_else(String::new, |at| {
        // A moment beyond the year 9999 has no such form.
        use std::fmt::Write as _;
        let mut text = String::new();
        let written = write!(text, "{}", humantime::format_rfc3339_millis(at));
        written.map_or_else(|_| format!("{unix_ms} ms"), |()| text)
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
