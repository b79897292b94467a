//! What a group knows, and the only function that changes it.
//!
//! [`Group::apply`] serves live steps and recovery alike: a stored change is a row as it shall be,
//! so applying the rows that were found is the same as living through them. Locks follow from the
//! rows: a branch holds its keys as long as [`Branch::holds_locks`] says so.
//!
//! Maps hash without a random seed, and whatever iterates over one to decide something sorts first.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::attachment::{Bindings, Sessions};
use super::history::History;
use crate::event::IdBlock;
use crate::id::{BranchId, ResourceNumber, XidNumber};
use crate::lock::ResourceKey;
use crate::lock::table::LockTable;
use crate::lock::wait::{Claim, WaitQueue, WaiterId};
use crate::policy::Policy;
use crate::recovery::Ended;
use crate::step::{Change, Volatile, Write};
use crate::time::Timestamp;
use crate::transaction::{
    Branch, BranchRow, Caller, Closing, GlobalTransaction, PhaseOne, PhaseTwo, ResourceRow, Status,
    TransactionRow,
};

/// All that a group knows.
#[derive(Debug)]
pub struct Group {
    policy: Policy,
    pub(super) transactions: FxHashMap<XidNumber, GlobalTransaction>,
    /// Those that are decided and have not ended.
    pub(super) decided: BTreeSet<XidNumber>,
    pub(super) idempotency: FxHashMap<Arc<str>, XidNumber>,
    pub(super) locks: LockTable,
    pub(super) waiting: WaitQueue,
    pub(super) sessions: Sessions,
    pub(super) bindings: Bindings,
    pub(super) history: History,
    pub(super) ids: Ids,
}

/// The ids that may be issued.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) xids: IdBlock,
    pub(super) next_xids: IdBlock,
    pub(super) branches: IdBlock,
    pub(super) asked_for: bool,
}

/// How much there is of everything; for the operator and for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Transactions that are not decided.
    pub active: usize,
    /// Decided, with branches that have not confirmed.
    pub unfinished: usize,
    /// Branches that need a person.
    pub parked_branches: usize,
    /// Keys that are held or waited for.
    pub locks: usize,
    /// Requests that wait for keys.
    pub waiters: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Ended transactions in the history.
    pub history: usize,
}

impl Group {
    pub(super) fn new(policy: Policy, horizon: XidNumber) -> Self {
        Group {
            policy,
            transactions: FxHashMap::default(),
            decided: BTreeSet::new(),
            idempotency: FxHashMap::default(),
            locks: LockTable::default(),
            waiting: WaitQueue::default(),
            sessions: Sessions::default(),
            bindings: Bindings::default(),
            history: History::new(horizon),
            ids: Ids::default(),
        }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn locks(&self) -> &LockTable {
        &self.locks
    }

    pub(crate) fn waiting(&self) -> &WaitQueue {
        &self.waiting
    }

    pub(super) fn active_count(&self) -> usize {
        self.transactions.len() - self.decided.len()
    }

    /// A transaction that has not ended.
    #[must_use]
    pub fn transaction(&self, xid: XidNumber) -> Option<&GlobalTransaction> {
        self.transactions.get(&xid)
    }

    /// The transactions that have not ended, in order of number. Walks all of them.
    pub fn transactions(&self) -> impl Iterator<Item = &GlobalTransaction> {
        let mut numbers: Vec<XidNumber> = self.transactions.keys().copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| &self.transactions[&number])
    }

