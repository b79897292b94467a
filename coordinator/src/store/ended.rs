//! What the end of a transaction says about its branches, so that it need not be written.
//!
//! A transaction ends in one write of its own row. Rewriting its branches as well would add a row
//! write for each of them to every commit; the readers fill in what follows.

use pactum_core::transaction::{BranchRow, PhaseOne, PhaseTwo, Status, TransactionRow};

/// Fills in what its transaction implies for a branch. A report of why it was once parked stays, on
/// record.
pub(super) fn fill_in(branch: &mut BranchRow, transaction: &TransactionRow) {
    let status = transaction.status;
    match status {
        Status::Active | Status::Delegated | Status::Committing | Status::RollingBack(_) => return,
        Status::Committed | Status::RolledBack(_) => {}
    }
    match branch.phase_one {
        // Undone with its scope, it needed none.
        PhaseOne::Unknown if transaction.has_undone(&branch.scopes) => {}
        // A commit needs every phase one; a rollback needs none, so there it stays unknown.
        PhaseOne::Unknown if status == Status::Committed => branch.phase_one = PhaseOne::Done,
        PhaseOne::Unknown | PhaseOne::Done => {}
        // Such a branch never had a phase two.
        PhaseOne::Failed => return,
    }
    match branch.phase_two {
        PhaseTwo::Pending | PhaseTwo::Parked(_) => branch.phase_two = PhaseTwo::Done,
        PhaseTwo::Done => {}
    }
}
