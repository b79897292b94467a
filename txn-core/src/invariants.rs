//! What must always hold, as named predicates.
//!
//! [`permits`] judges changes right before they are applied and written; [`holds`] judges a whole
//! group, for tests and the walk. Ids and their meaning: `docs/invariants.md`.
//!
//! A violation is our own mistake, never a caller's: the step is refused whole and counted, and the
//! rest of the group lives on.

use crate::group::Group;
use crate::lock::table::LockTable;
use crate::saga::graph::{NodeKind, WaitFor};
use crate::saga::{LiveSaga, StepRow, StepState};
use crate::step::{Change, Volatile, Write};
use crate::transaction::{
    Branch, BranchRow, GlobalTransaction, PhaseOne, PhaseTwo, RollbackCause, Status,
    TransactionRow, UndoneScope,
};

/// A decision is never taken back or changed.
pub const GT_1: &str = "GT-1";
/// No branch joins after the decision.
pub const GT_3: &str = "GT-3";
/// A transaction ends only when every branch has confirmed.
pub const GT_4: &str = "GT-4";
/// An exclusive key has one holding transaction and no sharer.
pub const LK_1: &str = "LK-1";
/// A branch's locks outlive its undone changes.
pub const LK_3: &str = "LK-3";
/// Commit is decided only when every branch's phase one is known to be done.
pub const PH_1: &str = "PH-1";
/// A rolled back scope is undone, once and to the end, before its transaction commits, and nothing
/// joins it.
pub const SC_1: &str = "SC-1";
/// A delegated decision is ended by the result of its one branch, and by nothing else.
pub const DG_1: &str = "DG-1";
/// Of a declared saga: nothing is started before what it depends on is over, nothing undone before what
/// depends on it; it ends when all of it is over, or undone.
pub const SG_1: &str = "SG-1";
/// Every transaction ends or has a parked branch: here, that nobody sleeps on free keys or in a cycle.
pub const LV_1: &str = "LV-1";

/// Judges the changes of one step against the group as it is before them.
///
/// # Errors
/// The id of the first rule that they would break.
pub fn permits(group: &Group, changes: &[Change]) -> Result<(), &'static str> {
    for (place, change) in changes.iter().enumerate() {
        let Change::Stored(write) = change else { continue };
        let before = &changes[..place];
        match write {
            Write::PutTransaction(row) => permits_transaction(group, row, before)?,
            Write::PutBranch(row) => permits_branch(group, row)?,
            Write::PutStep(row) => permits_step(group, row)?,
            Write::PutResource(_)
            | Write::DropResource(_)
            | Write::Prune { .. }
            | Write::PutDefinition(_)
            | Write::PutSaga(_) => {}
        }
    }
    Ok(())
}

fn permits_transaction(
    group: &Group,
    row: &TransactionRow,
    before: &[Change],
) -> Result<(), &'static str> {
    let Some(txn) = group.transaction(row.number) else {
        let begins = before.iter().any(|change| match change {
            Change::Volatile(Volatile::Began { row: begun, .. }) => begun == row,
            Change::Volatile(_) | Change::Stored(_) => false,
        });
        return if begins { Ok(()) } else { Err(GT_1) };
    };
    if let Some(saga) = &txn.saga {
        permits_end(saga, row.status)?;
    }
    if !may_follow(txn.row.status, row.status) {
        return Err(GT_1);
    }
    let scopes_kept = txn.row.undone_scopes.iter().all(|old| {
        let still = |new: &&UndoneScope| new.path == old.path && new.requested >= old.requested;
        row.undone_scopes.iter().any(|new| still(&new))
    });
    if !scopes_kept {
        return Err(SC_1);
    }
    match (txn.row.status, row.status) {
        (_, Status::Active) => Ok(()),
        (Status::Active, Status::Delegated) => delegable(txn),
        (_, Status::Delegated | Status::RollingBack(_)) => Ok(()),
        (Status::Delegated, Status::Committed) => branch_decided(txn, before, PhaseOne::Done),
        (Status::Delegated, Status::RolledBack(_)) => branch_decided(txn, before, PhaseOne::Failed),
        (Status::Active, Status::Committing) => ready_to_commit(txn, before),
        (_, Status::Committing) => Ok(()),
        (from, Status::Committed) => {
            if from == Status::Active {
                ready_to_commit(txn, before)?;
            }
            confirmed(txn, Status::Committing, before)
        }
        (_, Status::RolledBack(cause)) => confirmed(txn, Status::RollingBack(cause), before),
    }
}

