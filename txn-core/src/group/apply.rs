//! The only state change, live and in recovery.
//!
//! A stored change is a row as it shall be, so applying the rows that were found is the same as
//! living through them. Locks follow from the rows: a branch holds its keys as long as
//! [`Branch::holds_locks`] says so.

use std::sync::Arc;

use super::Group;
use crate::id::{BranchId, XidNumber};
use crate::lock::ResourceKey;
use crate::lock::wait::{Claim, WaiterId};
use crate::recovery::Ended;
use crate::saga::{LiveSaga, SagaRow};
use crate::step::{Change, Volatile, Write};
use crate::time::Timestamp;
use crate::transaction::{
    Branch, BranchRow, Caller, Closing, GlobalTransaction, PhaseOne, PhaseTwo, Status,
    TransactionRow,
};

impl Group {
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
            Write::PutDefinition(defined) => {
                self.definitions.insert(defined.row.key.clone(), Arc::clone(defined));
            }
            Write::PutSaga(row) => self.put_saga(row),
            Write::PutStep(row) => self.change_saga(row.xid, |saga| saga.take(row)),
            Write::Prune { xids, horizon } => {
                for key in self.history.prune(xids, *horizon) {
                    self.idempotency.remove(&key);
                }
            }
        }
    }

    fn put_saga(&mut self, row: &SagaRow) {
        let Some(defined) = self.definitions.get(&row.definition).map(Arc::clone) else { return };
        let xid = row.xid;
        self.change(xid, |txn| match &mut txn.saga {
            Some(saga) => saga.row.clone_from(row),
            None => {
                let saga = LiveSaga::new(row.clone(), Arc::clone(&defined.graph));
                txn.saga = Some(Box::new(saga));
            }
        });
        if self.transactions.contains_key(&xid) {
            self.sagas.insert(xid);
        }
    }

    fn change_saga(&mut self, xid: XidNumber, change: impl FnOnce(&mut LiveSaga)) {
        self.change(xid, |txn| {
            if let Some(saga) = &mut txn.saga {
                change(saga);
            }
        });
    }

    fn put_transaction(&mut self, row: &TransactionRow) {
        let undecided = row.status.is_undecided_here();
        if !undecided {
            self.decided.insert(row.number);
            self.forget_undecided(row.number);
        }
        if let Some(txn) = self.transactions.get_mut(&row.number) {
            let before = std::mem::replace(&mut txn.row, row.clone()).status;
            txn.stored = true;
            if !undecided {
                txn.closing = None;
                if let Some(saga) = &mut txn.saga {
                    saga.turn_back();
                }
            }
            for branch in &mut txn.branches {
                let held = branch.holds_locks(before);
                branch.scope_undone = row.has_undone(&branch.row.scopes);
                if held && !branch.holds_locks(row.status) {
                    self.locks.release(row.number, branch.row.resource, &branch.row.locks);
                }
            }
        } else {
            self.admit(row, true, Timestamp(u64::MAX));
        }
        if !row.undone_scopes.is_empty() {
            self.note_undoing(row.number);
        }
    }

    /// Keeps the list of the active ones with a scope that is being undone. Only for a transaction
    /// that rolled one back: no other can be on it.
    fn note_undoing(&mut self, xid: XidNumber) {
        let undoing = self.transactions.get(&xid).is_some_and(|txn| {
            txn.row.status.is_undecided_here() && !txn.is_complete_in(Status::Active)
        });
        if undoing {
            self.undoing.insert(xid);
        } else {
            self.undoing.remove(&xid);
        }
    }

    fn admit(&mut self, row: &TransactionRow, stored: bool, deadline: Timestamp) {
        if let Some(key) = &row.idempotency_key {
            self.idempotency.insert(key.clone(), row.number);
        }
        if let Some(node) = row.node
            && row.status.is_undecided_here()
        {
            self.undecided.entry(node).or_default().insert(row.number);
        }
        let txn = GlobalTransaction {
            row: row.clone(),
            stored,
            deadline,
            closing: None,
            branches: Vec::new(),
            awaiting: Vec::new(),
            awaiting_scope: Vec::new(),
            saga: None,
        };
        self.transactions.insert(row.number, Box::new(txn));
    }

    fn end(&mut self, row: &TransactionRow) {
        self.decided.remove(&row.number);
        self.undoing.remove(&row.number);
        self.sagas.remove(&row.number);
        self.forget_undecided(row.number);
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

    fn forget_undecided(&mut self, xid: XidNumber) {
        let Some(txn) = self.transactions.get(&xid) else { return };
        if txn.closing.is_some() {
            self.closing.remove(&xid);
        }
        let Some(node) = txn.row.node else { return };
        if let Some(of_node) = self.undecided.get_mut(&node) {
            of_node.remove(&xid);
            if of_node.is_empty() {
                self.undecided.remove(&node);
            }
        }
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
        let has_undone_scopes = !txn.row.undone_scopes.is_empty();
        let known = txn.branches.iter_mut().find(|branch| branch.row.id == row.id);
        let held_before = known.as_ref().is_some_and(|branch| branch.holds_locks(status));
        let branch = if let Some(branch) = known {
            branch.row = row.clone();
            // From now on the report says why.
            if branch.is_parked() {
                branch.last_reason = None;
            }
            branch
        } else {
            // Most transactions have one or two branches, and a vector would start with four.
            if txn.branches.len() == txn.branches.capacity() {
                txn.branches.reserve_exact(txn.branches.len().max(1));
            }
            let next_attempt_at = Timestamp::default();
            txn.branches.push(Branch {
                row: row.clone(),
                scope_undone: txn.row.has_undone(&row.scopes),
                attempt: 0,
                next_attempt_at,
                last_reason: None,
            });
            txn.branches.last_mut().expect("a branch was just pushed")
        };
        // The knowledge was volatile, and the decision implies it (PH-1).
        if status == Status::Committing
            && !branch.scope_undone
            && branch.row.phase_one == PhaseOne::Unknown
        {
            branch.row.phase_one = PhaseOne::Done;
        }
        match (held_before, branch.holds_locks(status)) {
            (false, true) => self.locks.acquire(row.xid, row.resource, &row.locks),
            (true, false) => self.locks.release(row.xid, row.resource, &row.locks),
            (true, true) | (false, false) => {}
        }
        if has_undone_scopes {
            self.note_undoing(row.xid);
        }
    }

    #[allow(clippy::too_many_lines, reason = "one table, to be read as one")]
    fn apply_volatile(&mut self, volatile: &Volatile) {
        match volatile {
            Volatile::Began { row, deadline } => {
                // A number of a session's block was issued with the block.
                if !self.ids.may_have_issued(row.number) {
                    self.ids.xids_issued(row.number.0 + 1);
                }
                self.admit(row, false, *deadline);
            }
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
            Volatile::ScopeAwaited(xid, scope, reply) => {
                self.change(*xid, |txn| txn.awaiting_scope.push((*scope, *reply)));
            }
            Volatile::ScopeTold(xid, reply) => {
                self.change(*xid, |txn| txn.awaiting_scope.retain(|(_, waits)| waits != reply));
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
            Volatile::Postponed { xid, branch, next_attempt_at, reason } => {
                self.change_branch(*xid, *branch, |branch| {
                    branch.next_attempt_at = *next_attempt_at;
                    branch.last_reason = reason.clone();
                });
            }
            Volatile::WaitBegan(waiter) => {
                self.locks.enqueue(waiter);
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
            Volatile::SessionOpened(session, node) => {
                self.gone.remove(node);
                self.sessions.open(*session, *node);
            }
            Volatile::SessionAttached(session, resource) => {
                self.sessions.attach(*session, *resource);
            }
            Volatile::SessionClosed(session) => self.sessions.close(*session),
            Volatile::OffersMade(session, resource, offers) => {
                self.sessions.offer(*session, *resource, offers);
            }
            Volatile::SagaLoaded(xid, at) => self.load_saga(*xid, *at),
            Volatile::StepAttempted(xid, slot, attempt) => self.change_saga(*xid, |saga| {
                if attempt.under_way {
                    saga.run.sent(*slot);
                }
                saga.attempts.insert(*slot, attempt.clone());
            }),
            Volatile::NodeGone(node, until) => drop(self.gone.insert(*node, *until)),
            Volatile::NodeLost(node) => {
                self.gone.remove(node);
                self.ids.forget_node(*node);
            }
            Volatile::BranchIdsIssued(block, node) => self.ids.branches_issued(*block, *node),
            Volatile::XidsIssued(block, session) => {
                self.ids.xids_issued(block.end);
                self.sessions.give_xids(*session, *block);
            }
            Volatile::NeverBegun(session, number) => self.sessions.never_begins(*session, *number),
            Volatile::IdsAskedFor => self.ids.asked_for = true,
            Volatile::IdsReserved(xids, branches) => self.ids.add(*xids, *branches),
        }
    }

    fn load_saga(&mut self, xid: XidNumber, at: Timestamp) {
        let decided = self.decided.contains(&xid);
        self.change_saga(xid, |saga| {
            saga.run.loaded();
            saga.loaded_at = Some(at);
            if decided {
                saga.turn_back();
            }
        });
    }

    fn close(&mut self, xid: XidNumber, until: Timestamp, caller: Caller) {
        self.closing.insert(xid);
        self.change(xid, |txn| {
            let closing =
                txn.closing.get_or_insert_with(|| Box::new(Closing { until, callers: Vec::new() }));
            closing.callers.push(caller);
        });
    }

    fn move_wait(&mut self, id: WaiterId, taken: &[ResourceKey]) {
        let Some(waiter) = self.waiting.waiter_mut(id) else { return };
        self.locks.dequeue(waiter);
        waiter.taken = taken.to_vec();
        self.locks.enqueue(waiter);
        self.overtake(id);
    }

    fn overtake(&mut self, id: WaiterId) {
        let overtaken_max = self.policy().overtaken_max;
        let Some(waiter) = self.waiting.waiter_mut(id) else { return };
        waiter.overtaken = waiter.overtaken.saturating_add(1);
        if waiter.overtaken == overtaken_max {
            self.locks.reserve(waiter);
        }
    }

    fn end_wait(&mut self, id: WaiterId) {
        let Some(waiter) = self.waiting.remove(id) else { return };
        self.locks.dequeue(&waiter);
        if waiter.overtaken >= self.policy().overtaken_max {
            self.locks.unreserve(&waiter);
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
