//! What came of a global transaction.

use pactum_core::transaction::{RollbackCause, Status};
use pactum_proto::v1;

/// What was decided, once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everything happens.
    Committed,
    /// Everything is undone, and why.
    RolledBack(RollbackCause),
}

/// A decision, and how far it has spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a commit may come back as rolled back"]
pub struct Outcome {
    /// What was decided.
    pub decision: Decision,
    /// Whether every branch has confirmed it. If not, the coordinator goes on by itself;
    /// [`TransactionHandle::completed`](crate::TransactionHandle::completed) waits for it.
    pub completed: bool,
    /// How many branches cannot go on without a person: see `pactum tx show`.
    pub parked: u32,
}

impl Outcome {
    /// Whether it was decided to commit.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.decision == Decision::Committed
    }

    /// The decision in the coordinator's answer; `None` if there is none yet, or none that this
    /// agent understands.
    pub(crate) fn from_wire(wire: v1::Outcome) -> Option<Self> {
        let (decision, completed) = match pactum_core::step::Outcome::try_from(wire).ok()?.status {
            Status::Active | Status::Delegated => return None,
            Status::Committing => (Decision::Committed, false),
            Status::Committed => (Decision::Committed, true),
            Status::RollingBack(cause) => (Decision::RolledBack(cause), false),
            Status::RolledBack(cause) => (Decision::RolledBack(cause), true),
        };
        Some(Outcome { decision, completed, parked: wire.parked })
    }

    /// What is certain of a transaction whose commit its only manager never asked for, and never
    /// will.
    pub(crate) fn without_commit(cause: RollbackCause) -> Self {
        Outcome { decision: Decision::RolledBack(cause), completed: false, parked: 0 }
    }
}
