//! What to do with what a store held: first a plan, then its execution.
//!
//! ```text
//! found rows ── plan ──▶ Plan { buckets } ── Group::recover ──▶ locks, then deadlines and phase two
//! ```
//!
//! Locks are rebuilt from the branch rows before anything is answered; the plan only sorts what is
//! to be done with each transaction. It sends nothing: no session is attached yet, and phase two is
//! computed anew when one is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{NodeId, XidNumber};
use crate::saga::{Defined, SagaRow, StepRow};
use crate::time::{WallTime, remaining_after_load};
use crate::transaction::{BranchRow, PhaseTwo, ResourceRow, Status, TransactionRow};

/// An ended transaction, as far as a late question needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its number.
    pub xid: XidNumber,
    /// Committed, or rolled back and why.
    pub status: Status,
    /// When its last branch confirmed.
    pub at: WallTime,
    /// The key of its begin: a repeat must still find it.
    pub idempotency_key: Option<Arc<str>>,
}

/// What a store held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Every binding.
    pub resources: Vec<ResourceRow>,
    /// Transactions that have not ended, in order of number.
    pub unfinished: Vec<TransactionRow>,
    /// The branches of those, in order of (transaction, sequence).
    pub branches: Vec<BranchRow>,
    /// Ended transactions, in order of their end.
    pub history: Vec<Ended>,
    /// The definitions of sagas.
    pub definitions: Vec<Arc<Defined>>,
    /// The sagas among the unfinished.
    pub sagas: Vec<SagaRow>,
    /// The steps of those.
    pub steps: Vec<StepRow>,
}

/// What to do with each unfinished transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// Committing: every branch that has not confirmed is told again. We know because the decision
    /// is stored.
    pub resume_commit: Vec<XidNumber>,
    /// Rolling back, likewise.
    pub resume_rollback: Vec<XidNumber>,
    /// Delegated: their branch is asked how it ended, until somebody knows.
    pub ask_delegated: Vec<XidNumber>,
    /// Undecided: they run on with what remains of their time. Those that should have timed out
    /// while we were away get the grace, because their callers could not reach us. The scopes that
    /// they rolled back are undone meanwhile.
    pub run_on: Vec<(XidNumber, Duration)>,
    /// Decided, with a parked branch: the others go on, a person must look at that one. These stand
    /// in a resume bucket as well.
    pub ask_a_person: Vec<XidNumber>,
    /// The nodes that began undecided transactions on a session: they get the grace to come back.
    pub nodes_to_await: BTreeSet<NodeId>,
}

/// Sorts what was found. Pure, so that each bucket is a test.
pub fn plan(found: &Found, now: WallTime) -> Plan {
    let mut plan = Plan::default();
    for row in &found.unfinished {
        match row.status {
            Status::Active => {
                let remaining = remaining_after_load(row.begun_at, row.timeout, now);
                plan.run_on.push((row.number, remaining));
                plan.nodes_to_await.extend(row.node);
            }
            Status::Delegated => plan.ask_delegated.push(row.number),
            Status::Committing => plan.resume_commit.push(row.number),
            Status::RollingBack(_) => plan.resume_rollback.push(row.number),
            // An ended transaction is history, not unfinished; the store keeps them apart.
            Status::Committed | Status::RolledBack(_) => {}
        }
    }
    let parked = found.branches.iter().filter(|branch| match branch.phase_two {
        PhaseTwo::Pending | PhaseTwo::Done => false,
        PhaseTwo::Parked(_) => true,
    });
    let parked: BTreeSet<XidNumber> = parked.map(|branch| branch.xid).collect();
    plan.ask_a_person.extend(parked);
    plan
}

#[cfg(test)]
mod tests;
