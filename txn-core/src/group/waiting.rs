//! Waiting for keys: who queues, who is tried when keys are freed, who is granted.
//!
//! ```text
//! keys freed ─▶ first in line whom the freed key admits ─▶ all its keys free? ─▶ granted
//!      ▲                                                       └ no ─▶ moves to the taken keys
//!      └────────── the same keys again, until they admit nobody who queues ◀──┘
//! ```
//!
//! One waiter is tried in a step, so that the next is tried against what the first one took. On a
//! hot key that is one try a release, however long the queue.
//!
//! Easy to get wrong: the first in line need not be the one whom the key admits. A shared lock goes
//! past one that wants the key alone, and a transaction that just got the key goes past others with
//! its own next wait; who stops at the head of the queue makes waits that no graph shows.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Group;
use crate::decide::{Request, Verdict, decide};
use crate::event::{Event, KeysFor, RequestKeys, Timer};
use crate::id::{ResourceNumber, XidNumber};
use crate::lock::table::{Asker, LockTable, Taken};
use crate::lock::wait::{Claim, WaitFor, Waiter};
use crate::lock::{LockRequest, ResourceKey};
use crate::rejection::{Limit, Rejection};
use crate::step::{Reply, Step, Volatile};
use crate::time::Now;
use crate::transaction::Status;

impl Group {
    pub(super) fn keys_requested(&self, request: &RequestKeys, at: Now) -> Step {
        let xid = match request.target {
            None => None,
            Some(target) => match self.joinable(target, request.reply, at) {
                Ok(txn) => Some(txn.row.number),
                Err(step) => return *step,
            },
        };
        let checked = self
            .attached(request.session, &request.resource)
            .and_then(|place| self.check_lock_count(&request.locks).map(|()| place));
        let (_, resource) = match checked {
            Ok(place) => place,
            Err(rejection) => return Step::rejected(request.reply, rejection),
        };
        let asker = Asker { xid, arrival: None };
        let taken = self.locks.taken(asker, resource, &request.locks);
        let mut step = Step::default();
        if taken.is_empty() {
            self.grant_keys(&mut step, asker, resource, request, at);
        } else {
            let purpose = WaitFor::Keys(Box::new(request.clone()));
            self.wait_or_refuse(&mut step, xid, resource, purpose, taken, at);
        }
        step
    }

    fn grant_keys(
        &self,
        step: &mut Step,
        asker: Asker,
        resource: ResourceNumber,
        request: &RequestKeys,
        at: Now,
    ) {
        match (request.purpose, asker.xid) {
            (KeysFor::Claim, Some(xid)) => {
                let id = self.waiting.next_claim_id();
                let locks = request.locks.clone();
                let session = request.session;
                step.note(Volatile::ClaimKept(Claim { id, xid, session, resource, locks }));
                let until = at.mono.after(self.policy().claim_keep_max);
                step.timers.push((until, Timer::ClaimKept(id)));
                step.reply(request.reply, Reply::ClaimGranted(id));
                self.note_overtaken(step, asker, resource, &request.locks);
            }
            (KeysFor::Claim | KeysFor::Check, _) => step.reply(request.reply, Reply::KeysFree),
        }
    }

    /// Waits for taken keys, or says at once why not: because waiting is not wanted, or cannot end
    /// well.
    pub(super) fn wait_or_refuse(
        &self,
        step: &mut Step,
        xid: Option<XidNumber>,
        resource: ResourceNumber,
        purpose: WaitFor,
        taken: Vec<Taken>,
        at: Now,
    ) {
        let id = self.waiting.next_waiter_id();
        let taken: Vec<ResourceKey> = taken.into_iter().map(|taken| taken.key).collect();
        let waiter = Waiter { id, xid, resource, purpose, taken, overtaken: 0 };
        let wait = self.wait_allowed(&waiter);
        if let Some(refusal) = self.refusal(&waiter, wait) {
            return step.reject(waiter.reply(), refusal);
        }
        let bound = at.mono.after(wait);
        let txn = xid.and_then(|xid| self.live(xid));
        let until = txn.map_or(bound, |txn| bound.min(txn.deadline));
        step.timers.push((until, Timer::WaitBound(id)));
        step.follow_ups.extend(xid.map(Event::WaitGraphChanged));
        step.note(Volatile::WaitBegan(Box::new(waiter)));
    }

