//! What must always hold, as named predicates.
//!
//! [`permits`] judges changes right before they are applied and written; [`holds`] judges a whole
//! group, for tests and the walk. Ids and their meaning: `docs/invariants.md`.
//!
//! A violation is our own mistake, never a caller's: the step is refused whole and counted, and the
//! rest of the group lives on.

use crate::group::Group;
use crate::lock::table::LockTable;
use crate::step::{Change, Volatile, Write};
use crate::transaction::{
    BranchRow, GlobalTransaction, PhaseOne, PhaseTwo, Status, TransactionRow,
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
            Write::PutResource(_) | Write::DropResource(_) | Write::Prune { .. } => {}
        }
    }
    Ok(())
}

fn permits_transaction(
    group: &Group,
    row: &TransactionRow,
    before: &[Change],
) -> Result<(), &'static str> {
    let Some(txn) = group.transaction(row.number) else { return Err(GT_1) };
    if !may_follow(txn.row.status, row.status) {
        return Err(GT_1);
    }
    match row.status {
        Status::Active => Ok(()),
        Status::Committing if txn.row.status == Status::Active => phase_one_known(txn, before),
        Status::Committing | Status::RollingBack(_) => Ok(()),
        Status::Committed => {
            if txn.row.status == Status::Active {
                phase_one_known(txn, before)?;
            }
            confirmed(txn, Status::Committing, before)
        }
        Status::RolledBack(cause) => confirmed(txn, Status::RollingBack(cause), before),
    }
}

/// The moves that a status may make; staying is one, for a row that is written again.
fn may_follow(from: Status, to: Status) -> bool {
    use Status::{Active, Committed, Committing, RolledBack, RollingBack};
    match (from, to) {
        (Active, Active | Committing | Committed | RollingBack(_) | RolledBack(_)) => true,
        (Committing, Committing | Committed) => true,
        (RollingBack(was), RollingBack(is) | RolledBack(is)) => was == is,
        (Committing, Active | RollingBack(_) | RolledBack(_)) => false,
        (RollingBack(_), Active | Committing | Committed) => false,
        (Committed | RolledBack(_), _) => false,
    }
}

fn phase_one_known(txn: &GlobalTransaction, before: &[Change]) -> Result<(), &'static str> {
    let known = txn.branches.iter().all(|branch| {
        branch.row.phase_one != PhaseOne::Unknown
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
        if status.is_decided() && txn.is_complete_in(status) {
            return Err((GT_4, format!("{xid} is complete and has not ended")));
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
