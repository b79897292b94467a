//! Why a request is refused. Nothing was changed; each variant says what the caller should do.
//!
//! Ordered by precedence: where several could apply, the first is the answer.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{BranchId, ResourceId, ResourceUid, ScopeId, XidNumber};
use crate::lock::key::EncodedKey;
use crate::saga::DefinitionKey;
use crate::step::Outcome;
use crate::transaction::{BranchMode, Resolution};

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No ids are left in the reserved block: ask again in a moment.
    NotReady,
    /// The transaction is named by a session, whose begin of it has not arrived yet: ask again in a
    /// moment.
    NotBegun,
    /// The transaction ended longer ago than the history reaches: its outcome is not known any more.
    Expired,
    /// Nothing is known of the transaction, and the request did not name this store: check the
    /// address.
    UnknownTransaction,
    /// A commit names branches that this store never saw: it lost state. The outcome is in doubt,
    /// and a person must look.
    LostState(BranchId),
    /// The transaction is decided, or its commit was asked for: undo local work, read the outcome.
    NotActive(Outcome),
    /// The session has not attached the resource: attach it first.
    NotAttached(ResourceId),
    /// The branch id is not of a block that the caller was given: take ids from its own.
    ForeignBranchId(BranchId),
    /// The resource is a service without a database, and a branch of this mode needs one: attach it
    /// as a database, or use TCC or saga.
    NoDatabase {
        /// The resource.
        resource: ResourceId,
        /// The mode.
        mode: BranchMode,
    },
    /// The branch id is taken by a registration that differs: a fault of the agent.
    BranchMismatch(BranchId),
    /// The nested scope was rolled back, and no branch joins it any more: undo local work, and let
    /// the scope end.
    ScopeRolledBack(ScopeId),
    /// The commit cannot be left to this one branch: another counts as well, it is not of mode XA, or
    /// it is prepared. Prepare it, and commit without delegating.
    NotDelegable(BranchId),
    /// The branch's phase one was reported as failed; it cannot come back. Use a new branch.
    BranchFailed(BranchId),
    /// The branch's phase one was reported as done, and its locks may be needed to undo it: that
    /// stands. A fault of the agent.
    BranchDone(BranchId),
    /// The branch works on another resource than the report names. A fault of the agent.
    WrongResource(BranchId, ResourceId),
    /// The branch is not registered in the transaction.
    UnknownBranch(BranchId),
    /// The branch is not parked: it is still worked on, or settled. Look again.
    NotParked(BranchId),
    /// The resolution means nothing for a branch of this mode, or for its decision: retry instead.
    NotResolvable {
        /// The branch.
        branch: BranchId,
        /// What was asked for.
        resolution: Resolution,
        /// The branch's mode.
        mode: BranchMode,
    },
    /// A limit is reached: split the work, or raise the limit.
    Limit {
        /// Which limit.
        limit: Limit,
        /// Its value.
        max: u64,
    },
    /// The transaction suspends one that holds the key: waiting for it would never end.
    HeldByOuter {
        /// The suspended transaction.
        holder: XidNumber,
        /// The key.
        key: EncodedKey,
    },
    /// Another global transaction holds a key: roll back local work, then wait outside or try again.
    LockConflict {
        /// Who holds it; `None` where it is kept for one that waits.
        holder: Option<XidNumber>,
        /// The key.
        key: EncodedKey,
        /// When to try again.
        retry_after: Duration,
    },
    /// The resource id is bound to another database, or the database to another id.
    ResourceBound {
        /// The id that is bound.
        id: ResourceId,
        /// The database that it is bound to.
        uid: Option<ResourceUid>,
    },
    /// The resource id is not bound.
    UnknownResource(ResourceId),
    /// The resource has unfinished branches, or sessions that work on it.
    ResourceBusy {
        /// How many branches.
        branches: u64,
        /// How many sessions.
        sessions: u64,
    },
    /// The XID is that of a declared saga, which the coordinator drives by itself.
    IsSaga(XidNumber),
    /// The XID is that of a transaction that is no declared saga.
    IsNoSaga(XidNumber),
    /// No saga of this name and version is defined: define it first. Without a version: none of the name.
    UnknownSaga {
        /// The name.
        name: Arc<str>,
        /// The version.
        version: Option<u32>,
    },
    /// The name and version stand for another definition: raise the version.
    DefinitionTaken(DefinitionKey),
    /// Nobody offers an action that the saga needs, or not with a compensation.
    UnknownAction {
        /// The first step that needs it.
        step: Arc<str>,
        /// The action.
        action: Arc<str>,
        /// Where.
        resource: ResourceId,
        /// Why it is not there.
        why: ActionMissing,
    },
    /// What was said of a step of a saga means nothing where the step stands.
    StepState {
        /// The step's path.
        step: Arc<str>,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// A named rule would have been broken: nothing was written; report it.
    Invariant(&'static str),
}

/// Why an action is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionMissing {
    /// No resource of this name has ever attached.
    Resource,
    /// Who is attached does not offer it.
    Action,
    /// It is offered without a compensation, and the step counts on one.
    Compensation,
}

/// The limits that a group keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Branches of one transaction.
    BranchesPerTransaction,
    /// Lock keys of one registration.
    LocksPerBranch,
    /// Transactions that are not decided yet.
    ActiveTransactions,
    /// Waits in the lock queue.
    Waiters,
    /// Nested scopes of one transaction that were rolled back.
    UndoneScopes,
    /// Definitions of sagas.
    Definitions,
}
