//! What can happen to a group. Everything comes in as one of these: requests, results, timers.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{
    BranchId, NodeId, ResourceId, ResourceNumber, ResourceUid, ScopeId, SessionId, XidNumber,
};
use crate::lock::wait::{ClaimId, WaiterId};
use crate::lock::{LockRequest, ResourceKey};
use crate::saga::{Defined, SagaVerb, Slot, StepError};
use crate::step::ReplyTo;
use crate::transaction::{Action, BranchMode, Caller, ParkReason, Resolution, RollbackCause};

/// Something that happened, or was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A transaction manager begins a global transaction.
    BeginRequested(Box<Begin>),
    /// A transaction manager has begun a global transaction under a number that its session was given.
    /// One-way: what is refused is heard by whoever asks for the transaction next.
    NamedBegun(Box<NamedBegin>),
    /// Such a begin was refused before it came here: its number is not begun any more.
    NamedBeginRefused {
        /// The session that was given the number.
        session: SessionId,
        /// The number.
        number: XidNumber,
    },
    /// It asks for the commit. Repeats answer the outcome that stands.
    CommitRequested {
        /// Which one.
        target: Target,
        /// The branches that the caller knows to be done.
        done: Vec<BranchId>,
        /// The one branch that counts, if its own one-phase commit is to decide.
        delegate_to: Option<BranchId>,
        /// Who asks.
        caller: Caller,
    },
    /// It asks for the rollback.
    RollbackRequested {
        /// Which one.
        target: Target,
        /// Who asks.
        caller: Caller,
    },
    /// A transaction manager asks for the rollback of a nested scope. Repeats answer where it stands.
    ScopeRollbackRequested {
        /// Which one.
        target: Target,
        /// Its scope.
        scope: ScopeId,
        /// Who asks.
        caller: Caller,
    },
    /// A participant vetoes.
    Vetoed {
        /// Which one.
        target: Target,
        /// Its nested scopes, outermost first: it vetoes the innermost, or without any the whole.
        scopes: Vec<ScopeId>,
        /// Who asks.
        caller: Caller,
    },
    /// Someone asks where a transaction stands.
    OutcomeRequested {
        /// Which one.
        target: Target,
        /// Who asks.
        caller: Caller,
    },
    /// A branch joins and takes its locks.
    RegisterRequested(Box<Register>),
    /// Keys are waited for without a branch, or only looked at.
    KeysRequested(Box<RequestKeys>),
    /// A claim is given back.
    ClaimReleased {
        /// The session that held it.
        session: SessionId,
        /// Which one.
        claim: ClaimId,
    },
    /// A caller no longer waits for this answer.
    WaitCancelled {
        /// The answer.
        reply: ReplyTo,
    },
    /// A participant, or someone who looked on its behalf, says how phase one ended.
    PhaseOneReported(Box<PhaseOneReport>),
    /// A participant answers phase two.
    PhaseTwoAnswered {
        /// The session that answers: only one that proved the branch's resource counts.
        session: SessionId,
        /// The transaction.
        xid: XidNumber,
        /// The branch.
        branch: BranchId,
        /// The decision that it carried out: an answer to another one counts for nothing.
        direction: Direction,
        /// What came of it.
        answer: PhaseTwoAnswer,
    },
    /// An agent opened its session.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// Its node.
        node: NodeId,
        /// Answered with a block of branch ids.
        reply: ReplyTo,
    },
    /// The session proves that it works on resources: on all of them, or on none.
    AttachRequested {
        /// The session.
        session: SessionId,
        /// The resources.
        proofs: Vec<Proof>,
        /// Answered once the bindings are durable.
        reply: ReplyTo,
    },
    /// The session has used up its branch ids.
    BranchIdsRequested {
        /// The session.
        session: SessionId,
        /// Answered with a block.
        reply: ReplyTo,
    },
    /// The session wants numbers to begin transactions under.
    XidsRequested {
        /// The session.
        session: SessionId,
        /// Answered with a block.
        reply: ReplyTo,
    },
    /// The session is gone.
    SessionClosed {
        /// Which one.
        session: SessionId,
    },
    /// An operator wants parked and waiting branches tried again now.
    RetryRequested {
        /// Which one.
        target: Target,
        /// Answered with the number of branches.
        reply: ReplyTo,
    },
    /// An operator says what shall become of a parked branch.
    ResolveRequested(Box<Resolve>),
    /// A checked definition of a saga is to be kept.
    DefineRequested {
        /// The definition.
        defined: Arc<Defined>,
        /// Answered once it is durable.
        reply: ReplyTo,
    },
    /// A saga is to start.
    SubmitRequested(Box<Submit>),
    /// Someone asks where a saga stands, and may wait for its end.
    SagaRequested {
        /// Which one.
        target: Target,
        /// How long the answer waits; `None` for not at all.
        wait: Option<Duration>,
        /// Where the answer goes.
        reply: ReplyTo,
    },
    /// A participant answers an attempt of a step's action.
    StepAnswered {
        /// The session that answers: only one that proved the step's resource counts.
        session: SessionId,
        /// The saga.
        xid: XidNumber,
        /// The step.
        slot: Slot,
        /// What came of it.
        answer: ActAnswer,
    },
    /// Somebody says how an action ended that answered *ongoing*.
    StepCompleted {
        /// The saga.
        target: Target,
        /// The step.
        slot: Slot,
        /// What it returned as JSON, or why it failed.
        result: Result<Arc<[u8]>, Arc<StepError>>,
        /// Where the answer goes.
        reply: ReplyTo,
    },
    /// An external event came for a step that waits for one, or will.
    SignalReceived {
        /// The saga.
        target: Target,
        /// The step's path.
        path: Arc<str>,
        /// What came, as JSON.
        payload: Arc<[u8]>,
        /// Where the answer goes.
        reply: ReplyTo,
    },
    /// An operator says what shall become of a saga, or of a step of it.
    OperateRequested(Box<Operate>),
    /// Something of a saga is over, so that more of it may be done. Made by the group itself.
    SagaMoved(XidNumber),
    /// An operator wants a binding forgotten.
    ForgetRequested {
        /// The resource.
        resource: ResourceId,
        /// Answered once it is durable.
        reply: ReplyTo,
    },
    /// Ids were reserved durably, for transactions and for branches.
    IdsReserved {
        /// The transactions' numbers.
        xids: IdBlock,
        /// The branches' ids.
        branches: IdBlock,
    },
    /// A moment that a step asked for has come.
    TimerFired(Timer),
    /// Keys were freed in the step before; the next waiter in line may have them. Made by the group
    /// itself, never by the world.
    KeysFreed(Vec<ResourceKey>),
    /// New edges appeared in the wait graph of this transaction. Made by the group itself.
    WaitGraphChanged(XidNumber),
    /// A transaction is to roll back for a reason that lies in the group. Made by the group itself.
    RollbackDue(XidNumber, RollbackCause),
}