/// A saga commits when every step of it is over, and has rolled back when all that may have happened is
/// undone.
fn permits_end(saga: &LiveSaga, status: Status) -> Result<(), &'static str> {
    let fits = match status {
        Status::Active | Status::RollingBack(_) => true,
        Status::Committed => saga.run.output().is_some() && !saga.run.is_back(),
        Status::RolledBack(_) => saga.run.is_undone(),
        Status::Delegated | Status::Committing => false,
    };
    if fits { Ok(()) } else { Err(SG_1) }
}

/// Nothing is said of a step before its turn, and what is over stays over.
fn permits_step(group: &Group, row: &StepRow) -> Result<(), &'static str> {
    let Some((_, saga)) = group.saga(row.xid) else { return Err(SG_1) };
    let (run, graph) = (&saga.run, &saga.graph);
    let known = run.row(row.slot).map(|row| row.state);
    let is_wait = graph
        .locate(row.slot)
        .is_some_and(|place| matches!(place.node().kind, NodeKind::Wait(WaitFor::Event { .. })));
    let fits = match row.state {
        StepState::Undone | StepState::UndoParked(_) => run.is_undoing(row.slot),
        StepState::Open if run.is_back() => run.is_undoing(row.slot),
        // An event may come before its wait.
        StepState::Done if is_wait => !run.is_back() && known != Some(StepState::Skipped),
        StepState::Waiting { .. }
        | StepState::Done
        | StepState::Failed { .. }
        | StepState::Skipped
        | StepState::Parked(_)
        | StepState::Open => !run.is_back() && run.is_running(graph, row.slot),
    };
    if fits { Ok(()) } else { Err(SG_1) }
}

/// The moves that a status may make; staying is one, for a row that is written again.
fn may_follow(from: Status, to: Status) -> bool {
    use Status::{Active, Committed, Committing, Delegated, RolledBack, RollingBack};
    match (from, to) {
        (Active, _) => true,
        (Delegated, Delegated | Committed | RolledBack(RollbackCause::PhaseOneFailed)) => true,
        (Delegated, Active | Committing | RollingBack(_) | RolledBack(_)) => false,
        (Committing, Committing | Committed) => true,
        (RollingBack(was), RollingBack(is) | RolledBack(is)) => was == is,
        (Committing, Active | Delegated | RollingBack(_) | RolledBack(_)) => false,
        (RollingBack(_), Active | Delegated | Committing | Committed) => false,
        (Committed | RolledBack(_), _) => false,
    }
}

/// Exactly one branch counts, and its phase one may still come to either end.
fn delegable(txn: &GlobalTransaction) -> Result<(), &'static str> {
    if txn.delegable().is_some() { Ok(()) } else { Err(DG_1) }
}

/// The delegated branch's result is known, and it is this one.
fn branch_decided(
    txn: &GlobalTransaction,
    before: &[Change],
    result: PhaseOne,
) -> Result<(), &'static str> {
    let mut counting = txn.branches.iter().filter(|branch| branch.counts());
    let decided = counting.all(|branch| {
        before.iter().any(|change| match change {
            Change::Volatile(Volatile::PhaseOneDone(_, id)) => {
                *id == branch.row.id && result == PhaseOne::Done
            }
            Change::Stored(Write::PutBranch(row)) => {
                row.id == branch.row.id && row.phase_one == result
            }
            Change::Volatile(_) | Change::Stored(_) => false,
        })
    });
    if decided { Ok(()) } else { Err(DG_1) }
}

fn ready_to_commit(txn: &GlobalTransaction, before: &[Change]) -> Result<(), &'static str> {
    phase_one_known(txn, before)?;
    confirmed(txn, Status::Active, before).map_err(|_| SC_1)
}

fn phase_one_known(txn: &GlobalTransaction, before: &[Change]) -> Result<(), &'static str> {
    let known = txn.branches.iter().all(|branch| {
        branch.row.phase_one != PhaseOne::Unknown
            || branch.scope_undone
            || before.iter().any(|change| match change {
                Change::Volatile(Volatile::PhaseOneDone(_, id)) => *id == branch.row.id,
                Change::Stored(Write::PutBranch(row)) => {
                    row.id == branch.row.id && row.phase_one != PhaseOne::Unknown
                }
                Change::Volatile(_) | Change::Stored(_) => false,
            })
    });
    if known { Ok(()) } else { Err(PH_1) }
}

