//! Waiting for keys, claims and checks, and the cycles that waiting can close.
//!
//! ```text
//! keys freed ─▶ first in line whose freed key is available ─▶ all its keys free? ─▶ granted
//!      ▲                                                              └ no ─▶ moves to the taken keys
//!      └──────────────── the same keys again, until no first in line can have one ◀──┘
//! ```
//!
//! One waiter is tried in a step, so that the next is tried against what the first one took. On a
//! hot key that is one try a release, however long the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Group;
use crate::event::{Event, KeysFor, RequestKeys, Timer};
use crate::id::{ResourceNumber, SessionId, XidNumber};
use crate::lock::ResourceKey;
use crate::lock::key::EncodedKey;
use crate::lock::table::{Asker, Taken};
use crate::lock::wait::{Claim, ClaimId, WaitFor, Waiter, WaiterId};
use crate::rejection::{Limit, Rejection};
use crate::step::{Reply, ReplyTo, Step, Volatile};
use crate::time::Now;
use crate::transaction::{RollbackCause, Status};

/// When a refused caller that may try again should do so: about the time of one phase two.
const RETRY_AFTER: Duration = Duration::from_millis(20);

impl Group {
    pub(super) fn keys_requested(&self, request: &RequestKeys, at: Now) -> Step {
        let xid = match request.target {
            None => None,
            Some(target) => match self.joinable(target, request.reply, at) {
                Ok(txn) => Some(txn.row.number),
                Err(step) => return step,
            },
        };
        let (_, resource) = match self.attached(request.session, &request.resource) {
            Ok(place) => place,
            Err(rejection) => return Step::rejected(request.reply, rejection),
        };
        let asker = Asker { xid, arrival: None };
        let taken = self.locks.taken(asker, resource, &request.locks);
        let mut step = Step::default();
        if taken.is_empty() {
            self.grant_keys(&mut step, xid, resource, request, at);
            return step;
        }
        let waiter = Waiter {
            id: self.waiting.next_waiter_id(),
            xid,
            resource,
            purpose: WaitFor::Keys(Box::new(request.clone())),
            taken: Vec::new(),
            overtaken: 0,
        };
        self.enqueue_or_refuse(&mut step, waiter, taken, at);
        step
    }

    fn grant_keys(
        &self,
        step: &mut Step,
        xid: Option<XidNumber>,
        resource: ResourceNumber,
        request: &RequestKeys,
        at: Now,
    ) {
        match (request.purpose, xid) {
            (KeysFor::Claim, Some(xid)) => {
                let id = self.waiting.next_claim_id();
                let locks = request.locks.clone();
                let session = request.session;
                step.note(Volatile::ClaimKept(Claim { id, xid, session, resource, locks }));
                let until = at.mono.after(self.policy().claim_keep_max);
                step.timers.push((until, Timer::ClaimKept(id)));
                step.reply(request.reply, Reply::ClaimGranted(id));
                step.follow(Event::WaitGraphChanged(xid));
            }
            (KeysFor::Claim | KeysFor::Check, _) => step.reply(request.reply, Reply::KeysFree),
        }
    }

    /// Puts a request into the queue, or refuses it at once where waiting is not wanted or cannot
    /// end well.
    pub(super) fn enqueue_or_refuse(
        &self,
        step: &mut Step,
        mut waiter: Waiter,
        taken: Vec<Taken>,
        at: Now,
    ) {
        let reply = waiter.reply();
        let txn = waiter.xid.and_then(|xid| self.live(xid));
        if let Some((holder, key)) = self.held_by_outer(waiter.xid, &taken) {
            return step.reject(reply, Rejection::HeldByOuter { holder, key });
        }
        let wait = self.wait_allowed(&waiter);
        let undoing = taken.iter().find(|taken| self.is_rolling_back(taken.holder));
        let turned_away = if waiter.holds_local_locks() { undoing } else { None };
        let first = turned_away.or(taken.first()).expect("a request waits only for taken keys");
        if turned_away.is_some() || wait.is_zero() {
            return step.reject(reply, conflict(&first.key, first.holder));
        }
        let max = self.policy().waiters_max;
        if self.waiting.waiter_count() >= max {
            return step.reject(reply, Rejection::Limit { limit: Limit::Waiters, max: max as u64 });
        }
        let bound = at.mono.after(wait);
        let until = txn.map_or(bound, |txn| bound.min(txn.deadline));
        step.timers.push((until, Timer::WaitBound(waiter.id)));
        waiter.taken = taken.into_iter().map(|taken| taken.key).collect();
        step.follow_ups.extend(waiter.xid.map(Event::WaitGraphChanged));
        step.note(Volatile::WaitBegan(Box::new(waiter)));
    }

