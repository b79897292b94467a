//! One `info` line and one count for each move of a transaction's status.
//!
//! What a transaction moved from is not part of a write, so it is looked up before the step. Only
//! events that name a transaction can end one that was decided before; any other (a deadlock, a lost
//! node) decides transactions that were `Active`. A scope that is rolled back leaves the status as it
//! is, and has a line of its own.

use pactum_core::event::{Event, Timer};
use pactum_core::group::Group;
use pactum_core::id::XidNumber;
use pactum_core::step::{Change, Volatile, Write};
use pactum_core::transaction::{RollbackCause, Status, TransactionRow};
use pactum_proto::convert::Identity;

use crate::metrics::Metrics;

/// What is known of the transaction that an event names, before the event is handled.
pub(super) struct Story {
    named: Option<(XidNumber, Status)>,
    /// How many scopes it had rolled back.
    scopes: usize,
}

impl Story {
    pub(super) fn before(group: &Group, event: &Event) -> Story {
        let named = named(event).and_then(|xid| group.transaction(xid));
        Story {
            named: named.map(|txn| (txn.row.number, txn.row.status)),
            scopes: named.map_or(0, |txn| txn.row.undone_scopes.len()),
        }
    }

    pub(super) fn tell(&mut self, change: &Change, identity: &Identity, metrics: &Metrics) {
        match change {
            Change::Stored(Write::PutTransaction(row)) => {
                let from = match self.named {
                    Some((xid, status)) if xid == row.number => status,
                    Some(_) | None => Status::Active,
                };
                if from == row.status {
                    self.tell_scopes(row, identity);
                    return;
                }
                if !from.is_decided() {
                    metrics.decided(row.status);
                }
                if let Some((xid, status)) = &mut self.named
                    && *xid == row.number
                {
                    *status = row.status;
                }
                log_move(identity, row.number, from, row.status);
            }
            Change::Volatile(Volatile::Began { row, .. }) => {
                metrics.begun();
                if tracing::enabled!(tracing::Level::INFO) {
                    let xid = identity.xid(row.number);
                    tracing::info!(
                        txn.xid = %xid,
                        txn.name = &*row.name,
                        txn.status.to = "active",
                        "global transaction began"
                    );
                }
            }
            Change::Stored(Write::PutStep(row)) if tracing::enabled!(tracing::Level::DEBUG) => {
                tracing::debug!(
                    txn.xid = %identity.xid(row.xid),
                    txn.branch_id = row.slot.branch().0,
                    state = ?row.state,
                    "step of a saga moved"
                );
            }
            Change::Stored(_) | Change::Volatile(_) => {}
        }
    }
}

impl Story {
    /// The scopes that were rolled back by this write.
    fn tell_scopes(&mut self, row: &TransactionRow, identity: &Identity) {
        for undone in row.undone_scopes.iter().skip(self.scopes) {
            tracing::info!(
                txn.xid = %identity.xid(row.number),
                txn.scope = %undone.scope(),
                txn.cause = if undone.requested { "requested" } else { "vetoed" },
                "nested scope rolls back"
            );
        }
        self.scopes = row.undone_scopes.len();
    }
}

/// Formatting costs, so nothing is formatted that nobody reads.
fn log_move(identity: &Identity, xid: XidNumber, from: Status, to: Status) {
    if tracing::enabled!(tracing::Level::INFO) {
        tracing::info!(
            txn.xid = %identity.xid(xid),
            txn.status.from = word(from),
            txn.status.to = word(to),
            txn.cause = cause(to),
            "global transaction moved"
        );
    }
}

/// The transaction that an event names.
fn named(event: &Event) -> Option<XidNumber> {
    match event {
        Event::CommitRequested { target, .. }
        | Event::RollbackRequested { target, .. }
        | Event::ScopeRollbackRequested { target, .. }
        | Event::Vetoed { target, .. }
        | Event::OutcomeRequested { target, .. }
        | Event::RetryRequested { target, .. } => Some(target.xid),
        Event::RegisterRequested(register) => Some(register.target.xid),
        Event::ResolveRequested(request) => Some(request.target.xid),
        Event::PhaseOneReported(report) => Some(report.target.xid),
        Event::PhaseTwoAnswered { xid, .. } => Some(*xid),
        Event::KeysRequested(request) => request.target.map(|target| target.xid),
        Event::StepAnswered { xid, .. } | Event::SagaMoved(xid) => Some(*xid),
        Event::SagaRequested { target, .. }
        | Event::StepCompleted { target, .. }
        | Event::SignalReceived { target, .. } => Some(target.xid),
        Event::OperateRequested(operate) => Some(operate.target.xid),
        Event::RollbackDue(xid, _) | Event::WaitGraphChanged(xid) => Some(*xid),
        Event::TimerFired(timer) => match timer {
            Timer::Deadline(xid)
            | Timer::Closing(xid)
            | Timer::PhaseTwo(xid)
            | Timer::Step(xid, _)
            | Timer::Saga(xid)
            | Timer::Completion(xid, _) => Some(*xid),
            Timer::WaitBound(_)
            | Timer::ClaimKept(_)
            | Timer::NodeLost(_)
            | Timer::Resume(..)
            | Timer::History => None,
        },
        Event::BeginRequested(_)
        | Event::NamedBegun(_)
        | Event::NamedBeginRefused { .. }
        | Event::XidsRequested { .. }
        | Event::ClaimReleased { .. }
        | Event::WaitCancelled { .. }
        | Event::SessionOpened { .. }
        | Event::AttachRequested { .. }
        | Event::BranchIdsRequested { .. }
        | Event::SessionClosed { .. }
        | Event::ForgetRequested { .. }
        | Event::DefineRequested { .. }
        | Event::SubmitRequested(_)
        | Event::IdsReserved { .. }
        | Event::KeysFreed(_) => None,
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Delegated => "delegated",
        Status::Committing => "committing",
        Status::Committed => "committed",
        Status::RollingBack(_) => "rolling back",
        Status::RolledBack(_) => "rolled back",
    }
}

fn cause(status: Status) -> Option<&'static str> {
    let cause = match status {
        Status::Active | Status::Delegated | Status::Committing | Status::Committed => return None,
        Status::RollingBack(cause) | Status::RolledBack(cause) => cause,
    };
    Some(match cause {
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
