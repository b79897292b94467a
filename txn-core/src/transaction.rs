//! A global transaction and its branches: what is stored of them, and what is known besides.
//!
//! The `…Row` types are what the store keeps, word for word; a change of one is a change of a
//! stored format. Everything else about a transaction is volatile and rebuilt or asked for again
//! after a restart.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{BranchId, NodeId, ResourceId, ResourceNumber, ResourceUid, ScopeId, XidNumber};
use crate::lock::LockRequest;
use crate::saga::LiveSaga;
use crate::step::ReplyTo;
use crate::time::{Timestamp, WallTime};

/// Why a global transaction rolls back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RollbackCause {
    /// The transaction manager asked for it.
    Requested,
    /// The deadline passed before a decision.
    TimedOut,
    /// A participant vetoed.
    Vetoed,
    /// It was the youngest in a cycle of waiting transactions.
    Deadlock,
    /// A branch's phase one could not be shown to be done.
    PhaseOneUnknown,
    /// The commit named a branch whose phase one had failed.
    PhaseOneFailed,
    /// The node that began it went away and did not come back.
    ManagerLost,
    /// The coordinator restarted before anything of it was stored.
    Unrecorded,
    /// A nested scope was rolled back, and one of its branches could not be undone by itself.
    ScopeNotUndone,
    /// A step of a declared saga failed for good.
    StepFailed,
}

/// What was decided, and how far it has spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Not decided.
    Active,
    /// Undecided here for good: the one-phase commit of its only branch decides.
    Delegated,
    /// Decided to commit; some branches have not confirmed.
    Committing,
    /// Committed everywhere.
    Committed,
    /// Decided to roll back; some branches have not confirmed.
    RollingBack(RollbackCause),
    /// Rolled back everywhere.
    RolledBack(RollbackCause),
}

impl Status {
    /// Whether a decision has been taken.
    #[must_use]
    pub fn is_decided(self) -> bool {
        match self {
            Status::Active | Status::Delegated => false,
            Status::Committing
            | Status::Committed
            | Status::RollingBack(_)
            | Status::RolledBack(_) => true,
        }
    }

    /// Whether the decision can still be taken here.
    #[must_use]
    pub fn is_undecided_here(self) -> bool {
        match self {
            Status::Active => true,
            Status::Delegated
            | Status::Committing
            | Status::Committed
            | Status::RollingBack(_)
            | Status::RolledBack(_) => false,
        }
    }

    /// Whether every branch has confirmed the decision.
    #[must_use]
    pub fn is_ended(self) -> bool {
        match self {
            Status::Active | Status::Delegated | Status::Committing | Status::RollingBack(_) => {
                false
            }
            Status::Committed | Status::RolledBack(_) => true,
        }
    }
}

/// How a branch takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BranchMode {
    /// Automatic: undo logs.
    At,
    /// Try, confirm, cancel.
    Tcc,
    /// Action and compensation.
    Saga,
    /// The database's own prepared transaction.
    Xa,
}

/// What the coordinator knows of a branch's phase one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseOne {
    /// Registered; nothing was heard yet. Volatile knowledge, so a restart comes back to this.
    Unknown,
    /// The branch's local work is committed (or prepared, or tried).
    Done,
    /// Nothing was committed, for certain and for ever: the branch counts no more.
    Failed,
}

/// Why automatic work on a branch has stopped: repeating cannot cure it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParkReason {
    /// Rows equal neither image: someone passed the global lock.
    DirtyWrite,
    /// Phase one was done, and its barrier row is gone.
    EvidenceLost,
    /// The barrier row does not match its checksum.
    EvidenceTampered,
    /// The tables are not those that the undo log was written for.
    SchemaChanged,
    /// The handler says that it will never succeed.
    HandlerFatal,
    /// The database finished the branch otherwise than decided.
    Heuristic,
    /// A rule of the protocol would have been broken.
    Invariant,
}

