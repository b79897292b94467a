//! What a step answers: what changes, who hears what, what is sent, when to look again.
//!
//! ```text
//!              ┌─ changes ── stored ──▶ the store, one batch ──▶ durable ─┐
//! event ▶ step ┤           └ volatile                                     ├▶ replies, commands
//!              └─ timers                                                  ┘
//! ```
//!
//! Replies and commands leave only when every batch up to the step's own is durable; the one
//! exception is marked [`Release::AtOnce`]. Commands may be lost: state brings them again.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, IdBlock, Offer, Timer};
use crate::id::{BranchId, NodeId, ResourceNumber, ScopeId, SessionId, XidNumber};
use crate::lock::ResourceKey;
use crate::lock::wait::{Claim, ClaimId, Waiter, WaiterId};
use crate::rejection::Rejection;
use crate::saga::{Attempt, Defined, DefinitionKey, SagaRow, Slot, Standing, StepRow};
use crate::time::Timestamp;
use crate::transaction::{
    Action, BranchMode, BranchRow, Caller, Resolution, ResourceRow, Status, TransactionRow,
};

/// The answer to one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// What changes, in order.
    pub changes: Vec<Change>,
    /// Who hears what.
    pub replies: Vec<Answer>,
    /// What is sent.
    pub commands: Vec<Command>,
    /// When to come back with which timer.
    pub timers: Vec<(Timestamp, Timer)>,
    /// What follows within the group, before anything else happens. [`Group::handle`] steps them, so
    /// a driver never sees any.
    ///
    /// [`Group::handle`]: crate::group::Group::handle
    pub follow_ups: Vec<Event>,
    /// The invariants that this step would have broken: it was dropped, and its callers hear so.
    pub violations: Vec<&'static str>,
}

/// Where an answer goes: the driver made it, the core only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo {
    /// The session that asked, or whatever the driver uses for a unary call.
    pub session: SessionId,
    /// The request within it.
    pub correlation: u64,
}

/// An answer on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// To whom.
    pub to: ReplyTo,
    /// What.
    pub reply: Reply,
    /// When it may leave.
    pub release: Release,
}

/// When an answer may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Once every batch up to the one that it was computed in is durable.
    WhenDurable,
    /// At once: it depends on nothing. Only a first begin.
    AtOnce,
}

/// What a caller hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The transaction has begun.
    Begun {
        /// Its number.
        xid: XidNumber,
        /// What remains until its deadline.
        remaining: Duration,
    },
    /// Where the transaction stands.
    Outcome(Outcome),
    /// Where a nested scope stands that was to roll back.
    Scope(ScopeOutcome),
    /// The branch is registered and holds its locks.
    Registered {
        /// Its place among the transaction's branches.
        sequence: u32,
    },
    /// The keys are kept.
    ClaimGranted(ClaimId),
    /// The keys are free, or the caller's own.
    KeysFree,
    /// The report is recorded.
    PhaseOneRecorded,
    /// A block of branch ids: for a new session, or a further one.
    BranchIds(IdBlock),
    /// A block of numbers that the session may begin transactions under.
    Xids(IdBlock),
    /// The resources are bound, and the session works on them.
    Attached(Vec<ResourceRow>),
    /// So many branches are tried again.
    Retried(u32),
    /// The operator's decision is recorded, and the branch is worked on.
    Resolved,
    /// The binding is gone.
    Forgotten,
    /// The definition is kept.
    Defined(DefinitionKey),
    /// Where a saga stands.
    Saga(Box<Standing>),
    /// The saga has ended; the group keeps no more of it than this.
    SagaEnded(XidNumber, Outcome),
    /// Refused; nothing was changed.
    Rejected(Rejection),
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was decided, and how far it has spread.
    pub status: Status,
    /// How many branches need a person.
    pub parked: u32,
}

/// Where a nested scope stands that was to roll back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeOutcome {
    /// Whether all of it is undone.
    pub undone: bool,
    /// Where its transaction stands. If that is not active any more, it rolls back as a whole.
    pub transaction: Outcome,
}