    fn refusal(&self, waiter: &Waiter, wait: Duration) -> Option<Rejection> {
        // Whoever comes now comes after all that wait.
        let asker = Asker { xid: waiter.xid, arrival: None };
        let against = self.locks.against(asker, waiter.resource, waiter.locks());
        if let Some(holder) = self.outers(waiter.xid).intersection(&against).next() {
            let conflict = self.conflict(waiter, Some(*holder));
            return Some(match conflict {
                Rejection::LockConflict { key, .. } => {
                    Rejection::HeldByOuter { holder: *holder, key }
                }
                other => other,
            });
        }
        let undoing = self.undoing(waiter, &against);
        if undoing.is_some() || wait.is_zero() {
            return Some(self.conflict(waiter, undoing));
        }
        let max = self.policy().waiters_max;
        let full = self.waiting.waiter_count() >= max;
        full.then_some(Rejection::Limit { limit: Limit::Waiters, max: max as u64 })
    }

    /// The transactions that the asker suspends, directly or not.
    fn outers(&self, asker: Option<XidNumber>) -> BTreeSet<XidNumber> {
        let outer_of = |xid: &XidNumber| self.live(*xid).and_then(|txn| txn.row.outer);
        // A transaction suspends one that began before it, so this ends.
        let outers = std::iter::successors(asker.as_ref().and_then(outer_of), |xid| {
            outer_of(xid).filter(|outer| outer < xid)
        });
        outers.collect()
    }

    /// The one that rolls back and may need rows that this waiter has locked in its database: such
    /// waits are turned away.
    pub(super) fn undoing(
        &self,
        waiter: &Waiter,
        against: &BTreeSet<XidNumber>,
    ) -> Option<XidNumber> {
        if !waiter.holds_local_locks() {
            return None;
        }
        let undoing =
            |holder: &XidNumber| self.is_rolling_back(*holder) || self.undoes_for(*holder, waiter);
        against.iter().copied().find(undoing)
    }

    /// Whether a scope of `holder` is being undone that has a key which this waiter wants.
    fn undoes_for(&self, holder: XidNumber, waiter: &Waiter) -> bool {
        if !self.is_undoing_scope(holder) {
            return false;
        }
        let branches = self.live(holder).into_iter().flat_map(|txn| &txn.branches);
        let undone = branches.filter(|branch| branch.scope_undone);
        let mut table = LockTable::default();
        for branch in undone.filter(|branch| branch.holds_locks(Status::Active)) {
            table.acquire(holder, branch.row.resource, &branch.row.locks);
        }
        !table.taken(Asker::of(waiter), waiter.resource, waiter.locks()).is_empty()
    }

    fn is_rolling_back(&self, holder: XidNumber) -> bool {
        match self.live(holder).map(|txn| txn.row.status) {
            Some(Status::RollingBack(_)) => true,
            Some(
                Status::Active
                | Status::Delegated
                | Status::Committing
                | Status::Committed
                | Status::RolledBack(_),
            )
            | None => false,
        }
    }

    fn wait_allowed(&self, waiter: &Waiter) -> Duration {
        let policy = self.policy();
        let wanted = match &waiter.purpose {
            WaitFor::Branch(register) => register.wait,
            WaitFor::Keys(request) => request.wait,
        };
        let longest =
            if waiter.holds_local_locks() { policy.lock_wait_max } else { policy.claim_wait_max };
        wanted.min(longest)
    }

