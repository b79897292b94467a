//! The life of one global transaction, as a pure function.
//!
//! ```text
//!                 ┌──────────────▶ Committing ──────────▶ Committed
//! Active ─(closing)┤ commit, phase one done
//!                 └──────────────▶ RollingBack(cause) ──▶ RolledBack(cause)
//!                   rollback, veto, deadline, deadlock, phase one unknown
//! ```
//!
//! [`decide`] looks at where a transaction is and at what is asked, and answers what is to happen.
//! *Closing* is a volatile part of `Active`: a commit was asked for and waits for phase one.
//! Rollback, veto and deadline win until the decision.

use crate::time::Timestamp;
use crate::transaction::{GlobalTransaction, PhaseOne, RollbackCause, Status};

/// What is asked of a transaction, or happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Its manager wants it committed.
    Commit {
        /// The request names a branch whose phase one is known to have failed.
        names_failed: bool,
    },
    /// Its manager, a participant or the group wants it rolled back.
    Rollback(RollbackCause),
    /// Its time is up.
    DeadlinePassed,
    /// More is known of a branch's phase one.
    PhaseOneLearned,
    /// A closing commit has waited long enough.
    ClosingPassed,
    /// A branch wants to join.
    Join,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Decide to commit.
    Commit,
    /// Decide to roll back.
    RollBack(RollbackCause),
    /// Close the transaction: wait until phase one of its branches is known.
    AwaitPhaseOne,
    /// The branch may join.
    Admit,
    /// The branch may not: the transaction is decided or closing.
    Refuse,
    /// Nothing: what stands, stands. A repeat, or a timer that fired a moment too late.
    Stand,
}

/// Judges a request against the transaction as it is.
pub fn decide(txn: &GlobalTransaction, request: Request, now: Timestamp) -> Verdict {
    use RollbackCause::{PhaseOneFailed, PhaseOneUnknown, TimedOut};
    use Status::{Active, Committed, Committing, RolledBack, RollingBack};
    let late = txn.deadline <= now;
    let closing = txn.closing.is_some();
    match (request, txn.row.status) {
        // A late request must not win against the deadline: the timer may simply not have fired yet.
        (
            Request::Commit { .. }
            | Request::DeadlinePassed
            | Request::ClosingPassed
            | Request::Join
            | Request::PhaseOneLearned,
            Active,
        ) if late => Verdict::RollBack(TimedOut),

        (Request::Commit { names_failed: true }, Active) => Verdict::RollBack(PhaseOneFailed),
        (Request::Commit { names_failed: false }, Active) => match txn.is_phase_one_done() {
            true => Verdict::Commit,
            false => Verdict::AwaitPhaseOne,
        },
        (Request::PhaseOneLearned, Active) if closing && txn.is_phase_one_done() => Verdict::Commit,
        (Request::PhaseOneLearned, Active) => Verdict::Stand,
        (Request::ClosingPassed, Active) if closing => Verdict::RollBack(PhaseOneUnknown),
        (Request::Rollback(cause), Active) => Verdict::RollBack(cause),
        (Request::Join, Active) if closing => Verdict::Refuse,
        (Request::Join, Active) => Verdict::Admit,

        // Its time is not up: the timer belongs to a deadline that was set anew.
        (Request::DeadlinePassed | Request::ClosingPassed, Active) => Verdict::Stand,

        (Request::Join, Committing | Committed | RollingBack(_) | RolledBack(_)) => Verdict::Refuse,

        // Retries of a request whose answer was lost, and timers that fired a moment too late. The
        // caller reads the outcome from the status; nothing is decided twice.
        (
            Request::Commit { .. }
            | Request::Rollback(_)
            | Request::DeadlinePassed
            | Request::PhaseOneLearned
            | Request::ClosingPassed,
            Committing | Committed | RollingBack(_) | RolledBack(_),
        ) => Verdict::Stand,
    }
}

impl GlobalTransaction {
    /// Whether phase one of a branch is known to have failed.
    #[must_use]
    pub fn has_failed(&self, id: crate::id::BranchId) -> bool {
        self.branch(id).is_some_and(|branch| branch.row.phase_one == PhaseOne::Failed)
    }
}

#[cfg(test)]
mod tests;