impl Event {
    /// Who waits for an answer to this event.
    #[must_use]
    pub fn reply_to(&self) -> Option<ReplyTo> {
        match self {
            Event::BeginRequested(begin) => Some(begin.reply),
            Event::CommitRequested { caller, .. }
            | Event::RollbackRequested { caller, .. }
            | Event::ScopeRollbackRequested { caller, .. }
            | Event::Vetoed { caller, .. }
            | Event::OutcomeRequested { caller, .. } => Some(caller.reply),
            Event::RegisterRequested(register) => Some(register.reply),
            Event::KeysRequested(request) => Some(request.reply),
            Event::PhaseOneReported(report) => report.reply,
            Event::ResolveRequested(request) => Some(request.reply),
            Event::SubmitRequested(submit) => Some(submit.reply),
            Event::OperateRequested(operate) => Some(operate.reply),
            Event::DefineRequested { reply, .. }
            | Event::SagaRequested { reply, .. }
            | Event::StepCompleted { reply, .. }
            | Event::SignalReceived { reply, .. } => Some(*reply),
            Event::SessionOpened { reply, .. }
            | Event::AttachRequested { reply, .. }
            | Event::BranchIdsRequested { reply, .. }
            | Event::XidsRequested { reply, .. }
            | Event::RetryRequested { reply, .. }
            | Event::ForgetRequested { reply, .. } => Some(*reply),
            Event::NamedBegun(_)
            | Event::NamedBeginRefused { .. }
            | Event::ClaimReleased { .. }
            | Event::WaitCancelled { .. }
            | Event::PhaseTwoAnswered { .. }
            | Event::SessionClosed { .. }
            | Event::IdsReserved { .. }
            | Event::TimerFired(_)
            | Event::KeysFreed(_)
            | Event::WaitGraphChanged(_)
            | Event::StepAnswered { .. }
            | Event::SagaMoved(_)
            | Event::RollbackDue(..) => None,
        }
    }
}

