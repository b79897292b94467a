//! Waiting for keys: registrations, claims and checks that found a key taken.
//!
//! A waiter queues on its *taken* keys only. When keys are freed, waiters are tried in order of
//! arrival; one that fails moves to the keys that are taken now and keeps its arrival. One that was
//! overtaken too often also reserves its free keys, so that nobody who came later can take them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::{Register, RequestKeys};
use crate::id::{BranchId, ResourceId, ResourceNumber, ScopeId, SessionId, XidNumber};
use crate::lock::{LockRequest, ResourceKey};
use crate::step::ReplyTo;

/// All that waits for keys in a group, and the claims that came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitQueue {
    waiters: BTreeMap<WaiterId, Waiter>,
    of_transaction: BTreeMap<XidNumber, BTreeSet<WaiterId>>,
    by_reply: BTreeMap<ReplyTo, WaiterId>,
    claims: BTreeMap<ClaimId, Claim>,
    claims_of_transaction: BTreeMap<XidNumber, BTreeSet<ClaimId>>,
    next_waiter: u64,
    next_claim: u64,
}

impl WaitQueue {
    pub(crate) fn next_waiter_id(&self) -> WaiterId {
        WaiterId(self.next_waiter + 1)
    }

    pub(crate) fn next_claim_id(&self) -> ClaimId {
        ClaimId(self.next_claim + 1)
    }

    pub(crate) fn waiter(&self, id: WaiterId) -> Option<&Waiter> {
        self.waiters.get(&id)
    }

    /// All that wait, in order of arrival.
    pub(crate) fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.values()
    }

    pub(crate) fn waiter_mut(&mut self, id: WaiterId) -> Option<&mut Waiter> {
        self.waiters.get_mut(&id)
    }

    pub(crate) fn waiter_for(&self, reply: ReplyTo) -> Option<&Waiter> {
        self.by_reply.get(&reply).and_then(|id| self.waiters.get(id))
    }

    /// The waits of a transaction, in order of arrival.
    pub(crate) fn of_transaction(&self, xid: XidNumber) -> impl Iterator<Item = &Waiter> {
        let ids = self.of_transaction.get(&xid);
        ids.into_iter().flatten().filter_map(|id| self.waiters.get(id))
    }

    /// The waits that end with a session.
    pub(crate) fn of_session(&self, session: SessionId) -> impl Iterator<Item = &Waiter> {
        self.waiters.values().filter(move |waiter| waiter.session() == session)
    }

    pub(crate) fn waiter_count(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn claim(&self, id: ClaimId) -> Option<&Claim> {
        self.claims.get(&id)
    }

    /// The claims of a transaction, oldest first.
    pub(crate) fn claims_of(&self, xid: XidNumber) -> impl Iterator<Item = &Claim> {
        let ids = self.claims_of_transaction.get(&xid);
        ids.into_iter().flatten().filter_map(|id| self.claims.get(id))
    }

    pub(crate) fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values()
    }

    pub(crate) fn insert(&mut self, waiter: Waiter) {
        self.next_waiter = self.next_waiter.max(waiter.id.0);
        if let Some(xid) = waiter.xid {
            self.of_transaction.entry(xid).or_default().insert(waiter.id);
        }
        self.by_reply.insert(waiter.reply(), waiter.id);
        self.waiters.insert(waiter.id, waiter);
    }

    pub(crate) fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.by_reply.remove(&waiter.reply());
        if let Some(xid) = waiter.xid {
            unindex(&mut self.of_transaction, xid, id);
        }
        Some(waiter)
    }

    pub(crate) fn keep(&mut self, claim: Claim) {
        self.next_claim = self.next_claim.max(claim.id.0);
        self.claims_of_transaction.entry(claim.xid).or_default().insert(claim.id);
        self.claims.insert(claim.id, claim);
    }

    pub(crate) fn give_back(&mut self, id: ClaimId) -> Option<Claim> {
        let claim = self.claims.remove(&id)?;
        unindex(&mut self.claims_of_transaction, claim.xid, id);
        Some(claim)
    }
}

fn unindex<T: Ord>(index: &mut BTreeMap<XidNumber, BTreeSet<T>>, xid: XidNumber, id: T) {
    if let Some(ids) = index.get_mut(&xid) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(&xid);
        }
    }
}

/// A waiter's place in the order of arrival; smaller came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// The id of a claim, never re-used while the coordinator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(pub u64);

/// What a waiter wants once it gets its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// To register a branch.
    Branch(Box<Register>),
    /// To keep the keys, or to know that they are free.
    Keys(Box<RequestKeys>),
}

/// A request that waits for keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Its place in the order of arrival.
    pub id: WaiterId,
    /// The transaction that waits; `None` for a check outside any.
    pub xid: Option<XidNumber>,
    /// Where the keys lie.
    pub resource: ResourceNumber,
    /// What it wants.
    pub purpose: WaitFor,
    /// The keys that were taken when it was last tried: it queues on these.
    pub taken: Vec<ResourceKey>,
    /// How often it was overtaken.
    pub overtaken: u32,
}

impl Waiter {
    /// The locks that it needs, all or none.
    #[must_use]
    pub fn locks(&self) -> &Arc<[LockRequest]> {
        match &self.purpose {
            WaitFor::Branch(register) => &register.locks,
            WaitFor::Keys(request) => &request.locks,
        }
    }

    /// Where its answer goes.
    #[must_use]
    pub fn reply(&self) -> ReplyTo {
        match &self.purpose {
            WaitFor::Branch(register) => register.reply,
            WaitFor::Keys(request) => request.reply,
        }
    }

    /// The declared id of the resource where the keys lie.
    #[must_use]
    pub fn place(&self) -> &ResourceId {
        match &self.purpose {
            WaitFor::Branch(register) => &register.resource,
            WaitFor::Keys(request) => &request.resource,
        }
    }

    /// The nested scopes that a branch would join with it.
    #[must_use]
    pub fn scopes(&self) -> &[ScopeId] {
        match &self.purpose {
            WaitFor::Branch(register) => &register.scopes,
            WaitFor::Keys(_) => &[],
        }
    }

    /// Whether it is the registration of this branch.
    #[must_use]
    pub fn is_for_branch(&self, branch: BranchId) -> bool {
        match &self.purpose {
            WaitFor::Branch(register) => register.branch == branch,
            WaitFor::Keys(_) => false,
        }
    }

    /// The session that its wait ends with.
    #[must_use]
    pub fn session(&self) -> SessionId {
        match &self.purpose {
            WaitFor::Branch(register) => register.session,
            WaitFor::Keys(request) => request.session,
        }
    }

    /// Whether it holds row locks in its database, which the holder's undo may need.
    #[must_use]
    pub fn holds_local_locks(&self) -> bool {
        match &self.purpose {
            WaitFor::Branch(register) => register.holds_local_locks,
            WaitFor::Keys(request) => request.holds_local_locks,
        }
    }
}

/// Keys that are kept for a transaction without a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its id.
    pub id: ClaimId,
    /// The transaction that they are kept for.
    pub xid: XidNumber,
    /// The session that it ends with.
    pub session: SessionId,
    /// Where the keys lie.
    pub resource: ResourceNumber,
    /// The keys.
    pub locks: Arc<[LockRequest]>,
}
