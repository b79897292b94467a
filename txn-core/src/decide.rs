//! The life of one global transaction, as a pure function.
//!
//! ```text
//!                 ┌──────────────▶ Committing ──────────▶ Committed
//! Active ─(closing)┤ commit, phase one done                  ▲ the branch did
//!    ├─────────────┼──────────────▶ Delegated ──────────────┤
//!    │  delegated  │                                        ▼ it did not
//!    │             └──────────────▶ RollingBack(cause) ──▶ RolledBack(cause)
//!    └▶ a scope undone   rollback, veto, deadline, deadlock, phase one unknown
//! ```
//!
//! [`decide`] looks at where a transaction is and at what is asked, and answers what is to happen.
//! *Closing* is a volatile part of `Active`: a commit was asked for and waits for phase one, or for
//! what a rolled back scope left to be undone.
//! Rollback, veto and deadline win until the decision.

use crate::id::{BranchId, ScopeId};
use crate::time::Timestamp;
use crate::transaction::{Branch, GlobalTransaction, PhaseOne, RollbackCause, Status};

/// What is asked of a transaction, or happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Its manager wants it committed.
    Commit {
        /// The request names a branch whose phase one is known to have failed.
        names_failed: bool,
    },
    /// Its manager wants the one-phase commit of this branch to decide.
    Delegate {
        /// The branch.
        to: BranchId,
        /// The request names a branch whose phase one is known to have failed.
        names_failed: bool,
    },
    /// Its manager, or (as a veto) a participant, wants a scope of it rolled back.
    RollbackScope(ScopeId, RollbackCause),
    /// Its manager, a participant or the group wants it rolled back.
    Rollback(RollbackCause),
    /// Its time is up.
    DeadlinePassed,
    /// More is known of a branch: how phase one ended, or that it is undone with its scope.
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
    /// Close the transaction: wait until phase one of its branches is known, and its rolled back
    /// scopes are undone.
    AwaitPhaseOne,
    /// Leave the decision to the branch.
    Delegate,
    /// The branch cannot be left alone with it: it must prepare.
    RefuseDelegation,
    /// The branch has decided: end accordingly.
    EndDelegated,
    /// Roll back the scope, and nothing else.
    UndoScope,
    /// The branch may join.
    Admit,
    /// The branch may not: the transaction is decided or closing.
    Refuse,
    /// Nothing: what stands, stands. A repeat, or a timer that fired a moment too late.
    Stand,
}

/// Judges a request against the transaction as it is.
pub fn decide(txn: &GlobalTransaction, request: Request, now: Timestamp) -> Verdict {
    use RollbackCause::{PhaseOneFailed, PhaseOneUnknown, TimedOut, Vetoed};
    use Status::{Active, Committed, Committing, Delegated, RolledBack, RollingBack};
    let late = txn.deadline <= now;
    let closing = txn.closing.is_some();
    match (request, txn.row.status) {
        // A late request must not win against the deadline: the timer may simply not have fired yet.
        (
            Request::Commit { .. }
            | Request::Delegate { .. }
            | Request::RollbackScope(..)
            | Request::DeadlinePassed
            | Request::ClosingPassed
            | Request::Join
            | Request::PhaseOneLearned,
            Active,
        ) if late => Verdict::RollBack(TimedOut),

        (
            Request::Commit { names_failed: true } | Request::Delegate { names_failed: true, .. },
            Active,
        ) => Verdict::RollBack(PhaseOneFailed),
        (Request::Commit { .. } | Request::Delegate { .. }, Active) if txn.has_unheard_veto() => {
            Verdict::RollBack(Vetoed)
        }
        (Request::Commit { .. } | Request::Delegate { .. }, Active) if txn.is_ready_to_commit() => {
            Verdict::Commit
        }
        (Request::Commit { .. }, Active) => Verdict::AwaitPhaseOne,
        (Request::Delegate { to, .. }, Active) => {
            let fits = txn.delegable().is_some_and(|branch| branch.row.id == to);
            if fits && !closing { Verdict::Delegate } else { Verdict::RefuseDelegation }
        }
        (Request::RollbackScope(scope, cause), Active) => {
            let known = txn.row.undone_scopes.iter().find(|undone| undone.scope() == scope);
            match known {
                Some(undone) if undone.requested || cause == Vetoed => Verdict::Stand,
                // Its manager asked for the commit of what it believed to be whole.
                Some(_) | None if closing => Verdict::RollBack(cause),
                Some(_) | None => Verdict::UndoScope,
            }
        }
        (Request::PhaseOneLearned, Active) if closing && txn.is_ready_to_commit() => {
            Verdict::Commit
        }
        (Request::PhaseOneLearned, Active) => Verdict::Stand,
        // A scope that is still undone has until the deadline.
        (Request::ClosingPassed, Active) if closing && !txn.is_phase_one_done() => {
            Verdict::RollBack(PhaseOneUnknown)
        }
        (Request::Rollback(cause), Active) => Verdict::RollBack(cause),
        (Request::Join, Active) if closing => Verdict::Refuse,
        (Request::Join, Active) => Verdict::Admit,

        // Its time is not up: the timer belongs to a deadline that was set anew.
        (Request::DeadlinePassed | Request::ClosingPassed, Active) => Verdict::Stand,

        (Request::PhaseOneLearned, Delegated) if txn.is_phase_one_done() => Verdict::EndDelegated,

        (Request::Join, Delegated | Committing | Committed | RollingBack(_) | RolledBack(_)) => {
            Verdict::Refuse
        }

        // Retries of a request whose answer was lost, and timers that fired a moment too late. The
        // caller reads the outcome from the status; nothing is decided twice, and nobody decides over
        // the head of a branch that may have decided already.
        (
            Request::Commit { .. }
            | Request::Delegate { .. }
            | Request::RollbackScope(..)
            | Request::Rollback(_)
            | Request::DeadlinePassed
            | Request::PhaseOneLearned
            | Request::ClosingPassed,
            Delegated | Committing | Committed | RollingBack(_) | RolledBack(_),
        ) => Verdict::Stand,
    }
}

impl GlobalTransaction {
    /// Whether phase one of a branch that is not undone is known to have failed.
    #[must_use]
    pub fn has_failed(&self, id: BranchId) -> bool {
        let failed =
            |branch: &Branch| branch.row.phase_one == PhaseOne::Failed && !branch.scope_undone;
        self.branch(id).is_some_and(failed)
    }
}

#[cfg(test)]
mod tests;