    /// A taken key whose holder is suspended, directly or not, by the transaction that asks.
    fn held_by_outer(
        &self,
        asker: Option<XidNumber>,
        taken: &[Taken],
    ) -> Option<(XidNumber, EncodedKey)> {
        let outer_of = |xid: &XidNumber| self.live(*xid).and_then(|txn| txn.row.outer);
        // A transaction suspends one that began before it, so this ends.
        let outers = std::iter::successors(asker.as_ref().and_then(outer_of), |xid| {
            outer_of(xid).filter(|outer| outer < xid)
        });
        let outers: BTreeSet<XidNumber> = outers.collect();
        taken.iter().find_map(|taken| {
            let holder = taken.holder.filter(|holder| outers.contains(holder))?;
            Some((holder, taken.key.key.clone()))
        })
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

    fn is_rolling_back(&self, holder: Option<XidNumber>) -> bool {
        let status = holder.and_then(|xid| self.live(xid)).map(|txn| txn.row.status);
        match status {
            Some(Status::RollingBack(_)) => true,
            Some(
                Status::Active | Status::Committing | Status::Committed | Status::RolledBack(_),
            )
            | None => false,
        }
    }

    /// Tries the first in line, once.
    pub(super) fn keys_freed(&self, keys: &[ResourceKey], at: Now) -> Step {
        let mut step = Step::default();
        let first_in_line = keys.iter().filter_map(|key| {
            let waiter = self.waiting.waiter(self.locks.first_waiter(key)?)?;
            let asker = Asker { xid: waiter.xid, arrival: Some(waiter.id) };
            self.locks.is_free_for(asker, key, waiter.locks()).then_some(waiter)
        });
        let Some(waiter) = first_in_line.min_by_key(|waiter| waiter.id) else { return step };
        let asker = Asker { xid: waiter.xid, arrival: Some(waiter.id) };
        let taken = self.locks.taken(asker, waiter.resource, waiter.locks());
        if taken.is_empty() {
            self.grant_waiter(&mut step, waiter, at);
        } else {
            let taken = taken.into_iter().map(|taken| taken.key).collect();
            step.note(Volatile::WaitMoved { waiter: waiter.id, taken });
        }
        step.follow_ups.extend(waiter.xid.map(Event::WaitGraphChanged));
        // A reservation may have ended with the wait, so its keys are looked at as well.
        let mut again: BTreeSet<ResourceKey> = keys.iter().cloned().collect();
        again.extend(self.locks.waited_for(waiter.resource, waiter.locks()));
        step.follow(Event::KeysFreed(again.into_iter().collect()));
        step
    }

    fn grant_waiter(&self, step: &mut Step, waiter: &Waiter, at: Now) {
        step.note(Volatile::WaitEnded(waiter.id));
        match &waiter.purpose {
            WaitFor::Keys(request) => {
                self.grant_keys(step, waiter.xid, waiter.resource, request, at);
            }
            WaitFor::Branch(register) => {
                let place = self.attached(register.session, &register.resource);
                let txn = waiter.xid.and_then(|xid| self.live(xid)).filter(|txn| txn.is_open());
                match (txn, place) {
                    (Some(txn), Ok(place)) => self.grant_branch(step, txn, register, place),
                    // A wait ends with its transaction and with its session, so this is a broken
                    // rule; the caller must not be left without an answer.
                    (None | Some(_), _) => {
                        step.reject(register.reply, Rejection::Invariant("GT-3"))
                    }
                }
            }
        }
    }

    /// Ends a wait with a conflict that names `holder`, or whoever holds the key now.
    pub(super) fn end_wait_with_conflict(
        &self,
        step: &mut Step,
        waiter: &Waiter,
        holder: Option<XidNumber>,
    ) {
        step.note(Volatile::WaitEnded(waiter.id));
        let asker = Asker { xid: waiter.xid, arrival: Some(waiter.id) };
        let taken = self.locks.taken(asker, waiter.resource, waiter.locks());
        if let Some(first) = taken.first() {
            step.reject(waiter.reply(), conflict(&first.key, holder.or(first.holder)));
        } else if let Some(key) = waiter.taken.first() {
            step.reject(waiter.reply(), conflict(key, holder));
        }
        self.wake_behind(step, waiter);
    }

    /// Ends every wait and claim of a transaction that is decided or closing.
    pub(super) fn end_waits_of(
        &self,
        step: &mut Step,
        txn: &crate::transaction::GlobalTransaction,
        status: Status,
    ) {
        let xid = txn.row.number;
        let outcome = crate::step::Outcome { status, parked: 0 };
        for waiter in self.waiting.of_transaction(xid) {
            step.note(Volatile::WaitEnded(waiter.id));
            step.reject(waiter.reply(), Rejection::NotActive(outcome));
            self.wake_behind(step, waiter);
        }
        for claim in self.waiting.claims().filter(|claim| claim.xid == xid) {
            self.end_claim(step, claim);
        }
    }

    /// Those who wait for keys that were reserved for this waiter may have them now.
    pub(super) fn wake_behind(&self, step: &mut Step, waiter: &Waiter) {
        if waiter.overtaken >= self.policy().overtaken_max {
            let keys = self.locks.waited_for(waiter.resource, waiter.locks());
            step.follow(Event::KeysFreed(keys));
        }
    }

    pub(super) fn end_claim(&self, step: &mut Step, claim: &Claim) {
        step.note(Volatile::ClaimEnded(claim.id));
        let keys = self.locks.waited_for(claim.resource, &claim.locks);
        if !keys.is_empty() {
            step.follow(Event::KeysFreed(keys));
        }
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

    /// Looks for a cycle through `xid`; its youngest transaction rolls back.
    pub(super) fn wait_graph_changed(&self, xid: XidNumber) -> Step {
        let mut step = Step::default();
        if let Some(victim) = self.cycle_through(xid).and_then(|cycle| cycle.into_iter().max()) {
            step.follow(Event::RollbackDue(victim, RollbackCause::Deadlock));
            // There may be another cycle through the same transaction.
            step.follow(Event::WaitGraphChanged(xid));
        }
        step
    }

    /// The transactions on a path of waits from `start` back to itself.
    fn cycle_through(&self, start: XidNumber) -> Option<Vec<XidNumber>> {
        let mut came_from: BTreeMap<XidNumber, XidNumber> = BTreeMap::new();
        let mut frontier = vec![start];
        while let Some(xid) = frontier.pop() {
            for next in self.waits_for(xid) {
                if next == start {
                    let path = std::iter::successors(Some(xid), |at| came_from.get(at).copied());
                    return Some(path.collect());
                }
                if next != xid && !came_from.contains_key(&next) {
                    came_from.insert(next, xid);
                    frontier.push(next);
                }
            }
        }
        None
    }

    /// The undecided transactions that `xid` waits for. One that is decided frees its keys by
    /// itself.
    fn waits_for(&self, xid: XidNumber) -> BTreeSet<XidNumber> {
        let mut all = BTreeSet::new();
        for waiter in self.waiting.of_transaction(xid) {
            let asker = Asker { xid: Some(xid), arrival: Some(waiter.id) };
            all.extend(self.locks.against(asker, waiter.resource, waiter.locks()));
        }
        all.retain(|other| self.live(*other).is_some_and(|txn| txn.row.status == Status::Active));
        all
    }
}

fn conflict(key: &ResourceKey, holder: Option<XidNumber>) -> Rejection {
    Rejection::LockConflict { holder, key: key.key.clone(), retry_after: RETRY_AFTER }
}
