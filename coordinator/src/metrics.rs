//! Counters of the group task: relaxed atomics, written by one task and read by anyone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use pactum_core::transaction::Status;

/// The buckets of a [`Histogram`]: 1, 2, 3–4, 5–8, and so on by powers of two.
pub const BUCKETS: usize = 20;

/// What happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    events: AtomicU64,
    begun: AtomicU64,
    committed: AtomicU64,
    rolled_back: AtomicU64,
    batches: AtomicU64,
    batch_rows: AtomicU64,
    batch_events: [AtomicU64; BUCKETS],
    write_micros: AtomicU64,
    reloads: AtomicU64,
    work_sent: AtomicU64,
    work_dropped: AtomicU64,
    sessions_overflowed: AtomicU64,
    invariants_violated: AtomicU64,
}

/// How often each size came, by powers of two: bucket `n` counts sizes above 2^(n-1) up to 2^n.
pub type Histogram = [u64; BUCKETS];

/// A reading of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events that the group handled.
    pub events: u64,
    /// Transactions that began.
    pub begun: u64,
    /// Decided to commit.
    pub committed: u64,
    /// Decided to roll back.
    pub rolled_back: u64,
    /// Batches that were made durable.
    pub batches: u64,
    /// Rows in them, a row that was written twice in a batch counted twice.
    pub batch_rows: u64,
    /// Their sizes in events.
    pub batch_events: Histogram,
    /// Time spent in the store's writes, in microseconds.
    pub write_micros: u64,
    /// How often the group was led and loaded anew.
    pub reloads: u64,
    /// Phase-two work that was handed to sessions.
    pub work_sent: u64,
    /// Phase-two work that no session had room for; it is tried again.
    pub work_dropped: u64,
    /// Sessions that were closed because they did not take their answers.
    pub sessions_overflowed: u64,
    /// Steps that would have broken an invariant.
    pub invariants_violated: u64,
}

impl Stats {
    /// Transactions decided, either way.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.committed + self.rolled_back
    }

    /// The mean rows of a batch.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a mean for people")]
    pub fn rows_per_batch(&self) -> f64 {
        self.batch_rows as f64 / self.batches.max(1) as f64
    }

    /// The mean time of a write to the store.
    #[must_use]
    pub fn write_time(&self) -> Duration {
        Duration::from_micros(self.write_micros / self.batches.max(1))
    }
}

impl Metrics {
    pub(crate) fn event(&self) {
        self.events.fetch_add(1, Relaxed);
    }

    pub(crate) fn begun(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    /// Counts a decision: the move out of `Active`, or later out of `Delegated`.
    pub(crate) fn decided(&self, to: Status) {
        match to {
            Status::Committing | Status::Committed => self.committed.fetch_add(1, Relaxed),
            Status::RollingBack(_) | Status::RolledBack(_) => {
                self.rolled_back.fetch_add(1, Relaxed)
            }
            Status::Active | Status::Delegated => 0,
        };
    }

    pub(crate) fn batch_written(&self, events: usize, rows: usize, took: Duration) {
        self.batches.fetch_add(1, Relaxed);
        self.batch_rows.fetch_add(wide(rows), Relaxed);
        self.batch_events[bucket(events)].fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.write_micros.fetch_add(micros, Relaxed);
    }

    pub(crate) fn reloaded(&self) {
        self.reloads.fetch_add(1, Relaxed);
    }

    pub(crate) fn work_sent(&self, count: usize) {
        self.work_sent.fetch_add(wide(count), Relaxed);
    }

    pub(crate) fn work_dropped(&self, count: usize) {
        self.work_dropped.fetch_add(wide(count), Relaxed);
    }

    pub(crate) fn session_overflowed(&self) {
        self.sessions_overflowed.fetch_add(1, Relaxed);
    }

    pub(crate) fn invariant_violated(&self) {
        self.invariants_violated.fetch_add(1, Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Stats {
            events: read(&self.events),
            begun: read(&self.begun),
            committed: read(&self.committed),
            rolled_back: read(&self.rolled_back),
            batches: read(&self.batches),
            batch_rows: read(&self.batch_rows),
            batch_events: std::array::from_fn(|bucket| read(&self.batch_events[bucket])),
            write_micros: read(&self.write_micros),
            reloads: read(&self.reloads),
            work_sent: read(&self.work_sent),
            work_dropped: read(&self.work_dropped),
            sessions_overflowed: read(&self.sessions_overflowed),
            invariants_violated: read(&self.invariants_violated),
        }
    }
}

fn bucket(size: usize) -> usize {
    let bits = usize::BITS - size.saturating_sub(1).leading_zeros();
    usize::try_from(bits).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_into_buckets_by_powers_of_two() {
        let buckets = [0, 1, 2, 3, 4, 5, 8, 9, usize::MAX].map(bucket);
        assert_eq!(buckets, [0, 0, 1, 2, 2, 3, 3, 4, BUCKETS - 1]);
    }
}