/// What an operator decides about a parked branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// Look again: what stood in the way was put right by hand.
    Retry,
    /// Write the before images over whatever is there now: the other writer's values are lost.
    Restore,
    /// Leave the rows as they are now, and count the branch as settled.
    Keep,
}

/// How many decisions of operators a branch keeps: more than a person makes, and a bound for its row.
pub const RESOLUTIONS_KEPT_MAX: usize = 100;

/// A decision of an operator, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// What was decided.
    pub resolution: Resolution,
    /// Why; empty for the retry of a whole transaction.
    pub reason: Arc<str>,
    /// When.
    pub at: WallTime,
    /// Why the branch was parked then.
    pub parked: ParkReason,
}

/// How far phase two of a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseTwo {
    /// Not confirmed.
    Pending,
    /// Confirmed by the participant.
    Done,
    /// A person must look.
    Parked(ParkReason),
}

/// How deep scopes nest at most: each is a number in every row and header within.
pub const SCOPE_DEPTH_MAX: usize = 16;
/// How many scopes of one transaction may be rolled back: its row carries them all.
pub const UNDONE_SCOPES_MAX: usize = 1_000;

/// A nested scope that was rolled back while its transaction went on, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoneScope {
    /// The scope is the last one; before it stand those around it, outermost first, where whoever
    /// rolled it back named them.
    pub path: Vec<ScopeId>,
    /// Whether the transaction manager asked for it. A participant's veto alone may not have reached
    /// it, and it must not commit what it believes to be whole.
    pub requested: bool,
}

impl UndoneScope {
    /// The scope.
    #[must_use]
    pub fn scope(&self) -> ScopeId {
        *self.path.last().expect("a path names its scope")
    }
}

/// A global transaction, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRow {
    /// Its number in the group.
    pub number: XidNumber,
    /// For people.
    pub name: Arc<str>,
    /// The node whose session began it; `None` for a unary begin.
    pub node: Option<NodeId>,
    /// What was decided.
    pub status: Status,
    /// How long it may stay undecided.
    pub timeout: Duration,
    /// When it began.
    pub begun_at: WallTime,
    /// When its last branch confirmed.
    pub ended_at: Option<WallTime>,
    /// The caller's key against double begins.
    pub idempotency_key: Option<Arc<str>>,
    /// The transaction that it suspends: waiting for that one would be for ever.
    pub outer: Option<XidNumber>,
    /// The nested scopes that were rolled back, in the order in which that was decided: at most
    /// [`UNDONE_SCOPES_MAX`].
    pub undone_scopes: Vec<UndoneScope>,
}

impl TransactionRow {
    /// One that has just begun, of nobody's session.
    #[must_use]
    pub fn begun(number: XidNumber, name: Arc<str>, timeout: Duration, begun_at: WallTime) -> Self {
        TransactionRow {
            number,
            name,
            node: None,
            status: Status::Active,
            timeout,
            begun_at,
            ended_at: None,
            idempotency_key: None,
            outer: None,
            undone_scopes: Vec::new(),
        }
    }

    /// Whether one of these scopes was rolled back.
    #[must_use]
    pub fn has_undone(&self, scopes: &[ScopeId]) -> bool {
        self.undone_scopes.iter().any(|undone| scopes.contains(&undone.scope()))
    }
}

/// What a TCC or saga branch is to call in phase two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The action's registered name.
    pub name: Arc<str>,
    /// What it was given, opaque to the coordinator.
    pub payload: Arc<[u8]>,
}