    /// The bindings, in order of number.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceRow> {
        self.bindings.iter()
    }

    /// How many sessions work on a resource, and how many unfinished branches it has. Walks all
    /// transactions.
    #[must_use]
    pub fn resource_load(&self, resource: ResourceNumber) -> (usize, usize) {
        let branches = self.transactions.values().flat_map(|txn| &txn.branches);
        let unfinished = branches.filter(|branch| {
            let row = &branch.row;
            row.resource == resource
                && row.phase_one != PhaseOne::Failed
                && row.phase_two != PhaseTwo::Done
        });
        (self.sessions.attached_to(resource), unfinished.count())
    }

    /// How much there is of everything.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let decided = self.decided.iter().filter_map(|xid| self.transactions.get(xid));
        let parked = decided.map(|txn| txn.parked_count() as usize).sum();
        Summary {
            active: self.active_count(),
            unfinished: self.decided.len(),
            parked_branches: parked,
            locks: self.locks.held_count(),
            waiters: self.waiting.waiter_count(),
            sessions: self.sessions.count(),
            history: self.history.len(),
        }
    }

    /// The only state change, live and in recovery.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Stored(write) => self.apply_stored(write),
            Change::Volatile(volatile) => self.apply_volatile(volatile),
        }
    }

    fn apply_stored(&mut self, write: &Write) {
        match write {
            Write::PutTransaction(row) if row.status.is_ended() => self.end(row),
            Write::PutTransaction(row) => self.put_transaction(row),
            Write::PutBranch(row) => self.put_branch(row),
            Write::PutResource(row) => self.bindings.insert(row.clone()),
            Write::DropResource(number) => self.bindings.remove(*number),
            Write::Prune { xids, horizon } => {
                for key in self.history.prune(xids, *horizon) {
                    self.idempotency.remove(&key);
                }
            }
        }
    }

    fn put_transaction(&mut self, row: &TransactionRow) {
        if row.status.is_decided() {
            self.decided.insert(row.number);
        }
        if let Some(key) = &row.idempotency_key {
            self.idempotency.insert(key.clone(), row.number);
        }
        let txn = self.transactions.entry(row.number).or_insert_with(|| GlobalTransaction {
            row: row.clone(),
            stored: true,
            deadline: Timestamp(u64::MAX),
            closing: None,
            branches: Vec::new(),
            awaiting: Vec::new(),
        });
        let before = std::mem::replace(&mut txn.row, row.clone()).status;
        txn.stored = true;
        if row.status.is_decided() {
            txn.closing = None;
        }
        for branch in &txn.branches {
            if branch.holds_locks(before) && !branch.holds_locks(row.status) {
                self.locks.release(row.number, branch.row.resource, &branch.row.locks);
            }
        }
    }

    fn end(&mut self, row: &TransactionRow) {
        self.decided.remove(&row.number);
        if let Some(txn) = self.transactions.remove(&row.number) {
            for branch in txn.branches.iter().filter(|branch| branch.holds_locks(txn.row.status)) {
                self.locks.release(row.number, branch.row.resource, &branch.row.locks);
            }
        }
        self.remember(Ended {
            xid: row.number,
            status: row.status,
            at: row.ended_at.unwrap_or(row.begun_at),
            idempotency_key: row.idempotency_key.clone(),
        });
    }

    pub(super) fn remember(&mut self, ended: Ended) {
        if let Some(key) = &ended.idempotency_key {
            self.idempotency.insert(key.clone(), ended.xid);
        }
        self.history.push(ended);
    }

    fn put_branch(&mut self, row: &BranchRow) {
        let Some(txn) = self.transactions.get_mut(&row.xid) else { return };
        let status = txn.row.status;
        let known = txn.branches.iter_mut().find(|branch| branch.row.id == row.id);
        let held_before = known.as_ref().is_some_and(|branch| branch.holds_locks(status));
        let branch = if let Some(branch) = known {
            branch.row = row.clone();
            branch
        } else {
            let next_attempt_at = Timestamp::default();
            txn.branches.push(Branch { row: row.clone(), attempt: 0, next_attempt_at });
            txn.branches.last_mut().expect("a branch was just pushed")
        };
        match (held_before, branch.holds_locks(status)) {
            (false, true) => self.locks.acquire(row.xid, row.resource, &row.locks),
            (true, false) => self.locks.release(row.xid, row.resource, &row.locks),
            (true, true) | (false, false) => {}
        }
    }

    fn apply_volatile(&mut self, volatile: &Volatile) {
        match volatile {
            Volatile::Began { row, deadline } => self.began(row, *deadline),
            Volatile::DeadlineSet(xid, deadline) => {
                self.change(*xid, |txn| txn.deadline = *deadline);
            }
            Volatile::PhaseOneDone(xid, branch) => {
                self.change_branch(*xid, *branch, |branch| branch.row.phase_one = PhaseOne::Done);
            }
            Volatile::CloseRequested { xid, until, caller } => self.close(*xid, *until, *caller),
            Volatile::CompletionAwaited(xid, reply) => {
                self.change(*xid, |txn| txn.awaiting.push(*reply));
            }
            Volatile::CompletionTold(xid, reply) => {
                self.change(*xid, |txn| txn.awaiting.retain(|waiting| waiting != reply));
            }
            Volatile::PhaseTwoConfirmed(xid, branch) => {
                let branch = self.transaction(*xid).and_then(|txn| txn.branch(*branch));
                if let Some(branch) = branch {
                    self.put_branch(&BranchRow { phase_two: PhaseTwo::Done, ..branch.row.clone() });
                }
            }
            Volatile::Attempted { xid, branch, next_attempt_at } => {
                self.change_branch(*xid, *branch, |branch| {
                    branch.attempt = branch.attempt.saturating_add(1);
                    branch.next_attempt_at = *next_attempt_at;
                });
            }
            Volatile::Postponed { xid, branch, next_attempt_at } => {
                self.change_branch(*xid, *branch, |branch| {
                    branch.next_attempt_at = *next_attempt_at
                });
            }
            Volatile::WaitBegan(waiter) => {
                for key in &waiter.taken {
                    self.locks.enqueue(waiter.id, key);
                }
                self.waiting.insert((**waiter).clone());
            }
            Volatile::WaitMoved { waiter, taken } => self.move_wait(*waiter, taken),
            Volatile::Overtaken(waiter) => self.overtake(*waiter),
            Volatile::WaitEnded(waiter) => self.end_wait(*waiter),
            Volatile::ClaimKept(claim) => {
                self.locks.acquire(claim.xid, claim.resource, &claim.locks);
                self.waiting.keep(claim.clone());
            }
            Volatile::ClaimEnded(claim) => {
                if let Some(Claim { xid, resource, locks, .. }) = self.waiting.give_back(*claim) {
                    self.locks.release(xid, resource, &locks);
                }
            }
            Volatile::SessionOpened(session, node) => self.sessions.open(*session, *node),
            Volatile::SessionAttached(session, resource) => {
                self.sessions.attach(*session, *resource);
            }
            Volatile::SessionClosed(session) => self.sessions.close(*session),
            Volatile::BranchIdsIssued(end) => self.ids.branches.first = *end,
            Volatile::IdsAskedFor => self.ids.asked_for = true,
            Volatile::IdsReserved(xids, branches) => self.ids.add(*xids, *branches),
        }
    }

    fn began(&mut self, row: &TransactionRow, deadline: Timestamp) {
        self.ids.xid_issued(row.number);
        if let Some(key) = &row.idempotency_key {
            self.idempotency.insert(key.clone(), row.number);
        }
        let txn = GlobalTransaction {
            row: row.clone(),
            stored: false,
            deadline,
            closing: None,
            branches: Vec::new(),
            awaiting: Vec::new(),
        };
        self.transactions.insert(row.number, txn);
    }

    fn close(&mut self, xid: XidNumber, until: Timestamp, caller: Caller) {
        self.change(xid, |txn| {
            let closing =
                txn.closing.get_or_insert_with(|| Box::new(Closing { until, callers: Vec::new() }));
            closing.callers.push(caller);
        });
    }

    fn move_wait(&mut self, id: WaiterId, taken: &[ResourceKey]) {
        let Some(waiter) = self.waiting.waiter_mut(id) else { return };
        for key in std::mem::replace(&mut waiter.taken, taken.to_vec()) {
            self.locks.dequeue(id, &key);
        }
        for key in taken {
            self.locks.enqueue(id, key);
        }
        self.overtake(id);
    }

    fn overtake(&mut self, id: WaiterId) {
        let overtaken_max = self.policy.overtaken_max;
        let Some(waiter) = self.waiting.waiter_mut(id) else { return };
        waiter.overtaken = waiter.overtaken.saturating_add(1);
        if waiter.overtaken == overtaken_max {
            let (xid, resource, locks) = (waiter.xid, waiter.resource, waiter.locks().clone());
            self.locks.reserve(id, xid, resource, &locks);
        }
    }

    fn end_wait(&mut self, id: WaiterId) {
        let Some(waiter) = self.waiting.remove(id) else { return };
        for key in &waiter.taken {
            self.locks.dequeue(id, key);
        }
        if waiter.overtaken >= self.policy.overtaken_max {
            self.locks.unreserve(id, waiter.resource, waiter.locks());
        }
    }

    fn change(&mut self, xid: XidNumber, change: impl FnOnce(&mut GlobalTransaction)) {
        if let Some(txn) = self.transactions.get_mut(&xid) {
            change(txn);
        }
    }

    fn change_branch(&mut self, xid: XidNumber, id: BranchId, change: impl FnOnce(&mut Branch)) {
        self.change(xid, |txn| {
            if let Some(branch) = txn.branches.iter_mut().find(|branch| branch.row.id == id) {
                change(branch);
            }
        });
    }
}

impl GlobalTransaction {
    /// The outcome as it stands.
    #[must_use]
    pub fn outcome(&self) -> crate::step::Outcome {
        crate::step::Outcome { status: self.row.status, parked: self.parked_count() }
    }

    /// Whether new branches may join.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.row.status == Status::Active && self.closing.is_none()
    }
}
