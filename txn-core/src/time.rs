//! Time as the core knows it: it came with the event.
//!
//! Deadlines run on the monotonic clock of the process; what is stored is wall time, because a
//! monotonic clock means nothing after a restart. The two never mix but in [`remaining_after_load`].

use std::time::Duration;

/// A moment on the monotonic clock of this process, in microseconds from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `delay` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Timestamp {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_add(micros))
    }

    /// How long it is from `earlier` to here; zero if it is the other way round.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Wall-clock time in milliseconds since the Unix epoch: for people and for what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub u64);

impl WallTime {
    /// What the clock showed this long ago; the epoch if that is longer.
    #[must_use]
    pub fn earlier_by(self, span: Duration) -> WallTime {
        let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        WallTime(self.0.saturating_sub(span_ms))
    }
}

/// The stamp of an event: when it arrived, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now {
    /// For deadlines and waits. Never decreases within a group.
    pub mono: Timestamp,
    /// For what is stored and shown.
    pub wall: WallTime,
}

/// The least that is left to an undecided transaction after a restart, unless its whole timeout is
/// shorter: long enough for its caller to find the coordinator again.
pub const RESTART_GRACE: Duration = Duration::from_secs(10);

/// What remains of a timeout when its transaction is loaded from the store.
///
/// The wall clock may have been wrong at begin or may be wrong now, so what it says is clamped: it
/// can cost at most one shortening to the grace, or one more timeout.
#[must_use]
pub fn remaining_after_load(begun_at: WallTime, timeout: Duration, now: WallTime) -> Duration {
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let ends_at = begun_at.0.saturating_add(timeout_ms);
    let remaining = Duration::from_millis(ends_at.saturating_sub(now.0));
    remaining.clamp(RESTART_GRACE.min(timeout), timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_costs_one_grace_or_one_timeout() {
        let minute = Duration::from_secs(60);
        let left = |begun, now| remaining_after_load(WallTime(begun), minute, WallTime(now));
        assert_eq!(left(1_000_000, 1_010_000), Duration::from_secs(50));
        assert_eq!(
            left(1_000_000, 9_000_000),
            RESTART_GRACE,
            "the clock jumped ahead, or it was down long"
        );
        assert_eq!(left(1_000_000, 0), minute, "the clock jumped back");
        let short = Duration::from_secs(2);
        assert_eq!(remaining_after_load(WallTime(0), short, WallTime(90_000)), short);
    }
}