/// A transaction that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub xid: XidNumber,
    /// Whether the request named this very store. One that did not never hears *rolled back* for a
    /// transaction that is unknown.
    pub store_named: bool,
}

/// A resource that a session works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The declared id.
    pub resource: ResourceId,
    /// The database behind it; `None` for a service without one.
    pub uid: Option<ResourceUid>,
    /// The actions that the session offers there to declared sagas.
    pub offers: Vec<Offer>,
}

/// An action that a session offers to declared sagas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub action: Arc<str>,
    /// Whether it has a compensation.
    pub compensable: bool,
}

/// A begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// For people.
    pub name: Arc<str>,
    /// How long it may stay undecided.
    pub timeout: Duration,
    /// The session's node; `None` for a unary call.
    pub node: Option<NodeId>,
    /// Against double begins.
    pub idempotency_key: Option<Arc<str>>,
    /// The transaction that this one suspends.
    pub outer: Option<XidNumber>,
    /// Where the answer goes.
    pub reply: ReplyTo,
}

/// A begin under a number that the transaction manager chose from its session's block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBegin {
    /// The session that was given the number. The number is worth nothing without it.
    pub session: SessionId,
    /// The number.
    pub number: XidNumber,
    /// For people.
    pub name: Arc<str>,
    /// How long it may stay undecided.
    pub timeout: Duration,
    /// The transaction that it suspends.
    pub outer: Option<XidNumber>,
}

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The transaction.
    pub target: Target,
    /// The session that asks; its waits end with it.
    pub session: SessionId,
    /// The id that the agent chose.
    pub branch: BranchId,
    /// Where the branch works.
    pub resource: ResourceId,
    /// How it takes part.
    pub mode: BranchMode,
    /// The nested scopes that it belongs to, outermost first.
    pub scopes: Vec<ScopeId>,
    /// A locking read.
    pub lock_only: bool,
    /// The locks it needs: all or none.
    pub locks: Arc<[LockRequest]>,
    /// For TCC and saga.
    pub action: Option<Arc<Action>>,
    /// How long it may wait for taken keys.
    pub wait: Duration,
    /// It holds row locks in its database, which an undo may need.
    pub holds_local_locks: bool,
    /// The claim that it uses up.
    pub claim: Option<ClaimId>,
    /// The participant never reports phase one: take it for done.
    pub phase_one_assumed: bool,
    /// Where the answer goes.
    pub reply: ReplyTo,
}

/// What is wanted with keys besides registering a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysFor {
    /// Keep them for the transaction, which will run its local work again.
    Claim,
    /// Only say when they are free.
    Check,
}

/// A claim or a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKeys {
    /// What for.
    pub purpose: KeysFor,
    /// The transaction; `None` for a check by a local transaction outside any global one.
    pub target: Option<Target>,
    /// The session that asks.
    pub session: SessionId,
    /// Where the keys lie.
    pub resource: ResourceId,
    /// The keys.
    pub locks: Arc<[LockRequest]>,
    /// How long to wait.
    pub wait: Duration,
    /// As in [`Register`].
    pub holds_local_locks: bool,
    /// Where the answer goes.
    pub reply: ReplyTo,
}

/// How phase one of a branch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseOneReport {
    /// The transaction.
    pub target: Target,
    /// The branch.
    pub branch: BranchId,
    /// The node that says so.
    pub node: NodeId,
    /// The branch's resource: a Failed may come before its registration.
    pub resource: ResourceId,
    /// The result.
    pub result: PhaseOneResult,
    /// Answered once the result is durable; `None` for a one-way report, of which a Done is only
    /// remembered.
    pub reply: Option<ReplyTo>,
}

