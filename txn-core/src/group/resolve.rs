//! A person's word on parked branches.
//!
//! ```text
//! Parked ── resolve ──▶ Pending, with the resolution attached ── answer ──▶ Done
//!    ▲                                                              │
//!    └──────────────── parked again: the resolution is spent ───────┘
//! ```
//!
//! The word is a stored row like any other, so it outlives a restart, goes with every repeat of the
//! task, and stays on record with its reason. Easy to get wrong: only the *last* resolution of a
//! branch that is *not* parked is in force ([`BranchRow::resolution`]); if a retry were not recorded
//! as well, an older `restore` would come into force again.

use std::sync::Arc;

use super::Group;
use super::lookup::Found;
use crate::event::{Resolve, Target};
use crate::rejection::Rejection;
use crate::step::{Reply, ReplyTo, Step, Write};
use crate::time::Now;
use crate::transaction::{
    Branch, BranchMode, BranchRow, GlobalTransaction, PhaseTwo, RESOLUTIONS_KEPT_MAX, Resolution,
    Resolved, Status,
};

impl Group {
    /// An operator's decision on one parked branch.
    pub(super) fn resolve_requested(&self, request: &Resolve, at: Now) -> Step {
        let Resolve { target, branch, resolution, reason, reply } = request;
        let txn = match self.find(*target) {
            Ok(Found::Live(txn)) => txn,
            Ok(Found::Ended(_) | Found::Unrecorded) => {
                return Step::rejected(*reply, Rejection::NotParked(*branch));
            }
            Err(rejection) => return Step::rejected(*reply, rejection),
        };
        let Some(found) = txn.branch(*branch) else {
            return Step::rejected(*reply, Rejection::UnknownBranch(*branch));
        };
        let mut step = Step::default();
        if is_repeat(&found.row, *resolution, reason) {
            step.reply(*reply, Reply::Resolved);
            return step;
        }
        let status = txn.row.status;
        let PhaseTwo::Parked(parked) = found.row.phase_two else {
            return Step::rejected(*reply, Rejection::NotParked(*branch));
        };
        if !is_defined(*resolution, found.row.mode, status) {
            let (branch, resolution) = (*branch, *resolution);
            let rejection = Rejection::NotResolvable { branch, resolution, mode: found.row.mode };
            return Step::rejected(*reply, rejection);
        }
        let word =
            Resolved { resolution: *resolution, reason: reason.clone(), at: at.wall, parked };
        let mut known = txn.clone();
        let same = known.branches.iter_mut().filter(|other| other.row.id == *branch);
        same.for_each(|branch| unpark(&mut step, branch, &word, at));
        self.send_due(&mut step, &known, status, at);
        step.reply(*reply, Reply::Resolved);
        step
    }

    /// An operator's word on a whole transaction: parked branches are looked at again, and waiting
    /// ones at once.
    pub(super) fn retry_requested(&self, target: Target, reply: ReplyTo, at: Now) -> Step {
        let txn = match self.find(target) {
            Ok(Found::Live(txn)) if !txn.is_complete_in(txn.row.status) => txn,
            Ok(found) => return Step::rejected(reply, Rejection::NotActive(found.outcome())),
            Err(rejection) => return Step::rejected(reply, rejection),
        };
        let mut step = Step::default();
        let mut known: GlobalTransaction = txn.clone();
        let mut retried = 0;
        let status = txn.row.status;
        let waiting = known.branches.iter_mut().filter(|branch| branch.awaits_phase_two(status));
        for branch in waiting {
            retried += 1;
            if let PhaseTwo::Parked(parked) = branch.row.phase_two {
                let (resolution, reason) = (Resolution::Retry, Arc::default());
                let word = Resolved { resolution, reason, at: at.wall, parked };
                unpark(&mut step, branch, &word, at);
            }
            branch.next_attempt_at = at.mono;
        }
        self.send_due(&mut step, &known, status, at);
        step.reply(reply, Reply::Retried(retried));
        step
    }
}

/// What each resolution means something for. Only AT has images to restore, and only a rollback
/// wants them. To leave things as they are settles either direction of AT, where the branch's own
/// work is visible already, and of TCC and saga, whose handlers are then not called: a person did
/// their work. Of XA it settles what somebody else finished; what is still prepared its participant
/// finishes as was decided.
fn is_defined(resolution: Resolution, mode: BranchMode, status: Status) -> bool {
    let rolls_back = match status {
        Status::RollingBack(_) => true,
        Status::Active
        | Status::Delegated
        | Status::Committing
        | Status::Committed
        | Status::RolledBack(_) => false,
    };
    match (resolution, mode) {
        (Resolution::Retry | Resolution::Keep, _) => true,
        (Resolution::Restore, BranchMode::At) => rolls_back,
        (Resolution::Restore, BranchMode::Tcc | BranchMode::Saga | BranchMode::Xa) => false,
    }
}

/// The answer to the first may have been lost.
fn is_repeat(row: &BranchRow, resolution: Resolution, reason: &str) -> bool {
    let last = row.resolutions.last();
    row.resolution() == Some(resolution) && last.is_some_and(|last| *last.reason == *reason)
}

fn unpark(step: &mut Step, branch: &mut Branch, word: &Resolved, at: Now) {
    let known = &branch.row.resolutions;
    // A branch that parks for ever is not to grow its row for ever.
    let spare = (known.len() + 1).saturating_sub(RESOLUTIONS_KEPT_MAX);
    let kept = known.iter().skip(spare).chain(std::iter::once(word));
    branch.row.resolutions = kept.cloned().collect();
    branch.row.phase_two = PhaseTwo::Pending;
    branch.next_attempt_at = at.mono;
    step.store(Write::PutBranch(branch.row.clone()));
}
