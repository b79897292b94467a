//! A branch joins: checked, then granted all its locks or none, or sent to the queue.
//!
//! Registering is idempotent on (xid, branch id): while the transaction is undecided a repeat answers
//! the first result. Order of refusals: the transaction first, then the session, then the branch, then its locks, so that a
//! caller hears what it can do least about first.

use super::Group;
use super::lookup::Found;
use crate::decide::{Request, Verdict, decide};
use crate::event::{Register, Target};
use crate::id::{NodeId, ResourceId, ResourceNumber, ScopeId, SessionId, XidNumber};
use crate::lock::LockRequest;
use crate::lock::table::Asker;
use crate::lock::wait::WaitFor;
use crate::rejection::{Limit, Rejection};
use crate::step::{Outcome, Reply, ReplyTo, Step, Write};
use crate::time::Now;
use crate::transaction::{
    Branch, BranchMode, BranchRow, GlobalTransaction, PhaseOne, PhaseTwo, RollbackCause, Status,
};

impl Group {
    pub(super) fn register_requested(&self, register: &Register, at: Now) -> Step {
        let reply = register.reply;
        if let Some(branch) = self.registered(register, at) {
            return self.repeated(branch, register);
        }
        let txn = match self.joinable(register.target, reply, at) {
            Ok(txn) => txn,
            Err(step) => return *step,
        };
        if let Some(scope) = undone_scope(txn, register) {
            return Step::rejected(reply, Rejection::ScopeRolledBack(scope));
        }
        let checked = self
            .attached(register.session, &register.resource)
            .and_then(|place| self.check_branch(place, register).map(|()| place))
            .and_then(|place| self.check_limits(txn, register).map(|()| place));
        let (node, resource) = match checked {
            Ok(place) => place,
            Err(rejection) => return Step::rejected(reply, rejection),
        };
        let xid = Some(txn.row.number);
        let asker = Asker { xid, arrival: None };
        let taken = self.locks.taken(asker, resource, &register.locks);
        let mut step = Step::default();
        if taken.is_empty() {
            self.grant_branch(&mut step, txn, register, (node, resource));
            self.note_overtaken(&mut step, asker, resource, &register.locks);
        } else {
            let purpose = WaitFor::Branch(Box::new(register.clone()));
            self.wait_or_refuse(&mut step, xid, resource, purpose, taken, at);
        }
        step
    }

    /// The branch, if it is registered already and undecided: a repeat, which a closing transaction
    /// answers as well.
    fn registered(&self, register: &Register, at: Now) -> Option<&Branch> {
        let txn = self.live(register.target.xid)?;
        let undecided = txn.row.status == Status::Active && txn.deadline > at.mono;
        txn.branch(register.branch).filter(|_| undecided)
    }

