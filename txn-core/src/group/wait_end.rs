//! How waits and claims end other than by a grant: bound, dropped future, lost session, decision of
//! their own transaction, the holder's rollback.
//!
//! Easy to get wrong: whoever leaves may have had keys kept for it, and those who wait for them must
//! be tried, or they sleep on free keys.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Group;
use crate::event::Event;
use crate::id::{SessionId, XidNumber};
use crate::lock::ResourceKey;
use crate::lock::table::Asker;
use crate::lock::wait::{Claim, ClaimId, Waiter, WaiterId};
use crate::rejection::Rejection;
use crate::step::{Outcome, ReplyTo, Step, Volatile};
use crate::transaction::{Branch, GlobalTransaction, Status};

/// When a refused caller that may try again should do so: about the time of one phase two.
const RETRY_AFTER: Duration = Duration::from_millis(20);

impl Group {
    /// Ends a wait with this answer.
    pub(super) fn end_wait_with(&self, step: &mut Step, waiter: &Waiter, rejection: Rejection) {
        step.note(Volatile::WaitEnded(waiter.id));
        step.reject(waiter.reply(), rejection);
        self.wake_behind(step, waiter);
    }

    /// Ends a wait with a conflict that names `holder`, or else whoever holds a key now.
    pub(super) fn end_wait_with_conflict(
        &self,
        step: &mut Step,
        waiter: &Waiter,
        holder: Option<XidNumber>,
    ) {
        let conflict = self.conflict(waiter, holder);
        self.end_wait_with(step, waiter, conflict);
    }

    /// The conflict that a waiter hears: with a key of `holder` if it is named, otherwise with the
    /// first of its keys that is taken.
    pub(super) fn conflict(&self, waiter: &Waiter, holder: Option<XidNumber>) -> Rejection {
        let taken = self.locks.taken(Asker::of(waiter), waiter.resource, waiter.locks());
        let named = taken.iter().find(|taken| holder.is_some() && taken.holder == holder);
        let (key, named) = match named.or_else(|| taken.first()) {
            Some(taken) => (&taken.key, taken.holder),
            // Nothing is taken any more: a wait that is over in the moment before its grant.
            None => (waiter.taken.first().expect("a waiter queues on a key"), None),
        };
        let holder = holder.or(named);
        Rejection::LockConflict { holder, key: key.key.clone(), retry_after: RETRY_AFTER }
    }

    /// Ends every wait and claim of a transaction that is decided or closing.
    pub(super) fn end_waits_of(&self, step: &mut Step, txn: &GlobalTransaction, status: Status) {
        let xid = txn.row.number;
        let outcome = Outcome { status, parked: 0 };
        for waiter in self.waiting.of_transaction(xid) {
            self.end_wait_with(step, waiter, Rejection::NotActive(outcome));
        }
        for claim in self.waiting.claims_of(xid) {
            self.end_claim(step, claim);
        }
    }

    /// Waiters that hold row locks in their database would block the undo of this transaction: they
    /// hear a conflict at once, roll back locally and wait outside.
    pub(super) fn turn_away_waiters(
        &self,
        step: &mut Step,
        txn: &GlobalTransaction,
        status: Status,
    ) {
        let xid = txn.row.number;
        let mut blocking: BTreeSet<WaiterId> = BTreeSet::new();
        // While the transaction is active, only a scope of it is undone.
        let undone = |branch: &&Branch| status != Status::Active || branch.scope_undone;
        let holding = txn.branches.iter().filter(|branch| branch.holds_locks(status));
        for branch in holding.filter(undone) {
            blocking.extend(self.locks.who_want(branch.row.resource, &branch.row.locks));
        }
        for waiter in blocking.into_iter().filter_map(|id| self.waiting.waiter(id)) {
            // Its own waits have ended already.
            if waiter.holds_local_locks() && waiter.xid != Some(xid) {
                self.end_wait_with_conflict(step, waiter, Some(xid));
            }
        }
    }

    /// Those who wait for keys that were kept for this waiter may have them now.
    pub(super) fn wake_behind(&self, step: &mut Step, waiter: &Waiter) {
        if waiter.overtaken >= self.policy().overtaken_max {
            self.wake(step, self.locks.waited_for(waiter.resource, waiter.locks()));
        }
    }

    /// Those who wait for these keys are tried.
    pub(super) fn wake(&self, step: &mut Step, keys: Vec<ResourceKey>) {
        if !keys.is_empty() {
            step.follow(Event::KeysFreed(keys));
        }
    }

    pub(super) fn end_claim(&self, step: &mut Step, claim: &Claim) {
        step.note(Volatile::ClaimEnded(claim.id));
        self.wake(step, self.locks.waited_for(claim.resource, &claim.locks));
    }

    pub(super) fn claim_released(&self, session: SessionId, claim: ClaimId) -> Step {
        let mut step = Step::default();
        let claim = self.waiting.claim(claim).filter(|claim| claim.session == session);
        if let Some(claim) = claim {
            self.end_claim(&mut step, claim);
        }
        step
    }

    pub(super) fn claim_kept_long_enough(&self, claim: ClaimId) -> Step {
        let mut step = Step::default();
        if let Some(claim) = self.waiting.claim(claim) {
            self.end_claim(&mut step, claim);
        }
        step
    }

    pub(super) fn wait_cancelled(&self, reply: ReplyTo) -> Step {
        let mut step = Step::default();
        if let Some(waiter) = self.waiting.waiter_for(reply) {
            step.note(Volatile::WaitEnded(waiter.id));
            self.wake_behind(&mut step, waiter);
        }
        step
    }

    pub(super) fn wait_bound_passed(&self, waiter: WaiterId) -> Step {
        let mut step = Step::default();
        if let Some(waiter) = self.waiting.waiter(waiter) {
            self.end_wait_with_conflict(&mut step, waiter, None);
        }
        step
    }
}
