//! A branch joins: checked, then granted all its locks or none, or sent to the queue.
//!
//! Registering is idempotent on (xid, branch id): a repeat answers the first result. Order of
//! refusals: the transaction first, then the session, then the branch, then its locks, so that a
//! caller hears what it can do least about first.

use super::Group;
use super::lookup::Found;
use crate::decide::{Request, Verdict, decide};
use crate::event::{Event, Register, Target};
use crate::id::{NodeId, ResourceId, ResourceNumber, SessionId, XidNumber};
use crate::lock::table::{Asker, Taken};
use crate::lock::wait::{WaitFor, Waiter};
use crate::rejection::{Limit, Rejection};
use crate::step::{Reply, ReplyTo, Step, Volatile, Write};
use crate::time::Now;
use crate::transaction::{Branch, BranchRow, GlobalTransaction, PhaseOne, PhaseTwo, RollbackCause};

impl Group {
    pub(super) fn register_requested(&self, register: &Register, at: Now) -> Step {
        let reply = register.reply;
        let txn = match self.joinable(register.target, reply, at) {
            Ok(txn) => txn,
            Err(step) => return step,
        };
        let checked = self
            .attached(register.session, &register.resource)
            .and_then(|place| self.check_limits(txn, register).map(|()| place));
        let (node, resource) = match checked {
            Ok(place) => place,
            Err(rejection) => return Step::rejected(reply, rejection),
        };
        if let Some(branch) = txn.branch(register.branch) {
            return repeated(branch, register, (node, resource));
        }
        let asker = Asker { xid: Some(txn.row.number), arrival: None };
        let taken = self.locks.taken(asker, resource, &register.locks);
        let mut step = Step::default();
        if taken.is_empty() {
            self.grant_branch(&mut step, txn, register, (node, resource));
            self.note_overtaken(&mut step, asker, resource, &register.locks);
        } else {
            let purpose = WaitFor::Branch(Box::new(register.clone()));
            self.wait_or_refuse(&mut step, txn.row.number, resource, purpose, taken, at);
        }
        step
    }

    /// The transaction, if a branch may join it; otherwise the whole answer.
    pub(super) fn joinable(
        &self,
        target: Target,
        reply: ReplyTo,
        at: Now,
    ) -> Result<&GlobalTransaction, Step> {
        let txn = match self.find(target) {
            Ok(Found::Live(txn)) => txn,
            Ok(found) => {
                return Err(Step::rejected(reply, Rejection::NotActive(found.outcome())));
            }
            Err(rejection) => return Err(Step::rejected(reply, rejection)),
        };
        match decide(txn, Request::Join, at.mono) {
            Verdict::Admit => Ok(txn),
            Verdict::RollBack(cause) => Err(self.too_late(txn, cause, reply, at)),
            Verdict::Commit | Verdict::AwaitPhaseOne | Verdict::Refuse | Verdict::Stand => {
                Err(Step::rejected(reply, Rejection::NotActive(txn.outcome())))
            }
        }
    }

    /// The deadline has passed and its timer has not fired yet: the decision is taken here.
    fn too_late(
        &self,
        txn: &GlobalTransaction,
        cause: RollbackCause,
        reply: ReplyTo,
        at: Now,
    ) -> Step {
        let mut step = Step::default();
        self.roll_back(&mut step, txn, cause, &[], at);
        let mut outcome = txn.outcome();
        outcome.status = crate::transaction::Status::RollingBack(cause);
        step.reject(reply, Rejection::NotActive(outcome));
        step
    }

    /// The session's node and the resource's number, if the session works on it.
    pub(super) fn attached(
        &self,
        session: SessionId,
        resource: &ResourceId,
    ) -> Result<(NodeId, ResourceNumber), Rejection> {
        let bound = self.bindings.by_id(resource).map(|row| row.number);
        bound
            .and_then(|number| self.sessions.node_attached_to(session, number).zip(Some(number)))
            .ok_or_else(|| Rejection::NotAttached(resource.clone()))
    }

