//! Moments that steps asked for, earliest first.
//!
//! Most timers are never needed: a deadline a minute away, a retry a second away, of transactions
//! that end in milliseconds. So there are a million of them at a time, and a heap of that depth
//! misses the cache at every level. They are kept in slots of about a millisecond instead, and only
//! the slot that comes next is a heap.
//!
//! A timer whose transaction has ended would fire and find nothing to do. Most are swept out before
//! that, or a busy hour of transactions with an hour's timeout would be kept in memory: whenever the
//! timers have doubled, one slot after the other is looked through, some with each event.
//!
//! Easy to get wrong: after a restart all deadlines that had passed get the same new one, so a single
//! slot may hold a million timers. Adding to the current slot must not move the others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use pactum_core::event::Timer;
use pactum_core::id::XidNumber;
use pactum_core::time::Timestamp;

/// A slot is 2^10 microseconds.
const SLOT_BITS: u32 = 10;

/// Below so many timers nothing is swept: they fit the cache.
const SWEEP_ABOVE_MIN: usize = 64 * 1024;
/// How many timers are looked at with each event, by whole slots. An event adds one or two, so a
/// sweep is through long before they have doubled again.
const SWEPT_AT_A_TIME: usize = 8;

type Entry = (Timestamp, Timer);

/// The timers that have not fired.
#[derive(Debug)]
pub(super) struct Timers {
    /// The slot that comes next; empty only if there is no timer at all.
    current: BinaryHeap<Reverse<Entry>>,
    /// The number of that slot.
    slot: u64,
    /// The slots after it, in no order.
    later: BTreeMap<u64, Vec<Reverse<Entry>>>,
    count: usize,
    /// With more than these a sweep begins.
    sweep_above: usize,
    /// The slot that a sweep under way comes to next.
    sweep_next: Option<u64>,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            current: BinaryHeap::new(),
            slot: 0,
            later: BTreeMap::new(),
            count: 0,
            sweep_above: SWEEP_ABOVE_MIN,
            sweep_next: None,
        }
    }
}

impl Timers {
    pub(super) fn add(&mut self, timers: Vec<Entry>) {
        self.count += timers.len();
        for entry in timers {
            let slot = slot_of(entry.0);
            if slot == self.slot && !self.current.is_empty() {
                self.current.push(Reverse(entry));
                continue;
            }
            if slot < self.slot && !self.current.is_empty() {
                // It was the next slot, and is not any more.
                let entries = std::mem::take(&mut self.current);
                self.later.insert(self.slot, entries.into_vec());
            }
            self.later.entry(slot).or_default().push(Reverse(entry));
            self.turn();
        }
    }

    /// Makes the next slot the current one, once that is empty.
    fn turn(&mut self) {
        if self.current.is_empty()
            && let Some((slot, entries)) = self.later.pop_first()
        {
            (self.slot, self.current) = (slot, BinaryHeap::from(entries));
        }
    }

    /// The next moment.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.current.peek().map(|Reverse((at, _))| *at)
    }

    /// The next timer whose moment is not after `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Entry> {
        if self.next_at()? > now {
            return None;
        }
        let entry = self.current.pop().map(|Reverse(entry)| entry);
        self.turn();
        self.count -= usize::from(entry.is_some());
        entry
    }

    /// Takes a sweep further, if there is one to do: drops timers of transactions that are not live.
    pub(super) fn sweep(&mut self, is_live: impl Fn(XidNumber) -> bool) {
        if self.sweep_next.is_none() && self.count > self.sweep_above {
            self.sweep_next = Some(0);
        }
        let mut looked_at = 0;
        while let Some(from) = self.sweep_next
            && looked_at < SWEPT_AT_A_TIME
        {
            let Some((&slot, entries)) = self.later.range_mut(from..).next() else {
                self.sweep_next = None;
                self.sweep_above = (2 * self.count).max(SWEEP_ABOVE_MIN);
                return;
            };
            let before = entries.len();
            entries.retain(|Reverse((_, timer))| transaction_of(timer).is_none_or(&is_live));
            let left = entries.len();
            if left == 0 {
                self.later.remove(&slot);
            } else if left < before {
                entries.shrink_to(2 * left);
            }
            self.count -= before - left;
            looked_at += before;
            self.sweep_next = Some(slot + 1);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Timers::default();
    }
}