    /// The transaction, if a branch may join it; otherwise the whole answer.
    pub(super) fn joinable(
        &self,
        target: Target,
        reply: ReplyTo,
        at: Now,
    ) -> Result<&GlobalTransaction, Box<Step>> {
        let txn = match self.find(target) {
            Ok(Found::Live(txn)) => txn,
            Ok(found) => {
                return Err(refused(reply, Rejection::NotActive(found.outcome())));
            }
            Err(rejection) => return Err(refused(reply, rejection)),
        };
        match decide(txn, Request::Join, at.mono) {
            Verdict::Admit => Ok(txn),
            Verdict::RollBack(cause) => Err(Box::new(self.too_late(txn, cause, reply, at))),
            Verdict::Commit
            | Verdict::AwaitPhaseOne
            | Verdict::Delegate
            | Verdict::RefuseDelegation
            | Verdict::EndDelegated
            | Verdict::UndoScope
            | Verdict::Refuse
            | Verdict::Stand => Err(refused(reply, Rejection::NotActive(txn.outcome()))),
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
        let status = self.roll_back(&mut step, txn, cause, &[], at);
        step.reject(reply, Rejection::NotActive(Outcome { status, parked: 0 }));
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

    /// The branch's name is the caller's to give, and its mode is one that the resource can carry.
    fn check_branch(
        &self,
        (node, _): (NodeId, ResourceNumber),
        register: &Register,
    ) -> Result<(), Rejection> {
        if !self.ids.may_name(node, register.branch) {
            return Err(Rejection::ForeignBranchId(register.branch));
        }
        let has_database =
            self.bindings.by_id(&register.resource).is_some_and(|row| row.uid.is_some());
        match register.mode {
            // Their phase two is the database's work: undo rows, prepared transactions.
            BranchMode::At | BranchMode::Xa if !has_database => Err(Rejection::NoDatabase {
                resource: register.resource.clone(),
                mode: register.mode,
            }),
            BranchMode::At | BranchMode::Tcc | BranchMode::Saga | BranchMode::Xa => Ok(()),
        }
    }

    fn check_limits(&self, txn: &GlobalTransaction, register: &Register) -> Result<(), Rejection> {
        self.check_branch_count(txn)?;
        self.check_lock_count(&register.locks)
    }

    pub(super) fn check_branch_count(&self, txn: &GlobalTransaction) -> Result<(), Rejection> {
        let max = self.policy().branches_per_transaction_max;
        if txn.branches.len() < max {
            return Ok(());
        }
        Err(Rejection::Limit { limit: Limit::BranchesPerTransaction, max: max as u64 })
    }

    pub(super) fn check_lock_count(&self, locks: &[LockRequest]) -> Result<(), Rejection> {
        let max = self.policy().locks_per_branch_max;
        if locks.len() <= max {
            return Ok(());
        }
        Err(Rejection::Limit { limit: Limit::LocksPerBranch, max: max as u64 })
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
        // The same registration may wait twice, if its first answer was lost on the way.
        if let Some(branch) = txn.branch(register.branch) {
            return step.absorb(self.repeated(branch, register));
        }
        if !txn.stored {
            step.store(Write::PutTransaction(txn.row.clone()));
        }
        let row = branch_row(txn, register, node, resource);
        let sequence = row.sequence;
        step.store(Write::PutBranch(row));
        self.use_claim(step, txn.row.number, register);
        step.reply(register.reply, Reply::Registered { sequence });
    }

    fn use_claim(&self, step: &mut Step, xid: XidNumber, register: &Register) {
        let claim = register.claim.and_then(|id| self.waiting.claim(id));
        if let Some(claim) = claim.filter(|claim| claim.xid == xid) {
            self.end_claim(step, claim);
        }
    }

    /// The answer to a branch id that is known already.
    fn repeated(&self, branch: &Branch, register: &Register) -> Step {
        let row = &branch.row;
        let place = match self.attached(register.session, &register.resource) {
            Ok(place) => place,
            Err(rejection) => return Step::rejected(register.reply, rejection),
        };
        if row.phase_one == PhaseOne::Failed {
            return Step::rejected(register.reply, Rejection::BranchFailed(row.id));
        }
        let txn = self.live(row.xid);
        if let Some(scope) = txn.and_then(|txn| undone_scope(txn, register)) {
            return Step::rejected(register.reply, Rejection::ScopeRolledBack(scope));
        }
        let same = (row.node, row.resource) == place
            && row.mode == register.mode
            && row.scopes == register.scopes
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
}

/// The first of its scopes that was rolled back.
fn undone_scope(txn: &GlobalTransaction, register: &Register) -> Option<ScopeId> {
    let mut scopes = register.scopes.iter();
    scopes.find(|scope| txn.row.has_undone(std::slice::from_ref(*scope))).copied()
}

fn refused(reply: ReplyTo, rejection: Rejection) -> Box<Step> {
    Box::new(Step::rejected(reply, rejection))
}

fn branch_row(
    txn: &GlobalTransaction,
    register: &Register,
    node: NodeId,
    resource: ResourceNumber,
) -> BranchRow {
    // Nothing will be reported of these, neither now nor after a restart.
    let known = register.lock_only || register.phase_one_assumed;
    BranchRow {
        xid: txn.row.number,
        id: register.branch,
        sequence: next_sequence(txn),
        node,
        resource,
        mode: register.mode,
        scopes: register.scopes.clone(),
        lock_only: register.lock_only,
        locks: register.locks.clone(),
        action: register.action.clone(),
        phase_one: if known { PhaseOne::Done } else { PhaseOne::Unknown },
        phase_two: PhaseTwo::Pending,
        park_report: None,
        resolutions: Vec::new(),
    }
}

/// The place of the next branch: undo goes newest first.
pub(super) fn next_sequence(txn: &GlobalTransaction) -> u32 {
    txn.branches.last().map_or(0, |branch| branch.row.sequence) + 1
}