fn confirmed(
    txn: &GlobalTransaction,
    status: Status,
    before: &[Change],
) -> Result<(), &'static str> {
    let mut waiting = txn.branches.iter().filter(|branch| branch.awaits_phase_two(status));
    let all = waiting.all(|branch| {
        before.iter().any(|change| match change {
            Change::Volatile(Volatile::PhaseTwoConfirmed(_, id)) => *id == branch.row.id,
            Change::Stored(Write::PutBranch(row)) => {
                row.id == branch.row.id
                    && (row.phase_two == PhaseTwo::Done || row.phase_one == PhaseOne::Failed)
            }
            Change::Volatile(_) | Change::Stored(_) => false,
        })
    });
    if all { Ok(()) } else { Err(GT_4) }
}

fn permits_branch(group: &Group, row: &BranchRow) -> Result<(), &'static str> {
    let Some(txn) = group.transaction(row.xid) else { return Err(GT_3) };
    let Some(known) = txn.branch(row.id) else {
        // One that only says "failed" takes no part and no locks.
        if row.phase_one == PhaseOne::Failed {
            return Ok(());
        }
        let contested = group.locks().is_contested(row.xid, row.resource, &row.locks);
        return match (txn.is_open(), contested) {
            (false, _) => Err(GT_3),
            (true, _) if txn.row.has_undone(&row.scopes) => Err(SC_1),
            (true, true) => Err(LK_1),
            (true, false) => Ok(()),
        };
    };
    let known = &known.row;
    let revived = known.phase_one == PhaseOne::Failed && row.phase_one != PhaseOne::Failed;
    let undone_again = known.phase_two == PhaseTwo::Done && row.phase_two != PhaseTwo::Done;
    let same_place = known.resource == row.resource && known.sequence == row.sequence;
    if revived || undone_again || !same_place || known.locks != row.locks {
        return Err(LK_3);
    }
    if known.scopes != row.scopes {
        return Err(SC_1);
    }
    Ok(())
}

/// Judges a group as a whole. Walks all of it: for tests.
///
/// # Errors
/// The id of the first rule that is broken, and where.
pub fn holds(group: &Group) -> Result<(), (&'static str, String)> {
    locks_hold(group)?;
    for txn in group.transactions() {
        let (xid, status) = (txn.row.number, txn.row.status);
        if status.is_ended() {
            return Err((GT_4, format!("{xid} has ended and is still live")));
        }
        if txn.saga.is_none() && !status.is_undecided_here() && txn.is_complete_in(status) {
            return Err((GT_4, format!("{xid} is complete and has not ended")));
        }
        if status == Status::Delegated && txn.delegable().is_none() {
            return Err((DG_1, format!("{xid} is delegated, and not to one branch")));
        }
        let stray =
            |branch: &&Branch| branch.scope_undone != txn.row.has_undone(&branch.row.scopes);
        if let Some(branch) = txn.branches.iter().find(stray) {
            return Err((SC_1, format!("{xid}: branch {} is not as its scopes", branch.row.id)));
        }
        let undoing = status == Status::Active && !txn.is_complete_in(Status::Active);
        if undoing != group.is_undoing_scope(xid) {
            return Err((SC_1, format!("{xid}: whether a scope is being undone is noted wrongly")));
        }
        let committing = matches!(status, Status::Committing);
        if committing && !txn.is_complete_in(Status::Active) {
            return Err((SC_1, format!("{xid} commits, and a scope of it is not undone")));
        }
        if status == Status::Committing && !txn.is_phase_one_done() {
            return Err((PH_1, format!("{xid} commits, and phase one of a branch is not known")));
        }
        let waits = group.waiting().of_transaction(xid).count();
        let claims = group.waiting().claims_of(xid).count();
        if waits + claims > 0 && !txn.is_open() {
            return Err((GT_3, format!("{xid} is closed and still waits")));
        }
    }
    group.waits_hold().map_err(|why| (LV_1, why))
}

/// The lock table is what the branches and claims say, and nothing in it conflicts.
fn locks_hold(group: &Group) -> Result<(), (&'static str, String)> {
    let mut said = LockTable::default();
    for txn in group.transactions() {
        let holding = txn.branches.iter().filter(|branch| branch.holds_locks(txn.row.status));
        for row in holding.map(|branch| &branch.row) {
            said.acquire(row.xid, row.resource, &row.locks);
        }
    }
    for claim in group.waiting().claims() {
        said.acquire(claim.xid, claim.resource, &claim.locks);
    }
    let mut held = group.locks().holdings();
    held.retain(|_, holders| !holders.is_empty());
    if held != said.holdings() {
        return Err((LK_3, format!("held are {held:?}, and should be {:?}", said.holdings())));
    }
    for (key, holders) in held {
        if holders.len() > 1 && holders.iter().any(|(_, exclusive)| *exclusive) {
            return Err((LK_1, format!("{key:?} is held by {holders:?}")));
        }
    }
    Ok(())
}