/// An operator's decision on a parked branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// The transaction.
    pub target: Target,
    /// The branch.
    pub branch: BranchId,
    /// The decision.
    pub resolution: Resolution,
    /// Why, for the record.
    pub reason: Arc<str>,
    /// Answered once it is durable.
    pub reply: ReplyTo,
}

/// A saga that is to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// The name of its definition.
    pub name: Arc<str>,
    /// The version; `None` for the latest.
    pub version: Option<u32>,
    /// What it is given, as JSON.
    pub input: Arc<[u8]>,
    /// Against double submissions.
    pub idempotency_key: Option<Arc<str>>,
    /// How long the answer waits for the end; `None` for not at all.
    pub wait: Option<Duration>,
    /// Where the answer goes.
    pub reply: ReplyTo,
}

/// What a participant says to an attempt of a step's action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActAnswer {
    /// It took place.
    Done {
        /// What it returned, as JSON.
        result: Arc<[u8]>,
    },
    /// This attempt did not take place.
    Failed {
        /// Why.
        error: Arc<StepError>,
        /// Another attempt cannot succeed.
        is_final: bool,
    },
    /// This attempt may have taken place or not.
    Unknown {
        /// Why that is not known.
        error: Arc<StepError>,
    },
    /// Not now; try again.
    Later {
        /// After this delay, where one is known.
        after: Option<Duration>,
        /// Why, for people, where it was said.
        reason: Option<Arc<str>>,
    },
    /// It is under way elsewhere.
    Ongoing {
        /// Ask again after this delay; `None` for not at all.
        ask_after: Option<Duration>,
    },
}

/// An operator's word on a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operate {
    /// The saga.
    pub target: Target,
    /// What is said.
    pub verb: SagaVerb,
    /// The step's path; `None` for the whole saga.
    pub step: Option<Arc<str>>,
    /// For a forced step: what it returned, as JSON.
    pub result: Arc<[u8]>,
    /// Why, for the record.
    pub reason: Arc<str>,
    /// Answered once it is durable.
    pub reply: ReplyTo,
}

/// Done or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseOneResult {
    /// The local work is committed.
    Done,
    /// Nothing was committed, for certain and for ever.
    Failed,
}

/// The two directions of phase two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Carry out the commit.
    Commit,
    /// Carry out the rollback.
    Rollback,
}

/// What a participant says to phase two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhaseTwoAnswer {
    /// The local transaction that did it has committed.
    Done,
    /// Not now; try again.
    Later {
        /// After this delay, where one is known.
        after: Option<Duration>,
        /// Why, for people, where it was said.
        reason: Option<Arc<str>>,
    },
    /// Repeating cannot cure it.
    Parked {
        /// Why.
        reason: ParkReason,
        /// For people: an encoded `ParkReport`, opaque here.
        report: Arc<[u8]>,
    },
}

/// The ids from `first` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct IdBlock {
    /// The first id of the block.
    pub first: u64,
    /// The first id after it.
    pub end: u64,
}

/// What a moment was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// An undecided transaction rolls back.
    Deadline(XidNumber),
    /// A commit that waits for phase one gives up.
    Closing(XidNumber),
    /// Some branches may be tried again.
    PhaseTwo(XidNumber),
    /// A step of a saga is to be looked at: an attempt's time, a pause or a wait is over.
    Step(XidNumber, Slot),
    /// A loaded saga goes on.
    Saga(XidNumber),
    /// A caller has waited long enough for completion.
    Completion(XidNumber, ReplyTo),
    /// A wait for keys is over.
    WaitBound(WaiterId),
    /// A claim was kept long enough.
    ClaimKept(ClaimId),
    /// A node whose sessions are gone had time to come back.
    NodeLost(NodeId),
    /// The next decided transactions with branches at a resource that came back, from this one on.
    Resume(ResourceNumber, XidNumber),
    /// Old history may be dropped.
    History,
}

impl From<Timer> for Event {
    fn from(timer: Timer) -> Self {
        Event::TimerFired(timer)
    }
}