/// A branch, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchRow {
    /// Its transaction.
    pub xid: XidNumber,
    /// Its id, named by the agent.
    pub id: BranchId,
    /// Its place among the transaction's branches, given by the coordinator: undo goes newest first.
    pub sequence: u32,
    /// The node that registered it.
    pub node: NodeId,
    /// Where it works.
    pub resource: ResourceNumber,
    /// How it takes part.
    pub mode: BranchMode,
    /// The nested scopes that it belongs to, outermost first: at most [`SCOPE_DEPTH_MAX`].
    pub scopes: Vec<ScopeId>,
    /// A locking read: done when granted, no phase two.
    pub lock_only: bool,
    /// The global locks it took.
    pub locks: Arc<[LockRequest]>,
    /// For TCC and saga.
    pub action: Option<Arc<Action>>,
    /// Phase one. `Done` is stored only where a row is written anyway.
    pub phase_one: PhaseOne,
    /// Phase two.
    pub phase_two: PhaseTwo,
    /// What the participant reported when it parked: an encoded `ParkReport`, opaque here.
    pub park_report: Option<Arc<[u8]>>,
    /// What operators decided about it, oldest first: at most [`RESOLUTIONS_KEPT_MAX`].
    pub resolutions: Vec<Resolved>,
}

impl BranchRow {
    /// The operator's decision that is in force: the last one, until the branch is done or parks
    /// again.
    #[must_use]
    pub fn resolution(&self) -> Option<Resolution> {
        match self.phase_two {
            PhaseTwo::Pending => self.resolutions.last().map(|last| last.resolution),
            PhaseTwo::Done | PhaseTwo::Parked(_) => None,
        }
    }
}

/// A resource's binding, as it is stored: made at first sight, undone by an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRow {
    /// Its number in the group.
    pub number: ResourceNumber,
    /// Its declared id.
    pub id: ResourceId,
    /// The database behind it; `None` for a service without one.
    pub uid: Option<ResourceUid>,
}

/// A live branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// What is stored of it.
    pub row: BranchRow,
    /// One of its scopes was rolled back: it is undone while its transaction goes on, and counts no
    /// more. Follows from the rows.
    pub scope_undone: bool,
    /// How often phase two was tried.
    pub attempt: u32,
    /// When phase two may be tried again.
    pub next_attempt_at: Timestamp,
    /// Why the last attempt was answered *later*, where that was said.
    pub last_reason: Option<Arc<str>>,
}

impl Branch {
    /// Whether the branch holds its global locks while its transaction is in `status`.
    ///
    /// AT locks go at the commit decision, and so do a saga's: their work is final by then. At
    /// rollback each branch keeps its own until its rows are restored. What TCC and XA did is not
    /// visible before phase two, so theirs stay until then. A scope that rolls back frees its keys as
    /// a whole rollback does.
    #[must_use]
    pub fn holds_locks(&self, status: Status) -> bool {
        let row = &self.row;
        let working = row.phase_one != PhaseOne::Failed && row.phase_two != PhaseTwo::Done;
        match status {
            Status::Active | Status::Delegated if self.scope_undone => working && !row.lock_only,
            Status::Active | Status::Delegated => row.phase_one != PhaseOne::Failed,
            Status::Committing => match row.mode {
                BranchMode::At | BranchMode::Saga => false,
                BranchMode::Tcc | BranchMode::Xa => working && !row.lock_only,
            },
            Status::RollingBack(_) => working && !row.lock_only,
            Status::Committed | Status::RolledBack(_) => false,
        }
    }

    /// Whether the participant must be told of `status` and has not confirmed it: while the
    /// transaction is active, that a scope of the branch rolls back; once it is delegated, that it
    /// is to say how phase one ended.
    #[must_use]
    pub fn awaits_phase_two(&self, status: Status) -> bool {
        let row = &self.row;
        let working = row.phase_one != PhaseOne::Failed && row.phase_two != PhaseTwo::Done;
        match status {
            Status::Committed | Status::RolledBack(_) => false,
            Status::Active => self.scope_undone && working && !row.lock_only,
            Status::Delegated => self.counts() && row.phase_one == PhaseOne::Unknown,
            // A saga's actions are final when they are done.
            Status::Committing => working && !row.lock_only && row.mode != BranchMode::Saga,
            Status::RollingBack(_) => working && !row.lock_only,
        }
    }

