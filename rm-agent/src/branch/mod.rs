//! What every mode shares about a branch: what a participant is asked in phase two, and what it
//! may answer.

mod environment;
pub(crate) mod fate;
pub(crate) mod lookup;
pub(crate) mod phase_one;

pub(crate) use environment::Environment;

use std::time::Duration;

use bytes::Bytes;
use pactum_core::id::{BranchId, StoreId, Xid};
use pactum_core::transaction::{Action, BranchMode, Resolution};
use pactum_proto::v1::ParkReport;
use tokio::time::Instant;

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
    /// Runs the action of a declared saga's step. Answered with [`Answer::Step`] or `Later`.
    Act,
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
    /// Where the branch is a step of a declared saga.
    pub(crate) step: Option<StepWork>,
}

/// What else is told of a step of a declared saga. No two attempts have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepWork {
    /// For [`Task::Act`]: when the coordinator gives the attempt up.
    pub(crate) until: Instant,
    /// Names the step, the same for all attempts and for its compensation.
    pub(crate) key: String,
    /// For its compensation: what the action returned, as JSON; empty if that is not known.
    pub(crate) result: Bytes,
    /// For its compensation: the definition says that there is none.
    pub(crate) forward_only: bool,
}

impl Work {
    pub(crate) fn action_name(&self) -> &str {
        self.action.as_ref().map_or("", |action| &*action.name)
    }

    /// How much is left of the time of an attempt.
    pub(crate) fn time_left(&self) -> Duration {
        let until = self.step.as_ref().map(|step| step.until);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// What the coordinator knows that a step's action returned; empty where it does not say.
    pub(crate) fn told(&self) -> &[u8] {
        self.step.as_ref().map_or(&[], |step| &step.result)
    }

    /// Whether the definition says that nothing reverses the step.
    pub(crate) fn is_forward_only(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.forward_only)
    }

    /// What was registered with the branch, or what the step is given.
    pub(crate) fn payload(&self) -> &[u8] {
        self.action.as_ref().map_or(&[], |action| &*action.payload)
    }
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
    /// To [`Task::Act`].
    Step(StepAnswer),
}

/// What came of an attempt of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StepAnswer {
    /// It took place, and this is what the action returned, as JSON.
    Done(Vec<u8>),
    /// This attempt did not take place.
    Failed { code: String, message: String, is_final: bool },
    /// It may have taken place or not, and why that is not known.
    Unknown(String),
    /// It is under way elsewhere.
    Ongoing { ask_after: Option<Duration> },
}