/// A change of the group's state; `Group::apply` is the only one to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Written to the store before anyone hears of it; applied again at recovery.
    Stored(Write),
    /// Kept in memory only; a reload drops it, and its callers hear *unknown*.
    Volatile(Volatile),
}

/// A row as it shall be. Of several writes of one row in a batch only the last counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A transaction's row.
    PutTransaction(TransactionRow),
    /// A branch's row.
    PutBranch(BranchRow),
    /// A resource's binding.
    PutResource(ResourceRow),
    /// A resource's binding is forgotten.
    DropResource(ResourceNumber),
    /// A definition of a saga.
    PutDefinition(Arc<Defined>),
    /// A saga's row, beside its transaction's.
    PutSaga(SagaRow),
    /// A step's row.
    PutStep(Arc<StepRow>),
    /// Ended transactions leave the history, with their branches.
    Prune {
        /// Which.
        xids: Vec<XidNumber>,
        /// The greatest number ever pruned: what is unknown up to here has expired.
        horizon: XidNumber,
    },
}

/// What only this process knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volatile {
    /// A transaction has begun; it is stored with its first branch.
    Began {
        /// Its row.
        row: TransactionRow,
        /// When it rolls back unless it is decided.
        deadline: Timestamp,
    },
    /// A loaded transaction's deadline.
    DeadlineSet(XidNumber, Timestamp),
    /// Phase one of a branch is known to be done.
    PhaseOneDone(XidNumber, BranchId),
    /// A commit was asked for and waits for phase one.
    CloseRequested {
        /// The transaction.
        xid: XidNumber,
        /// When it gives up; of the first request.
        until: Timestamp,
        /// Who asked.
        caller: Caller,
    },
    /// A caller waits for completion.
    CompletionAwaited(XidNumber, ReplyTo),
    /// A caller was told, or gave up.
    CompletionTold(XidNumber, ReplyTo),
    /// A caller waits for a scope to be undone.
    ScopeAwaited(XidNumber, ScopeId, ReplyTo),
    /// A caller was told of its scope, or gave up.
    ScopeTold(XidNumber, ReplyTo),
    /// A participant confirmed phase two of a branch whose row need not be written: the commit freed
    /// nothing, so repeating it is harmless, or the transaction's end is written in the same step.
    PhaseTwoConfirmed(XidNumber, BranchId),
    /// Phase two was sent.
    Attempted {
        /// The transaction.
        xid: XidNumber,
        /// The branch.
        branch: BranchId,
        /// When it may be sent again.
        next_attempt_at: Timestamp,
    },
    /// Phase two may be sent again from this moment.
    Postponed {
        /// The transaction.
        xid: XidNumber,
        /// The branch.
        branch: BranchId,
        /// From when.
        next_attempt_at: Timestamp,
        /// Why, where the participant said so.
        reason: Option<Arc<str>>,
    },
    /// A registration, claim or check waits.
    WaitBegan(Box<Waiter>),
    /// A waiter was tried and failed: it now waits for these keys, and was overtaken once more.
    WaitMoved {
        /// Which.
        waiter: WaiterId,
        /// The keys that are taken now.
        taken: Vec<ResourceKey>,
    },
    /// A newcomer took a shared key that this waiter wants.
    Overtaken(WaiterId),
    /// A wait is over, one way or the other.
    WaitEnded(WaiterId),
    /// Keys are kept for a transaction.
    ClaimKept(Claim),
    /// They are not any more.
    ClaimEnded(ClaimId),
    /// A session opened.
    SessionOpened(SessionId, NodeId),
    /// It works on a resource.
    SessionAttached(SessionId, ResourceNumber),
    /// It is gone.
    SessionClosed(SessionId),
    /// A node has no session any more; from this moment on it counts as lost.
    NodeGone(NodeId, Timestamp),
    /// It was given up.
    NodeLost(NodeId),
    /// What a session offers to declared sagas at a resource; it replaces what it offered before.
    OffersMade(SessionId, ResourceNumber, Vec<Offer>),
    /// All rows of a saga are loaded: what is due now may have been sent by an earlier process.
    SagaLoaded(XidNumber, Timestamp),
    /// A step was sent, or is to be looked at again later.
    StepAttempted(XidNumber, Slot, Attempt),
    /// Branch ids were handed out.
    BranchIdsIssued(IdBlock, NodeId),
    /// Numbers of transactions were handed out, for the session to begin under.
    XidsIssued(IdBlock, SessionId),
    /// A begin under this number of the session was refused, so it will never be begun.
    NeverBegun(SessionId, XidNumber),
    /// More ids were asked for.
    IdsAskedFor,
    /// More ids are reserved.
    IdsReserved(IdBlock, IdBlock),
}