    /// Whether the outcome of its transaction is also its own.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.row.lock_only && !self.scope_undone && self.row.phase_one != PhaseOne::Failed
    }

    /// Whether automatic work on it has stopped.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        match self.row.phase_two {
            PhaseTwo::Pending | PhaseTwo::Done => false,
            PhaseTwo::Parked(_) => true,
        }
    }
}

/// A commit that was asked for and waits for phase one: a volatile part of `Active`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// When it gives up and rolls back.
    pub until: Timestamp,
    /// Who waits for the decision.
    pub callers: Vec<Caller>,
}

/// Someone who waits for an outcome, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where the answer goes.
    pub reply: ReplyTo,
    /// How far it waits.
    pub wait: Wait,
}

/// How far a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the decision.
    Decided,
    /// Until every branch has confirmed, at most `completion_wait`.
    Completed,
}

/// A live global transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalTransaction {
    /// What is stored of it, or will be with its first branch.
    pub row: TransactionRow,
    /// Whether the row has been written (or is in a batch being written).
    pub stored: bool,
    /// When it rolls back unless it is decided.
    pub deadline: Timestamp,
    /// Set once a commit was asked for and waits for phase one.
    pub closing: Option<Box<Closing>>,
    /// In order of sequence.
    pub branches: Vec<Branch>,
    /// Who waits for its completion.
    pub awaiting: Vec<ReplyTo>,
    /// Who waits for a scope to be undone.
    pub awaiting_scope: Vec<(ScopeId, ReplyTo)>,
    /// Of a declared saga: its steps, which are no branches of this list.
    pub saga: Option<Box<LiveSaga>>,
}

impl GlobalTransaction {
    /// The branch with this id.
    #[must_use]
    pub fn branch(&self, id: BranchId) -> Option<&Branch> {
        self.branches.iter().find(|branch| branch.row.id == id)
    }

    /// How many branches need a person.
    #[must_use]
    pub fn parked_count(&self) -> u32 {
        let parked = self.branches.iter().filter(|branch| branch.is_parked()).count();
        let steps = self.saga.as_ref().map_or(0, |saga| saga.parked_count());
        u32::try_from(parked).unwrap_or(u32::MAX).saturating_add(steps)
    }

    /// Whether every branch has confirmed `status` or need not.
    #[must_use]
    pub fn is_complete_in(&self, status: Status) -> bool {
        !self.branches.iter().any(|branch| branch.awaits_phase_two(status))
    }

    /// Whether every branch that counts is known to be done with phase one.
    #[must_use]
    pub fn is_phase_one_done(&self) -> bool {
        self.branches.iter().all(|branch| match branch.row.phase_one {
            PhaseOne::Unknown => branch.scope_undone,
            PhaseOne::Done | PhaseOne::Failed => true,
        })
    }

    /// Whether a commit has nothing left to wait for: phase one is known, and what its rolled back
    /// scopes did is undone.
    #[must_use]
    pub fn is_ready_to_commit(&self) -> bool {
        self.is_phase_one_done() && self.is_complete_in(Status::Active)
    }

    /// The one branch that counts, if its own one-phase commit can decide: it is not prepared yet,
    /// and nothing is left to be undone beside it.
    #[must_use]
    pub fn delegable(&self) -> Option<&Branch> {
        let mut counting = self.branches.iter().filter(|branch| branch.counts());
        let only = counting.next().filter(|_| counting.next().is_none())?;
        let row = &only.row;
        let fits = row.mode == BranchMode::Xa && row.phase_one == PhaseOne::Unknown;
        (fits && self.is_complete_in(Status::Active)).then_some(only)
    }

    /// Whether a participant vetoed a scope of which the transaction manager, as far as is known,
    /// believes that it succeeded.
    #[must_use]
    pub fn has_unheard_veto(&self) -> bool {
        let undone = &self.row.undone_scopes;
        let heard = |path: &[ScopeId]| {
            undone.iter().any(|other| other.requested && path.contains(&other.scope()))
        };
        undone.iter().any(|scope| !heard(&scope.path))
    }
}