    /// Tries the first in line, once.
    pub(super) fn keys_freed(&self, keys: &[ResourceKey], at: Now) -> Step {
        let mut step = Step::default();
        let admitted = keys.iter().filter_map(|key| self.first_admitted(key));
        let Some(waiter) = admitted.min_by_key(|waiter| waiter.id) else { return step };
        let taken = self.locks.taken(Asker::of(waiter), waiter.resource, waiter.locks());
        let against = self.locks.against(Asker::of(waiter), waiter.resource, waiter.locks());
        if taken.is_empty() {
            self.grant_waiter(&mut step, waiter, at);
        } else if let Some(undoing) = self.undoing(waiter, &against) {
            self.end_wait_with_conflict(&mut step, waiter, Some(undoing));
        } else {
            let taken = taken.into_iter().map(|taken| taken.key).collect();
            step.note(Volatile::WaitMoved { waiter: waiter.id, taken });
        }
        step.follow_ups.extend(waiter.xid.map(Event::WaitGraphChanged));
        step.follow(Event::KeysFreed(keys.to_vec()));
        step
    }

    fn first_admitted(&self, key: &ResourceKey) -> Option<&Waiter> {
        match self.locks.exclusive_holder(key) {
            // Only its holder can have it as well, so that nobody looks through a long queue.
            Some(holder) => {
                let mut waits = self.waiting.of_transaction(holder);
                waits.find(|waiter| waiter.taken.contains(key))
            }
            None => self.waiting.waiter(self.locks.first_admitted(key)?),
        }
    }

    fn grant_waiter(&self, step: &mut Step, waiter: &Waiter, at: Now) {
        match &waiter.purpose {
            WaitFor::Keys(request) => {
                step.note(Volatile::WaitEnded(waiter.id));
                self.grant_keys(step, Asker::of(waiter), waiter.resource, request, at);
                self.wake_behind(step, waiter);
            }
            WaitFor::Branch(register) => {
                let place = self.attached(register.session, &register.resource);
                let txn = waiter.xid.and_then(|xid| self.live(xid));
                let verdict = txn.map(|txn| (txn, decide(txn, Request::Join, at.mono)));
                match (verdict, place) {
                    (Some((txn, Verdict::Admit)), Ok(place)) => {
                        step.note(Volatile::WaitEnded(waiter.id));
                        self.grant_branch(step, txn, register, place);
                        let (_, resource) = place;
                        self.note_overtaken(step, Asker::of(waiter), resource, &register.locks);
                        self.wake_behind(step, waiter);
                    }
                    // Its deadline passed while it waited; the decision answers the wait.
                    (Some((txn, Verdict::RollBack(cause))), _) => {
                        self.roll_back(step, txn, cause, &[], at);
                    }
                    // A wait ends with its transaction and with its session, so this is a broken
                    // rule; the caller must not be left without an answer.
                    (None | Some(_), _) => {
                        self.end_wait_with(step, waiter, Rejection::Invariant("GT-3"));
                    }
                }
            }
        }
    }

    /// Whoever takes keys that others waited for before overtakes them. After too often the keys are
    /// kept for these.
    pub(super) fn note_overtaken(
        &self,
        step: &mut Step,
        asker: Asker,
        resource: ResourceNumber,
        locks: &[LockRequest],
    ) {
        if self.waiting.waiter_count() == 0 {
            return;
        }
        let keys = self.locks.waited_for(resource, locks);
        let first: BTreeSet<_> =
            keys.iter().filter_map(|key| self.locks.first_waiter(key)).collect();
        for waiter in first.into_iter().filter_map(|id| self.waiting.waiter(id)) {
            if waiter.xid == asker.xid || !asker.comes_after(waiter.id) {
                continue;
            }
            step.note(Volatile::Overtaken(waiter.id));
            // What is kept for it now are new edges that end at it.
            step.follow_ups.extend(waiter.xid.map(Event::WaitGraphChanged));
        }
        // Whoever waits for one of these keys now waits for this transaction as well.
        step.follow_ups.extend(asker.xid.map(Event::WaitGraphChanged));
    }
}
