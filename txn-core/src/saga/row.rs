//! What is stored of a saga: its row at the start, a row for each step that has something to keep.
//!
//! No row says that something is about to be done. What follows from the stored results may have been
//! started, and a restart starts it again under the same key.

use std::fmt;
use std::sync::Arc;

use crate::id::{BranchId, XidNumber};
use crate::time::WallTime;
use crate::transaction::ParkReason;

/// The place of a step instance in the unrolled definition. It follows from the definition alone, so
/// that an instance has the same key before and after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The branch id of the instance: unique with the XID.
    #[must_use]
    pub fn branch(self) -> BranchId {
        BranchId(u64::from(self.0) + 1)
    }

    /// The slot of a branch id; `None` if no slot has it.
    #[must_use]
    pub fn of_branch(branch: BranchId) -> Option<Slot> {
        let number = branch.0.checked_sub(1)?;
        u32::try_from(number).ok().map(Slot)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a step instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// A wait that has begun, or an action that answered *ongoing*.
    Waiting {
        /// When.
        since: WallTime,
    },
    /// It took place; its event came; its time is over.
    Done,
    /// It failed for good.
    Failed {
        /// No attempt of it can have taken place, or still be under way.
        certain: bool,
    },
    /// It was passed over: by an operator, or by the time limit of a wait that goes on without it.
    Skipped,
    /// Automatic work on it has stopped while the saga goes forward.
    Parked(ParkReason),
    /// Automatic work on its compensation has stopped.
    UndoParked(ParkReason),
    /// Its compensation is done, or nothing was there to be compensated.
    Undone,
    /// An operator wants it, or its compensation, tried again.
    Open,
}

/// Why a step failed, in the words of its handler or of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    /// Which error, as a definition names those that are final.
    pub code: Arc<str>,
    /// For people.
    pub message: Arc<str>,
}

/// A step instance, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// Its saga.
    pub xid: XidNumber,
    /// Its place.
    pub slot: Slot,
    /// How far it is.
    pub state: StepState,
    /// Whether its action is known to have taken place. Outlives the compensation.
    pub took_place: bool,
    /// What it returned, as JSON.
    pub result: Option<Arc<[u8]>>,
    /// Why it failed or parked.
    pub error: Option<Arc<StepError>>,
    /// What the participant reported when its compensation parked: an encoded `ParkReport`, opaque here.
    pub report: Option<Arc<[u8]>>,
}

/// The name under which a definition is kept. What it stands for never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefinitionKey {
    /// The saga's name.
    pub name: Arc<str>,
    /// Its version, from 1.
    pub version: u32,
}

impl fmt::Display for DefinitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// A definition, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionRow {
    /// Its name and version.
    pub key: DefinitionKey,
    /// Its canonical JSON.
    pub body: Arc<[u8]>,
}

/// A saga, as it is stored beside its transaction's row: at its start, and again for each word of an
/// operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaRow {
    /// Its transaction.
    pub xid: XidNumber,
    /// What it runs.
    pub definition: DefinitionKey,
    /// What it was given, as JSON.
    pub input: Arc<[u8]>,
    /// An operator has stopped it for a while.
    pub paused: bool,
    /// What operators said about it, oldest first: at most [`SAGA_WORDS_MAX`].
    pub words: Vec<SagaWord>,
}

/// How many words of operators a saga keeps: more than a person says, and a bound for its row.
pub const SAGA_WORDS_MAX: usize = 100;

/// What an operator says to a saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SagaVerb {
    /// Start nothing more.
    Pause,
    /// Go on.
    Resume,
    /// Try a step again, or all that stand still.
    Retry,
    /// Pass over a step, or over its compensation.
    Skip,
    /// Take a step for done, with a result.
    Force,
    /// Roll back.
    Cancel,
}

/// An operator's word, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaWord {
    /// What was said.
    pub verb: SagaVerb,
    /// Of which step; `None` for the whole saga.
    pub slot: Option<Slot>,
    /// Why.
    pub reason: Arc<str>,
    /// When.
    pub at: WallTime,
}
