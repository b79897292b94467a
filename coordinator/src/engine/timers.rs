//! Moments that steps asked for, earliest first.
//!
//! Nothing is ever taken out early: a timer whose reason is gone fires and finds nothing to do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pactum_core::event::Timer;
use pactum_core::time::Timestamp;

/// The timers that have not fired.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Timestamp, Timer)>>);

impl Timers {
    pub(super) fn add(&mut self, timers: Vec<(Timestamp, Timer)>) {
        self.0.extend(timers.into_iter().map(Reverse));
    }

    /// The next moment.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// The next timer whose moment is not after `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, Timer)> {
        if self.next_at()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(timer)| timer)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use pactum_core::id::XidNumber;

    use super::*;

    #[test]
    fn timers_fire_in_order_of_their_moments_and_not_before() {
        let timer = |at, xid| (Timestamp(at), Timer::Deadline(XidNumber(xid)));
        let mut timers = Timers::default();
        timers.add(vec![timer(30, 1), timer(10, 2), timer(20, 3)]);
        assert_eq!(timers.pop_due(Timestamp(9)), None);
        assert_eq!(timers.pop_due(Timestamp(25)), Some(timer(10, 2)));
        assert_eq!(timers.pop_due(Timestamp(25)), Some(timer(20, 3)));
        assert_eq!(timers.pop_due(Timestamp(25)), None);
        assert_eq!(timers.next_at(), Some(Timestamp(30)));
    }
}