    fn check_limits(&self, txn: &GlobalTransaction, register: &Register) -> Result<(), Rejection> {
        let policy = self.policy();
        let branches_max = policy.branches_per_transaction_max;
        if txn.branches.len() >= branches_max && txn.branch(register.branch).is_none() {
            let max = branches_max as u64;
            return Err(Rejection::Limit { limit: Limit::BranchesPerTransaction, max });
        }
        let locks_max = policy.locks_per_branch_max;
        if register.locks.len() > locks_max {
            return Err(Rejection::Limit { limit: Limit::LocksPerBranch, max: locks_max as u64 });
        }
        Ok(())
    }

    /// Writes the branch, and with the first one the transaction. The claim that it uses up ends
    /// after the branch has its keys, so that nobody comes between.
    pub(super) fn grant_branch(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        register: &Register,
        (node, resource): (NodeId, ResourceNumber),
    ) {
        if !txn.stored {
            step.store(Write::PutTransaction(txn.row.clone()));
        }
        let row = branch_row(txn, register, node, resource);
        let sequence = row.sequence;
        step.store(Write::PutBranch(row));
        if register.lock_only || register.phase_one_assumed {
            step.note(Volatile::PhaseOneDone(txn.row.number, register.branch));
        }
        self.use_claim(step, txn.row.number, register);
        step.reply(register.reply, Reply::Registered { sequence });
    }

    fn use_claim(&self, step: &mut Step, xid: XidNumber, register: &Register) {
        let claim = register.claim.and_then(|id| self.waiting.claim(id));
        if let Some(claim) = claim.filter(|claim| claim.xid == xid) {
            self.end_claim(step, claim);
        }
    }

    /// Newcomers may share a key that somebody waits for; who waits first is thereby overtaken.
    pub(super) fn note_overtaken(
        &self,
        step: &mut Step,
        asker: Asker,
        resource: ResourceNumber,
        locks: &[crate::lock::LockRequest],
    ) {
        if self.waiting.waiter_count() == 0 {
            return;
        }
        for key in self.locks.waited_for(resource, locks) {
            let first = self.locks.first_waiter(&key).and_then(|id| self.waiting.waiter(id));
            if let Some(waiter) = first.filter(|waiter| waiter.xid != asker.xid) {
                step.note(Volatile::Overtaken(waiter.id));
            }
        }
        // Whoever waits for one of these keys now waits for this transaction as well.
        step.follow_ups.extend(asker.xid.map(Event::WaitGraphChanged));
    }

    /// Waits for taken keys, or says at once why not.
    pub(super) fn wait_or_refuse(
        &self,
        step: &mut Step,
        xid: XidNumber,
        resource: ResourceNumber,
        purpose: WaitFor,
        taken: Vec<Taken>,
        at: Now,
    ) {
        let waiter = Waiter {
            id: self.waiting.next_waiter_id(),
            xid: Some(xid),
            resource,
            purpose,
            taken: Vec::new(),
            overtaken: 0,
        };
        self.enqueue_or_refuse(step, waiter, taken, at);
    }
}

fn branch_row(
    txn: &GlobalTransaction,
    register: &Register,
    node: NodeId,
    resource: ResourceNumber,
) -> BranchRow {
    let last = txn.branches.last().map_or(0, |branch| branch.row.sequence);
    BranchRow {
        xid: txn.row.number,
        id: register.branch,
        sequence: last + 1,
        node,
        resource,
        mode: register.mode,
        scope: register.scope,
        lock_only: register.lock_only,
        locks: register.locks.clone(),
        action: register.action.clone(),
        phase_one: PhaseOne::Unknown,
        phase_two: PhaseTwo::Pending,
        park_report: None,
    }
}

/// The answer to a branch id that is known already.
fn repeated(branch: &Branch, register: &Register, place: (NodeId, ResourceNumber)) -> Step {
    let row = &branch.row;
    if row.phase_one == PhaseOne::Failed {
        return Step::rejected(register.reply, Rejection::BranchFailed(row.id));
    }
    let same = (row.node, row.resource) == place
        && row.mode == register.mode
        && row.lock_only == register.lock_only
        && row.locks == register.locks
        && row.action == register.action;
    if !same {
        return Step::rejected(register.reply, Rejection::BranchMismatch(row.id));
    }
    let mut step = Step::default();
    step.reply(register.reply, Reply::Registered { sequence: row.sequence });
    step
}
