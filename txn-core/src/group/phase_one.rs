//! What is heard of phase one.
//!
//! *Done* is volatile knowledge: it is repeated until phase two arrives, and a restart asks again.
//! Only where the reporter waits for an answer it is stored, because then nobody will repeat it.
//! *Failed* is for ever: it frees the branch's locks in the same write, and it is kept until the
//! transaction ends, even where the branch was never registered, so that a registration that
//! arrives late cannot bring the branch back.

use std::sync::Arc;

use super::Group;
use super::lookup::Found;
use super::registration::next_sequence;
use crate::decide::Request;
use crate::event::{PhaseOneReport, PhaseOneResult};
use crate::rejection::Rejection;
use crate::step::{Reply, Step, Volatile, Write};
use crate::time::Now;
use crate::transaction::{
    Branch, BranchMode, BranchRow, GlobalTransaction, PhaseOne, PhaseTwo, Status,
};

impl Group {
    pub(super) fn phase_one_reported(&self, report: &PhaseOneReport, at: Now) -> Step {
        let mut step = Step::default();
        let refused = match self.find(report.target) {
            Ok(Found::Live(txn)) => match report.result {
                PhaseOneResult::Done => self.phase_one_done(&mut step, txn, report, at),
                PhaseOneResult::Failed => self.phase_one_failed(&mut step, txn, report, at),
            },
            // It has ended: there is nothing left to record.
            Ok(Found::Ended(_)) => None,
            Ok(Found::Unrecorded) => match report.result {
                // The local work stands on a registration, and this store has none of it.
                PhaseOneResult::Done => Some(Rejection::LostState(report.branch)),
                PhaseOneResult::Failed => None,
            },
            Err(rejection) => Some(rejection),
        };
        if let Some(reply) = report.reply {
            let recorded = refused.map_or(Reply::PhaseOneRecorded, Reply::Rejected);
            step.reply(reply, recorded);
        }
        step
    }

    fn phase_one_done(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        report: &PhaseOneReport,
        at: Now,
    ) -> Option<Rejection> {
        let Some(branch) = txn.branch(report.branch) else {
            return Some(Rejection::UnknownBranch(report.branch));
        };
        if let Err(rejection) = self.check_resource(branch, report) {
            return Some(rejection);
        }
        match branch.row.phase_one {
            PhaseOne::Failed => return Some(Rejection::BranchFailed(report.branch)),
            PhaseOne::Unknown => {}
            // Known from elsewhere, perhaps in memory only; whoever waits for an answer must be able
            // to rely on it. Once the commit is decided it is implied.
            PhaseOne::Done if report.reply.is_none() || txn.row.status.is_decided() => return None,
            PhaseOne::Done => {}
        }
        if report.reply.is_some() {
            let row = BranchRow { phase_one: PhaseOne::Done, ..branch.row.clone() };
            step.store(Write::PutBranch(row));
        } else {
            step.note(Volatile::PhaseOneDone(txn.row.number, report.branch));
        }
        let known = with_phase_one(txn, branch, PhaseOne::Done);
        self.settle_as(step, &known, Request::PhaseOneLearned, at);
        None
    }

    fn phase_one_failed(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        report: &PhaseOneReport,
        at: Now,
    ) -> Option<Rejection> {
        let known = txn.branch(report.branch);
        if let Some(Err(rejection)) = known.map(|branch| self.check_resource(branch, report)) {
            return Some(rejection);
        }
        let row = match known {
            Some(branch) => match may_fail(txn, branch) {
                Some(true) => BranchRow {
                    phase_one: PhaseOne::Failed,
                    phase_two: PhaseTwo::Pending,
                    ..branch.row.clone()
                },
                Some(false) => return None,
                None => return Some(Rejection::BranchDone(report.branch)),
            },
            // No registration can come any more, so there is nothing to keep it from.
            None if txn.row.status.is_decided() => return None,
            None => match self.never_registered(txn, report) {
                Ok(row) => row,
                Err(rejection) => return Some(rejection),
            },
        };
        let waits = self.waiting.of_transaction(txn.row.number);
        for waiter in waits.filter(|waiter| waiter.is_for_branch(report.branch)) {
            self.end_wait_with(step, waiter, Rejection::BranchFailed(report.branch));
        }
        if !txn.stored {
            step.store(Write::PutTransaction(txn.row.clone()));
        }
        step.store(Write::PutBranch(row));
        if let Some(branch) = known {
            if branch.holds_locks(txn.row.status) {
                self.wake(step, self.locks.waited_for(branch.row.resource, &branch.row.locks));
            }
            self.settle_failed(step, txn, branch, at);
        }
        None
    }

