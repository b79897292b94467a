//! What is heard of phase one.
//!
//! *Done* is volatile knowledge: it is repeated until phase two arrives, and a restart asks again.
//! *Failed* is for ever: it frees the branch's locks in the same write, and it is kept until the
//! transaction ends, even where the branch was never registered, so that a registration that
//! arrives late cannot bring the branch back.

use std::sync::Arc;

use super::Group;
use super::lookup::Found;
use crate::decide::Request;
use crate::event::{Event, PhaseOneReport, PhaseOneResult};
use crate::id::ScopeId;
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
            // It has ended, or nothing of it was ever stored: there is nothing left to record.
            Ok(Found::Ended(_) | Found::Unrecorded) => None,
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
        match branch.row.phase_one {
            PhaseOne::Done => None,
            PhaseOne::Failed => Some(Rejection::BranchFailed(report.branch)),
            PhaseOne::Unknown => {
                step.note(Volatile::PhaseOneDone(txn.row.number, report.branch));
                let known = with_phase_one(txn, branch, PhaseOne::Done);
                self.settle_as(step, &known, Request::PhaseOneLearned, at);
                None
            }
        }
    }

    fn phase_one_failed(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        report: &PhaseOneReport,
        at: Now,
    ) -> Option<Rejection> {
        if let Some(waiter) = self.waiting.of_transaction(txn.row.number).find(|waiter| {
            matches!(&waiter.purpose, crate::lock::wait::WaitFor::Branch(register)
                if register.branch == report.branch)
        }) {
            step.note(Volatile::WaitEnded(waiter.id));
            step.reject(waiter.reply(), Rejection::BranchFailed(report.branch));
            self.wake_behind(step, waiter);
        }
        let row = match txn.branch(report.branch) {
            Some(branch) => match branch.row.phase_one {
                PhaseOne::Failed => return None,
                // A contradiction between two reports: the one that frees nothing stands.
                PhaseOne::Done => return Some(Rejection::Invariant("PH-1")),
                PhaseOne::Unknown => {
                    BranchRow { phase_one: PhaseOne::Failed, ..branch.row.clone() }
                }
            },
            None => match self.never_registered(txn, report) {
                Ok(row) => row,
                Err(rejection) => return Some(rejection),
            },
        };
        if !txn.stored {
            step.store(Write::PutTransaction(txn.row.clone()));
        }
        step.store(Write::PutBranch(row));
        if let Some(branch) = txn.branch(report.branch) {
            self.free_keys_of(step, txn, branch);
            self.settle_failed(step, txn, branch, at);
        }
        None
    }

    /// A Failed branch counts no more: a commit that waited for it may go on, and a rollback that
    /// waited for it may end.
    fn settle_failed(&self, step: &mut Step, txn: &GlobalTransaction, branch: &Branch, at: Now) {
        let known = with_phase_one(txn, branch, PhaseOne::Failed);
        match txn.row.status {
            Status::Active => self.settle_as(step, &known, Request::PhaseOneLearned, at),
            Status::RollingBack(_) => self.end_or_go_on(step, &known, at),
            Status::Committing | Status::Committed | Status::RolledBack(_) => {}
        }
    }

    fn free_keys_of(&self, step: &mut Step, txn: &GlobalTransaction, branch: &Branch) {
        if branch.holds_locks(txn.row.status) {
            let keys = self.locks.waited_for(branch.row.resource, &branch.row.locks);
            if !keys.is_empty() {
                step.follow(Event::KeysFreed(keys));
            }
        }
    }

    fn never_registered(
        &self,
        txn: &GlobalTransaction,
        report: &PhaseOneReport,
    ) -> Result<BranchRow, Rejection> {
        let bound = self.bindings.by_id(&report.resource);
        let resource = bound.ok_or_else(|| Rejection::NotAttached(report.resource.clone()))?.number;
        let last = txn.branches.last().map_or(0, |branch| branch.row.sequence);
        Ok(BranchRow {
            xid: txn.row.number,
            id: report.branch,
            sequence: last + 1,
            node: report.node,
            resource,
            mode: BranchMode::At,
            scope: ScopeId(0),
            lock_only: false,
            locks: Arc::from([]),
            action: None,
            phase_one: PhaseOne::Failed,
            phase_two: PhaseTwo::Pending,
            park_report: None,
        })
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
