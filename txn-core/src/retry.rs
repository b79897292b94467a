//! When to try again: capped exponential back-off, with the jitter handed in.

use std::time::Duration;

/// A back-off that doubles from `first` to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The delay after the first attempt.
    pub first: Duration,
    /// The longest delay.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        // A participant answers within milliseconds, so a second without an answer means that it
        // was lost; a resource that is away for long must not cost more than one try a minute.
        RetryPolicy { first: Duration::from_secs(1), cap: Duration::from_secs(60) }
    }
}

impl RetryPolicy {
    /// The delay after attempt number `attempt` (from 1), spread down by up to a quarter by
    /// `jitter`, of which any 64 bits will do: many branches that failed together must not come back
    /// together.
    #[must_use]
    pub fn delay(&self, attempt: u32, jitter: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.cap);
        let spread = u32::try_from(jitter % 256).expect("a remainder of 256 fits");
        full - full * spread / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_the_cap() {
        let retry = RetryPolicy { first: Duration::from_secs(1), cap: Duration::from_secs(60) };
        let delays = [1, 2, 3, 7, 40, u32::MAX].map(|attempt| retry.delay(attempt, 0).as_secs());
        assert_eq!(delays, [1, 2, 4, 60, 60, 60]);
    }

    #[test]
    fn jitter_only_shortens_and_by_less_than_a_quarter_more() {
        let retry = RetryPolicy::default();
        for jitter in [0, 1, 255, 256, u64::MAX] {
            let delay = retry.delay(3, jitter);
            assert!(delay <= Duration::from_secs(4));
            assert!(delay > Duration::from_secs(3) - Duration::from_millis(1));
        }
    }
}