/// The transaction without which the timer is for nothing.
fn transaction_of(timer: &Timer) -> Option<XidNumber> {
    match timer {
        Timer::Deadline(xid)
        | Timer::Closing(xid)
        | Timer::PhaseTwo(xid)
        | Timer::Step(xid, _)
        | Timer::Saga(xid)
        | Timer::Completion(xid, _) => Some(*xid),
        Timer::WaitBound(_)
        | Timer::ClaimKept(_)
        | Timer::NodeLost(_)
        | Timer::Resume(..)
        | Timer::History => None,
    }
}

fn slot_of(at: Timestamp) -> u64 {
    at.0 >> SLOT_BITS
}

#[cfg(test)]
mod tests {
    use pactum_core::id::XidNumber;

    use super::*;

    fn timer(at: u64, xid: u64) -> Entry {
        (Timestamp(at), Timer::Deadline(XidNumber(xid)))
    }

    #[test]
    fn timers_fire_in_order_of_their_moments_and_not_before() {
        let mut timers = Timers::default();
        timers.add(vec![timer(30, 1), timer(10, 2), timer(20, 3)]);
        assert_eq!(timers.pop_due(Timestamp(9)), None);
        assert_eq!(timers.pop_due(Timestamp(25)), Some(timer(10, 2)));
        assert_eq!(timers.pop_due(Timestamp(25)), Some(timer(20, 3)));
        assert_eq!(timers.pop_due(Timestamp(25)), None);
        assert_eq!(timers.next_at(), Some(Timestamp(30)));
    }

    /// Would take minutes if each moved those before it.
    #[test]
    fn many_timers_of_one_moment_are_added_and_fire_in_no_time() {
        let mut timers = Timers::default();
        timers.add((0..300_000).map(|xid| timer(5, xid)).collect());
        for xid in 0..300_000 {
            assert_eq!(timers.pop_due(Timestamp(5)), Some(timer(5, xid)));
        }
        assert_eq!(timers.next_at(), None);
    }

    /// Goal: what has ended does not pile up until its deadline, and what is live still fires.
    /// Method: a timer and an end a step, with one transaction in a thousand left alive.
    #[test]
    fn timers_of_ended_transactions_are_swept_out() {
        let is_live = |xid: XidNumber| xid.0.is_multiple_of(1_000);
        let mut timers = Timers::default();
        for xid in 0..1_000_000 {
            timers.add(vec![timer(3_600_000_000 + 25 * xid, xid)]);
            timers.sweep(is_live);
            assert!(timers.count <= 2 * SWEEP_ABOVE_MIN);
        }
        let fired = std::iter::from_fn(|| timers.pop_due(Timestamp(u64::MAX)));
        let live = fired.filter(|(_, timer)| transaction_of(timer).is_some_and(is_live));
        assert_eq!(live.count(), 1_000);
        assert_eq!(timers.count, 0);
    }

    /// Goal: slots change nothing of the order, whatever is added when. Method: beside a plain sorted
    /// list, with moments on all sides of the slots' edges.
    #[test]
    fn slots_keep_the_order_of_a_plain_list() {
        let (mut timers, mut plain) = (Timers::default(), Vec::new());
        let mut dice = fastrand::Rng::with_seed(7);
        for xid in 0..2_000 {
            let entry = timer(dice.u64(0..20_000), xid);
            timers.add(vec![entry]);
            plain.push(entry);
            if dice.u8(0..3) == 0 {
                plain.sort_unstable();
                let now = Timestamp(dice.u64(0..20_000));
                let due = plain.first().copied().filter(|(at, _)| *at <= now);
                assert_eq!(timers.pop_due(now), due);
                plain.retain(|entry| Some(*entry) != due);
            }
        }
        plain.sort_unstable();
        let rest: Vec<_> = std::iter::from_fn(|| timers.pop_due(Timestamp(u64::MAX))).collect();
        assert_eq!(rest, plain);
    }
}