    /// A report for another resource is about another branch, whatever its id says.
    fn check_resource(&self, branch: &Branch, report: &PhaseOneReport) -> Result<(), Rejection> {
        let named = self.bindings.by_id(&report.resource).map(|row| row.number);
        if named == Some(branch.row.resource) {
            return Ok(());
        }
        Err(Rejection::WrongResource(report.branch, report.resource.clone()))
    }

    /// A Failed branch counts no more: a commit that waited for it may go on, and a rollback that
    /// waited for it may end.
    fn settle_failed(&self, step: &mut Step, txn: &GlobalTransaction, branch: &Branch, at: Now) {
        let known = with_phase_one(txn, branch, PhaseOne::Failed);
        match txn.row.status {
            Status::Active if branch.scope_undone => self.undone_further(step, &known, at),
            Status::Active | Status::Delegated => {
                self.settle_as(step, &known, Request::PhaseOneLearned, at);
            }
            Status::RollingBack(_) => self.end_or_go_on(step, &known, at),
            Status::Committing | Status::Committed | Status::RolledBack(_) => {}
        }
    }

    fn never_registered(
        &self,
        txn: &GlobalTransaction,
        report: &PhaseOneReport,
    ) -> Result<BranchRow, Rejection> {
        self.check_branch_count(txn)?;
        let bound = self.bindings.by_id(&report.resource);
        let resource = bound.ok_or_else(|| Rejection::NotAttached(report.resource.clone()))?.number;
        Ok(BranchRow {
            xid: txn.row.number,
            id: report.branch,
            sequence: next_sequence(txn),
            node: report.node,
            resource,
            mode: BranchMode::At,
            scopes: Vec::new(),
            lock_only: false,
            locks: Arc::from([]),
            action: None,
            phase_one: PhaseOne::Failed,
            phase_two: PhaseTwo::Pending,
            park_report: None,
            resolutions: Vec::new(),
        })
    }
}

/// Whether a report that a branch failed is news; `None` if it contradicts what is known, where that
/// which frees nothing stands.
fn may_fail(txn: &GlobalTransaction, branch: &Branch) -> Option<bool> {
    let row = &branch.row;
    match (row.phase_one, txn.row.status) {
        (PhaseOne::Failed, _) => Some(false),
        // Undone before that, whatever it was.
        (_, Status::Delegated | Status::Committing | Status::Committed) if branch.scope_undone => {
            Some(false)
        }
        // The commit was decided on its being done, whether or not that outlived a restart.
        (_, Status::Committing | Status::Committed) => None,
        // A locking read is done when granted, and its local transaction may be dead by then.
        (PhaseOne::Done, _) if !row.lock_only => None,
        (PhaseOne::Done | PhaseOne::Unknown, Status::Active) if branch.scope_undone => {
            Some(branch.awaits_phase_two(Status::Active))
        }
        (PhaseOne::Done | PhaseOne::Unknown, Status::Active | Status::Delegated) => Some(true),
        (PhaseOne::Done | PhaseOne::Unknown, Status::RollingBack(_) | Status::RolledBack(_)) => {
            Some(branch.awaits_phase_two(txn.row.status))
        }
    }
}

/// The transaction as it is once this much more is known.
fn with_phase_one(
    txn: &GlobalTransaction,
    branch: &Branch,
    phase_one: PhaseOne,
) -> GlobalTransaction {
    let mut known = txn.clone();
    let same = known.branches.iter_mut().filter(|other| other.row.id == branch.row.id);
    same.for_each(|branch| branch.row.phase_one = phase_one);
    known
}
