//! What every mode shares about a branch: what a participant is asked in phase two, and what it
//! may answer.

mod environment;
pub(crate) mod fate;
pub(crate) mod lookup;
pub(crate) mod phase_one;

pub(crate) use environment::Environment;

use std::time::Duration;

use pactum_core::id::{BranchId, StoreId, Xid};
use pactum_core::transaction::{Action, BranchMode, Resolution};
use pactum_proto::v1::ParkReport;

/// One branch, as its participant knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BranchKey {
    pub(crate) xid: Xid,
    pub(crate) branch: BranchId,
}

/// What the coordinator asks of a participant. It may arrive zero, one or many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Commit,
    /// With what the coordinator knows: a missing barrier row is *evidence lost* if phase one is
    /// known to be done, and otherwise calls for the tombstone.
    Rollback {
        phase_one_done: bool,
    },
    /// How did phase one end? Answered `Done` if the barrier row is there, `Failed` once a tombstone
    /// makes its absence final.
    AskPhaseOne,
    /// Could this action succeed, as things are? The key names the question and no branch, and
    /// nothing depends on the answer: `Done` is yes, `Failed` and `Parked` are no (nothing is
    /// parked), `Later` is no answer. Whoever has no opinion says `Done`.
    CanCommit,
}

/// A task for one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) key: BranchKey,
    /// The store of the coordinator that asks. A participant acts only for the store that its
    /// barrier row names: another one's number may be somebody else's transaction.
    pub(crate) store: StoreId,
    pub(crate) task: Task,
    pub(crate) attempt: u32,
    pub(crate) mode: BranchMode,
    /// For TCC and saga, as it was registered.
    pub(crate) action: Option<Action>,
    /// What an operator decided while the branch was parked.
    pub(crate) resolution: Option<Resolution>,
}

/// What came of it. `Done` is said only after the local transaction that did it has committed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done,
    /// For [`Task::AskPhaseOne`] and [`Task::CanCommit`] only.
    Failed,
    /// Not now; try again, after the delay where one is known.
    Later {
        after: Option<Duration>,
        reason: String,
    },
    /// Repeating cannot cure it: a person must look.
    Parked(ParkReport),
}
