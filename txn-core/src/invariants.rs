//! What must always hold, as named predicates.
//!
//! [`permits`] judges changes right before they are applied and written; [`holds`] judges a whole
//! group, for tests and the walk. Ids and their meaning: `docs/invariants.md`.
//!
//! A violation is our own mistake, never a caller's: the step is refused whole and counted, and the
//! rest of the group lives on.

use crate::group::Group;
use crate::id::XidNumber;
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
    match txn.branch(row.id) {
        // One that only says "failed" takes no part and no locks.
        None if !txn.is_open() && row.phase_one != PhaseOne::Failed => Err(GT_3),
        None => Ok(()),
        Some(known) => {
            let revived =
                known.row.phase_one == PhaseOne::Failed && row.phase_one != PhaseOne::Failed;
            let undone_again =
                known.row.phase_two == PhaseTwo::Done && row.phase_two != PhaseTwo::Done;
            let changed = known.row.locks != row.locks || known.row.resource != row.resource;
            if revived || undone_again || changed { Err(LK_3) } else { Ok(()) }
        }
    }
}

/// Judges a group as a whole. Walks all of it: for tests.
///
/// # Errors
/// The id of the first rule that is broken, and where.
pub fn holds(group: &Group) -> Result<(), (&'static str, String)> {
    for (key, holders) in group.locks().holdings() {
        let exclusive = holders.iter().any(|(_, exclusive)| *exclusive);
        if exclusive && holders.len() > 1 {
            return Err((LK_1, format!("{key:?} is held by {holders:?}")));
        }
        for (xid, _) in holders {
            holds_for_a_reason(group, xid).map_err(|rule| (rule, format!("{key:?} by {xid}")))?;
        }
    }
    for txn in group.transactions() {
        let status = txn.row.status;
        if status.is_ended() {
            return Err((GT_4, format!("{} has ended and is still live", txn.row.number)));
        }
        if status.is_decided() && txn.is_complete_in(status) {
            return Err((GT_4, format!("{} is complete and has not ended", txn.row.number)));
        }
        let waits = group.waiting().of_transaction(txn.row.number).count();
        if waits > 0 && !txn.is_open() {
            return Err((GT_3, format!("{} is closed and still waits", txn.row.number)));
        }
    }
    Ok(())
}

/// A key is held by a live transaction, through a branch or a claim.
fn holds_for_a_reason(group: &Group, xid: XidNumber) -> Result<(), &'static str> {
    let txn = group.transaction(xid).ok_or(LK_3)?;
    let by_branch = txn.branches.iter().any(|branch| branch.holds_locks(txn.row.status));
    let by_claim = group.waiting().claims().any(|claim| claim.xid == xid);
    if by_branch || by_claim { Ok(()) } else { Err(LK_3) }
}