/// Something to do once all is durable. It may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send a branch's task to a session of its resource.
    Send(Task),
    /// Reserve more ids durably, and come back with `IdsReserved`.
    ReserveIds,
}

/// What a participant is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What.
    pub kind: TaskKind,
    /// The transaction.
    pub xid: XidNumber,
    /// The branch.
    pub branch: BranchId,
    /// Its resource.
    pub resource: ResourceNumber,
    /// The node that registered it: the first choice among the resource's sessions.
    pub node: NodeId,
    /// Its mode.
    pub mode: BranchMode,
    /// How often it was tried, this time included.
    pub attempt: u32,
    /// For TCC and saga.
    pub action: Option<Arc<Action>>,
    /// What an operator decided while the branch was parked.
    pub resolution: Option<Resolution>,
    /// For the compensation of a declared step: what its action returned, as JSON, where that is known.
    pub result: Option<Arc<[u8]>>,
}

/// The kinds of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Carry out the commit.
    Commit,
    /// Carry out the rollback, knowing or not that phase one was done.
    Rollback {
        /// Phase one is known to be done, so a missing barrier row is evidence lost.
        phase_one_done: bool,
    },
    /// Say how phase one ended.
    AskPhaseOne,
    /// Run the action of a step of a declared saga; the action's payload is its input.
    Act {
        /// How long the attempt may take.
        timeout: Duration,
    },
    /// Run the compensation of a step of a declared saga, knowing or not that its action took place.
    Compensate {
        /// It did, so a missing barrier row is evidence lost.
        took_place: bool,
        /// The definition says that nothing reverses it: what took place is for a person.
        forward_only: bool,
    },
}

impl Step {
    /// A step that only refuses.
    pub fn rejected(to: ReplyTo, rejection: Rejection) -> Self {
        let mut step = Step::default();
        step.reject(to, rejection);
        step
    }

    pub(crate) fn store(&mut self, write: Write) {
        self.changes.push(Change::Stored(write));
    }

    pub(crate) fn note(&mut self, volatile: Volatile) {
        self.changes.push(Change::Volatile(volatile));
    }

    pub(crate) fn reply(&mut self, to: ReplyTo, reply: Reply) {
        self.replies.push(Answer { to, reply, release: Release::WhenDurable });
    }

    pub(crate) fn reject(&mut self, to: ReplyTo, rejection: Rejection) {
        self.reply(to, Reply::Rejected(rejection));
    }

    pub(crate) fn follow(&mut self, event: Event) {
        self.follow_ups.push(event);
    }

    /// Adds what a further step said.
    pub(crate) fn absorb(&mut self, other: Step) {
        append(&mut self.changes, other.changes);
        append(&mut self.replies, other.replies);
        append(&mut self.commands, other.commands);
        append(&mut self.timers, other.timers);
        append(&mut self.violations, other.violations);
    }

    /// Whether anything must be written.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.changes.iter().any(|change| match change {
            Change::Stored(_) => true,
            Change::Volatile(_) => false,
        })
    }
}

/// Mostly one step says all there is of something: its list is taken as it is.
fn append<T>(all: &mut Vec<T>, mut more: Vec<T>) {
    if all.is_empty() {
        *all = more;
    } else {
        all.append(&mut more);
    }
}
